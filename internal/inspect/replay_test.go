package inspect_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/inspect"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestLikeReplay: where the keys are in the log, what inspect says will be done
// is what a replay does, to the row.
func TestLikeReplay(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		s := start(t, d, "--binlog-row-metadata=FULL", "--sync-binlog=0", "--innodb-flush-log-at-trx-commit=0")
		s.exec("CREATE DATABASE k", "USE k",
			"CREATE TABLE plain (id INT PRIMARY KEY, v INT)",
			"CREATE TABLE pair (v INT, name VARBINARY(300), part INT, PRIMARY KEY (part, name))",
			"CREATE TABLE named (name CHAR(5) CHARACTER SET latin1 COLLATE latin1_bin PRIMARY KEY, v INT)")
		for n := range 20 {
			s.exec(fmt.Sprintf("INSERT INTO k.plain VALUES (%d, 0)", n), fmt.Sprintf("INSERT INTO k.pair VALUES (0, 'n%d', %d)", n%3, n),
				fmt.Sprintf("INSERT INTO k.named VALUES ('%d', 0)", n))
		}
		s.db.SetMaxIdleConns(0)
		must(t, s.Shutdown(t.Context()))
		cold := filepath.Join(t.TempDir(), "cold")
		must(t, server.Copy(t.Context(), s.DataDir(), cold))
		must(t, s.Restart(t.Context()))
		first := s.next()
		s.exec(randomStatements(t)...)
		files := s.logs(first)

		report := run(t, inspect.Options{Files: files})
		target := servertest.StartWith(t, d, server.Options{DataDir: cold, SkipNetworking: true})
		begin := report.From
		done, err := replay.Run(t.Context(), replay.Options{Target: target.DSN(""), Files: files, From: begin})
		must(t, err)
		if report.NetRows != exactly(done.NetRows) || report.Rows() != done.RowChanges || report.Windows != done.Windows ||
			report.Transactions.Total != done.Transactions || report.Transactions.DDL+report.Transactions.Statements != done.Barriers {
			t.Errorf("inspect says %+v, %d changes, net rows %+v, %d windows;\na replay did %d, %d, %d, %d, with %d barriers",
				report.Transactions, report.Rows(), report.NetRows, report.Windows,
				done.Transactions, done.RowChanges, done.NetRows, done.Windows, done.Barriers)
		}
		if report.NetRows.Most == 0 || report.NetRows.Most >= report.Rows() {
			t.Errorf("%d net rows of %d changes: nothing to compare", report.NetRows.Most, report.Rows())
		}
	})
}

// randomStatements use few keys, so that they meet often: also rows that are
// deleted and inserted again, and keys that are changed.
func randomStatements(t *testing.T) []string {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	list := []string{"USE k"}
	for n := range 600 {
		a, b := r.IntN(30), r.IntN(30)
		list = append(list, []string{
			fmt.Sprintf("REPLACE INTO plain VALUES (%d, %d)", a, n),
			fmt.Sprintf("DELETE FROM plain WHERE id = %d", a),
			fmt.Sprintf("UPDATE plain SET v = %d WHERE id BETWEEN %d AND %d", n, a, a+b),
			fmt.Sprintf("UPDATE IGNORE plain SET id = %d WHERE id = %d", b, a),
			fmt.Sprintf("INSERT IGNORE INTO pair VALUES (%d, REPEAT('n%d', %d), %d)", n, a%3, b*3, b),
			fmt.Sprintf("UPDATE pair SET v = %d WHERE part < %d", n, a%7),
			fmt.Sprintf("DELETE FROM pair WHERE part = %d", b),
			fmt.Sprintf("UPDATE IGNORE pair SET part = part + 1 WHERE part = %d", b),
			fmt.Sprintf("INSERT INTO named VALUES ('%d', 1) ON DUPLICATE KEY UPDATE v = v + 1", a),
			fmt.Sprintf("UPDATE IGNORE named SET name = '%d' WHERE name = '%d'", a, b),
			fmt.Sprintf("DELETE FROM named WHERE name > '%d' LIMIT 1", a),
		}[r.IntN(11)])
		if n%200 == 150 {
			list = append(list, fmt.Sprintf("ALTER TABLE plain ADD COLUMN c%d INT, DROP COLUMN v, ADD COLUMN v INT", n))
			list = append(list, fmt.Sprintf("CREATE TABLE more%d (id INT)", n))
			list = append(list, fmt.Sprintf("ALTER TABLE plain DROP COLUMN c%d", n))
		}
	}
	return list
}
