package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Build builds the lifeboat command into a directory and returns its path; the
// command that LIFEBOAT_BIN names is taken instead if there is one.
func Build(dir string) (string, error) {
	if path := os.Getenv("LIFEBOAT_BIN"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(dir, "lifeboat")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-o", path, "github.com/lifeboat-db/lifeboat/cmd/lifeboat")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("rig: build lifeboat: %w\n%s", err, out)
	}
	return path, nil
}

// Track tells go test what a result depends on beside the package: the sources
// that Build builds from and the variables. Without it an old result would be
// taken for that of a new lifeboat. (What happens before m.Run is not noted.)
func Track(t testing.TB) {
	t.Helper()
	for _, name := range []string{"BIN", "SEED", "KILLS", "SERVER_KILLS", "TRANSACTIONS"} {
		_ = os.Getenv("LIFEBOAT_" + name)
	}
	root, err := os.Getwd()
	must(t, err)
	for !exists(filepath.Join(root, "go.mod")) {
		root = filepath.Dir(root)
	}
	for _, dir := range []string{"cmd", "internal"} {
		must(t, filepath.WalkDir(filepath.Join(root, dir), func(_ string, _ fs.DirEntry, err error) error { return err }))
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Process is a running lifeboat.
type Process struct {
	cmd    *exec.Cmd
	args   []string
	out    bytes.Buffer
	errout bytes.Buffer
	began  time.Time
}

// Result is how a process ended.
type Result struct {
	Code    int // exit code, -1 if a signal ended it
	Stdout  string
	Stderr  string
	Seconds float64
	Args    []string
}

// String shows a result in a failure.
func (r Result) String() string {
	args := slices.Clone(r.Args)
	for i, a := range args {
		if filepath.IsAbs(a) {
			args[i] = filepath.Base(a)
		}
	}
	return fmt.Sprintf("exit code %d after %.1f s\n\tlifeboat %s\n\tstdout: %s\n\tstderr: %s",
		r.Code, r.Seconds, strings.Join(args, " "), strings.TrimSpace(r.Stdout), strings.TrimSpace(r.Stderr))
}

// Launch starts the program. It dies with the test process.
func Launch(t testing.TB, program string, args ...string) *Process {
	t.Helper()
	return launch(t, nil, program, args...)
}

// LaunchAs starts the program under another user id.
func LaunchAs(t testing.TB, uid uint32, program string, args ...string) *Process {
	t.Helper()
	return launch(t, &syscall.Credential{Uid: uid, Gid: uid, NoSetGroups: true}, program, args...)
}

func launch(t testing.TB, as *syscall.Credential, program string, args ...string) *Process {
	t.Helper()
	p := &Process{args: args, began: time.Now()}
	p.cmd = exec.CommandContext(context.Background(), program, args...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.errout
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: as}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() }) // a process that has ended is left alone
	return p
}

// Kill ends the process as kill -9 does.
func (p *Process) Kill() { _ = p.cmd.Process.Kill() }

// Interrupt is Ctrl-C.
func (p *Process) Interrupt() { _ = p.cmd.Process.Signal(syscall.SIGINT) }

// Wait waits until the process has ended; one that does not is killed and
// fails the test.
func (p *Process) Wait(t testing.TB) Result {
	t.Helper()
	const patience = 4 * time.Minute
	tooLong := time.AfterFunc(patience, func() { t.Errorf("lifeboat did not end within %v: killed", patience); p.Kill() })
	defer tooLong.Stop()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return Result{p.cmd.ProcessState.ExitCode(), p.out.String(), p.errout.String(), time.Since(p.began).Seconds(), p.args}
}

// Run runs the program to its end.
func Run(t testing.TB, program string, args ...string) Result {
	t.Helper()
	return Launch(t, program, args...).Wait(t)
}
