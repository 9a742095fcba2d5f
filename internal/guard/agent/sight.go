package agent

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/config"
	"github.com/lifeboat-db/lifeboat/internal/guard/enginelock"
	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/backup"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/boot"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/disk"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/process"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/server"
)

// MaybeCanary is the guard's canary, in a process that was started as one; in
// any other it returns at once. Call it first thing in main.
func MaybeCanary() { process.CanaryMain() }

// sight is what the agent sees with, as long as it lives.
type sight struct {
	canary *process.Canary
	onDisk *disk.Canary
	world  World
}

// World is what a machine consists of. The zero value is the real machine;
// tests put one into namespaces of its own, with loop devices for disks. No
// flag, file or variable sets it.
type World struct {
	Processes process.World
	Devices   []string
}

func newSight(stateDir string, world World) (*sight, error) {
	dir := filepath.Join(stateDir, "canary")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	onDisk, err := disk.PlantCanary(dir, process.Page())
	if err != nil {
		return nil, err
	}
	canary, err := process.StartCanary(dir)
	if err != nil {
		return nil, err
	}
	return &sight{canary: canary, onDisk: onDisk, world: world}, nil
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
			{disk.Probe{Canary: s.onDisk, MaxDuration: c.Timeouts.Disks - time.Second, Machine: s.world.Devices}},
			{process.Probe{Canary: s.canary, DataDirs: c.DataDirs, World: s.world.Processes}},
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
