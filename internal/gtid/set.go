package gtid

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
)

// Set is a MySQL GTID set or a MariaDB position; see the package comment for how
// much less the latter knows. The zero value is an empty set that takes the
// flavor of what is first put into it.
type Set struct {
	flavor  Flavor
	sources []*source // MySQL: ascending by (uuid, tag), none empty
	hot     *source   // the one added to last; nil or one of sources
	heads   []ID      // MariaDB: ascending by domain, one per domain
}

// source is what one server, under one tag, has committed.
type source struct {
	uuid [16]byte
	tag  string
	ivs  intervals
}

// Flavor is 0 for an empty set made without one.
func (s *Set) Flavor() Flavor { return s.flavor }

// IsEmpty says whether nothing is in the set.
func (s *Set) IsEmpty() bool { return len(s.sources) == 0 && len(s.heads) == 0 }

// Clone shares nothing with s.
func (s *Set) Clone() Set {
	c := Set{flavor: s.flavor, heads: slices.Clone(s.heads)}
	for _, src := range s.sources {
		c.sources = append(c.sources, &source{src.uuid, src.tag, slices.Clone(src.ivs)})
	}
	return c
}

// Add puts one transaction in. A MariaDB position moves forward to id, never
// back. The error is about an ID no server assigns or of the other flavor.
func (s *Set) Add(id ID) error {
	if err := id.check(); err != nil {
		return err
	}
	if err := s.take(id.Flavor); err != nil {
		return fmt.Errorf("add GTID %s: %w", id, err)
	}
	if id.Flavor == MariaDB {
		s.advance(id)
		return nil
	}
	src := s.source(id.UUID, id.Tag)
	src.ivs = src.ivs.add(interval{id.Seq, id.Seq + 1})
	return nil
}

// take fixes the flavor of an empty set.
func (s *Set) take(f Flavor) error {
	if s.flavor == f {
		return nil
	}
	if !s.IsEmpty() {
		return fmt.Errorf("a %v GTID cannot be in a %v set", f, s.flavor)
	}
	s.flavor = f
	return nil
}

// source finds or makes the record of (uuid, tag). The caller adds to it.
func (s *Set) source(uuid [16]byte, tag string) *source {
	if s.hot != nil && s.hot.uuid == uuid && s.hot.tag == tag {
		return s.hot
	}
	i, found := s.search(uuid, tag)
	if !found {
		s.sources = slices.Insert(s.sources, i, &source{uuid: uuid, tag: tag})
	}
	s.hot = s.sources[i]
	return s.hot
}

func (s *Set) search(uuid [16]byte, tag string) (int, bool) {
	return sort.Find(len(s.sources), func(i int) int {
		src := s.sources[i]
		if c := bytes.Compare(uuid[:], src.uuid[:]); c != 0 {
			return c
		}
		return cmp.Compare(tag, src.tag)
	})
}

// intervals is nil when (uuid, tag) is not in the set.
func (s *Set) intervals(uuid [16]byte, tag string) intervals {
	i, found := s.search(uuid, tag)
	if !found {
		return nil
	}
	return s.sources[i].ivs
}

func (s *Set) searchDomain(domain uint32) (int, bool) {
	return slices.BinarySearchFunc(s.heads, domain, func(h ID, d uint32) int {
		return cmp.Compare(h.Domain, d)
	})
}

// advance moves the domain's head forward. Of two servers with the same number
// (a diverged domain) the greater id stays, so that the order of additions does
// not matter.
func (s *Set) advance(id ID) {
	i, found := s.searchDomain(id.Domain)
	if !found {
		s.heads = slices.Insert(s.heads, i, id)
		return
	}
	h := &s.heads[i]
	if id.Seq > h.Seq || id.Seq == h.Seq && id.Server > h.Server {
		*h = id
	}
}

// Contains says whether the transaction is in the set; for MariaDB, whether the
// position is at or past it, whichever server wrote it.
func (s *Set) Contains(id ID) bool {
	if id.Flavor != s.flavor {
		return false
	}
	if s.flavor == MariaDB {
		i, found := s.searchDomain(id.Domain)
		return found && id.Seq <= s.heads[i].Seq
	}
	return s.intervals(id.UUID, id.Tag).contains(id.Seq)
}

// Knows says whether the set has any transaction of the same origin: of MySQL the
// uuid and tag, of MariaDB the domain.
func (s *Set) Knows(id ID) bool {
	if id.Flavor != s.flavor {
		return false
	}
	if s.flavor == MariaDB {
		_, found := s.searchDomain(id.Domain)
		return found
	}
	return len(s.intervals(id.UUID, id.Tag)) > 0
}

// ContainsSet says whether everything in o is in s. The empty set is in every
// set; no other set is in one of the other flavor.
func (s *Set) ContainsSet(o Set) bool {
	for _, h := range o.heads {
		if !s.Contains(h) {
			return false
		}
	}
	for _, src := range o.sources {
		mine := s.intervals(src.uuid, src.tag)
		if slices.ContainsFunc(src.ivs, func(iv interval) bool { return !mine.covers(iv) }) {
			return false
		}
	}
	return true
}

// Equal compares contents; for MariaDB the server ids of the heads too. Empty
// sets are equal whatever their flavors.
func (s *Set) Equal(o Set) bool {
	return slices.Equal(s.heads, o.heads) && slices.EqualFunc(s.sources, o.sources, sameSource)
}

func sameSource(a, b *source) bool {
	return a.uuid == b.uuid && a.tag == b.tag && slices.Equal(a.ivs, b.ivs)
}

// Union adds everything in o to s. Two positions unite to the further one of
// each domain.
func (s *Set) Union(o Set) error {
	if o.IsEmpty() {
		return nil
	}
	if err := s.take(o.flavor); err != nil {
		return fmt.Errorf("union of GTID sets: %w", err)
	}
	for _, h := range o.heads {
		s.advance(h)
	}
	for _, theirs := range o.sources {
		src := s.source(theirs.uuid, theirs.tag)
		for _, iv := range theirs.ivs {
			src.ivs = src.ivs.add(iv)
		}
	}
	return nil
}

// Subtract removes everything in o from s. Positions have no difference: for
// MariaDB it is an error.
func (s *Set) Subtract(o Set) error {
	if s.IsEmpty() || o.IsEmpty() {
		return nil
	}
	if s.flavor != MySQL || o.flavor != MySQL {
		return fmt.Errorf("subtract a %v GTID set from a %v one: only MySQL sets have a difference", o.flavor, s.flavor)
	}
	if s.sameContents(&o) {
		s.sources, s.hot = nil, nil
		return nil
	}
	for _, theirs := range o.sources {
		i, found := s.search(theirs.uuid, theirs.tag)
		if !found {
			continue
		}
		for _, iv := range theirs.ivs {
			s.sources[i].ivs = s.sources[i].ivs.remove(iv)
		}
	}
	s.sources = slices.DeleteFunc(s.sources, func(src *source) bool { return len(src.ivs) == 0 })
	s.hot = nil
	return nil
}

// Foregone is what of s a log never held that holds log, if s is of a server with
// that log: transactions from before the log was begun, which the server came with
// (it was made from a copy). MySQL: of each source those before the first one that
// the log has. Of sources, MariaDB: domains, of which the log has nothing, all; but
// only if absent says so, since it may also be that the server never had them.
func (s *Set) Foregone(log Set, absent bool) Set {
	all := Set{flavor: s.flavor}
	for _, src := range s.sources {
		theirs := log.intervals(src.uuid, src.tag)
		if theirs == nil && !absent {
			continue
		}
		mine := &source{uuid: src.uuid, tag: src.tag, ivs: slices.Clone(src.ivs)}
		if theirs != nil {
			mine.ivs = mine.ivs.remove(interval{start: theirs[0].start, end: math.MaxUint64})
		}
		if len(mine.ivs) > 0 {
			all.sources = append(all.sources, mine)
		}
	}
	for _, h := range s.heads {
		if _, found := log.searchDomain(h.Domain); !found && absent {
			all.heads = append(all.heads, h)
		}
	}
	return all
}

// sameContents says whether s and o are copies of one Set, which must not be
// read while it is written.
func (s *Set) sameContents(o *Set) bool {
	return len(s.sources) > 0 && len(o.sources) > 0 && s.sources[0] == o.sources[0]
}

// Count is the number of transactions in a MySQL set. For a MariaDB position it
// is the sum of the sequence numbers, which is an upper bound only. It sticks at
// the greatest number instead of wrapping.
func (s *Set) Count() uint64 {
	var n uint64
	for _, src := range s.sources {
		for _, iv := range src.ivs {
			n = saturatingAdd(n, iv.end-iv.start)
		}
	}
	for _, h := range s.heads {
		n = saturatingAdd(n, h.Seq)
	}
	return n
}

func saturatingAdd(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// Heads lists a MariaDB position, one ID per domain, or the last transaction of
// each (uuid, tag) of a MySQL set.
func (s *Set) Heads() []ID {
	ids := slices.Clone(s.heads)
	for _, src := range s.sources {
		last := src.ivs[len(src.ivs)-1].end - 1
		ids = append(ids, ID{Flavor: MySQL, UUID: src.uuid, Tag: src.tag, Seq: last})
	}
	return ids
}
