package restore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/replay"
)

// leftOut is what earlier runs into the same target have left out.
func (r *runner) leftOut() replay.LeftOut {
	if r.j == nil || r.j.LeftOut == nil {
		return replay.LeftOut{}
	}
	return *r.j.LeftOut
}

// samePart refuses to go on with another part of the database, or from a part.
func (r *runner) samePart() error {
	switch {
	case r.j == nil || r.j.Only == r.Only && (r.Only == "" || r.j.State != Done || r.j.satisfies(r.Until, r.Skip)):
		return nil
	case r.j.State == Done && r.j.Only != "":
		return fault.New(fault.Refused, fmt.Errorf("restore: %s holds %s alone: there is no way on from there", r.Dir, r.j.Only), "restore into another directory")
	case r.j.State == Done:
		return fault.New(fault.Refused, fmt.Errorf("restore: %s has been restored, all of it", r.Dir), "restore into another directory")
	default:
		return fault.New(fault.Usage, fmt.Errorf("restore: an unfinished restore into %s brings back %q, not %q", r.Dir, r.j.Only, r.Only),
			fmt.Sprintf("finish it by the same command; or remove %s and %[1]s.restore, and begin anew", strings.TrimRight(r.Dir, "/")))
	}
}

// otherNames refuses to leave out other transactions when the log has been
// replayed: nothing would do so any more. Before that the replay knows.
func (r *runner) otherNames() error {
	before, errBefore := replay.ParseNames(r.j.Skip)
	names, err := replay.ParseNames(r.Skip)
	if err := errors.Join(errBefore, err); err != nil {
		return err
	}
	if r.j.State != Replayed || before.String() == names.String() {
		return nil
	}
	return fault.New(fault.Usage, fmt.Errorf("restore: an unfinished restore into %s has replayed the log with --skip %q, and it is too late for --skip %q", r.w.target, before, names),
		"finish it by the same command as before; to leave out others, restore into another directory")
}

// checkSkip refuses, before anything is fetched, what cannot be left out. What
// the log holds is not known yet: the replay looks there before it writes.
func (r *runner) checkSkip() error {
	r.rep.Plan.Skip = r.Skip
	names, err := replay.ParseNames(r.Skip)
	if err != nil {
		return err
	}
	before, err := replay.ParseNames(r.leftOut().Skipped)
	if err != nil {
		return err
	}
	if missing := before.Minus(names); !missing.IsEmpty() {
		return fault.New(fault.Usage, fmt.Errorf("restore: %s was restored without %s: nothing brings that back there", r.Dir, missing),
			"give --skip again as it was, with more names if you like, or restore into another directory")
	}
	if r.Only != "" && r.rep.Plan.last() == nil {
		return fault.New(fault.Gap, errors.New("restore: --only: no log is archived behind the backup, so nothing is replayed, which would take out what is not wanted"),
			"restore all of it, and take what you want from there")
	}
	if r.Only != "" && len(r.rep.Plan.Legs) > 1 {
		return fault.New(fault.Usage, errors.New("restore: --only: the logs of several servers would have to be replayed, and a part goes through one only"),
			"restore all of it, and take what you want from there; or up to the end of the first one's log with --until")
	}
	return beyond(r.rep.Plan, names.Minus(before))
}

// beyond refuses names of which the log of the plan can have nothing.
func beyond(p *Plan, names replay.Names) error {
	if names.IsEmpty() {
		return nil
	}
	if len(p.Legs) == 0 {
		return fault.New(fault.Gap, errors.New("restore: --skip: the backup is brought back as it is, no log is replayed"), "")
	}
	base, errBase := gtid.ParseNamed(p.Base.Flavor, p.Base.GTIDs)
	reach, errReach := gtid.ParseNamed(p.Base.Flavor, p.last().GTIDs)
	if errBase != nil || errReach != nil || reach.IsEmpty() {
		return nil //nolint:nilerr // the replay will see
	}
	if outside := names.Outside(base, reach); !outside.IsEmpty() {
		return fault.New(fault.Gap, fmt.Errorf("restore: --skip %s: no such transaction behind the backup in the log that is replayed", outside),
			"lifeboat inspect and mysqlbinlog list transactions; --backup names an older backup")
	}
	return nil
}

// skipIn are the names that a replay of one leg is given: those that were left out
// before, and what it may hold. Names that are positions say nothing where the
// logs of several servers are replayed.
func (r *runner) skipIn(l *Leg) (string, error) {
	if len(r.rep.Plan.Legs) == 1 && len(r.j.Replayed) == 0 || r.Skip == "" {
		return r.Skip, nil
	}
	names, err := replay.ParseNames(r.Skip)
	if err != nil {
		return "", err
	}
	if names.HasPositions() {
		return "", fault.New(fault.Usage, fmt.Errorf("restore: --skip %s: the logs of several servers are replayed, in which positions are not the same", r.Skip),
			"name transactions by their GTIDs")
	}
	before, errBefore := replay.ParseNames(r.leftOut().Skipped)
	base, errBase := gtid.ParseNamed(r.j.Base.Flavor, r.j.Base.GTIDs)
	reach, errReach := gtid.ParseNamed(r.j.Base.Flavor, l.GTIDs)
	outside := names.Outside(base, reach)
	return names.Minus(outside.Minus(before)).String(), errors.Join(errBefore, errBase, errReach)
}
