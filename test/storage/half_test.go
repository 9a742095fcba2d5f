package storage_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
)

// TestHalf: a server is killed while it writes, and its log ends in a part of a
// transaction: as kill -9 leaves it, or cut off anywhere, as a disk may that has
// lost its power. The archive goes on in the next file, without a gap or an
// alarm, for nothing that was committed is missing, and a restore comes to what
// the server holds. (MariaDB keeps the part, MySQL cuts it off.)
//
// MariaDB that dies just behind a rotation may give numbers once more that the
// log has already: that is an alarm, and a gap.
func TestHalf(t *testing.T) {
	one(t, 5, func(t *testing.T, d server.Distribution) {
		r := random(t)
		s := start(t, d)
		s.exec("CREATE TABLE d.h (a INT PRIMARY KEY AUTO_INCREMENT, b LONGTEXT)", "CREATE TABLE d.n (n INT)", "INSERT INTO d.n VALUES (1), (2), (3), (4), (5), (6), (7), (8)")
		repo := create(t, store.Options{URL: t.TempDir()})
		a := s.archiver(repo)
		stop := a.run(t)
		s.backup(repo)
		again := 0 // how often the server has gone back in its numbers
		for range halves {
			s.write(5, r)
			s.arrives(repo)
			stop()
			last := s.logs()[len(s.logs())-1]
			if r.IntN(2) == 0 {
				s.killWriting(last, r)
			} else {
				s.cutOff(last, r)
			}
			stop = a.run(t)
			s.write(5, r)
			s.arrives(repo)
			if !s.goesOn(last, load(t, repo)) {
				again++
			}
		}
		stop()
		if gaps := load(t, repo).Gaps(); len(gaps) != again || len(a.alarms) != again {
			t.Errorf("%d times the server has gone back; gaps: %v, alarms: %v", again, gaps, a.alarms)
		}
		dir, err := s.restore(repo)
		if again > 0 {
			if fault.ClassOf(err) != fault.Gap {
				t.Errorf("a restore over a gap: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := compare.Diff(s.state(s.i), s.stateOf(dir), "server", "restored", compare.AtMost); diff != "" {
			t.Error(diff)
		}
	})
}

// TestDamagedLog: bytes of the server's own log are not an event any more
// before they were archived. What is behind them in the file can never be
// archived: an alarm, a gap, and a restore that refuses to pass it. What comes
// in the next files is archived.
func TestDamagedLog(t *testing.T) {
	one(t, 6, func(t *testing.T, d server.Distribution) {
		r := random(t)
		s := start(t, d)
		repo := create(t, store.Options{URL: t.TempDir()})
		a := s.archiver(repo)
		stop := a.run(t)
		s.backup(repo)
		s.arrives(repo)
		stop()
		path := s.logs()[len(s.logs())-1]
		from := size(t, path)
		s.exec("INSERT INTO d.t (b) VALUES ('a')")
		to := size(t, path)
		s.exec("INSERT INTO d.t (b) VALUES ('b')", "FLUSH BINARY LOGS", "INSERT INTO d.t (b) VALUES ('c')")
		if err := s.i.Kill(); err != nil {
			t.Fatal(err)
		}
		at := s.eventEnd(path, from, to, r)
		overwrite(t, path, at, make([]byte, 19))
		if err := s.i.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop = a.run(t)
		s.arrives(repo)
		stop()
		gaps := load(t, repo).Gaps()
		if len(gaps) != 1 || len(a.alarms) != 1 || gaps[0].After != fmt.Sprintf("%s:%d", filepath.Base(path), at) || a.alarms[0].At != gaps[0].After {
			t.Errorf("damaged at %d; gaps: %v, alarms: %v", at, gaps, a.alarms)
		}
		if _, err := s.restore(repo); fault.ClassOf(err) != fault.Gap {
			t.Errorf("a restore over a gap: %v", err)
		}
	})
}

func overwrite(t *testing.T, path string, at int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(data, at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// killWriting kills the server while it writes a large transaction into its log.
func (s *source) killWriting(last string, r *rand.Rand) {
	s.t.Helper()
	before := size(s.t, last)
	done := make(chan error, 1)
	go func() {
		_, err := s.db.ExecContext(s.t.Context(), "INSERT INTO d.h (b) SELECT REPEAT('x', 2000000) FROM d.n")
		done <- err
	}()
	for want := before + r.Int64N(1<<21); size(s.t, last) <= want; {
	}
	if err := s.i.Kill(); err != nil {
		s.t.Fatal(err)
	}
	err := <-done
	left := size(s.t, last)
	if err := s.i.Restart(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("%s: killed while it wrote, from %d on, up to %d (%v); the server has made %d of it", filepath.Base(last), before, left, err, size(s.t, last))
}

// cutOff kills the server and cuts its log off in the last transaction, which
// the server then has not made.
func (s *source) cutOff(last string, r *rand.Rand) {
	s.t.Helper()
	before := size(s.t, last)
	key := -1 - r.Int32N(1<<30)
	s.exec(fmt.Sprintf("INSERT INTO d.h VALUES (%d, REPEAT('h', %d))", key, r.IntN(1<<14)))
	if err := s.i.Kill(); err != nil {
		s.t.Fatal(err)
	}
	whole := size(s.t, last)
	cut := before + 1 + r.Int64N(whole-before-1)
	if r.IntN(2) == 0 {
		cut = s.eventEnd(last, before, whole-1, r)
	}
	if err := os.Truncate(last, cut); err != nil {
		s.t.Fatal(err)
	}
	if err := s.i.Restart(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.exec("SET sql_log_bin = 0", fmt.Sprintf("DELETE FROM d.h WHERE a = %d", key)) // a server that dies there has never committed it
	s.t.Logf("%s: the last transaction is from %d to %d, cut off at %d; the server has made %d of it", filepath.Base(last), before, whole, cut, size(s.t, last))
}

// goesOn reports whether the file behind a file begins with the transactions
// that the log has up to there.
func (s *source) goesOn(path string, log archive.Log) bool {
	s.t.Helper()
	logs := s.logs()
	f, err := binlog.Open(logs[slices.Index(logs, path)+1])
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	head, err := f.ReadHead()
	if err != nil {
		s.t.Fatal(err)
	}
	i := slices.IndexFunc(log.Files, func(f archive.File) bool { return f.File == filepath.Base(path) })
	had, err := log.Files[i].Reach()
	if err != nil {
		s.t.Fatal(err)
	}
	return head.Previous.String() == had
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// eventEnd is where one of the events between two positions ends.
func (s *source) eventEnd(path string, from, to int64, r *rand.Rand) int64 {
	s.t.Helper()
	f, err := binlog.Open(path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	var ends []int64
	for events := f.Events(from); ; {
		ev, ok, err := events.Next()
		if err != nil {
			s.t.Fatal(err)
		}
		if !ok || ev.End > to {
			return ends[r.IntN(len(ends))]
		}
		ends = append(ends, ev.End)
	}
}

// arrives waits until what the server wrote last is archived.
func (s *source) arrives(repo *repository.Repository) {
	s.t.Helper()
	path := s.logs()[len(s.logs())-1]
	for {
		if files := load(s.t, repo).Files; len(files) > 0 && files[len(files)-1].File == filepath.Base(path) && files[len(files)-1].End >= size(s.t, path) {
			return
		}
		if s.t.Context().Err() != nil {
			s.t.Fatal("the archive does not go on")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// backup takes one, by the vendor's own dump.
func (s *source) backup(repo *repository.Repository) {
	s.t.Helper()
	o := backup.Options{Repositories: []*repository.Repository{repo}, Set: "s", Driver: backup.Dump, Source: backup.Source{DSN: s.i.DSN(""), Tools: s.d.Tools()}}
	if _, err := backup.Take(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

// restore brings the server back, to the end of its log.
func (s *source) restore(repo *repository.Repository) (dir string, err error) {
	s.t.Helper()
	mysqld, err := s.d.Tool("mysqld")
	if err != nil {
		s.t.Fatal(err)
	}
	dir = filepath.Join(s.t.TempDir(), "data")
	_, err = restore.Run(s.t.Context(), restore.Options{Repository: repo, Set: "s", Dir: dir, Mysqld: mysqld, Tools: s.d.Tools(), Memory: 256 << 20})
	return dir, err
}

// stateOf is the state of a data directory.
func (s *source) stateOf(dir string) compare.State {
	s.t.Helper()
	i, err := server.Start(s.t.Context(), s.d, server.Options{DataDir: dir, SkipNetworking: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = i.Stop(s.t.Context()) }() // its data are in a directory of the test
	return s.state(i)
}

func (s *source) state(i *server.Instance) compare.State {
	s.t.Helper()
	st, err := compare.Take(s.t.Context(), servertest.Open(s.t, i, ""))
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}
