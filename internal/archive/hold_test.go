package archive_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/internal/stream"
)

// holding is an archive that runs with Hold.
type holding struct {
	*world
	kept chan archive.Kept
}

// hold runs until the test ends.
func (w *world) hold(keep time.Duration, servers []archive.Server, places ...archive.Place) *holding {
	w.t.Helper()
	h := &holding{w, make(chan archive.Kept)}
	ctx, cancel := context.WithCancel(w.t.Context())
	o := archive.RunOptions{Set: "s", Servers: servers, Places: places, Flush: 10 * time.Millisecond, MaxWait: 50 * time.Millisecond,
		Hold: true, Keep: keep, HoldEvery: cmp.Or(w.every, 10*time.Millisecond),
		Kept: func(server string, k archive.Kept) {
			if server != servers[0].Name {
				return
			}
			select {
			case h.kept <- k:
			case <-ctx.Done():
			}
		}}
	done := make(chan error, 1)
	go func() { done <- archive.Run(ctx, o) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	return h
}

// until waits for a round whose result is as wanted.
func (h *holding) until(what string, is func(archive.Kept) bool) archive.Kept {
	h.t.Helper()
	for {
		select {
		case k := <-h.kept:
			if is(k) {
				return k
			}
		case <-h.t.Context().Done():
			h.t.Fatalf("never: %s", what)
		}
	}
}

// rounds lets it decide some times, from now on.
func (h *holding) rounds(n int) {
	for range n {
		<-h.kept
	}
}

// names are the server's files.
func (w *world) names() (list []string) {
	w.t.Helper()
	return slices.Sorted(func(yield func(string) bool) {
		for name := range w.files() {
			if !yield(name) {
				return
			}
		}
	})
}

// rotated begins n new files.
func (w *world) rotated(n int) {
	w.t.Helper()
	for range n {
		w.exec("INSERT INTO d.t (b) VALUES ('x')", "FLUSH BINARY LOGS")
	}
}

func (w *world) self() []archive.Server {
	return []archive.Server{{Name: "db1", DSN: w.i.DSN("")}}
}

// far is a repository that can be broken.
func far(t *testing.T) (archive.Place, *storetest.Server) {
	t.Helper()
	s := storetest.Fake(t)
	l := repository.Location{Name: "far", Options: s.Options(t)}
	if _, err := repository.Create(t.Context(), l, nil); err != nil {
		t.Fatal(err)
	}
	return archive.Place{Name: "far", Open: func(ctx context.Context) (*repository.Repository, error) { return repository.Open(ctx, l) }}, s
}

func refusePuts(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if storetest.IsPut(r) {
		storetest.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
		return
	}
	next.ServeHTTP(w, r)
}

func alone(k archive.Kept) bool { return k.Err == nil && k.Files == 0 }

// TestHold: nothing that is not whole in every repository goes, whatever of it
// fails; then all of it does, and the archive has what the server had.
func TestHold(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		place, s := far(t)
		w.rotated(3)
		had := w.files()
		s.Break(refusePuts)
		h := w.hold(0, w.self(), w.place("repository"), place)
		k := h.until("the near repository has it", func(archive.Kept) bool {
			logs, err := archive.Load(t.Context(), w.repo, "s")
			return err == nil && len(logs) == 1 && len(logs[0].Files) == 4 && logs[0].Files[2].Closed
		})
		h.rounds(5)
		if names := w.names(); len(names) != 4 {
			t.Errorf("the far repository has nothing, and the server has only %v", names)
		}
		t.Log(k.Why)
		s.Break(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			storetest.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
		})
		h.rounds(2)
		if names := w.names(); len(names) != 4 {
			t.Errorf("the far repository does not answer, and the server has only %v", names)
		}
		s.Break(nil)
		h.until("all but the last are gone", alone)
		for name, data := range had {
			i := slices.IndexFunc(w.log().Files, func(f archive.File) bool { return f.File == name })
			if f := w.log().Files[i]; f.End < int64(len(data)) {
				t.Errorf("%s: %d of %d bytes are archived", name, f.End, len(data))
			}
		}
	})
}

// TestHoldPlaceMissing: a repository that cannot even be opened holds all.
func TestHoldPlaceMissing(t *testing.T) {
	w := newWorld(t, servertest.All(t)[0])
	w.rotated(2)
	h := w.hold(0, w.self(), w.place("repository"), w.place("later"))
	h.until("it fails", func(k archive.Kept) bool { return k.Err != nil })
	w.await()
	h.rounds(3)
	if names := w.names(); len(names) != 3 {
		t.Errorf("the server has only %v", names)
	}
	l := w.location()
	l.URL = filepath.Join(w.dir, "later")
	if _, err := repository.Create(t.Context(), l, nil); err != nil {
		t.Fatal(err)
	}
	h.until("all but the last are gone", alone)
}

// TestHoldKeep: what is archived stays for its time.
func TestHoldKeep(t *testing.T) {
	w := newWorld(t, servertest.All(t)[0])
	h := w.hold(time.Hour, w.self(), w.place("repository"))
	w.rotated(2)
	k := h.until("it is archived", func(k archive.Kept) bool { return strings.Contains(k.Why, "stays until") })
	h.rounds(3)
	if k.Files != 2 || k.Bytes == 0 || len(w.names()) != 3 {
		t.Errorf("%+v, and the server has %v", k, w.names())
	}
}

// TestHoldOnce: what may go goes in one round, though we ourselves have just
// read from it.
func TestHoldOnce(t *testing.T) {
	vendors(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		w.every = time.Hour
		w.rotated(3)
		stop := w.follow(w.options())
		w.await()
		stop()
		if k := <-w.hold(0, w.self(), w.place("repository")).kept; k.Purged != 3 || k.Files != 0 || k.Err != nil {
			t.Errorf("%+v", k)
		}
	})
}

// TestHoldReset: files of the same names as archived ones, but others, stay.
func TestHoldReset(t *testing.T) {
	w := newWorld(t, servertest.Of(t, server.MariaDB))
	place, s := far(t)
	var err error
	if w.repo, err = place.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.rotated(4)
	stop := w.follow(w.options())
	w.await()
	stop()
	time.Sleep(time.Second) // files are told apart by the second in which they were begun
	w.exec("RESET MASTER")
	w.rotated(3)
	s.Break(refusePuts)
	h := w.hold(0, w.self(), place)
	h.rounds(5)
	if names := w.names(); len(names) != 4 {
		t.Errorf("nothing of the new log can be stored, and the server has only %v", names)
	}
	s.Break(nil)
	h.until("all but the last are gone", alone)
}

// TestHoldTwo: two that hold one server do each other no harm.
func TestHoldTwo(t *testing.T) {
	w := newWorld(t, servertest.Of(t, server.MySQL))
	one, two := w.hold(0, w.self(), w.place("repository")), w.hold(0, w.self(), w.place("repository"))
	for range 3 {
		w.rotated(3)
		one.until("all but the last are gone", alone)
		two.until("all but the last are gone", alone)
	}
	w.same()
}

// TestServerKeepsWhatIsRead: a server purges nothing that a connected replica
// has not read, so that nobody has to ask for those.
func TestServerKeepsWhatIsRead(t *testing.T) {
	vendors(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		for range 20 { // more than fits the connection
			w.exec("INSERT INTO d.t (b) VALUES (REPEAT('x', 1000000))")
		}
		w.rotated(2)
		before := w.names()
		s, err := stream.Open(t.Context(), stream.Options{DSN: w.i.DSN(""), From: binlog.Position{File: before[0], Offset: 4}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for !s.Described() {
			if _, err := s.Next(); err != nil {
				t.Fatal(err)
			}
		}
		w.exec("PURGE BINARY LOGS TO '" + before[len(before)-1] + "'")
		if after := w.names(); !slices.Equal(after, before) {
			t.Errorf("%s is being read, and the server has only %v", before[0], after)
		}
	})
}

// TestHoldReplica: what a replica that is not connected still needs stays, and
// while it does not answer all does.
func TestHoldReplica(t *testing.T) {
	vendors(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		replica := servertest.Start(t, d, replicaArgs(d)...)
		w.replicate(replica, d)
		db := servertest.Open(t, replica, "")
		w.exec("CREATE TABLE d.met (a INT PRIMARY KEY)")
		for len(servertest.Column(t, db, "SELECT table_name FROM information_schema.tables WHERE table_name = 'met'")) == 0 {
			time.Sleep(20 * time.Millisecond)
		}
		servertest.Exec(t, db, stopReplica(d))
		before := w.last()
		w.rotated(3)
		servers := append(w.self(), archive.Server{Name: "db2", DSN: replica.DSN("")})
		h := w.hold(0, servers, w.place("repository"))
		h.until("it is archived", func(k archive.Kept) bool { return strings.Contains(k.Why, "a replica needs it") })
		h.rounds(5)
		if names := w.names(); names[0] != before || len(names) != 4 {
			t.Errorf("the replica needs %s, and the server has only %v", before, names)
		}
		if err := replica.Kill(); err != nil {
			t.Fatal(err)
		}
		h.until("it fails", func(k archive.Kept) bool { return k.Err != nil && strings.Contains(k.Err.Error(), "db2") })
		if err := replica.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		servertest.Exec(t, servertest.Open(t, replica, ""), strings.Replace(stopReplica(d), "STOP", "START", 1))
		h.until("the replica has all, and all but the last are gone", alone)
	})
}

func replicaArgs(d server.Distribution) []string {
	args := []string{"--log-bin=bin", "--server-id=8", "--skip-" + strings.ToLower(startWord(d)) + "-start"}
	if d.Flavor == server.MySQL {
		return append(args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
	}
	return append(args, "--log-slave-updates=1")
}

func startWord(d server.Distribution) string {
	if d.Flavor == server.MySQL {
		return "REPLICA"
	}
	return "SLAVE"
}

func stopReplica(d server.Distribution) string { return "STOP " + startWord(d) }

// replicate makes a server replicate from the world's own.
func (w *world) replicate(replica *server.Instance, d server.Distribution) {
	w.t.Helper()
	w.exec("CREATE USER replica@'%' IDENTIFIED BY 'x'", "GRANT REPLICATION SLAVE ON *.* TO replica@'%'")
	change := "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='replica', MASTER_PASSWORD='x', MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos"
	if d.Flavor == server.MySQL {
		change = "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER='replica', SOURCE_PASSWORD='x', SOURCE_CONNECT_RETRY=1, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1"
	}
	servertest.Exec(w.t, servertest.Open(w.t, replica, ""), fmt.Sprintf(change, w.i.Port()), "START "+startWord(d))
}
