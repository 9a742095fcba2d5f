package gate

import (
	"os/exec"
	"slices"
	"testing"
	"time"
)

// TestFoundInExec: a process is found while it executes another program, too: at
// that moment its environment is empty.
func TestFoundInExec(t *testing.T) {
	j := &Journal{Dir: t.TempDir()}
	e := Entry{Run: newRun(time.Now())}
	const forever = `exec /bin/sh -c "$0" "$0"`
	c := exec.CommandContext(t.Context(), "/bin/sh", "-c", forever, forever)
	c.Env = append(environment(), e.marker())
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	for range 400 {
		pids, err := j.processes(e.marker())
		if err != nil || !slices.Contains(pids, c.Process.Pid) {
			t.Fatalf("not found: %v %v", pids, err)
		}
	}
}
