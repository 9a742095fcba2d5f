package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
)

// end proves and reports, and makes the target ready for use if asked.
func (r *runner) end(ctx context.Context) error {
	conn := r.own.Conn()
	if err := errors.Join(r.scratch.drop(ctx, r.own), r.checkOrphans(ctx)); err != nil {
		return err
	}
	r.state.Next, r.state.Finished, r.state.Until = r.plan.To, true, r.until
	r.state.GTIDs = r.applied.String()
	// With the log of its commits flushed as the target's own setting says, the last
	// commit takes all those before it to the disk.
	errSettings := restoreSettings(ctx, conn, r.settings(), false)
	if err := checkpoint.Save(ctx, conn, r.state); err != nil {
		return err
	}
	c := r.state.Counts
	rep := r.rep
	rep.Transactions, rep.RowChanges, rep.NetRows = c.Transactions, c.Changes, c.NetRows
	rep.Windows, rep.Barriers, rep.Bytes, rep.GTIDs = c.Windows, c.Barriers, c.Bytes, r.state.GTIDs
	for _, n := range slices.Sorted(maps.Keys(r.lanes)) {
		rep.Lanes = append(rep.Lanes, LaneReport{n, r.lanes[n]})
	}
	r.noteLeftOut()
	if r.plan.Incomplete != "" {
		rep.Notes = append(rep.Notes, "left out: "+r.plan.Incomplete)
	}
	if r.plan.Open != "" {
		rep.Notes = append(rep.Notes, r.plan.Open)
	}
	if r.plan.later != "" {
		rep.Notes = append(rep.Notes, r.plan.later)
	}
	for _, j := range r.plan.Jumps {
		rep.Notes = append(rep.Notes, "transactions may be missing: "+j.String())
	}
	if errSettings != nil {
		rep.Notes = append(rep.Notes, errSettings.Error())
	}
	rep.Finished = true
	rep.Verified = r.proof()
	if !r.opt.Finalize {
		return nil
	}
	if !r.only.All() {
		return r.finalizePart(ctx)
	}
	r.opt.Progress.Begin("finalizing", 0)
	return r.finalize(ctx)
}

// proof lists what was checked on the way; none of it can have failed here.
func (r *runner) proof() []Check {
	return append([]Check{
		{"stop", true, "reached exactly: " + r.plan.To.String()},
		{"checksums", r.allChecksums(), "CRC32 of every event read"},
		{"continuity", true, fmt.Sprintf("%d files, no gap", len(r.plan.Files))},
		{"chunks", true, "every chunk committed with its checkpoint"},
		{"strict", true, "every insert found no row, every update and delete found its row"},
		r.readBackCheck(),
	}, r.skipCheck()...)
}

func (r *runner) readBackCheck() Check {
	if !r.opt.Verify {
		return Check{"read-back", false, "last image of every touched key (--verify)"}
	}
	text := fmt.Sprintf("read back and compared: %d rows", r.readBack)
	for _, n := range slices.Sorted(maps.Keys(r.notRead)) {
		text += fmt.Sprintf("; not %s (%s)", n, r.notRead[n])
	}
	return Check{"read-back", true, text}
}

func (r *runner) allChecksums() bool {
	for _, f := range r.set.Files[r.plan.fromFile : r.plan.toFile+1] {
		if !f.Format.Checksum {
			return false
		}
	}
	return true
}
