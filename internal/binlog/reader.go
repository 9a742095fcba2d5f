package binlog

import (
	"encoding/binary"
	"fmt"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Event is one framed event. Body excludes header and checksum and points
// into the file's mapping, or into memory of its own for events that came out
// of a compressed payload (Inner).
type Event struct {
	Type      Type
	Flags     uint16
	Timestamp uint32 // seconds since 1970
	ServerID  uint32
	Offset    int64 // of the event in its file; of the payload event for inner events
	End       int64 // offset of the next event in the file
	Inner     bool  // Body is not in the file's mapping
	Body      []byte
}

// Reader walks a file's events in order.
type Reader struct {
	file   *File
	offset int64
}

// Events returns a reader that begins at offset, which must be the offset of
// an event; 0 means the first event after the format description.
func (f *File) Events(offset int64) *Reader {
	if offset < f.First {
		offset = f.First
	}
	return &Reader{file: f, offset: offset}
}

// Offset is where the next event begins.
func (r *Reader) Offset() int64 { return r.offset }

// Next returns the next event; ok is false at the end of the file. A file that
// ends inside an event gives ErrTruncated, and the offset then is that event's.
func (r *Reader) Next() (ev Event, ok bool, err error) {
	f := r.file
	if r.offset == int64(len(f.Data)) {
		return Event{}, false, nil
	}
	ev, err = f.eventAt(r.offset)
	if err != nil {
		return Event{}, false, At(f.At(r.offset), err)
	}
	r.offset = ev.End
	return ev, true, nil
}

// EventAt reads one event.
func (f *File) EventAt(offset int64) (Event, error) {
	ev, err := f.eventAt(offset)
	return ev, At(f.At(offset), err)
}

func (f *File) eventAt(offset int64) (Event, error) {
	if offset < 0 || offset > int64(len(f.Data)) {
		return Event{}, fmt.Errorf("%w: no such offset, the file has %d bytes", ErrCorrupt, len(f.Data))
	}
	rest := f.Data[offset:]
	if len(rest) < HeaderSize {
		return Event{}, ErrTruncated
	}
	size := int64(binary.LittleEndian.Uint32(rest[9:]))
	trailer := int64(0)
	if f.Format.Checksum {
		trailer = 4
	}
	if size < HeaderSize+trailer {
		return Event{}, f.unlessUnwritten(offset+13, fmt.Errorf("%w: event size %d", ErrCorrupt, size))
	}
	if size > int64(len(rest)) {
		return Event{}, f.cutOff(offset, size)
	}
	raw := rest[:size]
	if f.Format.Checksum {
		if err := checkCRC(raw); err != nil {
			return Event{}, f.unlessUnwritten(offset+size-4, err)
		}
	}
	ev := header(raw)
	ev.Offset, ev.End = offset, offset+size
	ev.Body = raw[HeaderSize : size-trailer]
	return ev, f.checkHeader(raw, ev)
}

func header(raw []byte) Event {
	return Event{
		Timestamp: binary.LittleEndian.Uint32(raw),
		Type:      Type(raw[4]),
		ServerID:  binary.LittleEndian.Uint32(raw[5:]),
		Flags:     binary.LittleEndian.Uint16(raw[17:]),
	}
}

// unlessUnwritten returns err, the damage of an event, unless the file holds
// nothing but zero bytes from the offset on, which lies inside that event: a
// dying machine had given the file space and not written it.
func (f *File) unlessUnwritten(offset int64, err error) error {
	for _, b := range f.Data[offset:] {
		if b != 0 {
			return err
		}
	}
	return ErrTruncated
}

// cutOff tells a file that ends inside an event from a damaged size, which
// would look the same and make all that follows be taken for cut off: then the
// header contradicts itself, or, where MariaDB 11.8 leaves the next offset out,
// whole events lie inside the event that is said to be cut off.
func (f *File) cutOff(offset, size int64) error {
	raw := f.Data[offset:]
	next := binary.LittleEndian.Uint32(raw[13:])
	damaged := fmt.Errorf("%w: event size %d, but the file ends %d bytes behind", ErrCorrupt, size, len(raw))
	if next != 0 && next != uint32(offset+size) && binary.LittleEndian.Uint16(raw[17:])&FlagArtificial == 0 { //nolint:gosec // the field is modulo 2^32
		return f.unlessUnwritten(offset+17, damaged)
	}
	for at := offset + HeaderSize; at+HeaderSize <= int64(len(f.Data)); at++ {
		if f.wholeEventAt(at) {
			return damaged
		}
	}
	return ErrTruncated
}

// wholeEventAt reports whether an event begins at the offset, by all signs that
// there are. Other bytes look like one with a probability of 2^-32 and less.
func (f *File) wholeEventAt(offset int64) bool {
	raw := f.Data[offset:]
	size, next := int64(binary.LittleEndian.Uint32(raw[9:])), binary.LittleEndian.Uint32(raw[13:])
	if next == 0 || next != uint32(offset+size) || size < HeaderSize+4 || size > int64(len(raw)) || !Type(raw[4]).Known() { //nolint:gosec // as above
		return false
	}
	return !f.Format.Checksum || checkCRC(raw[:size]) == nil
}

// checkHeader refuses events that a source's own log cannot hold. MariaDB from
// 11.8 on leaves the next offset 0 in events that went through the cache of a
// transaction; no other server does.
func (f *File) checkHeader(raw []byte, ev Event) error {
	if ev.Flags&FlagRelayLog != 0 || ev.Type == FormatDescription {
		return ErrRelayLog
	}
	next := binary.LittleEndian.Uint32(raw[13:])
	if ev.Flags&FlagArtificial == 0 && next != uint32(ev.End) && (next != 0 || f.Format.Flavor != gtid.MariaDB) { //nolint:gosec // the field is modulo 2^32
		return fmt.Errorf("%w: %s says that the next event is at %d, it is at %d (a relay log, or a file with bytes missing)",
			ErrCorrupt, ev.Type, next, ev.End)
	}
	if !ev.Type.Known() && ev.Flags&FlagIgnorable == 0 {
		return fmt.Errorf("%w: %s", ErrUnknown, ev.Type)
	}
	if n := f.Format.fixedLen(ev.Type); n > len(ev.Body) && ev.Type != GTIDTagged {
		return fmt.Errorf("%w: %s has %d bytes, its fixed part alone has %d", ErrCorrupt, ev.Type, len(ev.Body), n)
	}
	if ev.Type == StartEncryption && !f.clearAt(ev.End) {
		return ErrEncrypted
	}
	return supported(ev.Type)
}

// clearAt reports whether what begins at the offset is an event in clear text, or
// nothing. MariaDB sends its log to replicas decrypted, at the same offsets and
// with the START_ENCRYPTION_EVENT in it (sql/sql_repl.cc, 10.11.18, tried): so it
// is in an archive. Encrypted bytes look like an event, whose header has its size
// and its end, with a probability of less than 2^-32.
func (f *File) clearAt(offset int64) bool {
	rest := f.Data[offset:]
	if len(rest) < HeaderSize {
		return true
	}
	size, next := int64(binary.LittleEndian.Uint32(rest[9:])), binary.LittleEndian.Uint32(rest[13:])
	return size >= HeaderSize && next == uint32(offset+size) && Type(rest[4]).Known() //nolint:gosec // the field is modulo 2^32
}

func supported(t Type) error {
	switch t {
	case StartV3, SlaveEvent, LoadEvent, CreateFileEvent, ExecLoadEvent, NewLoadEvent,
		PreGAWriteRows, PreGAUpdateRows, PreGADeleteRows, PartialRowData:
		return fmt.Errorf("%w: %s", ErrUnsupported, t)
	case IncidentEvent:
		return fmt.Errorf("%w: %s: the source reported that events may be missing here", ErrUnsupported, t)
	case HeartbeatEvent, HeartbeatV2:
		return fmt.Errorf("%w: %s belongs to a replication stream, not to a file", ErrCorrupt, t)
	default:
		return nil
	}
}

// Tail is how a file ends.
type Tail struct {
	Rotate string // name of the next file, if the file ends in a ROTATE_EVENT
	Stop   bool   // the file ends in a STOP_EVENT: clean shutdown
}

// Tail looks at the last event without reading the file: ROTATE_EVENT and
// STOP_EVENT are short, so their beginning is searched backwards from the end.
func (f *File) Tail() Tail {
	const longestName = 512
	end := int64(len(f.Data))
	for size := int64(HeaderSize); size <= HeaderSize+8+longestName+4 && end-size >= f.First; size++ {
		raw := f.Data[end-size:]
		if int64(binary.LittleEndian.Uint32(raw[9:])) != size {
			continue
		}
		if t := Type(raw[4]); t != RotateEvent && t != StopEvent {
			continue
		}
		ev, err := f.eventAt(end - size)
		if err != nil {
			continue
		}
		if ev.Type == StopEvent {
			return Tail{Stop: true}
		}
		if rot, err := DecodeRotate(ev.Body); err == nil {
			return Tail{Rotate: rot.Name}
		}
	}
	return Tail{}
}
