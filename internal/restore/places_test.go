package restore_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestFilesElsewhere: a source that has its files in several places comes back in one.
func TestFilesElsewhere(t *testing.T) {
	for flavor, driver := range map[server.Flavor]string{server.MariaDB: backup.MariaDBBackup, server.MySQL: backup.Clone} {
		if !long && flavor == server.MySQL {
			continue
		}
		t.Run(string(flavor), func(t *testing.T) {
			dirs := map[string]string{}
			for _, name := range []string{"undo", "home", "redo", "logs"} {
				dirs[name] = filepath.Join(t.TempDir(), name)
				if err := os.Mkdir(dirs[name], 0o700); err != nil {
					t.Fatal(err)
				}
			}
			d := servertest.Of(t, flavor)
			data := filepath.Join(t.TempDir(), "data")
			i, err := server.Start(t.Context(), d, server.Options{DataDir: data, SkipNetworking: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := i.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			for pattern, dir := range map[string]string{"ib_logfile*": "redo", "#innodb_redo": "redo", "undo*": "undo"} {
				paths, _ := filepath.Glob(filepath.Join(data, pattern))
				for _, path := range paths {
					if err := os.Rename(path, filepath.Join(dirs[dir], filepath.Base(path))); err != nil {
						t.Fatal(err)
					}
				}
			}
			w := newWorldOf(t, servertest.StartWith(t, d, server.Options{DataDir: data, Args: []string{"--server-id=7", "--innodb-undo-directory=" + dirs["undo"], "--innodb-log-group-home-dir=" + dirs["redo"],
				"--log-bin=" + dirs["logs"] + "/some.thing", "--innodb-temp-data-file-path=ibtmp9:12M:autoextend"}}))
			w.exec("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(5000), UNIQUE (b(20)))")
			place := "" // a clone refuses others
			if flavor == server.MariaDB {
				place = "DATA DIRECTORY='" + t.TempDir() + "'"
			}
			w.exec("CREATE TABLE d.outside (a INT PRIMARY KEY) "+place, "INSERT INTO d.outside VALUES (1)")
			w.traffic(10, "before")
			w.backup(driver, backup.Options{})
			w.traffic(30, "after")
			w.exec("INSERT INTO d.outside VALUES (2)")
			w.archived()
			dir := filepath.Join(t.TempDir(), "data")
			w.restore(w.options(dir, ""))
			want := state(t, w.i)
			table := want.Tables["d.outside"] // is inside now
			table.Definition = regexp.MustCompile(` DATA DIRECTORY='[^']*'`).ReplaceAllString(table.Definition, "")
			want.Tables["d.outside"] = table
			w.same(dir, want)
		})
	}
}
