package verify_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/internal/verify"
	"github.com/lifeboat-db/lifeboat/test/deposit"
)

// TestOfServers: of what servers, their archive and a backup have really left
// nothing is found, also while it is being written; and objects of it that are
// damaged are found, with what is lost.
func TestOfServers(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		args := []string{"--log-bin=bin", "--server-id=7"}
		if d.Flavor == server.MySQL {
			args = append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
		}
		i := servertest.Start(t, d, args...)
		w := &world{t: t}
		w.r, w.dir = deposit.New(t, true)
		stop := w.follow(i.DSN(""))
		db := servertest.Open(t, i, "")
		servertest.Exec(t, db, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b TEXT)")
		for n := range 60 {
			servertest.Exec(t, db, fmt.Sprintf("INSERT INTO d.t (b) VALUES (REPEAT('%d', 500))", n))
			if n%20 == 10 {
				servertest.Exec(t, db, "FLUSH BINARY LOGS")
				w.clean(w.options())
			}
		}
		w.take(i, d)
		stop()
		o := w.options()
		o.Set = ""
		rep := w.clean(o)
		if rep.Objects < 10 {
			t.Errorf("%d objects", rep.Objects)
		}
		w.damageSome()
	})
}

func (w *world) follow(dsn string) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() {
		done <- archive.Follow(ctx, archive.Options{Set: "s", Server: archive.Server{DSN: dsn}, Repository: w.r, Flush: 20 * time.Millisecond, MaxWait: time.Second})
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

func (w *world) take(i *server.Instance, d server.Distribution) {
	w.t.Helper()
	tool, err := d.Tool("mysqldump")
	if err != nil {
		w.t.Fatal(err)
	}
	o := backup.Options{Repositories: []*repository.Repository{w.r}, Set: "s", Driver: backup.Dump, PartBytes: 1 << 20}
	o.Source.DSN, o.Source.Tools = i.DSN(""), map[string]string{"mysqldump": tool}
	if _, err := backup.Take(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

// damageSome flips a bit of each of some objects in turn.
func (w *world) damageSome() {
	w.t.Helper()
	rnd := random(w.t)
	var names []string
	for e, err := range w.r.List(w.t.Context(), "") {
		if err != nil {
			w.t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	for range 12 {
		name := names[rnd.IntN(len(names))]
		good := w.stored(name)
		bad, at := slices.Clone(good), rnd.IntN(8*len(good))
		bad[at/8] ^= 1 << (at % 8)
		w.place(name, bad)
		rep, err := w.run(w.options())
		wantClass(w.t, rep, err, fault.VerifyFailed)
		f := finding(w.t, rep, name)
		member := strings.HasPrefix(name, "s/members/") // nothing is lost by it
		if f.Kind != verify.Damaged || !member && len(f.Lost.Backups) == 0 && f.Lost.Log == nil {
			w.t.Errorf("bit %d of %s: %s", at, filepath.Base(name), f)
		}
		w.place(name, good)
	}
	w.clean(w.options())
}
