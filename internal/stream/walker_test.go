package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// event makes a whole event with a checksum; next is the offset behind it.
func event(t binlog.Type, flags uint16, next uint32, body []byte) []byte {
	raw := make([]byte, binlog.HeaderSize, binlog.HeaderSize+len(body)+4)
	raw[4] = byte(t)
	binary.LittleEndian.PutUint32(raw[9:], uint32(cap(raw)))
	binary.LittleEndian.PutUint32(raw[13:], next)
	binary.LittleEndian.PutUint16(raw[17:], flags)
	raw = append(raw, body...)
	return binary.LittleEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw))
}

func rotate(file string, offset uint64) []byte {
	body := append(binary.LittleEndian.AppendUint64(nil, offset), file...)
	return event(binlog.RotateEvent, binlog.FlagArtificial, 0, body)
}

// description is a MySQL server's, which says that the file has checksums.
func description(next uint32) []byte {
	body := make([]byte, 57+41+1)
	binary.LittleEndian.PutUint16(body, 4)
	copy(body[2:], "9.7.0")
	body[56] = binlog.HeaderSize
	body[len(body)-1] = 1
	return event(binlog.FormatDescription, 0, next, body)
}

var start = binlog.Position{File: "bin.000001", Offset: 4}

func position(offset int64) binlog.Position {
	return binlog.Position{File: "bin.000001", Offset: offset}
}

// head is a stream's beginning: 122 bytes of description, so that the next
// event begins at 126.
func head() [][]byte { return [][]byte{rotate("bin.000001", 4), description(126)} }

func xid(next uint32) []byte {
	return event(binlog.XIDEvent, 0, next, make([]byte, 8)) // 31 bytes
}

// encryption is what MariaDB begins an encrypted file with.
func encryption(next uint32) []byte {
	return event(binlog.StartEncryption, 0, next, make([]byte, 17)) // 40 bytes
}

// TestWalk: what a stream of events means, and what it must not be.
func TestWalk(t *testing.T) {
	artificial := event(binlog.QueryEvent, binlog.FlagArtificial, 0, []byte("x"))
	beat := event(binlog.HeartbeatEvent, 0, 126, []byte("bin.000001"))
	bent := xid(157)
	bent[20] ^= 1
	for _, c := range []struct {
		name   string
		want   binlog.Position
		events [][]byte
		err    error
		bytes  int // handed out for files
	}{
		{"from the beginning", start, append(head(), xid(157), xid(188)), nil, 122 + 62},
		{"without next offsets", start, append(head(), xid(0), xid(188)), nil, 122 + 62},
		{"heartbeats and made up events", start, append(head(), beat, artificial, xid(157)), nil, 122 + 31},
		{"from inside", position(600), [][]byte{rotate("bin.000001", 600), description(0), xid(631)}, nil, 31},
		{"from inside the head", position(126), append(head(), xid(157)), nil, 31},
		{"… further on", position(157), append(head(), xid(157), xid(188)), nil, 31},
		{"… which is shorter", position(157), append(head(), beat), ErrPosition, 0},
		{"… and ends", position(157), append(head(), rotate("bin.000002", 4)), ErrPosition, 0},
		{"… where no event begins", position(156), append(head(), xid(157)), ErrPosition, 0},
		{"an encrypted file", start, append(head(), encryption(166), xid(197)), nil, 122 + 40 + 31},
		{"from inside an encrypted file", position(600), [][]byte{rotate("bin.000001", 600), description(0), encryption(0), xid(631)}, nil, 31},
		{"… whose head comes again later", position(600), [][]byte{rotate("bin.000001", 600), description(0), xid(631), encryption(0)}, nil, 31 + 40},
		{"the next file", start, append(head(), xid(157), rotate("bin.000002", 4), description(126), xid(157)), nil, 2 * (122 + 31)},
		{"another file than asked for", start, [][]byte{rotate("bin.000002", 4)}, ErrHole, 0},
		{"another offset than asked for", position(600), head(), ErrHole, 0},
		{"another offset than the beginning", start, [][]byte{rotate("bin.000001", 126)}, ErrHole, 0},
		{"the next file from inside", start, append(head(), rotate("bin.000002", 126)), ErrHole, 122},
		{"the same file again", start, append(head(), rotate("bin.000001", 4)), binlog.ErrCorrupt, 122},
		{"a hole", start, append(head(), xid(158)), ErrHole, 122},
		{"a hole behind an event without offset", start, append(head(), xid(0), xid(189)), ErrHole, 122 + 31},
		{"a bit", start, append(head(), bent), binlog.ErrChecksum, 122},
		{"no name", start, [][]byte{description(126)}, binlog.ErrCorrupt, 0},
		{"no description", start, [][]byte{rotate("bin.000001", 4), xid(35)}, binlog.ErrCorrupt, 0},
		{"a description inside", start, append(head(), description(248)), binlog.ErrCorrupt, 122},
		{"a wrong size", start, append(head(), xid(157)[:30]), binlog.ErrCorrupt, 122},
		{"nothing", start, [][]byte{nil}, binlog.ErrCorrupt, 0},
	} {
		w := walker{want: c.want}
		var err error
		got := 0
		for _, raw := range c.events {
			var p Piece
			if p, err = w.add(raw); err != nil {
				break
			}
			if p.Kind == Bytes {
				got += len(p.Raw)
			}
		}
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || got != c.bytes {
			t.Errorf("%s: %d bytes, %v; want %d, %v", c.name, got, err, c.bytes, c.err)
		}
	}
}

// FuzzWalk: whatever a source sends, what is handed out are its own bytes, each
// piece where the one before it ended.
func FuzzWalk(f *testing.F) {
	for _, raw := range append(head(), xid(157), xid(0), rotate("bin.000002", 4)) {
		f.Add(raw, xid(188))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		w := walker{want: start}
		for _, raw := range append(head(), first, second) {
			at := w.offset
			p, err := w.add(raw)
			if err != nil {
				return
			}
			if p.Kind == Bytes && (p.Offset != at || w.offset != at+int64(len(raw)) || !bytes.Equal(p.Raw, raw)) {
				t.Fatalf("%d bytes at %d were handed out as %d at %d", len(raw), at, len(p.Raw), p.Offset)
			}
		}
	})
}
