package replay

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/schema"
)

// foreign are the errors of foreign keys that do not hold (both vendors' errmsg
// files).
var foreign = map[uint16]bool{1216: true, 1217: true, 1451: true, 1452: true, 1761: true, 1762: true}

// orphan is a row without its parent.
type orphan struct {
	fk  schema.ForeignKey
	key string
}

// orphan looks for a row without its parent, by the foreign keys from and to
// some tables.
func (r *runner) orphan(ctx context.Context, among *suspects) (*orphan, error) {
	fks, err := schema.LoadReferences(ctx, r.own.Conn())
	if err != nil {
		return nil, err
	}
	for _, fk := range fks {
		if among.of(fk.Child.Database, fk.Child.Table) == nil && among.of(fk.Parent.Database, fk.Parent.Table) == nil {
			continue
		}
		if !r.only.wants(fk.Child) || !r.only.wants(fk.Parent) {
			continue // it does not hold
		}
		key, err := r.withoutParent(ctx, fk)
		if err != nil {
			return nil, fmt.Errorf("check foreign key %s of %s: %w", fk.Name, fk.Child, err)
		}
		if key != "" {
			return &orphan{fk, key}, nil
		}
	}
	return nil, nil //nolint:nilnil // none is an answer
}

// withoutParent is what a row without parent refers to; empty: there is none.
func (r *runner) withoutParent(ctx context.Context, fk schema.ForeignKey) (key string, err error) {
	err = r.own.Conn().QueryRowContext(ctx, orphanQuery(fk)).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return "(" + key + ")", err
}

func orphanQuery(fk schema.ForeignKey) string {
	var on, refers, values []string
	for i, c := range fk.Columns {
		child, parent := "c."+dbconn.QuoteName(c), "p."+dbconn.QuoteName(fk.ParentColumns[i])
		on, refers, values = append(on, child+" = "+parent), append(refers, child+" IS NOT NULL"), append(values, child)
	}
	return "SELECT CONCAT_WS(',', " + strings.Join(values, ", ") + ") FROM " + quoted(fk.Child) + " c LEFT JOIN " + quoted(fk.Parent) + " p ON " + strings.Join(on, " AND ") +
		" WHERE " + strings.Join(refers, " AND ") + " AND p." + dbconn.QuoteName(fk.ParentColumns[0]) + " IS NULL LIMIT 1"
}

// checkOrphans refuses an end at which a row has lost its parent.
func (r *runner) checkOrphans(ctx context.Context) error {
	if r.env.suspects.none() {
		return nil
	}
	r.opt.Progress.Begin("checking foreign keys", 0)
	o, err := r.orphan(ctx, r.env.suspects)
	if err != nil || o == nil {
		return err
	}
	x := cmp.Or(r.env.suspects.of(o.fk.Child.Database, o.fk.Child.Table), r.env.suspects.of(o.fk.Parent.Database, o.fk.Parent.Table))
	return fault.New(fault.Refused, fmt.Errorf("conflict: a row of %s refers by foreign key %s to %s, which is not in %s: a later transaction depends on the one that was skipped at %s",
		o.fk.Child, o.fk.Name, o.key, o.fk.Parent, x.By), "skip that one too, or do not skip this one; the target is of no use as it is")
}
