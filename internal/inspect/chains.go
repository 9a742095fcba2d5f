package inspect

import "math/bits"

// hashSet holds 64-bit hashes, each with two bits of state in its lowest bits,
// in open addressing with linear probing. Equal hashes may be in it more than
// once. A free slot is 0; see normal. Not safe for concurrent use.
type hashSet struct {
	slots []uint64 // a power of two of them, or none
	n     int
}

const (
	stateBits = 3       // the bits of a slot that are not hash
	firstSize = 64      // slots of a set that begins to be used
	keepSize  = 1 << 12 // slots that are kept, cleared, for the next window
	slotBytes = 8
)

// normal makes a hash that fits into a slot.
func normal(h uint64) uint64 { return max(h&^stateBits, stateBits+1) }

// home is where the search for a hash begins.
func (s *hashSet) home(h uint64) int {
	return int(h >> (64 - bits.TrailingZeros(uint(len(s.slots)))))
}

// find looks for a hash, if possible one in the preferred state.
func (s *hashSet) find(h, prefer uint64) (at int, found bool) {
	if s.n == 0 {
		return 0, false
	}
	mask := len(s.slots) - 1
	for i := s.home(h); s.slots[i] != 0; i = (i + 1) & mask {
		switch s.slots[i] ^ h {
		case prefer:
			return i, true
		default:
			if s.slots[i]&^stateBits == h {
				at, found = i, true
			}
		}
	}
	return at, found
}

// add puts a hash in. There must be room; twin reports that an equal hash is in
// the set already.
func (s *hashSet) add(h, state uint64) (twin bool) {
	mask := len(s.slots) - 1
	i := s.home(h)
	for ; s.slots[i] != 0; i = (i + 1) & mask {
		twin = twin || s.slots[i]&^stateBits == h
	}
	s.slots[i] = h | state
	s.n++
	return twin
}

// remove frees a slot and moves those behind it up, so that no search ends
// early at it.
func (s *hashSet) remove(at int) {
	mask := len(s.slots) - 1
	s.n--
	for i := at; ; {
		i = (i + 1) & mask
		v := s.slots[i]
		if v == 0 {
			break
		}
		// v may move to the gap unless its home lies cyclically in (at, i].
		if home := s.home(v); (i-home)&mask >= (i-at)&mask {
			s.slots[at], at = v, i
		}
	}
	s.slots[at] = 0
}

// room makes room for one more within the budget; false if there is none.
func (s *hashSet) room(b *budget) bool {
	if 4*(s.n+1) <= 3*len(s.slots) {
		return true
	}
	size := max(firstSize, 2*len(s.slots))
	if !b.take(int64(size) * slotBytes) {
		return 8*(s.n+1) <= 7*len(s.slots)
	}
	old := s.slots
	s.slots, s.n = make([]uint64, size), 0
	for _, v := range old {
		if v != 0 {
			s.add(v&^stateBits, v&stateBits)
		}
	}
	b.give(int64(len(old)) * slotBytes)
	return true
}

// reset empties the set. A large one is given up: clearing it would cost more
// than the next window may need.
func (s *hashSet) reset(b *budget) {
	s.n = 0
	if len(s.slots) <= keepSize {
		clear(s.slots)
		return
	}
	b.give(int64(len(s.slots)) * slotBytes)
	s.slots = nil
}

// budget is the memory that all sets together may take, in bytes. A set that
// grows takes the new size before it gives the old one back, so the limit holds
// at every moment.
type budget struct{ left, used, peak int64 }

func (b *budget) take(n int64) bool {
	if n > b.left {
		return false
	}
	b.left -= n
	b.used += n
	b.peak = max(b.peak, b.used)
	return true
}

func (b *budget) give(n int64) {
	b.left += n
	b.used -= n
}

// follower follows the rows of one table through one window and counts those
// that are left of all changes. Which of the two kinds it is depends on whether
// the log says what the table's key is.
type follower struct {
	set   hashSet
	keyed bool
	lossy bool // the budget did not suffice: the counts below became bounds
	twins bool // two rows of equal contents were there at once

	// By contents.
	existed   int64 // chains of rows that were there before
	born      int64 // chains that began with an insert
	vanished  int64 // of these, how many ended in a delete
	deleted   int64 // of existed, how many ended in a delete
	lost      int64 // chains that were not kept
	unmatched int64 // since then, rows that were not found

	// By key: changes of keys that are not in the set although they may have been
	// changed before.
	stray int64
}

// States of a chain's row.
const (
	chainExisted uint64 = 0
	chainBorn    uint64 = 1
)

// States of a key.
const (
	keyExisted uint64 = 1
	keyAlive   uint64 = 2
)

func (f *follower) insert(b *budget, after uint64) {
	if f.keyed {
		f.keyInsert(b, after)
		return
	}
	f.born++
	f.put(b, after, chainBorn)
}

func (f *follower) update(b *budget, before, after uint64) {
	switch {
	case !f.keyed:
		f.put(b, after, f.leave(before))
	case before == after:
		f.keyUpdate(b, after)
	default: // another key: the old row goes and another one comes, as in a replay
		f.keyDelete(b, before)
		f.keyInsert(b, after)
	}
}

func (f *follower) remove(b *budget, before uint64) {
	if f.keyed {
		f.keyDelete(b, before)
		return
	}
	if f.leave(before) == chainBorn {
		f.vanished++
	} else {
		f.deleted++
	}
}

// leave ends that a row looks as before, and says whether it was born in this
// window.
func (f *follower) leave(before uint64) (state uint64) {
	at, found := f.set.find(before, chainBorn)
	if !found {
		f.existed++
		if f.lossy {
			f.unmatched++
		}
		return chainExisted
	}
	state = f.set.slots[at] & stateBits
	f.set.remove(at)
	return state
}

func (f *follower) put(b *budget, after, state uint64) {
	if f.set.room(b) {
		twin := f.set.add(after, state)
		f.twins = f.twins || twin
		return
	}
	f.lossy = true
	f.lost++
}

func (f *follower) keyInsert(b *budget, key uint64) {
	if at, found := f.set.find(key, keyExisted); found {
		f.set.slots[at] |= keyAlive
		return
	}
	f.putKey(b, key, keyAlive)
}

func (f *follower) keyUpdate(b *budget, key uint64) {
	if at, found := f.set.find(key, keyExisted|keyAlive); found {
		f.set.slots[at] |= keyAlive
		return
	}
	f.putKey(b, key, keyExisted|keyAlive)
}

func (f *follower) keyDelete(b *budget, key uint64) {
	at, found := f.set.find(key, keyExisted|keyAlive)
	switch {
	case !found:
		f.putKey(b, key, keyExisted)
	case f.set.slots[at]&keyExisted == 0:
		f.set.remove(at)
	default:
		f.set.slots[at] &^= keyAlive
	}
}

func (f *follower) putKey(b *budget, key, state uint64) {
	if f.set.room(b) {
		f.set.add(key, state)
		return
	}
	f.lossy = true
	f.stray++
}

// net is how many rows are left of all changes: between least and most.
//
// By contents, most is the number of chains that did not vanish. A row that was
// deleted and one that was inserted later are two chains, and one row if they
// have the same key, which is not known: so up to the smaller number of the two
// may be too many.
//
// A chain that was not kept for lack of memory counts a second time when its
// row changes again, once for each chain lost at most. If it began with an
// insert and ends with a delete, it is not seen to vanish: it counts as a row
// inserted and one deleted, which least takes for one and the same already.
func (f *follower) net() (least, most int64) {
	if f.keyed {
		n := int64(f.set.n)
		return n, n + f.stray
	}
	most = f.existed + f.born - f.vanished
	least = most - min(f.deleted, f.born-f.vanished)
	least -= min(f.lost, f.unmatched)
	return max(0, least), most
}

// reset prepares for the next window.
func (f *follower) reset(b *budget) {
	set := f.set
	set.reset(b)
	*f = follower{set: set}
}
