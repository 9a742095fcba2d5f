package retain

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/test/deposit"
)

// world is a repository with three full backups, two of them with increments, a
// day apart, the logs of two servers, and what a backup that was killed has left.
type world struct {
	t   *testing.T
	r   *repository.Repository
	dir string
	ids []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	w.r, w.dir = deposit.New(t, false)
	data := [][]byte{[]byte("one"), bytes.Repeat([]byte("two"), 50)}
	parent := ""
	for n, kind := range "fiififf" {
		at := day.AddDate(0, 0, n)
		m := backup.Manifest{ID: deposit.ID(at, n), Set: "s", Started: at, Finished: at.Add(time.Hour), Server: "a",
			File: logName(n), Offset: 104, GTIDs: gtids(10*n + 5), ToLSN: uint64(n + 1)}
		if kind == 'i' {
			m.Parent, m.FromLSN = parent, uint64(n)
		}
		parent = m.ID
		w.ids = append(w.ids, m.ID)
		deposit.Backup{Manifest: m, Data: data, Inline: 1}.Put(t, w.r)
	}
	for _, server := range []string{"a", "b"} {
		for n := range 7 {
			w.logFile(server, n)
		}
	}
	w.leftover(deposit.ID(day, 99))
	return w
}

func logName(n int) string { return fmt.Sprintf("bin.%06d", n+1) }

func gtids(last int) string {
	if last == 0 {
		return ""
	}
	return fmt.Sprintf("%s:1-%d", source, last)
}

// logFile puts a file of ten transactions; the last one is open.
func (w *world) logFile(server string, n int) {
	w.t.Helper()
	previous := gtids(10 * n)
	at := day.AddDate(0, 0, n)
	f := deposit.LogFile{Summary: archive.Summary{Server: server, File: logName(n), ID: deposit.FileID(logName(n)), Flavor: "mysql", Previous: &previous, Begun: at, Archived: at}}
	for k := range 2 {
		from := 10*n + 5*k
		f.Segments = append(f.Segments, deposit.Content{Transactions: 5, GTIDs: fmt.Sprintf("%s:%d-%d", source, from+1, from+5)})
	}
	if n < 6 {
		f.Next = logName(n + 1)
	}
	f.Put(w.t, w.r, "s", fmt.Sprintf("%s:%d-%d", source, 10*n+1, 10*n+10))
}

// leftover puts a part of a backup that was killed days ago.
func (w *world) leftover(id string) {
	w.t.Helper()
	name, _, err := w.r.Put(w.t.Context(), folder("s", id)+"000001", "backup-part", map[string]any{"backup": id, "part": 1}, []byte("x"))
	if err != nil {
		w.t.Fatal(err)
	}
	at := time.Now().Add(-72 * time.Hour)
	if err := os.Chtimes(filepath.Join(w.dir, filepath.FromSlash(name)), at, at); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) plan() Decision {
	w.t.Helper()
	inv, err := Survey(w.t.Context(), w.r, "s")
	if err != nil {
		w.t.Fatal(err)
	}
	return Plan(inv, Policy{KeepFull: 2}, time.Now())
}

func (w *world) names(prefix string) (list []string) {
	w.t.Helper()
	for e, err := range w.r.List(w.t.Context(), prefix) {
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, e.Name)
	}
	return list
}

// check says that what is listed is whole: backups with their parts and parents,
// and logs that lead on from each of the last two.
func (w *world) check() {
	w.t.Helper()
	all, bad, err := backup.List(w.t.Context(), w.r, "s")
	if err != nil || len(bad) > 0 {
		w.t.Fatal(bad, err)
	}
	for _, m := range all {
		if _, err := backup.Chain(all, m.ID); err != nil {
			w.t.Error(err)
		}
		s := backup.Open(w.t.Context(), w.r, m, 1)
		if _, err := new(bytes.Buffer).ReadFrom(s); err != nil {
			w.t.Error(err)
		}
		s.Close()
	}
	logs, err := archive.Load(w.t.Context(), w.r, "s")
	if err != nil || len(logs) != 2 {
		w.t.Fatalf("%v, %d logs", err, len(logs))
	}
	for _, l := range logs {
		w.checkLog(l, all)
	}
}

// checkLog says that a log leads on from every backup that is listed, and that
// no part of a file is taken for a file.
func (w *world) checkLog(l archive.Log, all []backup.Manifest) {
	w.t.Helper()
	for _, m := range all {
		i, ok := entry(l, m)
		if !ok {
			w.t.Errorf("the log of %s does not lead on from %s", l.Server, m.ID)
			continue
		}
		for ; i < len(l.Files); i++ {
			if f := l.Files[i]; f.Hole() || l.Apart(i) != "" || f.End != 204 {
				w.t.Errorf("from %s on %s of %s ends at %d: %s", m.ID, f.File, l.Server, f.End, l.Apart(i))
			}
		}
	}
	for _, f := range l.Files {
		if f.End != 204 && f.End != 4 {
			w.t.Errorf("%s of %s is taken for one that ends at %d", f.File, l.Server, f.End)
		}
	}
}

func (w *world) apply(d Decision, deleted func(string) error) error {
	a := applier{repo: w.r, Decision: d, deleted: deleted}
	return a.run(w.t.Context())
}

// TestApply: what was decided goes, and nothing else.
func TestApply(t *testing.T) {
	w := newWorld(t)
	d := w.plan()
	stay := map[string]bool{}
	for _, id := range w.ids[5:] {
		stay[id] = true
	}
	for _, b := range d.Backups {
		if b.Goes == stay[b.ID] {
			t.Errorf("%+v", b)
		}
	}
	if err := Apply(t.Context(), w.r, d); err != nil {
		t.Fatal(err)
	}
	w.check()
	for _, name := range w.names("") {
		old := strings.Contains(name, "/bin.00000") && name < "s/logs/"+name[7:8]+"/bin.000006"
		if strings.Contains(name, "/backups/") && !stay[strings.Split(name, "/")[2]] || old || strings.Contains(name, "/leases/") {
			t.Errorf("%s is still there", name)
		}
	}
	if again := w.plan(); len(again.going(t)) > 0 {
		t.Errorf("what is left is not what stays: %+v", again)
	}
	if err := Apply(t.Context(), w.r, d); err != nil {
		t.Errorf("once more: %v", err)
	}
	w.check()
}

// going is what goes.
func (d Decision) going(t *testing.T) (list []string) {
	t.Helper()
	for i := range d.Items() {
		if i.Goes {
			list = append(list, i.What)
		}
	}
	return list
}

// TestKilled: killed after any number of deletions, what is left is whole, and
// the rest goes when it is planned and applied again, to the same end.
func TestKilled(t *testing.T) {
	whole := newWorld(t)
	total := 0
	if err := whole.apply(whole.plan(), func(string) error { total++; return nil }); err != nil {
		t.Fatal(err)
	}
	want := shape(whole.names(""))
	t.Logf("%d deletions", total)
	w := newWorld(t)
	for n := 0; ; n++ {
		killed := false
		err := w.apply(w.plan(), func(string) error { killed = true; return errKilled })
		if !killed {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		w.check()
		if n > 2*total {
			t.Fatal("it does not come to an end")
		}
		w.again()
	}
	w.check()
	if got := shape(w.names("")); !slices.Equal(got, want) {
		t.Errorf("left is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// again makes a day of what was killed: leases have run out, and what lies about
// is old.
func (w *world) again() {
	w.t.Helper()
	for _, name := range w.names("s/leases/") {
		if err := w.r.Delete(w.t.Context(), name); err != nil {
			w.t.Fatal(err)
		}
	}
	at := time.Now().Add(-72 * time.Hour)
	for _, name := range w.names("") {
		if err := os.Chtimes(filepath.Join(w.dir, filepath.FromSlash(name)), at, at); err != nil {
			w.t.Fatal(err)
		}
	}
}

// shape is names without hashes.
func shape(names []string) (list []string) {
	for _, name := range names {
		list = append(list, name[:strings.LastIndexByte(name, '-')])
	}
	return list
}

// TestKilledAnywhere: also a run that gets further before it is killed leaves
// what is whole.
func TestKilledAnywhere(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		left := n
		err := w.apply(w.plan(), func(string) error {
			if left--; left == 0 {
				return errKilled
			}
			return nil
		})
		w.check()
		if err == nil {
			return
		}
		n += 6 // not all: TestKilled is killed at each of them
	}
}

// TestOrder: manifests go before parts, increments before their parents, all
// backups before logs, old files before younger ones, what closes a file last.
func TestOrder(t *testing.T) {
	w := newWorld(t)
	var order []string
	if err := w.apply(w.plan(), func(name string) error { order = append(order, name); return nil }); err != nil {
		t.Fatal(err)
	}
	at := func(text string) int {
		i := slices.IndexFunc(order, func(name string) bool { return strings.Contains(name, text) })
		if i < 0 {
			t.Errorf("nothing of %s goes", text)
		}
		return i
	}
	for _, pair := range [][2]string{
		{w.ids[0] + "/manifest", w.ids[0] + "/000001"},
		{w.ids[0] + "/manifest", w.ids[0] + "/parts"},
		{w.ids[2] + "/manifest", w.ids[1] + "/manifest"},
		{w.ids[1] + "/manifest", w.ids[0] + "/manifest"},
		{w.ids[0] + "/manifest", w.ids[4] + "/manifest"},
		{w.ids[4] + "/manifest", w.ids[3] + "/manifest"},
		{w.ids[3] + "/000002", "logs/a/bin.000001"},
		{"logs/a/bin.000001." + deposit.FileID("bin.000001") + "/000000000004", "logs/a/bin.000001." + deposit.FileID("bin.000001") + "/000000000104"},
		{"logs/a/bin.000001." + deposit.FileID("bin.000001") + "/000000000104", "logs/a/bin.000001." + deposit.FileID("bin.000001") + "/closed"},
		{"logs/a/bin.000001", "logs/a/bin.000002"},
	} {
		if at(pair[0]) >= at(pair[1]) {
			t.Errorf("%s goes after %s", pair[0], pair[1])
		}
	}
}

// TestInUse: a backup that comes into use after the plan was made, or while it
// is carried out, stays; a new plan keeps it.
func TestInUse(t *testing.T) {
	w := newWorld(t)
	d := w.plan()
	_, release, err := Hold(t.Context(), w.r, "s", WhatRestore, w.ids[3])
	if err != nil {
		t.Fatal(err)
	}
	before := w.names("s/backups/")
	if err := Apply(t.Context(), w.r, d); fault.ClassOf(err) != fault.Busy {
		t.Fatalf("%v", err)
	}
	if got := w.names("s/backups/"); !slices.Equal(got, before) {
		t.Errorf("of %d objects %d are there", len(before), len(got))
	}
	if err := Apply(t.Context(), w.r, w.plan()); err != nil {
		t.Fatal(err)
	}
	all, _, err := backup.List(t.Context(), w.r, "s")
	if err != nil || len(all) != 4 || all[0].ID != w.ids[3] {
		t.Errorf("%v %v", all, err)
	}
	release()
	if left := w.names("s/leases/"); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	if err := Apply(t.Context(), w.r, w.plan()); err != nil {
		t.Fatal(err)
	}
	w.check()
}

// TestHoldWhileExpiring: of what is being expired nothing can be held; of the
// rest everything.
func TestHoldWhileExpiring(t *testing.T) {
	w := newWorld(t)
	tried := false
	err := w.apply(w.plan(), func(string) error {
		if tried {
			return nil
		}
		tried = true
		if _, _, err := Hold(t.Context(), w.r, "s", WhatRestore, w.ids[4]); fault.ClassOf(err) != fault.Busy {
			t.Errorf("%v", err)
		}
		_, release, err := Hold(t.Context(), w.r, "s", WhatRestore, w.ids[6])
		if err != nil {
			return err
		}
		t.Cleanup(release)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if left := w.names("s/leases/"); len(left) != 1 {
		t.Errorf("%v is left", left)
	}
}

// TestLeaseSeenBetween: leases are read again before each backup goes: one that
// somebody puts without looking for an expire is seen.
func TestLeaseSeenBetween(t *testing.T) {
	w := newWorld(t)
	err := w.apply(w.plan(), func(name string) error {
		if !strings.Contains(name, w.ids[2]+"/000002") { // the first to go
			return nil
		}
		h := newHolder(w.r, "s", WhatRestore, leaseLife, w.ids[:1])
		return h.renew(t.Context())
	})
	if fault.ClassOf(err) != fault.Busy {
		t.Errorf("%v", err)
	}
	all, _, err := backup.List(t.Context(), w.r, "s")
	if err != nil || all[0].ID != w.ids[0] {
		t.Errorf("%v %v", all, err)
	}
}

// TestNewIncrement: a backup that was taken after the plan, to one that goes,
// keeps everything.
func TestNewIncrement(t *testing.T) {
	w := newWorld(t)
	d := w.plan()
	at := day.AddDate(0, 0, 9)
	deposit.Backup{Manifest: backup.Manifest{ID: deposit.ID(at, 9), Set: "s", Parent: w.ids[4], Server: "a", FromLSN: 5, ToLSN: 9, Started: at, Finished: at},
		Data: [][]byte{[]byte("x")}}.Put(t, w.r)
	before := w.names("s/backups/")
	if err := Apply(t.Context(), w.r, d); fault.ClassOf(err) != fault.Busy {
		t.Errorf("%v", err)
	}
	if got := w.names("s/backups/"); !slices.Equal(got, before) {
		t.Errorf("of %d objects %d are there", len(before), len(got))
	}
	if fates := w.plan(); slices.ContainsFunc(fates.Backups, func(b BackupFate) bool { return b.Goes && b.ID >= w.ids[3] }) {
		t.Error(fates)
	}
}

// TestRenewed: a lease gets a new object before it runs out, and there is always
// one; when it is released there is none.
func TestRenewed(t *testing.T) {
	r, _ := deposit.New(t, false)
	_, release, err := hold(t.Context(), r, "s", WhatBackup, 300*time.Millisecond, []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for len(seen) < 4 {
		list, err := Leases(t.Context(), r, "s")
		if err != nil || len(list) == 0 || list[0].What != WhatBackup || !slices.Equal(list[0].Backups, []string{"x"}) {
			t.Fatalf("%+v %v", list, err)
		}
		for _, l := range list {
			seen[l.Object] = true
		}
	}
	release()
	if list, err := Leases(t.Context(), r, "s"); err != nil || len(list) > 0 {
		t.Errorf("%+v %v", list, err)
	}
}

// TestDamagedLease: it may name anything, until it would have been renewed.
func TestDamagedLease(t *testing.T) {
	w := newWorld(t)
	d := w.plan()
	h := newHolder(w.r, "s", WhatBackup, leaseLife, nil)
	if err := h.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, filepath.FromSlash(h.lease.Object))
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("x"), 0o400)); err != nil {
		t.Fatal(err)
	}
	if again := w.plan(); len(again.going(t)) > 0 {
		t.Error(again)
	}
	if err := Apply(t.Context(), w.r, d); fault.ClassOf(err) != fault.Busy {
		t.Errorf("%v", err)
	}
	at := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	if err := Apply(t.Context(), w.r, d); err != nil {
		t.Error(err)
	}
	if left := w.names("s/leases/"); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// TestForgedDecision: a decision is JSON that people may change: nothing outside
// of the set's logs is taken for a file of them.
func TestForgedDecision(t *testing.T) {
	w := newWorld(t)
	before := w.names("")
	for _, at := range []string{"s/backups/", "", "s/logs", "other/logs/a/x/"} {
		d := Decision{Set: "s", Logs: []FileFate{{Folder: at, Fate: Fate{Goes: true}}}}
		if err := Apply(t.Context(), w.r, d); err == nil {
			t.Errorf("%q", at)
		}
	}
	if got := w.names(""); !slices.Equal(got, before) {
		t.Errorf("of %d objects %d are there", len(before), len(got))
	}
}

// TestLeaseFlips: a lease of which any bit is another is not believed, and keeps
// everything: 1,000 times in the long tests.
func TestLeaseFlips(t *testing.T) {
	seed, flips := uint64(time.Now().UnixNano()), 50
	if long {
		flips = 1000
	}
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, encrypted := range []bool{false, true} {
		r, dir := deposit.New(t, encrypted)
		h := newHolder(r, "s", WhatRestore, leaseLife, []string{"x"})
		if err := h.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.lease.Object))
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for range flips {
			bad, at := slices.Clone(good), rnd.IntN(8*len(good))
			bad[at/8] ^= 1 << (at % 8)
			if err := errors.Join(os.Remove(path), os.WriteFile(path, bad, 0o400)); err != nil {
				t.Fatal(err)
			}
			all, err := Leases(t.Context(), r, "s")
			if err != nil || len(all) != 1 || !strings.Contains(all[0].Unreadable, h.lease.Object) {
				t.Fatalf("bit %d: %+v %v", at, all, err)
			}
			if err := (Lease{What: WhatExpire, Backups: []string{"y"}}).conflict(all, time.Now()); fault.ClassOf(err) != fault.Busy {
				t.Fatalf("bit %d: an expire goes on: %v", at, err)
			}
		}
	}
}
