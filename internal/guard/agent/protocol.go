// Package agent is the guard on its machine: a Unix socket, the gate behind
// it, and the machine's part in its set.
//
// The protocol on the socket: the caller sends one Call as a line of JSON; the
// agent answers with lines of JSON, Events, the last of which has Result,
// Status, Set or Error. A caller that closes the connection before a command has
// been started has withdrawn its call.
package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
)

// SocketPath is where the agent listens unless a flag says otherwise.
const SocketPath = "/run/lifeboat-guard/guard.sock"

// ProtocolVersion is the version of Call and Event.
const ProtocolVersion = 1

// Verbs of a Call.
const (
	VerbExec   = "exec"
	VerbCheck  = "check"
	VerbStatus = "status"
	VerbSet    = "set"
)

// Call is what a caller sends.
type Call struct {
	Version int      `json:"version"`
	Verb    string   `json:"verb"`
	Ask     gate.Ask `json:"ask,omitzero"`
	Set     SetCall  `json:"set,omitzero"`
}

// Event is one line of the answer.
type Event struct {
	Stdout []byte       `json:"stdout,omitempty"`
	Stderr []byte       `json:"stderr,omitempty"`
	Result *gate.Result `json:"result,omitempty"`
	Status *Status      `json:"status,omitempty"`
	Set    *SetView     `json:"set,omitempty"`
	Error  string       `json:"error,omitempty"`
	// Class says why the set has not done what it was asked for.
	Class policy.Class `json:"class,omitempty"`
}

func (e Event) last() bool {
	return e.Result != nil || e.Status != nil || e.Set != nil || e.Error != ""
}

// Limits: of a Call's line (signed requests and argument vectors are small),
// and of the time to send it.
const (
	maxCall     = 1 << 20
	callTimeout = 10 * time.Second
)

// ErrNoAgent is that nobody listens at the socket.
var ErrNoAgent = errors.New("no agent answers: start lifeboat-guard agent; until it runs nothing is allowed")

// noPermission is an ErrNoAgent for this caller only.
type noPermission struct{ socket string }

func (e noPermission) Error() string {
	return "no permission to ask the agent at " + e.socket + ": be root, or in the group that socket_group names in the configuration"
}

func (noPermission) Is(target error) bool { return target == ErrNoAgent }

// ErrLost is that the connection ended before the result came.
var ErrLost = errors.New("the agent was lost before it told the outcome: ask lifeboat-guard status, then the audit log")

// Do sends a call and hands the command's output to out until the answer comes.
func Do(ctx context.Context, socket string, call Call, out gate.Output) (Event, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if errors.Is(err, fs.ErrPermission) {
		return Event{}, noPermission{socket}
	}
	if err != nil {
		return Event{}, fmt.Errorf("%w (%w)", ErrNoAgent, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	call.Version = ProtocolVersion
	text, err := json.Marshal(call)
	if err != nil {
		return Event{}, err
	}
	if _, err := conn.Write(append(text, '\n')); err != nil {
		return Event{}, lost(ctx, call.Verb, err)
	}
	e, err := receive(conn, out)
	if errors.Is(err, ErrLost) {
		err = lost(ctx, call.Verb, err)
	}
	return e, err
}

// interrupted is an ErrLost that the caller has brought about.
type interrupted struct{}

func (interrupted) Error() string {
	return "interrupted: if the command has been started it goes on, and its outcome is not known here: ask lifeboat-guard status, then the audit log"
}

func (interrupted) Is(target error) bool { return target == ErrLost }

// lost is what a connection that has ended means to the caller.
func lost(ctx context.Context, verb string, err error) error {
	switch {
	case ctx.Err() != nil && (verb == VerbCheck || verb == VerbStatus): // they change nothing
		return fmt.Errorf("interrupted: %w", ctx.Err())
	case ctx.Err() != nil:
		return interrupted{}
	case errors.Is(err, ErrLost):
		return err
	}
	return fmt.Errorf("%w (%w)", ErrLost, err)
}

func receive(r io.Reader, out gate.Output) (Event, error) {
	dec := json.NewDecoder(bufio.NewReader(r))
	for {
		var e Event
		if err := dec.Decode(&e); err != nil {
			return Event{}, fmt.Errorf("%w (%w)", ErrLost, err)
		}
		if e.last() {
			return e, nil
		}
		if err := errors.Join(pass(out.Stdout, e.Stdout), pass(out.Stderr, e.Stderr)); err != nil {
			return Event{}, err
		}
	}
}

func pass(w io.Writer, b []byte) error {
	if w == nil || len(b) == 0 {
		return nil
	}
	_, err := w.Write(b)
	return err
}
