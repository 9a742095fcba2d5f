package restore_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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

// TestDirectoriesInTheLog: tables that the log puts into other directories come back
// in the restored one: on this machine such a directory is somebody else's, perhaps
// the source's own.
func TestDirectoriesInTheLog(t *testing.T) {
	for flavor, driver := range map[server.Flavor]string{server.MariaDB: backup.MariaDBBackup, server.MySQL: backup.Dump} {
		if !long && flavor == server.MySQL {
			continue
		}
		t.Run(string(flavor), func(t *testing.T) {
			outside := t.TempDir()
			w := newWorldWith(t, servertest.Of(t, flavor), "--loose-innodb-directories="+outside)
			w.backup(driver, backup.Options{})
			there := "DIRECTORY='" + outside + "'"
			w.exec("CREATE TABLE d.a (a INT PRIMARY KEY) DATA "+there, "INSERT INTO d.a VALUES (1)",
				"/* new */ create table d.b (a INT PRIMARY KEY) PARTITION BY HASH (a) (PARTITION x DATA "+there+", PARTITION y)", "INSERT INTO d.b VALUES (1), (2)",
				"CREATE TABLE d.c (a INT PRIMARY KEY, b VARCHAR(200)) COMMENT 'a "+strings.ReplaceAll(there, "'", "")+"'", "ALTER TABLE d.a ADD b INT, COMMENT 'directory'",
				"CREATE PROCEDURE d.p() CREATE TABLE d.d (a INT PRIMARY KEY) DATA "+there, "CALL d.p()", "INSERT INTO d.d VALUES (7)", "TRUNCATE TABLE d.a", "INSERT INTO d.a VALUES (3, 4)")
			w.archived()
			before := listed(t, outside)
			dir := filepath.Join(t.TempDir(), "data")
			w.restore(w.options(dir, ""))
			if after := listed(t, outside); after != before {
				t.Errorf("beside the source's files\n%s\nthere are now\n%s", before, after)
			}
			want := state(t, w.i)
			clause := regexp.MustCompile(` (/\*!50100 )?DATA DIRECTORY ?= ?'[^']*'( \*/)?`)
			for name, table := range want.Tables {
				table.Definition = clause.ReplaceAllString(table.Definition, "")
				want.Tables[name] = table
			}
			w.same(dir, want)
		})
	}
}

// listed is what is in a directory, at any depth.
func listed(t *testing.T, dir string) (text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		text += path + "\n"
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}
