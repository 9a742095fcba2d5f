// Package server is the probe "server": it asks every database server that runs
// on the machine what it is.
//
// Whom to ask comes from the probes that ran before: each process that has an
// engine's files open, holds an engine's lock or is called like a server. The
// probe looks for the Unix sockets that this very process listens at, connects
// by the path inside the process's own root directory, and believes an answer
// only from that process:
//
//	/proc/PID/fd            inodes of the sockets that the process has open
//	/proc/PID/net/unix      of those, the ones that listen (flag 10000), and their paths,
//	                        in the process's network namespace
//	/proc/PID/root, cwd     where the path is looked up (openat2, RESOLVE_IN_ROOT: a link to
//	                        /run inside a container is the container's)
//	SO_PEERCRED             who listens at what was found: must be the process
//
// A process without such an answer is ServerUnproven, UNKNOWN: stopped, hung,
// without a free connection, without a socket, under systemd's socket activation
// (systemd listens), with skip-grant-tables, or no server at all, such as a
// running backup. One that
// is merely called like a server is explained by a server among its descendants
// (mysqld_safe). Servers that are configured and run without being found before
// are asked, too.
package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/mysqld"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// Name is the probe's.
const Name = "server"

// Login is an account to ask with.
type Login struct {
	// Socket is the path at which the account is good, as processes name it;
	// empty: every server.
	Socket   string
	User     string // root if empty
	Password string
	// DefaultsFile has user, password and socket in its [client] section; what
	// is set above counts for more. It is read at each look.
	DefaultsFile string
}

// Probe asks servers.
type Probe struct {
	// Logins are tried in their order; none: root without password, whom
	// Debian's servers know by the Unix user.
	Logins []Login
	// Timeout of each server; 0: mysqld.Timeout.
	Timeout time.Duration
}

// Name is the probe's name.
func (Probe) Name() string { return Name }

// suspect is one process that may be a server.
type suspect struct {
	pid     int
	strong  bool   // has an engine's files open or locked
	subject string // of the fact by which it was found, the first by name
	seen    int64  // start time: it must be the same process all along
}

// Answer is the fact about one process, and what the server has said, if it is
// one that has.
type Answer struct {
	Fact  fact.Fact
	State *mysqld.State
}

// Look asks all servers at once.
func (p Probe) Look(ctx context.Context, q probe.Question) []fact.Fact {
	answers := p.Ask(ctx, q.Facts)
	facts := make([]fact.Fact, len(answers))
	for i, a := range answers {
		facts[i] = a.Fact
	}
	return facts
}

// Ask is Look with the servers' own words, from the facts of the probes before.
func (p Probe) Ask(ctx context.Context, facts []fact.Fact) []Answer {
	suspects, err := find(facts)
	if err != nil {
		return []Answer{{Fact: unproven("", err.Error())}}
	}
	logins, err := p.logins()
	if err != nil {
		return []Answer{{Fact: unproven("logins", err.Error())}}
	}
	more, silent := configured(logins, suspects)
	var answers []Answer
	for _, f := range silent {
		answers = append(answers, Answer{Fact: f})
	}
	suspects = append(suspects, more...)
	if len(suspects) == 0 {
		return append(answers, Answer{Fact: none(facts)})
	}
	return append(answers, p.askAll(ctx, logins, suspects)...)
}

// engineKinds are facts by which servers are found.
var engineKinds = []fact.Kind{fact.OpenFile, fact.EngineLock, fact.ProcessName}

// find collects the processes of facts, by number.
func find(facts []fact.Fact) (list []suspect, err error) {
	byPID := map[int]*suspect{}
	pidless := ""
	for _, f := range facts {
		if f.Verdict == fact.Clear || !slices.Contains(engineKinds, f.Kind) {
			continue
		}
		if len(f.PIDs) == 0 {
			pidless = f.String()
		}
		for _, pid := range f.PIDs {
			s := byPID[pid]
			if s == nil {
				s = &suspect{pid: pid, subject: f.Subject}
				byPID[pid] = s
			}
			s.strong = s.strong || f.Kind != fact.ProcessName
			s.subject = min(s.subject, f.Subject)
		}
	}
	if len(byPID) == 0 && pidless != "" { //check:server-signs-without-process
		return nil, fmt.Errorf("there are signs of a server and no process to ask: %s", pidless)
	}
	for _, s := range byPID {
		s.seen = startTime(s.pid)
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b suspect) int { return a.pid - b.pid })
	return list, nil
}

// none is the answer where no process is suspect: CLEAR only if another probe
// has proven that it could see open files.
func none(facts []fact.Fact) fact.Fact {
	saw := slices.ContainsFunc(facts, func(f fact.Fact) bool { return f.Kind == fact.OpenFile && f.Verdict == fact.Clear })
	if !saw { //check:server-nobody-looked
		return unproven("", "no server was found, but nothing proves that one would have been: the probe \"open-files\" did not report CLEAR")
	}
	return fact.Fact{Probe: Name, Kind: fact.ServerUnproven, Verdict: fact.Clear, Summary: "no server runs"}
}

func silence(subject, why string) Answer { return Answer{Fact: unproven(subject, why)} }

func unproven(subject, why string) fact.Fact {
	return fact.Fact{Probe: Name, Kind: fact.ServerUnproven, Verdict: fact.Unknown, Subject: subject, Summary: why}
}

// atOnce bounds how many servers are asked at the same time.
const atOnce = 8

func (p Probe) askAll(ctx context.Context, logins []Login, suspects []suspect) []Answer {
	answers := make([]Answer, len(suspects))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, s := range suspects {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answers[i] = p.askOne(ctx, logins, s)
		})
	}
	wg.Wait()
	return explained(answers, suspects)
}

// explained leaves out processes that are only called like a server and are
// above a proven one.
func explained(answers []Answer, suspects []suspect) (kept []Answer) {
	above := map[int]bool{}
	for _, a := range answers {
		if a.Fact.Kind == fact.ServerUnproven {
			continue
		}
		for _, pid := range a.Fact.PIDs {
			for depth := 0; pid > 1 && depth < 100; depth++ {
				pid = parent(pid)
				above[pid] = true
			}
		}
	}
	for i, a := range answers {
		if a.Fact.Kind == fact.ServerUnproven && !suspects[i].strong && above[suspects[i].pid] {
			continue
		}
		kept = append(kept, a)
	}
	return kept
}

// askOne makes the fact about one process.
func (p Probe) askOne(ctx context.Context, logins []Login, s suspect) Answer {
	start := time.Now()
	a := p.ask(ctx, logins, s)
	a.Fact.PIDs, a.Fact.Micros = []int{s.pid}, time.Since(start).Microseconds()
	if s.seen == 0 || startTime(s.pid) != s.seen { //check:server-same-process
		return Answer{Fact: fact.Fact{Probe: Name, Kind: fact.ServerUnproven, Subject: s.subject, PIDs: a.Fact.PIDs,
			Summary: fmt.Sprintf("process %d ended or was replaced while it was asked; look again", s.pid)}}
	}
	return a
}

func (p Probe) ask(ctx context.Context, logins []Login, s suspect) Answer {
	sockets, err := listening(s.pid)
	if err != nil {
		return silence(s.subject, fmt.Sprintf("process %d: its sockets cannot be seen: %v", s.pid, err))
	}
	if len(sockets) == 0 {
		return silence(s.subject, fmt.Sprintf("process %d listens at no Unix socket: it cannot be asked (starting, shutting down, or a backup)", s.pid))
	}
	state, path, err := p.anySocket(ctx, logins, s.pid, sockets)
	if err != nil {
		return silence(s.subject, fmt.Sprintf("process %d has not said what it is: %v", s.pid, err))
	}
	return Answer{toFact(state, path), &state}
}

// anySocket asks at all sockets of one process at once, because one of them may
// speak another protocol (MySQL's X plugin), which is silence here. The first
// answer ends the others.
func (p Probe) anySocket(ctx context.Context, logins []Login, pid int, sockets []string) (mysqld.State, string, error) {
	type answer struct {
		state mysqld.State
		path  string
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(sockets))
	for _, path := range sockets {
		go func() {
			state, err := p.askAt(ctx, logins, pid, path)
			answers <- answer{state, path, err}
		}()
	}
	var errs []string
	for range sockets {
		a := <-answers
		if a.err == nil {
			return a.state, a.path, nil
		}
		errs = append(errs, a.err.Error())
	}
	slices.Sort(errs)
	return mysqld.State{}, "", fmt.Errorf("%s", strings.Join(errs, "; "))
}

func (p Probe) askAt(ctx context.Context, logins []Login, pid int, path string) (state mysqld.State, err error) {
	socket, err := open(pid, path)
	if err != nil {
		return state, fmt.Errorf("socket %s: %w", path, err)
	}
	defer func() { _ = socket.Close() }()
	err = fmt.Errorf("no login is configured for socket %s", path)
	for _, login := range logins {
		if login.Socket != "" && login.Socket != path {
			continue
		}
		state, err = mysqld.Ask(ctx, mysqld.Target{
			Socket: fmt.Sprintf("/proc/self/fd/%d", socket.Fd()), User: login.User, Password: login.Password,
			PIDs: []int{pid}, Timeout: p.Timeout,
		})
		if err == nil {
			return state, nil
		}
		err = fmt.Errorf("socket %s: %w", path, err)
	}
	return state, err
}

// toFact says what a server is. ACTIVE in any case: a running server.
func toFact(s mysqld.State, socket string) fact.Fact {
	kind, role, why := mysqld.Role(s)
	f := fact.Fact{
		Probe: Name, Kind: kind, Verdict: fact.Active, Subject: s.DataDir,
		Summary: fmt.Sprintf("%s, server id %d: %s", version(s), s.ServerID, why), Evidence: evidence(s, role, socket),
	}
	if kind == fact.ServerUnproven { //check:server-no-role
		f.Verdict = fact.Unknown
	}
	return f
}
