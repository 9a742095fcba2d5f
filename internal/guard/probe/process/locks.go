package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/engine"
	"github.com/lifeboat-db/lifeboat/internal/guard/enginelock"
	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// locks tests the lock of each file by which an engine keeps others off: those
// that processes have open, and those of data directories that are known.
func (p Probe) locks(s *Snapshot, q probe.Question) (facts []fact.Fact) {
	files, unread := lockFiles(s, q, p.DataDirs)
	facts = append(facts, unread...)
	for _, f := range files {
		if slices.Contains(q.Held, f.id) {
			continue // the gate's own
		}
		if found := testLock(f); found != nil {
			facts = append(facts, *found)
		}
	}
	if err := p.Canary.locked(); err != nil { //check:locks-canary
		facts = append(facts, fact.Fact{Probe: LocksName, Kind: fact.EngineLock, Subject: "canary",
			Summary: fmt.Sprintf("the lock of the guard's own canary was not found, so others may have been missed as well: %v", err)})
	}
	if len(facts) == 0 {
		facts = append(facts, fact.Fact{Probe: LocksName, Kind: fact.EngineLock, Verdict: fact.Clear,
			Summary: fmt.Sprintf("nobody holds the lock of any of %d files by which engines keep others off", len(files))})
	}
	return facts
}

// lockFile is a file whose lock is to be tested.
type lockFile struct {
	id   probe.FileID
	path string   // for people
	vias []string // to open it, any one will do
	pids []int    // that have it open
}

// LockFiles lists the files whose lock keeps a server from starting, of all
// data directories that facts name. A directory that is not there in the
// guard's view of the filesystem has none: nobody can start a server on it
// without being seen to mount it.
func LockFiles(facts []fact.Fact, dataDirs []string) (paths []string, err error) {
	dirs := slices.Clone(dataDirs)
	for _, f := range facts {
		if dir := f.Evidence["datadir"]; f.Kind == fact.DataAtRest && dir != "" {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	var errs []error
	for _, dir := range slices.Compact(dirs) {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { //check:lock-files-unreadable
			errs = append(errs, err)
		}
		for _, e := range entries {
			if engine.ByName(e.Name()).Locks() && (e.Type().IsRegular() || e.Type() == fs.ModeSymlink) {
				paths = append(paths, filepath.Join(dir, e.Name()))
			}
		}
	}
	return paths, errors.Join(errs...)
}

func lockFiles(s *Snapshot, q probe.Question, dataDirs []string) (files []lockFile, unread []fact.Fact) {
	add := func(f lockFile) {
		i := slices.IndexFunc(files, func(known lockFile) bool { return known.id == f.id })
		if i < 0 {
			files = append(files, f)
			return
		}
		files[i].pids = append(files[i].pids, f.pids...)
		files[i].vias = append(files[i].vias, f.vias...)
	}
	for _, p := range s.Processes {
		for _, f := range p.Files {
			if f.Class.Locks() {
				add(lockFile{f.ID, f.Path, []string{f.Via}, []int{p.PID}})
			}
		}
	}
	paths, err := LockFiles(q.Facts, dataDirs)
	if err != nil { //check:locks-unread-dir
		unread = append(unread, fact.Fact{Probe: LocksName, Kind: fact.EngineLock, Subject: "data directories",
			Summary: fmt.Sprintf("a data directory cannot be read: %v", err)})
	}
	for _, path := range paths {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			if !gone(err) { //check:locks-stat
				unread = append(unread, unreadable(path, err))
			}
			continue
		}
		add(lockFile{id: probe.FileID{Dev: st.Dev, Ino: st.Ino}, path: path, vias: []string{path}})
	}
	return files, unread
}

func unreadable(path string, err error) fact.Fact {
	return fact.Fact{Probe: LocksName, Kind: fact.EngineLock, Subject: path,
		Summary: fmt.Sprintf("the lock of %s cannot be tested: %v", path, err)}
}

// testLock tests the lock of a file through whoever still has it open. Nobody
// and no name: whoever held the lock has ended, and the lock with him.
func testLock(f lockFile) *fact.Fact {
	var problem error
	for _, via := range f.vias {
		id, pid, held, err := enginelock.Test(via)
		switch {
		case err == nil && id == f.id:
			return lockFact(f, pid, held)
		case err == nil, gone(err):
			if strings.HasPrefix(via, "/proc/") {
				continue // the process has ended or closed it
			}
			problem = errors.New("it is replaced while it is looked at; look again") // by something that nobody has tested
		default:
			problem = err
		}
	}
	if problem != nil { //check:locks-untestable
		found := unreadable(f.path, problem)
		found.PIDs = f.pids
		return &found
	}
	return nil
}

func lockFact(f lockFile, pid int, held bool) *fact.Fact {
	if !held {
		return nil
	}
	pids := f.pids
	if pid > 0 && !slices.Contains(pids, pid) {
		pids = append(slices.Clone(pids), pid)
	}
	return &fact.Fact{Probe: LocksName, Kind: fact.EngineLock, Verdict: fact.Active, Subject: lockSubject(f.path), PIDs: pids,
		Summary: fmt.Sprintf("%s is locked: a server runs on it", f.path)}
}

// lockSubject is what stays the same from one look to the next while a server
// runs: MySQL makes and drops files of its redo log all the time, so for them
// it is their directory.
func lockSubject(path string) string {
	if strings.HasPrefix(filepath.Base(path), "#ib_redo") {
		return filepath.Dir(path)
	}
	return path
}
