package inspect_test

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/inspect"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/internal/ui"
	"github.com/lifeboat-db/lifeboat/test/history"
)

// source is a server that logs.
type source struct {
	*server.Instance
	db *sql.DB
	t  *testing.T
}

func start(t *testing.T, d server.Distribution, args ...string) source {
	t.Helper()
	if d.Flavor == server.MySQL {
		args = append([]string{"--gtid-mode=ON", "--enforce-gtid-consistency=ON"}, args...)
	}
	i := servertest.Start(t, d, append([]string{
		"--log-bin=" + filepath.Join(t.TempDir(), "bin"), "--server-id=1", "--binlog-format=ROW",
		"--skip-networking", "--innodb-buffer-pool-size=64M",
	}, args...)...)
	return source{i, servertest.Open(t, i, ""), t}
}

func (s source) exec(statements ...string) {
	s.t.Helper()
	servertest.Exec(s.t, s.db, statements...)
}

// logs returns the files from the named one on, after a rotation, so that the
// last one is closed. It leaves out the empty one behind it.
func (s source) logs(from string) []string {
	s.t.Helper()
	s.exec("FLUSH BINARY LOGS")
	all, err := s.BinaryLogs(s.t.Context())
	must(s.t, err)
	var out []string
	for _, f := range all[:len(all)-1] {
		if filepath.Base(f) >= from {
			out = append(out, f)
		}
	}
	return out
}

// next begins a new file and returns its name.
func (s source) next() string {
	s.t.Helper()
	s.exec("FLUSH BINARY LOGS")
	all, err := s.BinaryLogs(s.t.Context())
	must(s.t, err)
	return filepath.Base(all[len(all)-1])
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, o inspect.Options) *inspect.Report {
	t.Helper()
	rep, err := inspect.Run(t.Context(), o)
	must(t, err)
	if !rep.Complete {
		t.Error("the report is not complete, and there is no error")
	}
	return rep
}

func table(t *testing.T, rep *inspect.Report, name string) inspect.Table {
	t.Helper()
	for _, tab := range rep.Tables {
		if tab.Database+"."+tab.Name == name {
			return tab
		}
	}
	t.Fatalf("no table %s in the report", name)
	return inspect.Table{}
}

// counted is what a test expects of a table.
type counted struct {
	inserts, updates, deletes int64
	net                       inspect.Range
	by                        string
	estimates                 []string
}

func (c counted) check(t *testing.T, rep *inspect.Report, name string) {
	t.Helper()
	tab := table(t, rep, name)
	got := counted{tab.Inserts, tab.Updates, tab.Deletes, tab.NetRows, tab.By, tab.Estimates}
	if !reflect.DeepEqual(got, c) {
		t.Errorf("%s:\n  have %+v\n  want %+v", name, got, c)
	}
}

func exactly(n int64) inspect.Range { return inspect.Range{Least: n, Most: n} }

// workload is the same for all ways to log it; see TestWorkload for what it is.
func workload() []string {
	list := []string{"USE shop", "START TRANSACTION"}
	for n := range 100 {
		list = append(list, fmt.Sprintf("INSERT INTO orders (id, state, note, total) VALUES (%d, 'new', REPEAT('x', %d), %d.50)", n+1, n%40, n))
	}
	return append(list,
		"COMMIT",
		"UPDATE orders SET state = 'paid'",
		"UPDATE orders SET total = total + 1, note = NULL WHERE id <= 50",
		"DELETE FROM orders WHERE id <= 30",
		// stock has 50 rows already.
		"UPDATE stock SET n = n + 1 WHERE id <= 20",
		"UPDATE stock SET n = n + 1 WHERE id <= 20",
		"UPDATE stock SET n = n + 1 WHERE id <= 20",
		"DELETE FROM stock WHERE id <= 5",
		"DELETE FROM stock WHERE id > 45",
		"INSERT INTO stock VALUES (1, 1000), (2, 1000), (3, 1000), (46, 1000), (47, 1000), (48, 1000), (49, 1000)",
		"INSERT INTO visits VALUES ('a'), ('a'), ('a'), ('b')",
		"DELETE FROM visits WHERE who = 'a' LIMIT 1",
	)
}

var schema = []string{
	"CREATE DATABASE shop", "USE shop",
	`CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, state VARCHAR(20), note TEXT, total DECIMAL(10,2),
		twice DECIMAL(12,2) AS (total * 2) VIRTUAL, loud VARCHAR(20) AS (UPPER(state)) STORED)`,
	"CREATE TABLE stock (id INT PRIMARY KEY, n INT)",
	"CREATE TABLE visits (who VARCHAR(10))",
	"INSERT INTO stock WITH RECURSIVE r AS (SELECT 1 id UNION ALL SELECT id+1 FROM r WHERE id < 50) SELECT id, 0 FROM r",
}

// leavesOutGenerated: MariaDB 11.8.9 (11.8.6 did not) leaves generated columns
// out of the images of updates and deletes, even with binlog_row_image=FULL. To
// a replay they are partial images, which it keeps as they were logged.
func leavesOutGenerated(d server.Distribution) bool {
	return d.Flavor == server.MariaDB && strings.HasPrefix(d.Version, "11.8.") && d.Version != "11.8.6"
}

// TestWorkload: a known workload, logged in several ways, gives exact counts.
func TestWorkload(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		compress := []string{"--log-bin-compress=ON", "--log-bin-compress-min-len=16"}
		if d.Flavor == server.MySQL {
			compress = []string{"--binlog-transaction-compression=ON"}
		}
		for name, args := range map[string][]string{
			"plain": nil, "compressed": compress, "no checksums": {"--binlog-checksum=NONE"},
			"keys in the log": {"--binlog-row-metadata=FULL"}, "small events": {"--binlog-row-event-max-size=256"},
		} {
			t.Run(name, func(t *testing.T) { testWorkload(t, d, name, args) })
		}
	})
}

func testWorkload(t *testing.T, d server.Distribution, name string, args []string) {
	s := start(t, d, args...)
	s.exec(schema...)
	first := s.next()
	s.exec(workload()...)
	rep := run(t, inspect.Options{Files: s.logs(first)})

	orders := counted{inserts: 100, updates: 150, deletes: 30, net: exactly(70), by: "contents"}
	if leavesOutGenerated(d) {
		orders.net, orders.estimates = exactly(280), []string{"partial images"}
	}
	stock := counted{inserts: 7, updates: 60, deletes: 10, net: inspect.Range{Least: 25, Most: 32}, by: "contents", estimates: []string{"keys"}}
	if name == "keys in the log" {
		orders.by = "key"
		stock.by, stock.net, stock.estimates = "key", exactly(25), nil
	}
	orders.check(t, rep, "shop.orders")
	stock.check(t, rep, "shop.stock")
	// A row of visits is deleted that is one of three.
	visits := counted{inserts: 4, deletes: 1, net: exactly(3), by: "contents", estimates: []string{"identical rows"}}
	visits.check(t, rep, "shop.visits")

	if n := rep.Transactions; n.Total != 12 || n.Rows != 12 {
		t.Errorf("transactions %+v, want 12 of rows", n)
	}
	if rep.Inserts != 111 || rep.Updates != 210 || rep.Deletes != 41 || rep.Windows != 1 {
		t.Errorf("%d inserts, %d updates, %d deletes, %d windows; want 111, 210, 41, 1", rep.Inserts, rep.Updates, rep.Deletes, rep.Windows)
	}
	largest := rep.Largest[0]
	if want := []inspect.TableCount{{Table: "shop.orders", Rows: 100}}; name == "plain" && (largest.Rows != 100 || !reflect.DeepEqual(largest.Tables, want)) {
		t.Errorf("the largest transaction is %+v, want the one with 100 inserts", largest)
	}
	if f := rep.Files[0]; f.Checksums != (name != "no checksums") || f.Transactions != 12 || f.End != "rotate" || !strings.HasPrefix(f.ServerVersion, d.Version) {
		t.Errorf("file %+v", f)
	}
	if age := time.Since(rep.LastCommit); age < 0 || age > time.Minute || rep.FirstCommit.After(rep.LastCommit) {
		t.Errorf("commits from %s to %s, now is %s", rep.FirstCommit, rep.LastCommit, time.Now().UTC())
	}
	roundTrip(t, rep)
	checkWidth(t, ui.Inspection(rep))
	if testing.Verbose() {
		t.Log(ui.Inspection(rep))
	}
}

// roundTrip: the JSON of a report is the report, with no field but those
// documented.
func roundTrip(t *testing.T, rep *inspect.Report) {
	t.Helper()
	text, err := json.Marshal(rep)
	must(t, err)
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	var back inspect.Report
	must(t, dec.Decode(&back))
	if !reflect.DeepEqual(*rep, back) {
		t.Errorf("JSON round trip:\n  have %+v\n  want %+v", back, *rep)
	}
}

func checkWidth(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 100 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
}

// TestEveryType: an after image is, byte for byte, the before image of the row's
// next change, whatever its types.
func TestEveryType(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		s := start(t, d)
		columns := map[string]string{
			"c_tiny": "TINYINT", "c_bigint": "BIGINT UNSIGNED", "c_float": "FLOAT", "c_double": "DOUBLE", "c_dec": "DECIMAL(30,10)",
			"c_bit": "BIT(11)", "c_year": "YEAR", "c_date": "DATE", "c_time": "TIME(3)", "c_dt": "DATETIME(6)", "c_ts": "TIMESTAMP(2) NULL",
			"c_char": "CHAR(20) CHARACTER SET utf8mb4", "c_bin": "BINARY(9)", "c_vb": "VARBINARY(600)", "c_vc": "VARCHAR(300)",
			"c_tb": "TINYBLOB", "c_lt": "LONGTEXT", "c_json": "JSON", "c_enum": "ENUM('a','b','c')", "c_set": "SET('x','y','z')",
			"c_point": "POINT", "c_virtual": "VARCHAR(40) AS (CONCAT(c_tiny, '-', c_char)) VIRTUAL", "c_stored": "DOUBLE AS (c_double / 3) STORED",
		}
		values := map[string][2]string{
			"c_tiny": {"-5", "7"}, "c_bigint": {"18446744073709551615", "1"}, "c_float": {"0.1", "-0.0"}, "c_double": {"-0.0", "1e300"},
			"c_dec": {"-12345.0000000001", "0"}, "c_bit": {"b'10101010101'", "b'0'"}, "c_year": {"1999", "2024"}, "c_date": {"'2024-02-29'", "'1000-01-01'"},
			"c_time": {"'-100:00:00.123'", "'0:0:0'"}, "c_dt": {"'2024-01-01 00:00:00.123456'", "NULL"}, "c_ts": {"'2024-01-01 00:00:00.12'", "NULL"},
			"c_char": {"'ä  '", "'😀'"}, "c_bin": {"X'0102000000'", "X'00'"}, "c_vb": {"REPEAT('q', 600)", "''"}, "c_vc": {"'trail   '", "NULL"},
			"c_tb": {"REPEAT('b', 200)", "''"}, "c_lt": {"REPEAT('long ', 20000)", "'short'"}, "c_json": {`'{"a": [1, 2, {"b": null}]}'`, "'3'"},
			"c_enum": {"'b'", "'c'"}, "c_set": {"'x,z'", "''"}, "c_point": {"ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(-1 0)')"},
		}
		if d.Flavor == server.MariaDB {
			columns["c_compressed"] = "BLOB COMPRESSED"
			values["c_compressed"] = [2]string{"REPEAT('z', 5000)", "'tiny'"}
			columns["c_uuid"], values["c_uuid"] = "UUID", [2]string{"UUID()", "'00000000-0000-0000-0000-000000000000'"}
		}
		if leavesOutGenerated(d) {
			delete(columns, "c_virtual")
			delete(columns, "c_stored")
		}
		var definition, set [2][]string
		for name, typ := range columns {
			definition[0] = append(definition[0], name+" "+typ)
			if v, ok := values[name]; ok {
				set[0], set[1] = append(set[0], name+" = "+v[0]), append(set[1], name+" = "+v[1])
			}
		}
		s.exec("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY, "+strings.Join(definition[0], ", ")+") CHARACTER SET utf8mb4")
		first := s.next()
		for id := range 3 {
			s.exec(fmt.Sprintf("INSERT INTO d.t SET id = %d, %s", id, strings.Join(set[id%2], ", ")),
				"UPDATE d.t SET "+strings.Join(set[0], ", "), "UPDATE d.t SET "+strings.Join(set[1], ", "))
		}
		for name := range values {
			s.exec("UPDATE d.t SET " + name + " = NULL")
		}
		s.exec("DELETE FROM d.t")
		rep := run(t, inspect.Options{Files: s.logs(first)})
		if tab := table(t, rep, "d.t"); tab.Inserts != 3 || tab.Deletes != 3 || tab.Updates == 0 || tab.NetRows != exactly(0) || tab.Estimates != nil {
			t.Errorf("%+v, want nothing left and no estimate", tab)
		}
	})
}

func construct(list []inspect.Construct, kind, what string) *inspect.Construct {
	for i := range list {
		if list[i].Kind == kind && list[i].What == what {
			return &list[i]
		}
	}
	return nil
}

func wants(t *testing.T, list []inspect.Construct, kind, what, table, text string, count int64) {
	t.Helper()
	c := construct(list, kind, what)
	if c == nil {
		t.Errorf("%s %s is missing in %+v", kind, what, list)
		return
	}
	if c.Count != count || c.Table != table || len(c.Examples) == 0 || !strings.Contains(c.Examples[0].Text, text) ||
		!strings.HasPrefix(c.Examples[0].Position, "bin.0") {
		t.Errorf("%s %s: %+v, want %d, table %q, text %q", kind, what, *c, count, table, text)
	}
}

// TestConstructs: what is not merged is found, with its place.
func TestConstructs(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		s := start(t, d, "--local-infile=ON")
		s.exec(schema...)
		s.exec("CREATE TABLE shop.doc (id INT PRIMARY KEY, j JSON, k JSON, b BLOB)",
			`INSERT INTO shop.doc VALUES (1, JSON_OBJECT('a', REPEAT('x', 300), 'n', 1), '[1,2]', 'b'), (2, '{"n": 2}', '[3]', 'c')`)
		first := s.next()
		s.exec("USE shop", "INSERT INTO stock VALUES (100, 0)", "ALTER TABLE stock ADD COLUMN extra INT", "DELETE FROM stock WHERE id = 100",
			"CREATE TABLE copy\tAS SELECT * FROM stock WHERE id < 3", "CREATE OR REPLACE VIEW v AS SELECT 1", "DROP TABLE copy")
		s.exec("USE shop", "SET SESSION binlog_format = STATEMENT", "UPDATE stock SET\n  n = 5 WHERE id = 9", "SET SESSION binlog_format = ROW")
		s.exec("USE shop", "SET SESSION binlog_row_image = MINIMAL", "UPDATE stock SET n = n + 1 WHERE id < 4", "DELETE FROM stock WHERE id = 1",
			"INSERT INTO visits VALUES ()", // MySQL: an image of no columns and no bytes; MariaDB: a full one
			"SET SESSION binlog_row_image = FULL")
		s.exec("USE shop", "XA START 'x'", "INSERT INTO stock VALUES (200, 0, 0)", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'")
		partialJSON := d.Flavor == server.MySQL
		if partialJSON {
			s.exec("USE shop", "SET SESSION binlog_row_value_options = PARTIAL_JSON",
				"UPDATE doc SET j = JSON_SET(j, '$.n', 7), k = JSON_SET(k, '$[0]', 9)", "UPDATE doc SET b = 'bb' WHERE id = 2", "UPDATE doc SET j = JSON_SET(j, '$.n', 8), b = 'z'")
		}
		rep := run(t, inspect.Options{Files: s.logs(first)})
		if testing.Verbose() {
			t.Log(ui.Inspection(rep))
		}
		wants(t, rep.Barriers, "DDL", "ALTER TABLE", "", "ALTER TABLE stock ADD COLUMN extra INT", 1)
		wants(t, rep.Barriers, "DDL", "CREATE OR REPLACE", "", "VIEW", 1)
		wants(t, rep.Barriers, "DDL", "DROP TABLE", "", "DROP TABLE", 1)
		wants(t, rep.Barriers, "statements", "CREATE TABLE … SELECT", "", "CREATE TABLE `copy` (", 1)
		wants(t, rep.Barriers, "statements", "UPDATE", "", "UPDATE stock SET n = 5 WHERE id = 9", 1)
		wants(t, rep.Verbatim, "", "partial row images (MINIMAL or NOBLOB)", "shop.stock", "", 2)
		// XA PREPARE and XA COMMIT are a transaction each.
		wants(t, rep.Refused, "", "XA transaction", "", "", 2)
		// The insert and the delete lie on both sides of a barrier. 3 + 1 changes are
		// in partial images, one is refused.
		want := counted{inserts: 2, updates: 3, deletes: 2, net: exactly(7), by: "contents", estimates: []string{"partial images"}}
		want.check(t, rep, "shop.stock")
		visits := counted{inserts: 1, net: exactly(1), by: "contents"}
		if d.Flavor == server.MySQL {
			visits.by, visits.estimates = "none", []string{"partial images"}
		}
		visits.check(t, rep, "shop.visits")
		wantDoc := counted{updates: 5, net: exactly(5), by: "none", estimates: []string{"partial images"}}
		if partialJSON {
			wants(t, rep.Verbatim, "", "partial JSON update", "shop.doc", "", 3)
			wantDoc.check(t, rep, "shop.doc")
		}
		n := rep.Transactions
		if n.DDL != 3 || n.Statements != 2 || n.Refused != 2 || n.Total != n.Rows+n.DDL+n.Statements+n.Refused+n.Empty {
			t.Errorf("transactions %+v", n)
		}
		checkWidth(t, ui.Inspection(rep))
		roundTrip(t, rep)
		found := run(t, inspect.Options{Files: s.logs(first), Find: "drop TABLE"})
		checkWidth(t, ui.Inspection(found))
		roundTrip(t, found)
		drop := construct(rep.Barriers, "DDL", "DROP TABLE").Examples[0]
		if f := found.Found; f.Count != 1 || len(f.Transactions) != 1 || f.Transactions[0].Position != drop.Position || f.Transactions[0].Statement != drop.Text ||
			f.Transactions[0].Committed.IsZero() || f.Transactions[0].GTID == "" {
			t.Errorf("looking for the drop: %+v", f)
		}
		for _, text := range []string{"drop\n table copy", "shop.copy", "`shop`.`COPY`"} { // by its name as well, whatever the quotes
			f := run(t, inspect.Options{Files: s.logs(first), Find: text}).Found
			if last := f.Transactions[len(f.Transactions)-1]; f.Count > 2 || last.Position != drop.Position || last.Database != "shop" {
				t.Errorf("looking for %q: %+v", text, f)
			}
		}
		// By its table as well as by its statements, each transaction once.
		found = run(t, inspect.Options{Files: s.logs(first), Find: "shop.STOCK"})
		if f := found.Found; f.Count < table(t, rep, "shop.stock").Transactions || f.Transactions[0].Rows != 1 || f.Transactions[0].Tables[0].Table != "shop.stock" {
			t.Errorf("looking for the table: %+v, want %d", f, table(t, rep, "shop.stock").Transactions)
		}
		if f := run(t, inspect.Options{Files: s.logs(first), Find: "nowhere"}).Found; f.Count != 0 || f.Transactions == nil {
			t.Errorf("looking for what is not there: %+v", f)
		}
	})
}

// TestCutOff: wherever the log ends, what is whole is reported.
func TestCutOff(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		s := start(t, d)
		s.exec(schema...)
		first := s.next()
		s.exec(workload()...)
		files := s.logs(first)
		whole := run(t, inspect.Options{Files: files, Top: 100})
		data, err := os.ReadFile(files[0])
		must(t, err)
		path := filepath.Join(t.TempDir(), filepath.Base(files[0]))
		ends := map[int]int64{} // offset behind a transaction → how many there are before it
		var end int
		for n, l := range byPosition(whole) {
			_, _ = fmt.Sscanf(l.End[strings.LastIndex(l.End, ":")+1:], "%d", &end)
			ends[end] = int64(n + 1)
		}
		before := int64(0)
		start := 300 // behind the events that begin a file
		for size := start; size <= len(data); size += 37 {
			for n := size - 37; n < size; n++ {
				before = max(before, ends[n+1])
			}
			must(t, os.WriteFile(path, data[:size], 0o600))
			rep := run(t, inspect.Options{Files: []string{path}})
			if rep.Transactions.Total != before {
				t.Fatalf("%d bytes: %d transactions, want %d", size, rep.Transactions.Total, before)
			}
			if _, boundary := ends[size]; boundary == (rep.Incomplete != nil) && size < end {
				t.Fatalf("%d bytes: incomplete transaction %+v, between transactions %v", size, rep.Incomplete, boundary)
			}
		}
		// One that is not the last one must be whole.
		must(t, os.WriteFile(path, data[:len(data)-50], 0o600))
		s.exec("INSERT INTO shop.visits VALUES ('later')")
		later := s.logs(first)[1]
		_, err = inspect.Run(t.Context(), inspect.Options{Files: []string{later, path}})
		if fault.ClassOf(err) != fault.Gap {
			t.Errorf("a file that is cut off in the middle of the log: %v, want a gap", err)
		}
	})
}

func byPosition(rep *inspect.Report) []inspect.Large {
	out := make([]inspect.Large, len(rep.Largest))
	for _, l := range rep.Largest {
		before := 0
		for _, o := range rep.Largest {
			var a, b int
			_, _ = fmt.Sscanf(o.Position[strings.LastIndex(o.Position, ":")+1:], "%d", &a)
			_, _ = fmt.Sscanf(l.Position[strings.LastIndex(l.Position, ":")+1:], "%d", &b)
			if a < b {
				before++
			}
		}
		out[before] = l
	}
	return out
}

// TestRange: --from and --until cut the log as a replay does.
func TestRange(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		s := start(t, d)
		s.exec(schema...)
		first := s.next()
		for n := range 30 {
			s.exec(fmt.Sprintf("INSERT INTO shop.visits VALUES ('%d')", n))
			if n%10 == 9 {
				s.exec("FLUSH BINARY LOGS")
			}
		}
		files := s.logs(first)
		all := run(t, inspect.Options{Files: files, Top: 100})
		if all.Transactions.Total != 30 || len(all.Files) != 4 || all.Inserts != 30 {
			t.Fatalf("%d transactions in %d files", all.Transactions.Total, len(all.Files))
		}
		for _, cut := range all.Largest {
			before := run(t, inspect.Options{Files: files, Until: cut.Position})
			after := run(t, inspect.Options{Files: files, From: cut.Position})
			if n, m := before.Transactions.Total, after.Transactions.Total; n+m != 30 || before.To > cut.Position || before.Inserts+after.Inserts != 30 {
				t.Errorf("%s: %d before (to %s), %d after", cut.Position, n, before.To, m)
			}
			if after.GTIDs.First != cut.GTID || union(t, before.GTIDs.Before, before.GTIDs.Set) != after.GTIDs.Before || after.From != cut.Position {
				t.Errorf("%s: first after it %s, want %s; set %q, before %q", cut.Position, after.GTIDs.First, cut.GTID, before.GTIDs.Set, after.GTIDs.Before)
			}
			until := run(t, inspect.Options{Files: files, Until: "gtid:" + cut.GTID})
			from := run(t, inspect.Options{Files: files, From: "gtid:" + until.GTIDs.Set})
			if until.GTIDs.Last != cut.GTID || until.Transactions.Total+from.Transactions.Total != 30 {
				t.Errorf("until %s: last %s; %d and %d transactions", cut.GTID, until.GTIDs.Last, until.Transactions.Total, from.Transactions.Total)
			}
		}
		checkErrors(t, files, all)
	})
}

func union(t *testing.T, a, b string) string {
	t.Helper()
	x, err := gtid.Parse(a)
	must(t, err)
	y, err := gtid.Parse(b)
	must(t, err)
	must(t, x.Union(y))
	return x.String()
}

func checkErrors(t *testing.T, files []string, all *inspect.Report) {
	var pos int
	_, _ = fmt.Sscanf(all.Largest[0].Position[strings.LastIndex(all.Largest[0].Position, ":")+1:], "%d", &pos)
	file, _, _ := strings.Cut(all.Largest[0].Position, ":")
	for _, c := range []struct {
		o     inspect.Options
		class fault.Class
	}{
		{inspect.Options{}, fault.Usage},
		{inspect.Options{Files: files, Memory: 1}, fault.Usage},
		{inspect.Options{Files: files, From: "auto"}, fault.Usage},
		{inspect.Options{Files: files, Until: "2024-01-01 00:00:00"}, fault.Usage},
		{inspect.Options{Files: files, From: fmt.Sprintf("%s:%d", file, pos+20)}, fault.Gap},
		{inspect.Options{Files: files, Until: fmt.Sprintf("%s:%d", file, pos+20)}, fault.Gap},
		{inspect.Options{Files: files, Until: "nosuchfile.000001:4"}, fault.Gap},
		{inspect.Options{Files: files, Until: "2100-01-01T00:00:00Z"}, fault.Gap},
		{inspect.Options{Files: []string{files[0], files[2]}}, fault.Gap},
		{inspect.Options{Files: []string{os.DevNull}}, fault.Failed},
	} {
		_, err := inspect.Run(t.Context(), c.o)
		if err == nil || fault.ClassOf(err) != c.class {
			t.Errorf("%+v: %v (class %d), want class %d", c.o, err, fault.ClassOf(err), c.class)
		}
	}
}

// A file that is damaged in its middle: the report has what lies before.
func TestDamage(t *testing.T) {
	d := servertest.All(t)[0]
	s := start(t, d)
	s.exec(schema...)
	first := s.next()
	s.exec(workload()...)
	files := s.logs(first)
	whole := run(t, inspect.Options{Files: files, Top: 100})
	data, err := os.ReadFile(files[0])
	must(t, err)
	path := filepath.Join(t.TempDir(), filepath.Base(files[0]))
	fifth := byPosition(whole)[4]
	var pos int
	_, _ = fmt.Sscanf(fifth.Position[strings.LastIndex(fifth.Position, ":")+1:], "%d", &pos)
	data[pos+60] ^= 0x40
	must(t, os.WriteFile(path, data, 0o600))
	rep, err := inspect.Run(t.Context(), inspect.Options{Files: []string{path}})
	if fault.ClassOf(err) != fault.Failed || rep == nil || rep.Complete || rep.Transactions.Total != 4 || rep.To != fifth.Position {
		t.Errorf("damage at %d: %v, %+v; want a report of 4 transactions, to %s", pos+60, err, rep, fifth.Position)
	}
}

// TestNonsense: without checksums every byte may be wrong, and the answer may
// be; but there is one, and no more is counted than the file can hold.
func TestNonsense(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		args := []string{"--binlog-checksum=NONE", "--binlog-row-metadata=FULL"}
		if d.Flavor == server.MariaDB {
			args = append(args, "--log-bin-compress=ON", "--log-bin-compress-min-len=16")
		}
		s := start(t, d, args...)
		s.exec(schema...)
		first := s.next()
		s.exec(workload()...)
		s.exec("USE shop", "SET SESSION binlog_row_image = MINIMAL", "UPDATE stock SET n = n + 1", "SET SESSION binlog_row_image = FULL")
		if d.Flavor == server.MySQL {
			s.exec("CREATE TABLE shop.doc (id INT PRIMARY KEY, j JSON)", `INSERT INTO shop.doc VALUES (1, JSON_OBJECT('a', REPEAT('x', 300), 'n', 1))`,
				"SET SESSION binlog_row_value_options = PARTIAL_JSON", "UPDATE shop.doc SET j = JSON_SET(j, '$.n', 7)",
				"SET SESSION binlog_transaction_compression = ON", "UPDATE shop.stock SET n = n + 2")
		}
		data, err := os.ReadFile(s.logs(first)[0])
		must(t, err)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		path := filepath.Join(t.TempDir(), "bin.000001")
		var whole int
		for range 1000 {
			bad := slices.Clone(data)
			for range 1 + r.IntN(4) {
				bad[r.IntN(len(bad))] = byte(r.Uint32())
			}
			must(t, os.WriteFile(path, bad, 0o600))
			rep, err := inspect.Run(t.Context(), inspect.Options{Files: []string{path}, Memory: 16 << 20})
			if err == nil {
				whole++
			}
			if rep == nil {
				continue
			}
			if rep.Rows() < 0 || rep.Rows() > 1<<20 || rep.NetRows.Least > rep.NetRows.Most || rep.NetRows.Most > 2*rep.Rows() {
				t.Errorf("%d changes, net rows %+v of %d bytes", rep.Rows(), rep.NetRows, len(data))
			}
			if n := len(rep.Tables); n < 50 { // a report of more is cut
				checkWidth(t, ui.Inspection(rep))
			}
		}
		t.Logf("%d of 1000 give no error", whole)
	})
}

// TestHistoriesAgainstTool compares the changes of random histories with those
// that the vendor's mysqlbinlog prints.
func TestHistoriesAgainstTool(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		seed := uint64(time.Now().UnixNano() % 1_000_000)
		if n, err := strconv.ParseUint(os.Getenv("LIFEBOAT_SEED"), 10, 64); err == nil {
			seed = n
		}
		t.Logf("LIFEBOAT_SEED=%d", seed)
		s := start(t, d, "--max-allowed-packet=256M", "--local-infile=ON", "--log-bin-trust-function-creators=1")
		h := history.New(history.Options{Seed: seed, Flavor: d.Flavor, Steps: 600})
		must(t, h.Setup(t.Context(), s.db))
		must(t, h.Run(t.Context(), s.db))
		files := s.logs("")
		rep := run(t, inspect.Options{Files: files})
		want, unread := toolCounts(t, d, files)
		got := map[string][3]int64{}
		for _, tab := range rep.Tables {
			got[tab.Database+"."+tab.Name] = [3]int64{tab.Inserts, tab.Updates, tab.Deletes}
			// A change of a key that is in the log is two net rows.
			if n := tab.NetRows; n.Least < 0 || n.Least > n.Most || n.Most > tab.Rows()+tab.Updates {
				t.Errorf("%s.%s: %d changes, net rows %+v", tab.Database, tab.Name, tab.Rows(), n)
			}
		}
		for name := range got {
			if got[name] == [3]int64{} || unread[name] {
				delete(got, name) // mapped and not changed, or not understood by the tool
				delete(want, name)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("inserts, updates, deletes by table:\n  have %v\n  tool %v", got, want)
		}
		checkWidth(t, ui.Inspection(rep))
		roundTrip(t, rep)
		if testing.Verbose() {
			t.Log(ui.Inspection(rep))
		}
	})
}

// toolCounts counts the changes that mysqlbinlog prints. MySQL's does not print
// an event on from a column of type POINT.
func toolCounts(t *testing.T, d server.Distribution, files []string) (counts map[string][3]int64, unread map[string]bool) {
	t.Helper()
	tool, err := d.Tool("mysqlbinlog")
	must(t, err)
	cmd := exec.CommandContext(t.Context(), tool, append([]string{"--no-defaults", "-v", "--base64-output=decode-rows",
		"--local-load=" + t.TempDir()}, files...)...)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	counts, unread = map[string][3]int64{}, map[string]bool{}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<28)
	var last string
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Don't know how to handle column type") {
			unread[last] = true
		}
		for i, verb := range []string{"### INSERT INTO ", "### UPDATE ", "### DELETE FROM "} {
			if name, ok := strings.CutPrefix(lines.Text(), verb); ok {
				last = strings.ReplaceAll(strings.ReplaceAll(name, "`.`", "."), "`", "")
				c := counts[last]
				c[i]++
				counts[last] = c
			}
		}
	}
	must(t, errors.Join(lines.Err(), cmd.Wait()))
	return counts, unread
}
