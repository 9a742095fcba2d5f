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
		{"another one", two, archive.Want{Server: "x"}, "", fault.Gap, "a, b"},
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
