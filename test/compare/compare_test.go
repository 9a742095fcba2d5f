package compare_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
)

func take(t *testing.T, db *sql.DB) compare.State {
	t.Helper()
	s, err := compare.Take(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDiff: each statement makes a difference, and undoing it none.
func TestDiff(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		db := servertest.Open(t, servertest.Start(t, d), "")
		servertest.Exec(t, db, "CREATE DATABASE d",
			"CREATE TABLE d.t (id INT PRIMARY KEY, f FLOAT, e DOUBLE, b VARBINARY(10), s VARCHAR(10), x BIT(3))",
			"INSERT INTO d.t VALUES (1, 0.1, 0.1, 'a', 'a', 1)", "CREATE TABLE d.n (a INT)", "INSERT INTO d.n VALUES (1), (1), (2)")
		before := take(t, db)
		if diff := compare.Diff(before, take(t, db), "a", "b", compare.Exact); diff != "" {
			t.Fatalf("nothing was done:\n%s", diff)
		}
		for _, change := range [][2]string{
			{"UPDATE d.t SET f = 0.10000001", "UPDATE d.t SET f = 0.1"},
			{"UPDATE d.t SET e = 0.1 + 1e-17 * 2", "UPDATE d.t SET e = 0.1"},
			{"UPDATE d.t SET b = X'6100'", "UPDATE d.t SET b = 'a'"},
			{"UPDATE d.t SET s = 'A'", "UPDATE d.t SET s = 'a'"},
			{"UPDATE d.t SET s = NULL", "UPDATE d.t SET s = 'a'"},
			{"UPDATE d.n SET a = 2 ORDER BY a LIMIT 1", "UPDATE d.n SET a = 1 ORDER BY a DESC LIMIT 1"},
			{"CREATE INDEX i ON d.t (f)", "DROP INDEX i ON d.t"},
			{"CREATE VIEW d.v AS SELECT 1", "DROP VIEW d.v"},
			{"CREATE TRIGGER d.tr BEFORE INSERT ON d.t FOR EACH ROW SET NEW.f = 1", "DROP TRIGGER d.tr"},
			{"CREATE USER u@localhost", "DROP USER u@localhost"},
		} {
			servertest.Exec(t, db, change[0])
			if compare.Diff(before, take(t, db), "a", "b", compare.Exact) == "" {
				t.Errorf("no difference after %s", change[0])
			}
			servertest.Exec(t, db, change[1])
			if diff := compare.Diff(before, take(t, db), "a", "b", compare.Exact); diff != "" {
				t.Errorf("after %s: %s", change[1], diff)
			}
		}
	})
}

func TestDiffShowsFewRows(t *testing.T) {
	rows := strings.Fields("a b c d e f g h")
	a := compare.State{Tables: map[string]compare.Table{"d.t": {Rows: rows}}}
	b := compare.State{Tables: map[string]compare.Table{"d.t": {Rows: rows[7:], AutoIncrement: 5}}}
	diff := compare.Diff(a, b, "source", "target", compare.Ignore)
	if !strings.Contains(diff, "and 2 more") || strings.Contains(diff, "only in target") {
		t.Errorf("Diff:\n%s", diff)
	}
	if compare.Diff(b, a, "target", "source", compare.AtMost) == diff {
		t.Error("a counter that is ahead is a difference")
	}
}
