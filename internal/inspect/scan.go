package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/rowimage"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// scan reads one file. Its totals and err may be read when out is closed.
type scan struct {
	r     *runner
	index int // of the file in the set
	file  *binlog.File

	out  chan []op // row changes in the order of the log
	free chan []op // used batches
	ops  []op      // being filled

	maps    map[uint64]*mapped // table id → table, as of the last TABLE_MAP_EVENT
	number  int64              // of the transaction at hand
	rows    int64              // row changes of the transaction at hand
	reached bool               // all of a GTID stop was seen

	total   fileTotals
	stopped bool // the stop was reached
	err     error
}

// batchOps is how many row changes are handed over at once.
const batchOps = 2048

func newScan(r *runner, index, queue int) *scan {
	f := r.set.Files[index]
	s := &scan{
		r: r, index: index, file: f, out: make(chan []op, queue), free: make(chan []op, 16),
		maps: map[uint64]*mapped{}, total: newFileTotals(),
	}
	if set := r.lim.stop.Set; r.lim.stop.HasSet {
		s.reached = r.set.Heads[index].Previous.ContainsSet(set)
	}
	begin := f.First
	if index == r.lim.fromFile {
		begin = max(begin, r.lim.from)
	}
	if !r.lim.hasSkip {
		s.total.begin = f.At(begin)
	}
	s.total.end = f.At(begin)
	return s
}

// seed is of all hashes of a process; they are compared and never stored.
var seed = maphash.MakeSeed()

// releaseStep is how many bytes are read before progress is told and the pages
// of the mapping are given back.
const releaseStep = 4 << 20

func (s *scan) run(ctx context.Context) {
	defer close(s.out)
	s.err = s.read(ctx)
	if err := s.flush(ctx); s.err == nil {
		s.err = err
	}
}

func (s *scan) read(ctx context.Context) error {
	sc := txn.NewScanner(s.file, 0, &binlog.Inflater{Limit: s.r.opt.Memory})
	released := int64(0)
	defer func() { s.release(released, int64(len(s.file.Data))) }()
	for {
		t, ok, err := sc.Next()
		if err != nil && isCutOff(err) && s.index == len(s.r.set.Files)-1 {
			return s.incomplete(err)
		}
		if err != nil {
			return err
		}
		if !ok {
			s.endOfFile(sc.Offset())
			return nil
		}
		if err := s.transaction(ctx, &t); err != nil || s.stopped {
			return err
		}
		if sc.Offset()-released > releaseStep {
			s.release(released, sc.Offset())
			released = sc.Offset()
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
}

func (s *scan) release(from, to int64) {
	s.file.Release(from, to)
	s.r.opt.Progress.Add(to - from)
}

func isCutOff(err error) bool {
	return errors.Is(err, binlog.ErrTruncated) || errors.Is(err, txn.ErrIncomplete)
}

func (s *scan) endOfFile(end int64) {
	stop := s.r.lim.stop.Position
	s.total.end = s.file.At(end)
	s.stopped = stop.File == s.file.Name || s.reached
}

// incomplete notes that the log ends inside a transaction or an event.
func (s *scan) incomplete(err error) error {
	pos := s.total.end
	var at *binlog.PosError
	if errors.As(err, &at) {
		pos = at.Pos
	}
	if stop := s.r.lim.stop.Position; stop.File == s.file.Name {
		if stop.Offset > pos.Offset {
			return gapf("", "stop %s lies inside the transaction that the end of the file cuts off, at %d", stop, pos.Offset)
		}
		s.stopped = true
	}
	s.total.end = pos
	s.total.incomplete = &Incomplete{
		Position: pos.String(), Bytes: int64(len(s.file.Data)) - pos.Offset, Reason: errors.Unwrap(err).Error(),
	}
	return nil
}

func (s *scan) transaction(ctx context.Context, t *txn.Transaction) error {
	verdict, err := s.judge(t)
	if err != nil {
		return err
	}
	if verdict == stops {
		s.stopped = true
		return nil
	}
	if t.HasID {
		if err := s.total.seen.Add(t.ID); err != nil {
			return binlog.At(t.Position(), err)
		}
	}
	if verdict == leftOut {
		s.total.leaveOut(t)
		return nil
	}
	if err := s.changes(ctx, t); err != nil {
		return err
	}
	s.find(t)
	return s.total.count(t, s.rows, s.r.opt.Top, func() []TableCount { return s.tablesOf(t) })
}

// changes takes in the row changes of a transaction.
func (s *scan) changes(ctx context.Context, t *txn.Transaction) error {
	if len(s.maps) > maxMaps { // of tables that were reopened or are gone; each statement maps its tables anew
		clear(s.maps)
	}
	s.number++
	s.rows = 0
	alone := t.Kind == txn.DDL || t.Kind == txn.Statements || t.Refused != nil
	for i := range t.Events {
		ev := &t.Events[i]
		var err error
		switch {
		case ev.Type == binlog.TableMapEvent:
			err = s.mapTable(ev)
		case ev.Type.Rows() != binlog.NotRows:
			err = s.rowsEvent(ctx, t, ev, alone)
		}
		if err != nil {
			return binlog.At(s.file.At(ev.Offset), err)
		}
	}
	if alone {
		return s.emit(ctx, op{kind: opBarrier})
	}
	return nil
}

const maxMaps = 4096

// mapped is what a table id stands for.
type mapped struct {
	body   []byte // of the TABLE_MAP_EVENT, to tell a repeated one from a new one
	name   tableName
	table  uint32
	counts *tableCounts
	types  []byte
	layout *rowimage.Layout // nil: a column type is not known
	key    []int            // columns of the primary key, if the log says it
	json   int              // number of JSON columns
	cells  []rowimage.Cell
	buf    []byte
	in     int64 // number of the last transaction with rows of it
}

func (s *scan) mapTable(ev *binlog.Event) error {
	if len(ev.Body) < 8 {
		return fmt.Errorf("%w: TABLE_MAP_EVENT", binlog.ErrCorrupt)
	}
	id := binlog.TableID(ev.Body)
	m := s.maps[id]
	if m == nil || !bytes.Equal(m.body, ev.Body) {
		var err error
		if m, err = s.newMapped(ev); err != nil {
			return err
		}
		s.maps[id] = m
	}
	m.counts.EventBytes += binlog.HeaderSize + int64(len(ev.Body))
	return nil
}

func (s *scan) newMapped(ev *binlog.Event) (*mapped, error) {
	body := ev.Body
	if ev.Inner { // it would keep the whole payload
		body = bytes.Clone(body)
	}
	tm, err := binlog.DecodeTableMap(body)
	if err != nil {
		return nil, err
	}
	m := &mapped{body: body, name: tableName{tm.Database, tm.Table}, types: tm.Types}
	m.table = s.r.names.number(m.name)
	m.counts = s.total.table(m.table)
	m.json = bytes.Count(tm.Types, []byte{rowimage.TypeJSON})
	if m.layout, err = rowimage.New(tm.Types, tm.Meta); errors.Is(err, rowimage.ErrUnknown) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", binlog.ErrCorrupt, err)
	}
	m.cells = make([]rowimage.Cell, len(tm.Types))
	m.key, err = tm.PrimaryKey()
	return m, err
}

// tablesOf counts the rows of each table of a transaction, for the few that are
// listed.
func (s *scan) tablesOf(t *txn.Transaction) []TableCount {
	var out []TableCount
	at := map[tableName]int{}
	for i := range t.Events {
		ev := &t.Events[i]
		if ev.Type.Rows() == binlog.NotRows {
			continue
		}
		r, err := binlog.DecodeRows(ev.Type, ev.Body)
		m := s.maps[r.TableID]
		if err != nil || m == nil { // not behind changes
			continue
		}
		n, seen := at[m.name]
		if !seen {
			n = len(out)
			at[m.name] = n
			out = append(out, TableCount{Table: m.name.String()})
		}
		if rows, err := m.countRows(&r); err == nil {
			out[n].Rows += rows
		}
	}
	return out
}

func (s *scan) emit(ctx context.Context, o op) error {
	if len(s.ops) == cap(s.ops) {
		if err := s.flush(ctx); err != nil {
			return err
		}
	}
	s.ops = append(s.ops, o)
	return nil
}

// flush hands the batch over and takes an empty one.
func (s *scan) flush(ctx context.Context) error {
	if len(s.ops) > 0 {
		select {
		case s.out <- s.ops:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case s.ops = <-s.free:
	default:
		s.ops = make([]op, 0, batchOps)
	}
	return nil
}

// recycle gives a batch back to the scan; called by who reads out.
func (s *scan) recycle(batch []op) {
	select {
	case s.free <- batch[:0]:
	default:
	}
}
