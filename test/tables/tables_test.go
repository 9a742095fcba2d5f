// Package tables replays random histories over tables that have something to
// them: keys that a row image does not hold as they are, columns that nobody
// sees, rows without identity.
package tables

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/reallog"
)

// table has columns a (INT), b and c (INT); values are what b may be. Few
// values make keys change hands.
type table struct{ only, name, define, values string }

var tables = []table{
	{"", "case_insensitive", "a INT PRIMARY KEY, b VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, c INT, UNIQUE (b)", "'a' 'A' 'b' 'B' 'á' '' 'c' NULL"},
	{"", "padded", "a INT PRIMARY KEY, b CHAR(5) CHARACTER SET latin1, c INT, UNIQUE (b)", "'a' 'a ' 'A' 'ß' 'ss' '' 'c' NULL"},
	{"", "text_primary", "a INT, b VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci, c INT, PRIMARY KEY (b)", "'a' 'A' 'b' 'ß' 'ss' 'é' 'e' 'f'"},
	{"", "prefix", "a INT PRIMARY KEY, b VARCHAR(20), c INT, UNIQUE (b(1))", "'ax' 'ay' 'bx' 'by' 'cx' 'dx' 'ex' NULL"},
	{"", "prefix_primary", "a INT, b VARCHAR(20), c INT, PRIMARY KEY (b(2))", "'ax' 'axx' 'bx' 'by' 'cx' 'dx' 'ex' 'fx'"},
	{"", "composite", "a INT, b VARBINARY(5), c INT, PRIMARY KEY (b, a)", "'' 'a' 'aa' 'ab' 'b' 'ba'"},
	{"", "virtual_unique", "a INT PRIMARY KEY, b INT, c INT, v INT AS (b DIV 2) VIRTUAL, UNIQUE (v)", "1 2 3 4 5 6 7 8 NULL"},
	{"", "stored_unique", "a INT PRIMARY KEY, b INT, c INT, v INT AS (b DIV 2) STORED, UNIQUE (v)", "1 2 3 4 5 6 7 8 NULL"},
	{"", "no_key", "a INT, b VARCHAR(20), c INT", "'a' 'b' NULL"},
	{"", "nullable_unique", "a INT, b INT, c INT, UNIQUE (b)", "1 2 3 4 5 6 7 NULL"},
	{"", "only_unique", "a INT, b INT NOT NULL, c INT, UNIQUE (b)", "1 2 3 4 5 6 7 8"},
	{"", "two_uniques", "a INT NOT NULL, b INT NOT NULL, c INT, UNIQUE z (b), UNIQUE y (a)", "1 2 3 4 5 6 7 8"},
	{"", "binary_key", "a INT, b BINARY(3), c INT, PRIMARY KEY (b)", "'' '\\0\\0a' 'a' 'a\\0' 'a ' 0x000001 0x00ff00"},
	{"", "decimals", "a INT, b DECIMAL(10,3), c INT, PRIMARY KEY (b)", "0 -0.001 0.001 -1 1 -123456.789 123456.789"},
	{"", "doubles", "a INT PRIMARY KEY, b DOUBLE, c INT, UNIQUE (b)", "0 -0.0 1e10 -1e-10 1.5 NULL"},
	{"", "bits", "a INT PRIMARY KEY, b BIT(17), c INT, UNIQUE (b)", "0 1 65536 131071 2 NULL"},
	{"", "enums", "a INT PRIMARY KEY, b ENUM('x','y','z','w'), c INT, UNIQUE (b)", "'x' 'y' 'z' 'w' NULL"},
	{"", "times", "a INT, b DATETIME(6), c INT, PRIMARY KEY (b)", "'2024-01-01' '2024-01-01 00:00:00.000001' '1000-01-01' '2024-01-02' '2024-01-03' '2024-01-04'"},
	{"", "partitioned", "a INT, b INT, c INT, PRIMARY KEY (a, b)) PARTITION BY HASH (b) PARTITIONS (3", "1 2 3 4 5 6"},
	{"", "descends", "a INT, b INT, c INT, PRIMARY KEY (b DESC)", "1 2 3 4 5 6 7 8"},
	{"", "blobs", "a INT PRIMARY KEY, b LONGBLOB, c INT, KEY (b(10))", "'' 'x' REPEAT('y', 70000) NULL"},
	{"", "myisam", "a INT PRIMARY KEY, b INT, c INT, UNIQUE (b)) ENGINE=MyISAM COMMENT=('x'", "1 2 3 4 5 6 7 NULL"},

	{"mysql", "functional", "a INT PRIMARY KEY, b INT, c INT, UNIQUE ((b DIV 2))", "1 2 3 4 5 6 7 8 NULL"},
	{"mysql", "multi_valued", "a INT PRIMARY KEY, b JSON, c INT, UNIQUE ((CAST(b->'$.x' AS UNSIGNED ARRAY)))", `'{"x":[1,2]}' '{"x":[2,3]}' '{"x":[4]}' '{"x":[]}' '{"x":[5,6]}' NULL`},
	{"mysql", "generated_key", "a INT, b INT, c INT", "1 2 3"},
	{"mysql", "invisible", "a INT PRIMARY KEY, b INT, c INT, i INT INVISIBLE DEFAULT 7, UNIQUE (b) INVISIBLE", "1 2 3 4 5 6 7 NULL"},
	{"mysql", "accents", "a INT, b VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci, c INT, PRIMARY KEY (b)", "'a' 'á' 'A ' 'a ' 'b' '' 'ﬃ' 'ffi'"},

	{"mariadb", "hash_unique", "a INT PRIMARY KEY, b TEXT, c INT, UNIQUE (b)", "'a' 'A' 'b' 'c' 'd' NULL"},
	{"mariadb", "hash_only", "a INT, b TEXT NOT NULL, c INT, UNIQUE (b)", "'a' 'A' 'b' 'c' 'd' 'e'"},
	{"mariadb", "overlaps", "a INT PRIMARY KEY, b INT, c INT, s DATE DEFAULT '2024-01-01', e DATE DEFAULT '2024-02-01', PERIOD FOR p (s, e), UNIQUE (b, p WITHOUT OVERLAPS)", "1 2 3 4 5 6"},
	{"mariadb", "versioned", "a INT PRIMARY KEY, b INT, c INT, UNIQUE (b)) WITH SYSTEM VERSIONING COMMENT=('x'", "1 2 3 4 5 6 NULL"},
	{"mariadb", "uuids", "a INT, b UUID, c INT, PRIMARY KEY (b)", "'00000000-0000-0000-0000-000000000000' '01234567-89ab-1def-8123-456789abcd00' '01234567-89ab-1def-8123-456789abcd20' '11234567-89ab-1def-8123-456789abcd20'"},
	{"mariadb", "addresses", "a INT PRIMARY KEY, b INET6, c INT, UNIQUE (b)", "'::' '::1' '1::' '2001:db8::2020' NULL"},
	{"mariadb", "packed", "a INT PRIMARY KEY, b VARCHAR(300) COMPRESSED, c INT", "'' 'x' REPEAT('y',200) NULL"},
	{"mariadb", "nopad", "a INT, b VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_nopad_ci, c INT, PRIMARY KEY (b)", "'a' 'a ' 'A' 'A  ' 'b' ''"},
}

func (s table) create() []string {
	define := fmt.Sprintf("CREATE TABLE %s (%s)", s.name, s.define)
	define = strings.ReplaceAll(define, "PARTITIONS (3)", "PARTITIONS 3")
	define = strings.ReplaceAll(define, "COMMENT=('x')", "COMMENT='x'")
	if s.name == "generated_key" {
		return []string{"SET sql_generate_invisible_primary_key = ON", define, "SET sql_generate_invisible_primary_key = OFF"}
	}
	return []string{define}
}

func (s table) value(rnd *rand.Rand) string {
	v := strings.Split(strings.ReplaceAll(s.values, "', ", "',"), " ")
	if s.name == "padded" || strings.Contains(s.values, " '") { // blanks inside quotes
		v = v[:0]
		for rest := s.values; rest != ""; {
			end := strings.IndexByte(rest, ' ')
			if rest[0] == '\'' {
				end = strings.IndexByte(rest[1:], '\'') + 2
			} else if i := strings.IndexByte(rest, ')'); strings.HasPrefix(rest, "REPEAT") {
				end = i + 1
			}
			if end < 0 || end > len(rest) {
				end = len(rest)
			}
			v = append(v, rest[:end])
			rest = strings.TrimPrefix(rest[end:], " ")
		}
	}
	return v[rnd.IntN(len(v))]
}

func (s table) statement(rnd *rand.Rand) string {
	key, other := rnd.IntN(9), rnd.IntN(9)
	where := fmt.Sprintf("a = %d", key)
	switch rnd.IntN(9) {
	case 0, 1:
		return fmt.Sprintf("INSERT INTO %s (a, b, c) VALUES (%d, %s, %d)", s.name, key, s.value(rnd), rnd.IntN(100))
	case 2:
		return fmt.Sprintf("DELETE FROM %s WHERE %s", s.name, where)
	case 3:
		return fmt.Sprintf("UPDATE %s SET a = %d WHERE %s", s.name, other, where)
	case 4, 5:
		return fmt.Sprintf("UPDATE %s SET b = %s WHERE %s", s.name, s.value(rnd), where)
	case 6:
		return fmt.Sprintf("REPLACE INTO %s (a, b, c) VALUES (%d, %s, %d)", s.name, key, s.value(rnd), rnd.IntN(100))
	default:
		return fmt.Sprintf("UPDATE %s SET c = c + 1 WHERE %s", s.name, where)
	}
}

const steps = 40

func TestOddTables(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		args := []string{"--group-concat-max-len=10000000"}
		if d.Flavor == server.MySQL { // tables without transactions are among them
			args = append(args, "--gtid-mode=OFF", "--enforce-gtid-consistency=OFF")
		}
		options := logOptions(d, rnd)
		t.Logf("%v", options)
		src := reallog.Start(t, d, append(args, options...)...)
		target := servertest.Start(t, d, args[:1]...)
		copied := servertest.Open(t, target, "")
		setup := []string{"CREATE DATABASE d", "USE d"}
		var all []table
		for _, s := range tables {
			if strings.HasPrefix(d.Name, s.only) {
				all = append(all, s)
				setup = append(setup, s.create()...)
			}
		}
		src.Exec(t, setup...)
		servertest.Exec(t, copied, setup...)

		begin := src.Record(t, "SELECT 1") // the next file is empty
		run(t, src.DB, all, rnd)
		logs := src.Logs(t)
		var files []string
		for _, l := range logs {
			if l > begin {
				files = append(files, l)
			}
		}
		rep, err := replay.Run(t.Context(), replay.Options{
			Files: files, Target: target.DSN(""), From: filepath.Base(files[0]) + ":4", Workers: 3, Verify: true, ChunkBytes: 200,
		})
		if err != nil {
			t.Fatal(err)
		}
		if rep.RowChanges == 0 || rep.Transactions == 0 {
			t.Errorf("%+v", rep)
		}
		for _, s := range all {
			query := "SELECT COALESCE(GROUP_CONCAT(x ORDER BY x), '') FROM (SELECT SHA2(CONCAT_WS('|', COALESCE(a, 'N'), COALESCE(HEX(b), 'N'), COALESCE(c, 'N')), 256) AS x FROM d." + s.name + ") z"
			if s.name == "versioned" {
				query = strings.ReplaceAll(query, "d.versioned", "d.versioned FOR SYSTEM_TIME ALL")
			}
			if got, want := ask(t, copied, query), ask(t, src.DB, query); got != want {
				t.Errorf("%s (%s): rows differ\n\t%s\nwant\n\t%s", s.name, s.define, got, want)
			}
		}
	})
}

// logOptions are one of the ways in which a log can be written.
func logOptions(d server.Distribution, rnd *rand.Rand) []string {
	options := []string{"--binlog-row-image=" + []string{"FULL", "FULL", "MINIMAL", "NOBLOB"}[rnd.IntN(4)]}
	switch compressed := rnd.IntN(2) == 0; {
	case compressed && d.Flavor == server.MySQL:
		return append(options, "--binlog-transaction-compression=ON", "--binlog-row-value-options=PARTIAL_JSON")
	case compressed:
		return append(options, "--log-bin-compress=ON", "--log-bin-compress-min-len=10")
	default:
		return options
	}
}

// run executes a random history; statements that meet a duplicate (or a NULL
// where none may be, or REPLACE with periods) change nothing.
func run(t *testing.T, db *sql.DB, all []table, rnd *rand.Rand) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	exec := func(stmt string) {
		if _, err := conn.ExecContext(t.Context(), stmt); err != nil && dbconn.Classify(err) != dbconn.Conflict && dbconn.Number(err) != 1048 && dbconn.Number(err) != 1235 {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
	exec("USE d")
	open := false
	for range steps * len(all) {
		switch rnd.IntN(8) {
		case 0:
			if open = !open; open {
				exec("BEGIN")
			} else {
				exec("COMMIT")
			}
		case 1:
			if open && rnd.IntN(3) == 0 {
				open = false
				exec("ROLLBACK")
			}
		}
		exec(all[rnd.IntN(len(all))].statement(rnd))
	}
	exec("COMMIT")
}

func ask(t *testing.T, db *sql.DB, query string) (text string) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&text); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return text
}
