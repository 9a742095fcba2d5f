package history

import (
	"fmt"
	"slices"
	"strings"
)

// column is what the generator knows of a table's column.
type column struct {
	name     string
	kind     kind
	attr     string // NOT NULL, AUTO_INCREMENT, GENERATED ALWAYS AS ...
	nullable bool
	derived  bool // generated: never assigned
}

func (c column) definition() string {
	return strings.TrimSpace(c.name + " " + c.kind.sql + " " + c.attr)
}

// literal is a value for the column, now and then NULL.
func (c column) literal(r random) string {
	if c.nullable && r.chance(15) {
		return "NULL"
	}
	return c.kind.value(r)
}

// key is a unique key. The first one of a table that cannot be NULL names its
// rows.
type key struct {
	name    string // PRIMARY, or the index's name
	columns []string
}

// table is what the generator knows of a table.
type table struct {
	schema, name string
	columns      []column
	keys         []key
	identity     []string // columns of the key that names rows; none: no key
	indexes      []string // names of secondary indexes that may be dropped
	autoinc      string   // the AUTO_INCREMENT column, or ""
	constraints  []string // further lines of CREATE TABLE
	options      string   // ENGINE, PARTITION BY
	family       int      // tables bound by foreign keys or triggers share one

	// What must not be done to the table.
	parent      bool // foreign keys refer to it: no REPLACE on MySQL, no TRUNCATE
	bound       bool // a foreign key or trigger names it: no RENAME, no DROP
	sideEffects bool // in statement format its changes are not repeatable
	limit       int  // rows, roughly
	rows        int  // an estimate, never too low
	plainEngine bool // not transactional
	partitioned bool
}

func (t *table) full() string { return t.schema + "." + t.name }

func (t *table) create() string {
	return "CREATE TABLE " + t.full() + t.body()
}

// body is the definition without the name.
func (t *table) body() string {
	lines := make([]string, 0, len(t.columns)+len(t.keys)+len(t.constraints))
	for _, c := range t.columns {
		lines = append(lines, c.definition())
	}
	for _, k := range t.keys {
		if k.name == "PRIMARY" {
			lines = append(lines, "PRIMARY KEY ("+strings.Join(k.columns, ", ")+")")
		} else {
			lines = append(lines, "UNIQUE KEY "+k.name+" ("+strings.Join(k.columns, ", ")+")")
		}
	}
	lines = append(lines, t.constraints...)
	return strings.TrimSpace(" (\n  " + strings.Join(lines, ",\n  ") + "\n) " + t.options)
}

func (t *table) column(name string) *column {
	for i := range t.columns {
		if t.columns[i].name == name {
			return &t.columns[i]
		}
	}
	return nil
}

// inKey says whether a column is part of a unique key or of the identity.
func (t *table) inKey(name string) bool {
	if slices.Contains(t.identity, name) {
		return true
	}
	for _, k := range t.keys {
		for _, c := range k.columns {
			if strings.TrimSuffix(strings.SplitN(c, "(", 2)[0], " ") == name {
				return true
			}
		}
	}
	return false
}

// loose are the columns that are neither keys nor generated.
func (t *table) loose() (columns []column) {
	for _, c := range t.columns {
		if !c.derived && !t.inKey(c.name) {
			columns = append(columns, c)
		}
	}
	return columns
}

// assigned are the columns that are not generated.
func (t *table) assigned() (columns []column) {
	for _, c := range t.columns {
		if !c.derived {
			columns = append(columns, c)
		}
	}
	return columns
}

// uniques are the secondary unique keys.
func (t *table) uniques() (keys []key) {
	for _, k := range t.keys {
		if k.name != "PRIMARY" && !slices.Equal(k.columns, t.identity) {
			keys = append(keys, k)
		}
	}
	return keys
}

// order is an ORDER BY that names one order of the rows.
func (t *table) order() string {
	if len(t.identity) > 0 {
		return strings.Join(t.identity, ", ")
	}
	names := make([]string, 0, len(t.columns))
	for _, c := range t.columns {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

// existing is a condition that is true for one row, the nth of the identity's
// order. Tables without identity have none.
func (t *table) existing(n int) string {
	list := strings.Join(t.identity, ", ")
	return fmt.Sprintf("(%s) = (SELECT %s FROM (SELECT %s FROM %s ORDER BY %s LIMIT 1 OFFSET %d) AS chosen)",
		list, list, list, t.full(), list, n)
}

// clone returns a copy that shares nothing, under another name.
func (t *table) clone(name string) *table {
	c := *t
	c.name = name
	c.columns = slices.Clone(t.columns)
	c.keys = slices.Clone(t.keys)
	c.identity = slices.Clone(t.identity)
	c.indexes = slices.Clone(t.indexes)
	c.constraints = nil
	return &c
}
