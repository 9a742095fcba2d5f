// Package operation names what can be asked of a machine, and the command that
// is to do it.
package operation

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Operation is one of a closed list; the empty one is an error everywhere.
type Operation string

// The operations, the mildest first.
const (
	StopServer   Operation = "stop-server"  // stop a database server; its data stay
	Reboot       Operation = "reboot"       // restart the machine from the disk it runs from
	Repartition  Operation = "repartition"  // change partitions, volumes, arrays
	Wipe         Operation = "wipe"         // erase devices or filesystems
	Reinstall    Operation = "reinstall"    // install an operating system anew
	Decommission Operation = "decommission" // give the machine away
)

// All lists the operations.
var All = []Operation{StopServer, Reboot, Repartition, Wipe, Reinstall, Decommission}

// Parse accepts exactly the names of the list.
func Parse(s string) (Operation, error) {
	if slices.Contains(All, Operation(s)) {
		return Operation(s), nil
	}
	names := make([]string, len(All))
	for i, o := range All {
		names[i] = string(o)
	}
	return "", fmt.Errorf("operation %q is unknown: it is one of %s", s, strings.Join(names, ", "))
}

// Destroys reports whether data on the operation's devices are gone after it.
func (o Operation) Destroys() bool { return o != StopServer && o != Reboot }

// EngineDown reports whether no engine may run while the command does: the
// gate then holds the engines' own file locks.
func (o Operation) EngineDown() bool { return o != StopServer }

// Scope is what an operation reaches.
type Scope struct {
	// Devices are block devices, by path; none means the whole machine.
	Devices []string `json:"devices,omitempty"`
}

// WholeMachine reports whether everything is within reach.
func (s Scope) WholeMachine() bool { return len(s.Devices) == 0 }

// ArgvDigest is the SHA-256, in hexadecimal, over an argument vector: for each
// argument its length (8 bytes, big endian) and its bytes.
func ArgvDigest(argv []string) string {
	h := sha256.New()
	for _, arg := range argv {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(arg)))
		h.Write(n[:])
		h.Write([]byte(arg))
	}
	return hex.EncodeToString(h.Sum(nil))
}
