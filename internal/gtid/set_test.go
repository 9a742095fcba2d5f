package gtid

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func mysql(s string) Set   { return must(ParseSet(MySQL, s)) }
func mariadb(s string) Set { return must(ParseSet(MariaDB, s)) }

func mariadbID(domain, server uint32, seq uint64) ID {
	return ID{Flavor: MariaDB, Domain: domain, Server: server, Seq: seq}
}

func TestPositionContainsWhatIsNotAfterIt(t *testing.T) {
	pos := mariadb("0-1-100,5-2-7")
	for id, want := range map[ID]bool{
		mariadbID(0, 1, 100): true,
		mariadbID(0, 1, 99):  true,
		mariadbID(0, 9, 99):  true, // the server id says nothing
		mariadbID(0, 1, 101): false,
		mariadbID(1, 1, 1):   false,
		mariadbID(5, 1, 7):   true,
		{Flavor: MySQL}:      false,
	} {
		if got := pos.Contains(id); got != want {
			t.Errorf("%v: %v", id, got)
		}
	}
}

func TestSetKnowsOrigins(t *testing.T) {
	pos, set := mariadb("0-1-100,5-2-7"), mysql("3e11fa47-71ca-11e1-9e33-c80aa9429562:5:tag:1")
	of := func(tag string) ID {
		id, err := ParseID(MySQL, "3e11fa47-71ca-11e1-9e33-c80aa9429562:"+tag+"9")
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for _, test := range []struct {
		set  Set
		id   ID
		want bool
	}{
		{pos, mariadbID(0, 9, 500), true}, {pos, mariadbID(1, 1, 1), false}, {pos, of(""), false},
		{set, of(""), true}, {set, of("tag:"), true}, {set, of("other:"), false}, {set, ID{Flavor: MySQL}, false},
		{Set{}, of(""), false}, {Set{}, mariadbID(0, 1, 1), false},
	} {
		if got := test.set.Knows(test.id); got != test.want {
			t.Errorf("%v of %v: %v", test.id, test.set.String(), got)
		}
	}
}

func TestPositionsUniteToTheFurtherOfEachDomain(t *testing.T) {
	a, b := mariadb("0-1-100,5-2-7"), mariadb("0-2-99,5-1-8,6-1-1")
	ab, ba := a.Clone(), b.Clone()
	if err := ab.Union(b); err != nil {
		t.Fatal(err)
	}
	if err := ba.Union(a); err != nil {
		t.Fatal(err)
	}
	if want := mariadb("0-1-100,5-1-8,6-1-1"); !ab.Equal(want) || !ba.Equal(want) {
		t.Errorf("got %v and %v", ab, ba)
	}
	if !ab.ContainsSet(a) || !ab.ContainsSet(b) || a.ContainsSet(ab) {
		t.Error("the union contains both and neither contains it")
	}
	if ab.Count() != 109 {
		t.Errorf("count %d", ab.Count())
	}
}

func TestPositionNeverMovesBack(t *testing.T) {
	pos := mariadb("0-1-100")
	if err := pos.Add(mariadbID(0, 2, 50)); err != nil {
		t.Fatal(err)
	}
	if pos.String() != "0-1-100" {
		t.Errorf("got %v", pos)
	}
}

func TestOfABinlogStateTheLastEntryOfADomainCounts(t *testing.T) {
	ids, err := ParseList("0-1-100,0-3-90,2-1-5,0-2-95")
	if err != nil {
		t.Fatal(err)
	}
	if set := ListToSet(ids); set.String() != "0-2-95,2-1-5" {
		t.Errorf("got %v", set)
	}
	if set := ListToSet(nil); !set.IsEmpty() || set.Flavor() != MariaDB {
		t.Errorf("of nothing: %v", set)
	}
}

func TestFlavorsDoNotMix(t *testing.T) {
	a, b := mysql(ua+":1"), mariadb("0-1-1")
	if a.Add(b.Heads()[0]) == nil || b.Add(a.Heads()[0]) == nil {
		t.Error("Add mixes")
	}
	if a.Union(b) == nil || a.Subtract(b) == nil || b.Subtract(b) == nil {
		t.Error("Union or Subtract mixes")
	}
	if a.ContainsSet(b) || b.ContainsSet(a) || a.Equal(b) {
		t.Error("the sets compare")
	}
	empty := mariadb("")
	if !a.ContainsSet(empty) || a.Union(empty) != nil || a.Subtract(empty) != nil {
		t.Error("the empty set fits everywhere")
	}
	if empty.Union(a) != nil || !empty.Equal(a) {
		t.Error("an empty set takes the flavor of what it gets")
	}
}

func TestAddRefusesWhatNoServerAssigns(t *testing.T) {
	var s Set
	for _, id := range []ID{
		{},
		{Flavor: MySQL},
		{Flavor: MySQL, Seq: math.MaxInt64},
		{Flavor: MySQL, Seq: 1, Tag: "Upper"},
		{Flavor: MySQL, Seq: 1, Tag: "9lives"},
	} {
		if s.Add(id) == nil {
			t.Errorf("%v accepted", id)
		}
	}
	if !s.IsEmpty() {
		t.Errorf("left %v behind", s)
	}
}

func TestCountSaturates(t *testing.T) {
	s := mysql(ua + ":1-9223372036854775806:a:1-9223372036854775806:b:1-9223372036854775806")
	if s.Count() != math.MaxUint64 {
		t.Errorf("got %d", s.Count())
	}
}

func TestCloneSharesNothing(t *testing.T) {
	a := mysql(ua + ":1-3")
	b := a.Clone()
	if err := b.Add(ID{Flavor: MySQL, UUID: a.sources[0].uuid, Seq: 4}); err != nil {
		t.Fatal(err)
	}
	if a.String() != ua+":1-3" || b.String() != ua+":1-4" {
		t.Errorf("got %v and %v", a, b)
	}
}

func TestSetMinusItself(t *testing.T) {
	a := mysql(ua + ":1-3:7")
	b := a // shares its contents
	if err := a.Subtract(b); err != nil || !a.IsEmpty() {
		t.Errorf("got %v, %v", a, err)
	}
}

// twin is a set nobody can get wrong.
type twin map[ID]bool

const twinMax = 40 // numbers 1 to twinMax; small, so that intervals meet often

func (w twin) set() Set {
	s := Set{flavor: MySQL}
	for id := range w { // in Go's random order
		if err := s.Add(id); err != nil {
			panic(err)
		}
	}
	return s
}

func (w twin) union(o twin) twin {
	u := twin{}
	for _, x := range []twin{w, o} {
		for id := range x {
			u[id] = true
		}
	}
	return u
}

func (w twin) minus(o twin) twin {
	d := twin{}
	for id := range w {
		if !o[id] {
			d[id] = true
		}
	}
	return d
}

func randomIDs() []ID {
	var ids []ID
	for _, uuid := range [][16]byte{{1}, {2}} {
		for _, tag := range []string{"", "a", "b"} {
			for seq := range uint64(twinMax) {
				ids = append(ids, ID{Flavor: MySQL, UUID: uuid, Tag: tag, Seq: seq + 1})
			}
		}
	}
	return ids
}

func randomTwin(r *rand.Rand, universe []ID) twin {
	w := twin{}
	density := r.Float64()
	for _, id := range universe {
		if r.Float64() < density {
			w[id] = true
		}
	}
	return w
}

// TestSetsBehaveLikeTheirTwin compares every operation with the dumb one.
func TestSetsBehaveLikeTheirTwin(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	universe := randomIDs()
	for range 300 {
		wa, wb := randomTwin(r, universe), randomTwin(r, universe)
		if r.IntN(4) == 0 {
			wb = wb.minus(wb.minus(wa)) // a subset
		}
		a, b := wa.set(), wb.set()
		checkSame(t, a, wa, universe)
		u, d := a.Clone(), a.Clone()
		if u.Union(b) != nil || d.Subtract(b) != nil {
			t.Fatal("union or difference refused")
		}
		checkSame(t, u, wa.union(wb), universe)
		checkSame(t, d, wa.minus(wb), universe)
		if a.ContainsSet(b) != (len(wb.minus(wa)) == 0) {
			t.Fatalf("ContainsSet(%v, %v) is %v", a, b, a.ContainsSet(b))
		}
		if a.Equal(b) != (len(wb.minus(wa)) == 0 && len(wa) == len(wb)) {
			t.Fatalf("Equal(%v, %v) is %v", a, b, a.Equal(b))
		}
	}
}

func checkSame(t *testing.T, s Set, w twin, universe []ID) {
	t.Helper()
	for _, id := range universe {
		if s.Contains(id) != w[id] {
			t.Fatalf("%v in %v: %v", id, s, s.Contains(id))
		}
	}
	if s.Count() != uint64(len(w)) || s.IsEmpty() != (len(w) == 0) {
		t.Fatalf("%v counts %d, want %d", s, s.Count(), len(w))
	}
	if back := mysql(s.String()); !back.Equal(s) {
		t.Fatalf("%v reads back as %v", s, back)
	}
	if rebuilt := w.set(); !rebuilt.Equal(s) {
		t.Fatalf("%v is not in normal form %v", s, rebuilt)
	}
	body, err := EncodePreviousGTIDs(s)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := DecodePreviousGTIDs(body); err != nil || !back.Equal(s) {
		t.Fatalf("%v decodes as %v, %v", s, back, err)
	}
}

// TestAddTouchesOnlyTheEnd holds the common case to no allocation.
func TestAddTouchesOnlyTheEnd(t *testing.T) {
	s := mysql(ua + ":1-5," + ub + ":1-7:9")
	id := ID{Flavor: MySQL, UUID: s.sources[1].uuid, Seq: 9}
	if n := testing.AllocsPerRun(100, func() {
		id.Seq++
		if err := s.Add(id); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !slices.Equal(s.sources[1].ivs, intervals{{1, 8}, {9, id.Seq + 1}}) {
		t.Errorf("got %v", s)
	}
}

func BenchmarkAddNext(b *testing.B) {
	s := mysql(ua + ":1-5," + ub + ":1-7:9")
	id := ID{Flavor: MySQL, UUID: s.sources[1].uuid, Seq: 9}
	for b.Loop() {
		id.Seq++
		if err := s.Add(id); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAddMariaDB(b *testing.B) {
	s := mariadb("0-1-5,1-1-6")
	id := mariadbID(1, 1, 6)
	for b.Loop() {
		id.Seq++
		if err := s.Add(id); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkContains(b *testing.B) {
	var s Set
	id := ID{Flavor: MySQL, UUID: [16]byte{1}}
	for i := range uint64(10_000) {
		id.Seq = i*2 + 1
		if err := s.Add(id); err != nil {
			b.Fatal(err)
		}
	}
	id.Seq = 7777
	for b.Loop() {
		if !s.Contains(id) {
			b.Fatal("lost")
		}
	}
}

// TestForegone: of each source what comes before the first transaction of the
// log; of one that the log does not have all or nothing.
func TestForegone(t *testing.T) {
	const a, b = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562"
	for _, c := range []struct {
		flavor    Flavor
		base, log string
		absent    bool
		want      string
	}{
		{MySQL, a + ":1-100," + b + ":1-5", b + ":1-9", true, a + ":1-100"},
		{MySQL, a + ":1-100," + b + ":1-5", b + ":1-9", false, ""},
		{MySQL, a + ":1-100", a + ":51-70", false, a + ":1-50"},
		{MySQL, a + ":1-20:30-60", a + ":41-70", true, a + ":1-20:30-40"},
		{MySQL, a + ":1-8", a + ":1-5", true, ""}, // lost, not foregone
		{MySQL, a + ":1-8", "", true, a + ":1-8"},
		{MySQL, "", a + ":5", true, ""},
		{MariaDB, "0-1-5,7-1-9", "0-2-4", true, "7-1-9"},
		{MariaDB, "0-1-5,7-1-9", "0-2-4", false, ""},
		{MariaDB, "0-1-5", "0-2-9", true, ""},
	} {
		base, err1 := ParseSet(c.flavor, c.base)
		log, err2 := ParseSet(c.flavor, c.log)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		before := base.String()
		if got := base.Foregone(log, c.absent); got.String() != c.want {
			t.Errorf("%s, of a log with %s (%t): %s, want %s", c.base, c.log, c.absent, got, c.want)
		}
		if base.String() != before {
			t.Errorf("%s has become %s", before, base)
		}
	}
}
