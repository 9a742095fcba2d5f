package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

// Options of Take.
type Options struct {
	Repositories []*repository.Repository // the backup goes to all of them at once
	Set          string                   // of servers that replicate from each other: the first element of all names
	Source       Source
	Driver       string // by name; empty: mariadb-backup for MariaDB, clone for MySQL, else dump
	Incremental  bool
	Parent       string // id of what it is an increment to; empty: the last one of the same server and driver

	PartBytes int           // plain bytes of a part; 0: 16 MiB
	Workers   int           // parts under way at once, each of which is in memory; 0: 4
	Patience  time.Duration // how long a part is tried again while its storage is down; 0: 15 minutes
	Held      time.Duration // for how long storage may hold up sessions that wait for the tool's locks, until the backup is given up; 0: 10 seconds

	// Hold keeps the backups that an increment goes on from, in all repositories,
	// from being expired until release is called, or until held ends, whose cause
	// says why: then the backup fails. May be nil.
	Hold func(ctx context.Context, backups []string) (held context.Context, release func(), err error)

	// Admit says whether the server of Source belongs to the set, in each of the
	// repositories, before anything is stored there; may be nil.
	Admit func(ctx context.Context, r *repository.Repository) error

	// Progress, if set, is called after every MiB of the stream or so, by one
	// goroutine.
	Progress func(Progress)

	Drivers []Driver // nil: Drivers()
}

// Progress says how far a backup is.
type Progress struct {
	Bytes int64 // of the stream so far
	Total int64 // an estimate of how many there will be; 0: unknown
}

const (
	defaultPartBytes = 16 << 20
	defaultWorkers   = 4
	defaultPatience  = 15 * time.Minute
)

// Validate says what is wrong with the options.
func (o *Options) Validate() error {
	if len(o.Repositories) == 0 {
		return fault.Usagef("no repository")
	}
	if err := store.CheckName(o.Set); err != nil || strings.Contains(o.Set, "/") {
		return fault.Usagef("set %.100q: its name has letters, digits and . _ = + -", o.Set)
	}
	if o.PartBytes < 0 || o.PartBytes > repository.MaxPlain {
		return fault.Usagef("parts of %d bytes: they have at most %d", o.PartBytes, repository.MaxPlain)
	}
	if o.Parent != "" && (!o.Incremental || !idPattern.MatchString(o.Parent)) {
		return fault.Usagef("parent %.100q: an increment goes on from a backup, whose id is like 20261125T221500Z-0a1b2c", o.Parent)
	}
	if o.Workers < 0 || o.Patience < 0 || o.Held < 0 || o.Source.Throttle < 0 || o.Source.Threads < 0 {
		return fault.Usagef("workers, patience, held, throttle or threads below 0")
	}
	return nil
}

func (o *Options) setDefaults() {
	if o.PartBytes == 0 {
		o.PartBytes = defaultPartBytes
	}
	if o.Workers == 0 {
		o.Workers = defaultWorkers
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	if o.Held == 0 {
		o.Held = defaultHeld
	}
	if o.Drivers == nil {
		o.Drivers = Drivers()
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
}

// Take takes a backup and returns its manifest as it is in the first of the
// repositories.
//
// It fails as a whole if one repository fails for good; only if that happens
// to the manifest itself, the last object, other repositories have the backup,
// whole. Storage that is down for a while is waited for, and so waits the tool.
func Take(ctx context.Context, o Options) (Manifest, error) {
	if err := o.Validate(); err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	o.setDefaults()
	t := taking{Options: o, started: time.Now().UTC().Truncate(time.Second)}
	t.id = newID(t.started)
	m, err := t.run(ctx)
	if err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	return m, nil
}

// taking is a backup being taken.
type taking struct {
	Options
	id       string
	started  time.Time
	origin   origin
	settings map[string]string // of the server, see Manifest
	zone     Zone
	driver   Driver
	parent   *Manifest // nil: it is a full one
}

func (t *taking) run(ctx context.Context) (Manifest, error) {
	ctx, release, err := t.prepare(ctx)
	if err != nil {
		return Manifest{}, err
	}
	defer release()
	u := newUpload(ctx, t)
	defer u.stop()
	relief, stop := t.relieve(u)
	taken, err := t.driver.Take(u.ctx, t.Source, t.parent, t.watch(ctx, u, relief))
	stop()
	if err := u.finish(err); err != nil {
		return Manifest{}, fmt.Errorf("driver %s: %w", t.driver.Name(), err)
	}
	m, err := t.seal(ctx, u, t.manifest(taken))
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // perhaps what it goes on from is gone
	}
	return m, err
}

// prepare finds out who the server is, which driver takes the backup, whether
// it can, and from which backup it goes on; that one stays until release is
// called or held ends.
func (t *taking) prepare(ctx context.Context) (held context.Context, release func(), err error) {
	if err := t.ready(ctx); err != nil {
		return nil, nil, err
	}
	if err := t.admit(ctx); err != nil {
		return nil, nil, err
	}
	if t.Incremental {
		return t.holdParent(ctx)
	}
	return ctx, func() {}, t.touch(ctx)
}

// admit asks every repository whether the server belongs to the set.
func (t *taking) admit(ctx context.Context) error {
	if t.Admit == nil {
		return nil
	}
	for _, r := range t.Repositories {
		if err := t.Admit(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// holdParent finds the parent, holds it, and looks once more: what is there then
// stays.
func (t *taking) holdParent(ctx context.Context) (held context.Context, release func(), err error) {
	chain, err := findParent(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	held, release = ctx, func() {}
	if t.Hold != nil {
		if held, release, err = t.Hold(ctx, ids(chain)); err != nil {
			return nil, nil, err
		}
	}
	t.Parent = chain[len(chain)-1].ID
	if chain, err = findParent(held, t); err != nil {
		release()
		return nil, nil, err
	}
	t.parent = &chain[len(chain)-1]
	return held, release, nil
}

// ready finds out which driver takes the backup, and whether it can.
func (t *taking) ready(ctx context.Context) (err error) {
	if err := t.identify(ctx); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if t.driver, err = choose(t.Drivers, t.Driver, t.origin.Server); err != nil {
		return err
	}
	if err := t.driver.Check(ctx, t.Source); err != nil {
		return fmt.Errorf("driver %s: %w", t.driver.Name(), err)
	}
	return nil
}

// Ready says which driver would take a backup of a server, and what is missing
// for it: the tool, its version, privileges. Driver is as in Options.
func Ready(ctx context.Context, s Source, driver string) (name string, err error) {
	t := taking{Options: Options{Source: s, Driver: driver, Drivers: Drivers()}}
	err = t.ready(ctx)
	if t.driver != nil {
		name = t.driver.Name()
	}
	if err != nil {
		return name, fmt.Errorf("backup: %w", err)
	}
	return name, nil
}

// touch sees that the repositories answer, before a server is burdened.
func (t *taking) touch(ctx context.Context) error {
	for _, r := range t.Repositories {
		for _, err := range r.List(ctx, folder(t.Set, t.id)) {
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *taking) identify(ctx context.Context) error {
	return withServer(ctx, t.Source.DSN, func(db *sql.DB) (err error) {
		if t.origin, err = identify(ctx, db); err != nil {
			return err
		}
		if t.settings, err = readSettings(ctx, db); err != nil {
			return err
		}
		t.zone, err = ReadZone(ctx, db, t.started)
		return err
	})
}

// withServer connects for a while.
func withServer(ctx context.Context, dsn string, use func(*sql.DB) error) error {
	cfg, err := dbconn.Config(dsn)
	if err != nil {
		return fault.New(fault.Usage, err, "")
	}
	db, err := dbconn.Open(cfg)
	if err != nil {
		return err
	}
	defer db.Close()
	return use(db)
}

// manifest is all of it but the parts.
func (t *taking) manifest(taken Taken) Manifest {
	m := Manifest{
		ID: t.id, Set: t.Set, Kind: Full, Driver: t.driver.Name(),
		Flavor: t.origin.Flavor.String(), ServerVersion: t.origin.Version, Server: t.origin.name,
		Started: t.started, Finished: time.Now().UTC().Truncate(time.Second),
		File: taken.File, Offset: taken.Offset, GTIDs: taken.GTIDs, FromLSN: taken.FromLSN, ToLSN: taken.ToLSN,
		DataBytes: taken.DataBytes, Tool: taken.Tool, Warnings: taken.Warnings, Inexact: taken.Inexact, Until: taken.Until, Settings: t.settings, Zone: &t.zone,
	}
	maps.Copy(m.Settings, taken.Settings)
	m.SchemaVersion = m.version()
	if t.parent != nil {
		m.Kind, m.Parent = Incremental, t.parent.ID
	}
	if m.File == "" {
		m.Warnings = append(m.Warnings, "the server has no binary log: what comes after this backup cannot be replayed")
	}
	return m
}

// seal writes the manifest into each repository, with the names that the parts
// have there. From then on there is a backup.
func (t *taking) seal(ctx context.Context, u *upload, m Manifest) (Manifest, error) {
	var first Manifest
	var done []string
	for i, l := range u.lanes {
		mine, err := l.seal(ctx, m)
		if err != nil {
			return Manifest{}, errors.Join(fmt.Errorf("manifest: %w", err), halfDone(done, t.id))
		}
		done = append(done, l.repo.String())
		if i == 0 {
			first = mine
		}
	}
	return first, nil
}

// halfDone names the repositories that have a backup which others lack.
func halfDone(done []string, id string) error {
	if len(done) == 0 {
		return nil
	}
	return fmt.Errorf("backup %s is whole in %v all the same", id, done)
}
