package clone

import (
	"errors"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestMustHold: commits wait only where GTIDs cannot tell what the copy has.
func TestMustHold(t *testing.T) {
	some, err := gtid.ParseSet(gtid.MySQL, "e98b8334-e91f-11f1-aafb-02fc00000001:1-5")
	if err != nil {
		t.Fatal(err)
	}
	logged := binlog.Position{File: "b.000001", Offset: 4}
	for _, c := range []struct {
		name  string
		mode  string
		start Point
		want  bool
	}{
		{"all have GTIDs", "ON", Point{logged, some}, false},
		{"new ones have none", "OFF", Point{logged, some}, true},
		{"some have none", "ON_PERMISSIVE", Point{logged, some}, true},
		{"there are none yet", "ON", Point{Position: logged}, true},
		{"no log", "OFF", Point{}, false},
	} {
		d := &donor{settings: map[string]string{"gtid_mode": c.mode}, start: c.start}
		if got := d.mustHold(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestUnmoved: a log that went on while commits were held is an error.
func TestUnmoved(t *testing.T) {
	at := Point{Position: binlog.Position{File: "b.000001", Offset: 4}}
	for _, c := range []struct {
		until binlog.Position
		class fault.Class
	}{
		{binlog.Position{File: "b.000001", Offset: 4}, 0},
		{binlog.Position{File: "b.000001", Offset: 5}, fault.Busy},
		{binlog.Position{File: "b.000002", Offset: 4}, fault.Busy},
	} {
		if err := unmoved(at, Point{Position: c.until}); (err == nil) != (c.class == 0) || err != nil && fault.ClassOf(err) != c.class {
			t.Errorf("until %s: %v", c.until, err)
		}
	}
}

// TestHold: commits wait for as long as they are held and no longer; whoever holds
// them learns that they did not wait until the end.
func TestHold(t *testing.T) {
	i := servertest.Start(t, servertest.Of(t, server.MySQL), "--log-bin=bin")
	db := servertest.Open(t, i, "")
	servertest.Exec(t, db, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT)", "SET GLOBAL lock_wait_timeout = 1")
	o := Options{DSN: i.DSN("")}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	d, err := greet(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.close() }()
	wait := func() bool {
		_, err := servertest.Open(t, i, "").ExecContext(t.Context(), "INSERT INTO d.t () VALUES ()")
		var e *mysql.MySQLError
		if err != nil && (!errors.As(err, &e) || e.Number != lockWaitTimeout) {
			t.Fatal(err)
		}
		return err != nil
	}
	for _, lost := range []bool{false, true} {
		if err := d.hold(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		if !wait() {
			t.Error("a transaction was committed while commits were held")
		}
		var id, idle int
		if err := d.held.QueryRowContext(t.Context(), "SELECT CONNECTION_ID(), @@SESSION.wait_timeout").Scan(&id, &idle); err != nil {
			t.Fatal(err)
		}
		if time.Duration(idle)*time.Second != holdMost {
			t.Errorf("the server lets us hold commits for %d s when we are gone", idle)
		}
		if lost {
			d.kill(t.Context(), uint32(id)) //nolint:gosec // a connection
		}
		if err := d.letGo(); (err != nil) != lost || lost && (!errors.Is(err, ErrBusy) || fault.ClassOf(err) != fault.Busy) {
			t.Errorf("lost %v: %v", lost, err)
		}
		if wait() {
			t.Error("commits wait, and nobody holds them")
		}
	}
}
