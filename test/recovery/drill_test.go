package recovery

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/drill"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestDrill: a drill passes if all comes back in time, and fails for everything
// that would make a recovery fail: it takes too long, a part of the log is not
// there, an object is damaged. It leaves nothing but its line in the history.
func TestDrill(t *testing.T) {
	d := servertest.Of(t, server.MariaDB)
	w := &way{t: t, d: d, i: servertest.Start(t, d, "--log-bin=bin", "--server-id=7"), places: places(t)[:1]}
	stop := w.archive()
	w.prepare()
	r := rand.New(rand.NewPCG(1, 1))
	w.write(20, r)
	w.backup(backup.MariaDBBackup)
	w.exec("FLUSH BINARY LOGS")
	w.write(20, r)
	w.archived()
	stop()
	p := w.places[0]
	mysqld, err := d.Tool("mysqld")
	if err != nil {
		t.Fatal(err)
	}
	o := drill.Options{
		Restore: restore.Options{Repository: p.writer, Set: "s", Mysqld: mysqld, Tools: w.d.Tools(), Memory: 256 << 20},
		Scratch: t.TempDir(), History: t.TempDir(), Objective: time.Hour,
	}
	res, err := drill.Run(t.Context(), o)
	if err != nil || !res.Passed || res.Tables < 2 || res.LogBytes == 0 {
		t.Fatalf("%+v %v", res, err)
	}
	plan := *res.Restore.Plan
	if drill.Predict(o.History, &plan); math.Abs(plan.Seconds-res.Restore.Seconds) > 0.01 || !strings.Contains(plan.Measured, "drill") {
		t.Errorf("the same again is predicted to take %f s by %q, it took %f s", plan.Seconds, plan.Measured, res.Restore.Seconds)
	}
	passed := res
	late := o
	late.Objective = time.Millisecond
	if res, err = drill.Run(t.Context(), late); fault.ClassOf(err) != fault.VerifyFailed || res.Passed {
		t.Errorf("too slow: %+v %v", res, err)
	}
	plan = *passed.Restore.Plan
	needed := plan.Legs[0].Files[len(plan.Legs[0].Files)/2]
	for what, name := range map[string]string{
		"logs": needed.Segments[len(needed.Segments)/2].Name, "backups": plan.Backups[0].PartObject(1),
	} {
		victim := filepath.Join(p.location.URL, name)
		whole, err := os.ReadFile(victim)
		if err != nil {
			t.Fatal(err)
		}
		bent := append([]byte(nil), whole...)
		bent[len(bent)/2] ^= 1
		for name, text := range map[string][]byte{"missing": nil, "a bit": bent} {
			_ = os.Remove(victim)
			if text != nil {
				if err := os.WriteFile(victim, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if res, err := drill.Run(t.Context(), o); err == nil || res.Passed {
				t.Errorf("%s: %s: the drill has passed", what, name)
			}
		}
		_ = os.Remove(victim)
		if err := os.WriteFile(victim, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(o.Scratch); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	history := must(drill.History(o.History))(t)
	if len(history) != 6 || !history[0].Passed || history[5].Passed {
		t.Errorf("%+v", history)
	}
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
