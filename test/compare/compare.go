// Package compare takes the state of a server as a value, so that two servers
// can be compared: what should be equal after a replay, and what differs.
//
// A state holds, for every schema of the user's: the definitions of tables,
// views, triggers, routines and events as the server prints them, and of each
// table every row with exact values, sorted, generated columns included, with
// CHECKSUM TABLE as a second opinion. Accounts are part of it too. Lifeboat's
// own schema is not.
//
// AUTO_INCREMENT counters are kept apart from the definitions: numbers that
// were drawn by transactions that were rolled back are in no log, so a target
// may stay behind its source ([Counters]).
package compare

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-sql-driver/mysql"
)

// State is what a server holds.
type State struct {
	Tables  map[string]Table
	Objects map[string]string // "view h1.v1" → its definition, and so on
}

// Table is one table's definition and rows.
type Table struct {
	Definition    string
	AutoIncrement uint64 // 0: none is shown
	Checksum      string
	Columns       []string
	Rows          []string // one line per row, sorted
}

// Counters says how AUTO_INCREMENT counters are compared.
type Counters int

// Ways to compare counters. In AtMost the second state's may be lower.
const (
	Exact Counters = iota
	AtMost
	Ignore
)

// Take reads the state of a server.
func Take(ctx context.Context, db *sql.DB) (State, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return State{}, fmt.Errorf("compare: take: %w", err)
	}
	r := &reader{ctx: ctx, conn: conn, state: State{map[string]Table{}, map[string]string{}}}
	r.read()
	if err := errors.Join(r.err, conn.Close()); err != nil {
		return State{}, fmt.Errorf("compare: take: %w", err)
	}
	return r.state, nil
}

// reader reads a state; after an error it does nothing more.
type reader struct {
	ctx   context.Context
	conn  *sql.Conn
	state State
	err   error

	defaults map[string]string // character set → its default collation
}

// notOurs are the schemas that are the server's, and Lifeboat's checkpoint.
const notOurs = "('mysql', 'sys', 'information_schema', 'performance_schema', 'lifeboat')"

func (r *reader) read() {
	// Values come as they are stored: no conversion, no time zone, and what
	// a definition prints does not depend on the session.
	for _, set := range []string{
		"SET SESSION time_zone = '+00:00', sql_mode = '', sql_quote_show_create = 1, lc_time_names = 'en_US'",
		"SET NAMES binary",
		"SET SESSION group_concat_max_len = 1 << 20",
	} {
		r.exec(set)
	}
	r.defaults = map[string]string{}
	for _, row := range r.rows("SELECT character_set_name, default_collate_name FROM information_schema.character_sets") {
		r.defaults[row[0]] = row[1]
	}
	for _, row := range r.rows("SELECT schema_name, default_character_set_name, default_collation_name FROM information_schema.schemata WHERE schema_name NOT IN " + notOurs) {
		r.state.Objects["schema "+row[0]] = row[1] + " " + row[2]
	}
	for _, row := range r.rows("SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema NOT IN " + notOurs) {
		r.table(row[0], row[1], row[2])
	}
	r.objects()
	r.accounts()
}

func (r *reader) exec(query string) {
	if r.err != nil {
		return
	}
	if _, err := r.conn.ExecContext(r.ctx, query); err != nil {
		r.err = fmt.Errorf("%w\n\t%s", err, query)
	}
}

// each calls a function with each row; NULL is nil. The cells are valid only
// during the call.
func (r *reader) each(query string, do func(cells []sql.RawBytes)) (columns []string) {
	if r.err != nil {
		return nil
	}
	columns, err := r.query(query, do)
	if err != nil {
		r.err = fmt.Errorf("%w\n\t%.1000s", err, query)
	}
	return columns
}

func (r *reader) query(query string, do func(cells []sql.RawBytes)) (columns []string, err error) {
	rows, err := r.conn.QueryContext(r.ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err = rows.Columns()
	if err != nil {
		return nil, err
	}
	cells := make([]sql.RawBytes, len(columns))
	targets := make([]any, len(columns))
	for i := range cells {
		targets[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		do(cells)
	}
	return columns, rows.Err()
}

// rows reads a small result as text.
func (r *reader) rows(query string) (list [][]string) {
	r.each(query, func(cells []sql.RawBytes) {
		row := make([]string, len(cells))
		for i, c := range cells {
			row[i] = string(c)
		}
		list = append(list, row)
	})
	return list
}

// show reads the named column of a SHOW CREATE. What the server cannot show,
// such as a view on a table that is gone, is shown as the server's complaint.
func (r *reader) show(query, column string) (text string) {
	if r.err != nil {
		return ""
	}
	var cell []string
	columns, err := r.query(query, func(cells []sql.RawBytes) {
		cell = make([]string, len(cells))
		for i, c := range cells {
			cell[i] = string(c)
		}
	})
	var refused *mysql.MySQLError
	if errors.As(err, &refused) {
		return refused.Error()
	}
	if err != nil {
		r.err = fmt.Errorf("%w\n\t%s", err, query)
		return ""
	}
	for i, name := range columns {
		if strings.EqualFold(name, column) && cell != nil {
			return cell[i]
		}
	}
	return ""
}

func ident(parts ...string) string {
	quoted := make([]string, len(parts))
	for i, p := range parts {
		quoted[i] = "`" + strings.ReplaceAll(p, "`", "``") + "`"
	}
	return strings.Join(quoted, ".")
}

var counterPattern = regexp.MustCompile(` AUTO_INCREMENT=(\d+)`)

func (r *reader) table(schema, name, sort string) {
	full := ident(schema, name)
	if strings.Contains(sort, "VIEW") {
		r.state.Objects["view "+schema+"."+name] = r.show("SHOW CREATE VIEW "+full, "Create View")
		return
	}
	t := Table{Definition: r.plainCollations(r.show("SHOW CREATE TABLE "+full, "Create Table"))}
	if m := counterPattern.FindStringSubmatch(t.Definition); m != nil {
		t.AutoIncrement, _ = strconv.ParseUint(m[1], 10, 64) // the pattern has digits only
		t.Definition = counterPattern.ReplaceAllString(t.Definition, "")
	}
	// MariaDB's CHECKSUM TABLE reads virtual columns that nobody has computed.
	if sort == "BASE TABLE" && !strings.Contains(t.Definition, "GENERATED ALWAYS AS") {
		t.Checksum = r.show("CHECKSUM TABLE "+full, "Checksum")
	}
	query := "SELECT " + r.exactColumns(schema, name) + " FROM " + full
	if sort == "SYSTEM VERSIONED" {
		query += " FOR SYSTEM_TIME ALL"
	}
	t.Columns = r.each(query, func(cells []sql.RawBytes) {
		t.Rows = append(t.Rows, line(cells))
	})
	slices.Sort(t.Rows)
	r.state.Tables[schema+"."+name] = t
}

var collationPattern = regexp.MustCompile(` CHARACTER SET (\w+) COLLATE (\w+)`)

// plainCollations removes collations that are their character set's default:
// MySQL prints them if they were written in CREATE TABLE, and CREATE TABLE ...
// SELECT is logged with all of them written.
func (r *reader) plainCollations(definition string) string {
	return collationPattern.ReplaceAllStringFunc(definition, func(text string) string {
		m := collationPattern.FindStringSubmatch(text)
		if r.defaults[m[1]] == m[2] {
			return " CHARACTER SET " + m[1]
		}
		return text
	})
}

// exactColumns selects every column, invisible ones too, so that nothing of
// its value is lost.
func (r *reader) exactColumns(schema, table string) string {
	var list []string
	for _, row := range r.rows(fmt.Sprintf("SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = '%s' AND table_name = '%s' ORDER BY ordinal_position", schema, table)) {
		list = append(list, exact(ident(row[0]), row[1])+" AS "+ident(row[0]))
	}
	return strings.Join(list, ", ")
}

func exact(column, dataType string) string {
	switch strings.ToLower(dataType) {
	case "float", "double":
		return column + " * 1e0" // FLOAT alone is printed with six digits
	case "bit", "enum", "set":
		return column + " + 0"
	case "geometry", "point", "geometrycollection", "geomcollection", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon":
		return "HEX(" + column + ")"
	}
	return column
}

// line is one row as text; of long values the digest.
func line(cells []sql.RawBytes) string {
	var b strings.Builder
	for i, c := range cells {
		if i > 0 {
			b.WriteString(" | ")
		}
		switch {
		case c == nil:
			b.WriteString("NULL")
		case len(c) > 64:
			sum := sha256.Sum256(c)
			fmt.Fprintf(&b, "%d bytes %s", len(c), hex.EncodeToString(sum[:8]))
		case utf8.Valid(c) && !strings.ContainsFunc(string(c), unprintable):
			fmt.Fprintf(&b, "%q", c)
		default:
			fmt.Fprintf(&b, "0x%x", []byte(c))
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return !strconv.IsPrint(r) }

// objects reads triggers, routines and events. The times of their creation
// are not part of the state.
func (r *reader) objects() {
	for _, row := range r.rows("SELECT trigger_schema, trigger_name, event_object_schema, event_object_table, action_timing, event_manipulation, action_order, action_statement, sql_mode, definer, character_set_client, collation_connection, database_collation FROM information_schema.triggers WHERE trigger_schema NOT IN " + notOurs) {
		r.state.Objects["trigger "+row[0]+"."+row[1]] = strings.Join(row[2:], " ")
	}
	for _, row := range r.rows("SELECT routine_schema, routine_name, routine_type FROM information_schema.routines WHERE routine_schema NOT IN " + notOurs) {
		title := row[2][:1] + strings.ToLower(row[2][1:])
		r.state.Objects[strings.ToLower(row[2])+" "+row[0]+"."+row[1]] = r.show("SHOW CREATE "+row[2]+" "+ident(row[0], row[1]), "Create "+title)
	}
	for _, row := range r.rows("SELECT event_schema, event_name FROM information_schema.events WHERE event_schema NOT IN " + notOurs) {
		r.state.Objects["event "+row[0]+"."+row[1]] = r.show("SHOW CREATE EVENT "+ident(row[0], row[1]), "Create Event")
	}
}

func (r *reader) accounts() {
	var grantees []string
	for _, row := range r.rows("SELECT user, host FROM mysql.user WHERE user NOT LIKE 'mysql.%' AND user NOT LIKE 'mariadb.%' AND user <> 'root' AND user <> ''") {
		grantees = append(grantees, "'"+row[0]+"'@'"+row[1]+"'")
	}
	for _, g := range grantees {
		text := r.show("SHOW CREATE USER "+g, "CREATE USER for "+strings.ReplaceAll(g, "'", ""))
		for _, row := range r.rows("SHOW GRANTS FOR " + g) {
			text += "\n" + row[0]
		}
		r.state.Objects["account "+g] = text
	}
}
