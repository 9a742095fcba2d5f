package replay

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// barrier executes a transaction alone, after everything before it.
func (r *runner) barrier(ctx context.Context, t *txn.Transaction) error {
	if err := errors.Join(r.closeWindow(ctx), r.wait()); err != nil {
		return err
	}
	conn := r.own.Conn()
	if err := errors.Join(r.beforeBarrier(t), r.only.filter(t)); err != nil {
		return err
	}
	if err := r.announceBarrier(ctx, conn, t); err != nil {
		return err
	}
	if t.HasID {
		if err := r.applied.Add(t.ID); err != nil {
			return binlog.At(t.Position(), err)
		}
	}
	after := r.state
	after.Phase, after.Next, after.Before, after.GTIDs = checkpoint.Idle, t.EndPosition(), "", r.applied.String()
	after.Counts.Barriers++
	after.Counts.Transactions++
	after.Counts.Bytes += t.End - t.Start
	fresh := r.fresh
	r.fresh = false // what is sent may happen, even if no answer comes
	err := r.serial.run(ctx, t, r.again == t.EndPosition(), func(q checkpoint.Execer) error { return checkpoint.Save(ctx, q, after) })
	if err != nil {
		r.fresh = fresh && dbconn.Number(err) != 0 // the server says that it did not
		return r.barrierError(t, err)
	}
	after.TempTabs = r.serial.openTemporary()
	again := r.state.Phase != checkpoint.Idle || !slices.Equal(after.TempTabs, r.state.TempTabs)
	r.state = after
	r.opt.Progress.Add(t.End - t.Start)
	if again {
		if err := checkpoint.Save(ctx, conn, after); err != nil {
			return err
		}
	}
	if t.Kind == txn.DDL || t.CreatesTable() {
		return errors.Join(r.scratch.drop(ctx, r.own), r.env.forget(ctx), r.afterDDL(ctx, t))
	}
	return nil
}

func (r *runner) barrierError(t *txn.Transaction, err error) error {
	if applier.Lost(err) || errors.Is(err, context.Canceled) {
		return binlog.At(t.Position(), err)
	}
	if x := r.env.suspects; !x.none() {
		return fault.New(fault.Refused, fmt.Errorf("conflict: the transaction at %s does not work, after one was skipped: %w", t.Position(), err),
			fmt.Sprintf("skip it too, by --skip with %s added, or stop in front of it, by --until %s", cmp.Or(idOf(t), t.Position().String()), t.Position()))
	}
	class := fault.Failed
	if r.fresh {
		class = fault.Gap // the first statement of all does not fit the target
	}
	return fault.New(class, fmt.Errorf("%s: %w", t.Position(), err),
		"the statement went well on the source: the start may not fit the backup, or the target's version refuses it")
}

// announceBarrier notes what is about to happen, where a crash would leave
// open whether it did: DDL, and changes of tables without transactions.
func (r *runner) announceBarrier(ctx context.Context, conn *sql.Conn, t *txn.Transaction) error {
	if r.again == t.EndPosition() {
		return nil // announced by the run that began it
	}
	st := &r.state
	st.End = t.EndPosition()
	switch {
	case t.Kind == txn.DDL || t.CreatesTable():
		var err error
		if st.Before, err = fingerprint(ctx, conn, r.srv); err != nil {
			return err
		}
		st.Phase = checkpoint.DDL
	case r.env.unsafe || t.RolledBack:
		st.Phase = checkpoint.Unsafe
	default:
		return nil // the checkpoint commits with the statements
	}
	return checkpoint.Save(ctx, conn, *st)
}

// resumeDDL finds out whether a DDL statement that was in flight has happened.
func (r *runner) resumeDDL(ctx context.Context) error {
	st := &r.state
	if st.Phase != checkpoint.DDL {
		return nil
	}
	now, err := fingerprint(ctx, r.control, r.srv)
	if err != nil {
		return err
	}
	if now == st.Before {
		st.Phase = checkpoint.Idle // it did not: execute it
		return nil
	}
	r.doneDDL = st.End
	return nil
}

// inFlight passes over the DDL that resumeDDL found to be done.
func (r *runner) inFlight(t *txn.Transaction) bool {
	if r.doneDDL.IsZero() {
		return false
	}
	if t.EndPosition() == r.doneDDL {
		r.doneDDL = binlog.Position{}
		if r.srv.Flavor == gtid.MariaDB && t.CreatesTable() || t.Piecewise() {
			// The table is made; its rows commit with the checkpoint, so they are
			// not there yet. Or some of the statement's objects are done, and
			// nobody knows whether all are.
			r.again = t.EndPosition()
			return false
		}
		r.state.Phase, r.state.Next = checkpoint.Idle, t.EndPosition()
		r.state.Counts.Barriers++
		r.state.Counts.Transactions++
		if t.HasID {
			_ = r.applied.Add(t.ID)
		}
		r.state.GTIDs = r.applied.String()
	}
	return true
}
