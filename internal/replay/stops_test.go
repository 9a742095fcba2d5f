package replay

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// TestEveryStop: behind each transaction of a log a replay can stop, by its GTID
// and by the place where it ends, also where it is the last one of its file and
// ROTATE stands behind it; and at the head of each file. Inside one it cannot.
func TestEveryStop(t *testing.T) {
	for _, flavor := range []gtid.Flavor{gtid.MySQL, gtid.MariaDB} {
		t.Run(flavor.String(), func(t *testing.T) {
			l := &clockLog{flavor: flavor}
			for n := range 30 {
				l.times = append(l.times, time.Unix(int64(1<<30+n), 0).UTC())
			}
			l.write(t, rand.New(rand.NewPCG(1, 1)))
			defer func() { _ = l.set.Close() }()
			n := 0
			for i, f := range l.set.Files {
				if i > 0 {
					l.stopsAt(t, Stop{Position: f.At(4)}, n)
					l.stopsAt(t, Stop{Position: f.At(f.First)}, n)
				}
				sc := txn.NewScanner(f, f.First, &binlog.Inflater{})
				for tx, ok, err := sc.Next(); ok || err != nil; tx, ok, err = sc.Next() {
					if err != nil {
						t.Fatal(err)
					}
					n++
					l.stopsAt(t, Stop{Position: tx.EndPosition()}, n)
					l.stopsAt(t, l.stopBehind(t, n), n)
					l.isThere(t, tx.EndPosition(), n)
					if p, err := l.plan(t, Stop{Position: f.At(tx.End - 1)}); fault.ClassOf(err) != fault.Gap {
						t.Errorf("until %s: %+v %v, and it lies inside a transaction", f.At(tx.End-1), p, err)
					}
				}
				l.stopsAt(t, Stop{Position: f.At(int64(len(f.Data)))}, n)
			}
			if n != len(l.times) || len(l.set.Files) < 3 {
				t.Errorf("%d transactions in %d files", n, len(l.set.Files))
			}
		})
	}
}

// stopBehind is the stop by the GTIDs of the first n transactions.
func (l *clockLog) stopBehind(t *testing.T, n int) Stop {
	t.Helper()
	text := fmt.Sprintf("gtid:0-7-%d", n)
	if l.flavor == gtid.MySQL {
		text = fmt.Sprintf("gtid:00000000-0000-0000-0000-000000000000:1-%d", n)
	}
	stop, err := ParseStop(text)
	if err != nil {
		t.Fatal(err)
	}
	return stop
}

// isThere goes on behind n transactions, up to behind them: an earlier run was
// interrupted when it had applied the last one. What lies before is gone by.
func (l *clockLog) isThere(t *testing.T, at binlog.Position, n int) {
	t.Helper()
	resumed := func(stop Stop) (*Plan, error) {
		return makePlan(t.Context(), l.set, Start{Position: at}, stop, l.stopBehind(t, n).Set, scope{names: &Names{}, only: &Only{}}, Options{Memory: 1 << 20}, func(int64) {})
	}
	if p, err := resumed(l.stopBehind(t, n)); err != nil || p.Transactions != 0 || p.To != at {
		t.Errorf("until %s, which is there: %+v %v", l.stopBehind(t, n), p, err)
	}
	if n > 1 {
		if p, err := resumed(l.stopBehind(t, n-1)); fault.ClassOf(err) != fault.Gap || !strings.Contains(err.Error(), "more than") {
			t.Errorf("until %s, which has gone by: %+v %v", l.stopBehind(t, n-1), p, err)
		}
	}
}

func (l *clockLog) plan(t *testing.T, stop Stop) (*Plan, error) {
	t.Helper()
	return makePlan(t.Context(), l.set, Start{Position: l.starts[0]}, stop, gtid.Set{}, scope{names: &Names{}, only: &Only{}}, Options{Memory: 1 << 20}, func(int64) {})
}

// stopsAt plans with a stop that keeps n transactions.
func (l *clockLog) stopsAt(t *testing.T, stop Stop, n int) {
	t.Helper()
	if p, err := l.plan(t, stop); err != nil || p.Transactions != int64(n) {
		t.Errorf("until %s: %+v %v, want %d transactions", stop, p, err, n)
	}
}

// TestStopInFlight: a run that goes on does not stop in front of the end of what
// the last one was interrupted in, nor where that begins: some of it is there.
func TestStopInFlight(t *testing.T) {
	l := &clockLog{flavor: gtid.MariaDB}
	for n := range 30 {
		l.times = append(l.times, time.Unix(int64(1<<30+n), 0).UTC())
	}
	l.write(t, rand.New(rand.NewPCG(1, 1)))
	defer func() { _ = l.set.Close() }()
	for _, phase := range []checkpoint.Phase{checkpoint.Idle, checkpoint.Window, checkpoint.DDL} {
		for n, to := range l.starts {
			r := &runner{set: l.set, rep: &Report{Resumed: true}, plan: &Plan{To: to}, state: checkpoint.State{Phase: phase, Next: l.starts[5], End: l.starts[20]}}
			if n%2 == 0 { // files behind the stop are not given
				r.set = &binlog.Set{Files: l.set.Files[:l.set.Index(to.File)+1]}
			}
			if err := r.checkStopInFlight(); (fault.ClassOf(err) == fault.Gap) != (phase != checkpoint.Idle && n < 20) {
				t.Errorf("%s, at %s: %v", phase, to, err)
			}
		}
	}
}
