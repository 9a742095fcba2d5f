package restore

import (
	"fmt"
	"slices"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/replay"
)

// warnOfClocks says where clocks leave a doubt about what a plan comes to. Times
// of commits are the server's, that of a backup its host's.
func (p *Plan) warnOfClocks(logs []archive.Log, stop replay.Stop) {
	for _, l := range logs {
		if doubt := l.Doubt(p.Base); doubt != "" && len(p.Legs) > 0 && p.Legs[0].Server == l.Server {
			p.Warnings = append(p.Warnings, doubt)
		}
		if w := p.laterBefore(l, stop.Time); w != "" {
			p.Warnings = append(p.Warnings, w)
		}
	}
}

// laterBefore finds transactions that come before the base in its log, and were
// committed later than the stop: the base has them.
func (p *Plan) laterBefore(l archive.Log, stop time.Time) string {
	if stop.IsZero() || len(p.Legs) == 0 || l.Server != p.Legs[0].Server {
		return ""
	}
	first := slices.IndexFunc(l.Files, func(f archive.File) bool { return begin(f) == begin(p.Legs[0].Files[0]) })
	for _, f := range l.Files[:max(first, 0)] {
		if f.Last.After(stop) {
			return fmt.Sprintf("%s, from before the backup, has a transaction that was committed at %s by the clock then: it is there, though it is later than the stop; "+
				"a clock was set back, or a session had one of its own. A stop by GTID or position is exact", f.File, f.Last.UTC().Format(time.RFC3339))
		}
	}
	return ""
}
