package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
	"github.com/lifeboat-db/lifeboat/internal/guard/config"
	"github.com/lifeboat-db/lifeboat/internal/guard/datadir"
	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/interlock"
	"github.com/lifeboat-db/lifeboat/internal/guard/mysqld"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/strictjson"
)

// member is the machine's part in its set: what it publishes of itself, and
// what it says of itself when it is to go.
type member struct {
	client *interlock.Client
	sight  *sight
	config config.Config
	locker *locker
	last   lastServer
	idle   func() bool // nothing runs here
	now    func() time.Time

	facts   []fact.Fact // of the last scan for servers
	scanned time.Time
	well    bool // exactly one server was found, and has answered ever since

	mu     sync.Mutex
	status SetStatus
}

// How long the processes of an earlier scan are asked again, while one server
// answers, before all are looked at anew. A server that is started beside it is
// noticed so much later; before anything is executed all are looked at anyhow.
const rescanAfter = time.Minute

// beat publishes the machine's health once, and ends what is over.
func (m *member) beat(ctx context.Context) {
	observed := m.now()
	state, said := m.observe(ctx)
	err := m.client.Publish(ctx, state, observed)
	if said != nil {
		err = errors.Join(err, m.last.keep(*said, observed))
	}
	if err == nil {
		err = m.tidy(ctx)
	}
	m.note(observed, err)
}

// tidy ends the disruption of an agent that was killed, and clears one whose
// machine is well again. That it must stay is nothing wrong.
func (m *member) tidy(ctx context.Context) error {
	if err := m.client.Settle(ctx, m.idle, "not known: its agent was stopped, or etcd did not answer"); err != nil {
		return err
	}
	err := m.client.ClearIfHealthy(ctx)
	var refused *interlock.Refused
	if errors.As(err, &refused) || errors.Is(err, interlock.ErrBusy) {
		return nil
	}
	return err
}

func (m *member) note(observed time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.Problem = ""
	if err != nil {
		m.status.Problem = err.Error()
		return
	}
	m.status.Published = observed
}

func (m *member) statusNow() SetStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

// observe looks for the machine's server. A role that cannot be told is empty.
func (m *member) observe(ctx context.Context) (interlock.State, *mysqld.State) {
	defer m.locker.still()()
	if !m.well || m.now().Sub(m.scanned) > rescanAfter || m.now().Before(m.scanned) {
		m.facts, m.scanned, m.well = m.look(ctx), m.now(), false
	}
	said, err := m.theServer(ctx, m.facts)
	if m.well && (err != nil || said == nil) { // what was found then is not there any more
		m.facts, m.scanned = m.look(ctx), m.now()
		said, err = m.theServer(ctx, m.facts)
	}
	m.well = err == nil && said != nil
	switch {
	case err != nil:
		return interlock.State{Lag: -1}, nil
	case said == nil:
		return m.down(), nil
	}
	return interlock.FromServer(*said), said
}

func (m *member) look(ctx context.Context) []fact.Fact {
	return m.sight.processes(m.config).Look(ctx, probe.Question{Held: m.locker.heldNow()})
}

// theServer asks the one server that runs here; nil: none runs, provably.
func (m *member) theServer(ctx context.Context, facts []fact.Fact) (said *mysqld.State, err error) {
	for _, f := range facts {
		if f.Kind == fact.Visibility && f.Verdict != fact.Clear { //check:member-blind
			return nil, fmt.Errorf("whether a server runs cannot be seen: %s", f.Summary)
		}
	}
	for _, a := range m.sight.servers(m.config).Ask(ctx, facts) {
		if a.State == nil && a.Fact.Verdict == fact.Clear {
			continue
		}
		if a.State == nil { //check:member-silent-server
			return nil, errors.New(a.Fact.Summary)
		}
		if said != nil { //check:member-two-servers
			return nil, fmt.Errorf("servers run in %s and %s, and the set knows one", said.DataDir, a.State.DataDir)
		}
		said = a.State
	}
	return said, nil
}

// down is the state of a machine on which no server runs. Whom its replicas
// would follow is known from when it ran.
func (m *member) down() interlock.State {
	state := interlock.State{Role: interlock.Down, Lag: -1}
	if last, err := m.last.load(); err == nil {
		state.Server = interlock.FromServer(last).Server
	}
	return state
}

// local says what the machine has, for the set's decision on an operation.
func (m *member) local(ctx context.Context, op operation.Operation, facts []fact.Fact) (interlock.State, error) {
	said, err := m.theServer(ctx, facts)
	if err != nil {
		return interlock.State{}, err
	}
	if said != nil {
		if op.Destroys() {
			err = itsOwn(*said, facts)
		}
		return interlock.FromServer(*said), err
	}
	state := m.down()
	if !op.Destroys() {
		return state, nil
	}
	var has datadir.Contents
	has, state.NoData, err = m.atRest(ctx, facts)
	state.GTIDs, state.BinlogState = has.Executed, interlock.BinlogState(has.BinlogState)
	return state, err
}

// itsOwn checks that all data within reach are those of a running server, which
// has spoken for no others.
func itsOwn(said mysqld.State, facts []fact.Fact) error {
	dirs, err := dataDirs(facts)
	if err != nil {
		return err
	}
	home, logs := filepath.Clean(said.DataDir), filepath.Dir(said.LogIndex)
	for _, dir := range dirs {
		if !sameDir(dir, home) && !sameDir(dir, logs) { //check:member-data-of-others
			return fmt.Errorf("data lie in %s, and the server that runs has its own in %s", dir, home)
		}
	}
	return nil
}

// sameDir reports whether two names are one directory's: data are found where
// they lie, and a server may know them by a link or a bind mount.
func sameDir(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// atRest returns what the stopped server whose data are within reach has, or
// that there are none. All data that were found must belong to the one server
// whose last words are known.
func (m *member) atRest(ctx context.Context, facts []fact.Fact) (has datadir.Contents, none bool, err error) {
	dirs, err := dataDirs(facts)
	if err != nil || len(dirs) == 0 {
		return has, err == nil, err
	}
	last, err := m.last.load()
	if err != nil {
		return has, false, err
	}
	from := datadir.Source{Last: last, Index: last.LogIndex}
	if from.Index != "" && !filepath.IsAbs(from.Index) {
		from.Index = filepath.Join(last.DataDir, from.Index)
	}
	home, logs := filepath.Clean(last.DataDir), filepath.Dir(from.Index)
	apart := from.Index != "" && !sameDir(logs, home) // the log is not among the data
	if len(dirs) > 1 && apart {                       //check:member-log-beside
		dirs = slices.DeleteFunc(dirs, func(dir string) bool { return sameDir(dir, logs) })
	}
	if len(dirs) != 1 { //check:member-one-datadir
		return has, false, fmt.Errorf("data lie in %s, and the set knows one server", strings.Join(dirs, ", "))
	}
	from.Dir = dirs[0]
	switch {
	case from.Index != "" && !apart: // the log is where the data are now
		from.Index = filepath.Join(from.Dir, filepath.Base(from.Index))
	case apart && !sameDir(from.Dir, home): //check:member-log-of-other-data
		return has, false, fmt.Errorf("data lie in %s, and the log in %s is that of the data in %s", from.Dir, logs, home)
	}
	has, err = datadir.Executed(ctx, from)
	return has, false, err
}

// dataDirs lists the directories of data at rest; none only if a probe has
// proven that there are none.
func dataDirs(facts []fact.Fact) (dirs []string, err error) {
	proven := false
	for _, f := range facts {
		if f.Kind != fact.DataAtRest && f.Kind != fact.Layer && f.Kind != fact.VolatileData {
			continue
		}
		if f.Verdict == fact.Unknown { //check:member-unknown-data
			return nil, errors.New(f.Summary)
		}
		if f.Verdict == fact.Clear {
			proven = proven || f.Kind == fact.DataAtRest
			continue
		}
		dir := f.Evidence["datadir"]
		if dir == "" { //check:member-data-without-directory
			return nil, fmt.Errorf("nobody knows which transactions are in this: %s", f.Summary)
		}
		if dir = filepath.Clean(dir); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 && !proven { //check:member-no-data-unproven
		return nil, errors.New("nothing proves that there are no data")
	}
	return dirs, nil
}

// view is the set for people.
func (m *member) view(ctx context.Context) (SetView, error) {
	v, token, err := m.client.Look(ctx)
	if err != nil {
		return SetView{}, err
	}
	view := SetView{Set: m.config.Interlock.Set, Epoch: v.Manifest.Epoch, Disruption: v.Disruption, Token: token}
	if v.ManifestErr != nil {
		view.Problem = v.ManifestErr.Error()
	}
	for _, x := range v.Manifest.Members {
		r, ok := v.Records[x.Machine]
		one := MemberView{Name: x.Name, Machine: x.Machine, Self: x.Machine == m.client.Machine(), Made: r.Health.Made, State: r.Health.State}
		switch {
		case !ok:
			one.Problem = "has published nothing"
		case r.Err != nil:
			one.Problem = r.Err.Error()
		}
		view.Members = append(view.Members, one)
	}
	return view, nil
}

// lastServer keeps what the server said when it last answered: whether its
// files tell all that it had executed cannot be seen from them. The file is
// sealed with the guard's own key, so that no damage goes unnoticed.
type lastServer struct {
	path string
	key  ed25519.PrivateKey

	kept mysqld.State
	at   time.Time
}

const lastNamespace = "lifeboat-last-server@v1"

// keepEvery is how often positions alone are written: what has been executed
// since is in the server's log.
const keepEvery = time.Minute

// keep writes what a server has said, if it says something new.
func (l *lastServer) keep(s mysqld.State, at time.Time) error {
	if sameServer(l.kept, s) && at.Sub(l.at) < keepEvery && !at.Before(l.at) {
		return nil
	}
	text, err := interlock.Seal(lastNamespace, s, l.key)
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(l.path, text); err != nil {
		return fmt.Errorf("what the server said cannot be kept: %w", err)
	}
	l.kept, l.at = s, at
	return nil
}

// sameServer compares all that does not grow by itself.
func sameServer(a, b mysqld.State) bool {
	return a.Flavor == b.Flavor && a.ServerUUID == b.ServerUUID && a.ServerID == b.ServerID && a.DataDir == b.DataDir &&
		a.LogIndex == b.LogIndex && a.LogBin == b.LogBin && a.LogUpdates == b.LogUpdates && a.Untracked == b.Untracked
}

func (l *lastServer) load() (s mysqld.State, err error) {
	text, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, errors.New("no server has been seen running here, so nobody knows what its files leave out: start it once with the guard beside it")
	}
	if err != nil {
		return s, err
	}
	public, err := ssh.NewPublicKey(l.key.Public())
	if err != nil {
		return s, err
	}
	e, err := seal.Parse(text)
	if err != nil {
		return s, fmt.Errorf("%s: %w", l.path, err)
	}
	payload, _, err := e.Verify(lastNamespace, []seal.Key{{Name: "this guard", PublicKey: public}})
	if err != nil {
		return s, fmt.Errorf("%s: %w", l.path, err)
	}
	if err := strictjson.Decode(payload, &s); err != nil {
		return mysqld.State{}, fmt.Errorf("%s: %w", l.path, err)
	}
	return s, nil
}
