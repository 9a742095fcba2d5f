package restore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/test/deposit"
)

// clocks is a server whose clock is set back and forth, with backups that a host
// has taken whose clock is up to an hour wrong. The twin knows each transaction's
// commit time.
type clocks struct {
	times  []time.Time // of transactions 1, 2, …, by the server's clock
	files  []archive.File
	last   []int // number of the last transaction of each file
	inv    restore.Inventory
	number map[string]int // of the last transaction of each backup
}

func newClocks(r *rand.Rand) *clocks {
	c := &clocks{number: map[string]int{}}
	clock := time.Date(2026, 10, 24, 12, 0, 0, 0, time.UTC) // the true time
	server, host := time.Duration(0), time.Duration(r.IntN(121)-60)*time.Minute
	steady := r.IntN(2) == 0
	for n := range 2 + r.IntN(6) {
		f := archive.File{Closed: true, Summary: archive.Summary{Server: "server", File: fmt.Sprintf("bin.%06d", n+1), ID: fmt.Sprint(n), Flavor: "mysql",
			Begun: clock, Start: 4, End: 4, Next: fmt.Sprintf("bin.%06d", n+2)}}
		for range r.IntN(6) {
			clock = clock.Add(time.Duration(r.IntN(30*60)) * time.Second)
			if !steady && r.IntN(3) == 0 {
				server = time.Duration(r.IntN(121)-60) * time.Minute
			}
			at := clock.Add(server)
			c.times = append(c.times, at)
			f.End, f.Transactions = f.End+100, f.Transactions+1
			if f.First.IsZero() || at.Before(f.First) {
				f.First = at
			}
			if at.After(f.Last) {
				f.Last = at
			}
			if r.IntN(5) == 0 {
				m := backup.Manifest{ID: deposit.ID(clock, len(c.times)), Kind: backup.Full, Driver: backup.Dump, Server: "server", Flavor: "mysql",
					Started: clock.Add(host), Finished: clock.Add(host).Truncate(time.Second), File: f.File, Offset: f.End}
				c.inv.Backups, c.number[m.ID] = append(c.inv.Backups, m), len(c.times)
			}
		}
		c.files, c.last = append(c.files, f), append(c.last, len(c.times))
	}
	c.inv.Logs = []archive.Log{{Server: "server", Files: c.files}}
	return c
}

// stop is the number of the first transaction behind a backup that is later than
// a time; 0: there is none.
func (c *clocks) stop(after int, at time.Time) int {
	for n := after + 1; n <= len(c.times); n++ {
		if c.times[n-1].After(at) {
			return n
		}
	}
	return 0
}

// file is the number of the file with a transaction.
func (c *clocks) file(n int) int {
	for i, last := range c.last {
		if n <= last {
			return i
		}
	}
	return -1
}

// TestPlanByClocks: by whatever clocks, the files of a plan are those in which a
// replay stops before the first transaction behind the backup that was committed
// later than the stop. And a backup that has a later one itself is never taken
// silently: a replay refuses that stop, or notes it, or the plan warns.
func TestPlanByClocks(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	planned, warned, left := 0, 0, 0
	for n := range uint64(10_000) {
		r := rand.New(rand.NewPCG(seed, n))
		c := newClocks(r)
		if len(c.times) == 0 {
			continue
		}
		at := c.times[r.IntN(len(c.times))].Add(time.Duration(r.IntN(3)-1) * time.Minute)
		p, err := restore.MakePlan(c.inv, restore.Request{Until: at.Format(time.RFC3339Nano)})
		if err != nil {
			continue // there is none that is old enough
		}
		planned++
		base, files := c.number[p.BackupIDs[0]], p.Legs[0].Files
		stop := c.stop(base, at)
		first := c.file(base)
		if end := first + len(files); files[0].ID != c.files[first].ID || stop > 0 && c.file(stop) >= end || stop == 0 && end < len(c.files) {
			t.Fatalf("history %d of seed %d: backup of %d, stop before %d in file %d, files %d to %d", n, seed, base, stop, c.file(stop), first, end-1)
		}
		left += len(c.files) - first - len(files)
		for k := base; k > 0; k-- {
			if !c.times[k-1].After(at) {
				continue
			}
			switch {
			case stop == base+1 || stop == 0: // a replay refuses: nothing is between, or it lies beyond the end
			case c.file(k) == first: // a replay reads it, and notes it
			case len(p.Warnings) == 0:
				t.Fatalf("history %d of seed %d: transaction %d of %s is in the backup, the stop is %s", n, seed, k, c.times[k-1], at)
			default:
				warned++
			}
			break
		}
	}
	t.Logf("%d plans, %d with a warning, %d files are left out", planned, warned, left)
	if planned < 2000 || warned < 10 || left < 1000 {
		t.Error("that is too few to say anything")
	}
}
