package clone

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A stream is (docs/format/clone.md; numbers big endian):
//
//	offset  size
//	0       8     "LBCLONE" and a NUL
//	8       4     version: 1
//	12            records
//
// and a record
//
//	0       1     kind
//	1       4     length n of the payload
//	5       4     CRC-32C of the record's number in the stream (8), kind, length and payload
//	9       n     payload
//
// The first record is the head, the last one the end. The number in the checksum
// shows records that are missing, doubled or elsewhere.
const (
	magic         = "LBCLONE\x00"
	streamVersion = 1
	recordHead    = 9

	// maxPayload is more than a donor sends at once: clone_buffer_size is at most
	// 256 MiB.
	maxPayload = 272 << 20
)

// recordKind says what a record's payload is.
type recordKind byte

const (
	recordAbout      recordKind = 1 // head, JSON
	recordDescriptor recordKind = 2 // of InnoDB, as the donor sent it
	recordData       recordKind = 3 // for the data descriptor before it
	recordAfter      recordKind = 4 // Point, JSON
	recordUntil      recordKind = 5 // Point, JSON
	recordEnd        recordKind = 6 // tail, JSON
)

func (k recordKind) String() string {
	names := [...]string{recordAbout: "head", recordDescriptor: "descriptor", recordData: "data", recordAfter: "after", recordUntil: "until", recordEnd: "end"}
	if int(k) >= len(names) || k == 0 {
		return fmt.Sprintf("record of kind %d", k)
	}
	return names[k]
}

// head is what a server that is started on the copy must agree with.
type head struct {
	Version    string            `json:"version"`
	Settings   map[string]string `json:"settings"`
	DDLBlocked bool              `json:"ddl_blocked,omitempty"` // of earlier versions; it means nothing any more
}

// tail has the sums over the stream.
type tail struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// recordSum is the checksum of record n.
func recordSum(n uint64, head, payload []byte) uint32 {
	sum := crc32.Checksum(binary.BigEndian.AppendUint64(nil, n), castagnoli)
	return crc32.Update(crc32.Update(sum, castagnoli, head), castagnoli, payload)
}

// writer writes a stream.
type writer struct {
	w     io.Writer
	n     uint64 // records written
	taken Taken

	keeping bool
	kept    [][]byte
}

func newWriter(w io.Writer, h head) (*writer, error) {
	out := &writer{w: w, taken: Taken{Version: h.Version, Settings: h.Settings}}
	b := binary.BigEndian.AppendUint32([]byte(magic), streamVersion)
	if _, err := w.Write(b); err != nil {
		return nil, fmt.Errorf("write the stream: %w", err)
	}
	return out, out.json(recordAbout, h)
}

func (w *writer) record(k recordKind, payload []byte) error {
	b := binary.BigEndian.AppendUint32([]byte{byte(k)}, uint32(len(payload))) //nolint:gosec // a packet, or ours
	b = binary.BigEndian.AppendUint32(b, recordSum(w.n, b, payload))
	w.n++
	return errors.Join(w.write(b), w.write(payload))
}

func (w *writer) write(b []byte) error {
	if w.keeping {
		w.kept = append(w.kept, bytes.Clone(b))
		return nil
	}
	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("write the stream: %w", err)
	}
	return nil
}

// keep has records stay in memory until passOn: whoever takes the stream may take
// its time, and must not while commits wait. No data comes meanwhile.
func (w *writer) keep() { w.keeping = true }

func (w *writer) passOn() error {
	kept := w.kept
	w.keeping, w.kept = false, nil
	for _, b := range kept {
		if err := w.write(b); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) json(k recordKind, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.record(k, b)
}

func (w *writer) data(b []byte) error {
	w.taken.Bytes += int64(len(b))
	return w.record(recordData, b)
}

func (w *writer) point(k recordKind, p Point) error {
	w.taken.set(k, p)
	return w.json(k, p)
}

func (t *Taken) set(k recordKind, p Point) {
	if k == recordAfter {
		t.After = p
	} else {
		t.Until = p
	}
}

func (w *writer) end(files int) error {
	w.taken.Files = files
	return w.json(recordEnd, tail{Files: files, Bytes: w.taken.Bytes})
}

// reader reads a stream.
type reader struct {
	r       io.Reader
	n       uint64 // records read
	payload bytes.Buffer
}

func newReader(r io.Reader) (*reader, error) {
	b := make([]byte, len(magic)+4)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, truncated(err)
	}
	if string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: it begins with %q", ErrCorrupt, b[:len(magic)])
	}
	if v := binary.BigEndian.Uint32(b[len(magic):]); v != streamVersion {
		return nil, unsupported("upgrade lifeboat", "version %d of clone streams", v)
	}
	return &reader{r: r}, nil
}

// next returns the next record; its payload is valid until the next call.
func (r *reader) next() (recordKind, []byte, error) {
	k, b, err := r.read()
	if err != nil {
		return k, nil, fmt.Errorf("record %d: %w", r.n, err)
	}
	r.n++
	return k, b, nil
}

func (r *reader) read() (recordKind, []byte, error) {
	var h [recordHead]byte
	if _, err := io.ReadFull(r.r, h[:]); err != nil {
		return 0, nil, truncated(err)
	}
	k, size := recordKind(h[0]), binary.BigEndian.Uint32(h[1:])
	if size > maxPayload {
		return k, nil, fmt.Errorf("%w: %s of %d bytes", ErrCorrupt, k, size)
	}
	r.payload.Reset()
	// By the bytes that there are: a wrong length takes no memory.
	if _, err := io.CopyN(&r.payload, r.r, int64(size)); err != nil {
		return k, nil, truncated(err)
	}
	if recordSum(r.n, h[:5], r.payload.Bytes()) != binary.BigEndian.Uint32(h[5:]) {
		return k, nil, fmt.Errorf("%w: checksum of a %s", ErrCorrupt, k)
	}
	return k, r.payload.Bytes(), nil
}

// atEnd checks that nothing follows.
func (r *reader) atEnd() error {
	switch _, err := io.ReadFull(r.r, make([]byte, 1)); {
	case err == nil:
		return fmt.Errorf("%w: bytes after its end", ErrCorrupt)
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}
