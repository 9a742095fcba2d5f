package backup_test

import (
	"errors"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestFullAndIncrements: backups under traffic, each of which, unpacked, has
// exactly what the source had at the recorded position.
func TestFullAndIncrements(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		if d.Flavor != server.MariaDB {
			return
		}
		kinds(t, func(t *testing.T, r *repository.Repository) {
			source := start(t, d, false)
			w := write(t, source, false)
			o := options(t, source, "", r)
			o.Incremental = true
			if _, err := backup.Take(t.Context(), o); !errors.Is(err, backup.ErrNoParent) {
				t.Errorf("an increment without a full one: %v", err)
			}
			o.Incremental = false
			taken := []backup.Manifest{take(t, o)}
			o.Incremental = true
			for range 2 {
				w.wait(50)
				taken = append(taken, take(t, o))
			}
			w.end()
			checkChain(t, r, taken)
			for _, m := range taken {
				target := restore(t, d, r, m.ID)
				replay(t, source, target, m)
				same(t, source, target)
			}
		})
	})
}

// checkChain compares what Take has said with what is listed.
func checkChain(t *testing.T, r *repository.Repository, taken []backup.Manifest) {
	t.Helper()
	all := list(t, r)
	if len(all) != len(taken) {
		t.Fatalf("%d backups are listed, want %d", len(all), len(taken))
	}
	for i, m := range taken {
		equal(t, all[i], m)
		if m.GTIDs == "" || m.File == "" || m.Driver != backup.MariaDBBackup || m.Server != "mariadb-7" || m.DataBytes == 0 || m.Tool == "" {
			t.Errorf("%+v", m)
		}
		if i > 0 && (m.Parent != taken[i-1].ID || m.FromLSN != taken[i-1].ToLSN || m.PlainBytes >= taken[0].PlainBytes) {
			t.Errorf("%+v does not go on from %+v", m, taken[i-1])
		}
	}
}
