package replay

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/schema"
)

// prepare reads everything and decides what to do. It writes nothing.
func (r *runner) prepare(ctx context.Context) error {
	if err := r.checkWritable(ctx); err != nil {
		return err
	}
	have, err := r.targetGTIDs(ctx)
	if err != nil {
		return err
	}
	if err := r.findState(ctx, &have); err != nil {
		return err
	}
	r.opt.Progress.Begin("checking the log", r.set.Size())
	r.plan, err = makePlan(ctx, r.set, r.start, r.stop, have, scope{&r.names, r.state.Unlike, &r.only}, r.opt, r.opt.Progress.Add)
	if err != nil {
		return err
	}
	r.rep.Plan = r.plan
	if err := r.initialSet(have); err != nil {
		return err
	}
	if err := errors.Join(r.checkSkip(r.added), r.checkInFlight(r.added), r.checkStopInFlight(), r.checkOnly(ctx)); err != nil {
		return err
	}
	if len(r.plan.Refused) > 0 && !r.opt.PlanOnly {
		first := r.plan.Refused[0]
		return fault.New(fault.Failed, fmt.Errorf("%s: %s cannot be replayed (%d such places)", first.Position, first.Reason, len(r.plan.Refused)),
			fmt.Sprintf("replay up to there with --until %s, then that transaction with mysqlbinlog, then on with --from", first.Position))
	}
	return r.checkPacket(ctx)
}

// findState settles where to start: behind the checkpoint of an earlier run,
// or where the options or the target say.
func (r *runner) findState(ctx context.Context, have *gtid.Set) error {
	st, err := checkpoint.Load(ctx, r.control)
	switch {
	case errors.Is(err, checkpoint.ErrNotFound):
		r.fresh, r.untested = true, true
		if err := r.nameNew(); err != nil {
			return err
		}
		r.state.Only = r.only.String()
		if r.start.Auto {
			if have.IsEmpty() {
				return fault.New(fault.Gap, errors.New("--from auto: the target says neither by GTIDs nor by a checkpoint where the log has to begin"),
					"give the position that the backup recorded: --from FILE:POSITION")
			}
			r.start = Start{Set: have.Clone(), HasSet: true}
		}
		r.state.From = r.start.String()
		if r.start.HasSet {
			r.state.Skip = r.start.Set.String()
		}
		return nil
	case err != nil:
		return err
	}
	return r.resume(st, have)
}

func (r *runner) resume(st checkpoint.State, have *gtid.Set) error {
	if !r.start.Auto && r.start.String() != st.From && r.start.String() != st.Next.String() {
		return fault.New(fault.Failed, fmt.Errorf("the target holds the checkpoint of a replay that began at %s and has come to %s, not of one from %s", st.From, st.Next, r.start),
			"to go on with it, give --from auto; to begin anew, restore the backup again")
	}
	switch {
	case st.Phase == checkpoint.Unsafe:
		return fault.New(fault.Failed, fmt.Errorf("the last run was interrupted inside changes that no transaction covers (from %s to %s): they may be applied, or half applied, or not", st.Next, st.End),
			"restore the backup again and replay anew")
	case len(st.TempTabs) > 0:
		return fault.New(fault.Failed, fmt.Errorf("the last run was interrupted while the log had temporary tables open (%v): they are lost", st.TempTabs),
			"restore the backup again and replay anew")
	}
	set, err := gtid.ParseSet(r.srv.Flavor, st.GTIDs)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := errors.Join(r.nameAgain(&st), r.sameOnly(&st)); err != nil {
		return err
	}
	if st.Skip != "" {
		if r.skip, err = gtid.ParseSet(r.srv.Flavor, st.Skip); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
	}
	*have = set
	r.state, r.created = st, true
	r.state.Finished = false
	r.rep.Resumed = true
	r.start = Start{Position: st.Next}
	if st.Finished && st.Until == r.stop.String() && !r.stop.IsEnd() {
		r.stop = Stop{Position: st.Next} // the same command again: there is nothing left to do
	}
	return nil
}

// checkStopInFlight refuses a stop in front of the end of what an earlier run was
// interrupted in: some of it may be there, and where nothing is left to replay
// nobody would notice.
func (r *runner) checkStopInFlight() error {
	given := r.set.Index(r.state.End.File) >= 0 // else the files up to the stop end before
	if !r.rep.Resumed || r.state.Phase == checkpoint.Idle || given && !r.before(r.plan.To, r.state.End) {
		return nil
	}
	return fault.New(fault.Gap, fmt.Errorf("stop %s: the last run was interrupted in the changes from %s to %s, some of which may be there", r.until, r.state.Next, r.state.End),
		fmt.Sprintf("take %s or a later stop, or restore the backup again", r.state.End))
}

// initialSet is what the target contains before the replay begins.
func (r *runner) initialSet(have gtid.Set) error {
	r.applied = have.Clone()
	if r.rep.Resumed {
		return nil
	}
	if r.plan.hasSkip {
		r.skip = r.plan.skip.Clone()
		if r.opt.Restored {
			if err := r.skip.Union(have); err != nil {
				return err
			}
		}
		return r.applied.Union(r.skip)
	}
	before := r.plan.before.Clone()
	return r.applied.Union(before)
}

// begin opens the sessions, which shows whether the account may do what is
// needed, and only then writes the checkpoint.
func (r *runner) begin(ctx context.Context) error {
	format := r.set.Files[r.plan.fromFile].Format.ForApply(r.srv.ServerID)
	var err error
	if r.serial, err = newSerial(ctx, r.db, r.srv, format, r.d); err != nil {
		return r.sessionError(err)
	}
	r.serial.part, r.serial.inside = !r.only.All(), r.opt.Restored
	r.serial.cascades = func(n schema.Name) bool { return r.env.families[n] != schema.Name{} }
	if r.own, err = applier.NewSession(ctx, r.db, r.srv, format, sessionOwn); err != nil {
		return r.sessionError(err)
	}
	for i := range r.opt.Workers {
		s, err := applier.NewSession(ctx, r.db, r.srv, format, sessionWorker+i)
		if err != nil {
			return r.sessionError(err)
		}
		r.sessions = append(r.sessions, s)
	}
	if err := r.newEnv(ctx); err != nil {
		return err
	}
	if r.plan.DDL+r.plan.Statements > 0 {
		if _, err := fingerprint(ctx, r.own.Conn(), r.srv); err != nil {
			return r.sessionError(err) // shows before anything is written
		}
	}
	if err := r.openCheckpoint(ctx); err != nil {
		return err
	}
	if err := r.emptyOthers(ctx); err != nil {
		return r.sessionError(err)
	}
	notes, err := changeSettings(ctx, r.own.Conn(), r.settings())
	r.rep.Notes = append(r.rep.Notes, notes...)
	return r.sessionError(err)
}

// errReadOnly is ER_OPTION_PREVENTS_STATEMENT: --read-only.
const errReadOnly = 1290

func (r *runner) settings() []setting { return settingsFor(r.srv, r.plan.Bytes) }

func (r *runner) sessionError(err error) error {
	if dbconn.Number(err) == errReadOnly {
		return fault.New(fault.Failed, err, "the target is read-only: SET GLOBAL read_only = OFF, or choose another target")
	}
	if dbconn.Classify(err) != dbconn.Privilege {
		return err
	}
	need := "BINLOG_ADMIN, SESSION_VARIABLES_ADMIN, SYSTEM_VARIABLES_ADMIN, PROCESS, and ALL on the databases of the log and on lifeboat"
	if r.srv.Flavor == gtid.MariaDB {
		need = "BINLOG ADMIN, BINLOG REPLAY, SUPER, PROCESS, and ALL on the databases of the log and on lifeboat"
	}
	return fault.New(fault.Storage, fmt.Errorf("the account lacks a privilege: %w", err), "it needs "+need)
}

func (r *runner) newEnv(ctx context.Context) error {
	r.env = &env{q: r.db, files: r.set.Files, shards: max(1, min(4, runtime.NumCPU())), flavor: r.srv.Flavor, only: r.only, suspects: newSuspects(r.state.Suspects)}
	for range r.env.shards {
		r.env.folders = append(r.env.folders, newFolders(r.db))
	}
	r.lanes, r.notRead = map[string]string{}, map[string]string{}
	r.sticky = map[string]bool{}
	for _, n := range r.state.Verbatim {
		r.sticky[n] = true
	}
	return r.env.forget(ctx)
}

func (r *runner) openCheckpoint(ctx context.Context) error {
	if r.created {
		return nil
	}
	conn := r.own.Conn()
	if err := checkpoint.Create(ctx, conn); err != nil {
		return r.sessionError(err)
	}
	r.created = true
	r.state.Phase, r.state.Next = checkpoint.Idle, r.plan.From
	r.state.GTIDs = r.applied.String()
	r.state.ChunkLen = r.opt.ChunkBytes
	return r.save(ctx)
}

func (r *runner) save(ctx context.Context) error { return checkpoint.Save(ctx, r.own.Conn(), r.state) }

// sameOnly refuses to go on with another part of the database.
func (r *runner) sameOnly(st *checkpoint.State) error {
	if st.Only == r.only.String() && (!st.Dropped || st.Until == r.stop.String()) {
		if st.Dropped {
			r.stop = Stop{Position: st.Next} // the same command again
		}
		return nil
	}
	if st.Dropped {
		return fault.New(fault.Refused, fmt.Errorf("the target holds %s alone, as of %s: there is no way on from there", st.Only, st.Next), "restore the backup again")
	}
	return fault.New(fault.Refused, fmt.Errorf("the target holds the checkpoint of a replay with --only %q, not %q", st.Only, r.only), "give --only as it was, or restore the backup again")
}
