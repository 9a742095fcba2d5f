package collation

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// ErrUnsupported says that the key of a value, or of every value of a collation,
// cannot be known. Whoever gets it must not rely on keys for the table at hand.
var ErrUnsupported = errors.New("collation: unsupported")

// Querier is a *sql.DB, *sql.Conn or *sql.Tx. Queries have no arguments, are plain
// ASCII text and do not depend on the session's character sets or SQL mode.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Collation gives the keys of values under one collation of one server. It is
// safe for concurrent use.
type Collation struct {
	charset string
	name    string

	// space and letter are ' ' and 'a' in the character set: one byte each
	// except in ucs2, utf16, utf16le and utf32.
	space, letter []byte

	// singleByte: every byte is a character, whatever stands beside it.
	singleByte bool

	// padded: trailing spaces do not count (PAD SPACE).
	padded bool

	// mariadb: the server fills CHAR values up before it compares them.
	mariadb bool

	// fill is the number of characters that values are filled up to with
	// spaces, or 0.
	fill int

	// identity: the key is the value itself, less trailing spaces if padded.
	identity bool

	form   form
	simple *simple // nil: no value has a key without asking

	mu    sync.RWMutex
	cache cache
}

// Name is the collation's name.
func (c *Collation) Name() string { return c.name }

// Padded says whether trailing spaces do not count (PAD SPACE).
func (c *Collation) Padded() bool { return c.padded }

// LimitCache sets the bytes the cache may hold between calls of Resolve. The
// default is DefaultCacheBytes.
func (c *Collation) LimitCache(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cache.limit = n
}

// AppendKey appends the key of a value, given as in a row image: bytes in the
// column's character set. Two values have equal keys if and only if they are
// equal for the server. The key does not say where it ends. known is false, and
// nothing is appended, when the server has to be asked first: see Resolve.
//
// For CHAR columns see Char.
func (c *Collation) AppendKey(dst, raw []byte) (out []byte, known bool) {
	raw = c.normalize(raw)
	if c.identity {
		return append(dst, raw...), true
	}
	if c.simple != nil && c.simple.covers(raw) {
		return c.simple.appendKey(dst, raw, &c.form), true
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	key, known := c.cache.get(raw)
	return append(dst, key...), known
}

// Char is the collation as it is used in a CHAR(n) column, whose values have no
// trailing spaces in row images. It has a cache of its own.
//
// Under NO PAD, MariaDB compares such values as if they were filled up with
// spaces to n characters, so that 'ss' and 'ß' are equal in a VARCHAR column but
// not in a CHAR column, where more spaces follow the latter. Under several levels
// it does so in a way of its own ('e' and 'é' differ under _ai_cs), which wraps
// ErrUnsupported. MySQL compares CHAR values as they are.
func (c *Collation) Char(n int) (*Collation, error) {
	if !c.mariadb || c.padded || c.charset == "binary" {
		return c, nil
	}
	if c.characters(nil) < 0 || !c.identity && c.form.levels != 1 {
		return nil, fmt.Errorf("%w: CHAR column under %s", ErrUnsupported, c.name)
	}
	return &Collation{
		charset: c.charset, name: c.name, space: c.space, letter: c.letter, singleByte: c.singleByte,
		mariadb: true, fill: n, identity: c.identity, form: c.form, simple: c.simple,
		cache: cache{limit: c.cache.limit},
	}, nil
}

// normalize makes the value one that has the same key and is nearer to it.
func (c *Collation) normalize(raw []byte) []byte {
	if c.fill == 0 {
		return c.trim(raw)
	}
	missing := c.fill - c.characters(raw)
	if missing <= 0 {
		return raw
	}
	return slices.Concat(raw, bytes.Repeat(c.space, missing))
}

// characters counts the characters of a value; it is below 0 for character sets
// of mixed width other than UTF-8 and UTF-16, where it is not known.
func (c *Collation) characters(raw []byte) int {
	switch {
	case c.singleByte:
		return len(raw)
	case c.charset == "utf8mb4" || c.charset == "utf8mb3" || c.charset == "utf8":
		return count(raw, 1, func(u []byte) bool { return u[0]&0xC0 != 0x80 })
	case c.charset == "utf16":
		return count(raw, 2, func(u []byte) bool { return u[0]&0xFC != 0xDC })
	case c.charset == "utf16le":
		return count(raw, 2, func(u []byte) bool { return u[1]&0xFC != 0xDC })
	case len(c.space) > 1:
		return len(raw) / len(c.space)
	}
	return -1
}

// count counts the units that begin a character.
func count(raw []byte, unit int, begins func([]byte) bool) (n int) {
	for ; len(raw) >= unit; raw = raw[unit:] {
		if begins(raw) {
			n++
		}
	}
	return n
}

// trim drops trailing spaces where they do not count.
func (c *Collation) trim(raw []byte) []byte {
	if !c.padded {
		return raw
	}
	if len(c.space) == 1 {
		for len(raw) > 0 && raw[len(raw)-1] == ' ' {
			raw = raw[:len(raw)-1]
		}
		return raw
	}
	for len(raw)%len(c.space) == 0 && bytes.HasSuffix(raw, c.space) {
		raw = raw[:len(raw)-len(c.space)]
	}
	return raw
}

// ascii puts text into the character set.
func (c *Collation) ascii(text string) []byte {
	var raw []byte
	at := bytes.IndexByte(c.letter, 'a')
	for i := range len(text) {
		raw = append(raw, c.letter...)
		raw[len(raw)-len(c.letter)+at] = text[i]
	}
	return raw
}

// form is how the key is made of what the server says.
type form struct {
	// levels is the number of levels of an ASCII string's weights; 0 when the
	// structure is not understood, and then the weight string is the key.
	levels int

	// byLevel: the server is asked for each level by itself, because its weight
	// string does not show where a level ends (MariaDB). The key is the levels
	// with separators between them. Otherwise it is the weight string.
	byLevel bool

	// spaces has, for each level, the weight of a space, which does not count
	// at the end of the level. Nil where it does.
	spaces [][]byte
}

// separator stands between levels, as in MySQL's weight strings. No weight of
// MariaDB's is 0.
const separator = "\x00\x00"

// join makes the key of the server's answers.
func (f *form) join(dst []byte, answers [][]byte) []byte {
	for i, weights := range answers {
		if i > 0 {
			dst = append(dst, separator...)
		}
		start := len(dst)
		dst = f.strip(append(dst, weights...), start, i)
	}
	return dst
}

// strip drops the weights of spaces from the end of dst[start:]. All weights of a
// level have the same length.
func (f *form) strip(dst []byte, start, level int) []byte {
	if f.spaces == nil || f.spaces[level] == nil {
		return dst
	}
	space := f.spaces[level]
	for len(dst)-start >= len(space) && bytes.HasSuffix(dst, space) {
		dst = dst[:len(dst)-len(space)]
	}
	return dst
}

// split gives the levels of an answer that should have f.levels of them.
func (f *form) split(weights []byte) ([][]byte, bool) {
	if f.levels == 1 {
		return [][]byte{weights}, true
	}
	var levels [][]byte
	start := 0
	for i := 0; i+1 < len(weights); i += 2 {
		if weights[i] == 0 && weights[i+1] == 0 {
			levels = append(levels, weights[start:i])
			start = i + 2
		}
	}
	levels = append(levels, weights[start:])
	return levels, len(levels) == f.levels
}

// simple has the characters of one byte whose weight does not depend on what
// stands beside them.
type simple struct {
	class [256]uint8
	// pairs[a] has bit b set when the weight of a followed by b is not that of
	// a and that of b. Nil unless a is of class starts.
	pairs   [256]*[4]uint64
	weights [][256]weight // by level
}

const (
	notSimple = 1 << iota // ask the server
	starts                // begins a pair that has a weight of its own
)

// weight is up to eight bytes, left-aligned, so that it can be copied at once.
type weight struct {
	bytes uint64
	n     int
}

const maxWeight = 8

func makeWeight(b []byte) weight {
	var w [maxWeight]byte
	copy(w[:], b)
	return weight{binary.BigEndian.Uint64(w[:]), len(b)}
}

// covers says whether the key of raw is the weights of its bytes in a row.
func (s *simple) covers(raw []byte) bool {
	var seen uint8
	for _, b := range raw {
		seen |= s.class[b]
	}
	return seen == 0 || seen == starts && !s.hasPair(raw)
}

func (s *simple) hasPair(raw []byte) bool {
	for i := 1; i < len(raw); i++ {
		if p := s.pairs[raw[i-1]]; p != nil && p[raw[i]>>6]>>(raw[i]&63)&1 != 0 {
			return true
		}
	}
	return false
}

func (s *simple) addPair(a, b byte) {
	if s.pairs[a] == nil {
		s.pairs[a] = new([4]uint64)
	}
	s.pairs[a][b>>6] |= 1 << (b & 63)
	s.class[a] |= starts
}

func (s *simple) appendKey(dst, raw []byte, f *form) []byte {
	for level := range s.weights {
		if level > 0 {
			dst = append(dst, separator...)
		}
		start := len(dst)
		dst = s.appendWeights(dst, raw, level)
		dst = f.strip(dst, start, level)
	}
	return dst
}

func (s *simple) appendWeights(dst, raw []byte, level int) []byte {
	table := &s.weights[level]
	for _, b := range raw {
		w := &table[b]
		dst = binary.BigEndian.AppendUint64(dst, w.bytes)
		dst = dst[:len(dst)-maxWeight+w.n]
	}
	return dst
}
