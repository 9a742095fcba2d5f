// Package stream follows a server's binary log over the replication protocol,
// as a replica does, and hands out the bytes of its files.
//
// What the source sends (MySQL 9.7 sql/rpl_binlog_sender.cc; MariaDB 10.11
// sql/sql_repl.cc), and what becomes of it:
//
//	ROTATE, artificial          begin of a file, or of the stream: name and offset
//	FORMAT_DESCRIPTION          at offset 4 a part of the file; at other offsets
//	                            made up by the source, which only tells the format
//	HEARTBEAT                   nothing new for a while
//	other artificial events     made up by the source (MariaDB's GTID_LIST when the
//	                            stream begins inside a file): not a part of the file
//	everything else             the next bytes of the file
//
// The bytes are those of the source's file, but for the in-use flag in the
// FORMAT_DESCRIPTION, which the source clears before it sends it, as it does
// itself when it closes the file.
//
// Every event is checked before it is handed out: its checksum, where the file
// has them, and its place. An event that does not begin where the one before it
// ended is an error (ErrHole) and never a hole in silence.
package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// Options say whose log is followed, and from where.
type Options struct {
	DSN  string // data source name of the Go driver
	From binlog.Position

	// After, of MariaDB, is a GTID position: instead of From, the stream is what
	// comes behind it, in whichever files. Pieces tell no offsets of the files
	// then, and the source may leave out events between them.
	After string

	// ServerID is the replica that the source sees. Two of one number disturb
	// each other. Zero: a random one of 2^31 to 2^32-1.
	ServerID uint32

	// Heartbeat is how often the source says that nothing is new. Zero: 5 s.
	// A source that is silent for three of them is taken for dead.
	Heartbeat time.Duration
}

const defaultHeartbeat = 5 * time.Second

// silence is after how many heartbeats' time a source counts as dead.
const silence = 3

// Piece is what came next.
type Piece struct {
	Kind   Kind
	File   string       // name of the file on the source
	Offset int64        // where Raw begins; for Begin, where the file is entered
	Event  binlog.Event // of kind Bytes
	Raw    []byte       // of kind Bytes: the whole event. Valid until the next call
}

// Kind says what a Piece is.
type Kind int

// The kinds.
const (
	Idle  Kind = iota // nothing for the file: a heartbeat, or an event made up by the source
	Begin             // a file is entered
	Bytes             // the next event of the file
)

// Errors that callers decide on.
var (
	// ErrHole says that the source left bytes of its file out.
	ErrHole = errors.New("the source left out a part of its log")
	// ErrPurged says that the source has the file no more.
	ErrPurged = errors.New("the source does not have this file any more")
	// ErrNoGTID says that the source's log does not have a GTID, or not any more.
	ErrNoGTID = errors.New("the source's log does not have this GTID")
	// ErrPosition says that the source's file is shorter, or another one.
	ErrPosition = errors.New("the source's file does not have this position")
	// ErrTorn says that the source finds no whole event there: its file is
	// damaged, or ends in a part of one since it died.
	ErrTorn = errors.New("the source's file has no whole event there")
	// ErrDenied says that the account may not read the log.
	ErrDenied = errors.New("the account may not read the binary log")
)

// Stream is a connection that receives a log. It is for one goroutine, but for
// Close.
type Stream struct {
	wire *wire
	walk walker
}

// Open connects and asks for the log. ctx bounds the whole life of the stream.
func Open(ctx context.Context, o Options) (*Stream, error) {
	if o.Heartbeat == 0 {
		o.Heartbeat = defaultHeartbeat
	}
	w, err := connect(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := w.dump(o); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return &Stream{wire: w, walk: walker{want: o.From, loose: o.After != ""}}, nil
}

// At is where the next event begins, or where the stream was asked to begin.
func (s *Stream) At() binlog.Position { return s.walk.at() }

// Close ends the connection; a Next that waits returns with an error.
func (s *Stream) Close() error { return s.wire.close() }

// Next waits for the next piece.
func (s *Stream) Next() (Piece, error) {
	raw, err := s.wire.event()
	if err != nil {
		return Piece{}, fmt.Errorf("stream: at %s: %w", s.walk.at(), err)
	}
	p, err := s.walk.add(raw)
	if err != nil {
		return Piece{}, fmt.Errorf("stream: at %s: %w", s.walk.at(), err)
	}
	return p, nil
}

// Described reports whether the format of the file being read has come.
func (s *Stream) Described() bool { return s.walk.known }

// Format is that of the file being read; its checksum setting holds for all
// pieces since the last Begin.
func (s *Stream) Format() binlog.Format { return s.walk.format }
