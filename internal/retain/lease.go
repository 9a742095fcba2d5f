package retain

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

const kindLease = "lease"

// What a lease is for.
const (
	WhatBackup  = "backup"
	WhatRestore = "restore"
	WhatExpire  = "expire"
	WhatCheck   = "check"
)

// leaseLife is for how long a lease is given at a time.
const leaseLife = 15 * time.Minute

// Lease says that something runs. In its object it is the header's meta.
type Lease struct {
	What    string    `json:"what"`
	Backups []string  `json:"backups"` // ids of those that it needs, or makes
	From    time.Time `json:"from"`    // it runs since
	Until   time.Time `json:"until"`   // it is renewed before that
	Host    string    `json:"host"`
	PID     int       `json:"pid"`

	Object     string `json:"-"` // its name
	Unreadable string `json:"-"` // why nothing but Until is known
}

// over reports whether the lease counts for nothing any more.
func (l Lease) over(now time.Time) bool { return now.After(l.Until.Add(clockError)) }

func leases(set string) string { return set + "/leases/" }

// Leases reads the leases of a set, also those that have run out. Of one that is
// damaged nothing is known, so it may name anything; it counts until it would
// have been renewed.
func Leases(ctx context.Context, r *repository.Repository, set string) ([]Lease, error) {
	for {
		list, again, err := readLeases(ctx, r, set)
		if err != nil {
			return nil, fmt.Errorf("retain: leases: %w", err)
		}
		if !again {
			return list, nil
		}
	}
}

// readLeases says again if a lease has gone since it was listed: it may have
// been renewed, under another name that was not yet to be seen.
func readLeases(ctx context.Context, r *repository.Repository, set string) (list []Lease, again bool, err error) {
	for e, err := range r.List(ctx, leases(set)) {
		if err != nil {
			return nil, false, err
		}
		l, err := readLease(ctx, r, e)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, true, nil
		case errors.Is(err, repository.ErrDamaged):
			l = Lease{Until: e.Modified.Add(leaseLife), Object: e.Name, Unreadable: err.Error()}
		case err != nil:
			return nil, false, err
		}
		list = append(list, l)
	}
	return list, false, nil
}

func readLease(ctx context.Context, r *repository.Repository, e store.Entry) (l Lease, err error) {
	h, err := r.Check(ctx, e.Name)
	if err != nil {
		return l, err
	}
	l.Object = e.Name
	if err := json.Unmarshal(h.Meta, &l); err != nil || h.Kind != kindLease {
		return l, fmt.Errorf("%s: it is no lease: %w", e.Name, repository.ErrDamaged)
	}
	return l, nil
}

// Hold says that backups of a set are in use, until release is called or the
// context ends; what is WhatBackup or WhatRestore. Hold first, and look for what
// is needed then: what is there after Hold stays. A restore names all backups of
// its chain, an increment its parent. The error is fault.Busy if one of them is
// being expired.
func Hold(ctx context.Context, r *repository.Repository, set, what string, backups ...string) (release func(), err error) {
	release, err = hold(ctx, r, set, what, leaseLife, backups)
	if err != nil {
		return nil, fmt.Errorf("retain: hold: %w", err)
	}
	return release, nil
}

// hold puts a lease first and looks for those of the other side then.
func hold(ctx context.Context, r *repository.Repository, set, what string, life time.Duration, backups []string) (func(), error) {
	h := newHolder(r, set, what, life, backups)
	if err := h.renew(ctx); err != nil {
		return nil, err
	}
	others, err := Leases(ctx, r, set)
	if err == nil {
		err = h.lease.conflict(others, time.Now())
	}
	if err != nil {
		return nil, errors.Join(err, h.drop(ctx))
	}
	return h.keep(ctx), nil
}

// conflict finds a lease of the other side on the same backups: of an expire
// all others, of all others an expire.
func (l Lease) conflict(others []Lease, now time.Time) error {
	for _, o := range others {
		if (l.What == WhatExpire) == (o.What == WhatExpire) || o.over(now) {
			continue
		}
		if o.Unreadable != "" && l.What == WhatExpire {
			return busy("there is a lease that cannot be read: %s", o.Unreadable)
		}
		for _, id := range o.Backups {
			if slices.Contains(l.Backups, id) {
				return busy("backup %s is in use: %s by process %d of %s, since %s", id, o.What, o.PID, o.Host, o.From.Format(time.RFC3339))
			}
		}
	}
	return nil
}

func busy(format string, args ...any) error {
	return fault.New(fault.Busy, fmt.Errorf(format, args...), "try it again when that has ended")
}

// holder keeps a lease alive.
type holder struct {
	repo   *repository.Repository
	prefix string
	life   time.Duration
	lease  Lease
}

func newHolder(r *repository.Repository, set, what string, life time.Duration, backups []string) *holder {
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails (Go 1.24)
	host, _ := os.Hostname() // for people only
	return &holder{repo: r, prefix: leases(set) + what + "-" + hex.EncodeToString(random), life: life,
		lease: Lease{What: what, Backups: append([]string{}, backups...), From: time.Now().UTC(), Host: host, PID: os.Getpid()}}
}

// renew puts a new object, and deletes the old one then.
func (h *holder) renew(ctx context.Context) error {
	next, old := h.lease, h.lease.Object
	next.Until = time.Now().UTC().Add(h.life)
	name, _, err := h.repo.Put(ctx, h.prefix, kindLease, next, nil)
	if err != nil {
		return err
	}
	next.Object = name
	h.lease = next
	if old == "" || old == name {
		return nil
	}
	return h.repo.Delete(ctx, old)
}

// keep renews the lease each third of its life; if that fails, a tenth of that
// later.
func (h *holder) keep(ctx context.Context) (release func()) {
	ctx, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for wait := h.life / 3; ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			wait = h.life / 3
			if h.renew(ctx) != nil {
				wait /= 10
			}
		}
	})
	return func() {
		stop()
		done.Wait()
		_ = h.drop(context.WithoutCancel(ctx)) // if not, it runs out
	}
}

// dropTime bounds the last call of a lease.
const dropTime = time.Minute

// drop deletes all of the lease's objects: a renewal may have left the old one.
func (h *holder) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTime)
	defer cancel()
	for e, err := range h.repo.List(ctx, h.prefix) {
		if err != nil {
			return err
		}
		if err := h.repo.Delete(ctx, e.Name); err != nil {
			return err
		}
	}
	return nil
}
