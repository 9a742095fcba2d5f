package archive_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// stranger starts a server that has nothing to do with the world's, but on
// MariaDB its number.
func (w *world) stranger(d server.Distribution, args ...string) *world {
	w.t.Helper()
	time.Sleep(time.Second) // of one second they would be twins
	other := newWorld(w.t, d, args...)
	other.repo = w.repo
	return other
}

// vendors runs a subtest on one server of each vendor, or, in the long tests, on
// each server.
func vendors(t *testing.T, test func(t *testing.T, d server.Distribution)) {
	t.Helper()
	if long {
		servertest.Each(t, test)
		return
	}
	for _, f := range []server.Flavor{server.MySQL, server.MariaDB} {
		d := servertest.Of(t, f)
		t.Run(d.Name, func(t *testing.T) { test(t, d) })
	}
}

func (w *world) admission() archive.Admission {
	return archive.Admission{Repository: w.repo, Set: "s", DSN: w.i.DSN("")}
}

// refused checks that a server is not let in, and that it is told what to do.
func refused(t *testing.T, err error) {
	t.Helper()
	if fault.ClassOf(err) != fault.Refused || !strings.Contains(fmt.Sprint(err), "--admit") {
		t.Errorf("it is let in, or not told what to do: class %d, %v", fault.ClassOf(err), err)
	}
}

// admitted are names of the objects that tell of members.
func (w *world) admitted() (names []string) {
	w.t.Helper()
	for e, err := range w.repo.List(w.t.Context(), "s/members/") {
		if err != nil {
			w.t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	return names
}

// archived archives everything that the server has.
func (w *world) archived() {
	w.t.Helper()
	stop := w.follow(w.options())
	w.await()
	stop()
}

// TestStranger: nothing of another database's server is stored in a set, while
// the set's own goes on, unless somebody says so.
func TestStranger(t *testing.T) {
	vendors(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		other := w.stranger(d)
		other.traffic(5, seeded(t))
		w.archived()
		before := w.log()
		refusals := make(chan error, 100)
		o := other.options()
		o.Listener.Waiting = func(err error, _ time.Duration) {
			select {
			case refusals <- err:
			default:
			}
		}
		stop := other.follow(o)
		for range 2 {
			select {
			case err := <-refusals:
				refused(t, err)
			case <-time.After(time.Minute):
				t.Fatal("it is not refused")
			}
		}
		stop()
		w.traffic(5, seeded(t))
		w.archived()
		w.same()
		if log := w.log(); log.Server != before.Server || len(w.alarms)+len(other.alarms) > 0 {
			t.Errorf("the log of %s was %s's; alarms %v %v", log.Server, before.Server, w.alarms, other.alarms)
		}
		if d.Flavor == server.MariaDB {
			return // it has the other's number: who lets it in mixes them
		}
		in := make(chan struct{}, 1)
		o.Admit, o.Listener = true, archive.Listener{Connected: func(string, binlog.Position) { in <- struct{}{} }}
		stop = other.follow(o)
		<-in
		stop()
		if err := archive.Admit(t.Context(), other.admission()); err != nil {
			t.Errorf("it was let in, and is not known: %v", err)
		}
	})
}

// TestHoldStranger: nothing goes from a server that is no member.
func TestHoldStranger(t *testing.T) {
	d := servertest.Of(t, server.MariaDB)
	w := newWorld(t, d)
	w.archived()
	other := w.stranger(d)
	other.rotated(2)
	h := other.hold(0, other.self(), archive.Place{Name: "one", Open: func(context.Context) (*repository.Repository, error) { return w.repo, nil }})
	refused(t, (<-h.kept).Err)
	h.rounds(3)
	if names := other.names(); len(names) != 3 {
		t.Errorf("the server has only %v", names)
	}
}

// TestReplicaIsMember: a replica of a member is let in, also when its source is
// not there any more.
func TestReplicaIsMember(t *testing.T) {
	vendors(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		replica := &world{t: t, i: servertest.Start(t, d, replicaArgs(d)...), dir: w.dir, repo: w.repo}
		w.archived()
		refused(t, archive.Admit(t.Context(), replica.admission()))
		w.replicate(replica.i, d)
		w.exec("CREATE TABLE d.met (a INT PRIMARY KEY)")
		for len(servertest.Column(t, servertest.Open(t, replica.i, ""), "SELECT table_name FROM information_schema.tables WHERE table_name = 'met'")) == 0 {
			time.Sleep(20 * time.Millisecond)
		}
		w.archived()
		if err := w.i.Kill(); err != nil {
			t.Fatal(err)
		}
		reset := "STOP REPLICA; RESET REPLICA ALL"
		servertest.Exec(t, servertest.Open(t, replica.i, ""), strings.Split(strings.ReplaceAll(reset, "REPLICA", startWord(d)), "; ")...)
		if err := archive.Admit(t.Context(), replica.admission()); err != nil {
			t.Error(err)
		}
		if err := w.i.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSourceOfMember: a source is let in where its replica came first.
func TestSourceOfMember(t *testing.T) {
	vendors(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		replica := &world{t: t, i: servertest.Start(t, d, replicaArgs(d)...), dir: w.dir, repo: w.repo}
		w.replicate(replica.i, d)
		w.exec("CREATE TABLE d.met (a INT PRIMARY KEY)")
		for len(servertest.Column(t, servertest.Open(t, replica.i, ""), "SELECT table_name FROM information_schema.tables WHERE table_name = 'met'")) == 0 {
			time.Sleep(20 * time.Millisecond)
		}
		replica.archived()
		if err := archive.Admit(t.Context(), w.admission()); err != nil {
			t.Error(err)
		}
	})
}

// TestMovedServer: a server of MariaDB, which has only a number, is known at
// another place by its log, and by nothing if that is gone.
func TestMovedServer(t *testing.T) {
	d := servertest.Of(t, server.MariaDB)
	w := newWorld(t, d)
	w.rotated(2)
	w.archived()
	if err := w.i.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := server.Copy(t.Context(), w.i.DataDir(), dir); err != nil {
		t.Fatal(err)
	}
	moved := &world{t: t, i: servertest.StartWith(t, d, server.Options{DataDir: dir, Args: []string{"--log-bin=bin", "--server-id=7"}}), dir: w.dir, repo: w.repo}
	members := len(w.admitted())
	for range 2 {
		if err := archive.Admit(t.Context(), moved.admission()); err != nil {
			t.Error(err)
		}
	}
	if n := len(w.admitted()); n != members+1 {
		t.Errorf("its new place is written down %d times", n-members)
	}
	moved.exec("RESET MASTER")
	if err := archive.Admit(t.Context(), moved.admission()); err != nil {
		t.Errorf("it was known there, and its log was reset: %v", err)
	}
	again := filepath.Join(t.TempDir(), "data")
	if err := moved.i.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Copy(t.Context(), dir, again); err != nil {
		t.Fatal(err)
	}
	third := &world{t: t, i: servertest.StartWith(t, d, server.Options{DataDir: again, Args: []string{"--log-bin=bin", "--server-id=7"}}), dir: w.dir, repo: w.repo}
	refused(t, archive.Admit(t.Context(), third.admission()))
	a := third.admission()
	a.Asked = true
	if err := archive.Admit(t.Context(), a); err != nil {
		t.Error(err)
	}
	if err := archive.Admit(t.Context(), third.admission()); err != nil {
		t.Errorf("it was let in, and is not known: %v", err)
	}
}

// TestSetOfBefore: a set from before members were written down goes on with the
// servers that it has, and with no others.
func TestSetOfBefore(t *testing.T) {
	vendors(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		other := w.stranger(d)
		w.archived()
		name := w.log().Server
		for _, object := range w.admitted() {
			if err := w.repo.Delete(t.Context(), object); err != nil {
				t.Fatal(err)
			}
		}
		look := other.admission()
		look.LookOnly = true
		refused(t, archive.Admit(t.Context(), look))
		if objects := w.admitted(); len(objects) > 0 {
			t.Errorf("who only looks writes %v", objects)
		}
		refused(t, archive.Admit(t.Context(), other.admission()))
		if err := archive.Admit(t.Context(), w.admission()); err != nil {
			t.Error(err)
		}
		w.archived()
		w.same()
		members, err := archive.LoadMembers(t.Context(), w.repo, "s")
		if err != nil || !members.Known() || !members.Has(name) {
			t.Errorf("%s is no member: %+v, %v", name, members, err)
		}
	})
}

// TestBackupsOfBefore: so does one that has only backups.
func TestBackupsOfBefore(t *testing.T) {
	vendors(t, func(t *testing.T, d server.Distribution) {
		w := newWorld(t, d)
		name := "mariadb-7"
		if d.Flavor == server.MySQL {
			name = servertest.Column(t, servertest.Open(t, w.i, ""), "SELECT @@server_uuid")[0]
		}
		if _, _, err := w.repo.Put(t.Context(), "s/backups/20261125T221500Z-0a1b2c/manifest", "backup-manifest", map[string]string{"server": name}, nil); err != nil {
			t.Fatal(err)
		}
		if err := archive.Admit(t.Context(), w.admission()); err != nil {
			t.Error(err)
		}
		if d.Flavor == server.MySQL {
			refused(t, archive.Admit(t.Context(), w.stranger(d).admission()))
		}
	})
}

// TestTwoClaims: of two databases that find a set empty at the same time one has
// it, and the other is refused from then on.
func TestTwoClaims(t *testing.T) {
	d := servertest.Of(t, server.MySQL)
	w := newWorld(t, d)
	other := w.stranger(d)
	for n := range 10 {
		set := fmt.Sprintf("s%d", n)
		var both sync.WaitGroup
		for _, one := range []*world{w, other} {
			both.Go(func() {
				a := one.admission()
				a.Set = set
				_ = archive.Admit(t.Context(), a)
			})
		}
		both.Wait()
		var in int
		for _, one := range []*world{w, other} {
			a := one.admission()
			a.Set = set
			if archive.Admit(t.Context(), a) == nil {
				in++
			}
		}
		if in != 1 {
			t.Errorf("%d databases are in set %s", in, set)
		}
	}
}

// TestMembersOfTwoPlaces: each repository knows its own.
func TestMembersOfTwoPlaces(t *testing.T) {
	d := servertest.Of(t, server.MySQL)
	w := newWorld(t, d)
	other := newWorld(t, d)
	w.archived()
	other.archived()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	seen := map[string]string{} // by server and repository
	note := func(key, what string) {
		mu.Lock()
		defer mu.Unlock()
		seen[key] = what
		if len(seen) == 4 {
			cancel()
		}
	}
	place := func(name string, r *repository.Repository) archive.Place {
		return archive.Place{Name: name, Open: func(context.Context) (*repository.Repository, error) { return r, nil }}
	}
	err := archive.Run(ctx, archive.RunOptions{Set: "s", MaxWait: 50 * time.Millisecond,
		Servers: []archive.Server{{Name: "db1", DSN: w.i.DSN("")}, {Name: "db2", DSN: other.i.DSN("")}},
		Places:  []archive.Place{place("one", w.repo), place("two", other.repo)},
		Listen: func(server, repository string) archive.Listener {
			key := server + " " + repository
			return archive.Listener{Connected: func(string, binlog.Position) { note(key, "in") }, Waiting: func(err error, _ time.Duration) {
				if fault.ClassOf(err) == fault.Refused {
					note(key, "refused")
				}
			}}
		}})
	if err != nil {
		t.Error(err)
	}
	var got []string
	for key, what := range seen {
		got = append(got, key+" "+what)
	}
	slices.Sort(got)
	if want := "[db1 one in db1 two refused db2 one refused db2 two in]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestDamagedMember: a record that is damaged holds up neither who it is of nor
// what is read; one that may tell of anybody lets everything be read.
func TestDamagedMember(t *testing.T) {
	w := newWorld(t, servertest.Of(t, server.MariaDB))
	w.archived()
	damage := func(name string) {
		t.Helper()
		path := filepath.Join(w.dir, "repository", name)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	damage(w.admitted()[0])
	members, err := archive.LoadMembers(t.Context(), w.repo, "s")
	if err != nil || !members.Has("mariadb-7") || members.Has("mariadb-8") {
		t.Errorf("members: %+v, %v", members, err)
	}
	if err := archive.Admit(t.Context(), w.admission()); err != nil {
		t.Error(err)
	}
	name, _, err := w.repo.Put(t.Context(), "s/members/before", "set-member", map[string]any{"servers": []string{"mariadb-8"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	damage(name)
	members, err = archive.LoadMembers(t.Context(), w.repo, "s")
	if err != nil || !members.Has("mariadb-8") {
		t.Errorf("members: %+v, %v", members, err)
	}
}
