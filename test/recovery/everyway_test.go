package recovery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
)

// TestEveryWay: on each server, by each driver, from a directory and from S3,
// encrypted and not: a server is backed up while it is written to, written to
// further, and lost; what comes back is what it held at a moment chosen at
// random, and what it held last.
func TestEveryWay(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		drivers := []string{backup.MariaDBBackup, backup.Dump}
		if d.Flavor == server.MySQL {
			drivers = []string{backup.Clone, backup.Dump}
		}
		for _, driver := range drivers {
			t.Run(driver, func(t *testing.T) {
				everyWay(t, d, driver, rand.New(rand.NewPCG(seed, 1)))
			})
		}
	})
}

// place is a repository that has a way of its own.
type place struct {
	name     string
	location repository.Location // as hosts that restore have it
	writer   *repository.Repository
}

func places(t *testing.T) (list []place) {
	t.Helper()
	s3 := storetest.Fake(t)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(id.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"directory", "S3", "directory, encrypted", "S3, encrypted"} {
		o := store.Options{URL: t.TempDir()}
		if i%2 == 1 {
			o = s3.Options(t)
			o.URL += fmt.Sprintf("/%d", i)
		}
		p := place{name: name, location: repository.Location{Name: fmt.Sprintf("p%d", i), Options: o}}
		var recipients []string
		if i >= 2 {
			recipients = []string{id.Recipient().String()}
		}
		if p.writer, err = repository.Create(t.Context(), p.location, recipients); err != nil {
			t.Fatal(err)
		}
		if i >= 2 {
			p.location.Identities = []string{key}
		}
		list = append(list, p)
	}
	return list
}

// way is a server with its repositories and the moments that are remembered.
type way struct {
	t       *testing.T
	d       server.Distribution
	i       *server.Instance
	places  []place
	moments []moment
}

// moment is a time, and what the server held then.
type moment struct {
	at    string // as --until takes it; empty: the end
	state compare.State
}

func everyWay(t *testing.T, d server.Distribution, driver string, r *rand.Rand) {
	args := []string{"--log-bin=bin", "--server-id=7"}
	if d.Flavor == server.MySQL {
		args = append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
	}
	w := &way{t: t, d: d, i: servertest.Start(t, d, args...), places: places(t)}
	stop := w.archive()
	w.prepare()
	w.write(25, r)
	w.backup(driver)
	for range 3 {
		w.write(15+r.IntN(20), r)
		w.remember()
	}
	w.write(10, r)
	end := moment{state: w.state(w.i)}
	w.archived()
	stop()
	if err := w.i.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(w.i.DataDir()); err != nil {
		t.Fatal(err)
	}
	for i, p := range w.places {
		moments := []moment{w.moments[r.IntN(len(w.moments))], end}
		if i > 0 { // one goes on to the end
			moments = moments[:1]
		}
		w.bring(p, moments...)
	}
}

// archive follows the server into every repository until the returned function
// is called.
func (w *way) archive() (stop func()) {
	w.t.Helper()
	o := archive.RunOptions{Set: "s", Servers: []archive.Server{{Name: "db1", DSN: w.i.DSN("")}}, Flush: 20 * time.Millisecond, MaxWait: time.Second}
	for _, p := range w.places {
		o.Places = append(o.Places, archive.Place{Name: p.name, Open: func(context.Context) (*repository.Repository, error) { return p.writer, nil }})
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- archive.Run(ctx, o) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

func (w *way) exec(statements ...string) {
	w.t.Helper()
	servertest.Exec(w.t, servertest.Open(w.t, w.i, ""), statements...)
}

func (w *way) prepare() {
	w.t.Helper()
	if w.d.Flavor == server.MySQL {
		w.exec("INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
	}
	w.exec("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(5000), c INT, UNIQUE (b(20)))",
		"CREATE TABLE d.child (a INT PRIMARY KEY, t INT, FOREIGN KEY (t) REFERENCES d.t (a) ON DELETE CASCADE)",
		"CREATE USER somebody@localhost IDENTIFIED BY 'secret'", "GRANT SELECT ON d.* TO somebody@localhost")
}

// write commits n transactions, with a change of the schema and a new file now
// and then.
func (w *way) write(n int, r *rand.Rand) {
	w.t.Helper()
	db := servertest.Open(w.t, w.i, "")
	for range n {
		key := r.Uint64()
		switch r.IntN(12) {
		case 0:
			servertest.Exec(w.t, db, fmt.Sprintf("CREATE TABLE d.x%d (x INT PRIMARY KEY)", key), fmt.Sprintf("INSERT INTO d.x%d VALUES (1), (2)", key))
		case 1:
			servertest.Exec(w.t, db, "FLUSH BINARY LOGS")
		case 2:
			servertest.Exec(w.t, db, "DELETE FROM d.t WHERE a % 7 = 3")
		default:
			servertest.Exec(w.t, db, "USE d", "BEGIN", fmt.Sprintf("INSERT INTO t (b, c) VALUES ('%d %s', %d)", key, "ä€", r.IntN(100)),
				"INSERT INTO child VALUES (LAST_INSERT_ID(), LAST_INSERT_ID())", fmt.Sprintf("UPDATE t SET c = c + 1 WHERE c < %d", r.IntN(100)), "COMMIT")
		}
	}
}

// backup takes one into all repositories, while the server is written to.
func (w *way) backup(driver string) {
	w.t.Helper()
	var all []*repository.Repository
	for _, p := range w.places {
		all = append(all, p.writer)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() {
		db, err := w.i.Open("")
		for k := 0; err == nil && ctx.Err() == nil; k++ {
			_, err = db.ExecContext(w.t.Context(), fmt.Sprintf("INSERT INTO d.t (b) VALUES ('meanwhile %d')", k))
		}
		_ = db.Close()
		done <- err
	}()
	_, err := backup.Take(w.t.Context(), backup.Options{Repositories: all, Set: "s", Driver: driver, Source: backup.Source{DSN: w.i.DSN(""), Tools: w.d.Tools()}})
	cancel()
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *way) state(i *server.Instance) compare.State {
	w.t.Helper()
	s, err := compare.Take(w.t.Context(), servertest.Open(w.t, i, ""))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// remember notes what the server holds, and a time at which it held just that.
// MariaDB's commits are known to the second.
func (w *way) remember() {
	w.t.Helper()
	s := w.state(w.i)
	time.Sleep(1100 * time.Millisecond)
	at := time.Now().UTC()
	time.Sleep(1100 * time.Millisecond)
	w.moments = append(w.moments, moment{at.Format(time.RFC3339Nano), s})
}

// archived waits until every repository has everything.
func (w *way) archived() {
	w.t.Helper()
	w.exec("FLUSH BINARY LOGS")
	logs, err := w.i.BinaryLogs(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	last := filepath.Base(logs[len(logs)-1])
	for _, p := range w.places {
		for {
			logs, err := archive.Load(w.t.Context(), p.writer, "s")
			if err != nil {
				w.t.Fatal(err)
			}
			if len(logs) == 1 && logs[0].Files[len(logs[0].Files)-1].File == last {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// bring restores to a moment, and from there on to the others.
func (w *way) bring(p place, moments ...moment) {
	w.t.Helper()
	r, err := repository.Open(w.t.Context(), p.location)
	if err != nil {
		w.t.Fatal(err)
	}
	mysqld, err := w.d.Tool("mysqld")
	if err != nil {
		w.t.Fatal(err)
	}
	dir := filepath.Join(w.t.TempDir(), "data")
	for _, m := range moments {
		rep, err := restore.Run(w.t.Context(), restore.Options{Repository: r, Set: "s", Dir: dir, Until: m.at, Mysqld: mysqld, Tools: w.d.Tools(), Memory: 256 << 20})
		if err != nil {
			w.t.Fatalf("%s, until %q: %v", p.name, m.at, err)
		}
		if !rep.Finished || rep.Replay == nil {
			w.t.Errorf("%s, until %q: %+v", p.name, m.at, rep)
		}
		i, err := server.Start(w.t.Context(), w.d, server.Options{DataDir: dir, SkipNetworking: true})
		if err != nil {
			w.t.Fatal(err)
		}
		got := w.state(i)
		if err := i.Stop(w.t.Context()); err != nil {
			w.t.Error(err)
		}
		if diff := compare.Diff(m.state, got, "lost", "restored", compare.AtMost); diff != "" {
			w.t.Errorf("%s, until %q:\n%s", p.name, m.at, diff)
		}
	}
}
