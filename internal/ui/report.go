package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/units"
)

// Report renders a finished replay as a table.
func Report(r *replay.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nReplayed into %s\n", r.Target)
	rate := rates(r)
	rows := [][2]string{
		{"from", r.Plan.From.String()},
		{"to", r.Plan.To.String() + lastCommit(r.Plan)},
		{"transactions", units.Count(r.Transactions) + rate(r.Transactions, units.Count)},
		{"row changes", units.Count(r.RowChanges) + rate(r.RowChanges, units.Count)},
		{"net rows", units.Count(r.NetRows) + share(r.NetRows, r.RowChanges)},
		{"windows", units.Count(r.Windows)},
		{"barriers", fmt.Sprintf("%s  (DDL and statements, executed alone)", units.Count(r.Barriers))},
		{"log read", units.Bytes(r.Bytes) + rate(r.Bytes, units.Bytes)},
		{"time", units.Duration(time.Duration(r.Seconds * float64(time.Second)))},
	}
	if r.Resumed {
		rows = append(rows, [2]string{"resumed", "yes, the counts include what earlier runs applied"})
	}
	if r.GTIDs != "" {
		rows = append(rows, [2]string{"contains", strings.ReplaceAll(r.GTIDs, "\n", "")})
	}
	if r.Only != "" {
		rows = append(rows, [2]string{"only", r.Only})
	}
	b.WriteString(Table(rows))
	b.WriteString("\nVerified\n")
	for _, c := range r.Verified {
		mark := "yes"
		if !c.Done {
			mark = "no "
		}
		fmt.Fprintf(&b, "  %s  %s\n", mark, c.Text)
	}
	list(&b, "Skipped: not applied, but counted as contained", len(r.Plan.Skipped), func(i int) string { return skipped(r.Plan.Skipped[i]) })
	list(&b, "Dropped: not wanted", len(r.Dropped), func(i int) string { return printable(r.Dropped[i]) })
	list(&b, "Replayed verbatim, in the log's order", len(r.Lanes), func(i int) string {
		return r.Lanes[i].Table + ": " + r.Lanes[i].Reason
	})
	list(&b, "Notes", len(r.Notes), func(i int) string { return r.Notes[i] })
	switch {
	case r.Finalized && r.Only != "":
		b.WriteString("\nThe target holds a part of the database: it is ready for use, and no member of a set.\n")
	case r.Finalized:
		b.WriteString("\nThe target is ready for use: GTID state set, settings restored, checkpoint removed.\n")
	default:
		b.WriteString("\nThe checkpoint stays on the target: replay more later, or make it ready for use with --finalize.\n")
	}
	return b.String()
}

// rates gives what was done for each second of this run; nothing for a resumed
// run, whose counts are not its own.
func rates(r *replay.Report) func(int64, func(int64) string) string {
	return func(n int64, format func(int64) string) string {
		if r.Resumed || r.Seconds <= 0 {
			return ""
		}
		return "  (" + format(int64(float64(n)/r.Seconds)) + "/s)"
	}
}

func list(b *strings.Builder, title string, n int, line func(int) string) {
	if n == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for i := range n {
		fmt.Fprintf(b, "  %s\n", line(i))
	}
}

func lastCommit(p *replay.Plan) string {
	if p.Last.IsZero() {
		return ""
	}
	return ", last commit " + p.Last.UTC().Format("2006-01-02 15:04:05.999999 UTC")
}

func share(part, whole int64) string {
	if whole == 0 {
		return ""
	}
	return fmt.Sprintf("  (%d %% of the changes)", part*100/whole)
}

// skipped names a transaction that is left out, and what it did.
func skipped(s replay.Skipped) string {
	name := s.Position.String()
	if s.GTID != "" {
		name += " " + s.GTID
	}
	return name + " of " + utc(s.Committed) + ": " + printable(s.What)
}

// Plan renders what a replay would do.
func Plan(p *replay.Plan) string {
	rows := [][2]string{
		{"files", strings.Join(p.Files, " ")},
		{"from", p.From.String()},
		{"to", p.To.String() + lastCommit(p)},
		{"transactions", units.Count(p.Transactions)},
		{"log", units.Bytes(p.Bytes)},
		{"barriers", fmt.Sprintf("%s DDL, %s with statements", units.Count(p.DDL), units.Count(p.Statements))},
	}
	if p.Incomplete != "" {
		rows = append(rows, [2]string{"left out", p.Incomplete})
	}
	if p.Open != "" {
		rows = append(rows, [2]string{"note", p.Open})
	}
	for _, s := range p.Skipped {
		rows = append(rows, [2]string{"skipped", skipped(s)})
	}
	for _, r := range p.Refused {
		rows = append(rows, [2]string{"REFUSED", r.Position.String() + ": " + r.Reason})
	}
	return "\nPlan\n" + Table(rows)
}
