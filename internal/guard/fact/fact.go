// Package fact holds what the guard has found out about its machine: values
// only. Probes make facts, package policy judges them, people read them.
package fact

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Verdict is what one fact says of the machine.
type Verdict uint8

const (
	// Unknown: the probe could not see, or cannot prove that it would have
	// seen. It is the zero value, so that a fact nobody filled in denies.
	Unknown Verdict = iota
	// Active: there is something that the operation may destroy.
	Active
	// Clear: there is provably nothing.
	Clear
)

var verdictNames = [...]string{Unknown: "UNKNOWN", Active: "ACTIVE", Clear: "CLEAR"}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// MarshalText writes UNKNOWN, ACTIVE or CLEAR.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText writes and nothing else.
func (v *Verdict) UnmarshalText(text []byte) error {
	i := slices.Index(verdictNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("verdict %q is none of UNKNOWN, ACTIVE, CLEAR", text)
	}
	*v = Verdict(i)
	return nil
}

// Kind says what a fact is about. Policy decides by kind; nothing is decided
// by a text for people.
type Kind string

// The kinds, in the order in which people read them.
const (
	// Visibility: could the probes have seen everything at all?
	// Probe "visibility".
	Visibility Kind = "visibility"

	// EngineLock: an engine's own lock on a data file. Active: held by
	// somebody else. Probe "engine-locks".
	EngineLock Kind = "engine-lock"
	// OpenFile: an engine's data file open or mapped in a process, deleted
	// ones included. Probe "open-files".
	OpenFile Kind = "open-file"
	// ProcessName: a process, port or PID file that is called like a server.
	// Weak: it may deny, its absence clears nothing. Probe "names".
	ProcessName Kind = "process-name"

	// DataAtRest: an engine's data on a filesystem or device within reach.
	// Subject is the data directory or device; Evidence["datadir"] is the
	// directory if there is one. Probe "data-at-rest".
	DataAtRest Kind = "data-at-rest"
	// VolatileData: data at rest that does not survive a reboot (tmpfs,
	// loop device on tmpfs). Probe "data-at-rest".
	VolatileData Kind = "volatile-data"
	// Layer: a layer that hides what is in it (LUKS, LVM, md, ZFS, a
	// filesystem this kernel cannot read). Unknown by nature.
	// Probe "data-at-rest".
	Layer Kind = "layer"
	// BlockClaim: a block device that somebody holds (mount in any
	// namespace, swap, device mapper). Probe "block-devices".
	BlockClaim Kind = "block-claim"

	// ServerSource: a running server that others depend on or that takes
	// writes: source, stand-alone, group member, Galera node, replica with
	// replicas of its own, replica that can be written to.
	// Evidence["role"] says which. Probe "server".
	ServerSource Kind = "server-source"
	// ServerReplica: a running server that is proven to be a read-only
	// replica without replicas of its own. Probe "server".
	ServerReplica Kind = "server-replica"
	// ServerUnproven: an engine runs, but what it is could not be asked.
	// Probe "server".
	ServerUnproven Kind = "server-unproven"

	// NextBoot: what the firmware starts next. Clear: the local disk, as
	// now. Active: the network or a one-time override: a reboot is a wipe.
	// Probe "next-boot".
	NextBoot Kind = "next-boot"
	// Backup: age and verification of backup and archive: additional
	// evidence, which rules may use. Probe "backup".
	Backup Kind = "backup"
)

// Kinds lists all kinds.
var Kinds = []Kind{
	Visibility, EngineLock, OpenFile, ProcessName, DataAtRest, VolatileData, Layer, BlockClaim,
	ServerSource, ServerReplica, ServerUnproven, NextBoot, Backup,
}

// Fact is one thing a probe has found.
type Fact struct {
	Probe   string  `json:"probe"` // the probe's name, such as "engine-locks"
	Kind    Kind    `json:"kind"`
	Verdict Verdict `json:"verdict"`
	// Subject names the thing itself, stable from one look to the next: a
	// path, a device, a socket. No process ids, counts or times: overrides
	// are bound to it (Digest).
	Subject string `json:"subject,omitempty"`
	// Summary is one line for people: what was found, and for UNKNOWN what
	// could not be seen and what to do next.
	Summary string `json:"summary"`
	// PIDs are the processes (in the guard's PID namespace) that the fact is
	// about. Policy tolerates the files of a proven replica by them.
	PIDs []int `json:"pids,omitempty"`
	// Evidence holds details by name; keys are fixed words of the probe.
	Evidence map[string]string `json:"evidence,omitempty"`
	// Cost is how long the probe took to find this, where it is known.
	Micros int64 `json:"micros,omitempty"`
}

func (f Fact) String() string {
	return fmt.Sprintf("%s %s %s %s: %s", f.Verdict, f.Probe, f.Kind, f.Subject, f.Summary)
}

// Digest is a SHA-256, in hexadecimal, over what the facts that are not CLEAR
// say: kind, verdict and subject of each, sorted, repeated ones once. It does
// not change from one look to the next unless something else is found.
func Digest(facts []Fact) string {
	sum := sha256.Sum256([]byte(strings.Join(lines(facts), "")))
	return hex.EncodeToString(sum[:])
}

func lines(facts []Fact) (list []string) {
	for _, f := range facts {
		if f.Verdict != Clear {
			list = append(list, fmt.Sprintf("%q %q %q\n", f.Kind, f.Verdict, f.Subject))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Difference says, for people, what has come and gone between two looks whose
// digests differ.
func Difference(before, after []Fact) string {
	a, b := lines(before), lines(after)
	var list []string
	for _, line := range a {
		if !slices.Contains(b, line) {
			list = append(list, "gone: "+strings.TrimSpace(line))
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			list = append(list, "new: "+strings.TrimSpace(line))
		}
	}
	return strings.Join(list, "; ")
}
