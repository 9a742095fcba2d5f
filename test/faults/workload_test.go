package faults_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
)

// rows is the size of the tables that transactions work on.
const rows = 4000

func recordBusy(t *testing.T, d server.Distribution, dir string) *rig.World {
	t.Helper()
	began := time.Now()
	args := []string{"--max-allowed-packet=64M", "--innodb-buffer-pool-size=64M", "--log-bin-trust-function-creators=1", "--skip-networking"}
	args = append(args, rig.GTIDs(d, seed%2 == 0)...)
	w := rig.Record(t, d, rig.Plan{
		Dir: dir, Args: args, Only: []string{"--max-binlog-size=4M"}, SetUp: setUp,
		Load: func(t testing.TB, source *server.Instance) {
			load(t, source, number("LIFEBOAT_TRANSACTIONS", transactions))
		},
	})
	t.Logf("%s: %d binary logs in %.1f s", d.Name, len(w.Logs), time.Since(began).Seconds())
	return w
}

func setUp(t testing.TB, db *sql.DB) {
	t.Helper()
	digits := "(SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)"
	servertest.Exec(t, db,
		"CREATE DATABASE f",
		"USE f",
		"CREATE TABLE seq (n INT PRIMARY KEY)",
		fmt.Sprintf("INSERT INTO seq SELECT a.d+10*b.d+100*c.d+1000*e.d+1 FROM %[1]s a, %[1]s b, %[1]s c, %[1]s e", digits),
		"CREATE TABLE sb1 (id INT PRIMARY KEY AUTO_INCREMENT, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY (k))",
		"CREATE TABLE sb2 LIKE sb1",
		fmt.Sprintf("INSERT INTO sb1 SELECT n, n*7, REPEAT('c', n %% 120), REPEAT('p', n %% 60) FROM seq WHERE n <= %d", rows),
		"INSERT INTO sb2 SELECT * FROM sb1",
		"CREATE TABLE uq (id INT PRIMARY KEY, u INT NULL UNIQUE, v INT)",
		"INSERT INTO uq SELECT n, n, 0 FROM seq WHERE n <= 400",
		"CREATE TABLE nokey (a INT, b VARCHAR(20))",
		"INSERT INTO nokey SELECT n % 20, 'x' FROM seq WHERE n <= 200",
		"CREATE TABLE parent (id INT PRIMARY KEY, n INT)",
		"CREATE TABLE child (id INT PRIMARY KEY AUTO_INCREMENT, p INT, v INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE)",
		"INSERT INTO parent SELECT n, 0 FROM seq WHERE n <= 1000",
		"INSERT INTO child (p, v) SELECT n, 0 FROM seq WHERE n <= 1000",
		"CREATE TABLE counter (id INT PRIMARY KEY, a BIGINT NOT NULL)",
		"INSERT INTO counter SELECT n, 0 FROM seq WHERE n <= 10",
		"CREATE TABLE swap_a (id INT PRIMARY KEY AUTO_INCREMENT, v INT)",
		"CREATE TABLE swap_b LIKE swap_a",
		"INSERT INTO swap_a (v) SELECT n FROM seq WHERE n <= 100",
		"CREATE TABLE trunc (id INT PRIMARY KEY AUTO_INCREMENT, v INT)",
		"CREATE TABLE idx (id INT PRIMARY KEY, k INT, v INT)",
		"INSERT INTO idx SELECT n, n, n FROM seq WHERE n <= 500",
		"CREATE TABLE part (id INT PRIMARY KEY, v INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (1000), PARTITION p1 VALUES LESS THAN MAXVALUE)",
		"CREATE TABLE exch (id INT PRIMARY KEY, v INT)",
		"INSERT INTO part SELECT n, 0 FROM seq WHERE n <= 2000",
		"INSERT INTO exch SELECT n, -1 FROM seq WHERE n <= 50",
		"CREATE TABLE big (id BIGINT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(200))",
	)
}

// load runs transactions on four connections and definitions on a fifth.
func load(t testing.TB, source *server.Instance, total int) {
	t.Helper()
	var done atomic.Int64
	rig.Do(t, source, func(db *sql.DB) {
		var workers sync.WaitGroup
		for n := range 4 {
			workers.Go(func() {
				s := newSession(t, db)
				r := rand.New(rand.NewPCG(seed, uint64(n))) //nolint:gosec // a test's choices
				for done.Add(1) <= int64(total) {
					s.exec(transaction(r, n, total))
				}
				s.close()
			})
		}
		s := newSession(t, db)
		rounds := min(6, 3+total/5000)
		for n := range rounds {
			for i, step := range definitions(n) {
				at := int64(total) * int64(n*stepsPerRound+i) / int64(rounds*stepsPerRound)
				for done.Load() < at && !t.Failed() {
					time.Sleep(time.Millisecond)
				}
				for _, statement := range strings.Split(step, "; ") { // in one text a trigger's would keep the semicolon
					s.exec(statement)
				}
			}
		}
		workers.Wait()
		s.close()
	})
}

// session is a connection of the workload.
type session struct {
	t    testing.TB
	conn *sql.Conn
}

func newSession(t testing.TB, db *sql.DB) *session {
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Error(err)
	}
	return &session{t, conn}
}

func (s *session) close() { _ = s.conn.Close() }

// exec runs statements. What a transaction may run into when others change
// the same rows and tables is rolled back and forgotten.
func (s *session) exec(statements string) {
	ctx := context.WithoutCancel(s.t.Context())
	_, err := s.conn.ExecContext(ctx, statements)
	if err == nil {
		return
	}
	var refused *mysql.MySQLError
	if !errors.As(err, &refused) {
		s.t.Errorf("%v\n\t%s", err, statements)
		return
	}
	switch refused.Number {
	case 1062, 1205, 1213, 1412, 1020, 1452: // duplicate, lock timeout, deadlock, definition or row changed
	default:
		s.t.Errorf("%v\n\t%s", err, statements)
	}
	if _, err := s.conn.ExecContext(ctx, "ROLLBACK; SET SESSION binlog_format = ROW"); err != nil {
		s.t.Error(err)
	}
}

// transaction makes a transaction of worker n.
func transaction(r *rand.Rand, n, total int) string {
	id := func(most int) int { return r.IntN(most/4)*4 + n + 1 } // workers seldom meet
	switch p := r.IntN(100); {
	case p < 44:
		table := fmt.Sprintf("f.sb%d", 1+r.IntN(2))
		gone := id(rows)
		return fmt.Sprintf("BEGIN; UPDATE %[1]s SET k=k+1 WHERE id=%[2]d; UPDATE %[1]s SET c='%[3]s' WHERE id=%[4]d; DELETE FROM %[1]s WHERE id=%[5]d; INSERT INTO %[1]s VALUES (%[5]d, %[6]d, 'new', 'row'); COMMIT",
			table, id(rows), strings.Repeat("x", r.IntN(100)), id(rows), gone, r.IntN(rows))
	case p < 54:
		a, b := id(400), id(400)
		return fmt.Sprintf("BEGIN; SET @a=(SELECT u FROM f.uq WHERE id=%[1]d FOR UPDATE), @b=(SELECT u FROM f.uq WHERE id=%[2]d FOR UPDATE); UPDATE f.uq SET u=NULL WHERE id=%[1]d; UPDATE f.uq SET u=@a, v=v+1 WHERE id=%[2]d; UPDATE f.uq SET u=IF(%[1]d=%[2]d, @a, @b) WHERE id=%[1]d; COMMIT", a, b)
	case p < 59:
		return fmt.Sprintf("BEGIN; INSERT INTO f.nokey VALUES (%[1]d,'y'),(%[1]d,'y'); DELETE FROM f.nokey WHERE a=%[2]d LIMIT 1; UPDATE f.nokey SET b='z' WHERE a=%[3]d LIMIT 1; COMMIT", r.IntN(20), r.IntN(20), r.IntN(20))
	case p < 67:
		old := id(1000)
		return fmt.Sprintf("BEGIN; DELETE FROM f.parent WHERE id=%[1]d; INSERT INTO f.parent VALUES (%[1]d, 1); INSERT INTO f.child (p, v) VALUES (%[1]d, 1), (%[1]d, 2); UPDATE f.parent SET id=%[2]d WHERE id=%[3]d; COMMIT",
			old, 1001+r.IntN(1_000_000)*4+n, id(1000))
	case p < 69 && r.IntN(transactions) < 5000: // about as many in a long run
		return "SET SESSION binlog_format = STATEMENT; UPDATE f.counter SET a=a+1; SET SESSION binlog_format = ROW"
	case p < 75:
		return fmt.Sprintf("BEGIN; INSERT INTO f.swap_a (v) VALUES (%d); UPDATE f.swap_b SET v=v+1 WHERE id=%d; COMMIT", r.IntN(1000), 1+r.IntN(100))
	case p < 81:
		return fmt.Sprintf("INSERT INTO f.trunc (v) VALUES (%d),(%d)", r.IntN(1000), r.IntN(1000))
	case p < 88:
		return fmt.Sprintf("UPDATE f.part SET v=v+1 WHERE id BETWEEN %[1]d AND %[1]d+3", r.IntN(2000))
	case p < 95:
		return fmt.Sprintf("UPDATE f.idx SET v=v+1 WHERE id=%d", id(500))
	default:
		return fmt.Sprintf("INSERT INTO f.big (v) VALUES (REPEAT('%c', %d))", 'a'+r.IntN(26), r.IntN(200))
	}
}

const stepsPerRound = 12

// definitions are a round of statements that commit by themselves; of many,
// doing one twice is an error or shows in the end state.
func definitions(n int) []string {
	bulk := fmt.Sprintf("INSERT INTO f.big (v) SELECT REPEAT(CHAR(97 + n %% 26), 60 + n %% 120) FROM f.seq WHERE n <= 3000 + %d", n)
	drop := "DROP TABLE IF EXISTS f.ctas"
	revoke := "CREATE TABLE f.extra (id INT PRIMARY KEY)"
	if n > 0 {
		drop = fmt.Sprintf("DROP TABLE f.ctas%d", n-1)
		revoke = fmt.Sprintf("REVOKE INSERT ON f.* FROM u%d@localhost", n-1)
	}
	most := bulk
	if n == 0 { // more keys than the index of one window takes
		most = strings.Repeat(bulk+"; ", 23) + bulk
	}
	return []string{
		"RENAME TABLE f.swap_a TO f.swap_c, f.swap_b TO f.swap_a, f.swap_c TO f.swap_b",
		most,
		"TRUNCATE f.trunc",
		"ALTER TABLE f.idx ADD INDEX (k)",
		"ALTER TABLE f.part EXCHANGE PARTITION p0 WITH TABLE f.exch",
		fmt.Sprintf("CREATE TABLE f.ctas%d (PRIMARY KEY (id)) SELECT id, k FROM f.sb1 WHERE id <= 300", n),
		fmt.Sprintf("CREATE USER u%[1]d@localhost IDENTIFIED BY 'p%[1]d'; GRANT SELECT, INSERT ON f.* TO u%[1]d@localhost", n),
		bulk,
		fmt.Sprintf("ALTER TABLE f.idx ADD COLUMN c%d INT DEFAULT 7", n),
		drop,
		revoke,
		fmt.Sprintf("CREATE VIEW f.v%[1]d AS SELECT id, v FROM f.idx; CREATE TRIGGER f.t%[1]d BEFORE INSERT ON f.trunc FOR EACH ROW SET NEW.v = NEW.v + 1; FLUSH BINARY LOGS", n),
	}
}
