package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/replay"
)

// Report renders a finished replay as a table.
func Report(r *replay.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nReplayed into %s\n", r.Target)
	seconds := max(r.Seconds, 0.001)
	rows := [][2]string{
		{"from", r.Plan.From.String()},
		{"to", r.Plan.To.String() + lastCommit(r.Plan)},
		{"transactions", fmt.Sprintf("%s  (%s/s)", Count(r.Transactions), Count(int64(float64(r.Transactions)/seconds)))},
		{"row changes", fmt.Sprintf("%s  (%s/s)", Count(r.RowChanges), Count(int64(float64(r.RowChanges)/seconds)))},
		{"net rows", Count(r.NetRows) + share(r.NetRows, r.RowChanges)},
		{"windows", Count(r.Windows)},
		{"barriers", fmt.Sprintf("%s  (DDL and statements, executed alone)", Count(r.Barriers))},
		{"log read", fmt.Sprintf("%s  (%s/s)", Bytes(r.Bytes), Bytes(int64(float64(r.Bytes)/seconds)))},
		{"time", Duration(time.Duration(r.Seconds * float64(time.Second)))},
	}
	if r.Resumed {
		rows = append(rows, [2]string{"resumed", "yes: counts include the earlier run, rates do not mean much"})
	}
	if r.GTIDs != "" {
		rows = append(rows, [2]string{"contains", strings.ReplaceAll(r.GTIDs, "\n", "")})
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
	for _, l := range r.Lanes {
		fmt.Fprintf(&b, "  verbatim: %s (%s)\n", l.Table, l.Reason)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  note: %s\n", n)
	}
	if r.Finalized {
		b.WriteString("\nThe target is ready for use: GTID state set, settings restored, checkpoint removed.\n")
	} else {
		b.WriteString("\nThe checkpoint stays on the target: replay more later, or make it ready for use with --finalize.\n")
	}
	return b.String()
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

// Plan renders what a replay would do.
func Plan(p *replay.Plan) string {
	rows := [][2]string{
		{"files", strings.Join(p.Files, " ")},
		{"from", p.From.String()},
		{"to", p.To.String() + lastCommit(p)},
		{"transactions", Count(p.Transactions)},
		{"log", Bytes(p.Bytes)},
		{"barriers", fmt.Sprintf("%s DDL, %s with statements", Count(p.DDL), Count(p.Statements))},
	}
	if p.Incomplete != "" {
		rows = append(rows, [2]string{"left out", p.Incomplete})
	}
	for _, r := range p.Refused {
		rows = append(rows, [2]string{"REFUSED", r.Position.String() + ": " + r.Reason})
	}
	return "\nPlan\n" + Table(rows)
}
