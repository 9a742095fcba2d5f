package ui

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lifeboat-db/lifeboat/internal/inspect"
	"github.com/lifeboat-db/lifeboat/internal/units"
)

// What is shown of long lists; --json has all.
const (
	mostFiles      = 20
	mostTables     = 50
	mostConstructs = 12
	mostFound      = 30
	inspectWidth   = 100 // columns
)

// Inspection renders what logs hold.
func Inspection(r *inspect.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", files(r))
	fmt.Fprintf(&b, "Contents\n%s\n", contents(r))
	if len(r.Tables) > 0 {
		fmt.Fprintf(&b, "%s\n", tables(r))
	}
	if r.Found != nil {
		fmt.Fprintf(&b, "%s\n", found(r.Found))
	}
	if len(r.Largest) > 0 {
		fmt.Fprintf(&b, "%s\n", transactions(r))
	}
	b.WriteString(constructs("Barriers: executed alone, everything before them is applied first", r.Barriers))
	b.WriteString(constructs("Verbatim: replayed as logged, nothing is merged (counts rows events)", r.Verbatim))
	b.WriteString(constructs("REFUSED: a replay does not begin with these in its way", r.Refused))
	if r.Incomplete != nil {
		b.WriteString("Incomplete\n" + wrap(fmt.Sprintf("%s  the last %s are not a whole transaction and do not count: %s",
			r.Incomplete.Position, units.Bytes(r.Incomplete.Bytes), r.Incomplete.Reason), "  ", "  ") + "\n")
	}
	if len(r.Notes) > 0 {
		b.WriteString("Notes\n")
	}
	for _, n := range r.Notes {
		b.WriteString(wrap(n, "  ", "    "))
	}
	return b.String()
}

func files(r *inspect.Report) string {
	vendor := map[string]string{"mysql": "MySQL", "mariadb": "MariaDB"}[r.Vendor]
	g := grid{heads: []string{"Files", "size", vendor, "CRC32", "transactions", "first (UTC)", "last (UTC)"}, right: "01001"}
	for i, f := range r.Files {
		if n := len(r.Files); n > mostFiles && i >= mostFiles/2 && i < n-mostFiles/2 {
			if i == mostFiles/2 {
				g.add(fmt.Sprintf("… %s more", units.Count(int64(n-mostFiles))))
			}
			continue
		}
		sums, n := "no", "not read"
		if f.Checksums {
			sums = "yes"
		}
		if f.Read {
			n = units.Count(f.Transactions)
		}
		version, _, _ := strings.Cut(f.ServerVersion, "-") // what follows names the build
		g.add(f.Name, units.Bytes(f.Bytes), version, sums, n, moment(f.FirstCommit, time.DateOnly+" 15:04"), moment(f.LastCommit, time.DateOnly+" 15:04"))
	}
	return g.text(inspectWidth)
}

// moment is a time, or nothing.
func moment(t time.Time, layout string) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(layout)
}

func contents(r *inspect.Report) string {
	t := &r.Transactions
	rows := [][2]string{
		{"range", fmt.Sprintf("%s to %s  (%s)", r.From, r.To, units.Bytes(r.Bytes))},
	}
	if !r.FirstCommit.IsZero() {
		const layout = time.DateTime + ".999999"
		rows = append(rows, [2]string{"commits", fmt.Sprintf("%s UTC to %s UTC  (%s)", r.FirstCommit.Format(layout),
			r.LastCommit.Format(layout), units.Duration(r.LastCommit.Sub(r.FirstCommit)))})
	}
	rows = append(rows, gtids(&r.GTIDs)...)
	kinds := []string{units.Count(t.Rows) + " of row changes only"}
	for _, k := range []struct {
		n    int64
		text string
	}{{t.DDL, "DDL"}, {t.Statements, "with statements"}, {t.Empty, "empty"}, {t.Refused, "REFUSED"}} {
		if k.n > 0 {
			kinds = append(kinds, units.Count(k.n)+" "+k.text)
		}
	}
	rows = append(rows,
		[2]string{"transactions", fmt.Sprintf("%s:  %s", units.Count(t.Total), strings.Join(kinds, ", "))},
		[2]string{"row changes", fmt.Sprintf("%s:  %s inserts, %s updates, %s deletes, in %s events", units.Count(r.Rows()),
			units.Count(r.Inserts), units.Count(r.Updates), units.Count(r.Deletes), units.Count(r.RowsEvents))})
	if r.Rows() > 0 {
		rows = append(rows, [2]string{"net change", fmt.Sprintf("%s rows in %s %s: saves %s of the row changes",
			span(r.NetRows), units.Count(r.Windows), plural(r.Windows, "window"), saved(&r.Changes))})
	}
	return foldedTable(rows)
}

func gtids(g *inspect.GTIDs) [][2]string {
	var rows [][2]string
	if g.Before != "" {
		rows = append(rows, [2]string{"GTIDs before", shorten(g.Before)})
	}
	if g.Set != "" {
		rows = append(rows, [2]string{"GTIDs", shorten(g.Set)})
	}
	if g.First != "" {
		rows = append(rows, [2]string{"", "first " + g.First}, [2]string{"", "last  " + g.Last})
	}
	if g.Anonymous > 0 {
		rows = append(rows, [2]string{"without GTID", units.Count(g.Anonymous) + " transactions"})
	}
	return rows
}

// shorten cuts a GTID set of many intervals to a few lines.
func shorten(set string) string {
	const most = 4 * inspectWidth
	if len(set) <= most {
		return set
	}
	return set[:most] + "…"
}

func span(r inspect.Range) string {
	if r.Least == r.Most {
		return units.Count(r.Most)
	}
	return units.Count(r.Least) + " to " + units.Count(r.Most)
}

// saved is the share that net change saves, in per cent; 100 and 0 only if it
// is all or nothing.
func saved(c *inspect.Changes) string {
	if c.Rows() == 0 {
		return ""
	}
	least, most := c.Saved()
	a, b := percent(least), percent(most)
	if a == b {
		return fmt.Sprintf("%d %%", a)
	}
	return fmt.Sprintf("%d to %d %%", a, b)
}

func percent(share float64) int {
	switch n := int(share*100 + 0.5); {
	case n >= 100 && share < 1:
		return 99
	case n <= 0 && share > 0:
		return 1
	default:
		return max(0, n)
	}
}

func tables(r *inspect.Report) string {
	g := grid{heads: []string{"Tables", "size", "", "inserts", "updates", "deletes", "net rows", "saves"}, right: "01011111"}
	rest := inspect.Changes{}
	for i := range r.Tables {
		t := &r.Tables[i]
		if i >= mostTables {
			rest.EventBytes += t.EventBytes
			rest.Inserts, rest.Updates, rest.Deletes = rest.Inserts+t.Inserts, rest.Updates+t.Updates, rest.Deletes+t.Deletes
			rest.NetRows.Least, rest.NetRows.Most = rest.NetRows.Least+t.NetRows.Least, rest.NetRows.Most+t.NetRows.Most
			continue
		}
		g.changes(t.Database+"."+t.Name, &t.Changes, r.EventBytes)
	}
	if n := len(r.Tables) - mostTables; n > 0 {
		g.changes(fmt.Sprintf("… %s more", units.Count(int64(n))), &rest, r.EventBytes)
	}
	return g.text(inspectWidth)
}

func (g *grid) changes(name string, c *inspect.Changes, whole int64) {
	net := units.Count(c.NetRows.Most)
	if c.NetRows.Least != c.NetRows.Most {
		net = "≤ " + net
	}
	g.add(name, units.Bytes(c.EventBytes), bar(c.EventBytes, whole), units.Count(c.Inserts), units.Count(c.Updates), units.Count(c.Deletes), net, saved(c))
}

const barWidth = 8

// bar draws a share, in eighths of a column; something is never nothing.
func bar(part, whole int64) string {
	if whole <= 0 || part <= 0 {
		return ""
	}
	eighths := max(1, int((part*barWidth*8+whole/2)/whole))
	return strings.Repeat("█", eighths/8) + strings.TrimSpace(string([]rune(" ▏▎▍▌▋▊▉")[eighths%8]))
}

func transactions(r *inspect.Report) string {
	g := grid{heads: []string{"Largest transactions", "size", "row changes", "committed (UTC)"}, right: "011"}
	for _, t := range r.Largest {
		g.add(t.Position, units.Bytes(t.Bytes), units.Count(t.Rows), moment(t.Committed, time.DateTime))
		if line := strings.TrimSpace(t.GTID + "  " + tableCounts(t.Tables, inspectWidth-len(t.GTID)-6)); line != "" {
			g.add("  " + line)
		}
	}
	return g.text(inspectWidth)
}

// found lists the last of the transactions that were looked for.
func found(f *inspect.Found) string {
	heading := fmt.Sprintf("Found %q in %s %s", f.Text, units.Count(f.Count), plural(f.Count, "transaction"))
	if f.Count == 0 {
		return heading + "\n"
	}
	g := grid{heads: []string{heading, "row changes", "committed (UTC)"}, right: "01"}
	list := f.Transactions[max(0, len(f.Transactions)-mostFound):]
	if earlier := f.Count - int64(len(list)); earlier > 0 {
		g.add(fmt.Sprintf("… %s earlier", units.Count(earlier)))
	}
	for _, t := range list {
		g.add(t.Position, units.Count(t.Rows), moment(t.Committed, time.DateTime+".999999"))
		what := t.Statement
		if what != "" && t.Database != "" {
			what = t.Database + ": " + what
		}
		if what == "" {
			what = tableCounts(t.Tables, inspectWidth-len(t.GTID)-6)
		}
		g.add("  " + strings.TrimSpace(t.GTID+"  "+what))
	}
	return g.text(inspectWidth) + wrap("restore --until POSITION stops before one; --skip GTID leaves it out, or POSITION where there is none", "  ", "  ")
}

// tableCounts lists tables as far as they fit into width columns.
func tableCounts(list []inspect.TableCount, width int) string {
	var out string
	for i, c := range list {
		name := fmt.Sprintf("%s (%s)", printable(c.Table), units.Count(c.Rows))
		more := fmt.Sprintf(", … %s more", units.Count(int64(len(list)-i)))
		if i > 0 {
			name = ", " + name
		}
		last := i == len(list)-1
		if n := utf8.RuneCountInString(out + name); i > 0 && (last && n > width || !last && n+len(more) > width) {
			return out + more
		}
		out += name
	}
	return out
}

// others lists further positions.
func others(list []inspect.Example) string {
	var out []string
	for _, ex := range list {
		out = append(out, ex.Position)
	}
	return strings.Join(out, " ")
}

func constructs(title string, list []inspect.Construct) string {
	if len(list) == 0 {
		return ""
	}
	g := grid{heads: []string{"", "count", "first at", ""}, right: "01"}
	var more int64
	for i, c := range list {
		if i >= mostConstructs {
			more += c.Count
			continue
		}
		what := c.What
		if c.Kind == "statements" {
			what = "statement: " + what
		}
		text := c.Table
		if text == "" {
			text = c.Examples[0].Text
		}
		if text == "" {
			text = others(c.Examples[1:])
		}
		g.add(what, units.Count(c.Count), c.Examples[0].Position, printable(text))
	}
	if more > 0 {
		g.add(fmt.Sprintf("… %s more kinds", units.Count(int64(len(list)-mostConstructs))), units.Count(more))
	}
	return title + "\n" + g.body(inspectWidth) + "\n"
}
