// Package clone copies a MySQL server's InnoDB data with the clone plugin's
// protocol: Lifeboat is the recipient, and writes what the donor sends as a
// stream of records instead of a data directory. Unpack makes the data directory
// later, wherever it is needed.
//
// What happens (MySQL 9.7 plugin/clone/src/clone_client.cc, clone_server.cc,
// storage/innobase/clone/clone0copy.cc):
//
//	COM_CLONE      on two connections: data, and acknowledgements
//	COM_INIT       the donor says what it is, and names the snapshot
//	COM_EXECUTE    the donor sends the snapshot, state by state:
//	  FILE COPY    every file, while its pages change
//	  PAGE COPY    every page that has changed meanwhile; from here on redo is kept
//	  REDO COPY    the redo kept up to the point that the copy is of
//	  DONE
//	COM_ACK        on the other connection, after each state
//	COM_EXIT
//
// The donor goes on writing all the time. The copy is of the moment in which it
// turns from PAGE COPY to REDO COPY, after our acknowledgement: the donor stops
// keeping redo then. It does not say which binary log position or GTID set that
// is. A server that is started on the copy finds out by recovering it (Recovered);
// performance_schema.clone_status of a recipient gets it from there as well. Take
// asks the donor just before and just after that moment, and so knows two points
// between which it is (Taken.After and Taken.Until); Taken.Settle puts the two
// together.
//
// In the copy is what InnoDB has. Tables of other engines are empty in it, and
// binary logs, auto.cnf, mysqld-auto.cnf, keys and certificates are not in it:
// see docs/format/clone.md.
package clone

import (
	"errors"
	"fmt"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Options say what is cloned, and how.
type Options struct {
	// DSN is the donor's data source name of the Go driver. The account needs
	// BACKUP_ADMIN, which the clone plugin asks for, and REPLICATION CLIENT for
	// the position in the binary log.
	DSN string

	// BlockDDL has the donor hold its backup lock as long as the clone lasts, so
	// that DDL waits. Otherwise DDL goes on, and what it does to files is in the
	// stream; but then only the GTIDs tell which point the copy is of (see
	// Taken.Settle), so that DDL of a server without GTIDs waits in any case.
	BlockDDL bool

	// DDLTimeout is how long the donor waits for DDL that runs when the clone
	// begins. Whole seconds. Zero: 5 minutes, as clone_ddl_timeout.
	DDLTimeout time.Duration

	// Silence is how long the donor may say nothing; it sends something every few
	// seconds even while it waits. The donor in turn gives up when w takes nothing
	// for as long. Zero: 2 minutes.
	Silence time.Duration
}

func (o *Options) complete() error {
	if o.DDLTimeout == 0 {
		o.DDLTimeout = 5 * time.Minute
	}
	if o.Silence == 0 {
		o.Silence = 2 * time.Minute
	}
	if o.DDLTimeout < time.Second || o.DDLTimeout > 24*time.Hour || o.Silence < 0 {
		return fmt.Errorf("a DDL timeout of %s (1 s to 24 h) and a silence of %s are no options", o.DDLTimeout, o.Silence)
	}
	return nil
}

// Taken is what a stream holds.
type Taken struct {
	Version string // the donor's, as @@version says it

	// Settings are the donor's variables that a server started on the copy must
	// agree with, by name; docs/format/clone.md has the list.
	Settings map[string]string

	// After and Until enclose the point that the copy is of: whatever After has
	// is in the copy, whatever Until lacks is not.
	After, Until Point

	// DDLBlocked says that DDL waited as long as the clone lasted.
	DDLBlocked bool

	Files int   // of the copy, redo included
	Bytes int64 // of files that came over the wire; pages that changed came again
}

// Point is a place in the history of a server.
type Point struct {
	Position binlog.Position `json:"position"` // zero if the server has no binary log
	GTIDs    gtid.Set        `json:"gtids"`    // executed; of Until also those that sessions were about to commit
}

// Exact reports whether nothing was committed between After and Until, so that
// both are the point of the copy.
func (t *Taken) Exact() bool {
	return t.After.Position == t.Until.Position && t.After.GTIDs.Equal(t.Until.GTIDs)
}

// Settle says which point the copy is of, after a server has been started on it:
// recovered is what it found.
//
// A server that is cloned while DDL goes on may find a position that is too early,
// and show it in performance_schema.clone_status as well: InnoDB notes the position
// of a session with each of its commits, and those that DDL makes on its way note
// that of the session's transaction before it (MySQL 9.7 storage/innobase/trx/
// trx0sys.cc trx_sys_update_mysql_binlog_offset). A replay from there would apply
// what is in the copy already. So the position is told only if DDL was blocked, or
// nothing was committed at the time; otherwise it is zero, and the GTIDs tell.
func (t *Taken) Settle(recovered Point) (Point, error) {
	if !recovered.GTIDs.ContainsSet(t.After.GTIDs) || !t.Until.GTIDs.ContainsSet(recovered.GTIDs) {
		return Point{}, fmt.Errorf("%w: GTIDs %s, not between %s and %s", ErrPoint, recovered.GTIDs, t.After.GTIDs, t.Until.GTIDs)
	}
	switch at := recovered.Position; {
	case t.Exact():
		return t.After, nil
	case !t.DDLBlocked:
		return Point{GTIDs: recovered.GTIDs}, nil
	case before(at, t.After.Position) || before(t.Until.Position, at):
		return Point{}, fmt.Errorf("%w: %s, not between %s and %s", ErrPoint, at, t.After.Position, t.Until.Position)
	}
	return recovered, nil
}

// before orders positions of one server, whose files are numbered with at least
// six digits.
func before(a, b binlog.Position) bool {
	if a.File == b.File {
		return a.Offset < b.Offset
	}
	return len(a.File) < len(b.File) || len(a.File) == len(b.File) && a.File < b.File
}

// Errors that callers decide on.
var (
	// ErrPoint says that a server recovered a point that the copy cannot be of.
	ErrPoint = errors.New("the server was not started on this copy, or recovered another point")
	// ErrDenied says that the account lacks a privilege.
	ErrDenied = errors.New("the account may not clone")
	// ErrNoPlugin says that the server has no clone plugin.
	ErrNoPlugin = errors.New("the server has no clone plugin")
	// ErrBusy says that the donor clones for somebody else, or waited for DDL in
	// vain.
	ErrBusy = errors.New("the server cannot begin a clone now")
	// ErrUnsupported says that the server has what this package cannot bring back.
	ErrUnsupported = errors.New("not supported by the clone driver")
	// ErrProtocol says that the donor sent what the protocol does not allow.
	ErrProtocol = errors.New("clone protocol violated")
	// ErrCorrupt says that a stream is not what Take wrote.
	ErrCorrupt = errors.New("corrupt clone stream")
	// ErrTruncated says that a stream ends before its end.
	ErrTruncated = errors.New("clone stream without its end")
)
