// Package ui renders progress and results for people.
package ui

import (
	"fmt"
	"strings"
)

// Table renders rows of two columns, aligned.
func Table(rows [][2]string) string {
	width := 0
	for _, r := range rows {
		width = max(width, len([]rune(r[0])))
	}
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, r[0], r[1])
	}
	return b.String()
}
