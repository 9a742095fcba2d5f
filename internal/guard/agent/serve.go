package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
)

// Handler is what stands behind the socket.
type Handler interface {
	Exec(ctx context.Context, ask gate.Ask, out gate.Output) gate.Result
	Check(ctx context.Context, ask gate.Ask) gate.Result
	Status(ctx context.Context) Status
	Set(ctx context.Context, call SetCall) (SetView, *policy.Denial)
}

// maxCalls bounds how many calls are served at once, 1 MiB each at the most: a
// flood of them must not take the memory of a database machine.
const maxCalls = 8

// Listen makes the socket; only root and its group may connect. A socket that
// a dead agent has left is replaced, a live one is an error.
func Listen(ctx context.Context, path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	var d net.Dialer
	if conn, err := d.DialContext(ctx, "unix", path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("another agent listens at %s", path)
	}
	if err := removeSocket(path); err != nil {
		return nil, err
	}
	old := unix.Umask(0o117) // from its first moment on the socket is closed to others
	defer unix.Umask(old)
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// removeSocket removes what an agent has left that ended without doing so, and
// nothing else: root may have mistyped the path.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket { //check:listen-not-a-socket
		return fmt.Errorf("%s is there and is not a socket: name another path with --socket", path)
	}
	return os.Remove(path)
}

// Serve answers calls until the context ends. Commands that run go on.
func Serve(ctx context.Context, l *net.UnixListener, h Handler) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	slots := make(chan struct{}, maxCalls)
	var wait sync.WaitGroup
	defer wait.Wait()
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			defer func() { _ = conn.Close() }()
			serveOne(ctx, conn, h)
		})
	}
}

func serveOne(ctx context.Context, conn *net.UnixConn, h Handler) {
	out := &events{enc: json.NewEncoder(conn), conn: conn}
	call, peer, err := readCall(conn)
	if err != nil {
		out.send(Event{Error: err.Error()})
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // the caller says nothing more: what comes is its end
		_, _ = conn.Read(make([]byte, 1))
		cancel()
	}()
	call.Ask.Peer = peer
	out.send(answer(ctx, call, h, out))
}

func answer(ctx context.Context, call Call, h Handler, out *events) Event {
	switch call.Verb {
	case VerbStatus:
		status := h.Status(ctx)
		return Event{Status: &status}
	case VerbSet:
		view, denial := h.Set(ctx, call.Set)
		if denial != nil {
			return Event{Error: denial.Summary, Class: denial.Class}
		}
		return Event{Set: &view}
	case VerbExec, VerbCheck:
	default:
		return Event{Error: fmt.Sprintf("unknown verb %q", call.Verb)}
	}
	if _, err := operation.Parse(string(call.Ask.Operation)); err != nil { //check:agent-operation
		return Event{Error: err.Error()}
	}
	if call.Verb == VerbCheck {
		result := h.Check(ctx, call.Ask)
		return Event{Result: &result}
	}
	result := h.Exec(ctx, call.Ask, gate.Output{Stdout: stream{out, false}, Stderr: stream{out, true}})
	return Event{Result: &result}
}

// readCall reads the one line of a caller, and who it is.
func readCall(conn *net.UnixConn) (Call, gate.Peer, error) {
	peer, err := peerOf(conn)
	if err != nil {
		return Call{}, peer, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(callTimeout)); err != nil {
		return Call{}, peer, err
	}
	line, err := bufio.NewReader(io.LimitReader(conn, maxCall)).ReadBytes('\n')
	if err != nil {
		return Call{}, peer, fmt.Errorf("a call is one line of at most %d bytes: %w", maxCall, err)
	}
	call, err := ParseCall(line)
	if err != nil {
		return Call{}, peer, err
	}
	return call, peer, conn.SetReadDeadline(time.Time{})
}

// ParseCall reads a Call; members it does not know are an error.
func ParseCall(line []byte) (Call, error) {
	var call Call
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&call); err != nil {
		return Call{}, fmt.Errorf("call: %w", err)
	}
	if dec.More() { //check:agent-one-call
		return Call{}, errors.New("call: something follows it")
	}
	if call.Version != ProtocolVersion { //check:agent-version
		return Call{}, fmt.Errorf("call: version %d, this agent speaks %d: use the lifeboat-guard of the agent's version", call.Version, ProtocolVersion)
	}
	return call, nil
}

func peerOf(conn *net.UnixConn) (gate.Peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return gate.Peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return gate.Peer{}, fmt.Errorf("who calls: %w", err)
	}
	return gate.Peer{PID: int(cred.Pid), UID: int(cred.Uid), GID: int(cred.Gid)}, nil
}

// events writes the answer, one event at a time. A caller that has gone does
// not stop anything.
type events struct {
	mu   sync.Mutex
	enc  *json.Encoder
	conn *net.UnixConn
}

// sendTimeout is how long a caller that does not read may hold up the agent.
const sendTimeout = 10 * time.Second

func (e *events) send(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.conn.SetWriteDeadline(time.Now().Add(sendTimeout))
	_ = e.enc.Encode(event)
}

// stream is a command's output on its way to the caller.
type stream struct {
	*events
	stderr bool
}

func (s stream) Write(b []byte) (int, error) {
	if s.stderr {
		s.send(Event{Stderr: b})
	} else {
		s.send(Event{Stdout: b})
	}
	return len(b), nil
}

// Admit lets the configured group connect to the socket.
func (a *Agent) Admit(socket string, lookup func(name string) (gid int, err error)) error {
	if a.config.SocketGroup == "" {
		return nil
	}
	gid, err := lookup(a.config.SocketGroup)
	if err != nil {
		return fmt.Errorf("configuration: socket_group: %w", err)
	}
	return os.Chown(socket, 0, gid)
}

// Run answers at the socket until the context ends.
func (a *Agent) Run(ctx context.Context, l *net.UnixListener) error {
	ctx, cancel := context.WithCancel(ctx)
	var attended sync.WaitGroup
	attended.Go(func() { a.Attend(ctx) })
	defer attended.Wait()
	defer cancel()
	return Serve(ctx, l, a)
}
