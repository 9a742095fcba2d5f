package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// asProgram makes the test's own binary the command.
const asProgram = "LIFEBOAT_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// command is lifeboat as a process, in an environment without a configuration.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Dir = t.TempDir()
	return cmd
}

// result is how a command ended.
type result struct {
	code     int
	out, err string
}

// finish runs a command to its end.
func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// lifeboat runs the command and demands an exit code, and texts in its output.
func lifeboat(t *testing.T, code int, args []string, says ...string) result {
	t.Helper()
	r := finish(t, command(t, args...))
	if r.code != code {
		t.Errorf("%v ended with %d, want %d\n%s%s", args, r.code, code, r.out, r.err)
	}
	for _, text := range says {
		if !strings.Contains(r.out+r.err, text) {
			t.Errorf("%v does not say %q:\n%s%s", args, text, r.out, r.err)
		}
	}
	return r
}

// report decodes what a command has written with --json.
func report[T any](t *testing.T, r result) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.out), &v); err != nil {
		t.Fatalf("%v in %s\n%s", err, r.out, r.err)
	}
	return v
}

// service is a command that runs until it is ended.
type service struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}

	mu      sync.Mutex
	lines   []string
	changed *sync.Cond
	ended   bool
}

// background starts a command and collects its lines of standard error.
func background(t *testing.T, cmd *exec.Cmd) *service {
	t.Helper()
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &service{t: t, cmd: cmd, done: make(chan struct{})}
	d.changed = sync.NewCond(&d.mu)
	go func() {
		defer close(d.done)
		for sc := bufio.NewScanner(pipe); sc.Scan(); {
			d.add(sc.Text(), false)
		}
		d.add("", true)
		_ = cmd.Wait() // its code is asked for later
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-d.done
	})
	return d
}

func (d *service) add(line string, ended bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines, d.ended = append(d.lines, line), ended
	d.changed.Broadcast()
}

// says waits for a line with a text, and returns it.
func (d *service) says(text string) string {
	d.t.Helper()
	stop := context.AfterFunc(d.t.Context(), func() { d.add("the test is over", true) })
	defer stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		for _, line := range d.lines {
			if strings.Contains(line, text) {
				return line
			}
		}
		if d.ended {
			d.t.Fatalf("it has ended and never said %q:\n%s", text, strings.Join(d.lines, "\n"))
		}
		d.changed.Wait()
	}
}

func (d *service) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// ends waits for the end, and demands an exit code; -1: by a signal.
func (d *service) ends(code int) {
	d.t.Helper()
	<-d.done
	if got := d.cmd.ProcessState.ExitCode(); got != code {
		d.t.Errorf("it ended with %d, want %d:\n%s", got, code, strings.Join(d.lines, "\n"))
	}
}

// file writes a file that only its owner can read.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
