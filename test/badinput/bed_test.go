package badinput_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
)

// kind is a server with or without GTIDs.
type kind struct {
	server.Distribution
	gtid bool // the target says what it contains
}

func (k kind) name() string {
	if k.gtid {
		return k.Name + "-gtid"
	}
	return k.Name + "-plain"
}

// beds are all servers with and without GTIDs; in a plain run only one of
// MariaDB's, which the seed chooses.
func beds(t *testing.T) (list []kind) {
	t.Helper()
	var maria []kind
	for _, d := range servertest.All(t) {
		both := []kind{{d, true}, {d, false}}
		if d.Flavor == server.MariaDB {
			maria = append(maria, both...)
		} else {
			list = append(list, both...)
		}
	}
	if !everywhere && len(maria) > 0 {
		t.Logf("LIFEBOAT_SEED=%d", seed)
		maria = maria[seed%len(maria):][:1]
	}
	return append(maria, list...)
}

var seed = func() int {
	if n, err := strconv.Atoi(os.Getenv("LIFEBOAT_SEED")); err == nil {
		return n
	}
	return rand.IntN(1_000_000)
}()

// recorded is a world with the places in it that cases need. Its log has five
// files: the third ends with a STOP_EVENT, the others with a ROTATE_EVENT.
type recorded struct {
	*rig.World
	Setup string // the log file that the set-up wrote
	marks map[string]string
}

var worlds = struct {
	sync.Mutex
	of map[string]*recorded
}{of: map[string]*recorded{}}

// world records what a kind of server leaves behind, once.
func world(t *testing.T, k kind) *recorded {
	t.Helper()
	worlds.Lock()
	defer worlds.Unlock()
	name := k.name()
	if k.Flavor == server.MariaDB {
		name = k.Name // its log is the same
	}
	if w := worlds.of[name]; w != nil {
		return w
	}
	dir, err := os.MkdirTemp(scratch, name)
	must(t, err)
	must(t, os.Chmod(dir, 0o755)) //nolint:gosec // another user has to get at it
	// Schedulers run, so that it shows when a replay forgets to let them.
	args := append(rig.GTIDs(k.Distribution, k.gtid), "--skip-networking", "--event-scheduler=ON")
	w := &recorded{marks: map[string]string{}}
	mark := func(t testing.TB, db *sql.DB, name string) {
		file, at, _ := rig.LogPosition(t, db, k.Distribution)
		w.marks[name] = fmt.Sprintf("%s:%d", file, at)
	}
	w.World = rig.Record(t, k.Distribution, rig.Plan{
		Dir: dir, Args: args,
		SetUp: func(t testing.TB, db *sql.DB) {
			servertest.Exec(t, db, "CREATE DATABASE b",
				"CREATE TABLE b.t (id INT PRIMARY KEY, a INT, v VARCHAR(50))", "CREATE TABLE b.u (id INT PRIMARY KEY, a INT)")
			mark(t, db, "early")
			for n := 1; n <= 20; n++ {
				if n == 11 {
					mark(t, db, "early statement")
					servertest.Exec(t, db, "SET SESSION binlog_format = STATEMENT", "UPDATE b.u SET a=a+1 WHERE id < 3", "SET SESSION binlog_format = ROW")
				}
				servertest.Exec(t, db, fmt.Sprintf("INSERT INTO b.t VALUES (%[1]d, %[1]d, 'start')", n), fmt.Sprintf("INSERT INTO b.u VALUES (%[1]d, %[1]d)", n))
			}
		},
		Load: func(t testing.TB, source *server.Instance) {
			rig.Do(t, source, func(db *sql.DB) {
				servertest.Exec(t, db, "UPDATE b.t SET a=a+100 WHERE id IN (1,9)")
				mark(t, db, "late update")
				servertest.Exec(t, db, "INSERT INTO b.t VALUES (100, 1, 'new')")
				mark(t, db, "late insert")
				servertest.Exec(t, db, "BEGIN", "UPDATE b.t SET v='two' WHERE id=2", "INSERT INTO b.u VALUES (21, 21)", "DELETE FROM b.t WHERE id=3", "COMMIT",
					"FLUSH BINARY LOGS",
					"UPDATE b.t SET v='four' WHERE id=1", "UPDATE b.t SET a=7 WHERE id=100", "INSERT INTO b.u VALUES (22, 1)", "UPDATE b.u SET a=0 WHERE id=5",
					"FLUSH BINARY LOGS",
					"ALTER TABLE b.u ADD COLUMN c INT DEFAULT 3", "INSERT INTO b.u VALUES (23, 1, 1)",
					"SET SESSION binlog_format = STATEMENT", "UPDATE b.u SET a=a+1", "SET SESSION binlog_format = ROW", "INSERT INTO b.t VALUES (101, 0, 'x')")
			})
			must(t, source.Restart(t.Context()))
			rig.Do(t, source, func(db *sql.DB) {
				servertest.Exec(t, db, "INSERT INTO b.t VALUES (102, 0, 'x')", "UPDATE b.t SET a=3 WHERE id=101",
					"FLUSH BINARY LOGS",
					"UPDATE b.t SET a=4 WHERE id=101", "BEGIN", "UPDATE b.t SET a=5 WHERE id=6", "UPDATE b.u SET a=5 WHERE id=6", "COMMIT")
				mark(t, db, "end")
			})
		},
	})
	w.Setup, _, _ = strings.Cut(w.marks["early"], ":")
	w.Setup = strings.Replace(w.Logs[0], w.First, w.Setup, 1)
	if len(w.Logs) != 5 {
		t.Fatalf("%d log files, want 5: %v", len(w.Logs), w.Logs)
	}
	worlds.of[name] = w
	return w
}

// bed is a target that cases must leave as it is.
type bed struct {
	kind
	*recorded
	t      *testing.T // that the target lives as long as
	target *server.Instance
	db     *sql.DB
	broken bool // a case has written to the target: take a new one
}

func makeBed(t *testing.T, k kind) *bed {
	t.Helper()
	b := &bed{kind: k, recorded: world(t, k), t: t}
	b.renew()
	return b
}

// renew takes a fresh target.
func (b *bed) renew() {
	t := b.t
	t.Helper()
	if b.target != nil {
		_ = b.db.Close()
		must(t, b.target.Kill())
	}
	b.target, b.broken = b.Target(t, t.TempDir()), false
	b.db = servertest.Open(t, b.target, "")
	b.db.SetMaxIdleConns(1)
	if b.Flavor == server.MariaDB && b.gtid {
		servertest.Exec(t, b.db, "SET GLOBAL gtid_slave_pos = '"+b.GTIDs+"'")
	}
	b.accounts(t)
}

// privileges are what the documentation demands, by vendor.
func (b *bed) privileges() []string {
	on := []string{"ALL ON b.*", "ALL ON lifeboat.*"}
	if b.Flavor == server.MariaDB {
		return append([]string{"PROCESS ON *.*", "BINLOG ADMIN ON *.*", "BINLOG REPLAY ON *.*", "SUPER ON *.*"}, on...)
	}
	return append([]string{"PROCESS ON *.*", "BINLOG_ADMIN ON *.*", "SESSION_VARIABLES_ADMIN ON *.*", "SYSTEM_VARIABLES_ADMIN ON *.*"}, on...)
}

// accounts makes an account "all" with the privileges, and "lackN" without the
// n-th of them.
func (b *bed) accounts(t *testing.T) {
	t.Helper()
	servertest.Exec(t, b.db, "CREATE USER password@localhost IDENTIFIED BY 'secret'")
	for n := -1; n < len(b.privileges()); n++ {
		user := fmt.Sprintf("lack%d@localhost", n)
		if n < 0 {
			user = "everything@localhost"
		}
		servertest.Exec(t, b.db, "CREATE USER "+user)
		for i, p := range b.privileges() {
			if i != n {
				servertest.Exec(t, b.db, "GRANT "+p+" TO "+user)
			}
		}
	}
}

// dsn is the target's data source name for a user.
func (b *bed) dsn(user string) string {
	return user + "@unix(" + b.target.Socket() + ")/"
}

// look is what must not change: databases, rows, global variables.
func (b *bed) look(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	read := func(prefix, query string) {
		rows, err := b.db.QueryContext(t.Context(), query)
		must(t, err)
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var name string
			var value sql.NullString
			must(t, rows.Scan(&name, &value))
			found[prefix+name] = value.String
		}
		must(t, rows.Err())
	}
	read("database ", "SELECT schema_name, '' FROM information_schema.schemata")
	read("table ", "SELECT CONCAT(table_schema, '.', table_name), table_type FROM information_schema.tables WHERE table_schema IN ('b', 'lifeboat')")
	for name := range found {
		if table, ok := strings.CutPrefix(name, "table b."); ok {
			read("checksum ", "CHECKSUM TABLE b."+table)
		}
	}
	read("variable ", "SHOW GLOBAL VARIABLES")
	return found
}

func changes(before, after map[string]string) (list []string) {
	for name, value := range before {
		if now, ok := after[name]; !ok || now != value {
			list = append(list, fmt.Sprintf("%s: %q → %q", name, value, now))
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			list = append(list, name+" is new")
		}
	}
	return list
}
