package archive

import (
	"fmt"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// start decides where a server's log is taken up. A reason to alarm people, if
// there is one, is that something can never be archived any more. other is the
// ID of an archived file of which the server has said that its own file of that
// name is another one, torn a place at which it has no whole event. It is pure.
func start(l Log, files []sourceFile, other string, torn binlog.Position) (from resume, alarm string) {
	if len(files) == 0 {
		return resume{}, ""
	}
	first := resume{at: binlog.Position{File: files[0].Name, Offset: firstOffset}}
	if len(l.Files) == 0 {
		return first, ""
	}
	has := func(name string) int {
		return slices.IndexFunc(files, func(f sourceFile) bool { return f.Name == name })
	}
	tip := l.Files[len(l.Files)-1]
	if tip.Closed {
		if i := has(tip.Next); i >= 0 {
			return resume{at: binlog.Position{File: tip.Next, Offset: firstOffset}, before: &tip.Summary}, ""
		}
		return first, fmt.Sprintf("the server does not have %s any more, which comes next: it begins at %s", tip.Next, files[0].Name)
	}
	i := has(tip.File)
	if tip.ID == other {
		return first, fmt.Sprintf("the server has another %s than the archived one: its log was reset, and begins at %s", tip.File, files[0].Name)
	}
	if i < 0 {
		return first, fmt.Sprintf("the server does not have %s any more, whose end is not archived: it begins at %s", tip.File, files[0].Name)
	}
	// A file that is shorter than what is archived of it is another one, or one
	// whose end the server has lost: it is never written to again then.
	if files[i].Size < tip.End {
		if i+1 < len(files) {
			return resume{at: binlog.Position{File: files[i+1].Name, Offset: firstOffset}},
				fmt.Sprintf("the server's %s has %d bytes, the archived one %d: it has forgotten transactions, or its log was reset", tip.File, files[i].Size, tip.End)
		}
		return first, fmt.Sprintf("the server's %s has %d bytes, the archived one %d: its log was reset", tip.File, files[i].Size, tip.End)
	}
	// A server that died leaves half an event (MariaDB does not cut it off), and
	// goes on in the next file, whose head says whether anything is missing.
	if torn == l.tip() && i+1 < len(files) {
		whole := tip.Summary
		whole.Next = files[i+1].Name
		return resume{at: binlog.Position{File: whole.Next, Offset: firstOffset}, before: &whole, close: true}, ""
	}
	return resume{at: binlog.Position{File: tip.File, Offset: tip.Boundary}, skip: tip.End, whole: tip.Summary}, ""
}
