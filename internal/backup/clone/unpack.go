package clone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
)

// stagingName is the directory below the data directory that files are in until
// the stream has ended well: a server does not start on half a copy.
const stagingName = ".lifeboat-clone"

// Unpack makes a data directory of a stream: dir must be missing or empty. If the
// stream is not right, dir is left empty; if files cannot get their names, what is
// there has no ibdata1, and no server takes it for its data. The server to be started on it is of the
// stream's version, or a later one of its series, and has the settings that Check
// tells; Recovered says afterwards which point its data is of.
func Unpack(ctx context.Context, r io.Reader, dir string) error {
	if err := unpack(ctx, r, dir); err != nil {
		return fmt.Errorf("clone: unpack to %s: %w", dir, err)
	}
	return nil
}

func unpack(ctx context.Context, r io.Reader, dir string) (err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	switch names, err := os.ReadDir(dir); {
	case err != nil:
		return err
	case len(names) != 0:
		return fmt.Errorf("it is not empty: %s is there", names[0].Name())
	}
	s := &staging{ctx: ctx, dir: dir}
	if err := os.Mkdir(s.root(), 0o750); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(), os.RemoveAll(s.root())) }()
	_, files, err := play(r, s)
	if err != nil {
		return err
	}
	return s.install(files)
}

// staging has the files of a snapshot under their numbers. It is a sink.
type staging struct {
	ctx     context.Context
	dir     string
	server  uint32 // version of the donor, as page headers have it
	current *os.File
}

func (s *staging) root() string { return filepath.Join(s.dir, stagingName) }

// path is where a file is until the end: by its number, since DDL renames files
// to names that others have until they are renamed as well.
func (s *staging) path(f *file) string {
	if f.isRedo() {
		return filepath.Join(s.root(), fmt.Sprintf("redo-%d", f.index))
	}
	return filepath.Join(s.root(), fmt.Sprintf("data-%d", f.index))
}

func (s *staging) begin(h head) (err error) {
	s.server, err = versionNumber(h.Version)
	return err
}

// versionNumber is MYSQL_VERSION_ID: 9.7.4 is 90704.
func versionNumber(v string) (uint32, error) {
	var major, minor, patch uint32
	if _, err := fmt.Sscanf(v, "%d.%d.%d", &major, &minor, &patch); err != nil || major > 99 || minor > 99 || patch > 99 {
		return 0, fmt.Errorf("%w: server version %q", ErrCorrupt, v)
	}
	return major*10000 + minor*100 + patch, nil
}

func (s *staging) change(c change) error {
	switch c.kind {
	case changeNew:
		return s.create(c.file)
	case changeGone:
		return s.remove(c.file)
	default:
		return s.ctx.Err()
	}
}

// create makes a file. One that DDL has made gets the pages that InnoDB begins a
// tablespace with; PAGE COPY or redo bring the rest.
func (s *staging) create(f *file) error {
	if err := s.open(f, os.O_CREATE|os.O_EXCL); err != nil {
		return err
	}
	if !f.fresh {
		return nil
	}
	if f.space == noSpaceFlags {
		return fmt.Errorf("%w: %s is new and no tablespace", ErrProtocol, f)
	}
	if _, err := s.current.Write(headerPage(f.spaceID, f.space, s.server)); err != nil {
		return err
	}
	return s.current.Truncate(f.space.initialPages(f.spaceID) * f.space.physical())
}

func (s *staging) remove(f *file) error {
	if err := s.close(); err != nil {
		return err
	}
	return os.Remove(s.path(f))
}

func (s *staging) data(c change, b []byte) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if c.file.gone {
		return nil
	}
	if err := s.open(c.file, 0); err != nil {
		return err
	}
	_, err := s.current.WriteAt(b, int64(c.data.offset)) //nolint:gosec // at most maxFile
	return err
}

// open makes f the current file; data comes file by file, mostly.
func (s *staging) open(f *file, flags int) error {
	path := s.path(f)
	if s.current != nil && s.current.Name() == path {
		return nil
	}
	if err := s.close(); err != nil {
		return err
	}
	o, err := os.OpenFile(path, os.O_RDWR|flags, 0o640)
	if err != nil {
		return err
	}
	s.current = o
	return nil
}

func (s *staging) close() error {
	if s.current == nil {
		return nil
	}
	err := s.current.Close()
	s.current = nil
	return err
}

// systemSchema is the directory that a server does not start without, although
// none of its files are in a clone (clone0clone.cc Clone_Handle::
// create_clone_directory).
const systemSchema = "mysql"

// install gives the files their sizes and names, durably, and leaves the marks of
// a clone. The system tablespace comes last: without it no server starts.
func (s *staging) install(files []*file) error {
	dirs := map[string]bool{s.dir: true}
	if err := os.Mkdir(filepath.Join(s.dir, systemSchema), 0o750); err != nil {
		return err
	}
	var system []*file
	for _, f := range files {
		if f.spaceID == 0 {
			system = append(system, f)
			continue
		}
		if err := s.place(f, dirs); err != nil {
			return err
		}
	}
	if err := s.mark(dirs); err != nil {
		return err
	}
	for _, f := range system {
		if err := s.place(f, dirs); err != nil {
			return err
		}
	}
	for dir := range dirs {
		if err := atomicfile.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (s *staging) place(f *file, dirs map[string]bool) error {
	if err := s.complete(f); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	to := filepath.Join(s.dir, filepath.FromSlash(f.path))
	for dir := filepath.Dir(to); dir != s.dir; dir = filepath.Dir(dir) {
		dirs[dir] = true
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	return os.Rename(s.path(f), to)
}

// complete extends a file to the size that it has on the donor, or to whole
// extents, which recovery counts on (clone0apply.cc extend_and_flush_files).
func (s *staging) complete(f *file) (err error) {
	if err := s.open(f, 0); err != nil {
		return err
	}
	info, err := s.current.Stat()
	if err != nil {
		return err
	}
	have, want := info.Size(), int64(f.size) //nolint:gosec // at most maxFile
	if f.space != noSpaceFlags && have >= want {
		if e := f.space.extent(); have > e {
			want = (have + e - 1) / e * e
		}
	}
	if have < want {
		err = s.current.Truncate(want)
	}
	return errors.Join(err, s.current.Sync(), s.close())
}

// The marks of a clone, empty files that the server removes
// (storage/innobase/include/clone0clone.h): one has it make what of other engines
// and of empty schemas is missing, one has it write statusRecovery.
var marks = []string{"#clone/#status_fix", "#clone/#replace_files"}

func (s *staging) mark(dirs map[string]bool) error {
	for _, name := range marks {
		path := filepath.Join(s.dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(path, nil, 0o640); err != nil { //nolint:gosec // the server's group reads its data
			return err
		}
		dirs[filepath.Dir(path)] = true
	}
	return nil
}

// Recovered reads which point a server found its data at when it was first
// started on what Unpack made; dir is its data directory. A server that has the
// clone plugin shows the same in performance_schema.clone_status; doing so, it
// removes the file that this is read from, and Recovered finds none.
func Recovered(dir string) (Point, error) {
	const statusRecovery = "#clone/#status_recovery"
	b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(statusRecovery)))
	if err != nil {
		return Point{}, fmt.Errorf("clone: recovered point: %w", err)
	}
	p, err := parseRecovery(strings.Split(string(b), "\n"))
	if err != nil {
		return Point{}, fmt.Errorf("clone: recovered point: %s: %w", statusRecovery, err)
	}
	return p, nil
}
