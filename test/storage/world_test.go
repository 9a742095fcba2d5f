package storage_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

var seed = func() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("LIFEBOAT_SEED"), 10, 64); err == nil {
		return n
	}
	return rand.Uint64N(1_000_000)
}()

// random gives a test its own sequence of numbers.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	t.Logf("LIFEBOAT_SEED=%d", seed)
	var name uint64
	for _, c := range t.Name() {
		name = name*31 + uint64(c)
	}
	return rand.New(rand.NewPCG(seed, name)) //nolint:gosec // a test's choices
}

// one runs a test on one distribution that the seed chooses, or on all in a
// long run.
func one(t *testing.T, salt uint64, test func(t *testing.T, d server.Distribution)) {
	t.Helper()
	if long {
		servertest.Each(t, test)
		return
	}
	all := servertest.All(t)
	d := all[(seed+salt)%uint64(len(all))]
	t.Run(d.Name, func(t *testing.T) { test(t, d) })
}

// source is a server whose log is archived.
type source struct {
	t  *testing.T
	d  server.Distribution
	i  *server.Instance
	db *sql.DB
}

func start(t *testing.T, d server.Distribution, args ...string) *source {
	t.Helper()
	all := []string{"--log-bin=bin", "--server-id=7", "--sync-binlog=1"}
	if d.Flavor == server.MySQL {
		all = append(all, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
	}
	s := &source{t: t, d: d, i: servertest.Start(t, d, append(all, args...)...)}
	s.db = servertest.Open(t, s.i, "")
	s.exec("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB)")
	return s
}

// exec executes statements on a connection of their own: what they SET is gone
// with it.
func (s *source) exec(statements ...string) {
	s.t.Helper()
	db, err := s.i.Open("")
	if err != nil {
		s.t.Fatal(err)
	}
	servertest.Exec(s.t, db, statements...)
	if err := db.Close(); err != nil {
		s.t.Error(err)
	}
}

// write commits n transactions, small ones and some of up to a megabyte, and
// begins a new file now and then.
func (s *source) write(n int, r *rand.Rand) {
	s.t.Helper()
	for range n {
		switch r.IntN(12) {
		case 0:
			servertest.Exec(s.t, s.db, "FLUSH BINARY LOGS")
		case 1:
			servertest.Exec(s.t, s.db, "BEGIN", fmt.Sprintf("INSERT INTO d.t (b) VALUES (REPEAT('x', %d))", r.IntN(1<<20)), "DELETE FROM d.t WHERE a % 3 = 0", "COMMIT")
		default:
			servertest.Exec(s.t, s.db, fmt.Sprintf("INSERT INTO d.t (b) VALUES (REPEAT('%d', %d))", r.IntN(10), r.IntN(1<<r.IntN(14))))
		}
	}
}

// logs are the paths of the server's files, in their order.
func (s *source) logs() []string {
	s.t.Helper()
	paths, err := s.i.BinaryLogs(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return paths
}

// files are the server's files, without the flag that says that one is open.
func (s *source) files() map[string][]byte {
	s.t.Helper()
	all := map[string][]byte{}
	for _, path := range s.logs() {
		data, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		data[4+17] &^= 1
		all[filepath.Base(path)] = data
	}
	return all
}

// archiver is a follower with what it has told.
type archiver struct {
	archive.Options
	mu     sync.Mutex
	alarms []archive.Alarm
	told   []error
	stored int64 // bytes of the log
}

func (s *source) archiver(repo *repository.Repository) *archiver {
	a := &archiver{}
	a.Options = archive.Options{Set: "s", Server: archive.Server{DSN: s.i.DSN("")}, Repository: repo, Flush: 20 * time.Millisecond, MaxWait: 100 * time.Millisecond,
		Listener: archive.Listener{
			Alarm: func(x archive.Alarm) { a.locked(func() { a.alarms = append(a.alarms, x) }) },
			Waiting: func(err error, _ time.Duration) {
				a.locked(func() {
					if len(a.told) == 0 || a.told[len(a.told)-1].Error() != err.Error() {
						a.told = append(a.told, err)
					}
				})
			},
			Stored: func(x archive.Summary, _ int64) { a.locked(func() { a.stored += x.End - x.Start }) },
		}}
	return a
}

func (a *archiver) locked(do func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	do()
}

// run archives until the returned function is called.
func (a *archiver) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- archive.Follow(ctx, a.Options) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func create(t *testing.T, o store.Options) *repository.Repository {
	t.Helper()
	r, err := repository.Create(t.Context(), repository.Location{Name: "r", Options: o}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func load(t *testing.T, r *repository.Repository) archive.Log {
	t.Helper()
	logs, err := archive.Load(t.Context(), r, "s")
	if err != nil {
		t.Fatal(err)
	}
	if len(logs) > 1 {
		t.Fatalf("%d logs", len(logs))
	}
	if len(logs) == 0 {
		return archive.Log{}
	}
	return logs[0]
}

// await waits until everything that the server has is archived, and returns it.
// The archive must be running: MariaDB notes checkpoints in its log by itself.
func (s *source) await(r *repository.Repository) (files map[string][]byte) {
	s.t.Helper()
	for {
		files = s.files()
		if covers(load(s.t, r), files) {
			return files
		}
		if s.t.Context().Err() != nil {
			s.t.Fatal("the archive does not catch up")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// covers reports whether a log has all of the server's files.
func covers(log archive.Log, files map[string][]byte) bool {
	n := 0
	for _, f := range log.Files {
		if data, ok := files[f.File]; ok && f.End >= int64(len(data)) {
			n++
		}
	}
	return n == len(files)
}

// same waits until everything is archived, and checks that it is the server's
// files, byte for byte, without a gap.
func (s *source) same(r *repository.Repository) {
	s.t.Helper()
	want, log := s.await(r), load(s.t, r)
	for _, f := range log.Files {
		data, ok := want[f.File]
		if !ok {
			continue // the server has it no more
		}
		path, err := archive.Fetch(s.t.Context(), r, f, s.t.TempDir())
		if err != nil {
			s.t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(got) < len(data) || !bytes.Equal(got[:len(data)], data) {
			s.t.Errorf("%s: %d bytes are archived that are not the server's %d: %+v", f.File, len(got), len(data), f)
		}
		delete(want, f.File)
	}
	if len(want) > 0 {
		s.t.Errorf("%d of the server's files are not archived", len(want))
	}
	if gaps := log.Gaps(); len(gaps) > 0 {
		s.t.Errorf("gaps: %v", gaps)
	}
}
