package gate

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
)

func process(t *testing.T) Process {
	t.Helper()
	return Process{Journal: &Journal{Dir: t.TempDir()}, Now: time.Now}
}

func shell(t *testing.T, p Process, script string) (Child, string, string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	child := p.Run(t.Context(), Command{
		Argv: []string{"/bin/sh", "-c", script}, Operation: operation.Wipe, Output: Output{Stdout: &stdout, Stderr: &stderr},
	})
	return child, stdout.String(), stderr.String()
}

func TestChildStatus(t *testing.T) {
	for script, want := range map[string]string{
		"exit 0":        "exit status 0",
		"exit 3":        "exit status 3",
		"exit 255":      "exit status 255",
		"kill -9 $$":    "ended by signal: killed",
		"kill -TERM $$": "ended by signal: terminated",
	} {
		p := process(t)
		child, _, _ := shell(t, p, script)
		if child.String() != want || child.Succeeded() != (script == "exit 0") {
			t.Errorf("%s: %s, succeeded %v", script, child, child.Succeeded())
		}
		if _, _, left, err := p.Journal.Running(); left || err != nil {
			t.Errorf("%s: the journal still has it: %v", script, err)
		}
	}
}

// TestChildSeesNothing: the environment is scrubbed, there is no input, and no
// descriptor of the guard's.
func TestChildSeesNothing(t *testing.T) {
	t.Setenv("LD_PRELOAD", "")
	t.Setenv("SECRET", "secret")
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	_, stdout, stderr := shell(t, process(t), `env | sort; pwd; cat; ls /proc/$$/fd; echo error >&2`)
	lines := strings.Split(stdout, "\n")
	if !strings.HasPrefix(lines[0], "HOME=/root") || strings.Contains(stdout, "SECRET") || stderr != "error\n" {
		t.Errorf("%s\n%s", stdout, stderr)
	}
	if want := "0\n1\n2\n"; !strings.HasSuffix(stdout, "/\n"+want) {
		t.Errorf("descriptors: %s", stdout)
	}
}

func TestChildCannotBeStarted(t *testing.T) {
	p := process(t)
	child := p.Run(t.Context(), Command{Argv: []string{"/nonexistent"}})
	if child.Started || child.Error == "" {
		t.Errorf("%+v", child)
	}
	p.Journal.Dir = filepath.Join(p.Journal.Dir, "file")
	if err := os.WriteFile(p.Journal.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if child := p.Run(t.Context(), Command{Argv: []string{"/bin/true"}}); child.Started || child.Error == "" {
		t.Errorf("without a journal: %+v", child)
	}
}

// TestLeftBehind: a command that leaves something running keeps the machine
// busy until that has ended.
func TestLeftBehind(t *testing.T) {
	p := process(t)
	child, stdout, _ := shell(t, p, `sleep 60 >/dev/null 2>&1 & echo $!`)
	if child.Succeeded() || !strings.Contains(child.Error, strings.TrimSpace(stdout)) {
		t.Errorf("%+v", child)
	}
	told := 0
	abandoned := func() bool {
		what, err := p.Journal.Abandoned(func(Entry) error { told++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		return what != ""
	}
	if !abandoned() {
		t.Fatal("the machine is free")
	}
	_, pids, _, err := p.Journal.Running()
	if err != nil || len(pids) != 1 {
		t.Fatal(pids, err)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for abandoned() {
		time.Sleep(10 * time.Millisecond)
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

func TestJournalDamaged(t *testing.T) {
	j := &Journal{Dir: t.TempDir()}
	for _, text := range []string{"", "{", "{}", `{"run":""}`, `{"run":"x","token":"y"}`} {
		if err := os.WriteFile(j.path(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if what, err := j.Abandoned(func(Entry) error { return nil }); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%q: %s %v", text, what, err)
		}
	}
	if err := os.WriteFile(j.path(), []byte(`{"run":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Abandoned(func(Entry) error { return errors.New("no audit") }); err == nil {
		t.Error("the entry has ended unrecorded")
	}
	for range 2 {
		if what, err := j.Abandoned(func(Entry) error { return nil }); what != "" || err != nil {
			t.Errorf("the entry has not ended: %s %v", what, err)
		}
	}
}

// TestPermit: a restart is permitted before its command and no longer after it;
// without the permit there is no command.
func TestPermit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to own a program")
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	p := process(t)
	p.Permit = filepath.Join(dir, "permit")
	run := func(op operation.Operation) Child {
		return p.Run(t.Context(), Command{Argv: []string{"/bin/sh", "-c", "echo command >>" + log}, Operation: op})
	}
	steps := func() string {
		text, _ := os.ReadFile(log)
		_ = os.Remove(log)
		return strings.Join(strings.Fields(string(text)), " ")
	}
	install := func(script string) {
		if err := os.WriteFile(p.Permit, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if child := run(operation.Reboot); !child.Succeeded() || steps() != "command" {
		t.Errorf("not installed: %+v", child)
	}
	install("echo $1 >>" + log)
	if child := run(operation.Reboot); !child.Succeeded() || steps() != "grant command revoke" {
		t.Errorf("%+v", child)
	}
	if child := run(operation.Wipe); !child.Succeeded() || steps() != "command" {
		t.Errorf("no restart: %+v", child)
	}
	install("echo $1 >>" + log + "; exit 1")
	if child := run(operation.Reboot); child.Started || steps() != "grant revoke" {
		t.Errorf("refused: %+v", child)
	}
}
