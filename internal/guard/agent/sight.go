package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
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
	return gate.Looker{
		Timeout: c.Timeouts.Disks,
		Stages: [][]probe.Probe{
			{disk.Probe{Canary: s.onDisk, MaxDuration: c.Timeouts.Disks - time.Second, Machine: s.world.Devices}},
			{s.processes(c)},
			{
				s.servers(c),
				boot.Probe{AssumeDisk: c.NextBoot == "disk"},
				backup.Probe{File: c.Backup.Status, MaxAge: c.Backup.MaxAge},
			},
		},
	}
}

func (s *sight) processes(c config.Config) process.Probe {
	return process.Probe{Canary: s.canary, DataDirs: c.DataDirs, World: s.world.Processes}
}

func (s *sight) servers(c config.Config) server.Probe {
	logins := make([]server.Login, len(c.Servers))
	for i, l := range c.Servers {
		logins[i] = server.Login{Socket: l.Socket, DefaultsFile: l.DefaultsFile}
	}
	return server.Probe{Logins: logins}
}

// Close ends the canary and removes its file: to everybody but this agent (one
// with another state directory, an installer's probe) it is a server's data.
func (s *sight) Close() error { return errors.Join(s.canary.Close(), s.onDisk.Remove()) }

// locker takes the engines' locks, and knows which ones the guard itself holds.
type locker struct {
	dataDirs []string

	mu   sync.Mutex
	held []probe.FileID
}

// Take implements gate.Locker.
func (l *locker) Take(_ context.Context, facts []fact.Fact) (gate.Locks, error) {
	paths, err := process.LockFiles(facts, l.dataDirs)
	if err != nil { //check:locker-files
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	held, err := enginelock.Take(paths)
	if err != nil { //check:locker-take
		return nil, err
	}
	l.held = held.IDs()
	return locks{held: held, by: l}, nil
}

// still keeps locks from being taken until the function that it returns is
// called, so that a look in between finds none that it does not know of.
func (l *locker) still() (again func()) {
	l.mu.Lock()
	return l.mu.Unlock
}

// heldNow must be called between still and its end.
func (l *locker) heldNow() []probe.FileID { return l.held }

type locks struct {
	held *enginelock.Held
	by   *locker
}

func (l locks) Held() []probe.FileID { return l.held.IDs() }
func (l locks) Files() []gate.File   { return l.held.Files() }
func (l locks) Close() error {
	defer l.by.still()()
	l.by.held = nil
	return l.held.Close()
}
