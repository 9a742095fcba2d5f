package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// Names of steps; StepReplay may be followed by whose log it is.
const (
	StepReplay = "replay the log"
	stepUnpack = "unpack the backup"
	stepLoad   = "load the dump"
	stepFetch  = "fetch the log"
)

// replayAll replays the legs one after another. What each has reached is in the
// journal before the next one begins.
func (r *runner) replayAll(ctx context.Context, i *server.Instance) error {
	legs := r.rep.Plan.Legs
	if len(legs) == 0 {
		r.j.Until, r.j.Skip = r.Until, r.Skip
		if err := r.tellGTIDs(ctx, i); err != nil {
			return err
		}
	}
	for n, l := range legs {
		name := StepReplay
		if len(legs) > 1 {
			name += " of " + l.Server
		}
		last := n == len(legs)-1
		if err := r.step(name, l.Bytes, func() error { return r.replay(ctx, i, l, last) }); err != nil {
			return err
		}
	}
	return nil
}

// tellGTIDs has a target onto which nothing is replayed say which state it is of.
// MySQL's does: gtid_executed is in a table. In MariaDB's tables is gtid_slave_pos
// only, which is older where the server has written something itself.
func (r *runner) tellGTIDs(ctx context.Context, i *server.Instance) error {
	if r.dist.Flavor != server.MariaDB || r.j.Base.GTIDs == "" || r.Only != "" {
		return nil
	}
	set, err := gtid.ParseSet(gtid.MariaDB, r.j.Base.GTIDs)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	db, err := i.Open("")
	if err != nil {
		return err
	}
	if _, err = db.ExecContext(ctx, "SET GLOBAL gtid_slave_pos = '"+set.String()+"'"); err != nil {
		err = fmt.Errorf("restore: set gtid_slave_pos: %w", err)
	}
	return errors.Join(err, db.Close())
}

// replay carries a leg out. But for the last one it goes to the end of its
// files, and has to reach the GTIDs from which the next one goes on.
func (r *runner) replay(ctx context.Context, i *server.Instance, l *Leg, last bool) error {
	skip, err := r.skipIn(l)
	if err != nil {
		return err
	}
	if r.j.Log == nil {
		if err := r.dropCheckpoint(ctx, i); err != nil {
			return err
		}
	}
	o := replay.Options{
		Target: i.DSN(""), From: l.From, Workers: r.Workers, Memory: r.Memory / 2,
		Skip: skip, Earlier: r.leftOut(), Only: r.Only,
		Verify: !r.NoProof, Restored: true, Accepted: func() error { return r.accepted(l) }, Progress: r.Progress,
		Finalize: l.GTIDs != "" || r.Only != "", Holds: r.j.Base.GTIDs,
	}
	for _, f := range l.Files {
		o.Files = append(o.Files, filepath.Join(r.w.logOf(l), f.File))
	}
	if last {
		o.Until = r.Until
	}
	rep, err := replay.Run(ctx, o)
	r.rep.Replay = addUp(append(slices.Clone(r.j.Replayed), rep))
	if err != nil {
		return whyNotWhole(err)
	}
	reached := r.reached(l, rep)
	if r.Only == "" && (!last || r.Until == "") { // a part has no GTIDs
		if err := checkReached(l, reached); err != nil {
			return err
		}
	}
	r.j.Base, r.j.Log, r.j.Replayed, r.j.LeftOut = reached, nil, append(r.j.Replayed, rep), rep.LeftOut
	if last {
		r.j.State = Replayed
		err = r.countWrites(ctx, i)
	}
	return errors.Join(err, r.w.write(r.j))
}

// accepted writes down which log is replayed, to where, and without what, before
// anything of it is.
func (r *runner) accepted(l *Leg) error {
	begun := begin(l.Files[0])
	r.j.Log, r.j.Until, r.j.Skip = &begun, r.Until, r.Skip
	return r.w.write(r.j)
}

// dropCheckpoint removes that of a leg of which the journal says that it is done.
// Until then it alone tells so, and what was left out.
func (r *runner) dropCheckpoint(ctx context.Context, i *server.Instance) error {
	db, err := i.Open("")
	if err != nil {
		return err
	}
	_, err = checkpoint.Load(ctx, db)
	switch {
	case errors.Is(err, checkpoint.ErrNotFound):
		err = nil
	case err == nil:
		err = checkpoint.Drop(ctx, db)
	}
	return errors.Join(err, db.Close())
}

// whyNotWhole gives damage of the log, which was right when it was archived, the
// class that it has in a repository.
func whyNotWhole(err error) error {
	if !errors.Is(err, binlog.ErrCorrupt) && !errors.Is(err, binlog.ErrChecksum) && !errors.Is(err, binlog.ErrTruncated) {
		return err
	}
	var told *fault.Error // its next step is for who has files
	if errors.As(err, &told) {
		err = told.Err
	}
	return fault.New(fault.VerifyFailed, fmt.Errorf("restore: what is archived is no whole log: %w", err), "restore from another repository, or up to before it with --until")
}

// reached is the state that a leg has brought about.
func (r *runner) reached(l *Leg, rep *replay.Report) Base {
	b := r.j.Base
	b.Server, b.File, b.Offset = l.Server, rep.Plan.To.File, rep.Plan.To.Offset
	b.GTIDs = cmp.Or(rep.GTIDs, b.GTIDs)
	times := []time.Time{rep.Plan.Last}
	for _, f := range l.Files {
		if f.File == b.File {
			times = append(times, f.Begun)
		}
	}
	for _, t := range times {
		if t.After(b.At) {
			b.At = t
		}
	}
	return b
}

// checkReached: what a log was planned to bring is there, all that its archive
// says it has.
func checkReached(l *Leg, b Base) error {
	has, err := gtid.ParseNamed(b.Flavor, b.GTIDs)
	if err != nil {
		return err
	}
	want, err := gtid.ParseNamed(b.Flavor, l.GTIDs)
	if err == nil && !has.ContainsSet(want) {
		err = fault.New(fault.VerifyFailed, fmt.Errorf("restore: the archive of %s says that it has %s, and its bytes have %s", l.Server, want, has),
			"restore from another repository: this one's log is not what was archived")
	}
	return err
}

// addUp makes one report of those of several legs; the last one says how it ended.
func addUp(legs []*replay.Report) *replay.Report {
	sum := *legs[len(legs)-1]
	for _, r := range slices.Backward(legs[:len(legs)-1]) {
		sum.Transactions += r.Transactions
		sum.RowChanges += r.RowChanges
		sum.NetRows += r.NetRows
		sum.Windows += r.Windows
		sum.Barriers += r.Barriers
		sum.Bytes += r.Bytes
		sum.Seconds += r.Seconds
		sum.Notes = append(slices.Clone(r.Notes), sum.Notes...)
		sum.Lanes = union(r.Lanes, sum.Lanes)
		sum.Verified = both(r.Verified, sum.Verified)
		sum.Plan = join(r.Plan, sum.Plan)
	}
	return &sum
}

func union(a, b []replay.LaneReport) []replay.LaneReport {
	all := slices.Clone(a)
	for _, l := range b {
		if !slices.ContainsFunc(all, func(x replay.LaneReport) bool { return x.Table == l.Table }) {
			all = append(all, l)
		}
	}
	return all
}

// both joins checks: one counts as done if it was on every leg.
func both(a, b []replay.Check) []replay.Check {
	all := slices.Clone(b)
	for i, c := range all {
		n := slices.IndexFunc(a, func(x replay.Check) bool { return x.Name == c.Name })
		if n < 0 {
			all[i].Done = false
			continue
		}
		all[i].Done = c.Done && a[n].Done
		if !strings.Contains(c.Text, a[n].Text) {
			all[i].Text = a[n].Text + "; then " + c.Text
		}
	}
	return all
}

// join makes one plan of two, of which either may be missing.
func join(a, b *replay.Plan) *replay.Plan {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	p := *b
	p.Files = append(slices.Clone(a.Files), b.Files...)
	p.From = a.From
	p.Transactions += a.Transactions
	p.Statements += a.Statements
	p.DDL += a.DDL
	p.Bytes += a.Bytes
	if !a.First.IsZero() {
		p.First = a.First
	}
	return &p
}
