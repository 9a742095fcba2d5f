// Package netchange turns many changes of a key into one.
//
// For each key that a window of the log touches an Index keeps two places in
// the log: the image the row had before the window (none, if it did not exist)
// and the image it has after the last change (none, if it was deleted). What
// lies between does not matter to a database that nobody reads. From the two
// places follows the net change:
//
//	before  after
//	none    image   INSERT after
//	image   image   UPDATE before → after
//	image   none    DELETE before
//	none    none    nothing
//
// The package is pure: it takes keys and places and returns decisions.
package netchange

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"
)

// Ref is a place of a row image: 16 bits of source (a file, or memory) and 48
// bits of offset in it. The zero Ref means "no image"; no image lies at offset
// 0 of source 0, since a log file begins with its magic number.
type Ref uint64

// NewRef makes a Ref. Source must be below 65536, offset below 2^48.
func NewRef(source int, offset int64) Ref {
	return Ref(source)<<48 | Ref(offset) //nolint:gosec // bounds are the caller's promise
}

// Source is the file's number.
func (r Ref) Source() int { return int(r >> 48) }

// Offset is the place in the file.
func (r Ref) Offset() int64 { return int64(r & (1<<48 - 1)) }

// ErrInconsistent says that the log contradicts itself: an insert of a key
// that exists, or a change of one that was deleted. Either the log is not what
// the server wrote or keys were compared wrongly; in both cases going on would
// lose data.
var ErrInconsistent = errors.New("the log contradicts itself")

// Entry is what is known of one key. Invariant: at least one change of the key
// was seen.
type Entry struct {
	key    uint64 // the key's bytes left-aligned, if klen <= 8; else its place in the arena
	Before Ref    // image before the window's first change; zero: did not exist
	After  Ref    // image after the last change; zero: does not exist
	klen   uint32
}

// Kind is the net change of an entry.
type Kind uint8

// The net changes.
const (
	Nothing Kind = iota
	Insert
	Update
	Delete
)

// Kind is what has to be done to the row.
func (e *Entry) Kind() Kind {
	switch {
	case e.Before == 0 && e.After == 0:
		return Nothing
	case e.Before == 0:
		return Insert
	case e.After == 0:
		return Delete
	default:
		return Update
	}
}

// Index holds the net changes of one table's keys. Not safe for concurrent use.
type Index struct {
	entries [][]Entry // pages of pageEntries
	n       int
	slots   []uint32 // open addressing; entry number + 1, 0 is free
	arena   [][]byte // pages of arenaPage bytes for keys longer than 8 bytes
	used    int      // bytes of the last arena page
	seed    maphash.Seed
	created []Ref // by entry number, if KeepCreated; may be shorter
	// KeepCreated keeps, of a key whose first change was an insert, the image of
	// that. Set before the first change.
	KeepCreated bool
	// Changes is how many row changes went in.
	Changes int64
}

const (
	pageEntries = 1 << 13
	arenaPage   = 1 << 18
	entrySize   = 32
)

// NewIndex returns an empty index.
func NewIndex() *Index {
	return &Index{slots: make([]uint32, 64), seed: maphash.MakeSeed()}
}

// Len is the number of keys.
func (x *Index) Len() int { return x.n }

// Bytes is the memory that the index takes, within a few per cent.
func (x *Index) Bytes() int64 {
	return int64(len(x.entries))*pageEntries*entrySize + int64(len(x.slots))*4 + int64(len(x.arena))*arenaPage + int64(cap(x.created))*8
}

// Entry returns entry number i, in order of first change.
func (x *Index) Entry(i int) *Entry { return &x.entries[i/pageEntries][i%pageEntries] }

// Insert notes that a row with this key was inserted.
func (x *Index) Insert(key []byte, after Ref) error {
	e, found := x.find(key)
	if found && e.After != 0 {
		return fmt.Errorf("%w: insert of a key that exists already", ErrInconsistent)
	}
	if !found && x.KeepCreated {
		x.created = append(x.created, make([]Ref, x.n-len(x.created))...)
		x.created[x.n-1] = after
	}
	e.After = after
	x.Changes++
	return nil
}

// Created is the image with which entry number i was inserted, if that was its
// first change and such images are kept; else zero.
func (x *Index) Created(i int) Ref {
	if i >= len(x.created) {
		return 0
	}
	return x.created[i]
}

// Update notes that the row with this key changed; the key did not.
func (x *Index) Update(key []byte, before, after Ref) error {
	e, found := x.find(key)
	if found && e.After == 0 {
		return fmt.Errorf("%w: update of a key that does not exist", ErrInconsistent)
	}
	if !found {
		e.Before = before
	}
	e.After = after
	x.Changes++
	return nil
}

// Delete notes that the row with this key was deleted.
func (x *Index) Delete(key []byte, before Ref) error {
	e, found := x.find(key)
	if found && e.After == 0 {
		return fmt.Errorf("%w: delete of a key that does not exist", ErrInconsistent)
	}
	if !found {
		e.Before = before
	}
	e.After = 0
	x.Changes++
	return nil
}

// Move notes an update that changed the key.
func (x *Index) Move(oldKey, newKey []byte, before, after Ref) error {
	if err := x.Delete(oldKey, before); err != nil {
		return err
	}
	x.Changes-- // one change of one row
	return x.Insert(newKey, after)
}

// find returns the key's entry, and makes one if there is none.
func (x *Index) find(key []byte) (e *Entry, found bool) {
	if 2*(x.n+1) > len(x.slots) {
		x.grow()
	}
	inline := inlineKey(key)
	mask := uint64(len(x.slots) - 1)
	for i := x.hash(inline, key) & mask; ; i = (i + 1) & mask {
		s := x.slots[i]
		if s == 0 {
			x.slots[i] = uint32(x.n + 1) //nolint:gosec // Full is checked by the window's memory bound
			return x.add(inline, key), false
		}
		if e := x.Entry(int(s - 1)); x.equal(e, inline, key) {
			return e, true
		}
	}
}

// inlineKey left-aligns up to 8 bytes, so that numbers compare as bytes do.
func inlineKey(key []byte) uint64 {
	if len(key) == 8 {
		return binary.BigEndian.Uint64(key)
	}
	if len(key) > 8 {
		return 0
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

func (x *Index) hash(inline uint64, key []byte) uint64 {
	if len(key) > 8 {
		return maphash.Bytes(x.seed, key)
	}
	hi, lo := bits.Mul64(inline^uint64(len(key))<<56^0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9)
	return hi ^ lo ^ hi>>29
}

func (x *Index) equal(e *Entry, inline uint64, key []byte) bool {
	if int(e.klen) != len(key) {
		return false
	}
	if len(key) <= 8 {
		return e.key == inline
	}
	return string(x.long(e)) == string(key)
}

func (x *Index) long(e *Entry) []byte {
	page, off := e.key>>32, e.key&(1<<32-1)
	return x.arena[page][off : off+uint64(e.klen)]
}

func (x *Index) add(inline uint64, key []byte) *Entry {
	if x.n%pageEntries == 0 {
		x.entries = append(x.entries, make([]Entry, pageEntries))
	}
	e := x.Entry(x.n)
	x.n++
	*e = Entry{key: inline, klen: uint32(len(key))} //nolint:gosec // a key is at most a few KiB
	if len(key) > 8 {
		e.key = x.store(key)
	}
	return e
}

func (x *Index) store(key []byte) uint64 {
	if len(x.arena) == 0 || x.used+len(key) > len(x.arena[len(x.arena)-1]) {
		x.arena = append(x.arena, make([]byte, max(arenaPage, len(key))))
		x.used = 0
	}
	page := len(x.arena) - 1
	copy(x.arena[page][x.used:], key)
	ref := uint64(page)<<32 | uint64(x.used)
	x.used += len(key)
	return ref
}

func (x *Index) grow() {
	x.slots = make([]uint32, 2*len(x.slots))
	mask := uint64(len(x.slots) - 1)
	var buf [8]byte
	for n := range x.n {
		e := x.Entry(n)
		i := x.hash(e.key, x.bytes(&buf, e)) & mask
		for x.slots[i] != 0 {
			i = (i + 1) & mask
		}
		x.slots[i] = uint32(n + 1) //nolint:gosec // as above
	}
}

// Key appends the entry's key to dst; keys longer than 8 bytes are returned
// without a copy if dst is nil.
func (x *Index) Key(dst []byte, e *Entry) []byte {
	if e.klen > 8 {
		if dst == nil {
			return x.long(e)
		}
		return append(dst, x.long(e)...)
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], e.key)
	return append(dst, b[:e.klen]...)
}

// Sorted returns the numbers of all entries with a net change, in key order.
func (x *Index) Sorted() []uint32 {
	order := make([]uint32, 0, x.n)
	for i := range x.n {
		if x.Entry(i).Kind() != Nothing {
			order = append(order, uint32(i)) //nolint:gosec // as above
		}
	}
	slices.SortFunc(order, func(a, b uint32) int {
		return x.compare(x.Entry(int(a)), x.Entry(int(b)))
	})
	return order
}

func (x *Index) compare(a, b *Entry) int {
	if a.klen <= 8 && b.klen <= 8 {
		switch {
		case a.key < b.key:
			return -1
		case a.key > b.key:
			return 1
		default:
			return int(a.klen) - int(b.klen)
		}
	}
	var ba, bb [8]byte
	return slices.Compare(x.bytes(&ba, a), x.bytes(&bb, b))
}

func (x *Index) bytes(buf *[8]byte, e *Entry) []byte {
	if e.klen > 8 {
		return x.long(e)
	}
	binary.BigEndian.PutUint64(buf[:], e.key)
	return buf[:e.klen]
}
