//go:build long

package threeway_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
)

// TestManyWindows has more distinct keys than the smallest memory holds, so
// that windows close on their own, in the middle of swaps of unique values and
// of rows that come, go and come back.
func TestManyWindows(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		w := record(t, d, true, manySetUp, manyLoad)
		w.compareAll(t, lifeboats(), compare.Exact)
	})
}

const manyRows = 400_000

func manySetUp(ctx context.Context, db *sql.DB) error {
	return script(`CREATE DATABASE many;
CREATE TABLE many.t (id BIGINT PRIMARY KEY AUTO_INCREMENT, u INT UNIQUE, v INT);
CREATE TABLE many.k (k VARCHAR(60) CHARACTER SET utf8mb4 PRIMARY KEY, v INT);
`)(ctx, db)
}

func manyLoad(ctx context.Context, db *sql.DB) error {
	numbers := "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 10000) SELECT n"
	limit := "SET SESSION cte_max_recursion_depth = 20000;\n"
	var text string
	for round := range manyRows / 10000 {
		from := round * 10000
		text += fmt.Sprintf(`INSERT INTO many.t (id, u, v) %[1]s + %[2]d, n + %[2]d, %[3]d FROM r;
INSERT INTO many.k %[4]s FROM r;
UPDATE many.t SET v = v + 1 WHERE id %% 3 = %[3]d %% 3;
UPDATE many.t SET u = -u WHERE id %% 5 = 0 AND u > 0;
UPDATE many.t SET u = id - 1 WHERE id %% 5 = 1 AND id > 1 AND u = id;
DELETE FROM many.t WHERE id %% 7 = %[3]d;
UPDATE many.k SET k = UPPER(k) WHERE v %% 4 = 1;
DELETE FROM many.k WHERE v %% 11 = %[3]d;
`, numbers, from, round,
			fmt.Sprintf("%s, n + %d", concat(numbers, from), from))
	}
	if _, err := db.ExecContext(ctx, "SET GLOBAL cte_max_recursion_depth = 20000"); err != nil {
		limit = "SET SESSION max_recursive_iterations = 20000;\n" // MariaDB
	}
	return script(limit+text)(ctx, db)
}

// concat turns the number into a text key that differs in its case only from
// what an UPDATE makes of it.
func concat(numbers string, from int) string {
	return numbers[:len(numbers)-1] + fmt.Sprintf("CONCAT('a rather long key of Some sort ', n + %d)", from)
}
