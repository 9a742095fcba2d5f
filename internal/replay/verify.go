package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/netchange"
	"github.com/lifeboat-db/lifeboat/internal/schema"
)

// Reading back: what rows should look like is in the log as row images, what
// they look like is in the target as rows. To compare the two without decoding
// a single type, the expected images are inserted into a scratch table of the
// same definition (through the same BINLOG statements), the server joins both
// by key and compares column by column, byte by byte, and the inserts are
// rolled back.

// expectation says which image of an entry to compare with the table, and how.
type expectation uint8

const (
	expectAfter  expectation = iota // the row is there and equals its last image
	expectGone                      // the row is not there
	expectBefore                    // the row is there and equals its image before the window
	expectNone                      // the row, which the window inserts, is not there before it
)

func (x expectation) ref(index *netchange.Index, n int) netchange.Ref {
	e := index.Entry(n)
	switch {
	case x == expectNone:
		return index.Created(n)
	case x == expectAfter:
		return e.After
	case x == expectGone && e.After == 0, x == expectBefore:
		return e.Before
	default:
		return 0
	}
}

// readBack compares entries of the tables with the target.
type readBack struct {
	r       *runner
	j       *job
	checked atomic.Int64
}

const (
	verifyRows   = 4000   // rows compared in one statement
	sampleRows   = 1000   // rows of a table that are compared before the first write
	sampleTables = 20     // tables that are, those with the most net rows
	slimRows     = 100000 // rows from which on a scratch table is worth losing its secondary indexes
	mismatches   = 3      // examples in the error

	// Sessions share a scratch table, so their inserts can meet in its indexes.
	verifyRetries = 30
)

// scratches are the scratch tables that stand for tables of the target. They
// last until the next DDL, or the end of the run.
type scratches struct {
	names map[schema.Name]string
	count int
}

// get makes the scratch table of t if there is none yet.
func (x *scratches) get(ctx context.Context, s *applier.Session, t *table, rows int) (string, error) {
	if name, ok := x.names[t.name]; ok {
		return name, nil
	}
	name := fmt.Sprintf("verify%d", x.count)
	x.count++
	// Rows of a suspect that were inserted at different times may have had the
	// same value of a unique key.
	if err := makeScratch(ctx, s, t, name, rows >= slimRows || t.suspect != nil); err != nil {
		return "", fmt.Errorf("verify %s: %w", t.name, err)
	}
	if x.names == nil {
		x.names = map[schema.Name]string{}
	}
	x.names[t.name] = name
	return name, nil
}

// drop removes all of them.
func (x *scratches) drop(ctx context.Context, s *applier.Session) error {
	for t, name := range x.names {
		if err := s.Exec(ctx, "DROP TABLE IF EXISTS "+scratchName(name)); err != nil {
			return err
		}
		delete(x.names, t)
	}
	return nil
}

func scratchName(name string) string { return dbconn.QuoteName("lifeboat", name) }

// table compares the entries in order for each expectation.
func (v *readBack) table(ctx context.Context, t *table, order []uint32, expect ...expectation) error {
	name, err := v.r.scratch.get(ctx, v.r.own, t, len(order))
	if err != nil {
		return err
	}
	type part struct {
		x     expectation
		order []uint32
	}
	parts := make(chan part, len(expect)*(len(order)/verifyRows+1))
	for _, x := range expect {
		for rest := order; len(rest) > 0; {
			n := min(verifyRows, len(rest))
			parts <- part{x, rest[:n]}
			rest = rest[n:]
		}
	}
	close(parts)
	g, gctx := errgroup.WithContext(ctx)
	for _, s := range v.r.sessions {
		g.Go(func() error {
			for p := range parts {
				err := s.Repeat(gctx, verifyRetries, func() error { return v.part(gctx, s, t, name, p.x, p.order) })
				if err != nil {
					return fmt.Errorf("verify %s: %w", t.name, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func makeScratch(ctx context.Context, s *applier.Session, t *table, name string, slim bool) error {
	verifyTable := scratchName(name)
	for _, stmt := range []string{"DROP TABLE IF EXISTS " + verifyTable, "CREATE TABLE " + verifyTable + " LIKE " + quoted(t.name)} {
		if err := s.Exec(ctx, stmt); err != nil {
			return err
		}
	}
	if t.def.Partitioned {
		if err := s.Exec(ctx, "ALTER TABLE "+verifyTable+" REMOVE PARTITIONING"); err != nil {
			return err
		}
	}
	if !slim {
		return nil
	}
	names, err := schema.IndexNames(ctx, s.Conn(), schema.Name{Database: "lifeboat", Table: name})
	if err != nil {
		return err
	}
	for _, n := range names {
		if n != t.def.RowKey().Name {
			// Only for speed. One that AUTO_INCREMENT needs stays.
			_ = s.Exec(ctx, "ALTER TABLE "+verifyTable+" DROP INDEX "+dbconn.QuoteName(n))
		}
	}
	return nil
}

func quoted(n schema.Name) string { return dbconn.QuoteName(n.Database, n.Table) }

// part compares some entries in a transaction that is rolled back.
func (v *readBack) part(ctx context.Context, s *applier.Session, t *table, name string, x expectation, order []uint32) error {
	if err := s.Exec(ctx, "BEGIN"); err != nil {
		return err
	}
	n, err := v.fill(ctx, s, t, name, x, order)
	if err == nil && n > 0 {
		err = v.compare(ctx, s, t, name, x)
	}
	if rerr := s.Exec(ctx, "ROLLBACK"); err == nil {
		err = rerr
	}
	if err == nil {
		v.checked.Add(int64(n))
	}
	return err
}

// fill inserts the expected images into the scratch table.
func (v *readBack) fill(ctx context.Context, s *applier.Session, t *table, name string, x expectation, order []uint32) (n int, err error) {
	w := newRowWriter(t, v.j.d, v.j.w.timestamp, func(events []byte) error { return s.Binlog(ctx, events) })
	w.into = &binlog.TableName{Database: "lifeboat", Table: name}
	w.begin()
	for _, i := range order {
		ref := x.ref(t.index, int(i))
		if ref == 0 {
			continue
		}
		image, err := w.fetch(ref, &w.before)
		if err != nil {
			return n, err
		}
		if err := w.insert(image); err != nil {
			return n, err
		}
		n++
	}
	return n, w.flush()
}

func (v *readBack) compare(ctx context.Context, s *applier.Session, t *table, name string, x expectation) error {
	rows, err := s.Conn().QueryContext(ctx, t.mismatchQuery(name, x))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var found []string
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return err
		}
		found = append(found, key)
	}
	if err := rows.Err(); err != nil || len(found) == 0 {
		return err
	}
	err = &mismatch{x, strings.Join(found, " / ")}
	if x == expectBefore || x == expectNone {
		return fault.New(fault.Gap, err, "the start does not fit the backup, or the target was changed since")
	}
	return fault.New(fault.VerifyFailed, err, "do not use this target; restore the backup and replay again, and report this")
}

// mismatch is a row that is not as expected.
type mismatch struct {
	x    expectation
	keys string // hexadecimal; some of them
}

func (m *mismatch) Error() string {
	return "row with key " + m.keys + " " + map[expectation]string{
		expectAfter:  "does not equal its last image in the log, or is missing",
		expectGone:   "was deleted in the log and is there",
		expectBefore: "is not what the log begins with",
		expectNone:   "is inserted in the log and is there before",
	}[m.x]
}

// mismatchQuery selects up to a few keys whose rows are not as expected.
func (t *table) mismatchQuery(scratch string, x expectation) string {
	var on, same, keys []string
	for _, c := range t.keyCols {
		name := dbconn.QuoteName(t.def.Columns[c].Name)
		on = append(on, "t."+name+" = v."+name)
		keys = append(keys, "HEX(v."+name+")")
	}
	for i := range t.def.Columns {
		if c := &t.def.Columns[i]; !c.Virtual {
			same = append(same, sameColumn(c))
		}
	}
	key := "CONCAT_WS(',', " + strings.Join(keys, ", ") + ")"
	from := " FROM " + scratchName(scratch) + " v %s JOIN " + quoted(t.name) + " t ON " + strings.Join(on, " AND ")
	if x == expectGone || x == expectNone {
		return fmt.Sprintf("SELECT "+key+from+" LIMIT %d", "", mismatches)
	}
	first := dbconn.QuoteName(t.def.Columns[t.keyCols[0]].Name)
	return fmt.Sprintf("SELECT "+key+from+" WHERE t.%s IS NULL OR NOT (%s) LIMIT %d",
		"LEFT", first, strings.Join(same, " AND "), mismatches)
}

// sameColumn compares the bytes of a column, not what its collation says.
func sameColumn(c *schema.Column) string {
	a, b := "t."+dbconn.QuoteName(c.Name), "v."+dbconn.QuoteName(c.Name)
	switch c.DataType {
	case "enum", "set":
		return a + "+0 <=> " + b + "+0"
	case "json":
		return "CAST(" + a + " AS CHAR) <=> CAST(" + b + " AS CHAR)"
	case "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
		"geometrycollection", "geomcollection", "vector":
		return "HEX(" + a + ") <=> HEX(" + b + ")"
	}
	if c.Charset != "" {
		return "CAST(" + a + " AS BINARY) <=> CAST(" + b + " AS BINARY)"
	}
	return a + " <=> " + b
}

// readBackAll compares every net change of a window.
func (r *runner) readBackAll(ctx context.Context, j *job) error {
	v := &readBack{r: r, j: j}
	for _, t := range j.netTables {
		if t.way != compacted {
			r.notRead[t.name.String()] = "no key"
			continue
		}
		if err := v.table(ctx, t, t.index.Sorted(), expectAfter, expectGone); err != nil {
			return err
		}
	}
	for _, l := range j.w.lanes {
		for _, g := range l.groups {
			for _, t := range g.tables {
				r.notRead[t.name.String()] = t.why
			}
		}
	}
	r.readBack += v.checked.Load()
	return nil
}

// checkBefore compares, before anything is written, rows of the target with
// their images at the beginning of the log: a start that does not fit the
// backup shows here. It looks at a sample of each table, or at all rows if the
// run is to be verified.
func (r *runner) checkBefore(ctx context.Context, j *job) error {
	v := &readBack{r: r, j: j}
	for i, t := range mostRows(j.netTables) {
		if i >= sampleTables && !r.opt.Verify {
			break
		}
		order := t.index.Sorted()
		if !r.opt.Verify {
			order = spread(order, sampleRows)
		}
		if err := v.table(ctx, t, order, expectBefore); err != nil {
			return err
		}
	}
	return nil
}

// mostRows are the compacted tables, those with the most keys first.
func mostRows(tables []*table) []*table {
	out := slices.DeleteFunc(slices.Clone(tables), func(t *table) bool { return t.way != compacted })
	slices.SortStableFunc(out, func(a, b *table) int { return b.index.Len() - a.index.Len() })
	return out
}

// spread picks about n elements at equal distances.
func spread(order []uint32, n int) []uint32 {
	if len(order) <= n {
		return order
	}
	out := make([]uint32, 0, n)
	for i := range n {
		out = append(out, order[i*len(order)/n])
	}
	return out
}
