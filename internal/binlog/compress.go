package binlog

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"
)

// Inflater decompresses events and payloads, up to a bound in bytes for each
// payload, so that a damaged length cannot exhaust memory. Not safe for
// concurrent use.
type Inflater struct {
	Limit int64 // largest uncompressed payload, in bytes
	start int64 // so many bytes are enough; 0: all
	zstd  *zstd.Decoder
}

// Payload is the head of a TRANSACTION_PAYLOAD_EVENT: fields of (type, length,
// value), all packed integers; type 0 ends them, the payload follows.
type payloadHead struct {
	size, compression, uncompressed uint64
	data                            []byte
}

const (
	payloadZstd = 0
	payloadNone = 255
)

func decodePayloadHead(body []byte) (payloadHead, error) {
	h := payloadHead{compression: payloadNone}
	rest := body
	for {
		typ, w := packedInt(rest)
		if w == 0 {
			return h, short(TransactionPayload, body)
		}
		rest = rest[w:]
		if typ == 0 {
			break
		}
		value, tail, ok := cutPacked(rest)
		if !ok {
			return h, short(TransactionPayload, body)
		}
		rest = tail
		if err := h.set(typ, value); err != nil {
			return h, err
		}
	}
	if h.size == 0 || h.size != uint64(len(rest)) {
		return h, fmt.Errorf("%w: TRANSACTION_PAYLOAD_EVENT announces %d bytes and has %d", ErrCorrupt, h.size, len(rest))
	}
	h.data = rest[:h.size]
	return h, nil
}

func (h *payloadHead) set(typ uint64, value []byte) error {
	v, w := packedInt(value)
	if w == 0 {
		return fmt.Errorf("%w: TRANSACTION_PAYLOAD_EVENT field %d", ErrCorrupt, typ)
	}
	switch typ {
	case 1:
		h.size = v
	case 2:
		h.compression = v
	case 3:
		h.uncompressed = v
	default:
		return fmt.Errorf("%w: TRANSACTION_PAYLOAD_EVENT field %d", ErrUnsupported, typ)
	}
	return nil
}

// Payload returns the events inside a TRANSACTION_PAYLOAD_EVENT. They carry no
// checksums; the payload event's own covers them.
func (in *Inflater) Payload(ev Event) ([]Event, error) {
	head, err := decodePayloadHead(ev.Body)
	if err != nil {
		return nil, err
	}
	data, err := in.unpack(head)
	if err != nil {
		return nil, err
	}
	var events []Event
	for len(data) > 0 {
		if len(data) < HeaderSize {
			return nil, short(TransactionPayload, ev.Body)
		}
		size := int64(binary.LittleEndian.Uint32(data[9:]))
		if size < HeaderSize || size > int64(len(data)) {
			return nil, short(TransactionPayload, ev.Body)
		}
		inner := header(data)
		if !inner.Type.Known() && inner.Flags&FlagIgnorable == 0 {
			return nil, fmt.Errorf("%w: %s inside a payload", ErrUnknown, inner.Type)
		}
		inner.Offset, inner.End, inner.Inner = ev.Offset, ev.End, true
		inner.Body = data[HeaderSize:size]
		events = append(events, inner)
		data = data[size:]
	}
	return events, nil
}

func (in *Inflater) unpack(h payloadHead) ([]byte, error) {
	if h.compression == payloadNone {
		return h.data, nil
	}
	if h.compression != payloadZstd {
		return nil, fmt.Errorf("%w: payload compression %d", ErrUnsupported, h.compression)
	}
	if int64(h.uncompressed) > in.Limit || int64(h.uncompressed) < 0 {
		return nil, fmt.Errorf("%w: a transaction of %d bytes uncompressed, more than the limit of %d: give more --memory",
			ErrUnsupported, h.uncompressed, in.Limit)
	}
	if in.zstd == nil {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(in.Limit, 1<<20))))
		if err != nil {
			return nil, err
		}
		in.zstd = dec
	}
	// The declared size is a hint of the file's, so it bounds nothing by itself.
	out, err := in.zstd.DecodeAll(h.data, make([]byte, 0, min(h.uncompressed, uint64(len(h.data))*64)))
	if err != nil {
		return nil, fmt.Errorf("%w: payload: %w", ErrCorrupt, err)
	}
	if uint64(len(out)) != h.uncompressed {
		return nil, fmt.Errorf("%w: payload has %d bytes uncompressed, %d announced", ErrCorrupt, len(out), h.uncompressed)
	}
	return out, nil
}

// Inflate turns one of MariaDB's compressed events (165 to 171) into the plain
// event it stands for; other events come back unchanged.
//
// The compressed part is a byte (0x80, algorithm, number of length bytes), the
// uncompressed length (big endian) and a zlib stream: MariaDB
// sql/log_event.cc, binlog_buf_compress.
func (in *Inflater) Inflate(ev Event) (Event, error) {
	switch {
	case ev.Type == QueryCompressed:
		return in.inflateQuery(ev)
	case ev.Type.uncompressed() != ev.Type:
		return in.inflateRows(ev)
	default:
		return ev, nil
	}
}

func (in *Inflater) inflateQuery(ev Event) (Event, error) {
	head, err := queryHead(ev)
	if err != nil {
		return ev, err
	}
	return in.inflateTail(ev, head, QueryEvent)
}

// queryHead is how long a QUERY_COMPRESSED_EVENT is up to its statement.
func queryHead(ev Event) (int, error) {
	if len(ev.Body) < queryFixed {
		return 0, short(ev.Type, ev.Body)
	}
	return queryFixed + int(binary.LittleEndian.Uint16(ev.Body[11:])) + int(ev.Body[8]) + 1, nil
}

// QueryStart turns a QUERY_COMPRESSED_EVENT into the plain one with the beginning
// of its statement, most bytes or fewer; other events come back unchanged. It
// takes no more memory than that, however large the statement is.
func QueryStart(ev Event, most int64) (Event, error) {
	if ev.Type != QueryCompressed {
		return ev, nil
	}
	head, err := queryHead(ev)
	if err != nil {
		return ev, err
	}
	return (&Inflater{Limit: math.MaxInt64, start: most}).inflateTail(ev, head, QueryEvent)
}

func (in *Inflater) inflateRows(ev Event) (Event, error) {
	r, err := DecodeRows(ev.Type, ev.Body)
	if err != nil {
		return ev, err
	}
	return in.inflateTail(ev, len(ev.Body)-len(r.Images), ev.Type.uncompressed())
}

func (in *Inflater) inflateTail(ev Event, head int, t Type) (Event, error) {
	if head > len(ev.Body) {
		return ev, short(ev.Type, ev.Body)
	}
	tail, err := in.zlib(ev.Body[head:])
	if err != nil {
		return ev, fmt.Errorf("%s: %w", ev.Type, err)
	}
	ev.Type, ev.Inner = t, true
	ev.Body = append(append(make([]byte, 0, head+len(tail)), ev.Body[:head]...), tail...)
	return ev, nil
}

func (in *Inflater) zlib(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: nothing compressed", ErrCorrupt)
	}
	n := int(b[0] & 0x07)
	if b[0]&0x80 == 0 || b[0]>>4&0x07 != 0 || n == 0 || n > 4 || len(b) < 1+n {
		return nil, fmt.Errorf("%w: compression header %#x", ErrCorrupt, b[0])
	}
	size := int64(0)
	for _, c := range b[1 : 1+n] {
		size = size<<8 | int64(c)
	}
	if size > in.Limit {
		return nil, fmt.Errorf("%w: %d bytes uncompressed, more than the limit of %d: give more --memory", ErrUnsupported, size, in.Limit)
	}
	r, err := zlib.NewReader(bytes.NewReader(b[1+n:]))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	defer func() { _ = r.Close() }()
	limit := size + 1
	if in.start > 0 && in.start < size {
		size, limit = in.start, in.start
	}
	var out bytes.Buffer
	if _, err := io.Copy(&out, io.LimitReader(r, limit)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if int64(out.Len()) != size {
		return nil, fmt.Errorf("%w: %d bytes uncompressed, %d announced", ErrCorrupt, out.Len(), size)
	}
	return out.Bytes(), nil
}
