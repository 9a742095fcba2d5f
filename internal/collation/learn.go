package collation

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// learnPairs is the number of pairs of odd strings on which Learn compares its
// keys with the server's own comparison.
const learnPairs = 200

// Learn asks the server how a collation of a character set works. It takes some
// ten queries and tens of milliseconds; the result is to be kept. An error that
// wraps ErrUnsupported means that this collation's keys cannot be known.
func Learn(ctx context.Context, q Querier, charset, collation string) (*Collation, error) {
	c := &Collation{charset: charset, name: collation, cache: cache{limit: DefaultCacheBytes}}
	if charset == "binary" {
		c.identity, c.space = true, []byte{' '}
		return c, nil
	}
	if !isName(charset) || !isName(collation) {
		return nil, fmt.Errorf("collation: %q of %q is not a name", collation, charset)
	}
	if reason, bad := unusable[strings.Replace(collation, "_nopad", "", 1)]; bad {
		return nil, fmt.Errorf("%w: %s: %s", ErrUnsupported, collation, reason)
	}
	if err := c.learn(ctx, q); err != nil {
		return nil, fmt.Errorf("collation %s: learn: %w", collation, err)
	}
	return c, nil
}

// unusable are the collations whose weight strings do not say what is equal,
// with and without padding. The differences are in so few characters that
// Learn's check might miss them.
var unusable = map[string]string{
	"big5_chinese_ci":    "characters without a stroke count have one weight and are not equal",
	"gb18030_chinese_ci": "U+017F and U+212A have the weights of S and K and are not equal to them",
	"tis620_thai_ci":     "a vowel changes places with the space after it",
}

// isName keeps anything but a plain name out of the statements.
func isName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

func (c *Collation) learn(ctx context.Context, q Querier) error {
	version, err := columns(ctx, q, "SELECT VERSION()", 1)
	if err != nil {
		return err
	}
	c.mariadb = strings.Contains(string(version[0]), "MariaDB")
	if err := c.learnCharset(ctx, q); err != nil {
		return err
	}
	if err := c.learnPadding(ctx, q); err != nil {
		return err
	}
	if strings.HasSuffix(c.name, "_bin") {
		c.identity = true
	} else {
		if err := c.learnForm(ctx, q); err != nil {
			return err
		}
		if err := c.learnSimple(ctx, q); err != nil {
			return err
		}
	}
	return c.Check(ctx, q, rand.New(rand.NewPCG(1, 2)), learnPairs)
}

// learnCharset finds out how the character set encodes ASCII.
func (c *Collation) learnCharset(ctx context.Context, q Querier) error {
	pieces, err := c.convert(ctx, q, []string{" ", "a"})
	if err != nil {
		return err
	}
	c.space, c.letter = pieces[0], pieces[1]
	if len(c.space) == 0 || len(c.space) != len(c.letter) || bytes.IndexByte(c.letter, 'a') < 0 {
		return fmt.Errorf("%w: 'a' is %x in %s", ErrUnsupported, c.letter, c.charset)
	}
	c.singleByte, err = c.isSingleByte(ctx, q)
	return err
}

// convert puts texts into the character set. What the character set lacks
// becomes a question mark.
func (c *Collation) convert(ctx context.Context, q Querier, texts []string) ([][]byte, error) {
	var s statement
	for _, text := range texts {
		s.begin()
		s.text = fmt.Appendf(s.text, "HEX(CONVERT(_utf8mb4 X'%x' USING %s))", text, c.charset)
		s.name()
	}
	cells, err := s.run(ctx, q)
	if err != nil {
		return nil, err
	}
	for i, cell := range cells {
		if cells[i], err = hex.AppendDecode(nil, cell); err != nil {
			return nil, err
		}
	}
	return cells, nil
}

// learnPadding finds out whether trailing spaces count.
func (c *Collation) learnPadding(ctx context.Context, q Querier) error {
	var s statement
	c.askEqual(&s, c.ascii("a"), c.ascii("a "))
	c.askEqual(&s, c.ascii(""), c.ascii(" "))
	cells, err := s.run(ctx, q)
	if err != nil {
		return err
	}
	c.padded = string(cells[0]) == "1"
	if string(cells[0]) != string(cells[1]) {
		return fmt.Errorf("%w: a trailing space counts only after nothing", ErrUnsupported)
	}
	return nil
}

// isSingleByte says whether every byte is a character by itself. In character
// sets of mixed width a first byte swallows the next, or is not valid.
func (c *Collation) isSingleByte(ctx context.Context, q Querier) (bool, error) {
	if len(c.space) > 1 {
		return false, nil
	}
	var s statement
	for b := range 256 {
		s.begin()
		s.text = fmt.Appendf(s.text, "CHAR_LENGTH(_%s X'%02x%02x')", c.charset, b, b)
		s.name()
	}
	cells, err := s.run(ctx, q)
	if isServerError(err, errInvalid) {
		return false, nil
	}
	notTwo := func(n []byte) bool { return string(n) != "2" }
	return err == nil && !slices.ContainsFunc(cells, notTwo), err
}

// learnForm finds out how weight strings are built.
func (c *Collation) learnForm(ctx context.Context, q Querier) error {
	const empty, space, letterA, letterB, all = 0, 1, 2, 3, 4
	w, err := c.weights(ctx, q, [][]byte{c.ascii(""), c.ascii(" "), c.ascii("A"), c.ascii("b"), c.ascii("A b")})
	if err != nil {
		return err
	}
	switch {
	case len(w[empty][0]) > 0:
		c.learnSeparated(w[empty][0])
	case slices.Equal(w[all][0], slices.Concat(w[letterA][0], w[space][0], w[letterB][0])):
		c.learnOneLevel(w[space])
	default:
		return c.learnByLevel(ctx, q, w[all][0])
	}
	return nil
}

// learnSeparated: the weight string of nothing is the separators. All these
// collations are NO PAD.
func (c *Collation) learnSeparated(empty []byte) {
	n := len(empty) / len(separator)
	if string(empty) == strings.Repeat(separator, n) && !c.padded {
		c.form.levels = n + 1
	}
}

// learnOneLevel: the weight string is the weights in a row. In character sets of
// mixed width a weight of one byte may also be the end of one of two; there only
// the spaces themselves are trimmed, and no other character weighs the same.
func (c *Collation) learnOneLevel(spaces [][]byte) {
	c.form.levels = 1
	if c.padded && (len(spaces[0]) > 1 || c.singleByte) {
		c.form.spaces = spaces
	}
}

// maxLevels is what MariaDB's grammar allows for LEVEL.
const maxLevels = 4

// learnByLevel: the weight string is levels in a row, which only the server can
// tell apart. MySQL has no LEVEL clause; the form stays unknown then.
func (c *Collation) learnByLevel(ctx context.Context, q Querier, whole []byte) error {
	c.form = form{levels: maxLevels, byLevel: true}
	w, err := c.weights(ctx, q, [][]byte{c.ascii("A b"), c.ascii(" ")})
	if err != nil && !isServerError(err, errSyntax) {
		return err
	}
	c.form = form{}
	if err != nil {
		return nil
	}
	for n := 2; n <= maxLevels; n++ {
		if bytes.Equal(bytes.Join(w[0][:n], nil), whole) {
			c.form = form{levels: n, byLevel: true, spaces: c.uncounted(w[1][:n])}
			break
		}
	}
	return nil
}

// uncounted are the weights of a space that do not count at the end of a level.
// On levels other than the first that is so even under NO PAD.
func (c *Collation) uncounted(spaces [][]byte) [][]byte {
	for i, w := range spaces {
		if i == 0 && !c.padded || len(w) == 0 {
			spaces[i] = nil
		}
	}
	return spaces
}

// singles are the strings of one byte below n.
func singles(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = []byte{byte(i)}
	}
	return out
}
