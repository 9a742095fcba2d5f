package inspect

import "time"

// SchemaVersion is that of the report. A new field does not change it; a field
// that goes, or means something else, does.
const SchemaVersion = 1

// Report is what the logs hold between From and To. Positions are
// FILE:POSITION, as --from and --until of a replay take them; sizes are in
// bytes, times in UTC.
type Report struct {
	SchemaVersion int `json:"schema_version"`
	// Complete: everything asked for was read. If not, an error tells why, and
	// the report covers what lies before it.
	Complete bool   `json:"complete"`
	Vendor   string `json:"vendor"` // mysql or mariadb
	Files    []File `json:"files"`  // in the order of the log
	From     string `json:"from"`
	To       string `json:"to"` // the first position that does not count
	Bytes    int64  `json:"bytes"`
	// FirstCommit and LastCommit are the earliest and the latest time of a
	// commit; MySQL logs it in microseconds from 8.0 on, others in seconds.
	FirstCommit time.Time `json:"first_commit,omitzero"`
	LastCommit  time.Time `json:"last_commit,omitzero"`
	GTIDs       GTIDs     `json:"gtids"`

	Transactions Transactions `json:"transactions"`
	Changes                   // of all tables
	Windows      int64        `json:"windows"` // runs of transactions that a replay may merge
	Tables       []Table      `json:"tables"`  // largest first
	Largest      []Large      `json:"largest"` // transactions, largest first

	Found *Found `json:"found,omitempty"` // nil: nothing was looked for

	Barriers   []Construct `json:"barriers"` // executed alone, in order; most frequent first
	Verbatim   []Construct `json:"verbatim"` // replayed as logged, not merged
	Refused    []Construct `json:"refused"`  // cannot be replayed
	Incomplete *Incomplete `json:"incomplete,omitempty"`
	Notes      []string    `json:"notes,omitempty"`

	Memory  Memory  `json:"memory"`
	Seconds float64 `json:"seconds"`
}

// File is one binary log file.
type File struct {
	Name          string    `json:"name"`
	Bytes         int64     `json:"bytes"`
	ServerVersion string    `json:"server_version"`
	ServerID      uint32    `json:"server_id"`
	Checksums     bool      `json:"checksums"` // every event has a CRC32
	Read          bool      `json:"read"`      // false: lies before From or behind To
	Transactions  int64     `json:"transactions"`
	FirstCommit   time.Time `json:"first_commit,omitzero"` // the earliest
	LastCommit    time.Time `json:"last_commit,omitzero"`  // the latest
	// End is how the file ends: "rotate" (continued in the next file), "stop"
	// (the server was shut down), "open" (marked as being written) or "none" (the
	// server died, or the end is missing).
	End  string `json:"end"`
	Next string `json:"next,omitempty"` // the name of the next file, if the end says it
}

// GTIDs are the identifiers of the transactions.
type GTIDs struct {
	// Before is what the log says was before From; empty where it has no GTIDs.
	Before string `json:"before"`
	// Set holds those of the transactions. MariaDB: the last one of each domain.
	Set       string `json:"set"`
	First     string `json:"first,omitempty"` // in the order of the log
	Last      string `json:"last,omitempty"`
	Anonymous int64  `json:"anonymous"` // transactions without one
}

// Transactions counts by how a replay treats them; the kinds add up to Total.
type Transactions struct {
	Total      int64 `json:"total"`
	Rows       int64 `json:"rows"` // nothing but row changes: may be merged with others
	DDL        int64 `json:"ddl"`
	Statements int64 `json:"statements"` // with statement-format changes, or rolled back in part
	Refused    int64 `json:"refused"`
	Empty      int64 `json:"empty"`
}

// Changes counts row changes and what net change leaves of them.
type Changes struct {
	RowsEvents int64 `json:"rows_events"`
	Inserts    int64 `json:"inserts"`
	Updates    int64 `json:"updates"`
	Deletes    int64 `json:"deletes"`
	// EventBytes is the size of table map and rows events, uncompressed.
	EventBytes int64 `json:"event_bytes"`
	// NetRows is how many rows a replay by net change writes; see the package
	// comment for what is estimated.
	NetRows Range `json:"net_rows"`
}

// Rows is the number of row changes.
func (c *Changes) Rows() int64 { return c.Inserts + c.Updates + c.Deletes }

// Saved is the share of the row changes that net change saves, from 0 to 1. (A
// change of a key is two net rows, so that there may be more of them.)
func (c *Changes) Saved() (least, most float64) {
	if c.Rows() == 0 {
		return 0, 0
	}
	of := func(net int64) float64 { return max(0, 1-float64(net)/float64(c.Rows())) }
	return of(c.NetRows.Most), of(c.NetRows.Least)
}

// Range is a number that is known to lie between two bounds.
type Range struct {
	Least int64 `json:"least"`
	Most  int64 `json:"most"`
}

// Table is what happened to one table.
type Table struct {
	Database     string `json:"database"`
	Name         string `json:"table"`
	Transactions int64  `json:"transactions"`
	Changes
	// By is how its rows were told apart: "key" (the log names the primary key),
	// "contents" (full row images), "both" or "none" (nothing was merged).
	By string `json:"by"`
	// Estimates says why NetRows is not exact. "keys": deleted and inserted rows
	// may have the same key. "partial images": row images without some columns.
	// "identical rows": there were rows of equal contents. "memory": --memory did
	// not suffice. "unknown column type": rows could not be counted.
	Estimates []string `json:"estimates,omitempty"`
}

// Large is one of the largest transactions.
type Large struct {
	Position  string       `json:"position"`
	End       string       `json:"end_position"`
	GTID      string       `json:"gtid,omitempty"`
	Committed time.Time    `json:"committed,omitzero"`
	Bytes     int64        `json:"bytes"` // in the file, compressed as it is there
	Rows      int64        `json:"rows"`  // row changes
	Tables    []TableCount `json:"tables"`
}

// TableCount is a table with its row changes in one transaction.
type TableCount struct {
	Table string `json:"table"` // database.table
	Rows  int64  `json:"rows"`
}

// Construct is something in the log that is not simply merged, with how often
// and where it was seen.
type Construct struct {
	// Kind of a barrier: "DDL" or "statements"; else empty.
	Kind string `json:"kind,omitempty"`
	// What it is: a statement's first words, or the reason.
	What     string    `json:"what"`
	Table    string    `json:"table,omitempty"` // database.table
	Count    int64     `json:"count"`           // transactions; verbatim: rows events
	Examples []Example `json:"examples"`        // the first ones
}

// Example is one place of a Construct.
type Example struct {
	Position string `json:"position"`
	Text     string `json:"text,omitempty"` // the statement's beginning, white space folded
}

// Incomplete is a transaction that the end of the log cuts off. It does not
// count anywhere else.
type Incomplete struct {
	Position string `json:"position"`
	Bytes    int64  `json:"bytes"` // of it that are there
	Reason   string `json:"reason"`
}

// Memory is what following rows took.
type Memory struct {
	Limit int64 `json:"limit"` // for following rows: half of --memory
	Peak  int64 `json:"peak"`
}
