package netchange

import (
	"hash/maphash"
	"slices"
)

// Multiset counts full row images of a table without any key. Such a row has
// no identity but its contents, and two equal rows are two copies: an insert
// adds a copy, a delete takes one away, and what is left over at the end of
// the window is how many copies to add or to take away.
type Multiset struct {
	seed    maphash.Seed
	counts  map[uint64][]int // hash of the image → numbers of items
	items   []Copies
	Changes int64
	fetch   func(Ref) []byte
}

// Copies is an image and its net number of copies.
type Copies struct {
	Image Ref
	Count int // > 0: to insert, < 0: to delete
}

// NewMultiset returns an empty multiset; fetch gives the bytes of an image.
func NewMultiset(fetch func(Ref) []byte) *Multiset {
	return &Multiset{seed: maphash.MakeSeed(), counts: map[uint64][]int{}, fetch: fetch}
}

// Bytes is roughly the memory that the multiset takes.
func (m *Multiset) Bytes() int64 { return int64(len(m.items)) * 96 }

// Add counts delta copies of an image, which lies at ref.
func (m *Multiset) Add(image []byte, ref Ref, delta int) {
	m.Changes++
	h := maphash.Bytes(m.seed, image)
	for _, i := range m.counts[h] {
		if string(m.fetch(m.items[i].Image)) == string(image) {
			m.items[i].Count += delta
			return
		}
	}
	m.counts[h] = append(m.counts[h], len(m.items))
	m.items = append(m.items, Copies{ref, delta})
}

// Net returns the images whose number changed, deletes first, each part in
// order of first change in the log: deterministic for a window.
func (m *Multiset) Net() []Copies {
	var out []Copies
	for _, c := range m.items {
		if c.Count != 0 {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b Copies) int { return sign(a.Count) - sign(b.Count) })
	return out
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	default:
		return 0
	}
}
