package restore_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestSecondLife: a server that was restored can be archived, backed up and
// restored again, by each driver, and so can the one that comes of that. Its log
// never has what it came with. Three lives in a long run, else two.
func TestSecondLife(t *testing.T) {
	lives := 2
	if long {
		lives = 3
	}
	for _, flavor := range []server.Flavor{server.MariaDB, server.MySQL} {
		for _, driver := range drivers(servertest.Of(t, flavor)) {
			t.Run(driver+" of "+string(flavor), func(t *testing.T) {
				w := newWorld(t, servertest.Of(t, flavor))
				for life := range lives {
					w.traffic(22, fmt.Sprintf("before%d", life))
					m := w.backup(driver, backup.Options{})
					w.archived()
					if life == lives-1 {
						atBackup := filepath.Join(t.TempDir(), "data")
						w.restore(w.options(atBackup, "gtid:"+m.GTIDs))
						w.saysGTIDs(atBackup, m.GTIDs)
					}
					w.traffic(22, fmt.Sprintf("after%d", life))
					w.archived()
					want, gtids := state(t, w.i), w.position()
					dir := filepath.Join(t.TempDir(), "data")
					w.restore(w.options(dir, ""))
					w.same(dir, want)
					w.saysGTIDs(dir, gtids)
					w = newWorldOf(t, servertest.StartWith(t, w.d, server.Options{DataDir: dir, Args: logging(flavor)}))
				}
			})
		}
	}
}

// TestProvisioned: the same for a server that was made from a copy without us, and
// knows by GTIDs alone what came with it: of another server, of another domain.
func TestProvisioned(t *testing.T) {
	for _, flavor := range []server.Flavor{server.MariaDB, server.MySQL} {
		for _, driver := range drivers(servertest.Of(t, flavor)) {
			t.Run(driver+" of "+string(flavor), func(t *testing.T) {
				d := servertest.Of(t, flavor)
				i := servertest.Start(t, d, logging(flavor)...)
				statements := []string{"SET GLOBAL gtid_slave_pos = '0-3-1000,5-3-77'"}
				if flavor == server.MySQL {
					statements = []string{"RESET BINARY LOGS AND GTIDS", "SET GLOBAL gtid_purged = '11111111-1111-1111-1111-111111111111:1-100'"}
				}
				servertest.Exec(t, servertest.Open(t, i, ""), statements...)
				w := newWorldOf(t, i)
				w.exec("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(5000), UNIQUE (b(20)))")
				w.traffic(22, "before")
				w.backup(driver, backup.Options{})
				w.traffic(22, "after")
				w.archived()
				dir := filepath.Join(t.TempDir(), "data")
				w.restore(w.options(dir, ""))
				w.same(dir, state(t, w.i))
				w.saysGTIDs(dir, w.position())
			})
		}
	}
}

func logging(flavor server.Flavor) []string {
	args := []string{"--log-bin=bin", "--server-id=7"}
	if flavor == server.MySQL {
		args = append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
	}
	return args
}

// position are the GTIDs of the world's server.
func (w *world) position() string {
	w.t.Helper()
	return gtidsOf(w.t, w.i)
}

func gtidsOf(t *testing.T, i *server.Instance) string {
	t.Helper()
	name := "gtid_current_pos"
	if i.Distribution().Flavor == server.MySQL {
		name = "gtid_executed"
	}
	return strings.ReplaceAll(strings.Join(servertest.Column(t, servertest.Open(t, i, ""), "SELECT @@GLOBAL."+name), ""), "\n", "")
}

// saysGTIDs starts a server on a copy of a directory and compares what it says it
// has executed. Nothing has come behind it.
func (w *world) saysGTIDs(dir, want string) {
	w.t.Helper()
	copied := filepath.Join(w.t.TempDir(), "data")
	if err := server.Copy(w.t.Context(), dir, copied); err != nil {
		w.t.Fatal(err)
	}
	args := []string{"--skip-log-bin"}
	if w.d.Flavor == server.MySQL {
		args = append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
	}
	i := servertest.StartWith(w.t, w.d, server.Options{DataDir: copied, Args: args})
	flavor := gtid.MariaDB
	if w.d.Flavor == server.MySQL {
		flavor = gtid.MySQL
	}
	got, err1 := gtid.ParseSet(flavor, gtidsOf(w.t, i))
	expected, err2 := gtid.ParseSet(flavor, want)
	if err1 != nil || err2 != nil || !got.Equal(expected) {
		w.t.Errorf("it says that it has %s, want %s; %v %v", got, expected, err1, err2)
	}
}
