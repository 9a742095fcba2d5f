package ui

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/lifeboat-db/lifeboat/internal/inspect"
)

var update = flag.Bool("update", false, "write testdata anew")

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

// sample has something of everything.
func sample() *inspect.Report {
	first, last := at("2014-01-10T17:00:00.25Z"), at("2014-01-11T01:29:59.5Z")
	return &inspect.Report{
		SchemaVersion: 1, Complete: true, Vendor: "mysql",
		Files: []inspect.File{
			{Name: "binlog.000041", Bytes: 1 << 30, ServerVersion: "9.7.4-2", ServerID: 1, Checksums: true, Read: false, End: "rotate", Next: "binlog.000042"},
			{Name: "binlog.000042", Bytes: 1<<30 + 12345, ServerVersion: "9.7.4-2", ServerID: 1, Checksums: true, Read: true, Transactions: 1234567, FirstCommit: first, LastCommit: at("2014-01-10T23:00:00Z"), End: "rotate", Next: "binlog.000043"},
			{Name: "binlog.000043", Bytes: 98765432, ServerVersion: "9.7.4-2", ServerID: 1, Read: true, Transactions: 12, FirstCommit: at("2014-01-10T23:00:00Z"), LastCommit: last, End: "open"},
		},
		From: "binlog.000042:157", To: "binlog.000043:98765000", Bytes: 1172517433, FirstCommit: first, LastCommit: last,
		GTIDs: inspect.GTIDs{
			Before: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5", Set: "3e11fa47-71ca-11e1-9e33-c80aa9429562:6-1234584,4e11fa47-71ca-11e1-9e33-c80aa9429562:1-77:79-90:95:99-120",
			First: "3e11fa47-71ca-11e1-9e33-c80aa9429562:6", Last: "4e11fa47-71ca-11e1-9e33-c80aa9429562:120", Anonymous: 3,
		},
		Transactions: inspect.Transactions{Total: 1234579, Rows: 1230000, DDL: 12, Statements: 4560, Refused: 2, Empty: 5},
		Changes: inspect.Changes{
			RowsEvents: 2000000, Inserts: 900000, Updates: 4100000, Deletes: 500000, EventBytes: 1100000000,
			NetRows: inspect.Range{Least: 600000, Most: 1000000},
		},
		Windows: 4573,
		Tables: []inspect.Table{
			{Database: "shop", Name: "orders", Transactions: 900000, By: "contents", Estimates: []string{"keys"}, Changes: inspect.Changes{EventBytes: 900000000, Inserts: 800000, Updates: 3999999, Deletes: 499999, NetRows: inspect.Range{Least: 500000, Most: 900000}}},
			{Database: "a_database_with_a_rather_long_name", Name: "and_a_table_whose_name_is_not_short_either", Transactions: 1, By: "key", Changes: inspect.Changes{EventBytes: 150000000, Inserts: 100000, NetRows: inspect.Range{Least: 100000, Most: 100000}}},
			{Database: "shop", Name: "esc\x1b[31m", Transactions: 1, By: "contents", Changes: inspect.Changes{EventBytes: 300, Inserts: 1, Updates: 3, Deletes: 1}},
		},
		Largest: []inspect.Large{
			{Position: "binlog.000042:5000", End: "binlog.000042:1000000", GTID: "3e11fa47-71ca-11e1-9e33-c80aa9429562:7", Committed: first, Bytes: 995000, Rows: 12000, Tables: []inspect.TableCount{{Table: "shop.orders", Rows: 11000}, {Table: "shop.order_items_of_the_last_year", Rows: 600}, {Table: "shop.audit_trail_of_orders", Rows: 400}}},
			{Position: "binlog.000042:1000000", End: "binlog.000042:1000500", Bytes: 500, Rows: 0},
		},
		Barriers: []inspect.Construct{
			{Kind: "statements", What: "UPDATE", Count: 4560, Examples: []inspect.Example{{Position: "binlog.000042:700", Text: "UPDATE counters SET n = n + 1 WHERE id IN (SELECT id FROM others WHERE …"}}},
			{Kind: "DDL", What: "ALTER TABLE", Count: 12, Examples: []inspect.Example{{Position: "binlog.000042:99999", Text: "ALTER TABLE orders ADD COLUMN note TEXT"}, {Position: "binlog.000043:4", Text: "ALTER TABLE x ENGINE=InnoDB"}}},
		},
		Verbatim:   []inspect.Construct{{What: "partial row images (MINIMAL or NOBLOB)", Table: "shop.orders", Count: 17, Examples: []inspect.Example{{Position: "binlog.000043:4711"}}}},
		Refused:    []inspect.Construct{{What: "XA transaction", Count: 2, Examples: []inspect.Example{{Position: "binlog.000043:5000"}, {Position: "binlog.000043:5900"}}}},
		Incomplete: &inspect.Incomplete{Position: "binlog.000043:98765000", Bytes: 432, Reason: "the file ends inside a transaction"},
		Notes:      []string{"some files have no checksums: damage in them cannot be seen"},
		Memory:     inspect.Memory{Limit: 512 << 20, Peak: 16 << 20}, Seconds: 1.5,
	}
}

func TestInspection(t *testing.T) {
	golden(t, "testdata/inspect.txt", Inspection(sample()))
}

// A log of many files, tables and kinds of statements is shown in part.
func TestInspectionOfMany(t *testing.T) {
	r := sample()
	for range 60 {
		r.Files = append(r.Files, r.Files[2])
		r.Tables = append(r.Tables, r.Tables[2])
		r.Barriers = append(r.Barriers, r.Barriers[1])
	}
	r.GTIDs.Set += strings.Repeat(":1000000-2000000", 1000)
	have := Inspection(r)
	checkWidth(t, have)
	for _, want := range []string{"\n  … 43 more\n", "\n  … 13 more  ", "\n  … 50 more kinds      600\n", "1000000…\n"} {
		if !strings.Contains(have, want) {
			t.Errorf("%q is missing in\n%s", want, have)
		}
	}
}

func TestInspectionOfNothing(t *testing.T) {
	golden(t, "testdata/inspect-nothing.txt", Inspection(&inspect.Report{
		Vendor: "mariadb", Files: []inspect.File{{Name: "bin.000001", Bytes: 300, ServerVersion: "11.8.6-MariaDB", Read: true, End: "stop"}},
		From: "bin.000001:256", To: "bin.000001:300",
	}))
}

func golden(t *testing.T, path, have string) {
	t.Helper()
	checkWidth(t, have)
	if *update {
		if err := os.WriteFile(path, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if have != string(want) {
		t.Errorf("%s (go test -update writes it anew):\n%s", path, have)
	}
}

func checkWidth(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > inspectWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		part, whole int64
		want        string
	}{{0, 100, ""}, {1, 1000, "▏"}, {50, 100, "████"}, {55, 100, "████▍"}, {100, 100, "████████"}, {1, 0, ""}} {
		if got := bar(c.part, c.whole); got != c.want {
			t.Errorf("bar of %d in %d is %q, want %q", c.part, c.whole, got, c.want)
		}
	}
}
