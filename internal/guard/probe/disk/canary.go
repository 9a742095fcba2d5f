package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// Canary is a file that looks like a data directory's. A walk of its filesystem
// that does not find it has not walked all of it.
type Canary struct {
	id   probe.FileID
	path string
}

// PlantCanary makes the canary below a directory: DIR/at-rest/ibdata1, with the
// page given.
func PlantCanary(dir string, page []byte) (*Canary, error) {
	dir = filepath.Join(dir, "at-rest")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "ibdata1")
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.WriteFile(name, page, 0o600); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return nil, err
	}
	return &Canary{probe.FileID{Dev: st.Dev, Ino: st.Ino}, name}, nil
}

// Remove removes the file.
func (c *Canary) Remove() error {
	if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// is reports whether a finding is the canary.
func (c *Canary) is(f finding) bool { return c != nil && f.id == c.id }

// within reports whether the canary lies on one of the devices, so that it must
// be found.
func (c *Canary) within(devices []Device) bool {
	return c == nil || slices.ContainsFunc(devices, func(d Device) bool { return d.rdev() == c.id.Dev })
}
