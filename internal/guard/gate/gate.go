// Package gate decides and acts, in one go: a check that returns a code and
// lets somebody else act is a race, and gets misread.
//
// The order of steps of Exec, each of which can only refuse:
//
//	request   who asks, for which machine, once, and until when
//	mutex     one operation at a time on this machine
//	command   may this program run for this operation
//	look      every probe; judged as if the set had agreed
//	locks     the engines' own file locks, so that no server can start
//	interlock what the set says; from here on it counts the machine as leaving
//	audit     what is about to be done, on disk
//	look      every probe again, with the locks held
//	commit    the set's record no longer expires
//	confirm   the record is still ours
//	run       the command, which inherits the locks
//	record    its outcome
package gate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/machine"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// Ask is what somebody wants to be done.
type Ask struct {
	Operation operation.Operation `json:"operation"`
	Scope     operation.Scope     `json:"scope"`
	Argv      []string            `json:"argv"`
	// Request and Override are signed envelopes, as they came; empty if none.
	Request  []byte `json:"request,omitempty"`
	Override []byte `json:"override,omitempty"`
	// Peer is the process at the other end of the socket; the agent fills it.
	Peer Peer `json:"-"`
}

// Peer is what the kernel says of who asks (SO_PEERCRED).
type Peer struct {
	PID, UID, GID int
}

// Who is an authorised asker.
type Who struct {
	Name   string // of the key's owner, or "root"
	Nonce  string // of the request, to be spent in the set as well; empty without one
	Ticket string // the asker's own reference
	Expiry time.Time
	Waives []string // codes that a verified override waives
	// Evidence is the digest of the facts that the override was given for.
	Evidence  string
	Approvers []string
}

// The sides of the gate, each with its real one in package agent.
type (
	// Authority says who asks. Its denials have the classes Signature and
	// Expired.
	Authority interface {
		Authorise(ctx context.Context, ask Ask) (Who, *policy.Denial)
	}
	// Locker takes the locks of all engine files that the facts name. The
	// error says which one somebody else holds, or could not be taken.
	Locker interface {
		Take(ctx context.Context, facts []fact.Fact) (Locks, error)
	}
	// Locks are held until Close; Files are what a child must inherit to hold
	// them on.
	Locks interface {
		Held() []probe.FileID
		Files() []File
		Close() error
	}
	// Set is the interlock of the machine's set of three.
	Set interface {
		// Acquire announces the loss of this machine. Denials mean no.
		Acquire(ctx context.Context, want Want) (Grant, []policy.Denial)
	}
	// Grant is the set's word, in steps.
	Grant interface {
		Token() int64
		Commit(ctx context.Context) []policy.Denial
		Confirm(ctx context.Context) []policy.Denial
		Release(ctx context.Context) error // nothing has run
		Finish(ctx context.Context, outcome string) error
	}
	// Log is the audit log: what Append returns without an error is on disk.
	Log interface {
		Append(event string, details any) error
	}
	// Runner runs the command and returns when it has ended.
	Runner interface {
		Run(ctx context.Context, cmd Command) Child
	}
)

// Want is what the set must know.
type Want struct {
	Operation operation.Operation
	Requester string
	Nonce     string
	Expiry    time.Time
	Facts     []fact.Fact
}

// Gate is the one way to run a destructive command.
type Gate struct {
	Target    machine.Target // this machine
	Looker    Looker
	Authority Authority
	Locker    Locker
	Set       Set // nil: the machine belongs to no set
	Log       Log
	Runner    Runner
	Rules     *policy.Rules
	Templates map[operation.Operation][]Template
	Now       func() time.Time

	turn turn
}

// Verdict is how an Exec ended.
type Verdict string

// The verdicts.
const (
	Allowed Verdict = "allowed" // of Check: it would have gone on
	Ran     Verdict = "ran"     // the command has run, see Child
	Refused Verdict = "refused"
)

// Result is what the asker is told.
type Result struct {
	Verdict   Verdict             `json:"verdict"`
	Operation operation.Operation `json:"operation"`
	Scope     operation.Scope     `json:"scope"`
	Argv      []string            `json:"argv,omitempty"`
	Target    machine.Target      `json:"target"`
	Requester string              `json:"requester,omitempty"`
	Class     policy.Class        `json:"class,omitempty"` // of a refusal
	Stage     string              `json:"stage,omitempty"` // where it was refused
	Decision  policy.Decision     `json:"decision"`
	Facts     []fact.Fact         `json:"facts,omitempty"`
	// Evidence is the digest of the facts; an override is bound to it.
	Evidence string `json:"evidence,omitempty"`
	Token    int64  `json:"token,omitempty"` // the interlock's fencing token
	Child    *Child `json:"child,omitempty"`
	// Warnings are what went wrong after the command had run.
	Warnings []string `json:"warnings,omitempty"`
}

// run is one Exec on its way through the gate.
type run struct {
	*Gate
	ask    Ask
	who    Who
	result Result
	locks  Locks
	grant  Grant
	set    policy.Interlock // what the set has said
}

func (g *Gate) newRun(ask Ask) *run {
	return &run{Gate: g, ask: ask, result: Result{Operation: ask.Operation, Scope: ask.Scope, Argv: ask.Argv, Target: g.Target}}
}

// Exec goes through all steps. It never returns an error beside the result: a
// refusal is one of its outcomes.
func (g *Gate) Exec(ctx context.Context, ask Ask, out Output) Result {
	r := g.newRun(ask)
	if denial := g.turn.take(); denial != nil { //check:gate-one-at-a-time
		return r.refuse("mutex", *denial)
	}
	defer g.turn.release()
	for _, step := range []struct {
		name string
		do   func(context.Context) []policy.Denial
	}{
		{"request", r.authorise},
		{"command", r.judgeCommand},
		{"look", r.firstLook},
		{"locks", r.takeLocks},
		{"interlock", r.askSet},
		{"audit", r.announce},
		{"second look", r.secondLook},
		{"commit", r.commit},
		{"confirm", r.confirm},
	} {
		denials := step.do(ctx)
		if len(denials) == 0 && ctx.Err() != nil { //check:gate-asker-gone
			denials = []policy.Denial{{Code: "interrupted", Class: policy.Busy, Summary: "the asker has gone"}}
		}
		if len(denials) > 0 { //check:gate-step-denies
			result := r.refuse(step.name, denials...)
			r.undo(context.WithoutCancel(ctx))
			return result
		}
	}
	// From here on nothing is taken back: the command runs to its end even if
	// nobody listens any more.
	return r.act(context.WithoutCancel(ctx), out)
}

func (r *run) authorise(ctx context.Context) []policy.Denial {
	who, denial := r.Authority.Authorise(ctx, r.ask)
	if denial != nil { //check:gate-authority
		return []policy.Denial{*denial}
	}
	r.who = who
	r.result.Requester = who.Name
	return nil
}

func (r *run) judgeCommand(context.Context) []policy.Denial {
	templates := append(slices.Clone(r.Templates[r.ask.Operation]), BuiltIn(r.ask.Operation)...)
	if denial := JudgeCommand(r.ask.Operation, r.ask.Scope, r.ask.Argv, templates); denial != nil { //check:gate-command
		return []policy.Denial{*denial}
	}
	if _, err := Trusted(r.ask.Argv[0]); err != nil { //check:gate-trusted-program
		return []policy.Denial{*refuseCommand("program %s: %v", r.ask.Argv[0], err)}
	}
	return nil
}

// firstLook judges as if the set had agreed: what is refused anyway need not
// trouble the set.
func (r *run) firstLook(ctx context.Context) []policy.Denial {
	r.look(ctx)
	if r.who.Evidence != "" && r.who.Evidence != r.result.Evidence { //check:gate-override-evidence
		return []policy.Denial{{Code: "override", Class: policy.Signature,
			Summary: "the override was given for other evidence: what the machine shows has changed; look again and ask for new approvals"}}
	}
	return r.judge(policy.Interlock{Configured: r.Set != nil, Granted: r.Set != nil})
}

func (r *run) look(ctx context.Context) {
	q := probe.Question{Operation: r.ask.Operation, Scope: r.ask.Scope}
	if r.locks != nil {
		q.Held = r.locks.Held()
	}
	r.result.Facts = r.Looker.Look(ctx, q)
	r.result.Evidence = fact.Digest(r.result.Facts)
}

func (r *run) judge(interlock policy.Interlock) []policy.Denial {
	r.result.Decision = policy.Judge(policy.Input{
		Operation: r.ask.Operation, Scope: r.ask.Scope, Facts: r.result.Facts,
		Interlock: interlock, Rules: r.Rules, Machine: r.Target.MachineID, Waives: r.who.Waives,
	})
	return r.result.Decision.Denials
}

func (r *run) takeLocks(ctx context.Context) []policy.Denial {
	if !r.ask.Operation.EngineDown() {
		return nil
	}
	locks, err := r.Locker.Take(ctx, r.result.Facts)
	if err != nil { //check:gate-locks
		return []policy.Denial{{Code: string(fact.EngineLock), Class: policy.Live,
			Summary: fmt.Sprintf("the engines' locks cannot be taken: %v", err)}}
	}
	r.locks = locks
	return nil
}

func (r *run) askSet(ctx context.Context) []policy.Denial {
	interlock := policy.Interlock{Configured: r.Set != nil}
	if r.Set != nil {
		grant, denials := r.Set.Acquire(ctx, Want{
			Operation: r.ask.Operation, Requester: r.who.Name, Nonce: r.who.Nonce, Expiry: r.who.Expiry, Facts: r.result.Facts,
		})
		r.grant = grant
		interlock.Granted = grant != nil && len(denials) == 0
		interlock.Denials = denials
		if grant != nil {
			r.result.Token = grant.Token()
		}
	}
	r.set = interlock
	return r.judge(interlock)
}

// announcement is what the audit log says before anything is done.
type announcement struct {
	Operation operation.Operation `json:"operation"`
	Scope     operation.Scope     `json:"scope"`
	Argv      []string            `json:"argv"`
	Requester string              `json:"requester"`
	Ticket    string              `json:"ticket,omitempty"`
	Nonce     string              `json:"nonce,omitempty"`
	Peer      Peer                `json:"peer"`
	Approvers []string            `json:"approvers,omitempty"`
	Token     int64               `json:"token,omitempty"`
	Evidence  string              `json:"evidence"`
	Decision  policy.Decision     `json:"decision"`
	Facts     []fact.Fact         `json:"facts"`
}

func (r *run) announcement() announcement {
	return announcement{
		Operation: r.ask.Operation, Scope: r.ask.Scope, Argv: r.ask.Argv, Requester: r.who.Name, Ticket: r.who.Ticket,
		Nonce: r.who.Nonce, Peer: r.ask.Peer, Approvers: r.who.Approvers, Token: r.result.Token,
		Evidence: r.result.Evidence, Decision: r.result.Decision, Facts: r.result.Facts,
	}
}

func (r *run) announce(context.Context) []policy.Denial {
	if err := r.Log.Append("allowed", r.announcement()); err != nil { //check:gate-audit
		return []policy.Denial{{Code: "audit", Class: policy.Unknown,
			Summary: fmt.Sprintf("nothing is done that cannot be recorded: %v", err)}}
	}
	return nil
}

// secondLook demands that the machine shows what it showed before, and still
// allows it. The set's word stands, be it a grant or a silence that two people
// have waived: Commit asks again.
func (r *run) secondLook(ctx context.Context) []policy.Denial {
	before, facts := r.result.Evidence, r.result.Facts
	r.look(ctx)
	if denials := r.judge(r.set); len(denials) > 0 { //check:gate-second-look
		return denials
	}
	if r.result.Evidence != before { //check:gate-evidence-changed
		return []policy.Denial{{Code: "changed", Class: policy.Busy,
			Summary: "the machine does not show what it showed a moment ago; look again: " + fact.Difference(facts, r.result.Facts)}}
	}
	return nil
}

func (r *run) commit(ctx context.Context) []policy.Denial {
	if r.grant == nil {
		return nil
	}
	return r.grant.Commit(ctx)
}

func (r *run) confirm(ctx context.Context) []policy.Denial {
	if r.grant == nil {
		return nil
	}
	return r.grant.Confirm(ctx)
}

// refuse records and returns a refusal. That it could not be recorded does not
// make it less of one.
func (r *run) refuse(stage string, denials ...policy.Denial) Result {
	r.result.Verdict = Refused
	r.result.Stage = stage
	r.result.Decision.Allowed = false
	r.result.Decision.Denials = denials
	r.result.Class = r.result.Decision.Class()
	details := struct {
		announcement
		Stage string       `json:"stage"`
		Class policy.Class `json:"class"`
	}{r.announcement(), stage, r.result.Class}
	if err := r.Log.Append("refused", details); err != nil {
		r.warn("the refusal is not in the audit log: %v", err)
	}
	return r.result
}

func (r *run) warn(format string, args ...any) {
	r.result.Warnings = append(r.result.Warnings, fmt.Sprintf(format, args...))
}

// undo gives back what was taken, when nothing has run.
func (r *run) undo(ctx context.Context) {
	if r.grant != nil {
		if err := r.grant.Release(ctx); err != nil {
			r.warn("the set still counts this machine as leaving: %v", err)
		}
	}
	r.unlock()
}

func (r *run) unlock() {
	if r.locks == nil {
		return
	}
	if err := r.locks.Close(); err != nil {
		r.warn("locks: %v", err)
	}
}

// act runs the command and records how it ended.
func (r *run) act(ctx context.Context, out Output) Result {
	cmd := Command{Argv: r.ask.Argv, Operation: r.ask.Operation, Token: r.result.Token, Output: out}
	if r.locks != nil {
		cmd.Inherit = r.locks.Files()
	}
	child := r.Runner.Run(ctx, cmd)
	r.unlock()
	if !child.Started {
		denials := []policy.Denial{*refuseCommand("the command could not be started: %s", child.Error)}
		result := r.refuse("run", denials...)
		r.locks = nil
		r.undo(ctx)
		return result
	}
	r.result.Verdict = Ran
	r.result.Child = &child
	if err := r.Log.Append("ran", child); err != nil {
		r.warn("the outcome is not in the audit log: %v", err)
	}
	switch {
	case r.grant == nil:
	case child.Left: //check:gate-left-behind
		r.warn("the set counts the command as running until what it has left behind has ended")
	default:
		if err := r.grant.Finish(ctx, child.String()); err != nil {
			r.warn("the set does not know the outcome: %v", err)
		}
	}
	return r.result
}

// Check looks and judges, and says what Exec would do now; nothing is held,
// nothing is promised. Only Exec's own look, at its own moment, counts.
func (g *Gate) Check(ctx context.Context, ask Ask) Result {
	r := g.newRun(ask)
	r.look(ctx)
	interlock := policy.Interlock{Configured: g.Set != nil}
	if inquirer, ok := g.Set.(Inquirer); ok {
		interlock.Denials = inquirer.Inquire(ctx, Want{Operation: ask.Operation, Facts: r.result.Facts})
		interlock.Granted = len(interlock.Denials) == 0
	}
	r.judge(interlock)
	r.result.Verdict = Refused
	if r.result.Decision.Allowed {
		r.result.Verdict = Allowed
	} else {
		r.result.Class = r.result.Decision.Class()
	}
	return r.result
}

// Inquirer is a Set that can be asked without being changed.
type Inquirer interface {
	Inquire(ctx context.Context, want Want) []policy.Denial
}
