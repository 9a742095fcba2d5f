package ui

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// grid is text in columns that are as wide as what is in them.
type grid struct {
	heads []string
	right string // a 1 for each column that is aligned to the right
	rows  [][]string
}

func (g *grid) add(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	g.rows = append(g.rows, cells)
}

// text renders the heads and the rows. If they would be wider than width, the
// first column is cut in its middle and then the last one at its end; 0 means
// that nothing is cut.
func (g *grid) text(width int) string { return g.render(width, true) }

// body renders the rows alone.
func (g *grid) body(width int) string { return g.render(width, false) }

func (g *grid) render(width int, heads bool) string {
	sizes := g.sizes(heads)
	if width > 0 {
		g.fit(sizes, width)
	}
	var b strings.Builder
	if heads {
		g.line(&b, "", g.heads, sizes)
	}
	for _, r := range g.rows {
		g.line(&b, "  ", r, sizes)
	}
	return b.String()
}

const (
	gridIndent = 2
	gridGap    = 2
	leastCell  = 16 // a cell that is cut keeps this much
)

func (g *grid) sizes(heads bool) []int {
	sizes := make([]int, len(g.heads))
	for _, r := range g.rows {
		if len(r) == 1 { // a line across all columns
			continue
		}
		for i, c := range r {
			sizes[i] = max(sizes[i], utf8.RuneCountInString(c))
		}
	}
	for i, h := range g.heads {
		if n := utf8.RuneCountInString(h); heads && i == 0 {
			sizes[i] = max(sizes[i], n-gridIndent)
		} else if heads {
			sizes[i] = max(sizes[i], n)
		}
	}
	return sizes
}

// fit makes the last column narrower, and the first one if that is not enough.
func (g *grid) fit(sizes []int, width int) {
	over := gridIndent - width - gridGap
	for _, n := range sizes {
		over += n + gridGap
	}
	last := len(sizes) - 1
	for last > 0 && (sizes[last] == 0 || g.aligned(last)) {
		last--
	}
	for _, i := range []int{last, 0} {
		if cut := min(over, sizes[i]-leastCell); cut > 0 {
			sizes[i] -= cut
			over -= cut
		}
	}
}

func (g *grid) aligned(i int) bool { return i < len(g.right) && g.right[i] == '1' }

func (g *grid) line(b *strings.Builder, indent string, cells []string, sizes []int) {
	var l strings.Builder
	l.WriteString(indent)
	for i, c := range cells {
		n := sizes[i]
		if indent == "" && i == 0 {
			n += gridIndent
		}
		if len(cells) > 1 {
			c = cut(c, n, i == 0)
		}
		pad := strings.Repeat(" ", max(0, n-utf8.RuneCountInString(c)))
		if g.aligned(i) {
			c = pad + c
		} else {
			c += pad
		}
		if i > 0 {
			l.WriteString("  ")
		}
		l.WriteString(c)
	}
	b.WriteString(strings.TrimRight(l.String(), " "))
	b.WriteByte('\n')
}

// cut shortens text to n columns, in its middle or at its end.
func cut(text string, n int, middle bool) string {
	r := []rune(text)
	if len(r) <= n || n < 1 {
		return text
	}
	if !middle {
		return string(r[:n-1]) + "…"
	}
	head := n / 2
	return string(r[:head]) + "…" + string(r[len(r)-(n-head-1):])
}

// printable replaces what a terminal would obey: names and statements are
// somebody else's.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, s)
}

// oneLine joins the lines of an error that has several.
func oneLine(s string) string {
	return printable(strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "))
}

// wrap breaks text at blanks, so that no line is longer than inspectWidth.
// Words that are longer than a line, such as GTID sets, are broken behind
// commas and colons.
func wrap(text, first, next string) string {
	var b strings.Builder
	line, empty := first, true
	room := inspectWidth - utf8.RuneCountInString(next)
	for _, w := range strings.Fields(oneLine(text)) {
		for n, part := range parts(w, room) {
			long := utf8.RuneCountInString(line) + 1 + utf8.RuneCountInString(part)
			if !empty && (n > 0 || long > inspectWidth) {
				b.WriteString(line + "\n")
				line, empty = next, true
			}
			if !empty {
				line += " "
			}
			line, empty = line+part, false
		}
	}
	return b.String() + line + "\n"
}

// parts cuts a word into pieces of at most n columns.
func parts(word string, n int) []string {
	var out []string
	for r := []rune(word); ; {
		if len(r) <= n {
			return append(out, string(r))
		}
		at := n
		for at > n/2 && r[at-1] != ',' && r[at-1] != ':' {
			at--
		}
		if at == n/2 {
			at = n
		}
		out = append(out, string(r[:at]))
		r = r[at:]
	}
}

// foldedTable is Table with values that are broken where they are too long.
func foldedTable(rows [][2]string) string {
	width := 0
	for _, r := range rows {
		width = max(width, utf8.RuneCountInString(r[0]))
	}
	var b strings.Builder
	for _, r := range rows {
		head := "  " + r[0] + strings.Repeat(" ", width-utf8.RuneCountInString(r[0])) + "  "
		if utf8.RuneCountInString(head)+utf8.RuneCountInString(r[1]) <= inspectWidth {
			b.WriteString(head + printable(r[1]) + "\n")
			continue
		}
		b.WriteString(wrap(r[1], head, strings.Repeat(" ", width+4)))
	}
	return b.String()
}

func plural(n int64, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
