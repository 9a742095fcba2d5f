package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// Unpack makes a data directory of a chain of backups, see Chain. dir must be
// empty or missing; if it fails, it is empty again. What it has made is on disk when
// it returns: the vendor's tools leave it to the kernel (mbstream syncs nothing).
//
// What is in it belongs to the user that runs this. It is a data directory of
// the version that the manifest names, for a server with a name of its own: it
// has no server_uuid.
func Unpack(ctx context.Context, r *repository.Repository, chain []Manifest, dir string, o UnpackOptions) error {
	if err := unpack(ctx, r, chain, dir, o); err != nil {
		return fmt.Errorf("backup: unpack: %w", err)
	}
	return nil
}

func unpack(ctx context.Context, r *repository.Repository, chain []Manifest, dir string, o UnpackOptions) error {
	if err := CheckChain(chain); err != nil {
		return err
	}
	if o.Drivers == nil {
		o.Drivers = Drivers()
	}
	d := find(o.Drivers, chain[0].Driver)
	if d == nil {
		return fault.New(fault.Storage, fmt.Errorf("driver %.100q is not known", chain[0].Driver), "use the version of lifeboat that has taken the backup, or a later one")
	}
	dir, err := prepareDir(dir)
	if err != nil {
		return err
	}
	streams := make([]Stream, len(chain))
	for i, m := range chain {
		s := &lazy{open: func() *parts { return open(ctx, r, m, o.Workers) }}
		defer s.close()
		streams[i] = Stream{Manifest: m, Reader: s}
	}
	err = d.Unpack(ctx, streams, dir, o)
	if err == nil {
		err = fault.FromOS(atomicfile.SyncTree(dir))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("driver %s: %w", d.Name(), err), empty(dir))
	}
	return nil
}

// lazy opens a stream when it is first read: those that come later need no
// memory yet.
type lazy struct {
	open func() *parts
	s    *parts
}

func (l *lazy) Read(p []byte) (int, error) {
	if l.s == nil {
		l.s = l.open()
	}
	return l.s.Read(p)
}

func (l *lazy) close() {
	if l.s != nil {
		_ = l.s.Close() // only read
	}
}

// prepareDir makes a directory, unless there is one that is empty.
func prepareDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fault.New(fault.Storage, err, "")
	}
	if len(entries) > 0 {
		return "", fault.New(fault.Usage, fmt.Errorf("%s is not empty", dir), "choose another place")
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fault.New(fault.Storage, err, "")
	}
	return dir, nil
}

// empty removes all in a directory.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
