package verify_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
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
	"github.com/lifeboat-db/lifeboat/internal/verify"
	"github.com/lifeboat-db/lifeboat/test/deposit"
)

// random is a source of a test, whose seed is printed.
func random(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

const (
	uuid  = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	maria = "mariadb-7"
)

// world is a repository with a set: a full backup with an increment, and the
// logs of a MySQL server and a MariaDB one, two files each.
type world struct {
	t     *testing.T
	r     *repository.Repository
	dir   string
	full  backup.Manifest
	inc   backup.Manifest
	logs  map[string][][]string // by server: the objects of each file
	other string                // objects of another set
}

// kinds are repositories of both kinds.
func kinds(t *testing.T, test func(t *testing.T, w *world)) {
	for _, kind := range []string{"plain", "encrypted"} {
		t.Run(kind, func(t *testing.T) { test(t, newWorld(t, kind == "encrypted")) })
	}
}

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func newWorld(t *testing.T, encrypted bool) *world {
	t.Helper()
	w := &world{t: t, logs: map[string][][]string{}}
	w.r, w.dir = deposit.New(t, encrypted)
	data := [][]byte{[]byte("one"), bytes.Repeat([]byte("two"), 100), []byte("three")}
	w.full = deposit.Backup{Manifest: backup.Manifest{Set: "s", ID: deposit.ID(noon, 1), Started: noon, Finished: noon}, Data: data, Inline: 2}.Put(t, w.r)
	w.inc = deposit.Backup{Manifest: backup.Manifest{Set: "s", ID: deposit.ID(noon.Add(time.Hour), 2), Parent: w.full.ID, FromLSN: 100, ToLSN: 200}, Data: data[:1]}.Put(t, w.r)
	w.log(uuid, "mysql", func(first, last int) string { return fmt.Sprintf("%s:%d-%d", uuid, first, last) })
	w.log(maria, "mariadb", func(_, last int) string { return fmt.Sprintf("0-7-%d", last) })
	w.other = deposit.Segment(t, w.r, "other", archive.Summary{Server: "x", File: "bin.000001", ID: "00", Flavor: "mysql", Start: 4, End: 8})
	return w
}

// log puts a log of two files: transactions 1 to 30 and 31 to 40, ten in each
// segment; the second file is not closed.
func (w *world) log(server, flavor string, gtids func(first, last int) string) {
	w.t.Helper()
	none, before := "", gtids(1, 30)
	file := func(n int, previous *string) archive.Summary {
		name := fmt.Sprintf("bin.%06d", n)
		return archive.Summary{Server: server, File: name, ID: deposit.FileID(name), Flavor: flavor, Previous: previous, Begun: noon, Archived: noon}
	}
	first := deposit.LogFile{Summary: file(1, &none), Next: "bin.000002"}
	for n := range 3 {
		first.Segments = append(first.Segments, deposit.Content{Transactions: 10, GTIDs: gtids(10*n+1, 10*n+10)})
	}
	second := deposit.LogFile{Summary: file(2, &before), Segments: []deposit.Content{{Transactions: 10, GTIDs: gtids(31, 40)}}}
	w.logs[server] = [][]string{first.Put(w.t, w.r, "s", before), second.Put(w.t, w.r, "s", "")}
}

func (w *world) options() verify.Options {
	return verify.Options{Repository: w.r, Set: "s", Decrypt: true}
}

func (w *world) run(o verify.Options) (*verify.Report, error) { return verify.Run(w.t.Context(), o) }

func (w *world) path(name string) string { return filepath.Join(w.dir, filepath.FromSlash(name)) }

func (w *world) stored(name string) []byte {
	w.t.Helper()
	data, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}

// place puts bytes under a name, as a disk or a thief would.
func (w *world) place(name string, stored []byte) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o700); err != nil {
		w.t.Fatal(err)
	}
	_ = os.Remove(w.path(name))
	if err := os.WriteFile(w.path(name), stored, 0o400); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(name string) {
	w.t.Helper()
	if err := os.Remove(w.path(name)); err != nil {
		w.t.Fatal(err)
	}
}

// age makes everything look as if stored two days ago.
func (w *world) age() {
	w.t.Helper()
	at := time.Now().Add(-48 * time.Hour)
	for e, err := range w.r.List(w.t.Context(), "") {
		if err != nil {
			w.t.Fatal(err)
		}
		if err := os.Chtimes(w.path(e.Name), at, at); err != nil {
			w.t.Fatal(err)
		}
	}
}

// types are objects of each type, with what is lost by each.
func (w *world) types() []target {
	list := "s/backups/" + w.full.ID + "/" + w.full.PartLists[0]
	both := []string{w.full.ID, w.inc.ID}
	sql, md := w.logs[uuid][0], w.logs[maria][0]
	return []target{
		{"part", w.full.PartObject(2), verify.Lost{Backups: both}},
		{"part of an increment", w.inc.PartObject(1), verify.Lost{Backups: both[1:]}},
		{"list of parts", list, verify.Lost{Backups: both}},
		{"manifest", w.full.Object, verify.Lost{Backups: both}},
		{"segment", sql[1], w.lost(uuid, 104, 204, uuid+":11-20", "")},
		{"last segment of a file", sql[2], w.lost(uuid, 204, 304, uuid+":21-30", "")},
		{"MariaDB's segment", md[1], w.lost(maria, 104, 204, "0-7-20", "0-7-10")},
		{"MySQL's closed file", sql[3], w.lost(uuid, 4, 304, uuid+":1-30", "")},
		{"MariaDB's closed file", md[3], w.lost(maria, 4, 304, "0-7-30", "")},
	}
}

type target struct {
	what, object string
	lost         verify.Lost
}

func (w *world) lost(server string, start, end int64, gtids, after string) verify.Lost {
	return verify.Lost{Log: &verify.Range{Server: server, File: "bin.000001", ID: deposit.FileID("bin.000001"), Start: start, End: end, GTIDs: gtids, After: after}}
}

func asJSON(v any) string {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// wantClass checks the class of a run that found something.
func wantClass(t *testing.T, rep *verify.Report, err error, want fault.Class) {
	t.Helper()
	if err == nil || fault.ClassOf(err) != want || rep == nil {
		t.Fatalf("%v, want class %d\n%s", err, want, asJSON(rep))
	}
}

// finding is the one about an object.
func finding(t *testing.T, rep *verify.Report, object string) verify.Finding {
	t.Helper()
	i := slices.IndexFunc(rep.Findings, func(f verify.Finding) bool { return f.Object == object })
	if i < 0 {
		t.Fatalf("nothing is found about %s: %s", object, asJSON(rep.Findings))
	}
	return rep.Findings[i]
}

func (w *world) clean(o verify.Options) *verify.Report {
	w.t.Helper()
	rep, err := w.run(o)
	if err != nil || len(rep.Findings) > 0 || !rep.Complete {
		w.t.Fatalf("%v\n%s", err, asJSON(rep))
	}
	return rep
}

// TestWhole: of what is as it was written nothing is found, with and without
// keys; another set is not looked at, unless all are.
func TestWhole(t *testing.T) {
	kinds(t, func(t *testing.T, w *world) {
		o := w.options()
		rep := w.clean(o)
		if rep.Checked != 17 || rep.Objects != 17 || !rep.Content || rep.CheckedBytes != rep.Bytes {
			t.Error(asJSON(rep))
		}
		o.Set = ""
		if rep = w.clean(o); rep.Checked != 18 || !slices.Equal(rep.Sets, []string{"other", "s"}) {
			t.Error(asJSON(rep))
		}
		o.Decrypt = false
		if rep = w.clean(o); rep.Content != (len(w.r.Recipients()) == 0) {
			t.Error(asJSON(rep))
		}
	})
}

// TestFlips: a single flipped bit of an object is found, whichever it is, and
// what is lost by it is named: 1,000 times for each type of object in the long
// tests, and some times in the others.
func TestFlips(t *testing.T) {
	kinds(t, func(t *testing.T, w *world) {
		rnd := random(t)
		for _, target := range w.types() {
			t.Run(target.what, func(t *testing.T) {
				good := w.stored(target.object)
				defer w.place(target.object, good)
				for range flips() {
					bad, at := slices.Clone(good), rnd.IntN(8*len(good))
					bad[at/8] ^= 1 << (at % 8)
					w.place(target.object, bad)
					o := w.options()
					o.Decrypt = rnd.IntN(2) == 0
					w.wantLost(t, o, target, fmt.Sprintf("bit %d", at))
				}
			})
		}
		w.clean(w.options())
	})
}

func flips() int {
	if long {
		return 1000
	}
	return 20
}

func (w *world) wantLost(t *testing.T, o verify.Options, target target, what string) {
	t.Helper()
	rep, err := w.run(o)
	wantClass(t, rep, err, fault.VerifyFailed)
	f := finding(t, rep, target.object)
	if f.Kind != verify.Damaged {
		t.Fatalf("%s: %s", what, f)
	}
	for _, other := range rep.Findings {
		if other.Kind != verify.Damaged {
			t.Fatalf("%s: one object is damaged, and found is %s", what, other)
		}
	}
	// Positions have no difference: what MariaDB's bytes reached stands in their
	// own header only, which may be what is damaged.
	if l := f.Lost.Log; l != nil && l.After != "" && l.Unproven && l.GTIDs != "" {
		l.GTIDs, l.Unproven = target.lost.Log.GTIDs, false
	}
	if asJSON(f.Lost) != asJSON(target.lost) {
		t.Fatalf("%s: lost is\n%s\nwant\n%s", what, asJSON(f.Lost), asJSON(target.lost))
	}
}

// TestRestoreFindsFlips: what verify finds, reading for a restore does as well.
func TestRestoreFindsFlips(t *testing.T) {
	kinds(t, func(t *testing.T, w *world) {
		rnd := random(t)
		for _, target := range w.types() {
			good := w.stored(target.object)
			for range flips() {
				bad, at := slices.Clone(good), rnd.IntN(8*len(good))
				bad[at/8] ^= 1 << (at % 8)
				w.place(target.object, bad)
				w.restoreFinds(target, fmt.Sprintf("bit %d", at))
			}
			w.place(target.object, good)
		}
		if err := w.readAll(); err != nil {
			t.Error(err)
		}
	})
}

// restoreFinds says that reading for a restore ends with the object's name.
func (w *world) restoreFinds(target target, what string) {
	w.t.Helper()
	if err := w.readAll(); fault.ClassOf(err) != fault.VerifyFailed || !strings.Contains(err.Error(), target.object) {
		w.t.Fatalf("%s: %s: %v", target.what, what, err)
	}
}

// TestRestoreFindsOtherDamage: so do objects that are cut short, empty, longer,
// another's, or of a former time; what is not there is missed, if it is needed.
func TestRestoreFindsOtherDamage(t *testing.T) {
	kinds(t, func(t *testing.T, w *world) {
		rnd := random(t)
		targets := w.types()
		for i, target := range targets {
			good := w.stored(target.object)
			for what, bad := range map[string][]byte{
				"cut short": good[:rnd.IntN(len(good)-1)+1], "empty": {}, "longer": append(slices.Clone(good), 0),
				"swapped": w.stored(targets[(i+1)%len(targets)].object), "stale": w.stored(w.other),
			} {
				w.place(target.object, bad)
				w.restoreFinds(target, what)
			}
			w.remove(target.object)
			if err := w.readAll(); err == nil {
				t.Errorf("%s: is not there, and not missed", target.what)
			}
			w.place(target.object, good)
		}
		if err := w.readAll(); err != nil {
			t.Error(err)
		}
	})
}

// readAll reads what a restore would, from each backup and of each log.
func (w *world) readAll() error {
	all, bad, err := backup.List(w.t.Context(), w.r, "s")
	if err := errors.Join(append(bad, err)...); err != nil {
		return err
	}
	for _, m := range all {
		if _, err := backup.Chain(all, m.ID); err != nil {
			return err
		}
		s := backup.Open(w.t.Context(), w.r, m, 1)
		_, err := new(bytes.Buffer).ReadFrom(s)
		s.Close()
		if err != nil {
			return err
		}
	}
	logs, err := archive.Load(w.t.Context(), w.r, "s")
	if err != nil {
		return err
	}
	for _, l := range logs {
		if len(l.Gaps()) > 0 {
			return fmt.Errorf("%v", l.Gaps())
		}
		for _, f := range l.Files {
			if f.Hole() {
				return fmt.Errorf("%s: a hole behind %d", f.File, f.End)
			}
			if _, err := archive.Fetch(w.t.Context(), w.r, f, w.t.TempDir()); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestOtherDamage: objects that are cut short, empty, longer, another's, or of a
// former time.
func TestOtherDamage(t *testing.T) {
	kinds(t, func(t *testing.T, w *world) {
		rnd := random(t)
		targets := w.types()
		for i, target := range targets {
			good := w.stored(target.object)
			for what, bad := range map[string][]byte{
				"cut short": good[:rnd.IntN(len(good)-1)+1], "empty": {}, "longer": append(slices.Clone(good), 0),
				"swapped": w.stored(targets[(i+1)%len(targets)].object),
				"stale":   w.stored(w.other),
			} {
				w.place(target.object, bad)
				w.wantLost(t, w.options(), target, target.what+" "+what)
			}
			w.place(target.object, good)
		}
		one, two := targets[0].object, targets[4].object
		first, second := w.stored(one), w.stored(two)
		w.place(one, second)
		w.place(two, first)
		rep, err := w.run(w.options())
		wantClass(t, rep, err, fault.VerifyFailed)
		finding(t, rep, one)
		finding(t, rep, two)
	})
}

// TestInAnothersPlace: objects that are whole, under their own hash, in a place
// that is not theirs.
func TestInAnothersPlace(t *testing.T) {
	kinds(t, func(t *testing.T, w *world) {
		hash := func(name string) string { return name[strings.LastIndexByte(name, '-'):] }
		folder := filepath.Dir(w.full.Object) + "/"
		segment := w.logs[uuid][0]
		for from, to := range map[string]string{
			w.inc.PartObject(1):  folder + "000001",
			w.full.PartObject(2): folder + "000003",
			w.inc.Object:         folder + "manifest",
			segment[0]:           strings.TrimSuffix(segment[1], hash(segment[1])),
			segment[2]:           strings.TrimSuffix(w.logs[uuid][1][0], hash(w.logs[uuid][1][0])),
			segment[3]:           filepath.Dir(w.logs[maria][0][0]) + "/closed",
			w.logs[maria][1][0]:  "s/leases/restore-01",
			w.logs[uuid][1][0]:   "s/members/" + uuid,
		} {
			name := to + hash(from)
			w.place(name, w.stored(from))
			rep, err := w.run(w.options())
			wantClass(t, rep, err, fault.VerifyFailed)
			if f := finding(t, rep, name); f.Kind != verify.Damaged {
				t.Error(f)
			}
			w.remove(name)
		}
		w.clean(w.options())
	})
}

// TestMissing: every object that is not there any more is missed, with what is
// lost: some only by who has seen it before.
func TestMissing(t *testing.T) {
	kinds(t, func(t *testing.T, w *world) {
		if _, _, err := w.r.Put(t.Context(), "s/members/before", "set-member", map[string]any{"servers": []string{uuid, maria, deposit.Server}, "how": "before"}, nil); err != nil {
			t.Fatal(err)
		}
		o := w.options()
		o.State = filepath.Join(t.TempDir(), "state")
		o.MaxAge = time.Hour
		for e, err := range w.r.List(t.Context(), "s/") {
			if err != nil {
				t.Fatal(err)
			}
			w.clean(o)
			good := w.stored(e.Name)
			w.remove(e.Name)
			rep, err := w.run(o)
			if err == nil || len(rep.Findings) == 0 {
				t.Fatalf("%s is not there, %v\n%s", e.Name, err, asJSON(rep))
			}
			t.Log(err)
			w.wantNamed(rep, e.Name)
			w.place(e.Name, good)
			if err := os.Chtimes(w.path(e.Name), e.Modified, e.Modified); err != nil {
				t.Fatal(err)
			}
		}
		w.clean(o)
	})
}

// TestStrangers: of a set that says who its members are, logs and backups of others
// are found, also by who sees them for the first time: no restore takes them.
func TestStrangers(t *testing.T) {
	w := newWorld(t, false)
	member := func(servers ...string) string {
		name, _, err := w.r.Put(t.Context(), "s/members/"+servers[0], "set-member", map[string]any{"servers": servers, "how": "asked"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, c := range []struct {
		members   []string
		strangers []string
	}{
		{nil, nil}, // every server is one
		{[]string{uuid, maria, deposit.Server}, nil},
		{[]string{uuid, deposit.Server}, []string{maria}},
		{[]string{uuid, maria}, []string{deposit.Server}},
		{[]string{"3"}, []string{uuid, maria, deposit.Server}},
	} {
		var records []string
		for _, server := range c.members {
			records = append(records, member(server))
		}
		rep, err := w.run(w.options())
		if len(c.strangers) > 0 {
			wantClass(t, rep, err, fault.VerifyFailed)
		}
		var found []string
		for _, f := range rep.Findings {
			found = append(found, strings.TrimSuffix(strings.TrimPrefix(f.Object, "s/members/"), "-"))
			if f.Kind != verify.Missing {
				t.Error(f)
			}
		}
		if !slices.Equal(found, c.strangers) {
			t.Errorf("members %v: %v, want %v", c.members, rep.Findings, c.strangers)
		}
		for _, name := range records {
			w.remove(name)
		}
	}
	w.clean(w.options())
}

// wantNamed checks that the findings name what an object that is missing held.
func (w *world) wantNamed(rep *verify.Report, name string) {
	w.t.Helper()
	text := asJSON(rep.Findings)
	for _, target := range w.types() {
		if target.object != name {
			continue
		}
		for _, id := range target.lost.Backups {
			if !strings.Contains(text, id) {
				w.t.Errorf("%s is missing: backup %s is not named: %s", name, id, text)
			}
		}
		l := target.lost.Log
		if l == nil || strings.Contains(name, "closed") {
			continue
		}
		// Of MariaDB's the position before is exact.
		if want := cmp.Or(l.After, l.GTIDs); !strings.Contains(text, want) {
			w.t.Errorf("%s is missing: %s is not named: %s", name, want, text)
		}
	}
}

// TestManifestMissing: parts that no manifest names are found a day later, and
// are no failure: a backup that came to nothing leaves them, too.
func TestManifestMissing(t *testing.T) {
	w := newWorld(t, false)
	w.remove(w.inc.Object)
	w.clean(w.options()) // it may be being taken
	w.age()
	rep, err := w.run(w.options())
	if err != nil || len(rep.Findings) != 1 {
		t.Fatalf("%v\n%s", err, asJSON(rep))
	}
	if f := finding(t, rep, w.inc.PartObject(1)); f.Kind != verify.Orphan {
		t.Error(f)
	}
}

// TestParentMissing: an increment without what it goes on from is none.
func TestParentMissing(t *testing.T) {
	w := newWorld(t, false)
	w.remove(w.full.Object)
	rep, err := w.run(w.options())
	wantClass(t, rep, err, fault.VerifyFailed)
	if f := finding(t, rep, w.inc.Object); f.Kind != verify.Broken || !slices.Equal(f.Lost.Backups, []string{w.inc.ID}) {
		t.Error(f)
	}
}

// TestForeign: what lifeboat has not written is told; among the logs, which it
// keeps from being read, it is a failure.
func TestForeign(t *testing.T) {
	w := newWorld(t, false)
	w.place("s/notes.txt", []byte("mine"))
	w.place("s/backups/notes.txt", []byte("mine"))
	rep, err := w.run(w.options())
	if err != nil || len(rep.Findings) != 2 || rep.Findings[0].Kind != verify.Orphan {
		t.Fatalf("%v\n%s", err, asJSON(rep))
	}
	w.place("s/logs/notes.txt", []byte("mine"))
	rep, err = w.run(w.options())
	wantClass(t, rep, err, fault.VerifyFailed)
	if f := finding(t, rep, "s/logs/notes.txt"); f.Kind != verify.Foreign {
		t.Error(f)
	}
}

// TestGap: files between two others that were never archived are a gap, not
// damage, and the transactions in it are named.
func TestGap(t *testing.T) {
	w := newWorld(t, false)
	before, after := uuid+":1-40", uuid+":1-70"
	deposit.LogFile{Summary: archive.Summary{Server: uuid, File: "bin.000004", ID: "04", Flavor: "mysql", Previous: &after, Archived: noon.Add(time.Hour)},
		Segments: []deposit.Content{{Transactions: 1, GTIDs: uuid + ":71"}}}.Put(t, w.r, "s", before)
	rep, err := w.run(w.options())
	wantClass(t, rep, err, fault.Gap)
	f := finding(t, rep, filepath.Dir(w.logs[uuid][1][0])+"/")
	if want := uuid + ":41-70"; f.Kind != verify.Gap || f.Lost.Log.GTIDs != want || f.Lost.Log.Next != "bin.000004:4" {
		t.Errorf("%s, want %s", f, want)
	}
}

// TestOverlap: bytes that another segment holds as well are lost only as far as
// it goes.
func TestOverlap(t *testing.T) {
	w := newWorld(t, false)
	deposit.Segment(t, w.r, "s", archive.Summary{Server: uuid, File: "bin.000001", ID: deposit.FileID("bin.000001"), Flavor: "mysql",
		Start: 104, End: 304, Transactions: 20, GTIDs: uuid + ":11-30"})
	w.clean(w.options())
	w.remove(w.logs[uuid][0][1])
	w.clean(w.options())
}

// TestState: what was checked is not checked again until it is too old, or is
// not what it was.
func TestState(t *testing.T) {
	kinds(t, func(t *testing.T, w *world) {
		o := w.options()
		o.State, o.MaxAge = filepath.Join(t.TempDir(), "state"), time.Hour
		if rep := w.clean(o); rep.Checked != 17 || rep.Skipped != 0 {
			t.Error(asJSON(rep))
		}
		if rep := w.clean(o); rep.Checked != 0 || rep.Skipped != 17 {
			t.Error(asJSON(rep))
		}
		o.MaxAge = time.Nanosecond
		if rep := w.clean(o); rep.Checked != 17 {
			t.Error(asJSON(rep))
		}
		o.MaxAge = time.Hour
		target := w.types()[0]
		w.place(target.object, append(w.stored(target.object), 0))
		w.wantLost(t, o, target, "longer, though checked")
		w.wantLost(t, o, target, "and once more")
	})
}

// TestStateOfHashes: what was checked without a key is checked again with one.
func TestStateOfHashes(t *testing.T) {
	w := newWorld(t, true)
	o := w.options()
	o.State, o.MaxAge, o.Decrypt = filepath.Join(t.TempDir(), "state"), time.Hour, false
	w.clean(o)
	o.Decrypt = true
	if rep := w.clean(o); rep.Checked != 17 {
		t.Error(asJSON(rep))
	}
	o.Decrypt = false
	if rep := w.clean(o); rep.Checked != 0 {
		t.Error(asJSON(rep))
	}
}

// TestInterrupted: a run that is interrupted after any number of objects goes on
// behind them, even if nothing may be left out for its age.
func TestInterrupted(t *testing.T) {
	w := newWorld(t, false)
	o := w.options()
	o.State, o.Workers = filepath.Join(t.TempDir(), "state"), 1
	checked, runs := int64(0), 0
	for {
		ctx, cancel := context.WithCancel(t.Context())
		o.Progress = func(p verify.Progress) {
			if p.Objects == 3 {
				cancel()
			}
		}
		rep, err := verify.Run(ctx, o)
		cancel()
		checked += rep.Checked
		runs++
		if err == nil {
			break
		}
		if fault.ClassOf(err) != fault.Interrupted || rep.Complete || rep.Checked != 3 {
			t.Fatalf("%v\n%s", err, asJSON(rep))
		}
	}
	if checked != 17 || runs != 6 {
		t.Errorf("%d objects were checked in %d runs", checked, runs)
	}
	if rep := w.clean(o); rep.Checked != 17 {
		t.Errorf("a new run: %s", asJSON(rep))
	}
}

// TestStateDamaged: a state with any byte changed is not believed, one whose end
// is cut off is, up to there; in both cases everything is checked that has to be.
func TestStateDamaged(t *testing.T) {
	w := newWorld(t, false)
	o := w.options()
	o.State, o.MaxAge = filepath.Join(t.TempDir(), "state"), time.Hour
	w.clean(o)
	good, err := os.ReadFile(o.State)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(o.State, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rnd := random(t)
	for range 30 {
		bad, at := slices.Clone(good), rnd.IntN(len(good)-1)
		bad[at] ^= 1 << rnd.IntN(7)
		write(bad)
		if rep := w.clean(o); rep.Checked != 17 || len(rep.Notes) != 1 || !strings.Contains(rep.Notes[0], "begun anew") {
			t.Fatalf("byte %d: %s", at, asJSON(rep))
		}
		write(good[:at])
		rep := w.clean(o)
		if rep.Checked+rep.Skipped != 17 || rep.Skipped != max(0, int64(bytes.Count(good[:at], []byte("\n")))-1) {
			t.Fatalf("cut at %d: %s", at, asJSON(rep))
		}
	}
}

// TestStateOfAnother: the state of another repository is of no use here.
func TestStateOfAnother(t *testing.T) {
	w, x := newWorld(t, false), newWorld(t, false)
	o := w.options()
	o.State, o.MaxAge = filepath.Join(t.TempDir(), "state"), time.Hour
	w.clean(o)
	o.Repository = x.r
	if rep := x.clean(o); rep.Checked != 17 || len(rep.Notes) != 1 {
		t.Error(asJSON(rep))
	}
}

// TestNewerState: of the state of another version nothing is understood: it
// begins anew, and the report says so.
func TestNewerState(t *testing.T) {
	w := newWorld(t, false)
	o := w.options()
	o.State, o.MaxAge = filepath.Join(t.TempDir(), "state"), time.Hour
	text := fmt.Sprintf(`{"format":"lifeboat verify state","version":2,"repository":%q}`, w.r.ID())
	line := fmt.Sprintf("%08x %s\n", crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)), text)
	if err := os.WriteFile(o.State, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	if rep := w.clean(o); rep.Checked != 17 || len(rep.Notes) != 1 || !strings.Contains(rep.Notes[0], "version 2") || !strings.Contains(rep.Notes[0], "begun anew") {
		t.Error(asJSON(rep))
	}
}

// TestTwoAtOnce: one state is for one run.
func TestTwoAtOnce(t *testing.T) {
	w := newWorld(t, false)
	o := w.options()
	o.State = filepath.Join(t.TempDir(), "state")
	second := o
	tried := false
	o.Progress = func(verify.Progress) {
		if tried {
			return
		}
		tried = true
		if _, err := w.run(second); fault.ClassOf(err) != fault.Busy {
			t.Errorf("%v", err)
		}
	}
	w.clean(o)
}

// TestExpired: what was removed from the old end is not missed.
func TestExpired(t *testing.T) {
	w := newWorld(t, false)
	o := w.options()
	o.State, o.MaxAge = filepath.Join(t.TempDir(), "state"), time.Hour
	at := time.Now().Add(-48 * time.Hour)
	old := append(slices.Clone(w.logs[uuid][0]), w.full.Object, w.full.PartObject(1), w.full.PartObject(2), w.full.PartObject(3),
		filepath.Dir(w.full.Object)+"/"+w.full.PartLists[0], w.inc.Object, w.inc.PartObject(1))
	for _, name := range old {
		if err := os.Chtimes(w.path(name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	deposit.Backup{Manifest: backup.Manifest{Set: "s", ID: deposit.ID(noon.Add(2*time.Hour), 3)}, Data: [][]byte{[]byte("new")}}.Put(t, w.r)
	w.clean(o)
	for _, name := range old {
		w.remove(name)
	}
	w.clean(o)
}

// TestUnreadable: an object that the storage does not give is told, and does not
// end the run.
func TestUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("root reads everything: a directory stands in for a file that cannot be read")
	}
	w := newWorld(t, false)
	name := w.full.PartObject(1)
	w.remove(name)
	if err := os.Symlink(filepath.Base(name), w.path(name)); err != nil { // to itself
		t.Fatal(err)
	}
	rep, err := w.run(w.options())
	if err == nil || len(rep.Findings) != 1 || !slices.Equal(finding(t, rep, name).Lost.Backups, []string{w.full.ID, w.inc.ID}) {
		t.Errorf("%v\n%s", err, asJSON(rep))
	}
}

// TestProgress: the last call says that everything is done.
func TestProgress(t *testing.T) {
	w := newWorld(t, false)
	o := w.options()
	o.BytesPerSecond = 1 << 20
	var last verify.Progress
	o.Progress = func(p verify.Progress) { last = p }
	rep := w.clean(o)
	if want := (verify.Progress{Objects: 17, TotalObjects: 17, Bytes: rep.Bytes, TotalBytes: rep.Bytes}); last != want {
		t.Errorf("%+v, want %+v", last, want)
	}
}

// TestOptions: what cannot be meant is refused.
func TestOptions(t *testing.T) {
	r, _ := deposit.New(t, false)
	for _, o := range []verify.Options{
		{}, {Repository: r, MaxAge: -1}, {Repository: r, Workers: -1}, {Repository: r, BytesPerSecond: -1},
		{Repository: r, MaxAge: time.Hour}, {Repository: r, Set: "../x"},
	} {
		if _, err := verify.Run(t.Context(), o); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
