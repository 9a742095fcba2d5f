package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
)

// drained are the facts of a machine on which nothing is.
func drained() []fact.Fact {
	return []fact.Fact{
		{Kind: fact.Visibility, Verdict: fact.Clear},
		{Kind: fact.EngineLock, Verdict: fact.Clear},
		{Kind: fact.OpenFile, Verdict: fact.Clear},
		{Kind: fact.ProcessName, Verdict: fact.Clear},
		{Kind: fact.DataAtRest, Verdict: fact.Clear},
		{Kind: fact.VolatileData, Verdict: fact.Clear},
		{Kind: fact.BlockClaim, Verdict: fact.Clear},
		{Kind: fact.ServerUnproven, Verdict: fact.Clear},
		{Kind: fact.NextBoot, Verdict: fact.Clear},
		{Kind: fact.Backup, Verdict: fact.Clear},
	}
}

// with replaces the facts of the same kind.
func with(facts []fact.Fact, changed ...fact.Fact) []fact.Fact {
	for _, c := range changed {
		facts = slices.DeleteFunc(facts, func(f fact.Fact) bool { return f.Kind == c.Kind })
	}
	return append(facts, changed...)
}

// runningReplica are the facts of a machine with a proven replica, process 100.
func runningReplica() []fact.Fact {
	facts := with(drained(),
		fact.Fact{Kind: fact.EngineLock, Verdict: fact.Active, Subject: "/d/ibdata1", PIDs: []int{100}},
		fact.Fact{Kind: fact.OpenFile, Verdict: fact.Active, Subject: "/d", PIDs: []int{100}},
		fact.Fact{Kind: fact.ProcessName, Verdict: fact.Active, Subject: "mariadbd", PIDs: []int{100}},
		fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Subject: "/d"},
		fact.Fact{Kind: fact.BlockClaim, Verdict: fact.Active, Subject: "/dev/vda"},
		fact.Fact{Kind: fact.ServerReplica, Verdict: fact.Active, Subject: "/d", PIDs: []int{100}})
	return slices.DeleteFunc(facts, func(f fact.Fact) bool { return f.Kind == fact.ServerUnproven })
}

var granted = Interlock{Configured: true, Granted: true}

func unavailable() Interlock {
	return Interlock{Configured: true, Denials: []Denial{{Code: InterlockUnavailable, Class: Unavailable, Waivable: true}}}
}

func TestDrainedMachineMayDoAnything(t *testing.T) {
	for _, op := range operation.All {
		for _, interlock := range []Interlock{{}, granted} {
			if d := Judge(Input{Operation: op, Facts: drained(), Interlock: interlock}); !d.Allowed {
				t.Errorf("%s: %v", op, d.Denials)
			}
		}
	}
}

// TestEveryKindDenies: each kind of fact, UNKNOWN or ACTIVE, denies each
// operation unless it stands in the list of what is tolerated.
func TestEveryKindDenies(t *testing.T) {
	tolerated := map[string]bool{}
	for _, op := range []operation.Operation{operation.StopServer, operation.Reboot} {
		for _, kind := range []fact.Kind{fact.DataAtRest, fact.Layer, fact.BlockClaim, fact.Backup} {
			tolerated[string(op)+" "+string(kind)+" ACTIVE"] = true
			tolerated[string(op)+" "+string(kind)+" UNKNOWN"] = true
		}
	}
	for _, op := range operation.All {
		if op != operation.Reboot {
			tolerated[string(op)+" next-boot ACTIVE"] = true
			tolerated[string(op)+" next-boot UNKNOWN"] = true
		}
		if op.Destroys() {
			tolerated[string(op)+" block-claim ACTIVE"] = true // the whole machine
		}
	}
	tolerated["stop-server volatile-data ACTIVE"] = true
	tolerated["stop-server volatile-data UNKNOWN"] = true

	for _, op := range operation.All {
		for _, kind := range fact.Kinds {
			for _, verdict := range []fact.Verdict{fact.Active, fact.Unknown} {
				in := Input{Operation: op, Facts: append(drained(), fact.Fact{Kind: kind, Verdict: verdict, PIDs: []int{7}})}
				key := string(op) + " " + string(kind) + " " + verdict.String()
				d := Judge(in)
				if d.Allowed != tolerated[key] {
					t.Errorf("%s: allowed %v, want %v", key, d.Allowed, tolerated[key])
				}
				if want := map[fact.Verdict]Class{fact.Active: Live, fact.Unknown: Unknown}[verdict]; !d.Allowed && d.Class() != want {
					t.Errorf("%s: class %s, want %s", key, d.Class(), want)
				}
			}
		}
	}
}

// TestMissingProbe: no operation goes on without the word of each probe it
// needs.
func TestMissingProbe(t *testing.T) {
	always := []fact.Kind{fact.Visibility, fact.EngineLock, fact.OpenFile, fact.ProcessName, fact.ServerUnproven}
	needs := map[operation.Operation][]fact.Kind{
		operation.StopServer: always,
		operation.Reboot:     append([]fact.Kind{fact.VolatileData, fact.NextBoot}, always...),
	}
	for _, op := range operation.All {
		if op.Destroys() {
			needs[op] = append([]fact.Kind{fact.DataAtRest, fact.BlockClaim, fact.Backup}, always...)
		}
		for _, kind := range needs[op] {
			facts := slices.DeleteFunc(drained(), func(f fact.Fact) bool { return f.Kind == kind })
			d := Judge(Input{Operation: op, Facts: facts})
			if d.Allowed || d.Denials[0].Code != ProbeMissing || d.Denials[0].Waivable {
				t.Errorf("%s without %s: %+v", op, kind, d)
			}
		}
		if d := Judge(Input{Operation: op}); d.Allowed {
			t.Errorf("%s without any fact is allowed", op)
		}
	}
}

func TestUnknownOperation(t *testing.T) {
	for _, op := range []operation.Operation{"", "WIPE", "format", "wipe "} {
		if d := Judge(Input{Operation: op, Facts: drained()}); d.Allowed {
			t.Errorf("operation %q is allowed", op)
		}
	}
}

func TestClaimedDeviceOfNarrowScope(t *testing.T) {
	facts := with(drained(), fact.Fact{Kind: fact.BlockClaim, Verdict: fact.Active, Subject: "/dev/vdb"})
	in := Input{Operation: operation.Wipe, Facts: facts, Scope: operation.Scope{Devices: []string{"/dev/vdb"}}}
	if Judge(in).Allowed {
		t.Error("a device that is in use may be wiped")
	}
	in.Scope.Devices = nil
	if d := Judge(in); !d.Allowed {
		t.Errorf("whole machine: %v", d.Denials)
	}
	in.Facts[len(in.Facts)-1].Verdict = fact.Unknown
	if Judge(in).Allowed {
		t.Error("whole machine: a claim that nobody can explain is tolerated")
	}
}

func TestStopServer(t *testing.T) {
	stop := Input{Operation: operation.StopServer, Facts: runningReplica(), Interlock: granted}
	if d := Judge(stop); !d.Allowed {
		t.Errorf("replica whose set agrees: %v", d.Denials)
	}
	for name, change := range map[string]func(in *Input){
		"replica of no known set": func(in *Input) { in.Interlock = Interlock{} },
		"set refuses": func(in *Input) {
			in.Interlock = Interlock{Configured: true, Denials: []Denial{{Code: "interlock:is-source", Class: Set}}}
		},
		"set not asked":           func(in *Input) { in.Interlock.Granted = false },
		"set does not answer":     func(in *Input) { in.Interlock = unavailable() },
		"a source":                func(in *Input) { in.Facts[len(in.Facts)-1].Kind = fact.ServerSource },
		"not proven a replica":    func(in *Input) { in.Facts[len(in.Facts)-1].Kind = fact.ServerUnproven },
		"replica fact is UNKNOWN": func(in *Input) { in.Facts[len(in.Facts)-1].Verdict = fact.Unknown },
		"files of another process": func(in *Input) {
			in.Facts = append(in.Facts, fact.Fact{Kind: fact.OpenFile, Verdict: fact.Active, PIDs: []int{200}})
		},
		"files of nobody": func(in *Input) { in.Facts = append(in.Facts, fact.Fact{Kind: fact.OpenFile, Verdict: fact.Active}) },
		"lock of two processes": func(in *Input) {
			in.Facts = append(in.Facts, fact.Fact{Kind: fact.EngineLock, Verdict: fact.Active, PIDs: []int{100, 200}})
		},
		"locks could not be tested": func(in *Input) { in.Facts = append(in.Facts, fact.Fact{Kind: fact.EngineLock, PIDs: []int{100}}) },
		"a source besides": func(in *Input) {
			in.Facts = append(in.Facts, fact.Fact{Kind: fact.ServerSource, Verdict: fact.Active, PIDs: []int{300}})
		},
		"the replica is a source as well": func(in *Input) {
			in.Facts = append(in.Facts, fact.Fact{Kind: fact.ServerSource, Verdict: fact.Active, PIDs: []int{100}})
		},
	} {
		in := stop
		in.Facts = runningReplica()
		change(&in)
		if Judge(in).Allowed {
			t.Errorf("%s: allowed", name)
		}
	}
	replica := fact.Fact{Kind: fact.ServerReplica, Verdict: fact.Active, PIDs: []int{100}}
	for _, op := range operation.All[1:] {
		for _, facts := range [][]fact.Fact{
			runningReplica(),
			append(drained(), replica),
			// A second server whose replica fact is not at hand: only its file.
			append(drained(), fact.Fact{Kind: fact.ServerReplica, Verdict: fact.Clear, PIDs: []int{100}},
				fact.Fact{Kind: fact.OpenFile, Verdict: fact.Active, PIDs: []int{100}}),
		} {
			if Judge(Input{Operation: op, Facts: facts, Interlock: granted}).Allowed {
				t.Errorf("%s of a running replica is allowed", op)
			}
		}
	}
	replica.Verdict = fact.Unknown
	if Judge(Input{Operation: operation.StopServer, Facts: append(drained(), replica), Interlock: granted}).Allowed {
		t.Error("a server that may be a replica can be stopped")
	}
}

// TestSilentSet: a set that has neither agreed nor said why not has not agreed.
func TestSilentSet(t *testing.T) {
	for _, op := range operation.All {
		d := Judge(Input{Operation: op, Facts: drained(), Interlock: Interlock{Configured: true}})
		if d.Allowed || d.Class() != Unavailable {
			t.Errorf("%s: %+v", op, d)
		}
	}
}

// TestFilesOfAReplica: what belongs to a running replica is tolerated by
// stop-server alone, even if the replica itself were.
func TestFilesOfAReplica(t *testing.T) {
	for _, op := range operation.All {
		in := Input{Operation: op, Facts: runningReplica(), Interlock: granted}
		for _, kind := range []fact.Kind{fact.EngineLock, fact.OpenFile, fact.ProcessName} {
			f := fact.Fact{Kind: kind, Verdict: fact.Active, PIDs: []int{100}}
			if got := tolerates(in, f) != ""; got != (op == operation.StopServer) {
				t.Errorf("%s %s: tolerated %v", op, kind, got)
			}
		}
	}
}

func TestDataAtRestNeedsTheSet(t *testing.T) {
	facts := with(drained(), fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Subject: "/d"})
	for _, op := range operation.All[2:] {
		if Judge(Input{Operation: op, Facts: facts}).Allowed {
			t.Errorf("%s: the only copy may be destroyed", op)
		}
		if d := Judge(Input{Operation: op, Facts: facts, Interlock: granted}); !d.Allowed {
			t.Errorf("%s: %v", op, d.Denials)
		}
		unread := with(drained(), fact.Fact{Kind: fact.DataAtRest, Subject: "/d"})
		if Judge(Input{Operation: op, Facts: unread, Interlock: granted}).Allowed {
			t.Errorf("%s: unreadable data may be destroyed", op)
		}
		layer := append(drained(), fact.Fact{Kind: fact.Layer, Verdict: fact.Active})
		if Judge(Input{Operation: op, Facts: layer, Interlock: granted}).Allowed {
			t.Errorf("%s: a layer nobody looked into may be destroyed", op)
		}
	}
}

func TestWaive(t *testing.T) {
	data := with(drained(), fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Subject: "/d"})
	blind := with(drained(), fact.Fact{Kind: fact.Visibility})
	for _, c := range []struct {
		name  string
		in    Input
		allow bool
	}{
		{"data, waived", Input{Facts: data, Waives: []string{"data-at-rest"}}, true},
		{"data, something else waived", Input{Facts: data, Waives: []string{"layer"}}, false},
		{"what could not be seen is never waived", Input{Facts: blind, Waives: []string{"visibility"}}, false},
		{"a missing probe is never waived", Input{Waives: []string{ProbeMissing, "server"}}, false},
		{"interlock, waived on an empty machine", Input{Facts: drained(), Interlock: unavailable(), Waives: []string{InterlockUnavailable}}, true},
		{"interlock and data", Input{Facts: data, Interlock: unavailable(), Waives: []string{InterlockUnavailable, "data-at-rest"}}, false},
		{"the set says no", Input{Facts: drained(), Waives: []string{"interlock:is-source"},
			Interlock: Interlock{Configured: true, Denials: []Denial{{Code: "interlock:is-source", Class: Set}}}}, false},
	} {
		c.in.Operation = operation.Wipe
		if d := Judge(c.in); d.Allowed != c.allow {
			t.Errorf("%s: allowed %v: %+v", c.name, d.Allowed, d)
		} else if c.allow && len(d.Waived) == 0 {
			t.Errorf("%s: nothing stands as waived", c.name)
		}
	}
}

func TestClassPrecedence(t *testing.T) {
	var d Decision
	for _, class := range slices.Backward(Classes) {
		d.Denials = append(d.Denials, Denial{Class: class})
		if d.Class() != class {
			t.Errorf("class %s, want %s", d.Class(), class)
		}
	}
}

func TestRules(t *testing.T) {
	clients := fact.Fact{Kind: fact.ServerReplica, Verdict: fact.Clear, Evidence: map[string]string{"clients": "3"}}
	in := Input{Operation: operation.Reboot, Facts: append(drained(), clients), Machine: "m1"}
	for _, c := range []struct {
		rule  string
		class Class // "": allowed
	}{
		{`false`, ""},
		{`true`, RuleClass},
		{`facts.exists(f, f.kind == 'server-replica' && int(f.evidence['clients']) > 0)`, RuleClass},
		{`facts.exists(f, f.kind == 'server-replica' && int(f.evidence['clients']) > 3)`, ""},
		{`operation == 'reboot' && machine == 'm1' && whole_machine && devices.size() == 0`, RuleClass},
		{`facts.exists(f, f.evidence['nothing'] == 'x')`, Unknown},
		{`facts[1000].kind == 'x'`, Unknown},
		{`1/0 == 1`, Unknown},
		{`facts.all(a, facts.all(b, facts.all(c, facts.all(d, facts.all(e, facts.all(f, facts.all(g, g.kind != 'x')))))))`, Unknown},
	} {
		rules, err := Compile([]Rule{{Name: "r", DenyIf: c.rule, Message: "because"}})
		if err != nil {
			t.Errorf("%s: %v", c.rule, err)
			continue
		}
		in.Rules = rules
		d := Judge(in)
		if d.Allowed != (c.class == "") || !d.Allowed && (d.Class() != c.class || d.Denials[0].Code != "rule:r") {
			t.Errorf("%s: allowed %v, %+v", c.rule, d.Allowed, d.Denials)
		}
	}
}

// TestRulesOnlyDeny: no rule makes anything allowed that was not.
func TestRulesOnlyDeny(t *testing.T) {
	facts := with(drained(), fact.Fact{Kind: fact.OpenFile, Verdict: fact.Active})
	for _, rule := range []string{`false`, `!true`, `facts.size() < 0`} {
		rules, err := Compile([]Rule{{Name: "r", DenyIf: rule}})
		if err != nil {
			t.Fatal(err)
		}
		if Judge(Input{Operation: operation.Wipe, Facts: facts, Rules: rules}).Allowed {
			t.Errorf("%s allows", rule)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	many := make([]Rule, maxRules+1)
	for i := range many {
		many[i] = Rule{Name: strings.Repeat("x", i+1), DenyIf: "true"}
	}
	for name, rules := range map[string][]Rule{
		"no name":      {{DenyIf: "true"}},
		"same name":    {{Name: "a", DenyIf: "true"}, {Name: "a", DenyIf: "true"}},
		"empty":        {{Name: "a", DenyIf: " "}},
		"syntax":       {{Name: "a", DenyIf: "facts.exists("}},
		"unknown name": {{Name: "a", DenyIf: "secret == 1"}},
		"not a bool":   {{Name: "a", DenyIf: "'yes'"}},
		"misspelt":     {{Name: "a", DenyIf: "facts.exists(f, f.knid == 'x')"}},
		"a text":       {{Name: "a", DenyIf: "facts[0].verdict"}},
		"too long":     {{Name: "a", DenyIf: "true || '" + strings.Repeat("x", ruleLength) + "' == ''"}},
		"too many":     many,
	} {
		if _, err := Compile(rules); err == nil {
			t.Errorf("%s: compiled", name)
		}
	}
}

// FuzzRules: whatever the rule is, it does not panic and does not allow what
// the core denies.
func FuzzRules(f *testing.F) {
	for _, seed := range []string{`true`, `facts.exists(f, f.kind == 'x')`, `[1,2].map(x, x*x).size() > 3`, `"a" + `, `facts[0]`} {
		f.Add(seed)
	}
	active := with(drained(), fact.Fact{Kind: fact.OpenFile, Verdict: fact.Active})
	f.Fuzz(func(t *testing.T, expression string) {
		rules, err := Compile([]Rule{{Name: "r", DenyIf: expression}})
		if err != nil {
			return
		}
		if Judge(Input{Operation: operation.Wipe, Facts: active, Rules: rules}).Allowed {
			t.Fatalf("%q allows", expression)
		}
		_ = Judge(Input{Operation: operation.Wipe, Facts: drained(), Rules: rules})
	})
}

// TestLayerAlone: a disk that cannot be looked into answers for the data on
// disks, and for no other probe.
func TestLayerAlone(t *testing.T) {
	layer := fact.Fact{Kind: fact.Layer, Verdict: fact.Unknown, Subject: "/dev/vda"}
	for _, missing := range need(operation.Reinstall) {
		facts := append(slices.DeleteFunc(drained(), func(f fact.Fact) bool { return f.Kind == missing }), layer)
		d := Judge(Input{Operation: operation.Reinstall, Facts: facts, Waives: []string{string(fact.Layer)}})
		if d.Allowed != (missing == fact.DataAtRest) {
			t.Errorf("without %s: allowed %v, %v", missing, d.Allowed, d.Denials)
		}
	}
}

// TestLayer: a disk that cannot be looked into denies what destroys, by itself,
// and what its message promises is so: two people can waive it.
func TestLayer(t *testing.T) {
	facts := slices.DeleteFunc(drained(), func(f fact.Fact) bool { return f.Kind == fact.DataAtRest })
	for verdict, allowed := range map[fact.Verdict]bool{fact.Unknown: true, fact.Active: true, fact.Clear: false} {
		in := Input{Operation: operation.Reinstall, Facts: append(slices.Clone(facts), fact.Fact{Kind: fact.Layer, Verdict: verdict, Subject: "/dev/vda"})}
		if d := Judge(in); d.Allowed {
			t.Errorf("%s: allowed", verdict)
		}
		in.Waives = []string{string(fact.Layer)}
		if d := Judge(in); d.Allowed != allowed {
			t.Errorf("%s, waived: %v", verdict, d.Denials)
		}
		in.Facts = append(in.Facts, fact.Fact{Kind: fact.DataAtRest, Verdict: fact.Active, Subject: "/srv"})
		if d := Judge(in); d.Allowed {
			t.Errorf("%s, waived: data on another disk are lost", verdict)
		}
	}
}
