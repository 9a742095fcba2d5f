package schema_test

import (
	"database/sql"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/schema"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/reallog"
)

var update = flag.Bool("update", false, "write testdata anew")

// tables are definitions with something to them; testdata has what Load makes
// of each. insert is a statement that logs a row, so that the columns can be
// compared with those of the log.
var tables = []struct{ only, name, define, insert string }{
	{"", "plain", "CREATE TABLE plain (a INT PRIMARY KEY, b VARCHAR(10) NOT NULL, c INT UNSIGNED)", "INSERT INTO plain VALUES (1, 'x', 2)"},
	{"", "no_key", "CREATE TABLE no_key (a INT, b TEXT)", "INSERT INTO no_key VALUES (1, 'x')"},
	{"", "composite", "CREATE TABLE composite (a INT, b VARBINARY(10), c INT, PRIMARY KEY (b, a))", "INSERT INTO composite VALUES (1, 'x', 2)"},
	{"", "auto", "CREATE TABLE auto (a BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, b INT UNIQUE)", "INSERT INTO auto VALUES (NULL, 2)"},
	{"", "nullable_unique", "CREATE TABLE nullable_unique (a INT, b INT NOT NULL, UNIQUE (a), KEY (b))", "INSERT INTO nullable_unique VALUES (1, 2)"},
	{"", "two_uniques", "CREATE TABLE two_uniques (a INT NOT NULL, b INT NOT NULL, c INT, UNIQUE second (b), UNIQUE nullable (c), UNIQUE first (a))", "INSERT INTO two_uniques VALUES (1, 2, 3)"},
	{"", "prefix", "CREATE TABLE prefix (a VARCHAR(100) NOT NULL, b BLOB NOT NULL, UNIQUE p (a(5)), UNIQUE q (b(7)))", "INSERT INTO prefix VALUES ('a', 'b')"},
	{"", "prefix_and_whole", "CREATE TABLE prefix_and_whole (a VARCHAR(100) NOT NULL, b INT NOT NULL, UNIQUE p (a(5)), UNIQUE q (b))", "INSERT INTO prefix_and_whole VALUES ('a', 1)"},
	{"", "generated_columns", "CREATE TABLE generated_columns (a INT PRIMARY KEY, v INT AS (a + 1) VIRTUAL, s INT AS (a + 2) STORED, d INT DEFAULT 7, UNIQUE (v), UNIQUE (s))", "INSERT INTO generated_columns (a) VALUES (1)"},
	{"", "descending", "CREATE TABLE descending (a INT, b INT, PRIMARY KEY (a DESC, b))", "INSERT INTO descending VALUES (1, 2)"},
	{"", "myisam", "CREATE TABLE myisam (a INT PRIMARY KEY) ENGINE=MyISAM", "INSERT INTO myisam VALUES (1)"},
	{"", "memory", "CREATE TABLE memory (a INT PRIMARY KEY, b INT, UNIQUE (b) USING HASH) ENGINE=MEMORY", "INSERT INTO memory VALUES (1, 2)"},
	{"", "partitioned", "CREATE TABLE partitioned (a INT PRIMARY KEY) PARTITION BY HASH (a) PARTITIONS 3", "INSERT INTO partitioned VALUES (1)"},
	{"", "names", "CREATE TABLE names (`unsigned` ENUM('unsigned'), `a``b` INT PRIMARY KEY, `größe` INT, UNIQUE `PRIMARY KEY` (`größe`))", "INSERT INTO names VALUES ('unsigned', 1, 2)"},
	{"", "collations", "CREATE TABLE collations (a CHAR(5) CHARACTER SET latin1 COLLATE latin1_bin PRIMARY KEY, b VARCHAR(5) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci UNIQUE, c BINARY(5), d JSON)", "INSERT INTO collations VALUES ('a', 'b', 'c', '{}')"},
	{"", "spaced", "CREATE TABLE spaced (a INT PRIMARY KEY, t TEXT, p POINT NOT NULL, FULLTEXT (t), SPATIAL INDEX (p))", "INSERT INTO spaced VALUES (1, 'x', ST_GeomFromText('POINT(1 1)'))"},
	{"", "timestamps", "CREATE TABLE timestamps (a INT PRIMARY KEY, t TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP)", "INSERT INTO timestamps (a) VALUES (1)"},
	{"", "a_view", "CREATE VIEW a_view AS SELECT 1 AS a", ""},

	{"mysql", "invisible", "CREATE TABLE invisible (a INT PRIMARY KEY, b INT INVISIBLE, c INT, UNIQUE (c) INVISIBLE)", "INSERT INTO invisible (a, b, c) VALUES (1, 2, 3)"},
	{"mysql", "functional", "CREATE TABLE functional (a INT PRIMARY KEY, b INT, UNIQUE f ((b + 1)), UNIQUE g ((b * 2), b))", "INSERT INTO functional VALUES (1, 2)"},
	{"mysql", "multi_valued", "CREATE TABLE multi_valued (a INT PRIMARY KEY, j JSON, UNIQUE m ((CAST(j->'$.x' AS UNSIGNED ARRAY))))", "INSERT INTO multi_valued VALUES (1, '{\"x\": [1, 2]}')"},
	{"mysql", "gipk", "CREATE TABLE gipk (a INT, b INT UNIQUE)", "INSERT INTO gipk (a, b) VALUES (1, 2)"},
	{"mysql", "vectors", "CREATE TABLE vectors (a INT PRIMARY KEY, v VECTOR(3))", "INSERT INTO vectors VALUES (1, STRING_TO_VECTOR('[1,2,3]'))"},

	{"mariadb", "invisible", "CREATE TABLE invisible (a INT PRIMARY KEY, b INT INVISIBLE)", "INSERT INTO invisible (a, b) VALUES (1, 2)"},
	{"mariadb", "a_sequence", "CREATE SEQUENCE a_sequence", "SELECT NEXTVAL(a_sequence)"},
	{"mariadb", "versioned", "CREATE TABLE versioned (a INT PRIMARY KEY) WITH SYSTEM VERSIONING", "INSERT INTO versioned VALUES (1)"},
	{"mariadb", "versioned_openly", "CREATE TABLE versioned_openly (a INT PRIMARY KEY, s TIMESTAMP(6) GENERATED ALWAYS AS ROW START, e TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING", "INSERT INTO versioned_openly (a) VALUES (1)"},
	{"mariadb", "hash_unique", "CREATE TABLE hash_unique (a INT PRIMARY KEY, b TEXT, c BLOB NOT NULL, UNIQUE (b), UNIQUE (c))", "INSERT INTO hash_unique VALUES (1, 'x', 'y')"},
	{"mariadb", "hash_unique_myisam", "CREATE TABLE hash_unique_myisam (a INT PRIMARY KEY, b TEXT, UNIQUE (b)) ENGINE=MyISAM", "INSERT INTO hash_unique_myisam VALUES (1, 'x')"},
	{"mariadb", "two_moments", "CREATE TABLE two_moments (a INT, s DATE, e DATE, PRIMARY KEY (a, s, e))", "INSERT INTO two_moments VALUES (1, '2024-01-01', '2024-02-01')"},
	{"mariadb", "overlaps", "CREATE TABLE overlaps (a INT, s DATE, e DATE, PERIOD FOR p (s, e), UNIQUE u (a, p WITHOUT OVERLAPS))", "INSERT INTO overlaps VALUES (1, '2024-01-01', '2024-02-01')"},
	{"mariadb", "overlaps_primary", "CREATE TABLE overlaps_primary (a INT, s DATE, e DATE, PERIOD FOR p (s, e), PRIMARY KEY (a, p WITHOUT OVERLAPS))", "INSERT INTO overlaps_primary VALUES (1, '2024-01-01', '2024-02-01')"},
	{"mariadb", "aria", "CREATE TABLE aria (a INT PRIMARY KEY) ENGINE=Aria", "INSERT INTO aria VALUES (1)"},
	{"mariadb", "uuids", "CREATE TABLE uuids (a UUID PRIMARY KEY, b INET6 UNIQUE)", "INSERT INTO uuids VALUES (UUID(), '::1')"},
	{"mariadb", "packed", "CREATE TABLE packed (a INT PRIMARY KEY, b VARCHAR(100) COMPRESSED)", "INSERT INTO packed VALUES (1, 'x')"},
}

func TestRealTables(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		src := reallog.Start(t, d)
		t.Run("foreign keys", func(t *testing.T) { testForeignKeys(t, d, src.DB) })
		t.Run("definitions", func(t *testing.T) { testLoad(t, d, src) })
	})
}

func testLoad(t *testing.T, d server.Distribution, src *reallog.Source) {
	src.Exec(t, "CREATE DATABASE d")
	db := servertest.Open(t, src.Instance, "")
	var out strings.Builder
	var names []string
	stmts := []string{"USE d"}
	for _, c := range tables {
		if !strings.HasPrefix(d.Name, c.only) {
			continue
		}
		names = append(names, c.name)
		if c.name == "gipk" {
			stmts = append(stmts, "SET sql_generate_invisible_primary_key = ON")
		}
		stmts = append(stmts, c.define, "SET @@sql_mode = @@sql_mode")
		if c.insert != "" {
			stmts = append(stmts, c.insert)
		}
		if c.name == "gipk" {
			stmts = append(stmts, "SET sql_generate_invisible_primary_key = OFF")
		}
	}
	logged := loggedColumns(t, src.Record(t, stmts...))
	for _, name := range names {
		def, err := schema.Load(t.Context(), db, schema.Name{Database: "d", Table: name})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s: %s\n", name, describe(def))
		if def == nil {
			continue
		}
		if n := logged[name]; n != len(def.Columns) && !def.SystemVersioned {
			t.Errorf("%s: %d columns, the log has %d", name, len(def.Columns), n)
		}
	}
	if def, err := schema.Load(t.Context(), db, schema.Name{Database: "d", Table: "no_such_table"}); def != nil || err != nil {
		t.Errorf("a table that is not there: %+v %v", def, err)
	}
	golden := filepath.Join("testdata", d.Name+".tables")
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, expected := strings.Split(out.String(), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(got), len(expected)) {
		if got[i] != expected[i] {
			t.Errorf("\n\t%s\nwant\n\t%s", got[i], expected[i])
		}
	}
	if len(got) != len(expected) {
		t.Errorf("%d tables, want %d", len(got), len(expected))
	}
}

// loggedColumns is how many columns each table has in the log.
func loggedColumns(t *testing.T, path string) map[string]int {
	t.Helper()
	f, err := binlog.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	out := map[string]int{}
	for r := f.Events(0); ; {
		ev, ok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return out
		}
		if ev.Type != binlog.TableMapEvent {
			continue
		}
		m, err := binlog.DecodeTableMap(ev.Body)
		if err != nil {
			t.Fatal(err)
		}
		out[m.Table] = len(m.Types)
	}
}

func describe(d *schema.Table) string {
	if d == nil {
		return "no table"
	}
	var s []string
	s = append(s, d.Engine)
	for text, is := range map[string]bool{"partitioned": d.Partitioned, "sequence": d.Sequence, "system-versioned": d.SystemVersioned, "transactional": d.Transactional()} {
		if is {
			s = append(s, text)
		}
	}
	slices.Sort(s[1:])
	for _, c := range d.Columns {
		text := c.Name + " " + c.DataType
		for word, is := range map[string]bool{"null": c.Nullable, "unsigned": c.Unsigned, "virtual": c.Virtual, "generated": c.Generated, "auto": c.AutoIncrement} {
			if is {
				text += " " + word
			}
		}
		words := strings.Fields(text)
		slices.Sort(words[2:])
		if c.Collation != "" {
			words = append(words, c.Charset+"/"+c.Collation)
		}
		if c.Length > 0 {
			words = append(words, fmt.Sprint(c.Length))
		}
		s = append(s, strings.Join(words, " "))
	}
	for i := range d.Unique {
		k := &d.Unique[i]
		text := "KEY " + k.Name
		for _, p := range k.Parts {
			text += fmt.Sprintf(" %d", p.Column)
			if p.Prefix {
				text += "(prefix)"
			}
			if p.Descending {
				text += "(desc)"
			}
		}
		if !k.Plain {
			text += " not plain"
		}
		if k == d.RowKey() {
			text += " finds rows"
		}
		s = append(s, text)
	}
	return strings.Join(s, "; ")
}

func testForeignKeys(t *testing.T, d server.Distribution, db *sql.DB) {
	servertest.Exec(t, db, "CREATE DATABASE d", "CREATE DATABASE e", "USE d", "CREATE TABLE p (a INT PRIMARY KEY, b INT UNIQUE)",
		"CREATE TABLE restricts (a INT PRIMARY KEY, FOREIGN KEY (a) REFERENCES p (a))",
		"CREATE TABLE no_action (a INT PRIMARY KEY, FOREIGN KEY (a) REFERENCES p (a) ON DELETE NO ACTION ON UPDATE RESTRICT)",
		"CREATE TABLE deletes (a INT PRIMARY KEY, FOREIGN KEY (a) REFERENCES p (a) ON DELETE CASCADE)",
		"CREATE TABLE nulls (a INT, FOREIGN KEY (a) REFERENCES p (a) ON UPDATE SET NULL)",
		"CREATE TABLE e.elsewhere (a INT, FOREIGN KEY (a) REFERENCES d.p (b) ON UPDATE CASCADE)",
		"CREATE TABLE itself (a INT PRIMARY KEY, b INT, FOREIGN KEY (b) REFERENCES itself (a) ON DELETE CASCADE)")
	fks, err := schema.LoadForeignKeys(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, fk := range fks {
		got = append(got, fmt.Sprintf("%s %s %v", fk.Child, fk.Parent, fk.Cascades))
	}
	slices.Sort(got)
	want := []string{"d.deletes d.p true", "d.itself d.itself true", "d.no_action d.p false", "d.nulls d.p true", "d.restricts d.p false", "e.elsewhere d.p true"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	unsafe := []string{"", "CREATE TABLE e.m (a INT) ENGINE=MyISAM"}
	if d.Flavor == server.MariaDB {
		unsafe = append(unsafe, "CREATE TABLE e.m (a INT) ENGINE=Aria WITH SYSTEM VERSIONING", "CREATE SEQUENCE e.m ENGINE=MyISAM")
	}
	for _, define := range unsafe {
		if define != "" {
			servertest.Exec(t, db, define)
		}
		if has, err := schema.HasNontransactional(t.Context(), db); err != nil || has != (define != "") {
			t.Errorf("tables without transactions: %v %v, made by %q", has, err, define)
		}
		servertest.Exec(t, db, "DROP TABLE IF EXISTS e.m")
	}
	names, err := schema.IndexNames(t.Context(), db, schema.Name{Database: "d", Table: "p"})
	if slices.Sort(names); err != nil || !slices.Equal(names, []string{"PRIMARY", "b"}) {
		t.Errorf("%v %v", names, err)
	}
	servertest.Exec(t, db, "DROP DATABASE e", "DROP DATABASE d")
}

func name(s string) schema.Name { return schema.Name{Database: "d", Table: s} }

func TestFamilies(t *testing.T) {
	edge := func(s string) schema.ForeignKey {
		var child, parent, how string
		_, _ = fmt.Sscan(s, &child, &parent, &how)
		return schema.ForeignKey{Child: name(child), Parent: name(parent), Cascades: how == "cascades"}
	}
	for _, test := range []struct {
		edges []string
		want  map[string]string
	}{
		{nil, map[string]string{}},
		{[]string{"c p -"}, map[string]string{}},
		{[]string{"c p cascades"}, map[string]string{"c": "c", "p": "c"}},
		{[]string{"a a cascades"}, map[string]string{"a": "a"}},
		{[]string{"c p -", "p g cascades"}, map[string]string{"c": "c", "p": "c", "g": "c"}},
		{[]string{"b a cascades", "d c -"}, map[string]string{"a": "a", "b": "a"}},
		{[]string{"b a -", "c b -", "d c cascades", "z y cascades"}, map[string]string{"a": "a", "b": "a", "c": "a", "d": "a", "y": "y", "z": "y"}},
	} {
		var fks []schema.ForeignKey
		for _, e := range test.edges {
			fks = append(fks, edge(e))
		}
		got := map[string]string{}
		for n, f := range schema.Families(fks) {
			got[n.Table] = f.Table
		}
		if !maps.Equal(got, test.want) {
			t.Errorf("%q: %v, want %v", test.edges, got, test.want)
		}
	}
}

// TestFamiliesAgainstSearch: families do not depend on the order of edges, and
// are the connected parts that a plain search finds.
func TestFamiliesAgainstSearch(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		var fks []schema.ForeignKey
		near := map[schema.Name][]schema.Name{}
		for range rnd.IntN(12) {
			fk := schema.ForeignKey{Child: name(string(rune('a' + rnd.IntN(12)))), Parent: name(string(rune('a' + rnd.IntN(12)))), Cascades: rnd.IntN(3) == 0}
			fks = append(fks, fk)
			near[fk.Child], near[fk.Parent] = append(near[fk.Child], fk.Parent), append(near[fk.Parent], fk.Child)
		}
		want := map[schema.Name]schema.Name{}
		for start := range near {
			part := map[schema.Name]bool{}
			for todo := []schema.Name{start}; len(todo) > 0; {
				n := todo[0]
				if todo = todo[1:]; !part[n] {
					part[n] = true
					todo = append(todo, near[n]...)
				}
			}
			if slices.ContainsFunc(fks, func(fk schema.ForeignKey) bool { return fk.Cascades && part[fk.Child] }) {
				want[start] = slices.MinFunc(slices.Collect(maps.Keys(part)), func(a, b schema.Name) int { return strings.Compare(a.Table, b.Table) })
			}
		}
		rnd.Shuffle(len(fks), func(i, j int) { fks[i], fks[j] = fks[j], fks[i] })
		if got := schema.Families(fks); !maps.Equal(got, want) {
			t.Fatalf("%v: %v, want %v", fks, got, want)
		}
	}
}
