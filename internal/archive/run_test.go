package archive_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// place is a repository in a directory, by name.
func (w *world) place(name string) archive.Place {
	return archive.Place{Name: name, Open: func(ctx context.Context) (*repository.Repository, error) {
		return repository.Open(ctx, repository.Location{Name: name, Options: store.Options{URL: filepath.Join(w.dir, name)}})
	}}
}

// heard keeps what listeners hear.
type heard struct {
	mu    sync.Mutex
	lines map[string]int
}

func (h *heard) listen(server, place string) archive.Listener {
	note := func(what string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.lines == nil {
			h.lines = map[string]int{}
		}
		h.lines[server+" "+place+" "+what]++
	}
	return archive.Listener{
		Connected: func(string, binlog.Position) { note("connected") },
		Stored:    func(archive.Summary, int64) { note("stored") },
		Waiting:   func(error, time.Duration) { note("waiting") },
		ServerAt:  func(binlog.Position) { note("server") },
	}
}

func (h *heard) await(t *testing.T, line string) {
	t.Helper()
	for {
		h.mu.Lock()
		n := h.lines[line]
		h.mu.Unlock()
		if n > 0 {
			return
		}
		if t.Context().Err() != nil {
			t.Fatalf("never: %s; there was %v", line, h.lines)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestRunPairs: every server goes into every repository by itself. One server
// is down, one refuses, one repository comes later; the others do not wait.
func TestRunPairs(t *testing.T) {
	w := newWorld(t, servertest.All(t)[0])
	h := &heard{}
	o := archive.RunOptions{Set: "s", Flush: 20 * time.Millisecond, MaxWait: 100 * time.Millisecond, Listen: h.listen, Watch: 50 * time.Millisecond,
		Servers: []archive.Server{
			{Name: "up", DSN: w.i.DSN("")},
			{Name: "down", DSN: "root@unix(" + filepath.Join(w.dir, "no.sock") + ")/"},
			{Name: "closed", DSN: fmt.Sprintf("none:x@unix(%s)/", w.i.Socket())},
		},
		Places: []archive.Place{w.place("repository"), w.place("later")},
	}
	left := w.leave("repository/.tmp-left")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- archive.Run(ctx, o) }()
	for _, line := range []string{"up repository stored", "up repository server", "up later waiting", "down repository waiting", "closed repository waiting"} {
		h.await(t, line)
	}
	if _, err := repository.Create(t.Context(), repository.Location{Options: store.Options{URL: filepath.Join(w.dir, "later")}}, nil); err != nil {
		t.Fatal(err)
	}
	h.await(t, "up later stored")
	w.same()
	for _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist); _, err = os.Stat(left) { // it is swept away
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRunReturns: a server that comes back is archived at once, however long the
// back-off would still have waited.
func TestRunReturns(t *testing.T) {
	vendors(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		h := &heard{}
		o := archive.RunOptions{Set: "s", Flush: 20 * time.Millisecond, MaxWait: 64 * time.Hour, Listen: h.listen, Watch: 50 * time.Millisecond,
			Servers: []archive.Server{{Name: "up", DSN: w.i.DSN("")}}, Places: []archive.Place{w.place("repository")}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- archive.Run(ctx, o) }()
		h.await(t, "up repository stored")
		if err := w.i.Kill(); err != nil {
			t.Fatal(err)
		}
		h.await(t, "up repository waiting")
		time.Sleep(6 * time.Second)
		if err := w.i.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.exec("INSERT INTO d.t (b) VALUES ('again')")
		w.same()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// leave makes a file such as a writer leaves that has died long ago.
func (w *world) leave(name string) string {
	w.t.Helper()
	path, then := filepath.Join(w.dir, name), time.Now().Add(-13*time.Hour)
	if err := errors.Join(os.WriteFile(path, nil, 0o400), os.Chtimes(path, then, then)); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// TestRunThatCannot: what can never work is an error, and not tried for ever.
func TestRunThatCannot(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		closed := archive.Server{Name: "closed", DSN: fmt.Sprintf("none:x@unix(%s)/", w.i.Socket())}
		w.exec("CREATE USER blind@localhost")
		blind := archive.Server{Name: "blind", DSN: fmt.Sprintf("blind@unix(%s)/", w.i.Socket())}
		for name, c := range map[string]struct {
			servers []archive.Server
			places  []archive.Place
			class   fault.Class
			says    string
		}{
			"no password":   {[]archive.Server{closed}, []archive.Place{w.place("repository")}, fault.Storage, "server closed"},
			"no privileges": {[]archive.Server{blind, closed}, []archive.Place{w.place("repository")}, fault.Storage, "server blind"},
			"no repository": {[]archive.Server{{Name: "up", DSN: w.i.DSN("")}}, []archive.Place{w.place("a"), w.place("b")}, fault.Storage, "repository b"},
			"no servers":    {nil, []archive.Place{w.place("repository")}, fault.Usage, "0 servers"},
			"no places":     {[]archive.Server{closed}, nil, fault.Usage, "0 repositories"},
		} {
			err := archive.Run(t.Context(), archive.RunOptions{Set: "s", Servers: c.servers, Places: c.places, MaxWait: 100 * time.Millisecond})
			if fault.ClassOf(err) != c.class || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("%s: class %d, %v", name, fault.ClassOf(err), err)
			}
		}
	})
}

// TestLagOfServers: once all is archived, that is noticed, on every server.
func TestLagOfServers(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		var mu sync.Mutex
		lag := archive.NewLag(time.Now())
		asked := make(chan struct{}, 1000)
		locked := func(do func()) {
			mu.Lock()
			defer mu.Unlock()
			do()
		}
		o := archive.RunOptions{Set: "s", Flush: 20 * time.Millisecond, Watch: 20 * time.Millisecond, MaxWait: 100 * time.Millisecond,
			Servers: []archive.Server{{Name: "up", DSN: w.i.DSN("")}}, Places: []archive.Place{w.place("repository")},
			Listen: func(string, string) archive.Listener {
				return archive.Listener{
					Connected: func(_ string, at binlog.Position) { locked(func() { lag.Archived(at) }) },
					Stored: func(s archive.Summary, _ int64) {
						locked(func() { lag.Archived(binlog.Position{File: s.File, Offset: s.End}) })
					},
					ServerAt: func(at binlog.Position) {
						locked(func() { lag.Server(at, time.Now()) })
						asked <- struct{}{}
					},
				}
			}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- archive.Run(ctx, o) }()
		w.traffic(20, seeded(t))
		w.await()
		now := time.Now()
		for caught := false; !caught; <-asked {
			locked(func() { caught = lag.At(now) == 0 })
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
