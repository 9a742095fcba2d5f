package backup_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// TestRepositoryFull: of two repositories one has no space: there is no backup
// in either. With more room there is.
func TestRepositoryFull(t *testing.T) {
	cases(t, func(t *testing.T, d server.Distribution, driver string) {
		disk := t.TempDir()
		err := unix.Mount("lifeboat-test", disk, "tmpfs", 0, "size=200k")
		if errors.Is(err, unix.EPERM) {
			t.Skip("mounting a small disk needs root")
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		source := start(t, d, true)
		wide, small := newRepository(t, t.TempDir()), newRepository(t, disk)
		o := options(t, source, driver, wide, small)
		o.PartBytes = 100_000
		_, err = backup.Take(t.Context(), o)
		wantClass(t, err, fault.NoSpace, disk, "no space left", "free some space")
		nothing(t, wide)
		nothing(t, small)
		if err := unix.Mount("lifeboat-test", disk, "tmpfs", unix.MS_REMOUNT, "size=100m"); err != nil {
			t.Fatal(err)
		}
		m := take(t, o)
		if got := list(t, small); len(got) != 1 || got[0].ID != m.ID {
			t.Errorf("%v", got)
		}
		equal(t, list(t, wide)[0], m)
	})
}
