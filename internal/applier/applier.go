// Package applier executes prepared work on N connections of the target.
//
// Row events go through BINLOG '<base64>' statements. Facts about the
// statement that cost a crash or silent loss when ignored
// (../shared/research/binlog-statement.md, tried on MySQL 8.0, 8.4, 9.7 and
// MariaDB 10.11, 11.8) and how they are kept here:
//
//   - a prepared BINLOG crashes mysqld: statements are plain text only;
//   - a session needs the format description once, alone, and MySQL's
//     gtid_next must be set again after it;
//   - in autocommit every statement group commits by itself: always BEGIN;
//   - 1213 rolls the whole transaction back and 1205 only the statement: after
//     any error ROLLBACK, then the whole chunk again.
package applier

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Unit is a bounded piece of work that is applied in one transaction. Its
// statements are made again for each attempt.
type Unit interface {
	// Describe names the unit in errors: table and range.
	Describe() string
	// Groups calls yield with whole groups of events, each to be sent in one
	// BINLOG statement. The slice is valid during the call only.
	Groups(yield func(events []byte) error) error
	// Done is the statement that notes the unit's completion, part of its
	// transaction.
	Done() string
}

// Starter is a Unit that no transaction covers: Started is the statement that
// notes, before it and committed by itself, that it was begun; "" for a unit
// that a transaction does cover. It is not tried again: a rollback does not undo
// what it has done.
type Starter interface{ Started() string }

// Lane is a sequence of units that must be applied in order. Lanes are
// independent of each other.
type Lane []Unit

// Session is a connection that is prepared for BINLOG statements.
type Session struct {
	conn *sql.Conn
	buf  []byte
}

// NewSession takes a connection out of the pool and prepares it. format is the
// log's format description event, made for the target (binlog.Format.ForApply);
// number is the session's own, below MaxSessions.
func NewSession(ctx context.Context, db *sql.DB, srv dbconn.Server, format []byte, number int) (*Session, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the target: %w", err)
	}
	s := &Session{conn: conn}
	err = s.takeLock(ctx, number)
	if err == nil {
		err = s.prepare(ctx, srv, format)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Session) prepare(ctx context.Context, srv dbconn.Server, format []byte) error {
	for _, stmt := range Prologue(srv) {
		if err := s.Exec(ctx, stmt); err != nil {
			return fmt.Errorf("prepare a session: %s: %w", stmt, err)
		}
	}
	if err := s.Binlog(ctx, format); err != nil {
		return fmt.Errorf("send the format description: %w", err)
	}
	if srv.Flavor == gtid.MySQL {
		// The format description leaves gtid_next undetermined.
		if err := s.Exec(ctx, "SET gtid_next = 'AUTOMATIC'"); err != nil {
			return fmt.Errorf("prepare a session: %w", err)
		}
	}
	return nil
}

// Prologue is what every session of a replay sets.
func Prologue(srv dbconn.Server) []string {
	stmts := []string{
		"SET SESSION sql_log_bin = 0", // what is restored is not a change of its own
		"SET NAMES utf8mb3",           // the servers' own character set: a BINLOG text needs no conversion
		"SET SESSION sql_mode = ''",
		"SET SESSION autocommit = 1, completion_type = 'NO_CHAIN'", // a note outside of a transaction is committed, and COMMIT begins none
		"SET SESSION wait_timeout = 604800, net_read_timeout = 3600, net_write_timeout = 3600",
		"SET SESSION long_query_time = 31536000", // the slow log would hold every row
		"SET SESSION transaction_isolation = 'READ-COMMITTED'",
	}
	if srv.Flavor == gtid.MariaDB && !srv.AtLeast(11, 1) {
		stmts[len(stmts)-1] = "SET SESSION tx_isolation = 'READ-COMMITTED'"
	}
	return stmts
}

// Close gives the connection back for good.
func (s *Session) Close() {
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = s.conn.Close()
}

// Conn is the connection, for statements with results.
func (s *Session) Conn() *sql.Conn { return s.conn }

// Exec sends a text statement.
func (s *Session) Exec(ctx context.Context, stmt string) error {
	_, err := s.conn.ExecContext(ctx, stmt)
	return err
}

// Binlog sends events in one BINLOG statement.
func (s *Session) Binlog(ctx context.Context, events []byte) error {
	const head, tail = "BINLOG '", "'"
	n := base64.StdEncoding.EncodedLen(len(events))
	s.buf = append(s.buf[:0], head...)
	if cap(s.buf) < len(head)+n+len(tail) {
		s.buf = append(make([]byte, 0, len(head)+n+len(tail)), head...)
	}
	s.buf = base64.StdEncoding.AppendEncode(s.buf, events)
	s.buf = append(s.buf, tail...)
	// The driver copies the statement into its packet before it returns.
	return s.Exec(ctx, unsafe.String(&s.buf[0], len(s.buf)))
}

// Options of a Pool.
type Options struct {
	// Retries bounds how often a unit is tried again after a deadlock or lock
	// timeout.
	Retries int
	// Applied is called after each committed unit, from several goroutines.
	Applied func(Unit)
	// Trial rolls back instead of committing: to see whether a unit fits.
	Trial bool
}

// Apply runs the lanes over the sessions and returns the first error; then
// nothing more is begun. Units that were committed stay committed.
func Apply(ctx context.Context, sessions []*Session, lanes []Lane, opt Options) error {
	if len(sessions) == 0 && len(lanes) > 0 {
		return errors.New("apply: no session")
	}
	queue := make(chan Lane, len(lanes))
	for _, l := range lanes {
		queue <- l
	}
	close(queue)
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range sessions {
		g.Go(func() error {
			for lane := range queue {
				for _, u := range lane {
					if err := s.apply(ctx, u, opt); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *Session) apply(ctx context.Context, u Unit, opt Options) error {
	retries := opt.Retries
	if started(u) != "" {
		retries = 0 // what it did before the error is not undone
	}
	err := s.Repeat(ctx, retries, func() error { return s.try(ctx, u, opt) })
	if err != nil {
		return fmt.Errorf("apply %s: %w", u.Describe(), err)
	}
	if opt.Applied != nil && !opt.Trial {
		opt.Applied(u)
	}
	return nil
}

// Repeat calls try, which begins a transaction and ends it, and calls it again
// after a deadlock or lock timeout, at most retries times.
func (s *Session) Repeat(ctx context.Context, retries int, try func() error) error {
	for attempt := 0; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := try()
		if err == nil || dbconn.Classify(err) != dbconn.Retry || attempt >= retries {
			return err
		}
		if err := backoff(ctx, attempt); err != nil {
			return err
		}
	}
}

// started is the note of a unit that no transaction covers, "" for others.
func started(u Unit) string {
	if st, ok := u.(Starter); ok {
		return st.Started()
	}
	return ""
}

// backoff waits 1 ms, 2 ms, … up to about a second, with jitter.
func backoff(ctx context.Context, attempt int) error {
	d := time.Millisecond << min(attempt, 10)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d/2 + rand.N(d)): //nolint:gosec // jitter
		return nil
	}
}

func (s *Session) try(ctx context.Context, u Unit, opt Options) error {
	if note := started(u); note != "" && !opt.Trial {
		if err := s.Exec(ctx, note); err != nil {
			return err
		}
	}
	if err := s.Exec(ctx, "BEGIN"); err != nil {
		return err
	}
	err := u.Groups(func(events []byte) error { return s.Binlog(ctx, events) })
	if err == nil && !opt.Trial {
		err = s.Exec(ctx, u.Done())
	}
	if err == nil && !opt.Trial {
		if err = s.Exec(ctx, "COMMIT"); err == nil {
			return nil
		}
	}
	if rerr := s.rollback(ctx); rerr != nil && err == nil {
		err = rerr
	}
	return err
}

// rollback is sent also where the run has been interrupted: an interruption
// between two statements leaves the connection open, and the transaction with
// its locks in it.
func (s *Session) rollback(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return s.Exec(ctx, "ROLLBACK")
}

// IsSchemaMismatch reports whether the server refused a row event because its
// columns are not the table's (ER_SLAVE_CONVERSION_FAILED, which clients see
// as an unknown error only).
func IsSchemaMismatch(err error) bool {
	switch dbconn.Number(err) {
	case 1677, 1535:
		return true
	default:
		return Unknown(err)
	}
}

// Unknown reports whether the server does not say what is wrong
// (ER_UNKNOWN_ERROR).
func Unknown(err error) bool { return dbconn.Number(err) == 1105 }

// Lost reports whether the error means that the connection is gone.
func Lost(err error) bool {
	return err != nil && !errors.Is(err, context.Canceled) && dbconn.Classify(err) == dbconn.Connection
}
