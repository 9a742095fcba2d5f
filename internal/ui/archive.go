package ui

import (
	"cmp"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/units"
)

// ArchiveLog makes of what happens lines of a log: one when a connection stands,
// one when it fails, and none as long as it fails for the same reason.
func ArchiveLog(log *slog.Logger) func(server, repository string) archive.Listener {
	return func(server, repository string) archive.Listener {
		l := &pairLog{log: log.With("server", server, "repository", repository)}
		return archive.Listener{Connected: l.connected, Alarm: l.alarm, Waiting: l.waiting}
	}
}

// pairLog is the log of a server and a repository.
type pairLog struct {
	log *slog.Logger

	mu   sync.Mutex
	last string // failure
	n    int    // how often it has been the same
}

func (l *pairLog) connected(id string, from binlog.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	args := []any{"id", id, "from", from.String()}
	if l.n > 0 {
		args = append(args, "failures", l.n)
	}
	l.last, l.n = "", 0
	l.log.Info("receiving", args...)
}

func (l *pairLog) alarm(a archive.Alarm) {
	l.log.Error("alarm: a part of the log can never be archived", "id", a.Server, "after", a.At, "why", a.Why)
}

func (l *pairLog) waiting(err error, again time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	if text := err.Error(); text != l.last {
		l.last = text
		l.log.Warn("not archiving", "error", text, "again", again.Round(time.Millisecond).String())
	}
}

// KeptLog makes lines of what becomes of the servers' own files: each reason
// once until there is another one.
func KeptLog(log *slog.Logger) func(server string, k archive.Kept) {
	var mu sync.Mutex
	last := map[string]string{} // by server and what it is about
	return func(server string, k archive.Kept) {
		mu.Lock()
		defer mu.Unlock()
		fresh := func(about, text string) bool {
			key := about + " " + server
			changed := last[key] != text
			last[key] = text
			return changed && text != ""
		}
		if fresh("warning", k.Warning) {
			log.Warn("expiry", "server", server, "warning", k.Warning)
		}
		failed := ""
		if k.Err != nil {
			failed = k.Err.Error()
		}
		if fresh("failed", failed) {
			log.Warn("logs are held, whatever is archived", "server", server, "error", failed)
		}
		if k.Purged > 0 {
			log.Info("purged", "server", server, "files", k.Purged, "left", k.Files, "bytes", k.Bytes, "next", k.Why)
		}
	}
}

// ArchiveStatus is what is archived, for people.
func ArchiveStatus(s *archive.Status) string {
	var b strings.Builder
	for _, r := range s.Repositories {
		fmt.Fprintf(&b, "Repository %s, set %s\n", printable(r.Name), printable(s.Set))
		switch {
		case r.Error != "":
			b.WriteString(wrap(r.Error, "  cannot be read: ", "    "))
		case len(r.Logs) == 0:
			b.WriteString("  nothing is archived\n")
		default:
			b.WriteString(archivedLogs(r.Logs))
		}
		for _, no := range r.Refused {
			b.WriteString(wrap(no.Why, "  REFUSED, server "+printable(no.Server)+": ", "    "))
		}
		b.WriteByte('\n')
	}
	for _, server := range s.Servers {
		if server.Error != "" {
			b.WriteString(wrap(server.Error, "Server "+printable(server.Name)+" does not answer: ", "  "))
		}
		if server.Warning != "" {
			b.WriteString(wrap(server.Warning, "WARNING, server "+printable(server.Name)+": ", "  "))
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// archivedLogs is the table of a repository and what stands below it.
func archivedLogs(logs []archive.LogStatus) string {
	g := grid{heads: []string{"Server", "files", "bytes", "first commit", "last commit", "behind"}, right: "011001"}
	for _, l := range logs {
		g.add(cmp.Or(l.Name, l.Server), units.Count(int64(l.Files)), units.Bytes(l.Bytes),
			moment(l.First, time.DateOnly+" 15:04:05"), moment(l.Last, time.DateOnly+" 15:04:05"), behind(l))
	}
	b := g.text(inspectWidth)
	for _, l := range logs {
		name := cmp.Or(l.Name, l.Server)
		if l.End != "" {
			b += wrap(l.End+" "+shorten(l.Reached), "  "+printable(name)+" reaches ", "    ")
		}
		if l.Stranger {
			b += "  " + printable(name) + " is no member of the set: its log is used for nothing\n"
		}
		if l.Alarm != "" {
			b += wrap(l.Alarm+"; how much is not archived is not known", "  "+printable(name)+" DOES NOT GO ON: ", "    ")
		}
		for _, gap := range l.Gaps {
			since := ""
			if gap.Backup != "" {
				since = "; backup " + gap.Backup + " was taken since, and leads on"
			}
			b += wrap(fmt.Sprintf("%s to %s: %s%s", gap.After, gap.Before, gap.Why, since), "  GAP of "+printable(name)+", ", "    ")
		}
	}
	return b
}

// FetchLine is one line about a fetch that runs.
func FetchLine(p *archive.FetchProgress, since time.Duration) string {
	if p == nil {
		return "fetch: listing"
	}
	line := fmt.Sprintf("fetch: %s, file %s of %s, %s of %s", printable(p.File), units.Count(int64(p.Files+1)), units.Count(int64(p.TotalFiles)), units.Bytes(p.Bytes), units.Bytes(p.TotalBytes))
	if p.Bytes > 0 {
		left := time.Duration(float64(since) / float64(p.Bytes) * float64(p.TotalBytes-p.Bytes))
		line += ", about " + units.Duration(left) + " left"
	}
	return line
}

// FetchedLog tells which files were brought, and where the log has gaps.
func FetchedLog(r *archive.FetchReport) string {
	var b strings.Builder
	g := grid{heads: []string{"Fetched", "bytes", "first commit (UTC)", "last commit (UTC)"}, right: "0100"}
	for _, f := range r.Files {
		note := ""
		if f.Kept {
			note = "  was there"
		}
		g.add(filepath.Base(f.Path), units.Bytes(f.Bytes), moment(f.First, time.DateTime), moment(f.Last, time.DateTime)+note)
	}
	if len(r.Files) > 0 {
		b.WriteString(g.text(inspectWidth))
	}
	for _, gap := range r.Gaps {
		b.WriteString(wrap(fmt.Sprintf("%s to %s: %s", gap.After, gap.Before, gap.Why), "  GAP of "+printable(r.Server)+", ", "    "))
	}
	if !r.End.IsZero() {
		fmt.Fprintf(&b, "The last commit that is archived of %s is one of %s UTC.\n", printable(r.Server), r.End.UTC().Format(time.DateTime))
	}
	if len(r.Files) > 0 {
		fmt.Fprintf(&b, "\nNext: lifeboat inspect %s/* shows what is in them.\n", printable(strings.TrimRight(r.Dir, "/")))
	}
	return b.String()
}

// behind is how far the live server is ahead; "?" if nobody knows.
func behind(l archive.LogStatus) string {
	switch {
	case l.BehindBytes == nil:
		return "?"
	case *l.BehindBytes == 0:
		return "nothing"
	case l.LagSeconds == nil:
		return units.Bytes(*l.BehindBytes)
	}
	return units.Bytes(*l.BehindBytes) + ", " + units.Duration(time.Duration(*l.LagSeconds*float64(time.Second)))
}

// Columns renders rows below their heads, aligned.
func Columns(heads []string, rows [][]string) string {
	g := grid{heads: heads}
	for _, r := range rows {
		g.add(r...)
	}
	return g.text(0)
}
