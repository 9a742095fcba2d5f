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

// Chosen is the part of a log that was wanted.
type Chosen struct {
	Log               // the files from the first to the last one with a commit of that time
	Missing []Gap     // gaps of the whole log in which commits of that time may have been
	End     time.Time // of the whole log: its last commit
}

// Choose finds what is wanted.
func Choose(logs []Log, w Want) (c Chosen, err error) {
	if !w.Until.IsZero() && w.Until.Before(w.Since) {
		return c, fault.Usagef("until %s lies before since %s", moment(w.Until), moment(w.Since))
	}
	if c.Log, err = chooseLog(logs, w.Server); err != nil {
		return c, err
	}
	c.Missing, c.End = c.missing(w), c.last()
	first := slices.IndexFunc(c.Files, w.matches)
	if first < 0 {
		err := fmt.Errorf("archive: the log of %s has no commit in that time; it has those from %s to %s", c.Server, moment(c.first()), moment(c.End))
		if len(c.Missing) > 0 {
			err = fmt.Errorf("%w; and a gap in that time, after %s: %s", err, c.Missing[0].After, c.Missing[0].Why)
		}
		return c, fault.New(fault.Gap, err, "")
	}
	last := first
	for i := first; i < len(c.Files); i++ {
		if w.matches(c.Files[i]) {
			last = i
		}
	}
	c.Files = c.Files[first : last+1]
	return c, c.checkNames()
}

// missing are the gaps that are not known to lie outside of the time: what was
// committed in one lies between the commits before and behind it.
func (l Log) missing(w Want) (gaps []Gap) {
	behind := make([]time.Time, len(l.Files)+1) // the first commit from a file on
	for i := len(l.Files) - 1; i >= 0; i-- {
		behind[i] = earlier(behind[i+1], l.Files[i].First)
	}
	var before time.Time // the last commit up to a file
	for i := range l.Files {
		before = later(before, l.Files[i].Last)
		late := !w.Until.IsZero() && before.After(w.Until)
		early := !behind[i+1].IsZero() && behind[i+1].Before(w.Since)
		if !late && !early {
			gaps = append(gaps, l.gapsAt(i)...)
		}
	}
	return gaps
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
		return Log{}, fault.Usagef("archive: there is no log of %s; there are those of %s", server, strings.Join(names, ", "))
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
		t = earlier(t, f.First)
	}
	return t
}

// earlier is the earlier of two times, of which the zero Time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (l Log) last() (t time.Time) {
	for _, f := range l.Files {
		t = later(t, f.Last)
	}
	return t
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "no time"
	}
	return t.UTC().Format(time.RFC3339)
}
