package replay

import (
	"fmt"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// Skipped is a transaction that is not applied because it is named.
type Skipped struct {
	Position  binlog.Position `json:"position"`
	GTID      string          `json:"gtid,omitempty"`
	Committed time.Time       `json:"committed"`
	What      string          `json:"what"` // its statement, or the tables whose rows it changes

	id        gtid.ID
	temporary bool // it needs temporary tables
}

func newSkipped(t *txn.Transaction) (Skipped, error) {
	s := Skipped{Position: t.Position(), GTID: idOf(t), Committed: t.Committed, id: t.ID, temporary: t.UsesTemporaryTables()}
	if t.Kind != txn.Rows {
		sql, _ := t.Text()
		s.What = excerpt(sql)
	}
	if s.What != "" {
		return s, nil
	}
	tables, err := t.Tables()
	var names []string
	for _, o := range tables {
		names = append(names, o.Database+"."+o.Name)
	}
	if s.What = "rows of " + strings.Join(names, ", "); len(names) == 0 {
		s.What = t.Kind.String()
	}
	return s, err
}

// seeSkip looks at a transaction for what leaving some out needs to know.
func (s *fileSurvey) seeSkip(t *txn.Transaction, names *Names) (skipped bool, err error) {
	if names.IsEmpty() || !names.Has(t) {
		if t.StatementFormat() {
			s.statement = first(s.statement, t.Position())
			if s.unlike {
				s.behind = first(s.behind, t.Position())
			}
		}
		return false, nil
	}
	x, err := newSkipped(t)
	s.skipped = append(s.skipped, x)
	s.unlike = s.unlike || unlike(t)
	return true, err
}

func first(a, b binlog.Position) binlog.Position {
	if a.IsZero() {
		return b
	}
	return a
}

// settleSkip refuses statements behind a transaction that is left out: what they
// do depends on what is in the tables. behind says that one was left out before
// the start already.
func (p *Plan) settleSkip(found []*fileSurvey, behind bool) error {
	for _, s := range found {
		p.Skipped = append(p.Skipped, s.skipped...)
		at := s.behind
		if behind {
			at = s.statement
		}
		if !at.IsZero() {
			return fault.New(fault.Refused, fmt.Errorf("%s: a change in statement format behind a transaction that is to be skipped: nobody can tell whether it does the same without it", at),
				"restore up to there with --until, and do the rest by hand; in row format (binlog_format=ROW) this can be told")
		}
		behind = behind || s.unlike
	}
	return nil
}

// checkSkip refuses names of which the log between start and stop has nothing.
func (r *runner) checkSkip(missing Names) error {
	for i := range r.plan.Skipped {
		s := &r.plan.Skipped[i]
		if err := missing.without(s); err != nil {
			return err
		}
		switch {
		case s.temporary:
			return fault.New(fault.Refused, fmt.Errorf("--skip %s: the transaction at %s uses temporary tables", s.GTID, s.Position), "it cannot be skipped alone")
		case s.id != (gtid.ID{}) && r.skip.Contains(s.id) && r.plan.Transactions > 0:
			return fault.New(fault.Gap, fmt.Errorf("--skip %s: the target contains this transaction already", s.GTID), "restore an older backup")
		}
	}
	if missing.IsEmpty() {
		return nil
	}
	return fault.New(fault.Gap, fmt.Errorf("--skip %s: no such transaction between %s and %s", missing, r.plan.From, r.plan.To),
		"lifeboat inspect and mysqlbinlog list transactions; a position is that of a transaction's first event")
}

// checkInFlight refuses names that lie in what an earlier run has begun.
func (r *runner) checkInFlight(added Names) error {
	if !r.rep.Resumed || r.state.Phase == checkpoint.Idle {
		return nil
	}
	for i := range r.plan.Skipped {
		s := &r.plan.Skipped[i]
		if added.names(s) && r.before(s.Position, r.state.End) {
			return fault.New(fault.Refused, fmt.Errorf("--skip: the transaction at %s is among those that the last run was interrupted in, from %s to %s", s.Position, r.state.Next, r.state.End),
				"restore the backup again and replay anew")
		}
	}
	return nil
}

// before compares two places of the log.
func (r *runner) before(a, b binlog.Position) bool {
	i, j := r.set.Index(a.File), r.set.Index(b.File)
	return i < j || i == j && a.Offset < b.Offset
}

// nameNew settles what a first run leaves out: what it is told, and what replays
// before it have.
func (r *runner) nameNew() error {
	earlier, err := ParseNames(r.opt.Earlier.Skipped)
	if err != nil {
		return err
	}
	r.added = r.names.Minus(earlier)
	r.names.add(earlier)
	r.state.LeaveOut, r.state.Suspects, r.state.Unlike = r.names.String(), r.opt.Earlier.Suspects, r.opt.Earlier.Unlike
	return nil
}

// nameAgain settles what a run that goes on leaves out: all that the first one
// was told, and more.
func (r *runner) nameAgain(st *checkpoint.State) error {
	before, err := ParseNames(st.LeaveOut)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	earlier, err := ParseNames(r.opt.Earlier.Skipped)
	if err != nil {
		return err
	}
	r.names.add(earlier)
	if missing := before.Minus(r.names); !missing.IsEmpty() {
		return fault.New(fault.Refused, fmt.Errorf("the run that the target holds the checkpoint of skips %s, and this one does not", missing),
			"give --skip again as it was, with more names if you like; to bring a skipped transaction back, restore the backup again")
	}
	r.added = r.names.Minus(before)
	st.LeaveOut = r.names.String()
	return nil
}

// noteLeftOut reports what was left out, for people and for later replays.
func (r *runner) noteLeftOut() {
	st := &r.state
	if st.LeaveOut == "" {
		return
	}
	if len(r.plan.Skipped) > 0 && r.plan.Transactions == 0 {
		// An earlier run was finalized, and took with it what it knew.
		st.Suspects = append(st.Suspects, checkpoint.Suspect{How: checkpoint.Defined, By: r.plan.Skipped[0].Position})
		st.Unlike = true
	}
	r.rep.LeftOut = &LeftOut{Skipped: st.LeaveOut, Suspects: st.Suspects, Unlike: st.Unlike}
	r.rep.Notes = append(r.rep.Notes, "skipped, though the target counts as containing it, so that replicas can attach: "+st.LeaveOut)
}

func (r *runner) skipCheck() []Check {
	if r.state.LeaveOut == "" {
		return nil
	}
	return []Check{{"skipped", true, fmt.Sprintf("no later transaction depends on those skipped: %d rows compared with their before images, foreign keys hold", r.compared)}}
}
