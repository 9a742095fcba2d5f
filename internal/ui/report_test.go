package ui

import (
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/replay"
)

func TestReportOfARun(t *testing.T) {
	r := &replay.Report{
		Target: "MySQL 9.7.4", Transactions: 300000, RowChanges: 1200000, NetRows: 240000, Windows: 2, Barriers: 1,
		Bytes: 500 << 20, Seconds: 4, GTIDs: "u:1-7",
		Plan: &replay.Plan{
			From: binlog.Position{File: "binlog.000003", Offset: 198}, To: binlog.Position{File: "binlog.000004", Offset: 99},
			Last: time.Date(2014, 1, 10, 17, 29, 59, 500000000, time.UTC),
		},
		Verified: []replay.Check{{Name: "stop", Done: true, Text: "reached exactly"}, {Name: "read-back", Text: "every key"}},
		Lanes:    []replay.LaneReport{{Table: "shop.docs", Reason: "partial row images"}},
		Notes:    []string{"left out: the last transaction"},
	}
	const want = `
Replayed into MySQL 9.7.4
  from          binlog.000003:198
  to            binlog.000004:99, last commit 2014-01-10 17:29:59.5 UTC
  transactions  300,000  (75,000/s)
  row changes   1,200,000  (300,000/s)
  net rows      240,000  (20 % of the changes)
  windows       2
  barriers      1  (DDL and statements, executed alone)
  log read      500.0 MiB  (125.0 MiB/s)
  time          4.0 s
  contains      u:1-7

Verified
  yes  reached exactly
  no   every key

Replayed verbatim, in the log's order
  shop.docs: partial row images

Notes
  left out: the last transaction

The checkpoint stays on the target: replay more later, or make it ready for use with --finalize.
`
	if got := Report(r); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestProgressLine(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		s     replay.Snapshot
		after time.Duration
		want  string
	}{
		{replay.Snapshot{Phase: "connecting", Since: begin}, time.Second, "connecting …"},
		{replay.Snapshot{Phase: "replaying", Since: begin, Total: 1 << 30}, 0, "replaying    0 %  0 B of 1.0 GiB"},
		{replay.Snapshot{Phase: "replaying", Since: begin, Done: 256 << 20, Total: 1 << 30}, 4 * time.Second,
			"replaying   25 %  256.0 MiB of 1.0 GiB  64.0 MiB/s  12.0 s left"},
		{replay.Snapshot{Phase: "replaying", Since: begin, Done: 2 << 30, Total: 1 << 30}, 4 * time.Second,
			"replaying  100 %  1.0 GiB of 1.0 GiB  256.0 MiB/s  0 ms left"},
	} {
		if got := Line(c.s, begin.Add(c.after)); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}
