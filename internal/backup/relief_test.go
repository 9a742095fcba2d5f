package backup_test

import (
	"context"
	"database/sql"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestStorageDownUnderLock: mariadb-backup copies the server's log tables while it
// holds all commits. If the storage goes down just then, they do not wait for as
// long as a backup waits for storage: it is given up.
func TestStorageDownUnderLock(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		if d.Flavor != server.MariaDB {
			t.Skip("holds commits for a bounded time: see clone")
		}
		if !everywhere && d != servertest.Of(t, d.Flavor) {
			t.Skip("the other one of this vendor does")
		}
		source := start(t, d, true)
		db := servertest.Open(t, source, "shop")
		servertest.Exec(t, db, "SET GLOBAL log_output = 'TABLE'", "SET GLOBAL general_log = ON")
		for range 40 {
			servertest.Exec(t, db, "SELECT LENGTH('"+strings.Repeat("x", 1<<20)+"')")
		}
		servertest.Exec(t, db, "SET GLOBAL general_log = OFF")

		s := storetest.Fake(t)
		r, err := repository.Create(t.Context(), repository.Location{Options: s.Options(t), Name: "far"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		waiting := watchWaiters(t, db)
		var down atomic.Bool
		s.Break(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
			if storetest.IsPut(q) && waiting.Load() {
				down.Store(true)
			}
			if down.Load() {
				storetest.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
				return
			}
			next.ServeHTTP(w, q)
		})
		w := write(t, source, true)
		o := options(t, source, "", r)
		o.PartBytes, o.Workers, o.Held, o.Patience = 1<<19, 2, 3*time.Second, 5*time.Minute
		_, err = backup.Take(t.Context(), o)
		wantClass(t, err, fault.Storage, "sessions waited", "run again")
		if !down.Load() {
			t.Error("nobody has waited")
		}
		w.wait(100)
		w.end()
		s.Break(nil)
		nothing(t, r)
	})
}

// watchWaiters says whether a session waits for a backup right now.
func watchWaiters(t *testing.T, db *sql.DB) *atomic.Bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var waiting atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			var n int
			if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE '%backup%'").Scan(&n); err == nil {
				waiting.Store(n > 0)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return &waiting
}
