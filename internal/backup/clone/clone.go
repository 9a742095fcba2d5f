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
// is. Take asks the donor just before and just after that moment, and so knows two
// points between which it is (Taken.After and Taken.Until). A server that is
// started on the copy finds its GTIDs by recovering it (Recovered), and
// Taken.Settle puts the two together.
//
// That server finds a position as well, and performance_schema.clone_status of a
// recipient shows it, but it may be wrong either way. InnoDB notes the position of
// the session with each commit, also with those that it makes on its own in the
// session's thread (MySQL 9.7 storage/innobase/trx/trx0trx.cc
// // trx_sys_update_binlog_position, trx0sys.cc trx_sys_update_mysql_binlog_offset).
// What a transaction does to a full-text index is committed just before the
// transaction is (fts/fts0fts.cc fts_commit_table), and with its position: a replay
// from there leaves the transaction out, as it did in 8 of 12 clones under such
// traffic. And what DDL commits on its way is noted with the position of the
// session's transaction before it. So a position that was recovered is never used.
// Where GTIDs do not tell which point the copy is of, Take has all commits wait at
// that moment, by FLUSH TABLES WITH READ LOCK: both points are the same then.
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
	// the position in the binary log; of a server whose commits have to wait also
	// RELOAD (see Holds).
	DSN string

	// DDLTimeout is how long the donor waits for DDL that runs when the clone
	// begins, and how long Take tries to have commits wait. Whole seconds. Zero: 5
	// minutes, as clone_ddl_timeout.
	DDLTimeout time.Duration

	// Silence is how long the donor may say nothing; it sends something every few
	// seconds even while it waits. The donor in turn gives up when w takes nothing
	// for as long. Zero: 2 minutes.
	Silence time.Duration
}

const defaultSilence = 2 * time.Minute

func (o *Options) complete() error {
	if o.DDLTimeout == 0 {
		o.DDLTimeout = 5 * time.Minute
	}
	if o.Silence == 0 {
		o.Silence = defaultSilence
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

	// Held is how long commits had to wait; of a stream that is read it is zero.
	Held time.Duration

	// After and Until enclose the point that the copy is of: whatever After has
	// is in the copy, whatever Until lacks is not.
	After, Until Point

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
// recovered is what it found. The position is zero unless nothing was committed
// between After and Until; then the GTIDs tell.
func (t *Taken) Settle(recovered Point) (Point, error) {
	if !recovered.GTIDs.ContainsSet(t.After.GTIDs) || !t.Until.GTIDs.ContainsSet(recovered.GTIDs) {
		return Point{}, fmt.Errorf("%w: GTIDs %s, not between %s and %s", ErrPoint, recovered.GTIDs, t.After.GTIDs, t.Until.GTIDs)
	}
	switch {
	case t.Exact():
		return t.After, nil
	case recovered.GTIDs.IsEmpty():
		return Point{}, fmt.Errorf("%w: it is of any point between %s and %s, and no GTIDs tell which", ErrPoint, t.After.Position, t.Until.Position)
	}
	return Point{GTIDs: recovered.GTIDs}, nil
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
