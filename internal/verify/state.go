package verify

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
	"github.com/lifeboat-db/lifeboat/internal/fault"
)

var errNoState = errors.New("without a state nothing tells when an object was checked")

// resumeFor is how old an interrupted run may be to be taken up again.
const resumeFor = 7 * 24 * time.Hour

const (
	stateFormat  = "lifeboat verify state"
	stateVersion = 1
)

// record is a line of the state file. The doc comment of the package has which
// members each kind of line has.
type record struct {
	Format     string `json:"format,omitempty"`
	Version    int    `json:"version,omitempty"`
	Repository string `json:"repository,omitempty"`

	Begun time.Time `json:"begun,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
	Set   string    `json:"set,omitempty"` // of a run; empty: all

	Object   string    `json:"object,omitempty"`
	Checked  time.Time `json:"checked,omitzero"`
	Content  bool      `json:"content,omitempty"` // what it holds was checked, not only its stored bytes
	Size     int64     `json:"size,omitempty"`
	Modified time.Time `json:"modified,omitzero"` // by the clock of the place
	Flavor   string    `json:"flavor,omitempty"`  // of a segment, with its GTIDs
	GTIDs    string    `json:"gtids,omitempty"`
}

// state is what former runs have found. Without a path nothing is kept.
//
// Invariant: each object in known was found whole when its record says.
type state struct {
	path       string
	repository string
	note       string // why it has begun anew
	lock       *os.File

	known      map[string]record    // by name
	unfinished map[string]time.Time // by set: when a run began that has not ended

	mu   sync.Mutex
	file *os.File // appended to
}

// openState reads the state and locks it: two runs would undo each other's.
func openState(path, repository string) (*state, error) {
	s := &state{path: path, repository: repository, known: map[string]record{}, unfinished: map[string]time.Time{}}
	if path == "" {
		return s, nil
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.New(fault.Storage, fmt.Errorf("state: %w", err), "")
	}
	s.lock = lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fault.New(fault.Busy, fmt.Errorf("state %s: another run has it", path), "wait for it, or give another path"), s.close())
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// load reads the file, or begins anew.
func (s *state) load() error {
	text, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.New(fault.Storage, fmt.Errorf("state: %w", err), "")
	}
	if err := s.parse(text); err != nil {
		s.note = fmt.Sprintf("state %s: %v: begun anew", s.path, err)
		s.known, s.unfinished = map[string]record{}, map[string]time.Time{}
	}
	return nil
}

// parse takes the lines. What follows the last line feed was cut short.
func (s *state) parse(text []byte) error {
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	n := 0
	for line := range bytes.Lines(text) {
		n++
		r, err := parseLine(bytes.TrimSuffix(line, []byte("\n")))
		if err == nil && n == 1 {
			err = s.fits(r)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		s.take(r)
	}
	if n == 0 {
		return errors.New("it has no first line")
	}
	return nil
}

var errLine = errors.New("damaged")

func parseLine(line []byte) (r record, err error) {
	sum, text, ok := bytes.Cut(line, []byte(" "))
	if !ok || string(sum) != checksum(text) {
		return r, errLine
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, errLine
	}
	return r, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is written in one way: a digit in upper case is a changed byte, too.
func checksum(text []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)) }

func (s *state) fits(r record) error {
	switch {
	case r.Format != stateFormat || r.Version != stateVersion:
		return fmt.Errorf("%.100q of version %d, known is %q of version %d", r.Format, r.Version, stateFormat, stateVersion)
	case r.Repository != s.repository:
		return errors.New("it is of another repository")
	}
	return nil
}

func (s *state) take(r record) {
	switch {
	case r.Object != "":
		s.known[r.Object] = r
	case !r.Begun.IsZero():
		s.unfinished[r.Set] = r.Begun
	case !r.Ended.IsZero():
		delete(s.unfinished, r.Set)
	}
}

// begin begins a run, or goes on with one. What was checked after the time that
// it returns need not be checked again.
func (s *state) begin(set string, now time.Time, maxAge time.Duration) (fresh time.Time, err error) {
	fresh = now.Add(-maxAge)
	if began, ok := s.unfinished[set]; ok && now.Sub(began) < resumeFor {
		if began.Before(fresh) {
			fresh = began
		}
	} else {
		s.unfinished[set] = now
	}
	if s.path == "" {
		return fresh, nil
	}
	return fresh, s.rewrite()
}

// rewrite replaces the file by what is known, and opens it to be appended to.
func (s *state) rewrite() (err error) {
	if s.file != nil {
		if err := s.file.Close(); err != nil {
			return s.wrap(err)
		}
	}
	s.file, err = os.OpenFile(s.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return s.wrap(err)
	}
	if err := s.writeAll(); err != nil {
		return s.wrap(err)
	}
	if err := os.Rename(s.path+".new", s.path); err != nil {
		return s.wrap(err)
	}
	return s.wrap(atomicfile.SyncDir(filepath.Dir(s.path)))
}

func (s *state) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fault.FromOS(fmt.Errorf("state: %w", err))
}

func (s *state) writeAll() error {
	w := bufio.NewWriter(s.file)
	records := []record{{Format: stateFormat, Version: stateVersion, Repository: s.repository}}
	for _, set := range slices.Sorted(maps.Keys(s.unfinished)) {
		records = append(records, record{Begun: s.unfinished[set], Set: set})
	}
	for _, name := range slices.Sorted(maps.Keys(s.known)) {
		records = append(records, s.known[name])
	}
	for _, r := range records {
		line, err := r.line()
		if err == nil {
			_, err = w.Write(line)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(w.Flush(), s.file.Sync())
}

func (r record) line() ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s %s\n", checksum(text), text), nil
}

// add remembers an object that was found whole.
func (s *state) add(r record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[r.Object] = r
	if s.file == nil {
		return nil
	}
	line, err := r.line()
	if err == nil {
		_, err = s.file.Write(line)
	}
	return s.wrap(err)
}

// forget is for objects that are gone, or not whole any more.
func (s *state) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, name)
}

// remembered is what is known of an object.
func (s *state) remembered(name string) (record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.known[name]
	return r, ok
}

// end is that of a run which has looked at everything.
func (s *state) end(set string) error {
	delete(s.unfinished, set)
	if s.path == "" {
		return nil
	}
	return s.rewrite()
}

// close leaves the state as it is on disk.
func (s *state) close() (err error) {
	if s.file != nil {
		err = s.file.Close()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}
