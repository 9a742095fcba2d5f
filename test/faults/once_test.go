package faults_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
)

// unusual are statements that commit by themselves, most of which fail or show
// when they happen twice, among transactions that count how often they happen.
var unusual = []string{
	"CREATE TABLE q.c SELECT * FROM q.t",
	"ALTER TABLE q.t ADD CONSTRAINT CHECK (a < 1000000)",
	"ALTER TABLE q.t ADD CONSTRAINT named CHECK (a < 2000000)",
	"ALTER TABLE q.t DROP CONSTRAINT named",
	"ALTER TABLE q.u ADD FOREIGN KEY (a) REFERENCES q.t (id)",
	"CREATE ROLE r1", "CREATE USER x1@localhost", "GRANT r1 TO x1@localhost",
	"GRANT SELECT (id) ON q.t TO x1@localhost", "REVOKE SELECT (id) ON q.t FROM x1@localhost",
	"CREATE PROCEDURE q.p() SELECT 1", "GRANT EXECUTE ON PROCEDURE q.p TO x1@localhost", "REVOKE EXECUTE ON PROCEDURE q.p FROM x1@localhost", "DROP PROCEDURE q.p",
	"REVOKE r1 FROM x1@localhost",
	"CREATE EVENT q.e ON SCHEDULE EVERY 1 DAY DO SELECT 1", "ALTER EVENT q.e DISABLE", "DROP EVENT q.e",
	"RENAME USER x1@localhost TO x2@localhost", "DROP ROLE r1", "DROP USER x2@localhost",
	"CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST '127.0.0.1', DATABASE 'q')", "DROP SERVER s",
	"ALTER TABLE q.t COMMENT 'remark'", "ALTER TABLE q.t ALTER COLUMN a SET DEFAULT 5", "ALTER DATABASE q CHARACTER SET utf8mb4",
	"RENAME TABLE q.u TO q.u2", "RENAME TABLE q.u2 TO q.u",
	"ANALYZE TABLE q.t", "OPTIMIZE TABLE q.t", "FLUSH TABLES",
	"CREATE DATABASE q2", "CREATE TABLE q2.z (a INT)", "INSERT INTO q2.z VALUES (1)", "DROP DATABASE q2",
	"CREATE TABLE q.part (a INT) PARTITION BY RANGE (a) (PARTITION p1 VALUES LESS THAN (10), PARTITION p2 VALUES LESS THAN (20))",
	"INSERT INTO q.part VALUES (1), (11)", "ALTER TABLE q.part TRUNCATE PARTITION p1", "INSERT INTO q.part VALUES (2)",
	"ALTER TABLE q.part REORGANIZE PARTITION p1 INTO (PARTITION p0 VALUES LESS THAN (5), PARTITION p1 VALUES LESS THAN (10))",
	"ALTER TABLE q.part DROP PARTITION p2", "ALTER TABLE q.part ADD PARTITION (PARTITION p3 VALUES LESS THAN (30))",
	"CREATE TABLE q.m1 (a INT)", "CREATE TABLE q.m2 (a INT)", "DROP TABLE q.m1, q.m2",
	"CREATE USER a1@localhost, a2@localhost", "DROP USER a1@localhost, a2@localhost",
	"CREATE INDEX i ON q.t (a)", "DROP INDEX i ON q.t", "DROP TABLE q.c",
}

var unusualMariaDB = []string{
	"CREATE SEQUENCE q.s", "DO NEXTVAL(q.s)", "ALTER SEQUENCE q.s RESTART 100", "DO NEXTVAL(q.s)", "DROP SEQUENCE q.s",
	"CREATE OR REPLACE TABLE q.c (a INT)", "CREATE OR REPLACE TABLE q.c SELECT * FROM q.t", "CREATE FUNCTION q.f() RETURNS INT RETURN 1", "DROP FUNCTION q.f",
	"CREATE TABLE q.v (a INT) WITH SYSTEM VERSIONING", "INSERT INTO q.v VALUES (1)", "UPDATE q.v SET a=a+1", "DROP TABLE q.v",
}

// definitionsOf is the world of a source that did all of these.
func definitionsOf(t *testing.T, d server.Distribution) *rig.World {
	t.Helper()
	list := unusual
	if d.Flavor == server.MariaDB {
		list = append(list[:len(list):len(list)], unusualMariaDB...)
	}
	var load []string
	for i, s := range list {
		load = append(load, s, fmt.Sprintf("UPDATE q.t SET a=a+1 WHERE id=%d", 1+i%3))
		if i%5 == 0 {
			load = append(load, "SET SESSION binlog_format = STATEMENT", fmt.Sprintf("UPDATE q.t SET a=a+%d", i), "SET SESSION binlog_format = ROW")
		}
	}
	return quiet(t, d, load...)
}

// Every statement that lifeboat sends for such a log is a moment to die at:
// before the server has it, and before lifeboat has the answer. Each moment
// comes once, whatever the last one left behind. A plain run takes some.
func TestOnce(t *testing.T) {
	one(t, 1, func(t *testing.T, d server.Distribution) {
		r := random(t)
		w := definitionsOf(t, d)
		target := w.Target(t, t.TempDir())
		proxy := rig.NewProxy(t, target.Socket())
		args := command(w, proxy.DSN())
		seen := map[string]bool{}
		last := "" // statement of the log
		var moments []string
		for {
			p := rig.Launch(t, lifeboat, args...)
			proxy.Hook(func(statement []byte) rig.Action {
				text := shorten(statement)
				if reads(text) {
					return rig.Pass
				}
				if ours(text) {
					text = fmt.Sprintf("%.12s behind %s", text, last)
				} else {
					last = text
				}
				for action := rig.CutBefore; action <= rig.CutAfter; action++ {
					moment := fmt.Sprintf("%s %s", [...]string{"", "before", "after"}[action], text)
					if seen[moment] {
						continue
					}
					seen[moment] = true
					if !everywhere && r.IntN(6) > 0 {
						continue
					}
					moments = append(moments, moment)
					p.Kill()
					return action
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
			if res.Code == 0 {
				break
			}
		}
		same(t, w, target, "killed\n"+strings.Join(moments, "\n"))
		t.Logf("killed %d times", len(moments))
	})
}

// The server dies, as by kill -9, while it executes a definition. A plain run
// takes a few of them.
func TestServerKilledInDefinitions(t *testing.T) {
	one(t, 2, func(t *testing.T, d server.Distribution) {
		r := random(t)
		w := definitionsOf(t, d)
		target := w.Target(t, t.TempDir())
		proxy := rig.NewProxy(t, target.Socket())
		args := command(w, proxy.DSN())
		left := number("LIFEBOAT_SERVER_KILLS", serverKills)
		seen := map[string]bool{}
		var moments []string
		for left > 0 {
			p := rig.Launch(t, lifeboat, args...)
			pid, hit := target.PID(), false
			proxy.Hook(func(statement []byte) rig.Action {
				text := shorten(statement)
				if hit || seen[text] || reads(text) || ours(text) {
					return rig.Pass
				}
				seen[text] = true
				if r.IntN(40) > left {
					return rig.Pass
				}
				hit = true
				delay := time.Duration(r.IntN(8000)) * time.Microsecond
				moments = append(moments, fmt.Sprintf("%v behind %s", delay, text))
				time.AfterFunc(delay, func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
				return rig.Pass
			})
			res := p.Wait(t)
			proxy.Hook(nil) // waits for the hook to end
			if res.Code != 3 && res.Code != 0 {
				t.Fatalf("server killed\n%s\n%v", strings.Join(moments, "\n"), res)
			}
			left--
			if hit {
				if err := target.Kill(); err != nil {
					t.Fatal(err)
				}
				if err := target.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if res.Code == 0 {
				break
			}
		}
		finish(t, args)
		same(t, w, target, "server killed\n"+strings.Join(moments, "\n"))
		t.Logf("server killed\n%s", strings.Join(moments, "\n"))
	})
}

// MariaDB does a statement that names several objects one object after the
// other: a server that dies in the middle has done a part of it.
func TestServerKilledBetweenObjects(t *testing.T) {
	one(t, 0, func(t *testing.T, d server.Distribution) {
		r := random(t)
		var load []string
		kinds := []string{"DROP TABLE", "DROP DATABASE", "DROP USER", "CREATE USER", "RENAME TABLE"}
		for n := range number("LIFEBOAT_SERVER_KILLS", serverKills) {
			load = append(load, several(kinds[(n+int(seed))%len(kinds)], n)...) //nolint:gosec // a small number
		}
		w := quiet(t, d, load...)
		target := w.Target(t, t.TempDir())
		proxy := rig.NewProxy(t, target.Socket())
		args := command(w, proxy.DSN())
		seen := map[string]bool{}
		var moments []string
		for {
			p := rig.Launch(t, lifeboat, args...)
			pid, hit := target.PID(), false
			proxy.Hook(func(statement []byte) rig.Action {
				text := shorten(statement)
				if hit || seen[text] || reads(text) || ours(text) || !strings.Contains(string(statement), "many") || strings.HasPrefix(text, "CREATE TABLE") || strings.HasPrefix(text, "CREATE DATABASE") {
					return rig.Pass
				}
				seen[text], hit = true, true
				delay := time.Duration(r.IntN(5000)) * time.Microsecond
				moments = append(moments, fmt.Sprintf("%v behind %s", delay, text))
				time.AfterFunc(delay, func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
				return rig.Pass
			})
			res := p.Wait(t)
			proxy.Hook(nil) // waits for the hook to end
			if res.Code != 3 && res.Code != 0 {
				t.Fatalf("server killed\n%s\n%v", strings.Join(moments, "\n"), res)
			}
			if !hit {
				break
			}
			if err := target.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := target.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		finish(t, args)
		same(t, w, target, "server killed\n"+strings.Join(moments, "\n"))
		t.Logf("server killed\n%s", strings.Join(moments, "\n"))
	})
}

// several are statements that end in one which does something to many objects.
func several(kind string, n int) (load []string) {
	list := func(format string) string {
		var names []string
		for i := range 10 {
			names = append(names, fmt.Sprintf(format, n, i))
		}
		return strings.Join(names, ", ")
	}
	switch kind {
	case "DROP TABLE", "RENAME TABLE":
		for i := range 10 {
			load = append(load, fmt.Sprintf("CREATE TABLE q.many%d_%d (a INT)", n, i))
		}
		if kind == "RENAME TABLE" {
			return append(load, "RENAME TABLE "+list("q.many%[1]d_%[2]d TO q.renamed%[1]d_%[2]d"))
		}
		return append(load, "DROP TABLE "+list("q.many%d_%d"))
	case "DROP DATABASE":
		load = append(load, fmt.Sprintf("CREATE DATABASE many%d", n))
		for i := range 10 {
			load = append(load, fmt.Sprintf("CREATE TABLE many%d.t%d (a INT)", n, i))
		}
		return append(load, fmt.Sprintf("DROP DATABASE many%d", n))
	case "DROP USER":
		return append(load, "CREATE USER "+list("many%d_%d@localhost"), "DROP USER "+list("many%d_%d@localhost"))
	default:
		return append(load, "CREATE USER "+list("many%d_%d@localhost"))
	}
}

// ours says whether a statement is lifeboat's own and not one of the log's.
func ours(text string) bool {
	if strings.Contains(text, "lifeboat") {
		return true
	}
	switch verb(text) {
	case "SET", "BEGIN", "COMMIT", "ROLLBACK", "BINLOG", "KILL":
		return true
	default:
		return false
	}
}

// reads says whether a statement changes no more than its session.
func reads(text string) bool {
	switch verb(text) {
	case "SELECT", "SHOW", "USE":
		return true
	case "SET":
		return !strings.HasPrefix(text, "SET GLOBAL")
	default:
		return false
	}
}

func verb(text string) string {
	first, _, _ := strings.Cut(text, " ")
	return strings.ToUpper(first)
}
