//go:build long

package bench

import (
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
)

// The harness itself, in small: every archiver takes its turn, and what
// lifeboat has stored is the server's log.
func TestQuickArchive(t *testing.T) {
	rig.Track(t)
	c := QuickArchive()
	c.Data, c.Log, c.Out = t.TempDir(), t.Output(), t.Output()
	c.Distributions = quick(t).Distributions
	var err error
	if c.Lifeboat, err = rig.Build(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	reports, err := RunArchive(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	r := reports[0]
	if len(r.Paces) != len(archivers) || r.CatchUp.Bytes == 0 || r.CatchUp.Times() == 0 {
		t.Errorf("got %+v", r)
	}
	for _, p := range r.Paces {
		if p.Transactions == 0 || p.P95 == 0 || p.SourceCPU == 0 || (r.Peak[p.Way] == 0) != (p.Way == nobody) {
			t.Errorf("%s: %+v", p.Way, p)
		}
	}
	checkEmpty(t, c.Data)
}

// The harness itself, in small: all ways end in the source's state.
func TestQuickRestore(t *testing.T) {
	rig.Track(t)
	c := QuickRestore()
	c.Data, c.Log, c.Out = t.TempDir(), t.Output(), t.Output()
	quick(t) // installs sysbench
	for _, d := range servertest.All(t) {
		if d.Flavor == server.MariaDB {
			c.Distributions = []string{d.Name}
		}
	}
	var err error
	if c.Lifeboat, err = rig.Build(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	reports, err := RunRestore(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range reports[0].Ways {
		if !w.Equal || w.Seconds == 0 || len(w.Steps) < 5 {
			t.Errorf("%s: %+v", w.Way, w)
		}
	}
	if len(reports[0].Ways) != 3 {
		t.Errorf("%d ways", len(reports[0].Ways))
	}
	checkEmpty(t, c.Data)
}
