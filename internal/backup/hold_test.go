package backup_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/retain"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestParentHeld: what an increment goes on from is not expired while it is
// taken, neither by an expire that is planned meanwhile nor by one that was
// planned before; one that was faster leaves nothing to go on from. Without its
// hold the increment comes to nothing.
func TestParentHeld(t *testing.T) {
	d := servertest.Of(t, server.MariaDB)
	source := start(t, d, true)
	r := newRepository(t, t.TempDir())
	o := options(t, source, "", r)
	old := take(t, o)
	o.Incremental = true
	middle := take(t, o)
	o.Incremental = false
	nextSecond()
	last := take(t, o)
	before := plan(t, r)
	if !goes(before, old.ID) || !goes(before, middle.ID) || goes(before, last.ID) {
		t.Fatalf("%+v", before)
	}

	o.Incremental, o.Parent = true, middle.ID
	var raced sync.Once
	var held []string
	o.Hold = func(ctx context.Context, ids []string) (context.Context, func(), error) {
		held = ids
		return retain.Hold(ctx, r, "shop", retain.WhatBackup, ids...)
	}
	o.Progress = func(backup.Progress) {
		raced.Do(func() {
			if now := plan(t, r); goes(now, old.ID) || goes(now, middle.ID) {
				t.Errorf("an expire meanwhile: %+v", now)
			}
			if err := retain.Apply(t.Context(), r, before); fault.ClassOf(err) != fault.Busy {
				t.Errorf("an expire that was planned before: %v", err)
			}
		})
	}
	m := take(t, o)
	raced.Do(func() { t.Error("nothing ran beside it") })
	if m.Parent != middle.ID || len(held) != 2 || held[0] != old.ID || held[1] != middle.ID {
		t.Errorf("to %s it held %v", m.Parent, held)
	}
	if _, err := backup.Chain(list(t, r), m.ID); err != nil {
		t.Error(err)
	}

	lost := fault.New(fault.Interrupted, errors.New("the hold is lost"), "")
	var lose context.CancelCauseFunc
	o.Hold = func(ctx context.Context, _ []string) (held context.Context, release func(), err error) {
		held, lose = context.WithCancelCause(ctx)
		return held, func() {}, nil
	}
	o.Progress = func(backup.Progress) { lose(lost) }
	if _, err := backup.Take(t.Context(), o); !errors.Is(err, lost) || fault.ClassOf(err) != fault.Interrupted {
		t.Errorf("without its hold: %v", err)
	}
	if n := len(list(t, r)); n != 4 {
		t.Errorf("%d backups", n)
	}

	// One more full backup, so that the others go; behind them, no increment.
	o = options(t, source, "", r)
	nextSecond()
	take(t, o)
	o.Incremental, o.Parent = true, last.ID
	o.Hold = func(ctx context.Context, ids []string) (context.Context, func(), error) {
		if err := retain.Apply(ctx, r, plan(t, r)); err != nil { // it was faster
			t.Error(err)
		}
		return retain.Hold(ctx, r, "shop", retain.WhatBackup, ids...)
	}
	if _, err := backup.Take(t.Context(), o); !errors.Is(err, backup.ErrNoParent) {
		t.Errorf("the parent is gone: %v", err)
	}
}

// nextSecond waits until backups are of another second: times of manifests are
// whole ones.
func nextSecond() {
	for began := time.Now().Unix(); time.Now().Unix() == began; time.Sleep(10 * time.Millisecond) {
	}
}

// plan is what an expire decides that keeps one full backup.
func plan(t *testing.T, r *repository.Repository) retain.Decision {
	t.Helper()
	inv, err := retain.Survey(t.Context(), r, "shop")
	if err != nil {
		t.Fatal(err)
	}
	return retain.Plan(inv, retain.Policy{KeepFull: 1}, time.Now())
}

func goes(d retain.Decision, id string) bool {
	for _, b := range d.Backups {
		if b.ID == id {
			return b.Goes
		}
	}
	return false
}
