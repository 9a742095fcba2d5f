package restore

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/replay"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// Options of Run.
type Options struct {
	Repository *repository.Repository
	Set        string
	Dir        string // the data directory to make; missing or empty, or of a restore of ours
	Until      string // as replay takes it; empty: the end of the log
	Backup     string // id; empty: the last one that is old enough
	Log        string // server whose log has to lead to the end; empty: any
	Skip       string // transactions to leave out, as replay takes them
	Only       string // databases and tables to bring back, as replay takes them; empty: all
	PlanOnly   bool

	Mysqld     string            // path of the server program, of the version that was backed up
	Tools      map[string]string // paths of the vendor's tools by name; missing: beside mysqld or in PATH
	ServerArgs []string          // for the private server, e.g. --innodb-page-size=64k
	TimeZone   string            // that of the source's system; empty: what the backup says

	Workers int   // parts and segments fetched at once, connections of the replay; 0: their own defaults
	Memory  int64 // of the replay, and at least of the server's buffer pool, half each; 0: 1 GiB
	NoProof bool  // do not read back every row that the log has touched

	// Hold keeps backups from being expired until release is called, or until
	// held ends, whose cause says why; may be nil.
	Hold func(ctx context.Context, backups []string) (held context.Context, release func(), err error)

	// Allowed is asked whether the directory, by its real path, may be restored
	// into, before anything is made; may be nil.
	Allowed func(ctx context.Context, dir string) error

	// Prove is asked, when all is there, whether it is right; may be nil.
	Prove func(ctx context.Context, db *sql.DB) error

	// Predict says of a plan how long it will take, if that is known; may be nil.
	Predict func(p *Plan)

	Step func(Step) // is told when a step begins and ends; may be nil

	Progress *replay.Progress // of the replay; may be nil
}

// Step is a part of a restore.
type Step struct {
	Name    string    `json:"name"`
	Begun   time.Time `json:"begun"`
	Seconds float64   `json:"seconds"` // 0 while it goes on
	Bytes   int64     `json:"bytes,omitempty"`
	Error   string    `json:"error,omitempty"` // why it has failed
}

// Report is what a restore has done.
type Report struct {
	SchemaVersion int            `json:"schema_version"`
	Set           string         `json:"set"`
	Dir           string         `json:"dir"`
	Plan          *Plan          `json:"plan"`
	Resumed       bool           `json:"resumed"`
	Forward       bool           `json:"forward"` // a restore that was done was moved on
	Steps         []Step         `json:"steps"`
	Replay        *replay.Report `json:"replay,omitempty"`
	Reached       *Base          `json:"reached,omitempty"`
	Finished      bool           `json:"finished"`
	Seconds       float64        `json:"seconds"`
	Begun         time.Time      `json:"begun"`
}

// Run carries a restore out, or goes on with one that was interrupted. The
// report is there with an error as well.
func Run(ctx context.Context, o Options) (rep *Report, err error) {
	rep = &Report{SchemaVersion: 1, Set: o.Set, Dir: o.Dir, Begun: time.Now().UTC()}
	defer func() { rep.Seconds = time.Since(rep.Begun).Seconds() }()
	if o.Dir == "" {
		return rep, fault.Usagef("restore: the directory to restore into is missing")
	}
	if o.Memory == 0 {
		o.Memory = 1 << 30
	}
	only, err := replay.ParseOnly(o.Only)
	if err != nil {
		return rep, err
	}
	o.Only = only.String()
	if _, err := time.LoadLocation(o.TimeZone); err != nil {
		return rep, fault.New(fault.Usage, fmt.Errorf("restore: time zone: %w", err), "name one as Europe/Berlin, that this machine has (Debian's tzdata)")
	}
	r := &runner{Options: o, rep: rep}
	if o.PlanOnly {
		return rep, r.planOnly(ctx)
	}
	if err := r.allowed(ctx); err != nil {
		return rep, err
	}
	if r.w, err = openWorkspace(o.Dir); err != nil {
		return rep, err
	}
	defer func() { err = errors.Join(err, r.w.close()) }()
	return rep, whyInterrupted(ctx, r.run(ctx))
}

// whyInterrupted says what to do after an interruption, which shows in whatever
// was going on: a tool that was ended, a server that did not start.
func whyInterrupted(ctx context.Context, err error) error {
	if class := fault.ClassOf(err); err == nil || ctx.Err() == nil || class != fault.Failed && class != fault.Interrupted {
		return err
	}
	return fault.New(fault.Interrupted, fmt.Errorf("restore: interrupted (%w)", context.Cause(ctx)), "run the same command again: it goes on")
}

// allowed asks whether the target may be restored into.
func (r *runner) allowed(ctx context.Context) error {
	w, err := workspaceOf(r.Dir)
	if err != nil {
		return fault.FromOS(fmt.Errorf("restore: %w", err))
	}
	if r.Allowed == nil {
		return nil
	}
	return r.Allowed(ctx, w.target)
}

type runner struct {
	Options
	rep  *Report
	w    *workspace
	j    *Journal
	dist server.Distribution
	inv  Inventory // that the plan was made of

	held context.Context // under which the repository is read: see Options.Hold

	written *int64 // rows, on the private server, when the replay was done; nil: none is

	telling sync.Mutex // of rep.Steps and Step
}

// planOnly plans what would be done now. There is no plan if nothing would.
func (r *runner) planOnly(ctx context.Context) (err error) {
	if r.w, err = workspaceOf(r.Dir); err != nil {
		return err
	}
	if r.j, err = r.w.read(); err != nil {
		return err
	}
	if r.j == nil {
		return r.plan(ctx, Request{Until: r.Until, Backup: r.Backup, Log: r.Log})
	}
	if err := r.decide(); err != nil || r.rep.Finished {
		return err
	}
	return r.planNext(ctx)
}

// planNext plans what is left to be done.
func (r *runner) planNext(ctx context.Context) error {
	if r.j.State == Replayed {
		r.rep.Plan = &Plan{SchemaVersion: 1, Set: r.Set, Repository: r.Repository.Name(), Base: r.j.Base, Until: r.Until, Skip: r.Skip}
		return nil
	}
	return r.plan(ctx, r.request())
}

func (r *runner) plan(ctx context.Context, req Request) (err error) {
	if r.inv, err = Look(ctx, r.Repository, r.Set); err != nil {
		return err
	}
	if r.rep.Plan, err = MakePlan(r.inv, req); err != nil {
		return err
	}
	if r.Predict != nil {
		r.Predict(r.rep.Plan)
	}
	r.rep.Plan.Only = r.Only
	return r.checkSkip()
}

// Look reads what a repository holds of a set. A backup that cannot be read is
// an error: nobody would notice that it is missing. One of a server that is no
// member of the set is left out.
func Look(ctx context.Context, repo *repository.Repository, set string) (Inventory, error) {
	inv := Inventory{Repository: repo.Name(), Set: set}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		inv.Logs, err = archive.Load(ctx, repo, set)
		return err
	})
	g.Go(func() error {
		found, bad, err := backup.List(ctx, repo, set)
		inv.Backups = found
		return errors.Join(append(bad, err)...)
	})
	var members archive.Members
	g.Go(func() (err error) {
		members, err = archive.LoadMembers(ctx, repo, set)
		return err
	})
	err := g.Wait()
	inv.Backups = slices.DeleteFunc(inv.Backups, func(m backup.Manifest) bool { return !members.Has(m.Server) })
	return inv, err
}

func (r *runner) run(ctx context.Context) error {
	if err := r.open(); err != nil {
		return err
	}
	if r.rep.Finished {
		return nil
	}
	err := r.restore(ctx)
	if errors.Is(err, errTorn) {
		r.j.again()
		if err := errors.Join(r.w.write(r.j), r.w.clear()); err != nil {
			return fault.FromOS(fmt.Errorf("restore: %w", err))
		}
		err = r.restore(ctx)
	}
	return err
}

// restore does what is left to be done.
func (r *runner) restore(ctx context.Context) error {
	release, err := r.planHeld(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := r.checkSpace(); err != nil {
		return err
	}
	if err := r.bring(); err != nil {
		return r.whyNotRead(ctx, err)
	}
	return r.serve(ctx)
}

// whyNotRead: where what was held is held no more, the rest came of it.
func (r *runner) whyNotRead(ctx context.Context, err error) error {
	if ctx.Err() == nil && r.held.Err() != nil {
		return fmt.Errorf("restore: %w", context.Cause(r.held))
	}
	return err
}

// open reads the journal and decides what this run is: a new restore, one that
// goes on, one that moves on, or nothing to do.
func (r *runner) open() (err error) {
	if r.j, err = r.w.read(); err != nil {
		return err
	}
	if err := r.checkInUse(); err != nil {
		return err
	}
	if r.j == nil {
		return r.openNew()
	}
	return r.decide()
}

// decide decides, by the journal, what a run with one is.
func (r *runner) decide() error {
	if err := errors.Join(r.samePart(), r.sameBackup()); err != nil {
		return err
	}
	switch {
	case r.j.Set != r.Set:
		return fault.New(fault.Refused, fmt.Errorf("restore: %s was restored from set %s, not from %s", r.w.target, r.j.Set, r.Set), "choose another directory")
	case r.j.Repository != r.Repository.ID():
		return fault.New(fault.Refused, fmt.Errorf("restore: %s was restored from set %s of another repository", r.w.target, r.j.Set), "choose another directory")
	case r.j.satisfies(r.Until, r.Skip):
		r.rep.Reached, r.rep.Finished = r.j.Reached, true
		return nil
	case r.j.State == Done:
		r.rep.Forward = true
		r.j.Base, r.j.State, r.j.Replayed = *r.j.Reached, Unpacked, nil
		return nil
	}
	if r.torn() {
		r.j.again()
	}
	if err := errors.Join(r.anotherStop(), r.otherNames()); err != nil {
		return err
	}
	// Whether others may be given depends on how far the replay has come, which
	// knows: what it refuses is not written down (accepted), so that the command as
	// it was goes on.
	r.rep.Resumed = true
	return nil
}

// sameBackup refuses another backup than the one that the target comes from.
func (r *runner) sameBackup() error {
	n := len(r.j.Backups)
	if r.Backup == "" || n == 0 || r.j.Backups[n-1] == r.Backup {
		return nil
	}
	return fault.New(fault.Usage, fmt.Errorf("restore: %s comes from backup %s, not %s", r.w.target, r.j.Backups[n-1], r.Backup),
		"leave out --backup to go on with it; or restore into another directory")
}

// anotherStop refuses another stop where nobody looks whether an unfinished
// restore has come further. (A replay compares GTIDs and positions with how far
// it has come, but has no time for what it has applied; and of a clone that has
// not been started nobody knows what it holds.)
func (r *runner) anotherStop() error {
	old, errOld := replay.ParseStop(r.j.Until)
	stop, err := replay.ParseStop(r.Until)
	if err := errors.Join(errOld, err); err != nil {
		return err
	}
	later := !old.Time.IsZero() && !stop.Time.Before(old.Time)
	switch {
	case r.j.Until == r.Until:
		return nil
	case r.j.State == Replayed || r.j.Inexact && r.j.State == Unpacked:
		return fault.New(fault.Usage, fmt.Errorf("restore: an unfinished restore into %s goes to %s, and it is too late to change that", r.w.target, stopText(r.j.Until)),
			"finish it by the same command as before; then it can be moved forward")
	case r.j.Log != nil && !stop.Time.IsZero() && !later:
		return fault.New(fault.Usage, fmt.Errorf("restore: an unfinished restore into %s goes to %s, and may have come further than to %s", r.w.target, stopText(r.j.Until), stop),
			"name the stop as gtid:SET or FILE:POSITION: lifeboat inspect shows them; or restore into another directory")
	}
	return nil
}

func stopText(until string) string { return cmp.Or(until, "the end of what is archived") }

func (r *runner) checkInUse() error {
	if r.j == nil || r.j.State == Done {
		return inUse(r.w.target, 0)
	}
	return inUse(r.w.target, dying)
}

func (r *runner) openNew() error {
	empty, err := r.w.emptyTarget()
	if err != nil {
		return err
	}
	if !empty {
		return fault.New(fault.Refused, fmt.Errorf("restore: %s is not empty, and not of a restore", r.w.target), "choose another directory, or look at what is in it and move it away")
	}
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	r.j = &Journal{Set: r.Set, Repository: r.Repository.ID(), State: Unpacking, Until: r.Until, Skip: r.Skip, Only: r.Only,
		Password: "Aa1-" + hex.EncodeToString(b[:]), Begun: time.Now().UTC()}
	return nil
}

// request is what is to be planned: a restore that goes on keeps its base, and
// the log that it is in.
func (r *runner) request() Request {
	req := Request{Until: r.Until, Backup: r.Backup, Log: r.Log}
	if r.j.State == Unpacked {
		req.Base, req.Begun = &r.j.Base, r.j.Log
	} else if len(r.j.Backups) > 0 {
		req.Backup = r.j.Backups[len(r.j.Backups)-1]
	}
	return req
}

// planHeld plans, holds what the plan needs, and plans once more: what is there
// then stays. If that is another plan, since something came or went meanwhile,
// what it needs is held instead.
func (r *runner) planHeld(ctx context.Context) (release func(), err error) {
	r.held, release = ctx, func() {}
	if r.j.State == Replayed {
		return release, r.planNext(ctx)
	}
	for had := []string(nil); ; {
		if err := r.planNext(r.held); err != nil {
			release()
			return nil, err
		}
		needed := r.needed()
		if r.Hold == nil || slices.Equal(needed, had) {
			return release, nil
		}
		release()
		if r.held, release, err = r.Hold(ctx, needed); err != nil {
			return nil, err
		}
		had = needed
	}
}

// needed are the backups that have to stay. What goes on from a target needs none
// any more, but the log that leads on from the one that it came from.
func (r *runner) needed() []string {
	if len(r.rep.Plan.BackupIDs) > 0 {
		return r.rep.Plan.BackupIDs
	}
	return r.j.Backups
}

func (r *runner) checkSpace() error {
	free, err := r.w.free()
	if err != nil {
		return err
	}
	if free < r.rep.Plan.SpaceNeeded {
		return fault.New(fault.NoSpace, fmt.Errorf("restore: about %d MiB are needed for %s, and %d MiB are free", r.rep.Plan.SpaceNeeded>>20, r.w.target, free>>20),
			"choose a larger disk; nothing has been written")
	}
	return nil
}

// checkServer refuses a server program that is not for what is to be unpacked, or not
// the one that has worked on it.
func (r *runner) checkServer(p *Plan) error {
	if r.j.State != Unpacking {
		if r.j.Served != "" && r.j.Served != r.dist.Name {
			return wrongServer(r.dist, "a server of "+r.j.Served+" has worked on "+r.w.target)
		}
		return nil
	}
	if last := p.Backups[len(p.Backups)-1]; !last.Fits(string(r.dist.Flavor), r.dist.Version) {
		return wrongServer(r.dist, "the backup is of "+last.ServerVersion)
	}
	return nil
}

func wrongServer(d server.Distribution, why string) error {
	return fault.New(fault.Usage, fmt.Errorf("restore: the server program is %s of %s, and %s", d.Version, d.Flavor, why), "name one of the same vendor and series with --mysqld")
}

// bring puts the backup into the target and the log beside it, at the same time.
func (r *runner) bring() (err error) {
	if r.dist, err = server.At(r.Mysqld, r.w.dir); err != nil {
		return fault.New(fault.Usage, fmt.Errorf("restore: %w", err), "name the server program with --mysqld")
	}
	p := r.rep.Plan
	if err := r.checkServer(p); err != nil {
		return err
	}
	if r.j.State == Unpacking {
		last := p.Backups[len(p.Backups)-1]
		r.j.Served = r.dist.Name
		r.j.Base, r.j.Backups, r.j.Settings = p.Base, p.BackupIDs, last.Settings
		r.j.Zone = last.Zone
		r.j.Base.At = r.j.Base.At.Add(wholeSecond)
		r.j.Inexact, r.j.Latest = last.Driver == backup.Clone, last.Until
		if err := r.w.write(r.j); err != nil {
			return err
		}
		if err := r.w.clear(); err != nil {
			return fault.FromOS(fmt.Errorf("restore: %w", err))
		}
	}
	g, gctx := errgroup.WithContext(r.held)
	if r.j.State == Unpacking && p.Backups[0].Driver != backup.Dump {
		g.Go(func() error {
			return r.step(stepUnpack, p.BackupBytes, func() error {
				return backup.Unpack(gctx, r.Repository, p.Backups, r.w.target, backup.UnpackOptions{Tools: r.tools(), Workers: r.Workers, Memory: r.Memory / 2})
			})
		})
	}
	if len(p.Legs) > 0 {
		g.Go(func() error {
			return r.step(stepFetch, p.stored(), func() error { return r.fetch(gctx, p.Legs) })
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if r.j.State == Unpacking && p.Backups[0].Driver != backup.Dump {
		r.j.State = Unpacked
	}
	return r.w.write(r.j)
}

// fetch brings the files that are not there yet, whole.
func (r *runner) fetch(ctx context.Context, legs []*Leg) error {
	for _, l := range legs {
		dir := r.w.logOf(l)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fault.FromOS(fmt.Errorf("restore: %w", err))
		}
		for _, f := range l.Files {
			if info, err := os.Stat(filepath.Join(dir, f.File)); err == nil && info.Size() == f.FetchedEnd() {
				continue
			}
			if _, err := archive.Fetch(ctx, r.Repository, f, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// tools are the paths of the vendor's tools: those named, then those beside the
// server.
func (r *runner) tools() map[string]string {
	tools := r.dist.Tools()
	maps.Copy(tools, r.Tools)
	return tools
}

// step tells of a step's begin and end, also where it fails.
func (r *runner) step(name string, bytes int64, do func() error) error {
	s := Step{Name: name, Begun: time.Now().UTC(), Bytes: bytes}
	r.tell(s)
	err := do()
	s.Seconds = max(time.Since(s.Begun).Seconds(), 1e-3)
	if err != nil {
		s.Error = err.Error()
	}
	r.tell(s)
	return err
}
