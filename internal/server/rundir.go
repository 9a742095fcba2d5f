package server

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// A run directory holds an instance's socket, error log, temporary files and,
// unless the caller named one, its data directory:
//
//	lbNNN/lock       locked as long as the starter or the server lives
//	lbNNN/s          the Unix socket, whose path may have 107 bytes
//	lbNNN/error.log
//	lbNNN/tmp/
//	lbNNN/data/
//
// A test process that is killed cannot remove its own. So whoever makes a run
// directory first removes those whose lock nobody holds any more.
type runDir struct {
	path string
	lock *os.File // inherited by the server
}

// newRunDir prefers the usual place for temporary files and takes /tmp when
// that is too long for a socket.
func newRunDir() (*runDir, error) {
	base := os.TempDir()
	if len(base) > 60 {
		base = "/tmp"
	}
	sweep(base)
	path, err := os.MkdirTemp(base, "lb")
	if err != nil {
		return nil, err
	}
	r := &runDir{path: path}
	if err := r.populate(); err != nil {
		return nil, errors.Join(err, r.remove())
	}
	return r, nil
}

// populate gives the lock its name only when it is held: a sweep would take
// one that is not for a dead one's.
func (r *runDir) populate() (err error) {
	if err := os.Mkdir(filepath.Join(r.path, "tmp"), 0o700); err != nil {
		return err
	}
	unheld := filepath.Join(r.path, "lock.new")
	if r.lock, err = openLocked(unheld, syscall.LOCK_EX); err != nil {
		return err
	}
	return os.Rename(unheld, filepath.Join(r.path, "lock"))
}

func (r *runDir) remove() error {
	err := os.RemoveAll(r.path)
	if r.lock != nil {
		err = errors.Join(err, r.lock.Close())
		r.lock = nil
	}
	return err
}

// sweep removes the run directories of the dead. What it cannot remove, such
// as another user's, is left: this is housekeeping.
func sweep(base string) {
	locks, _ := filepath.Glob(filepath.Join(base, "lb[0-9]*", "lock"))
	for _, path := range locks {
		lock, err := openLocked(path, syscall.LOCK_EX|syscall.LOCK_NB)
		if err != nil {
			continue
		}
		_ = os.RemoveAll(filepath.Dir(path))
		_ = lock.Close()
	}
}

// openLocked opens a file, making it if need be, and locks it.
func openLocked(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, f.Close())
	}
	return f, nil
}
