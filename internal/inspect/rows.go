package inspect

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/rowimage"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// rowsEvent counts the rows of an event and says what happened to each.
func (s *scan) rowsEvent(ctx context.Context, t *txn.Transaction, ev *binlog.Event, alone bool) error {
	r, err := binlog.DecodeRows(ev.Type, ev.Body)
	if err != nil {
		return err
	}
	m := s.maps[r.TableID]
	if m == nil {
		return fmt.Errorf("%w: rows for table id %d, which no TABLE_MAP_EVENT names", binlog.ErrCorrupt, r.TableID)
	}
	if r.Columns != len(m.types) {
		return fmt.Errorf("%w: rows of %d columns for a table of %d", binlog.ErrCorrupt, r.Columns, len(m.types))
	}
	c := m.counts
	c.RowsEvents++
	c.EventBytes += binlog.HeaderSize + int64(len(ev.Body))
	if m.in != s.number {
		m.in = s.number
		c.see(s.number)
	}
	if why := m.whyVerbatim(&r); why != "" {
		s.total.verbatim.add("", why, m.name.String(), t, nil)
		return s.whole(ctx, m, &r, opVerbatim)
	}
	if alone {
		return s.whole(ctx, m, &r, opAlone)
	}
	n, err := s.each(ctx, m, &r)
	s.saw(m, &r, n)
	return err
}

func (m *mapped) whyVerbatim(r *binlog.RowsBody) string {
	switch {
	case m.layout == nil:
		m.counts.blind = true
		return "column type not known"
	case r.Partial:
		return "partial JSON update"
	case !r.Full():
		return "partial row images (MINIMAL or NOBLOB)"
	default:
		return ""
	}
}

func (s *scan) saw(m *mapped, r *binlog.RowsBody, n int64) {
	s.rows += n
	switch r.Kind {
	case binlog.WriteRows:
		m.counts.Inserts += n
	case binlog.UpdateRows:
		m.counts.Updates += n
	default:
		m.counts.Deletes += n
	}
}

// whole counts an event's rows without following them.
func (s *scan) whole(ctx context.Context, m *mapped, r *binlog.RowsBody, kind opKind) error {
	n, err := m.countRows(r)
	if err != nil {
		return err
	}
	s.saw(m, r, n)
	return s.emit(ctx, op{kind: kind, table: m.table, before: uint64(n)}) //nolint:gosec // a count
}

// each follows the rows of an event with full images.
func (s *scan) each(ctx context.Context, m *mapped, r *binlog.RowsBody) (n int64, err error) {
	o := op{table: m.table, keyed: m.key != nil}
	for buf := r.Images; len(buf) > 0; n++ {
		var first uint64
		if first, buf, err = m.identity(buf); err != nil {
			return n, err
		}
		switch r.Kind {
		case binlog.WriteRows:
			o.kind, o.after = opInsert, first
		case binlog.UpdateRows:
			o.kind, o.before = opUpdate, first
			if o.after, buf, err = m.identity(buf); err != nil {
				return n, err
			}
		default:
			o.kind, o.before = opDelete, first
		}
		if err := s.emit(ctx, o); err != nil {
			return n, err
		}
	}
	return n, nil
}

// identity is the hash of what tells the row of the image at the beginning of
// buf from others: its key if that is known, or all of it.
func (m *mapped) identity(buf []byte) (hash uint64, rest []byte, err error) {
	if m.key == nil {
		n, err := m.layout.Size(buf)
		if err != nil || n == 0 {
			return 0, nil, badImage(err)
		}
		return normal(maphash.Bytes(seed, buf[:n])), buf[n:], nil
	}
	n, err := m.layout.Scan(buf, nil, m.cells)
	if err != nil || n == 0 {
		return 0, nil, badImage(err)
	}
	// Cells of variable length begin with it, so no two keys run together alike.
	m.buf = m.buf[:0]
	for _, c := range m.key {
		m.buf = append(m.buf, buf[m.cells[c].Start:m.cells[c].End]...)
	}
	return normal(maphash.Bytes(seed, m.buf)), buf[n:], nil
}

// badImage is the error of an image that cannot be read; nil stands for one of
// no bytes in front of others, which would never end.
func badImage(err error) error {
	if err == nil {
		err = errors.New("a row image of no columns")
	}
	return fmt.Errorf("%w: %w", binlog.ErrCorrupt, err)
}

// countRows is the number of rows of an event; 0 if a column type is not known.
// An insert of nothing but defaults, logged with MINIMAL images, has no bytes.
func (m *mapped) countRows(r *binlog.RowsBody) (n int64, err error) {
	if m.layout == nil {
		return 0, nil
	}
	if len(r.Images) == 0 {
		return 1, nil
	}
	for buf := r.Images; len(buf) > 0; n++ {
		was := len(buf)
		if buf, err = m.skip(buf, r.Before); err != nil {
			return n, err
		}
		if r.Kind != binlog.UpdateRows && len(buf) == was {
			return n, badImage(nil)
		}
		if r.Kind != binlog.UpdateRows {
			continue
		}
		if r.Partial {
			if buf, err = m.skipPartial(buf); err != nil {
				return n, err
			}
		}
		if buf, err = m.skip(buf, r.After); err != nil {
			return n, err
		}
		if len(buf) == was {
			return n, badImage(nil)
		}
	}
	return n, nil
}

func (m *mapped) skip(buf, present []byte) ([]byte, error) {
	n, err := m.layout.Scan(buf, present, m.cells)
	if err != nil {
		return nil, badImage(err)
	}
	return buf[n:], nil
}

// skipPartial passes over what stands before the after image of a partial
// update: a packed integer of options, whose bit 0 says that a bit for each JSON
// column of the table follows, which tells differences from values. Both are
// blobs with their length (MySQL 9.7 sql/rpl_record.cc, unpack_row).
func (m *mapped) skipPartial(buf []byte) ([]byte, error) {
	const partialJSON = 1
	bits := (m.json + 7) / 8
	if len(buf) < 1 || buf[0] > partialJSON {
		return nil, fmt.Errorf("%w: options of a partial update", binlog.ErrUnsupported)
	}
	if buf[0] != partialJSON {
		return buf[1:], nil
	}
	if len(buf) < 1+bits {
		return nil, badImage(rowimage.ErrShort)
	}
	return buf[1+bits:], nil
}
