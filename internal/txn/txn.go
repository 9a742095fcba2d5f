// Package txn groups the events of a binary log into whole transactions: the
// units between which a replay may start and stop.
//
// What begins and ends a group, by vendor (MySQL 9.7
// libs/mysql/binlog/event/trx_boundary_parser.cpp; MariaDB 10.11
// sql/log_event.cc, Gtid_log_event, and sql/rpl_gtid.cc):
//
//	MySQL    [GTID | ANONYMOUS_GTID | GTID_TAGGED]
//	         QUERY "BEGIN" … XID | QUERY "COMMIT" | QUERY "ROLLBACK"
//	         TRANSACTION_PAYLOAD, which holds the same
//	         QUERY "XA START" … XA_PREPARE
//	         [INTVAR RAND USER_VAR]… QUERY, alone: DDL, which commits by itself
//	MariaDB  GTID without the standalone flag … XID | QUERY "COMMIT" | "ROLLBACK" | XA_PREPARE
//	         GTID with the standalone flag, then one QUERY with its context
//
// A group never crosses files.
package txn

import (
	"errors"
	"fmt"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Kind says how a transaction has to be replayed.
type Kind uint8

const (
	// Rows: nothing but row changes; may be compacted with others.
	Rows Kind = iota
	// Statements: holds statement-format changes, savepoints that were rolled
	// back to, or ends in ROLLBACK: to be executed alone and in order, in one
	// transaction.
	Statements
	// DDL: commits by itself.
	DDL
	// Empty: changes nothing (e.g. a GTID that was skipped on purpose).
	Empty
)

func (k Kind) String() string {
	return [...]string{"row changes", "statements", "DDL", "empty"}[k]
}

// Transaction is one group of a log.
type Transaction struct {
	Kind       Kind
	ID         gtid.ID // zero if the log has none
	HasID      bool
	Server     uint32 // server_id of the server on which it was committed first
	Head       binlog.GTID
	File       *binlog.File
	Start, End int64 // offsets of the first event and of what follows the last
	Committed  time.Time
	// Events are the group's events without its GTID event, uncompressed.
	Events []binlog.Event
	// RolledBack: the group ends in ROLLBACK; only changes of tables without
	// transactions stay.
	RolledBack bool
	// Refused says why this transaction cannot be replayed; nil if it can.
	Refused error
}

// Position is where the transaction begins.
func (t *Transaction) Position() binlog.Position { return t.File.At(t.Start) }

// EndPosition is where the next one begins.
func (t *Transaction) EndPosition() binlog.Position { return t.File.At(t.End) }

// ErrIncomplete says that the file ends inside a transaction.
var ErrIncomplete = errors.New("the file ends inside a transaction")

// ErrNoBeginning says that the scanner was started inside a transaction, or
// that the log lacks the beginning of one.
var ErrNoBeginning = errors.New("an event of a transaction whose beginning is not here")

// Scanner walks the transactions of one file.
type Scanner struct {
	file  *binlog.File
	r     *binlog.Reader
	in    *binlog.Inflater
	slab  []binlog.Event
	start int  // of the current group in slab
	gtids bool // every group begins with a GTID event

	// Control receives events outside of transactions (PREVIOUS_GTIDS,
	// GTID_LIST, ROTATE, STOP…); may be nil.
	Control func(binlog.Event) error
}

// NewScanner begins at an offset, which must lie between two transactions; 0
// is the beginning of the file.
func NewScanner(f *binlog.File, offset int64, in *binlog.Inflater) *Scanner {
	return &Scanner{file: f, r: f.Events(offset), in: in, gtids: writesGTIDs(f.Format)}
}

// writesGTIDs: MySQL begins every group with a GTID event, be it an anonymous
// one, since 5.7.6 (rpl_gtid.h, Anonymous_gtid), MariaDB since 10.0.
func writesGTIDs(f binlog.Format) bool {
	var major, minor int
	_, _ = fmt.Sscanf(f.ServerVersion, "%d.%d", &major, &minor)
	return major > 5 || f.Flavor == gtid.MySQL && major == 5 && minor >= 7
}

// Offset is the end of what has been read.
func (s *Scanner) Offset() int64 { return s.r.Offset() }

// Next returns the next transaction; ok is false at the end of the file. A
// group that the end of the file cuts off gives ErrIncomplete or
// binlog.ErrTruncated with the group's position; nothing of it is returned.
func (s *Scanner) Next() (t Transaction, ok bool, err error) {
	g := group{s: s, t: Transaction{File: s.file, Start: -1}}
	s.start = len(s.slab)
	for {
		ev, more, err := s.r.Next()
		switch {
		case err != nil && g.t.Start >= 0 && errors.Is(err, binlog.ErrTruncated):
			return t, false, binlog.At(s.file.At(g.t.Start), fmt.Errorf("%w: %w", ErrIncomplete, binlog.ErrTruncated))
		case err != nil:
			return t, false, err
		case !more && g.t.Start >= 0:
			return t, false, binlog.At(s.file.At(g.t.Start), ErrIncomplete)
		case !more:
			return t, false, nil
		}
		done, err := g.add(ev)
		if err != nil {
			return t, false, binlog.At(s.file.At(ev.Offset), err)
		}
		if done {
			g.finish(ev)
			return g.t, true, g.t.checkLength()
		}
	}
}

// checkLength compares the group with what its first event says: bytes that are
// missing in it, or were put in, show here even if all offsets fit.
func (t *Transaction) checkLength() error {
	if want := t.Head.Length; want != 0 && want != t.End-t.Start {
		return binlog.At(t.Position(), fmt.Errorf("%w: a transaction of %d bytes, which says that it has %d", binlog.ErrCorrupt, t.End-t.Start, want))
	}
	return nil
}

// slabSize is how many events share an allocation.
const slabSize = 4096

func (s *Scanner) keep(ev binlog.Event) {
	if len(s.slab) == cap(s.slab) {
		next := make([]binlog.Event, 0, max(slabSize, 2*(len(s.slab)-s.start)))
		s.slab = append(next, s.slab[s.start:]...)
		s.start = 0
	}
	s.slab = append(s.slab, ev)
}

// group is the state while one transaction is read.
type group struct {
	s       *Scanner
	t       Transaction
	began   bool // BEGIN seen, or MariaDB's GTID that stands for it
	hasRows bool
	xa      bool
	maria   bool // a MariaDB GTID opened the group
}

func (g *group) add(ev binlog.Event) (done bool, err error) {
	switch ev.Type {
	case binlog.GTIDEvent, binlog.AnonymousGTID, binlog.GTIDTagged, binlog.MariaGTID:
		return false, g.open(ev)
	case binlog.PreviousGTIDs, binlog.MariaGTIDList, binlog.StartEncryption, binlog.RotateEvent, binlog.StopEvent,
		binlog.BinlogCheckpoint, binlog.TransactionContext, binlog.ViewChange, binlog.IgnorableEvent:
		return false, g.control(ev)
	case binlog.TransactionPayload:
		return g.payload(ev)
	default:
		if !ev.Type.Known() { // marked ignorable, or the reader had refused it
			return false, nil
		}
		return g.event(ev)
	}
}

func (g *group) open(ev binlog.Event) error {
	if g.t.Start >= 0 {
		return fmt.Errorf("%w: %s inside a transaction that began at %d", binlog.ErrCorrupt, ev.Type, g.t.Start)
	}
	head, err := binlog.DecodeGTID(ev.Type, ev.ServerID, ev.Body)
	if err != nil {
		return err
	}
	g.t.Start, g.t.Head, g.t.Server = ev.Offset, head, ev.ServerID
	g.t.ID, g.t.HasID = head.ID, !head.Anonymous
	g.maria = ev.Type == binlog.MariaGTID
	g.began = g.maria && !head.Standalone
	if head.XA {
		g.t.Refused = errXA
	}
	if head.SplitAlter {
		g.t.Refused = errSplitAlter
	}
	return nil
}

var (
	errXA         = errors.New("XA transaction")
	errSplitAlter = errors.New("ALTER TABLE logged in two phases (binlog_alter_two_phase)")
	errLoadData   = errors.New("LOAD DATA in statement format")
)

func (g *group) control(ev binlog.Event) error {
	inside := g.t.Start >= 0
	switch ev.Type {
	case binlog.RotateEvent, binlog.StopEvent, binlog.PreviousGTIDs, binlog.MariaGTIDList, binlog.StartEncryption:
		if inside {
			return fmt.Errorf("%w: %s", ErrIncomplete, ev.Type)
		}
	default:
	}
	if g.s.Control == nil {
		return nil
	}
	return g.s.Control(ev)
}

func (g *group) payload(ev binlog.Event) (done bool, err error) {
	if err := g.begin(ev); err != nil {
		return false, err
	}
	inner, err := g.s.in.Payload(ev)
	if err != nil {
		return false, err
	}
	for i, e := range inner {
		done, err = g.event(e)
		if err != nil {
			return false, err
		}
		if done && i != len(inner)-1 {
			return false, fmt.Errorf("%w: events behind the commit inside a payload", binlog.ErrCorrupt)
		}
	}
	return done, nil
}

// begin marks where the group starts if no GTID event did.
func (g *group) begin(ev binlog.Event) error {
	if g.t.Start >= 0 {
		return nil
	}
	if g.s.gtids {
		return fmt.Errorf("%w: %s", ErrNoBeginning, ev.Type)
	}
	g.t.Start = ev.Offset
	return nil
}

// inside refuses an event that needs BEGIN before it.
func (g *group) inside(ev binlog.Event) error {
	if !g.began {
		return fmt.Errorf("%w: %s", ErrNoBeginning, ev.Type)
	}
	return nil
}

func (g *group) event(ev binlog.Event) (done bool, err error) {
	if err := g.begin(ev); err != nil {
		return false, err
	}
	if ev, err = g.s.in.Inflate(ev); err != nil {
		return false, err
	}
	switch ev.Type {
	case binlog.QueryEvent:
		return g.query(ev)
	case binlog.XIDEvent:
		g.t.Committed = time.Unix(int64(ev.Timestamp), 0)
		return true, g.inside(ev)
	case binlog.XAPrepare:
		g.t.Refused = errXA
		g.t.Committed = time.Unix(int64(ev.Timestamp), 0)
		return true, g.inside(ev)
	case binlog.BeginLoadQuery, binlog.AppendBlockEvent, binlog.DeleteFileEvent:
		g.t.Refused = errLoadData
	case binlog.ExecuteLoadQuery:
		g.t.Refused = errLoadData
		g.t.Kind = Statements
		return !g.began, nil
	case binlog.IntvarEvent, binlog.RandEvent, binlog.UserVarEvent:
	case binlog.RowsQueryEvent, binlog.AnnotateRows:
		return false, nil // the statement's text, for people
	case binlog.TableMapEvent:
		if err := g.inside(ev); err != nil {
			return false, err
		}
	default:
		if ev.Type.Rows() == binlog.NotRows {
			return false, fmt.Errorf("%w: %s inside a transaction", binlog.ErrUnsupported, ev.Type)
		}
		if err := g.inside(ev); err != nil {
			return false, err
		}
		g.hasRows = true
	}
	g.s.keep(ev)
	return false, nil
}

func (g *group) query(ev binlog.Event) (done bool, err error) {
	q, err := binlog.DecodeQuery(ev.Body, 0)
	if err != nil {
		return false, err
	}
	switch verb := Verb(q.SQL); verb {
	case "BEGIN":
		g.began = true
		return false, nil
	case "COMMIT":
		g.t.Committed = queryTime(ev, q)
		return true, g.inside(ev)
	case "ROLLBACK":
		g.t.RolledBack = true
		g.t.Committed = queryTime(ev, q)
		if g.hasRows {
			g.t.Kind = Statements
		}
		return true, g.inside(ev)
	case "SAVEPOINT", "RELEASE SAVEPOINT":
		g.s.keep(ev)
		return false, nil
	case "XA START", "XA BEGIN":
		g.began, g.xa, g.t.Refused = true, true, errXA
		return false, nil
	case "XA END":
		g.t.Refused = errXA
		return false, nil
	case "XA COMMIT", "XA ROLLBACK", "XA PREPARE":
		g.t.Refused = errXA
		g.t.Committed = queryTime(ev, q)
		return true, nil
	}
	g.s.keep(ev)
	if g.began {
		g.t.Kind = Statements
		return false, nil
	}
	g.t.Kind = DDL
	g.t.Committed = queryTime(ev, q)
	return true, nil
}

// finish completes the transaction that ev ended.
func (g *group) finish(ev binlog.Event) {
	t := &g.t
	t.End = ev.End
	t.Events = g.s.slab[g.s.start:len(g.s.slab):len(g.s.slab)]
	g.s.start = len(g.s.slab)
	if !t.Head.CommitTime.IsZero() {
		t.Committed = t.Head.CommitTime
	}
	t.Committed = t.Committed.UTC()
	if t.Kind == Rows && !g.hasRows {
		t.Kind, t.Events = Empty, nil
	}
	if t.Kind == Rows {
		t.Events = withoutSavepoints(t.Events)
	}
}

// withoutSavepoints drops SAVEPOINT statements: where nothing is rolled back to
// them they change nothing. ROLLBACK TO makes the transaction a Statements one.
func withoutSavepoints(events []binlog.Event) []binlog.Event {
	out := events[:0]
	for _, ev := range events {
		if ev.Type != binlog.QueryEvent {
			out = append(out, ev)
		}
	}
	return out
}
