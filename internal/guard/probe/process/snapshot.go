// Package process looks at what runs on the machine: which processes have an
// engine's files open or mapped, who holds the engines' locks, and what is
// called like a server.
//
// One scan of /proc serves all of it. A regular file is told by its first
// bytes (package engine), read through /proc/PID/fd/N or /proc/PID/map_files,
// which reach deleted files and those of other mount namespaces as well.
//
// What cannot be read is UNKNOWN, unless the process has ended. Processes that
// are born during the scan are scanned in another round.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/engine"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
	"github.com/lifeboat-db/lifeboat/internal/guard/procstat"
)

// Process is one user process, as a scan has found it.
type Process struct {
	PID   int
	Start uint64 // clock ticks after boot (proc(5), stat field 22)
	Comm  string
	Exe   string // readlink of exe; empty if it has none
	Argv0 string
	Files []OpenFile
	// Sockets are the inodes of its sockets.
	Sockets []uint64
	NetNS   string // readlink of ns/net
}

// OpenFile is an engine's file that a process has open or mapped.
type OpenFile struct {
	ID    probe.FileID
	Path  string // as the kernel names it, " (deleted)" included
	Class engine.Class
	Via   string // path below /proc through which it can be opened
	Weak  bool   // told by its name alone
}

// Snapshot is one scan.
type Snapshot struct {
	Processes []Process
	Total     int      // processes that were looked at
	Problems  []string // what could not be seen
}

// Limits: rounds for processes that are born meanwhile, tries for a process id
// that is given to another, and how many problems are told.
const (
	maxRounds   = 8
	maxTries    = 3
	maxProblems = 20
)

type scanner struct {
	proc     string
	self     int
	mu       sync.Mutex
	classes  map[probe.FileID]engine.Class
	mapped   map[string]classified
	fsTypes  map[uint64]bool // device: a real filesystem
	snapshot *Snapshot
}

type classified struct {
	id    probe.FileID
	class engine.Class
}

// Scan looks at all processes but the guard's own.
func Scan(ctx context.Context) (*Snapshot, error) { return scan(ctx, "/proc", os.Getpid()) }

func scan(ctx context.Context, proc string, self int) (*Snapshot, error) {
	s := &scanner{
		proc: proc, self: self, classes: map[probe.FileID]engine.Class{}, mapped: map[string]classified{},
		fsTypes: map[uint64]bool{}, snapshot: &Snapshot{},
	}
	seen := map[int]uint64{}
	for round := 0; ; round++ {
		pids, err := procstat.IDs(proc)
		if err != nil {
			return nil, err
		}
		fresh := slices.DeleteFunc(pids, func(pid int) bool {
			start, ok := seen[pid]
			if !ok {
				return false
			}
			st, err := procstat.Read(proc, pid)
			return err == nil && st.Start == start
		})
		if len(fresh) == 0 {
			break
		}
		if round == maxRounds { //check:scan-never-ends
			s.problem("processes are born faster than they can be looked at (%d new ones after %d rounds)", len(fresh), round)
			break
		}
		s.all(ctx, fresh, seen)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	slices.SortFunc(s.snapshot.Processes, func(a, b Process) int { return a.PID - b.PID })
	return s.snapshot, nil
}

// all scans processes on all CPUs.
func (s *scanner) all(ctx context.Context, pids []int, seen map[int]uint64) {
	work := make(chan int)
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			w := worker{scanner: s, buf: make([]byte, 32<<10)}
			for pid := range work {
				start := w.process(pid)
				s.mu.Lock()
				seen[pid] = start
				s.mu.Unlock()
			}
		})
	}
	for _, pid := range pids {
		if ctx.Err() != nil {
			break
		}
		work <- pid
	}
	close(work)
	wait.Wait()
}

func (s *scanner) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.snapshot.Problems) < maxProblems {
		s.snapshot.Problems = append(s.snapshot.Problems, fmt.Sprintf(format, args...))
	}
}

type worker struct {
	*scanner
	buf []byte
}

// process scans one process and returns its start time; 0 if it has ended.
func (w *worker) process(pid int) uint64 {
	for range maxTries {
		before, err := procstat.Read(w.proc, pid)
		if err != nil {
			w.alive(pid, err)
			return 0
		}
		if before.Kernel || pid == w.self {
			w.count(nil)
			return before.Start
		}
		p := Process{PID: pid, Start: before.Start, Comm: before.Name}
		problems := w.look(&p, before)
		after, err := procstat.Read(w.proc, pid)
		switch {
		case err != nil:
			return 0 // it has ended: what could not be read does not matter
		case after.Start != before.Start:
			continue // the number belongs to another process now
		case after.State == 'Z' && before.State != 'Z':
			continue // it was ending: whoever is left holds the files
		}
		for _, err := range problems {
			w.problem("process %d (%s): %v", pid, p.Comm, err)
		}
		w.count(&p)
		return before.Start
	}
	w.problem("process %d changes each time it is looked at", pid)
	return 0
}

func (w *worker) count(p *Process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snapshot.Total++
	if p != nil {
		w.snapshot.Processes = append(w.snapshot.Processes, *p)
	}
}

// alive notes an error about a process that has not ended.
func (w *worker) alive(pid int, err error) {
	if !gone(err) {
		w.problem("process %d: %v", pid, err)
	}
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// look fills in what a process has open. A process whose first thread has
// ended shows its files in its other threads only.
func (w *worker) look(p *Process, st procstat.Stat) (problems []error) {
	dir := filepath.Join(w.proc, strconv.Itoa(p.PID))
	p.Exe, _ = os.Readlink(filepath.Join(dir, "exe"))      // empty: judged by its files
	p.NetNS, _ = os.Readlink(filepath.Join(dir, "ns/net")) // empty: its ports are not looked at by namespace
	p.Argv0 = w.argv0(dir)
	threads, err := w.tables(p.PID, st.State == 'Z')
	if err != nil && !gone(err) { //check:scan-threads
		problems = append(problems, err)
	}
	for i, thread := range threads {
		dir := filepath.Join(w.proc, strconv.Itoa(thread))          // not listed there, but there
		if err := w.descriptors(p, dir); err != nil && !gone(err) { //check:scan-descriptors
			problems = append(problems, err)
		}
		if i > 0 {
			continue // threads share one address space
		}
		if err := w.mappings(p, dir); err != nil && !gone(err) { //check:scan-mappings
			problems = append(problems, err)
		}
	}
	return problems
}

// tables lists a thread for each table of descriptors that the threads of a
// process have. Nearly always it is the first one alone; a thread gets its own
// table by unshare(CLONE_FILES), and a first thread that has ended shows none.
func (w *worker) tables(pid int, ended bool) (threads []int, err error) {
	tasks, err := taskIDs(filepath.Join(w.proc, strconv.Itoa(pid)))
	if !ended {
		threads = append(threads, pid)
	}
	for _, tid := range tasks {
		if tid != pid && !knownTable(threads, tid) {
			threads = append(threads, tid)
		}
	}
	return threads, err
}

// taskIDs lists the threads of a process. One with a single link less has none
// beside its first: its directory need not be read.
func taskIDs(dir string) (ids []int, err error) {
	dir = filepath.Join(dir, "task")
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, err
	}
	if st.Nlink == 3 { // ".", "..", and the first thread (proc(5): one link for each)
		return nil, nil
	}
	return procstat.IDs(dir)
}

// knownTable asks the kernel whether a thread shares its descriptors with one
// of those already looked at (kcmp(2)). Where it cannot tell, the thread counts
// as having its own.
func knownTable(of []int, tid int) bool {
	const kcmpFiles = 2 // KCMP_FILES, include/uapi/linux/kcmp.h
	return slices.ContainsFunc(of, func(other int) bool {
		r, _, errno := unix.RawSyscall6(unix.SYS_KCMP, uintptr(other), uintptr(tid), kcmpFiles, 0, 0, 0)
		return errno == 0 && r == 0
	})
}

func (w *worker) argv0(dir string) string {
	f, err := os.Open(filepath.Join(dir, "cmdline"))
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	n, _ := f.Read(w.buf[:4096])
	first, _, _ := bytes.Cut(w.buf[:n], []byte{0})
	return string(first)
}

// descriptors looks at each open descriptor.
func (w *worker) descriptors(p *Process, dir string) error {
	fdDir := filepath.Join(dir, "fd")
	d, err := os.Open(fdDir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		via := fdDir + "/" + name
		var st unix.Stat_t
		if err := unix.Fstatat(int(d.Fd()), name, &st, 0); err != nil {
			if !gone(err) { //check:scan-stat
				return fmt.Errorf("%s: %w", via, err) // the others are most likely no better
			}
			continue
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFSOCK:
			p.Sockets = append(p.Sockets, st.Ino)
		case unix.S_IFREG, unix.S_IFBLK:
			if err := w.file(p, via, st); err != nil && !gone(err) { //check:scan-file
				return fmt.Errorf("%s: %w", via, err)
			}
		}
	}
	return nil
}

// file adds a file to the process if it is an engine's.
func (w *worker) file(p *Process, via string, st unix.Stat_t) error {
	id := probe.FileID{Dev: st.Dev, Ino: st.Ino}
	w.mu.Lock()
	class, known := w.classes[id]
	w.mu.Unlock()
	if !known {
		var err error
		if class, err = w.classify(via, st); err != nil {
			return err
		}
		w.mu.Lock()
		w.classes[id] = class
		w.mu.Unlock()
	}
	return w.add(p, via, id, class)
}

// add takes a file for the engine's by its bytes or, weakly, by its name: new
// and encrypted ones have no header that anybody could know.
func (w *worker) add(p *Process, via string, id probe.FileID, class engine.Class) error {
	if class == notAFile {
		return nil
	}
	path, err := os.Readlink(via)
	if err != nil {
		return err
	}
	weak := false
	if class == engine.None {
		class = engine.ByName(filepath.Base(strings.TrimSuffix(path, deletedSuffix)))
		weak = true
	}
	if class == engine.None || !class.Strong() {
		return nil
	}
	if slices.ContainsFunc(p.Files, func(f OpenFile) bool { return f.ID == id }) {
		return nil
	}
	p.Files = append(p.Files, OpenFile{ID: id, Path: path, Class: class, Via: via, Weak: weak})
	return nil
}

// deletedSuffix is what the kernel adds to the path of an unlinked file.
const deletedSuffix = " (deleted)"

// notAFile is the class of what lies on no filesystem that could hold data.
const notAFile engine.Class = "not a file"

// pseudo are filesystems whose files are made by the kernel when they are read:
// reading some of them takes something away. Magic numbers of statfs(2).
var pseudo = map[uint32]bool{
	0x9fa0: true /* proc */, 0x62656572: true /* sysfs */, 0x74726163: true /* tracefs */, 0x64626720: true, /* debugfs */
	0x27e0eb: true /* cgroup */, 0x63677270: true /* cgroup2 */, 0x6165676c: true /* pstore */, 0x73636673: true, /* securityfs */
	0xcafe4a11: true /* bpf */, 0x6e736673: true /* nsfs */, 0x50494446: true /* pidfs */, 0x09041934: true, /* anon_inode */
	0x1cd1: true /* devpts */, 0x19800202: true /* mqueue */, 0x42494e4d: true /* binfmt_misc */, 0xde5e81e4: true, /* efivarfs */
	0x62656570: true /* configfs */, 0xf97cff8c: true, /* selinuxfs */
}

func (w *worker) classify(via string, st unix.Stat_t) (engine.Class, error) {
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		real, err := w.realFilesystem(via, st.Dev)
		if err != nil || !real {
			return notAFile, err
		}
		if st.Size == 0 {
			return engine.None, nil
		}
	}
	head, err := readHead(via)
	if err != nil {
		return engine.None, err
	}
	return engine.Classify(head), nil
}

func (w *worker) realFilesystem(via string, dev uint64) (bool, error) {
	w.mu.Lock()
	real, known := w.fsTypes[dev]
	w.mu.Unlock()
	if known {
		return real, nil
	}
	var fsStat unix.Statfs_t
	if err := unix.Statfs(via, &fsStat); err != nil {
		return false, err
	}
	real = !pseudo[uint32(fsStat.Type)]
	w.mu.Lock()
	w.fsTypes[dev] = real
	w.mu.Unlock()
	return real, nil
}

// readHead opens a file anew, for reading only, and waits for nothing.
func readHead(path string) ([]byte, error) {
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := unix.Open(path, flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = unix.Open(path, flags, 0)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	head := make([]byte, engine.HeadSize)
	n, err := unix.Pread(fd, head, 0)
	if err != nil {
		return nil, err
	}
	return head[:n], nil
}

// mappings looks at files that are mapped; their descriptors may be closed. An
// area that is not there any more may have been split or joined: then all are
// read again.
func (w *worker) mappings(p *Process, dir string) error {
	for range maxTries {
		moved, err := w.mappingsOnce(p, dir)
		if err != nil || !moved {
			return err
		}
	}
	return fmt.Errorf("%s/maps changes each time it is looked at", dir)
}

func (w *worker) mappingsOnce(p *Process, dir string) (moved bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "maps"))
	if err != nil {
		return false, err
	}
	last := ""
	for line := range bytes.Lines(text) {
		m, ok := parseMapping(line)
		if !ok { //check:scan-mapping-line
			return false, fmt.Errorf("%s/maps: a line is not understood: %.80q", dir, line)
		}
		if m.key == "" || m.key == last { // of no file, or the next part of the same
			continue
		}
		last = m.key
		via := filepath.Join(dir, "map_files", m.area)
		if err := w.mapping(p, via, m); gone(err) {
			moved = true
		} else if err != nil { //check:scan-mapping
			return false, fmt.Errorf("%s: %w", via, err)
		}
	}
	return moved, nil
}

func (w *worker) mapping(p *Process, via string, m mapping) error {
	w.mu.Lock()
	c, known := w.mapped[m.key]
	w.mu.Unlock()
	if known && !m.anonymous {
		return w.add(p, via, c.id, c.class)
	}
	var st unix.Stat_t
	if err := unix.Stat(via, &st); err != nil {
		return err
	}
	c = classified{probe.FileID{Dev: st.Dev, Ino: st.Ino}, notAFile}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		class, err := w.classify(via, st)
		if err != nil {
			return err
		}
		c.class = class
	}
	w.mu.Lock()
	w.mapped[m.key] = c
	w.mu.Unlock()
	return w.add(p, via, c.id, c.class)
}

// mapping is a line of /proc/PID/maps that is of a file.
type mapping struct {
	area string // its name in map_files
	key  string // device, inode and path: the same for all maps of a file
	// anonymous: the device has no number of its own (major 0). On btrfs it is
	// the same for all subvolumes, each of which has its own inode numbers, so
	// that the key may be another file's as well.
	anonymous bool
}

// parseMapping reads a line: "start-end perms offset dev inode path". Areas
// without an inode are of no file, and have no key.
func parseMapping(line []byte) (m mapping, ok bool) {
	text := strings.TrimSuffix(string(line), "\n")
	fields := strings.SplitN(text, " ", 6)
	if len(fields) < 5 {
		return mapping{}, false
	}
	if fields[4] == "0" {
		return mapping{}, true
	}
	begin, end, ok := strings.Cut(fields[0], "-")
	if !ok {
		return mapping{}, false
	}
	// map_files writes numbers without the leading zeros that maps may have.
	b, err1 := strconv.ParseUint(begin, 16, 64)
	e, err2 := strconv.ParseUint(end, 16, 64)
	if err1 != nil || err2 != nil {
		return mapping{}, false
	}
	return mapping{fmt.Sprintf("%x-%x", b, e), strings.Join(fields[3:], " "), strings.HasPrefix(fields[3], "00:")}, true
}
