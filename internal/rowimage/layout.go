// Package rowimage finds the cells of a row image without copying or decoding
// them.
//
// A row image is, for the columns that are present, a bitmap of NULLs (one bit
// for each column present, low bit first) followed by the cells that are not
// NULL, in column order. How long a cell is follows from the column's type and
// metadata in the TABLE_MAP_EVENT, and for some types from length bytes at the
// cell's beginning.
//
// Sources: MySQL 9.7 sql-common/my_time and libs/mysql/binlog/event/
// binary_log_funcs.cpp (calc_field_size, max_display_length_for_field) and
// rows_event.h (Table_map_event's table of types); MariaDB 10.11
// sql/rpl_utility.cc (table_def::calc_field_size).
package rowimage

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Column types as they stand in a TABLE_MAP_EVENT.
const (
	TypeDecimalOld  = 0
	TypeTiny        = 1
	TypeShort       = 2
	TypeLong        = 3
	TypeFloat       = 4
	TypeDouble      = 5
	TypeNull        = 6
	TypeTimestamp   = 7
	TypeLongLong    = 8
	TypeInt24       = 9
	TypeDate        = 10
	TypeTime        = 11
	TypeDatetime    = 12
	TypeYear        = 13
	TypeNewDate     = 14
	TypeVarchar     = 15
	TypeBit         = 16
	TypeTimestamp2  = 17
	TypeDatetime2   = 18
	TypeTime2       = 19
	TypeBlobCompr   = 140 // MariaDB COMPRESSED columns
	TypeVarcharComp = 141
	TypeVector      = 242 // MySQL 9
	TypeJSON        = 245
	TypeNewDecimal  = 246
	TypeEnum        = 247
	TypeSet         = 248
	TypeTinyBlob    = 249
	TypeMediumBlob  = 250
	TypeLongBlob    = 251
	TypeBlob        = 252
	TypeVarString   = 253
	TypeString      = 254
	TypeGeometry    = 255
)

// Errors of this package; callers add the place in the log.
var (
	ErrShort   = errors.New("short row image")
	ErrUnknown = errors.New("column type not known")
)

// Column is what is needed to find the end of a column's cells.
type Column struct {
	Type   byte // real type: ENUM and SET are resolved out of STRING
	Fixed  int  // cell size in bytes; 0 if Prefix counts
	Prefix int  // number of length bytes before the value; 0 if Fixed counts
	Meta   uint16
}

// Layout is the shape of a table's row images. Read-only after New.
type Layout struct {
	Columns []Column
}

// New builds the layout of a TABLE_MAP_EVENT's columns from its type codes and
// metadata bytes.
func New(types, meta []byte) (*Layout, error) {
	if len(types) == 0 {
		return nil, fmt.Errorf("%w: a table without columns", ErrUnknown)
	}
	l := &Layout{Columns: make([]Column, len(types))}
	for i, t := range types {
		n := metaSize(t)
		if len(meta) < n {
			return nil, fmt.Errorf("column %d: %w: metadata missing", i+1, ErrShort)
		}
		c, err := column(t, meta[:n])
		if err != nil {
			return nil, fmt.Errorf("column %d: %w", i+1, err)
		}
		l.Columns[i] = c
		meta = meta[n:]
	}
	if len(meta) > 0 {
		return nil, fmt.Errorf("%w: %d bytes of metadata that belong to no column", ErrUnknown, len(meta))
	}
	return l, nil
}

func metaSize(t byte) int {
	switch t {
	case TypeFloat, TypeDouble, TypeBlob, TypeTinyBlob, TypeMediumBlob, TypeLongBlob, TypeGeometry,
		TypeJSON, TypeVector, TypeTimestamp2, TypeDatetime2, TypeTime2, TypeBlobCompr:
		return 1
	case TypeVarchar, TypeBit, TypeNewDecimal, TypeVarString, TypeString, TypeEnum, TypeSet, TypeVarcharComp:
		return 2
	default:
		return 0
	}
}

var fixedSizes = map[byte]int{
	TypeTiny: 1, TypeShort: 2, TypeInt24: 3, TypeLong: 4, TypeLongLong: 8,
	TypeFloat: 4, TypeDouble: 8, TypeYear: 1, TypeDate: 3, TypeNewDate: 3, TypeTime: 3,
	TypeDatetime: 8, TypeTimestamp: 4,
}

func column(t byte, meta []byte) (Column, error) {
	if n, ok := fixedSizes[t]; ok {
		return Column{Type: t, Fixed: n}, nil
	}
	switch t {
	case TypeTimestamp2:
		return temporal(t, 4, meta[0])
	case TypeDatetime2:
		return temporal(t, 5, meta[0])
	case TypeTime2:
		return temporal(t, 3, meta[0])
	case TypeNewDecimal:
		return decimal(meta[0], meta[1])
	case TypeBit: // whole bytes in the high byte, odd bits in the low one
		n := int(meta[1])
		if meta[0] > 0 {
			n++
		}
		return fixed(t, n)
	case TypeVarchar, TypeVarString, TypeVarcharComp:
		return text(t, int(binary.LittleEndian.Uint16(meta))), nil
	case TypeEnum, TypeSet:
		return fixed(t, int(meta[1]))
	case TypeString:
		return stringColumn(meta[0], meta[1])
	case TypeBlob, TypeTinyBlob, TypeMediumBlob, TypeLongBlob, TypeGeometry, TypeJSON, TypeVector, TypeBlobCompr:
		if meta[0] < 1 || meta[0] > 4 {
			return Column{}, fmt.Errorf("%w: blob with %d length bytes", ErrUnknown, meta[0])
		}
		return Column{Type: t, Prefix: int(meta[0])}, nil
	default:
		return Column{}, fmt.Errorf("%w: %d", ErrUnknown, t)
	}
}

func fixed(t byte, n int) (Column, error) {
	if n == 0 || n > 8 {
		return Column{}, fmt.Errorf("%w: type %d of %d bytes", ErrUnknown, t, n)
	}
	return Column{Type: t, Fixed: n}, nil
}

// temporal: two digits of the fraction take one byte.
func temporal(t byte, whole int, digits byte) (Column, error) {
	if digits > 6 {
		return Column{}, fmt.Errorf("%w: type %d with %d digits of fraction", ErrUnknown, t, digits)
	}
	return Column{Type: t, Fixed: whole + (int(digits)+1)/2, Meta: uint16(digits)}, nil
}

func text(t byte, maxBytes int) Column {
	prefix := 1
	if maxBytes > 255 {
		prefix = 2
	}
	return Column{Type: t, Prefix: prefix, Meta: uint16(maxBytes)} //nolint:gosec // came from 16 bits
}

// stringColumn resolves type STRING: the first metadata byte is the real type
// (ENUM, SET or STRING); lengths above 255 hide two of their bits in it,
// inverted (field.cc, Field_string::do_save_field_metadata).
func stringColumn(b0, b1 byte) (Column, error) {
	size := int(b1)
	real := b0
	if b0&0x30 != 0x30 {
		size |= int(b0&0x30^0x30) << 4
		real = b0 | 0x30
	}
	switch real {
	case TypeEnum, TypeSet:
		return fixed(real, size)
	case TypeString, TypeVarString:
		return text(TypeString, size), nil
	default:
		return Column{}, fmt.Errorf("%w: string of real type %d", ErrUnknown, real)
	}
}

// decimal: nine digits take four bytes, the rest as few as hold them
// (strings/decimal.c, dig2bytes).
func decimal(precision, scale byte) (Column, error) {
	if precision == 0 || scale > precision || precision > 65 {
		return Column{}, fmt.Errorf("%w: decimal(%d,%d)", ErrUnknown, precision, scale)
	}
	dig2bytes := [...]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}
	bytesOf := func(digits int) int { return digits/9*4 + dig2bytes[digits%9] }
	n := bytesOf(int(precision)-int(scale)) + bytesOf(int(scale))
	return Column{Type: TypeNewDecimal, Fixed: n, Meta: uint16(precision)<<8 | uint16(scale)}, nil
}

// Cell is where a column's cell lies in its image: [Start, End), the length
// bytes included. A NULL or absent column has Start == End.
type Cell struct{ Start, End int }

// Null reports whether the cell holds no value.
func (c Cell) Null() bool { return c.Start == c.End }

// Scan finds the cells of the image at the beginning of buf. cells must have
// one element for each column; n is the image's length in bytes. present is
// the column bitmap; nil means that all columns are present.
func (l *Layout) Scan(buf []byte, present []byte, cells []Cell) (n int, err error) {
	count := len(l.Columns)
	if present != nil {
		if len(present)*8 < count {
			return 0, fmt.Errorf("%w: column bitmap of %d bytes for %d columns", ErrShort, len(present), count)
		}
		count = countSet(present, len(l.Columns))
	}
	pos := (count + 7) / 8
	if pos > len(buf) {
		return 0, ErrShort
	}
	nulls, bit := buf[:pos], 0
	for i := range l.Columns {
		if present != nil && present[i>>3]&(1<<(i&7)) == 0 {
			cells[i] = Cell{}
			continue
		}
		start := pos
		if nulls[bit>>3]&(1<<(bit&7)) == 0 {
			if pos, err = l.Columns[i].end(buf, pos); err != nil {
				return 0, fmt.Errorf("column %d: %w", i+1, err)
			}
		}
		cells[i] = Cell{start, pos}
		bit++
	}
	return pos, nil
}

// end returns the offset behind the cell that begins at pos.
func (c *Column) end(buf []byte, pos int) (int, error) {
	if c.Fixed > 0 {
		if pos += c.Fixed; pos > len(buf) {
			return 0, ErrShort
		}
		return pos, nil
	}
	if pos+c.Prefix > len(buf) {
		return 0, ErrShort
	}
	n := 0
	for i := c.Prefix - 1; i >= 0; i-- {
		n = n<<8 | int(buf[pos+i])
	}
	if n > len(buf)-pos-c.Prefix {
		return 0, ErrShort
	}
	return pos + c.Prefix + n, nil
}

// Size is the length of the full image at the beginning of buf.
func (l *Layout) Size(buf []byte) (int, error) {
	pos := (len(l.Columns) + 7) / 8
	if pos > len(buf) {
		return 0, ErrShort
	}
	nulls := buf[:pos]
	var err error
	for i := range l.Columns {
		if nulls[i>>3]&(1<<(i&7)) != 0 {
			continue
		}
		if pos, err = l.Columns[i].end(buf, pos); err != nil {
			return 0, fmt.Errorf("column %d: %w", i+1, err)
		}
	}
	return pos, nil
}

func countSet(bitmap []byte, n int) int {
	count := 0
	for i := range n {
		if bitmap[i>>3]&(1<<(i&7)) != 0 {
			count++
		}
	}
	return count
}
