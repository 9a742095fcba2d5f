package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/process"
	"github.com/lifeboat-db/lifeboat/internal/guard/spent"
)

func TestMain(m *testing.M) {
	MaybeCanary()
	os.Exit(m.Run())
}

func newAgent(t *testing.T, dir, text string) (*Agent, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, as the agent does")
	}
	path := filepath.Join(dir, "guard.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := New(Options{ConfigPath: path, StateDir: filepath.Join(dir, "state"), Version: "test"})
	if err == nil {
		t.Cleanup(func() { _ = a.Close() })
	}
	return a, err
}

const plain = "version: 1\nrequests: {clock_unchecked: true}\n"

// TestConfigurationChanged: what the agent has not read it does not go by, and
// it does nothing by what is no longer so.
func TestConfigurationChanged(t *testing.T) {
	dir := t.TempDir()
	a, err := newAgent(t, dir, plain)
	if err != nil {
		t.Fatal(err)
	}
	ask := gate.Ask{Operation: operation.Wipe, Argv: []string{"/bin/true"}}
	if r := a.Exec(t.Context(), ask, gate.Output{}); r.Stage == "configuration" {
		t.Errorf("%+v", r)
	}
	for _, text := range []string{plain + "next_boot: disk\n", "version: 2\n", "", "{"} {
		if err := os.WriteFile(filepath.Join(dir, "guard.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, r := range []gate.Result{a.Exec(t.Context(), ask, gate.Output{}), a.Check(t.Context(), ask)} {
			if r.Verdict != gate.Refused || r.Stage != "configuration" {
				t.Errorf("%q: %+v", text, r)
			}
		}
		if s := a.Status(t.Context()); s.Problem == "" {
			t.Errorf("%q: status says nothing", text)
		}
	}
}

// TestStatusOfAnEarlierCommand: a command whose agent was killed is running as
// long as it is, and no longer.
func TestStatusOfAnEarlierCommand(t *testing.T) {
	dir := t.TempDir()
	a, err := newAgent(t, dir, plain)
	if err != nil {
		t.Fatal(err)
	}
	left := `{"run":"20260102T120000-0123456789abcdef","operation":"wipe","argv":["/bin/true"],"begin":"2026-01-02T12:00:00Z"}`
	if err := os.WriteFile(filepath.Join(dir, "state", "running.json"), []byte(left), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := a.Status(t.Context()); s.Running != nil {
		t.Errorf("%+v has ended", s.Running)
	}
	c := exec.CommandContext(t.Context(), "/bin/sleep", "60")
	c.Env = []string{"LIFEBOAT_GUARD_RUN=20260102T120000-0123456789abcdef"}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	if err := os.WriteFile(filepath.Join(dir, "state", "running.json"), []byte(left), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := a.Status(t.Context()); s.Running == nil {
		t.Error("a command that runs is not shown")
	}
	if err := os.WriteFile(filepath.Join(dir, "state", "running.json"), []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := a.Status(t.Context()); !strings.Contains(s.Problem, "is damaged") {
		t.Errorf("%+v", s)
	}
}

// TestSecondAgent: it does not start, and takes nothing of the first one's.
func TestSecondAgent(t *testing.T) {
	dir := t.TempDir()
	a, err := newAgent(t, dir, plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newAgent(t, dir, plain); err == nil {
		t.Error("two agents share one state")
	}
	nonce := strings.Repeat("0a", 16)
	if err := a.nonces.Spend(nonce, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "state", "canary", "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("an agent that has ended leaves what others take for data: %v %v", left, err)
	}
	again, err := newAgent(t, dir, plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.nonces.Spend(nonce, time.Now().Add(time.Minute)); !errors.Is(err, spent.ErrSpent) {
		t.Errorf("a nonce counts again: %v", err)
	}
}

// TestStateOfOthers: a state that others can write is none.
func TestStateOfOthers(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if err := errors.Join(os.MkdirAll(state, 0o700), os.Chmod(state, 0o770)); err != nil {
		t.Fatal(err)
	}
	if a, err := newAgent(t, dir, plain); err == nil {
		t.Error("a state that its group can write is taken")
		_ = a.Close()
	}
	if err := errors.Join(os.Chmod(state, 0o755), os.Chown(state, 65534, 0)); err != nil {
		t.Fatal(err)
	}
	if a, err := newAgent(t, dir, plain); err == nil {
		t.Error("a state of another user is taken")
		_ = a.Close()
	}
	if err := os.Chown(state, 0, 0); err != nil {
		t.Fatal(err)
	}
	a, err := newAgent(t, dir, plain)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Close()
}

// TestEndedUnseen: the end of an earlier agent's command is in the log as soon
// as an agent is there again.
func TestEndedUnseen(t *testing.T) {
	dir := t.TempDir()
	a, err := newAgent(t, dir, plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Close(), os.WriteFile(filepath.Join(dir, "state", "running.json"),
		[]byte(`{"run":"x","operation":"reboot","argv":["/bin/true"],"begin":"2026-11-25T00:00:00Z"}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	if a, err = newAgent(t, dir, plain); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	text, err := os.ReadFile(filepath.Join(dir, "state", "audit.log"))
	if err != nil || !strings.Contains(string(text), "outcome unknown") {
		t.Errorf("%s %v", text, err)
	}
}

// TestSetForgotten: a configuration that has lost the set is a mistake.
func TestSetForgotten(t *testing.T) {
	dir := t.TempDir()
	set := plain + "interlock: {set: s1, endpoints: [\"127.0.0.1:1\"]}\n"
	a, err := newAgent(t, dir, set)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{plain, strings.Replace(set, "s1", "s2", 1)} {
		if _, err := newAgent(t, dir, text); err == nil {
			t.Errorf("started with %q", text)
		}
	}
	if _, err := newAgent(t, dir, set); err != nil {
		t.Error(err)
	}
}

func TestLocker(t *testing.T) {
	dir := t.TempDir()
	system := filepath.Join(dir, "ibdata1")
	if err := os.WriteFile(system, process.Page(), 0o600); err != nil {
		t.Fatal(err)
	}
	facts := []fact.Fact{{Kind: fact.DataAtRest, Verdict: fact.Active, Evidence: map[string]string{"datadir": dir}}}
	held, err := (&locker{}).Take(t.Context(), facts)
	if err != nil || len(held.Held()) != 1 || len(held.Files()) != 1 {
		t.Fatal(held, err)
	}
	if _, err := (&locker{}).Take(t.Context(), facts); err == nil {
		t.Error("two hold one lock")
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	notADir := []fact.Fact{{Kind: fact.DataAtRest, Evidence: map[string]string{"datadir": system}}}
	if _, err := (&locker{}).Take(t.Context(), notADir); err == nil {
		t.Error("a data directory that cannot be read has no locks")
	}
}

// handler notes what reaches it.
type handler struct{ asks chan gate.Ask }

func (handler) Set(context.Context, SetCall) (SetView, *policy.Denial) {
	return SetView{}, &policy.Denial{Class: policy.Unavailable, Summary: "silent"}
}

func (h handler) Exec(ctx context.Context, ask gate.Ask, out gate.Output) gate.Result {
	h.asks <- ask
	if ask.Argv[0] == "wait" {
		<-ctx.Done()
	}
	_, _ = out.Stdout.Write([]byte("out"))
	_, _ = out.Stderr.Write([]byte("err"))
	return gate.Result{Verdict: gate.Ran}
}

func (h handler) Check(_ context.Context, ask gate.Ask) gate.Result {
	h.asks <- ask
	return gate.Result{Verdict: gate.Allowed}
}

func (handler) Status(context.Context) Status { return Status{Version: "v"} }

func serve(t *testing.T) (socket string, h handler) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	h = handler{make(chan gate.Ask, 10)}
	l, err := Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket, h
}

func TestSocket(t *testing.T) {
	socket, h := serve(t)
	var stdout, stderr bytes.Buffer
	ask := gate.Ask{Operation: operation.Wipe, Argv: []string{"/bin/true"}, Peer: gate.Peer{UID: 7}}
	e, err := Do(t.Context(), socket, Call{Verb: VerbExec, Ask: ask}, gate.Output{Stdout: &stdout, Stderr: &stderr})
	if err != nil || e.Result == nil || e.Result.Verdict != gate.Ran || stdout.String() != "out" || stderr.String() != "err" {
		t.Errorf("%+v %v %q %q", e, err, &stdout, &stderr)
	}
	if got := <-h.asks; got.Peer.UID != os.Geteuid() || got.Peer.PID != os.Getpid() {
		t.Errorf("the caller is what it says it is: %+v", got.Peer)
	}
	if e, err := Do(t.Context(), socket, Call{Verb: VerbCheck, Ask: ask}, gate.Output{}); err != nil || e.Result.Verdict != gate.Allowed {
		t.Errorf("%+v %v", e, err)
	}
	<-h.asks
	if e, err := Do(t.Context(), socket, Call{Verb: VerbStatus}, gate.Output{}); err != nil || e.Status == nil || e.Status.Version != "v" {
		t.Errorf("%+v %v", e, err)
	}
	for _, call := range []Call{{Verb: "agent", Ask: ask}, {Verb: VerbExec, Ask: gate.Ask{Operation: "format"}}, {Verb: VerbExec}} {
		if e, err := Do(t.Context(), socket, call, gate.Output{}); err != nil || e.Error == "" {
			t.Errorf("%+v: %+v %v", call, e, err)
		}
	}
	if len(h.asks) > 0 {
		t.Errorf("%+v has reached the gate", <-h.asks)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if _, err := Listen(t.Context(), socket); err == nil {
		t.Error("two agents listen at one socket")
	}
	if _, err := Do(t.Context(), socket+"x", Call{}, gate.Output{}); !errors.Is(err, ErrNoAgent) {
		t.Error(err)
	}
}

// TestCallerGone: a caller that hangs up is noticed by what it has asked for.
func TestCallerGone(t *testing.T) {
	socket, h := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-h.asks
		cancel()
	}()
	ask := gate.Ask{Operation: operation.Wipe, Argv: []string{"wait"}}
	if _, err := Do(ctx, socket, Call{Verb: VerbExec, Ask: ask}, gate.Output{}); !errors.Is(err, ErrLost) || strings.Contains(err.Error(), "agent was lost") {
		t.Error(err)
	}
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	if err := lost(gone, VerbCheck, io.EOF); !errors.Is(err, context.Canceled) || errors.Is(err, ErrLost) {
		t.Error(err)
	}
	if err := lost(t.Context(), VerbExec, io.EOF); !errors.Is(err, ErrLost) {
		t.Error(err)
	}
}

// TestRudeCallers: what is no call gets an error, and takes nobody else's turn.
func TestRudeCallers(t *testing.T) {
	socket, h := serve(t)
	for _, text := range []string{"\n", "x\n", "{}\n", "[]\n", `{"version":1,"verb":"exec","x":1}` + "\n", strings.Repeat("x", maxCall) + "\n"} {
		conn, err := net.Dial("unix", socket) //nolint:noctx // on this machine
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(text))
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		var e Event
		if err := json.NewDecoder(conn).Decode(&e); err == nil && e.Error == "" {
			t.Errorf("%.40q: %+v", text, e)
		}
		_ = conn.Close()
	}
	if len(h.asks) > 0 {
		t.Errorf("%+v has reached the gate", <-h.asks)
	}
}

func TestStaleSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	l, err := Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

// TestSocketIsAFile: a path that was mistyped loses nothing.
func TestSocketIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(path, []byte("root"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := Listen(t.Context(), path); err == nil {
		_ = l.Close()
		t.Error("it listens where a file was")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "root" {
		t.Errorf("%q %v", text, err)
	}
}

func TestParseCall(t *testing.T) {
	if c, err := ParseCall([]byte(`{"version":1,"verb":"status","ask":{"operation":"","scope":{},"argv":null}}` + "\n")); err != nil || c.Verb != VerbStatus {
		t.Errorf("%+v %v", c, err)
	}
	for _, text := range []string{``, `{}`, `{"version":2,"verb":"status"}`, `{"version":1,"verb":"status"}{}`, `{"version":1,"root":true}`} {
		if c, err := ParseCall([]byte(text)); err == nil {
			t.Errorf("%s is %+v", text, c)
		}
	}
}

// FuzzParseCall: nobody can say in a call who calls.
func FuzzParseCall(f *testing.F) {
	f.Add([]byte(`{"version":1,"verb":"exec","ask":{"operation":"wipe","scope":{"devices":["/dev/x"]},"argv":["/bin/true"],"Peer":{"UID":0}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseCall(text)
		if err == nil && (c.Version != ProtocolVersion || c.Ask.Peer != (gate.Peer{})) {
			t.Fatalf("%+v", c)
		}
	})
}

// TestIdleAgain: the command of an agent that was killed keeps the machine from
// being idle until it has ended, and no longer, though nobody asks for anything.
func TestIdleAgain(t *testing.T) {
	dir := t.TempDir()
	a, err := newAgent(t, dir, plain)
	if err != nil {
		t.Fatal(err)
	}
	if !a.gate.Idle() {
		t.Error("nothing has run")
	}
	if err := os.WriteFile(a.state("running.json"), []byte(`{"run":"killed","operation":"stop-server"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "sleep", "60")
	c.Env = []string{"LIFEBOAT_GUARD_RUN=killed"}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if a.gate.Idle() {
		t.Error("its command still runs")
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	before := a.log.Head().Seq
	for range 2 {
		if !a.gate.Idle() {
			t.Error("its command has ended")
		}
	}
	if after := a.log.Head().Seq; after != before+1 {
		t.Errorf("%d records of its end", after-before)
	}
	if err := os.WriteFile(a.state("running.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if a.gate.Idle() {
		t.Error("nobody knows what runs")
	}
}
