package inspect

// op is what happened to one row, as far as counting net rows needs it.
type op struct {
	before, after uint64 // normal hashes of the row's key or contents; count: rows
	table         uint32 // number in the registry
	kind          opKind
	keyed         bool // the hashes are of keys
}

const opBytes = 24

type opKind uint8

const (
	opInsert opKind = iota
	opUpdate
	opDelete
	// opVerbatim: rows of a table that is from here on replayed as logged; before
	// is how many.
	opVerbatim
	// opAlone: rows of a transaction that is executed alone; before is how many.
	opAlone
	// opBarrier: here a window ends.
	opBarrier
)

// ledger counts net rows over all tables, window by window: what a barrier
// separates is not merged.
type ledger struct {
	budget  budget
	tables  []*account // by number in the registry
	active  []*account // changed in the open window
	windows int64
	open    bool
}

// account is one table of a ledger.
type account struct {
	f           follower
	active      bool
	verbatim    bool // for good
	least, most int64

	keyed, contents, twins, lossy bool // what happened in any window
}

func newLedger(memory int64) *ledger { return &ledger{budget: budget{left: memory}} }

// apply takes operations in, in the order of the log.
func (l *ledger) apply(ops []op) {
	for i := range ops {
		o := &ops[i]
		if o.kind == opBarrier {
			l.close()
			continue
		}
		a := l.account(o.table)
		switch {
		case o.kind == opAlone:
			a.add(int64(o.before)) //nolint:gosec // a number of rows
		case o.kind == opVerbatim:
			l.open = true
			a.settle(&l.budget)
			a.verbatim = true
			a.add(int64(o.before)) //nolint:gosec // as above
		case a.verbatim:
			l.open = true
			a.add(1)
		default:
			l.follow(a, o)
		}
	}
}

func (l *ledger) account(table uint32) *account {
	for int(table) >= len(l.tables) {
		l.tables = append(l.tables, &account{})
	}
	return l.tables[table]
}

func (l *ledger) follow(a *account, o *op) {
	l.open = true
	if !a.active {
		a.active = true
		l.active = append(l.active, a)
		a.by(o.keyed)
	} else if a.f.keyed != o.keyed { // binlog_row_metadata was changed
		a.settle(&l.budget)
		a.by(o.keyed)
	}
	switch o.kind {
	case opInsert:
		a.f.insert(&l.budget, o.after)
	case opUpdate:
		a.f.update(&l.budget, o.before, o.after)
	default:
		a.f.remove(&l.budget, o.before)
	}
}

// close ends the window.
func (l *ledger) close() {
	for _, a := range l.active {
		a.settle(&l.budget)
		a.active = false
	}
	l.active = l.active[:0]
	if l.open {
		l.windows++
	}
	l.open = false
}

func (a *account) add(n int64) { a.least, a.most = a.least+n, a.most+n }

// by says by what rows are followed from here on.
func (a *account) by(key bool) {
	a.f.keyed = key
	a.keyed = a.keyed || key
	a.contents = a.contents || !key
}

// settle adds what the follower has found and lets it begin anew.
func (a *account) settle(b *budget) {
	least, most := a.f.net()
	a.least, a.most = a.least+least, a.most+most
	a.twins = a.twins || a.f.twins
	a.lossy = a.lossy || a.f.lossy
	a.f.reset(b)
}
