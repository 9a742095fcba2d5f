package inspect

import (
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// fileTotals is what was found in one file, or in all files up to one.
type fileTotals struct {
	begin, end   binlog.Position
	first, last  time.Time // earliest and latest commit
	seen         gtid.Set  // of all transactions, those left out too
	before       gtid.Set  // of those left out in front of all others
	ids          gtid.Set  // of those that count
	firstID      gtid.ID
	lastID       gtid.ID
	anonymous    int64
	transactions Transactions
	tables       map[uint32]*tableCounts // by number in the registry
	largest      largest
	found        Found
	barriers     constructs
	verbatim     constructs
	refused      constructs
	incomplete   *Incomplete
	files        []fileSummary // what was added, file by file
}

type fileSummary struct {
	transactions int64
	first, last  time.Time
}

// tableCounts is what was found of one table, but for its net rows.
type tableCounts struct {
	Changes
	transactions int64
	in           int64 // number of the last transaction that was counted
	blind        bool  // rows were not counted: a column type is not known
}

func (c *tableCounts) see(transaction int64) {
	if c.in != transaction {
		c.in = transaction
		c.transactions++
	}
}

func newFileTotals() fileTotals { return fileTotals{tables: map[uint32]*tableCounts{}} }

func (f *fileTotals) table(n uint32) *tableCounts {
	c := f.tables[n]
	if c == nil {
		c = &tableCounts{}
		f.tables[n] = c
	}
	return c
}

// leaveOut notes a transaction that does not count.
func (f *fileTotals) leaveOut(t *txn.Transaction) {
	f.end = t.EndPosition()
	if t.HasID && f.transactions.Total == 0 {
		_ = f.before.Add(t.ID) // it could be added to seen
	}
}

// count takes a transaction in; tables is called only if it is among the
// largest.
func (f *fileTotals) count(t *txn.Transaction, rows int64, top int, tables func() []TableCount) error {
	if f.begin.IsZero() {
		f.begin = t.Position()
	}
	f.end = t.EndPosition()
	f.seeTime(t.Committed, t.Committed)
	f.countKind(t)
	if t.HasID {
		if f.firstID == (gtid.ID{}) {
			f.firstID = t.ID
		}
		f.lastID = t.ID
		if err := f.ids.Add(t.ID); err != nil {
			return binlog.At(t.Position(), err)
		}
	} else {
		f.anonymous++
	}
	if size := t.End - t.Start; f.largest.wants(size, top) {
		f.largest.add(Large{
			Position: t.Position().String(), End: t.EndPosition().String(), GTID: idText(t), Committed: t.Committed,
			Bytes: size, Rows: rows, Tables: tables(),
		}, top)
	}
	return nil
}

func idText(t *txn.Transaction) string {
	if !t.HasID {
		return ""
	}
	return t.ID.String()
}

func (f *fileTotals) countKind(t *txn.Transaction) {
	n := &f.transactions
	n.Total++
	switch {
	case t.Refused != nil:
		n.Refused++
		f.refused.add("", t.Refused.Error(), "", t, statement(t))
	case t.Kind == txn.DDL:
		n.DDL++
		q := statement(t)
		f.barriers.add("DDL", label(q), "", t, q)
	case t.Kind == txn.Statements:
		n.Statements++
		f.barriers.add("statements", whyStatements(t), "", t, statement(t))
	case t.Kind == txn.Empty:
		n.Empty++
	default:
		n.Rows++
	}
}

// seeTime widens the range of commits. XA PREPARE has no time of its own.
func (f *fileTotals) seeTime(first, last time.Time) {
	if first.Unix() > 0 && (f.first.IsZero() || first.Before(f.first)) {
		f.first = first
	}
	if last.After(f.last) {
		f.last = last
	}
}

// add appends what was found in the next file.
func (f *fileTotals) add(o *fileTotals, top int) {
	if f.begin.IsZero() {
		f.begin = o.begin
	}
	f.end = o.end
	f.seeTime(o.first, o.last)
	if f.transactions.Total == 0 {
		_ = f.before.Union(o.before) // files of two vendors are not in one set
	}
	_ = f.ids.Union(o.ids) // as above
	if f.firstID == (gtid.ID{}) {
		f.firstID = o.firstID
	}
	if o.lastID != (gtid.ID{}) {
		f.lastID = o.lastID
	}
	f.anonymous += o.anonymous
	f.transactions.add(&o.transactions)
	for n, c := range o.tables {
		mine := f.table(n)
		mine.add(&c.Changes)
		mine.transactions += c.transactions
		mine.blind = mine.blind || c.blind
	}
	for _, l := range o.largest.sorted() {
		f.largest.add(l, top)
	}
	f.found.merge(&o.found)
	f.barriers.merge(&o.barriers)
	f.verbatim.merge(&o.verbatim)
	f.refused.merge(&o.refused)
	f.incomplete = o.incomplete
	f.files = append(f.files, fileSummary{o.transactions.Total, o.first, o.last})
}

func (t *Transactions) add(o *Transactions) {
	t.Total += o.Total
	t.Rows += o.Rows
	t.DDL += o.DDL
	t.Statements += o.Statements
	t.Refused += o.Refused
	t.Empty += o.Empty
}

// gtids describes the identifiers; before is what the log says was before the
// first file.
func (f *fileTotals) gtids(before gtid.Set) GTIDs {
	before = before.Clone()
	_ = before.Union(f.before) // of one vendor
	g := GTIDs{Before: before.String(), Set: f.ids.String(), Anonymous: f.anonymous}
	if f.firstID != (gtid.ID{}) {
		g.First, g.Last = f.firstID.String(), f.lastID.String()
	}
	return g
}
