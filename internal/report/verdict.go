package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/units"
)

// verdict is the page's first sentence.
type verdict struct {
	Grade string // good, fair, poor or none: the class of its colours
	Mark  string // the same as a sign
	Head  string // the same in words
	Error string

	// The sentence: what is back, to which moment, and what is proven.
	Before, At, Position, After string
	Next                        string // what to do
}

const (
	good = "good"
	fair = "fair"
	poor = "poor"
	none = "none"
)

var marks = map[string]string{good: "✓", fair: "!", poor: "✗", none: "–"}

func newVerdict(in *Input, proofs []proof) verdict {
	var v verdict
	missing := unproven(proofs)
	switch {
	case !in.Finished && in.Error == "" && len(in.Steps) == 0:
		v = verdict{Grade: none, Head: "Planned, not begun", Before: fmt.Sprintf("Nothing has been written: this is what a restore of %s would do.", set(in))}
	case !in.Finished:
		v = failed(in)
	case in.Drill != nil:
		v = drilled(in, missing, proofs)
	case len(in.Steps) == 0:
		v = verdict{Grade: fair, Head: "Restored before", After: "; it was so already, and this run has proven nothing."}
		v.back(in)
	default:
		v = restored(in, missing, proofs)
	}
	v.Mark = marks[v.Grade]
	return v
}

func failed(in *Input) verdict {
	v := verdict{Grade: poor, Head: "Not restored", Error: cut(clean(in.Error), mostError)}
	if in.Drill != nil {
		v.Head = "Drill failed"
	}
	v.Before = fmt.Sprintf("%s was not brought back: the run ended after %s", capital(set(in)), span(in.Seconds))
	if n := len(in.Steps); n > 0 {
		last, name := "; the last step that was done is “%s”", in.Steps[n-1].Name
		if i := slices.IndexFunc(in.Steps, broken); i >= 0 { // others end because of it
			last, name = ", in the step “%s”", in.Steps[i].Name
		}
		v.Before += fmt.Sprintf(last, cut(clean(name), mostText))
	}
	v.Before += "."
	if in.Drill == nil {
		v.Next = "The same command, run again, goes on where this run ended."
	}
	return v
}

func broken(s Step) bool { return s.Error != "" || finite(s.Seconds) == 0 }

// mostError bounds an error: it may hold a statement.
const mostError = 4000

func restored(in *Input, missing []string, proofs []proof) verdict {
	v := verdict{Grade: good, Head: "Restored and proven"}
	if len(missing) > 0 || len(proofs) == 0 {
		v.Grade, v.Head = fair, "Restored, not all is proven"
	}
	if len(proofs) == 0 {
		v.Head = "Restored, nothing is proven"
	}
	v.back(in)
	v.After = "; " + proven(missing, proofs) + "."
	return v
}

func drilled(in *Input, missing []string, proofs []proof) verdict {
	v := verdict{Grade: good, Head: "Drill passed"}
	switch {
	case !in.Drill.Passed:
		v.Grade, v.Head = poor, "Drill failed"
	case len(missing) > 0 || len(proofs) == 0:
		v.Grade, v.Head = fair, "Drill passed, not all is proven"
	}
	v.back(in)
	v.After = "; " + proven(missing, proofs)
	if o := in.Drill.Objective.Seconds(); o > 0 && in.Seconds > o {
		v.After += fmt.Sprintf("; it took %s more than the objective", span(in.Seconds-o))
	}
	v.After += "."
	return v
}

// back says what was brought back, and to which moment exactly.
func (v *verdict) back(in *Input) {
	v.Before = capital(set(in)) + " is back"
	if r := in.Replay; r != nil && r.Only != "" {
		v.Before = "Of " + set(in) + " only " + cut(clean(r.Only), mostText) + " is back, and replicas cannot attach to it,"
	}
	if r := in.Replay; r != nil && r.LeftOut != nil {
		v.Before += " without skipped transactions (" + cut(clean(r.LeftOut.Skipped), mostText) + ")"
	}
	at, exact := moment(in)
	if !at.IsZero() && exact {
		v.Before += " as of its last transaction, committed at "
	} else if !at.IsZero() {
		v.Before += " as of the backup finished at "
	}
	v.At = iso(at)
	if in.Reached != nil && in.Reached.File != "" {
		v.Position = position(in.Reached.File, in.Reached.Offset)
	}
}

// moment is when the last transaction was committed that was brought back; or,
// not exact, when the base of the restore was at its end.
func moment(in *Input) (at time.Time, exact bool) {
	switch {
	case in.Replay != nil && in.Replay.Plan != nil && !in.Replay.Plan.Last.IsZero():
		return in.Replay.Plan.Last, true
	case in.Base != nil:
		return in.Base.At, false
	case len(in.Backups) > 0:
		return in.Backups[len(in.Backups)-1].Finished, false
	default:
		return time.Time{}, false
	}
}

func position(file string, offset int64) string { return fmt.Sprintf("%s:%d", clean(file), offset) }

func set(in *Input) string {
	if in.Set == "" {
		return "the database"
	}
	return "set " + clean(in.Set)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// unproven are the names of the proofs that were not done.
func unproven(proofs []proof) (names []string) {
	for _, p := range proofs {
		if !p.Done {
			names = append(names, p.Name)
		}
	}
	return names
}

func proven(missing []string, proofs []proof) string {
	all := len(proofs)
	switch {
	case all == 0:
		return "no proof was carried out"
	case len(missing) == 0 && all == 1:
		return "the one proof holds"
	case len(missing) == 0:
		return fmt.Sprintf("all %s hold", counted(int64(all), "proof"))
	}
	return fmt.Sprintf("%s of %s hold; not proven: %s", units.Count(int64(all-len(missing))), counted(int64(all), "proof"), some(missing))
}

// some lists the first of many.
func some(names []string) string {
	const most = 4
	if len(names) > most {
		return fmt.Sprintf("%s and %s more", strings.Join(names[:most], ", "), units.Count(int64(len(names)-most)))
	}
	return strings.Join(names, ", ")
}
