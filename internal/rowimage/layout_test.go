package rowimage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/rowimage"
)

func TestLayoutsRefused(t *testing.T) {
	for _, test := range []struct {
		name        string
		types, meta []byte
		want        error
	}{
		{"metadata missing", []byte{rowimage.TypeVarchar}, []byte{1}, rowimage.ErrShort},
		{"old DECIMAL", []byte{rowimage.TypeDecimalOld}, nil, rowimage.ErrUnknown},
		{"NULL", []byte{rowimage.TypeNull}, nil, rowimage.ErrUnknown},
		{"typed array", []byte{20}, nil, rowimage.ErrUnknown},
		{"a type of the future", []byte{243}, nil, rowimage.ErrUnknown},
		{"blob with 0 length bytes", []byte{rowimage.TypeBlob}, []byte{0}, rowimage.ErrUnknown},
		{"blob with 5 length bytes", []byte{rowimage.TypeBlob}, []byte{5}, rowimage.ErrUnknown},
		{"more scale than precision", []byte{rowimage.TypeNewDecimal}, []byte{3, 4}, rowimage.ErrUnknown},
		{"DECIMAL without digits", []byte{rowimage.TypeNewDecimal}, []byte{0, 0}, rowimage.ErrUnknown},
		{"a string of another type", []byte{rowimage.TypeString}, []byte{3, 1}, rowimage.ErrUnknown},
		{"SET of 9 bytes", []byte{rowimage.TypeString}, []byte{rowimage.TypeSet, 9}, rowimage.ErrUnknown},
		{"BIT of 9 bytes", []byte{rowimage.TypeBit}, []byte{1, 8}, rowimage.ErrUnknown},
		{"a fraction of 7 digits", []byte{rowimage.TypeTime2}, []byte{7}, rowimage.ErrUnknown},
		{"no columns, whose images would have no end", nil, nil, rowimage.ErrUnknown},
		{"bytes behind the metadata", []byte{rowimage.TypeBlob}, []byte{1, 1}, rowimage.ErrUnknown},
	} {
		if l, err := rowimage.New(test.types, test.meta); !errors.Is(err, test.want) {
			t.Errorf("%s: %+v %v, want %v", test.name, l, err, test.want)
		}
	}
}

// TestLongStrings: a STRING's length above 255 hides in its real type, as
// Field_string::do_save_field_metadata writes it.
func TestLongStrings(t *testing.T) {
	for size := range 1024 {
		meta := []byte{byte(rowimage.TypeString ^ (size & 0x300 >> 4)), byte(size)}
		l, err := rowimage.New([]byte{rowimage.TypeString}, meta)
		if err != nil {
			t.Fatalf("%d: %v", size, err)
		}
		want := 1
		if size > 255 {
			want = 2
		}
		if c := l.Columns[0]; int(c.Meta) != size || c.Prefix != want {
			t.Errorf("%d: %+v", size, c)
		}
	}
}

// TestShortImages: an image that is cut off anywhere is refused.
func TestShortImages(t *testing.T) {
	l, err := rowimage.New([]byte{rowimage.TypeLong, rowimage.TypeVarchar, rowimage.TypeBlob, rowimage.TypeTiny}, []byte{44, 1, 2})
	if err != nil {
		t.Fatal(err)
	}
	image := []byte{0, 1, 2, 3, 4, 2, 0, 'a', 'b', 3, 0, 'x', 'y', 'z', 9}
	cells := make([]rowimage.Cell, 4)
	for n := range image {
		if _, err := l.Scan(image[:n], nil, cells); !errors.Is(err, rowimage.ErrShort) {
			t.Errorf("cut at %d: %v", n, err)
		}
		if _, err := l.Size(image[:n]); !errors.Is(err, rowimage.ErrShort) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	if n, err := l.Scan(append(image, 1, 2, 3), nil, cells); n != len(image) || err != nil {
		t.Errorf("%d %v", n, err)
	}
	if _, err := l.Scan(image, []byte{}, cells); !errors.Is(err, rowimage.ErrShort) {
		t.Errorf("a bitmap that is too short: %v", err)
	}
}

func TestFloatKeys(t *testing.T) {
	l, err := rowimage.New([]byte{rowimage.TypeDouble}, []byte{8})
	if err != nil {
		t.Fatal(err)
	}
	key := func(f float64) []byte {
		image := binary.LittleEndian.AppendUint64([]byte{0}, math.Float64bits(f))
		k, _, _, err := rowimage.Key{{}}.Append(nil, l, image, []rowimage.Cell{{Start: 1, End: 9}})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if !bytes.Equal(key(0), key(math.Copysign(0, -1))) {
		t.Error("0.0 and -0.0 are two keys")
	}
	sorted := []float64{math.Inf(-1), -math.MaxFloat64, -1, -math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 1, math.MaxFloat64, math.Inf(1)}
	for i := 1; i < len(sorted); i++ {
		if bytes.Compare(key(sorted[i-1]), key(sorted[i])) >= 0 {
			t.Errorf("%g is not before %g", sorted[i-1], sorted[i])
		}
	}
}

// TestAppendCells: the image of some columns of a full one, by a dumb twin that
// scans it again.
func TestAppendCells(t *testing.T) {
	l, err := rowimage.New(bytes.Repeat([]byte{rowimage.TypeVarchar}, 11), bytes.Repeat([]byte{100, 0}, 11))
	if err != nil {
		t.Fatal(err)
	}
	image := []byte{0b01010000, 0b00000010} // columns 4, 6 and 9 are NULL
	for i := range 11 {
		if i != 4 && i != 6 && i != 9 {
			image = append(append(image, byte(i)), bytes.Repeat([]byte{byte('a' + i)}, i)...)
		}
	}
	cells := make([]rowimage.Cell, 11)
	if _, err := l.Scan(image, nil, cells); err != nil {
		t.Fatal(err)
	}
	for _, columns := range [][]int{{0}, {4}, {10}, {3, 4, 5}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}} {
		part := rowimage.AppendCells([]byte("before"), image, cells, columns)[len("before"):]
		again := make([]rowimage.Cell, 11)
		n, err := l.Scan(part, rowimage.Bitmap(11, columns), again)
		if err != nil || n != len(part) {
			t.Errorf("%v: %d of %d bytes, %v", columns, n, len(part), err)
		}
		for _, c := range columns {
			if !bytes.Equal(part[again[c].Start:again[c].End], image[cells[c].Start:cells[c].End]) {
				t.Errorf("%v: column %d is %q", columns, c, part[again[c].Start:again[c].End])
			}
		}
	}
	if full := rowimage.FullBitmap(11); !bytes.Equal(full, []byte{0xff, 0x07}) {
		t.Errorf("%08b", full)
	}
}

// FuzzScan: no layout and no image makes Scan go wrong; what it finds lies in
// the image, in order, and Size agrees.
func FuzzScan(f *testing.F) {
	f.Add([]byte{3, 15, 252, 246, 254, 16, 18}, []byte{100, 0, 2, 10, 3, 254, 10, 1, 1, 3}, []byte{0x7f}, []byte{0, 1, 2, 3, 4, 2, 'a', 'b', 1, 0, 'x'})
	f.Add([]byte{1}, []byte{}, []byte{}, []byte{1})
	f.Fuzz(func(t *testing.T, types, meta, present, image []byte) {
		l, err := rowimage.New(types, meta)
		if err != nil {
			return
		}
		cells := make([]rowimage.Cell, len(types))
		if len(present) == 0 {
			present = nil
		}
		n, err := l.Scan(image, present, cells)
		if err != nil {
			return
		}
		at := 0
		for i, c := range cells {
			if present != nil && present[i/8]>>(i%8)&1 == 0 {
				continue
			}
			if c.Start < at || c.End < c.Start || c.End > n {
				t.Fatalf("column %d at %+v behind %d of %d", i, c, at, n)
			}
			at = c.End
		}
		if present == nil {
			if size, err := l.Size(image); err != nil || size != n {
				t.Errorf("%d, Size says %d, %v", n, size, err)
			}
		}
		var key rowimage.Key
		for i, c := range cells {
			if !c.Null() {
				key = append(key, rowimage.KeyPart{Column: i, PadZero: 5})
			}
		}
		if _, _, _, err := key.Append(nil, l, image, cells); err != nil {
			t.Error(err)
		}
	})
}
