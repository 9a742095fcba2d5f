// Package checkpoint keeps, on the target itself, what of a log has been
// applied: in the same transaction as the data it describes, so that both are
// there or neither is, whatever dies.
//
// The schema `lifeboat` holds three tables (docs/format/checkpoint.md):
//
//	checkpoint(id, version, state)  one row; state is JSON, see State
//	chunk(win, chunk)               chunks of the window in flight that are committed
//	setting(name, value)            server variables as they were before the run
//
// A window is announced (its end is written) before its first chunk, and a
// chunk's row commits with its data. So a run that finds a window in flight
// builds the same window and the same chunks again and applies those that are
// missing.
package checkpoint

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// Schema is the name of the database that holds the checkpoint.
const Schema = "lifeboat"

// Version of the stored form. A row of a newer version is refused.
const Version = 1

// Phase says what is in flight.
type Phase string

// The phases. Done is everything up to Next; in the others, what lies between
// Next and End is being applied.
const (
	Idle   Phase = "idle"   // nothing in flight
	Window Phase = "window" // row changes in chunks
	DDL    Phase = "ddl"    // one statement that commits by itself
	Unsafe Phase = "unsafe" // changes that no transaction covers
)

// State is the checkpoint.
// Invariant: every transaction before Next is applied, none at or after End is.
type State struct {
	From     string          `json:"from"`             // the start that the run was given
	Skip     string          `json:"skip,omitempty"`   // GTID set whose transactions are passed over
	Next     binlog.Position `json:"next"`             // begin of what is not known to be applied
	Phase    Phase           `json:"phase"`            // what is in flight
	End      binlog.Position `json:"end"`              // end of what is in flight
	Window   int64           `json:"window"`           // number of the last window, from 1
	Verbatim []string        `json:"verbatim"`         // tables that the window replays verbatim because of earlier events
	ChunkLen int64           `json:"chunk_bytes"`      // size of a chunk of this window
	Before   string          `json:"before,omitempty"` // DDL: fingerprint of the schema before the statement
	GTIDs    string          `json:"gtids"`            // contained before Next: what the target had and what was applied
	Counts   Counts          `json:"counts"`           // of what was applied before Next
	Finished bool            `json:"finished"`         // the run reached its stop
	Until    string          `json:"until,omitempty"`  // that stop, as it was given
	TempTabs []string        `json:"temporary_tables"` // open on the source at Next, lost if the session is

	LeaveOut string    `json:"leave_out,omitempty"` // transactions that are not to be applied, before Next and after it
	Suspects []Suspect `json:"suspects,omitempty"`  // what those before Next have made different
	// Unlike: since one of them, statements may do other things than on the source.
	Unlike bool `json:"unlike,omitempty"`

	Only    string `json:"only,omitempty"`    // databases and tables that are wanted; empty: all
	Emptied bool   `json:"emptied,omitempty"` // the others are empty
	Dropped bool   `json:"dropped,omitempty"` // the others are gone: there is no way on
}

// Suspect is a table, or another object, that is not on the target what it is on
// the source, because a transaction was left out.
type Suspect struct {
	Database string          `json:"database"`       // empty: every table
	Name     string          `json:"name,omitempty"` // empty: the database
	How      How             `json:"how"`
	By       binlog.Position `json:"by"` // begin of the transaction that was left out
}

// How says in what way.
type How string

// The ways. What is Present may be anything; the others are tables.
const (
	Present How = "presence"   // it is there on one side and not on the other
	Defined How = "definition" // it may have other columns: row images do not fit
	Filled  How = "rows"       // it may have other rows
)

// Counts add up over windows and survive restarts.
type Counts struct {
	Transactions int64 `json:"transactions"`
	Changes      int64 `json:"row_changes"`
	NetRows      int64 `json:"net_rows"`
	Windows      int64 `json:"windows"`
	Barriers     int64 `json:"barriers"`
	Bytes        int64 `json:"bytes"`
}

// Execer is a connection or a transaction.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Errors that callers decide on.
var (
	ErrNotFound = errors.New("no checkpoint on this target")
	ErrNewer    = errors.New("the checkpoint was written by a newer version of lifeboat")
)

// Create makes schema and tables if they are missing.
func Create(ctx context.Context, db Execer) error {
	for _, stmt := range []string{
		"CREATE DATABASE IF NOT EXISTS lifeboat",
		`CREATE TABLE IF NOT EXISTS lifeboat.checkpoint (id TINYINT NOT NULL PRIMARY KEY, version INT NOT NULL,
			state LONGBLOB NOT NULL) ENGINE=InnoDB`,
		`CREATE TABLE IF NOT EXISTS lifeboat.chunk (win BIGINT NOT NULL, chunk INT UNSIGNED NOT NULL,
			PRIMARY KEY (win, chunk)) ENGINE=InnoDB`,
		`CREATE TABLE IF NOT EXISTS lifeboat.setting (name VARCHAR(64) CHARACTER SET ascii NOT NULL PRIMARY KEY,
			value VARCHAR(1024) CHARACTER SET utf8mb4 NOT NULL) ENGINE=InnoDB`,
	} {
		if _, err := db.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("create the checkpoint: %w", err)
		}
	}
	return nil
}

// Drop removes the schema.
func Drop(ctx context.Context, db Execer) error {
	_, err := db.ExecContext(ctx, "DROP DATABASE IF EXISTS lifeboat")
	return err
}

// Load reads the checkpoint; ErrNotFound if there is none.
func Load(ctx context.Context, db Execer) (State, error) {
	var s State
	var n int
	err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'lifeboat' AND TABLE_NAME = 'checkpoint'").Scan(&n)
	if err != nil {
		return s, fmt.Errorf("look for a checkpoint: %w", err)
	}
	if n == 0 {
		return s, ErrNotFound
	}
	var version int
	var text string
	err = db.QueryRowContext(ctx, "SELECT version, state FROM lifeboat.checkpoint WHERE id = 1").Scan(&version, &text)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return s, ErrNotFound
	case err != nil:
		return s, fmt.Errorf("read the checkpoint: %w", err)
	case version > Version:
		return s, fault.New(fault.Storage, fmt.Errorf("%w (format %d, this one knows %d)", ErrNewer, version, Version), "go on with that version of lifeboat, or a later one")
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("read the checkpoint: %w", err)
	}
	return s, nil
}

// Save writes the checkpoint, in the caller's transaction if there is one.
func Save(ctx context.Context, db Execer, s State) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	// Hexadecimal, because the session may have any character set and sql_mode:
	// those that the log records for a statement.
	_, err = db.ExecContext(ctx, fmt.Sprintf("REPLACE INTO lifeboat.checkpoint (id, version, state) VALUES (1, %d, X'%x')", Version, text))
	if err != nil {
		return fmt.Errorf("write the checkpoint: %w", err)
	}
	return nil
}

// ChunkDone is the statement that notes a committed chunk. It belongs into the
// chunk's transaction.
func ChunkDone(window int64, chunk uint32) string {
	return fmt.Sprintf("INSERT INTO lifeboat.chunk VALUES (%d,%d)", window, chunk)
}

// Chunks returns which chunks of the window are committed.
func Chunks(ctx context.Context, db Execer, window int64) (map[uint32]bool, error) {
	done := map[uint32]bool{}
	rows, err := db.QueryContext(ctx, "SELECT chunk FROM lifeboat.chunk WHERE win = ?", window)
	if err != nil {
		return nil, fmt.Errorf("read committed chunks: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var n uint32
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		done[n] = true
	}
	return done, rows.Err()
}

// Forget removes the chunk rows of earlier windows.
func Forget(ctx context.Context, db Execer, window int64) error {
	_, err := db.ExecContext(ctx, "DELETE FROM lifeboat.chunk WHERE win < ?", window)
	return err
}

// Remember stores a server variable's value before the run changes it. A value
// that is stored already stays: it is the one from before the first run.
func Remember(ctx context.Context, db Execer, name, value string) error {
	const longest = 1024 // INSERT IGNORE would cut it short
	if len(value) > longest {
		return fmt.Errorf("remember %s: a value of %d bytes is longer than %d", name, len(value), longest)
	}
	_, err := db.ExecContext(ctx, "INSERT IGNORE INTO lifeboat.setting (name, value) VALUES (?, ?)", name, value)
	return err
}

// Remembered returns the stored variables.
func Remembered(ctx context.Context, db Execer) (map[string]string, error) {
	rows, err := db.QueryContext(ctx, "SELECT name, value FROM lifeboat.setting")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	out := map[string]string{}
	for rows.Next() {
		var n, v string
		if err := rows.Scan(&n, &v); err != nil {
			return nil, err
		}
		out[strings.ToLower(n)] = v
	}
	return out, rows.Err()
}
