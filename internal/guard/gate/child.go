package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
)

// File is an open file that a child inherits.
type File = *os.File

// Output is where a command's output goes while somebody listens.
type Output struct {
	Stdout, Stderr io.Writer
}

// Command is what a Runner is to run.
type Command struct {
	Argv      []string
	Operation operation.Operation
	Inherit   []File // from descriptor 3 on: the engines' locks
	Token     int64
	Output    Output
}

// Child is how a command ended.
type Child struct {
	Run      string    `json:"run"` // names its output in the state directory
	Started  bool      `json:"started"`
	PID      int       `json:"pid,omitempty"`
	ExitCode int       `json:"exit_code"`        // -1 if a signal ended it
	Signal   string    `json:"signal,omitempty"` // that ended it
	Error    string    `json:"error,omitempty"`  // why it could not be started or waited for
	Begin    time.Time `json:"begin"`
	End      time.Time `json:"end"`
	// Left: something that it has started runs on, or nobody knows.
	Left bool `json:"left,omitempty"`
}

// Succeeded reports whether the command ended with exit status 0.
func (c Child) Succeeded() bool {
	return c.Started && c.Error == "" && c.Signal == "" && c.ExitCode == 0
}

func (c Child) String() string {
	switch {
	case !c.Started:
		return "not started: " + c.Error
	case c.Error != "":
		return "outcome unknown: " + c.Error
	case c.Signal != "":
		return "ended by signal: " + c.Signal
	}
	return fmt.Sprintf("exit status %d", c.ExitCode)
}

// Process is the Runner of real life. The command gets a fixed environment, no
// input, the root directory, and a session of its own. Its output goes into
// files: it runs on when the agent or the asker dies, and holds the engines'
// locks by the descriptors it has inherited.
type Process struct {
	Journal *Journal
	Now     func() time.Time
	// Permit is a program that lets systemd restart the machine for one
	// command: PERMIT grant before it, PERMIT revoke after it. Where it is not
	// installed systemd refuses nothing, and it is not run.
	Permit string
}

// Run starts the command and waits for its end.
func (p Process) Run(_ context.Context, c Command) Child {
	child := Child{Begin: p.Now()}
	entry, err := p.Journal.begin(c, child.Begin)
	if err == nil {
		child.Run = entry.Run
		err = p.start(c, &entry, &child)
	}
	if err != nil {
		child.Error = err.Error()
		child.End = p.Now()
	}
	if err := p.Journal.finish(entry); err != nil {
		child.Left = true
		if child.Error == "" {
			child.Error = err.Error()
		}
	}
	return child
}

func (p Process) start(c Command, entry *Entry, child *Child) (err error) {
	path, err := Trusted(c.Argv[0])
	if err != nil {
		return err
	}
	revoke, err := p.permit(c.Operation)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, revoke()) }()
	stdout, stderr, err := p.Journal.outputs(entry.Run)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stdout.Close(), stderr.Close()) }()
	// Whoever started the agent may have left it descriptors that every child
	// would inherit.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return err
	}
	cmd := exec.Cmd{
		Path: path, Args: c.Argv, Env: append(environment(), entry.marker()), Dir: "/",
		Stdout: stdout, Stderr: stderr, ExtraFiles: c.Inherit,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	child.Started, child.PID = true, cmd.Process.Pid
	var unnoted error // it runs on, and is found by its mark alone
	*entry, unnoted = p.Journal.started(*entry, cmd.Process.Pid)
	stop := follow(stdout.Name(), c.Output.Stdout, stderr.Name(), c.Output.Stderr)
	err = cmd.Wait()
	child.End = p.Now()
	stop()
	return errors.Join(unnoted, describe(child, err, cmd.ProcessState))
}

// permit grants a restart, if the operation is one.
func (p Process) permit(op operation.Operation) (revoke func() error, err error) {
	if _, err := os.Stat(p.Permit); op != operation.Reboot || p.Permit == "" || errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	run := func(verb string) error {
		path, err := Trusted(p.Permit)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), permitTimeout)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, verb)
		cmd.Env = environment()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", p.Permit, verb, err, out)
		}
		return nil
	}
	if err := run("grant"); err != nil {
		return nil, errors.Join(err, run("revoke"))
	}
	return func() error { return run("revoke") }, nil
}

// permitTimeout bounds how long systemd may take to read its units again.
const permitTimeout = 30 * time.Second

// describe fills in how the command ended; the error is that this is not known.
func describe(child *Child, err error, state *os.ProcessState) error {
	child.ExitCode = -1
	if state == nil {
		return errors.Join(err, errors.New("nothing is known of its end"))
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		child.Signal = status.Signal().String()
		return nil
	}
	child.ExitCode = state.ExitCode()
	return nil
}

// followEvery is how often the output files are looked at: quick enough for
// people, and nothing beside the cost of the command.
const followEvery = 50 * time.Millisecond

// follow copies what is written to the files to their listeners until stop is
// called, and then the rest. A listener that fails is left alone.
func follow(outPath string, out io.Writer, errPath string, errOut io.Writer) (stop func()) {
	done := make(chan struct{})
	var wait sync.WaitGroup
	for path, w := range map[string]io.Writer{outPath: out, errPath: errOut} {
		if w != nil {
			wait.Go(func() { tail(path, w, done) })
		}
	}
	return func() {
		close(done)
		wait.Wait()
	}
}

func tail(path string, w io.Writer, done <-chan struct{}) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	for last := false; !last; {
		select {
		case <-done:
			last = true
		case <-time.After(followEvery):
		}
		if _, err := io.Copy(w, f); err != nil {
			return
		}
	}
}
