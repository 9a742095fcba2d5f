package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// stage is a gate whose sides note what they are asked, and fail where a test
// tells them to. The sides of real life are tested in their own packages and
// all together in test/guard.
type stage struct {
	steps []string
	looks int
	facts []fact.Fact // of each look
	again []fact.Fact // of the second look, if not nil
	fail  string      // the step that denies
	set   bool
	who   Who
	held  []probe.FileID
	hook  func(step string)
}

func drained() []fact.Fact {
	var facts []fact.Fact
	for _, kind := range []fact.Kind{
		fact.Visibility, fact.EngineLock, fact.OpenFile, fact.ProcessName, fact.DataAtRest, fact.VolatileData,
		fact.BlockClaim, fact.ServerUnproven, fact.NextBoot, fact.Backup,
	} {
		facts = append(facts, fact.Fact{Probe: "p", Kind: kind, Verdict: fact.Clear})
	}
	return facts
}

func (s *stage) gate() *Gate {
	g := &Gate{
		Looker: Looker{Stages: [][]probe.Probe{{looking{s}}}, Timeout: time.Second}, Authority: authority{s},
		Locker: locker{s}, Log: auditLog{s}, Runner: runner{s}, Now: time.Now,
	}
	if s.set {
		g.Set = set{s}
	}
	return g
}

func (s *stage) step(name string) error {
	s.steps = append(s.steps, name)
	if s.hook != nil {
		s.hook(name)
	}
	if s.fail == name {
		return errors.New(name + " fails")
	}
	return nil
}

func (s *stage) deny(name string) []policy.Denial {
	if s.step(name) != nil {
		return []policy.Denial{{Code: name, Class: policy.Set}}
	}
	return nil
}

type looking struct{ *stage }

func (looking) Name() string { return "p" }
func (l looking) Look(_ context.Context, q probe.Question) []fact.Fact {
	_ = l.step("look")
	l.looks++
	l.held = q.Held
	if l.looks > 1 && l.again != nil {
		return l.again
	}
	return l.facts
}

type authority struct{ *stage }

func (a authority) Authorise(context.Context, Ask) (Who, *policy.Denial) {
	if a.step("authorise") != nil {
		return Who{}, &policy.Denial{Class: policy.Signature}
	}
	return a.who, nil
}

type locker struct{ *stage }

func (l locker) Take(context.Context, []fact.Fact) (Locks, error) {
	return l, l.step("lock")
}
func (locker) Held() []probe.FileID { return []probe.FileID{{Dev: 1, Ino: 2}} }
func (locker) Files() []File        { return nil }
func (l locker) Close() error       { return l.step("unlock") }

type set struct{ *stage }

func (s set) Acquire(context.Context, Want) (Grant, []policy.Denial) {
	if denials := s.deny("acquire"); denials != nil {
		return nil, denials
	}
	return s, nil
}
func (s set) Token() int64                            { return 42 }
func (s set) Commit(context.Context) []policy.Denial  { return s.deny("commit") }
func (s set) Confirm(context.Context) []policy.Denial { return s.deny("confirm") }
func (s set) Release(context.Context) error           { return s.step("release") }
func (s set) Finish(context.Context, string) error    { return s.step("finish") }

type auditLog struct{ *stage }

func (a auditLog) Append(event string, _ any) error {
	return a.step("audit " + event)
}

type runner struct{ *stage }

func (r runner) Run(context.Context, Command) Child {
	if r.step("run") != nil {
		return Child{Error: "cannot be started"}
	}
	return Child{Started: true}
}

func wipe() Ask { return Ask{Operation: operation.Wipe, Argv: []string{"/bin/true"}} }

func TestOrderOfSteps(t *testing.T) {
	s := &stage{facts: drained(), set: true}
	r := s.gate().Exec(t.Context(), wipe(), Output{})
	want := "authorise, look, lock, acquire, audit allowed, look, commit, confirm, run, unlock, audit ran, finish"
	if got := strings.Join(s.steps, ", "); got != want || r.Verdict != Ran {
		t.Errorf("%s: %+v\n got %s\nwant %s", r.Verdict, r.Decision, got, want)
	}
	if len(s.held) != 1 || r.Token != 42 {
		t.Errorf("held %v, token %d", s.held, r.Token)
	}
}

// TestStillRunning: what the command has left running may still do it, so that
// the set is not told that it has ended.
func TestStillRunning(t *testing.T) {
	s := &stage{facts: drained(), set: true}
	g := s.gate()
	p := process(t)
	g.Runner = p
	ask := wipe()
	ask.Argv = []string{"/bin/sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"}
	r := g.Exec(t.Context(), ask, Output{})
	if r.Verdict != Ran || len(r.Warnings) == 0 || slices.Contains(s.steps, "finish") {
		t.Errorf("%v %+v", s.steps, r)
	}
	_, pids, _, err := p.Journal.Running()
	if err != nil || len(pids) != 1 {
		t.Fatal(pids, err)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// TestEachStepRefuses: whatever step denies, nothing runs, what was taken is
// given back, and the refusal is recorded.
func TestEachStepRefuses(t *testing.T) {
	for fail, undone := range map[string]string{
		"authorise":     "",
		"lock":          "",
		"acquire":       "unlock",
		"audit allowed": "release, unlock",
		"commit":        "release, unlock",
		"confirm":       "release, unlock",
		"run":           "unlock, audit refused, release",
	} {
		s := &stage{facts: drained(), set: true, fail: fail}
		r := s.gate().Exec(t.Context(), wipe(), Output{})
		if r.Verdict != Refused || r.Stage == "" || r.Child != nil {
			t.Errorf("%s: %+v", fail, r)
		}
		if fail != "run" && slices.Contains(s.steps, "run") {
			t.Errorf("%s: the command has run: %v", fail, s.steps)
		}
		_, after, _ := strings.Cut(strings.Join(s.steps, ", "), fail+", ")
		if want := strings.TrimSuffix("audit refused, "+undone, ", "); fail != "run" && after != want {
			t.Errorf("%s: then %q, want %q", fail, after, want)
		} else if fail == "run" && after != undone {
			t.Errorf("%s: then %q, want %q", fail, after, undone)
		}
	}
}

func TestFactsRefuse(t *testing.T) {
	live := append(drained(), fact.Fact{Kind: fact.OpenFile, Verdict: fact.Active, Subject: "/d"})
	for name, s := range map[string]*stage{
		"first look":  {facts: live},
		"second look": {facts: drained(), again: live},
		"changed": {facts: append(drained(), fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Subject: "/a"}), set: true,
			again: append(drained(), fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Subject: "/b"})},
		"other evidence than the override's": {facts: drained(), who: Who{Evidence: "other"}},
		"the second look sees less": {facts: drained(), again: slices.DeleteFunc(drained(), func(f fact.Fact) bool {
			return f.Kind == fact.OpenFile
		})},
	} {
		r := s.gate().Exec(t.Context(), wipe(), Output{})
		if r.Verdict != Refused || slices.Contains(s.steps, "run") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestSetIsNotTroubled: what the machine refuses by itself does not ask the set.
func TestSetIsNotTroubled(t *testing.T) {
	s := &stage{facts: append(drained(), fact.Fact{Kind: fact.OpenFile, Verdict: fact.Active}), set: true}
	s.gate().Exec(t.Context(), wipe(), Output{})
	if slices.Contains(s.steps, "acquire") {
		t.Error(s.steps)
	}
}

func TestOverrideWaives(t *testing.T) {
	facts := append(drained(), fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Subject: "/d"})
	s := &stage{facts: facts, who: Who{Waives: []string{"data-at-rest"}, Evidence: fact.Digest(facts)}}
	if r := s.gate().Exec(t.Context(), wipe(), Output{}); r.Verdict != Ran || len(r.Decision.Waived) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestBreakGlass: a set that does not answer is waived by two people, for a
// machine on which nothing lives; on the second look, too.
func TestBreakGlass(t *testing.T) {
	silent := policy.Denial{Code: policy.InterlockUnavailable, Class: policy.Unavailable, Waivable: true}
	waived := Who{Waives: []string{policy.InterlockUnavailable, string(fact.DataAtRest)}}
	s := &stage{facts: drained(), who: waived}
	g := s.gate()
	g.Set = refusing{silent}
	if r := g.Exec(t.Context(), wipe(), Output{}); r.Verdict != Ran || len(r.Decision.Waived) != 1 {
		t.Errorf("%s %+v", r.Stage, r.Decision)
	}
	s = &stage{facts: append(drained(), fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Subject: "/d"}), who: waived}
	g = s.gate()
	g.Set = refusing{silent}
	if r := g.Exec(t.Context(), wipe(), Output{}); r.Verdict != Refused || r.Stage != "interlock" {
		t.Errorf("live data and a silent set: %+v", r)
	}
	s = &stage{facts: drained()}
	g = s.gate()
	g.Set = refusing{silent}
	if r := g.Exec(t.Context(), wipe(), Output{}); r.Verdict != Refused || r.Class != policy.Unavailable {
		t.Errorf("nobody has waived it: %+v", r)
	}
}

type refusing struct{ denial policy.Denial }

func (r refusing) Acquire(context.Context, Want) (Grant, []policy.Denial) {
	return nil, []policy.Denial{r.denial}
}

// TestAskerGone: whoever withdraws before the command has been started finds
// that it has not been started, whatever the step.
func TestAskerGone(t *testing.T) {
	for _, step := range []string{"authorise", "look", "lock", "acquire", "audit allowed", "commit", "confirm"} {
		ctx, cancel := context.WithCancel(t.Context())
		s := &stage{facts: drained(), set: true, hook: func(name string) {
			if name == step {
				cancel()
			}
		}}
		if r := s.gate().Exec(ctx, wipe(), Output{}); r.Verdict != Refused || slices.Contains(s.steps, "run") {
			t.Errorf("%s: %+v", step, r)
		}
	}
}

func TestBadCommands(t *testing.T) {
	untrusted := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(untrusted, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(untrusted, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, ask := range []Ask{
		{Operation: operation.StopServer, Argv: []string{"/bin/sh"}},
		{Operation: operation.Wipe},
		{Operation: operation.Wipe, Argv: []string{untrusted}},
	} {
		s := &stage{facts: drained()}
		if r := s.gate().Exec(t.Context(), ask, Output{}); r.Verdict != Refused || r.Stage != "command" {
			t.Errorf("%v: %+v", ask.Argv, r)
		}
	}
}

func TestOneAtATime(t *testing.T) {
	s := &stage{facts: drained()}
	g := s.gate()
	var inner Result
	g.Runner = nested{runner{s}, func() { inner = g.Exec(t.Context(), wipe(), Output{}) }}
	if r := g.Exec(t.Context(), wipe(), Output{}); r.Verdict != Ran {
		t.Errorf("%+v", r)
	}
	if inner.Verdict != Refused || inner.Class != policy.Busy {
		t.Errorf("inner: %+v", inner)
	}
	if r := g.Exec(t.Context(), wipe(), Output{}); r.Verdict != Ran {
		t.Errorf("afterwards: %+v", r)
	}
	g.Abandoned(func() (string, error) { return "something", nil })
	if r := g.Exec(t.Context(), wipe(), Output{}); r.Verdict != Refused || r.Class != policy.Busy {
		t.Errorf("abandoned: %+v", r)
	}
	// To ask again later would not help: somebody has to look.
	g.Abandoned(func() (string, error) { return "", errors.New("damaged") })
	if r := g.Exec(t.Context(), wipe(), Output{}); r.Verdict != Refused || r.Class != policy.Unknown {
		t.Errorf("a journal that cannot be read: %+v", r)
	}
}

type nested struct {
	runner
	inner func()
}

func (n nested) Run(ctx context.Context, c Command) Child {
	n.inner()
	return n.runner.Run(ctx, c)
}

func TestStopServerTakesNoLocks(t *testing.T) {
	s := &stage{facts: drained()}
	r := s.gate().Exec(t.Context(), Ask{Operation: operation.StopServer, Argv: []string{"/usr/bin/systemctl", "stop", "mysql"}}, Output{})
	if r.Verdict != Ran || slices.Contains(s.steps, "lock") {
		t.Errorf("%v %+v", s.steps, r)
	}
}

func TestCheckHoldsNothing(t *testing.T) {
	s := &stage{facts: drained()}
	if r := s.gate().Check(t.Context(), wipe()); r.Verdict != Allowed || strings.Join(s.steps, " ") != "look" {
		t.Errorf("%v %+v", s.steps, r)
	}
	s = &stage{facts: drained(), set: true} // a set that cannot be inquired
	if r := s.gate().Check(t.Context(), wipe()); r.Verdict != Refused {
		t.Errorf("%+v", r)
	}
}

// TestLook: a probe that says nothing, faults or does not answer is an UNKNOWN
// that nothing tolerates.
func TestLook(t *testing.T) {
	for name, p := range map[string]probe.Probe{
		"silent": doing(func(context.Context) []fact.Fact { return nil }),
		"fault":  doing(func(context.Context) []fact.Fact { panic("fault") }),
		"hangs":  doing(func(context.Context) []fact.Fact { select {} }),
	} {
		l := Looker{Stages: [][]probe.Probe{{p}, {doing(func(context.Context) []fact.Fact { return drained() })}}, Timeout: 50 * time.Millisecond}
		facts := l.Look(t.Context(), probe.Question{})
		if len(facts) != 1+len(drained()) || facts[0].Verdict != fact.Unknown || facts[0].Kind != fact.Visibility {
			t.Errorf("%s: %v", name, facts)
		}
		for _, op := range operation.All {
			if policy.Judge(policy.Input{Operation: op, Facts: facts, Waives: []string{"visibility"}}).Allowed {
				t.Errorf("%s: %s allowed", name, op)
			}
		}
	}
}

type doing func(context.Context) []fact.Fact

func (doing) Name() string { return "doing" }
func (d doing) Look(ctx context.Context, _ probe.Question) []fact.Fact {
	return d(ctx)
}

func ExampleChild_String() {
	fmt.Println(Child{Error: "no such file"})
	fmt.Println(Child{Started: true})
	fmt.Println(Child{Started: true, ExitCode: -1, Signal: "killed"})
	fmt.Println(Child{Started: true, Error: "nothing is known"})
	// Output:
	// not started: no such file
	// exit status 0
	// ended by signal: killed
	// outcome unknown: nothing is known
}
