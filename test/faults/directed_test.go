package faults_test

import (
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
)

// places are the statements to kill at: everything that moves a replay's
// state. That of the log's own statements comes last.
var places = []string{
	`^BEGIN`,
	`^BINLOG`,
	`^INSERT INTO lifeboat\.chunk`,
	`^COMMIT`,
	`^REPLACE INTO lifeboat\.checkpoint`,
	`^INSERT IGNORE INTO lifeboat\.setting`,
	`^CREATE DATABASE IF NOT EXISTS lifeboat`,
	`^CREATE TABLE IF NOT EXISTS lifeboat`,
	`^DELETE FROM lifeboat\.chunk`,
	`^SET GLOBAL`,
	`^RENAME TABLE`,
	`^TRUNCATE`,
	`ADD INDEX`,
	`EXCHANGE PARTITION`,
	`^CREATE TABLE .*ctas`,
	`^CREATE USER`,
	`^GRANT`,
	`^REVOKE`,
	`ADD COLUMN`,
	`^DROP TABLE .*ctas`,
	`^CREATE .*VIEW`,
	`^CREATE .*TRIGGER`,
	`^UPDATE f\.counter`,
	`^SET GLOBAL gtid_|^RESET MASTER|^RESET BINARY`,
	`^DROP DATABASE IF EXISTS lifeboat`,
}

// TestKilledAtStatements kills lifeboat in front of and behind each kind of
// statement, run after run on one target, so that each run resumes what the
// last one left. A plain run takes some of them.
func TestKilledAtStatements(t *testing.T) {
	patterns := make([]*regexp.Regexp, len(places))
	for i, place := range places {
		patterns[i] = regexp.MustCompile(`(?is)` + place)
	}
	each(t, func(t *testing.T, d server.Distribution) {
		r := random(t)
		w := busy(t, d)
		wanted := map[int]int{} // place and action → how many to let pass before
		for _, n := range r.Perm(2 * len(places))[:min(2*len(places), 2*number("LIFEBOAT_KILLS", kills))] {
			wanted[n] = r.IntN(3)
		}
		target := w.Target(t, t.TempDir())
		proxy := rig.NewProxy(t, target.Socket())
		args := command(w, proxy.DSN(), "--finalize")
		var moments []string
		for {
			p := rig.Launch(t, lifeboat, args...)
			proxy.Hook(func(statement []byte) rig.Action {
				for i, pattern := range patterns {
					if !pattern.Match(statement[:min(len(statement), 200)]) {
						continue
					}
					for action := rig.CutBefore; action <= rig.CutAfter; action++ {
						n := 2*i + int(action-rig.CutBefore)
						left, ok := wanted[n]
						if wanted[n] = left - 1; !ok {
							delete(wanted, n)
						} else if left <= 0 {
							p.Kill()
							delete(wanted, n)
							moments = append(moments, fmt.Sprintf("%s %s", [...]string{"", "before", "after"}[action], shorten(statement)))
							return action
						}
					}
				}
				return rig.Pass
			})
			res := p.Wait(t)
			proxy.Hook(nil)    // waits for the hook to end
			if res.Code == 7 { // the server has yet to see that the last one is dead
				time.Sleep(100 * time.Millisecond)
				continue
			}
			if res.Code > 0 {
				t.Fatalf("killed\n%s\n%v", strings.Join(moments, "\n"), res)
			}
			if res.Code == 0 || strings.Contains(moments[len(moments)-1], "after DROP DATABASE") {
				break // what comes then is a server like any other
			}
		}
		for began := time.Now(); !finalized(t, target); time.Sleep(10 * time.Millisecond) { // the statement may be on its way
			if time.Since(began) > 10*time.Second {
				t.Error("the checkpoint is still there")
				break
			}
		}
		same(t, w, target, "killed\n"+strings.Join(moments, "\n"))
		t.Logf("killed %d times:\n%s", len(moments), strings.Join(moments, "\n"))
	})
}

// finalized says whether the checkpoint is gone, and with it what a further
// run would resume from.
func finalized(t *testing.T, target *server.Instance) bool {
	t.Helper()
	var n int
	rig.Do(t, target, func(db *sql.DB) {
		if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'lifeboat'").Scan(&n); err != nil {
			t.Fatal(err)
		}
	})
	return n == 0
}

// quiet records a small world: a few rows, then the given statements.
func quiet(t *testing.T, d server.Distribution, statements ...string) *rig.World {
	t.Helper()
	return rig.Record(t, d, rig.Plan{
		Dir: t.TempDir(), Args: append(rig.GTIDs(d, seed%2 == 0), "--skip-networking", "--log-bin-trust-function-creators=1"),
		SetUp: func(t testing.TB, db *sql.DB) {
			servertest.Exec(t, db, "CREATE DATABASE q", "CREATE TABLE q.t (id INT PRIMARY KEY, a INT)",
				"INSERT INTO q.t VALUES (1,1),(2,2),(3,3)", "CREATE TABLE q.u (id INT PRIMARY KEY, a INT)")
		},
		Load: func(t testing.TB, source *server.Instance) {
			rig.Do(t, source, func(db *sql.DB) { servertest.Exec(t, db, statements...) })
		},
	})
}

// await waits until the server runs a statement whose text and state match.
func await(t *testing.T, db *sql.DB, condition string) {
	t.Helper()
	const query = "SELECT COUNT(*) FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND "
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var n int
		if err := db.QueryRowContext(t.Context(), query+condition).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not seen within 20 s: %s", condition)
		}
	}
}

// A server goes on with a statement whose client is dead. A definition that
// waits for a lock when lifeboat is killed happens later, beside the run that
// resumes: it must happen once.
func TestDefinitionOutlivesKill(t *testing.T) {
	one(t, 0, func(t *testing.T, d server.Distribution) {
		w := quiet(t, d, "UPDATE q.t SET a=10 WHERE id=1", "ALTER TABLE q.t ADD INDEX (a)", "UPDATE q.t SET a=20 WHERE id=2", "INSERT INTO q.u VALUES (1,1)")
		target := w.Target(t, t.TempDir())
		args := command(w, target.DSN(""))
		rig.Do(t, target, func(db *sql.DB) {
			holder, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = holder.Close() }()
			for _, s := range []string{"BEGIN", "SELECT * FROM q.t WHERE id=3"} {
				if _, err := holder.ExecContext(t.Context(), s); err != nil {
					t.Fatal(err)
				}
			}
			p := rig.Launch(t, lifeboat, args...)
			await(t, db, "info LIKE 'ALTER TABLE q.t%' AND state LIKE 'Waiting for table metadata lock%'")
			p.Kill()
			p.Wait(t)
			second := rig.Launch(t, lifeboat, args...)
			time.Sleep(500 * time.Millisecond)
			if _, err := holder.ExecContext(t.Context(), "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
			if res := second.Wait(t); res.Code != 0 {
				t.Errorf("the run that resumes beside the old statement: %v", res)
				finish(t, args)
			}
		})
		same(t, w, target, "definition in flight")
	})
}

// The same with commits: FLUSH TABLES WITH READ LOCK holds them up. Those that
// lifeboat had sent when it was killed still happen.
func TestCommitOutlivesKill(t *testing.T) {
	for name, statements := range map[string][]string{
		"rows":      {"UPDATE q.t SET a=10 WHERE id=1", "INSERT INTO q.u VALUES (1,1),(2,2)", "DELETE FROM q.t WHERE id=2"},
		"statement": {"SET SESSION binlog_format = STATEMENT", "UPDATE q.t SET a=a+1", "SET SESSION binlog_format = ROW", "INSERT INTO q.u VALUES (1,1)"},
	} {
		t.Run(name, func(t *testing.T) {
			one(t, uint64(len(name)), func(t *testing.T, d server.Distribution) { testCommitOutlivesKill(t, d, statements) })
		})
	}
}

func testCommitOutlivesKill(t *testing.T, d server.Distribution, statements []string) {
	w := quiet(t, d, statements...)
	target := w.Target(t, t.TempDir())
	proxy := rig.NewProxy(t, target.Socket())
	rig.Do(t, target, func(db *sql.DB) {
		blocker, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = blocker.Close() }()
		exec := func(s string) {
			if _, err := blocker.ExecContext(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		p := rig.Launch(t, lifeboat, command(w, proxy.DSN())...)
		change, held := false, false
		proxy.Hook(func(statement []byte) rig.Action {
			text := strings.ToUpper(string(statement[:min(60, len(statement))]))
			if strings.Contains(text, "LIFEBOAT.CHUNK VALUES") || strings.HasPrefix(text, "UPDATE Q.T") {
				change = true
			}
			if change && !held && strings.HasPrefix(text, "COMMIT") {
				held = true
				exec("FLUSH TABLES WITH READ LOCK")
			}
			return rig.Pass
		})
		await(t, db, "info = 'COMMIT' AND state LIKE 'Waiting for %lock%'")
		p.Kill()
		p.Wait(t)
		second := rig.Launch(t, lifeboat, command(w, target.DSN(""))...)
		time.Sleep(700 * time.Millisecond)
		exec("UNLOCK TABLES")
		if res := second.Wait(t); res.Code != 0 {
			t.Errorf("the run that resumes beside the old commit: %v", res)
			finish(t, command(w, target.DSN("")))
		}
	})
	same(t, w, target, "commit in flight")
}
