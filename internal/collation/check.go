package collation

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
)

// families are texts that some collation or other holds to be equal. The
// server's answers are what counts; these only make equal pairs likely.
var families = [][]string{
	{"a", "A", "á", "Á", "à", "ä", "â", "å", "ª", "ａ", "a\u0301", "A\u030a", "а"},
	{"e", "E", "é", "ê", "ë", "e\u0301", "ệ", "e\u0302\u0323", "e\u0323\u0302", "ę"},
	{"s", "S", "ſ", "š", "s\u030c", "ş", "ș"},
	{"ss", "ß", "SS", "ẞ", "sS", "sz"},
	{"ae", "æ", "Æ", "ä", "AE", "Ae"},
	{"oe", "œ", "ö", "ø", "Ö", "OE", "o\u0308"},
	{"ue", "ü", "u", "Ü", "u\u0308", "y"},
	{"aa", "å", "Å", "AA", "Aa", "aA"},
	{"ch", "cH", "Ch", "CH", "c", "h", "c\u0001h"},
	{"ll", "Ll", "LL", "l", "ł", "l·l"},
	{"dz", "dž", "ǆ", "ǅ", "Dž", "DZ", "đ", "d"},
	{"nj", "ǌ", "NJ", "Nj", "ñ", "n\u0303", "n", "ng", "ny"},
	{"cs", "ccs", "CS", "cscs", "dzs", "ddzs", "sz", "ssz", "gy", "ggy"},
	{"i", "I", "ı", "İ", "í", "i\u0307"},
	{"ij", "ĳ", "IJ", "y", "ý", "Y"},
	{"fi", "ﬁ", "FI", "ﬃ", "ffi"},
	{"v", "w", "W", "V"},
	{"th", "þ", "Þ", "TH", "ð", "d"},
	{"1", "¹", "①", "１", "一"},
	{"σ", "ς", "Σ", "ό", "ο", "Ό"},
	{"е", "ё", "Е", "Ё", "и", "й", "і", "ї"},
	{"เก", "ก", "เ", "แก", "ก็", "กเ", "เเก", "ก่", "ๆ"},
	{"가", "\u1100\u1161", "각", "ㄱ", "家", "\u1100\u1161\u11a8"},
	{"か", "カ", "ｶ", "が", "ガ", "か\u3099", "ｶﾞ", "ー", "かー", "かあ"},
	{"は", "ば", "ぱ", "ハ", "ヽ", "ゝ", "ゞ"},
	{"中", "国", "國", "龍", "竜", "弌", "壹", "〇"},
	{"😀", "😁", "\U00010400", "\U00010428", "❤️", "❤", "\ufffd", "\U0001F1E9\U0001F1EA"},
	{"ש", "שׁ", "ا", "أ", "إ", "ه", "ة"},
	{"¿", "?", "!", "-", "_", "'", "\"", "`", "’"},
	{"0", "", "\u0660", "०"},
	{"$", "€", "¢", "¥", "\\", "₩"},
}

// blanks are spaces and what may weigh as much as a space or nothing at all.
var blanks = []string{
	" ", " ", " ", "  ", "\u00a0", "\u3000", "\u2003", "\t", "\n", "\x00", "\x01", "\x1f", "\x7f", "\u0080",
	"\u00ad", "\u200b", "\u200d", "\ufeff", "\ufe0f", "\u0301", "\u034f", "\u061c",
}

// sampler makes strings of the families in one character set.
type sampler struct {
	r        *rand.Rand
	families [][][]byte
	blanks   [][]byte
}

func (c *Collation) sampler(ctx context.Context, q Querier, r *rand.Rand) (*sampler, error) {
	s := &sampler{r: r}
	for _, family := range append(families, blanks) {
		pieces, err := c.convert(ctx, q, family)
		if err != nil {
			return nil, err
		}
		s.families = append(s.families, pieces)
	}
	last := len(s.families) - 1
	s.blanks = s.families[last]
	if c.singleByte {
		s.families = append(s.families, singles(256))
	}
	return s, nil
}

func (s *sampler) member(of [][]byte) []byte { return of[s.r.IntN(len(of))] }

// pair gives two strings that differ by members of the same families, by blanks
// within or by blanks at the end.
func (s *sampler) pair() (a, b []byte) {
	for range 1 + s.r.IntN(5) {
		family := s.families[s.r.IntN(len(s.families))]
		x := s.member(family)
		y := x
		if s.r.IntN(3) == 0 {
			y = s.member(family)
		}
		a, b = append(a, x...), append(b, y...)
		if s.r.IntN(12) == 0 {
			b = append(b, s.member(s.blanks)...)
		}
	}
	return s.tail(a), s.tail(b)
}

func (s *sampler) tail(b []byte) []byte {
	for s.r.IntN(3) == 0 {
		b = append(b, s.member(s.blanks)...)
	}
	return b
}

// Check compares keys with the server's comparison on random pairs of odd
// strings. A difference is an error that wraps ErrUnsupported.
func (c *Collation) Check(ctx context.Context, q Querier, r *rand.Rand, pairs int) error {
	if c.charset == "binary" {
		return nil
	}
	s, err := c.sampler(ctx, q, r)
	if err != nil {
		return err
	}
	for pairs > 0 {
		n := min(pairs, maxColumns)
		pairs -= n
		as, bs := make([][]byte, n), make([][]byte, n)
		for i := range as {
			as[i], bs[i] = s.pair()
		}
		if err := c.checkPairs(ctx, q, as, bs); err != nil {
			return err
		}
	}
	return nil
}

func (c *Collation) checkPairs(ctx context.Context, q Querier, as, bs [][]byte) error {
	if err := c.Resolve(ctx, q, append(as[:len(as):len(as)], bs...)); err != nil {
		return err
	}
	var s statement
	for i := range as {
		c.askEqual(&s, as[i], bs[i])
	}
	equal, err := s.run(ctx, q)
	if err != nil {
		return err
	}
	for i := range as {
		a, knownA := c.AppendKey(nil, as[i])
		b, knownB := c.AppendKey(nil, bs[i])
		if !knownA || !knownB {
			return fmt.Errorf("%w: no key for %s or %s", ErrUnsupported, short(as[i]), short(bs[i]))
		}
		if bytes.Equal(a, b) != (string(equal[i]) == "1") {
			return fmt.Errorf("%w: %s=%s is %s for the server, but the keys are %x and %x",
				ErrUnsupported, short(as[i]), short(bs[i]), equal[i], a, b)
		}
	}
	return nil
}
