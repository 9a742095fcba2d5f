package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/rowimage"
	"github.com/lifeboat-db/lifeboat/internal/schema"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// env is what is true for a window and may change at a barrier: the target's
// definitions.
type env struct {
	q        dbconn.Querier
	files    []*binlog.File
	shards   int
	flavor   gtid.Flavor
	families map[schema.Name]schema.Name
	defs     map[schema.Name]*schema.Table
	folders  []*folders // one for each shard, kept from window to window
	unsafe   bool       // the target has tables whose engine has no transactions
	suspects *suspects
	only     Only
	fks      []schema.ForeignKey
}

// forget drops everything that a DDL statement may have changed.
func (e *env) forget(ctx context.Context) error {
	fks, err := schema.LoadForeignKeys(ctx, e.q)
	if err != nil {
		return err
	}
	if e.unsafe, err = schema.HasNontransactional(ctx, e.q); err != nil {
		return err
	}
	e.fks, e.families = fks, schema.Families(fks)
	e.defs = map[schema.Name]*schema.Table{}
	return nil
}

func (e *env) define(ctx context.Context, n schema.Name) (*schema.Table, error) {
	if def, ok := e.defs[n]; ok {
		return def, nil
	}
	def, err := schema.Load(ctx, e.q, n)
	if err != nil {
		return nil, err
	}
	e.defs[n] = def
	return def, nil
}

// window collects the row changes of a run of transactions.
type window struct {
	env    *env
	sticky map[string]bool // tables to keep verbatim, because of what earlier windows saw
	tables map[schema.Name]*table
	maps   map[uint64]mapped // table id → table, as of the last TABLE_MAP_EVENT
	shards []*shard
	next   [][]work // batch being filled for each shard
	lanes  map[string]*verbatimLane

	transactions int64
	changes      int64 // of verbatim lanes; indexes count their own
	bytes        int64
	timestamp    uint32
	kept         int64 // bytes of verbatim events in memory
}

// mapped remembers which table a table id stands for; body tells a repeated
// TABLE_MAP_EVENT from a new one.
type mapped struct {
	body  []byte
	table *table
}

// verbatimLane is the original events of its tables, by transaction.
type verbatimLane struct {
	name   string
	groups []verbatimTxn
}

type verbatimTxn struct {
	file   *binlog.File
	events []binlog.Event // table maps and rows events of the lane's tables
	tables []*table       // one for each event
	bytes  int
}

func newWindow(ctx context.Context, e *env, sticky map[string]bool) *window {
	w := &window{
		env: e, sticky: maps.Clone(sticky), tables: map[schema.Name]*table{}, maps: map[uint64]mapped{},
		lanes: map[string]*verbatimLane{}, next: make([][]work, e.shards),
	}
	if w.sticky == nil {
		w.sticky = map[string]bool{}
	}
	for i := range e.shards {
		s := newShard(e.files, e.q, e.folders[i])
		w.shards = append(w.shards, s)
		go s.run(ctx)
	}
	return w
}

// memory is what the window holds, in bytes.
func (w *window) memory() int64 {
	n := w.kept
	for _, s := range w.shards {
		n += s.memory.Load()
	}
	return n
}

func (w *window) full() bool {
	for _, s := range w.shards {
		if s.full() {
			return true
		}
	}
	return false
}

// errNotAdmitted says that a transaction does not fit into this window: close
// it, and begin the next with this transaction.
var errNotAdmitted = errors.New("transaction does not fit into the window")

// add takes a transaction in. On errNotAdmitted nothing of it was taken.
func (w *window) add(ctx context.Context, file int, t *txn.Transaction) error {
	route, err := w.admit(ctx, t)
	if err != nil {
		return err
	}
	var vt map[string]*verbatimTxn
	for i := range t.Events {
		ev := &t.Events[i]
		tab := route[i].table
		if tab == nil {
			continue
		}
		w.timestamp = ev.Timestamp
		if tab.way == verbatim {
			if vt == nil {
				vt = map[string]*verbatimTxn{}
			}
			w.keepVerbatim(vt, t, ev, tab)
			continue
		}
		if ev.Type == binlog.TableMapEvent {
			continue
		}
		w.send(tab, work{table: tab, file: file, ev: *ev, rows: route[i].rows})
	}
	for lane, v := range vt {
		w.lane(lane).groups = append(w.lane(lane).groups, *v)
	}
	w.transactions++
	w.bytes += t.End - t.Start
	return nil
}

func (w *window) send(t *table, wk work) {
	for i, s := range w.shards {
		if s != t.shard {
			continue
		}
		w.next[i] = append(w.next[i], wk)
		if len(w.next[i]) == batchEvents {
			s.batches <- w.next[i]
			w.next[i] = make([]work, 0, batchEvents)
		}
	}
}

func (w *window) keepVerbatim(vt map[string]*verbatimTxn, t *txn.Transaction, ev *binlog.Event, tab *table) {
	v := vt[tab.lane]
	if v == nil {
		v = &verbatimTxn{file: t.File}
		vt[tab.lane] = v
	}
	v.events = append(v.events, *ev)
	v.tables = append(v.tables, tab)
	v.bytes += len(ev.Body)
	w.kept += 128
	if ev.Inner {
		w.kept += int64(len(ev.Body))
	}
	if ev.Type != binlog.TableMapEvent {
		w.changes++
	}
}

func (w *window) lane(name string) *verbatimLane {
	l := w.lanes[name]
	if l == nil {
		l = &verbatimLane{name: name}
		w.lanes[name] = l
	}
	return l
}

// routed is where an event of a transaction goes.
type routed struct {
	table *table
	rows  binlog.RowsBody
}

// admit finds the table of each event, and decides for tables that are new in
// this window how they are replayed.
func (w *window) admit(ctx context.Context, t *txn.Transaction) ([]routed, error) {
	route := make([]routed, len(t.Events))
	for i := range t.Events {
		ev := &t.Events[i]
		var err error
		if ev.Type == binlog.TableMapEvent {
			route[i].table, err = w.mapTable(ctx, ev)
		} else {
			route[i], err = w.routeRows(ctx, ev)
		}
		if err != nil && !errors.Is(err, errNotAdmitted) {
			return nil, binlog.At(t.File.At(ev.Offset), err)
		}
		if err != nil {
			return nil, err
		}
	}
	// A map is verbatim if its table is, which its first rows event decides.
	return route, nil
}

func (w *window) mapTable(ctx context.Context, ev *binlog.Event) (*table, error) {
	if len(ev.Body) < 8 {
		return nil, fmt.Errorf("%w: TABLE_MAP_EVENT", binlog.ErrCorrupt)
	}
	id := binlog.TableID(ev.Body)
	if m, ok := w.maps[id]; ok && bytes.Equal(m.body, ev.Body) {
		return m.table, nil
	}
	tm, err := binlog.DecodeTableMap(ev.Body)
	if err != nil {
		return nil, err
	}
	name := schema.Name{Database: tm.Database, Table: tm.Table}
	tab := w.tables[name]
	if !w.env.only.wants(name) {
		w.maps[id] = mapped{bytes.Clone(ev.Body), nil}
		return nil, nil //nolint:nilnil // none is an answer
	}
	if tab == nil {
		if tab, err = w.newTable(ctx, name, tm); err != nil {
			return nil, err
		}
		w.tables[name] = tab
	} else if !tab.tm.SameColumns(tm) {
		return nil, errNotAdmitted
	}
	body := ev.Body
	if ev.Inner {
		body = bytes.Clone(body) // the event's own would keep its whole payload in memory
	}
	w.maps[id] = mapped{body, tab}
	return tab, nil
}

// ErrSchema says that the target's tables are not those of the log.
var ErrSchema = errors.New("the target's table is not the one of the log")

func (w *window) newTable(ctx context.Context, n schema.Name, tm binlog.TableMap) (*table, error) {
	def, err := w.env.define(ctx, n)
	if err != nil {
		return nil, err
	}
	suspect := w.env.suspects.of(n.Database, n.Table)
	if def == nil && !w.env.suspects.none() {
		return nil, w.missing(n)
	}
	if def == nil {
		return nil, fmt.Errorf("%w: the target has no table %s", ErrSchema, n)
	}
	// The hidden period columns of system-versioned tables are in row images
	// and not in information_schema.
	if len(def.Columns) != len(tm.Types) && !def.SystemVersioned && (suspect == nil || suspect.How == checkpoint.Filled) {
		return nil, fmt.Errorf("%w: %s has %d columns on the target and %d in the log", ErrSchema, n, len(def.Columns), len(tm.Types))
	}
	t := &table{name: n, def: def, tm: tm, autoCol: -1, updatesCount: w.env.flavor == gtid.MySQL, suspect: suspect}
	for i, c := range def.Columns {
		if c.AutoIncrement {
			t.autoCol = i
		}
	}
	t.shard = w.shards[len(w.tables)%len(w.shards)]
	return t, nil
}

// missing: a table that the log changes is not there, and a transaction was left out.
func (w *window) missing(n schema.Name) error {
	x := w.env.suspects.of(n.Database, n.Table)
	for _, other := range w.env.suspects.named {
		if x == nil || x.How == checkpoint.Filled {
			x = other
		}
	}
	return &conflict{n.String(), x.By, "it is not there"}
}

func (w *window) routeRows(ctx context.Context, ev *binlog.Event) (routed, error) {
	r, err := binlog.DecodeRows(ev.Type, ev.Body)
	if err != nil {
		return routed{}, err
	}
	m, ok := w.maps[r.TableID]
	if !ok {
		return routed{}, fmt.Errorf("%w: rows for table id %d, which no TABLE_MAP_EVENT names", binlog.ErrCorrupt, r.TableID)
	}
	t := m.table
	if t == nil {
		return routed{}, nil // not wanted
	}
	if r.Columns != len(t.tm.Types) {
		return routed{}, fmt.Errorf("%w: rows of %d columns for a table of %d", binlog.ErrCorrupt, r.Columns, len(t.tm.Types))
	}
	if t.way == undecided {
		if t.suspect != nil && t.suspect.How != checkpoint.Filled {
			return routed{}, t.accept() // whose columns are not known
		}
		if err := t.start(ctx, w, &r); err != nil {
			return routed{}, err
		}
		if err := t.accept(); err != nil {
			return routed{}, err
		}
	}
	_, inFamily := w.env.families[t.name]
	if !t.mayStay(&r, inFamily) {
		w.sticky[t.name.String()] = true
		return routed{}, errNotAdmitted
	}
	return routed{t, r}, nil
}

// start prepares a table for its first rows event in the window.
func (t *table) start(ctx context.Context, w *window, r *binlog.RowsBody) error {
	layout, err := rowimage.New(t.tm.Types, t.tm.Meta)
	if errors.Is(err, rowimage.ErrUnknown) {
		return t.keepVerbatim("column type not known")
	}
	if err != nil {
		return err
	}
	t.layout, t.cells = layout, make([]rowimage.Cell, len(layout.Columns))
	return t.decide(ctx, w, r)
}

// finish waits until everything that was taken in is indexed.
func (w *window) finish() error {
	var errs []error
	for i, s := range w.shards {
		if len(w.next[i]) > 0 {
			s.batches <- w.next[i]
			w.next[i] = nil
		}
		close(s.batches)
	}
	for _, s := range w.shards {
		errs = append(errs, <-s.done)
		s.rest = nil
	}
	return errors.Join(errs...)
}

// sorted returns the tables in name order: part of what makes chunks
// deterministic.
func (w *window) sorted() []*table {
	return slices.SortedFunc(maps.Values(w.tables), func(a, b *table) int {
		return bytes.Compare([]byte(a.name.String()), []byte(b.name.String()))
	})
}

func (w *window) laneNames() []string { return slices.Sorted(maps.Keys(w.lanes)) }
