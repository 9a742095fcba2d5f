package drill

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/restore"
)

// TestPredict: a restore is predicted by the last drill on this machine that
// tells something of its kind, else by one elsewhere, else by a restore; backup
// and log each at a rate of its own. What was not measured is not predicted.
func TestPredict(t *testing.T) {
	cost := func(factor float64) *restore.Cost {
		return &restore.Cost{BackupBytes: 1000, LogBytes: 100, Unpack: 10 * factor, Fetch: 4 * factor, Replay: 5 * factor, Rest: factor}
	}
	result := func(host string, c *restore.Cost) Result {
		return Result{Set: "s", Repository: "r", Host: host, Cost: c, Time: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
	}
	other := result("here", cost(7))
	other.Set = "another"
	elsewhere := result("here", cost(7))
	elsewhere.Repository = "another"
	noLog := result("here", &restore.Cost{BackupBytes: 1000, Unpack: 1})
	for name, c := range map[string]struct {
		drills, restores []Result
		plan             restore.Plan
		want             float64
		by               string
	}{
		"the same again":                        {[]Result{result("here", cost(1))}, nil, restore.Plan{BackupBytes: 1000, LogBytes: 100}, 16, "the drill of 2030-01-02T03:04:05Z on here"},
		"twice the log":                         {[]Result{result("here", cost(1))}, nil, restore.Plan{BackupBytes: 1000, LogBytes: 200}, 21, "drill"},
		"so much log that fetching takes long":  {[]Result{result("here", cost(1))}, nil, restore.Plan{BackupBytes: 1000, LogBytes: 1000}, 1 + 50 + 40, "drill"},
		"half the backup":                       {[]Result{result("here", cost(1))}, nil, restore.Plan{BackupBytes: 500, LogBytes: 100}, 1 + 5 + 5, "drill"},
		"moved forward":                         {[]Result{result("here", cost(1))}, nil, restore.Plan{LogBytes: 100}, 1 + 5 + 4, "drill"},
		"the last one counts":                   {[]Result{result("here", cost(3)), result("here", cost(1))}, nil, restore.Plan{BackupBytes: 1000, LogBytes: 100}, 16, "drill"},
		"this machine first":                    {[]Result{result("here", cost(1)), result("there", cost(3))}, nil, restore.Plan{BackupBytes: 1000, LogBytes: 100}, 16, "on here"},
		"another machine":                       {[]Result{result("there", cost(1))}, []Result{result("here", cost(3))}, restore.Plan{BackupBytes: 1000, LogBytes: 100}, 16, "drill of 2030-01-02T03:04:05Z on there"},
		"a restore":                             {nil, []Result{result("here", cost(1))}, restore.Plan{BackupBytes: 1000, LogBytes: 100}, 16, "restore"},
		"one that has failed":                   {[]Result{result("here", cost(1)), result("here", nil)}, nil, restore.Plan{BackupBytes: 1000, LogBytes: 100}, 16, "drill"},
		"one without a log tells nothing of it": {[]Result{result("here", cost(1)), noLog}, nil, restore.Plan{BackupBytes: 1000, LogBytes: 100}, 16, "drill"},
		"another set":                           {[]Result{other}, nil, restore.Plan{BackupBytes: 1000, LogBytes: 100}, 0, ""},
		"another repository":                    {[]Result{elsewhere}, nil, restore.Plan{BackupBytes: 1000, LogBytes: 100}, 0, ""},
		"nothing":                               {nil, nil, restore.Plan{BackupBytes: 1000, LogBytes: 100}, 0, ""},
	} {
		c.plan.Set, c.plan.Repository = "s", "r"
		got, by := predict(c.drills, c.restores, "here", &c.plan)
		if math.Abs(got-c.want) > 1e-9 || !strings.Contains(by, c.by) || c.want == 0 && by != "" {
			t.Errorf("%s: %g by %q, want %g by %q", name, got, by, c.want, c.by)
		}
	}
}

// TestKeep: what a restore took is kept, if it was carried out in one run.
func TestKeep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	steps := []restore.Step{
		{Name: "unpack the backup", Seconds: 10}, {Name: "fetch the log", Seconds: 12}, {Name: "start a private server", Seconds: 1},
		{Name: "replay the log of a", Seconds: 3}, {Name: "replay the log of b", Seconds: 4}, {Name: "stop the server", Seconds: 2},
	}
	whole := restore.Report{Set: "s", Finished: true, Seconds: 22, Steps: steps, Plan: &restore.Plan{Set: "s", Repository: "r", BackupBytes: 1000, LogBytes: 100}}
	for name, change := range map[string]func(r *restore.Report){
		"resumed":      func(r *restore.Report) { r.Resumed = true },
		"moved on":     func(r *restore.Report) { r.Forward = true },
		"not finished": func(r *restore.Report) { r.Finished = false },
		"not planned":  func(r *restore.Report) { r.Plan = nil },
		"done before":  func(r *restore.Report) { r.Steps = nil },
	} {
		r := whole
		change(&r)
		if err := Keep(dir, &r); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: it was kept", name)
		}
	}
	if err := Keep(dir, &whole); err != nil {
		t.Fatal(err)
	}
	p := restore.Plan{Set: "s", Repository: "r", BackupBytes: 2000, LogBytes: 100}
	if Predict(dir, &p); p.Seconds != 3+7+20 || !strings.HasPrefix(p.Measured, "the restore of") {
		t.Errorf("%g by %q", p.Seconds, p.Measured)
	}
	if list, err := History(dir); err != nil || len(list) > 0 {
		t.Errorf("a restore is no drill: %v %v", list, err)
	}
}
