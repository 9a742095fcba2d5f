package archive_test

import (
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// The lag is the time since the archive had all that the server had.
func TestLag(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	pos := func(file string, offset int64) binlog.Position { return binlog.Position{File: file, Offset: offset} }
	l := archive.NewLag(begin)
	for _, c := range []struct {
		why  string
		do   func()
		now  int
		want int // seconds
	}{
		{"nothing is known yet: since the beginning", func() {}, 5, 5},
		{"the server says where it is, nothing is archived", func() { l.Server(pos("b.000009", 100), at(6)) }, 7, 7},
		{"not all of it is archived", func() { l.Archived(pos("b.000009", 99)) }, 8, 8},
		{"all of it is", func() { l.Archived(pos("b.000009", 100)) }, 9, 3},
		{"and still is", func() { l.Server(pos("b.000009", 100), at(10)) }, 10, 0},
		{"more comes", func() { l.Server(pos("b.000009", 200), at(12)) }, 13, 3},
		{"and more, in the next file", func() { l.Server(pos("b.000010", 4), at(14)) }, 15, 5},
		{"the first of it is archived", func() { l.Archived(pos("b.000009", 250)) }, 16, 4},
		{"the rest, too", func() { l.Archived(pos("b.000010", 4)) }, 17, 3},
		{"the server is silent", func() {}, 60, 46},
		{"the log begins anew: what was archived is nothing of it", func() { l.Archived(pos("b.000001", 4)); l.Server(pos("b.000001", 500), at(61)) }, 62, 48},
		{"and is archived", func() { l.Archived(pos("b.000001", 500)) }, 62, 1},
		{"clocks go back", func() {}, 50, 0},
	} {
		c.do()
		if got := l.At(at(c.now)); got != time.Duration(c.want)*time.Second {
			t.Errorf("%s: %v, want %ds", c.why, got, c.want)
		}
	}
}

// However long the archive is behind, the lag is right, but for the marks that
// are forgotten.
func TestLongLag(t *testing.T) {
	begin := time.Unix(1000, 0)
	l := archive.NewLag(begin)
	l.Archived(binlog.Position{File: "b.000001", Offset: 4})
	const hours = 10 * 3600
	for s := range hours {
		l.Server(binlog.Position{File: "b.000001", Offset: int64(100 + s)}, begin.Add(time.Duration(s)*time.Second))
	}
	now := begin.Add(hours * time.Second)
	if got := l.At(now); got != hours*time.Second {
		t.Errorf("nothing is archived: %v", got)
	}
	l.Archived(binlog.Position{File: "b.000001", Offset: 100 + hours/2})
	if got := l.At(now); got < hours/2*time.Second || got > (hours/2+hours/100)*time.Second {
		t.Errorf("half of it is archived: %v", got)
	}
	l.Archived(binlog.Position{File: "b.000001", Offset: 100 + hours})
	if got := l.At(now); got > hours/100*time.Second {
		t.Errorf("all of it is archived: %v", got)
	}
}
