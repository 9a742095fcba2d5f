package archive

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// Want says which files of an archive are wanted.
type Want struct {
	Server string    // under which its log is kept; empty: the only one
	Since  time.Time // commits at and behind this; zero: from the first one on
	Until  time.Time // commits up to this; zero: to the last one
}

// Choose finds the run of files that has everything which is wanted: from the
// first to the last one with such a commit. It is a Log of its own.
func Choose(logs []Log, w Want) (Log, error) {
	l, err := chooseLog(logs, w.Server)
	if err != nil {
		return Log{}, err
	}
	first := slices.IndexFunc(l.Files, w.matches)
	if first < 0 {
		return Log{}, fault.Errorf(fault.Gap, "archive: the log of %s has no commit in that time; it has those from %s to %s", l.Server, moment(l.first()), moment(l.last()))
	}
	last := first
	for i := first; i < len(l.Files); i++ {
		if w.matches(l.Files[i]) {
			last = i
		}
	}
	l.Files = l.Files[first : last+1]
	return l, l.checkNames()
}

// matches: without bounds every file does, and else one with a commit in between.
func (w Want) matches(f File) bool {
	if w.Since.IsZero() && w.Until.IsZero() {
		return true
	}
	return !f.First.IsZero() && !f.Last.Before(w.Since) && (w.Until.IsZero() || !f.First.After(w.Until))
}

func chooseLog(logs []Log, server string) (Log, error) {
	if server == "" {
		logs = slices.DeleteFunc(slices.Clone(logs), func(l Log) bool { return l.Stranger })
	}
	names := make([]string, len(logs))
	for i, l := range logs {
		if names[i] = l.Server; l.Server == server || server == "" && len(logs) == 1 {
			return l, nil
		}
	}
	switch {
	case len(logs) == 0:
		return Log{}, fault.Errorf(fault.Gap, "archive: nothing is archived of the set")
	case server == "":
		return Log{}, fault.New(fault.Usage, fmt.Errorf("archive: there are the logs of %s", strings.Join(names, ", ")), "say whose is wanted; lifeboat archive status shows more of them")
	default:
		return Log{}, fault.Errorf(fault.Gap, "archive: there is no log of %s; there are those of %s", server, strings.Join(names, ", "))
	}
}

// checkNames refuses files of one name: a log that was reset begins its names
// anew.
func (l Log) checkNames() error {
	seen := map[string]File{}
	for _, f := range l.Files {
		if other, twice := seen[f.File]; twice {
			return fault.New(fault.Usage, fmt.Errorf("archive: %s has two files %s, begun at %s and %s: its log was reset", l.Server, f.File, moment(other.Begun), moment(f.Begun)),
				"say by time which one is wanted")
		}
		seen[f.File] = f
	}
	return nil
}

func (l Log) first() (t time.Time) {
	for _, f := range l.Files {
		if t.IsZero() || !f.First.IsZero() && f.First.Before(t) {
			t = f.First
		}
	}
	return t
}

func (l Log) last() (t time.Time) {
	for _, f := range l.Files {
		t = slices.MaxFunc([]time.Time{t, f.Last}, time.Time.Compare)
	}
	return t
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "no time"
	}
	return t.UTC().Format(time.RFC3339)
}
