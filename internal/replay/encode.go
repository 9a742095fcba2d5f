package replay

import (
	"encoding/binary"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/netchange"
	"github.com/lifeboat-db/lifeboat/internal/rowimage"
)

// dialect is how row events have to look for the target's vendor: version 2
// for MySQL (8.4 and later refuse version 1), version 1 for MariaDB.
type dialect struct {
	flavor   gtid.Flavor
	serverID uint32
}

func (d dialect) rowsType(k binlog.RowsKind) binlog.Type {
	types := [...]binlog.Type{0, binlog.WriteRowsV2, binlog.UpdateRowsV2, binlog.DeleteRowsV2}
	if d.flavor == gtid.MariaDB {
		types = [...]binlog.Type{0, binlog.WriteRowsV1, binlog.UpdateRowsV1, binlog.DeleteRowsV1}
	}
	return types[k]
}

// Sizes of what is sent. An event is closed when it reaches eventBytes, a
// statement when it reaches statementBytes; a single row may exceed both. The
// server holds four to six times a statement's events while it executes it, so
// N workers cost it about N × 6 MiB.
const (
	eventBytes     = 256 << 10
	statementBytes = 1 << 20
)

// encoder builds one group of events: TABLE_MAPs, then rows events, the last
// of which ends the statement. All table maps must come before the first rows
// event: a later one's rows vanish silently (binlog-statement: §1).
type encoder struct {
	d         dialect
	timestamp uint32
	buf       []byte
	open      int // offset of the rows event being filled, -1 if none
	kind      binlog.RowsKind
	lastRows  int               // offset of the last rows event's header, -1 if none
	into      *binlog.TableName // instead of the log's table
}

func (e *encoder) reset() {
	e.buf, e.open, e.lastRows, e.kind = e.buf[:0], -1, -1, binlog.NotRows
}

func (e *encoder) tableMap(tm *binlog.TableMap, id uint32) {
	start := len(e.buf)
	e.buf = binlog.BeginEvent(e.buf, binlog.TableMapEvent, e.timestamp, e.d.serverID)
	e.buf = tm.AppendBody(e.buf, id, e.into)
	binlog.EndEvent(e.buf, start)
}

// rows begins a rows event unless one of this kind is open and has room.
func (e *encoder) rows(kind binlog.RowsKind, id uint32, columns int, bitmaps ...[]byte) {
	if e.open >= 0 && e.kind == kind && len(e.buf)-e.open < eventBytes {
		return
	}
	e.closeRows()
	e.kind, e.open, e.lastRows = kind, len(e.buf), len(e.buf)
	t := e.d.rowsType(kind)
	e.buf = binlog.BeginEvent(e.buf, t, e.timestamp, e.d.serverID)
	e.buf = binlog.AppendRowsHead(e.buf, t, id, binlog.RowsNoFKChecks, columns, bitmaps...)
}

func (e *encoder) closeRows() {
	if e.open >= 0 {
		binlog.EndEvent(e.buf, e.open)
		e.open = -1
	}
}

// end closes the group and returns it; nil if it holds no rows.
func (e *encoder) end() []byte {
	e.closeRows()
	if e.lastRows < 0 {
		return nil
	}
	flags := e.buf[e.lastRows+binlog.HeaderSize+6:]
	binary.LittleEndian.PutUint16(flags, binary.LittleEndian.Uint16(flags)|binlog.RowsStmtEnd)
	return e.buf
}

// rowWriter writes net changes of one table into groups.
type rowWriter struct {
	encoder
	t       *table
	cells   []rowimage.Cell
	full    []byte // bitmap of all columns
	keyOnly []byte // bitmap of the key's columns
	yield   func([]byte) error
	before  []byte // buffers of fetch
	after   []byte
}

const onlyTableID = 1

func newRowWriter(t *table, d dialect, timestamp uint32, yield func([]byte) error) *rowWriter {
	n := len(t.layout.Columns)
	w := &rowWriter{
		encoder: encoder{d: d, timestamp: timestamp}, t: t, yield: yield,
		cells: make([]rowimage.Cell, n), full: rowimage.FullBitmap(n), keyOnly: rowimage.Bitmap(n, t.keyCols),
	}
	w.begin()
	return w
}

func (w *rowWriter) begin() {
	w.reset()
	w.tableMap(&w.t.tm, onlyTableID)
}

func (w *rowWriter) flush() error {
	group := w.end()
	if group == nil {
		return nil
	}
	err := w.yield(group)
	w.begin()
	return err
}

func (w *rowWriter) room() error {
	if len(w.buf) < statementBytes {
		return nil
	}
	return w.flush()
}

// fetch gets the image at ref; w.cells are its cells. It is valid until the
// next fetch into the same buffer.
func (w *rowWriter) fetch(ref netchange.Ref, buf *[]byte) ([]byte, error) {
	return w.t.shard.images.image(ref, w.t.layout, w.cells, buf)
}

func (w *rowWriter) insert(image []byte) error {
	w.rows(binlog.WriteRows, onlyTableID, len(w.cells), w.full)
	w.buf = append(w.buf, image...)
	return w.room()
}

// remove deletes the row of an image: by its primary key alone, or by all
// columns where the server finds the row by another key or by scanning.
func (w *rowWriter) remove(image []byte) error {
	if !w.t.primary {
		w.rows(binlog.DeleteRows, onlyTableID, len(w.cells), w.full)
		w.buf = append(w.buf, image...)
		return w.room()
	}
	w.rows(binlog.DeleteRows, onlyTableID, len(w.cells), w.keyOnly)
	w.buf = rowimage.AppendCells(w.buf, image, w.cells, w.t.keyCols)
	return w.room()
}

// replace updates the row to the image after. By primary key the image itself
// says which row: the key did not change, or changed only in ways that the
// collation does not see. Otherwise before finds it.
func (w *rowWriter) replace(before, after []byte) error {
	if !w.t.primary {
		w.rows(binlog.UpdateRows, onlyTableID, len(w.cells), w.full, w.full)
		w.buf = append(append(w.buf, before...), after...)
		return w.room()
	}
	w.rows(binlog.UpdateRows, onlyTableID, len(w.cells), w.keyOnly, w.full)
	w.buf = rowimage.AppendCells(w.buf, after, w.cells, w.t.keyCols)
	w.buf = append(w.buf, after...)
	return w.room()
}
