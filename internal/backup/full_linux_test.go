package backup_test

import (
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/test/smalldisk"
)

// TestRepositoryFull: of two repositories one has no space: there is no backup
// in either. With more room there is.
func TestRepositoryFull(t *testing.T) {
	cases(t, func(t *testing.T, d server.Distribution, driver string) {
		disk := smalldisk.Mount(t, 200<<10)
		source := start(t, d, true)
		wide, small := newRepository(t, t.TempDir()), newRepository(t, disk)
		o := options(t, source, driver, wide, small)
		o.PartBytes = 100_000
		_, err := backup.Take(t.Context(), o)
		wantClass(t, err, fault.NoSpace, disk, "no space left", "free some space")
		nothing(t, wide)
		nothing(t, small)
		smalldisk.Resize(t, disk, 100<<20)
		m := take(t, o)
		if got := list(t, small); len(got) != 1 || got[0].ID != m.ID {
			t.Errorf("%v", got)
		}
		equal(t, list(t, wide)[0], m)
	})
}
