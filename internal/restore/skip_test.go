package restore_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// executed is the last transaction of the source, as GTID.
func (w *world) executed() string {
	w.t.Helper()
	db := servertest.Open(w.t, w.i, "")
	if w.d.Flavor == server.MariaDB {
		return servertest.Column(w.t, db, "SELECT @@gtid_binlog_pos")[0]
	}
	set := servertest.Column(w.t, db, "SELECT @@gtid_executed")[0]
	uuid, last, _ := strings.Cut(set, ":")
	return uuid + ":" + last[strings.LastIndexByte(last, '-')+1:]
}

// TestSkip: a table that was dropped by accident comes back with everything that
// came after, and stays when the restore is moved forward.
func TestSkip(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		if !long && d.Name != servertest.Of(t, d.Flavor).Name {
			t.Skip("the other one of this vendor does")
		}
		w := newWorld(t, d)
		w.exec("CREATE TABLE d.keep (a INT PRIMARY KEY)", "INSERT INTO d.keep VALUES (1), (2)")
		w.backup(drivers(d)[0], backup.Options{})
		w.exec("INSERT INTO d.keep VALUES (3)")
		keep := state(t, w.i).Tables["d.keep"]
		w.exec("DROP TABLE d.keep")
		accident := w.executed()
		w.traffic(10, "after")
		w.archived()
		want := state(t, w.i)
		want.Tables["d.keep"] = keep

		dir := filepath.Join(t.TempDir(), "data")
		o := w.options(dir, "")
		for _, wrong := range []string{"0-7-1", w.executed()[:len(w.executed())-1] + "9999999", "nonsense"} {
			o.Skip = wrong
			class := fault.Gap
			if wrong == "nonsense" {
				class = fault.Usage
			}
			for _, o.PlanOnly = range []bool{true, false} {
				if _, err := w.try(o); fault.ClassOf(err) != class {
					t.Errorf("--skip %s: %v", wrong, err)
				}
			}
			if _, err := os.Stat(dir); err == nil {
				t.Fatal("something was written")
			}
		}
		o.Skip, o.PlanOnly = accident, false
		rep := w.restore(o)
		if rep.Replay == nil || len(rep.Replay.Plan.Skipped) != 1 || !strings.Contains(rep.Replay.Plan.Skipped[0].What, "DROP TABLE") {
			t.Errorf("%+v", rep.Replay)
		}
		w.same(dir, want)

		w.traffic(10, "later")
		w.archived()
		want = state(t, w.i)
		want.Tables["d.keep"] = keep
		o.Skip = ""
		if _, err := w.try(o); fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), accident) {
			t.Errorf("forward without it: %v", err)
		}
		o.Skip = accident
		if rep := w.restore(o); !rep.Forward {
			t.Errorf("%+v", rep)
		}
		w.same(dir, want)

		// What was left out is known for good.
		early := w.moment()
		w.traffic(10, "in front of it")
		want = state(t, w.i)
		want.Tables["d.keep"] = keep
		w.exec("CREATE TABLE IF NOT EXISTS d.keep (a INT PRIMARY KEY, b INT)")
		w.archived()
		_, err := w.try(o)
		if fault.ClassOf(err) != fault.Refused || !strings.Contains(err.Error(), "d.keep") {
			t.Errorf("the table made again: %v", err)
		}
		var told *fault.Error
		if !errors.As(err, &told) || !strings.Contains(told.Hint, "--until ") {
			t.Fatalf("no way out is named: %#v", err)
		}
		o.Until = early
		if _, err := w.try(o); fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "come further") {
			t.Errorf("up to a time, of which nobody knows whether it has gone by: %v", err)
		}
		_, o.Until, _ = strings.Cut(told.Hint, "--until ") // it is one
		if rep := w.restore(o); !rep.Resumed && !rep.Forward {
			t.Errorf("in front of it: %+v", rep)
		}
		w.same(dir, want)
		o.Until = ""
		o.Skip += "," + w.executed()
		if rep := w.restore(o); !rep.Forward {
			t.Errorf("%+v", rep)
		}
		w.same(dir, want)
	})
}

// TestSkipIsLate: when the log has been replayed and only the end is missing,
// other names change nothing any more: that is said, and not that they were left
// out. Nor when the journal does not know yet that the log is replayed.
func TestSkipIsLate(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		if !long && d.Name != servertest.Of(t, d.Flavor).Name {
			t.Skip("the other one of this vendor does")
		}
		w := newWorld(t, d)
		m := w.backup(drivers(d)[0], backup.Options{})
		w.exec("SET SESSION binlog_format = 'ROW'", "INSERT INTO d.t (b) VALUES ('one')")
		one := w.executed()
		w.exec("CREATE TABLE d.two (a INT PRIMARY KEY)")
		two := w.executed()
		w.archived()
		want := state(t, w.i)

		dir := filepath.Join(t.TempDir(), "data")
		o := w.options(dir, "")
		w.interrupted(o)
		for _, o.Skip = range []string{one, one + "," + two} {
			if rep, err := w.try(o); fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "--skip") {
				t.Errorf("--skip %s: %+v %v", o.Skip, rep.Plan, err)
			}
		}
		w.beforeReplayed(dir, m)
		for _, o.Skip = range []string{one, one + "," + two} {
			if rep, err := w.try(o); fault.ClassOf(err) != fault.Gap || !strings.Contains(err.Error(), "--skip") {
				t.Errorf("--skip %s, before the journal knows: %+v %v", o.Skip, rep.Plan, err)
			}
		}
		o.Skip = ""
		if rep := w.restore(o); !rep.Resumed {
			t.Errorf("%+v", rep)
		}
		w.same(dir, want)
	})
}

// interrupted is a restore that is interrupted when the log has just been replayed.
func (w *world) interrupted(o restore.Options) {
	w.t.Helper()
	rep, err := w.interruptWhen(o, func(s restore.Step) bool { return s.Name == restore.StepReplay && s.Seconds > 0 })
	if !errors.Is(err, context.Canceled) {
		w.t.Fatalf("%+v %v", rep, err)
	}
}

// beforeReplayed has the journal of a restore from a backup be what it was before
// it said that the log is replayed.
func (w *world) beforeReplayed(dir string, m backup.Manifest) {
	w.t.Helper()
	path := filepath.Join(dir+".restore", "journal.json")
	text, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	var j restore.Journal
	if err := json.Unmarshal(text, &j); err != nil {
		w.t.Fatal(err)
	}
	if j.State != restore.Replayed {
		w.t.Fatalf("the journal says %s", j.State)
	}
	l, err := archive.LoadServer(w.t.Context(), w.repo, "s", w.server())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range l.Files {
		if f.File == m.File {
			j.Log = &restore.Begun{Server: f.Server, File: f.File, ID: f.ID}
		}
	}
	j.State, j.Replayed, j.LeftOut = restore.Unpacked, nil, nil
	j.Base.File, j.Base.Offset, j.Base.GTIDs = m.File, m.Offset, m.GTIDs
	if text, err = json.Marshal(j); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// TestRefusedStop: who tries another stop in an unfinished restore, which the
// replay refuses, can go on by the command as it was.
func TestRefusedStop(t *testing.T) {
	w := newWorld(t, servertest.Of(t, server.MariaDB))
	m := w.backup(drivers(w.d)[0], backup.Options{})
	w.exec("SET SESSION binlog_format = 'ROW'", "INSERT INTO d.t (b) VALUES ('one')")
	one := w.executed()
	w.exec("INSERT INTO d.t (b) VALUES ('two')")
	at := w.moment()
	want := state(t, w.i)
	w.exec("INSERT INTO d.t (b) VALUES ('three')")
	w.archived()

	dir := filepath.Join(t.TempDir(), "data")
	o := w.options(dir, at)
	w.interrupted(o)
	w.beforeReplayed(dir, m)
	for _, o.Until = range []string{"gtid:" + one, m.File + ":" + itoa(m.Offset+7)} {
		if rep, err := w.try(o); fault.ClassOf(err) != fault.Gap {
			t.Errorf("until %s: %+v %v", o.Until, rep.Plan, err)
		}
	}
	o.Until = at
	if rep := w.restore(o); !rep.Resumed {
		t.Errorf("%+v", rep)
	}
	w.same(dir, want)
}
