package gate

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestWithoutMark: what gives up its environment is found by its session, also
// by an agent that has only the journal, and a number that means another
// process now is not.
func TestWithoutMark(t *testing.T) {
	p := process(t)
	child, stdout, _ := shell(t, p, `env -i sleep 60 >/dev/null 2>&1 & echo $!; sleep 0.2`)
	pid, err := strconv.Atoi(strings.TrimSpace(stdout))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	if !child.Left {
		t.Errorf("%+v", child)
	}
	entry, pids, left, err := (&Journal{Dir: p.Journal.Dir}).Running()
	if !left || err != nil || !slices.Equal(pids, []int{pid}) {
		t.Errorf("%v %v %v, want %d", pids, left, err, pid)
	}
	for what, change := range map[string]func(*Entry){
		"another boot": func(e *Entry) { e.Leader.Boot = "x" }, "another process": func(e *Entry) { e.Leader.PID, e.Leader.Start = os.Getpid(), 1 },
		"nobody": func(e *Entry) { e.Leader = Leader{} },
	} {
		other := entry
		change(&other)
		if pids, err := p.Journal.left(other); err != nil || len(pids) > 0 {
			t.Errorf("%s: %v %v", what, pids, err)
		}
	}
}

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
