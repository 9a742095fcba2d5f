package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/audit"
	"github.com/lifeboat-db/lifeboat/internal/guard/config"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/machine"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/spent"
)

// StateDir is where the agent keeps its key, audit log and journal unless a
// flag says otherwise.
const StateDir = "/var/lib/lifeboat-guard"

// permitPath is where packaging/guard installs what lets systemd restart the
// machine.
const permitPath = "/usr/lib/lifeboat-guard/permit"

// Options of an agent.
type Options struct {
	ConfigPath     string
	ConfigOptional bool // no file is no configuration
	StateDir       string
	Version        string
	World          World // for tests
}

// Agent is a running guard.
type Agent struct {
	options  Options
	config   config.Config
	identity machine.Identity
	key      ed25519.PrivateKey
	gate     *gate.Gate
	log      *audit.Log
	nonces   *spent.Store
	journal  *gate.Journal
	sight    *sight
	locker   *locker
	member   *member // nil: the machine belongs to no set
	started  time.Time
}

// New makes an agent, or says what is wrong with configuration or state: then
// nothing listens, and nothing is allowed.
func New(o Options) (a *Agent, err error) {
	a = &Agent{options: o, started: time.Now()}
	if a.config, err = config.Load(o.ConfigPath, o.ConfigOptional); err != nil {
		return nil, err
	}
	if err := ownDir(o.StateDir); err != nil {
		return nil, err
	}
	if a.identity, err = machine.Read("/"); err != nil {
		return nil, err
	}
	if a.key, err = machine.LoadOrCreateKey(o.StateDir); err != nil {
		return nil, err
	}
	if err := a.rememberSet(); err != nil {
		return nil, err
	}
	if err := a.build(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// ownDir makes the state directory, or refuses one that others may write: they
// could put another key, log or list of used requests in its place.
func ownDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&0o022 != 0 { //check:agent-state-writable
		return fmt.Errorf("%s can be written by others (mode %04o): chmod go-w, and look who has been there", path, st.Mode&0o7777)
	}
	if int(st.Uid) != os.Geteuid() { //check:agent-state-owner
		return fmt.Errorf("%s belongs to another user: choose a directory of root's", path)
	}
	return nil
}

func (a *Agent) state(name string) string { return filepath.Join(a.options.StateDir, name) }

// build puts the gate together.
func (a *Agent) build() (err error) {
	rules, err := policy.Compile(a.config.Rules)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	keys, err := Keys(a.config)
	if err != nil {
		return err
	}
	// The audit log has one writer: a second agent on the same state ends here,
	// before it could take anything of the first one's.
	if a.log, err = audit.Open(audit.Options{
		Path: a.state("audit.log"), Key: a.key, Machine: a.identity.MachineID, BootID: a.identity.BootID, Now: time.Now,
	}); err != nil { //check:agent-second
		return err
	}
	if a.nonces, err = spent.Open(a.state("spent"), time.Now); err != nil {
		return err
	}
	if a.sight, err = newSight(a.options.StateDir, a.options.World); err != nil {
		return err
	}
	who := &authority{keys: keys, identity: a.identity, spent: a.nonces, signedOnly: a.config.Requests.SignedOnly}
	if !a.config.Requests.ClockUnchecked {
		who.synchronised = spent.Synchronised
	}
	if a.config.Interlock != nil {
		who.spendInSet = a.spendInSet
	}
	a.locker = &locker{dataDirs: a.config.DataDirs}
	a.journal = &gate.Journal{Dir: a.options.StateDir}
	a.gate = &gate.Gate{
		Target: a.identity.Target, Looker: a.sight.looker(a.config), Authority: who, Locker: a.locker, Log: a.log,
		Runner: gate.Process{Journal: a.journal, Now: time.Now, Permit: permitPath}, Rules: rules, Templates: a.config.Commands, Now: time.Now,
	}
	if err := a.joinSet(keys); err != nil {
		return err
	}
	a.gate.Abandoned(func() (string, error) { return a.journal.Abandoned(a.abandoned) })
	// What has ended unseen is told now and not when somebody asks for the next
	// operation. What cannot be told now is told, or refused, then.
	_, _ = a.journal.Abandoned(a.abandoned)
	return nil
}

// Keys reads the keys of a configuration.
func Keys(c config.Config) (keys []seal.Key, err error) {
	for _, k := range c.Keys {
		public, err := seal.ParseKey(k.Key)
		if err != nil {
			return nil, fmt.Errorf("configuration: key of %s: %w", k.Name, err)
		}
		keys = append(keys, seal.Key{Name: k.Name, Roles: k.Roles, PublicKey: public})
	}
	return keys, nil
}

// rememberSet notes on disk which set the machine belongs to: a configuration
// that no longer says so is taken for a mistake, since it would leave the
// machine without its set's word.
func (a *Agent) rememberSet() error {
	path := a.state("set")
	known, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	name := ""
	if a.config.Interlock != nil {
		name = a.config.Interlock.Set
	}
	if len(known) > 0 && string(known) != name { //check:agent-set-forgotten
		return fmt.Errorf("this machine belongs to the set %q, and the configuration names %q: restore it, or, if the machine has left its set, remove %s", known, name, path)
	}
	if name == "" || len(known) > 0 {
		return nil
	}
	return os.WriteFile(path, []byte(name), 0o600)
}

// abandoned records that an earlier agent's command has ended unseen.
func (a *Agent) abandoned(e gate.Entry) error {
	return a.log.Append("outcome unknown", e)
}

// Exec implements Handler. The configuration must be the one that the agent
// runs with: one that cannot be read, or has been changed, refuses.
func (a *Agent) Exec(ctx context.Context, ask gate.Ask, out gate.Output) gate.Result {
	if problem := a.problem(); problem != "" { //check:agent-config-changed
		return a.refuse(ask, problem)
	}
	return a.gate.Exec(ctx, ask, out)
}

// Check implements Handler.
func (a *Agent) Check(ctx context.Context, ask gate.Ask) gate.Result {
	if problem := a.problem(); problem != "" { //check:agent-check-config-changed
		return a.refuse(ask, problem)
	}
	return a.gate.Check(ctx, ask)
}

func (a *Agent) refuse(ask gate.Ask, problem string) gate.Result {
	denial := policy.Denial{Code: "configuration", Class: policy.Unknown, Summary: problem}
	r := gate.Result{
		Verdict: gate.Refused, Operation: ask.Operation, Scope: ask.Scope, Argv: ask.Argv, Target: a.identity.Target,
		Class: denial.Class, Stage: "configuration", Decision: policy.Decision{Denials: []policy.Denial{denial}},
	}
	if err := a.log.Append("refused", r); err != nil {
		r.Warnings = append(r.Warnings, "the refusal is not in the audit log: "+err.Error())
	}
	return r
}

// problem is why everything is refused.
func (a *Agent) problem() string {
	now, err := config.Load(a.options.ConfigPath, a.options.ConfigOptional)
	if err != nil {
		return err.Error()
	}
	if now.Digest != a.config.Digest {
		return "the configuration has been changed since the agent was started: restart it (systemctl restart lifeboat-guard)"
	}
	return ""
}

// Status implements Handler.
func (a *Agent) Status(context.Context) Status {
	key, _ := machine.PublicKey(a.key) // an ed25519 key has a public one
	head := a.log.Head()
	s := Status{
		Version: a.options.Version, PID: os.Getpid(), Started: a.started, Config: a.config.Digest, Problem: a.problem(),
		Machine: Machine{
			MachineID: a.identity.MachineID, DMIUUID: a.identity.DMIUUID, HostKey: a.identity.HostKey,
			BootID: a.identity.BootID, GuardKey: key,
		},
		Audit: AuditHead{Seq: head.Seq, Hash: head.Hash},
	}
	// Whoever asks whether the gate is idle ends what has ended unseen.
	idle := a.gate.Idle()
	if entry, _, left, err := a.journal.Running(); left && err == nil && !idle { //check:status-running
		s.Running = &entry
	} else if err != nil && s.Problem == "" { //check:status-journal
		s.Problem = err.Error()
	}
	if a.member != nil {
		set := a.member.statusNow()
		s.Set = &set
	}
	return s
}

// Close gives up what the agent holds. Commands that run go on.
func (a *Agent) Close() error {
	var err error
	if a.member != nil {
		err = a.member.client.Close()
	}
	if a.sight != nil {
		err = errors.Join(err, a.sight.Close())
	}
	if a.nonces != nil {
		err = errors.Join(err, a.nonces.Close())
	}
	if a.log != nil {
		err = errors.Join(err, a.log.Close())
	}
	return err
}
