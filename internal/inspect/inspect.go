// Package inspect says what binary logs hold, table by table, without a server
// to replay them into: how much would be left of them by net change, and what
// would be in the way.
//
// # Net rows without keys
//
// Package netchange merges the changes of a key. Here keys are mostly unknown:
// a log names columns and keys only under binlog_row_metadata=FULL. But a full
// row image says which row it is by its contents. The before image of a change
// equals, byte for byte, the image that the last change of the same row left,
// so changes form chains:
//
//	INSERT a        a chain begins
//	UPDATE a → b    goes on with the chain that ends in a, or begins one
//	DELETE b        ends the chain that ends in b
//
// A chain that begins with INSERT and ends with DELETE vanishes; every other one
// is a net row. Only hashes of the open chains' last images are kept.
//
// What is known of the result, for each table and window:
//
//   - Rows that were deleted, and rows inserted later, may have the same key: one
//     net row, but two chains. So net rows are a range. With the primary key in
//     the log rows are told apart by it instead, and the number is exact, except
//     that keys are compared as bytes and not by collation.
//   - An update of a primary key is one chain, and two net rows of a replay
//     (a key that goes and another one that comes). The range does not count it.
//   - Rows of equal contents (tables without a key) are told apart no more: their
//     chains may be crossed. Reported as "identical rows".
//   - A table is replayed verbatim from the first partial row image on (MINIMAL,
//     NOBLOB, partial JSON): each change counts as a net row.
//   - A barrier (DDL, statement-format changes) ends all chains, as it ends a
//     replay's window. Windows that a replay ends because its memory is full are
//     not known and not counted.
//   - Where the memory for chains does not suffice, further rows are not
//     followed; the range becomes wider and stays right.
//
// What depends on definitions cannot be seen: foreign keys that cascade, engines
// without transactions, system-versioned tables and sequences, keys that cannot
// be compared outside of a server. A replay keeps such tables verbatim.
//
// # Memory
//
// Half of Options.Memory is for chains (11 to 21 bytes each, and three times the
// size of the largest table's while that grows), a quarter for row changes that
// wait for those of earlier files. Beyond them a scan holds, for each file that
// is read at the same time, the event headers of one transaction (64 bytes each)
// and, if it is compressed, its uncompressed events (refused beyond
// Options.Memory); and a few hundred bytes for each table.
package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/replay"
)

// Run reads the logs. It returns a report also where it fails, of what lies
// before the place; nil if nothing could be read, or ctx ended it. Errors have
// replay's classes.
func Run(ctx context.Context, opt Options) (*Report, error) {
	began := time.Now()
	opt.setDefaults()
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	start, stop, err := points(&opt)
	if err != nil {
		return nil, err
	}
	set, err := binlog.OpenSet(opt.Files)
	if err != nil {
		return nil, replay.LogError(err)
	}
	defer func() { _ = set.Close() }() // it was only read
	lim, err := newLimits(set, start, stop)
	if err != nil {
		return nil, err
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(opt.Memory + memorySlack))
	opt.Progress.Begin("reading", set.Size())
	r := &runner{opt: &opt, set: set, lim: lim, ledger: newLedger(opt.Memory / 2), names: newRegistry(), find: newFinder(opt.Find), total: newFileTotals()}
	err = r.run(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, explain(ctx, err)
	}
	rep := r.report()
	rep.Complete = err == nil
	rep.Seconds = time.Since(began).Seconds()
	return rep, explain(ctx, err)
}

// memorySlack is what the garbage collector may use beyond Options.Memory.
const memorySlack = 96 << 20

// points reads --from and --until.
func points(opt *Options) (start replay.Start, stop replay.Stop, err error) {
	if opt.From != "" {
		if start, err = replay.ParseStart(opt.From); err != nil {
			return start, stop, err
		}
		if start.Auto {
			return start, stop, usagef("--from auto: there is no target whose state could say it")
		}
	}
	stop, err = replay.ParseStop(opt.Until)
	return start, stop, err
}

func explain(ctx context.Context, err error) error {
	var e *fault.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &fault.Error{Class: fault.Interrupted, Err: fmt.Errorf("interrupted (%w)", context.Cause(ctx))}
	case errors.As(err, &e):
		return err
	default:
		return replay.LogError(err)
	}
}

// runner reads a set of files and adds up what is in them, in their order.
type runner struct {
	opt    *Options
	set    *binlog.Set
	lim    limits
	ledger *ledger
	find   *finder
	names  *registry

	total   fileTotals // of all files
	stopped bool       // the stop was reached
}

// parallel is how many files are read at once. One more than processors, since
// the next file has to wait when it is far ahead.
func parallel() int { return min(16, runtime.NumCPU()+1) }

// run scans several files at a time and takes their row changes in one file
// after the other. However it ends, no scan is left running.
func (r *runner) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	queue := int(r.opt.Memory / 4 / int64(parallel()) / (batchOps * opBytes))
	scans := make([]*scan, len(r.set.Files))
	next := r.lim.fromFile
	for i := next; i < len(scans) && !r.stopped; i++ {
		for ; next < len(scans) && next < i+parallel(); next++ {
			s := newScan(r, next, queue)
			scans[next] = s
			wg.Go(func() { s.run(ctx) })
		}
		for batch := range scans[i].out {
			r.ledger.apply(batch)
			scans[i].recycle(batch)
		}
		err := r.take(scans[i], i)
		scans[i] = nil
		if err != nil {
			return err
		}
	}
	return r.checkStop()
}

// take adds what was found in the file, which is behind all that were added.
func (r *runner) take(s *scan, i int) error {
	r.total.add(&s.total, r.opt.Top)
	if s.err != nil {
		if isCutOff(s.err) {
			return fmt.Errorf("%w: %w, and it is not the last one of the log: get this file again from where it was archived", binlog.ErrGap, s.err)
		}
		return s.err
	}
	r.stopped = s.stopped
	if r.stopped {
		return nil
	}
	return r.checkNext(i, s.total.seen)
}

// checkNext compares what the log holds at the end of file i with what the next
// file says was before it; seen are the transactions in file i.
func (r *runner) checkNext(i int, seen gtid.Set) error {
	if i+1 >= len(r.set.Files) || !r.set.Heads[i+1].HasPrevious {
		return nil
	}
	until := r.set.Heads[i].Previous.Clone()
	if err := until.Union(seen); err != nil {
		return gapf("", "%s: %w", r.set.Files[i].Name, err)
	}
	next := r.set.Heads[i+1].Previous
	if next.ContainsSet(until) && until.ContainsSet(next) {
		return nil
	}
	return gapf("give the files between them too", "%w: %s ends with %s, but %s begins after %s", binlog.ErrGap,
		r.set.Files[i].Name, until.String(), r.set.Files[i+1].Name, next.String())
}

// checkStop makes sure that a stop that was asked for was found.
func (r *runner) checkStop() error {
	stop := r.lim.stop
	switch {
	case r.stopped || stop.IsEnd():
		return nil
	case !stop.Time.IsZero():
		return gapf("give later files too, or leave --until out",
			"stop %s lies beyond the end of the log, whose last transaction was committed at %s", stop, r.total.last.Format(time.RFC3339Nano))
	default:
		return gapf("give later files too", "stop %s is not reached: the log ends at %s", stop, r.total.end)
	}
}

// registry numbers tables in the order in which they are first seen, over all
// files.
type registry struct {
	mu      sync.Mutex
	numbers map[tableName]uint32
	names   []tableName
}

type tableName struct{ database, table string }

func (n tableName) String() string { return n.database + "." + n.table }

func newRegistry() *registry { return &registry{numbers: map[tableName]uint32{}} }

func (r *registry) number(n tableName) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, ok := r.numbers[n]; ok {
		return i
	}
	i := uint32(len(r.names)) //nolint:gosec // a log with 2^32 tables does not exist
	r.numbers[n] = i
	r.names = append(r.names, n)
	return i
}

// report makes the report of what has been taken in.
func (r *runner) report() *Report {
	r.ledger.close()
	t := &r.total
	if t.begin.IsZero() { // nothing counts
		t.begin = t.end
	}
	rep := &Report{
		SchemaVersion: SchemaVersion, Vendor: r.set.Flavor().String(), Files: r.fileReports(),
		From: t.begin.String(), To: t.end.String(), Bytes: r.bytes(),
		FirstCommit: t.first, LastCommit: t.last, GTIDs: t.gtids(r.set.Heads[r.lim.fromFile].Previous),
		Transactions: t.transactions, Windows: r.ledger.windows,
		Barriers: t.barriers.sorted(), Verbatim: t.verbatim.sorted(), Refused: t.refused.sorted(),
		Incomplete: t.incomplete, Largest: t.largest.sorted(), Found: t.found.report(r.opt.Find),
		Memory: Memory{Limit: r.opt.Memory / 2, Peak: r.ledger.budget.peak},
		Tables: []Table{},
	}
	for n, c := range t.tables {
		tab := r.table(n, c)
		rep.add(&tab.Changes)
		rep.Tables = append(rep.Tables, tab)
	}
	slices.SortFunc(rep.Tables, func(a, b Table) int {
		return cmp.Or(cmp.Compare(b.EventBytes, a.EventBytes), cmp.Compare(a.Database, b.Database), cmp.Compare(a.Name, b.Name))
	})
	rep.Notes = r.notes(rep)
	return rep
}

// bytes is the size of the log from begin to end.
func (r *runner) bytes() int64 {
	n := r.total.end.Offset - r.total.begin.Offset
	for i := r.set.Index(r.total.begin.File); i < r.set.Index(r.total.end.File); i++ {
		n += int64(len(r.set.Files[i].Data))
	}
	return n
}

func (c *Changes) add(o *Changes) {
	c.RowsEvents += o.RowsEvents
	c.Inserts += o.Inserts
	c.Updates += o.Updates
	c.Deletes += o.Deletes
	c.EventBytes += o.EventBytes
	c.NetRows.Least += o.NetRows.Least
	c.NetRows.Most += o.NetRows.Most
}

func (r *runner) table(n uint32, c *tableCounts) Table {
	a := r.ledger.account(n)
	t := Table{Database: r.names.names[n].database, Name: r.names.names[n].table, Transactions: c.transactions, Changes: c.Changes}
	t.NetRows = Range{a.least, a.most}
	switch {
	case a.keyed && a.contents:
		t.By = "both"
	case a.keyed:
		t.By = "key"
	case a.contents:
		t.By = "contents"
	default:
		t.By = "none"
	}
	for why, is := range map[string]bool{
		"keys": a.least < a.most && a.contents, "partial images": a.verbatim && !c.blind,
		"identical rows": a.twins, "memory": a.lossy, "unknown column type": c.blind,
	} {
		if is {
			t.Estimates = append(t.Estimates, why)
		}
	}
	slices.Sort(t.Estimates)
	return t
}

// fileReports lists all files, in the order of the log.
func (r *runner) fileReports() []File {
	var out []File
	for i, f := range r.set.Files {
		rep := File{
			Name: f.Name, Bytes: int64(len(f.Data)), ServerVersion: f.Format.ServerVersion,
			ServerID: f.Format.ServerID, Checksums: f.Format.Checksum,
		}
		if n := i - r.lim.fromFile; n >= 0 && n < len(r.total.files) {
			t := r.total.files[n]
			rep.Transactions, rep.FirstCommit, rep.LastCommit = t.transactions, t.first, t.last
			rep.Read = true
		}
		switch tail := f.Tail(); {
		case tail.Rotate != "":
			rep.End, rep.Next = "rotate", tail.Rotate
		case tail.Stop:
			rep.End = "stop"
		case f.Format.InUse:
			rep.End = "open"
		default:
			rep.End = "none"
		}
		out = append(out, rep)
	}
	return out
}

// notes says in words what the numbers do not.
func (r *runner) notes(rep *Report) []string {
	var notes []string
	if slices.ContainsFunc(rep.Files, func(f File) bool { return !f.Checksums }) {
		notes = append(notes, "some files have no checksums: damage in them cannot be seen")
	}
	estimates := map[string]int{}
	for _, t := range rep.Tables {
		for _, e := range t.Estimates {
			estimates[e]++
		}
	}
	for _, e := range []struct{ key, text string }{
		{"keys", "net rows are a range where rows were deleted and others inserted: whether a new row has the key of a deleted one is not in the log (it is with binlog_row_metadata=FULL)"},
		{"partial images", "tables with partial row images are replayed as logged, nothing of them is merged"},
		{"identical rows", "net rows of tables with identical rows are an estimate"},
		{"memory", "--memory did not suffice to follow all rows: net rows are a lower and an upper bound"},
		{"unknown column type", "rows of tables with a column type that is not known are not counted"},
	} {
		if n := estimates[e.key]; n > 0 {
			notes = append(notes, fmt.Sprintf("%s (%d %s)", e.text, n, plural(n, "table")))
		}
	}
	return append(notes, "without a target it is not known which tables have cascading foreign keys, engines without transactions, system versions or no usable key: a replay keeps those verbatim")
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
