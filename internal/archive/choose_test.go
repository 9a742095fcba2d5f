package archive_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// logOf is a log whose files have commits from the first to the last of these
// hours; -1: none.
func logOf(server string, hours ...[2]int) archive.Log {
	l := archive.Log{Server: server}
	for i, h := range hours {
		f := archive.File{Summary: archive.Summary{Server: server, File: fmt.Sprintf("bin.%06d", i+1), Begun: hour(max(0, h[0]))}}
		if h[0] >= 0 {
			f.First, f.Last = hour(h[0]), hour(h[1])
		}
		if i < len(hours)-1 {
			f.Closed, f.Next = true, fmt.Sprintf("bin.%06d", i+2)
		}
		l.Files = append(l.Files, f)
	}
	return l
}

func hour(n int) time.Time { return time.Date(2014, 1, 10, n, 0, 0, 0, time.UTC) }

// TestChoose: by time, the files from the first to the last with a commit of it
// are chosen; of several logs one has to be named.
func TestChoose(t *testing.T) {
	one := []archive.Log{logOf("a", [2]int{0, 2}, [2]int{2, 4}, [2]int{-1, -1}, [2]int{4, 4}, [2]int{3, 5})} // a clock was set back
	two := []archive.Log{one[0], logOf("b", [2]int{0, 9})}
	strange := []archive.Log{one[0], {Server: "c", Stranger: true, Files: logOf("c", [2]int{1, 1}).Files}}
	reset := []archive.Log{logOf("a", [2]int{0, 2}, [2]int{3, 4})}
	reset[0].Files[1].File = "bin.000001"
	none := time.Time{}
	for _, c := range []struct {
		what  string
		logs  []archive.Log
		want  archive.Want
		names string
		class fault.Class
		says  string
	}{
		{"all", one, archive.Want{}, "a: 1 2 3 4 5", 0, ""},
		{"from the middle", one, archive.Want{Since: hour(3)}, "a: 2 3 4 5", 0, ""},
		{"at the very end of a file", one, archive.Want{Since: hour(2), Until: hour(2)}, "a: 1 2", 0, ""},
		{"files without commits lie between", one, archive.Want{Since: hour(4), Until: hour(4)}, "a: 2 3 4 5", 0, ""},
		{"up to", one, archive.Want{Until: hour(1)}, "a: 1", 0, ""},
		{"behind the end", one, archive.Want{Since: hour(6)}, "", fault.Gap, "2014-01-10T05:00:00Z"},
		{"before the beginning", one, archive.Want{Until: hour(0).Add(-1)}, "", fault.Gap, "2014-01-10T00:00:00Z"},
		{"one of two", two, archive.Want{Server: "b"}, "b: 1", 0, ""},
		{"none of two", two, archive.Want{}, "", fault.Usage, "a, b"},
		{"another one", two, archive.Want{Server: "x"}, "", fault.Usage, "a, b"},
		{"the wrong way round", one, archive.Want{Since: hour(3), Until: hour(2)}, "", fault.Usage, "before"},
		{"a stranger does not count", strange, archive.Want{}, "a: 1 2 3 4 5", 0, ""},
		{"unless it is named", strange, archive.Want{Server: "c"}, "c: 1", 0, ""},
		{"nothing", nil, archive.Want{Since: none}, "", fault.Gap, "nothing is archived"},
		{"a name that has begun anew", reset, archive.Want{}, "", fault.Usage, "2014-01-10T03:00:00Z"},
		{"before it has", reset, archive.Want{Until: hour(2)}, "a: 1", 0, ""},
	} {
		l, err := archive.Choose(c.logs, c.want)
		if c.class != 0 {
			if err == nil || fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", c.what, err)
			}
			continue
		}
		got := l.Server + ":"
		for _, f := range l.Files {
			got += " " + f.File[len(f.File)-1:]
		}
		if err != nil || got != c.names {
			t.Errorf("%s: %s, %v, want %s", c.what, got, err, c.names)
		}
	}
}

// TestChooseGaps: a gap counts if commits of the time may have been in it, also at
// the edges of what there is, and where nothing else is.
func TestChooseGaps(t *testing.T) {
	l := logOf("a", [2]int{0, 2}, [2]int{3, 4}, [2]int{8, 9}) // lost: from 4 to 8
	l.Files[1].Next = "bin.000099"
	for _, c := range []struct {
		since, until int // -1: none
		gap          bool
		files        int
	}{
		{-1, -1, true, 3}, {0, 1, false, 1}, {0, 3, false, 2}, {0, 4, true, 2}, {3, 5, true, 1}, {5, 6, true, 0},
		{6, 9, true, 1}, {8, 9, true, 1}, {9, 9, false, 1}, {-1, 3, false, 2}, {9, -1, false, 1},
	} {
		w := archive.Want{}
		if c.since >= 0 {
			w.Since = hour(c.since)
		}
		if c.until >= 0 {
			w.Until = hour(c.until)
		}
		got, err := archive.Choose([]archive.Log{l}, w)
		if c.files == 0 {
			if fault.ClassOf(err) != fault.Gap || !strings.Contains(err.Error(), "a gap in that time") {
				t.Errorf("%d to %d: %v", c.since, c.until, err)
			}
			continue
		}
		if err != nil || len(got.Files) != c.files || len(got.Missing) > 0 != c.gap || !got.End.Equal(hour(9)) {
			t.Errorf("%d to %d: %d files, %v, %v, to %s", c.since, c.until, len(got.Files), got.Missing, err, got.End)
		}
	}
}
