package bench

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// The harness itself, on the first server found or on that of
// LIFEBOAT_BENCH_DIST. Lifeboat takes part once it has been built.
func TestQuickReplay(t *testing.T) {
	c := quick(t)
	reports, err := RunReplay(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(reports) != 1 || len(reports[0].Ways) != len(c.Ways) {
		t.Fatalf("got %+v, want one report of %v", reports, c.Ways)
	}
	r := reports[0]
	if r.Transactions != 5_000 || r.LogFiles < 2 {
		t.Errorf("%d transactions in %d logs, want 5000 in several", r.Transactions, r.LogFiles)
	}
	for _, w := range r.Ways {
		if !w.Equal || w.Seconds == 0 || w.TimesSerial == 0 || w.Server.Peak == 0 {
			t.Errorf("%s: %+v", w.Way, w)
		}
	}
	if serial := r.Ways[0]; serial.Tool.Peak == 0 || serial.Tool.CPUSecond == 0 {
		t.Errorf("the tools of serial took nothing: %+v", serial.Tool)
	}
	checkSaved(t, c, r)
	t.Run("idle", func(t *testing.T) { checkIdle(t, c) })
	checkEmpty(t, c.Data)
}

func quick(t *testing.T) ReplayConfig {
	c := QuickReplay()
	c.Data, c.Results = t.TempDir(), t.TempDir()
	c.Log, c.Out = t.Output(), t.Output()
	c.Distributions = []string{servertest.All(t)[0].Name}
	if name := os.Getenv("LIFEBOAT_BENCH_DIST"); name != "" {
		c.Distributions = []string{name}
	}
	c.Ways = []string{Serial, SerialPinned, Applier}
	c.Lifeboat = filepath.Join("..", "bin", "lifeboat")
	if _, err := os.Stat(c.Lifeboat); err == nil {
		c.Ways = append(c.Ways, Lifeboat)
	}
	if _, err := findSysbench(c.Cache); err != nil {
		out, err := exec.CommandContext(t.Context(), filepath.Join("..", "scripts", "servers"), "sysbench").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return c
}

// checkSaved reads the report's files.
func checkSaved(t *testing.T, c ReplayConfig, want Report) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(c.Results, "*-write_only.json"))
	if err != nil || len(found) != 1 {
		t.Fatalf("results: %v, %v", found, err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.page().Markdown() != want.page().Markdown() {
		t.Errorf("saved:\n%s\nreported:\n%s", got.page().Markdown(), want.page().Markdown())
	}
	page, err := os.ReadFile(strings.TrimSuffix(found[0], "json") + "md")
	if err != nil || string(page) != want.page().Markdown() {
		t.Errorf("page: %v\n%s", err, page)
	}
	if wd, err := os.Getwd(); err != nil || strings.Contains(string(text), filepath.Dir(wd)) {
		t.Errorf("the report has a path of this machine (%v):\n%s", err, text)
	}
}

// checkIdle shows that a way that does nothing is found out.
func checkIdle(t *testing.T, c ReplayConfig) {
	found, err := c.servers()
	if err != nil {
		t.Fatal(err)
	}
	ds, err := c.openDataset(t.Context(), found[0])
	if err != nil {
		t.Fatal(err)
	}
	run := wayRun{way: idle{}, dist: found[0], ds: ds, logf: t.Logf}
	report := newReport(ds)
	report.add(run.measure(t.Context(), "idle"))
	err = report.problem()
	if err == nil || !strings.Contains(err.Error(), "idle is WRONG: other contents than the source's in sbtest.sbtest1, sbtest.sbtest2") {
		t.Errorf("the error is %v", err)
	}
}

type idle struct{ unprepared }

func (idle) replay(context.Context, *server.Instance, string) (Use, error) { return Use{}, nil }

// checkEmpty says what a run has left beside its data set.
func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

func TestPipeline(t *testing.T) {
	output := filepath.Join(t.TempDir(), "output")
	sh := func(script string) *exec.Cmd { return exec.CommandContext(t.Context(), "sh", "-c", script) }

	if _, err := pipeline(t.Context(), output, sh("echo one"), sh("cat; echo two >&2")); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(output); err != nil || string(text) != "one\ntwo\n" {
		t.Errorf("output %q, %v", text, err)
	}
	// The writer dies of a broken pipe, the reader's is the error to tell.
	_, err := pipeline(t.Context(), output, sh("while echo y; do :; done"), sh("echo no >&2; exit 3"))
	if err == nil || !strings.Contains(err.Error(), "exit status 3\n\tno") {
		t.Errorf("the error is %v", err)
	}
	// A program that is not there must not leave its neighbor waiting.
	_, err = pipeline(t.Context(), output, sh("cat"), exec.CommandContext(t.Context(), filepath.Join(t.TempDir(), "none")))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

func TestDifferent(t *testing.T) {
	source := map[string]string{"a": "1", "b": "2", "c": "3"}
	target := map[string]string{"a": "1", "b": "0", "d": "4"}
	if got := different(source, target); !slices.Equal(got, []string{"b", "c", "d"}) {
		t.Errorf("different tables: %v", got)
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*ReplayConfig){
		"no distribution":         func(c *ReplayConfig) { c.Distributions = nil },
		`unknown workload "tpcc"`: func(c *ReplayConfig) { c.Workload = "tpcc" },
		"size out of range":       func(c *ReplayConfig) { c.TableSize = 0 },
		`unknown way "fast"`:      func(c *ReplayConfig) { c.Ways = []string{"fast"} },
		"make build":              func(c *ReplayConfig) { c.Ways = []string{Lifeboat}; c.Lifeboat = "none" },
		"a profile is of one run": func(c *ReplayConfig) { c.Ways = []string{Serial}; c.Profile = "p" },
	} {
		c := QuickReplay()
		c.Ways = nil
		if err := c.Validate(); err != nil {
			t.Errorf("unchanged: %v", err)
		}
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	r := Report{
		Head:     Head{Server: "mysql-9.7 (9.7.4)", Tables: 4, TableSize: 10},
		Workload: "write_only", Transactions: 1000, LogBytes: 5e6, LogFiles: 2, Settings: map[string]string{"log_bin": "OFF"},
	}
	r.add(Result{Way: Serial, Seconds: 100, Equal: true, Tool: Use{Peak: 30e6, PeakAnon: 20e6, CPUSecond: 9}, Server: Use{Peak: 400e6, CPUSecond: 50}, Shutdown: 2, Load: "0.10 0.20 0.30"})
	r.add(Result{Way: Applier, Seconds: 20, Different: []string{"sbtest.sbtest1"}})
	r.add(Result{Way: Lifeboat, Seconds: 3, Error: "exit status 1"})
	r.add(Result{Way: Lifeboat1, Seconds: 2.5, Equal: true})
	want := `
| serial | 100.0 | 10 | 0.1 | 1.00 | – | 30 (20) | 400 | 9.0 + 50.0 | 2.0 | equal |
| applier | 20.0 | 50 | 0.2 | – | – | – | – | 0.0 + 0.0 | – | WRONG |
| lifeboat | 3.0 | – | – | – | – | – | – | – | – | FAILED |
| lifeboat-1 | 2.5 | 400 | 2.0 | 40.00 | – | – | – | 0.0 + 0.0 | – | equal |
`
	if got := r.page().Markdown(); !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwant in it%s", got, want)
	}
	want = "applier is WRONG: other contents than the source's in sbtest.sbtest1\nlifeboat FAILED: exit status 1"
	if err := r.problem(); err == nil || err.Error() != want {
		t.Errorf("the problem is %v", err)
	}
}
