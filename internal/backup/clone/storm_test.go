package clone_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// storm is a worker that makes, fills, changes, renames and drops tables of its
// own, at random.
type storm struct {
	db     *sql.DB
	rnd    *rand.Rand
	worker int
	next   int // number of the next table
	tables []string
	light  bool // no tables are rebuilt, which waits for the end of PAGE COPY
}

func (s *storm) exec(format string, args ...any) error {
	statement := fmt.Sprintf(format, args...)
	if _, err := s.db.ExecContext(context.Background(), statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

func (s *storm) name() string {
	s.next++
	return fmt.Sprintf("storm.w%d_%d", s.worker, s.next)
}

func (s *storm) step() error {
	if len(s.tables) < 3 || s.rnd.IntN(8) == 0 && len(s.tables) < 12 {
		return s.create()
	}
	n := s.rnd.IntN(len(s.tables))
	table := s.tables[n]
	switch s.rnd.IntN(9) {
	case 0:
		s.tables = append(s.tables[:n], s.tables[n+1:]...)
		return s.exec("DROP TABLE %s", table)
	case 1:
		s.tables[n] = s.name()
		return s.exec("RENAME TABLE %s TO %s", table, s.tables[n])
	case 2:
		return s.exec("TRUNCATE TABLE %s", table)
	case 3:
		return s.swap()
	case 4, 5:
		if s.light {
			return s.exec("ALTER TABLE %s COMMENT = '%d'", table, s.next)
		}
		if s.rnd.IntN(2) == 0 {
			return s.exec("ALTER TABLE %s ENGINE=InnoDB", table)
		}
		return s.exec("ALTER TABLE %s ADD COLUMN c%d INT DEFAULT %d", table, s.rnd.IntN(1<<30), s.next)
	default:
		return s.exec("REPLACE INTO %s (a, b) VALUES (%d, REPEAT('%d', %d))", table, s.rnd.IntN(50), s.rnd.IntN(9), s.rnd.IntN(20000))
	}
}

func (s *storm) create() error {
	name := s.name()
	s.tables = append(s.tables, name)
	formats := []string{"", "", "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8", "COMPRESSION='lz4'", "TABLESPACE innodb_system", "TABLESPACE general",
		"PARTITION BY HASH (a) PARTITIONS 3"}
	return s.exec("CREATE TABLE %s (a INT PRIMARY KEY, b LONGTEXT) %s", name, formats[s.rnd.IntN(len(formats))])
}

// swap exchanges the names of two tables.
func (s *storm) swap() error {
	a, b := s.tables[0], s.tables[len(s.tables)-1]
	if a == b {
		return nil
	}
	return s.exec("RENAME TABLE %s TO storm.swap%d, %s TO %s, storm.swap%[2]d TO %[3]s", a, s.worker, b, a)
}

// TestStorm: clones while DDL and data of all kinds change at random; each, with
// the rest of the log, becomes the source. Those of even seeds have no GTIDs, and
// only DDL that commits can be held beside.
// LIFEBOAT_SEED repeats one,
// LIFEBOAT_STORMS says how many there are.
func TestStorm(t *testing.T) {
	storms, _ := strconv.Atoi(os.Getenv("LIFEBOAT_STORMS"))
	for range max(1, storms) {
		seed := rand.Uint64()
		if s, err := strconv.ParseUint(os.Getenv("LIFEBOAT_SEED"), 10, 64); err == nil {
			seed = s
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { oneStorm(t, seed) })
	}
}

func oneStorm(t *testing.T, seed uint64) {
	var args []string
	if seed%2 == 0 {
		args = anonymous
	}
	source := donor(t, args...)
	db := servertest.Open(t, source, "")
	servertest.Exec(t, db, "CREATE DATABASE storm", "CREATE TABLESPACE general ADD DATAFILE 'general.ibd' ENGINE=InnoDB")
	var workers []*storm
	for w := range 3 {
		workers = append(workers, &storm{db: db, rnd: rand.New(rand.NewPCG(seed, uint64(w))), worker: w, light: args != nil}) //nolint:gosec // not a secret
	}
	x := stir(t, len(workers), func(w, _ int) error { return workers[w].step() })
	x.pass(40)
	var b bytes.Buffer
	// Slowly, but never waiting for a step: DDL waits for the clone now and then.
	slow := func() error { time.Sleep(4 * time.Millisecond); return nil }
	taken, err := take(t.Context(), source, &tap{w: &b, data: slow})
	x.pass(20)
	x.stop()
	if err != nil {
		t.Fatal(err)
	}
	copied := recipient(t, b.Bytes(), args...)
	at := recovered(t, copied, taken)
	checkTables(t, servertest.Open(t, copied, ""))
	files, err := source.BinaryLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	from := "gtid:" + at.GTIDs.String()
	if args != nil {
		from = at.Position.String()
	}
	rep, err := replay.Run(t.Context(), replay.Options{Target: copied.DSN(""), Files: files, From: from, Finalize: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d steps, copied up to %s, replayed %d transactions", x.done.Load(), from, rep.Transactions)
	same(t, copied, source)
}
