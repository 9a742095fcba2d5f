package replay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// apply announces a window, applies its chunks, and notes that it is done.
func (r *runner) apply(ctx context.Context, j *job, start, end binlog.Position, ids gtid.Set, sticky []string) error {
	conn := r.own.Conn()
	if r.state.Phase != checkpoint.Window { // else it was done before the window was begun
		if err := r.checkSuspects(ctx, j); err != nil {
			return err
		}
	}
	done, err := r.announce(ctx, conn, j, start, end, sticky)
	if err != nil {
		return err
	}
	if r.untested {
		if err := r.trial(ctx, j); err != nil {
			return r.unfit(err, start, end)
		}
		r.fresh, r.untested = false, false
	}
	credit := r.credit(j)
	opt := applier.Options{Retries: 30, Applied: credit}
	for _, lanes := range [][]applier.Lane{j.first, j.second} {
		if err := applier.Apply(ctx, r.sessions, missing(lanes, done), opt); err != nil {
			return r.applyError(r.unfit(err, start, end))
		}
	}
	if err := r.autoIncrement(ctx, conn, j); err != nil {
		return err
	}
	if r.opt.Verify {
		if err := r.readBackAll(ctx, j); err != nil {
			return err
		}
	}
	if err := r.applied.Union(ids); err != nil {
		return err
	}
	st := &r.state
	st.Phase, st.Next, st.GTIDs = checkpoint.Idle, end, r.applied.String()
	st.Counts.Transactions += j.w.transactions
	st.Counts.Changes += j.changes()
	st.Counts.NetRows += j.netRows
	st.Counts.Windows++
	st.Counts.Bytes += j.w.bytes
	return checkpoint.Save(ctx, conn, *st)
}

// announce writes the window's end before its first chunk, or, when the run
// resumes, finds out which chunks are committed.
func (r *runner) announce(ctx context.Context, conn *sql.Conn, j *job, start, end binlog.Position, sticky []string) (map[uint32]bool, error) {
	st := &r.state
	if st.Phase == checkpoint.Window {
		if end != st.End {
			return nil, fault.New(fault.Gap, fmt.Errorf("the checkpoint announces a window from %s to %s, the log gives one from %s to %s", st.Next, st.End, start, end),
				"give the same files as before, or more of the same log")
		}
		j.number = st.Window
		r.fresh, r.untested = false, false
		done, err := checkpoint.Chunks(ctx, conn, j.number)
		if err != nil {
			return nil, err
		}
		return done, j.checkUnsafe(done)
	}
	j.number = st.Window + 1
	if err := checkpoint.Forget(ctx, conn, j.number); err != nil {
		return nil, err
	}
	st.Phase, st.End, st.Window, st.Verbatim, st.ChunkLen = checkpoint.Window, end, j.number, sticky, j.chunkLen
	return nil, checkpoint.Save(ctx, conn, *st)
}

// missing leaves out the units whose chunks are committed.
func missing(lanes []applier.Lane, done map[uint32]bool) []applier.Lane {
	if len(done) == 0 {
		return lanes
	}
	var out []applier.Lane
	for _, l := range lanes {
		rest := slices.DeleteFunc(slices.Clone(l), func(u applier.Unit) bool {
			n, ok := chunkOf(u)
			return ok && done[n]
		})
		if len(rest) > 0 {
			out = append(out, rest)
		}
	}
	return out
}

func chunkOf(u applier.Unit) (uint32, bool) {
	switch u := u.(type) {
	case *rowsUnit:
		return u.chunk, true
	case *copiesUnit:
		return u.chunk, true
	case *verbatimUnit:
		return u.chunk, true
	default:
		return 0, false
	}
}

// credit spreads a window's bytes over its units, for the progress.
func (r *runner) credit(j *job) func(applier.Unit) {
	if j.units == 0 {
		r.opt.Progress.Add(j.w.bytes)
		return nil
	}
	each := j.w.bytes / int64(j.units)
	return func(applier.Unit) { r.opt.Progress.Add(each) }
}

// trial applies a few rows of each table and rolls them back: a wrong start
// shows here, while nothing is written yet.
func (r *runner) trial(ctx context.Context, j *job) error {
	err := applier.Apply(ctx, r.sessions[:1], j.probe, applier.Options{Retries: 10, Trial: true})
	if err == nil {
		err = r.checkBefore(ctx, j)
	}
	if err == nil {
		return nil
	}
	return r.applyError(err)
}

// undo leaves the target as it was found, when nothing of the log is applied.
func (r *runner) undo() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.serial.close() // ends its transaction, if one is open
	s, err := applier.NewSession(ctx, r.db, r.srv, r.set.Files[r.plan.fromFile].Format.ForApply(r.srv.ServerID), sessionUndo)
	if err != nil {
		return
	}
	defer s.Close()
	if restoreSettings(ctx, s.Conn(), r.settings(), true) == nil && checkpoint.Drop(ctx, s.Conn()) == nil {
		r.created = false
	}
}

// lost is how the target went away, if that is what an error may come of that says
// nothing: a server that shuts down ends a row event in the midst with 'unknown
// error', and then its connections.
func (r *runner) lost(err error) error {
	if !applier.Unknown(err) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for range 20 {
		if err := r.control.PingContext(ctx); applier.Lost(err) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

func (r *runner) applyError(err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	if lost := r.lost(err); lost != nil {
		return fmt.Errorf("%w, after: %v", lost, err) //nolint:errorlint // what counts is that it went away
	}
	switch {
	case applier.IsSchemaMismatch(err):
		return fault.New(fault.Gap, fmt.Errorf("%w (a table is missing or has other columns than in the log, or the account may not write it)", err),
			"the server's error log says which; the start may not fit the backup")
	case dbconn.Classify(err) == dbconn.Conflict:
		return fault.New(fault.Gap, fmt.Errorf("%w: the target does not hold the rows that the log begins with", err),
			"the start does not fit the backup, or the target was changed since")
	case dbconn.Classify(err) == dbconn.Privilege:
		return r.sessionError(err)
	default:
		return err
	}
}
