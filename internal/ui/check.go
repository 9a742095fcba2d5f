package ui

import (
	"fmt"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/check"
)

// Checked renders what check has found, a line each, and how many there are of
// each level.
func Checked(r *check.Report) string {
	var b strings.Builder
	n := map[check.Level]int{}
	for _, l := range r.Lines {
		n[l.Level]++
		text := l.About + ": " + l.What + ": " + l.Why
		if l.Next != "" {
			text += "; " + l.Next
		}
		fmt.Fprintf(&b, "%-4s  %s\n", l.Level, printable(text))
	}
	fmt.Fprintf(&b, "%d ok, %d to be looked at, %d failed\n", n[check.OK], n[check.Warn], n[check.Fail])
	return b.String()
}
