package restore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestEncryptedLog: of a server that encrypts its binary log on disk everything comes
// back; what is archived is not encrypted by its key, which nobody has to have.
func TestEncryptedLog(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		if !long && d.Name != servertest.Of(t, server.MariaDB).Name {
			t.Skip("the same bytes are archived: internal/archive")
		}
		encrypting, args := servertest.Encrypting(t, d)
		w := newWorldWith(t, encrypting, args...)
		w.d = d
		w.traffic(30, "before")
		w.backup(map[server.Flavor]string{server.MySQL: backup.Clone, server.MariaDB: backup.MariaDBBackup}[d.Flavor], backup.Options{})
		w.traffic(60, "after")
		w.archived()
		logs, err := w.i.BinaryLogs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range logs {
			if data, err := os.ReadFile(path); err != nil || bytes.Contains(data, []byte("after")) {
				t.Errorf("%s is not encrypted: %v", path, err)
			}
		}
		dir := filepath.Join(t.TempDir(), "data")
		w.restore(w.options(dir, ""))
		w.same(dir, state(t, w.i))
	})
}
