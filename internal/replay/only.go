package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/schema"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// Bringing only some databases and tables back. Tables that are not wanted are
// emptied before the first change, and dropped at the very end. In between all
// data definition is executed, for wanted tables may come of others (CREATE TABLE
// … LIKE), and what is empty is changed in no time and fails for no data. Row
// changes are applied to wanted tables alone. What would have to know the rows
// of the others is refused: statement format, a table that gets a wanted name,
// and foreign keys by which the engine changes wanted rows along with others.

// Only are the databases and tables that are wanted. The zero Only is all.
type Only struct {
	databases map[string]bool
	tables    map[schema.Name]bool
}

// ParseOnly reads a list with commas of DATABASE and DATABASE.TABLE. Names that
// have a comma or dot stand in backticks.
func ParseOnly(s string) (Only, error) {
	o := Only{map[string]bool{}, map[schema.Name]bool{}}
	for rest := s; strings.Trim(rest, ", ") != ""; {
		var parts []string
		var err error
		if parts, rest, err = qualified(strings.TrimLeft(rest, ", ")); err != nil {
			return Only{}, fault.Usagef("--only %s: %v; it takes DATABASE and DATABASE.TABLE, with commas", s, err)
		}
		if ours(parts[0]) {
			return Only{}, fault.Usagef("--only %s: the server's own databases come back in any case", parts[0])
		}
		if len(parts) == 1 {
			o.databases[parts[0]] = true
		} else {
			o.tables[schema.Name{Database: parts[0], Table: parts[1]}] = true
		}
	}
	maps.DeleteFunc(o.tables, func(n schema.Name, _ bool) bool { return o.databases[n.Database] })
	return o, nil
}

// ours are the databases that are the server's, and lifeboat's.
func ours(database string) bool {
	switch strings.ToLower(database) {
	case "mysql", "sys", "information_schema", "performance_schema", "lifeboat":
		return true
	default:
		return false
	}
}

// qualified cuts a name of one or two parts, and the comma behind it.
func qualified(s string) (parts []string, rest string, err error) {
	for {
		var part string
		if strings.HasPrefix(s, "`") {
			var ok bool
			if part, s, ok = strings.Cut(s[1:], "`"); !ok {
				return nil, "", errors.New("a backtick is missing")
			}
		} else {
			n := strings.IndexAny(s, ",.`")
			if n < 0 {
				n = len(s)
			}
			part, s = strings.TrimRight(s[:n], " "), s[n:]
		}
		if part == "" || len(parts) == 2 {
			return nil, "", fmt.Errorf("not a name at %q", s)
		}
		parts = append(parts, part)
		s = strings.TrimLeft(s, " ")
		switch {
		case s == "" || s[0] == ',':
			return parts, s, nil
		case s[0] != '.':
			return nil, "", fmt.Errorf("not a name at %q", s)
		}
		s = s[1:]
	}
}

// All reports whether everything is wanted.
func (o Only) All() bool { return len(o.databases)+len(o.tables) == 0 }

// String is the list in its normal form: equal Onlys have equal strings.
func (o Only) String() string { return strings.Join(o.list(), ",") }

func (o Only) list() (list []string) {
	plain := func(s string) string {
		if strings.ContainsAny(s, ",. ") {
			return "`" + s + "`"
		}
		return s
	}
	for name := range o.databases {
		list = append(list, plain(name))
	}
	for n := range o.tables {
		list = append(list, plain(n.Database)+"."+plain(n.Table))
	}
	slices.Sort(list)
	return list
}

// wants reports whether a table's rows are wanted.
func (o Only) wants(n schema.Name) bool {
	return o.All() || o.databases[n.Database] || o.tables[n]
}

// part reports whether something of a database is wanted, and not all of it.
func (o Only) part(database string) bool {
	for n := range o.tables {
		if n.Database == database {
			return !o.databases[database]
		}
	}
	return false
}

// gone reports whether nothing of a database is wanted.
func (o Only) gone(database string) bool {
	return !o.All() && !ours(database) && !o.databases[database] && !o.part(database)
}

// made are names that a log gives to databases and tables.
type made map[txn.Object]bool

// seeOnly looks at a transaction for what bringing back only a part cannot do.
func (s *fileSurvey) seeOnly(t *txn.Transaction) error {
	if s.only.All() || t.Kind == txn.Rows || t.Kind == txn.Empty {
		return nil
	}
	refuse := func(format string, args ...any) error {
		return fault.New(fault.Refused, fmt.Errorf("--only: the transaction at %s%s", t.Position(), fmt.Sprintf(format, args...)),
			"restore all of it into a directory of its own, and take what you want from there")
	}
	if t.StatementFormat() {
		return refuse(" changes rows in statement format: what it does depends on rows that would not be there")
	}
	sql, database := t.Text()
	for _, pair := range txn.Renames(sql, database) {
		from, to := schema.Name{Database: pair[0].Database, Table: pair[0].Name}, schema.Name{Database: pair[1].Database, Table: pair[1].Name}
		if s.only.wants(from) != s.only.wants(to) {
			return refuse(" gives rows of %s to %s, of which one is wanted and the other is not: name both", from, to)
		}
		s.made[pair[1]] = true
	}
	if strings.HasPrefix(txn.Verb(sql), "CREATE ") {
		for _, o := range txn.Subjects(sql, database) {
			s.made[o] = true
			s.made[txn.Object{Database: o.Database}] = true
		}
	}
	return nil
}

// checkOnly refuses, before anything is written, what a part cannot be brought
// back of.
func (r *runner) checkOnly(ctx context.Context) error {
	if r.only.All() || r.state.Emptied {
		return nil
	}
	for name := range r.only.databases {
		if err := r.known(ctx, schema.Name{Database: name}); err != nil {
			return err
		}
	}
	for n := range r.only.tables {
		if err := r.known(ctx, n); err != nil {
			return err
		}
	}
	if r.srv.Flavor == gtid.MySQL && r.srv.AtLeast(9, 6) {
		return nil // cascades are in the log; if this one's are not, its row changes say so
	}
	fks, err := schema.LoadForeignKeys(ctx, r.control)
	if err != nil {
		return err
	}
	if fk := border(r.only, fks, schema.Families(fks)); fk != nil {
		return borderError(fk)
	}
	return nil
}

// known refuses a name that neither the target has nor the log makes.
func (r *runner) known(ctx context.Context, n schema.Name) error {
	if r.plan.made[txn.Object{Database: n.Database, Name: n.Table}] {
		return nil
	}
	found, err := exists(ctx, r.control, n)
	if err != nil || found {
		return err
	}
	return fault.New(fault.Gap, fmt.Errorf("--only: %s is neither in the backup nor in the log", strings.TrimRight(n.String(), ".")), "is the name right? Upper case counts")
}

// exists reports whether there is a table or view, or, without a table, a database.
func exists(ctx context.Context, q dbconn.Querier, n schema.Name) (bool, error) {
	query, args := "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?", []any{n.Database, n.Table}
	if n.Table == "" {
		query, args = "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", args[:1]
	}
	var count int
	if err := q.QueryRowContext(ctx, query, args...).Scan(&count); err != nil {
		return false, fmt.Errorf("look for %s: %w", n, err)
	}
	return count > 0, nil
}

// border finds a foreign key from a wanted table to one that is not, where the
// engine cascades: by it rows come and go that the log does not have. The other
// way round nothing happens, for what is not wanted is empty.
func border(o Only, fks []schema.ForeignKey, families map[schema.Name]schema.Name) *schema.ForeignKey {
	for i, fk := range fks {
		if _, cascades := families[fk.Child]; cascades && o.wants(fk.Child) && !o.wants(fk.Parent) {
			return &fks[i]
		}
	}
	return nil
}

func borderError(fk *schema.ForeignKey) error {
	return fault.New(fault.Refused, fmt.Errorf("--only: %s refers to %s by a foreign key, and foreign keys of these tables cascade inside the engine: the log does not have what that changes", fk.Child, fk.Parent),
		fmt.Sprintf("name %s as well", fk.Parent))
}

// filter leaves the events out that change rows of tables which are not wanted.
func (o Only) filter(t *txn.Transaction) error {
	if o.All() || t.Kind != txn.Statements {
		return nil
	}
	var kept []binlog.Event
	unwanted := map[uint64]bool{}
	for i := range t.Events {
		ev := t.Events[i]
		switch {
		case ev.Type == binlog.TableMapEvent:
			tm, err := binlog.DecodeTableMap(ev.Body)
			if err != nil {
				return binlog.At(t.File.At(ev.Offset), err)
			}
			id := binlog.TableID(ev.Body)
			if unwanted[id] = !o.wants(schema.Name{Database: tm.Database, Table: tm.Table}); unwanted[id] {
				continue
			}
		case ev.Type.Rows() != binlog.NotRows && unwanted[binlog.TableID(ev.Body)]:
			continue
		}
		kept = append(kept, ev)
	}
	t.Events = kept
	return nil
}

// object is something of the target's.
type object struct {
	schema.Name
	kind string // BASE TABLE, VIEW, PROCEDURE, EVENT, …
}

// unwanted are the objects that are not wanted of some kinds, with a condition
// on information_schema.TABLES.
func (r *runner) unwanted(ctx context.Context, query string) (list []object, err error) {
	rows, err := r.own.Conn().QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var x object
		if err := rows.Scan(&x.Database, &x.Table, &x.kind); err != nil {
			return nil, err
		}
		if !ours(x.Database) && !r.only.wants(x.Name) {
			list = append(list, x)
		}
	}
	return list, rows.Err()
}

// emptyOthers empties tables that are not wanted. From here on the target is of
// use for nothing else: its checkpoint says so first.
func (r *runner) emptyOthers(ctx context.Context) error {
	if r.only.All() || r.state.Emptied {
		return nil
	}
	r.fresh = false // and so nothing is undone
	r.opt.Progress.Begin("emptying tables that are not wanted", 0)
	// Versioned tables and sequences cannot be emptied, and who knows where
	// other engines keep their rows.
	list, err := r.unwanted(ctx, `SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES
		WHERE TABLE_TYPE = 'BASE TABLE' AND ENGINE IN ('InnoDB', 'MyISAM', 'Aria') ORDER BY 1, 2`)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	var statements []string
	for _, x := range list {
		statements = append(statements, "TRUNCATE TABLE "+quoted(x.Name))
	}
	if err := r.unchecked(ctx, statements); err != nil {
		return fmt.Errorf("empty what is not wanted: %w", err)
	}
	r.state.Emptied = true
	return r.save(ctx)
}

// unchecked executes statements without regard to foreign keys.
func (r *runner) unchecked(ctx context.Context, statements []string) error {
	err := r.own.Exec(ctx, "SET SESSION foreign_key_checks = 0")
	for _, stmt := range statements {
		if err != nil {
			return err
		}
		err = r.own.Exec(ctx, stmt)
	}
	return errors.Join(err, r.own.Exec(ctx, "SET SESSION foreign_key_checks = 1"))
}

// dropOthers drops what is not wanted, reports it, and what refers to it.
func (r *runner) dropOthers(ctx context.Context) error {
	r.opt.Progress.Begin("dropping what is not wanted", 0)
	list, err := r.unwanted(ctx, `SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES
		UNION ALL SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE FROM information_schema.ROUTINES
		UNION ALL SELECT EVENT_SCHEMA, EVENT_NAME, 'EVENT' FROM information_schema.EVENTS
		UNION ALL SELECT SCHEMA_NAME, '', 'DATABASE' FROM information_schema.SCHEMATA ORDER BY 1, 2`)
	if err != nil {
		return fmt.Errorf("list what is not wanted: %w", err)
	}
	var statements []string
	for _, x := range list {
		switch {
		case x.kind == "DATABASE" && r.only.gone(x.Database):
			statements = append(statements, "DROP DATABASE "+dbconn.QuoteName(x.Database))
			r.rep.Dropped = append(r.rep.Dropped, x.Database)
		case x.kind != "DATABASE" && r.only.part(x.Database):
			kind := x.kind
			if kind == "BASE TABLE" || kind == "SYSTEM VERSIONED" {
				kind = "TABLE"
			}
			statements = append(statements, "DROP "+kind+" IF EXISTS "+quoted(x.Name))
			r.rep.Dropped = append(r.rep.Dropped, x.String())
		}
	}
	if err := r.unchecked(ctx, statements); err != nil {
		return fmt.Errorf("drop what is not wanted: %w", err)
	}
	return r.dangling(ctx)
}

// dangling notes what is wanted and not there, and what refers to something that
// has been dropped.
func (r *runner) dangling(ctx context.Context) error {
	note := func(format string, args ...any) { r.rep.Notes = append(r.rep.Notes, fmt.Sprintf(format, args...)) }
	for n := range r.only.tables {
		found, err := exists(ctx, r.own.Conn(), n)
		if err != nil {
			return err
		}
		if !found {
			note("%s is wanted, and is not there at this point of the log", n)
		}
	}
	fks, err := schema.LoadReferences(ctx, r.own.Conn())
	if err != nil {
		return err
	}
	for _, fk := range fks {
		if !r.only.wants(fk.Parent) && r.only.wants(fk.Child) {
			note("%s refers by foreign key %s to %s, which has been left out", fk.Child, fk.Name, fk.Parent)
		}
	}
	rows, err := r.own.Conn().QueryContext(ctx, `SELECT 'view', TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS
		UNION ALL SELECT 'trigger', TRIGGER_SCHEMA, TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS
		UNION ALL SELECT 'routine', ROUTINE_SCHEMA, ROUTINE_NAME, COALESCE(ROUTINE_DEFINITION, '') FROM information_schema.ROUTINES
		UNION ALL SELECT 'event', EVENT_SCHEMA, EVENT_NAME, EVENT_DEFINITION FROM information_schema.EVENTS ORDER BY 1, 2, 3`)
	if err != nil {
		return fmt.Errorf("look for what refers to something that was left out: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var kind, database, name string
		var text []byte
		if err := rows.Scan(&kind, &database, &name, &text); err != nil {
			return err
		}
		for _, o := range txn.Mentions(text, database) {
			n := schema.Name{Database: o.Database, Table: o.Name}
			if !ours(database) && (slices.Contains(r.rep.Dropped, n.String()) || slices.Contains(r.rep.Dropped, n.Database)) {
				note("%s %s.%s refers to %s, which has been left out", kind, database, name, n)
				break
			}
		}
	}
	return rows.Err()
}

// finalizePart makes a part of a database ready for use. It is no member of a
// set: its GTID state is empty, so that nothing replicates to it or from it by
// mistake. The checkpoint stays, and says what it is.
func (r *runner) finalizePart(ctx context.Context) error {
	if err := r.dropOthers(ctx); err != nil {
		return err
	}
	var statements []string
	switch {
	case r.srv.Flavor == gtid.MariaDB:
		logBin, err := dbconn.Variable(ctx, r.own.Conn(), "log_bin")
		if err != nil {
			return err
		}
		if strings.EqualFold(logBin, "ON") {
			statements = append(statements, "RESET MASTER")
		}
		statements = append(statements, "SET GLOBAL gtid_slave_pos = ''")
	case r.srv.AtLeast(8, 2):
		statements = append(statements, "RESET BINARY LOGS AND GTIDS")
	default:
		statements = append(statements, "RESET MASTER")
	}
	for _, stmt := range statements {
		if err := r.own.Exec(ctx, stmt); err != nil {
			return fmt.Errorf("%s: %w", stmt, err)
		}
	}
	r.rep.Notes = append(r.rep.Notes, fmt.Sprintf("only %s came back: this is no member of a set, its GTID state is empty, replicas cannot attach; the database lifeboat says what it is", r.only))
	if err := restoreSettings(ctx, r.own.Conn(), r.settings(), true); err != nil {
		return err
	}
	r.state.Dropped = true
	r.rep.Finalized = true
	return r.save(ctx)
}
