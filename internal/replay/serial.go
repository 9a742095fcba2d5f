package replay

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/schema"
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
	// Some tables may be without their rows: then part is set, foreign keys are
	// not checked, and cascades says of which tables the engine needs them all the
	// same.
	part     bool
	inside   bool // tables have their files in the data directory: Options.Restored
	cascades func(schema.Name) bool
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

// run executes a transaction. before is executed inside it, in front of the
// COMMIT, unless the transaction commits by itself.
//
// again says that an earlier run was interrupted in this transaction, and its
// statement has had an effect: the CREATE TABLE of a CREATE TABLE … SELECT is
// left out, and a statement that works piece by piece may find pieces done.
func (s *serial) run(ctx context.Context, t *txn.Transaction, again bool, before func(checkpoint.Execer) error) error {
	ses, th, err := s.sessionFor(ctx, t)
	if err != nil {
		return err
	}
	if t.Kind == txn.DDL {
		err = s.events(ctx, ses, t, again)
	} else {
		err = s.inTransaction(ctx, ses, t, again, before)
	}
	if err != nil {
		return err
	}
	return s.trackTemporary(t, th)
}

const serialRetries = 20

func (s *serial) inTransaction(ctx context.Context, ses *applier.Session, t *txn.Transaction, again bool, before func(checkpoint.Execer) error) error {
	retries := serialRetries
	if t.CreatesTable() {
		retries = 0 // the table would be in the way
	}
	return ses.Repeat(ctx, retries, func() error {
		err := s.attempt(ctx, ses, t, again, before)
		if err == nil || dbconn.Classify(err) != dbconn.Retry {
			return err
		}
		if rerr := ses.Exec(ctx, "ROLLBACK"); rerr != nil {
			return rerr
		}
		return err
	})
}

func (s *serial) attempt(ctx context.Context, ses *applier.Session, t *txn.Transaction, again bool, before func(checkpoint.Execer) error) error {
	if err := ses.Exec(ctx, "BEGIN"); err != nil {
		return err
	}
	if err := s.events(ctx, ses, t, again); err != nil {
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
func (s *serial) events(ctx context.Context, ses *applier.Session, t *txn.Transaction, again bool) error {
	for i := 0; i < len(t.Events); i++ {
		ev := &t.Events[i]
		var err error
		switch ev.Type {
		case binlog.QueryEvent:
			err = s.query(ctx, ses, ev, again)
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
		if !s.part {
			continue
		}
		tm, err := binlog.DecodeTableMap(events[i].Body)
		if err != nil {
			return err
		}
		tables[i].cascades = s.cascades(schema.Name{Database: tm.Database, Table: tm.Table})
	}
	g := groupWriter{encoder: encoder{d: s.d}, maps: events[:maps], tables: tables}
	return g.write(events[maps:], func(group []byte) error { return ses.Binlog(ctx, group) })
}

func (s *serial) query(ctx context.Context, ses *applier.Session, ev *binlog.Event, again bool) error {
	q, err := binlog.DecodeQuery(ev.Body, 0)
	if err != nil {
		return err
	}
	if again && txn.IsCreateTable(q.SQL) {
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
	if again && pieceDone[dbconn.Number(err)] {
		return nil
	}
	if err != nil {
		return fmt.Errorf("statement %q: %w", excerpt(q.SQL), err)
	}
	if s.srv.Flavor == gtid.MariaDB && txn.IsCreateTable(q.SQL) {
		return ses.Exec(ctx, "BEGIN") // it has committed; rows may follow
	}
	return nil
}

// pieceDone are the errors of a statement that works piece by piece and finds
// pieces done: no such database, table, user, grant, sequence or view; user
// exists; no such role, role not granted (errmsg files of both vendors).
var pieceDone = map[uint16]bool{1008: true, 1051: true, 1141: true, 1147: true, 1269: true, 1396: true, 1403: true, 1959: true, 1962: true, 4091: true, 4092: true}

func excerpt(text []byte) string {
	const most = 120
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}
