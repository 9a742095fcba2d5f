package inspect

import (
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// limits is which part of the log counts.
type limits struct {
	fromFile int      // files before it are not read
	from     int64    // offset in it
	skip     gtid.Set // transactions to leave out
	hasSkip  bool
	stop     replay.Stop
}

func newLimits(set *binlog.Set, start replay.Start, stop replay.Stop) (limits, error) {
	l := limits{skip: start.Set, hasSkip: start.HasSet, stop: stop}
	switch {
	case start.HasSet && !start.Set.IsEmpty() && start.Set.Flavor() != set.Flavor():
		return l, gapf("", "start %s: a %s set, but the log is %s's", start, start.Set.Flavor(), set.Flavor())
	case start.HasSet:
		l.fromFile = firstFile(set, start.Set)
	case !start.Position.IsZero():
		i, err := find(set, "start", start.Position)
		if err != nil {
			return l, err
		}
		l.fromFile, l.from = i, start.Position.Offset
	}
	if stop.HasSet && set.Heads[l.fromFile].Previous.ContainsSet(stop.Set) {
		return l, gapf("", "stop %s: none of these transactions is in the log behind the start", stop)
	}
	if stop.Position.IsZero() {
		return l, nil
	}
	i, err := find(set, "stop", stop.Position)
	if err != nil {
		return l, err
	}
	if i < l.fromFile || i == l.fromFile && stop.Position.Offset < l.from {
		return l, gapf("", "stop %s lies before the start %s", stop.Position, start.Position)
	}
	return l, nil
}

func find(set *binlog.Set, what string, p binlog.Position) (int, error) {
	i := set.Index(p.File)
	if i < 0 {
		return 0, gapf("", "%s %s: no such file among those given", what, p)
	}
	if n := int64(len(set.Files[i].Data)); p.Offset > n {
		return 0, gapf("", "%s %s lies beyond the end of the file (%d bytes)", what, p, n)
	}
	return i, nil
}

// firstFile is the last file before which there is nothing but transactions to
// leave out.
func firstFile(set *binlog.Set, have gtid.Set) int {
	first := 0
	for i, h := range set.Heads {
		if h.HasPrevious && !h.Previous.IsEmpty() && have.ContainsSet(h.Previous) {
			first = i
		}
	}
	return first
}

// verdict is what becomes of a transaction.
type verdict uint8

const (
	counts verdict = iota
	leftOut
	stops // it and everything behind it do not count
)

// judge decides on a transaction of the scan's file.
func (s *scan) judge(t *txn.Transaction) (verdict, error) {
	l := &s.r.lim
	if s.index == l.fromFile && t.Start < l.from {
		if t.End > l.from {
			return 0, gapf("a replay begins between transactions", "start %s lies inside the transaction from %d to %d", s.file.At(l.from), t.Start, t.End)
		}
		return leftOut, nil
	}
	if s.reached || l.stop.Before(t) {
		return stops, nil
	}
	if p := l.stop.Position; p.File == s.file.Name && p.Offset < t.End {
		return 0, gapf("a replay stops between transactions", "stop %s lies inside the transaction from %d to %d", p, t.Start, t.End)
	}
	if l.stop.HasSet && t.HasID && l.stop.Set.Contains(t.ID) {
		s.reached = s.contains(l.stop.Set, t.ID)
	}
	if l.hasSkip && t.HasID && l.skip.Contains(t.ID) {
		return leftOut, nil
	}
	return counts, nil
}

// contains reports whether the log up to and with this transaction holds all of
// a set.
func (s *scan) contains(set gtid.Set, id gtid.ID) bool {
	have := s.r.set.Heads[s.index].Previous.Clone()
	if have.Union(s.total.seen) != nil || have.Add(id) != nil {
		return false
	}
	return have.ContainsSet(set)
}
