package compare

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Diff describes where two states differ, for a person to read. It is empty
// when they are equal. The names are what to call the states.
func Diff(a, b State, nameA, nameB string, counters Counters) string {
	d := &differ{a: nameA, b: nameB, counters: counters}
	for _, name := range bothKeys(a.Objects, b.Objects) {
		x, inA := a.Objects[name]
		y, inB := b.Objects[name]
		if d.present(name, inA, inB) && x != y {
			d.print("%s:\n  %s: %s\n  %s: %s", name, d.a, x, d.b, y)
		}
	}
	for _, name := range bothKeys(a.Tables, b.Tables) {
		x, inA := a.Tables[name]
		y, inB := b.Tables[name]
		if d.present("table "+name, inA, inB) {
			d.table(name, x, y)
		}
	}
	return d.text.String()
}

// differ collects the report.
type differ struct {
	a, b     string
	counters Counters
	text     strings.Builder
}

func bothKeys[V any](a, b map[string]V) []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (d *differ) print(format string, args ...any) {
	fmt.Fprintf(&d.text, format+"\n", args...)
}

func (d *differ) present(what string, inA, inB bool) bool {
	switch {
	case !inA:
		d.print("%s: only in %s", what, d.b)
	case !inB:
		d.print("%s: only in %s", what, d.a)
	}
	return inA && inB
}

func (d *differ) table(name string, x, y Table) {
	if x.Definition != y.Definition {
		d.print("table %s: definition\n  %s: %s\n  %s: %s", name, d.a, x.Definition, d.b, y.Definition)
	}
	if d.counters == Exact && x.AutoIncrement != y.AutoIncrement || d.counters == AtMost && y.AutoIncrement > x.AutoIncrement {
		d.print("table %s: AUTO_INCREMENT %s: %d, %s: %d", name, d.a, x.AutoIncrement, d.b, y.AutoIncrement)
	}
	onlyX, onlyY := subtract(x.Rows, y.Rows), subtract(y.Rows, x.Rows)
	if len(onlyX)+len(onlyY) > 0 {
		d.print("table %s: %d rows in %s, %d in %s (%s)", name, len(x.Rows), d.a, len(y.Rows), d.b, strings.Join(x.Columns, ", "))
		d.rows(d.a, onlyX)
		d.rows(d.b, onlyY)
		return
	}
	if x.Checksum != y.Checksum && x.Definition == y.Definition {
		d.print("table %s: rows look the same, but CHECKSUM TABLE is %s in %s, %s in %s", name, x.Checksum, d.a, y.Checksum, d.b)
	}
}

// shown is how many different rows a report has.
const shown = 5

func (d *differ) rows(where string, rows []string) {
	for i, row := range rows {
		if i == shown {
			d.print("  only in %s: and %d more", where, len(rows)-shown)
			return
		}
		d.print("  only in %s: %s", where, row)
	}
}

// subtract returns what is in one sorted list more often than in another.
func subtract(from, what []string) (rest []string) {
	for _, s := range from {
		for len(what) > 0 && what[0] < s {
			what = what[1:]
		}
		if len(what) > 0 && what[0] == s {
			what = what[1:]
			continue
		}
		rest = append(rest, s)
	}
	return rest
}
