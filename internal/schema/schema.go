// Package schema reads table definitions, keys and foreign keys from the
// target: a binary log names none of them (TABLE_MAP_EVENT's optional metadata
// has the primary key only under binlog_row_metadata=FULL, and unique keys,
// foreign keys and generated columns never). A definition holds from one DDL
// statement to the next, so it is read at each barrier.
package schema

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// Querier is a connection or a pool.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Name is a table's name.
type Name struct{ Database, Table string }

func (n Name) String() string { return n.Database + "." + n.Table }

// Column is a column as the log's row images have it, in their order.
type Column struct {
	Name          string
	DataType      string // information_schema.COLUMNS.DATA_TYPE: int, varchar, …
	ColumnType    string // with length and attributes
	Charset       string // of text columns
	Collation     string
	Length        int // CHARACTER_OCTET_LENGTH; 0 if none
	Chars         int // CHARACTER_MAXIMUM_LENGTH; 0 if none
	Nullable      bool
	Unsigned      bool
	Virtual       bool // generated, not stored
	Generated     bool // stored or virtual
	AutoIncrement bool
}

// KeyPart is a column of a key.
type KeyPart struct {
	Column     int  // ordinal from 0; -1 for an expression
	Prefix     bool // only the beginning of the column counts
	Descending bool
}

// Key is a unique key.
type Key struct {
	Name    string
	Primary bool
	Parts   []KeyPart
	// Plain: whole columns only, found by equality: no prefix, no expression,
	// no hash or period (MariaDB), so that its values can be computed from an image.
	Plain bool
	hash  bool // MariaDB: unique by a hash of long values, which is a column of its own
}

// Table is the definition of a base table.
type Table struct {
	Name
	Engine          string
	Columns         []Column
	Unique          []Key // primary key first
	Partitioned     bool
	Sequence        bool // MariaDB sequence: its rows are set_value calls
	SystemVersioned bool // MariaDB: row_start/row_end have a life of their own
}

// Transactional reports whether the engine takes part in transactions in a way
// that a rollback undoes. Only InnoDB is known to.
func (t *Table) Transactional() bool { return strings.EqualFold(t.Engine, "InnoDB") }

// RowKey is a key that identifies every row: the primary key, else a unique
// key without nullable columns, one that is Plain if there is such. The
// server's own applier finds rows by the primary key too, and without one by the
// first of those unique keys in an order that information_schema does not tell
// (MySQL 9.7 sql/log_event.cc search_key_in_table; MariaDB 10.11
// Rows_log_event::find_key), so that the before image must be whole then.
// nil if there is none.
func (t *Table) RowKey() *Key {
	var found *Key
	for i := range t.Unique {
		k := &t.Unique[i]
		if k.Primary {
			return k
		}
		if t.notNull(k) && (found == nil || k.Plain && !found.Plain) {
			found = k
		}
	}
	return found
}

func (t *Table) notNull(k *Key) bool {
	for _, p := range k.Parts {
		if p.Column < 0 || t.Columns[p.Column].Nullable {
			return false
		}
	}
	return true
}

// ForeignKey is an edge between two tables.
type ForeignKey struct {
	Child, Parent Name
	// Cascades: deleting or updating the parent changes child rows.
	Cascades bool
	Name     string
	// Columns refer to ParentColumns, in this order.
	Columns, ParentColumns []string
}

// Load reads one base table; nil if there is none of this name.
func Load(ctx context.Context, q Querier, n Name) (*Table, error) {
	t := &Table{Name: n}
	found, err := t.loadTable(ctx, q)
	if err != nil || !found {
		return nil, err
	}
	if err := t.loadColumns(ctx, q); err != nil {
		return nil, fmt.Errorf("columns of %s: %w", n, err)
	}
	if err := t.loadKeys(ctx, q); err != nil {
		return nil, fmt.Errorf("keys of %s: %w", n, err)
	}
	return t, nil
}

func (t *Table) loadTable(ctx context.Context, q Querier) (found bool, err error) {
	err = each(ctx, q, `SELECT TABLE_TYPE, COALESCE(ENGINE,''), COALESCE(CREATE_OPTIONS,'') FROM information_schema.TABLES
		WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?`, []any{t.Database, t.Table}, func(rows *sql.Rows) error {
		var typ, options string
		if err := rows.Scan(&typ, &t.Engine, &options); err != nil {
			return err
		}
		found = !strings.HasSuffix(strings.ToUpper(typ), "VIEW")
		t.Sequence = strings.EqualFold(typ, "SEQUENCE")
		t.SystemVersioned = strings.Contains(strings.ToUpper(typ), "SYSTEM VERSIONED")
		t.Partitioned = strings.Contains(options, "partitioned")
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("definition of %s: %w", t.Name, err)
	}
	return found, nil
}

func (t *Table) loadColumns(ctx context.Context, q Querier) error {
	return each(ctx, q, `SELECT COLUMN_NAME, LOWER(DATA_TYPE), LOWER(COLUMN_TYPE), COALESCE(CHARACTER_SET_NAME,''),
		COALESCE(COLLATION_NAME,''), COALESCE(CHARACTER_OCTET_LENGTH,0), COALESCE(CHARACTER_MAXIMUM_LENGTH,0), IS_NULLABLE = 'YES', UPPER(EXTRA)
		FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION`,
		[]any{t.Database, t.Table}, func(rows *sql.Rows) error {
			var c Column
			var extra string
			var length, chars int64
			if err := rows.Scan(&c.Name, &c.DataType, &c.ColumnType, &c.Charset, &c.Collation, &length, &chars, &c.Nullable, &extra); err != nil {
				return err
			}
			c.Length, c.Chars = int(length), int(chars)
			c.Unsigned = strings.Contains(c.ColumnType, " unsigned") && c.DataType != "enum" && c.DataType != "set"
			c.Virtual = strings.Contains(extra, "VIRTUAL GENERATED")
			c.Generated = strings.Contains(extra, "VIRTUAL GENERATED") || strings.Contains(extra, "STORED GENERATED") ||
				strings.Contains(extra, "PERSISTENT")
			c.AutoIncrement = strings.Contains(extra, "AUTO_INCREMENT")
			if strings.Contains(extra, "STORED GENERATED ALWAYS AS ROW") {
				t.SystemVersioned = true
			}
			t.Columns = append(t.Columns, c)
			return nil
		})
}

func (t *Table) loadKeys(ctx context.Context, q Querier) error {
	ordinal := make(map[string]int, len(t.Columns))
	for i, c := range t.Columns {
		ordinal[c.Name] = i
	}
	err := each(ctx, q, `SELECT INDEX_NAME, COALESCE(COLUMN_NAME,''), SUB_PART IS NOT NULL, COALESCE(COLLATION,'A') = 'D', INDEX_TYPE
		FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0
		ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX`, []any{t.Database, t.Table}, func(rows *sql.Rows) error {
		var index, col, indexType string
		var p KeyPart
		if err := rows.Scan(&index, &col, &p.Prefix, &p.Descending, &indexType); err != nil {
			return err
		}
		var ok bool
		if p.Column, ok = ordinal[col]; !ok {
			p.Column = -1
		}
		t.addKeyPart(index, p, strings.EqualFold(indexType, "HASH") && !strings.EqualFold(t.Engine, "MEMORY"))
		return nil
	})
	if err != nil {
		return err
	}
	t.addHashes()
	return t.loadPeriods(ctx, q)
}

// addHashes adds the columns that MariaDB keeps the hashes of long unique
// values in: information_schema does not have them, row images do, behind all
// others (MariaDB 10.11 sql/sql_table.cc, add_hash_field).
func (t *Table) addHashes() {
	n := 0
	for _, k := range t.Unique {
		if k.hash {
			n++
			t.Columns = append(t.Columns, Column{
				Name: fmt.Sprintf("DB_ROW_HASH_%d", n), DataType: "bigint", ColumnType: "bigint(20) unsigned",
				Nullable: true, Unsigned: true, Virtual: true, Generated: true,
			})
		}
	}
}

// loadPeriods finds MariaDB's keys WITHOUT OVERLAPS, in which two values may be
// different and still exclude each other. Only the table's definition as text
// has that; it is asked for where a key ends in two moments.
func (t *Table) loadPeriods(ctx context.Context, q Querier) error {
	moment := func(p KeyPart) bool {
		return p.Column >= 0 && (strings.HasPrefix(t.Columns[p.Column].DataType, "date") || t.Columns[p.Column].DataType == "timestamp")
	}
	if !slices.ContainsFunc(t.Unique, func(k Key) bool {
		n := len(k.Parts)
		return n > 2 && moment(k.Parts[n-1]) && moment(k.Parts[n-2])
	}) {
		return nil
	}
	return each(ctx, q, "SHOW CREATE TABLE "+quote(t.Database)+"."+quote(t.Table), nil, func(rows *sql.Rows) error {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return err
		}
		for i := range t.Unique {
			k := &t.Unique[i]
			head := "UNIQUE KEY " + quote(k.Name) + " ("
			if k.Primary {
				head = "PRIMARY KEY ("
			}
			_, line, _ := strings.Cut(text, "\n  "+head)
			if line, _, _ = strings.Cut(line, "\n"); strings.Contains(line, " WITHOUT OVERLAPS)") {
				k.Plain = false
			}
		}
		return nil
	})
}

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func (t *Table) addKeyPart(index string, p KeyPart, hash bool) {
	n := len(t.Unique)
	if n == 0 || t.Unique[n-1].Name != index {
		t.Unique = append(t.Unique, Key{Name: index, Primary: index == "PRIMARY", Plain: true})
		n++
	}
	k := &t.Unique[n-1]
	k.Parts = append(k.Parts, p)
	k.hash = hash
	if p.Prefix || p.Column < 0 || hash {
		k.Plain = false
	}
}

// LoadForeignKeys reads all foreign keys of the server.
func LoadForeignKeys(ctx context.Context, q Querier) ([]ForeignKey, error) {
	var fks []ForeignKey
	err := each(ctx, q, `SELECT CONSTRAINT_SCHEMA, TABLE_NAME, UNIQUE_CONSTRAINT_SCHEMA, REFERENCED_TABLE_NAME, UPDATE_RULE, DELETE_RULE
		FROM information_schema.REFERENTIAL_CONSTRAINTS`, nil, func(rows *sql.Rows) error {
		var fk ForeignKey
		var parent sql.NullString
		var onUpdate, onDelete string
		if err := rows.Scan(&fk.Child.Database, &fk.Child.Table, &parent, &fk.Parent.Table, &onUpdate, &onDelete); err != nil {
			return err
		}
		fk.Parent.Database = fk.Child.Database
		if parent.Valid && parent.String != "" {
			fk.Parent.Database = parent.String
		}
		fk.Cascades = cascades(onUpdate) || cascades(onDelete)
		fks = append(fks, fk)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("foreign keys: %w", err)
	}
	return fks, nil
}

// LoadReferences reads all foreign keys of the server with their columns.
func LoadReferences(ctx context.Context, q Querier) (fks []ForeignKey, err error) {
	err = each(ctx, q, `SELECT CONSTRAINT_NAME, TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME
		FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_NAME IS NOT NULL
		ORDER BY TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION`, nil, func(rows *sql.Rows) error {
		var fk ForeignKey
		var column, parent string
		if err := rows.Scan(&fk.Name, &fk.Child.Database, &fk.Child.Table, &column, &fk.Parent.Database, &fk.Parent.Table, &parent); err != nil {
			return err
		}
		if n := len(fks); n == 0 || fks[n-1].Name != fk.Name || fks[n-1].Child != fk.Child {
			fks = append(fks, fk)
		}
		last := &fks[len(fks)-1]
		last.Columns, last.ParentColumns = append(last.Columns, column), append(last.ParentColumns, parent)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("columns of foreign keys: %w", err)
	}
	return fks, nil
}

// BaseTables names the tables of a database that hold rows.
func BaseTables(ctx context.Context, q Querier, database string) (names []Name, err error) {
	err = each(ctx, q, `SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES
		WHERE TABLE_SCHEMA = ? AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') ORDER BY 1, 2`, []any{database}, func(rows *sql.Rows) error {
		var n Name
		err := rows.Scan(&n.Database, &n.Table)
		names = append(names, n)
		return err
	})
	return names, err
}

// IndexNames returns the names of a table's indexes.
func IndexNames(ctx context.Context, q Querier, n Name) (names []string, err error) {
	err = each(ctx, q, "SELECT DISTINCT INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
		[]any{n.Database, n.Table}, func(rows *sql.Rows) error {
			var name string
			err := rows.Scan(&name)
			names = append(names, name)
			return err
		})
	return names, err
}

// HasNontransactional reports whether the server has tables whose changes a
// rollback does not undo.
func HasNontransactional(ctx context.Context, q Querier) (bool, error) {
	found := false
	err := each(ctx, q, `SELECT 1 FROM information_schema.TABLES WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') AND ENGINE <> 'InnoDB'
		AND TABLE_SCHEMA NOT IN ('mysql','sys','information_schema','performance_schema') LIMIT 1`, nil, func(*sql.Rows) error {
		found = true
		return nil
	})
	return found, err
}

func cascades(rule string) bool {
	switch strings.ToUpper(rule) {
	case "RESTRICT", "NO ACTION":
		return false
	default: // CASCADE, SET NULL, SET DEFAULT
		return true
	}
}

// Families groups tables that are connected by foreign keys, of which at least
// one cascades: the group's name is its first table in byte order. Tables of
// other groups are not in the map.
func Families(fks []ForeignKey) map[Name]Name {
	parent := map[Name]Name{}
	var find func(n Name) Name
	find = func(n Name) Name {
		p, ok := parent[n]
		if !ok || p == n {
			parent[n] = n
			return n
		}
		root := find(p)
		parent[n] = root
		return root
	}
	for _, fk := range fks {
		a, b := find(fk.Child), find(fk.Parent)
		if less(b, a) {
			a, b = b, a
		}
		parent[b] = a
	}
	cascading := map[Name]bool{}
	for _, fk := range fks {
		if fk.Cascades {
			cascading[find(fk.Child)] = true
		}
	}
	families := map[Name]Name{}
	for n := range parent {
		if root := find(n); cascading[root] {
			families[n] = root
		}
	}
	return families
}

func less(a, b Name) bool {
	return a.Database < b.Database || a.Database == b.Database && a.Table < b.Table
}

func each(ctx context.Context, q Querier, query string, args []any, row func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
