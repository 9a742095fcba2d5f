package archive

import (
	"cmp"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// Lag says how old what is archived is: for how long the archive has not been
// known to have all that the server had. While the server does not answer it
// grows, too, since nobody knows. It is pure: time is given. Not safe for
// concurrent use.
//
// Invariant: seen is ascending by time, and archived is before all of it.
type Lag struct {
	caught   time.Time // when everything that was there then was archived
	archived binlog.Position
	seen     []mark        // ends of the server's log that are not archived
	gap      time.Duration // least time between two of them
}

// mark is where the server's log ended.
type mark struct {
	at   binlog.Position
	time time.Time
}

// maxMarks bounds seen: beyond it every other one is forgotten, and fewer are
// added, which makes a long lag a little longer: by a few thousandths.
const maxMarks = 1024

// NewLag begins at a moment before which nothing is known.
func NewLag(now time.Time) Lag { return Lag{caught: now} }

// Server notes where the server's log ends.
func (l *Lag) Server(end binlog.Position, now time.Time) {
	if !l.archived.IsZero() && !before(l.archived, end) {
		l.caught, l.seen, l.gap = now, l.seen[:0], 0
		return
	}
	if n := len(l.seen); n > 0 && now.Sub(l.seen[n-1].time) < l.gap {
		return
	}
	if len(l.seen) == maxMarks {
		l.thin()
	}
	l.seen = append(l.seen, mark{end, now})
}

func (l *Lag) thin() {
	l.gap = 2 * l.seen[maxMarks-1].time.Sub(l.seen[0].time) / maxMarks
	for i := range maxMarks / 2 {
		l.seen[i] = l.seen[2*i]
	}
	l.seen = l.seen[:maxMarks/2]
}

// Archived notes up to where the log is archived. It may go back: a log that
// was reset begins anew.
func (l *Lag) Archived(end binlog.Position) {
	l.archived = end
	n := 0
	for n < len(l.seen) && !before(end, l.seen[n].at) {
		l.caught = l.seen[n].time
		n++
	}
	l.seen = append(l.seen[:0], l.seen[n:]...)
}

// At is the lag at a moment.
func (l *Lag) At(now time.Time) time.Duration { return max(0, now.Sub(l.caught)) }

// before compares places of one log; names of files end in ascending numbers.
func before(a, b binlog.Position) bool {
	return cmp.Or(cmp.Compare(binlog.Number(a.File), binlog.Number(b.File)), cmp.Compare(a.Offset, b.Offset)) < 0
}
