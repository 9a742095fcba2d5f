package archive_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// world is a server and a repository for its log.
type world struct {
	t    *testing.T
	i    *server.Instance
	dir  string
	repo *repository.Repository

	every time.Duration // RunOptions.HoldEvery

	mu     sync.Mutex
	alarms []archive.Alarm
}

func newWorld(t *testing.T, d server.Distribution, args ...string) *world {
	t.Helper()
	all := []string{"--log-bin=bin", "--server-id=7"}
	if d.Flavor == server.MySQL {
		all = append(all, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
	}
	w := &world{t: t, i: servertest.Start(t, d, append(all, args...)...), dir: t.TempDir()}
	var err error
	if w.repo, err = repository.Create(t.Context(), w.location(), nil); err != nil {
		t.Fatal(err)
	}
	w.exec("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB)")
	return w
}

func (w *world) location() repository.Location {
	return repository.Location{Name: "main", Options: store.Options{URL: filepath.Join(w.dir, "repository")}}
}

func (w *world) exec(statements ...string) {
	w.t.Helper()
	servertest.Exec(w.t, servertest.Open(w.t, w.i, ""), statements...)
}

func (w *world) options() archive.Options {
	return archive.Options{Set: "s", Server: archive.Server{DSN: w.i.DSN("")}, Repository: w.repo, Flush: 20 * time.Millisecond, MaxWait: 100 * time.Millisecond,
		Listener: archive.Listener{Alarm: func(a archive.Alarm) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.alarms = append(w.alarms, a)
		}}}
}

// follow archives until the returned function is called.
func (w *world) follow(o archive.Options) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- archive.Follow(ctx, o) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

func (w *world) log() archive.Log {
	w.t.Helper()
	logs, err := archive.Load(w.t.Context(), w.repo, "s")
	if err != nil {
		w.t.Fatal(err)
	}
	if len(logs) != 1 {
		w.t.Fatalf("%d logs", len(logs))
	}
	return logs[0]
}

// files are the server's files, without the flag that says that one is open.
func (w *world) files() map[string][]byte {
	w.t.Helper()
	paths, err := w.i.BinaryLogs(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			w.t.Fatal(err)
		}
		data[4+17] &^= 1
		all[filepath.Base(path)] = data
	}
	return all
}

// await waits until everything that the server has is archived.
func (w *world) await() {
	w.t.Helper()
	for {
		have := w.files()
		logs, err := archive.Load(w.t.Context(), w.repo, "s")
		if err != nil {
			w.t.Fatal(err)
		}
		missing := len(have)
		for _, l := range logs {
			for _, f := range l.Files {
				if data, ok := have[f.File]; ok && f.End >= int64(servertest.LogBytes(data)) {
					missing--
				}
			}
		}
		if missing <= 0 {
			return
		}
		if w.t.Context().Err() != nil {
			w.t.Fatal("the archive does not catch up")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// same checks that the archive holds the server's files, byte for byte.
func (w *world) same() {
	w.t.Helper()
	want, dir := w.files(), w.t.TempDir() // a server may write to its file by itself
	w.await()
	found := 0
	for _, f := range w.log().Files {
		path, err := archive.Fetch(w.t.Context(), w.repo, f, dir)
		if err != nil {
			w.t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			w.t.Fatal(err)
		}
		data, ok := want[f.File]
		if !ok {
			continue // the server has it no more
		}
		found++
		if !bytes.Equal(got[:min(len(got), len(data))], data) {
			w.t.Errorf("%s: %d bytes are archived that are not the server's %d", f.File, len(got), len(data))
		}
	}
	if found != len(want) {
		w.t.Errorf("%d of the server's %d files are archived", found, len(want))
	}
	if gaps := w.log().Gaps(); len(gaps) > 0 {
		w.t.Errorf("gaps: %v", gaps)
	}
}

func (w *world) traffic(n int, r *rand.Rand) {
	w.t.Helper()
	db := servertest.Open(w.t, w.i, "")
	for range n {
		switch r.IntN(12) {
		case 2: // as if another server had written it, and it had been replicated
			if w.i.Distribution().Flavor == server.MariaDB {
				servertest.Exec(w.t, db, fmt.Sprintf("SET STATEMENT server_id=%d, gtid_domain_id=%d FOR INSERT INTO d.t (b) VALUES ('theirs')", 20+r.IntN(3), r.IntN(2)))
			}
		case 0:
			servertest.Exec(w.t, db, "FLUSH BINARY LOGS")
		case 1:
			servertest.Exec(w.t, db, "BEGIN", fmt.Sprintf("INSERT INTO d.t (b) VALUES (REPEAT('x', %d))", r.IntN(1<<20)), "DELETE FROM d.t WHERE a % 3 = 0", "COMMIT")
		default:
			servertest.Exec(w.t, db, fmt.Sprintf("INSERT INTO d.t (b) VALUES (REPEAT('%d', %d))", r.IntN(10), r.IntN(1<<r.IntN(14))))
		}
	}
}

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestArchive: what is archived is the server's files, byte for byte, the open
// one included, whenever archiving was interrupted, and by segments of any size.
func TestArchive(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		r := seeded(t)
		w := newWorld(t, d)
		o := w.options()
		o.SegmentBytes = 1000
		for range 6 {
			stop := w.follow(o)
			w.traffic(15, r)
			time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
			stop()
			o.SegmentBytes = 1 << (8 + r.IntN(16))
		}
		stop := w.follow(o)
		w.same()
		stop()
		if len(w.alarms) > 0 {
			t.Errorf("alarms: %v", w.alarms)
		}
		w.counted(d)
	})
}

// counted checks what the archive says about transactions.
func (w *world) counted(d server.Distribution) {
	w.t.Helper()
	log := w.log()
	last := log.Files[len(log.Files)-1]
	if d.Flavor == server.MariaDB {
		state, err := gtid.ParseStreams(servertest.Column(w.t, servertest.Open(w.t, w.i, ""), "SELECT @@GLOBAL.gtid_binlog_state")[0])
		if err != nil {
			w.t.Fatal(err)
		}
		if wrote, err := last.Wrote(); err != nil || wrote.String() != state.String() || len(state) < 2 {
			w.t.Errorf("by the archive %s have been written, by the server %s: %v", wrote, state, err)
		}
		return
	}
	var executed string
	if err := servertest.Open(w.t, w.i, "").QueryRowContext(w.t.Context(), "SELECT @@GLOBAL.gtid_executed").Scan(&executed); err != nil {
		w.t.Fatal(err)
	}
	if reached := log.Reached(); reached != strings.ReplaceAll(executed, "\n", "") {
		w.t.Errorf("the archive reaches %s, the server %s", reached, executed)
	}
	if last.Boundary != last.End {
		w.t.Errorf("nothing runs, and the last boundary of %d bytes is %d", last.End, last.Boundary)
	}
}

// TestTwoAtOnce: two that archive one server into one repository, with segments
// of their own sizes, do each other no harm.
func TestTwoAtOnce(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		r := seeded(t)
		w := newWorld(t, d)
		first, second := w.options(), w.options()
		first.SegmentBytes, second.SegmentBytes, second.Flush = 3000, 100_000, 70*time.Millisecond
		stops := []func(){w.follow(first), w.follow(second)}
		w.traffic(40, r)
		stops[0]()
		w.traffic(20, r)
		stops[0] = w.follow(first)
		w.traffic(20, r)
		w.same()
		stops[0]()
		stops[1]()
	})
}

// TestServerDies: a server that is killed and started again, its last file cut
// off where it was, is archived to its end and on.
func TestServerDies(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		r := seeded(t)
		w := newWorld(t, d)
		stop := w.follow(w.options())
		defer stop()
		for range 3 {
			w.traffic(10, r)
			w.await()
			if err := w.i.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := w.i.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		w.traffic(10, r)
		w.same()
	})
}

// TestPurged: files that the server has removed before they were archived are a
// gap, with an alarm, and what follows is archived.
func TestPurged(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		r := seeded(t)
		w := newWorld(t, d)
		stop := w.follow(w.options())
		w.traffic(5, r)
		w.await()
		stop()
		w.exec("INSERT INTO d.t (b) VALUES ('lost')", "FLUSH BINARY LOGS", "INSERT INTO d.t (b) VALUES ('lost')", "FLUSH BINARY LOGS", "INSERT INTO d.t (b) VALUES ('kept')")
		w.purge()
		stop = w.follow(w.options())
		w.await()
		stop()
		gaps := w.log().Gaps()
		if len(gaps) != 1 || len(w.alarms) != 1 {
			t.Errorf("gaps %v, alarms %v", gaps, w.alarms)
		}
		t.Log(gaps, w.alarms)
	})
}

// purge leaves the server its last file only.
func (w *world) purge() {
	w.t.Helper()
	for {
		paths, err := w.i.BinaryLogs(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if len(paths) == 1 {
			return
		}
		w.exec("PURGE BINARY LOGS TO '" + filepath.Base(paths[len(paths)-1]) + "'")
		time.Sleep(50 * time.Millisecond) // MariaDB keeps what it would need after a crash
	}
}

// TestCompressed: statements that the server has compressed are stored as they
// are, and the ends of transactions are found among them, of whatever size they
// are. Compressed transactions of MySQL as well.
func TestCompressed(t *testing.T) {
	vendors(t, func(t *testing.T, d server.Distribution) {
		args := []string{"--log-bin-compress=ON", "--log-bin-compress-min-len=10", "--binlog-format=MIXED", "--max-allowed-packet=64M"}
		if d.Flavor == server.MySQL {
			args = []string{"--binlog-transaction-compression=ON", "--max-allowed-packet=64M"}
		}
		w := newWorld(t, d, args...)
		stop := w.follow(w.options())
		defer stop()
		comment := strings.Repeat("c", 1000)
		w.exec("USE d", "CREATE TABLE long_text (a INT PRIMARY KEY COMMENT '"+comment+"')",
			"/* "+strings.Repeat("x", 100_000)+" */ INSERT INTO t (b) VALUES ('behind a long comment')",
			"BEGIN", "INSERT INTO t (b) VALUES (REPEAT('y', 10))", "SAVEPOINT a_long_name_of_a_savepoint", "INSERT INTO t (b) VALUES ('"+strings.Repeat("z", 4<<20)+"')", "COMMIT",
			"XA START 'a transaction with a name'", "INSERT INTO t (b) VALUES ('x')", "XA END 'a transaction with a name'", "XA PREPARE 'a transaction with a name'", "XA COMMIT 'a transaction with a name'",
			"FLUSH BINARY LOGS", "INSERT INTO t (b) VALUES ('last')")
		w.await()
		w.same()
		f := w.log().Files[0]
		if len(w.alarms) > 0 || f.Transactions < 6 {
			t.Errorf("%d transactions; %v", f.Transactions, w.alarms)
		}
	})
}

// TestReset: a log that begins anew under the same names is another one, and
// nothing of the first is lost.
func TestReset(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		r := seeded(t)
		w := newWorld(t, d)
		stop := w.follow(w.options())
		w.traffic(10, r)
		w.await()
		stop()
		before := w.log()
		time.Sleep(time.Second) // files are told apart by the second in which they were begun
		reset := "RESET MASTER"
		if d.Flavor == server.MySQL {
			reset = "RESET BINARY LOGS AND GTIDS"
		}
		w.exec(reset)
		unnoticed := func(when string) {
			t.Helper()
			if st := w.look(); fault.ClassOf(st.Err()) != fault.Gap || st.Repositories[0].Logs[0].Alarm == "" || st.Repositories[0].Logs[0].BehindBytes != nil {
				t.Errorf("%s, before it was noticed: %+v, %v", when, st.Repositories[0].Logs, st.Err())
			}
		}
		unnoticed("reset")
		w.exec("INSERT INTO d.t (b) VALUES (REPEAT('x', 3000000))")
		unnoticed("as long as it was")
		for range len(before.Files) + 1 {
			w.exec("FLUSH BINARY LOGS")
		}
		unnoticed("with more files")
		w.traffic(9, r)
		stop = w.follow(w.options())
		defer stop()
		after := w.log()
		for len(after.Files) <= len(before.Files) || after.Files[len(after.Files)-1].File != w.last() {
			time.Sleep(20 * time.Millisecond)
			after = w.log()
		}
		for i, f := range before.Files {
			if after.Files[i].ID != f.ID || after.Files[i].End != f.End {
				t.Errorf("file %d was %s.%s up to %d, and is %s.%s up to %d", i, f.File, f.ID, f.End, after.Files[i].File, after.Files[i].ID, after.Files[i].End)
			}
		}
		if gaps := after.Gaps(); len(gaps) != 1 {
			t.Errorf("gaps: %v", gaps)
		}
		if len(w.alarms) == 0 {
			t.Error("no alarm")
		}
	})
}

func (w *world) look() *archive.Status {
	w.t.Helper()
	place := archive.Place{Name: "r", Open: func(context.Context) (*repository.Repository, error) { return w.repo, nil }}
	return archive.Look(w.t.Context(), "s", w.self(), []archive.Place{place}, false, nil)
}

func (w *world) last() string {
	w.t.Helper()
	paths, err := w.i.BinaryLogs(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return filepath.Base(paths[len(paths)-1])
}

// TestEncrypted: a log that a server encrypts on disk it decrypts for whoever reads
// it, from any offset: what was archived in pieces is what comes in one go.
func TestEncrypted(t *testing.T) {
	vendors(t, func(t *testing.T, d server.Distribution) {
		r := seeded(t)
		d, args := servertest.Encrypting(t, d)
		w := newWorld(t, d, args...)
		pieces := w.repo
		for range 4 {
			stop := w.follow(w.options())
			w.traffic(8, r)
			w.await()
			w.traffic(3, r)
			stop()
		}
		again, err := repository.Create(t.Context(), repository.Location{Name: "again", Options: store.Options{URL: filepath.Join(w.dir, "again")}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []map[string][]byte
		for _, w.repo = range []*repository.Repository{pieces, again} {
			stop := w.follow(w.options())
			w.await()
			stop()
			got = append(got, w.fetched())
		}
		onDisk := w.files()
		if len(w.alarms) > 0 || len(got[0]) != len(onDisk) {
			t.Errorf("%d files, want %d; %v", len(got[0]), len(onDisk), w.alarms)
		}
		for name, data := range onDisk {
			n := servertest.LogBytes(data) // the first archive may have been ahead of the second one
			if len(got[0][name]) < n || len(got[1][name]) < n || !bytes.Equal(got[0][name][:n], got[1][name][:n]) || bytes.Contains(data, []byte("INSERT")) {
				t.Errorf("%s: %d bytes in pieces, %d in one go, %d on disk", name, len(got[0][name]), len(got[1][name]), n)
			}
		}
	})
}

// fetched is what is archived, by file.
func (w *world) fetched() map[string][]byte {
	w.t.Helper()
	all := map[string][]byte{}
	for _, f := range w.log().Files {
		path, err := archive.Fetch(w.t.Context(), w.repo, f, w.t.TempDir())
		if err != nil {
			w.t.Fatal(err)
		}
		if all[f.File], err = os.ReadFile(path); err != nil {
			w.t.Fatal(err)
		}
	}
	return all
}
