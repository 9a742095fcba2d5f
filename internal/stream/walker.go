package stream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// firstOffset is that of a file's first event, behind the magic number.
const firstOffset = 4

// headEnd is where what describes a file has surely ended.
const headEnd = 512

// request is what to ask the source for, to get what begins at a position. In the
// head of a file that is the whole file: of one that is encrypted MariaDB sends
// START_ENCRYPTION_EVENT, which is not encrypted itself, through the cipher if it
// is asked for it (10.11.18 and 11.8.9, tried).
func request(from binlog.Position) binlog.Position {
	if from.Offset > firstOffset && from.Offset <= headEnd {
		from.Offset = firstOffset
	}
	return from
}

// walker knows where in which file the stream is. It is pure.
type walker struct {
	want   binlog.Position // what was asked for: the first file must be it
	loose  bool            // any file may be the first, and events may be missing
	file   string          // empty before the first ROTATE
	offset int64           // of the next event
	format binlog.Format
	known  bool // format is that of file
	inside bool // the format has just been sent once more, for what begins inside a file
}

func (w *walker) at() binlog.Position {
	if w.file == "" || w.before() {
		return w.want
	}
	return binlog.Position{File: w.file, Offset: w.offset}
}

// before reports whether the stream is not yet where it is wanted from.
func (w *walker) before() bool { return w.file == w.want.File && w.offset < w.want.Offset }

// add takes a whole event as the source sent it.
func (w *walker) add(raw []byte) (Piece, error) {
	if len(raw) < binlog.HeaderSize || int64(binary.LittleEndian.Uint32(raw[9:])) != int64(len(raw)) {
		return Piece{}, fmt.Errorf("%w: %d bytes are no event", binlog.ErrCorrupt, len(raw))
	}
	t, flags := binlog.Type(raw[4]), binary.LittleEndian.Uint16(raw[17:])
	made := flags&binlog.FlagArtificial != 0
	beat := t == binlog.HeartbeatEvent || t == binlog.HeartbeatV2
	switch {
	case w.before() && (beat || made && t == binlog.RotateEvent):
		return Piece{}, fmt.Errorf("%w: it ends at %d", ErrPosition, w.offset)
	case made && t == binlog.RotateEvent:
		return w.enter(raw)
	case w.file == "":
		return Piece{}, fmt.Errorf("%w: %s before the name of the file", binlog.ErrCorrupt, t)
	case beat:
		return Piece{File: w.file, Offset: w.offset}, nil
	case t == binlog.FormatDescription:
		return w.describe(raw)
	case !w.known:
		return Piece{}, fmt.Errorf("%w: %s before the FORMAT_DESCRIPTION_EVENT", binlog.ErrCorrupt, t)
	}
	ev, err := w.format.Frame(raw)
	if err != nil {
		return Piece{}, err
	}
	inside := w.inside
	w.inside = false
	if made || inside && t == binlog.StartEncryption {
		return Piece{File: w.file, Offset: w.offset}, nil
	}
	return w.place(raw, ev)
}

// enter begins a file. The source begins the stream with the file and offset
// that were asked for, and every other file at its beginning.
func (w *walker) enter(raw []byte) (Piece, error) {
	body := raw[binlog.HeaderSize:]
	// Before the format description nobody says whether there is a checksum.
	if n := len(raw) - 4; crc32.ChecksumIEEE(raw[:n]) == binary.LittleEndian.Uint32(raw[n:]) && len(body) > 4 {
		body = body[:len(body)-4]
	}
	r, err := binlog.DecodeRotate(body)
	if err != nil {
		return Piece{}, err
	}
	got := binlog.Position{File: r.Name, Offset: int64(r.Position)} //nolint:gosec // compared below
	switch {
	case w.file == "" && got != request(w.want) && !w.loose:
		return Piece{}, fmt.Errorf("%w: it begins at %s, and was asked for %s", ErrHole, got, request(w.want))
	case w.file == got.File:
		return Piece{}, fmt.Errorf("%w: it begins %s once more", binlog.ErrCorrupt, got)
	case w.file != "" && got.Offset != firstOffset:
		return Piece{}, fmt.Errorf("%w: it goes on at %s", ErrHole, got)
	}
	w.file, w.offset, w.known = got.File, got.Offset, false
	return Piece{Kind: Begin, File: w.file, Offset: w.at().Offset}, nil
}

func (w *walker) describe(raw []byte) (Piece, error) {
	f, err := binlog.DecodeFormat(bytes.Clone(raw))
	if err != nil {
		return Piece{}, err
	}
	first := w.offset == firstOffset
	if !first && w.known {
		return Piece{}, fmt.Errorf("%w: FORMAT_DESCRIPTION_EVENT inside a file", binlog.ErrCorrupt)
	}
	w.format, w.known, w.inside = f, true, !first
	if !first {
		return Piece{File: w.file, Offset: w.offset}, nil
	}
	return w.place(raw, binlog.Event{Type: binlog.FormatDescription, Timestamp: binary.LittleEndian.Uint32(raw),
		ServerID: f.ServerID, Body: raw[binlog.HeaderSize:]})
}

// place gives the event its offsets. MariaDB from 11.8 on leaves the next
// offset 0 in events that went through the cache of a transaction, so that 0
// says nothing; the next event that has one shows a hole then.
func (w *walker) place(raw []byte, ev binlog.Event) (Piece, error) {
	ev.Offset, ev.End = w.offset, w.offset+int64(len(raw))
	next := binary.LittleEndian.Uint32(raw[13:])
	if next != 0 && next != uint32(ev.End) && !w.loose { //nolint:gosec // the field is modulo 2^32
		return Piece{}, fmt.Errorf("%w: %s ends at %d by itself, at %d by the events before it", ErrHole, ev.Type, next, ev.End)
	}
	skip := w.before()
	w.offset = ev.End
	if skip && w.offset > w.want.Offset {
		return Piece{}, fmt.Errorf("%w: %s lies across %s", ErrPosition, ev.Type, w.want)
	}
	if skip {
		return Piece{File: w.file, Offset: w.want.Offset}, nil
	}
	return Piece{Kind: Bytes, File: w.file, Offset: ev.Offset, Event: ev, Raw: raw}, nil
}
