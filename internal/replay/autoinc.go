package replay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/netchange"
)

// autoIncrement raises counters. A row that was inserted and deleted within the
// window is never written, so the engine does not see its AUTO_INCREMENT value;
// on the source it has counted, and must not be given out again.
func (r *runner) autoIncrement(ctx context.Context, q dbconn.Querier, j *job) error {
	for _, t := range j.w.sorted() {
		if t.autoMax == 0 || !t.vanished() {
			continue
		}
		next := t.autoMax + 1
		now, err := counter(ctx, q, t)
		if err != nil {
			return err
		}
		if now >= next {
			continue
		}
		if _, err := q.ExecContext(ctx, fmt.Sprintf("ALTER TABLE %s AUTO_INCREMENT = %d", dbconn.QuoteName(t.name.Database, t.name.Table), next)); err != nil {
			return fmt.Errorf("raise the AUTO_INCREMENT counter of %s: %w", t.name, err)
		}
	}
	return nil
}

// vanished reports whether a row came and went within the window.
func (t *table) vanished() bool {
	if t.way != compacted {
		return t.way == counted
	}
	for i := range t.index.Len() {
		if t.index.Entry(i).Kind() == netchange.Nothing {
			return true
		}
	}
	return false
}

func counter(ctx context.Context, q dbconn.Querier, t *table) (uint64, error) {
	var n sql.NullInt64
	err := q.QueryRowContext(ctx, "SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
		t.name.Database, t.name.Table).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return uint64(n.Int64), err //nolint:gosec // counters are positive
}
