package restore_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestOnly: one database and one table of another come back, whatever interrupts
// it; what has come back is done, and nothing goes on from it.
func TestOnly(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		if !long && d.Name != servertest.Of(t, d.Flavor).Name {
			t.Skip("the other one of this vendor does")
		}
		w := newWorld(t, d)
		w.exec("SET GLOBAL binlog_format = 'ROW'") // MariaDB has MIXED
		w.exec("CREATE DATABASE x", "CREATE TABLE x.keep (a INT PRIMARY KEY)", "CREATE TABLE x.other (a INT PRIMARY KEY)", "INSERT INTO x.keep VALUES (1)",
			"CREATE DATABASE gone", "CREATE TABLE gone.t (a INT PRIMARY KEY)", "INSERT INTO gone.t VALUES (1)")
		w.traffic(5, "before")
		w.backup(drivers(d)[0], backup.Options{})
		w.traffic(30, "after")
		w.exec("INSERT INTO x.keep VALUES (2)", "INSERT INTO x.other VALUES (2)", "ALTER TABLE gone.t ADD c INT", "INSERT INTO gone.t VALUES (2, 2)")
		w.archived()
		want := state(t, w.i)
		delete(want.Tables, "x.other")
		delete(want.Tables, "gone.t")
		delete(want.Objects, "schema gone")

		dir := filepath.Join(t.TempDir(), "data")
		o := w.options(dir, "")
		o.Only = "d,x.keep"
		for n := 1; long || n < 9; n += 2 {
			if _, err := w.interruptWith(o, n); err == nil {
				break
			}
			other := o
			other.Only = "d"
			if _, err := w.try(other); fault.ClassOf(err) != fault.Usage {
				t.Errorf("another part: %v", err)
			}
		}
		rep := w.restore(o)
		if !rep.Finished {
			t.Errorf("%+v", rep)
		}
		if rep.Replay != nil && strings.Join(rep.Replay.Dropped, " ") != "gone x.other" {
			t.Errorf("dropped: %v", rep.Replay.Dropped)
		}
		w.same(dir, want)
		if rep := w.restore(o); len(rep.Steps) > 0 {
			t.Errorf("again: %+v", rep)
		}
		for _, c := range []restore.Options{{Only: "d"}, {}, {Only: "d,x.keep", Until: "2101-01-01T00:00:00Z"}} {
			other := w.options(dir, c.Until)
			other.Only = c.Only
			for _, other.PlanOnly = range []bool{true, false} {
				if _, err := w.try(other); fault.ClassOf(err) != fault.Refused {
					t.Errorf("--only %q until %q: %v", c.Only, c.Until, err)
				}
			}
		}
	})
}
