// Package policy decides from facts. It is pure: values in, a decision out.
//
// The core is a table (Tolerates) that cannot be configured: an operation is
// allowed if every probe it needs has reported and every fact is CLEAR or is
// one that the operation tolerates. Rules in CEL may add denials. An override
// by two people may waive denials that are waivable; nothing else can.
package policy

import (
	"fmt"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
)

// Class says why something is denied, in the order in which a caller that can
// tell only one reason (an exit code) hears of them.
type Class string

// The classes.
const (
	Signature   Class = "signature"   // the request is not from who may ask, or not for this machine
	Expired     Class = "expired"     // the request is too old, too young, or the clock cannot be trusted
	Live        Class = "live"        // something is alive that the operation would destroy
	Set         Class = "set"         // the set could not bear the loss
	RuleClass   Class = "rule"        // a configured rule
	Unknown     Class = "unknown"     // cannot know
	Unavailable Class = "unavailable" // the interlock does not answer
	Busy        Class = "busy"        // not now; ask again
)

// Classes lists them by precedence.
var Classes = []Class{Signature, Expired, Live, Set, RuleClass, Unknown, Unavailable, Busy}

// Codes of denials that come from no fact. Denials from facts have the fact's
// kind as their code, those of rules "rule:NAME", those of the interlock
// "interlock:REASON".
const (
	ProbeMissing         = "probe-missing"
	InterlockUnavailable = "interlock-unavailable"
	InterlockBusy        = "interlock-busy"
	InterlockMissing     = "interlock-missing"
)

// Denial is one reason to refuse.
type Denial struct {
	Code    string `json:"code"`
	Class   Class  `json:"class"`
	Subject string `json:"subject,omitempty"`
	Summary string `json:"summary"`
	// Waivable denials can be waived by an override that names their code.
	Waivable bool `json:"waivable"`
}

// Interlock is what the set has said.
type Interlock struct {
	// Configured: the machine belongs to a set of which it must ask.
	Configured bool
	// Granted: the set can bear the loss, and what the machine holds is also
	// on a healthy survivor.
	Granted bool
	// Denials are the set's own, when it has not granted.
	Denials []Denial
}

// Input is all that a decision depends on.
type Input struct {
	Operation operation.Operation
	Scope     operation.Scope
	Facts     []fact.Fact
	Interlock Interlock
	Rules     *Rules
	Machine   string   // the machine's id, for rules
	Waives    []string // codes that a verified override waives
}

// Decision is the outcome, with everything that people need to understand it.
type Decision struct {
	Allowed   bool     `json:"allowed"`
	Denials   []Denial `json:"denials,omitempty"`
	Waived    []Denial `json:"waived,omitempty"`
	Tolerated []string `json:"tolerated,omitempty"` // "kind subject: why"
}

// Class is the first class by precedence among the denials.
func (d Decision) Class() Class {
	for _, class := range Classes {
		if slices.ContainsFunc(d.Denials, func(denial Denial) bool { return denial.Class == class }) {
			return class
		}
	}
	return Unknown
}

// Judge decides.
func Judge(in Input) Decision {
	var d Decision
	if _, err := operation.Parse(string(in.Operation)); err != nil { //check:policy-operation
		d.Denials = append(d.Denials, Denial{Code: "operation", Class: Unknown, Summary: err.Error()})
	}
	d.Denials = append(d.Denials, missing(in)...)
	for _, f := range in.Facts {
		denial, why := judgeFact(in, f)
		switch {
		case denial != nil:
			d.Denials = append(d.Denials, *denial)
		case why != "":
			d.Tolerated = append(d.Tolerated, fmt.Sprintf("%s %s: %s", f.Kind, f.Subject, why))
		}
	}
	d.Denials = append(d.Denials, judgeInterlock(in)...)
	d.Denials = append(d.Denials, in.Rules.Judge(in)...)
	waive(&d, in.Waives)
	d.Allowed = len(d.Denials) == 0
	return d
}

// need lists the kinds of which at least one fact must be there.
func need(op operation.Operation) []fact.Kind {
	kinds := []fact.Kind{fact.Visibility, fact.EngineLock, fact.OpenFile, fact.ProcessName}
	switch {
	case op == operation.Reboot:
		return append(kinds, fact.VolatileData, fact.NextBoot)
	case op.Destroys():
		return append(kinds, fact.DataAtRest, fact.BlockClaim, fact.Backup)
	}
	return kinds
}

// serverKinds: one of them must be there, as the server probe's answer.
var serverKinds = []fact.Kind{fact.ServerSource, fact.ServerReplica, fact.ServerUnproven}

func missing(in Input) (denials []Denial) {
	has := func(kinds ...fact.Kind) bool {
		return slices.ContainsFunc(in.Facts, func(f fact.Fact) bool { return slices.Contains(kinds, f.Kind) })
	}
	report := func(what string) {
		denials = append(denials, Denial{Code: ProbeMissing, Class: Unknown, Subject: what,
			Summary: "no probe has reported on " + what})
	}
	// A disk that cannot be looked into is an answer, too, and denies by itself.
	layer := slices.ContainsFunc(in.Facts, func(f fact.Fact) bool { return f.Kind == fact.Layer && f.Verdict != fact.Clear })
	for _, kind := range need(in.Operation) {
		if kind == fact.DataAtRest && layer { //allow:policy-layer-answers
			continue
		}
		if !has(kind) { //check:policy-probe-missing
			report(string(kind))
		}
	}
	if !has(serverKinds...) { //check:policy-server-missing
		report("server")
	}
	return denials
}

// judgeFact returns a denial, or why a fact that is not CLEAR is tolerated, or
// nothing for a CLEAR one.
func judgeFact(in Input, f fact.Fact) (*Denial, string) {
	if f.Verdict == fact.Clear {
		return nil, ""
	}
	if why := tolerates(in, f); why != "" {
		return nil, why
	}
	class := Unknown
	if f.Verdict == fact.Active {
		class = Live
	}
	return &Denial{
		Code: string(f.Kind), Class: class, Subject: f.Subject, Summary: f.Summary,
		Waivable: f.Kind != fact.Visibility,
	}, ""
}

// tolerates is the core table: the empty string means no.
func tolerates(in Input, f fact.Fact) string {
	op := in.Operation
	switch f.Kind {
	case fact.DataAtRest, fact.Layer:
		return toleratesData(in, f)
	case fact.BlockClaim:
		// The system's own disks are always mounted. What is on a mounted
		// filesystem is judged as data at rest; a claim nobody can explain is
		// UNKNOWN and is not tolerated.
		if !op.Destroys() {
			return "the operation leaves the disks as they are"
		}
		if f.Verdict == fact.Active && in.Scope.WholeMachine() { //allow:policy-claimed-device
			return "a mounted filesystem is judged by what is on it"
		}
	case fact.Backup:
		if !op.Destroys() {
			return "the operation leaves the data as they are"
		}
	case fact.ServerReplica:
		if op == operation.StopServer && in.Interlock.Granted && f.Verdict == fact.Active { //allow:policy-replica-needs-set
			return "a replica that its set can do without"
		}
	case fact.EngineLock, fact.OpenFile, fact.ProcessName:
		if op == operation.StopServer && f.Verdict == fact.Active && belongsToReplica(in.Facts, f) { //allow:policy-files-of-replica
			return "belongs to a proven replica"
		}
	case fact.VolatileData:
		if op != operation.Reboot && !op.Destroys() {
			return "the operation leaves memory as it is"
		}
	case fact.NextBoot:
		if op != operation.Reboot {
			return "not a reboot"
		}
	case fact.Visibility, fact.ServerSource, fact.ServerUnproven:
	}
	return ""
}

// toleratesData: data at rest and layers that hide it may stay under an
// operation that does not touch disks, and may go if they are elsewhere.
func toleratesData(in Input, f fact.Fact) string {
	if !in.Operation.Destroys() {
		return "the operation leaves the disks as they are"
	}
	if f.Kind == fact.DataAtRest && f.Verdict == fact.Active && in.Interlock.Granted { //allow:policy-data-elsewhere
		return "the set has all of it on healthy survivors"
	}
	return ""
}

// belongsToReplica: every process of the fact is one of a server that is
// proven to be a replica, and of no other server.
func belongsToReplica(facts []fact.Fact, f fact.Fact) bool {
	if len(f.PIDs) == 0 { //check:policy-pids-unknown
		return false
	}
	for _, pid := range f.PIDs {
		replica := false
		for _, s := range facts {
			if !slices.Contains(s.PIDs, pid) {
				continue
			}
			switch s.Kind {
			case fact.ServerReplica:
				replica = replica || s.Verdict == fact.Active
			case fact.ServerSource, fact.ServerUnproven:
				return false
			default:
			}
		}
		if !replica { //check:policy-not-a-replica
			return false
		}
	}
	return true
}

// judgeInterlock: a machine of a set needs the set's word for everything.
func judgeInterlock(in Input) []Denial {
	if !in.Interlock.Configured || in.Interlock.Granted {
		return nil
	}
	if len(in.Interlock.Denials) == 0 { //check:policy-interlock-silent
		return []Denial{{Code: InterlockMissing, Class: Unavailable,
			Summary: "the machine belongs to a set, and the set has not been asked"}}
	}
	return in.Interlock.Denials
}

// local are the codes that say that there are live data on this machine.
var local = []fact.Kind{
	fact.EngineLock, fact.OpenFile, fact.ProcessName, fact.DataAtRest, fact.VolatileData, fact.Layer,
	fact.ServerSource, fact.ServerReplica, fact.ServerUnproven,
}

// IsLocal reports whether a code is about live data on this machine.
func IsLocal(code string) bool { return slices.Contains(local, fact.Kind(code)) }

// waive moves the denials that may be waived and are. Live data together with
// an interlock that does not answer are never waived: then nobody knows
// whether this is the last copy.
func waive(d *Decision, codes []string) {
	if len(codes) == 0 {
		return
	}
	blind := slices.ContainsFunc(d.Denials, func(x Denial) bool { return x.Class == Unavailable })
	live := slices.ContainsFunc(d.Denials, func(x Denial) bool { return IsLocal(x.Code) })
	if blind && live { //check:policy-never-both
		d.Denials = append(d.Denials, Denial{Code: "override", Class: Unavailable,
			Summary: "live data cannot be waived while the interlock does not answer: bring etcd back, or remove the data from this machine first"})
		return
	}
	var kept []Denial
	for _, denial := range d.Denials {
		if denial.Waivable && slices.Contains(codes, denial.Code) { //allow:policy-waivable
			d.Waived = append(d.Waived, denial)
		} else {
			kept = append(kept, denial)
		}
	}
	d.Denials = kept
}
