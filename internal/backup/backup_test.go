package backup_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestFullAndIncrements: backups under traffic, each of which, unpacked, has
// exactly what the source had at the recorded position.
func TestFullAndIncrements(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		if d.Flavor != server.MariaDB {
			return
		}
		kinds(t, d, func(t *testing.T, r *repository.Repository) {
			source := start(t, d, false)
			w := write(t, source, false)
			o := options(t, source, "", r)
			o.Incremental = true
			if _, err := backup.Take(t.Context(), o); !errors.Is(err, backup.ErrNoParent) {
				t.Errorf("an increment without a full one: %v", err)
			}
			o.Incremental = false
			taken := []backup.Manifest{take(t, o)}
			o.Incremental = true
			for range 2 {
				w.wait(50)
				taken = append(taken, take(t, o))
			}
			w.end()
			checkChain(t, r, taken)
			for _, m := range taken {
				target := restore(t, d, r, m.ID)
				replay(t, source, target, m)
				same(t, source, target)
			}
		})
	})
}

// checkChain compares what Take has said with what is listed.
func checkChain(t *testing.T, r *repository.Repository, taken []backup.Manifest) {
	t.Helper()
	all := list(t, r)
	if len(all) != len(taken) {
		t.Fatalf("%d backups are listed, want %d", len(all), len(taken))
	}
	for i, m := range taken {
		equal(t, all[i], m)
		if m.GTIDs == "" || m.File == "" || m.Driver != backup.MariaDBBackup || m.Server != "mariadb-7" || m.DataBytes == 0 || m.Tool == "" {
			t.Errorf("%+v", m)
		}
		if i > 0 && (m.Parent != taken[i-1].ID || m.FromLSN != taken[i-1].ToLSN || m.PlainBytes >= taken[0].PlainBytes) {
			t.Errorf("%+v does not go on from %+v", m, taken[i-1])
		}
	}
}

// TestFilesElsewhere: a table whose file is outside the data directory is
// unpacked into it, also from an increment, and a server on the same host takes
// that file and leaves the source's alone.
func TestFilesElsewhere(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		if d.Flavor != server.MariaDB {
			return
		}
		source, far := start(t, d, true), t.TempDir()
		db := servertest.Open(t, source, "shop")
		servertest.Exec(t, db, "CREATE TABLE far (a INT PRIMARY KEY) DATA DIRECTORY='"+far+"'", "INSERT INTO far VALUES (1)")
		r := newRepository(t, t.TempDir())
		o := options(t, source, "", r)
		take(t, o)
		servertest.Exec(t, db, "INSERT INTO far VALUES (2)", "CREATE TABLE far2 (a INT PRIMARY KEY) DATA DIRECTORY='"+far+"'", "INSERT INTO far2 VALUES (3)")
		o.Incremental = true
		m := take(t, o)
		if err := source.Shutdown(t.Context()); err != nil { // its files are whole then
			t.Fatal(err)
		}
		target := restore(t, d, r, m.ID)
		const query = "SELECT a FROM far UNION ALL SELECT a FROM far2 ORDER BY a"
		db = servertest.Open(t, target, "shop")
		if got := servertest.Column(t, db, query); !slices.Equal(got, []string{"1", "2", "3"}) {
			t.Errorf("%q", got)
		}
		servertest.Exec(t, db, "DELETE FROM far", "DELETE FROM far2")
		if err := errors.Join(target.Shutdown(t.Context()), source.Restart(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := servertest.Column(t, servertest.Open(t, source, "shop"), query); len(got) != 3 {
			t.Errorf("the source's rows are %q", got)
		}
		for _, name := range []string{"far", "far2"} {
			if _, err := os.Stat(filepath.Join(target.DataDir(), "shop", name+".ibd")); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestRestoredServer: an increment is refused if the server is not at or beyond
// the state of the parent any more; another server of the set has no parent.
func TestRestoredServer(t *testing.T) {
	d := servertest.Of(t, server.MariaDB)
	source := start(t, d, true)
	r := newRepository(t, t.TempDir())
	o := options(t, source, "", r)
	o.Source.Threads = 3
	old := take(t, o)
	write(t, source, true).end()
	take(t, o)

	chain, err := backup.Chain(list(t, r), old.ID)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := backup.Unpack(t.Context(), r, chain, dir, backup.UnpackOptions{Tools: o.Source.Tools, Threads: 3}); err != nil {
		t.Fatal(err)
	}
	restored := servertest.StartWith(t, d, server.Options{DataDir: dir, Args: []string{"--log-bin=bin", "--server-id=7"}})
	o = options(t, restored, "", r)
	o.Incremental = true
	_, err = backup.Take(t.Context(), o)
	wantClass(t, err, fault.Failed, "not what it was", "take a full one")
	if !errors.Is(err, backup.ErrNoParent) {
		t.Errorf("%v", err)
	}
	o.Parent = "20200101T000000Z-000000"
	_, err = backup.Take(t.Context(), o)
	wantClass(t, err, fault.Failed, o.Parent, "no backup to go on from")
	o.Parent = ""
	servertest.Exec(t, servertest.Open(t, restored, ""), "SET GLOBAL server_id = 8")
	_, err = backup.Take(t.Context(), o)
	wantClass(t, err, fault.Failed, "mariadb-8", "it is of server mariadb-7")
}
