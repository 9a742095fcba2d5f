package txn_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// Events of a synthetic MariaDB log without checksums, where an event need not
// say where the next one begins.

func gtidEvent(seq uint64, flags byte) []byte {
	return binlog.AppendEvent(nil, binlog.MariaGTID, 1700000000, 7, func(b []byte) []byte {
		b = binary.LittleEndian.AppendUint64(b, seq)
		b = append(b, 0, 0, 0, 0, flags)
		return append(b, make([]byte, 6)...)
	})
}

func queryEvent(sql string) []byte {
	return binlog.AppendEvent(nil, binlog.QueryEvent, 1700000001, 7, func(b []byte) []byte {
		return append(append(b, make([]byte, 14)...), sql...)
	})
}

func event(t binlog.Type, body ...byte) []byte {
	return binlog.AppendEvent(nil, t, 1700000002, 7, func(b []byte) []byte { return append(b, body...) })
}

var (
	xid      = event(binlog.XIDEvent, make([]byte, 8)...)
	tableMap = event(binlog.TableMapEvent, []byte("\x09\x00\x00\x00\x00\x00\x01\x00\x01d\x00\x01t\x00\x01\x03\x00\x00")...)
	rows     = event(binlog.WriteRowsV1, 9, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 42, 0, 0, 0)
	rotate   = event(binlog.RotateEvent, []byte("\x04\x00\x00\x00\x00\x00\x00\x00log.2")...)
)

const standalone = 1

func synthetic(t testing.TB, events ...[]byte) []byte {
	t.Helper()
	paths, err := filepath.Glob("../binlog/testdata/mariadb-10*nochecksum.log")
	if err != nil || len(paths) == 0 {
		t.Fatal(err)
	}
	data, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	first := 4 + binary.LittleEndian.Uint32(data[4+9:])
	return slices.Concat(append([][]byte{data[:first]}, events...)...)
}

func TestGrammar(t *testing.T) {
	begin := gtidEvent(1, 0)
	for _, test := range []struct {
		name   string
		events [][]byte
		want   string // summaries, separated by |, or the error
	}{
		{"rows", [][]byte{begin, tableMap, rows, xid}, "row changes: t insert"},
		{"a table map alone", [][]byte{begin, tableMap, xid}, "empty:"},
		{"nothing", [][]byte{begin, queryEvent("COMMIT")}, "empty:"},
		{"a savepoint alone", [][]byte{begin, queryEvent("SAVEPOINT s"), queryEvent("COMMIT")}, "empty:"},
		{"BEGIN is written out", [][]byte{begin, queryEvent("BEGIN"), tableMap, rows, xid}, "row changes: t insert"},
		{"rolled back", [][]byte{begin, tableMap, rows, queryEvent("ROLLBACK")}, "statements, rolled back: t insert"},
		{"ROLLBACK TO is no end", [][]byte{begin, tableMap, rows, queryEvent("ROLLBACK TO `s`"), xid}, "statements: t insert [ROLLBACK TO `s`]"},
		{"ROLLBACK TO SAVEPOINT in lower case", [][]byte{begin, tableMap, rows, queryEvent("rollback work to savepoint s"), xid}, "statements: t insert [rollback work to savepoint s]"},
		{"ROLLBACK WORK is one", [][]byte{begin, tableMap, rows, queryEvent("ROLLBACK WORK")}, "statements, rolled back: t insert"},
		{"COMMIT behind a comment", [][]byte{begin, tableMap, rows, queryEvent("/* x */ COMMIT")}, "row changes: t insert"},
		{"DDL", [][]byte{gtidEvent(1, standalone), queryEvent("DROP TABLE t")}, "DDL: [DROP TABLE t]"},
		{"XA", [][]byte{gtidEvent(1, 64), event(binlog.XAPrepare, make([]byte, 20)...)}, "empty, refused: XA transaction:"},
		{"two", [][]byte{begin, tableMap, rows, xid, gtidEvent(2, standalone), queryEvent("DROP TABLE t")}, "row changes: t insert|DDL: [DROP TABLE t]"},
		{"an annotation", [][]byte{begin, event(binlog.AnnotateRows, []byte("INSERT")...), tableMap, rows, xid}, "row changes: t insert"},
		{"an unknown event that may be ignored", [][]byte{begin, ignorable(), tableMap, rows, xid}, "row changes: t insert"},
		{"LOAD DATA", [][]byte{begin, event(binlog.BeginLoadQuery, 1, 0, 0, 0, 'x'), xid}, "empty, refused: LOAD DATA in statement format:"},
		{"a checkpoint between groups", [][]byte{begin, tableMap, rows, xid, event(binlog.BinlogCheckpoint, 5, 0, 0, 0, 'l', 'o', 'g', '.', '1')}, "row changes: t insert"},
		{"rotate between groups", [][]byte{begin, tableMap, rows, xid, rotate}, "row changes: t insert"},

		{"rotate inside a group", [][]byte{begin, tableMap, rows, rotate}, txn.ErrIncomplete.Error()},
		{"no end", [][]byte{begin, tableMap, rows}, txn.ErrIncomplete.Error()},
		{"GTID alone", [][]byte{begin}, txn.ErrIncomplete.Error()},
		{"a second GTID", [][]byte{begin, tableMap, rows, gtidEvent(2, 0)}, binlog.ErrCorrupt.Error()},
		{"no GTID before rows", [][]byte{tableMap, rows, xid}, txn.ErrNoBeginning.Error()},
		{"no GTID before a statement", [][]byte{queryEvent("DROP TABLE t")}, txn.ErrNoBeginning.Error()},
		{"no GTID before COMMIT", [][]byte{queryEvent("COMMIT")}, txn.ErrNoBeginning.Error()},
		{"no GTID before XID", [][]byte{xid}, txn.ErrNoBeginning.Error()},
		{"rows without BEGIN", [][]byte{gtidEvent(1, standalone), tableMap, rows, xid}, txn.ErrNoBeginning.Error()},
		{"an event that belongs nowhere", [][]byte{begin, event(binlog.ExecLoadEvent, 0, 0, 0, 0)}, binlog.ErrUnsupported.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			groups, err := scan(synthetic(t, test.events...), 0)
			if err != nil {
				if !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want %s", err, test.want)
				}
				return
			}
			var got []string
			for i := range groups {
				got = append(got, summary(&groups[i]))
				if groups[i].Kind == txn.Empty && len(groups[i].Events) > 0 {
					t.Errorf("%d events of an empty transaction", len(groups[i].Events))
				}
			}
			if s := strings.Join(got, "|"); s != test.want {
				t.Errorf("%s, want %s", s, test.want)
			}
		})
	}
}

func ignorable() []byte {
	ev := event(99, 1, 2, 3)
	ev[17] |= byte(binlog.FlagIgnorable)
	return ev
}

// TestTransactionsKeepTheirEvents: events share memory between transactions,
// also where one has more of them than a piece of that memory holds.
func TestTransactionsKeepTheirEvents(t *testing.T) {
	var events [][]byte
	sizes := []int{1, 4000, 200, 9000, 3, 5000, 1, 1}
	for i, n := range sizes {
		events = append(events, gtidEvent(uint64(i+1), 0))
		for k := range n {
			events = append(events, tableMap, event(binlog.WriteRowsV1, 9, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, byte(i), byte(k), byte(k>>8), 0))
		}
		events = append(events, xid)
	}
	groups, err := scan(synthetic(t, events...), 0)
	if err != nil || len(groups) != len(sizes) {
		t.Fatalf("%d transactions, %v", len(groups), err)
	}
	for i, g := range groups {
		if len(g.Events) != 2*sizes[i] {
			t.Fatalf("transaction %d has %d events, want %d", i, len(g.Events), 2*sizes[i])
		}
		for k, ev := range g.Events {
			if k%2 == 1 && !bytes.Equal(ev.Body[11:14], []byte{byte(i), byte(k / 2), byte(k / 2 >> 8)}) {
				t.Fatalf("transaction %d: event %d is %v", i, k, ev.Body)
			}
		}
	}
}

// TestControl: events outside of transactions are handed over, and an error
// stops the scan.
func TestControl(t *testing.T) {
	f, err := binlog.NewFile("log.000001", synthetic(t, gtidEvent(1, 0), tableMap, rows, xid, rotate))
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	sc := txn.NewScanner(f, 0, &binlog.Inflater{})
	sc.Control = func(ev binlog.Event) error {
		if ev.Type == binlog.RotateEvent {
			return stop
		}
		return nil
	}
	if _, ok, err := sc.Next(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, ok, err := sc.Next(); ok || !errors.Is(err, stop) {
		t.Errorf("%v %v", ok, err)
	}
}

func TestVerb(t *testing.T) {
	for sql, want := range map[string]string{
		"BEGIN": "BEGIN", "begin": "BEGIN", "COMMIT": "COMMIT", " \n\tCommit ;": "COMMIT",
		"COMMIT /* x */": "COMMIT", "/* a */ /* b */ COMMIT": "COMMIT", "-- a\nCOMMIT": "COMMIT", "--\tx\nCOMMIT": "COMMIT",
		"--\nCOMMIT": "COMMIT", "# a\nCOMMIT": "COMMIT", "/*!40001 COMMIT */": "COMMIT", "/*M!100000 COMMIT */": "COMMIT", "/*!COMMIT*/": "COMMIT",
		"ROLLBACK": "ROLLBACK", "ROLLBACK TO s": "ROLLBACK TO", "ROLLBACK TO SAVEPOINT s": "ROLLBACK TO", "ROLLBACK WORK": "ROLLBACK",
		"ROLLBACK WORK TO s": "ROLLBACK TO", "rollback/**/to s": "ROLLBACK TO", "ROLLBACK AND CHAIN": "ROLLBACK",
		"SAVEPOINT s": "SAVEPOINT", "RELEASE SAVEPOINT s": "RELEASE SAVEPOINT",
		"XA START X'61',X'',1": "XA START", "XA COMMIT X'61',X'',1 ONE PHASE": "XA COMMIT",
		"CREATE TABLE t (a INT)": "CREATE TABLE", "CREATE OR REPLACE TABLE t (a INT)": "CREATE OR", "CREATE TEMPORARY TABLE t (a INT)": "CREATE TEMPORARY",
		"CREATE/*!40001 TEMPORARY */TABLE t (a INT)": "CREATE TEMPORARY",
		"DROP TABLE t": "DROP TABLE", "DROP /*!40005 TEMPORARY */ TABLE t": "DROP TEMPORARY", "ALTER/**/TABLE t": "ALTER TABLE",
		"LOAD DATA INFILE 'x' INTO TABLE t": "LOAD DATA", "INSERT INTO commit VALUES (1)": "INSERT", "(SELECT 1)": "SELECT",
		"": "", "/* never closed": "", "-- COMMIT": "", "/*": "", "COMMITTED": "COMMITTED",
		"WITH x AS (SELECT 1) UPDATE t SET a = 1": "WITH",
	} {
		if got := txn.Verb([]byte(sql)); got != want {
			t.Errorf("%q: %q, want %q", sql, got, want)
		}
	}
}

func TestIsCreateTable(t *testing.T) {
	for sql, want := range map[string]bool{
		"CREATE TABLE t (a INT)": true, "create /* x */ table if not exists t (a INT)": true, "CREATE OR REPLACE TABLE t (a INT)": true,
		"CREATE TEMPORARY TABLE t (a INT)": false, "CREATE OR REPLACE TEMPORARY TABLE t (a INT)": false, "DROP TABLE t": false, "INSERT INTO t SELECT 1": false,
	} {
		if got := txn.IsCreateTable([]byte(sql)); got != want {
			t.Errorf("%q: %v", sql, got)
		}
	}
}

func FuzzVerb(f *testing.F) {
	for _, s := range list("BEGIN", "/*! COMMIT */", "-- x\nROLLBACK TO `s`", "CREATE OR REPLACE TEMPORARY TABLE IF NOT EXISTS `a`.`b``c` (x INT)", "DROP TEMPORARY TABLE a, b.c") {
		f.Add([]byte(s))
	}
	f.Fuzz(func(_ *testing.T, sql []byte) {
		txn.Verb(sql)
		txn.TemporaryTables(sql, "d")
	})
}

func TestTemporaryTables(t *testing.T) {
	for _, test := range []struct{ sql, created, dropped string }{
		{"CREATE TEMPORARY TABLE x (a INT)", "d.x", ""},
		{"create temporary table if not exists x(a INT)", "d.x", ""},
		{"CREATE TEMPORARY TABLE `x` LIKE y", "d.x", ""},
		{"CREATE TEMPORARY TABLE e.x AS SELECT 1", "e.x", ""},
		{"CREATE TEMPORARY TABLE `e` . `x` (a INT)", "e.x", ""},
		{"CREATE TEMPORARY TABLE `a``b` (a INT)", "d.a`b", ""},
		{"CREATE TEMPORARY TABLE \"a`b\" (a INT)", "d.a`b", ""},
		{"CREATE TEMPORARY TABLE `if` (a INT)", "d.if", ""},
		{"CREATE OR REPLACE TEMPORARY TABLE x (a INT)", "d.x", ""},
		{"CREATE /*!40001 TEMPORARY */ TABLE x (a INT)", "d.x", ""},
		{"CREATE TEMPORARY TABLE größe (a INT)", "d.größe", ""},
		{"CREATE TEMPORARY SEQUENCE s", "d.s", ""},
		{"CREATE TABLE x (a INT)", "", ""},
		{"CREATE TABLE TEMPORARY (a INT)", "", ""},
		{"DROP TEMPORARY TABLE x", "", "d.x"},
		{"DROP TEMPORARY TABLE IF EXISTS `x`, e.y ,z /* generated by server */", "", "d.x e.y d.z"},
		{"DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `x`", "", "d.x"},
		{"DROP TEMPORARY TABLES x, y", "", "d.x d.y"},
		{"DROP TEMPORARY SEQUENCE s", "", "d.s"},
		{"DROP TABLE x", "", ""},
		{"INSERT INTO t VALUES ('CREATE TEMPORARY TABLE x')", "", ""},
		{"CREATE TEMPORARY TABLE `x", "", ""},
		{"", "", ""},
	} {
		created, dropped := txn.TemporaryTables([]byte(test.sql), "d")
		if c, d := strings.Join(created, " "), strings.Join(dropped, " "); c != test.created || d != test.dropped {
			t.Errorf("%s: creates %q, drops %q; want %q and %q", test.sql, c, d, test.created, test.dropped)
		}
	}
}
