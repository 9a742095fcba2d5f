package restore_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// oddSettings are as unlike the vendors' defaults as it goes: with them statements in
// the log do something else.
var oddSettings = map[server.Flavor][]string{
	server.MariaDB: {"--explicit-defaults-for-timestamp=OFF", "--default-storage-engine=Aria", "--innodb-default-row-format=COMPACT", "--innodb-file-per-table=OFF",
		"--lower-case-table-names=1", "--innodb-page-size=32768", "--sql-mode=", "--character-set-server=latin2", "--collation-server=latin2_croatian_ci", "--innodb-strict-mode=OFF", "--default-time-zone=+05:30", "--div-precision-increment=9",
		"--auto-increment-increment=3", "--auto-increment-offset=2", "--binlog-format=MIXED", "--group-concat-max-len=5000", "--default-week-format=3", "--system-versioning-alter-history=KEEP",
		"--old-mode=", "--default-regex-flags=DOTALL", "--max-recursive-iterations=77", "--default-tmp-storage-engine=MyISAM",
		"--max-sort-length=2000", "--max-sp-recursion-depth=7", "--ft-min-word-len=2", "--ft-max-word-len=50", "--innodb-ft-min-token-size=2", "--innodb-ft-max-token-size=50", "--innodb-ft-enable-stopword=OFF"},
	server.MySQL: {"--explicit-defaults-for-timestamp=OFF", "--default-storage-engine=MyISAM", "--innodb-default-row-format=COMPACT", "--innodb-file-per-table=OFF",
		"--lower-case-table-names=1", "--innodb-page-size=32768", "--sql-mode=", "--character-set-server=latin2", "--collation-server=latin2_general_ci", "--innodb-strict-mode=OFF", "--default-time-zone=+05:30", "--div-precision-increment=9",
		"--auto-increment-increment=3", "--auto-increment-offset=2", "--group-concat-max-len=5000", "--default-week-format=3", "--sql-generate-invisible-primary-key=ON", "--loose-default-collation-for-utf8mb4=utf8mb4_general_ci", "--gtid-mode=ON", "--enforce-gtid-consistency=ON",
		"--cte-max-recursion-depth=77", "--default-tmp-storage-engine=MyISAM", "--ngram-token-size=3",
		"--max-sort-length=2000", "--max-sp-recursion-depth=7", "--ft-min-word-len=2", "--ft-max-word-len=50", "--innodb-ft-min-token-size=2", "--innodb-ft-max-token-size=50", "--innodb-ft-enable-stopword=OFF"},
}

// inTheLog are those that come with each statement that needs them, or do nothing to it.
var inTheLog = []string{"sql_mode", "default_time_zone", "auto_increment_increment", "auto_increment_offset", "binlog_format", "sql_generate_invisible_primary_key",
	"default_collation_for_utf8mb4", "gtid_mode", "enforce_gtid_consistency"}

// TestSourceSettings: statements do on the private server what they did on the source,
// whose settings decide, and not the vendor's.
func TestSourceSettings(t *testing.T) {
	for _, c := range []struct {
		flavor server.Flavor
		driver string
	}{
		{server.MariaDB, backup.MariaDBBackup},
		{server.MySQL, backup.Dump},
		{server.MySQL, backup.Clone},
		{server.MariaDB, backup.Dump},
	} {
		if !long && c.flavor == server.MySQL {
			continue
		}
		t.Run(string(c.flavor)+","+c.driver, func(t *testing.T) {
			args := oddSettings[c.flavor]
			w := newWorldWith(t, servertest.Of(t, c.flavor), args...)
			w.exec("ALTER TABLE d.t ENGINE=InnoDB")
			w.backup(c.driver, backup.Options{})
			w.exec("CREATE TABLE d.ts (a INT, b TIMESTAMP, c TIMESTAMP)", "INSERT INTO d.ts (a, b) VALUES (1, NULL)", "INSERT INTO d.ts VALUES (2, '2026-01-01', '0000-00-00')",
				"CREATE TABLE d.pk (a INT AUTO_INCREMENT PRIMARY KEY, b VARCHAR(30)) ENGINE=InnoDB", "INSERT INTO d.pk (b) VALUES ('x'), ('y')", "INSERT INTO d.pk (b) VALUES ('z')",
				"CREATE TABLE d.wide (a VARCHAR(30) CHARACTER SET utf8mb4, b CHAR(200)) ENGINE=InnoDB",
				"CREATE TABLE d.ctas ENGINE=InnoDB AS SELECT 1/3 AS x, GROUP_CONCAT(b) AS y, WEEK('2026-01-01') AS z FROM d.pk",
				"CREATE TABLE D.Case_ (a INT PRIMARY KEY)", "INSERT INTO d.CASE_ VALUES (1)", "CREATE DATABASE Other", "CREATE TABLE other.t (a CHAR(3)) ENGINE=InnoDB", "INSERT INTO other.t VALUES ('abcdef')",
				"CREATE TABLE d.zero (a DATE NOT NULL) ENGINE=InnoDB", "INSERT INTO d.zero VALUES ('2026-02-31')", "ALTER TABLE d.zero ADD b INT NOT NULL, ADD c TIMESTAMP",
				"CREATE VIEW d.v AS SELECT 1/7 AS x", "CREATE PROCEDURE d.p() INSERT INTO d.pk (b) SELECT 1/3", "CALL d.p()",
				"CREATE TABLE d.like_pk LIKE d.pk", "CREATE TABLE d.nopk (a INT) ENGINE=InnoDB", "INSERT INTO d.nopk VALUES (1),(2)", "CREATE FUNCTION d.f() RETURNS INT DETERMINISTIC RETURN 7", "CREATE TRIGGER d.g BEFORE INSERT ON d.pk FOR EACH ROW SET NEW.b = CONCAT(NEW.b, '!')", "INSERT INTO d.pk (b) VALUES ('w')")
			w.archived()
			dir := filepath.Join(t.TempDir(), "data")
			o := w.options(dir, "")
			o.Prove = func(_ context.Context, private *sql.DB) error {
				source := servertest.Open(t, w.i, "")
				for _, arg := range args {
					name, _, _ := strings.Cut(strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(arg, "--"), "loose-"), "-", "_"), "=")
					if slices.Contains(inTheLog, name) {
						continue
					}
					query := "SELECT @@GLOBAL." + name
					if want, got := servertest.Column(t, source, query), servertest.Column(t, private, query); !slices.Equal(want, got) {
						t.Errorf("%s is %q, on the source %q", name, got, want)
					}
				}
				return nil
			}
			w.restore(o)
			i, err := server.Start(t.Context(), w.d, server.Options{DataDir: dir, SkipNetworking: true, Args: args})
			if err != nil {
				t.Fatal(err)
			}
			got, want := state(t, i), state(t, w.i)
			if err := i.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			w.diff(want, got)
		})
	}
}

// TestTimeZone: what a log says of SYSTEM is the source's zone, whatever this machine
// is in; one that this machine does not have must be named.
func TestTimeZone(t *testing.T) {
	t.Setenv("TZ", "Pacific/Auckland")
	for _, c := range []struct {
		flavor server.Flavor
		driver string
	}{
		{server.MariaDB, backup.MariaDBBackup},
		{server.MySQL, backup.Clone},
	} {
		if !long && c.flavor == server.MySQL {
			continue
		}
		t.Run(string(c.flavor), func(t *testing.T) {
			w := newWorldOf(t, servertest.StartWith(t, servertest.Of(t, c.flavor), server.Options{Env: []string{"TZ=Europe/Berlin"},
				Args: []string{"--log-bin=bin", "--server-id=7", "--binlog-format=MIXED"}}))
			w.exec("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY, b TIMESTAMP NULL, c DATETIME)", "INSERT INTO d.t (a, b) VALUES (1, '2020-07-01 12:00:00'), (2, '2020-01-01 12:00:00')")
			w.backup(c.driver, backup.Options{})
			w.exec("INSERT INTO d.t VALUES (3, NOW(), NOW()), (4, UTC_TIMESTAMP(), UTC_TIMESTAMP())", "UPDATE d.t SET c = b", "ALTER TABLE d.t ADD d DATETIME DEFAULT CURRENT_TIMESTAMP", "ALTER TABLE d.t MODIFY b DATETIME")
			w.archived()
			want := state(t, w.i)
			dir := filepath.Join(t.TempDir(), "data")
			w.restore(w.options(dir, ""))
			w.same(dir, want)

			dir = filepath.Join(t.TempDir(), "unknown")
			if rep, err := w.interruptWhen(w.options(dir, ""), func(s restore.Step) bool { return s.Name == "start a private server" && s.Seconds == 0 }); err == nil {
				t.Fatalf("it was not interrupted: %+v", rep)
			}
			edit(t, dir+".restore/journal.json", `"changes": \[`, `"changes": [[0, 4711],`)
			o := w.options(dir, "")
			if rep, err := w.try(o); fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "the time zone CET (UTC+01:00, UTC+02:00)") {
				t.Errorf("%+v, %v", rep, err)
			}
			o.TimeZone = "Europe/Nowhere"
			if _, err := w.try(o); fault.ClassOf(err) != fault.Usage {
				t.Error(err)
			}
			o.TimeZone = "Europe/Berlin"
			w.restore(o)
			w.same(dir, want)
		})
	}
}

// edit replaces what a pattern finds in a file.
func edit(t *testing.T, path, pattern, by string) {
	t.Helper()
	text, err := os.ReadFile(path)
	found := regexp.MustCompile(pattern)
	if err != nil || !found.Match(text) {
		t.Fatalf("%s: %v", text, err)
	}
	if err := os.WriteFile(path, found.ReplaceAll(text, []byte(by)), 0o600); err != nil {
		t.Fatal(err)
	}
}
