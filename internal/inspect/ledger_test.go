package inspect

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"testing"
)

// twin counts net rows in the dumbest way: it has the tables, knows every row,
// and looks at what is left at the end of a window.
type twin struct {
	rows  map[int]*twinRow // by key, those that exist
	gone  []*twinRow       // rows that were deleted in this window
	keys  map[int]*twinKey // those changed in this window
	moved bool             // a key was changed

	chains, least, keyed int64 // of the windows that are closed
}

type twinRow struct {
	key      int
	contents uint64
	born     bool // in this window
	changed  bool // in this window
}

type twinKey struct{ existed bool }

func newTwin() *twin { return &twin{rows: map[int]*twinRow{}, keys: map[int]*twinKey{}} }

func (w *twin) touch(key int) {
	if w.keys[key] == nil {
		w.keys[key] = &twinKey{existed: w.rows[key] != nil}
	}
}

func (w *twin) close() {
	var net, deleted, born int64
	for _, r := range w.rows {
		if r.changed {
			net++
		}
		if r.born {
			born++
		}
		r.born, r.changed = false, false
	}
	for _, r := range w.gone {
		if !r.born {
			net++
			deleted++
		}
	}
	for key, k := range w.keys {
		if k.existed || w.rows[key] != nil {
			w.keyed++
		}
	}
	w.chains += net
	w.least += net - min(deleted, born)
	w.gone, w.keys = nil, map[int]*twinKey{}
}

// play makes a history out of bytes, two for each change, and gives it to a
// twin and, as operations by contents and by key, to ledgers.
func play(script []byte, moves bool) (w *twin, contents, keys []op) {
	w = newTwin()
	for key := range 8 { // rows that were there before
		w.rows[2*key] = &twinRow{key: 2 * key, contents: hashOf("old", 2*key)}
	}
	for n := 0; n+1 < len(script); n += 2 {
		key, row := int(script[n+1]%32), w.rows[int(script[n+1]%32)]
		fresh := hashOf("row", key, n)
		var byKey, o op
		switch action := script[n] % 32; {
		case action == 0:
			w.close()
			o.kind, byKey.kind = opBarrier, opBarrier
		case row == nil:
			w.touch(key)
			w.rows[key] = &twinRow{key: key, contents: fresh, born: true, changed: true}
			o = op{kind: opInsert, after: fresh}
			byKey = op{kind: opInsert, after: hashOf(key)}
		case action < 12:
			w.touch(key)
			delete(w.rows, key)
			w.gone = append(w.gone, row)
			o = op{kind: opDelete, before: row.contents}
			byKey = op{kind: opDelete, before: hashOf(key)}
		default:
			to := key
			if moves && action > 28 && w.rows[key^1] == nil {
				to = key ^ 1
				w.moved = true
			}
			w.touch(key)
			w.touch(to)
			o = op{kind: opUpdate, before: row.contents, after: fresh}
			byKey = op{kind: opUpdate, before: hashOf(key), after: hashOf(to)}
			row.contents, row.changed, row.key = fresh, true, to
			delete(w.rows, key)
			w.rows[to] = row
		}
		byKey.keyed = true
		contents, keys = append(contents, o), append(keys, byKey)
	}
	w.close()
	return w, contents, keys
}

func hashOf(a ...any) uint64 { return normal(maphash.String(seed, fmt.Sprint(a...))) }

// count gives operations to a ledger, in pieces as a scan does.
func count(ops []op, memory int64) (least, most int64, a *account) {
	l := newLedger(memory)
	for len(ops) > 0 {
		n := min(len(ops), 7)
		l.apply(ops[:n])
		ops = ops[n:]
	}
	l.close()
	a = l.account(0)
	return a.least, a.most, a
}

func checkHistory(t *testing.T, script []byte, moves bool) {
	t.Helper()
	const plenty = 1 << 20
	w, contents, keys := play(script, moves)
	least, most, a := count(contents, plenty)
	if most != w.chains || least != w.least {
		t.Errorf("by contents: %d to %d net rows, the twin has %d to %d", least, most, w.least, w.chains)
	}
	if a.twins || a.lossy {
		t.Errorf("identical rows %v, memory %v: want neither", a.twins, a.lossy)
	}
	if l, m, _ := count(keys, plenty); l != m || m != w.keyed {
		t.Errorf("by key: %d to %d net rows, the twin has %d", l, m, w.keyed)
	}
	if !w.moved && (w.keyed < least || w.keyed > most) {
		t.Errorf("%d net rows by key are not between %d and %d", w.keyed, least, most)
	}
	for _, memory := range []int64{0, firstSize * slotBytes} { // nothing, and what 48 rows take
		if l, m, _ := count(contents, memory); l > least || m < most {
			t.Errorf("by contents, with %d bytes: %d to %d is not around %d to %d", memory, l, m, least, most)
		}
		if l, m, _ := count(keys, memory); l > w.keyed || m < w.keyed {
			t.Errorf("by key, with %d bytes: %d to %d is not around %d", memory, l, m, w.keyed)
		}
	}
}

func TestRandomHistories(t *testing.T) {
	s := rand.Uint64()
	t.Logf("seed %d", s)
	r := rand.New(rand.NewPCG(s, 0))
	for n := range 3000 {
		script := make([]byte, 2*r.IntN(400))
		for i := range script {
			script[i] = byte(r.Uint32())
		}
		checkHistory(t, script, n%2 == 0)
		if t.Failed() {
			t.Fatalf("history %d: %x", n, script)
		}
	}
}

func FuzzHistory(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), true)
	f.Fuzz(func(t *testing.T, script []byte, moves bool) { checkHistory(t, script, moves) })
}

// TestHashSet compares the set with a map of counts.
func TestHashSet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := budget{left: 1 << 20}
	var s hashSet
	want := map[uint64]int{} // slot value → how many
	hash := func() uint64 { return normal(uint64(r.IntN(40)) << 58 >> uint(r.IntN(2))) }
	for n := range 200_000 {
		h, state := hash(), uint64(r.IntN(2))
		if r.IntN(4) == 0 || s.n > 500 {
			at, found := s.find(h, state)
			if found != (want[h]+want[h|1] > 0) {
				t.Fatalf("step %d: find %x: %v, want %d and %d", n, h, found, want[h], want[h|1])
			}
			if !found {
				continue
			}
			if got := s.slots[at]; got&^stateBits != h || want[got] == 0 || got != h|state && want[h|state] > 0 {
				t.Fatalf("step %d: find %x in state %d: %x", n, h, state, got)
			}
			want[s.slots[at]]--
			s.remove(at)
			continue
		}
		if !s.room(&b) {
			t.Fatal("no room")
		}
		if twin := s.add(h, state); twin != (want[h]+want[h|1] > 0) {
			t.Fatalf("step %d: add %x: twin %v, want %d and %d", n, h, twin, want[h], want[h|1])
		}
		want[h|state]++
	}
	got := map[uint64]int{}
	for _, v := range s.slots {
		if v != 0 {
			got[v]++
		}
	}
	for v, n := range want {
		if got[v] != n {
			t.Errorf("%x is there %d times, want %d", v, got[v], n)
		}
	}
	if used := int64(len(s.slots)) * slotBytes; b.used != used {
		t.Errorf("the budget says %d bytes, the set has %d", b.used, used)
	}
	s.reset(&b)
	if s.n != 0 {
		t.Errorf("%d left after reset", s.n)
	}
}

// A row that is deleted while one with the same contents is there.
func TestIdenticalRows(t *testing.T) {
	x := hashOf("x")
	least, most, a := count([]op{
		{kind: opInsert, after: x}, {kind: opInsert, after: x}, {kind: opInsert, after: x},
		{kind: opDelete, before: x},
	}, 1<<20)
	if least != 2 || most != 2 || !a.twins {
		t.Errorf("%d to %d net rows, identical %v; want 2 and true", least, most, a.twins)
	}
}

// Partial images: merged up to the first, as logged from there on.
func TestVerbatimForGood(t *testing.T) {
	x, y := hashOf("x"), hashOf("y")
	l := newLedger(1 << 20)
	l.apply([]op{
		{kind: opInsert, after: x}, {kind: opUpdate, before: x, after: y}, // 1
		{kind: opVerbatim, before: 3},                                     // 3
		{kind: opInsert, after: x}, {kind: opUpdate, before: x, after: y}, // 2
		{kind: opBarrier},
		{kind: opAlone, before: 2}, {kind: opBarrier}, // 2
		{kind: opInsert, after: x}, {kind: opDelete, before: x}, // 2
	})
	l.close()
	if a := l.account(0); a.least != 10 || a.most != 10 || !a.verbatim || l.windows != 2 {
		t.Errorf("%d to %d net rows in %d windows, verbatim %v; want 10 in 2, true", a.least, a.most, l.windows, a.verbatim)
	}
}

func TestMemoryIsGivenBack(t *testing.T) {
	l := newLedger(1 << 30)
	for table := range uint32(10) {
		for n := range 20_000 {
			l.apply([]op{{kind: opInsert, table: table, after: hashOf(n)}})
		}
	}
	if l.budget.used < 10*20_000*slotBytes {
		t.Errorf("%d bytes used for 200,000 rows", l.budget.used)
	}
	l.close()
	if l.budget.used != 0 {
		t.Errorf("%d bytes used after the window", l.budget.used)
	}
}
