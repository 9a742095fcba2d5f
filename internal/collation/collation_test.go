package collation

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// toy is a collation nobody has to ask for: ASCII, case does not count, control
// characters weigh nothing, "ch" has a weight of its own.
func toy(padded bool) *Collation {
	c := &Collation{charset: "utf8mb4", name: "toy", space: []byte(" "), letter: []byte("a"), padded: padded}
	s := &simple{weights: make([][256]weight, 1)}
	for b := range 256 {
		switch {
		case b >= 0x80:
			s.class[b] = notSimple
		case b >= 0x20:
			s.weights[0][b] = makeWeight(toyWeight(byte(b)))
		}
	}
	for _, pair := range []string{"ch", "Ch", "cH", "CH"} {
		s.addPair(pair[0], pair[1])
	}
	c.simple = s
	c.form.levels = 1
	if padded {
		c.form.spaces = [][]byte{toyWeight(' ')}
	}
	c.cache.limit = 1000
	return c
}

func toyWeight(b byte) []byte {
	return binary.BigEndian.AppendUint16(nil, 0x2000+uint16(bytes.ToUpper([]byte{b})[0]))
}

func TestKeysOfAsciiAreKnownWithoutAsking(t *testing.T) {
	for _, c := range []struct {
		padded bool
		a, b   string
		same   bool
	}{
		{true, "abc", "ABC", true},
		{true, "abc", "abd", false},
		{true, "a", "a  ", true},
		{true, "a", "a \x00 ", true},
		{true, "", "  ", true},
		{true, "a b", "ab", false},
		{true, "a\x01b", "ab", true},
		{false, "a", "a ", false},
		{false, "a ", "A ", true},
		{false, "", "\x1f", true},
	} {
		coll := toy(c.padded)
		a, knownA := coll.AppendKey(nil, []byte(c.a))
		b, knownB := coll.AppendKey(nil, []byte(c.b))
		if !knownA || !knownB || bytes.Equal(a, b) != c.same {
			t.Errorf("padded %v: %q has %x (%v), %q has %x (%v)", c.padded, c.a, a, knownA, c.b, b, knownB)
		}
	}
}

func TestOtherKeysAreNotKnown(t *testing.T) {
	c := toy(true)
	for s, want := range map[string]bool{
		"é": false, "abcé": false, "ch": false, "aCHb": false, "\xff": false,
		"c h": true, "hc": true, "cc": true, "h": true, "c": true,
	} {
		out, known := c.AppendKey([]byte("before"), []byte(s))
		if known != want {
			t.Errorf("%q: %v", s, known)
		}
		if !known && string(out) != "before" {
			t.Errorf("%q: appended %q", s, out)
		}
	}
}

// TestToyKeysAgreeWithItsTwin: a fold of the string is a key as well.
func TestToyKeysAgreeWithItsTwin(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	fold := func(s []byte) string {
		s = bytes.Map(func(c rune) rune {
			if c < ' ' {
				return -1
			}
			return c
		}, bytes.ToUpper(s))
		return strings.TrimRight(string(s), " ")
	}
	c := toy(true)
	random := func() []byte {
		s := make([]byte, r.IntN(5))
		for i := range s {
			s[i] = "aAbB  \x00\x01"[r.IntN(8)]
		}
		return s
	}
	for range 20_000 {
		a, b := random(), random()
		ka, _ := c.AppendKey(nil, a)
		kb, _ := c.AppendKey(nil, b)
		if bytes.Equal(ka, kb) != (fold(a) == fold(b)) {
			t.Fatalf("%q has %x, %q has %x", a, ka, b, kb)
		}
	}
}

func TestSpacesInWideCharacterSets(t *testing.T) {
	for _, c := range []struct {
		space    []byte
		in, want string
	}{
		{[]byte{0, 0x20}, "\x00a\x00\x20\x00\x20", "\x00a"},
		{[]byte{0, 0x20}, "\x20\x00\x20\x00\x00\x20", "\x20\x00\x20\x00"},
		{[]byte{0, 0x20}, "\x20\x00\x20", "\x20\x00\x20"}, // half a character
		{[]byte{0x20, 0}, "a\x00\x20\x00", "a\x00"},
		{[]byte{0, 0, 0, 0x20}, "\x00\x00\x00\x20", ""},
		{[]byte{0x20}, "a  ", "a"},
	} {
		coll := Collation{padded: true, space: c.space}
		if got := coll.trim([]byte(c.in)); string(got) != c.want {
			t.Errorf("%q: %q", c.in, got)
		}
	}
}

func TestLevelsAreStrippedOneByOne(t *testing.T) {
	f := form{levels: 3, byLevel: true, spaces: [][]byte{nil, {0, 0x20}, {0, 2}}}
	got := f.join(nil, [][]byte{{2, 9}, {0, 0x20, 0, 0x24, 0, 0x20}, {0, 2, 0, 2}})
	if want := "\x02\x09\x00\x00\x00\x20\x00\x24\x00\x00"; string(got) != want {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestAWeightStringIsSplitWhereAWholeWeightIsZero(t *testing.T) {
	f := form{levels: 3}
	levels, ok := f.split([]byte("\x1c\x00\x00\x47\x00\x00\x00\x20\x00\x00\x00\x02"))
	if !ok || fmt.Sprintf("%x", levels) != "[1c000047 0020 0002]" {
		t.Errorf("got %x, %v", levels, ok)
	}
	if _, ok := f.split([]byte("\x1c\x47")); ok {
		t.Error("one level passed for three")
	}
}

func TestAllPairsHasEveryPair(t *testing.T) {
	for _, alphabet := range []string{"a", "ab", "abcdefg"} {
		s := string(allPairs([]byte(alphabet)))
		if n := len(alphabet); len(s) != n*n+1 {
			t.Errorf("%q: %d bytes", alphabet, len(s))
		}
		for _, a := range alphabet {
			for _, b := range alphabet {
				if !strings.Contains(s, string([]rune{a, b})) {
					t.Errorf("%q: no %c%c in %q", alphabet, a, b, s)
				}
			}
		}
	}
}

func TestChunksOverlap(t *testing.T) {
	s := bytes.Repeat([]byte("0123456789"), 500)
	var joined []byte
	for i, chunk := range chunks(s, 2) {
		if i > 0 {
			chunk = chunk[2:]
		}
		joined = append(joined, chunk...)
	}
	if !bytes.Equal(joined, s) {
		t.Errorf("%d bytes became %d", len(s), len(joined))
	}
}

func TestCharacterCounts(t *testing.T) {
	for _, c := range []struct {
		charset string
		width   int
		raw     string
		want    int
	}{
		{"utf8mb4", 1, "aé中😀", 4},
		{"utf16", 2, "\x00a\xd8\x3d\xde\x00", 2},
		{"utf16le", 2, "a\x00\x3d\xd8\x00\xde", 2},
		{"ucs2", 2, "\x00a\x00b", 2},
		{"utf32", 4, "\x00\x00\x00a", 1},
		{"gbk", 1, "a", -1},
	} {
		coll := Collation{charset: c.charset, space: make([]byte, c.width)}
		if got := coll.characters([]byte(c.raw)); got != c.want {
			t.Errorf("%s: %d", c.charset, got)
		}
	}
}

func TestCacheStaysInBounds(t *testing.T) {
	c := cache{limit: 10_000}
	for round := range 100 {
		c.age()
		for i := range 20 {
			c.put(fmt.Sprintf("round %d value %d", round, i), strings.Repeat("w", 30))
		}
		if n := size(c.young) + size(c.old); n > c.limit+5_000 {
			t.Fatalf("round %d: %d bytes", round, n)
		}
	}
}

func size(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v) + entryOverhead
	}
	return n
}

func TestCacheKeepsWhatTheCurrentCallNeeds(t *testing.T) {
	c := cache{limit: 1}
	c.put("old", "1")
	c.age()
	if !c.keep([]byte("old")) || c.keep([]byte("new")) {
		t.Fatal("keep does not know what is there")
	}
	c.age()
	if _, ok := c.get([]byte("old")); !ok {
		t.Error("kept, but gone with the next call")
	}
	c.put("new", "2")
	c.age()
	if _, ok := c.get([]byte("old")); ok {
		t.Error("still there when newer values have taken the room")
	}
}

// FuzzAppendKey: any bytes have a key or none, and a key does not depend on what
// stands before it.
func FuzzAppendKey(f *testing.F) {
	for _, s := range []string{"", "abc ", "ch", "é", "\xff \x00"} {
		f.Add([]byte(s))
	}
	padded, nopad := toy(true), toy(false)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, c := range []*Collation{padded, nopad} {
			a, knownA := c.AppendKey(nil, raw)
			b, knownB := c.AppendKey(toyWeight(' '), raw)
			if knownA != knownB || !bytes.Equal(a, b[2:]) {
				t.Fatalf("%q: %x %v, %x %v", raw, a, knownA, b, knownB)
			}
		}
	})
}

func BenchmarkAppendKey(b *testing.B) {
	c := toy(true)
	for _, s := range []string{"k", "user-0012345", "a.somewhat.longer@example.org", "Straße 7"} {
		c.cache.put("Straße 7", strings.Repeat("w", 16))
		b.Run(s, func(b *testing.B) {
			raw, dst := []byte(s), make([]byte, 0, 200)
			b.ReportAllocs()
			for b.Loop() {
				var known bool
				if dst, known = c.AppendKey(dst[:0], raw); !known {
					b.Fatal("not known")
				}
			}
		})
	}
}
