// Package restore brings a database back: from a backup and the archived log
// into a data directory, to a moment that the operator names.
//
// A restore is planned first (MakePlan: pure, from what repositories hold to
// what will be done) and then carried out (Run). Its journal lies in the target
// directory, so that the same command, run again after anything, goes on; and so
// that a finished restore can be moved forward later.
package restore

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/replay"
)

// Base is a state from which logs are replayed: a backup's, or that of a target
// that has been restored before.
type Base = archive.State

// Leg is a run of one server's files that is replayed in one go.
type Leg struct {
	Server string         `json:"server"`
	From   string         `json:"from"`  // as replay takes it
	Files  []archive.File `json:"-"`     // in order
	Names  []string       `json:"files"` // theirs
	Bytes  int64          `json:"bytes"` // of log
	Stored int64          `json:"stored_bytes"`
	Until  time.Time      `json:"until"` // last commit in them
	GTIDs  string         `json:"gtids"` // that they reach

	gap string // behind them more of the log is archived, which does not go on from them
}

// Plan says what a restore does.
type Plan struct {
	SchemaVersion int               `json:"schema_version"`
	Set           string            `json:"set"`
	Repository    string            `json:"repository"`
	Backups       []backup.Manifest `json:"-"` // full first
	BackupIDs     []string          `json:"backups"`
	Base          Base              `json:"base"`
	Leg           *Leg              `json:"log,omitempty"`  // nil: the base itself is what is wanted
	Until         string            `json:"until"`          // as replay takes it; empty: the end of the log
	Skip          string            `json:"skip,omitempty"` // transactions to leave out

	BackupBytes int64    `json:"backup_bytes"` // to be read
	LogBytes    int64    `json:"log_bytes"`
	SpaceNeeded int64    `json:"space_needed"` // on the target's disk; an estimate
	Seconds     float64  `json:"predicted_seconds,omitempty"`
	Warnings    []string `json:"warnings,omitempty"`
}

// Inventory is what a repository holds of a set.
type Inventory struct {
	Repository string
	Set        string
	Backups    []backup.Manifest
	Logs       []archive.Log
}

// Request is what is wanted.
type Request struct {
	Until  string // as replay takes it; empty: the end of the log
	Backup string // id; empty: the last one that is old enough
	Base   *Base  // a target that has been restored before; nil: from a backup
}

// MakePlan decides from which backup and by which log the wanted state is
// reached. It is pure.
func MakePlan(inv Inventory, req Request) (*Plan, error) {
	stop, err := replay.ParseStop(req.Until)
	if err != nil {
		return nil, err
	}
	p := &Plan{SchemaVersion: 1, Set: inv.Set, Repository: inv.Repository, Until: req.Until}
	if req.Base != nil {
		p.Base = *req.Base
		err := p.chooseLog(inv.Logs, stop)
		p.warnOfClocks(inv.Logs, stop)
		return p, err
	}
	candidates, err := usable(inv.Backups, req.Backup, stop)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, m := range candidates {
		try := *p
		err := try.from(inv, m, stop)
		if err == nil {
			try.warnOfClocks(inv.Logs, stop)
			return &try, nil
		}
		errs = append(errs, fmt.Errorf("backup %s: %w", m.ID, err))
	}
	return nil, fault.New(fault.Gap, fmt.Errorf("restore: no backup leads there: %w", errors.Join(errs...)), "")
}

// usable are the backups from which the stop may be reached, the last first.
func usable(all []backup.Manifest, id string, stop replay.Stop) (list []backup.Manifest, err error) {
	for _, m := range all {
		// Finished has whole seconds.
		if id != "" && m.ID != id || !stop.Time.IsZero() && m.Finished.Add(time.Second).After(stop.Time) {
			continue
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b backup.Manifest) int { return b.Finished.Compare(a.Finished) })
	switch {
	case len(list) > 0:
		return list, nil
	case id != "":
		return nil, fault.New(fault.Gap, fmt.Errorf("restore: backup %s is not there, or was finished after %s", id, stop), "lifeboat info lists backups")
	case len(all) > 0:
		return nil, fault.New(fault.Gap, fmt.Errorf("restore: every backup was finished after %s", stop), "choose a later time")
	default:
		return nil, fault.New(fault.Gap, errors.New("restore: there is no backup"), "lifeboat backup makes one")
	}
}

// serverSpace is what a server takes beside its data when it starts, in bytes:
// redo log (48 MiB as package server sets it, 100 MiB on MySQL), undo and
// temporary tablespaces.
const serverSpace = 256 << 20

func (p *Plan) from(inv Inventory, m backup.Manifest, stop replay.Stop) error {
	chain, err := backup.Chain(inv.Backups, m.ID)
	if err != nil {
		return err
	}
	p.Backups = chain
	for _, b := range chain {
		p.BackupIDs = append(p.BackupIDs, b.ID)
		p.BackupBytes += b.StoredBytes
		p.Warnings = append(p.Warnings, b.Warnings...)
		p.SpaceNeeded += max(b.DataBytes, b.PlainBytes)
	}
	p.SpaceNeeded += serverSpace
	p.Base = stateOf(m)
	if err := p.chooseLog(inv.Logs, stop); err != nil {
		return err
	}
	return p.checkLatest(latestOf(m), stop)
}

// stateOf is the state that a backup holds, or the earliest that it may hold.
func stateOf(m backup.Manifest) archive.State {
	s := archive.State{Server: m.Server, File: m.File, Offset: m.Offset, GTIDs: m.GTIDs, Flavor: m.Flavor, At: m.Finished}
	if m.Until != nil && m.Until.ByPosition {
		s.GTIDs = ""
	}
	return s
}

// latestOf is the latest state that a backup may hold. Of a clone by a version
// that did not write it down it is not known, and only what is surely in it
// counts.
func latestOf(m backup.Manifest) archive.State {
	s := stateOf(m)
	if u := m.Until; u != nil {
		s.File, s.Offset = u.File, u.Offset
		if !u.ByPosition {
			s.GTIDs = u.GTIDs
		}
	}
	return s
}

// checkLatest looks whether a backup that may hold as much as latest can be
// brought to the stop: that is not earlier, and the log reaches as far.
func (p *Plan) checkLatest(latest archive.State, stop replay.Stop) error {
	if stop.HasSet && latest.GTIDs != "" {
		has, err := gtid.ParseSet(gtid.FlavorNamed(latest.Flavor), latest.GTIDs)
		if err != nil {
			return err
		}
		if has.ContainsSet(stop.Set) {
			return fmt.Errorf("it may hold more than %s", stop)
		}
	}
	if p.Leg == nil {
		return nil
	}
	if p.Leg.Server != latest.Server || latest.File == "" {
		return p.checkReach(latest)
	}
	at := slices.Index(p.Leg.Names, latest.File)
	if !stop.Position.IsZero() {
		i := slices.Index(p.Leg.Names, stop.Position.File)
		if i < 0 {
			return fmt.Errorf("the log from there on does not have %s", stop.Position.File)
		}
		if at < 0 || i < at || i == at && stop.Position.Offset < latest.Offset {
			return fmt.Errorf("it may hold more than up to %s: all up to %s:%d", stop, latest.File, latest.Offset)
		}
	}
	if at < 0 || p.Leg.Files[at].End < latest.Offset {
		return fmt.Errorf("it may hold all up to %s:%d, and the log is not archived so far", latest.File, latest.Offset)
	}
	return nil
}

// checkReach warns where another server's log does not reach as far. Not all
// that was about to be committed need have been.
func (p *Plan) checkReach(latest archive.State) error {
	has, err := gtid.ParseSet(gtid.FlavorNamed(latest.Flavor), latest.GTIDs)
	if err != nil {
		return err
	}
	reach, err := gtid.ParseSet(gtid.FlavorNamed(latest.Flavor), p.Leg.GTIDs)
	if err == nil && !reach.ContainsSet(has) {
		p.Warnings = append(p.Warnings, fmt.Sprintf("the backup may hold transactions that the log of %s lacks: then it ends with 5, and a backup before it is to be taken", p.Leg.Server))
	}
	return err
}

// chooseLog finds the log that leads on from the base. Where there are several
// it is the one that reaches furthest.
func (p *Plan) chooseLog(logs []archive.Log, stop replay.Stop) error {
	var best *Leg
	var errs []error
	for _, l := range logs {
		leg, err := leg(l, p.Base)
		if err != nil {
			errs = append(errs, fmt.Errorf("log of %s: %w", l.Server, err))
			continue
		}
		if best == nil || further(p.Base.Flavor, leg, best) {
			best = leg
		}
	}
	if best != nil && best.gap != "" && stop.IsEnd() {
		return fault.New(fault.Gap, fmt.Errorf("the log of %s goes on behind a gap: %s", best.Server, best.gap),
			"with --until "+best.Until.UTC().Format(time.RFC3339)+" it comes back up to there")
	}
	if best == nil {
		if stop.IsEnd() && len(logs) == 0 {
			p.Warnings = append(p.Warnings, "no log is archived: the backup is brought back as it is")
			return nil
		}
		return fault.New(fault.Gap, errors.Join(append(errs, errors.New("no archived log goes on from there"))...), "lifeboat archive status shows what is there")
	}
	best.trim(stop)
	p.Leg, p.LogBytes = best, best.Bytes
	p.SpaceNeeded += 2 * best.Bytes // the files themselves, and what they bring
	return nil
}

// leg is the part of a log that leads on from a base.
func leg(l archive.Log, b Base) (*Leg, error) {
	at, from, err := entry(l, b)
	if err != nil {
		return nil, err
	}
	files, gap := contiguous(l, at)
	out := &Leg{Server: l.Server, From: from, Files: files, gap: gap}
	for _, f := range files {
		if f.Last.After(out.Until) {
			out.Until = f.Last
		}
	}
	out.GTIDs, err = files[len(files)-1].Reach()
	return out, err
}

// entry finds the file of a log in which the base's state lies, and how a
// replay has to begin there: by position in the log of the base's own server,
// else by what the base has executed.
func entry(l archive.Log, b Base) (int, string, error) {
	at := binlog.Position{File: b.File, Offset: b.Offset}
	if i, ok := l.ByPosition(b); ok {
		if f := l.Files[i]; f.End < b.Offset {
			return 0, "", fmt.Errorf("%s is archived up to %d only, the state is that of %d", f.File, f.End, b.Offset)
		}
		return i, at.String(), nil
	}
	if b.GTIDs == "" {
		return 0, "", fmt.Errorf("it has no %s, and the state has no GTIDs", at)
	}
	i, ok, err := l.ByGTIDs(b)
	switch {
	case err != nil:
		return 0, "", err
	case !ok:
		return 0, "", errors.New("it begins later")
	}
	return i, "gtid:" + b.GTIDs, nil
}

// contiguous are the files from number i on, up to the first gap, and what that
// is; none: "".
func contiguous(l archive.Log, i int) (files []archive.File, gap string) {
	for n := i; n < len(l.Files); n++ {
		f := l.Files[n]
		why := l.Apart(n)
		if f.Hole() {
			why = "a part of the file is missing"
		}
		if why != "" {
			return l.Files[i : n+1], fmt.Sprintf("at %s:%d: %s", f.File, f.End, why)
		}
	}
	return l.Files[i:], ""
}

// further reports whether leg a reaches further than b.
func further(flavor string, a, b *Leg) bool {
	x, errA := gtid.ParseSet(gtid.FlavorNamed(flavor), a.GTIDs)
	y, errB := gtid.ParseSet(gtid.FlavorNamed(flavor), b.GTIDs)
	if errA == nil && errB == nil && !x.IsEmpty() && !y.IsEmpty() && !x.Equal(y) {
		return x.ContainsSet(y)
	}
	return a.Until.After(b.Until)
}

// trim leaves out the files that begin behind the stop.
func (l *Leg) trim(stop replay.Stop) {
	n := len(l.Files)
	for i, f := range l.Files {
		// The next file shows that nothing before the stop is missing. What the
		// first one holds may lie before the base, by a clock that was set back since.
		if i > 0 && !stop.Time.IsZero() && f.Transactions > 0 && f.First.After(stop.Time) || i > 0 && l.Files[i-1].File == stop.Position.File {
			n = min(n, i+1)
		}
	}
	l.Files = l.Files[:n]
	l.Bytes, l.Stored, l.Names = 0, 0, nil
	for _, f := range l.Files {
		l.Bytes += f.End
		l.Stored += f.Stored
		l.Names = append(l.Names, f.File)
	}
}
