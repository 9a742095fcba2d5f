package retain

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
	"github.com/lifeboat-db/lifeboat/test/deposit"
)

// shortLife is long enough for some requests to a server in this process.
const shortLife = 300 * time.Millisecond

// bucket is a repository with two full backups, whose server can be broken.
func bucket(t *testing.T) (s *storetest.Server, r *repository.Repository, ids []string) {
	t.Helper()
	s = storetest.Fake(t)
	r, err := repository.Create(t.Context(), repository.Location{Name: "main", Options: s.Options(t)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		at := day.AddDate(0, 0, n)
		m := backup.Manifest{ID: deposit.ID(at, n), Set: "s", Started: at, Finished: at, Server: "a", ToLSN: uint64(n + 1)}
		deposit.Backup{Manifest: m, Data: [][]byte{[]byte("x")}}.Put(t, r)
		ids = append(ids, m.ID)
	}
	return s, r, ids
}

// noLeases refuses what renews leases; looked counts who lists them.
func noLeases(looked *atomic.Int64) storetest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if storetest.IsPut(r) && strings.Contains(r.URL.Path, "/leases/") {
			storetest.Refuse(w, http.StatusForbidden, "AccessDenied")
			return
		}
		if strings.Contains(r.URL.Query().Get("prefix"), "/leases/") {
			looked.Add(1)
		}
		next.ServeHTTP(w, r)
	}
}

// TestLost: a lease that could not be renewed before it ran out is given up if
// somebody has made use of that, or if nobody knows, and only then.
func TestLost(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, s *storetest.Server, r *repository.Repository, id string)
		want   string
	}{
		"nobody has": {func(*testing.T, *storetest.Server, *repository.Repository, string) {}, ""},
		"a backup is gone": {func(t *testing.T, _ *storetest.Server, r *repository.Repository, id string) {
			if err := backup.Remove(t.Context(), r, "s", id); err != nil {
				t.Fatal(err)
			}
		}, "is not there any more"},
		"an expire is at it": {func(t *testing.T, s *storetest.Server, r *repository.Repository, id string) {
			s.Break(nil)
			if err := newHolder(r, "s", WhatExpire, leaseLife, []string{id}).renew(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.Break(noLeases(new(atomic.Int64)))
		}, "is in use: expire by process"},
		"nobody knows": {func(_ *testing.T, s *storetest.Server, _ *repository.Repository, _ string) {
			s.Break(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
				storetest.Refuse(w, http.StatusForbidden, "AccessDenied")
			})
		}, "AccessDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			s, r, ids := bucket(t)
			held, release, err := hold(t.Context(), r, "s", WhatRestore, shortLife, ids[:1])
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			var looked atomic.Int64
			s.Break(noLeases(&looked))
			c.change(t, s, r, ids[0])
			if c.want != "" {
				<-held.Done()
				err := context.Cause(held)
				if !errors.Is(err, ErrLost) || fault.ClassOf(err) != fault.Interrupted || !strings.Contains(err.Error(), c.want) {
					t.Errorf("it ended with %v, want %q", err, c.want)
				}
				return
			}
			for looked.Load() < 3 && held.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			s.Break(nil)
			for renewed := false; !renewed && held.Err() == nil; time.Sleep(time.Millisecond) {
				list, err := Leases(t.Context(), r, "s")
				if err != nil {
					t.Fatal(err)
				}
				renewed = len(list) > 0 && list[0].Until.After(time.Now())
			}
			if held.Err() != nil {
				t.Errorf("it ended with %v", context.Cause(held))
			}
		})
	}
}

// TestExpireLost: an expire whose lease has run out, and of whose backups
// somebody has taken hold since, removes nothing more.
func TestExpireLost(t *testing.T) {
	s, r, ids := bucket(t)
	inv, err := Survey(t.Context(), r, "s")
	if err != nil {
		t.Fatal(err)
	}
	a := applier{repo: r, Decision: Plan(inv, Policy{KeepFull: 1}, time.Now()), life: shortLife}
	n := 0
	a.deleted = func(string) error {
		n++
		if err := newHolder(r, "s", WhatRestore, leaseLife, ids[:1]).renew(t.Context()); err != nil {
			return err
		}
		s.Break(noLeases(new(atomic.Int64)))
		<-a.held.Done()
		return nil
	}
	if err := a.run(t.Context()); !errors.Is(err, ErrLost) || n != 1 {
		t.Errorf("%d objects are gone, and then %v", n, err)
	}
}

// TestMayNotDelete: an account that may not delete renews leases like any other.
func TestMayNotDelete(t *testing.T) {
	s, r, ids := bucket(t)
	s.Break(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodDelete {
			storetest.Refuse(w, http.StatusForbidden, "AccessDenied")
			return
		}
		next.ServeHTTP(w, r)
	})
	h := newHolder(r, "s", WhatRestore, leaseLife, ids[:1])
	for range 2 {
		if err := h.renew(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if list, err := Leases(t.Context(), r, "s"); err != nil || len(list) != 2 {
		t.Errorf("%v %v", list, err)
	}
}
