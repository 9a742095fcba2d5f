package retain

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/test/deposit"
)

// history is a model of what has happened to a set: transactions are the numbers
// 1, 2, 3 …, and every server writes all of them into its log while it lives.
// What Plan is given is made of it; what the twin checks with are the numbers.
type history struct {
	rnd     *rand.Rand
	mysql   bool
	gtids   bool // else there are positions only
	clock   time.Time
	number  int // of the last transaction
	commits []commit
	servers []*serverModel
	backups []*backupModel
	inv     Inventory
	policy  Policy
}

type commit struct {
	number int
	at     time.Time
}

type serverModel struct {
	name  string
	files []*fileModel
	gone  bool // writes no more
}

// fileModel holds transactions first to last.
type fileModel struct {
	archive.File
	first, last int
	lost        bool // was never archived
}

type backupModel struct {
	backup.Manifest
	number int // it holds transactions 1 to number
}

const source = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

func newHistory(rnd *rand.Rand) *history {
	h := &history{rnd: rnd, mysql: rnd.IntN(2) == 0, gtids: rnd.IntN(5) > 0, clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), inv: Inventory{Set: "s"}}
	for n := range 1 + rnd.IntN(3) {
		h.servers = append(h.servers, &serverModel{name: fmt.Sprintf("server%d", n)})
		h.rotate(h.servers[n])
	}
	for range rnd.IntN(120) {
		h.step()
	}
	h.finish()
	return h
}

// step is something that happens.
func (h *history) step() {
	h.clock = h.clock.Add(time.Duration(h.rnd.IntN(20*60)+1) * time.Minute)
	s := h.servers[h.rnd.IntN(len(h.servers))]
	switch n := h.rnd.IntN(20); {
	case n < 9:
		h.write()
	case n < 13:
		h.rotate(s)
	case n < 17:
		h.backup(s)
	case n == 17 && len(s.files) > 1:
		s.files[h.rnd.IntN(len(s.files)-1)].lost = true
	case n == 18 && len(h.servers) > 1:
		s.gone = true
	case n == 19 && len(h.backups) > 0: // somebody has removed one
		i := h.rnd.IntN(len(h.backups))
		h.backups = slices.Delete(h.backups, i, i+1)
	}
}

func (h *history) write() {
	h.number += 1 + h.rnd.IntN(5)
	h.commits = append(h.commits, commit{h.number, h.clock})
	for _, s := range h.servers {
		if s.gone {
			continue
		}
		f := s.files[len(s.files)-1]
		f.last, f.End, f.Archived, f.Last = h.number, f.End+100, h.clock, h.clock
		if f.first == 0 {
			f.first, f.First = h.number, h.clock
		}
		f.Transactions, f.GTIDs = 1, h.set(f.before()+1, h.number)
	}
}

// before is the last transaction before the file.
func (f *fileModel) before() int { return int(f.Stored) } // of no use to Plan

// set is the text of transactions from to up to.
func (h *history) set(from, to int) string {
	switch {
	case to < from || to == 0:
		return ""
	case h.mysql:
		return fmt.Sprintf("%s:%d-%d", source, from, to)
	default:
		return fmt.Sprintf("0-7-%d", to)
	}
}

func (h *history) rotate(s *serverModel) {
	if s.gone {
		return
	}
	name := fmt.Sprintf("bin.%06d", len(s.files)+1)
	if n := len(s.files); n > 0 {
		s.files[n-1].Closed, s.files[n-1].Next = true, name
		s.files[n-1].Archived = h.clock
	}
	f := &fileModel{File: archive.File{Summary: archive.Summary{Server: s.name, File: name, ID: deposit.FileID(name), Flavor: h.flavor(),
		Begun: h.clock, Archived: h.clock, Start: 4, End: 100}, Stored: int64(h.number)}}
	if h.gtids {
		previous := h.set(1, h.number)
		f.Previous = &previous
	}
	s.files = append(s.files, f)
}

func (h *history) flavor() string {
	if h.mysql {
		return "mysql"
	}
	return "mariadb"
}

// backup takes one: of a server that lives, with its last file as the position.
func (h *history) backup(s *serverModel) {
	if s.gone {
		return
	}
	f := s.files[len(s.files)-1]
	started := h.clock
	h.clock = h.clock.Add(time.Duration(h.rnd.IntN(300)) * time.Minute)
	m := backup.Manifest{SchemaVersion: 1, ID: deposit.ID(started, len(h.backups)*1000+h.rnd.IntN(1000)), Set: "s", Kind: backup.Full, Driver: "mariadb-backup",
		Flavor: h.flavor(), Server: s.name, Started: started, Finished: h.clock, File: f.File.File, Offset: f.End, FromLSN: 0, ToLSN: uint64(h.number + 1)}
	if h.gtids {
		m.GTIDs = h.set(1, h.number)
	}
	if parent := h.parent(s.name); parent != nil && h.rnd.IntN(3) > 0 {
		m.Kind, m.Parent, m.FromLSN = backup.Incremental, parent.ID, parent.ToLSN
	}
	h.backups = append(h.backups, &backupModel{m, h.number})
}

func (h *history) parent(server string) *backupModel {
	var mine []*backupModel
	for _, b := range h.backups {
		if b.Server == server {
			mine = append(mine, b)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	return mine[max(0, len(mine)-1-h.rnd.IntN(3))]
}

// finish makes the inventory, leases and policy.
func (h *history) finish() {
	for _, b := range h.backups {
		h.inv.Backups = append(h.inv.Backups, b.Manifest)
	}
	for _, s := range h.servers {
		l := archive.Log{Server: s.name}
		for _, f := range s.files {
			if !f.lost {
				l.Files = append(l.Files, f.File)
			}
		}
		h.inv.Logs = append(h.inv.Logs, l)
	}
	for range h.rnd.IntN(3) {
		h.lease()
	}
	for range h.rnd.IntN(3) {
		id := deposit.ID(h.clock, h.rnd.IntN(100))
		h.inv.Leftovers = append(h.inv.Leftovers, store.Entry{Name: folder("s", id) + "000001-x", Modified: h.clock.Add(-time.Duration(h.rnd.IntN(50)) * time.Hour)})
	}
	h.policy = Policy{KeepFull: h.rnd.IntN(4), KeepFor: time.Duration(h.rnd.IntN(20)) * 24 * time.Hour}
}

func (h *history) lease() {
	l := Lease{What: []string{WhatBackup, WhatRestore, WhatExpire}[h.rnd.IntN(3)], Until: h.clock.Add(time.Duration(h.rnd.IntN(240)-120) * time.Minute)}
	if len(h.backups) > 0 {
		l.Backups = []string{h.backups[h.rnd.IntN(len(h.backups))].ID}
	}
	if len(h.inv.Leftovers) > 0 {
		l.Backups = append(l.Backups, strings.Split(h.inv.Leftovers[0].Name, "/")[2])
	}
	h.inv.Leases = append(h.inv.Leases, l)
}

// twin is what is left after a decision, in the model's terms.
type twin struct {
	*history
	d     Decision
	stays map[string]bool // backups
	files map[string]bool // by folder
}

func newTwin(h *history) twin {
	w := twin{history: h, d: Plan(h.inv, h.policy, h.clock), stays: map[string]bool{}, files: map[string]bool{}}
	for _, b := range w.d.Backups {
		w.stays[b.ID] = !b.Goes
	}
	for _, f := range w.d.Logs {
		w.files[f.Folder] = !f.Goes
	}
	return w
}

// reach is the last transaction to which a server's log leads from a backup on,
// with the files for which have is true: as a restore finds it, from the file
// that the backup names, else from the last that begins with what it holds, and
// up to the first that is not there.
func (w twin) reach(s *serverModel, b *backupModel, have func(*fileModel) bool) int {
	at, entered := b.number, -1
	for i, f := range s.files {
		if have(f) && w.gtids && f.before() <= b.number {
			entered = i
		}
	}
	for i, f := range s.files {
		if have(f) && s.name == b.Server && f.File.File == b.File {
			entered = i
		}
	}
	for i := entered; i >= 0 && i < len(s.files) && have(s.files[i]); i++ {
		at = max(at, s.files[i].last)
	}
	return at
}

// leads reports whether a log can be entered from a backup: only the same
// server's, if there are no GTIDs.
func (w twin) leads(s *serverModel, b *backupModel) bool { return w.gtids || s.name == b.Server }

func (w twin) check() (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	w.checkBackups(say)
	w.checkLogs(say)
	w.checkWindow(say)
	w.checkLeases(say)
	return wrong
}

func (w twin) checkBackups(say func(string, ...any)) {
	fulls, kept := 0, 0
	for _, b := range w.backups {
		if b.Kind == backup.Full {
			fulls++
			if w.stays[b.ID] {
				kept++
			}
		}
		for _, k := range w.backups {
			if !w.stays[k.ID] || w.stays[b.ID] {
				continue
			}
			if k.Parent == b.ID {
				say("%s goes, which %s needs", b.ID, k.ID)
			}
			if !b.Finished.Before(k.Started) {
				say("%s goes, which is younger than %s", b.ID, k.ID)
			}
		}
	}
	if kept < min(fulls, max(w.policy.KeepFull, 1)) {
		say("%d of %d full backups stay", kept, fulls)
	}
	if len(w.d.Backups) != len(w.backups) {
		say("%d fates of %d backups", len(w.d.Backups), len(w.backups))
	}
}

// checkLogs: from each backup that stays each log leads as far as before, and
// nothing goes from the middle.
func (w twin) checkLogs(say func(string, ...any)) {
	for _, s := range w.servers {
		before := func(f *fileModel) bool { return !f.lost }
		after := func(f *fileModel) bool { return !f.lost && w.files[f.Folder("s")] }
		for _, b := range w.backups {
			if !w.stays[b.ID] || !w.leads(s, b) {
				continue
			}
			if was, is := w.reach(s, b, before), w.reach(s, b, after); is != was {
				say("from backup %s the log of %s led to %d, and leads to %d", b.ID, s.name, was, is)
			}
		}
		staying := false
		for _, f := range s.files {
			if !f.lost && staying && !after(f) {
				say("%s of %s goes, and one before it stays", f.File.File, s.name)
			}
			staying = staying || after(f)
		}
	}
}

// checkWindow: to every moment of the time that is kept leads a backup that
// stays, if one led there before. Moments are those of transactions.
func (w twin) checkWindow(say func(string, ...any)) {
	if w.policy.KeepFor == 0 {
		return
	}
	since := w.clock.Add(-w.policy.KeepFor)
	for _, moment := range []time.Time{since, since.Add(w.policy.KeepFor / 3), w.clock} {
		was, is := w.best(moment, false), w.best(moment, true)
		if is < was {
			say("at %s transaction %d could be reached, and %d can", moment, was, is)
		}
	}
}

// best is the last transaction, of those until a moment, that can be reached.
func (w twin) best(moment time.Time, after bool) (best int) {
	for _, b := range w.backups {
		if b.Finished.After(moment) || after && !w.stays[b.ID] || !w.chain(b) {
			continue
		}
		best = max(best, b.number)
		for _, s := range w.servers {
			if !w.leads(s, b) {
				continue
			}
			best = max(best, w.reach(s, b, func(f *fileModel) bool {
				return !f.lost && (!after || w.files[f.Folder("s")])
			}))
		}
	}
	return min(best, w.committed(moment))
}

// committed is the last transaction of a time.
func (w twin) committed(moment time.Time) (last int) {
	for _, c := range w.commits {
		if !c.at.After(moment) {
			last = c.number
		}
	}
	return last
}

// chain reports whether all parents of a backup are there.
func (w twin) chain(b *backupModel) bool {
	if b.Kind == backup.Full {
		return true
	}
	i := slices.IndexFunc(w.backups, func(p *backupModel) bool { return p.ID == b.Parent })
	return i >= 0 && w.chain(w.backups[i])
}

func (w twin) checkLeases(say func(string, ...any)) {
	for _, l := range w.inv.Leases {
		if l.What == WhatExpire || w.clock.Sub(l.Until) > time.Hour {
			continue
		}
		for _, id := range l.Backups {
			if stays, there := w.stays[id]; there && !stays {
				say("%s goes, which a %s uses", id, l.What)
			}
			for _, f := range w.d.Leftovers {
				if f.Goes && strings.Contains(f.Object, id) {
					say("%s goes, which a %s uses", f.Object, l.What)
				}
			}
		}
	}
	for i, f := range w.d.Leftovers {
		if f.Goes && w.clock.Sub(w.inv.Leftovers[i].Modified) < 24*time.Hour {
			say("%s goes, which is younger than a day", f.Object)
		}
	}
}

// TestPlan: of 10,000 histories none loses what it needs, and something goes of
// many.
func TestPlan(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	backups, files, left := 0, 0, 0
	for n := range uint64(10_000) {
		w := newTwin(newHistory(rand.New(rand.NewPCG(seed, n))))
		if wrong := w.check(); len(wrong) > 0 {
			t.Fatalf("history %d of seed %d, %+v at %s:\n%s\n%+v", n, seed, w.policy, w.clock, strings.Join(wrong, "\n"), w.d)
		}
		for _, b := range w.d.Backups {
			backups += one(b.Goes)
		}
		for _, f := range w.d.Logs {
			files += one(f.Goes)
		}
		for _, f := range w.d.Leftovers {
			left += one(f.Goes)
		}
	}
	t.Logf("%d backups, %d files and %d leftovers went", backups, files, left)
	if backups < 5_000 || files < 5_000 || left < 1000 {
		t.Error("that is too few to say anything")
	}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestTwinSees: the twin finds plans that are wrong.
func TestTwinSees(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	seen := 0
	for range 200 {
		w := newTwin(newHistory(rnd))
		for _, b := range w.d.Backups {
			if !b.Goes {
				w.stays[b.ID] = false
				seen += one(len(w.check()) > 0)
				w.stays[b.ID] = true
			}
		}
	}
	if seen < 200 {
		t.Errorf("only %d wrong plans were seen", seen)
	}
}

var day = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// days makes backups of one server, one a day: f is a full one, i an increment
// to the one before.
func days(kinds string) (inv Inventory) {
	inv.Set = "s"
	for n, kind := range kinds {
		at := day.AddDate(0, 0, n)
		m := backup.Manifest{ID: deposit.ID(at, n), Set: "s", Kind: backup.Full, Driver: "d", Server: "a", Flavor: "mysql", Started: at, Finished: at.Add(time.Hour)}
		m.ToLSN = uint64(n + 1)
		if kind == 'i' {
			m.Kind, m.Parent, m.FromLSN = backup.Incremental, inv.Backups[n-1].ID, uint64(n)
		}
		inv.Backups = append(inv.Backups, m)
	}
	return inv
}

// fates says of each backup, by its day, whether it goes.
func fates(d Decision) string {
	text := make([]byte, len(d.Backups))
	for _, b := range d.Backups {
		at, _ := time.Parse("20060102", b.ID[:8])
		text[int(at.Sub(day)/(24*time.Hour))] = "kg"[one(b.Goes)]
	}
	return string(text)
}

// TestPolicies: small cases, one backup a day, decided at noon of the last day.
func TestPolicies(t *testing.T) {
	for _, test := range []struct {
		name, backups, want string
		policy              Policy
		lease               int // day of a backup in use; 0: none
	}{
		{"the last two full ones", "fiififi", "gggkkkk", Policy{KeepFull: 2}, 0},
		{"more than there are", "fif", "kkk", Policy{KeepFull: 9}, 0},
		{"no number is one", "ff", "gk", Policy{KeepFor: time.Hour}, 0},
		{"three days, from the backup before them on", "ffffff", "ggkkkk", Policy{KeepFor: 3 * 24 * time.Hour}, 0},
		{"with the parents of the first", "ffiiif", "gkkkkk", Policy{KeepFor: 2 * 24 * time.Hour}, 0},
		{"with what is in use, and what is younger", "fffff", "gkkkk", Policy{KeepFull: 1}, 1},
		{"with the parents of what is in use", "fiiff", "kkkkk", Policy{KeepFull: 1}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			inv := days(test.backups)
			now := day.AddDate(0, 0, len(test.backups)-1).Add(12 * time.Hour)
			if test.lease > 0 {
				inv.Leases = []Lease{{What: WhatRestore, Backups: []string{inv.Backups[test.lease].ID}, Until: now.Add(-time.Minute)}}
			}
			if got := fates(Plan(inv, test.policy, now)); got != test.want {
				t.Errorf("%s: %s, want %s\n%+v", test.backups, got, test.want, Plan(inv, test.policy, now))
			}
			for i := range inv.Leases { // it has run out
				inv.Leases[i].Until = now.Add(-61 * time.Minute)
				if got := fates(Plan(inv, test.policy, now)); got == test.want {
					t.Errorf("a lease that has run out counts: %s", got)
				}
			}
		})
	}
}

// TestUnreadable: with a manifest that cannot be read nothing goes.
func TestUnreadable(t *testing.T) {
	inv := days("fff")
	inv.Unreadable = []string{"object x: damaged"}
	d := Plan(inv, Policy{KeepFull: 1}, day.AddDate(1, 0, 0))
	if fates(d) != "kkk" || len(d.Notes) != 1 {
		t.Error(d)
	}
}

// TestDecision: it comes back from JSON, and its items say what goes.
func TestDecision(t *testing.T) {
	d := Plan(days("ff"), Policy{KeepFull: 1}, day.AddDate(0, 0, 3))
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var back Decision
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, d) {
		t.Errorf("%v\n%+v\n%+v", err, back, d)
	}
	want := []Item{
		{Fate{true, "nothing asks for it"}, "full backup 20261101T000000Z-000000", 0},
		{Fate{false, "full backup 1 of the last 1"}, "full backup 20261102T000000Z-000001", 0},
	}
	if got := slices.Collect(d.Items()); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if n, bytes := d.Total(); n != 1 || bytes != 0 || len(d.Notes) != 0 {
		t.Errorf("%d go, %d bytes, %v", n, bytes, d.Notes)
	}
	for _, p := range []Policy{{}, {KeepFull: -1, KeepFor: time.Hour}, {KeepFull: 1, KeepFor: -1}} {
		if p.Validate() == nil {
			t.Errorf("%+v is valid", p)
		}
	}
}
