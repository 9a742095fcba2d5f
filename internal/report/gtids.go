package report

import (
	"fmt"
	"strings"
)

// What is shown of a GTID set before it is opened.
const (
	mostSources   = 2  // of MySQL: servers; of MariaDB: domains
	mostIntervals = 2  // of a server, from its last on: these tell how far it has come
	mostGTID      = 60 // characters of each of these
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
		g.Short += fmt.Sprintf(" and %s more", count(int64(more)))
	}
	if g.Short != strings.ReplaceAll(set, ",", ", ") {
		g.Full, g.Size = set, size(int64(len(set)))
	}
	return g
}

// shortSource abbreviates uuid:1-5:7-9:11-20 to 3e11fa47…:7-9:11-20.
func shortSource(source string) string {
	name, intervals, _ := strings.Cut(source, ":")
	if len(name) == 36 && strings.Count(name, "-") == 4 {
		name = name[:8] + "…"
	}
	if intervals == "" {
		return cut(name, mostGTID)
	}
	at, kept := len(intervals), 0
	for ; kept < mostIntervals && at > 0; kept++ {
		at = max(0, strings.LastIndexByte(intervals[:at], ':'))
	}
	if at > 0 {
		intervals = "…" + intervals[at:]
	}
	return cut(name, mostGTID) + ":" + cut(intervals, mostGTID)
}
