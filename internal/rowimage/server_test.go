package rowimage_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/rowimage"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/reallog"
)

// row is a row image of a real log.
type row struct {
	kind    binlog.RowsKind
	before  bool // first image of an update
	layout  *rowimage.Layout
	present []byte
	image   []byte
	cells   []rowimage.Cell
}

func (r *row) value(column int) []byte {
	c := r.cells[column]
	return r.image[c.Start+r.layout.Columns[column].Prefix : c.End]
}

// rowsOf scans all rows of a log, by table. Every event must end where its last
// image does.
func rowsOf(t *testing.T, path string) map[string][]row {
	t.Helper()
	f, err := binlog.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	maps := map[uint64]binlog.TableMap{}
	out := map[string][]row{}
	for r := f.Events(0); ; {
		ev, ok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return out
		}
		switch {
		case ev.Type == binlog.TableMapEvent:
			m, err := binlog.DecodeTableMap(ev.Body)
			if err != nil {
				t.Fatal(err)
			}
			maps[m.TableID] = m
		case ev.Type.Rows() != binlog.NotRows:
			b, err := binlog.DecodeRows(ev.Type, ev.Body)
			if err != nil {
				t.Fatal(err)
			}
			m := maps[b.TableID]
			out[m.Table] = append(out[m.Table], scan(t, m, b)...)
		}
	}
}

func scan(t *testing.T, m binlog.TableMap, b binlog.RowsBody) (out []row) {
	t.Helper()
	layout, err := rowimage.New(m.Types, m.Meta)
	if err != nil {
		t.Errorf("%s: types %v, metadata %v: %v", m.Table, m.Types, m.Meta, err)
		return nil
	}
	full := b.Full()
	for n, rest := 0, b.Images; len(rest) > 0; n++ {
		r := row{kind: b.Kind, before: b.Kind == binlog.UpdateRows && n%2 == 0, layout: layout, present: b.Before, cells: make([]rowimage.Cell, len(layout.Columns))}
		if b.Kind == binlog.UpdateRows && !r.before {
			r.present = b.After
		}
		size, err := layout.Scan(rest, r.present, r.cells)
		if err != nil {
			t.Errorf("%s: image %d, types %v, metadata %v: %v: %x", m.Table, n, m.Types, m.Meta, err, rest)
			return out
		}
		if full {
			cells := make([]rowimage.Cell, len(layout.Columns))
			again, err := layout.Scan(rest, nil, cells)
			short, serr := layout.Size(rest)
			if again != size || short != size || err != nil || serr != nil {
				t.Errorf("%s: %d bytes by the bitmap, %d without (%v), %d by Size (%v)", m.Table, size, again, err, short, serr)
			}
		}
		r.image, rest = rest[:size], rest[size:]
		out = append(out, r)
	}
	return out
}

// columnType is a type and values of it, as SQL.
type columnType struct {
	sql    string
	values []string
}

func list(s ...string) []string { return s }

// columnTypes are all types with all sizes of cells that there are.
func columnTypes(d server.Distribution) (types []columnType) {
	add := func(sql string, values ...string) { types = append(types, columnType{sql, slices.Clip(values)}) }
	for _, n := range []struct{ sql, low, high, all string }{
		{"TINYINT", "-128", "127", "255"}, {"SMALLINT", "-32768", "32767", "65535"}, {"MEDIUMINT", "-8388608", "8388607", "16777215"},
		{"INT", "-2147483648", "2147483647", "4294967295"}, {"BIGINT", "-9223372036854775808", "9223372036854775807", "18446744073709551615"},
	} {
		add(n.sql, n.low, "-100", "-2", "-1", "0", "1", "2", "100", n.high)
		add(n.sql+" UNSIGNED", "0", "1", "2", "127", n.high, n.all)
	}
	numbers := list("0", "-0.0", "1", "-1", "0.5", "-0.5", "3.25", "-3.25", "1e10", "-1e10", "1e-10", "-1e-10")
	add("FLOAT", append(numbers, "3e38", "-3e38", "1e-38")...)
	add("DOUBLE", append(numbers, "1e308", "-1e308", "1e-300")...)
	for _, p := range []string{"1,0", "2,1", "9,0", "9,9", "10,9", "18,9", "20,5", "30,30", "38,19", "65,30", "65,0"} {
		add("DECIMAL("+p+")", append(numbers, "-0.004", "-0.001", "0.001", "123456789.123456789", "-123456789.123456789", "999999999", "-999999999", "1e64", "-1e64")...)
	}
	for _, n := range []int{1, 7, 8, 9, 17, 32, 63, 64} {
		add(fmt.Sprintf("BIT(%d)", n), "0", "1", fmt.Sprintf("(1 << %d)", n-1), fmt.Sprintf("((1 << %d) | 1)", n-1))
	}
	add("DATE", "'1000-01-01'", "'2024-02-29'", "'2024-03-01'", "'9999-12-31'", "'0000-00-00'", "'2024-00-00'")
	add("YEAR", "0", "1901", "1999", "2000", "2155")
	for n := range 7 {
		add(fmt.Sprintf("TIME(%d)", n), "'-838:59:59'", "'-00:00:00.000001'", "'-00:00:00.5'", "'-00:00:01'", "'-00:00:01.25'", "'-11:59:59.999999'",
			"'00:00:00'", "'00:00:00.000001'", "'00:00:00.5'", "'12:34:56.789012'", "'838:59:59'")
		add(fmt.Sprintf("DATETIME(%d)", n), "'1000-01-01'", "'1969-12-31 23:59:59.999999'", "'2024-02-29 12:34:56.789012'", "'2024-02-29 12:34:56.5'",
			"'2024-02-29 12:34:57'", "'9999-12-31 23:59:59'", "'0000-00-00'")
		add(fmt.Sprintf("TIMESTAMP(%d) NULL", n), "'1970-01-02'", "'2024-02-29 12:34:56.789012'", "'2024-02-29 12:34:56.5'", "'2038-01-01'", "'0000-00-00'")
	}
	texts := list("''", "'a'", "'b'", "'ab'", "'a '", "'aé'", "REPEAT('x', 63)", "REPEAT('é', 64)", "REPEAT('x', 255)", "REPEAT('€', 255)", "REPEAT('x', 300)", "REPEAT('€', 16000)")
	for _, n := range []int{0, 1, 63, 64, 85, 255} {
		for _, cs := range []string{"latin1", "utf8mb4"} {
			add(fmt.Sprintf("CHAR(%d) CHARACTER SET %s", n, cs), texts...)
		}
	}
	for _, n := range []int{0, 1, 63, 64, 255, 256, 16000} {
		for _, cs := range []string{"latin1", "utf8mb4"} {
			add(fmt.Sprintf("VARCHAR(%d) CHARACTER SET %s", n, cs), texts...)
		}
	}
	bins := list("''", "'a'", "'b'", "'a '", `'a\0'`, `'a\0\0'`, `'a\0b'`, `'\0'`, `'\0\0'`, `'\0a'`, "' '", "0xff", "0xff00", "REPEAT('x', 254)", "REPEAT('x', 255)", "REPEAT('x', 300)")
	for _, n := range []int{1, 2, 16, 255} {
		add(fmt.Sprintf("BINARY(%d)", n), bins...)
	}
	for _, n := range []int{0, 1, 255, 256, 300} {
		add(fmt.Sprintf("VARBINARY(%d)", n), bins...)
	}
	for _, size := range []string{"TINY", "", "MEDIUM", "LONG"} {
		add(size+"TEXT", texts[:7]...)
		add(size+"BLOB", append(bins, "REPEAT('x', 70000)")...)
	}
	add("ENUM('a','b','c')", "'a'", "'c'", "'b'", "''")
	add("ENUM("+members(300)+")", "'m1'", "'m300'", "'m256'", "'m255'")
	for _, n := range []int{1, 8, 9, 16, 17, 24, 25, 33, 64} {
		add("SET("+members(n)+")", "''", "'m1'", fmt.Sprintf("'m%d'", n), fmt.Sprintf("'m1,m%d'", n))
	}
	add("JSON", "'null'", "'{}'", `'{"a": [1, 2.5, "x"]}'`, `CONCAT('"', REPEAT('x', 70000), '"')`)
	add("POINT", "ST_GeomFromText('POINT(1 2)')")
	add("GEOMETRY", "ST_GeomFromText('LINESTRING(1 2, 3 4, 5 6)')")
	if d.Flavor == server.MySQL {
		add("VECTOR(3)", "STRING_TO_VECTOR('[1,2,3]')")
		return types
	}
	add("UUID", "'00000000-0000-0000-0000-000000000000'", "'01234567-89ab-1def-8123-456789abcdef'", "'01234567-89ab-1def-8123-456789abcd00'", "'01234567-89ab-1def-8123-456789ab2020'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'")
	add("INET6", "'::'", "'::1'", "'1::'", "'2001:db8::2020'", "'2001:db8::100'", "'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'")
	add("INET4", "'0.0.0.0'", "'1.2.3.0'", "'32.32.32.32'", "'1.0.0.0'", "'255.255.255.255'")
	add("VARCHAR(300) COMPRESSED", texts...)
	add("BLOB COMPRESSED", bins...)
	if !strings.HasPrefix(d.Version, "10.") {
		add("VECTOR(3)", "VEC_FromText('[1,2,3]')")
	}
	return types
}

func members(n int) string {
	m := make([]string, n)
	for i := range m {
		m[i] = fmt.Sprintf("'m%d'", i+1)
	}
	return strings.Join(m, ",")
}

func tableName(i int) string { return fmt.Sprintf("t%d", i) }

// TestRealImages reads what each installed server writes.
func TestRealImages(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		src := reallog.Start(t, d)
		t.Run("cells of every type", func(t *testing.T) { testCells(t, d, src) })
		t.Run("keys are equal when the server says so", func(t *testing.T) { testKeys(t, d, src) })
		if d.Flavor == server.MariaDB {
			t.Run("old temporal types", func(t *testing.T) { testOldTemporalTypes(t, src) })
		}
	})
}

// testCells: behind every cell stands a marker, which must be found.
func testCells(t *testing.T, d server.Distribution, src *reallog.Source) {
	types := columnTypes(d)
	stmts := list("CREATE DATABASE d", "USE d", "SET sql_mode = ''")
	for i, c := range types {
		stmts = append(stmts, fmt.Sprintf("CREATE TABLE t%d (a %s, z VARBINARY(3)) DEFAULT CHARSET utf8mb4", i, c.sql))
		var rows []string
		for _, v := range append(c.values, "NULL") {
			rows = append(rows, "("+v+", 'END')")
		}
		stmts = append(stmts, fmt.Sprintf("INSERT IGNORE INTO t%d VALUES %s", i, strings.Join(rows, ",")))
	}
	stmts = append(stmts, "SET binlog_row_image = MINIMAL")
	for i := range types {
		stmts = append(stmts, fmt.Sprintf("UPDATE t%d SET z = 'NEW'", i))
	}
	all := rowsOf(t, src.Record(t, stmts...))
	for i, c := range types {
		rows := all[tableName(i)]
		if want := 3 * (len(c.values) + 1); len(rows) != want {
			t.Errorf("%s: %d images, want %d", c.sql, len(rows), want)
			continue
		}
		for n, r := range rows {
			want, null := "END", n == len(c.values)
			if r.kind == binlog.UpdateRows && !r.before {
				want = "NEW"
			}
			if got := r.value(1); string(got) != want {
				t.Errorf("%s: behind cell %d stands %q, want %q", c.sql, n, got, want)
			}
			if r.kind == binlog.WriteRows && r.cells[0].Null() != null {
				t.Errorf("%s: cell %d is NULL: %v", c.sql, n, !null)
			}
		}
	}
}

// testOldTemporalTypes: MariaDB can still write tables with them. Where they
// have fractions the log does not say how long their cells are, so that such
// tables cannot be read; replay has to look at the definition.
func testOldTemporalTypes(t *testing.T, src *reallog.Source) {
	src.Exec(t, "SET GLOBAL mysql56_temporal_format = OFF")
	all := rowsOf(t, src.Record(t, "CREATE OR REPLACE DATABASE d", "USE d",
		"CREATE TABLE t (a TIME, b DATETIME, c TIMESTAMP NULL, z VARBINARY(3))",
		"INSERT INTO t VALUES ('-12:34:56', '2024-02-29 12:34:56', '2024-02-29 12:34:56', 'END'), (NULL, NULL, NULL, 'END')"))
	if len(all["t"]) != 2 {
		t.Fatalf("%d rows", len(all["t"]))
	}
	for _, r := range all["t"] {
		if got := r.value(3); string(got) != "END" {
			t.Errorf("%q, want END", got)
		}
	}
}

// keyable are types whose keys need no collation.
func keyable(sql string) (part rowimage.KeyPart, ordered, ok bool) {
	name, _, _ := strings.Cut(sql, "(")
	name, rest, _ := strings.Cut(name, " ")
	switch name {
	case "JSON", "POINT", "GEOMETRY", "VECTOR", "CHAR", "VARCHAR", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT":
		return part, false, false
	case "UUID":
		return rowimage.KeyPart{PadZero: 16}, false, true
	case "INET6":
		return rowimage.KeyPart{PadZero: 16}, true, true
	case "INET4":
		return rowimage.KeyPart{PadZero: 4}, true, true
	case "BINARY":
		_, _ = fmt.Sscanf(sql, "BINARY(%d)", &part.PadZero)
		return part, true, true
	case "ENUM", "SET":
		return part, false, true // the server orders ENUM by number and compares as text
	}
	return rowimage.KeyPart{Unsigned: rest == "UNSIGNED"}, true, !strings.Contains(sql, "COMPRESSED") && !strings.HasSuffix(name, "BLOB") || name == "BLOB" && rest == ""
}

// testKeys compares the bytes of keys with the server's = and <.
func testKeys(t *testing.T, d server.Distribution, src *reallog.Source) {
	stmts := list("DROP DATABASE d", "CREATE DATABASE d", "USE d", "SET sql_mode = ''")
	types := columnTypes(d)
	for i, c := range types {
		if _, _, ok := keyable(c.sql); !ok {
			continue
		}
		stmts = append(stmts, fmt.Sprintf("CREATE TABLE t%d (a %s, id INT AUTO_INCREMENT PRIMARY KEY)", i, c.sql))
		var rows []string
		for _, v := range c.values {
			rows = append(rows, "("+v+", NULL)")
		}
		stmts = append(stmts, fmt.Sprintf("INSERT IGNORE INTO t%d VALUES %s", i, strings.Join(rows, ",")))
	}
	all := rowsOf(t, src.Record(t, stmts...))
	for i, c := range types {
		part, ordered, ok := keyable(c.sql)
		if !ok {
			continue
		}
		compareKeys(t, src, c.sql, tableName(i), rowimage.Key{part}, all[tableName(i)], ordered)
	}
}

func compareKeys(t *testing.T, src *reallog.Source, what, table string, key rowimage.Key, rows []row, ordered bool) {
	t.Helper()
	keys := make([][]byte, len(rows))
	for i := range rows {
		var null bool
		var err error
		if keys[i], null, _, err = key.Append(nil, rows[i].layout, rows[i].image, rows[i].cells); err != nil || null {
			t.Fatalf("%s: row %d: null %v, %v", what, i, null, err)
		}
	}
	result, err := src.DB.QueryContext(t.Context(), "SELECT x.id, y.id, x.a = y.a, x.a < y.a, HEX(x.a), HEX(y.a) FROM d."+table+" x JOIN d."+table+" y")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = result.Close() }()
	n := 0
	for result.Next() {
		var x, y int
		var equal, less bool
		var tx, ty string
		if err := result.Scan(&x, &y, &equal, &less, &tx, &ty); err != nil {
			t.Fatal(err)
		}
		n++
		cmp := bytes.Compare(keys[x-1], keys[y-1])
		if (cmp == 0) != equal || ordered && (cmp < 0) != less {
			t.Errorf("%s: rows %d and %d (%s, %s): the server says equal %v, less %v; keys are %x and %x", what, x, y, tx, ty, equal, less, keys[x-1], keys[y-1])
		}
	}
	if err := result.Err(); err != nil || n != len(rows)*len(rows) {
		t.Errorf("%s: %d comparisons of %d rows: %v", what, n, len(rows), err)
	}
}

// TestCompositeKeys: two keys of several parts are equal exactly if all parts
// are, however the parts' bytes run together.
func TestCompositeKeys(t *testing.T) {
	layout, err := rowimage.New([]byte{rowimage.TypeVarchar, rowimage.TypeShort, rowimage.TypeVarchar}, []byte{255, 0, 255, 0})
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	part := func() []byte {
		b := make([]byte, rnd.IntN(4))
		for i := range b {
			b[i] = byte(rnd.IntN(3))
		}
		return b
	}
	key := rowimage.Key{{Column: 0}, {Column: 1}, {Column: 2}}
	seen := map[string]string{}
	for range 20000 {
		a, c := part(), part()
		n := byte(rnd.IntN(3))
		image := append([]byte{0, byte(len(a))}, a...)
		image = append(append(image, n, 0, byte(len(c))), c...)
		cells := make([]rowimage.Cell, 3)
		if size, err := layout.Scan(image, nil, cells); err != nil || size != len(image) {
			t.Fatalf("%x: %d %v", image, size, err)
		}
		k, null, _, err := key.Append(nil, layout, image, cells)
		if null || err != nil {
			t.Fatal(err)
		}
		value := fmt.Sprintf("%x,%d,%x", a, n, c)
		if other, ok := seen[string(k)]; ok && other != value {
			t.Fatalf("%s and %s have one key %x", value, other, k)
		}
		seen[string(k)] = value
	}
}
