// Package archive keeps the binary logs of a set's servers in repositories,
// within seconds of each commit, and says what is there.
//
// A log is kept as segments: runs of bytes of one file, as the server wrote
// them, each an object of a repository (package repository):
//
//	SET/logs/SERVER/FILE.ID/START-END-HASH   bytes START to END of a file
//	SET/logs/SERVER/FILE.ID/closed-HASH      the file is whole: what it holds, no bytes
//
// SERVER is the server's uuid on MySQL, mariadb-ID on MariaDB, whose servers
// have none. ID is binlog.Format.ID: after RESET MASTER a name begins anew.
// START and END are offsets in the file, 12 digits; a file's first byte, behind
// the magic number, is at 4. What a segment holds stands in its header, which
// is never encrypted (Summary): a host that archives needs no secret key to go
// on where it was.
//
// Who the servers of a set are is kept beside it (SET/members), so that no other
// database is mixed in: Admit lets them in, and Load tells strangers.
//
// Every server is followed by itself, into each repository by itself, so that
// nothing waits for anything else, and several archives of one server do no
// harm: segments may overlap, and what overlaps is the same bytes. Which
// server's log is used is decided when it is read.
package archive

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// Kinds of objects.
const (
	kindSegment = "log-segment"
	kindClosed  = "log-file"
)

// firstOffset is that of a file's first event.
const firstOffset = 4

// Summary says what bytes Start to End of a file hold. In an object it is the
// header's meta, as JSON.
type Summary struct {
	Server  string `json:"server"`
	File    string `json:"file"`
	ID      string `json:"id"`
	Flavor  string `json:"flavor"` // MySQL or MariaDB
	Version string `json:"version"`
	// Begun is when the file was, by the server's clock, which may jump.
	Begun time.Time `json:"begun"`
	Start int64     `json:"start"`
	End   int64     `json:"end"`

	// Boundary is the last offset known at which a transaction, or the file's
	// head, had ended: at most End, and maybe before Start. There a stream can
	// be taken up again.
	Boundary int64 `json:"boundary"`

	// Previous is what the file says of the log before it (PREVIOUS_GTIDS,
	// GTID_LIST). Only with Start 4; nil: it does not say.
	Previous *string `json:"previous,omitempty"`

	// Of the transactions that end in these bytes.
	Transactions int64     `json:"transactions"`
	GTIDs        string    `json:"gtids"`
	First        time.Time `json:"first_commit,omitzero"`
	Last         time.Time `json:"last_commit,omitzero"`

	// Streams is, of MariaDB, the gtid_binlog_state at End, as the file's GTID_LIST
	// and the transactions behind it make it: who has written what, which Previous
	// and GTIDs, being positions, do not say. Empty: not known, or nothing.
	Streams string `json:"streams,omitempty"`

	// Prefix is the CRC-64 (ECMA 182) of all bytes of the file from its first to
	// End, as the server sent them, 16 hexadecimal digits; empty: not known. So
	// each segment also says what those before it were, and no object can be
	// exchanged for another without all that follow.
	Prefix string `json:"prefix_crc64,omitempty"`

	// Next is the file's successor: from its ROTATE, or, where the server died
	// or stopped, from where the source went on. Only of what ends the file.
	Next string `json:"next,omitempty"`

	Archived time.Time `json:"archived"` // by the archiving host's clock
}

// Dir is the directory of a file's objects.
func (s Summary) dir(set string) string {
	return path.Join(logsDir(set), s.Server, s.File+"."+s.ID)
}

func logsDir(set string) string { return set + "/logs" }

func segmentPrefix(start, end int64) string { return fmt.Sprintf("%012d-%012d", start, end) }

// place is where an object belongs, by its name.
type place struct {
	server, file, id string
	closed           bool
	start, end       int64 // of a segment
}

// parseName reads SET/logs/SERVER/FILE.ID/… ; ok is false for anything else.
func parseName(set, name string) (p place, ok bool) {
	rest, ours := strings.CutPrefix(name, logsDir(set)+"/")
	parts := strings.Split(rest, "/")
	if !ours || len(parts) != 3 {
		return place{}, false
	}
	p.server = parts[0]
	dot := strings.LastIndexByte(parts[1], '.')
	if dot < 1 {
		return place{}, false
	}
	p.file, p.id = parts[1][:dot], parts[1][dot+1:]
	fields := strings.Split(parts[2], "-")
	switch {
	case len(fields) == 2 && fields[0] == "closed":
		p.closed = true
		return p, true
	case len(fields) != 3 || len(fields[0]) != 12 || len(fields[1]) != 12:
		return place{}, false
	}
	var errs [2]error
	p.start, errs[0] = strconv.ParseInt(fields[0], 10, 64)
	p.end, errs[1] = strconv.ParseInt(fields[1], 10, 64)
	return p, errs[0] == nil && errs[1] == nil && p.start >= firstOffset && p.end > p.start
}
