package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// page is a report for people: a title, a table, and what one must know to
// repeat the run.
type page struct {
	name  string     // of its file, without ending
	title string     // a line
	rows  [][]string // the first is the heads
	about []string
}

// Text is for a terminal.
func (p page) Text() string {
	var b strings.Builder
	b.WriteString(p.title + "\n\n")
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range p.rows {
		_, _ = fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	_ = table.Flush()
	b.WriteString("\n" + strings.Join(p.about, "\n") + "\n\n")
	return b.String()
}

// Markdown is for a page.
func (p page) Markdown() string {
	var b strings.Builder
	b.WriteString("# " + p.title + "\n\n")
	for n, row := range p.rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if n == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	b.WriteString("\n")
	for _, line := range p.about {
		b.WriteString("- " + line + "\n")
	}
	return b.String()
}

// publish shows a report and, unless something went wrong in it, saves it: that
// is no result to publish.
func (c Common) publish(report any, p page, problem error) error {
	if _, err := io.WriteString(c.Out, p.Text()); err != nil || problem != nil || c.Results == "" {
		return errors.Join(err, problem)
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Results, 0o755); err != nil {
		return err
	}
	base := filepath.Join(c.Results, p.name)
	return errors.Join(
		os.WriteFile(base+".json", append(text, '\n'), 0o644),
		os.WriteFile(base+".md", []byte(p.Markdown()), 0o644),
	)
}
