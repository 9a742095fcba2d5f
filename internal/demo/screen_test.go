package demo

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/replay"
)

func TestScreen(t *testing.T) {
	var out strings.Builder
	s := newScreen(&out)
	s.title("Head", "rest")
	bad := errors.New("bad")
	_ = s.step("Doing", func() (string, error) {
		return "Did what takes more than a line to tell, because there is so much of it, in the words of a stranger.", nil
	})
	if err := s.stepLive(func() string { return "Doing: 3 of 7" }, func() (string, error) { return "", bad }); !errors.Is(err, bad) {
		t.Errorf("error is %v", err)
	}
	got := regexp.MustCompile(`\d+\.\d s`).ReplaceAllString(out.String(), "0.0 s")
	want := `
Head
rest

     0.0 s  Did what takes more than a line to tell, because there is so much of
            it, in the words of a stranger.
   stopped  Doing: 3 of 7
`
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestSummary(t *testing.T) {
	r := &Report{
		Tables: []Comparison{
			{"orders", 12000, 12000, "4294967295", "4294967295", true, ""},
			{"products", 40, 39, "17", "18", false, "other rows"},
			{"reviews", 4, 0, "1", "", false, "lost"},
		},
		Restore: Restore{Seconds: 0.5},
		Replay:  &replay.Report{Transactions: 30000, RowChanges: 90000, NetRows: 20000, Bytes: 20 << 20, Seconds: 2},
		Serial:  &Serial{Seconds: 75, Ratio: 37.5, Equal: true},
	}
	want := `
  table         rows  checksum before  checksum after
  orders      12,000       4294967295      4294967295  equal
  products  40 -> 39               17              18  DIFFERENT: other rows
  reviews     4 -> 0                1               -  DIFFERENT: lost

2 of 3 tables did NOT come back as they were.

  in the logs          30,000 transactions with 90,000 row changes, 20.0 MiB
  written              20,000 rows: one that changed often is written once
  restore              0.5 s
  replay               2.0 s  (15,000 transactions/s, 45,000 row changes/s, 10.0 MiB/s)
  mysqlbinlog | mysql  1 min 15 s  (37.5 times as long, without reading back; same end state)
`
	if got := Summary(r); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
