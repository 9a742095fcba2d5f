package retain

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// Tried is what Try has found.
type Tried struct {
	Before, After time.Time // between them the object was put, by our clock
	Modified      time.Time // when it was, by the clock of the place, to the second
	Opened        error     // why what it holds cannot be read, with the keys that there are
	Kept          error     // why it could not be deleted
}

// tryLife is for how long the lease of Try is given.
const tryLife = time.Minute

// Try does in a repository what backups and archives do: it puts an object,
// finds it in the list, reads it and deletes it. The object is a lease on
// nothing: where the account may not delete, expire removes it later, as it does
// with all leases that have run out.
func Try(ctx context.Context, r *repository.Repository, set string) (t Tried, err error) {
	h := newHolder(r, set, WhatCheck, tryLife, nil)
	t.Before = time.Now()
	if err := h.renew(ctx); err != nil {
		return t, fmt.Errorf("retain: put: %w", err)
	}
	t.After = time.Now()
	if err := t.find(ctx, h); err != nil {
		return t, errors.Join(fmt.Errorf("retain: %w", err), h.drop(ctx))
	}
	t.Kept = h.drop(ctx)
	return t, nil
}

func (t *Tried) find(ctx context.Context, h *holder) error {
	for e, err := range h.repo.List(ctx, h.prefix) {
		if err != nil {
			return err
		}
		if e.Name == h.lease.Object {
			t.Modified = e.Modified
		}
	}
	if t.Modified.IsZero() {
		return fault.New(fault.Storage, fmt.Errorf("%s: object %s is not listed although it was put", h.repo, h.lease.Object), "the place must list what it has at once")
	}
	if _, err := h.repo.Check(ctx, h.lease.Object); err != nil {
		return err
	}
	if h.repo.Readable() {
		_, _, t.Opened = h.repo.Read(ctx, h.lease.Object)
	}
	return nil
}
