package datadir_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/guard/datadir"
	"github.com/lifeboat-db/lifeboat/internal/guard/mysqld"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/topology"
)

func ask(t *testing.T, n *topology.Node) mysqld.State {
	t.Helper()
	s, err := mysqld.Ask(t.Context(), mysqld.Target{Socket: n.Socket(), User: "root"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stop(t *testing.T, n *topology.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := errors.Join(n.DB.Close(), n.Shutdown(ctx)); err != nil {
		t.Fatal(err)
	}
}

func unknown(t *testing.T, what string, s datadir.Source) {
	t.Helper()
	if c, err := datadir.Executed(t.Context(), s); !errors.Is(err, datadir.ErrUnknown) {
		t.Errorf("%s: %v %v", what, c, err)
	}
}

// TestStopped: on a clean stop the set is what the server said; change any one
// thing and it is unknown.
func TestStopped(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		source, replica := topology.Pair(t, d)
		early := ask(t, replica)
		source.Exec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)", "FLUSH BINARY LOGS", "INSERT INTO d.t VALUES (2)")
		replica.Await(t, source)
		for _, n := range []*topology.Node{replica, source} {
			last := ask(t, n)
			stop(t, n)
			for _, known := range []mysqld.State{last, early} {
				if n == source && known.ServerID != 1 {
					continue
				}
				c, err := datadir.Executed(t.Context(), datadir.Source{Dir: n.DataDir(), Last: known})
				if err != nil || !c.Executed.Equal(last.Executed) || c.Executed.IsEmpty() {
					t.Errorf("server %d: %s %v, it said %s", n.ID, c.Executed, err, last.Executed)
				}
				if got, want := ordered(c.BinlogState), ordered(last.BinlogState); !slices.Equal(got, want) || n.MariaDB() && len(got) == 0 {
					t.Errorf("server %d: streams %v, it said %v", n.ID, got, want)
				}
			}
			refusals(t, n, last)
		}
	})
}

// ordered are the texts of ids.
func ordered(ids []gtid.ID) (list []string) {
	for _, id := range ids {
		list = append(list, id.String())
	}
	slices.Sort(list)
	return list
}

func refusals(t *testing.T, n *topology.Node, last mysqld.State) {
	s := datadir.Source{Dir: n.DataDir(), Last: last}
	for name, change := range map[string]func(*datadir.Source){
		"nothing recorded": func(s *datadir.Source) { s.Last.Flavor = 0 },
		"no log":           func(s *datadir.Source) { s.Last.LogBin = false },
		"no log_updates":   func(s *datadir.Source) { s.Last.LogUpdates = false },
		"no GTIDs":         func(s *datadir.Source) { s.Last.Untracked = "x" },
		"another id":       func(s *datadir.Source) { s.Last.ServerID++ },
		"another vendor":   func(s *datadir.Source) { s.Last.Flavor = 3 - s.Last.Flavor },
		"another index":    func(s *datadir.Source) { s.Index = "/nowhere" },
		"another dir":      func(s *datadir.Source) { s.Dir = t.TempDir() },
	} {
		changed := s
		change(&changed)
		unknown(t, name, changed)
	}
	if !n.MariaDB() {
		changed := s
		changed.Last.ServerUUID = "x"
		unknown(t, "another uuid", changed)
		nameless(t, s)
	}
	damage(t, n, s)
}

// nameless: that neither the state nor the files name a server is no agreement.
func nameless(t *testing.T, s datadir.Source) {
	t.Helper()
	path := filepath.Join(s.Dir, "auto.cnf")
	before, err := os.ReadFile(path)
	if err := errors.Join(err, os.WriteFile(path, []byte("[auto]\nserver-uuid=\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s.Last.ServerUUID = ""
	unknown(t, "no uuid", s)
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
}

func damage(t *testing.T, n *topology.Node, s datadir.Source) {
	logs, err := filepath.Glob(filepath.Join(s.Dir, "bin.00000[0-9]"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	log := logs[len(logs)-1]
	whole, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(what, path string, data []byte) {
		t.Helper()
		before, err := os.ReadFile(path)
		if err := errors.Join(err, os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
		unknown(t, what, s)
		if err := os.WriteFile(path, before, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit("torn tail", log, whole[:len(whole)-5])
	edit("no STOP_EVENT", log, whole[:len(whole)-23])
	edit("in use", log, flip(whole, 4+17, 1))
	edit("a damaged byte", log, flip(whole, len(whole)-40, 1))
	edit("encrypted", log, flip(whole, 0, 3))
	edit("no head", log, whole[:slices.Index(whole[4:], 0)+4])
	if n.MariaDB() {
		edit("another state", filepath.Join(s.Dir, "bin.state"), []byte("0-1-1\n"))
		edit("more state", filepath.Join(s.Dir, "bin.state"), append([]byte("9-9-9\n"), readFile(t, filepath.Join(s.Dir, "bin.state"))...))
	}
	data := filepath.Join(s.Dir, "ibdata1")
	if err := os.Rename(data, data+"x"); err != nil {
		t.Fatal(err)
	}
	unknown(t, "no ibdata1", s)
	if err := os.Rename(data+"x", data); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(datadir.Slack + time.Minute)
	if err := os.Chtimes(data, later, later); err != nil {
		t.Fatal(err)
	}
	unknown(t, "data written later", s)
	if err := os.Chtimes(data, time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	stray := strings.TrimSuffix(log, filepath.Ext(log)) + ".000099"
	if err := os.WriteFile(stray, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	unknown(t, "a log that is not in the index", s)
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(s.Dir, "other.index")
	if err := os.WriteFile(second, []byte(log+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unknown(t, "two indexes", s)
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	if _, err := datadir.Executed(t.Context(), s); err != nil {
		t.Errorf("all is as before: %v", err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func flip(data []byte, at int, bits byte) []byte {
	data = slices.Clone(data)
	data[at] ^= bits
	return data
}

func TestKilled(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		n := topology.Start(t, d, 1)
		n.Exec(t, "CREATE DATABASE d")
		last := ask(t, n)
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
		unknown(t, "killed", datadir.Source{Dir: n.DataDir(), Last: last})
	})
}

// TestWithoutUpdates: a replica that does not log what it replicates says so,
// and its log has less than it has executed.
func TestWithoutUpdates(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		option := "--log-replica-updates=OFF"
		if d.Flavor == server.MariaDB {
			option = "--log-slave-updates=OFF"
		}
		source, replica := topology.Pair(t, d, option)
		source.Exec(t, "CREATE DATABASE d")
		replica.Await(t, source)
		last := ask(t, replica)
		if of := ask(t, source); !last.Executed.Equal(of.Executed) {
			t.Errorf("replica said %s, source %s", last.Executed, of.Executed)
		}
		stop(t, replica)
		unknown(t, "without updates", datadir.Source{Dir: replica.DataDir(), Last: last})
	})
}

// TestPurged: transactions that are in no log, as on a restored replica.
func TestPurged(t *testing.T) {
	n := topology.Start(t, servertest.Of(t, server.MySQL), 1)
	n.Exec(t, "CREATE DATABASE d", "SET GLOBAL gtid_purged='+3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9'", "CREATE DATABASE e")
	last := ask(t, n)
	stop(t, n)
	c, err := datadir.Executed(t.Context(), datadir.Source{Dir: n.DataDir(), Last: last})
	if err != nil || !c.Executed.Equal(last.Executed) {
		t.Errorf("%s %v, it said %s", c.Executed, err, last.Executed)
	}
	if id, _ := gtid.ParseID(gtid.MySQL, "3e11fa47-71ca-11e1-9e33-c80aa9429562:9"); !c.Executed.Contains(id) {
		t.Error(c.Executed)
	}
}
