package check

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/dbconn"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

var now = time.Date(2026, 11, 26, 1, 0, 0, 0, time.UTC)

// good is a server with nothing to be said about.
func good(name string) serverFacts {
	return serverFacts{name: name, who: dbconn.Server{Flavor: gtid.MariaDB, Version: "11.8.9", Major: 11, Minor: 8}, id: "id of " + name,
		variables: map[string]string{"log_bin": "ON", "binlog_format": "ROW", "binlog_row_image": "FULL", "sync_binlog": "1",
			"innodb_flush_log_at_trx_commit": "1", "binlog_expire_logs_seconds": "2592000", "log_slave_updates": "ON", "binlog_checksum": "CRC32"},
		clock: clock{now, now.Add(-time.Millisecond), now.Add(time.Millisecond)}, backup: true, driver: "dump",
		source: archive.Source{End: binlog.Position{File: "bin.000007", Offset: 4}}}
}

// the finds one line, "FAIL 8 connect", with a text in it; anything else that is
// not ok is an error.
func the(t *testing.T, list []Line, want, text string) {
	t.Helper()
	found := false
	for _, l := range list {
		got := string(l.Level) + " " + l.What
		if l.Level == Fail {
			got = string(l.Level) + " " + string('0'+rune(l.Class)) + " " + l.What
		}
		switch all := l.Why + "; " + l.Next; {
		case got == want && strings.Contains(all, text):
			found = true
		case l.Level != OK:
			t.Errorf("also: %s: %s", got, all)
		}
		if l.Level != OK && l.Next == "" {
			t.Errorf("%s: it does not say what to do", got)
		}
	}
	if !found {
		t.Errorf("no %s with %q in %+v", want, text, list)
	}
}

// Every thing that can be wrong with a server is told, alone, with what to do.
func TestServers(t *testing.T) {
	cause := errors.New("the cause")
	mysql := func(f *serverFacts) {
		f.who = dbconn.Server{Flavor: gtid.MySQL, Version: "9.7.4", Major: 9, Minor: 7}
		f.variables["gtid_mode"] = "ON"
	}
	set := func(name, value string) func(*serverFacts) {
		return func(f *serverFacts) { f.variables[name] = value }
	}
	by := func(d time.Duration) func(*serverFacts) {
		return func(f *serverFacts) { f.clock.there = now.Add(d) }
	}
	for _, c := range []struct {
		change     func(*serverFacts)
		want, text string
	}{
		{func(*serverFacts) {}, "ok connect", "MariaDB 11.8.9, id of db1"},
		{mysql, "ok replay", "net change"},
		{func(f *serverFacts) { f.err = cause }, "FAIL 8 connect", "the cause; is the server running"},
		{func(f *serverFacts) { f.err = fault.New(fault.Usage, cause, "the hint") }, "FAIL 2 connect", "the cause; the hint"},
		{func(f *serverFacts) { f.who.Major, f.who.Minor = 10, 4 }, "warn connect", "older"},
		{by(clockWarn - time.Millisecond), "ok clock", ""},
		{by(clockWarn + time.Millisecond), "warn clock", "2.0 s ahead of"},
		{by(-clockWarn - 2*time.Millisecond), "warn clock", "2.0 s behind"},
		{by(time.Hour), "FAIL 1 clock", "59 min 59 s ahead of this host's"},
		{by(-time.Hour), "FAIL 1 clock", "behind this host's"},
		{func(f *serverFacts) { f.asked = cause }, "FAIL 8 archive account", "GRANT REPLICATION SLAVE"},
		{func(f *serverFacts) { f.received = cause }, "FAIL 8 archive account", "GRANT REPLICATION SLAVE"},
		{func(f *serverFacts) { f.notBacked = cause }, "FAIL 1 backup", "the cause"},
		{func(f *serverFacts) { f.notBacked = fault.New(fault.Storage, cause, "install it") }, "FAIL 8 backup", "install it"},
		{set("log_bin", "OFF"), "FAIL 1 binary log", "set log_bin"},
		{func(f *serverFacts) { f.filters = "no changes of d" }, "FAIL 1 binary log", "no changes of d"},
		{func(f *serverFacts) { f.xa = 3 }, "FAIL 1 replay", "3 XA statements"},
		{set("binlog_alter_two_phase", "ON"), "FAIL 1 replay", "two phases"},
		{set("binlog_format", "MIXED"), "warn replay", "binlog_format is MIXED"},
		{set("binlog_row_image", "MINIMAL"), "warn replay", "binlog_row_image=FULL"},
		{set("binlog_row_value_options", "PARTIAL_JSON"), "warn replay", "JSON"},
		{set("binlog_checksum", "NONE"), "warn replay", "CRC32"},
		{set("log_slave_updates", "OFF"), "warn replay", "failover"},
		{func(f *serverFacts) { mysql(f); f.variables["gtid_mode"] = "OFF_PERMISSIVE" }, "warn replay", "gtid_mode is OFF_PERMISSIVE"},
		{set("sync_binlog", "0"), "warn durability", "sync_binlog is 0"},
		{set("innodb_flush_log_at_trx_commit", "2"), "warn durability", "innodb_flush_log_at_trx_commit is 2"},
		{set("binlog_expire_logs_seconds", "3600"), "warn log expiry", "1 h 00 min only"},
		{set("binlog_expire_logs_seconds", "0"), "ok log expiry", "logs stay"},
		{set("max_binlog_total_size", "1048576"), "warn log expiry", "1.0 MiB"},
		{func(f *serverFacts) {
			delete(f.variables, "binlog_expire_logs_seconds")
			f.variables["expire_logs_days"] = "0.5"
		}, "warn log expiry", "12 h"},
		{func(f *serverFacts) {
			f.variables["binlog_expire_logs_seconds"], f.variables["binlog_expire_logs_auto_purge"] = "60", "OFF"
		}, "ok log expiry", "logs stay"},
	} {
		f := good("db1")
		f.variables = maps.Clone(f.variables)
		c.change(&f)
		the(t, f.judge(2), c.want, c.text)
	}
	alone := good("db1")
	alone.variables["log_slave_updates"] = "OFF"
	the(t, alone.judge(1), "ok replay", "")
}

// Of two servers of one name the second is told.
func TestNames(t *testing.T) {
	a, b, c := good("a"), good("b"), good("c")
	b.id, c.err = a.id, errors.New("away")
	c.id = a.id
	the(t, judgeNames([]serverFacts{a, b, c}), "FAIL 1 name", "as server a is")
	if list := judgeNames([]serverFacts{a, good("b")}); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// Every thing that can be wrong with a repository is told, alone.
func TestPlaces(t *testing.T) {
	cause := fault.New(fault.Storage, errors.New("the cause"), "the hint")
	for _, c := range []struct {
		change     func(*placeFacts)
		want, text string
	}{
		{func(*placeFacts) {}, "ok open", "/r"},
		{func(*placeFacts) {}, "ok objects", "deleted"},
		{func(f *placeFacts) { f.err = cause }, "FAIL 8 open", "the cause; the hint"},
		{func(f *placeFacts) { f.write = cause }, "FAIL 8 conditional writes", "the cause; the hint"},
		{func(f *placeFacts) { f.object = cause }, "FAIL 8 objects", "the cause; the hint"},
		{func(f *placeFacts) { f.tried.Kept = cause }, "ok objects", "may not delete"},
		{func(f *placeFacts) { f.marked = nil }, "ok encryption", "none"},
		{func(f *placeFacts) { f.tried.Opened = cause }, "FAIL 8 encryption", "the cause; the hint"},
		{func(f *placeFacts) { f.configured = nil }, "warn encryption", "age1x"},
		{func(f *placeFacts) { f.keys = 0 }, "ok encryption", "no private key was tried"},
		{func(*placeFacts) {}, "ok encryption", "opens it"},
		{func(f *placeFacts) { f.tried.Modified = now.Add(time.Hour) }, "FAIL 1 clock", "ahead"},
		{func(f *placeFacts) { f.tried.Modified = now.Add(-time.Hour) }, "FAIL 1 clock", "behind"},
		{func(f *placeFacts) { f.tried.Modified = now.Add(-10 * time.Second) }, "warn clock", "9.0 s behind"},
		{func(f *placeFacts) { f.tried.Modified = now.Add(-900 * time.Millisecond) }, "ok clock", ""}, // whole seconds
		{func(f *placeFacts) { f.space.free = leastSpace - 1 }, "FAIL 9 space", "256.0 MiB are free"},
		{func(f *placeFacts) { f.space.full = f.space.free + 1 }, "warn space", "the last full backup took"},
		{func(f *placeFacts) { f.space.err = cause }, "FAIL 8 space", "the hint"},
	} {
		f := placeFacts{name: "main", place: "/r", marked: []string{"age1x"}, configured: []string{"age1x"}, keys: 1, space: space{known: true, free: 1 << 40, full: 1 << 30}}
		f.tried.Before, f.tried.After, f.tried.Modified = now, now, now
		c.change(&f)
		the(t, f.judge(), c.want, c.text)
	}
	bucket := placeFacts{name: "main"}
	for _, l := range bucket.judge() {
		if l.What == whatSpace {
			t.Errorf("nobody knows how much room a bucket has: %+v", l)
		}
	}
}

// What the archive lacks is told.
func TestArchived(t *testing.T) {
	tip := binlog.Position{File: "bin.000007", Offset: 100}
	for _, c := range []struct {
		f          pairFacts
		want, text string
	}{
		{pairFacts{standing: archive.Standing{Tip: tip}, has: true}, "ok archived", "bin.000007:100"},
		{pairFacts{standing: archive.Standing{Tip: tip, Behind: 2048}, waited: 10 * time.Second, end: "bin.000008:4"}, "FAIL 5 archived", "bin.000008:4 10.0 s ago and is 2.0 KiB ahead"},
		{pairFacts{end: "bin.000008:4"}, "FAIL 5 archived", "nothing of its log is there"},
		{pairFacts{standing: archive.Standing{Tip: tip, Alarm: "its log was reset"}}, "FAIL 5 archived", "reset"},
		{pairFacts{standing: archive.Standing{Tip: tip, Gaps: 2}, has: true}, "warn archived", "2 gaps"},
		{pairFacts{err: fault.New(fault.Storage, errors.New("away"), "come back")}, "FAIL 8 archived", "come back"},
	} {
		the(t, []Line{c.f.judge()}, c.want, c.text)
	}
}

// The exit code is that of the first failure; warnings are none.
func TestErr(t *testing.T) {
	r := &Report{Lines: []Line{{Level: OK}, {Level: Warn}}}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	r.Lines = append(r.Lines, Line{Level: Fail, Class: fault.NoSpace, About: "a", What: "w", Why: "y", Next: "n"}, Line{Level: Fail, Class: fault.Storage})
	err := r.Err()
	if fault.ClassOf(err) != fault.NoSpace || err.Error() != "check: 2 of 4 have failed, the first: a: w: y; n" {
		t.Error(err)
	}
}
