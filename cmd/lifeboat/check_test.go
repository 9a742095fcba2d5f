package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/check"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// check ends with the code of the first thing that has failed; with 0 once the
// account of docs/archive.md archives into a repository.
func TestCheck(t *testing.T) {
	s := newSite(t, servertest.All(t)[0])
	s.exec("SET GLOBAL sync_binlog = 0")
	lifeboat(t, int(fault.Storage), s.args("check"), "FAIL", "backup: driver", "repository near: open", "failed, the first: server db1: backup")
	lifeboat(t, int(fault.Storage), s.args("check", "--no-backup"), "failed, the first: repository near: open")
	lifeboat(t, int(fault.Usage), s.args("check", "--server", "db2"), "no server of this name")
	lifeboat(t, 0, s.args("repository", "create"))
	lifeboat(t, int(fault.Gap), s.args("check", "--no-backup", "--wait", "0s"), "nothing of its log is there", "does lifeboat archive run?")
	d := s.start()
	r := lifeboat(t, 0, s.args("check", "--no-backup", "--wait", "1m", "--json"))
	d.signal(syscall.SIGTERM)
	d.ends(0)
	rep := report[check.Report](t, r)
	levels := map[check.Level]int{}
	for _, l := range rep.Lines {
		levels[l.Level]++
	}
	if rep.SchemaVersion != check.SchemaVersion || rep.Set != "orders" || levels[check.Warn] == 0 || levels[check.Fail] > 0 || levels[check.OK] < 8 {
		t.Errorf("%s", r.out)
	}
	option := file(t, "db1.cnf", "[client]\nuser=lifeboat\npassword=wrong\n")
	r = lifeboat(t, int(fault.Storage), s.args("check", "--no-backup", "--server1-defaults-file", option), "FAIL  server db1: connect: ", "check user and password")
	if strings.Contains(r.out+r.err, "wrong") {
		t.Errorf("a password is shown: %s%s", r.out, r.err)
	}
}
