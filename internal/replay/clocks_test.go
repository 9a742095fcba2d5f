package replay

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// clockLog is a log whose transactions were committed at any times, and the twin
// of what a stop in time comes to: the transactions before the first one that was
// committed later than the stop, in the order of the log.
type clockLog struct {
	flavor gtid.Flavor
	set    *binlog.Set
	times  []time.Time
	starts []binlog.Position
}

// format is the beginning of a file of a real server, without checksums.
func format(t testing.TB, flavor gtid.Flavor) []byte {
	t.Helper()
	name := "mariadb-10.11-nochecksum.log"
	if flavor == gtid.MySQL {
		name = "mysql-9.7-nochecksum.log"
	}
	data, err := os.ReadFile(filepath.Join("../binlog/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data[:4+binary.LittleEndian.Uint32(data[4+9:])]
}

// event appends one, with the offset of the next.
func event(data []byte, typ binlog.Type, at time.Time, body []byte) []byte {
	start := len(data)
	data = binlog.AppendEvent(data, typ, uint32(at.Unix()), 7, func(b []byte) []byte { return append(b, body...) }) //nolint:gosec // of this century
	binary.LittleEndian.PutUint32(data[start+13:], uint32(len(data)))                                               //nolint:gosec // a small file
	return data
}

// transaction appends one that was committed at a time: MySQL's has microseconds
// in its head, MariaDB's the seconds of its last event.
func (l *clockLog) transaction(data []byte, seq uint64, at time.Time) []byte {
	head, typ := binary.LittleEndian.AppendUint64(nil, seq), binlog.MariaGTID
	if l.flavor == gtid.MariaDB {
		head = append(head, make([]byte, 11)...)
	} else {
		typ = binlog.GTIDEvent
		head = slices.Concat(make([]byte, 17), head, []byte{2}, make([]byte, 16))
		head = append(head, binary.LittleEndian.AppendUint64(nil, uint64(at.UnixMicro()))[:7]...) //nolint:gosec // after 1970
	}
	data = event(data, typ, at, head)
	if l.flavor == gtid.MySQL {
		data = event(data, binlog.QueryEvent, at, append(make([]byte, 14), "BEGIN"...))
	}
	return event(data, binlog.XIDEvent, at, make([]byte, 8))
}

// write makes files of the times.
func (l *clockLog) write(t testing.TB, r *rand.Rand) {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i := 0; i < len(l.times) || i == 0; {
		name := fmt.Sprintf("bin.%06d", len(paths)+1)
		data := format(t, l.flavor)
		for n := 1 + r.IntN(8); n > 0 && i < len(l.times); n-- {
			l.starts = append(l.starts, binlog.Position{File: name, Offset: int64(len(data))})
			data = l.transaction(data, uint64(i+1), l.times[i]) //nolint:gosec // small
			i++
		}
		next := append(binary.LittleEndian.AppendUint64(nil, 4), fmt.Sprintf("bin.%06d", len(paths)+2)...)
		data = event(data, binlog.RotateEvent, time.Unix(0, 0), next)
		paths = append(paths, filepath.Join(dir, name))
		if err := os.WriteFile(paths[len(paths)-1], data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := binlog.OpenSet(paths)
	if err != nil {
		t.Fatal(err)
	}
	l.set = set
}

// precision is that of commit times.
func (l *clockLog) precision() time.Duration {
	if l.flavor == gtid.MySQL {
		return time.Microsecond
	}
	return time.Second
}

// times by a clock that is set back and forth, by hours too, and by sessions with
// times of their own.
func (l *clockLog) tick(r *rand.Rand) {
	clock := time.Date(2026, 10, 24, 23, 0, 0, 0, time.UTC)
	for range 1 + r.IntN(30) {
		clock = clock.Add(time.Duration(r.Int64N(int64(5 * time.Minute))))
		switch r.IntN(12) {
		case 0:
			clock = clock.Add(time.Hour)
		case 1:
			clock = clock.Add(-time.Hour)
		case 2:
			clock = clock.Add(time.Duration(r.Int64N(int64(time.Second))) - 500*time.Millisecond)
		}
		at := clock
		if r.IntN(15) == 0 { // SET timestamp
			at = clock.Add(time.Duration(r.Int64N(int64(48*time.Hour))) - 24*time.Hour)
		}
		l.times = append(l.times, at.Truncate(l.precision()))
	}
}

// want is the twin: how many transactions are kept; ok is false if the stop is
// not in the log: before all of it, or behind its end.
func (l *clockLog) want(stop time.Time) (n int, ok bool) {
	n = slices.IndexFunc(l.times, func(at time.Time) bool { return at.After(stop) })
	return n, n > 0
}

// check plans with a stop and compares it with the twin.
func (l *clockLog) check(t *testing.T, until string, at time.Time) {
	t.Helper()
	stop, err := ParseStop(until)
	if err != nil || !stop.Time.Equal(at) {
		t.Fatalf("%s is %s, want %s: %v", until, stop.Time, at, err)
	}
	p, err := makePlan(t.Context(), l.set, Start{Position: l.starts[0]}, stop, gtid.Set{}, scope{names: &Names{}, only: &Only{}}, Options{Memory: 1 << 20}, func(int64) {})
	n, ok := l.want(at)
	switch {
	case !ok && fault.ClassOf(err) != fault.Gap:
		t.Fatalf("until %s: %v, and it is not in the log %v", until, err, l.times)
	case ok && err != nil:
		t.Fatalf("until %s of %v: %v", until, l.times, err)
	case ok && (p.Transactions != int64(n) || !l.ends(p.To, n)):
		t.Fatalf("until %s of %v: %d transactions up to %s, want %d up to %s", until, l.times, p.Transactions, p.To, n, l.starts[n])
	}
}

// ends reports whether a position is the end of n transactions: the beginning of
// the next one.
func (l *clockLog) ends(at binlog.Position, n int) bool { return at == l.starts[n] }

// zones in which people write times.
var zones = []*time.Location{time.UTC, time.FixedZone("", 3600), time.FixedZone("", -8*3600), time.FixedZone("", 20700), time.FixedZone("", 7200)}

// TestClocks: whatever the clocks did, a stop in time keeps exactly what the twin
// says, in any zone that it is written in: 10,000 logs in the long tests.
func TestClocks(t *testing.T) {
	seed, logs := uint64(time.Now().UnixNano()), 150
	t.Logf("seed %d", seed)
	if long {
		logs = 5000
	}
	for _, flavor := range []gtid.Flavor{gtid.MySQL, gtid.MariaDB} {
		t.Run(flavor.String(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			reached, refused := 0, 0
			for range logs {
				l := &clockLog{flavor: flavor}
				l.tick(r)
				l.write(t, r)
				for range 10 {
					at := l.times[r.IntN(len(l.times))].Add(time.Duration(r.IntN(3)-1) * []time.Duration{time.Microsecond, time.Second, time.Hour}[r.IntN(3)])
					l.check(t, at.In(zones[r.IntN(len(zones))]).Format(time.RFC3339Nano), at)
					if _, ok := l.want(at); ok {
						reached++
					} else {
						refused++
					}
				}
				if err := l.set.Close(); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("%d stops are reached, %d are not in their log", reached, refused)
			if reached < logs || refused < logs {
				t.Error("that is too few to say anything")
			}
		})
	}
}

// TestHourThatComesTwice: in the night in which summer time ends the hour from 2
// to 3 comes twice; a zone says which one is meant, and a time without one is
// refused.
func TestHourThatComesTwice(t *testing.T) {
	berlin := func(clock, zone string) time.Time {
		at, err := time.Parse(time.RFC3339, "2026-10-25T"+clock+":00"+zone)
		if err != nil {
			t.Fatal(err)
		}
		return at.UTC()
	}
	for _, flavor := range []gtid.Flavor{gtid.MySQL, gtid.MariaDB} {
		l := &clockLog{flavor: flavor, times: []time.Time{
			berlin("01:50", "+02:00"), berlin("02:10", "+02:00"), berlin("02:50", "+02:00"),
			berlin("02:10", "+01:00"), berlin("02:50", "+01:00"), berlin("03:10", "+01:00"),
		}}
		l.write(t, rand.New(rand.NewPCG(1, 1)))
		for until, want := range map[string]int{
			"2026-10-25T02:30:00+02:00": 2, "2026-10-25T02:30:00+01:00": 4, "2026-10-25 02:10:00 +0100": 4,
			"2026-10-25T00:30:00Z": 2, "2026-10-25T01:30:00Z": 4,
		} {
			stop, err := ParseStop(until)
			if err != nil {
				t.Fatal(err)
			}
			if n, _ := l.want(stop.Time); n != want {
				t.Errorf("%s: the twin keeps %d, want %d", until, n, want)
			}
			l.check(t, until, stop.Time)
		}
		if _, err := ParseStop("2026-10-25T02:30:00"); fault.ClassOf(err) != fault.Usage {
			t.Errorf("without a zone: %v", err)
		}
		if err := l.set.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLaterBeforeTheStart: what a start leaves out, and is later than the stop, is
// told: it is on the target.
func TestLaterBeforeTheStart(t *testing.T) {
	noon := time.Date(2026, 10, 25, 12, 0, 0, 0, time.UTC)
	for _, flavor := range []gtid.Flavor{gtid.MySQL, gtid.MariaDB} {
		l := &clockLog{flavor: flavor}
		for _, minute := range []int{0, 50, 10, 20, 70} { // set back by 50 minutes
			l.times = append(l.times, noon.Add(time.Duration(minute)*time.Minute))
		}
		for seed := uint64(1); ; seed++ { // all in one file
			if l.starts = nil; l.set != nil {
				_ = l.set.Close()
			}
			if l.write(t, rand.New(rand.NewPCG(seed, 1))); len(l.set.Files) == 1 {
				break
			}
		}
		for minute, told := range map[int]bool{30: true, 55: false} {
			p, err := makePlan(t.Context(), l.set, Start{Position: l.starts[2]}, Stop{Time: noon.Add(time.Duration(minute) * time.Minute)}, gtid.Set{}, scope{names: &Names{}, only: &Only{}}, Options{Memory: 1 << 20}, func(int64) {})
			if err != nil || p.Transactions != 2 || (p.later != "") != told {
				t.Errorf("%s: %+v %v", flavor, p, err)
			}
		}
		if err := l.set.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
