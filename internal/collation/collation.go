package collation

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
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
// Values of a CHAR(n) column of MariaDB under a collation that is not Padded must
// be filled up with spaces to n characters first: see the package comment.
func (c *Collation) AppendKey(dst, raw []byte) (out []byte, known bool) {
	raw = c.trim(raw)
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
