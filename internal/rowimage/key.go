package rowimage

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrUnresolved says that a text value's normal form is not known yet: ask the
// server (collation.Resolve) and try again.
var ErrUnresolved = errors.New("text value not resolved")

// Folder turns text values into the normal form in which two values are equal
// exactly if the server says so; known is false if it must be asked first.
type Folder interface {
	AppendKey(dst, raw []byte) (out []byte, known bool)
}

// KeyPart is one column of a key.
type KeyPart struct {
	Column   int    // ordinal from 0
	Unsigned bool   // integer columns
	Fold     Folder // text columns; nil: bytes as they are
	PadZero  int    // fixed BINARY(n): the image lacks trailing zero bytes; n, or 0
}

// Key is a unique key: what identifies a row.
type Key []KeyPart

// Append appends the key of an image to dst, in a form in which equal bytes
// mean equal keys and byte order is (for the common types) key order. null is
// true if a part is NULL: such a row has no identity under this key.
//
// On ErrUnresolved part tells which part of the key must be resolved.
func (k Key) Append(dst []byte, l *Layout, image []byte, cells []Cell) (out []byte, null bool, part int, err error) {
	for i := range k {
		p := &k[i]
		cell := cells[p.Column]
		if cell.Null() {
			return dst, true, 0, nil
		}
		col := &l.Columns[p.Column]
		value := image[cell.Start:cell.End]
		if col.Prefix == 0 {
			dst = appendFixed(dst, col, value, p.Unsigned)
			continue
		}
		var known bool
		if dst, known = p.appendText(dst, value[col.Prefix:], len(k) == 1); !known {
			return dst, false, i, ErrUnresolved
		}
	}
	return dst, false, 0, nil
}

// Text is the value of the key's part i in the image, without length bytes.
func (k Key) Text(i int, l *Layout, image []byte, cells []Cell) []byte {
	c := cells[k[i].Column]
	return image[c.Start+l.Columns[k[i].Column].Prefix : c.End]
}

// appendText appends a value of variable length. In a key of several parts its
// length stands behind it, so that ("ab","c") and ("a","bc") differ.
func (p *KeyPart) appendText(dst, value []byte, alone bool) ([]byte, bool) {
	start := len(dst)
	if p.Fold != nil {
		var known bool
		if dst, known = p.Fold.AppendKey(dst, value); !known {
			return dst, false
		}
	} else {
		dst = append(dst, value...)
		for n := len(value); n < p.PadZero; n++ {
			dst = append(dst, 0)
		}
	}
	if !alone {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(dst)-start)) //nolint:gosec // key lengths are small
	}
	return dst, true
}

func appendFixed(dst []byte, col *Column, v []byte, unsigned bool) []byte {
	switch col.Type {
	case TypeTiny, TypeShort, TypeInt24, TypeLong, TypeLongLong:
		return appendInt(dst, v, unsigned)
	case TypeFloat:
		return appendFloat(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(v))))
	case TypeDouble:
		return appendFloat(dst, math.Float64frombits(binary.LittleEndian.Uint64(v)))
	case TypeYear, TypeDate, TypeNewDate, TypeTime, TypeTimestamp, TypeDatetime, TypeEnum, TypeSet:
		return appendInt(dst, v, true)
	default: // new temporal types, decimals, bits: stored so that bytes compare
		return append(dst, v...)
	}
}

// appendInt turns little endian into big endian, with the sign bit flipped for
// signed numbers, so that bytes compare as numbers do.
func appendInt(dst, v []byte, unsigned bool) []byte {
	start := len(dst)
	for i := len(v) - 1; i >= 0; i-- {
		dst = append(dst, v[i])
	}
	if !unsigned {
		dst[start] ^= 0x80
	}
	return dst
}

func appendFloat(dst []byte, f float64) []byte {
	if f == 0 {
		f = 0 // -0.0 and 0.0 are one key
	}
	b := math.Float64bits(f)
	if b>>63 == 1 {
		b = ^b
	} else {
		b |= 1 << 63
	}
	return binary.BigEndian.AppendUint64(dst, b)
}

// Int reads an integer cell; ok is false for other types.
func (c *Column) Int(v []byte, unsigned bool) (n uint64, ok bool) {
	switch c.Type {
	case TypeTiny, TypeShort, TypeInt24, TypeLong, TypeLongLong:
	default:
		return 0, false
	}
	for i := len(v) - 1; i >= 0; i-- {
		n = n<<8 | uint64(v[i])
	}
	if !unsigned && v[len(v)-1]&0x80 != 0 {
		return 0, false // negative: never an AUTO_INCREMENT value
	}
	return n, true
}

// AppendCells appends an image that holds only the given columns of a full
// one: its NULL bitmap and cells. columns must ascend; none may be NULL unless
// its cell is.
func AppendCells(dst, image []byte, cells []Cell, columns []int) []byte {
	start := len(dst)
	for range (len(columns) + 7) / 8 {
		dst = append(dst, 0)
	}
	for i, c := range columns {
		if cells[c].Null() {
			dst[start+i>>3] |= 1 << (i & 7)
			continue
		}
		dst = append(dst, image[cells[c].Start:cells[c].End]...)
	}
	return dst
}

// Bitmap is the column bitmap with the given columns of n set.
func Bitmap(n int, columns []int) []byte {
	b := make([]byte, (n+7)/8)
	for _, c := range columns {
		b[c>>3] |= 1 << (c & 7)
	}
	return b
}

// FullBitmap is the bitmap of all n columns.
func FullBitmap(n int) []byte {
	b := make([]byte, (n+7)/8)
	for i := range n {
		b[i>>3] |= 1 << (i & 7)
	}
	return b
}
