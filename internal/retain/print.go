package retain

import (
	"fmt"
	"strings"
)

// String is the decision for people: what goes, what stays and why, in the order
// of removal.
func (d Decision) String() string {
	var b strings.Builder
	for _, f := range d.Backups {
		line(&b, f.Fate, f.Stored, fmt.Sprintf("%s backup %s", f.Kind, f.ID))
	}
	for _, f := range d.Logs {
		line(&b, f.Fate, f.Stored, fmt.Sprintf("log %s of %s", f.File, f.Server))
	}
	for _, f := range d.Leftovers {
		line(&b, f.Fate, f.Stored, "leftover "+f.Object)
	}
	for _, n := range d.Notes {
		fmt.Fprintf(&b, "note   %s\n", n)
	}
	objects, bytes := d.Total()
	fmt.Fprintf(&b, "%d of these go, %d bytes\n", objects, bytes)
	return b.String()
}

func line(b *strings.Builder, f Fate, stored int64, what string) {
	verb := "stays"
	if f.Goes {
		verb = "goes "
	}
	fmt.Fprintf(b, "%s  %s, %d bytes: %s\n", verb, what, stored, f.Why)
}

// Total counts the backups, files and leftovers that go, and their stored bytes.
func (d Decision) Total() (count int, bytes int64) {
	add := func(f Fate, stored int64) {
		if f.Goes {
			count++
			bytes += stored
		}
	}
	for _, f := range d.Backups {
		add(f.Fate, f.Stored)
	}
	for _, f := range d.Logs {
		add(f.Fate, f.Stored)
	}
	for _, f := range d.Leftovers {
		add(f.Fate, f.Stored)
	}
	return count, bytes
}
