package binlog_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/reallog"
)

// With -update the small logs in testdata, on which framing is tested and from
// which fuzzing starts, are written anew by the installed servers.
var update = flag.Bool("update", false, "write the logs in testdata anew")

// variant is a way in which a server can write its log.
type variant struct {
	name string
	set  []string // global settings, added to those of the variants before
}

func variants(d server.Distribution) []variant {
	if d.Flavor == server.MariaDB {
		return []variant{
			{"plain", nil},
			{"compressed", []string{"SET GLOBAL log_bin_compress = ON", "SET GLOBAL log_bin_compress_min_len = 10"}},
			{"nochecksum", []string{"SET GLOBAL log_bin_compress = OFF", "SET GLOBAL binlog_checksum = NONE"}},
		}
	}
	return []variant{
		{"plain", nil},
		{"compressed", []string{"SET GLOBAL binlog_transaction_compression = ON", "SET GLOBAL binlog_row_value_options = PARTIAL_JSON"}},
		{"nochecksum", []string{
			"SET GLOBAL binlog_transaction_compression = OFF", "SET GLOBAL binlog_row_value_options = ''",
			"SET GLOBAL binlog_checksum = NONE", "SET GLOBAL gtid_mode = ON_PERMISSIVE",
			"SET GLOBAL gtid_mode = OFF_PERMISSIVE", "SET GLOBAL gtid_mode = OFF",
		}},
	}
}

// small is a history that has every common event in it.
func small(d server.Distribution) []string {
	s := []string{
		"CREATE DATABASE d", "USE d",
		"CREATE TABLE t (a INT PRIMARY KEY, b VARCHAR(300), c JSON)",
		`INSERT INTO t VALUES (1, 'one', '{"a": 1}'), (2, REPEAT('two', 50), NULL)`,
		"BEGIN", "UPDATE t SET b = 'zwei' WHERE a = 2", "SAVEPOINT s", "DELETE FROM t WHERE a = 1", "COMMIT",
		"BEGIN", `UPDATE t SET c = '{"k": "value", "l": [1, 2, 3, "abcdefghijklmnopqrstuvwxyz"]}'`, "COMMIT",
		"SET binlog_format = STATEMENT", "SET @u = 42", "INSERT INTO t VALUES (RAND() * 1000 + 5, @u, NULL)", "SET binlog_format = ROW",
		`UPDATE t SET c = JSON_SET(c, '$.k', 'VALUE') WHERE a = 2`,
		"DROP TABLE t",
	}
	if d.Flavor == server.MariaDB {
		return append(s, "DROP DATABASE d")
	}
	// One GTID with a tag (event 42), where there are GTIDs.
	return append(s, "SET @m = IF(@@GLOBAL.gtid_mode = 'ON', 'AUTOMATIC:tag', 'AUTOMATIC')", "SET gtid_next = @m", "DROP DATABASE d", "SET gtid_next = 'AUTOMATIC'")
}

// TestRealLogs reads what each installed server writes.
func TestRealLogs(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		src := reallog.Start(t, d)
		t.Run("set", func(t *testing.T) { testRealSet(t, src) })
		src.DB = servertest.Open(t, src.Instance, "")
		if d.Flavor == server.MySQL {
			t.Run("clocks", func(t *testing.T) { testClocks(t, d, src) })
		}
		for _, v := range variants(d) {
			t.Run(v.name, func(t *testing.T) { testEvents(t, d, src, v) })
		}
	})
}

// testEvents compares every event with what the server that wrote it shows of
// it.
func testEvents(t *testing.T, d server.Distribution, src *reallog.Source, v variant) {
	src.Exec(t, v.set...)
	src.DB.SetMaxIdleConns(0) // sessions inherit globals when they begin
	path := src.Record(t, small(d)...)
	compareWithServer(t, src, path)
	if *update {
		keep(t, path, d.Name+"-"+v.name)
	}
}

func keep(t *testing.T, path, name string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", name+".log"), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// shown is a line of SHOW BINLOG EVENTS.
type shown struct {
	pos, end int64
	server   uint32
	typ      string
	info     string
}

func show(t *testing.T, src *reallog.Source, name string) (out []shown) {
	t.Helper()
	rows, err := src.DB.QueryContext(t.Context(), "SHOW BINLOG EVENTS IN '"+name+"'")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var s shown
		var log string
		if err := rows.Scan(&log, &s.pos, &s.typ, &s.server, &s.end, &s.info); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func compareWithServer(t *testing.T, src *reallog.Source, path string) {
	t.Helper()
	f, err := binlog.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	want := show(t, src, f.Name)[1:] // without the format description
	got := allEvents(t, f)
	if len(got) == 0 || len(got) != len(want) {
		t.Fatalf("%d events, the server shows %d:\n%v", len(got), len(want), want)
	}
	for i, ev := range got {
		w := want[i]
		// What lies in a payload has no place of its own; MariaDB 11.8 leaves the
		// end out in events that went through a transaction's cache.
		placed := ev.Offset == w.pos && (ev.End == w.end || w.end == 0)
		if !placed && !ev.Inner || ev.ServerID != w.server {
			t.Errorf("%s at %d..%d of server %d; the server shows %+v", ev.Type, ev.Offset, ev.End, ev.ServerID, w)
		}
		if text := describe(t, ev); !agrees(text, w) {
			t.Errorf("%s\n\tthe server shows %s: %q", text, w.typ, w.info)
		}
	}
}

// allEvents are the file's events, those inside payloads behind their payload.
func allEvents(t *testing.T, f *binlog.File) (out []binlog.Event) {
	t.Helper()
	in := &binlog.Inflater{Limit: 1 << 20}
	for r := f.Events(0); ; {
		ev, ok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return out
		}
		if ev, err = in.Inflate(ev); err != nil {
			t.Fatal(err)
		}
		out = append(out, ev)
		if ev.Type != binlog.TransactionPayload {
			continue
		}
		inner, err := in.Payload(ev)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, inner...)
	}
}

// describe says what the decoders find in an event, in the words of SHOW
// BINLOG EVENTS as far as possible.
func describe(t *testing.T, ev binlog.Event) string {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Fatalf("%s at %d: %v", ev.Type, ev.Offset, err)
		}
	}
	switch {
	case ev.Type == binlog.QueryEvent:
		q, err := binlog.DecodeQuery(ev.Body, 0)
		check(err)
		return string(q.SQL)
	case ev.Type == binlog.RotateEvent:
		r, err := binlog.DecodeRotate(ev.Body)
		check(err)
		return fmt.Sprintf("%s;pos=%d", r.Name, r.Position)
	case ev.Type == binlog.TableMapEvent:
		m, err := binlog.DecodeTableMap(ev.Body)
		check(err)
		return fmt.Sprintf("table_id: %d (%s.%s)", m.TableID, m.Database, m.Table)
	case ev.Type.Rows() != binlog.NotRows:
		r, err := binlog.DecodeRows(ev.Type, ev.Body)
		check(err)
		s := fmt.Sprintf("table_id: %d", r.TableID)
		if r.Flags&binlog.RowsStmtEnd != 0 {
			s += " flags: STMT_END_F"
		}
		return s
	case ev.Type == binlog.GTIDEvent, ev.Type == binlog.AnonymousGTID, ev.Type == binlog.GTIDTagged, ev.Type == binlog.MariaGTID:
		g, err := binlog.DecodeGTID(ev.Type, ev.ServerID, ev.Body)
		check(err)
		if g.Anonymous {
			return "ANONYMOUS"
		}
		return g.ID.String()
	default:
		return ""
	}
}

func agrees(text string, w shown) bool {
	if w.typ == "Query" {
		return strings.HasSuffix(w.info, text) || strings.Contains(w.info, text)
	}
	return strings.Contains(w.info, text)
}

// testClocks compares commit times and clocks, which SHOW BINLOG EVENTS does
// not show, with what MySQL's own tool prints.
func testClocks(t *testing.T, d server.Distribution, src *reallog.Source) {
	path := src.Record(t, small(d)...)
	out := toolOutput(t, d, path)
	lines := regexp.MustCompile(`last_committed=(\d+)\s+sequence_number=(\d+)`).FindAllStringSubmatch(out, -1)
	times := regexp.MustCompile(`(?m)immediate_commit_timestamp=(\d+)\ttransaction_length=(\d+)`).FindAllStringSubmatch(out, -1)
	f, err := binlog.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	n := 0
	for _, ev := range allEvents(t, f) {
		if ev.Type != binlog.GTIDEvent && ev.Type != binlog.GTIDTagged {
			continue
		}
		g, err := binlog.DecodeGTID(ev.Type, ev.ServerID, ev.Body)
		if err != nil {
			t.Fatal(err)
		}
		if n >= len(lines) || n >= len(times) {
			t.Fatalf("mysqlbinlog shows %d transactions:\n%s", len(lines), out)
		}
		got := fmt.Sprintf("%d %d %d %d", g.LastCommitted, g.SequenceNumber, g.CommitTime.UnixMicro(), g.Length)
		if want := lines[n][1] + " " + lines[n][2] + " " + times[n][1] + " " + times[n][2]; got != want {
			t.Errorf("%s: clock, time and length %s, mysqlbinlog says %s", g.ID, got, want)
		}
		n++
	}
	if n == 0 || n != len(lines) {
		t.Errorf("%d transactions, mysqlbinlog says %d", n, len(lines))
	}
}

// toolOutput is what the distribution's own mysqlbinlog prints of a file.
func toolOutput(t *testing.T, d server.Distribution, path string) string {
	t.Helper()
	tool, err := d.Tool("mysqlbinlog")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tool, "--no-defaults", path).Output()
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	return string(out)
}
