package report

import (
	"fmt"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/units"
)

// What is shown of a GTID set before it is opened.
const (
	mostSources = 2  // of MySQL: servers; of MariaDB: domains
	mostGTID    = 60 // characters of each of these
)

// gtids is a GTID set as it is shown.
type gtids struct {
	Short string
	Full  string // empty: Short is all
	Size  string // of Full
}

// newGTIDs abbreviates a set. It is text only: what a server would refuse is
// shown as it is.
func newGTIDs(set string) gtids {
	set = strings.ReplaceAll(clean(set), " ", "")
	rest, more := set, 0
	var short []string
	for rest != "" {
		var source string
		source, rest, _ = strings.Cut(rest, ",")
		if len(short) == mostSources {
			more++
			continue
		}
		short = append(short, shortSource(source))
	}
	g := gtids{Short: strings.Join(short, ", ")}
	if more > 0 {
		g.Short += fmt.Sprintf(" and %s more", units.Count(int64(more)))
	}
	if g.Short != strings.ReplaceAll(set, ",", ", ") {
		g.Full, g.Size = set, size(int64(len(set)))
	}
	return g
}

// shortSource abbreviates 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7-9:11-20 to
// 3e11fa47…:…11-20: the last interval tells how far the server has come.
func shortSource(source string) string {
	name, intervals, _ := strings.Cut(source, ":")
	if len(name) == 36 && strings.Count(name, "-") == 4 {
		name = name[:8] + "…"
	}
	if intervals == "" {
		return cut(name, mostGTID)
	}
	if at := strings.LastIndexByte(intervals, ':'); at >= 0 {
		intervals = "…" + intervals[at+1:]
	}
	return cut(name, mostGTID) + ":" + cut(intervals, mostGTID)
}
