package archive_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
)

// TestEntry: of several files of one name, since the log was reset, the one is
// found that a backup names, though the clock of the host that has taken it is up
// to an hour ahead or behind the server's; or it is told that another one may be
// meant. More than two hours from any reset it is always found,
// and never doubted.
func TestEntry(t *testing.T) {
	r := seeded(t)
	found, doubted := 0, 0
	for range 10_000 {
		clock := time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC)
		gtids, apart := r.IntN(2) == 0, r.IntN(2) == 0
		l := archive.Log{Server: "a"}
		var numbers []int // of the last transaction of each
		for range 1 + r.IntN(5) {
			if apart {
				clock = clock.Add(6 * time.Hour)
			}
			clock = clock.Add(time.Duration(1+r.IntN(120)) * time.Minute) // two of one second are one file
			f := archive.File{Summary: archive.Summary{Server: "a", File: "bin.000001", ID: fmt.Sprint(len(l.Files)), Flavor: "mysql", Begun: clock, Start: 4, End: 10_000}}
			n := 1 + r.IntN(50)
			if none := ""; gtids {
				f.Previous, f.GTIDs = &none, set(n)
			}
			l.Files, numbers = append(l.Files, f), append(numbers, n)
		}
		want := r.IntN(len(l.Files))
		at := l.Files[want].Begun.Add(time.Duration(r.IntN(60)) * time.Minute) // the server's clock
		if apart {
			at = at.Add(2*time.Hour + time.Minute)
		}
		if want+1 < len(l.Files) && !at.Before(l.Files[want+1].Begun) {
			at = l.Files[want+1].Begun.Add(-time.Second)
		}
		s := archive.State{Server: "a", File: "bin.000001", Offset: 200, Flavor: "mysql", At: at.Add(time.Duration(r.IntN(121)-60) * time.Minute)}
		if gtids {
			s.GTIDs = set(1 + r.IntN(numbers[want]))
		}
		i, ok := l.ByPosition(s)
		doubt := l.Doubt(s)
		switch {
		case !ok:
			t.Fatalf("nothing is found: %+v %+v", s, l)
		case i != want && doubt == "" || apart && (i != want || doubt != ""):
			t.Fatalf("file %d is found, it is %d, doubt %q: %+v\n%+v", i, want, doubt, s, l)
		case i == want && doubt == "":
			found++
		case doubt != "":
			doubted++
		}
	}
	t.Logf("%d are found, %d doubted", found, doubted)
	if found < 5000 || doubted < 500 {
		t.Error("that is too few to say anything")
	}
}

func set(last int) string { return fmt.Sprintf("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-%d", last) }
