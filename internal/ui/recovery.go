package ui

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/drill"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/retain"
	"github.com/lifeboat-db/lifeboat/internal/units"
	"github.com/lifeboat-db/lifeboat/internal/verify"
)

// utc writes a time in UTC, as --until takes it; a missing one is a dash.
func utc(t time.Time) string { return cmp.Or(moment(t.UTC(), "2006-01-02T15:04:05Z"), "-") }

// Backup renders a backup that has been taken.
func Backup(m backup.Manifest) string {
	rows := [][2]string{
		{"Backup", m.ID},
		{"Kind", m.Kind + " by " + m.Tool},
		{"Server", m.Server + ", " + m.ServerVersion},
		{"Took", units.Duration(m.Finished.Sub(m.Started))},
		{"Size", units.Bytes(m.PlainBytes) + ", stored " + units.Bytes(m.StoredBytes)},
	}
	if m.Parent != "" {
		rows = append(rows, [2]string{"Goes on from", m.Parent})
	}
	state := "State"
	if m.Inexact {
		state = "State, at least"
	}
	if m.File != "" {
		rows = append(rows, [2]string{state, fmt.Sprintf("%s:%d", m.File, m.Offset)})
	}
	if m.GTIDs != "" {
		rows = append(rows, [2]string{"GTIDs", m.GTIDs})
	}
	for _, w := range m.Warnings {
		rows = append(rows, [2]string{"Warning", w})
	}
	return Table(rows)
}

// RestorePlan renders what a restore would do.
func RestorePlan(p *restore.Plan) string {
	until := p.Until
	if until == "" {
		until = "the end of the archive"
	}
	rows := [][2]string{{"Set", p.Set + " from repository " + p.Repository}, {"Until", until}}
	if p.Only != "" {
		rows = append(rows, [2]string{"Only", p.Only})
	}
	if p.Skip != "" {
		rows = append(rows, [2]string{"Skipped", p.Skip})
	}
	for i, b := range p.Backups {
		name := "Backup"
		if i > 0 {
			name = "and"
		}
		rows = append(rows, [2]string{name, fmt.Sprintf("%s, %s by %s, of %s", b.ID, b.Kind, b.Driver, utc(b.Finished))})
	}
	if len(p.Backups) == 0 {
		rows = append(rows, [2]string{"Goes on from", fmt.Sprintf("%s:%d", p.Base.File, p.Base.Offset)})
	}
	for _, l := range p.Legs {
		rows = append(rows,
			[2]string{"Log", fmt.Sprintf("%d files of %s, %s to %s", len(l.Names), l.Server, l.Names[0], l.Names[len(l.Names)-1])},
			[2]string{"Log from", l.From},
			[2]string{"Last commit", utc(l.Until)},
		)
	}
	rows = append(rows,
		[2]string{"To be read", units.Bytes(p.BackupBytes) + " of backup, " + units.Bytes(p.LogBytes) + " of log"},
		[2]string{"Space needed", "about " + units.Bytes(p.SpaceNeeded)},
		[2]string{"Will take", predicted(p.Seconds, p.Measured)},
	)
	for _, w := range p.Warnings {
		rows = append(rows, [2]string{"Warning", w})
	}
	return Table(rows)
}

// predicted is how long something will take, and how one knows.
func predicted(seconds float64, measured string) string {
	if seconds == 0 {
		return "unknown: no drill and no restore has been measured"
	}
	return "about " + units.Duration(time.Duration(seconds*float64(time.Second))) + ", by " + printable(measured)
}

// RestoreLine is one line about a restore that runs.
func RestoreLine(now []restore.Step, s replay.Snapshot, at time.Time) string {
	var parts []string
	for _, step := range now {
		text := step.Name
		if step.Bytes > 0 {
			text += " (" + units.Bytes(step.Bytes) + ")"
		}
		if strings.HasPrefix(step.Name, restore.StepReplay) {
			parts = append(parts, Line(s, at))
			continue
		}
		parts = append(parts, text+", "+units.Duration(at.Sub(step.Begun)))
	}
	if len(parts) == 0 {
		return "restore: reading what the repository holds"
	}
	return strings.Join(parts, "; ")
}

// Restored renders a restore that is done.
func Restored(r *restore.Report) string {
	var b strings.Builder
	switch {
	case len(r.Steps) == 0:
		fmt.Fprintf(&b, "%s has been restored already\n", printable(r.Dir))
	default:
		fmt.Fprintf(&b, "%s is restored, in %s\n", printable(r.Dir), units.Duration(time.Duration(r.Seconds*float64(time.Second))))
	}
	var rows [][2]string
	if r.Reached != nil {
		if r.Reached.File != "" {
			rows = append(rows, [2]string{"Reached", fmt.Sprintf("%s:%d of %s", r.Reached.File, r.Reached.Offset, r.Reached.Server)})
		}
		if r.Reached.GTIDs != "" {
			rows = append(rows, [2]string{"GTIDs", r.Reached.GTIDs})
		}
	}
	b.WriteString(Table(rows) + steps(r))
	if r.Replay != nil {
		b.WriteString("\n" + Report(r.Replay))
	}
	if len(r.Steps) > 0 {
		fmt.Fprintf(&b, "\nNext: give the directory to the server's user (chown -R mysql: %[1]s) and start the server on it.\n", printable(r.Dir))
	}
	return b.String()
}

// Info renders what a repository holds.
func Info(i *restore.Info) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Repository %s, set %s: %s of logs, the last commit of %s\n", printable(i.Repository), printable(i.Set), units.Bytes(i.LogBytes), utc(i.Until))
	if len(i.Backups) == 0 {
		return b.String()
	}
	g := grid{heads: []string{"Backup", "kind", "driver", "stored", "from", "until", "takes"}, right: "0001001"}
	for _, x := range i.Backups {
		until := utc(x.Until)
		if x.Problem != "" {
			until = "not to the end"
		}
		takes := "unknown"
		if x.Seconds > 0 {
			takes = units.Duration(time.Duration(x.Seconds * float64(time.Second)))
		}
		g.add(x.ID, x.Kind, x.Driver, units.Bytes(x.StoredBytes), utc(x.From), until, takes)
	}
	b.WriteString(g.text(0))
	for _, x := range i.Backups {
		if x.Problem != "" {
			fmt.Fprintf(&b, "%s: %s\n", x.ID, oneLine(x.Problem))
		}
		for _, w := range x.Warnings {
			fmt.Fprintf(&b, "%s: warning: %s\n", x.ID, oneLine(w))
		}
	}
	return b.String()
}

// Drill renders a rehearsal.
func Drill(r *drill.Result) string {
	var b strings.Builder
	took := units.Duration(time.Duration(r.Seconds * float64(time.Second)))
	switch {
	case r.Passed:
		fmt.Fprintf(&b, "The drill has passed: set %s came back in %s, %d tables checked.\n", printable(r.Set), took, r.Tables)
	default:
		fmt.Fprintf(&b, "THE DRILL HAS FAILED after %s: %s\n", took, oneLine(r.Error))
	}
	if r.Objective > 0 {
		fmt.Fprintf(&b, "A recovery may take %s.\n", units.Duration(time.Duration(r.Objective*float64(time.Second))))
	}
	if r.Restore != nil && len(r.Restore.Steps) > 0 {
		b.WriteString("\n" + steps(r.Restore))
	}
	return b.String()
}

func steps(r *restore.Report) string {
	var rows [][2]string
	for _, s := range r.Steps {
		text := units.Duration(time.Duration(s.Seconds * float64(time.Second)))
		if s.Bytes > 0 && s.Seconds > 0 {
			text += fmt.Sprintf(", %s at %s/s", units.Bytes(s.Bytes), units.Bytes(int64(float64(s.Bytes)/s.Seconds)))
		}
		if s.Error != "" {
			text = "FAILED after " + text
		}
		rows = append(rows, [2]string{s.Name, text})
	}
	return Table(rows)
}

// VerifyLine is one line about a verification that runs.
func VerifyLine(name string, p *verify.Progress) string {
	if p == nil {
		return "verify " + name + ": listing"
	}
	return fmt.Sprintf("verify %s: %s of %s, %s of %s objects", name, units.Bytes(p.Bytes), units.Bytes(p.TotalBytes), units.Count(p.Objects), units.Count(p.TotalObjects))
}

// Verified renders what a verification has found.
func Verified(r *verify.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s objects, %s; read %s objects, %s; %s were checked before\n",
		printable(r.Place), units.Count(r.Objects), units.Bytes(r.Bytes), units.Count(r.Checked), units.Bytes(r.CheckedBytes), units.Count(r.Skipped))
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s\n", printable(f.String()))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "%s\n", printable(n))
	}
	if r.Complete && len(r.Findings) == 0 {
		b.WriteString("Everything is there, and as it was written.\n")
	}
	return b.String()
}

// Expiry renders what goes and what stays.
func Expiry(name string, d retain.Decision, dryRun bool) string {
	var b strings.Builder
	verb := "goes"
	if dryRun {
		verb = "would go"
	}
	fmt.Fprintf(&b, "Repository %s, set %s\n", printable(name), printable(d.Set))
	g := grid{heads: []string{"", "what", "stored", "why"}, right: "0010"}
	for i := range d.Items() {
		word := "stays"
		if i.Goes {
			word = verb
		}
		g.add(word, i.What, units.Bytes(i.Stored), i.Why)
	}
	b.WriteString(g.text(0))
	for _, n := range d.Notes {
		fmt.Fprintf(&b, "%s\n", printable(n))
	}
	_, gone := d.Total()
	fmt.Fprintf(&b, "%s %s\n", units.Bytes(gone), verb)
	return b.String()
}
