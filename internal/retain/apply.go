package retain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// Survey collects what Plan decides upon.
func Survey(ctx context.Context, r *repository.Repository, set string) (inv Inventory, err error) {
	inv.Set = set
	// Leases first: who holds one after that looks for backups later still, and
	// Apply sees it.
	if inv.Leases, err = Leases(ctx, r, set); err != nil {
		return inv, err
	}
	all, bad, err := backup.List(ctx, r, set)
	if err != nil {
		return inv, fmt.Errorf("retain: %w", err)
	}
	inv.Backups = all
	for _, err := range bad {
		inv.Unreadable = append(inv.Unreadable, err.Error())
	}
	if inv.Leftovers, err = backup.Leftovers(ctx, r, set, leftAlone); err != nil {
		return inv, fmt.Errorf("retain: %w", err)
	}
	if inv.Logs, err = archive.Load(ctx, r, set); err != nil {
		return inv, fmt.Errorf("retain: %w", err)
	}
	return inv, nil
}

// Apply removes what was decided. Interrupted, or run again, it does the rest.
// If something that goes has come into use since, the error is fault.Busy, and
// it stops there: a new plan takes that into account.
func Apply(ctx context.Context, r *repository.Repository, d Decision) error {
	a := applier{repo: r, Decision: d}
	if err := a.run(ctx); err != nil {
		return fmt.Errorf("retain: apply: %w", err)
	}
	return nil
}

type applier struct {
	repo *repository.Repository
	Decision
	lease Lease           // its own
	life  time.Duration   // of it; 0: leaseLife
	held  context.Context // that ends with it: tests wait for that

	// deleted, if set, is called after every object: tests end it there.
	deleted func(name string) error
}

func (a *applier) run(ctx context.Context) error {
	going := a.going()
	held, release, err := hold(ctx, a.repo, a.Set, WhatExpire, cmp.Or(a.life, leaseLife), going)
	if err != nil {
		return err
	}
	a.held = held
	err = a.remove(held, going)
	if lost := context.Cause(held); errors.Is(lost, ErrLost) {
		err = lost
	}
	if !errors.Is(err, errKilled) {
		release()
	}
	return err
}

// errKilled is that of tests, after which nothing is done any more.
var errKilled = errors.New("killed")

// going are the ids of the backups that go.
func (a *applier) going() (ids []string) {
	for _, b := range a.Backups {
		if b.Goes {
			ids = append(ids, b.ID)
		}
	}
	return ids
}

func (a *applier) remove(ctx context.Context, going []string) error {
	a.lease = Lease{What: WhatExpire, Backups: going}
	if err := a.checkParents(ctx, going); err != nil {
		return err
	}
	for _, id := range going {
		if err := a.removeBackup(ctx, id); err != nil {
			return err
		}
	}
	for _, f := range a.Logs {
		if !f.Goes {
			continue
		}
		if err := a.removeFile(ctx, f.Folder); err != nil {
			return err
		}
	}
	for _, l := range a.Leftovers {
		if !l.Goes {
			continue
		}
		if err := a.delete(ctx, l.Object); err != nil {
			return err
		}
	}
	return a.removeLeases(ctx)
}

// checkParents looks for increments that were taken since, to backups that go,
// and for a last full backup: that the one of the plan is still there.
func (a *applier) checkParents(ctx context.Context, going []string) error {
	if len(going) == 0 {
		return nil
	}
	all, bad, err := backup.List(ctx, a.repo, a.Set)
	if err != nil {
		return err
	}
	if len(bad) > 0 {
		return bad[0]
	}
	return stillGoes(all, going)
}

// stillGoes says why backups that go are needed by what is there now.
func stillGoes(all []backup.Manifest, going []string) error {
	full := false
	for _, m := range all {
		goes := slices.Contains(going, m.ID)
		if !goes && slices.Contains(going, m.Parent) {
			return busy("backup %s needs %s, which goes: plan again", m.ID, m.Parent)
		}
		full = full || !goes && m.Kind == backup.Full
	}
	if !full && len(all) > 0 {
		return errors.New("no full backup would be left: plan again")
	}
	return nil
}

// inUse reads the leases once more.
func (a *applier) inUse(ctx context.Context) error {
	others, err := Leases(ctx, a.repo, a.Set)
	if err != nil {
		return err
	}
	return a.lease.conflict(others, time.Now())
}

// removeBackup deletes the manifest of a backup first.
func (a *applier) removeBackup(ctx context.Context, id string) error {
	if err := a.inUse(ctx); err != nil {
		return err
	}
	return a.removeAll(ctx, folder(a.Set, id), func(file string) int {
		if strings.HasPrefix(file, "manifest-") {
			return 0
		}
		return 1
	})
}

// removeFile deletes what is archived of a file, what closes it last.
func (a *applier) removeFile(ctx context.Context, folder string) error {
	if !strings.HasPrefix(folder, a.Set+"/logs/") || !strings.HasSuffix(folder, "/") {
		return fmt.Errorf("%q is no folder of a log", folder)
	}
	return a.removeAll(ctx, folder, func(file string) int {
		if strings.HasPrefix(file, "closed-") {
			return 1
		}
		return 0
	})
}

// removeAll deletes what is in a folder, by rank and name.
func (a *applier) removeAll(ctx context.Context, folder string, rank func(file string) int) error {
	ranks := [2][]string{}
	for e, err := range a.repo.List(ctx, folder) {
		if err != nil {
			return err
		}
		n := rank(strings.TrimPrefix(e.Name, folder))
		ranks[n] = append(ranks[n], e.Name)
	}
	for _, name := range append(ranks[0], ranks[1]...) {
		if err := a.delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) delete(ctx context.Context, name string) error {
	if err := a.repo.Delete(ctx, name); err != nil {
		return err
	}
	if a.deleted == nil {
		return nil
	}
	return a.deleted(name)
}

// removeLeases deletes those that count for nothing any more.
func (a *applier) removeLeases(ctx context.Context) error {
	all, err := Leases(ctx, a.repo, a.Set)
	if err != nil {
		return err
	}
	for _, l := range all {
		if !l.over(time.Now()) {
			continue
		}
		if err := a.delete(ctx, l.Object); err != nil {
			return err
		}
	}
	return nil
}
