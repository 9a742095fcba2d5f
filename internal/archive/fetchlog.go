package archive

import (
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
	Files         []Fetched `json:"files"` // in the order of the log
	Gaps          []Gap     `json:"gaps"`  // between them
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
// made if need be. A file that is there already is kept if it is the same, and
// else refused, so that what was interrupted goes on, and nothing is overwritten.
// The report is there with an error as well.
func FetchLog(ctx context.Context, r *repository.Repository, set string, l Log, dir string, progress func(FetchProgress)) (*FetchReport, error) {
	rep := &FetchReport{SchemaVersion: FetchVersion, Set: set, Server: l.Server, Dir: dir, Files: []Fetched{}, Gaps: append([]Gap{}, l.Gaps()...)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return rep, fault.FromOS(fmt.Errorf("archive: %w", err))
	}
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
			_, err = Fetch(ctx, r, f, dir)
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

// isThere reports whether a path is what Fetch would make of the file. Anything
// else that has the name is an error.
func (f File) isThere(path string) (bool, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fault.FromOS(fmt.Errorf("archive: %w", err))
	}
	defer func() { _ = file.Close() }() // it is only read
	info, err := file.Stat()
	if err != nil {
		return false, fault.FromOS(fmt.Errorf("archive: %w", err))
	}
	refused := fault.New(fault.Refused, fmt.Errorf("archive: %s is there, and is not what is archived of %s now", path, f.Server), "fetch into another directory, or remove it")
	if !info.Mode().IsRegular() || info.Size() != f.FetchedEnd() {
		return false, refused
	}
	if f.Prefix == "" || f.FetchedEnd() != f.End {
		return false, nil // nothing says what these bytes are: they come once more
	}
	same, err := f.sameBytes(file)
	if err == nil && !same {
		err = refused
	}
	return same, err
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
