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

// ErrLost says that a lease has run out, and that what it was on may be gone.
var ErrLost = errors.New("the lease is lost")

// Hold says that backups of a set are in use, until release is called or the
// context ends; what is WhatBackup or WhatRestore. Hold first, and look for what
// is needed then: what is there after Hold stays. A restore names all backups of
// its chain, an increment those of its parent. The error is fault.Busy if one of
// them is being expired.
//
// Use what is held under the context held. If the lease could not be renewed
// before it ran out, it is looked whether everything is there still and nobody
// expires it; if not, or if that cannot be found out, held ends, and its cause
// wraps ErrLost.
func Hold(ctx context.Context, r *repository.Repository, set, what string, backups ...string) (held context.Context, release func(), err error) {
	held, release, err = hold(ctx, r, set, what, leaseLife, backups)
	if err != nil {
		return nil, nil, fmt.Errorf("retain: hold: %w", err)
	}
	return held, release, nil
}

// hold puts a lease first and looks for those of the other side then.
func hold(ctx context.Context, r *repository.Repository, set, what string, life time.Duration, backups []string) (held context.Context, release func(), err error) {
	h := newHolder(r, set, what, life, backups)
	if err := h.renew(ctx); err != nil {
		return nil, nil, err
	}
	if err := h.alone(ctx); err != nil {
		return nil, nil, errors.Join(err, h.drop(ctx))
	}
	held, release = h.keep(ctx)
	return held, release, nil
}

// alone looks for leases of the other side.
func (h *holder) alone(ctx context.Context) error {
	others, err := Leases(ctx, h.repo, h.set)
	if err != nil {
		return err
	}
	return h.lease.conflict(others, time.Now())
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
	set    string
	prefix string
	life   time.Duration
	lease  Lease
}

func newHolder(r *repository.Repository, set, what string, life time.Duration, backups []string) *holder {
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails (Go 1.24)
	host, _ := os.Hostname() // for people only
	return &holder{repo: r, set: set, prefix: leases(set) + what + "-" + hex.EncodeToString(random), life: life,
		lease: Lease{What: what, Backups: append([]string{}, backups...), From: time.Now().UTC(), Host: host, PID: os.Getpid()}}
}

// renew puts a new object, and deletes the old one then; one that stays, since
// the account may not delete, runs out.
func (h *holder) renew(ctx context.Context) error {
	next, old := h.lease, h.lease.Object
	next.Until = time.Now().UTC().Add(h.life)
	name, _, err := h.repo.Put(ctx, h.prefix, kindLease, next, nil)
	if err != nil {
		return err
	}
	next.Object = name
	h.lease = next
	if old != "" && old != name {
		_ = h.repo.Delete(ctx, old)
	}
	return nil
}

// keep renews the lease each third of its life; if that fails, a tenth of that
// later.
func (h *holder) keep(ctx context.Context) (held context.Context, release func()) {
	held, lose := context.WithCancelCause(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for wait := h.life / 3; ; {
			select {
			case <-held.Done():
				return
			case <-time.After(wait):
			}
			var err error
			if wait, err = h.again(held); err != nil {
				lose(fault.New(fault.Interrupted, fmt.Errorf("retain: backups %v: %w: %w", h.lease.Backups, ErrLost, err), "run it again"))
				return
			}
		}
	})
	return held, func() {
		lose(nil)
		done.Wait()
		_ = h.drop(ctx) // if not, it runs out
	}
}

// again renews the lease, and says when to do that the next time. It is an error
// if it had run out before, unless nobody has made use of that.
func (h *holder) again(ctx context.Context) (wait time.Duration, err error) {
	until := h.lease.Until
	short, cancel := context.WithTimeout(ctx, h.life/3)
	defer cancel()
	wait = h.life / 3
	failed := h.renew(short)
	if failed != nil {
		wait /= 10
	}
	if time.Now().Before(until) {
		return wait, nil
	}
	if err = h.alone(ctx); err == nil {
		err = h.there(ctx)
	}
	if err != nil && failed != nil {
		err = fmt.Errorf("%w; it could not be renewed: %w", err, failed)
	}
	return wait, err
}

// there looks whether all that is held is there. Logs go later than the backups
// that they lead on from. An expire holds what goes: since its lease ran out an
// increment may have been taken to that, and may have ended.
func (h *holder) there(ctx context.Context) error {
	if h.lease.What == WhatExpire {
		return errors.New("what goes may be needed now")
	}
	for _, id := range h.lease.Backups {
		found := false
		for _, err := range h.repo.List(ctx, folder(h.set, id)+"manifest-") {
			if err != nil {
				return err
			}
			found = true
		}
		if !found {
			return fmt.Errorf("backup %s is not there any more", id)
		}
	}
	return nil
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
