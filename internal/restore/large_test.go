package restore_test

import (
	"path/filepath"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestLarge: rows of more bytes than a server takes in a packet unless it is told to
// come back, from the log and from a dump. MariaDB from 11.7 on makes the cache of
// such a transaction a binary log file of its own (binlog_large_commit_threshold):
// its GTID_EVENT is stretched up to where the transaction begins.
func TestLarge(t *testing.T) {
	for _, c := range []struct{ dist, driver, checksum string }{
		{"mariadb-11.8", backup.MariaDBBackup, "CRC32"},
		{"mysql-9.7", backup.Dump, "CRC32"},
		{"mariadb-11.8", backup.Dump, "NONE"},
		{"mariadb-10.11", backup.Dump, "CRC32"},
	} {
		t.Run(c.dist+","+c.driver, func(t *testing.T) {
			for _, d := range servertest.All(t) {
				if d.Name == c.dist {
					large(t, d, c.driver, c.checksum)
				}
			}
		})
		if !long {
			break
		}
	}
}

func large(t *testing.T, d server.Distribution, driver, checksum string) {
	w := newWorldWith(t, d, "--binlog-format=ROW", "--binlog-checksum="+checksum, "--max-allowed-packet=512M", "--loose-binlog-large-commit-threshold=10M")
	db := servertest.Open(t, w.i, "d")
	servertest.Exec(t, db, "CREATE TABLE large (a INT PRIMARY KEY AUTO_INCREMENT, b LONGTEXT)")
	if driver == backup.Dump {
		servertest.Exec(t, db, "INSERT INTO large (b) VALUES (REPEAT('w', 70000000))")
	}
	w.backup(driver, backup.Options{})
	for range 2 {
		servertest.Exec(t, db, "BEGIN", "INSERT INTO large (b) VALUES (REPEAT('x', 6000000)), (REPEAT('y', 13000000))", "UPDATE large SET b = CONCAT(b, 'z') WHERE a % 2 = 0", "COMMIT",
			"INSERT INTO t (b) VALUES (NOW(6))")
	}
	w.archived()
	logs, err := w.i.BinaryLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d.Name == "mariadb-11.8" && len(logs) < 4 {
		t.Errorf("no transaction has a file of its own: %v", logs)
	}
	dir := filepath.Join(t.TempDir(), "data")
	w.restore(w.options(dir, ""))
	w.same(dir, state(t, w.i))
}
