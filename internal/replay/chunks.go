package replay

import (
	"context"
	"fmt"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/netchange"
	"github.com/lifeboat-db/lifeboat/internal/rowimage"
)

// job is a closed window as units of work. Units are numbered from 0 in a
// fixed order (first phase, second phase, verbatim lanes; tables and lanes by
// name; rows by key), which depends on the window's content and the chunk size
// alone: a restarted run makes the same ones.
type job struct {
	w         *window
	number    int64 // of the window
	chunkLen  int64
	d         dialect
	first     []applier.Lane // deletes that free values which others take
	second    []applier.Lane
	units     uint32
	netRows   int64
	netTables []*table
	probe     []applier.Lane // a few rows of each table, for a trial
}

// maxChunkRows keeps a transaction's row locks and undo small even if rows are
// tiny; minChunkRows is 1.
const maxChunkRows = 20000

func newJob(ctx context.Context, w *window, chunkLen, memory int64, d dialect) (*job, error) {
	j := &job{w: w, chunkLen: chunkLen, d: d}
	// Another window may be in memory beside this one.
	random := w.bytes+2*w.memory() > memory
	for _, s := range w.shards {
		s.images.random = random
	}
	var second, lanes []applier.Lane
	for _, t := range w.sorted() {
		var err error
		switch t.way {
		case compacted:
			var l []applier.Lane
			l, err = j.compacted(ctx, t)
			second = append(second, l...)
		case counted:
			second = append(second, j.counted(t)...)
		default:
		}
		if err != nil {
			return nil, err
		}
	}
	for _, name := range w.laneNames() {
		lanes = append(lanes, j.verbatim(w.lanes[name]))
	}
	// Long sequences begin first, so that none is left alone at the end.
	j.second = append(lanes, second...)
	return j, nil
}

func (j *job) next() uint32 {
	j.units++
	return j.units - 1
}

// compacted cuts a table's net changes into chunks.
func (j *job) compacted(ctx context.Context, t *table) ([]applier.Lane, error) {
	order := t.index.Sorted()
	if len(order) == 0 {
		return nil, nil
	}
	j.netRows += int64(len(order))
	j.netTables = append(j.netTables, t)
	first, err := t.deleteFirst(ctx, order)
	if err != nil {
		return nil, err
	}
	if len(first) > 0 {
		j.first = append(j.first, j.cut(t, first, deleteOnly, nil)...)
	}
	reinsert := make(map[uint32]bool, len(first))
	for _, n := range first {
		reinsert[n] = true
	}
	if len(first) == 0 || len(t.unique) == 0 {
		j.probe = append(j.probe, j.sample(t, order))
	}
	return j.cut(t, order, netChange, reinsert), nil
}

func (j *job) rowsPerChunk(t *table) int {
	mean := max(1, t.imgBytes/max(1, t.imgCount))
	return int(min(max(1, j.chunkLen/mean), maxChunkRows))
}

func (j *job) cut(t *table, order []uint32, mode rowMode, reinsert map[uint32]bool) []applier.Lane {
	n := j.rowsPerChunk(t)
	var lanes []applier.Lane
	for len(order) > 0 {
		k := min(n, len(order))
		lanes = append(lanes, applier.Lane{&rowsUnit{job: j, chunk: j.next(), t: t, order: order[:k], mode: mode, reinsert: reinsert}})
		order = order[k:]
	}
	return lanes
}

// probeRows is how many rows of each end of a table's key range a trial takes.
const probeRows = 32

func (j *job) sample(t *table, order []uint32) applier.Lane {
	if len(order) > 2*probeRows {
		order = append(append([]uint32(nil), order[:probeRows]...), order[len(order)-probeRows:]...)
	}
	return applier.Lane{&rowsUnit{job: j, t: t, order: order, mode: netChange}}
}

// rowMode says what a unit does with its entries.
type rowMode uint8

const (
	netChange  rowMode = iota // whatever the entry's net change is
	deleteOnly                // first phase: only delete
)

// rowsUnit is a chunk of a compacted table.
type rowsUnit struct {
	job      *job
	chunk    uint32
	t        *table
	order    []uint32
	mode     rowMode
	reinsert map[uint32]bool // entries that were deleted in the first phase
}

// Describe names the chunk.
func (u *rowsUnit) Describe() string {
	return fmt.Sprintf("window %d, chunk %d: %d rows of %s", u.job.number, u.chunk, len(u.order), u.t.name)
}

// Done is the checkpoint's statement.
func (u *rowsUnit) Done() string { return checkpoint.ChunkDone(u.job.number, u.chunk) }

// Groups makes the row events: deletes, then updates, then inserts, each in
// key order.
func (u *rowsUnit) Groups(yield func([]byte) error) error {
	w := newRowWriter(u.t, u.job.d, u.job.w.timestamp, yield)
	for _, kind := range []netchange.Kind{netchange.Delete, netchange.Update, netchange.Insert} {
		for _, n := range u.order {
			e := u.t.index.Entry(int(n))
			if u.kind(e, n) != kind {
				continue
			}
			if err := u.write(w, e, kind); err != nil {
				return err
			}
		}
	}
	return w.flush()
}

func (u *rowsUnit) kind(e *netchange.Entry, n uint32) netchange.Kind {
	switch {
	case u.mode == deleteOnly:
		return netchange.Delete
	case !u.reinsert[n]:
		return e.Kind()
	case e.After != 0:
		return netchange.Insert
	default:
		return netchange.Nothing
	}
}

func (u *rowsUnit) write(w *rowWriter, e *netchange.Entry, kind netchange.Kind) error {
	if kind == netchange.Delete {
		before, err := w.fetch(e.Before, &w.before)
		if err != nil {
			return err
		}
		return w.remove(before)
	}
	var before []byte
	if kind == netchange.Update && !u.t.primary {
		var err error
		if before, err = w.fetch(e.Before, &w.before); err != nil {
			return err
		}
	}
	after, err := w.fetch(e.After, &w.after)
	if err != nil {
		return err
	}
	if kind == netchange.Insert {
		return w.insert(after)
	}
	return w.replace(before, after)
}

// deleteFirst finds the rows that give up a value of a secondary unique key
// which another row takes.
func (t *table) deleteFirst(ctx context.Context, order []uint32) ([]uint32, error) {
	if len(t.unique) == 0 {
		return nil, nil
	}
	claims := netchange.NewClaims()
	given := make(map[uint32][]uint64)
	cells := make([]rowimage.Cell, len(t.layout.Columns))
	var before, after []uint64
	for _, n := range order {
		e := t.index.Entry(int(n))
		var err error
		if before, err = t.tokensAt(ctx, e.Before, cells, before[:0]); err != nil {
			return nil, err
		}
		if after, err = t.tokensAt(ctx, e.After, cells, after[:0]); err != nil {
			return nil, err
		}
		for i := range t.unique {
			b, a := before[i], after[i]
			if b == a && !t.unique[i].blind {
				continue
			}
			if b != 0 {
				claims.Give(b)
				given[n] = append(given[n], b)
			}
			if a != 0 {
				claims.Take(a)
			}
		}
	}
	var first []uint32
	for _, n := range order {
		if claims.First(given[n]) {
			first = append(first, n)
		}
	}
	return first, nil
}

func (t *table) tokensAt(ctx context.Context, ref netchange.Ref, cells []rowimage.Cell, dst []uint64) ([]uint64, error) {
	if ref == 0 {
		for range t.unique {
			dst = append(dst, 0)
		}
		return dst, nil
	}
	return t.tokens(ctx, ref, cells, dst)
}

// counted makes the units of a table without any key: one lane of deletes in
// the first phase, because each scans the table and locks what it reads, then
// inserts in parallel.
func (j *job) counted(t *table) []applier.Lane {
	net := t.copies.Net()
	j.netTables = append(j.netTables, t)
	n := j.rowsPerChunk(t)
	var deletes applier.Lane
	var inserts []applier.Lane
	for len(net) > 0 {
		k := 1
		for k < n && k < len(net) && (net[k].Count < 0) == (net[0].Count < 0) {
			k++
		}
		u := &copiesUnit{job: j, chunk: j.next(), t: t, net: net[:k]}
		if net[0].Count < 0 {
			deletes = append(deletes, u)
		} else {
			inserts = append(inserts, applier.Lane{u})
		}
		for _, c := range net[:k] {
			j.netRows += int64(max(c.Count, -c.Count))
		}
		net = net[k:]
	}
	if deletes != nil {
		j.first = append(j.first, deletes)
	}
	return inserts
}

// copiesUnit is a chunk of a table without any key.
type copiesUnit struct {
	job   *job
	chunk uint32
	t     *table
	net   []netchange.Copies
}

// Describe names the chunk.
func (u *copiesUnit) Describe() string {
	return fmt.Sprintf("window %d, chunk %d: %d rows of %s, which has no key", u.job.number, u.chunk, len(u.net), u.t.name)
}

// Done is the checkpoint's statement.
func (u *copiesUnit) Done() string { return checkpoint.ChunkDone(u.job.number, u.chunk) }

// Groups makes the row events.
func (u *copiesUnit) Groups(yield func([]byte) error) error {
	w := newRowWriter(u.t, u.job.d, u.job.w.timestamp, yield)
	for _, c := range u.net {
		image, err := w.fetch(c.Image, &w.before)
		if err != nil {
			return err
		}
		for range c.Count {
			if err := w.insert(image); err != nil {
				return err
			}
		}
		for range -c.Count {
			if err := w.remove(image); err != nil {
				return err
			}
		}
	}
	return w.flush()
}

// verbatim cuts a lane's transactions into chunks of about chunkLen bytes, a
// transaction never divided.
func (j *job) verbatim(l *verbatimLane) applier.Lane {
	var lane applier.Lane
	groups := l.groups
	for len(groups) > 0 {
		size, k := 0, 0
		for k < len(groups) && (k == 0 || int64(size+groups[k].bytes) <= j.chunkLen) {
			size += groups[k].bytes
			k++
		}
		lane = append(lane, &verbatimUnit{job: j, chunk: j.next(), lane: l, txns: groups[:k]})
		groups = groups[k:]
	}
	return lane
}

// verbatimUnit is a run of a lane's transactions.
type verbatimUnit struct {
	job   *job
	chunk uint32
	lane  *verbatimLane
	txns  []verbatimTxn
}

// unsafe reports whether a rollback does not undo the unit.
func (u *verbatimUnit) unsafe() bool { return u.lane.name == nontransactional }

// Describe names the chunk.
func (u *verbatimUnit) Describe() string {
	first := u.txns[0]
	name := u.lane.name
	if u.unsafe() {
		name = "tables without transactions"
	}
	return fmt.Sprintf("window %d, chunk %d: %d transactions of %s from %s on",
		u.job.number, u.chunk, len(u.txns), name, first.file.At(first.events[0].Offset))
}

// Done is the checkpoint's statement.
func (u *verbatimUnit) Done() string { return checkpoint.ChunkDone(u.job.number, u.chunk) }

// Started is the note that precedes a unit which a rollback does not undo.
func (u *verbatimUnit) Started() string {
	if !u.unsafe() {
		return ""
	}
	return checkpoint.ChunkDone(u.job.number, u.chunk|startedBit)
}

// Groups re-emits the lane's statement groups: the table maps of its tables,
// then its rows events.
func (u *verbatimUnit) Groups(yield func([]byte) error) error {
	for i := range u.txns {
		if err := u.txn(&u.txns[i], yield); err != nil {
			return err
		}
	}
	return nil
}

func (u *verbatimUnit) txn(v *verbatimTxn, yield func([]byte) error) error {
	for i := 0; i < len(v.events); {
		maps := i
		for i < len(v.events) && v.events[i].Type == binlog.TableMapEvent {
			i++
		}
		rows := i
		for i < len(v.events) && v.events[i].Type != binlog.TableMapEvent {
			i++
		}
		g := groupWriter{encoder: encoder{d: u.job.d}, maps: v.events[maps:rows], tables: v.tables[maps:rows]}
		if err := g.write(v.events[rows:i], yield); err != nil {
			return binlog.At(v.file.At(v.events[maps].Offset), err)
		}
	}
	return nil
}

// groupWriter re-emits the events of one statement under table ids of its own.
type groupWriter struct {
	encoder
	maps   []binlog.Event
	tables []*table
	ids    map[uint64]uint32
}

func (g *groupWriter) write(rows []binlog.Event, yield func([]byte) error) error {
	g.begin()
	for i := range rows {
		if len(g.buf) > statementBytes && g.lastRows >= 0 {
			if err := yield(g.end()); err != nil {
				return err
			}
			g.begin()
		}
		if err := g.rowsEvent(&rows[i]); err != nil {
			return err
		}
	}
	if group := g.end(); group != nil {
		return yield(group)
	}
	return nil
}

func (g *groupWriter) begin() {
	g.reset()
	g.ids = make(map[uint64]uint32, len(g.maps))
	for i := range g.maps {
		id := uint32(i + 1) //nolint:gosec // a statement has few tables
		g.ids[binlog.TableID(g.maps[i].Body)] = id
		start := len(g.buf)
		g.buf = binlog.BeginEvent(g.buf, binlog.TableMapEvent, g.maps[i].Timestamp, g.d.serverID)
		body := len(g.buf)
		g.buf = append(g.buf, g.maps[i].Body...)
		binlog.PatchTableID(g.buf[body:], id)
		binlog.EndEvent(g.buf, start)
	}
}

func (g *groupWriter) rowsEvent(ev *binlog.Event) error {
	r, err := binlog.DecodeRows(ev.Type, ev.Body)
	if err != nil {
		return err
	}
	id, ok := g.ids[r.TableID]
	if !ok {
		return fmt.Errorf("%w: rows for table id %d, which its statement does not name", binlog.ErrCorrupt, r.TableID)
	}
	t := g.d.rowsType(r.Kind)
	if r.Partial {
		t = binlog.PartialUpdateRows
	}
	bitmaps := [][]byte{r.Before}
	if r.Kind == binlog.UpdateRows {
		bitmaps = append(bitmaps, r.After)
	}
	g.lastRows = len(g.buf)
	g.buf = binlog.BeginEvent(g.buf, t, ev.Timestamp, g.d.serverID)
	g.buf = binlog.AppendRowsHead(g.buf, t, id, g.flags(r.Flags, g.tables[id-1]), r.Columns, bitmaps...)
	g.buf = append(g.buf, r.Images...)
	binlog.EndEvent(g.buf, g.lastRows)
	return nil
}

// flags are the event's as logged, without the end of the statement, which is
// ours to say, and without RELAXED_UNIQUE, which lets MariaDB lock a whole
// empty table. Foreign keys are checked only where the engine has to cascade.
func (g *groupWriter) flags(logged uint16, t *table) uint16 {
	logged &^= binlog.RowsStmtEnd | binlog.RowsRelaxedUnique
	if t.cascades && logged&binlog.RowsSQLForeignKey == 0 {
		return logged
	}
	return logged | binlog.RowsNoFKChecks
}

// changes is the number of row changes that went into the window.
func (j *job) changes() int64 {
	n := j.w.changes
	for _, t := range j.w.tables {
		switch t.way {
		case compacted:
			n += t.index.Changes
		case counted:
			n += t.copies.Changes
		default:
		}
	}
	return n
}

// checkUnsafe refuses to go on behind a crash inside changes that no
// transaction covers.
func (j *job) checkUnsafe(done map[uint32]bool) error {
	for _, lane := range j.second {
		for _, u := range lane {
			v, ok := u.(*verbatimUnit)
			if ok && v.unsafe() && done[v.chunk|startedBit] && !done[v.chunk] {
				return fault.New(fault.Failed, fmt.Errorf("the last run was interrupted in %s: they may be applied, or half applied, or not", v.Describe()),
					"restore the backup again and replay anew")
			}
		}
	}
	return nil
}

// startedBit marks, in the checkpoint's chunk table, a chunk without
// transactions that was begun.
const startedBit = 1 << 31
