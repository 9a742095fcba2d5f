// Package enginelock tests and takes the locks by which MySQL and MariaDB keep
// a second server off their data files.
//
// InnoDB and Aria put a POSIX write lock (fcntl F_SETLK, the whole file) on
// what they open: MariaDB on ibdata1 and aria_log_control, MySQL on every
// InnoDB file (os_file_lock in storage/innobase/os/os0file.cc, my_lock in
// storage/maria/ma_control_file.c). Open file description locks (Linux 3.15,
// fcntl_locking(2)) conflict with them, can be tested through a read-only
// descriptor from any PID namespace, and live as long as any descriptor of the
// description does: a command that inherits them holds them on when the guard
// has died.
//
// Not guaranteed: a server in read-only mode takes no locks. And a lock is only
// worth something where the kernel that tests it is the one that grants it: on
// network, FUSE and other filesystems a lock that is not there is ErrFilesystem.
package enginelock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/engine"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// ErrFilesystem is that a file is where a lock that is not there proves nothing.
var ErrFilesystem = errors.New("locks on this filesystem prove nothing")

// ErrHeld is that somebody else holds the lock.
var ErrHeld = errors.New("an engine or another guard holds the lock")

// trusted are the filesystems (statfs(2) f_type) of which this kernel alone
// grants the locks. All others are not.
var trusted = []uint32{
	unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.RAMFS_MAGIC,
	unix.F2FS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC,
	0x2fc12fc1, // ZFS
	0xca451a4e, // bcachefs
	0x3153464a, // JFS
}

// Trusted reports whether a lock that is not there is really not there on a
// filesystem of this type.
func Trusted(fsType uint32) bool { return slices.Contains(trusted, fsType) }

func wholeFile(kind int16) *unix.Flock_t {
	return &unix.Flock_t{Type: kind, Whence: io.SeekStart} // length 0: to the end and beyond
}

// Test opens a file read-only, says which file it is, and tests it as TestFile
// does.
func Test(path string) (id probe.FileID, pid int, held bool, err error) {
	f, err := open(path, unix.O_RDONLY)
	if err != nil {
		return id, 0, false, err
	}
	defer func() { _ = f.Close() }()
	id, err = identify(func(st *unix.Stat_t) error { return unix.Fstat(int(f.Fd()), st) })
	if err != nil {
		return id, 0, false, err
	}
	pid, held, err = TestFile(f)
	return id, pid, held, err
}

// TestFile reports whether somebody holds a lock on any byte of the file. The
// process is 0 if it cannot be told: it is in another PID namespace, or an open
// file description holds the lock. "Not held" with a nil error is a proof.
func TestFile(f *os.File) (pid int, held bool, err error) {
	lock := wholeFile(unix.F_WRLCK)
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, lock); err != nil { //check:lock-test-error
		return 0, false, fmt.Errorf("test the lock of %s: %w", f.Name(), err)
	}
	if lock.Type != unix.F_UNLCK {
		return max(int(lock.Pid), 0), true, nil
	}
	return 0, false, trust(f)
}

func trust(f *os.File) error {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return fmt.Errorf("filesystem of %s: %w", f.Name(), err)
	}
	if !Trusted(uint32(s.Type)) { //check:lock-filesystem
		return fmt.Errorf("%s: %w (type %#x)", f.Name(), ErrFilesystem, uint32(s.Type))
	}
	return nil
}

// open opens a regular file and nothing else, without waiting.
func open(path string, mode int) (*os.File, error) {
	fd, err := unix.Open(path, mode|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG { //check:lock-regular-file
		return nil, errors.Join(fmt.Errorf("%s is not a regular file", path), f.Close())
	}
	return f, nil
}

// Held are locks on files, held until Close and until every process that has
// inherited Files has ended.
type Held struct {
	files []*os.File
	ids   []probe.FileID
}

// Take locks the files, all or none. Each must be a file of an engine, on a
// filesystem where the lock means something, and still at its path once it is
// locked. No files is no locks.
func Take(paths []string) (*Held, error) {
	h := &Held{}
	for _, path := range paths {
		if err := h.take(path); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), h.Close())
		}
	}
	return h, nil
}

func (h *Held) take(path string) error {
	f, err := open(path, unix.O_RDWR)
	if err != nil {
		return err
	}
	id, err := identify(func(st *unix.Stat_t) error { return unix.Fstat(int(f.Fd()), st) })
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if slices.Contains(h.ids, id) { // a second name of a file that is locked already
		return f.Close()
	}
	if err := lock(f, path, id); err != nil {
		return errors.Join(err, f.Close())
	}
	h.files, h.ids = append(h.files, f), append(h.ids, id)
	return nil
}

func lock(f *os.File, path string, id probe.FileID) error {
	head := make([]byte, engine.HeadSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if engine.Classify(head[:n]) == engine.None && engine.ByName(path) == engine.None { //check:lock-engine-file
		return errors.New("not a file of an engine")
	}
	if err := trust(f); err != nil { //check:lock-trust
		return err
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, wholeFile(unix.F_WRLCK)); err != nil { //check:lock-taken
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return fmt.Errorf("%w: %w", ErrHeld, err)
		}
		return err
	}
	now, err := identify(func(st *unix.Stat_t) error { return unix.Stat(path, st) })
	if err != nil {
		return err
	}
	if now != id { //check:lock-same-file
		return errors.New("another file has taken its place")
	}
	return nil
}

func identify(stat func(*unix.Stat_t) error) (probe.FileID, error) {
	var st unix.Stat_t
	if err := stat(&st); err != nil {
		return probe.FileID{}, err
	}
	return probe.FileID{Dev: uint64(st.Dev), Ino: st.Ino}, nil //nolint:unconvert // other widths elsewhere
}

// Files are what a child must inherit so that it holds the locks as well.
func (h *Held) Files() []*os.File { return slices.Clone(h.files) }

// IDs are the files' identities.
func (h *Held) IDs() []probe.FileID { return slices.Clone(h.ids) }

// Close gives up the guard's own share of the locks.
func (h *Held) Close() error {
	var errs []error
	for _, f := range h.files {
		errs = append(errs, f.Close())
	}
	h.files, h.ids = nil, nil
	return errors.Join(errs...)
}
