package archive

import (
	"fmt"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Gap is a place where a log does not go on.
type Gap struct {
	Server string `json:"server"`
	After  string `json:"after"`  // FILE:OFFSET, the end of what is there
	Before string `json:"before"` // FILE:OFFSET, where it goes on
	Why    string `json:"why"`

	// Since is when what comes behind it began: by the server's clock, or, inside a file,
	// by the storage's.
	Since time.Time `json:"since,omitzero"`
	// Backup is one that was taken since then. What it leads to does not need what is
	// missing; only moments before it do.
	Backup string `json:"backup,omitempty"`
}

// Backup is a backup of the set.
type Backup struct {
	ID      string
	Started time.Time
}

// bridge says of each gap whether a backup was taken behind it. It is pure.
func bridge(gaps []Gap, backups []Backup) {
	for i := range gaps {
		for _, b := range backups {
			if g := &gaps[i]; g.Backup == "" && !g.Since.IsZero() && b.Started.After(g.Since) {
				g.Backup = b.ID
			}
		}
	}
}

// open are the gaps behind which no backup was taken yet.
func open(gaps []Gap) (list []Gap) {
	for _, g := range gaps {
		if g.Backup == "" {
			list = append(list, g)
		}
	}
	return list
}

// Gaps finds the places at which the log does not go on.
func (l Log) Gaps() (gaps []Gap) {
	for i := range l.Files {
		gaps = append(gaps, l.gapsAt(i)...)
	}
	return gaps
}

// gapsAt are those in file number i and behind it.
func (l Log) gapsAt(i int) (gaps []Gap) {
	f := l.Files[i]
	at := binlog.Position{File: f.File, Offset: f.End}.String()
	if f.Hole() {
		next := nextStart(f)
		gaps = append(gaps, Gap{Server: l.Server, After: at, Before: binlog.Position{File: f.File, Offset: next}.String(),
			Why: fmt.Sprintf("%d bytes of the file are not there", next-f.End), Since: storedFrom(f, next)})
	}
	if why := l.Apart(i); why != "" {
		gaps = append(gaps, Gap{Server: l.Server, After: at, Before: l.Files[i+1].File + ":4", Why: why, Since: l.Files[i+1].Begun})
	}
	return gaps
}

// nextStart is where the bytes behind a hole begin.
func nextStart(f File) int64 {
	for _, s := range f.Segments {
		if s.Start > f.End {
			return s.Start
		}
	}
	return f.End
}

// storedFrom is when the bytes from an offset on were stored.
func storedFrom(f File, offset int64) time.Time {
	for _, s := range f.Segments {
		if s.Start == offset {
			return s.Modified
		}
	}
	return time.Time{}
}

// Apart says why the file behind number i does not go on where that one ends;
// nothing if it does, or if there is none.
func (l Log) Apart(i int) string {
	if i+1 >= len(l.Files) {
		return ""
	}
	f, next := l.Files[i], l.Files[i+1]
	switch {
	case !f.Closed:
		return "the end of the file was never archived"
	case f.Next != next.File:
		return "the files between were never archived"
	}
	if err := continues(f.Summary, next.Summary); err != nil {
		return err.Error()
	}
	return ""
}

// continues checks that next begins with exactly the transactions that the log
// had at the end of f, as far as both say so. A server that has forgotten some
// (its disk was not up to date when it died) gives their numbers to others.
func continues(f, next Summary) error {
	if f.Previous == nil || next.Previous == nil {
		return nil
	}
	had, err := f.reach()
	if err != nil {
		return err
	}
	says, err := union(f.Flavor, *next.Previous)
	if err != nil {
		return err
	}
	switch {
	case had.Equal(says):
		return nil
	case says.ContainsSet(had):
		return fmt.Errorf("transactions are missing between them: %s is there, %s came before", had, says)
	default:
		return fmt.Errorf("the server has forgotten transactions that are archived: %s is there, it went on from %s", had, says)
	}
}

// reach is the GTID set, or position, of all transactions up to End, as far as
// the file says what came before it; else it is empty.
func (s Summary) reach() (gtid.Set, error) {
	if s.Previous == nil {
		return gtid.Set{}, nil
	}
	return union(s.Flavor, *s.Previous, s.GTIDs)
}

// Wrote are the streams of MariaDB at End; nil: not known.
func (s Summary) Wrote() (gtid.Streams, error) {
	nothing := s.Previous != nil && *s.Previous == "" && s.GTIDs == ""
	if gtid.FlavorNamed(s.Flavor) != gtid.MariaDB || s.Streams == "" && !nothing {
		return nil, nil //nolint:nilnil // not known
	}
	return gtid.ParseStreams(s.Streams)
}

// Reach is the text of the GTID set, or position, of everything up to the end of
// what is archived of a file; empty if the log has no GTIDs.
func (f File) Reach() (string, error) {
	set, err := f.reach()
	return set.String(), err
}

// Reached is that of the log's last file.
func (l Log) Reached() string {
	if len(l.Files) == 0 {
		return ""
	}
	text, _ := l.Files[len(l.Files)-1].Reach() // what was described can be read
	return text
}
