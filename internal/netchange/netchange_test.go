package netchange_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/netchange"
)

func random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestRef(t *testing.T) {
	for _, r := range []struct {
		source int
		offset int64
	}{{0, 4}, {1, 0}, {65535, 1<<48 - 1}, {7, 1 << 40}} {
		ref := netchange.NewRef(r.source, r.offset)
		if ref.Source() != r.source || ref.Offset() != r.offset || ref == 0 {
			t.Errorf("%+v became source %d, offset %d", r, ref.Source(), ref.Offset())
		}
	}
}

// state is what the dumb twin knows of a key.
type state struct{ before, after netchange.Ref }

// twin is a map that does what an Index does.
type twin map[string]*state

func (w twin) insert(key string, after netchange.Ref) bool {
	s, ok := w[key]
	if ok && s.after != 0 {
		return false
	}
	if !ok {
		s = &state{}
		w[key] = s
	}
	s.after = after
	return true
}

func (w twin) change(key string, before, after netchange.Ref) bool {
	s, ok := w[key]
	if ok && s.after == 0 {
		return false
	}
	if !ok {
		s = &state{before: before}
		w[key] = s
	}
	s.after = after
	return true
}

// someKey makes keys that are short, long, prefixes of each other, and full of
// zero bytes, which an index that pads must not confuse.
func someKey(rnd *rand.Rand) string {
	switch rnd.IntN(6) {
	case 0:
		return strings.Repeat("\x00", rnd.IntN(12))
	case 1:
		return strings.Repeat("k", rnd.IntN(20)) + string(rune('a'+rnd.IntN(3)))
	case 2:
		return strings.Repeat("long", 100*rnd.IntN(3)) + fmt.Sprint(rnd.IntN(50))
	case 3:
		return "\x80\x00\x00" + string([]byte{byte(rnd.IntN(256))})
	case 4:
		return "8 bytes" + string([]byte{byte(rnd.IntN(256))})
	default:
		return fmt.Sprint(rnd.IntN(3000))
	}
}

// TestIndexAgainstMap: after any history the index knows what a map would, and
// refuses what a map would.
func TestIndexAgainstMap(t *testing.T) {
	rnd := random(t)
	for _, steps := range []int{1, 10, 1000, 60000} {
		x, w := netchange.NewIndex(), twin{}
		changes := int64(0)
		for step := range steps {
			key, ref := someKey(rnd), netchange.NewRef(rnd.IntN(3), int64(step+4))
			before := netchange.NewRef(3, int64(step+4))
			var err error
			var ok bool
			switch rnd.IntN(4) {
			case 0:
				err, ok = x.Insert([]byte(key), ref), w.insert(key, ref)
			case 1:
				err, ok = x.Update([]byte(key), before, ref), w.change(key, before, ref)
			case 2:
				err, ok = x.Delete([]byte(key), before), w.change(key, before, 0)
			default:
				to := someKey(rnd)
				if s := w[to]; s == nil || s.after != 0 { // only moves that the twin does wholly
					err, ok = x.Update([]byte(key), before, ref), w.change(key, before, ref)
					break
				}
				if s := w[key]; s != nil && s.after == 0 || to == key {
					err, ok = x.Update([]byte(key), before, ref), w.change(key, before, ref)
					break
				}
				err = x.Move([]byte(key), []byte(to), before, ref)
				ok = w.change(key, before, 0) && w.insert(to, ref)
			}
			if (err == nil) != ok || err != nil && !errors.Is(err, netchange.ErrInconsistent) {
				t.Fatalf("step %d, key %q: %v, the map says %v", step, key, err, ok)
			}
			if ok {
				changes++
			}
		}
		if x.Len() != len(w) || x.Changes != changes {
			t.Fatalf("%d keys and %d changes, want %d and %d", x.Len(), x.Changes, len(w), changes)
		}
		compareIndex(t, x, w)
	}
}

func compareIndex(t *testing.T, x *netchange.Index, w twin) {
	t.Helper()
	for i := range x.Len() {
		e := x.Entry(i)
		key := string(x.Key(nil, e))
		if again := string(x.Key([]byte("before"), e)); again != "before"+key {
			t.Fatalf("key %q appended is %q", key, again)
		}
		s := w[key]
		if s == nil || e.Before != s.before || e.After != s.after {
			t.Fatalf("key %q: %+v, the map says %+v", key, e, s)
		}
	}
	var want []string
	for key, s := range w {
		if s.before != 0 || s.after != 0 {
			want = append(want, key)
		}
	}
	slices.Sort(want)
	var got []string
	for _, n := range x.Sorted() {
		got = append(got, string(x.Key(nil, x.Entry(int(n)))))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("sorted keys are not the changed ones in byte order: %d, want %d", len(got), len(want))
	}
}

// TestNetChange: what a history of one key comes to.
func TestNetChange(t *testing.T) {
	for _, test := range []struct {
		history string
		want    netchange.Kind
		fails   bool
	}{
		{"i", netchange.Insert, false}, {"u", netchange.Update, false}, {"d", netchange.Delete, false},
		{"iu", netchange.Insert, false}, {"iud", netchange.Nothing, false}, {"id", netchange.Nothing, false}, {"idi", netchange.Insert, false},
		{"uu", netchange.Update, false}, {"ud", netchange.Delete, false}, {"di", netchange.Update, false}, {"did", netchange.Delete, false},
		{"ii", 0, true}, {"dd", 0, true}, {"du", 0, true}, {"ui", 0, true}, {"idu", 0, true}, {"idd", 0, true},
	} {
		x := netchange.NewIndex()
		var err error
		for i, c := range test.history {
			ref := netchange.NewRef(1, int64(i))
			switch c {
			case 'i':
				err = x.Insert([]byte("key"), ref)
			case 'u':
				err = x.Update([]byte("key"), ref, ref)
			default:
				err = x.Delete([]byte("key"), ref)
			}
		}
		if (err != nil) != test.fails || err == nil && x.Entry(0).Kind() != test.want {
			t.Errorf("%s: %v %v", test.history, x.Entry(0).Kind(), err)
		}
	}
}

// TestIndexBytes: the memory that the index says it takes is about what it
// takes, so that a window's bound holds.
func TestIndexBytes(t *testing.T) {
	for _, length := range []int{4, 8, 9, 100, 3000} {
		x := netchange.NewIndex()
		const n = 50000
		key := make([]byte, length)
		for i := range n {
			copy(key, fmt.Sprintf("%04x", i))
			key[length-1] = byte(i >> 8)
			_ = x.Insert(key, 1)
		}
		least := int64(x.Len()) * 32
		if length > 8 {
			least += int64(x.Len() * length)
		}
		if got := x.Bytes(); got < least || got > 3*least+1<<20 {
			t.Errorf("%d keys of %d bytes: %d bytes, want about %d", x.Len(), length, got, least)
		}
	}
}

// TestGrowthAllocatesLittle: growing the index does not allocate for each key.
func TestGrowthAllocatesLittle(t *testing.T) {
	const n = 20000
	allocs := testing.AllocsPerRun(1, func() {
		x := netchange.NewIndex()
		var key [8]byte
		for i := range n {
			key[0], key[1], key[2] = byte(i>>16), byte(i>>8), byte(i)
			_ = x.Insert(key[:4], 1)
		}
	})
	if allocs > n/100 {
		t.Errorf("%.0f allocations for %d keys", allocs, n)
	}
}

// TestMultisetAgainstMap: counts of full images, by a map of their bytes.
func TestMultisetAgainstMap(t *testing.T) {
	rnd := random(t)
	for range 50 {
		images := [][]byte{nil} // by offset
		m := netchange.NewMultiset(func(r netchange.Ref) []byte { return images[r.Offset()] })
		counts := map[string]int{}
		var order []string
		steps := rnd.IntN(2000)
		for range steps {
			image := []byte(someKey(rnd))
			images = append(images, image)
			delta := 1 - 2*rnd.IntN(2)
			m.Add(image, netchange.NewRef(1, int64(len(images)-1)), delta)
			if _, ok := counts[string(image)]; !ok {
				order = append(order, string(image))
			}
			counts[string(image)] += delta
		}
		if m.Changes != int64(steps) {
			t.Fatalf("%d changes, want %d", m.Changes, steps)
		}
		var want []string
		for _, sign := range []int{-1, 1} {
			for _, image := range order {
				if counts[image]*sign > 0 {
					want = append(want, fmt.Sprintf("%q %d", image, counts[image]))
				}
			}
		}
		var got []string
		for _, c := range m.Net() {
			got = append(got, fmt.Sprintf("%q %d", images[c.Image.Offset()], c.Count))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("net copies %v, want %v", got, want)
		}
	}
}

// TestClaims simulates a table with a primary key and two unique keys through a
// random history, and then applies its net change as replay does: the rows that
// Claims names are deleted first, then everything else in any order. No step
// may meet a duplicate, and the end must be the history's.
func TestClaims(t *testing.T) {
	rnd := random(t)
	for range 3000 {
		start := randomTable(rnd)
		end := start.clone()
		for range rnd.IntN(30) {
			end.step(rnd)
		}
		applyNetChange(t, rnd, start, end)
	}
}

type record struct{ u, v int } // 0 is NULL, which is never a duplicate

// simulated is a table: rows by primary key.
type simulated map[int]record

func (s simulated) clone() simulated {
	c := simulated{}
	for k, r := range s {
		c[k] = r
	}
	return c
}

// clash reports whether the row may not stand in the table beside the others.
func (s simulated) clash(key int, r record) bool {
	for k, o := range s {
		if k != key && (r.u != 0 && r.u == o.u || r.v != 0 && r.v == o.v) {
			return true
		}
	}
	return false
}

func randomTable(rnd *rand.Rand) simulated {
	s := simulated{}
	for range 20 {
		s.step(rnd)
	}
	return s
}

// step does one change that a server would allow.
func (s simulated) step(rnd *rand.Rand) {
	key, r := rnd.IntN(8), record{rnd.IntN(7), rnd.IntN(7)}
	switch rnd.IntN(3) {
	case 0:
		delete(s, key)
	case 1: // the key moves
		to := rnd.IntN(8)
		if old, ok := s[key]; ok && to != key {
			if _, taken := s[to]; !taken {
				delete(s, key)
				s[to] = old
			}
		}
	default:
		if !s.clash(key, r) {
			s[key] = r
		}
	}
}

// tokens of a row; 0 for NULL. Both keys share their numbers, so some tokens
// are equal by chance, as hashes may be.
func tokens(r record, ok bool) [2]uint64 {
	if !ok {
		return [2]uint64{}
	}
	t := [2]uint64{uint64(r.u), 0}
	if r.v != 0 {
		t[1] = uint64(r.v) + 4
	}
	return t
}

func applyNetChange(t *testing.T, rnd *rand.Rand, start, end simulated) {
	t.Helper()
	claims := netchange.NewClaims()
	given := map[int][]uint64{}
	var keys []int
	for key := range 8 {
		before, had := start[key]
		after, has := end[key]
		if !had && !has || had && has && before == after && rnd.IntN(2) == 0 {
			continue // unchanged rows may be in the log or not
		}
		keys = append(keys, key)
		b, a := tokens(before, had), tokens(after, has)
		for i := range b {
			if b[i] == a[i] {
				continue
			}
			if b[i] != 0 {
				claims.Give(b[i])
				given[key] = append(given[key], b[i])
			}
			if a[i] != 0 {
				claims.Take(a[i])
			}
		}
	}
	now := start.clone()
	first := map[int]bool{}
	for _, key := range keys {
		if claims.First(given[key]) {
			if _, ok := start[key]; !ok {
				t.Fatalf("row %d, which was not there, is to be deleted first", key)
			}
			first[key] = true
			delete(now, key)
		}
	}
	rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys {
		after, has := end[key]
		if !has {
			delete(now, key)
			continue
		}
		if now.clash(key, after) {
			t.Fatalf("row %d becomes %v beside %v, which is a duplicate\nfrom %v\nto %v\nfirst %v, order %v", key, after, now, start, end, first, keys)
		}
		now[key] = after
	}
	if fmt.Sprint(now) != fmt.Sprint(end) {
		t.Fatalf("the end is %v, want %v", now, end)
	}
}
