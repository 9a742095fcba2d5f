package txn_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/internal/txn"
	"github.com/lifeboat-db/lifeboat/test/reallog"
)

var update = flag.Bool("update", false, "write testdata anew")

// cases are histories; testdata has what each server logs of them and what the
// scanner makes of that.
var cases = []struct {
	name  string
	stmts []string
}{
	{"autocommit", list("INSERT INTO t VALUES (1, 1)", "UPDATE t SET b = 2", "DELETE FROM t")},
	{"a transaction", list("BEGIN", "INSERT INTO t VALUES (1, 1)", "UPDATE t SET b = 2", "COMMIT")},
	{"two tables in one statement", list("INSERT INTO t VALUES (1, 1)", "INSERT INTO u VALUES (1, 1)", "UPDATE t, u SET t.b = 3, u.b = 3")},
	{"rolled back, nothing is logged", list("BEGIN", "INSERT INTO t VALUES (1, 1)", "ROLLBACK")},
	{"savepoint, nothing rolled back", list("BEGIN", "INSERT INTO t VALUES (1, 1)", "SAVEPOINT s", "INSERT INTO t VALUES (2, 1)", "RELEASE SAVEPOINT s", "COMMIT")},
	{"rolled back to a savepoint", list("BEGIN", "INSERT INTO t VALUES (1, 1)", "SAVEPOINT s", "INSERT INTO t VALUES (2, 1)", "ROLLBACK TO s", "COMMIT")},
	{"rolled back to a savepoint, nothing is left", list("BEGIN", "SAVEPOINT s", "INSERT INTO t VALUES (2, 1)", "ROLLBACK TO s", "COMMIT")},
	{"savepoint alone", list("BEGIN", "SAVEPOINT s", "COMMIT")},
	{"MyISAM", list("INSERT INTO m VALUES (1, 1)")},
	{"MyISAM rolled back", list("BEGIN", "INSERT INTO t VALUES (1, 1)", "INSERT INTO m VALUES (1, 1)", "ROLLBACK")},
	{"MyISAM behind a savepoint that is rolled back to", list("BEGIN", "INSERT INTO t VALUES (1, 1)", "SAVEPOINT s", "INSERT INTO m VALUES (1, 1)", "INSERT INTO t VALUES (2, 1)", "ROLLBACK TO s", "COMMIT")},
	{"statement format", list("SET binlog_format = STATEMENT", "INSERT INTO t VALUES (1, 1)", "BEGIN", "UPDATE t SET b = b + 1", "DELETE FROM t", "COMMIT", "SET binlog_format = ROW")},
	{"statement format with context", list("SET binlog_format = STATEMENT", "SET @a = 1", "INSERT INTO ai VALUES (NULL, RAND() + @a)", "SET binlog_format = ROW")},
	{"statement format, MyISAM rolled back", list("SET binlog_format = STATEMENT", "BEGIN", "INSERT INTO m VALUES (1, 1)", "ROLLBACK", "SET binlog_format = ROW")},
	{"both formats in one transaction", list("SET binlog_format = MIXED", "BEGIN", "INSERT INTO t VALUES (1, 1)", "INSERT INTO t VALUES (2, LENGTH(UUID()))", "COMMIT", "SET binlog_format = ROW")},
	{"DDL", list("CREATE TABLE x (a INT)", "ALTER TABLE x ADD b INT", "TRUNCATE x", "RENAME TABLE x TO y", "DROP TABLE y", "CREATE VIEW v AS SELECT 1", "DROP VIEW v")},
	{"DDL inside a transaction", list("BEGIN", "INSERT INTO t VALUES (1, 1)", "CREATE TABLE x (a INT)")},
	{"CREATE TABLE … SELECT", list("INSERT INTO t VALUES (1, 1)", "CREATE TABLE x AS SELECT * FROM t")},
	{"CREATE TABLE … SELECT of no row", list("CREATE TABLE x AS SELECT * FROM t")},
	{"temporary tables in row format", list("CREATE TEMPORARY TABLE x (a INT)", "INSERT INTO x VALUES (1)", "INSERT INTO t SELECT a, a FROM x", "DROP TABLE x")},
	{"temporary tables in statement format", list("SET binlog_format = STATEMENT", "CREATE TEMPORARY TABLE x (a INT)", "INSERT INTO x VALUES (1)", "DROP TEMPORARY TABLE x", "SET binlog_format = ROW")},
	{"XA", list("XA START 'a'", "INSERT INTO t VALUES (1, 1)", "XA END 'a'", "XA PREPARE 'a'", "XA COMMIT 'a'")},
	{"XA in one phase", list("XA START 'a'", "INSERT INTO t VALUES (1, 1)", "XA END 'a'", "XA COMMIT 'a' ONE PHASE")},
	{"XA rolled back", list("XA START 'a'", "INSERT INTO t VALUES (1, 1)", "XA END 'a'", "XA PREPARE 'a'", "XA ROLLBACK 'a'")},
	{"accounts", list("CREATE USER x", "GRANT SELECT ON *.* TO x", "DROP USER x")},
	{"routines", list("CREATE PROCEDURE p() BEGIN INSERT INTO t VALUES (1, 1); INSERT INTO t VALUES (2, 1); END", "CALL p()", "DROP PROCEDURE p")},
	{"a foreign key's cascade", list("CREATE TABLE parent (a INT PRIMARY KEY)", "CREATE TABLE child (a INT PRIMARY KEY, FOREIGN KEY (a) REFERENCES parent (a) ON DELETE CASCADE)",
		"INSERT INTO parent VALUES (1)", "INSERT INTO child VALUES (1)", "DELETE FROM parent", "DROP TABLE child, parent")},
	{"an update that changes nothing", list("INSERT INTO t VALUES (1, 1)", "UPDATE t SET b = 1")},
	{"a failed statement inside a transaction", list("INSERT INTO t VALUES (1, 1)", "BEGIN", "INSERT INTO t VALUES (2, 1)", "INSERT IGNORE INTO t VALUES (2, 1), (3, 1)", "COMMIT")},
	{"LOAD DATA in statement format", list("SET binlog_format = STATEMENT", "LOAD DATA INFILE 'rows.txt' INTO TABLE t", "SET binlog_format = ROW")},
	{"LOAD DATA in row format", list("LOAD DATA INFILE 'rows.txt' INTO TABLE t")},
	{"flush and analyze", list("FLUSH TABLES", "ANALYZE TABLE t", "OPTIMIZE TABLE t")},
}

var onlyMariaDB = []struct {
	name  string
	stmts []string
}{
	{"sequence", list("CREATE SEQUENCE s", "SELECT NEXTVAL(s)", "SELECT SETVAL(s, 5000)", "INSERT INTO t VALUES (NEXTVAL(s), 1)", "DROP SEQUENCE s")},
	{"ALTER in two phases", list("CREATE TABLE x (a INT)", "SET binlog_alter_two_phase = ON", "ALTER TABLE x ADD b INT", "SET binlog_alter_two_phase = OFF")},
	{"CREATE OR REPLACE … SELECT", list("CREATE TABLE x (a INT)", "CREATE OR REPLACE TABLE x AS SELECT 1 AS a")},
	{"Aria", list("CREATE TABLE x (a INT) ENGINE=Aria", "INSERT INTO x VALUES (1)")},
}

func list(s ...string) []string { return s }

var (
	setup = list("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY, b INT)", "CREATE TABLE d.u (a INT PRIMARY KEY, b INT)",
		"CREATE TABLE d.m (a INT PRIMARY KEY, b INT) ENGINE=MyISAM", "CREATE TABLE d.ai (a INT AUTO_INCREMENT PRIMARY KEY, b DOUBLE)")
	cleanup = list("SET sql_log_bin = 0", "DELETE FROM d.t", "DELETE FROM d.u", "DELETE FROM d.m", "DROP TABLE IF EXISTS d.x")
)

func TestRealLogs(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		var args []string
		if d.Flavor == server.MySQL { // with GTIDs it refuses to mix engines
			args = list("--gtid-mode=OFF", "--enforce-gtid-consistency=OFF")
		}
		src := reallog.Start(t, d, args...)
		src.DB.SetMaxIdleConns(0) // a session for each case
		src.Exec(t, setup...)
		// LOAD DATA looks for a file without a directory in that of its database.
		if err := os.WriteFile(filepath.Join(src.DataDir(), "d", "rows.txt"), []byte("1\t1\n2\t2\n"), 0o644); err != nil { //nolint:gosec // the server reads it
			t.Fatal(err)
		}
		t.Run("groups", func(t *testing.T) { testGroups(t, d, src) })
		t.Run("context", func(t *testing.T) { testContext(t, d, src) })
	})
}

func testGroups(t *testing.T, d server.Distribution, src *reallog.Source) {
	all := cases
	if d.Flavor == server.MariaDB {
		all = append(all[:len(all):len(all)], onlyMariaDB...)
	}
	text := runCases(t, src, all)
	if d.Flavor == server.MySQL {
		src.Exec(t, "SET GLOBAL binlog_transaction_compression = ON")
		if packed := runCases(t, src, all); packed != text {
			t.Error("transactions in compressed payloads are not those that are not compressed")
			compareLines(t, packed, text)
		}
	}
	golden := filepath.Join("testdata", d.Name+".groups")
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	compareLines(t, text, string(want))
}

func compareLines(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		a, b := "", ""
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			t.Errorf("line %d is\n\t%s\nwant\n\t%s", i+1, a, b)
			return
		}
	}
}

func runCases(t *testing.T, src *reallog.Source, all []struct {
	name  string
	stmts []string
}) string {
	t.Helper()
	var out strings.Builder
	for _, c := range all {
		path := src.Record(t, append(list("USE d"), c.stmts...)...)
		src.Exec(t, cleanup...)
		fmt.Fprintf(&out, "# %s\n", c.name)
		for _, s := range c.stmts {
			fmt.Fprintf(&out, "%s;\n", s)
		}
		f, err := binlog.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		sc := txn.NewScanner(f, 0, &binlog.Inflater{Limit: 1 << 20})
		tracked := track(t, f)
		end := f.First
		for {
			g, ok, err := sc.Next()
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			if err != nil || !ok {
				break
			}
			if g.Start < end || g.End <= g.Start || g.Committed.Year() < 2020 || g.Committed.Location().String() != "UTC" {
				t.Errorf("%s: a transaction from %d to %d behind %d, committed at %s", c.name, g.Start, g.End, end, g.Committed)
			}
			end = g.End
			fmt.Fprintf(&out, "\t%s\n", summary(&g))
			if want := (trackedEnd{g.End, g.Committed, g.Head}); len(tracked) == 0 || tracked[0] != want {
				t.Errorf("%s: the tracker has ends at %v, the scanner at %v", c.name, tracked, want)
			} else {
				tracked = tracked[1:]
			}
		}
		if len(tracked) > 0 {
			t.Errorf("%s: the tracker has ends at %v, the scanner none", c.name, tracked)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

// trackedEnd is what a Tracker knows of a group.
type trackedEnd struct {
	end       int64
	committed time.Time
	head      binlog.GTID
}

func track(t *testing.T, f *binlog.File) (ends []trackedEnd) {
	t.Helper()
	var tr txn.Tracker
	for r := f.Events(0); ; {
		ev, ok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return ends
		}
		ended, err := tr.Add(ev)
		if err != nil {
			t.Fatal(err)
		}
		if ended {
			ends = append(ends, trackedEnd{ev.End, tr.Committed, tr.Head})
		}
	}
}

var spaces = regexp.MustCompile(`\s+`)

func summary(g *txn.Transaction) string {
	s := g.Kind.String()
	if g.RolledBack {
		s += ", rolled back"
	}
	if g.CreatesTable() {
		s += ", creates a table"
	}
	if g.Refused != nil {
		s += ", refused: " + g.Refused.Error()
	}
	if !g.HasID {
		s += ", no GTID"
	}
	s += ":"
	letters := map[binlog.RowsKind]string{binlog.WriteRows: "insert", binlog.UpdateRows: "update", binlog.DeleteRows: "delete"}
	for _, ev := range g.Events {
		switch {
		case ev.Type == binlog.QueryEvent:
			q, err := binlog.DecodeQuery(ev.Body, 0)
			if err != nil {
				return err.Error()
			}
			s += " [" + spaces.ReplaceAllString(string(q.SQL), " ") + "]"
		case ev.Type == binlog.TableMapEvent:
			m, err := binlog.DecodeTableMap(ev.Body)
			if err != nil {
				return err.Error()
			}
			s += " " + m.Table
		case ev.Type.Rows() != binlog.NotRows:
			s += " " + letters[ev.Type.Rows()]
		default:
			s += " " + ev.Type.String()
		}
	}
	return s
}

// TestCutOffInsideAGroup: whatever the cut, the groups before it come whole,
// the one that is cut off does not come at all, and the error says where it
// began.
func TestCutOffInsideAGroup(t *testing.T) {
	paths, err := filepath.Glob("../binlog/testdata/*plain.log")
	if err != nil || len(paths) == 0 {
		t.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := scan(data, 0)
		if err != nil {
			t.Fatal(err)
		}
		first := whole[0].Start
		for n := int(first); n < len(data); n++ {
			got, err := scan(data[:n], 0)
			done := 0
			for done < len(whole) && whole[done].End <= int64(n) {
				done++
			}
			if len(got) != done {
				t.Fatalf("%s cut at %d: %d transactions, want %d", path, n, len(got), done)
			}
			inside := done < len(whole) && whole[done].Start < int64(n)
			var pe *binlog.PosError
			switch {
			case inside && !errors.Is(err, txn.ErrIncomplete) && !errors.Is(err, binlog.ErrTruncated):
				t.Errorf("%s cut at %d: %v", path, n, err)
			case inside && (!errors.As(err, &pe) || pe.Pos.Offset != whole[done].Start):
				t.Errorf("%s cut at %d: %v, but the transaction begins at %d", path, n, err, whole[done].Start)
			}
		}
	}
}

func scan(data []byte, offset int64) (out []txn.Transaction, err error) {
	f, err := binlog.NewFile("log.000001", data)
	if err != nil {
		return nil, err
	}
	sc := txn.NewScanner(f, offset, &binlog.Inflater{Limit: 1 << 20})
	for {
		g, ok, err := sc.Next()
		if err != nil || !ok {
			return out, err
		}
		out = append(out, g)
	}
}

// TestStartInsideAGroup: a start at any offset that is not between two groups
// is an error, and never a part of a transaction.
func TestStartInsideAGroup(t *testing.T) {
	paths, err := filepath.Glob("../binlog/testdata/*.log")
	if err != nil || len(paths) == 0 {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.Contains(path, "nochecksum") {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := scan(data, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range whole {
			for n := g.Start + 1; n < g.End; n++ {
				got, err := scan(data, n)
				if err == nil || len(got) > 0 {
					t.Fatalf("%s, from %d, inside a transaction from %d to %d: %d transactions, %v", path, n, g.Start, g.End, len(got), err)
				}
			}
		}
	}
}
