package inspect

import (
	"errors"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/rowimage"
)

// Images of no bytes in front of others are damage, and must not be walked
// forever. No bytes at all are one row: an insert of defaults, MINIMAL.
func TestImagesOfNoBytes(t *testing.T) {
	layout, err := rowimage.New([]byte{rowimage.TypeLong, rowimage.TypeLong}, nil)
	if err != nil {
		t.Fatal(err)
	}
	none := &rowimage.Layout{}
	for _, c := range []struct {
		name   string
		layout *rowimage.Layout
		kind   binlog.RowsKind
		images []byte
		rows   int64 // -1: damage
	}{
		{"insert", layout, binlog.WriteRows, nil, 1},
		{"insert and more", layout, binlog.WriteRows, []byte{1, 2}, -1},
		{"update and more", layout, binlog.UpdateRows, []byte{1, 2}, -1},
		{"table without columns", none, binlog.DeleteRows, []byte{1}, -1},
	} {
		m := &mapped{layout: c.layout, cells: make([]rowimage.Cell, len(c.layout.Columns))}
		bitmap := make([]byte, (len(c.layout.Columns)+7)/8)
		n, err := m.countRows(&binlog.RowsBody{Kind: c.kind, Before: bitmap, After: bitmap, Images: c.images})
		if c.rows < 0 && !errors.Is(err, binlog.ErrCorrupt) || c.rows >= 0 && (err != nil || n != c.rows) {
			t.Errorf("%s: %d rows, %v; want %d", c.name, n, err, c.rows)
		}
	}
	m := &mapped{layout: none}
	if _, _, err := m.identity([]byte{1, 2, 3}); !errors.Is(err, binlog.ErrCorrupt) {
		t.Errorf("identity of a row without columns: %v", err)
	}
}
