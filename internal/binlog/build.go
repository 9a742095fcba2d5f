package binlog

import "encoding/binary"

// AppendEvent appends a whole event without checksum, as a BINLOG statement
// takes it: header, then the body that fill appends.
func AppendEvent(dst []byte, t Type, timestamp, serverID uint32, fill func([]byte) []byte) []byte {
	start := len(dst)
	dst = BeginEvent(dst, t, timestamp, serverID)
	dst = fill(dst)
	EndEvent(dst, start)
	return dst
}

// BeginEvent appends an event header whose size EndEvent fills in.
func BeginEvent(dst []byte, t Type, timestamp, serverID uint32) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, timestamp)
	dst = append(dst, byte(t))
	dst = binary.LittleEndian.AppendUint32(dst, serverID)
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // size, next offset, flags
}

// EndEvent completes the event that began at offset start of buf and ends
// where buf ends.
func EndEvent(buf []byte, start int) {
	binary.LittleEndian.PutUint32(buf[start+9:], uint32(len(buf)-start)) //nolint:gosec // bounded by the caller's chunk size
}

// AppendRowsHead appends the fixed part of a rows event's body, up to the
// images: table id, flags, the empty extra data of version 2, column count and
// column bitmaps.
func AppendRowsHead(dst []byte, t Type, tableID uint32, flags uint16, columns int, bitmaps ...[]byte) []byte {
	dst = appendTableID(dst, tableID)
	dst = binary.LittleEndian.AppendUint16(dst, flags)
	if t.rowsV2() {
		dst = append(dst, 2, 0)
	}
	dst = appendPacked(dst, uint64(columns))
	for _, b := range bitmaps {
		dst = append(dst, b...)
	}
	return dst
}

func appendPacked(dst []byte, v uint64) []byte {
	if v < 251 {
		return append(dst, byte(v))
	}
	return append(dst, 252, byte(v), byte(v>>8))
}

// PatchTableID rewrites the table id at the beginning of a rows or table map
// event's body.
func PatchTableID(body []byte, id uint32) {
	binary.LittleEndian.PutUint32(body, id)
	body[4], body[5] = 0, 0
}
