package restore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/compare"
)

// prepared is a world with a backup and a log behind it.
func prepared(t *testing.T, flavor server.Flavor, driver string) *world {
	t.Helper()
	w := newWorld(t, servertest.Of(t, flavor))
	w.traffic(30, "before")
	w.backup(driver, backup.Options{})
	w.traffic(60, "after")
	w.archived()
	return w
}

// TestInterrupted: a restore that ends at the beginning of any of its steps goes
// on by the same command, as --plan shows, and comes to the same. Another backup is
// refused.
func TestInterrupted(t *testing.T) {
	ways := map[server.Flavor]string{server.MariaDB: backup.MariaDBBackup}
	if long {
		ways[server.MySQL] = backup.Clone
	}
	for flavor, driver := range ways {
		t.Run(string(flavor), func(t *testing.T) {
			w := prepared(t, flavor, driver)
			want := state(t, w.i)
			for n := 1; ; n++ {
				dir := filepath.Join(t.TempDir(), "data")
				name, err := w.interrupt(dir, n)
				if err == nil {
					if n < 5 {
						t.Errorf("a restore has %d steps", n-1)
					}
					return
				}
				t.Logf("interrupted at %q: %v", name, err)
				o := w.options(dir, "")
				o.Backup = "20010101T000000Z-0a1b2c"
				if _, err := w.try(o); fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "comes from backup") {
					t.Errorf("interrupted at %q, then from another backup: %v", name, err)
				}
				o.Backup, o.PlanOnly = "", true
				planned := w.restore(o)
				rep := w.restore(w.options(dir, ""))
				if !rep.Finished || !rep.Resumed {
					t.Errorf("interrupted at %q, then %+v", name, rep)
				}
				if !planned.Resumed || fmt.Sprintf("%+v", outline(planned)) != fmt.Sprintf("%+v", outline(rep)) {
					t.Errorf("interrupted at %q, it was planned\n%+v\nand done\n%+v", name, outline(planned), outline(rep))
				}
				w.same(dir, want)
			}
		})
	}
}

// outline is what a plan is about.
func outline(r *restore.Report) any {
	type leg struct{ from, server string }
	legs := []leg{}
	for _, l := range r.Plan.Legs {
		legs = append(legs, leg{l.From, l.Server})
	}
	return struct {
		backups []string
		base    restore.Base
		legs    []leg
	}{r.Plan.BackupIDs, r.Plan.Base, legs}
}

// interrupt restores up to the beginning of step n.
func (w *world) interrupt(dir string, n int) (name string, err error) {
	return w.interruptWith(w.options(dir, ""), n)
}

func (w *world) interruptWith(o restore.Options, n int) (name string, err error) {
	_, err = w.interruptWhen(o, func(s restore.Step) bool {
		if s.Seconds > 0 {
			return false
		}
		if n--; n == 0 {
			name = s.Name
		}
		return n == 0
	})
	return name, err
}

// interruptWhen ends a restore at the beginning or end of a step.
func (w *world) interruptWhen(o restore.Options, when func(restore.Step) bool) (*restore.Report, error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	o.Step = func(s restore.Step) {
		if when(s) {
			cancel()
		}
	}
	return restore.Run(ctx, o)
}

// TestWithoutGTIDs: where there are none, a restore that was replayed and then
// interrupted does not replay again, and leaves nothing of its own behind.
func TestWithoutGTIDs(t *testing.T) {
	if !long {
		t.Skip("takes a MySQL server of its own")
	}
	w := newWorldWith(t, servertest.Of(t, server.MySQL))
	w.traffic(10, "before")
	w.backup(backup.Clone, backup.Options{})
	w.traffic(30, "after")
	w.archived()
	want := state(t, w.i)
	dir := filepath.Join(t.TempDir(), "data")
	w.interrupted(w.options(dir, ""))
	rep := w.restore(w.options(dir, ""))
	for _, s := range rep.Steps {
		if s.Name == restore.StepReplay {
			t.Error("it replays once more")
		}
	}
	if !rep.Resumed || !rep.Finished {
		t.Errorf("%+v", rep)
	}
	w.same(dir, want)
}

// TestRefused: what must not be written to is not written to.
func TestRefused(t *testing.T) {
	w := prepared(t, server.MariaDB, backup.MariaDBBackup)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "ibdata1"), []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	running := servertest.Start(t, w.d)
	mysql, err := servertest.Of(t, server.MySQL).Tool("mysqld")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(o *restore.Options)
		class  fault.Class
		says   string
	}{
		"a directory with somebody's data": {func(o *restore.Options) { o.Dir = full }, fault.Refused, "not empty"},
		"the directory of a live server":   {func(o *restore.Options) { o.Dir = running.DataDir() }, fault.Refused, "works in it"},
		"no directory":                     {func(o *restore.Options) { o.Dir = "" }, fault.Usage, "missing"},
		"no server program":                {func(o *restore.Options) { o.Mysqld = "/bin/false" }, fault.Usage, "--mysqld"},
		"the other vendor's server":        {func(o *restore.Options) { o.Mysqld = mysql }, fault.Usage, "the backup is of"},
		"before every backup":              {func(o *restore.Options) { o.Until = "2001-01-01T00:00:00Z" }, fault.Gap, "every backup was finished after"},
		"after the end of the log":         {func(o *restore.Options) { o.Until = "2101-01-01T00:00:00Z" }, fault.Gap, ""},
		"a time without a zone":            {func(o *restore.Options) { o.Until = "2026-01-01 00:00:00" }, fault.Usage, "zone"},
		"a backup that is not there":       {func(o *restore.Options) { o.Backup = "x" }, fault.Gap, "not there"},
		"a set that is not there":          {func(o *restore.Options) { o.Set = "other" }, fault.Gap, "no backup"},
	} {
		o := w.options(filepath.Join(t.TempDir(), "data"), "")
		c.change(&o)
		_, err := restore.Run(t.Context(), o)
		if fault.ClassOf(err) != c.class || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v (class %d), want class %d, %q", name, err, fault.ClassOf(err), c.class, c.says)
		}
	}
	if text, err := os.ReadFile(filepath.Join(full, "ibdata1")); err != nil || string(text) != "somebody's" {
		t.Errorf("%q %v", text, err)
	}
}

// TestTwoAtOnce: a second restore into the same directory is told to wait.
func TestTwoAtOnce(t *testing.T) {
	w := prepared(t, server.MariaDB, backup.MariaDBBackup)
	dir := filepath.Join(t.TempDir(), "data")
	o := w.options(dir, "")
	var second error
	ctx, cancel := context.WithCancel(t.Context())
	o.Step = func(s restore.Step) {
		if s.Name == "start a private server" {
			_, second = restore.Run(t.Context(), w.options(dir, ""))
			cancel()
		}
	}
	if _, err := restore.Run(ctx, o); err == nil {
		t.Fatal("it went on")
	}
	if fault.ClassOf(second) != fault.Busy {
		t.Errorf("a second one: %v", second)
	}
}

// TestAnotherStop: a restore that was interrupted at any step may be given
// another stop. It comes to that one, or to none that was not asked for: what
// lies behind a later stop already is refused.
func TestAnotherStop(t *testing.T) {
	w := newWorld(t, servertest.Of(t, server.MariaDB))
	w.traffic(10, "before")
	tooEarly := w.moment()
	w.backup(backup.MariaDBBackup, backup.Options{})
	stops := []string{}
	wants := map[string]compare.State{}
	for _, tag := range []string{"first", "second", "third"} {
		w.traffic(20, tag)
		stops = append(stops, w.moment())
		wants[stops[len(stops)-1]] = state(t, w.i)
	}
	w.traffic(20, "last")
	w.archived()
	stops, wants[""] = append(stops, ""), state(t, w.i)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	reached, refused := 0, 0
	for n, more := 1, true; more; n++ {
		dir := filepath.Join(t.TempDir(), "data")
		from, to := stops[r.IntN(len(stops))], stops[r.IntN(len(stops))]
		name, err := w.interruptWith(w.options(dir, from), n)
		if more = err != nil; !more {
			break
		}
		if _, err := w.try(w.options(dir, tooEarly)); fault.ClassOf(err) != fault.Gap && fault.ClassOf(err) != fault.Usage {
			t.Errorf("interrupted at %q, then up to before the backup: %v", name, err)
		}
		rep, err := w.try(w.options(dir, to))
		switch {
		case err == nil:
			reached++
			if !rep.Finished || !rep.Resumed {
				t.Errorf("interrupted at %q on the way to %q, then to %q: %+v", name, from, to, rep)
			}
			w.same(dir, wants[to])
			for _, before := range append([]string{tooEarly}, stops[:slices.Index(stops, to)]...) { // there is no way back
				if _, err := w.try(w.options(dir, before)); fault.ClassOf(err) != fault.Gap {
					t.Errorf("it is at %q, then to %q: %v", to, before, err)
				}
			}
			w.same(dir, wants[to])
		case fault.ClassOf(err) == fault.Gap || fault.ClassOf(err) == fault.Usage:
			refused++
			t.Logf("interrupted at %q on the way to %q, then to %q: %v", name, from, to, err)
			w.restore(w.options(dir, from))
			w.same(dir, wants[from])
		default:
			t.Errorf("interrupted at %q on the way to %q, then to %q: %v", name, from, to, err)
		}
	}
	if reached == 0 {
		t.Error("none was reached")
	}
	t.Logf("%d reached, %d refused", reached, refused)
}

// TestDamage: an object that is not what was written ends the restore, with its
// name and nothing restored.
func TestDamage(t *testing.T) {
	w := prepared(t, server.MariaDB, backup.MariaDBBackup)
	for _, what := range []string{"backups", "logs"} {
		var names []string
		for e, err := range w.repo.List(t.Context(), "s/"+what+"/") {
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(e.Name, "closed") && !strings.Contains(e.Name, "manifest") {
				names = append(names, e.Name)
			}
		}
		victim := filepath.Join(w.url, names[len(names)/2])
		whole, err := os.ReadFile(victim)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string][]byte{"a bit": flip(whole), "cut off": whole[:len(whole)-1], "empty": {}} {
			if err := replace(victim, text); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "data")
			rep, err := restore.Run(t.Context(), w.options(dir, ""))
			if last := rep.Steps[len(rep.Steps)-1]; last.Error == "" || last.Seconds == 0 {
				t.Errorf("%s: %s: the step that failed is not in the report: %+v", what, name, rep.Steps)
			}
			if fault.ClassOf(err) != fault.VerifyFailed || !errors.Is(err, repository.ErrDamaged) || !strings.Contains(err.Error(), filepath.Base(victim)) {
				t.Errorf("%s: %s: %v", what, name, err)
			}
		}
		if err := replace(victim, whole); err != nil {
			t.Fatal(err)
		}
	}
}

func flip(whole []byte) []byte {
	text := append([]byte(nil), whole...)
	text[len(text)/2] ^= 4
	return text
}

// replace changes a file that is only readable.
func replace(path string, text []byte) error {
	return errors.Join(os.Remove(path), os.WriteFile(path, text, 0o600))
}

// TestFullDisk: a target that is too small is told before anything is written;
// one that becomes full ends with its own code, and the restore goes on when
// there is space.
func TestFullDisk(t *testing.T) {
	w := prepared(t, server.MariaDB, backup.MariaDBBackup)
	want := state(t, w.i)
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatalf("mount (this test needs root): %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mnt, unix.MNT_DETACH) })
	dir := filepath.Join(mnt, "data")
	if _, err := restore.Run(t.Context(), w.options(dir, "")); fault.ClassOf(err) != fault.NoSpace {
		t.Errorf("8 MiB: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the target has been made")
	}
	plan := w.restore(restore.Options{Repository: w.repo, Set: "s", Dir: dir, PlanOnly: true}).Plan
	if err := unix.Mount("", mnt, "", unix.MS_REMOUNT, "size="+itoa(plan.SpaceNeeded+1<<20)); err != nil {
		t.Fatal(err)
	}
	// Somebody else takes the space meanwhile.
	o := w.options(dir, "")
	hog := filepath.Join(mnt, "hog")
	o.Step = func(s restore.Step) {
		if s.Name == "unpack the backup" && s.Seconds == 0 {
			_ = os.WriteFile(hog, make([]byte, plan.SpaceNeeded-40<<20), 0o600)
		}
	}
	if _, err := restore.Run(t.Context(), o); fault.ClassOf(err) != fault.NoSpace {
		t.Errorf("full meanwhile: %v (class %d)", err, fault.ClassOf(err))
	}
	if err := errors.Join(os.Remove(hog), unix.Mount("", mnt, "", unix.MS_REMOUNT, "size=1g")); err != nil {
		t.Fatal(err)
	}
	if rep := w.restore(w.options(dir, "")); !rep.Finished {
		t.Errorf("%+v", rep)
	}
	w.same(dir, want)
}
