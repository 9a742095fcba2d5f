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
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/replay"
)

// Base is a state from which logs are replayed: a backup's, or that of a target
// that has been restored before.
type Base = archive.State

// Plan says what a restore does.
type Plan struct {
	SchemaVersion int               `json:"schema_version"`
	Set           string            `json:"set"`
	Repository    string            `json:"repository"`
	Backups       []backup.Manifest `json:"-"` // full first
	BackupIDs     []string          `json:"backups"`
	Base          Base              `json:"base"`
	Legs          []*Leg            `json:"logs,omitempty"` // one after another; none: the base itself is what is wanted
	Until         string            `json:"until"`          // as replay takes it; empty: the end of the log
	Skip          string            `json:"skip,omitempty"` // transactions to leave out
	Only          string            `json:"only,omitempty"` // databases and tables to bring back; empty: all

	BackupBytes int64    `json:"backup_bytes"` // to be read
	LogBytes    int64    `json:"log_bytes"`
	SpaceNeeded int64    `json:"space_needed"`                // on the target's disk; an estimate
	Seconds     float64  `json:"predicted_seconds,omitempty"` // 0: unknown
	Measured    string   `json:"predicted_by,omitempty"`      // what Seconds was taken from
	Warnings    []string `json:"warnings,omitempty"`
}

// stored is how many bytes of log are to be read.
func (p *Plan) stored() (n int64) {
	for _, l := range p.Legs {
		n += l.Stored
	}
	return n
}

// last is the leg that leads to the stop; nil: there is none.
func (p *Plan) last() *Leg {
	if len(p.Legs) == 0 {
		return nil
	}
	return p.Legs[len(p.Legs)-1]
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
	Log    string // server whose log has to lead to the end; empty: any
	Base   *Base  // a target that has been restored before; nil: from a backup
	Begun  *Begun // the log that is being replayed onto Base; nil: none yet
}

// Begun names the log of a replay that has begun: a checkpoint on the target has
// positions in its files.
type Begun struct {
	Server string `json:"server"`
	File   string `json:"file"` // the first one that was given to it
	ID     string `json:"id"`   // its, see binlog.Format.ID
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
		if err := p.checkBase(stop); err != nil {
			return nil, err
		}
		err := p.chooseLogs(inv.Logs, req, stop)
		p.warnOfClocks(inv.Logs, stop)
		return p, err
	}
	if len(inv.Backups) == 0 {
		return nil, fault.New(fault.Gap, fmt.Errorf("restore: there is no backup of set %s in repository %s", inv.Set, inv.Repository), "is that the set's name? lifeboat backup makes one")
	}
	candidates, err := usable(inv.Backups, req.Backup, stop)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, m := range candidates {
		try := *p
		err := try.from(inv, m, req, stop)
		if err == nil {
			try.warnOfClocks(inv.Logs, stop)
			return &try, nil
		}
		errs = append(errs, fmt.Errorf("backup %s: %w", m.ID, err))
	}
	return nil, fault.New(fault.Gap, fmt.Errorf("restore: no backup leads there: %w", errors.Join(errs...)), "")
}

// checkBase refuses a stop that lies before what is there already: nothing takes
// back what was committed. (Stops that are GTIDs or positions are compared with
// the base where logs are chosen.)
func (p *Plan) checkBase(stop replay.Stop) error {
	if stop.Time.IsZero() || !stop.Time.Before(p.Base.At) {
		return nil
	}
	return fault.New(fault.Gap, fmt.Errorf("restore: the target may hold what was committed up to %s, and %s lies before that", p.Base.At.UTC().Format(time.RFC3339Nano), stop),
		noWayBack)
}

// noWayBack is the next step where a target has more than is wanted.
const noWayBack = "there is no way back: restore into another directory; if a clock was set back, name the stop as gtid:SET or FILE:POSITION"

// wholeSecond is by how much a backup may have been finished after its Finished,
// which has whole seconds.
const wholeSecond = time.Second

// usable are the backups from which the stop may be reached, the last first.
func usable(all []backup.Manifest, id string, stop replay.Stop) (list []backup.Manifest, err error) {
	for _, m := range all {
		if id != "" && m.ID != id || !stop.Time.IsZero() && m.Finished.Add(wholeSecond).After(stop.Time) {
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
	default:
		return nil, fault.New(fault.Gap, fmt.Errorf("restore: every backup was finished after %s", stop), "choose a later time")
	}
}

// serverSpace is what a server takes beside its data when it starts, in bytes:
// redo log (48 MiB as package server sets it, 100 MiB on MySQL), undo and
// temporary tablespaces.
const serverSpace = 256 << 20

func (p *Plan) from(inv Inventory, m backup.Manifest, req Request, stop replay.Stop) error {
	chain, err := backup.Chain(inv.Backups, m.ID)
	if err != nil {
		return err
	}
	if m.Inexact && m.Until != nil && m.Until.ByPosition {
		return errors.New("nobody knows which state it holds: an earlier version took it, of a server without GTIDs, while that was written to; take a new one")
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
	if err := p.chooseLogs(inv.Logs, req, stop); err != nil {
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
		has, err := gtid.ParseNamed(latest.Flavor, latest.GTIDs)
		if err != nil {
			return err
		}
		if has.ContainsSet(stop.Set) && !stop.Set.ContainsSet(has) {
			return fmt.Errorf("it may hold more than %s", stop)
		}
	}
	switch {
	case len(p.Legs) == 0 || latest == p.Base: // or it is known what the backup holds
		return nil
	case len(p.Legs) > 1 || p.Legs[0].Server != latest.Server || latest.File == "":
		return p.checkReach(latest)
	}
	leg := p.Legs[0]
	at := slices.Index(leg.Names, latest.File)
	if !stop.Position.IsZero() {
		i := slices.Index(leg.Names, stop.Position.File)
		if i < 0 {
			return fmt.Errorf("the log from there on does not have %s", stop.Position.File)
		}
		if at < 0 || i < at || i == at && stop.Position.Offset < latest.Offset {
			return fmt.Errorf("it may hold more than up to %s: all up to %s:%d", stop, latest.File, latest.Offset)
		}
	}
	if at < 0 || leg.Files[at].End < latest.Offset {
		return fmt.Errorf("it may hold all up to %s:%d, and the log is not archived so far", latest.File, latest.Offset)
	}
	return nil
}

// checkReach warns where another server's log does not reach as far. Not all
// that was about to be committed need have been.
func (p *Plan) checkReach(latest archive.State) error {
	has, err := gtid.ParseNamed(latest.Flavor, latest.GTIDs)
	if err != nil {
		return err
	}
	last := p.last()
	reach, err := gtid.ParseNamed(latest.Flavor, last.GTIDs)
	if err == nil && !reach.ContainsSet(has) {
		p.Warnings = append(p.Warnings, fmt.Sprintf("the backup may hold transactions that the log of %s lacks: then it ends with 5, and a backup before it is to be taken", last.Server))
	}
	return err
}
