package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/backup/clone"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

const source = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

var day = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

func gtids(last int) string { return fmt.Sprintf("%s:1-%d", source, last) }

// logOf is a server's log of n files, each with ten transactions in 1,000 bytes;
// of the last one only some bytes are there.
func logOf(server string, n int, last int64) (l archive.Log) {
	l.Server = server
	for i := range n {
		before := gtids(10 * i)
		if i == 0 {
			before = ""
		}
		f := archive.File{Closed: i < n-1}
		f.Summary = archive.Summary{Server: server, File: fmt.Sprintf("bin.%06d", i+1), ID: "x", Flavor: "mysql", Begun: day, Start: 4, End: 1004,
			Previous: &before, Transactions: 10, GTIDs: fmt.Sprintf("%s:%d-%d", source, 10*i+1, 10*i+10),
			First: day.Add(time.Duration(i) * time.Hour), Last: day.Add(time.Duration(i)*time.Hour + 59*time.Minute)}
		if f.Closed {
			f.Next = fmt.Sprintf("bin.%06d", i+2)
		} else {
			f.End = last
		}
		l.Files = append(l.Files, f)
	}
	return l
}

// cloneOf is a backup of a point between two, each FILE:OFFSET of logOf.
func cloneOf(id string, file int, offset int64, untilFile int, untilOffset int64, byPosition bool) backup.Manifest {
	count := func(file int, offset int64) string { return gtids(10*(file-1) + int(offset/100)) }
	return backup.Manifest{ID: id, Kind: backup.Full, Driver: backup.Clone, Flavor: "mysql", Server: "a", Finished: day.Add(time.Duration(file) * time.Hour),
		File: fmt.Sprintf("bin.%06d", file), Offset: offset, GTIDs: count(file, offset), Inexact: true,
		Until: &backup.Until{File: fmt.Sprintf("bin.%06d", untilFile), Offset: untilOffset, GTIDs: count(untilFile, untilOffset), ByPosition: byPosition}}
}

// A backup of which only two ends are known is taken if every state between
// them leads to the stop, and else the one before it.
func TestBetween(t *testing.T) {
	old := cloneOf("20261125T000000Z-000001", 1, 500, 1, 500, false)
	recent := cloneOf("20261125T020000Z-000002", 2, 900, 3, 200, false)
	anonymous := cloneOf("20261125T020000Z-000003", 3, 200, 3, 200, true)
	anonymous.Inexact = false
	unknown := cloneOf("20261125T020000Z-000004", 2, 900, 3, 200, true)
	first := recent
	first.Until = nil // of version 1
	for _, c := range []struct {
		name, until string
		backup      backup.Manifest
		last        int64 // of the log's third file
		want        string
	}{
		{"everything", "", recent, 900, "recent"},
		{"the log ends between", "", recent, 150, "old"},
		{"the log ends before", "", recent, 4, "old"},
		{"a position behind", "bin.000003:200", recent, 900, "recent"},
		{"a position between", "bin.000003:150", recent, 900, "old"},
		{"a position between, in the first file", "bin.000002:950", recent, 900, "old"},
		{"a position before", "bin.000002:100", recent, 900, "old"},
		{"a file before", "bin.000001:900", recent, 900, "old"},
		{"before all", "bin.000001:100", recent, 900, ""},
		{"GTIDs behind", "gtid:" + gtids(23), recent, 900, "recent"},
		{"GTIDs at its later end", "gtid:" + gtids(22), recent, 900, "recent"},
		{"exactly the GTIDs of one", "gtid:" + gtids(5), recent, 900, "old"},
		{"GTIDs between", "gtid:" + gtids(20), recent, 900, "old"},
		{"GTIDs before", "gtid:" + gtids(10), recent, 900, "old"},
		{"GTIDs before all", "gtid:" + gtids(2), recent, 900, ""},
		{"by position, GTIDs say nothing", "gtid:" + gtids(23), anonymous, 900, "recent"},
		{"by position, before", "bin.000003:150", anonymous, 900, "old"},
		{"by position, but it was not held", "", unknown, 900, "old"},
		{"version 1, between", "bin.000003:150", first, 900, "recent"}, // nobody knows
		{"version 1, before", "bin.000002:100", first, 900, "old"},
	} {
		p, err := MakePlan(Inventory{Backups: []backup.Manifest{old, c.backup}, Logs: []archive.Log{logOf("a", 3, c.last)}}, Request{Until: c.until})
		got := ""
		switch {
		case err != nil && fault.ClassOf(err) != fault.Gap:
			t.Errorf("%s: %v", c.name, err)
		case err == nil && p.BackupIDs[0] == old.ID:
			got = "old"
		case err == nil:
			got = "recent"
		}
		if got != c.want {
			t.Errorf("%s: it takes %q, want %q (%v)", c.name, got, c.want, err)
		}
	}
}

// Another server's log need not reach as far: GTIDs that were about to be
// committed may never have been.
func TestReachOfAnother(t *testing.T) {
	m := cloneOf("20261125T020000Z-000002", 2, 900, 3, 200, false)
	for until, warned := range map[string]bool{gtids(22): false, gtids(31): true} {
		m.Until.GTIDs = until
		p, err := MakePlan(Inventory{Backups: []backup.Manifest{m}, Logs: []archive.Log{logOf("b", 3, 1004)}}, Request{})
		if err != nil || strings.Contains(strings.Join(p.Warnings, " "), "lacks") != warned {
			t.Errorf("until %s: %v %v", until, p, err)
		}
	}
}

// What a server has found counts if it lies between the two ends.
func TestSettle(t *testing.T) {
	found := func(file int, offset int64, last int) clone.Point {
		set, err := gtid.ParseSet(gtid.MySQL, gtids(last))
		if err != nil {
			t.Fatal(err)
		}
		return clone.Point{Position: binlog.Position{File: fmt.Sprintf("bin.%06d", file), Offset: offset}, GTIDs: set}
	}
	for _, c := range []struct {
		byPosition bool
		found      clone.Point
		want       string
	}{
		{false, found(3, 100, 21), " " + gtids(21)},
		{false, found(1, 4, 21), " " + gtids(21)}, // too early, as with DDL beside
		{false, found(3, 100, 18), "error"},
		{false, found(3, 100, 23), "error"},
		{true, found(3, 100, 21), "error"}, // InnoDB's position may be wrong
	} {
		m := cloneOf("20261125T020000Z-000002", 2, 900, 3, 200, c.byPosition)
		at, err := settle(stateOf(m), m.Until, c.found)
		got := "error"
		if err == nil {
			got = strings.TrimPrefix(at.Position.String()+" "+at.GTIDs.String(), ":0")
		}
		if got != c.want {
			t.Errorf("%v, found %s: %q, want %q (%v)", c.byPosition, c.found.Position, got, c.want, err)
		}
	}
	first := stateOf(cloneOf("20261125T020000Z-000002", 2, 900, 3, 200, false)) // of version 1
	if at, err := settle(first, nil, found(3, 100, 21)); err != nil || !at.Position.IsZero() || at.GTIDs.String() != gtids(21) {
		t.Errorf("version 1: %+v, %v", at, err)
	}
	if at, err := settle(first, nil, clone.Point{Position: binlog.Position{File: "bin.000003", Offset: 100}}); err == nil {
		t.Errorf("version 1, without GTIDs: %+v", at)
	}
}

// TestNoWayBack: a target that has more than is wanted is not told to take an
// older backup.
func TestNoWayBack(t *testing.T) {
	inv := Inventory{Set: "s", Logs: []archive.Log{logOf("a", 3, 1004)}}
	base := archive.State{Server: "a", File: "bin.000002", Offset: 504, GTIDs: gtids(15), Flavor: "mysql", At: day.Add(90 * time.Minute)}
	for _, until := range []string{"gtid:" + gtids(12), "bin.000002:304", "bin.000001:304", day.Add(time.Hour).Format(time.RFC3339)} {
		_, err := MakePlan(inv, Request{Until: until, Base: &base})
		var told *fault.Error
		if !errors.As(err, &told) || told.Class != fault.Gap || !strings.Contains(told.Hint, noWayBack) || strings.Contains(err.Error(), "backup") {
			t.Errorf("until %s: %v", until, err)
		}
	}
}

// TestInterruptedSaysSo: a restore that somebody interrupts says that, and what
// to do, and not which of its tools has noticed. What it has found stays.
func TestInterruptedSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	tool, found := errors.New("mbstream: killed"), fault.New(fault.VerifyFailed, errors.New("it is damaged"), "")
	if err := whyInterrupted(ctx, tool); !errors.Is(err, tool) {
		t.Errorf("not interrupted: %v", err)
	}
	cancel(errors.New("by Ctrl-C"))
	var told *fault.Error
	if err := whyInterrupted(ctx, tool); !errors.As(err, &told) || told.Class != fault.Interrupted || !strings.Contains(told.Hint, "again") || !strings.Contains(err.Error(), "Ctrl-C") {
		t.Errorf("interrupted: %v", err)
	}
	for _, err := range []error{found, nil} {
		if got := whyInterrupted(ctx, err); !errors.Is(got, err) {
			t.Errorf("%v has become %v", err, got)
		}
	}
}
