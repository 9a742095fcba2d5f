package replay

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// replay walks the log from the plan's start to its stop.
func (r *runner) replay(ctx context.Context) error {
	r.opt.Progress.Begin("replaying", r.plan.Bytes)
	if err := r.resumeDDL(ctx); err != nil {
		return err
	}
	in := &binlog.Inflater{Limit: r.opt.Memory}
	for i := r.plan.fromFile; i <= r.plan.toFile; i++ {
		f := r.set.Files[i]
		offset := int64(0)
		if i == r.plan.fromFile {
			offset = r.plan.From.Offset
		}
		if i > r.plan.fromFile && f.Format.Created != 0 {
			if err := r.serverRestart(); err != nil {
				return err
			}
		}
		if err := r.file(ctx, i, txn.NewScanner(f, offset, in)); err != nil {
			return err
		}
	}
	return errors.Join(r.closeWindow(ctx), r.wait())
}

// serverRestart: the source's temporary tables ended with the server.
func (r *runner) serverRestart() error {
	if len(r.serial.threads) == 0 {
		return nil
	}
	for id, t := range r.serial.threads {
		t.s.Close()
		delete(r.serial.threads, id)
	}
	return nil
}

// shardLag is about how far the shards may be behind the scanner, in bytes:
// their queues hold up to 20,000 events.
const shardLag = 16 << 20

func (r *runner) file(ctx context.Context, i int, sc *txn.Scanner) error {
	released := sc.Offset()
	for {
		// What the shards may still have to read stays resident.
		if to := sc.Offset() - shardLag; to-released > progressStep {
			r.set.Files[i].Release(released, to)
			released = to
		}
		if i == r.plan.toFile && sc.Offset() >= r.plan.To.Offset {
			return nil
		}
		t, ok, err := sc.Next()
		if err != nil {
			return LogError(err)
		}
		if !ok || i == r.plan.toFile && t.Start >= r.plan.To.Offset {
			return nil
		}
		if err := r.transaction(ctx, i, &t); err != nil {
			return err
		}
	}
}

func (r *runner) transaction(ctx context.Context, file int, t *txn.Transaction) error {
	if r.inFlight(t) {
		return nil // the DDL that was in flight and turned out to be done
	}
	if t.HasID && r.skip.Contains(t.ID) {
		return nil
	}
	if r.skips(t) {
		return r.leaveOut(ctx, t)
	}
	if t.Kind == txn.DDL || t.Kind == txn.Statements {
		return r.barrier(ctx, t)
	}
	if r.win == nil {
		r.openWindow(ctx, t)
	}
	err := r.win.add(ctx, file, t)
	if errors.Is(err, errNotAdmitted) {
		maps.Copy(r.sticky, r.win.sticky)
		if r.win.transactions == 0 {
			err = r.dropWindow()
		} else {
			err = r.closeWindow(ctx)
		}
		if err != nil {
			return err
		}
		return r.transaction(ctx, file, t)
	}
	var c *conflict
	if errors.As(err, &c) {
		return c.refuse(t.Position(), idOf(t))
	}
	if err != nil {
		return r.schemaError(err)
	}
	r.winEnd = t.EndPosition()
	if t.HasID {
		if err := r.winIDs.Add(t.ID); err != nil {
			return binlog.At(t.Position(), err)
		}
	}
	if r.pending == nil && r.state.Phase == checkpoint.Window {
		// A window that was announced ends where it was announced to end.
		if r.winEnd == r.state.End {
			return r.closeWindow(ctx)
		}
		return nil
	}
	if r.win.memory() > r.opt.Memory/2 || r.win.full() {
		return r.closeWindow(ctx)
	}
	return nil
}

func (r *runner) schemaError(err error) error {
	if errors.Is(err, ErrSchema) {
		return fault.New(fault.Gap, err, "the start does not fit the backup, files of the log are missing, or the account may not see the table")
	}
	return LogError(err)
}

func (r *runner) openWindow(ctx context.Context, t *txn.Transaction) {
	r.win = newWindow(ctx, r.env, r.sticky)
	r.winStart, r.winEnd = t.Position(), t.Position()
	r.winIDs = gtid.Set{}
}

func (r *runner) dropWindow() error {
	err := r.win.finish()
	r.win = nil
	return err
}

// closeWindow turns the window into a job and begins to apply it, after the
// one before it is applied.
func (r *runner) closeWindow(ctx context.Context) error {
	w := r.win
	if w == nil {
		return nil
	}
	r.win = nil
	if err := w.finish(); err != nil {
		return r.windowError(err)
	}
	for _, f := range r.set.Files[r.plan.fromFile : r.plan.toFile+1] {
		f.Release(0, int64(len(f.Data)))
	}
	chunk := r.opt.ChunkBytes
	if r.pending == nil && r.state.Phase == checkpoint.Window {
		chunk = r.state.ChunkLen
	}
	j, err := newJob(ctx, w, chunk, r.opt.Memory, r.d)
	if err != nil {
		return err
	}
	for _, t := range w.tables {
		if t.why != "" {
			r.lanes[t.name.String()] = t.why
		}
	}
	start, end, ids := r.winStart, r.winEnd, r.winIDs
	if err := r.wait(); err != nil {
		return err
	}
	sticky := slices.Sorted(maps.Keys(w.sticky))
	r.pending = make(chan error, 1)
	go func() { r.pending <- r.apply(ctx, j, start, end, ids, sticky) }()
	return nil
}

func (r *runner) windowError(err error) error {
	return fault.New(fault.Failed, err, "this is a defect of the log or of lifeboat: please report it; nothing of this window was written")
}

// wait waits for the window that is being applied.
func (r *runner) wait() error {
	if r.pending == nil {
		return nil
	}
	err := <-r.pending
	r.pending = nil
	return err
}
