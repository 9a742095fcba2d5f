package restore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/powercut"
)

// TestPowerLoss: a machine loses its power at the beginning and at the end of each
// step, and right after a restore has ended. The same command afterwards brings
// what was wanted; what was done by then needs none.
func TestPowerLoss(t *testing.T) {
	if !long {
		t.Skip("the tests of the guard, which run at the same time, would see its loop devices")
	}
	for _, c := range []struct {
		flavor server.Flavor
		driver string
		gtids  bool
	}{
		{server.MariaDB, backup.MariaDBBackup, true},
		{server.MariaDB, backup.Dump, true},
		{server.MySQL, backup.Clone, true},
		{server.MySQL, backup.Clone, false},
		{server.MySQL, backup.Dump, true},
	} {
		t.Run(fmt.Sprintf("%s,%s,gtids=%v", c.flavor, c.driver, c.gtids), func(t *testing.T) {
			start := newWorld
			if !c.gtids {
				start = func(t *testing.T, d server.Distribution) *world { return newWorldWith(t, d) }
			}
			start(t, servertest.Of(t, c.flavor)).losePower(t, c.driver)
		})
	}
}

func (w *world) losePower(t *testing.T, driver string) {
	// What the log does not touch is written once, by who unpacks.
	engines := map[string]string{"d.big": "InnoDB"}
	if driver == backup.MariaDBBackup {
		engines["d.other"] = "MyISAM"
	}
	for table, engine := range engines {
		w.exec("CREATE TABLE "+table+" (a INT PRIMARY KEY, b LONGTEXT) ENGINE="+engine, "INSERT INTO "+table+" VALUES (1, REPEAT('a', 3000000)), (2, REPEAT('b', 3000000))")
	}
	w.traffic(30, "before")
	w.backup(driver, backup.Options{})
	w.traffic(60, "after")
	for table := range engines {
		w.exec("INSERT INTO "+table+" VALUES (3, REPEAT('c', 1000000))", "DELETE FROM "+table+" WHERE a = 1")
	}
	w.archived()
	want := state(t, w.i)

	d := powercut.New(t, 2<<30, "data=ordered")
	type crash struct{ when, image string }
	var crashes []crash
	o := w.options(filepath.Join(d.Dir, "data"), "")
	// As if all of it took less than the second after which a server syncs its log
	// anyway. (Nor does a proof, whose tables come and go, have it synced.)
	o.ServerArgs, o.NoProof = []string{"--innodb-flush-log-at-timeout=2700"}, true
	o.Step = func(s restore.Step) {
		when := "before "
		if s.Seconds > 0 {
			when = "after "
		}
		crashes = append(crashes, crash{when + s.Name, d.Cut()})
	}
	w.restore(o)
	d.Boot(d.Cut(), func(dir string) { w.same(filepath.Join(dir, "data"), want) })
	for _, c := range crashes {
		t.Log(c.when)
		d.Boot(c.image, func(dir string) {
			o := w.options(filepath.Join(dir, "data"), "")
			rebooted(t, o.Dir+".restore/journal.json")
			if rep := w.restore(o); !rep.Finished {
				t.Errorf("%s: %+v", c.when, rep)
			}
			w.same(o.Dir, want)
		})
	}
}

// TestRebooted: a restore whose machine has gone down goes on from where it was,
// unless there are tables without transactions, whose changes nobody has synced: it
// begins anew.
func TestRebooted(t *testing.T) {
	w := newWorld(t, servertest.Of(t, server.MariaDB))
	w.exec("INSTALL SONAME 'ha_archive'")
	w.backup(backup.MariaDBBackup, backup.Options{})
	engines := []string{"InnoDB", "MyISAM", "Aria", "CSV", "ARCHIVE"}
	if !long {
		engines = engines[:2]
	}
	for _, engine := range engines {
		w.exec("CREATE TABLE d.x (a INT NOT NULL) ENGINE="+engine, "INSERT INTO d.x VALUES (1), (2)")
		w.archived()
		dir := filepath.Join(t.TempDir(), "data")
		w.interrupted(w.options(dir, ""))
		rebooted(t, dir+".restore/journal.json")
		rep := w.restore(w.options(dir, ""))
		anew := slices.ContainsFunc(rep.Steps, func(s restore.Step) bool { return s.Name == "unpack the backup" })
		if want := engine != "InnoDB"; anew != want || !rep.Resumed {
			t.Errorf("%s: begun anew: %v, want %v: %+v", engine, anew, want, rep)
		}
		w.same(dir, state(t, w.i))
		w.exec("DROP TABLE d.x")
	}
}

// rebooted has a journal, if there is one, say that it was written before the machine
// came up.
func rebooted(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return
	}
	edit(t, path, `"boot": "[^"]*"`, `"boot": "another"`)
}
