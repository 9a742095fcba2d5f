package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// Table is what one table holds, in short.
type Table struct {
	Rows       int64
	Checksum   string // CHECKSUM TABLE: over all values of all rows, in any order
	Definition string // SHOW CREATE TABLE, without the AUTO_INCREMENT counter
}

// State is what the shop holds, by table.
type State map[string]Table

func (s State) rows() (n int64) {
	for _, t := range s {
		n += t.Rows
	}
	return n
}

// Comparison is one table before the disaster and after the recovery.
type Comparison struct {
	Table      string `json:"table"`
	RowsBefore int64  `json:"rows_before"`
	RowsAfter  int64  `json:"rows_after"`
	Before     string `json:"checksum_before"` // empty: there was no such table
	After      string `json:"checksum_after"`  // empty: there is no such table
	Equal      bool   `json:"equal"`
	Why        string `json:"why,omitempty"` // what is different
}

// Compare sets two states side by side, table by table.
func Compare(before, after State) []Comparison {
	names := slices.AppendSeq(slices.Collect(maps.Keys(before)), maps.Keys(after))
	slices.Sort(names)
	var list []Comparison
	for _, name := range slices.Compact(names) {
		b, a := before[name], after[name]
		why := difference(b, a)
		list = append(list, Comparison{name, b.Rows, a.Rows, b.Checksum, a.Checksum, why == "", why})
	}
	return list
}

func difference(before, after Table) string {
	switch {
	case after.Definition == "":
		return "lost"
	case before.Definition == "":
		return "was not there"
	case before.Rows != after.Rows:
		return "other rows"
	case before.Checksum != after.Checksum:
		return "other values"
	case before.Definition != after.Definition:
		return "other definition"
	default:
		return ""
	}
}

func unequal(list []Comparison) (n int) {
	for _, c := range list {
		if !c.Equal {
			n++
		}
	}
	return n
}

// takeState reads all of the shop.
func takeState(ctx context.Context, i *server.Instance) (s State, err error) {
	err = withDB(i, schemaName, func(db *sql.DB) error {
		s, err = readState(ctx, db)
		return err
	})
	return s, err
}

func readState(ctx context.Context, db *sql.DB) (State, error) {
	names, err := tableNames(ctx, db)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("the schema " + schemaName + " has no tables")
	}
	s := State{}
	for _, name := range names {
		if s[name], err = readTable(ctx, db, name); err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
	}
	return s, nil
}

func tableNames(ctx context.Context, db *sql.DB) (names []string, err error) {
	rows, err := db.QueryContext(ctx, "SHOW TABLES")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

var counter = regexp.MustCompile(` AUTO_INCREMENT=\d+`)

func readTable(ctx context.Context, db *sql.DB, name string) (t Table, err error) {
	var what string
	var sum sql.NullString // NULL with a warning when the table cannot be read
	if err := db.QueryRowContext(ctx, "CHECKSUM TABLE `"+name+"`").Scan(&what, &sum); err != nil {
		return t, err
	}
	if !sum.Valid {
		return t, errors.New("the server gives no checksum")
	}
	t.Checksum = sum.String
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM `"+name+"`").Scan(&t.Rows); err != nil {
		return t, err
	}
	err = db.QueryRowContext(ctx, "SHOW CREATE TABLE `"+name+"`").Scan(&what, &t.Definition)
	t.Definition = counter.ReplaceAllString(t.Definition, "")
	return t, err
}
