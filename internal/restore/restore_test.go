package restore_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
)

// world is a server whose log is archived all the time.
type world struct {
	t    *testing.T
	d    server.Distribution
	i    *server.Instance
	repo *repository.Repository
	url  string // the repository's directory
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func newWorld(t *testing.T, d server.Distribution) *world {
	t.Helper()
	if d.Flavor == server.MySQL {
		return newWorldWith(t, d, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
	}
	return newWorldWith(t, d)
}

func newWorldWith(t *testing.T, d server.Distribution, args ...string) *world {
	t.Helper()
	w := newWorldOf(t, servertest.Start(t, d, append([]string{"--log-bin=bin", "--server-id=7"}, args...)...))
	w.exec("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(5000), UNIQUE (b(20)))")
	return w
}

// newWorldOf archives a server into a repository of its own.
func newWorldOf(t *testing.T, i *server.Instance) *world {
	t.Helper()
	w := &world{t: t, d: i.Distribution(), i: i, url: filepath.Join(t.TempDir(), "r")}
	var err error
	w.repo, err = repository.Create(t.Context(), repository.Location{Name: "main", Options: store.Options{URL: w.url}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if w.d.Flavor == server.MySQL && len(servertest.Column(t, servertest.Open(t, i, ""), "SELECT plugin_name FROM information_schema.plugins WHERE plugin_name = 'clone'")) == 0 {
		w.exec("INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- archive.Follow(ctx, archive.Options{Set: "s", Server: archive.Server{DSN: w.i.DSN("")}, Repository: w.repo, Flush: 20 * time.Millisecond, MaxWait: time.Second,
			Listener: archive.Listener{Waiting: func(err error, _ time.Duration) { t.Logf("not archiving: %v", err) }}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) exec(statements ...string) {
	w.t.Helper()
	servertest.Exec(w.t, servertest.Open(w.t, w.i, ""), statements...)
}

func (w *world) traffic(n int, tag string) {
	w.t.Helper()
	db := servertest.Open(w.t, w.i, "")
	for k := range n {
		servertest.Exec(w.t, db, fmt.Sprintf("INSERT INTO d.t (b) VALUES ('%s %d')", tag, k), fmt.Sprintf("UPDATE d.t SET b = CONCAT(b, '.') WHERE a = %d", k/2))
		if k%40 == 20 {
			servertest.Exec(w.t, db, "FLUSH BINARY LOGS", fmt.Sprintf("CREATE TABLE d.%s%d (x INT PRIMARY KEY)", tag, k), fmt.Sprintf("INSERT INTO d.%s%d VALUES (1),(2)", tag, k))
		}
	}
}

func (w *world) backup(driver string, o backup.Options) backup.Manifest {
	w.t.Helper()
	o.Repositories, o.Set, o.Driver = []*repository.Repository{w.repo}, "s", driver
	o.Source.Tools = w.d.Tools()
	if o.Source.DSN == "" {
		o.Source.DSN = w.i.DSN("")
	}
	m, err := backup.Take(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *world) mysqld() string {
	w.t.Helper()
	path, err := w.d.Tool("mysqld")
	if err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) options(dir, until string) restore.Options {
	return restore.Options{Repository: w.repo, Set: "s", Dir: dir, Until: until, Mysqld: w.mysqld(), Tools: w.d.Tools(), Memory: 256 << 20}
}

func (w *world) try(o restore.Options) (*restore.Report, error) {
	w.t.Helper()
	return restore.Run(w.t.Context(), o)
}

func (w *world) restore(o restore.Options) *restore.Report {
	w.t.Helper()
	rep, err := restore.Run(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return rep
}

// archived waits until the archive has everything that the server has.
func (w *world) archived() {
	w.t.Helper()
	db := servertest.Open(w.t, w.i, "")
	servertest.Exec(w.t, db, "FLUSH BINARY LOGS")
	logs, err := w.i.BinaryLogs(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for last := filepath.Base(logs[len(logs)-1]); ; time.Sleep(20 * time.Millisecond) {
		l, err := archive.LoadServer(w.t.Context(), w.repo, "s", w.server())
		if err != nil {
			w.t.Fatal(err)
		}
		if n := len(l.Files); n > 0 && l.Files[n-1].File == last {
			return
		}
	}
}

func (w *world) server() string {
	w.t.Helper()
	logs, err := archive.Load(w.t.Context(), w.repo, "s")
	if err != nil {
		w.t.Fatal(err)
	}
	if len(logs) == 0 {
		return "none"
	}
	return logs[0].Server
}

// state is everything that a server holds.
func state(t *testing.T, i *server.Instance) compare.State {
	t.Helper()
	s, err := compare.Take(t.Context(), servertest.Open(t, i, ""))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// same checks that the restored directory, served by a server with nothing but
// its own options, holds a state.
func (w *world) same(dir string, want compare.State) {
	w.t.Helper()
	i, err := server.Start(w.t.Context(), w.d, server.Options{DataDir: dir, SkipNetworking: true})
	if err != nil {
		w.t.Fatal(err)
	}
	got := state(w.t, i)
	if err := i.Stop(w.t.Context()); err != nil {
		w.t.Error(err)
	}
	w.diff(want, got)
}

func (w *world) diff(want, got compare.State) {
	w.t.Helper()
	if diff := compare.Diff(want, got, "source", "restored", compare.AtMost); diff != "" {
		w.t.Error(diff)
	}
}

// drivers of a server, the best first; test/recovery tries all of them.
func drivers(d server.Distribution) []string {
	all := []string{backup.MariaDBBackup, backup.Dump}
	if d.Flavor == server.MySQL {
		all = []string{backup.Clone, backup.Dump}
	}
	if !long {
		return all[:1]
	}
	return all
}

// TestRestore: from a backup that was taken while the server was written to, and
// the log that was archived meanwhile, comes what the server held at any moment
// that is asked for; and a restore that is done can be moved forward.
func TestRestore(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		for _, driver := range drivers(d) {
			t.Run(driver, func(t *testing.T) {
				w := newWorld(t, d)
				w.traffic(50, "before")
				stop := w.writing()
				m := w.backup(driver, backup.Options{})
				stop()
				w.traffic(60, "middle")
				middle := state(t, w.i)
				at := w.moment()
				w.traffic(50, "after")
				end := state(t, w.i)
				w.archived()

				dir := filepath.Join(t.TempDir(), "data")
				rep := w.restore(w.options(dir, at))
				if !rep.Finished || rep.Plan.BackupIDs[0] != m.ID || rep.Replay == nil || rep.Replay.Transactions == 0 {
					t.Errorf("%+v", rep)
				}
				w.same(dir, middle)
				if rep = w.restore(w.options(dir, at)); !rep.Finished || len(rep.Steps) > 0 {
					t.Errorf("done once more: %+v", rep)
				}
				nothing := w.options(dir, at)
				nothing.PlanOnly = true
				if rep = w.restore(nothing); !rep.Finished || rep.Plan != nil {
					t.Errorf("planned once more: %+v", rep.Plan)
				}
				rep = w.restore(w.options(dir, ""))
				if !rep.Forward || !rep.Finished {
					t.Errorf("%+v", rep)
				}
				w.same(dir, end)
				// The end of the archive is another one each time: what is planned then
				// is what would be done.
				again := w.options(dir, "")
				again.PlanOnly = true
				if rep = w.restore(again); !rep.Forward || len(rep.Plan.BackupIDs) > 0 || len(rep.Plan.Legs) != 1 {
					t.Errorf("planned again: %+v", rep.Plan)
				}
				if rep = w.restore(w.options(dir, "")); !rep.Forward || !rep.Finished {
					t.Errorf("again: %+v", rep)
				}
				w.same(dir, end)
			})
		}
	})
}

// moment is a time between what has been committed and what will be.
func (w *world) moment() string {
	w.t.Helper()
	time.Sleep(1100 * time.Millisecond) // MariaDB's commits have seconds
	at := time.Now().UTC()
	time.Sleep(1100 * time.Millisecond)
	return at.Format(time.RFC3339Nano)
}

// writing writes until the returned function is called.
func (w *world) writing() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() {
		db, err := w.i.Open("")
		for k := 0; err == nil && ctx.Err() == nil; k++ {
			_, err = db.ExecContext(w.t.Context(), fmt.Sprintf("INSERT INTO d.t (b) VALUES ('writing %d')", k))
		}
		done <- err
		db.Close()
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

// TestAnonymous: a server that has GTIDs of earlier times and gives none to new
// transactions is cloned while it is written to: the position tells which state
// the copy is of, exactly.
func TestAnonymous(t *testing.T) {
	w := newWorld(t, servertest.Of(t, server.MySQL))
	w.traffic(3, "named")
	w.archived() // with gtid_mode OFF the server does not send what has a GTID
	for _, mode := range []string{"ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"} {
		w.exec("SET GLOBAL gtid_mode = " + mode)
	}
	w.exec("SET GLOBAL enforce_gtid_consistency = OFF")
	w.traffic(10, "before")
	stop := w.writing()
	o := backup.Options{Repositories: []*repository.Repository{w.repo}, Set: "s", Driver: backup.Clone,
		Source: backup.Source{DSN: fmt.Sprintf("b@unix(%s)/", w.i.Socket())}}
	w.exec("CREATE USER b@localhost", "GRANT BACKUP_ADMIN, REPLICATION CLIENT ON *.* TO b@localhost")
	if _, err := backup.Take(t.Context(), o); fault.ClassOf(err) != fault.Storage || !strings.Contains(err.Error(), "lacks RELOAD") {
		t.Errorf("by an account that cannot have commits wait: %v", err)
	}
	w.exec("GRANT RELOAD ON *.* TO b@localhost")
	m := w.backup(backup.Clone, o)
	stop()
	if m.GTIDs == "" || m.Until == nil || !m.Until.ByPosition || m.Inexact {
		t.Fatalf("%+v", m)
	}
	w.traffic(10, "after")
	want := state(t, w.i)
	w.archived()
	dir := filepath.Join(t.TempDir(), "data")
	if rep := w.restore(w.options(dir, "")); !rep.Finished {
		t.Errorf("%+v", rep)
	}
	w.same(dir, want)
}
