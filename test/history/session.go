package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
)

// session is one connection and what it is in the middle of.
type session struct {
	*History
	ctx  context.Context
	id   int
	conn *sql.Conn

	open       bool         // in a transaction
	xid        string       // of an XA transaction, or ""
	prepared   bool         // the XA transaction is
	left       int          // statements until it ends
	savepoints int          // s1 to s<n> may exist
	claims     map[int]bool // families the transaction has touched

	format  string // binlog_format
	image   string // binlog_row_image
	temp    bool   // has a temporary table
	failing bool   // its last statement failed
}

// exec runs a statement and says whether the server took it.
func (s *session) exec(query string) bool {
	if s.err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	_, err := s.conn.ExecContext(ctx, query)
	s.entries = append(s.entries, Entry{s.id, query, err})
	if err != nil && !refused(err) {
		s.err = fmt.Errorf("statement %d in session %d: %w\n\t%.500s", len(s.entries)-1, s.id, err, query)
	}
	s.failing = err != nil
	return err == nil
}

func (s *session) execf(format string, args ...any) bool { return s.exec(fmt.Sprintf(format, args...)) }

// number reads one integer; 0 if there is none.
func (s *session) number(query string) (n int) {
	var value sql.NullInt64
	err := s.conn.QueryRowContext(s.ctx, query).Scan(&value)
	if err != nil && !refused(err) && !errors.Is(err, sql.ErrNoRows) {
		s.err = fmt.Errorf("session %d: %w\n\t%s", s.id, err, query)
	}
	return int(value.Int64)
}

func (s *session) close() error { return s.conn.Close() }

// collations tells which of those that we like the server has.
func (s *session) collations() (found []string) {
	wanted := []string{
		"utf8mb4_bin", "utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_unicode_520_ci",
		"latin1_swedish_ci", "latin1_bin", "latin1_german2_ci", "utf8mb3_general_ci",
		"utf16_unicode_ci", "ucs2_general_ci", "ascii_general_ci", "utf8mb4_czech_ci",
		"utf8mb4_0900_ai_ci", "utf8mb4_0900_as_cs", "utf8mb4_0900_as_ci", "utf8mb4_0900_bin", "utf8mb4_de_pb_0900_ai_ci",
		"utf8mb4_nopad_bin", "utf8mb4_general_nopad_ci", "utf8mb4_unicode_nopad_ci",
		"utf8mb4_uca1400_ai_ci", "utf8mb4_uca1400_as_cs", "utf8mb4_uca1400_nopad_ai_ci",
	}
	for _, c := range wanted {
		if s.execf("SET @collation = CONVERT('a' USING %s) COLLATE %s", c[:indexByte(c, '_')], c) {
			found = append(found, c)
		}
	}
	if !s.on[Charsets] {
		found = found[:1]
	}
	return found
}

func indexByte(s string, b byte) int {
	for i := range s {
		if s[i] == b {
			return i
		}
	}
	return len(s)
}

// create makes a family of tables, or none of them if the server refuses one:
// some kinds cannot stand in some tables.
func (s *session) create(family []*table) {
	for i, t := range family {
		if !s.exec(t.create()) {
			for _, made := range family[:i] {
				s.exec("SET foreign_key_checks = 0")
				s.exec("DROP TABLE " + made.full())
				s.exec("SET foreign_key_checks = 1")
			}
			return
		}
	}
	if len(family) == 2 && family[1].columns[len(family[1].columns)-1].name == "v" {
		for _, trigger := range triggers(family[0], family[1]) {
			s.exec(trigger)
		}
	}
	s.tables = append(s.tables, family...)
}

// step is one turn of the session.
func (s *session) step() {
	switch {
	case s.prepared:
		s.endPrepared()
	case s.open && s.left <= 0:
		s.end()
	case s.open:
		s.left--
		s.change()
	default:
		s.choose(s.idleActions())
	}
}

// action is one thing a session may do.
type action struct {
	weight  int
	feature Feature // "" is always on
	run     func()
}

func (s *session) choose(actions []action) {
	total := 0
	for _, a := range actions {
		if a.feature == "" || s.on[a.feature] {
			total += a.weight
		}
	}
	n := s.IntN(total)
	for _, a := range actions {
		if a.feature != "" && !s.on[a.feature] {
			continue
		}
		if n -= a.weight; n < 0 {
			a.run()
			return
		}
	}
}

// idleActions are what a session may do outside a transaction.
func (s *session) idleActions() []action {
	return []action{
		{50, "", s.begin},
		{20, "", s.change},
		{10, "", s.define},
		{5, Swap, s.swap},
		{4, BigTransactions, s.beginBig},
		{4, Statement, func() { s.setFormat("STATEMENT") }},
		{3, Mixed, func() { s.setFormat("MIXED") }},
		{20, "", func() { s.setFormat("ROW") }},
		{4, Context, s.setContext},
		{3, TempTables, s.startTemp},
		{2, Rotate, func() { s.exec("FLUSH BINARY LOGS") }},
		{1, Checksums, func() { s.execf("SET GLOBAL binlog_checksum = %s", pick(s.random, []string{"CRC32", "CRC32", "NONE"})) }},
		{3, Compression, s.setCompression},
		{3, MinimalRows, s.setImage},
		{3, PartialJSON, s.setPartialJSON},
		{3, XA, s.beginXA},
		{2, DDLRoutines, s.call},
		{2, DDLDatabases, func() { s.exec("USE " + pick(s.random, []string{"h1", "h2"})) }},
	}
}

func (s *session) begin() {
	if s.exec(pick(s.random, []string{"BEGIN", "START TRANSACTION", "START TRANSACTION WITH CONSISTENT SNAPSHOT"})) {
		s.open, s.left = true, s.between(1, 12)
	}
}

func (s *session) beginBig() {
	s.begin()
	s.left = s.between(40, 120)
}

func (s *session) beginXA() {
	if s.temp {
		return
	}
	s.xid = s.newName("xa")
	if s.execf("XA START '%s'", s.xid) {
		s.open, s.left = true, s.between(1, 6)
	} else {
		s.xid = ""
	}
}

// end commits or rolls back.
func (s *session) end() {
	rollback := s.on[Rollback] && s.chance(12)
	switch {
	case s.xid != "":
		s.endXA(rollback)
		return
	case rollback:
		s.exec("ROLLBACK")
	default:
		s.exec("COMMIT")
	}
	s.ended()
}

func (s *session) ended() {
	s.open, s.prepared, s.xid, s.savepoints, s.left = false, false, "", 0, 0
	clear(s.claims)
}

// endXA prepares. In MariaDB, COMMIT follows at once: its own appliers cannot
// do anything between the two in one session.
func (s *session) endXA(rollback bool) {
	s.execf("XA END '%s'", s.xid)
	switch {
	case rollback || s.failing:
		s.execf("XA ROLLBACK '%s'", s.xid)
		s.ended()
	case s.chance(30):
		s.execf("XA COMMIT '%s' ONE PHASE", s.xid)
		s.ended()
	case !s.execf("XA PREPARE '%s'", s.xid):
		s.execf("XA ROLLBACK '%s'", s.xid)
		s.ended()
	default:
		s.prepared = true
		if s.o.Flavor == server.MariaDB {
			s.endPrepared()
		}
	}
}

func (s *session) endPrepared() {
	verb := "COMMIT"
	if s.on[Rollback] && s.chance(20) {
		verb = "ROLLBACK"
	}
	s.execf("XA %s '%s'", verb, s.xid)
	s.ended()
}

// change runs one change of rows, or something about savepoints.
func (s *session) change() {
	if s.open && s.xid == "" && s.on[Savepoints] && s.chance(12) {
		s.savepoint()
		return
	}
	if s.format == "STATEMENT" {
		s.choose(s.statementChanges())
	} else {
		s.choose(s.rowChanges())
	}
	if s.failing && s.open && s.xid == "" && s.chance(20) {
		s.exec("ROLLBACK")
		s.ended()
	}
}

func (s *session) savepoint() {
	if s.savepoints > 0 && s.chance(60) {
		s.execf("%s s%d", pick(s.random, []string{"ROLLBACK TO SAVEPOINT", "ROLLBACK TO SAVEPOINT", "RELEASE SAVEPOINT"}), s.between(1, s.savepoints))
		return
	}
	s.savepoints++
	s.execf("SAVEPOINT s%d", s.savepoints)
}

// finish leaves nothing open, and no temporary table: the server would log
// its end at a time of its own.
func (s *session) finish() {
	if s.prepared {
		s.endPrepared()
	}
	if s.open {
		s.end()
	}
	if s.prepared {
		s.endPrepared()
	}
	s.dropTemp()
}

// touch claims the tables for the transaction.
func (s *session) touch(tables ...*table) {
	if s.open {
		for _, t := range tables {
			s.claims[t.family] = true
		}
	}
}

// table returns a table that the session may change now and that is good; nil
// if there is none.
func (s *session) table(good func(*table) bool) *table {
	var list []*table
	for _, t := range s.free(s) {
		// A statement on MyISAM that fails half-way is logged with its error,
		// at which the oracle stops.
		if t.plainEngine && s.format != "ROW" {
			continue
		}
		if good == nil || good(t) {
			list = append(list, t)
		}
	}
	if len(list) == 0 {
		return nil
	}
	t := pick(s.random, list)
	s.touch(t)
	return t
}

func (s *session) setFormat(format string) {
	if s.temp || s.format == format {
		return
	}
	if s.execf("SET SESSION binlog_format = '%s'", format) {
		s.format = format
	}
}

func (s *session) setCompression() {
	if s.o.Flavor == server.MySQL {
		s.execf("SET SESSION binlog_transaction_compression = %s", pick(s.random, []string{"ON", "OFF"}))
		return
	}
	s.execf("SET GLOBAL log_bin_compress = %s", pick(s.random, []string{"ON", "OFF"}))
}

func (s *session) setImage() {
	// Not MariaDB's FULL_NODUP: 11.8.6 logs the inserted rows of an INSERT ...
	// ON DUPLICATE KEY UPDATE with the changed columns alone, and is not
	// repeatable by anything.
	image := pick(s.random, []string{"MINIMAL", "NOBLOB", "FULL", "FULL"})
	if s.execf("SET SESSION binlog_row_image = '%s'", image) {
		s.image = image
	}
}

func (s *session) setPartialJSON() {
	s.execf("SET SESSION binlog_row_value_options = '%s'", pick(s.random, []string{"PARTIAL_JSON", "PARTIAL_JSON", ""}))
}

// setContext changes what a statement's meaning depends on and what the log
// carries with it.
func (s *session) setContext() {
	s.exec(pick(s.random, []string{
		"SET SESSION sql_mode = ''",
		"SET SESSION sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES'",
		"SET SESSION sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO'",
		"SET SESSION sql_mode = 'PIPES_AS_CONCAT,NO_AUTO_VALUE_ON_ZERO'",
		"SET SESSION sql_mode = 'TIME_TRUNCATE_FRACTIONAL'",
		"SET SESSION sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,IGNORE_SPACE'",
		"SET SESSION sql_mode = ''",
		"SET SESSION time_zone = '+05:30'",
		"SET SESSION time_zone = '-11:00'",
		"SET SESSION time_zone = 'SYSTEM'",
		"SET NAMES latin1",
		"SET NAMES utf8mb4",
		"SET NAMES utf8mb4 COLLATE utf8mb4_bin",
		"SET NAMES utf8mb3",
		"SET SESSION collation_connection = 'latin1_german2_ci'",
		"SET SESSION auto_increment_increment = 3, auto_increment_offset = 2",
		"SET SESSION auto_increment_increment = 1, auto_increment_offset = 1",
		"SET SESSION lc_time_names = 'de_DE'",
		"SET SESSION timestamp = 1700000000.123456",
		"SET SESSION timestamp = DEFAULT",
		"SET SESSION explicit_defaults_for_timestamp = " + pick(s.random, []string{"ON", "OFF"}),
		"SET SESSION default_storage_engine = 'InnoDB'",
		"SET SESSION character_set_database = 'latin1'",
	}))
}
