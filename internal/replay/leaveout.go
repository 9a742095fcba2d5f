package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/netchange"
	"github.com/lifeboat-db/lifeboat/internal/schema"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// Leaving transactions out. Behind one the target is not what the source was:
// tables that it changed are suspects. A later change fits if what it changes is
// there as it was on the source, which the log has as the before image. So each
// window ends in front of such a transaction, and of later windows every row of a
// suspect is compared with its image at the window's beginning before anything
// is written; within a window nothing was left out, and the log fits itself.
// What cannot be compared in that way, or fits and would do something else, is
// a conflict: the result could not be what was asked for.
//
// Foreign keys that the engine does not check along the way are checked at the
// end: by then no row may be without its parent.

// LeftOut is what a later replay into the same target has to know.
type LeftOut struct {
	Skipped  string               `json:"skipped"` // as ParseNames reads it
	Suspects []checkpoint.Suspect `json:"suspects,omitempty"`
	Unlike   bool                 `json:"unlike,omitempty"`
}

func idOf(t *txn.Transaction) string {
	if !t.HasID {
		return ""
	}
	return t.ID.String()
}

// skips reports whether a transaction is to be left out.
func (r *runner) skips(t *txn.Transaction) bool { return !r.names.IsEmpty() && r.names.Has(t) }

// leaveOut passes a transaction over, and notes what that makes different.
func (r *runner) leaveOut(ctx context.Context, t *txn.Transaction) error {
	if err := errors.Join(r.closeWindow(ctx), r.wait()); err != nil {
		return err
	}
	list, err := r.suspectsOf(ctx, t)
	if err != nil {
		return binlog.At(t.Position(), err)
	}
	if err := r.suspect(ctx, list); err != nil {
		return err
	}
	if t.HasID {
		if err := r.applied.Add(t.ID); err != nil {
			return binlog.At(t.Position(), err)
		}
	}
	st := &r.state
	st.Unlike = st.Unlike || unlike(t)
	st.Next, st.GTIDs = t.EndPosition(), r.applied.String()
	r.opt.Progress.Add(t.End - t.Start)
	return nil
}

// suspect adds to the suspects. The foreign keys of new ones must hold now, or
// they tell nothing at the end.
func (r *runner) suspect(ctx context.Context, list []checkpoint.Suspect) error {
	fresh := newSuspects(nil)
	for i := range list {
		if r.env.suspects.add(&list[i]) {
			r.state.Suspects = append(r.state.Suspects, list[i])
			fresh.add(&list[i])
		}
	}
	if fresh.none() {
		return nil
	}
	if err := r.scratch.drop(ctx, r.own); err != nil { // suspects have other ones
		return err
	}
	orphan, err := r.orphan(ctx, fresh)
	if err != nil || orphan == nil {
		return err
	}
	return fault.New(fault.Refused, fmt.Errorf("foreign key %s does not hold in front of the transaction at %s: a row of %s has no parent in %s, so nobody can tell what skipping it does",
		orphan.fk.Name, list[0].By, orphan.fk.Child, orphan.fk.Parent), "restore up to there with --until, and do the rest by hand")
}

// suspectsOf are the objects that a transaction makes different if it is left out.
func (r *runner) suspectsOf(ctx context.Context, t *txn.Transaction) (list []checkpoint.Suspect, err error) {
	add := func(how checkpoint.How, database, name string) {
		list = append(list, checkpoint.Suspect{Database: database, Name: name, How: how, By: t.Position()})
	}
	switch {
	case t.Kind == txn.Empty:
		return nil, nil
	case t.Kind == txn.DDL:
		return list, r.suspectsOfDDL(ctx, t, add)
	case t.StatementFormat() || t.Refused != nil && t.Kind != txn.Rows:
		add(checkpoint.Filled, "", "") // nobody knows which
		return list, nil
	}
	tables, err := t.Tables()
	for _, o := range tables {
		how := checkpoint.Filled
		if t.CreatesTable() {
			how = checkpoint.Present
		}
		add(how, o.Database, o.Name)
		for other, family := range r.env.families {
			if own, ok := r.env.families[schema.Name{Database: o.Database, Table: o.Name}]; ok && own == family {
				add(checkpoint.Filled, other.Database, other.Table)
			}
		}
	}
	return list, err
}

func (r *runner) suspectsOfDDL(ctx context.Context, t *txn.Transaction, add func(how checkpoint.How, database, name string)) error {
	sql, database := t.Text()
	switch txn.Verb(sql) {
	case "ALTER TABLE", "ALTER IGNORE", "ALTER ONLINE", "RENAME":
		// All tables that are named: partitions are exchanged between two of them.
		tables, err := r.tablesIn(ctx, sql, database)
		for _, n := range tables {
			add(checkpoint.Defined, n.Database, n.Table)
		}
		return err
	case "TRUNCATE":
		for _, o := range txn.Subjects(sql, database) {
			add(checkpoint.Filled, o.Database, o.Name)
		}
	case "DROP DATABASE", "DROP SCHEMA":
		for _, o := range txn.Subjects(sql, database) {
			add(checkpoint.Present, o.Database, "")
			tables, err := schema.BaseTables(ctx, r.db, o.Database)
			if err != nil {
				return err
			}
			for _, n := range tables {
				add(checkpoint.Present, n.Database, n.Table)
			}
		}
	default:
		for _, o := range txn.Subjects(sql, database) {
			add(checkpoint.Present, o.Database, o.Name)
		}
	}
	return nil
}

// tablesIn are the tables of the target that a statement names.
func (r *runner) tablesIn(ctx context.Context, sql []byte, database string) (list []schema.Name, err error) {
	for _, o := range txn.Mentions(sql, database) {
		n := schema.Name{Database: o.Database, Table: o.Name}
		def, err := schema.Load(ctx, r.db, n)
		if err != nil {
			return nil, err
		}
		if def != nil && !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list, nil
}

// unlike reports whether statements behind a transaction that was left out may
// do other things than on the source. Of a table that is there only because it
// was not dropped they know nothing, and without one that was not made they fail.
func unlike(t *txn.Transaction) bool {
	if t.Kind != txn.DDL {
		return t.Kind != txn.Empty
	}
	sql, _ := t.Text()
	switch txn.Verb(sql) {
	case "DROP TABLE", "DROP TABLES", "DROP DATABASE", "DROP SCHEMA", "DROP VIEW", "CREATE TABLE", "CREATE DATABASE", "CREATE SCHEMA",
		"CREATE USER", "DROP USER", "ALTER USER", "CREATE ROLE", "DROP ROLE", "GRANT", "REVOKE":
		return false
	default:
		return true
	}
}

// beforeBarrier looks for conflicts of a transaction that is executed as it is.
func (r *runner) beforeBarrier(t *txn.Transaction) error {
	if r.env.suspects.none() {
		return nil
	}
	sql, database := t.Text()
	subjects := txn.Subjects(sql, database)
	if t.Kind == txn.DDL {
		for _, o := range subjects {
			if x := r.env.suspects.of(o.Database, o.Name); x != nil && x.How == checkpoint.Present && conditional(t) {
				c := conflict{o.Database + "." + o.Name, x.By, "the statement does one thing where it is there, and another where it is not"}
				return c.refuse(t.Position(), idOf(t))
			}
		}
		return nil
	}
	tables, err := t.Tables()
	if err != nil {
		return err
	}
	for _, o := range tables {
		if x := r.env.suspects.of(o.Database, o.Name); x != nil && (!t.CreatesTable() || x.Database != "") {
			c := conflict{o.Database + "." + o.Name, x.By, "its rows change together with what is no change of rows, and are not compared"}
			return c.refuse(t.Position(), idOf(t))
		}
	}
	return nil
}

// conditional: MariaDB has a session variable for it as well.
func conditional(t *txn.Transaction) bool {
	for q, err := range t.Queries() {
		if err != nil || txn.Conditional(q.SQL) {
			return true
		}
		if c, err := txn.ParseContext(q.Status); err != nil || c.IfExists {
			return true
		}
	}
	return false
}

// afterDDL follows suspects into the tables that a statement has made of them.
func (r *runner) afterDDL(ctx context.Context, t *txn.Transaction) error {
	if len(r.env.suspects.named) == 0 {
		return nil
	}
	sql, database := t.Text()
	var from *checkpoint.Suspect
	for _, o := range txn.Mentions(sql, database) {
		if x := r.env.suspects.named[folded(o.Database, o.Name)]; x != nil && x.How != checkpoint.Present {
			from = x
		}
	}
	if from == nil {
		return nil
	}
	tables, err := r.tablesIn(ctx, sql, database)
	var list []checkpoint.Suspect
	for _, n := range tables {
		list = append(list, checkpoint.Suspect{Database: n.Database, Name: n.Table, How: from.How, By: from.By})
	}
	return errors.Join(err, r.suspect(ctx, list))
}

// accept says why rows of a suspect cannot be replayed; nil: they can.
func (t *table) accept() error {
	x := t.suspect
	switch {
	case x == nil:
		return nil
	case x.How != checkpoint.Filled:
		return &conflict{t.name.String(), x.By, "it may not have the columns that it has on the source"}
	case t.way == verbatim && !t.exact:
		return &conflict{t.name.String(), x.By, "its rows cannot be compared with what the log expects (" + t.why + ")"}
	default:
		return nil
	}
}

// checkSuspects compares, before a window is written, every row of suspects
// that it changes with what it was on the source in front of the window.
func (r *runner) checkSuspects(ctx context.Context, j *job) error {
	v := &readBack{r: r, j: j}
	for _, t := range j.w.sorted() {
		if t.suspect == nil || t.way != compacted {
			continue
		}
		all := make([]uint32, t.index.Len())
		for i := range all {
			all[i] = uint32(i) //nolint:gosec // as in netchange
		}
		err := v.table(ctx, t, all, expectBefore, expectNone)
		var m *mismatch
		if errors.As(err, &m) {
			err = r.locate(ctx, v, t, all, m)
		}
		if err != nil {
			return err
		}
	}
	r.compared += v.checked.Load()
	return nil
}

// locate finds the first change in the log that does not fit.
func (r *runner) locate(ctx context.Context, v *readBack, t *table, all []uint32, m *mismatch) error {
	ref := func(n uint32) netchange.Ref { return m.x.ref(t.index, int(n)) }
	order := slices.DeleteFunc(slices.Clone(all), func(n uint32) bool { return ref(n) == 0 })
	slices.SortFunc(order, func(a, b uint32) int { return cmp.Compare(ref(a), ref(b)) })
	name, err := r.scratch.get(ctx, r.own, t, len(order))
	if err != nil {
		return err
	}
	fits := func(part []uint32) (bool, error) {
		err := r.own.Repeat(ctx, verifyRetries, func() error { return v.part(ctx, r.own, t, name, m.x, part) })
		var other *mismatch
		if errors.As(err, &other) {
			m = other
			return false, nil
		}
		return true, err
	}
	for len(order) > 1 {
		part := order[:min(verifyRows, (len(order)+1)/2)]
		ok, err := fits(part)
		switch {
		case err != nil:
			return err
		case ok:
			order = order[len(part):]
		default:
			order = part
		}
	}
	if _, err := fits(order); err != nil { // for its key alone
		return err
	}
	at, id, err := r.transactionAt(t.shard.images.place(ref(order[0])))
	if err != nil {
		return err
	}
	c := conflict{t.name.String(), t.suspect.By, "the row with key " + m.keys + " is not what this transaction changes"}
	if m.x == expectNone {
		c.why = "the row with key " + m.keys + ", which this transaction inserts, is there already"
	}
	return c.refuse(at, id)
}

// transactionAt finds the transaction that holds a place of the log.
func (r *runner) transactionAt(file int, offset int64) (at binlog.Position, id string, err error) {
	f := r.set.Files[file]
	for sc := txn.NewScanner(f, 0, &binlog.Inflater{Limit: r.opt.Memory}); ; {
		t, ok, err := sc.Next()
		if err != nil || !ok {
			return f.At(offset), "", err
		}
		if offset < t.End {
			return t.Position(), idOf(&t), nil
		}
	}
}

// unfit gives an error of the server that can come of what was left out its
// class.
func (r *runner) unfit(err error, start, end binlog.Position) error {
	if err == nil || r.env.suspects.none() || dbconn.Classify(err) != dbconn.Conflict && !foreign[dbconn.Number(err)] && !applier.IsSchemaMismatch(err) {
		return err
	}
	return fault.New(fault.Refused, fmt.Errorf("conflict: a transaction from %s on, before %s, depends on one that was skipped: %w", start, end, err),
		"stop in front of it, by --until, or skip it too")
}
