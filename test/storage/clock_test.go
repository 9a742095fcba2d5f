package storage_test

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/test/compare"
)

// TestClocks: the archiving host's clock goes back and forth by an hour, and
// sessions of the server give their transactions, and the files that they
// begin, times of two hours before and after. The log is in the server's order
// all the same, its gaps are those that there are, and nothing is archived or
// an alarm twice. (The clock is the archive's own; a machine's cannot be set
// for a test. Times are UTC everywhere: a change to summer time is none.)
func TestClocks(t *testing.T) {
	random(t)
	one(t, 7, func(t *testing.T, d server.Distribution) {
		s := start(t, d)
		repo := create(t, store.Options{URL: t.TempDir()})
		a := s.archiver(repo)
		hours := []time.Duration{0, -1, 1, -1, 0, -1}
		for i, off := range hours {
			a.Now = func() time.Time { return time.Now().Add(off * time.Hour) }
			stop := a.run(t)
			s.strange()
			s.arrives(repo)
			stop()
			if i+1 < len(hours) {
				s.loses()
			}
		}
		log := load(t, repo)
		stop := a.run(t)
		s.lags(repo, stop)
		for i, f := range load(t, repo).Files[:len(log.Files)-1] {
			if f.Stored != log.Files[i].Stored {
				t.Errorf("%s was archived again", f.File)
			}
		}
		if !slices.IsSortedFunc(log.Files, func(x, y archive.File) int { return cmp.Compare(binlog.Number(x.File), binlog.Number(y.File)) }) {
			t.Errorf("the files are in another order than the server's")
		}
		if gaps := log.Gaps(); len(gaps) != len(hours)-1 || len(a.alarms) != len(hours)-1 {
			t.Errorf("%d files were lost; gaps: %v, alarms: %v", len(hours)-1, gaps, a.alarms)
		}
	})
}

// strange commits transactions with other times than that of the clock.
func (s *source) strange() {
	s.t.Helper()
	for _, h := range []int{-2, 2, -1} {
		s.exec(fmt.Sprintf("SET timestamp = %d", time.Now().Add(time.Duration(h)*time.Hour).Unix()),
			"INSERT INTO d.t (b) VALUES (NOW())", "FLUSH BINARY LOGS", "INSERT INTO d.t (b) VALUES (NOW())")
	}
	s.exec("INSERT INTO d.t (b) VALUES (NOW())")
}

// loses writes files that are purged before anybody has archived them.
func (s *source) loses() {
	s.t.Helper()
	s.exec("FLUSH BINARY LOGS", "INSERT INTO d.t (b) VALUES ('lost')", "FLUSH BINARY LOGS", "INSERT INTO d.t (b) VALUES ('kept')")
	for logs := s.logs(); len(logs) > 1; logs = s.logs() {
		s.exec("PURGE BINARY LOGS TO '" + filepath.Base(logs[len(logs)-1]) + "'")
		time.Sleep(20 * time.Millisecond) // MariaDB keeps what it would need after a crash
	}
}

// lags waits until the status says that nothing is behind. Once the archive has
// been stopped, and something is, it does not say so.
func (s *source) lags(repo *repository.Repository, stop func()) {
	s.t.Helper()
	look := func() archive.LogStatus {
		st := archive.Look(s.t.Context(), "s", []archive.Server{{Name: "db1", DSN: s.i.DSN("")}},
			[]archive.Place{{Name: "r", Open: func(context.Context) (*repository.Repository, error) { return repo, nil }}}, false, nil)
		return st.Repositories[0].Logs[0]
	}
	for st := look(); *st.BehindBytes != 0 || st.LagSeconds == nil || *st.LagSeconds != 0; st = look() {
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	s.exec("INSERT INTO d.t (b) VALUES ('x')")
	if st := look(); *st.BehindBytes == 0 || st.LagSeconds != nil && *st.LagSeconds == 0 {
		s.t.Errorf("something is behind: %+v", st)
	}
}

// TestStrangeTimes: a backup of a server whose log has such times, and whose
// last file was begun at one, is restored to the end.
func TestStrangeTimes(t *testing.T) {
	random(t)
	one(t, 3, func(t *testing.T, d server.Distribution) {
		s := start(t, d)
		repo := create(t, store.Options{URL: t.TempDir()})
		stop := s.archiver(repo).run(t)
		s.strange()
		s.exec(fmt.Sprintf("SET timestamp = %d", time.Now().Add(2*time.Hour).Unix()), "FLUSH BINARY LOGS")
		s.exec("INSERT INTO d.t (b) VALUES ('before the backup')")
		s.backup(repo)
		s.strange()
		s.await(repo)
		stop()
		dir, err := s.restore(repo)
		if err != nil {
			t.Fatal(err)
		}
		if diff := compare.Diff(s.state(s.i), s.stateOf(dir), "server", "restored", compare.AtMost); diff != "" {
			t.Error(diff)
		}
	})
}
