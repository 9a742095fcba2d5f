package disk

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/engine"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// finding is a file of an engine on a filesystem.
type finding struct {
	path  string // from the filesystem's root
	id    probe.FileID
	class engine.Class
	weak  bool // called like one, and nobody knows its bytes
}

// walker looks at every name of one filesystem. Directories wait in a stack:
// depth first, so that the stack stays small.
type walker struct {
	root    int // descriptor of the filesystem's root
	ctx     context.Context
	mu      sync.Mutex
	wake    *sync.Cond
	dirs    []string
	busy    int
	found   []finding
	err     error
	Entries atomic.Int64
}

// maxFindings bounds memory: a machine with more tables than this is not in
// doubt.
const maxFindings = 10_000

// walk looks through a filesystem from the descriptor of its root. Nothing of
// another filesystem may be mounted below it.
func walk(ctx context.Context, root int) (found []finding, entries int64, err error) {
	w := &walker{root: root, ctx: ctx, dirs: []string{"."}}
	w.wake = sync.NewCond(&w.mu)
	stop := context.AfterFunc(ctx, func() { w.fail(ctx.Err()) })
	defer stop()
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(w.work)
	}
	wait.Wait()
	return w.found, w.Entries.Load(), w.err
}

func (w *walker) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.wake.Broadcast()
}

// next waits for a directory; none is the end.
func (w *walker) next() (dir string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if w.err != nil || len(w.dirs) == 0 && w.busy == 0 {
			w.wake.Broadcast()
			return "", false
		}
		if n := len(w.dirs); n > 0 {
			dir = w.dirs[n-1]
			w.dirs = w.dirs[:n-1]
			w.busy++
			return dir, true
		}
		w.wake.Wait()
	}
}

func (w *walker) done(dirs []string, found []finding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dirs = append(w.dirs, dirs...)
	if len(w.found) < maxFindings {
		w.found = append(w.found, found...)
	}
	w.busy--
	w.wake.Broadcast()
}

func (w *walker) work() {
	buf := make([]byte, 64<<10)
	for {
		dir, ok := w.next()
		if !ok {
			return
		}
		dirs, found, err := w.directory(dir, buf)
		if err != nil { //check:disk-walk-unreadable
			w.fail(fmt.Errorf("%s: %w", path.Join("/", dir), err))
		}
		w.done(dirs, found)
	}
}

const openFlags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY

func (w *walker) open(name string, flags int) (int, error) {
	fd, err := unix.Openat(w.root, name, openFlags|flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = unix.Openat(w.root, name, openFlags|flags, 0)
	}
	return fd, err
}

// directory reads one directory. One that has been removed meanwhile is empty.
func (w *walker) directory(dir string, buf []byte) (dirs []string, found []finding, err error) {
	fd, err := w.open(dir, unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return nil, nil, err
		}
		if n == 0 {
			return dirs, found, nil
		}
		err = eachEntry(buf[:n], func(name string, kind byte) error {
			w.Entries.Add(1)
			full := path.Join(dir, name)
			if kind == unix.DT_UNKNOWN {
				var st unix.Stat_t
				if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
					return ignoreGone(err)
				}
				kind = byte(st.Mode & unix.S_IFMT >> 12)
			}
			switch kind {
			case unix.DT_DIR:
				dirs = append(dirs, full)
				if engine.ByName(name) == engine.RocksDB {
					var st unix.Stat_t
					if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
						return ignoreGone(err)
					}
					found = append(found, finding{path: full, id: probe.FileID{Dev: st.Dev, Ino: st.Ino}, class: engine.RocksDB, weak: true})
				}
			case unix.DT_REG:
				f, err := w.file(full, name)
				if f != nil {
					found = append(found, *f)
				}
				return err
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// needsName are classes for which the name alone is a reason to doubt: their
// files may be encrypted, or so new that their bytes are zero.
var needsName = []engine.Class{engine.SystemSpace, engine.Tablespace, engine.RedoLog, engine.AriaControl}

// file opens a file that is called like an engine's.
func (w *walker) file(full, name string) (*finding, error) {
	called := engine.ByName(name)
	if called == engine.None || called == engine.TableData {
		return nil, nil
	}
	fd, err := w.open(full, 0)
	if err != nil {
		return nil, ignoreGone(err)
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	head := make([]byte, engine.HeadSize)
	n, err := unix.Pread(fd, head, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f := &finding{path: full, id: probe.FileID{Dev: st.Dev, Ino: st.Ino}, class: engine.Classify(head[:n])}
	if f.class != engine.None {
		return f, nil
	}
	if st.Size > 0 && slices.Contains(needsName, called) { //check:disk-called-like
		f.class, f.weak = called, true
		return f, nil
	}
	return nil, nil
}

// eachEntry reads what getdents64(2) has written.
func eachEntry(buf []byte, each func(name string, kind byte) error) error {
	const header = 8 + 8 + 2 + 1 // d_ino, d_off, d_reclen, d_type
	for len(buf) > 0 {
		if len(buf) < header {
			return errors.New("directory entry is cut short")
		}
		length := int(buf[16]) | int(buf[17])<<8
		if length < header || length > len(buf) {
			return fmt.Errorf("directory entry of %d bytes", length)
		}
		name := string(buf[header:length])
		if end := strings.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		if name != "." && name != ".." && name != "" {
			if err := each(name, buf[18]); err != nil {
				return err
			}
		}
		buf = buf[length:]
	}
	return nil
}

// directories groups findings by data directory: the directory of a file by
// which an engine keeps others off, or else the file's own.
func directories(found []finding) map[string][]finding {
	homes := map[string]bool{}
	for _, f := range found {
		if f.class == engine.SystemSpace || f.class == engine.AriaControl {
			homes[path.Dir(f.path)] = true
		}
	}
	groups := map[string][]finding{}
	for _, f := range found {
		home := path.Dir(f.path)
		for dir := home; ; dir = path.Dir(dir) {
			if homes[dir] {
				home = dir
				break
			}
			if dir == "." || dir == "/" {
				break
			}
		}
		groups[home] = append(groups[home], f)
	}
	return groups
}
