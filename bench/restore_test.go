package bench

import (
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
)

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

func TestRestorePage(t *testing.T) {
	r := RestoreReport{Ways: []RestoreResult{
		{Way: restored, Seconds: 10, Equal: true, Steps: []RestoreStep{{"unpack", 4}, {"replay", 5.5}}},
		{Way: copyReplay, Seconds: 20, Different: []string{"t"}},
		{Way: copyBack, Seconds: 25, Equal: true},
	}}
	text := r.page().Markdown()
	for _, want := range []string{"| lifeboat restore | 10.0 | 1.00 | unpack 4.0 s, replay 5.5 s | equal |", "| 20.0 | – |  | WRONG |", "| 25.0 | 2.50 |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if err := r.problem(); err == nil || !strings.Contains(err.Error(), "copy-back + lifeboat is WRONG: other contents than the source's in t") {
		t.Errorf("the problem is %v", err)
	}
}
