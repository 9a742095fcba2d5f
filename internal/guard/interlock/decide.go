package interlock

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/mysqld"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
)

// Code is a reason to refuse, stable for programs.
type Code string

// The codes.
const (
	NoManifest        Code = "no-manifest"        // there is none, or it cannot be believed
	OtherSet          Code = "other-set"          // the manifest is another set's
	WrongEpoch        Code = "epoch"              // manifest or record are older than they may be
	NotMember         Code = "not-a-member"       // the manifest does not have this machine
	Disrupted         Code = "disruption"         // another member, or this one, is leaving
	IsSource          Code = "is-source"          // never
	UnknownRole       Code = "unknown-role"       // whether this is the source is not known
	SurvivorMissing   Code = "survivor-missing"   // no record: its guard is silent
	SurvivorRecord    Code = "survivor-record"    // a record that cannot be believed
	SurvivorStale     Code = "survivor-stale"     // a record of another time than ours
	SurvivorUnhealthy Code = "survivor-unhealthy" // it says so, or the other one contradicts it
	UniqueData        Code = "unique-data"        // no survivor has all of the target's data
	UnknownData       Code = "unknown-data"       // that cannot be proven
	Frozen            Code = "frozen"             // etcd is another one, or was set back
	NonceSpent        Code = "nonce"              // the request has been used
	Fenced            Code = "fenced"             // a later token has been seen here
	Lost              Code = "lost"               // the disruption record is not ours any more
	NotCleared        Code = "not-cleared"        // the disruption stays
)

// Reason is one reason to refuse.
type Reason struct {
	Code   Code
	Member string // whom it is about, by name; empty: the set or this machine
	Detail string
}

func (r Reason) String() string {
	if r.Member == "" {
		return fmt.Sprintf("%s: %s", r.Code, r.Detail)
	}
	return fmt.Sprintf("%s: %s: %s", r.Code, r.Member, r.Detail)
}

// Record is one member's health as it was found.
type Record struct {
	Health Health
	Err    error // why it cannot be believed
}

// View is what etcd says, at one revision.
type View struct {
	Manifest    Manifest
	ManifestErr error // why there is none
	Records     map[string]Record
	Disruption  *Disruption // one that cannot be read has no ID
}

// Limits bound what counts as healthy.
type Limits struct {
	MaxLag time.Duration // of a replica
	// MaxAge of a record by our clock, in either direction. Leases end the
	// records of dead guards; but etcd prolongs them when it elects a leader.
	MaxAge time.Duration
}

// Ask is who wants to go, and what is known here.
type Ask struct {
	Set       string
	Machine   string
	Operation operation.Operation
	Local     State // now, not as published
	Own       string
	Epoch     int64 // the highest ever seen
	Now       time.Time
	Limits    Limits
}

// Decide says why a set cannot let a member go; nothing means that it can. It
// is pure.
func Decide(v View, a Ask) []Reason {
	if v.ManifestErr != nil { //check:interlock-no-manifest
		return []Reason{{Code: NoManifest, Detail: v.ManifestErr.Error()}}
	}
	if v.Manifest.Set != a.Set { //check:interlock-other-set
		return []Reason{{Code: OtherSet, Detail: fmt.Sprintf("the manifest is of set %q", v.Manifest.Set)}}
	}
	if v.Manifest.Epoch < a.Epoch { //check:interlock-epoch-back
		return []Reason{{Code: WrongEpoch, Detail: fmt.Sprintf("the manifest has epoch %d, this machine has seen %d: etcd was set back; publish a manifest with a higher one", v.Manifest.Epoch, a.Epoch)}}
	}
	if _, ok := v.Manifest.Member(a.Machine); !ok { //check:interlock-not-a-member
		return []Reason{{Code: NotMember, Detail: "the manifest does not have machine " + a.Machine}}
	}
	var reasons []Reason
	if d := v.Disruption; d != nil && !d.gives(a) { //check:interlock-disruption
		reasons = append(reasons, Reason{Code: Disrupted, Member: memberName(v.Manifest, d.Machine),
			Detail: fmt.Sprintf("is leaving: %s, %s", d.Operation, d.Phase)})
	}
	reasons = append(reasons, judgeTarget(v, a)...)
	survivors, bad := believe(v, a, func(m Member) bool { return m.Machine != a.Machine })
	reasons = append(reasons, bad...)
	reasons = append(reasons, judgeCopies(v.Manifest, survivors, a.Limits)...)
	return append(reasons, judgeData(survivors, a)...)
}

// gives reports whether a disruption does not stand in the way: it is the one
// that the asker has announced itself, or an earlier one of its machine whose
// command has ended. The machine is down already: its set loses nothing more by
// a second command, and stop-server followed by reinstall is the usual way.
func (d Disruption) gives(a Ask) bool {
	if d.ID == "" { //check:interlock-disruption-unread
		return false
	}
	return d.ID == a.Own || d.Machine == a.Machine && d.Phase == Done
}

func memberName(m Manifest, machine string) string {
	if member, ok := m.Member(machine); ok {
		return member.Name
	}
	return machine
}

// judgeTarget: the source never goes, whoever says that it is one.
func judgeTarget(v View, a Ask) (reasons []Reason) {
	switch a.Local.Role {
	case Replica, Down:
	case Source, Other:
		reasons = append(reasons, Reason{Code: IsSource, Detail: "the machine's server is no replica"})
	default:
		reasons = append(reasons, Reason{Code: UnknownRole, Detail: "what the machine's server is cannot be said"})
	}
	own, published := v.Records[a.Machine]
	if published && own.Err != nil { //check:interlock-own-record
		reasons = append(reasons, Reason{Code: UnknownRole, Detail: "the machine's own record: " + own.Err.Error()})
	}
	if published && own.Err == nil && own.Health.State.Role != Replica && own.Health.State.Role != Down { //check:interlock-published-source
		reasons = append(reasons, Reason{Code: IsSource, Detail: fmt.Sprintf("the machine has published itself as %q", own.Health.State.Role)})
	}
	for _, m := range v.Manifest.Members {
		r, ok := v.Records[m.Machine]
		if !ok || r.Err != nil || a.Local.Server == "" || m.Machine == a.Machine {
			continue
		}
		if r.Health.State.Source == a.Local.Server { //check:interlock-followed
			reasons = append(reasons, Reason{Code: IsSource, Member: m.Name, Detail: "follows this machine"})
		}
	}
	return reasons
}

// believe returns the records of the chosen members that can be believed.
func believe(v View, a Ask, chosen func(Member) bool) (records []Health, reasons []Reason) {
	for _, m := range v.Manifest.Members {
		if !chosen(m) {
			continue
		}
		r, ok := v.Records[m.Machine]
		if !ok { //check:interlock-survivor-missing
			reasons = append(reasons, Reason{SurvivorMissing, m.Name, "has published nothing: is its guard running, and does it reach etcd?"})
			continue
		}
		if r.Err != nil { //check:interlock-survivor-record
			reasons = append(reasons, Reason{SurvivorRecord, m.Name, r.Err.Error()})
			continue
		}
		if r.Health.Epoch != v.Manifest.Epoch { //check:interlock-survivor-epoch
			reasons = append(reasons, Reason{WrongEpoch, m.Name, fmt.Sprintf("its record is of epoch %d, the manifest of %d", r.Health.Epoch, v.Manifest.Epoch)})
			continue
		}
		if age := a.Now.Sub(r.Health.Made); age > a.Limits.MaxAge || age < -a.Limits.MaxAge { //check:interlock-survivor-stale
			reasons = append(reasons, Reason{SurvivorStale, m.Name, fmt.Sprintf("its record is %s old: are the clocks right?", age.Round(time.Second))})
			continue
		}
		records = append(records, r.Health)
	}
	return records, reasons
}

// judgeCopies: exactly one of them is the source and takes writes, and every
// other one follows it, by its own word and by the source's.
func judgeCopies(m Manifest, copies []Health, limits Limits) (reasons []Reason) {
	unhealthy := func(h Health, format string, args ...any) {
		reasons = append(reasons, Reason{SurvivorUnhealthy, memberName(m, h.Machine), fmt.Sprintf(format, args...)})
	}
	var sources []Health
	for _, h := range copies {
		if h.State.Role == Source {
			sources = append(sources, h)
		}
	}
	if len(copies) > 0 && len(sources) != 1 { //check:interlock-one-source
		return []Reason{{Code: SurvivorUnhealthy, Detail: fmt.Sprintf("%d sources would be left, it must be one", len(sources))}}
	}
	for _, h := range copies {
		s := h.State
		if s.Filter != "" { //check:interlock-filter
			unhealthy(h, "it is no whole copy, or gives none: %s", s.Filter)
		}
		if s.Role == Source {
			if s.ReadOnly { //check:interlock-source-writable
				unhealthy(h, "the source is read-only")
			}
			continue
		}
		if s.Role != Replica { //check:interlock-survivor-role
			unhealthy(h, "its server is %q", s.Role)
			continue
		}
		source := sources[0].State
		if !s.Threads { //check:interlock-replica-threads
			unhealthy(h, "replication does not run")
		}
		if !s.ReadOnly { //check:interlock-replica-read-only
			unhealthy(h, "the replica takes writes")
		}
		if s.Lag < 0 || s.Lag > int64(limits.MaxLag/time.Second) { //check:interlock-replica-lag
			unhealthy(h, "it is %d s behind (-1: unknown), at most %s", s.Lag, limits.MaxLag)
		}
		if s.Server == "" || source.Server == "" { //check:interlock-unnamed
			unhealthy(h, "it or its source has not said which server it is")
		}
		if s.Source != source.Server { //check:interlock-other-source
			unhealthy(h, "it follows %q, and the source is %q", s.Source, source.Server)
		}
		if !slices.Contains(source.Replicas, s.Server) { //check:interlock-not-connected
			unhealthy(h, "the source does not see it connected")
		}
	}
	return reasons
}

// judgeData: what the machine has must be on one survivor. A server that is
// stopped keeps its data, and so does a machine that is restarted; and what a
// running server has would run away from any record.
func judgeData(survivors []Health, a Ask) []Reason {
	if !a.Operation.Destroys() || a.Local.NoData {
		return nil
	}
	code, details := UniqueData, []string{}
	for _, h := range survivors {
		err := CoversState(h.State, a.Local)
		if err == nil { //allow:interlock-covers
			return nil
		}
		if !errors.Is(err, ErrUnique) {
			code = UnknownData
		}
		details = append(details, err.Error())
	}
	if len(survivors) == 0 {
		code, details = UnknownData, []string{"no survivor can be believed"}
	}
	return []Reason{{Code: code, Detail: strings.Join(details, "; ")}}
}

// DecideClear says why a disruption must stay: it goes by itself only when its
// machine is there again, healthy, by a record of later than the disruption's
// last change, nothing of it can still run, and the whole set is well.
// fresh: the machine's record has a higher revision than the disruption.
func DecideClear(v View, a Ask, fresh bool) []Reason {
	if v.ManifestErr != nil { //check:clear-no-manifest
		return []Reason{{Code: NoManifest, Detail: v.ManifestErr.Error()}}
	}
	d := v.Disruption
	if v.Manifest.Epoch < a.Epoch { //check:clear-epoch-back
		return []Reason{{Code: WrongEpoch, Detail: "the manifest is older than one this machine has seen"}}
	}
	member, ok := v.Manifest.Member(d.Machine)
	if !ok { //check:clear-not-a-member
		return []Reason{{Code: NotCleared, Detail: "its machine belongs to the set no more: it takes two people"}}
	}
	records, reasons := believe(v, a, func(Member) bool { return true })
	if len(reasons) > 0 { // what follows needs all three records
		return reasons
	}
	if !fresh { //check:clear-old-record
		reasons = append(reasons, Reason{NotCleared, member.Name, "has published nothing since"})
	}
	record := v.Records[d.Machine].Health
	if d.Phase == Done && !record.Made.After(d.Ended) { //check:clear-seen-before
		reasons = append(reasons, Reason{NotCleared, member.Name, "what it has published was seen before the command had ended"})
	}
	boot := record.BootID
	rebooted := boot != "" && d.BootID != "" && boot != d.BootID
	if d.Phase != Done && !rebooted { //check:clear-may-run
		reasons = append(reasons, Reason{NotCleared, member.Name, "its command may still be running"})
	}
	return append(reasons, judgeCopies(v.Manifest, records, a.Limits)...)
}

// FromServer makes a State of what a server has said.
func FromServer(s mysqld.State) State {
	kind, role, _ := mysqld.Role(s)
	state := State{Role: Other, ReadOnly: s.ReadOnly, Lag: -1, Server: s.ServerUUID}
	if s.Flavor == gtid.MariaDB {
		state.Server = fmt.Sprint(s.ServerID)
	}
	if s.Untracked == "" { //allow:interlock-untracked
		state.GTIDs, state.BinlogState = s.Executed, BinlogState(s.BinlogState)
	}
	switch {
	case kind == fact.ServerReplica:
		state.Role = Replica
	case role == mysqld.RoleSource, role == mysqld.RoleStandalone:
		state.Role = Source
	case kind == fact.ServerUnproven:
		return State{Lag: -1}
	}
	follow(&state, s)
	filters := []string{s.LogFilter}
	for _, c := range s.Channels {
		filters = append(filters, c.Filter)
	}
	state.Filter = strings.TrimSpace(strings.Join(filters, " "))
	// The list of MySQL also has servers that were connected; each that is
	// connected reads the log.
	if len(s.Replicas) <= s.Dumps { //allow:interlock-listed-not-connected
		for _, r := range s.Replicas {
			name := r.UUID
			if s.Flavor == gtid.MariaDB {
				name = r.ServerID
			}
			state.Replicas = append(state.Replicas, name)
		}
	}
	return state
}

// follow takes over the one channel; of several nobody knows which matters.
func follow(state *State, s mysqld.State) {
	if len(s.Channels) != 1 { //check:interlock-one-channel
		return
	}
	c := s.Channels[0]
	state.Threads, state.Lag, state.Source = c.Running(), c.Lag, c.SourceUUID
	if s.Flavor == gtid.MariaDB {
		state.Source = c.SourceID
	}
}
