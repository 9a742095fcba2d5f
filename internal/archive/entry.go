package archive

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// State is a moment in the history of a server: it has every transaction before
// it and none after.
type State struct {
	Server string    `json:"server"` // whose log File belongs to
	File   string    `json:"file,omitempty"`
	Offset int64     `json:"offset,omitempty"`
	GTIDs  string    `json:"gtids,omitempty"`
	Flavor string    `json:"flavor"`
	At     time.Time `json:"at"` // no transaction of it was committed later, by the archiving host's clock
}

// ClockError is by how much the clocks of hosts may differ.
const ClockError = time.Hour

// ByPosition finds the file that a state names, in the log of its own server.
// After a RESET MASTER names begin anew, and only times and GTIDs tell such files
// apart: see Doubt.
func (l Log) ByPosition(s State) (i int, ok bool) {
	all := l.named(s)
	if len(all) == 0 {
		return 0, false
	}
	return all[0], true
}

// Doubt says why another file than the one that ByPosition finds may be meant,
// too; nothing if it is sure.
func (l Log) Doubt(s State) string {
	all := l.named(s)
	if len(all) < 2 || l.Files[all[0]].fits(s) != l.Files[all[1]].fits(s) {
		return ""
	}
	return fmt.Sprintf("the log of %s has two files %s that may be meant, of %s and of %s: it was reset, and clocks may differ by an hour; taken is the first",
		l.Server, s.File, l.Files[all[0]].Begun.Format(time.RFC3339), l.Files[all[1]].Begun.Format(time.RFC3339))
}

// named are the files of a state's name that had been begun by then, as far as
// clocks tell, the likeliest first: one that the state's GTIDs fit, one that was
// begun before it by the clocks as they are, the last of these.
func (l Log) named(s State) (all []int) {
	if s.File == "" || l.Server != s.Server || l.Stranger {
		return nil
	}
	for i, f := range slices.Backward(l.Files) {
		if f.File == s.File && !f.Begun.After(s.At.Add(ClockError)) {
			all = append(all, i)
		}
	}
	slices.SortStableFunc(all, func(a, b int) int {
		x, y := l.Files[a], l.Files[b]
		return cmp.Or(cmp.Compare(y.fits(s), x.fits(s)), boolCompare(x.Begun.After(s.At), y.Begun.After(s.At)))
	})
	// Of those that were begun long before only the last one can be meant.
	return slices.DeleteFunc(slices.Clone(all), func(i int) bool {
		return slices.ContainsFunc(all, func(j int) bool {
			f, later := l.Files[i], l.Files[j]
			return j > i && !later.Begun.After(s.At.Add(-ClockError)) && later.fits(s) >= f.fits(s)
		})
	})
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// fits says how well a state's GTIDs fit into a file: 2 if it holds all that came
// before the file, and 1 more if it holds nothing that is not in the file.
func (f File) fits(s State) (points int) {
	has, err := gtid.ParseNamed(s.Flavor, s.GTIDs)
	if err != nil || has.IsEmpty() || f.Previous == nil {
		return 0
	}
	before, err := gtid.ParseNamed(f.Flavor, *f.Previous)
	if err == nil && has.ContainsSet(before) {
		points += 2
	}
	if reach, err := f.reach(); err == nil && (f.End < s.Offset || reach.ContainsSet(has)) {
		points++
	}
	return points
}

// ByGTIDs finds the last file before which there is nothing that a state does
// not hold. The error is about GTIDs that cannot be read.
func (l Log) ByGTIDs(s State) (i int, ok bool, err error) {
	if s.GTIDs == "" || l.Stranger {
		return 0, false, nil
	}
	has, err := gtid.ParseNamed(s.Flavor, s.GTIDs)
	if err != nil {
		return 0, false, err
	}
	for i := len(l.Files) - 1; i >= 0; i-- {
		f := l.Files[i]
		if f.Previous == nil {
			continue
		}
		before, err := gtid.ParseNamed(f.Flavor, *f.Previous)
		if err != nil {
			return 0, false, err
		}
		if has.ContainsSet(before) {
			return i, true, nil
		}
	}
	return 0, false, nil
}
