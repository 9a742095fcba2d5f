package applier_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/applier"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/checkpoint"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/internal/txn"
	"github.com/lifeboat-db/lifeboat/test/reallog"
)

// bench is a server that is source and target at once: what it has logged is
// undone without being logged, and then applied again.
type bench struct {
	*reallog.Source
	t      *testing.T
	srv    dbconn.Server
	format []byte
	pool   *sql.DB
	opened int // sessions, whose numbers are never used twice
}

func newBench(t *testing.T, d server.Distribution) *bench {
	t.Helper()
	src := reallog.Start(t, d)
	cfg, err := dbconn.Config(src.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := dbconn.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	b := &bench{Source: src, t: t, pool: pool}
	if b.srv, err = dbconn.Identify(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	b.Exec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY, b INT)", "CREATE TABLE d.m (a INT PRIMARY KEY) ENGINE=MyISAM")
	if err := checkpoint.Create(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	b.record("DELETE FROM d.t")
	return b
}

// quietly executes statements that are not logged.
func (b *bench) quietly(statements ...string) {
	b.t.Helper()
	b.Exec(b.t, append(append([]string{"SET sql_log_bin = 0"}, statements...), "SET sql_log_bin = 1")...)
}

// record executes statements and returns what each transaction logged, as a
// group of events for a BINLOG statement.
func (b *bench) record(statements ...string) (groups [][]byte) {
	b.t.Helper()
	f, err := binlog.Open(b.Record(b.t, statements...))
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b.format = f.Format.ForApply(b.srv.ServerID)
	sc := txn.NewScanner(f, 0, &binlog.Inflater{Limit: 1 << 20})
	for {
		g, ok, err := sc.Next()
		if err != nil {
			b.t.Fatal(err)
		}
		if !ok {
			return groups
		}
		var group []byte
		for _, ev := range g.Events {
			if ev.Type == binlog.TableMapEvent || ev.Type.Rows() != binlog.NotRows {
				group = binlog.AppendEvent(group, ev.Type, ev.Timestamp, b.srv.ServerID, func(dst []byte) []byte { return append(dst, ev.Body...) })
			}
		}
		groups = append(groups, group)
	}
}

func (b *bench) sessions(n int) (out []*applier.Session) {
	b.t.Helper()
	for range n {
		s, err := applier.NewSession(b.t.Context(), b.pool, b.srv, b.format, b.opened)
		b.opened++
		if err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(s.Close)
		out = append(out, s)
	}
	return out
}

// rows is the content of d.t, or another table's keys, in order.
func (b *bench) rows(query string) string {
	b.t.Helper()
	rows, err := b.pool.QueryContext(b.t.Context(), query)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			b.t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		b.t.Fatal(err)
	}
	return strings.Join(out, " ")
}

const content = "SELECT CONCAT(a, '=', b) FROM d.t ORDER BY a"

// unit is a piece of work whose groups may do something before they are sent.
type unit struct {
	name     string
	window   int64
	groups   [][]byte
	hook     func(attempt, group int)
	started  string
	attempts atomic.Int32
}

func (u *unit) Describe() string { return u.name }
func (u *unit) Done() string     { return checkpoint.ChunkDone(u.window, 1) }
func (u *unit) Started() string  { return u.started }
func (u *unit) Groups(yield func([]byte) error) error {
	attempt := int(u.attempts.Add(1))
	for i, g := range u.groups {
		if u.hook != nil {
			u.hook(attempt, i)
		}
		if err := yield(g); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) noted(window int64) bool {
	b.t.Helper()
	done, err := checkpoint.Chunks(b.t.Context(), b.pool, window)
	if err != nil {
		b.t.Fatal(err)
	}
	return done[1]
}

func TestRealTargets(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		b := newBench(t, d)
		t.Run("apply", func(t *testing.T) { testApply(t, d, b) })
		t.Run("await others", func(t *testing.T) { b.t = t; testAwaitOthers(t, b) })
		t.Run("session", func(t *testing.T) { b.t = t; testSession(t, b) })
	})
}

func testApply(t *testing.T, d server.Distribution, b *bench) {
	window := int64(0)
	next := func() int64 { window++; return window }

	t.Run("what was logged comes back, with its note", func(t *testing.T) {
		b.t = t
		groups := b.record("INSERT INTO d.t VALUES (1, 1), (2, 2)", "UPDATE d.t SET b = 20 WHERE a = 2", "DELETE FROM d.t WHERE a = 1", "INSERT INTO d.t VALUES (3, 3)")
		want := b.rows(content)
		b.quietly("DELETE FROM d.t")
		u := &unit{name: "u", window: next(), groups: groups}
		var applied []string
		opt := applier.Options{Applied: func(u applier.Unit) { applied = append(applied, u.Describe()) }}
		if err := applier.Apply(t.Context(), b.sessions(1), []applier.Lane{{u}}, opt); err != nil {
			t.Fatal(err)
		}
		if got := b.rows(content); got != want || !b.noted(u.window) || !slices.Equal(applied, []string{"u"}) {
			t.Errorf("%s, want %s; noted %v, applied %q", got, want, b.noted(u.window), applied)
		}
	})

	t.Run("nothing is left of a unit that fails, nor begun after it", func(t *testing.T) {
		b.t = t
		b.quietly("DELETE FROM d.t", "INSERT INTO d.t VALUES (9, 9)")
		groups := b.record("INSERT INTO d.t VALUES (1, 1)", "INSERT INTO d.t VALUES (2, 2)")
		b.quietly("DELETE FROM d.t WHERE a = 1") // row 2 is in the way
		bad, after := &unit{name: "the bad one", window: next(), groups: groups}, &unit{name: "after", window: next(), groups: groups}
		err := applier.Apply(t.Context(), b.sessions(1), []applier.Lane{{bad, after}, {after}}, applier.Options{Retries: 5})
		if dbconn.Classify(err) != dbconn.Conflict || !strings.Contains(fmt.Sprint(err), "the bad one") || bad.attempts.Load() != 1 || after.attempts.Load() != 0 {
			t.Errorf("%v after %d attempts; %d of the next", err, bad.attempts.Load(), after.attempts.Load())
		}
		if got := b.rows(content); got != "2=2 9=9" || b.noted(bad.window) {
			t.Errorf("left behind: %s, noted %v", got, b.noted(bad.window))
		}
	})

	t.Run("a missing row is a conflict", func(t *testing.T) {
		b.t = t
		b.quietly("DELETE FROM d.t", "INSERT INTO d.t VALUES (1, 1)")
		for _, stmt := range []string{"UPDATE d.t SET b = 2 WHERE a = 1", "DELETE FROM d.t WHERE a = 1"} {
			groups := b.record(stmt)
			b.quietly("DELETE FROM d.t")
			err := applier.Apply(t.Context(), b.sessions(1), []applier.Lane{{&unit{name: "u", window: next(), groups: groups}}}, applier.Options{})
			if dbconn.Classify(err) != dbconn.Conflict {
				t.Errorf("%s: %v", stmt, err)
			}
			b.quietly("INSERT INTO d.t VALUES (1, 1)")
		}
	})

	t.Run("a trial writes nothing", func(t *testing.T) {
		b.t = t
		b.quietly("DELETE FROM d.t")
		groups := b.record("INSERT INTO d.t VALUES (1, 1)")
		b.quietly("DELETE FROM d.t")
		u := &unit{name: "u", window: next(), groups: groups, started: checkpoint.ChunkDone(window, 7)}
		opt := applier.Options{Trial: true, Applied: func(applier.Unit) { t.Error("applied") }}
		if err := applier.Apply(t.Context(), b.sessions(1), []applier.Lane{{u}}, opt); err != nil {
			t.Fatal(err)
		}
		if got := b.rows(content) + b.rows("SELECT chunk FROM lifeboat.chunk WHERE win = "+fmt.Sprint(u.window)); got != "" || u.attempts.Load() != 1 {
			t.Errorf("%q after %d attempts", got, u.attempts.Load())
		}
	})

	t.Run("a deadlock is tried again", func(t *testing.T) {
		b.t = t
		b.quietly("DELETE FROM d.t", "INSERT INTO d.t VALUES (1, 0), (2, 0)")
		one, two := b.record("UPDATE d.t SET b = 1 WHERE a = 1"), b.record("UPDATE d.t SET b = 1 WHERE a = 2")
		for _, retries := range []int{10, 0} {
			b.quietly("UPDATE d.t SET b = 0")
			var meet sync.WaitGroup
			meet.Add(2)
			hook := func(attempt, group int) {
				if attempt == 1 && group == 1 { // both hold their first row
					meet.Done()
					meet.Wait()
				}
			}
			x := &unit{name: "x", window: next(), groups: [][]byte{one[0], two[0]}, hook: hook}
			y := &unit{name: "y", window: next(), groups: [][]byte{two[0], one[0]}, hook: hook}
			err := applier.Apply(t.Context(), b.sessions(2), []applier.Lane{{x}, {y}}, applier.Options{Retries: retries})
			attempts := x.attempts.Load() + y.attempts.Load()
			if retries == 0 {
				if dbconn.Classify(err) != dbconn.Retry || attempts != 2 {
					t.Errorf("no retries: %v after %d attempts", err, attempts)
				}
				continue
			}
			if err != nil || attempts < 3 || !b.noted(x.window) || !b.noted(y.window) {
				t.Errorf("%v after %d attempts; noted %v %v", err, attempts, b.noted(x.window), b.noted(y.window))
			}
			if got := b.rows(content); got != "1=1 2=1" {
				t.Error(got)
			}
		}
	})

	t.Run("what no transaction covers is noted before and never tried twice", func(t *testing.T) {
		b.t = t
		b.quietly("DELETE FROM d.t", "DELETE FROM d.m", "INSERT INTO d.t VALUES (1, 0)")
		locked := b.record("UPDATE d.t SET b = 1 WHERE a = 1")
		plain := b.record("INSERT INTO d.m VALUES (1)")
		b.quietly("DELETE FROM d.m", "UPDATE d.t SET b = 0")
		holder, err := b.pool.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = holder.Close() }()
		for _, stmt := range []string{"BEGIN", "UPDATE d.t SET b = 5 WHERE a = 1"} {
			if _, err := holder.ExecContext(t.Context(), stmt); err != nil {
				t.Fatal(err)
			}
		}
		u := &unit{name: "u", window: next(), groups: [][]byte{plain[0], locked[0]}, started: checkpoint.ChunkDone(window, 7)}
		sessions := b.sessions(1)
		if err := sessions[0].Exec(t.Context(), "SET innodb_lock_wait_timeout = 1"); err != nil {
			t.Fatal(err)
		}
		err = applier.Apply(t.Context(), sessions, []applier.Lane{{u}}, applier.Options{Retries: 5})
		if dbconn.Classify(err) != dbconn.Retry || u.attempts.Load() != 1 {
			t.Errorf("%v after %d attempts", err, u.attempts.Load())
		}
		if _, err := holder.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		done, err := checkpoint.Chunks(t.Context(), b.pool, u.window)
		if err != nil || !done[7] || done[1] || b.rows("SELECT a FROM d.m") != "1" {
			t.Errorf("%v %v, MyISAM holds %q", done, err, b.rows("SELECT a FROM d.m"))
		}
	})

	t.Run("interrupted, nothing is left", func(t *testing.T) {
		b.t = t
		b.quietly("DELETE FROM d.t")
		groups := b.record("INSERT INTO d.t VALUES (1, 1)", "INSERT INTO d.t VALUES (2, 2)")
		b.quietly("DELETE FROM d.t")
		ctx, cancel := context.WithCancel(t.Context())
		u := &unit{name: "u", window: next(), groups: groups, hook: func(_, group int) {
			if group == 1 {
				cancel()
			}
		}}
		err := applier.Apply(ctx, b.sessions(1), []applier.Lane{{u}}, applier.Options{Retries: 5})
		if !errors.Is(err, context.Canceled) || applier.Lost(err) {
			t.Errorf("%v", err)
		}
		// Nothing holds the table any more either.
		b.quietly("SET lock_wait_timeout = 1", "ALTER TABLE d.t COMMENT 'free'")
		if got := b.rows(content); got != "" || b.noted(u.window) {
			t.Errorf("left behind: %q", got)
		}
	})

	t.Run("a lane stays in order", func(t *testing.T) {
		b.t = t
		b.quietly("DELETE FROM d.t", "INSERT INTO d.t VALUES (1, 0)")
		var lane applier.Lane
		for i := range 20 {
			groups := b.record(fmt.Sprintf("UPDATE d.t SET b = %d WHERE a = 1", i+1))
			lane = append(lane, &unit{name: fmt.Sprint(i), window: next(), groups: groups})
		}
		b.quietly("UPDATE d.t SET b = 0")
		if err := applier.Apply(t.Context(), b.sessions(2), []applier.Lane{lane}, applier.Options{}); err != nil {
			t.Fatal(err)
		}
		if got := b.rows(content); got != "1=20" {
			t.Error(got)
		}
	})

	t.Run("another table than the log's", func(t *testing.T) {
		b.t = t
		b.quietly("CREATE TABLE d.other (a INT PRIMARY KEY, b VARCHAR(20))")
		groups := b.record("INSERT INTO d.other VALUES (1, 'x')")
		b.quietly("DROP TABLE d.other", "CREATE TABLE d.other (a DATE PRIMARY KEY, b INT)")
		err := applier.Apply(t.Context(), b.sessions(1), []applier.Lane{{&unit{name: "u", window: next(), groups: groups}}}, applier.Options{})
		if !applier.IsSchemaMismatch(err) {
			t.Errorf("%v", err)
		}
		b.quietly("DROP TABLE d.other")
	})

	if d.Flavor == server.MariaDB {
		t.Run("unique by hash", func(t *testing.T) {
			b.t = t
			b.quietly("CREATE TABLE d.h (a INT PRIMARY KEY, b TEXT, UNIQUE (b))")
			groups := b.record("INSERT INTO d.h VALUES (1, 'x'), (2, 'y')", "UPDATE d.h SET b = 'z' WHERE a = 2")
			b.quietly("DELETE FROM d.h")
			if err := applier.Apply(t.Context(), b.sessions(1), []applier.Lane{{&unit{name: "u", window: next(), groups: groups}}}, applier.Options{}); err != nil {
				t.Fatal(err)
			}
			if got := b.rows("SELECT CONCAT(a, b) FROM d.h ORDER BY a"); got != "1x 2z" {
				t.Error(got)
			}
			if _, err := b.pool.ExecContext(t.Context(), "INSERT INTO d.h VALUES (3, 'z')"); dbconn.Classify(err) != dbconn.Conflict {
				t.Errorf("a duplicate in what was applied: %v", err)
			}
		})
	}
}

// testSession: a session is prepared whatever the server's defaults are.
func testSession(t *testing.T, b *bench) {
	b.Exec(t, "SET GLOBAL autocommit = 0", "SET GLOBAL completion_type = 'CHAIN'")
	b.pool.SetMaxIdleConns(0)
	s := b.sessions(1)[0]
	for name, want := range map[string]string{"autocommit": "1", "completion_type": "NO_CHAIN", "sql_log_bin": "0", "sql_mode": ""} {
		var got string
		if err := s.Conn().QueryRowContext(t.Context(), "SELECT @@SESSION."+name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", name, got, want, err)
		}
	}
	if _, err := applier.NewSession(t.Context(), b.pool, b.srv, b.format, applier.MaxSessions); err == nil {
		t.Error("a session beyond the last one")
	}
}

// testAwaitOthers: sessions of an earlier run are gone when it returns.
func testAwaitOthers(t *testing.T, b *bench) {
	asleep, busy, number := b.sessions(2)[0], make(chan error, 1), b.opened-2
	other, err := applier.NewSession(t.Context(), b.pool, b.srv, b.format, 777)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := asleep.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	go func() {
		err := other.Exec(t.Context(), "DO SLEEP(0.5)")
		other.Close()
		busy <- err
	}()
	time.Sleep(100 * time.Millisecond)
	if err := applier.AwaitOthers(t.Context(), b.pool, true); err != nil {
		t.Fatal(err)
	}
	if err := <-busy; err != nil {
		t.Errorf("a statement was cut short: %v", err)
	}
	if err := asleep.Exec(t.Context(), "SELECT 1"); !applier.Lost(err) {
		t.Errorf("a session that slept lives on: %v", err)
	}
	again, err := applier.NewSession(t.Context(), b.pool, b.srv, b.format, number)
	if err != nil {
		t.Fatalf("the lock is not free: %v", err)
	}
	again.Close()
}

// TestNobodyToApply: work that nobody can do is an error, not done.
func TestNobodyToApply(t *testing.T) {
	if err := applier.Apply(t.Context(), nil, []applier.Lane{{&unit{name: "u"}}}, applier.Options{}); err == nil {
		t.Error("no session, no error")
	}
	if err := applier.Apply(t.Context(), nil, nil, applier.Options{}); err != nil {
		t.Error(err)
	}
}
