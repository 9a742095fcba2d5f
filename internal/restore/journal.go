package restore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/replay"
)

// State is how far a restore has come. Each is written when what it says is on
// disk.
type State string

// The states, in order.
const (
	Unpacking State = "unpacking" // the target directory may hold anything
	Unpacked  State = "unpacked"  // it holds the base; a replay may have begun, and has its own checkpoint
	Replayed  State = "replayed"  // all logs are replayed
	Done      State = "done"      // it holds what was wanted
)

// Journal is what a restore remembers, in DIR.restore/journal.json.
type Journal struct {
	Version    int      `json:"version"`
	Set        string   `json:"set"`
	Repository string   `json:"repository"` // its id
	State      State    `json:"state"`
	Until      string   `json:"until"`
	Backups    []string `json:"backups"`
	Base       Base     `json:"base"`    // of the run that goes on or is done
	Inexact    bool     `json:"inexact"` // Base is not later than what the target holds: its server will say
	Reached    *Base    `json:"reached"` // of the last run that is done

	// Of a restore that goes on: the log that is being replayed onto Base, and
	// what those before it have done. After each, Base is what it has reached.
	Log      *Begun           `json:"log,omitempty"`
	Replayed []*replay.Report `json:"replayed,omitempty"`

	// Latest is what an Inexact target is not later than; nil: not known.
	Latest *backup.Until `json:"latest,omitempty"`

	Password string `json:"password,omitempty"`

	// Served is the vendor and series of the server that has worked, or will work, on
	// the target, as server.Distribution has it; empty: not known (before 2026-11-26).
	Served string `json:"served,omitempty"`

	Only    string          `json:"only,omitempty"`     // databases and tables that are wanted
	Skip    string          `json:"skip,omitempty"`     // transactions to leave out, as they were given
	LeftOut *replay.LeftOut `json:"left_out,omitempty"` // that were, up to Reached

	// Settings are what a server on the target must agree with, by option.
	Settings map[string]string `json:"settings,omitempty"`

	// Zone is the time zone that the server's system has; nil: not known.
	Zone *backup.Zone `json:"zone,omitempty"`

	Begun   time.Time `json:"begun"`
	Changed time.Time `json:"changed"`
	Boot    string    `json:"boot,omitempty"` // of the machine, when it was changed
}

// satisfies reports whether what is wanted is done. The end of the archive is
// another one each time, but from a part of the database there is no way on.
func (j *Journal) satisfies(until, skip string) bool {
	return j.State == Done && j.Until == until && (until != "" || j.Only != "") && j.Skip == skip
}

// journalVersion is that of this program; another one is refused.
const journalVersion = 1

// workspace is the directory beside a target that belongs to its restore:
//
//	journal.json  a Journal
//	lock          held while a restore runs
//	log/          binary log files, while they are needed, by log
type workspace struct {
	dir    string
	target string
	lock   *os.File
}

// workspaceOf is that of a target, which need not be there.
func workspaceOf(target string) (*workspace, error) {
	target, err := real(target)
	return &workspace{dir: target + ".restore", target: target}, err
}

// openWorkspace makes or opens the workspace of a target and locks it.
func openWorkspace(target string) (*workspace, error) {
	w, err := workspaceOf(target)
	if err != nil {
		return nil, fault.FromOS(fmt.Errorf("restore: %w", err))
	}
	if err := checkTarget(w.target); err != nil {
		return nil, err
	}
	err = os.MkdirAll(w.log(), 0o700)
	if err == nil {
		err = atomicfile.SyncDir(filepath.Dir(w.dir))
	}
	if err != nil {
		return nil, fault.FromOS(fmt.Errorf("restore: %w", err))
	}
	if w.lock, err = os.OpenFile(filepath.Join(w.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fault.FromOS(fmt.Errorf("restore: %w", err))
	}
	if err := unix.Flock(int(w.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fault.New(fault.Busy, fmt.Errorf("restore: another restore into %s runs", w.target), "wait for it"), w.lock.Close())
	}
	return w, nil
}

// logOf is where the files of a leg lie: those of several logs have the same names.
func (w *workspace) logOf(l *Leg) string {
	return filepath.Join(w.log(), l.run)
}

func (w *workspace) log() string     { return filepath.Join(w.dir, "log") }
func (w *workspace) journal() string { return filepath.Join(w.dir, "journal.json") }
func (w *workspace) close() error    { return w.lock.Close() }

// read returns the journal, nil if there is none.
func (w *workspace) read() (*Journal, error) {
	text, err := os.ReadFile(w.journal())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err != nil {
		return nil, fault.FromOS(fmt.Errorf("restore: %w", err))
	}
	// What else a newer version has is not known.
	var version struct{ Version int }
	if json.Unmarshal(text, &version) == nil && version.Version > journalVersion {
		return nil, fault.New(fault.Storage, fmt.Errorf("restore: %s was written by a newer version: format %d, known is %d", w.journal(), version.Version, journalVersion),
			"go on with that version of lifeboat, or a later one")
	}
	var j Journal
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&j); err != nil || j.Version != journalVersion {
		return nil, fault.New(fault.Failed, fmt.Errorf("restore: %s is damaged or of another version (%w)", w.journal(), err),
			"remove the target and "+w.dir+", and begin anew")
	}
	return &j, nil
}

// write puts the journal on disk, whole or not at all.
func (w *workspace) write(j *Journal) error {
	j.Version, j.Changed, j.Boot = journalVersion, time.Now().UTC(), bootID()
	text, err := json.MarshalIndent(j, "", "\t")
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(w.journal(), append(text, '\n')); err != nil {
		return fault.FromOS(fmt.Errorf("restore: write journal: %w", err))
	}
	return nil
}

// emptyTarget says whether nothing lies in the target directory, or why that
// cannot be said.
func (w *workspace) emptyTarget() (bool, error) {
	entries, err := os.ReadDir(w.target)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fault.FromOS(fmt.Errorf("restore: %w", err))
	}
	return len(entries) == 0, nil
}

// clear removes what a broken unpacking has left in the target. Only what the
// journal calls Unpacking is ever removed.
func (w *workspace) clear() error {
	entries, err := os.ReadDir(w.target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(w.target, e.Name())))
	}
	return err
}

// free is how many bytes may still be written where the target is.
func (w *workspace) free() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(w.dir, &s); err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	return int64(s.Bavail) * s.Bsize, nil //nolint:gosec // no disk has 2^63 bytes
}
