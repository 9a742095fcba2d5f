package binlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// Format is what a FORMAT_DESCRIPTION_EVENT says about its file.
//
//	offset size
//	     0    2  binary log version, 4
//	     2   50  server version, padded with zero bytes
//	    52    4  created: not 0 in the first file after a server start
//	    56    1  header length, 19
//	    57    n  length of the fixed part of each event type, from type 1 on
//	  57+n    1  checksum algorithm: 0 none, 1 CRC32
//	            (then always a CRC32 of the event itself)
type Format struct {
	ServerVersion string
	Created       uint32
	ServerID      uint32
	InUse         bool // the file was not closed: the server died or still writes it
	Checksum      bool
	Flavor        gtid.Flavor
	postHeader    []byte
	raw           []byte // whole event with its trailer
}

const formatFixed = 57

// DecodeFormat decodes a whole FORMAT_DESCRIPTION_EVENT, header and checksum
// included; the Format keeps raw.
func DecodeFormat(raw []byte) (Format, error) {
	if len(raw) < HeaderSize || Type(raw[4]) != FormatDescription {
		return Format{}, fmt.Errorf("%w: no FORMAT_DESCRIPTION_EVENT", ErrCorrupt)
	}
	body := raw[HeaderSize:]
	if len(body) < formatFixed+1 {
		return Format{}, fmt.Errorf("%w: FORMAT_DESCRIPTION_EVENT of %d bytes", ErrCorrupt, len(raw))
	}
	if v := binary.LittleEndian.Uint16(body); v != 4 {
		return Format{}, fmt.Errorf("%w: binary log version %d, only 4 (MySQL 5.0 and later) is known", ErrUnsupported, v)
	}
	if body[56] != HeaderSize {
		return Format{}, fmt.Errorf("%w: header length %d", ErrUnsupported, body[56])
	}
	version, _, _ := bytes.Cut(body[2:52], []byte{0})
	f := Format{
		ServerVersion: string(version),
		Created:       binary.LittleEndian.Uint32(body[52:]),
		ServerID:      binary.LittleEndian.Uint32(raw[5:]),
		InUse:         binary.LittleEndian.Uint16(raw[17:])&FlagInUse != 0,
		raw:           raw,
	}
	if !writesChecksumAlgorithm(f.ServerVersion) {
		return Format{}, fmt.Errorf("%w: server %q is too old to write the checksum algorithm", ErrUnsupported, f.ServerVersion)
	}
	if len(body) < formatFixed+5 {
		return Format{}, fmt.Errorf("%w: FORMAT_DESCRIPTION_EVENT of %d bytes", ErrCorrupt, len(raw))
	}
	f.postHeader = body[formatFixed : len(body)-5]
	if err := f.setChecksum(body[len(body)-5]); err != nil {
		return Format{}, err
	}
	f.Flavor = gtid.MySQL
	// MariaDB lists its own event types, which begin at 160; MySQL ends near 42.
	if len(f.postHeader) >= int(MariaGTID) {
		f.Flavor = gtid.MariaDB
	}
	return f, nil
}

func (f *Format) setChecksum(alg byte) error {
	if alg > 1 {
		return fmt.Errorf("%w: checksum algorithm %d", ErrUnsupported, alg)
	}
	f.Checksum = alg == 1
	// The event itself always has the trailer, also where the file has no
	// checksums: else a flipped bit in the algorithm would turn every other
	// event's checksum into a part of its body. The server clears the in-use
	// flag in place without a new CRC, so the flag counts as not set (MySQL:
	// Format_description_event; flag 0x1 is left out of the sum).
	n := len(f.raw) - 4
	sum := crc32.NewIEEE()
	head := append([]byte(nil), f.raw[:HeaderSize]...)
	binary.LittleEndian.PutUint16(head[17:], binary.LittleEndian.Uint16(head[17:])&^FlagInUse)
	_, _ = sum.Write(head)
	_, _ = sum.Write(f.raw[HeaderSize:n])
	if sum.Sum32() != binary.LittleEndian.Uint32(f.raw[n:]) {
		return ErrChecksum
	}
	return nil
}

// writesChecksumAlgorithm: MySQL from 5.6.1 and MariaDB from 5.3 on end the
// event with the algorithm byte (MySQL checksum_version_split).
func writesChecksumAlgorithm(version string) bool {
	var major, minor, patch int
	_, _ = fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch)
	if strings.Contains(version, "MariaDB") {
		return major > 5 || major == 5 && minor >= 3
	}
	return major > 5 || major == 5 && (minor > 6 || minor == 6 && patch >= 1)
}

// Begun is when the file was begun, by the clock of the session that did it.
func (f Format) Begun() time.Time { return time.Unix(int64(header(f.raw).Timestamp), 0).UTC() }

// ID tells files of one name apart: 16 hex digits of a hash over what the
// description says, but for what a server changes when it closes the file or
// sends the description alone (flags, next offset, time of the server's start,
// checksum). Two files that one server begins within a second under one name,
// as after RESET MASTER, have one ID.
func (f Format) ID() string {
	b := append([]byte(nil), f.raw[:len(f.raw)-4]...)
	binary.LittleEndian.PutUint32(b[13:], 0)
	binary.LittleEndian.PutUint16(b[17:], 0)
	binary.LittleEndian.PutUint32(b[HeaderSize+52:], 0)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// Frame makes an event of its bytes, header and checksum included, as a source
// sends them. The checksum is checked; where in its file the event lies is the
// caller's to know.
func (f Format) Frame(raw []byte) (Event, error) {
	trailer := 0
	if f.Checksum {
		trailer = 4
	}
	if len(raw) < HeaderSize+trailer {
		return Event{}, fmt.Errorf("%w: event of %d bytes", ErrCorrupt, len(raw))
	}
	if f.Checksum {
		if err := checkCRC(raw); err != nil {
			return Event{}, err
		}
	}
	ev := header(raw)
	ev.Body = raw[HeaderSize : len(raw)-trailer]
	return ev, nil
}

// ForApply returns the event as a BINLOG statement needs it: without checksums
// (so that rows events can be sent without trailers), without a creation time
// (which would make the server drop temporary tables) and under the target's
// own server id (an event of another id does the same).
func (f Format) ForApply(serverID uint32) []byte {
	out := append([]byte(nil), f.raw...)
	binary.LittleEndian.PutUint32(out[0:], 0)
	binary.LittleEndian.PutUint32(out[5:], serverID)
	binary.LittleEndian.PutUint32(out[13:], 0)
	binary.LittleEndian.PutUint16(out[17:], 0)
	binary.LittleEndian.PutUint32(out[HeaderSize+52:], 0)
	out[len(out)-5] = 0
	binary.LittleEndian.PutUint32(out[len(out)-4:], crc32.ChecksumIEEE(out[:len(out)-4]))
	return out
}

// fixedLen is the length of the fixed part of an event type, 0 if the file's
// server did not list it.
func (f Format) fixedLen(t Type) int {
	if t == 0 || int(t) > len(f.postHeader) {
		return 0
	}
	return int(f.postHeader[t-1])
}
