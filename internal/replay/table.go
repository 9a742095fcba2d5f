package replay

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/collation"
	"github.com/lifeboat-db/lifeboat/internal/netchange"
	"github.com/lifeboat-db/lifeboat/internal/rowimage"
	"github.com/lifeboat-db/lifeboat/internal/schema"
)

// way says how a table's changes of one window are replayed.
type way uint8

const (
	undecided way = iota
	compacted     // net change by key
	counted       // no key: net change by copies
	verbatim      // original events in original order
)

// table is one table in one window.
type table struct {
	name   schema.Name
	def    *schema.Table
	tm     binlog.TableMap
	layout *rowimage.Layout
	way    way
	lane   string // verbatim: tables of one lane stay in order among each other
	why    string // verbatim: the reason, for the report

	key     rowimage.Key
	keyCols []int // ordinals of the key's columns, ascending
	primary bool
	unique  []uniqueKey
	index   *netchange.Index
	copies  *netchange.Multiset
	cells   []rowimage.Cell
	buf     []byte
	buf2    []byte
	imgBuf  []byte

	autoCol int // AUTO_INCREMENT column, -1 if none
	autoMax uint64

	updatesCount bool  // an update moves the AUTO_INCREMENT counter too
	imgBytes     int64 // of all images seen: gives the mean row size
	imgCount     int64
	shard        *shard
	indexed      bool // the shard counts its memory
	cascades     bool // the engine changes other tables along with this one

	suspect *checkpoint.Suspect // a transaction that was left out has changed it
	exact   bool                // verbatim: each change finds its row by all columns
}

// uniqueKey is a secondary unique key. Where its values cannot be computed from
// an image (prefix, expression, unknown collation), blind is set and all its
// values count as one.
type uniqueKey struct {
	key   rowimage.Key
	blind bool
	salt  byte
}

// folders learns collations once and serves them to all tables.
type folders struct {
	q    collation.Querier
	seen map[string]*collation.Collation
}

func newFolders(q collation.Querier) *folders {
	return &folders{q: q, seen: map[string]*collation.Collation{}}
}

// get returns nil without error if the server's comparison cannot be computed.
func (f *folders) get(ctx context.Context, charset, name string) (*collation.Collation, error) {
	if c, ok := f.seen[name]; ok {
		return c, nil
	}
	c, err := collation.Learn(ctx, f.q, charset, name)
	if errors.Is(err, collation.ErrUnsupported) {
		c, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("learn collation %s: %w", name, err)
	}
	f.seen[name] = c
	return c, nil
}

// keyOf builds the extractor of a unique key; ok is false if its values cannot
// be computed from a full image.
func (f *folders) keyOf(ctx context.Context, def *schema.Table, k *schema.Key, l *rowimage.Layout) (key rowimage.Key, ok bool, err error) {
	if !k.Plain {
		return nil, false, nil
	}
	for _, p := range k.Parts {
		c := def.Columns[p.Column]
		part := rowimage.KeyPart{Column: p.Column, Unsigned: c.Unsigned}
		if c.Virtual {
			return nil, false, nil // may be absent from images
		}
		if l.Columns[p.Column].Prefix > 0 {
			if part, ok, err = f.textPart(ctx, c, part, l.Columns[p.Column].Type); err != nil || !ok {
				return nil, false, err
			}
		}
		key = append(key, part)
	}
	return key, true, nil
}

func (f *folders) textPart(ctx context.Context, c schema.Column, part rowimage.KeyPart, typ byte) (rowimage.KeyPart, bool, error) {
	switch typ {
	case rowimage.TypeBlobCompr, rowimage.TypeVarcharComp, rowimage.TypeGeometry, rowimage.TypeJSON, rowimage.TypeVector:
		return part, false, nil
	}
	switch {
	case c.Charset == "" && c.DataType == "binary":
		part.PadZero = c.Length
		return part, true, nil
	case c.Charset == "" && (c.DataType == "varbinary" || c.DataType == "uuid" || c.DataType == "inet4" || c.DataType == "inet6"):
		part.PadZero = map[string]int{"uuid": 16, "inet6": 16, "inet4": 4}[c.DataType]
		return part, true, nil
	case c.Charset == "" || c.Collation == "":
		return part, false, nil
	}
	fold, err := f.get(ctx, c.Charset, c.Collation)
	if err == nil && fold != nil && c.DataType == "char" {
		fold, err = fold.Char(c.Chars) // a NO PAD collation compares CHAR(n) in a way of its own
	}
	if errors.Is(err, collation.ErrUnsupported) {
		return part, false, nil
	}
	if err != nil || fold == nil {
		return part, false, err
	}
	part.Fold = fold
	return part, true, nil
}

// decide settles how the table is replayed in this window, at its first rows
// event. It depends on the definition and the event only, so that a restarted
// run decides the same.
func (t *table) decide(ctx context.Context, w *window, r *binlog.RowsBody) error {
	family, inFamily := w.env.families[t.name]
	switch {
	case !t.def.Transactional():
		t.way, t.lane, t.why = verbatim, nontransactional, "engine "+t.def.Engine
		return nil
	case t.oldTemporal():
		return t.keepVerbatim("temporal column in the format of MariaDB before 10.1")
	case t.def.Sequence:
		return t.keepVerbatim("sequence")
	case t.def.SystemVersioned:
		return t.keepVerbatim("system-versioned table")
	case inFamily && (r.Flags&binlog.RowsSQLForeignKey == 0 || w.sticky[t.name.String()]):
		t.way, t.lane, t.why = verbatim, "family "+family.String(), "foreign keys that cascade inside the engine"
		t.cascades = true
		if fk := border(w.env.only, w.env.fks, map[schema.Name]schema.Name{t.name: family}); fk != nil {
			return borderError(fk)
		}
		return nil
	case w.sticky[t.name.String()]:
		return t.keepVerbatim("partial row images")
	case r.Partial || !r.Full():
		return t.keepVerbatim("partial row images")
	}
	return t.decideKey(ctx, w)
}

// oldTemporal reports whether the table has a temporal column with a fraction
// in MariaDB's format from before 10.1, whose cells' length no log tells.
func (t *table) oldTemporal() bool {
	for i, typ := range t.tm.Types {
		switch typ {
		case rowimage.TypeTimestamp, rowimage.TypeTime, rowimage.TypeDatetime:
			if i < len(t.def.Columns) && strings.Contains(t.def.Columns[i].ColumnType, "(") {
				return true
			}
		}
	}
	return false
}

// nontransactional is the lane of all tables whose changes no transaction
// covers.
const nontransactional = "\x00nontransactional"

func (t *table) keepVerbatim(why string) error {
	t.way, t.lane, t.why = verbatim, "table "+t.name.String(), why
	return nil
}

func (t *table) decideKey(ctx context.Context, w *window) error {
	rowKey := t.def.RowKey()
	if rowKey == nil && t.suspect != nil {
		t.exact = true
		return t.keepVerbatim("no key, and changed by a transaction that was skipped")
	}
	if rowKey == nil {
		t.way = counted
		t.copies = netchange.NewMultiset(t.fetch(t.shard.images))
		return nil
	}
	key, ok, err := t.shard.folders.keyOf(ctx, t.def, rowKey, t.layout)
	if err != nil {
		return err
	}
	if !ok {
		return t.keepVerbatim("key " + rowKey.Name + " cannot be compared outside the server")
	}
	t.key, t.primary = key, rowKey.Primary
	for _, p := range key {
		t.keyCols = append(t.keyCols, p.Column)
	}
	slices.Sort(t.keyCols)
	for i := range t.def.Unique {
		k := &t.def.Unique[i]
		if k == rowKey {
			continue
		}
		uk, ok, err := t.shard.folders.keyOf(ctx, t.def, k, t.layout)
		if err != nil {
			return err
		}
		t.unique = append(t.unique, uniqueKey{key: uk, blind: !ok, salt: byte(i)})
	}
	t.way = compacted
	t.index = netchange.NewIndex()
	t.index.KeepCreated = t.suspect != nil
	return nil
}

func (t *table) fetch(im *images) func(netchange.Ref) []byte {
	return func(r netchange.Ref) []byte {
		b := im.bytesAt(r)
		n, err := t.layout.Size(b)
		if err != nil { // was scanned before
			return nil
		}
		return b[:n]
	}
}

// mayStay reports whether a further rows event fits the way that was decided.
func (t *table) mayStay(r *binlog.RowsBody, inFamily bool) bool {
	if t.way == verbatim {
		return true
	}
	return !r.Partial && r.Full() && (!inFamily || r.Flags&binlog.RowsSQLForeignKey != 0)
}

// add takes in the rows of one event.
func (t *table) add(ctx context.Context, base netchange.Ref, r *binlog.RowsBody) error {
	buf := r.Images
	off := int64(0)
	for int(off) < len(buf) {
		n, err := t.layout.Scan(buf[off:], nil, t.cells)
		if err != nil {
			return err
		}
		first, ref := buf[off:off+int64(n)], base+netchange.Ref(off) //nolint:gosec // offsets are positive
		off += int64(n)
		t.imgBytes += int64(n)
		t.imgCount++
		if t.buf, err = t.keyOf(ctx, t.buf[:0], first); err != nil {
			return err
		}
		if r.Kind != binlog.UpdateRows {
			if err := t.one(r.Kind, first, ref); err != nil {
				return err
			}
			continue
		}
		if n, err = t.layout.Scan(buf[off:], nil, t.cells); err != nil {
			return err
		}
		after, afterRef := buf[off:off+int64(n)], base+netchange.Ref(off) //nolint:gosec // as above
		off += int64(n)
		if t.buf2, err = t.keyOf(ctx, t.buf2[:0], after); err != nil {
			return err
		}
		if err := t.update(first, after, ref, afterRef); err != nil {
			return err
		}
	}
	return nil
}

func (t *table) one(kind binlog.RowsKind, image []byte, ref netchange.Ref) error {
	if t.way == counted {
		delta := 1
		if kind == binlog.DeleteRows {
			delta = -1
		}
		t.copies.Add(image, ref, delta)
		return nil
	}
	if kind == binlog.DeleteRows {
		return t.index.Delete(t.buf, ref)
	}
	t.seeAuto(image)
	return t.index.Insert(t.buf, ref)
}

func (t *table) update(before, after []byte, beforeRef, afterRef netchange.Ref) error {
	if t.way == counted {
		t.copies.Add(before, beforeRef, -1)
		t.copies.Add(after, afterRef, 1)
		t.copies.Changes--
		return nil
	}
	if t.updatesCount { // MySQL 8.0+; on MariaDB only inserts move the counter
		t.seeAuto(after)
	}
	if string(t.buf) == string(t.buf2) {
		return t.index.Update(t.buf, beforeRef, afterRef)
	}
	return t.index.Move(t.buf, t.buf2, beforeRef, afterRef)
}

// seeAuto keeps the highest AUTO_INCREMENT value; t.cells are those of image.
func (t *table) seeAuto(image []byte) {
	if t.autoCol < 0 || t.cells[t.autoCol].Null() {
		return
	}
	c := t.cells[t.autoCol]
	if v, ok := t.layout.Columns[t.autoCol].Int(image[c.Start:c.End], t.def.Columns[t.autoCol].Unsigned); ok && v > t.autoMax {
		t.autoMax = v
	}
}

// keyOf appends the row key of the image whose cells were just scanned.
func (t *table) keyOf(ctx context.Context, dst, image []byte) ([]byte, error) {
	if t.way == counted {
		return dst, nil
	}
	start := len(dst)
	for {
		out, null, part, err := t.key.Append(dst[:start], t.layout, image, t.cells)
		switch {
		case err == nil && null:
			return nil, fmt.Errorf("%w: NULL in key of %s", netchange.ErrInconsistent, t.name)
		case err == nil:
			return out, nil
		case !errors.Is(err, rowimage.ErrUnresolved):
			return nil, err
		}
		if err := t.resolve(ctx, t.key, part, image); err != nil {
			return nil, fmt.Errorf("table %s: %w", t.name, err)
		}
	}
}

// resolve asks the server about a text value of a key, and on the same way
// about all others of that key part that the shard's current batch holds.
func (t *table) resolve(ctx context.Context, key rowimage.Key, part int, image []byte) error {
	fold, ok := key[part].Fold.(*collation.Collation)
	if !ok {
		return fmt.Errorf("key part %d: %w", part, rowimage.ErrUnresolved)
	}
	values := [][]byte{key.Text(part, t.layout, image, t.cells)}
	cells := make([]rowimage.Cell, len(t.cells))
	for _, wk := range t.shard.rest {
		if wk.table != t || len(values) >= resolveBatch {
			continue
		}
		for buf := wk.rows.Images; len(buf) > 0; {
			n, err := t.layout.Scan(buf, nil, cells)
			if err != nil {
				return err
			}
			if !cells[key[part].Column].Null() {
				values = append(values, key.Text(part, t.layout, buf, cells))
			}
			buf = buf[n:]
		}
	}
	return fold.Resolve(ctx, t.shard.q, values)
}

// resolveBatch bounds how many values are asked about at once.
const resolveBatch = 20000

var tokenSeed = maphash.MakeSeed()

// tokens appends a token for each secondary unique key of the row at ref.
func (t *table) tokens(ctx context.Context, ref netchange.Ref, cells []rowimage.Cell, dst []uint64) ([]uint64, error) {
	t.cells = cells
	image, err := t.shard.images.image(ref, t.layout, cells, &t.imgBuf)
	if err != nil {
		return nil, err
	}
	var buf []byte
	for i := range t.unique {
		u := &t.unique[i]
		if u.blind {
			dst = append(dst, uint64(u.salt))
			continue
		}
		token, err := t.token(ctx, u, image, cells, buf)
		if err != nil {
			return nil, err
		}
		dst = append(dst, token)
	}
	return dst, nil
}

// token is 0 for a value with a NULL part, which conflicts with nothing.
func (t *table) token(ctx context.Context, u *uniqueKey, image []byte, cells []rowimage.Cell, buf []byte) (uint64, error) {
	for {
		out, null, part, err := u.key.Append(append(buf[:0], u.salt), t.layout, image, cells)
		switch {
		case err == nil && null:
			return 0, nil
		case err == nil:
			return maphash.Bytes(tokenSeed, out) | 1<<63, nil
		case !errors.Is(err, rowimage.ErrUnresolved):
			return 0, err
		}
		if err := t.resolve(ctx, u.key, part, image); err != nil {
			return 0, fmt.Errorf("table %s: %w", t.name, err)
		}
	}
}
