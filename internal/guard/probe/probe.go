// Package probe says what a probe is. Each probe is a package below this one;
// the gate runs all of them, twice.
package probe

import (
	"context"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
)

// Question is what a probe is asked.
type Question struct {
	Operation operation.Operation
	Scope     operation.Scope
	// Facts are those of the probes that ran before: the server probe asks the
	// engines that the process probes have found.
	Facts []fact.Fact
	// Held are the files whose engine locks the gate itself holds while it
	// looks a second time: nobody else can hold them. The guard's own process
	// has them open.
	Held []FileID
}

// FileID is a file's identity, as stat(2) gives it.
type FileID struct {
	Dev uint64 // st_dev
	Ino uint64 // st_ino
}

// Probe looks at one side of the machine.
type Probe interface {
	// Name is the word that facts, rules and overrides use.
	Name() string
	// Look returns at least one fact. An error, a time-out or a panic inside
	// is a fact as well: UNKNOWN. A CLEAR fact is returned only if the probe
	// has shown that it could have seen.
	Look(ctx context.Context, q Question) []fact.Fact
}
