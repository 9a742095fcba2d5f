package retain

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/test/deposit"
)

// race is a model of a repository that several use at once: expires, restores,
// full backups and increments, each on a host with a clock of its own, take
// turns at every look at the repository and every change of it. They may be
// killed, and stopped for hours while others go on. What decides is the real
// thing: Plan, Lease.conflict and stillGoes; the order of steps is that of Apply,
// Hold, restore and backup, written down once more.
//
// Nobody may miss what its lease was on, and no backup that is listed may miss
// a parent, a part, or a file of the log that leads on from it.
type race struct {
	*history
	there  map[string]time.Time // parts by name, when they came
	listed map[string]*backupModel
	logs   map[string]bool // folders
	leases map[*actor]*Lease
	actors []*actor
	wrong  []string
	rude   bool           // nobody looks for leases: to see that this is seen
	ended  map[string]int // by what came to its end
}

// actor is one program.
type actor struct {
	name   string
	clock  time.Duration // ahead of the true one; two differ by an hour at most
	next   func() (string, bool)
	stop   func()
	asleep time.Time // until then it does nothing, nor renews its lease
	did    string
}

func (r *race) now(a *actor) time.Time { return r.clock.Add(a.clock) }

func (r *race) say(a *actor, format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Sprintf("%s, after %q at %s: ", a.name, a.did, r.clock.Format(time.DateTime))+fmt.Sprintf(format, args...))
}

// newRace begins with some days of backups and of a log.
func newRace(rnd *rand.Rand) *race {
	h := &history{rnd: rnd, mysql: rnd.IntN(2) == 0, gtids: rnd.IntN(4) > 0, clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), inv: Inventory{Set: "s"}}
	h.servers = []*serverModel{{name: "server0"}}
	h.rotate(h.servers[0])
	r := &race{history: h, there: map[string]time.Time{}, listed: map[string]*backupModel{}, logs: map[string]bool{}, leases: map[*actor]*Lease{}, ended: map[string]int{}}
	for range 4 + rnd.IntN(8) {
		h.clock = h.clock.Add(time.Duration(rnd.IntN(30*60)+1) * time.Minute)
		h.write()
		h.rotate(h.servers[0])
		h.write()
		h.backup(h.servers[0])
	}
	for _, b := range h.backups {
		r.list(b)
	}
	return r
}

func (r *race) list(b *backupModel) {
	for n := range 2 {
		r.there[part(b.ID, n)] = r.clock
	}
	r.listed[b.ID] = b
}

func part(id string, n int) string { return fmt.Sprintf("%s%06d-x", folder("s", id), n+1) }

// archived takes up the files that the server has begun since.
func (r *race) archived() archive.Log {
	l := archive.Log{Server: "server0"}
	for _, f := range r.servers[0].files {
		if _, known := r.logs[f.Folder("s")]; !known {
			r.logs[f.Folder("s")] = true
		}
		if r.logs[f.Folder("s")] {
			l.Files = append(l.Files, f.File)
		}
	}
	return l
}

func (r *race) manifests() (all []backup.Manifest) {
	for _, id := range slices.Sorted(maps.Keys(r.listed)) {
		all = append(all, r.listed[id].Manifest)
	}
	return all
}

func (r *race) leftovers(now time.Time) (list []store.Entry) {
	for _, name := range slices.Sorted(maps.Keys(r.there)) {
		if r.listed[strings.Split(name, "/")[2]] == nil && now.Sub(r.there[name]) >= leftAlone {
			list = append(list, store.Entry{Name: name, Modified: r.there[name]})
		}
	}
	return list
}

func (r *race) others() (list []Lease) {
	for _, l := range r.leases {
		list = append(list, *l)
	}
	return list
}

// start lets an actor begin; do yields before each of its steps.
func (r *race) start(name string, do func(a *actor, yield func(string) bool) bool) {
	a := &actor{name: fmt.Sprintf("%s %d", name, len(r.actors)), clock: time.Duration(r.rnd.IntN(61)-30) * time.Minute}
	a.next, a.stop = iter.Pull(func(yield func(string) bool) {
		if do(a, yield) {
			r.ended[name]++
		}
		r.ended["all"]++
	})
	r.actors = append(r.actors, a)
}

// hold puts a lease, and looks for one of the other side.
func (r *race) hold(a *actor, yield func(string) bool, what string, ids []string) bool {
	l := &Lease{What: what, Backups: ids, Until: r.now(a).Add(leaseLife)}
	r.leases[a] = l
	if !yield("put a lease") {
		return false
	}
	if !r.rude && l.conflict(r.others(), r.now(a)) != nil {
		delete(r.leases, a)
		return false
	}
	return true
}

// lost reports whether a lease has run out, and looks then as holder.again does.
func (r *race) lost(a *actor) bool {
	l := r.leases[a]
	if l == nil {
		return false
	}
	ranOut := !r.now(a).Before(l.Until)
	l.Until = r.now(a).Add(leaseLife)
	if !ranOut {
		return false
	}
	if l.What == WhatExpire || l.conflict(r.others(), r.now(a)) != nil {
		return true
	}
	return slices.ContainsFunc(l.Backups, func(id string) bool { return r.listed[id] == nil })
}

// expire is Survey, Plan and Apply.
func (r *race) expire(a *actor, yield func(string) bool) (done bool) {
	inv := Inventory{Set: "s", Leases: r.others()}
	steps := []func(){
		func() { inv.Backups = r.manifests() },
		func() { inv.Leftovers = r.leftovers(r.now(a)) },
		func() { inv.Logs = []archive.Log{r.archived()} },
	}
	for _, look := range steps {
		if !yield("survey") {
			return false
		}
		look()
	}
	d := Plan(inv, Policy{KeepFull: 1 + r.rnd.IntN(2), KeepFor: time.Duration(r.rnd.IntN(4)) * 24 * time.Hour}, r.now(a))
	going := (&applier{Decision: d}).going()
	if !yield("plan") || !r.hold(a, yield, WhatExpire, going) || !yield("look for leases") {
		return false
	}
	defer delete(r.leases, a)
	if stillGoes(r.manifests(), going) != nil && len(going) > 0 {
		return false
	}
	for _, id := range going {
		if !yield("look for increments") {
			return false
		}
		if !r.rude && (Lease{What: WhatExpire, Backups: going}).conflict(r.others(), r.now(a)) != nil {
			return false
		}
		if !yield("look for leases again") {
			return false
		}
		r.unlist(a, id)
		for n := range 2 {
			if !yield("delete a manifest") {
				return false
			}
			r.remove(a, part(id, n))
		}
	}
	for _, f := range d.Logs {
		if f.Goes {
			if !yield("delete backups") {
				return false
			}
			r.removeLog(a, f.Folder)
		}
	}
	for _, l := range d.Leftovers {
		if l.Goes {
			if !yield("delete logs") {
				return false
			}
			r.remove(a, l.Object)
		}
	}
	return true
}

func (r *race) unlist(a *actor, id string) {
	delete(r.listed, id)
	for _, b := range r.listed {
		if b.Parent == id {
			r.say(a, "%s is gone, and increment %s to it is listed", id, b.ID)
		}
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(r.listed)), func(b *backupModel) bool { return b.Kind == backup.Full }) {
		r.say(a, "%s was the last full backup", id)
	}
}

func (r *race) remove(a *actor, name string) {
	delete(r.there, name)
	if id := strings.Split(name, "/")[2]; r.listed[id] != nil {
		r.say(a, "%s is gone, and its backup is listed", name)
	}
}

func (r *race) removeLog(a *actor, folder string) {
	for _, b := range r.listed {
		if n, ok := entry(r.archived(), b.Manifest); ok && slices.ContainsFunc(r.archived().Files[n:], func(f archive.File) bool { return f.Folder("s") == folder }) {
			r.say(a, "%s is gone, which leads on from %s", folder, b.ID)
		}
	}
	r.logs[folder] = false
}

// choose is the chain of a backup that can be restored, and the files behind it.
func (r *race) choose(id string) (chain []backup.Manifest, files []archive.File) {
	all := r.manifests()
	if id == "" && len(all) > 0 {
		id = all[r.rnd.IntN(len(all))].ID
	}
	chain, err := backup.Chain(all, id)
	if err != nil {
		return nil, nil
	}
	l := r.archived()
	if n, ok := entry(l, chain[len(chain)-1]); ok {
		files = l.Files[n:]
	}
	return chain, files
}

func ids(chain []backup.Manifest) (list []string) {
	for _, m := range chain {
		list = append(list, m.ID)
	}
	return list
}

// restore plans, holds, plans again until that is the same, and reads.
func (r *race) restore(a *actor, yield func(string) bool) (done bool) {
	chain, _ := r.choose("")
	var files []archive.File
	for {
		if chain == nil || !yield("plan") || !r.hold(a, yield, WhatRestore, ids(chain)) || !yield("look for leases") {
			return false
		}
		var again []backup.Manifest
		if again, files = r.choose(chain[len(chain)-1].ID); slices.Equal(ids(again), ids(chain)) {
			break
		}
		delete(r.leases, a)
		chain, _ = r.choose("")
	}
	defer delete(r.leases, a)
	for _, m := range chain {
		for n := range 2 {
			if !yield("read the backup") {
				return false
			}
			if r.there[part(m.ID, n)].IsZero() {
				r.say(a, "part %d of %s is not there", n, m.ID)
			}
		}
	}
	for _, f := range files {
		if !yield("read the log") {
			return false
		}
		if !r.logs[f.Folder("s")] {
			r.say(a, "%s is not there", f.File)
		}
	}
	return true
}

// take is a full backup, or an increment that holds what it goes on from.
func (r *race) take(incremental bool) func(a *actor, yield func(string) bool) bool {
	return func(a *actor, yield func(string) bool) (done bool) {
		started, s := r.now(a), r.servers[0]
		m := backup.Manifest{SchemaVersion: 1, ID: deposit.ID(r.clock, r.rnd.IntN(1<<24)), Set: "s", Kind: backup.Full, Driver: "mariadb-backup", Flavor: r.flavor(), Server: s.name, Started: started}
		if incremental {
			chain, _ := r.choose("")
			if chain == nil || !yield("find the parent") || !r.hold(a, yield, WhatBackup, ids(chain)) || !yield("look for leases") {
				return false
			}
			defer delete(r.leases, a)
			parent := chain[len(chain)-1]
			if again, _ := r.choose(parent.ID); again == nil {
				return false
			}
			m.Kind, m.Parent, m.FromLSN = backup.Incremental, parent.ID, parent.ToLSN
		}
		for n := range 2 {
			if !yield("take it") {
				return false
			}
			r.there[part(m.ID, n)] = r.clock
		}
		f := s.files[len(s.files)-1]
		m.File, m.Offset, m.ToLSN, m.Finished = f.File.File, f.End, uint64(r.number+1), r.now(a)
		if r.gtids {
			m.GTIDs = r.set(1, r.number)
		}
		if !yield("end it") {
			return false
		}
		for n := range 2 {
			if r.there[part(m.ID, n)].IsZero() {
				r.say(a, "part %d of %s is gone while it was taken", n, m.ID)
			}
		}
		b := &backupModel{m, r.number}
		r.backups, r.listed[m.ID] = append(r.backups, b), b
		if _, err := backup.Chain(r.manifests(), m.ID); err != nil {
			r.say(a, "%v", err)
		}
		if _, ok := entry(r.archived(), m); !ok {
			r.say(a, "no log leads on from %s", m.ID)
		}
		return true
	}
}

// run lets everything happen for a while.
func (r *race) run() {
	for range 60 + r.rnd.IntN(120) {
		r.clock = r.clock.Add(time.Duration(r.rnd.IntN(8*60)) * time.Second)
		switch n := r.rnd.IntN(40); {
		case n < 3:
			r.start("expire", r.expire)
		case n < 5:
			r.start("restore", r.restore)
		case n < 6:
			r.start("full", r.take(false))
		case n < 7:
			r.start("increment", r.take(true))
		case n < 8:
			r.write()
		case n < 9:
			r.rotate(r.servers[0])
		}
		r.turn()
	}
	for _, a := range r.actors {
		a.stop()
	}
}

// turn renews the leases of those that are awake, and lets one of them do a step.
func (r *race) turn() {
	var awake []*actor
	for _, a := range slices.Clone(r.actors) {
		if a.asleep.After(r.clock) {
			continue
		}
		if r.lost(a) {
			r.end(a)
			continue
		}
		awake = append(awake, a)
	}
	if len(awake) == 0 {
		return
	}
	a := awake[r.rnd.IntN(len(awake))]
	switch r.rnd.IntN(60) {
	case 0: // killed: its lease stays
		l := r.leases[a]
		r.end(a)
		if l != nil {
			r.leases[&actor{}] = l
		}
		return
	case 1:
		a.asleep = r.clock.Add(time.Duration(r.rnd.IntN(300)) * time.Minute)
		return
	}
	did, more := a.next()
	a.did = did
	if !more {
		r.actors = slices.DeleteFunc(r.actors, func(b *actor) bool { return a == b })
	}
}

func (r *race) end(a *actor) {
	a.stop()
	r.actors = slices.DeleteFunc(r.actors, func(b *actor) bool { return a == b })
}

// TestRacesAreSeen: the model finds it if nobody looks for the leases of others.
func TestRacesAreSeen(t *testing.T) {
	seen := 0
	for n := range uint64(200) {
		r := newRace(rand.New(rand.NewPCG(1, n)))
		r.rude = true
		r.run()
		seen += one(len(r.wrong) > 0)
	}
	if seen == 0 {
		t.Error("nothing was seen")
	}
	t.Logf("%d of 200", seen)
}

// TestRaces: in many histories of programs that run at once (10,000 in the long
// tests) nothing goes that one of them, or a backup that is listed, needs.
func TestRaces(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	ended, histories := map[string]int{}, uint64(1000)
	if long {
		histories = 10_000
	}
	for n := range histories {
		r := newRace(rand.New(rand.NewPCG(seed, n)))
		r.run()
		if len(r.wrong) > 0 {
			t.Fatalf("history %d of seed %d:\n%s", n, seed, strings.Join(r.wrong, "\n"))
		}
		for what, n := range r.ended {
			ended[what] += n
		}
	}
	t.Logf("%v", ended)
	for _, what := range []string{"expire", "restore", "full", "increment"} {
		if ended[what] < int(histories)/10 {
			t.Errorf("%d times %s came to its end: that is too few to say anything", ended[what], what)
		}
	}
}
