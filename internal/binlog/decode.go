package binlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// short is the error of a body that ends too early.
func short(t Type, body []byte) error {
	return fmt.Errorf("%w: %s of %d bytes is too short", ErrCorrupt, t, len(body))
}

// Rotate is a ROTATE_EVENT: 8 bytes position in the next file, then its name.
type Rotate struct {
	Position uint64
	Name     string
}

// DecodeRotate decodes the body of a ROTATE_EVENT.
func DecodeRotate(body []byte) (Rotate, error) {
	if len(body) <= 8 {
		return Rotate{}, short(RotateEvent, body)
	}
	return Rotate{Position: binary.LittleEndian.Uint64(body), Name: string(body[8:])}, nil
}

// Query is a QUERY_EVENT.
//
//	offset size
//	     0    4  thread id of the session (its temporary tables go by it)
//	     4    4  execution time in seconds
//	     8    1  length d of the database name
//	     9    2  error code the statement ended with on the source
//	    11    2  length s of the status variables
//	    13    s  status variables, see package txn
//	  13+s  d+1  database name and a zero byte
//	     …       the statement
type Query struct {
	ThreadID  uint32
	ErrorCode uint16
	Status    []byte
	Database  string
	SQL       []byte
}

const queryFixed = 13

// DecodeQuery decodes the body of a QUERY_EVENT, an EXECUTE_LOAD_QUERY_EVENT
// (whose 13 more bytes are given by extra), or, after Inflate, of a
// QUERY_COMPRESSED_EVENT.
func DecodeQuery(body []byte, extra int) (Query, error) {
	if len(body) < queryFixed+extra {
		return Query{}, short(QueryEvent, body)
	}
	dbLen := int(body[8])
	statusLen := int(binary.LittleEndian.Uint16(body[11:]))
	q := Query{
		ThreadID:  binary.LittleEndian.Uint32(body),
		ErrorCode: binary.LittleEndian.Uint16(body[9:]),
	}
	rest := body[queryFixed+extra:]
	if len(rest) < statusLen+dbLen+1 || rest[statusLen+dbLen] != 0 {
		return Query{}, short(QueryEvent, body)
	}
	q.Status, rest = rest[:statusLen], rest[statusLen:]
	q.Database, q.SQL = string(rest[:dbLen]), rest[dbLen+1:]
	return q, nil
}

// GTID is what a transaction's first event says.
type GTID struct {
	ID             gtid.ID // zero for ANONYMOUS_GTID
	Anonymous      bool
	CommitTime     time.Time // zero where the log has none (MariaDB, MySQL 5.7)
	LastCommitted  int64
	SequenceNumber int64
	Length         int64 // bytes of the whole group in its file, this event too; 0 where the log does not say (MariaDB, MySQL before 8.0.2)
	Standalone     bool  // MariaDB: no BEGIN…COMMIT around what follows (DDL)
	DDL            bool  // MariaDB: the group holds a DDL statement
	XA             bool  // MariaDB: XA PREPARE or its completion
	SplitAlter     bool  // MariaDB: START, COMMIT or ROLLBACK ALTER
	RowsOnly       bool  // MySQL: the transaction holds no statement-format change
}

// DecodeGTID decodes the bodies of GTID_LOG_EVENT, ANONYMOUS_GTID_LOG_EVENT,
// GTID_TAGGED_LOG_EVENT and MariaDB's GTID_EVENT. serverID is the header's.
func DecodeGTID(t Type, serverID uint32, body []byte) (GTID, error) {
	switch t {
	case MariaGTID:
		return decodeMariaGTID(serverID, body)
	case GTIDTagged:
		return decodeTaggedGTID(body)
	default:
		return decodeMySQLGTID(t, body)
	}
}

// decodeMySQLGTID: flags 1, uuid 16, number 8, type 1 (2: logical clock), last
// committed 8, sequence number 8, then from 8.0.1 on the immediate commit time
// of 7 bytes in microseconds, whose top bit says that the original one, also of
// 7, follows; then from 8.0.2 on the group's length as an integer of 1 to 9 bytes
// (net_store_length).
func decodeMySQLGTID(t Type, body []byte) (GTID, error) {
	const clock = 1 + 16 + 8
	if len(body) < clock {
		return GTID{}, short(t, body)
	}
	g := GTID{Anonymous: t == AnonymousGTID, RowsOnly: body[0]&1 == 0}
	if !g.Anonymous {
		g.ID = gtid.ID{Flavor: gtid.MySQL, Seq: binary.LittleEndian.Uint64(body[17:])}
		copy(g.ID.UUID[:], body[1:17])
	}
	rest := body[clock:]
	if len(rest) < 17 || rest[0] != 2 {
		return g, nil
	}
	g.LastCommitted = int64(binary.LittleEndian.Uint64(rest[1:]))  //nolint:gosec // as the server stores it
	g.SequenceNumber = int64(binary.LittleEndian.Uint64(rest[9:])) //nolint:gosec // as the server stores it
	if rest = rest[17:]; len(rest) >= 7 {
		var b [8]byte
		copy(b[:], rest[:7])
		g.CommitTime = microseconds(binary.LittleEndian.Uint64(b[:]) &^ (1 << 55))
		if rest = rest[7:]; b[6]&0x80 != 0 {
			rest = rest[min(7, len(rest)):]
		}
		g.Length = storedLength(rest)
	}
	return g, nil
}

// storedLength reads an integer as net_store_length has written it; 0: none.
func storedLength(b []byte) int64 {
	if len(b) == 0 {
		return 0
	}
	width := map[byte]int{252: 2, 253: 3, 254: 8}[b[0]]
	switch {
	case b[0] < 251:
		return int64(b[0])
	case width == 0 || len(b) <= width:
		return 0
	}
	var v [8]byte
	copy(v[:], b[1:1+width])
	return int64(binary.LittleEndian.Uint64(v[:]) & math.MaxInt64) //nolint:gosec // bounded
}

func microseconds(us uint64) time.Time {
	if us == 0 || us > math.MaxInt64/2 {
		return time.Time{}
	}
	return time.UnixMicro(int64(us)).UTC()
}

// MariaDB GTID_EVENT flags (sql/log_event.h, Gtid_log_event).
const (
	mariaStandalone    = 1
	mariaGroupCommitID = 2
	mariaDDL           = 32
	mariaPreparedXA    = 64
	mariaCompletedXA   = 128

	mariaExtraMultiEngine = 1
	mariaStartAlter       = 2
	mariaCommitAlter      = 4
	mariaRollbackAlter    = 8
)

// decodeMariaGTID: sequence number 8, domain 4, flags 1, then by the flags:
// commit id 8; XA format id 4, two lengths 1+1 and the identifier; and a byte
// of more flags, if bytes are left.
func decodeMariaGTID(serverID uint32, body []byte) (GTID, error) {
	const fixed = 13
	if len(body) < fixed {
		return GTID{}, short(MariaGTID, body)
	}
	flags := body[12]
	g := GTID{
		ID: gtid.ID{
			Flavor: gtid.MariaDB, Server: serverID,
			Seq: binary.LittleEndian.Uint64(body), Domain: binary.LittleEndian.Uint32(body[8:]),
		},
		Standalone: flags&mariaStandalone != 0,
		DDL:        flags&mariaDDL != 0,
		XA:         flags&(mariaPreparedXA|mariaCompletedXA) != 0,
	}
	rest := body[fixed:]
	if flags&mariaGroupCommitID != 0 {
		if len(rest) < 8 {
			return GTID{}, short(MariaGTID, body)
		}
		rest = rest[8:]
	} else if !g.XA && len(rest) > 0 && isZero(rest) {
		// Without a commit id the event is padded with zero bytes to its fixed
		// length of 19 (GTID_HEADER_LEN + 2).
		return g, nil
	}
	if g.XA {
		if len(rest) < 6 || len(rest) < 6+int(rest[4])+int(rest[5]) {
			return GTID{}, short(MariaGTID, body)
		}
		rest = rest[6+int(rest[4])+int(rest[5]):]
	}
	if len(rest) > 0 {
		g.SplitAlter = rest[0]&(mariaStartAlter|mariaCommitAlter|mariaRollbackAlter) != 0
	}
	return g, nil
}

func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// decodeTaggedGTID reads the mysql::serialization encoding of MySQL 8.3+
// (libs/mysql/serialization): a version byte, the size of all, the id of the
// last field that may not be ignored, then (field id, value) pairs. Integers
// have a variable length: the number of trailing one bits of the first byte is
// the number of bytes that follow it.
func decodeTaggedGTID(body []byte) (GTID, error) {
	r := varlen{buf: body}
	r.uint() // serialization version
	if size := r.uint(); r.err != nil || size > uint64(len(body)) || size < uint64(len(body)-len(r.buf)) {
		return GTID{}, short(GTIDTagged, body)
	} else if size < uint64(len(body)) {
		r.buf = r.buf[:len(r.buf)-(len(body)-int(size))] //nolint:gosec // smaller than a length
	}
	last := r.uint()
	if last > taggedFields {
		return GTID{}, fmt.Errorf("%w: GTID_TAGGED_LOG_EVENT has fields of a newer server", ErrUnsupported)
	}
	g := GTID{ID: gtid.ID{Flavor: gtid.MySQL}}
	for r.err == nil && len(r.buf) > 0 {
		r.taggedField(&g)
	}
	if r.err != nil || g.ID.Seq == 0 || g.ID.Seq > math.MaxInt64 {
		return GTID{}, short(GTIDTagged, body)
	}
	return g, nil
}

const taggedFields = 11

func (r *varlen) taggedField(g *GTID) {
	switch id := r.uint(); id {
	case 0:
		g.RowsOnly = r.uint()&1 == 0
	case 1:
		for i := range g.ID.UUID {
			g.ID.UUID[i] = byte(r.uint())
		}
	case 2:
		g.ID.Seq = uint64(r.int())
	case 3:
		g.ID.Tag = r.string()
	case 4:
		g.LastCommitted = r.int()
	case 5:
		g.SequenceNumber = r.int()
	case 6:
		g.CommitTime = microseconds(r.uint())
	case 8:
		g.Length = int64(r.uint() & math.MaxInt64) //nolint:gosec // bounded
	default: // original commit time, versions, ticket: unsigned integers
		if id > taggedFields {
			r.buf = nil // fields that a newer server added as ignorable
			return
		}
		r.uint()
	}
}

// varlen reads variable-length integers; err is sticky.
type varlen struct {
	buf []byte
	err error
}

func (r *varlen) raw() (v uint64, width int) {
	if r.err != nil || len(r.buf) == 0 {
		r.err = ErrCorrupt
		return 0, 1
	}
	width = 1
	for b := r.buf[0]; b&1 == 1; b >>= 1 {
		width++
	}
	if len(r.buf) < width {
		r.err = ErrCorrupt
		return 0, 1
	}
	var b [8]byte
	if width == 9 {
		copy(b[:], r.buf[1:9])
	} else {
		copy(b[:], r.buf[:width])
	}
	r.buf = r.buf[width:]
	return binary.LittleEndian.Uint64(b[:]), width
}

func (r *varlen) uint() uint64 {
	v, width := r.raw()
	if width == 9 {
		return v
	}
	return v >> width
}

// int reads a signed integer: the lowest value bit is the sign.
func (r *varlen) int() int64 {
	v := r.uint()
	if v&1 == 0 {
		return int64(v >> 1)
	}
	return -int64(v>>1) - 1
}

func (r *varlen) string() string {
	n := r.uint()
	if r.err != nil || n > uint64(len(r.buf)) {
		r.err = ErrCorrupt
		return ""
	}
	s := string(r.buf[:n])
	r.buf = r.buf[n:]
	return s
}

// TableMap is a TABLE_MAP_EVENT.
//
//	size
//	   6  table id
//	   2  flags
//	 1+n+1  database name: length, bytes, zero
//	 1+n+1  table name, likewise
//	   p  number c of columns, packed integer
//	   c  column types
//	 p+m  column metadata: packed length, bytes
//	(c+7)/8  which columns can be NULL
//	   …  optional metadata
type TableMap struct {
	TableID  uint64
	Flags    uint16
	Database string
	Table    string
	Types    []byte
	Meta     []byte
	NullBits []byte
	// afterNames is the body from the column count on: what two maps of an
	// unchanged table have in common.
	afterNames []byte
}

// DecodeTableMap decodes the body of a TABLE_MAP_EVENT; the slices point into it.
func DecodeTableMap(body []byte) (TableMap, error) {
	bad := short(TableMapEvent, body)
	if len(body) < 8 {
		return TableMap{}, bad
	}
	m := TableMap{TableID: TableID(body), Flags: binary.LittleEndian.Uint16(body[6:])}
	rest := body[8:]
	var ok bool
	if m.Database, rest, ok = cutName(rest); !ok {
		return TableMap{}, bad
	}
	if m.Table, rest, ok = cutName(rest); !ok {
		return TableMap{}, bad
	}
	m.afterNames = rest
	if m.Types, rest, ok = cutPacked(rest); !ok {
		return TableMap{}, bad
	}
	if m.Meta, rest, ok = cutPacked(rest); !ok {
		return TableMap{}, bad
	}
	n := (len(m.Types) + 7) / 8
	if len(rest) < n {
		return TableMap{}, bad
	}
	m.NullBits = rest[:n]
	return m, nil
}

// SameColumns reports whether both maps describe columns of the same types.
func (m TableMap) SameColumns(o TableMap) bool {
	return bytes.Equal(m.Types, o.Types) && bytes.Equal(m.Meta, o.Meta) && bytes.Equal(m.NullBits, o.NullBits)
}

// TableName is a table to map instead of the log's.
type TableName struct{ Database, Table string }

// AppendBody appends the body of an equal table map under another table id and
// without optional metadata, which no applier needs (binlog-statement: §11).
// into, if given, is the table that it shall stand for.
func (m TableMap) AppendBody(dst []byte, id uint32, into *TableName) []byte {
	if into == nil {
		into = &TableName{m.Database, m.Table}
	}
	dst = appendTableID(dst, id)
	dst = binary.LittleEndian.AppendUint16(dst, 1) // TM_BIT_LEN_EXACT_F
	dst = appendName(dst, into.Database)
	dst = appendName(dst, into.Table)
	end := len(m.afterNames) - (len(m.optional()))
	return append(dst, m.afterNames[:end]...)
}

func (m TableMap) optional() []byte {
	_, rest, _ := cutPacked(m.afterNames)
	_, rest, _ = cutPacked(rest)
	return rest[len(m.NullBits):]
}

func appendName(dst []byte, s string) []byte {
	dst = append(dst, byte(len(s)))
	dst = append(dst, s...)
	return append(dst, 0)
}

func appendTableID(dst []byte, id uint32) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, id)
	return append(dst, 0, 0)
}

func cutName(b []byte) (name string, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < int(b[0])+2 {
		return "", nil, false
	}
	n := int(b[0])
	if b[1+n] != 0 {
		return "", nil, false
	}
	return string(b[1 : 1+n]), b[n+2:], true
}

// cutPacked cuts a byte string that begins with its packed length.
func cutPacked(b []byte) (s, rest []byte, ok bool) {
	n, w := packedInt(b)
	if w == 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	return b[w : w+int(n)], b[w+int(n):], true
}

// packedInt reads a length-encoded integer; width 0 means that it is cut off.
func packedInt(b []byte) (v uint64, width int) {
	if len(b) == 0 {
		return 0, 0
	}
	switch first := b[0]; {
	case first < 251:
		return uint64(first), 1
	case first == 252 && len(b) >= 3:
		return uint64(binary.LittleEndian.Uint16(b[1:])), 3
	case first == 253 && len(b) >= 4:
		return uint64(b[1]) | uint64(b[2])<<8 | uint64(b[3])<<16, 4
	case first == 254 && len(b) >= 9:
		return binary.LittleEndian.Uint64(b[1:]), 9
	default:
		return 0, 0
	}
}

// TableID reads the table id that table map and rows events begin with.
func TableID(body []byte) uint64 {
	return uint64(binary.LittleEndian.Uint32(body)) | uint64(binary.LittleEndian.Uint16(body[4:]))<<32
}

// Rows event flags (rows_event.h).
const (
	RowsStmtEnd       uint16 = 0x1  // last rows event of its statement
	RowsNoFKChecks    uint16 = 0x2  // the session had foreign_key_checks=0
	RowsRelaxedUnique uint16 = 0x4  // the session had unique_checks=0
	RowsCompleteRows  uint16 = 0x8  // images hold all columns
	RowsSQLForeignKey uint16 = 0x10 // MySQL 9.6+: cascades are in the log
)

// RowsBody is a rows event taken apart: kind, flags, which columns its images
// have, and the images.
//
//	size
//	   6  table id
//	   2  flags
//	   2  (version 2) length of extra data, these 2 bytes included; extra data
//	   p  number c of columns, packed integer
//	(c+7)/8  columns present in the first image
//	(c+7)/8  (update) columns present in the after image
//	   …  images; before and after alternate in an update
type RowsBody struct {
	Kind    RowsKind
	Partial bool // partial JSON update: after images have a form of their own
	TableID uint64
	Flags   uint16
	Columns int
	Before  []byte // column bitmap of the first image
	After   []byte // column bitmap of the after image (of the only one for WriteRows)
	Images  []byte
}

// DecodeRows decodes the body of a rows event that is not compressed.
func DecodeRows(t Type, body []byte) (RowsBody, error) {
	if t.Rows() == NotRows {
		return RowsBody{}, fmt.Errorf("%w: %s among rows events", ErrCorrupt, t)
	}
	if len(body) < 8 {
		return RowsBody{}, short(t, body)
	}
	r := RowsBody{Kind: t.Rows(), Partial: t == PartialUpdateRows, TableID: TableID(body), Flags: binary.LittleEndian.Uint16(body[6:])}
	rest := body[8:]
	if t.rowsV2() {
		if len(rest) < 2 {
			return RowsBody{}, short(t, body)
		}
		n := int(binary.LittleEndian.Uint16(rest))
		if n < 2 || n > len(rest) {
			return RowsBody{}, short(t, body)
		}
		rest = rest[n:]
	}
	columns, w := packedInt(rest)
	if w == 0 || columns > 4096 {
		return RowsBody{}, short(t, body)
	}
	r.Columns, rest = int(columns), rest[w:]
	n := (r.Columns + 7) / 8
	maps := 1
	if r.Kind == UpdateRows {
		maps = 2
	}
	if len(rest) < n*maps {
		return RowsBody{}, short(t, body)
	}
	r.Before = rest[:n]
	r.After = rest[n*(maps-1) : n*maps]
	r.Images = rest[n*maps:]
	return r, nil
}

// Full reports whether every column is present in every image.
func (r RowsBody) Full() bool { return allSet(r.Before, r.Columns) && allSet(r.After, r.Columns) }

func allSet(bitmap []byte, n int) bool {
	for i := 0; i < n/8; i++ {
		if bitmap[i] != 0xff {
			return false
		}
	}
	rest := byte(1<<(n%8)) - 1
	return rest == 0 || bitmap[n/8]&rest == rest
}
