package binlog

import "fmt"

// Optional metadata of a TABLE_MAP_EVENT are fields of type, packed length and
// value (MySQL 9.7
// libs/mysql/binlog/event/rows_event.h, Table_map_event::
// Optional_metadata_field_type; MariaDB 11.8 sql/log_event.h likewise).
const metaSimplePrimaryKey = 8 // column numbers, packed

// PrimaryKey returns the columns of the primary key, numbered from 0, in the
// order of the key. nil: the log does not say it (it does with
// binlog_row_metadata=FULL), there is none, or it is over prefixes of columns.
func (m TableMap) PrimaryKey() ([]int, error) {
	for rest := m.optional(); len(rest) > 0; {
		typ := rest[0]
		value, tail, ok := cutPacked(rest[1:])
		if !ok {
			return nil, fmt.Errorf("%w: optional metadata of a TABLE_MAP_EVENT", ErrCorrupt)
		}
		if rest = tail; typ == metaSimplePrimaryKey {
			return m.keyColumns(value)
		}
	}
	return nil, nil
}

func (m TableMap) keyColumns(value []byte) (columns []int, err error) {
	for len(value) > 0 {
		n, w := packedInt(value)
		if w == 0 || n >= uint64(len(m.Types)) {
			return nil, fmt.Errorf("%w: primary key of a TABLE_MAP_EVENT", ErrCorrupt)
		}
		columns = append(columns, int(n))
		value = value[w:]
	}
	return columns, nil
}
