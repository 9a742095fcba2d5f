package agent

import (
	"context"
	"os"
	"path/filepath"

	"github.com/lifeboat-db/lifeboat/internal/guard/config"
	"github.com/lifeboat-db/lifeboat/internal/guard/enginelock"
	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/backup"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/boot"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/process"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/server"
)

// MaybeCanary is the guard's canary, in a process that was started as one; in
// any other it returns at once. Call it first thing in main.
func MaybeCanary() { process.CanaryMain() }

// sight is what the agent sees with, as long as it lives.
type sight struct {
	canary *process.Canary
}

func newSight(_ context.Context, _ config.Config, stateDir string) (*sight, error) {
	dir := filepath.Join(stateDir, "canary")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	canary, err := process.StartCanary(dir)
	if err != nil {
		return nil, err
	}
	return &sight{canary: canary}, nil
}

// looker puts the probes in order: what lies on the disks, then what runs (it
// tests the locks of what lies there), then what the servers say.
func (s *sight) looker(c config.Config) gate.Looker {
	logins := make([]server.Login, len(c.Servers))
	for i, l := range c.Servers {
		logins[i] = server.Login{Socket: l.Socket, DefaultsFile: l.DefaultsFile}
	}
	return gate.Looker{
		Timeout: c.Timeouts.Disks,
		Stages: [][]probe.Probe{
			{},
			{process.Probe{Canary: s.canary, DataDirs: c.DataDirs}},
			{
				server.Probe{Logins: logins},
				boot.Probe{AssumeDisk: c.NextBoot == "disk"},
				backup.Probe{File: c.Backup.Status, MaxAge: c.Backup.MaxAge},
			},
		},
	}
}

func (s *sight) Close() error { return s.canary.Close() }

// locker takes the engines' locks.
type locker struct {
	dataDirs []string
}

// Take implements gate.Locker.
func (l locker) Take(_ context.Context, facts []fact.Fact) (gate.Locks, error) {
	paths, err := process.LockFiles(facts, l.dataDirs)
	if err != nil { //check:locker-files
		return nil, err
	}
	held, err := enginelock.Take(paths)
	if err != nil { //check:locker-take
		return nil, err
	}
	return locks{held: held}, nil
}

type locks struct{ held *enginelock.Held }

func (l locks) Held() []probe.FileID { return l.held.IDs() }
func (l locks) Files() []gate.File   { return l.held.Files() }
func (l locks) Close() error         { return l.held.Close() }
