package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// FetchVersion is the version of FetchReport as JSON.
const FetchVersion = 1

// FetchReport says what FetchLog has brought.
type FetchReport struct {
	SchemaVersion int       `json:"schema_version"`
	Set           string    `json:"set"`
	Server        string    `json:"server"`
	Dir           string    `json:"dir"`
	Files         []Fetched `json:"files"`                    // in the order of the log
	Gaps          []Gap     `json:"gaps"`                     // between them, or at their edges
	End           time.Time `json:"log_last_commit,omitzero"` // of the whole log: of later ones nothing is archived
}

// Fetched is a file of a log in a directory.
type Fetched struct {
	Path   string    `json:"path"`
	Bytes  int64     `json:"bytes"`
	First  time.Time `json:"first_commit,omitzero"`
	Last   time.Time `json:"last_commit,omitzero"`
	GTIDs  string    `json:"gtids,omitempty"`
	Closed bool      `json:"closed"` // the server goes on in the next file
	Kept   bool      `json:"kept"`   // it was there already, byte for byte
}

// FetchProgress says how far FetchLog is.
type FetchProgress struct {
	File              string // that is being fetched
	Files, TotalFiles int
	Bytes, TotalBytes int64
}

// FetchLog brings all files of a log, as Fetch does, into a directory, which is
// made if need be. A file that is there already is kept if it is the same, goes on
// if it is the beginning of what is archived by now, and else is refused: so what
// was interrupted goes on, and nothing else is overwritten. The report is there
// with an error as well.
func FetchLog(ctx context.Context, r *repository.Repository, set string, l Chosen, dir string, progress func(FetchProgress)) (*FetchReport, error) {
	rep := &FetchReport{SchemaVersion: FetchVersion, Set: set, Server: l.Server, Dir: dir, Files: []Fetched{}, Gaps: append([]Gap{}, l.Missing...), End: l.End}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return rep, fault.FromOS(fmt.Errorf("archive: %w", err))
	}
	sweepFetched(dir)
	p := FetchProgress{TotalFiles: len(l.Files)}
	for _, f := range l.Files {
		p.TotalBytes += f.FetchedEnd()
	}
	for _, f := range l.Files {
		p.File = f.File
		progress(p)
		path := filepath.Join(dir, f.File)
		kept, err := f.isThere(path)
		if err == nil && !kept {
			_, err = fetch(ctx, r, f, dir, func(tmp string) error { return f.mayReplace(path, tmp) })
		}
		if err != nil && ctx.Err() != nil {
			return rep, fault.New(fault.Interrupted, fmt.Errorf("archive: fetch: interrupted (%w)", context.Cause(ctx)), "run the same command again: it goes on")
		}
		if err != nil {
			return rep, err
		}
		rep.Files = append(rep.Files, Fetched{Path: path, Bytes: f.FetchedEnd(), First: f.First, Last: f.Last, GTIDs: f.GTIDs, Closed: f.Closed, Kept: kept})
		p.Files++
		p.Bytes += f.FetchedEnd()
	}
	return rep, rep.err()
}

// err is what lies between the files.
func (r *FetchReport) err() error {
	if len(r.Gaps) == 0 {
		return nil
	}
	return fault.Errorf(fault.Gap, "archive: the files are there, but the log of %s has %d gaps in them, the first one after %s: %s", r.Server, len(r.Gaps), r.Gaps[0].After, r.Gaps[0].Why)
}

// sweepFetched removes what fetches that were killed have left: nobody has written
// to it for a while.
func sweepFetched(dir string) {
	const idle = 10 * time.Minute
	left, _ := filepath.Glob(filepath.Join(dir, fetchTemp)) // the pattern is one
	for _, path := range left {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > idle {
			_ = os.Remove(path)
		}
	}
}

// isThere reports whether a path is known to be what Fetch would make of the file.
// What is no file is refused.
func (f File) isThere(path string) (bool, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fault.FromOS(fmt.Errorf("archive: %w", err))
	case !info.Mode().IsRegular():
		return false, f.inTheWay(path)
	case f.Prefix == "" || info.Size() != f.End || f.FetchedEnd() != f.End:
		return false, nil // nothing says yet what these bytes are: see mayReplace
	}
	file, err := os.Open(path)
	if err != nil {
		return false, fault.FromOS(fmt.Errorf("archive: %w", err))
	}
	defer func() { _ = file.Close() }() // it is only read
	same, err := f.sameBytes(file)
	if err == nil && !same {
		err = f.inTheWay(path)
	}
	return same, err
}

func (f File) inTheWay(path string) error {
	return fault.New(fault.Refused, fmt.Errorf("archive: %s is there, and is not what is archived of %s", path, f.Server), "fetch into another directory, or remove it")
}

// mayReplace refuses to replace a file that is not the beginning of what was
// fetched.
func (f File) mayReplace(path, fetched string) error {
	mine, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = mine.Close() }() // it is only read
	theirs, err := os.Open(fetched)
	if err != nil {
		return err
	}
	defer func() { _ = theirs.Close() }() // as above
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(mine, a)
		if _, short := io.ReadFull(theirs, b[:n]); short != nil && n > 0 || !bytes.Equal(a[:n], b[:n]) {
			return f.inTheWay(path)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// sameBytes compares a file with the checksum of what is archived.
func (f File) sameBytes(file io.Reader) (bool, error) {
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(file, head); err != nil || string(head) != magic {
		return false, err
	}
	sum := prefix{known: true}
	buf := make([]byte, 1<<20)
	for {
		n, err := file.Read(buf)
		sum.add(buf[:n])
		if errors.Is(err, io.EOF) {
			return f.Prefix == sum.String(), nil
		}
		if err != nil {
			return false, fault.FromOS(fmt.Errorf("archive: %w", err))
		}
	}
}
