package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// Dir is a Store in a directory. An object NAME is the file NAME, of mode 0400.
//
// Put writes a temporary file beside it and syncs it, links it to its name,
// which fails if the name is there, removes the temporary name and syncs the
// directory, and those above it that this process has not synced yet: another
// process may have made them a moment ago. The filesystem must have hard links.
//
// All goes through a handle of the directory: if a filesystem is mounted over
// it or taken away, nothing is written to what lies there instead.
type Dir struct {
	root *os.Root
	path string
	asOf time.Time // zero: now

	mu      sync.Mutex
	durable map[string]bool // directories whose names are on disk, up to the root
}

const (
	temporaryPrefix = ".tmp-"        // no name of an object begins with a dot
	temporaryAge    = 12 * time.Hour // no put takes so long, and no clock is so wrong
)

// OpenDir opens a directory; of o, Create and AsOf count.
func OpenDir(dir string, o Options) (*Dir, error) {
	dir = filepath.Clean(dir)
	if o.Create {
		if err := makeRoot(dir); err != nil {
			return nil, classify("create", err)
		}
	}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Storage, err, "is its filesystem mounted? a new repository has to be created first")
	}
	if err != nil {
		return nil, classify("open", err)
	}
	return &Dir{root: root, path: dir, asOf: o.AsOf, durable: map[string]bool{}}, nil
}

// makeRoot makes a directory and those above it, and puts their names on disk.
func makeRoot(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeRoot(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return atomicfile.SyncDir(parent)
}

// String is the URL.
func (d *Dir) String() string { return "file://" + d.path }

// Put makes a file.
func (d *Dir) Put(ctx context.Context, name string, data []byte) error {
	if err := checkPut(ctx, name, data, d.asOf); err != nil {
		return err
	}
	dir := path.Dir(name)
	if err := d.makeDirs(dir); err != nil {
		return classify("put", err)
	}
	temporary, err := d.writeTemporary(dir, data)
	if err != nil {
		return classify("put", err)
	}
	linked := d.link(temporary, name)
	_ = d.root.Remove(temporary) // Sweep finds what cannot be removed now
	if linked != nil && !errors.Is(linked, fs.ErrExist) {
		return classify("put", linked)
	}
	// Of one that another process has put as well: perhaps it has not come so
	// far yet, and never will.
	if err := d.sync(dir); err != nil {
		return classify("put", err)
	}
	return linked
}

// makeDirs makes a directory of objects and those above it.
func (d *Dir) makeDirs(dir string) error {
	if dir == "." {
		return nil
	}
	if err := d.makeDirs(path.Dir(dir)); err != nil {
		return err
	}
	err := d.root.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.durable, dir)
	return err
}

// writeTemporary puts bytes on disk under a name that nobody sees.
func (d *Dir) writeTemporary(dir string, data []byte) (name string, err error) {
	name = path.Join(dir, temporaryPrefix+rand.Text())
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		_ = d.root.Remove(name)
		return "", err
	}
	return name, nil
}

// link gives the temporary file its name. NFS may say that the name is there
// because of its own first try, whose answer was lost.
func (d *Dir) link(temporary, name string) error {
	err := d.root.Link(temporary, name)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	ours, err1 := d.root.Lstat(temporary)
	there, err2 := d.root.Lstat(name)
	if err1 == nil && err2 == nil && os.SameFile(ours, there) {
		return nil
	}
	return fmt.Errorf("put: %w", fs.ErrExist)
}

// sync puts the names in dir on disk, and the names of dir and of all above it
// unless that has been done.
func (d *Dir) sync(dir string) error {
	var synced []string
	for {
		if err := d.syncOne(dir); err != nil {
			return err
		}
		if dir == "." || d.isDurable(dir) {
			break
		}
		synced = append(synced, dir)
		dir = path.Dir(dir)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, dir := range synced {
		d.durable[dir] = true
	}
	return nil
}

func (d *Dir) isDurable(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.durable[dir]
}

func (d *Dir) syncOne(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Free asks the filesystem.
func (d *Dir) Free() (int64, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return 0, classify("free", err)
	}
	var s unix.Statfs_t
	err = unix.Fstatfs(int(f.Fd()), &s)
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, classify("free", err)
	}
	return int64(s.Bavail) * s.Bsize, nil //nolint:gosec // no disk has 2^63 bytes
}

// Get reads a file.
func (d *Dir) Get(ctx context.Context, name string) ([]byte, error) {
	return d.read(ctx, name, 0, MaxObject)
}

// GetRange reads a part of a file.
func (d *Dir) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	if err := checkRange(offset, length); err != nil {
		return nil, err
	}
	return d.read(ctx, name, offset, length)
}

func (d *Dir) read(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	size, err := d.find(ctx, name)
	if err != nil {
		return nil, classify("get", err)
	}
	if size > MaxObject {
		return nil, fault.Errorf(fault.VerifyFailed, "get: %d bytes, an object has at most %d", size, MaxObject)
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, classify("get", err)
	}
	data := make([]byte, max(0, min(length, size-offset)))
	n, err := f.ReadAt(data, offset)
	if errors.Is(err, io.EOF) && n == len(data) {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, classify("get", err)
	}
	return data, nil
}

// find tells an object's size; fs.ErrNotExist if it is none, or was made after
// the time that is shown.
func (d *Dir) find(ctx context.Context, name string) (int64, error) {
	if err := check(ctx, name); err != nil {
		return 0, err
	}
	info, err := d.root.Lstat(name)
	if errors.Is(err, syscall.ENOTDIR) || err == nil && !d.shows(info) {
		return 0, fs.ErrNotExist
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// shows tells whether a file is an object at the time that is shown. Linking
// changes no time of modification: it is when the bytes were written.
func (d *Dir) shows(info fs.FileInfo) bool {
	return info.Mode().IsRegular() && (d.asOf.IsZero() || !info.ModTime().After(d.asOf))
}

// Delete removes a file. Directories stay: another process may be about to put
// something there.
func (d *Dir) Delete(ctx context.Context, name string) error {
	if !d.asOf.IsZero() {
		return errPast
	}
	_, err := d.find(ctx, name)
	if err == nil {
		err = d.root.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return classify("delete", err)
	}
	return classify("delete", d.syncOne(path.Dir(name)))
}

// List walks the directory.
func (d *Dir) List(ctx context.Context, prefix string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := checkPrefix(prefix)
		if err == nil {
			w := walk{dir: d, ctx: ctx, prefix: prefix, yield: yield}
			err = w.list(path.Dir(prefix + "x"))
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(Entry{}, classify("list", err))
		}
	}
}

// walk is one listing.
type walk struct {
	dir    *Dir
	ctx    context.Context
	prefix string
	yield  func(Entry, error) bool
}

// errStopped: the caller of List has seen enough.
var errStopped = errors.New("stopped")

// list goes through a directory in the order of names: that of a directory is
// that of what is in it, NAME/.
func (w *walk) list(dir string) error {
	entries, err := fs.ReadDir(w.dir.root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(sortKey(a), sortKey(b)) })
	for _, e := range entries {
		if err := w.entry(path.Join(dir, e.Name()), e); err != nil {
			return err
		}
	}
	return nil
}

func sortKey(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

func (w *walk) entry(name string, e fs.DirEntry) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	switch {
	case !validElement(e.Name()):
		return nil
	case e.IsDir() && (strings.HasPrefix(name+"/", w.prefix) || strings.HasPrefix(w.prefix, name+"/")):
		return w.list(name)
	case e.Type().IsRegular() && strings.HasPrefix(name, w.prefix):
		return w.file(name, e)
	}
	return nil
}

func (w *walk) file(name string, e fs.DirEntry) error {
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) || err == nil && !w.dir.shows(info) {
		return nil
	}
	if err != nil {
		return err
	}
	if !w.yield(Entry{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil) {
		return errStopped
	}
	return nil
}

// Sweep removes the temporary files of writers that died. The age is by this
// machine's clock.
func (d *Dir) Sweep(ctx context.Context) error {
	if !d.asOf.IsZero() {
		return errPast
	}
	oldest := time.Now().Add(-temporaryAge)
	return classify("sweep", fs.WalkDir(d.root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && e != nil && e.IsDir() && name != "." && !validElement(e.Name()):
			return fs.SkipDir // not ours, such as lost+found
		case err != nil:
			return err
		case !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), temporaryPrefix):
			return nil
		}
		return d.sweepOne(name, e, oldest)
	}))
}

func (d *Dir) sweepOne(name string, e fs.DirEntry, oldest time.Time) error {
	info, err := e.Info()
	if err == nil && info.ModTime().Before(oldest) {
		err = d.root.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// classify says what of a filesystem's error matters to the operator. What the
// caller asks for by errors.Is stays as it is.
func classify(op string, err error) error {
	var known *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &known), errors.Is(err, ErrName):
		return err
	}
	err = fmt.Errorf("%s: %w", op, err)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.New(fault.NoSpace, err, "free some space there, or enlarge it")
	}
	return fault.New(fault.Storage, err, hintOf(err))
}

func hintOf(err error) string {
	switch {
	case errors.Is(err, syscall.EROFS):
		return "the filesystem is mounted read-only"
	case errors.Is(err, syscall.EACCES):
		return "the user that runs this needs the directory's permissions"
	case errors.Is(err, syscall.EIO):
		return "the disk has errors: see the kernel's log"
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.EMLINK):
		return "a repository needs a filesystem with hard links, and to be allowed to make them"
	}
	return ""
}
