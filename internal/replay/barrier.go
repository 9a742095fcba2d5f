package replay

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// serial executes transactions alone and in order, each statement under the
// session state that the log records for it: DDL, statement-format changes,
// and everything else that cannot be compacted with others.
//
// Temporary tables live in sessions: statements that use them (header flag
// LOG_EVENT_THREAD_SPECIFIC_F) run in a session of their own for each thread of
// the source.
type serial struct {
	db      *sql.DB
	srv     dbconn.Server
	format  []byte
	d       dialect
	main    *applier.Session
	threads map[uint32]*thread
	colls   map[uint16]collationName
}

type thread struct {
	s      *applier.Session
	number int
	tables map[string]bool // temporary tables that are open
}

type collationName struct{ name, charset string }

func newSerial(ctx context.Context, db *sql.DB, srv dbconn.Server, format []byte, d dialect) (*serial, error) {
	s := &serial{db: db, srv: srv, format: format, d: d, threads: map[uint32]*thread{}, colls: map[uint16]collationName{}}
	var err error
	if s.main, err = s.session(ctx, sessionMain); err != nil {
		return nil, err
	}
	return s, s.loadCollations(ctx)
}

func (s *serial) session(ctx context.Context, number int) (*applier.Session, error) {
	return applier.NewSession(ctx, s.db, s.srv, s.format, number)
}

// Numbers of sessions: those of threads with temporary tables follow the
// workers'.
const (
	sessionMain = iota
	sessionOwn
	sessionUndo
	sessionWorker
	sessionThread = sessionWorker + maxWorkers
)

// freeNumber finds a number for the session of a thread.
func (s *serial) freeNumber() int {
	used := map[int]bool{}
	for _, t := range s.threads {
		used[t.number] = true
	}
	n := sessionThread
	for used[n] {
		n++
	}
	return n
}

func (s *serial) close() {
	for _, t := range s.threads {
		t.s.Close()
	}
	if s.main != nil {
		s.main.Close()
	}
}

func (s *serial) loadCollations(ctx context.Context) error {
	query := "SELECT ID, COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATIONS WHERE ID IS NOT NULL"
	if s.srv.Flavor == gtid.MariaDB && s.srv.AtLeast(10, 10) {
		query = "SELECT ID, FULL_COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
	}
	rows, err := s.main.Conn().QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("read collations: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id uint16
		var c collationName
		if err := rows.Scan(&id, &c.name, &c.charset); err != nil {
			return err
		}
		s.colls[id] = c
	}
	return rows.Err()
}

// openTemporary names the temporary tables that are open.
func (s *serial) openTemporary() []string {
	var names []string // sorted, so that equal lists compare equal
	for id, t := range s.threads {
		for n := range t.tables {
			names = append(names, fmt.Sprintf("%s (thread %d)", n, id))
		}
	}
	slices.Sort(names)
	return names
}

// sessionFor picks the session of a transaction by its first statement that
// uses temporary tables.
func (s *serial) sessionFor(ctx context.Context, t *txn.Transaction) (*applier.Session, *thread, error) {
	for i := range t.Events {
		ev := &t.Events[i]
		if ev.Type != binlog.QueryEvent || ev.Flags&binlog.FlagThreadSpecific == 0 {
			continue
		}
		q, err := binlog.DecodeQuery(ev.Body, 0)
		if err != nil {
			return nil, nil, err
		}
		th, ok := s.threads[q.ThreadID]
		if !ok {
			number := s.freeNumber()
			ses, err := s.session(ctx, number)
			if err != nil {
				return nil, nil, err
			}
			th = &thread{s: ses, number: number, tables: map[string]bool{}}
			s.threads[q.ThreadID] = th
		}
		return th.s, th, nil
	}
	return s.main, nil, nil
}

// run executes a transaction. before is executed inside it, in front of the
// COMMIT, unless the transaction commits by itself.
//
// skipCreate leaves out the CREATE TABLE of a CREATE TABLE … SELECT, which an
// earlier run has executed.
func (s *serial) run(ctx context.Context, t *txn.Transaction, skipCreate bool, before func(checkpointExecer) error) error {
	ses, th, err := s.sessionFor(ctx, t)
	if err != nil {
		return err
	}
	if t.Kind == txn.DDL {
		err = s.events(ctx, ses, t, false)
	} else {
		err = s.inTransaction(ctx, ses, t, skipCreate, before)
	}
	if err != nil {
		return err
	}
	return s.trackTemporary(t, th)
}

type checkpointExecer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

const serialRetries = 20

func (s *serial) inTransaction(ctx context.Context, ses *applier.Session, t *txn.Transaction, skipCreate bool, before func(checkpointExecer) error) error {
	for attempt := 0; ; attempt++ {
		err := s.attempt(ctx, ses, t, skipCreate, before)
		if err == nil || dbconn.Classify(err) != dbconn.Retry || attempt >= serialRetries || t.CreatesTable() {
			return err
		}
		if rerr := ses.Exec(ctx, "ROLLBACK"); rerr != nil {
			return rerr
		}
	}
}

func (s *serial) attempt(ctx context.Context, ses *applier.Session, t *txn.Transaction, skipCreate bool, before func(checkpointExecer) error) error {
	if err := ses.Exec(ctx, "BEGIN"); err != nil {
		return err
	}
	if err := s.events(ctx, ses, t, skipCreate); err != nil {
		return err
	}
	if t.RolledBack {
		if err := ses.Exec(ctx, "ROLLBACK"); err != nil {
			return err
		}
		return before(ses.Conn())
	}
	if s.srv.Flavor == gtid.MySQL && t.CreatesTable() {
		// No statement of ours may stand behind CREATE TABLE … START TRANSACTION;
		// table and rows commit in one, so the table's being there tells.
		return ses.Exec(ctx, "COMMIT")
	}
	if err := before(ses.Conn()); err != nil {
		return err
	}
	return ses.Exec(ctx, "COMMIT")
}

// events sends a transaction's events in order.
func (s *serial) events(ctx context.Context, ses *applier.Session, t *txn.Transaction, skipCreate bool) error {
	for i := 0; i < len(t.Events); i++ {
		ev := &t.Events[i]
		var err error
		switch ev.Type {
		case binlog.QueryEvent:
			err = s.query(ctx, ses, ev, skipCreate)
		case binlog.IntvarEvent:
			err = s.intvar(ctx, ses, ev)
		case binlog.RandEvent:
			err = s.random(ctx, ses, ev)
		case binlog.UserVarEvent:
			err = s.userVar(ctx, ses, ev)
		case binlog.TableMapEvent:
			n := statementEnd(t.Events[i:])
			err = s.rows(ctx, ses, t.Events[i:i+n])
			i += n - 1
		default:
			err = fmt.Errorf("%w: %s here", binlog.ErrUnsupported, ev.Type)
		}
		if err != nil {
			return binlog.At(t.File.At(ev.Offset), err)
		}
	}
	return nil
}

// statementEnd is the number of table map and rows events of one statement.
func statementEnd(events []binlog.Event) int {
	n := 0
	for n < len(events) && events[n].Type == binlog.TableMapEvent {
		n++
	}
	for n < len(events) && events[n].Type.Rows() != binlog.NotRows {
		n++
	}
	return n
}

func (s *serial) rows(ctx context.Context, ses *applier.Session, events []binlog.Event) error {
	maps := 0
	for maps < len(events) && events[maps].Type == binlog.TableMapEvent {
		maps++
	}
	if maps == len(events) {
		return nil
	}
	tables := make([]*table, maps)
	for i := range tables {
		tables[i] = &table{cascades: true} // foreign keys as logged
	}
	g := groupWriter{encoder: encoder{d: s.d}, maps: events[:maps], tables: tables}
	return g.write(events[maps:], func(group []byte) error { return ses.Binlog(ctx, group) })
}

func (s *serial) query(ctx context.Context, ses *applier.Session, ev *binlog.Event, skipCreate bool) error {
	q, err := binlog.DecodeQuery(ev.Body, 0)
	if err != nil {
		return err
	}
	if skipCreate && txn.IsCreateTable(q.SQL) {
		return nil
	}
	c, err := txn.ParseContext(q.Status)
	if err != nil {
		return err
	}
	for _, stmt := range s.context(ev, &q, &c) {
		if err := ses.Exec(ctx, stmt); err != nil {
			return fmt.Errorf("set the session as the log records it: %s: %w", stmt, err)
		}
	}
	err = ses.Exec(ctx, string(q.SQL))
	if q.ErrorCode != 0 && dbconn.Number(err) == q.ErrorCode {
		return nil // it failed on the source in the same way
	}
	if err != nil {
		return fmt.Errorf("statement %q: %w", excerpt(q.SQL), err)
	}
	if s.srv.Flavor == gtid.MariaDB && txn.IsCreateTable(q.SQL) {
		return ses.Exec(ctx, "BEGIN") // it has committed; rows may follow
	}
	return nil
}

func excerpt(text []byte) string {
	const most = 120
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}

// context returns the SET statements that give the session the state of the
// source's, as sql/log_event.cc (Query_log_event::do_apply_event) does it.
func (s *serial) context(ev *binlog.Event, q *binlog.Query, c *txn.Context) []string {
	var set []string
	add := func(format string, args ...any) { set = append(set, fmt.Sprintf(format, args...)) }
	maria := s.srv.Flavor == gtid.MariaDB
	if c.HasCharset {
		// By name: MariaDB takes no number of a uca1400 collation here.
		add("character_set_client=%s", s.colls[c.ClientCharset].charset)
		add("collation_connection=%d", c.Connection)
		add("collation_server=%d", c.ServerColl)
	}
	add("timestamp=%d.%06d", ev.Timestamp, c.Microseconds)
	add("pseudo_thread_id=%d", q.ThreadID)
	if c.HasFlags {
		add("foreign_key_checks=%d", off(c.NoForeignKeys))
		add("unique_checks=%d", off(c.NoUniqueChecks))
		add("sql_auto_is_null=%d", off(c.NoAutoIsNull))
		if maria {
			add("check_constraint_checks=%d", off(c.NoCheckConstraint))
			if s.srv.AtLeast(10, 5) {
				add("sql_if_exists=%d", 1-off(c.IfExists))
			}
			if s.srv.AtLeast(10, 10) {
				add("explicit_defaults_for_timestamp=%d", 1-off(c.MariaExplicit))
			}
		}
	}
	if c.HasSQLMode {
		add("sql_mode=%d", c.SQLMode&s.knownModes())
	}
	add("auto_increment_increment=%d", max(1, c.AutoIncrement))
	add("auto_increment_offset=%d", max(1, c.AutoIncrementOffset))
	add("time_zone=%s", quoteOr(c.TimeZone, "'SYSTEM'"))
	add("lc_time_names=%d", c.TimeNames)
	if c.HasDatabaseCollation {
		add("collation_database=%d", c.DatabaseCollation)
	} else {
		add("collation_database=DEFAULT")
	}
	if c.HasExplicitDefaults {
		add("explicit_defaults_for_timestamp=%d", c.ExplicitDefaults)
	}
	if !maria {
		set = append(set, s.mysqlContext(c)...)
	} else if len(c.CharacterSetCollations) > 0 {
		add("character_set_collations='%s'", s.charsetCollations(c.CharacterSetCollations))
	}
	stmts := []string{"SET " + strings.Join(set, ", ")}
	if q.Database != "" && ev.Flags&binlog.FlagSuppressUse == 0 {
		stmts = append(stmts, "USE "+dbconn.QuoteName(q.Database))
	}
	return stmts
}

func (s *serial) mysqlContext(c *txn.Context) []string {
	var set []string
	if c.HasDefaultUTF8MB4Collation {
		set = append(set, fmt.Sprintf("default_collation_for_utf8mb4=%d", c.DefaultUTF8MB4Collation))
	}
	if c.HasRequirePrimaryKey {
		set = append(set, fmt.Sprintf("sql_require_primary_key=%d", c.RequirePrimaryKey))
	}
	if c.HasCascadeTriggers {
		set = append(set, fmt.Sprintf("enable_cascade_triggers=%d", c.CascadeTriggers))
	}
	if c.HasDefEncryption && c.DefaultEncryption != 0 {
		set = append(set, fmt.Sprintf("default_table_encryption=%d", c.DefaultEncryption))
	}
	return set
}

// knownModes masks sql_mode bits that the target's version dropped: MySQL 8.0
// has no ORACLE-style combination modes and no NO_AUTO_CREATE_USER
// (sql/system_variables.h, MODE_ALLOWED_MASK).
func (s *serial) knownModes() uint64 {
	if s.srv.Flavor == gtid.MariaDB || !s.srv.AtLeast(8, 0) {
		return math.MaxUint64
	}
	const dropped = 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12 | 1<<13 | 1<<14 | 1<<15 | 1<<16 | 1<<17 | 1<<28
	return ^uint64(dropped)
}

func (s *serial) charsetCollations(pairs []txn.CollationPair) string {
	var out []string
	for _, p := range pairs {
		out = append(out, s.colls[p.Charset].charset+"="+s.colls[p.Collation].name)
	}
	return strings.Join(out, ",")
}

func off(b bool) int {
	if b {
		return 0
	}
	return 1
}

func quoteOr(s, empty string) string {
	if s == "" {
		return empty
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

func (s *serial) intvar(ctx context.Context, ses *applier.Session, ev *binlog.Event) error {
	if len(ev.Body) < 9 {
		return fmt.Errorf("%w: INTVAR_EVENT", binlog.ErrCorrupt)
	}
	v := binary.LittleEndian.Uint64(ev.Body[1:])
	switch ev.Body[0] {
	case 1:
		return ses.Exec(ctx, fmt.Sprintf("SET last_insert_id=%d", v))
	case 2:
		return ses.Exec(ctx, fmt.Sprintf("SET insert_id=%d", v))
	default:
		return fmt.Errorf("%w: INTVAR_EVENT of type %d", binlog.ErrUnsupported, ev.Body[0])
	}
}

func (s *serial) random(ctx context.Context, ses *applier.Session, ev *binlog.Event) error {
	if len(ev.Body) < 16 {
		return fmt.Errorf("%w: RAND_EVENT", binlog.ErrCorrupt)
	}
	return ses.Exec(ctx, fmt.Sprintf("SET rand_seed1=%d, rand_seed2=%d",
		binary.LittleEndian.Uint64(ev.Body), binary.LittleEndian.Uint64(ev.Body[8:])))
}

// userVar: name length 4, name, is-NULL 1, then type 1, collation 4, value
// length 4, value, flags 1 (statement_events.h, User_var_event).
func (s *serial) userVar(ctx context.Context, ses *applier.Session, ev *binlog.Event) error {
	bad := fmt.Errorf("%w: USER_VAR_EVENT", binlog.ErrCorrupt)
	b := ev.Body
	if len(b) < 5 || uint64(len(b)) < uint64(binary.LittleEndian.Uint32(b))+5 {
		return bad
	}
	n := int(binary.LittleEndian.Uint32(b))
	name, b := string(b[4:4+n]), b[4+n:]
	if b[0] != 0 {
		return ses.Exec(ctx, "SET @"+dbconn.QuoteName(name)+" := NULL")
	}
	if len(b) < 10 || uint64(len(b)) < uint64(binary.LittleEndian.Uint32(b[6:]))+10 {
		return bad
	}
	value := b[10 : 10+int(binary.LittleEndian.Uint32(b[6:]))]
	unsigned := len(b) > 10+len(value) && b[10+len(value)]&1 != 0
	text, err := s.literal(b[1], uint16(binary.LittleEndian.Uint32(b[2:])), value, unsigned) //nolint:gosec // collation ids are 16 bits
	if err != nil {
		return fmt.Errorf("user variable %s: %w", name, err)
	}
	return ses.Exec(ctx, "SET @"+dbconn.QuoteName(name)+" := "+text)
}

// literal writes a user variable's value as SQL. Types are Item_result's:
// STRING 0, REAL 1, INT 2, DECIMAL 4.
func (s *serial) literal(typ byte, coll uint16, v []byte, unsigned bool) (string, error) {
	switch {
	case typ == 0:
		c, ok := s.colls[coll]
		if !ok {
			return "", fmt.Errorf("%w: collation %d", binlog.ErrUnsupported, coll)
		}
		return "_" + c.charset + " X'" + hex.EncodeToString(v) + "' COLLATE " + dbconn.QuoteName(c.name), nil
	case typ == 1 && len(v) == 8:
		return strconv.FormatFloat(math.Float64frombits(binary.LittleEndian.Uint64(v)), 'e', 17, 64), nil
	case typ == 2 && len(v) == 8 && unsigned:
		return "CAST(" + strconv.FormatUint(binary.LittleEndian.Uint64(v), 10) + " AS UNSIGNED)", nil
	case typ == 2 && len(v) == 8:
		return strconv.FormatInt(int64(binary.LittleEndian.Uint64(v)), 10), nil //nolint:gosec // as the server stores it
	case typ == 4 && len(v) > 2:
		return decimalText(int(v[0]), int(v[1]), v[2:])
	default:
		return "", fmt.Errorf("%w: type %d of %d bytes", binlog.ErrUnsupported, typ, len(v))
	}
}

// decimalText decodes the server's packed decimal (strings/decimal.c,
// bin2decimal): big endian groups of nine digits in four bytes, the odd digits
// in front of the point and behind it in fewer; the top bit is inverted, and
// all bits of a negative number are.
func decimalText(precision, scale int, b []byte) (string, error) {
	size := [...]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}
	whole := precision - scale
	if whole < 0 || len(b) < whole/9*4+size[whole%9]+scale/9*4+size[scale%9] {
		return "", fmt.Errorf("%w: decimal(%d,%d)", binlog.ErrCorrupt, precision, scale)
	}
	b = append([]byte(nil), b...)
	var out strings.Builder
	if b[0]&0x80 == 0 {
		out.WriteByte('-')
		for i := range b {
			b[i] ^= 0xff
		}
	}
	b[0] ^= 0x80
	group := func(digits int) {
		n := size[digits]
		var v uint32
		for _, c := range b[:n] {
			v = v<<8 | uint32(c)
		}
		b = b[n:]
		fmt.Fprintf(&out, "%0*d", digits, v)
	}
	if whole%9 > 0 {
		group(whole % 9)
	}
	for range whole / 9 {
		group(9)
	}
	if whole == 0 {
		out.WriteByte('0')
	}
	if scale > 0 {
		out.WriteByte('.')
	}
	for range scale / 9 {
		group(9)
	}
	if scale%9 > 0 {
		group(scale % 9)
	}
	return out.String(), nil
}

// trackTemporary notes which temporary tables a session holds, and closes a
// session that holds none any more.
func (s *serial) trackTemporary(t *txn.Transaction, th *thread) error {
	if th == nil {
		return nil
	}
	for i := range t.Events {
		if t.Events[i].Type != binlog.QueryEvent {
			continue
		}
		q, err := binlog.DecodeQuery(t.Events[i].Body, 0)
		if err != nil {
			return err
		}
		created, dropped := txn.TemporaryTables(q.SQL, q.Database)
		for _, n := range created {
			th.tables[n] = true
		}
		for _, n := range dropped {
			delete(th.tables, n)
		}
	}
	if len(th.tables) > 0 {
		return nil
	}
	for id, other := range s.threads {
		if other == th {
			th.s.Close()
			delete(s.threads, id)
		}
	}
	return nil
}

// fingerprint is a hash over everything that a DDL statement can change: which
// objects there are, how they are defined, and the engine's own table ids,
// which change whenever a table is rebuilt, truncated or exchanged. Equal
// fingerprints before and after a crash mean that the statement did not happen.
func fingerprint(ctx context.Context, q dbconn.Querier, srv dbconn.Server) (string, error) {
	h := sha256.New()
	for _, query := range fingerprintQueries(srv) {
		if err := hashRows(ctx, q, query, h); err != nil {
			return "", fmt.Errorf("fingerprint of the schema: %w", err)
		}
	}
	for _, table := range accountTables {
		err := hashRows(ctx, q, "SELECT * FROM mysql."+table+" ORDER BY 1, 2", h)
		if err != nil && dbconn.Number(err) == 0 {
			return "", fmt.Errorf("fingerprint of the accounts: %w", err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// accountTables hold what account statements and the like change. Those that
// this version lacks, or the account may not read, are passed over: before and
// after a crash alike.
var accountTables = []string{
	"user", "global_priv", "global_grants", "db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv",
	"role_edges", "default_roles", "roles_mapping", "servers", "func", "plugin", "component",
}

func fingerprintQueries(srv dbconn.Server) []string {
	const user = "NOT IN ('mysql','sys','information_schema','performance_schema','lifeboat')"
	queries := []string{
		"SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA ORDER BY 1",
		"SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, ROW_FORMAT, TABLE_COLLATION, CREATE_OPTIONS, TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA " + user + " ORDER BY 1, 2",
		"SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_DEFAULT, IS_NULLABLE, COLUMN_TYPE, COLLATION_NAME, EXTRA, COLUMN_COMMENT, GENERATION_EXPRESSION FROM information_schema.COLUMNS WHERE TABLE_SCHEMA " + user + " ORDER BY 1, 2, 4",
		"SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, NON_UNIQUE, SUB_PART, INDEX_TYPE, COMMENT FROM information_schema.STATISTICS WHERE TABLE_SCHEMA " + user + " ORDER BY 1, 2, 3, 4",
		"SELECT CONSTRAINT_SCHEMA, CONSTRAINT_NAME, TABLE_NAME, UPDATE_RULE, DELETE_RULE FROM information_schema.REFERENTIAL_CONSTRAINTS ORDER BY 1, 3, 2",
		"SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION, DEFINER, SECURITY_TYPE FROM information_schema.VIEWS WHERE TABLE_SCHEMA " + user + " ORDER BY 1, 2",
		"SELECT TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_STATEMENT, CREATED, ACTION_ORDER FROM information_schema.TRIGGERS ORDER BY 1, 2",
		"SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, ROUTINE_DEFINITION, CREATED, LAST_ALTERED FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA " + user + " ORDER BY 1, 2, 3",
		"SELECT EVENT_SCHEMA, EVENT_NAME, EVENT_DEFINITION, STATUS, LAST_ALTERED FROM information_schema.EVENTS ORDER BY 1, 2",
		"SELECT TABLE_SCHEMA, TABLE_NAME, PARTITION_NAME, PARTITION_METHOD, PARTITION_DESCRIPTION FROM information_schema.PARTITIONS WHERE PARTITION_NAME IS NOT NULL ORDER BY 1, 2, PARTITION_ORDINAL_POSITION",
		"SELECT CONSTRAINT_SCHEMA, CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS ORDER BY 1, 2, 3",
		"SELECT GRANTEE, PRIVILEGE_TYPE, IS_GRANTABLE FROM information_schema.USER_PRIVILEGES ORDER BY 1, 2",
		"SELECT GRANTEE, TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, PRIVILEGE_TYPE FROM information_schema.COLUMN_PRIVILEGES ORDER BY 1, 2, 3, 4, 5",
		"SELECT GRANTEE, TABLE_SCHEMA, PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES ORDER BY 1, 2, 3",
		"SELECT GRANTEE, TABLE_SCHEMA, TABLE_NAME, PRIVILEGE_TYPE FROM information_schema.TABLE_PRIVILEGES ORDER BY 1, 2, 3, 4",
	}
	if srv.Flavor == gtid.MariaDB {
		return append(queries, "SELECT NAME, TABLE_ID FROM information_schema.INNODB_SYS_TABLES ORDER BY 1")
	}
	return append(queries, "SELECT NAME, TABLE_ID FROM information_schema.INNODB_TABLES ORDER BY 1")
}

type hasher interface{ Write(p []byte) (int, error) }

func hashRows(ctx context.Context, q dbconn.Querier, query string, h hasher) error {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	cols, err := rows.Columns()
	if err != nil {
		return err
	}
	cells := make([]sql.RawBytes, len(cols))
	ptrs := make([]any, len(cols))
	for i := range cells {
		ptrs[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(ptrs...); err != nil {
			return err
		}
		for _, c := range cells {
			_, _ = fmt.Fprintf(h, "%d:%s,", len(c), c)
		}
	}
	return rows.Err()
}
