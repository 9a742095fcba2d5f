// Package check tries configuration and credentials: all that archive, backup
// and restore depend on and that a person has set up, before it is needed.
//
// What is found out (servers.go, places.go) is apart from what is thought of it
// (judge.go), which is pure. Every finding is a [Line]: ok; a warning, which
// changes nothing today; or a failure, with the class of the exit code.
//
// Servers are only asked. A repository gets its own marker once more, which it
// must refuse, and one small object, which is deleted again (retain.Try).
//
// What is not tried: a backup itself, and a restore: that is a drill's. A server
// that nobody writes to shows no archive that has stopped.
package check

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// SchemaVersion is that of Report as JSON.
const SchemaVersion = 1

// Options of Run.
type Options struct {
	Set     string
	Servers []Server
	Places  []Place

	// BackupOf is the server, by name, of which this host takes backups; empty:
	// of none. Driver is as backup takes it, Source without its DSN.
	BackupOf string
	Driver   string
	Source   backup.Source

	// Wait is how long the archive may take to have what the servers have now.
	// Zero: not at all.
	Wait time.Duration
}

// Server is a member of the set.
type Server struct {
	Name string
	DSN  func() (string, error) // reads the files of passwords
}

// Place is a repository.
type Place struct {
	Name     string
	Location func() (repository.Location, error) // with the private keys, if there are any; reads the files of keys
}

// Level says what a finding means.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // it works, and something is not as it should be
	Fail Level = "FAIL"
)

// Line is one finding.
type Line struct {
	Level Level       `json:"level"`
	About string      `json:"about"` // server NAME, repository NAME, or both
	What  string      `json:"what"`  // one of the names of judge.go, which stay
	Why   string      `json:"why"`
	Next  string      `json:"next,omitempty"` // what to do
	Class fault.Class `json:"exit_code"`      // of a failure; 0 of others
}

// Report is what was found.
type Report struct {
	SchemaVersion int       `json:"schema_version"`
	Set           string    `json:"set"`
	Time          time.Time `json:"time"`
	Lines         []Line    `json:"lines"`
}

// Run tries everything, servers and repositories at the same time. The error is
// that of the context; what was found is in the report: see Err.
func Run(ctx context.Context, o Options) (*Report, error) {
	r := &Report{SchemaVersion: SchemaVersion, Set: o.Set, Time: time.Now().UTC()}
	servers, places := make([]serverFacts, len(o.Servers)), make([]placeFacts, len(o.Places))
	var all sync.WaitGroup
	for i, s := range o.Servers {
		all.Go(func() { servers[i] = o.server(ctx, s) })
	}
	for i, p := range o.Places {
		all.Go(func() { places[i] = o.place(ctx, p) })
	}
	all.Wait()
	pairs := o.archived(ctx, servers, places)
	for _, s := range servers {
		r.Lines = append(r.Lines, s.judge(len(servers))...)
	}
	r.Lines = append(r.Lines, judgeNames(servers)...)
	for _, p := range places {
		r.Lines = append(r.Lines, p.judge()...)
	}
	for _, p := range pairs {
		r.Lines = append(r.Lines, p.judge())
	}
	if ctx.Err() != nil {
		return r, fmt.Errorf("check: %w", ctx.Err())
	}
	return r, nil
}

// Err is what a command ends with: nil if nothing has failed, else of the class
// of the first failure.
func (r *Report) Err() error {
	var first *Line
	n := 0
	for i, l := range r.Lines {
		if l.Level != Fail {
			continue
		}
		if n++; first == nil {
			first = &r.Lines[i]
		}
	}
	if first == nil {
		return nil
	}
	return fault.New(first.Class, fmt.Errorf("check: %d of %d have failed, the first: %s: %s: %s", n, len(r.Lines), first.About, first.What, first.Why), first.Next)
}
