package retain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/backup"
)

// planner is the work of Plan.
type planner struct {
	inv   Inventory
	now   time.Time
	all   []backup.Manifest // the oldest first
	byID  map[string]backup.Manifest
	whole map[string]bool   // backups that can be restored, as far as manifests say
	why   map[string]string // of the backups that stay
}

// Plan decides what becomes of everything in an inventory.
func Plan(inv Inventory, p Policy, now time.Time) Decision {
	w := newPlanner(inv, now)
	d := Decision{SchemaVersion: SchemaVersion, Set: inv.Set, Made: now.UTC(), Policy: p,
		Backups: []BackupFate{}, Logs: []FileFate{}, Leftovers: []LeftoverFate{}}
	w.keep(p)
	for _, m := range w.inOrder() {
		d.Backups = append(d.Backups, BackupFate{ID: m.ID, Kind: m.Kind, Parent: m.Parent, Finished: m.Finished, Stored: m.StoredBytes, Fate: w.fate(m.ID)})
	}
	for _, l := range inv.Logs {
		d.Logs = append(d.Logs, w.log(l)...)
	}
	for _, e := range inv.Leftovers {
		d.Leftovers = append(d.Leftovers, LeftoverFate{Object: e.Name, Stored: e.Size, Fate: w.leftover(e.Name, e.Modified)})
	}
	for _, why := range inv.Unreadable {
		d.Notes = append(d.Notes, "no backup and no log goes, since what it needs is not known: "+why)
	}
	return d
}

func newPlanner(inv Inventory, now time.Time) *planner {
	w := &planner{inv: inv, now: now, all: slices.Clone(inv.Backups),
		byID: map[string]backup.Manifest{}, whole: map[string]bool{}, why: map[string]string{}}
	slices.SortFunc(w.all, func(a, b backup.Manifest) int {
		if c := a.Finished.Compare(b.Finished); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	for _, m := range w.all {
		w.byID[m.ID] = m
		_, err := backup.Chain(inv.Backups, m.ID)
		w.whole[m.ID] = err == nil
	}
	return w
}

// keep decides which backups stay.
func (w *planner) keep(p Policy) {
	if len(w.inv.Unreadable) > 0 {
		w.keepAll("there is a manifest that cannot be read")
		return
	}
	w.keepFulls(max(p.KeepFull, 1))
	if p.KeepFor > 0 {
		w.keepFor(w.now.Add(-p.KeepFor))
	}
	w.keepLeased()
	w.close()
}

func (w *planner) keepAll(why string) {
	for _, m := range w.all {
		w.stays(m.ID, why)
	}
}

// stays writes down the first reason.
func (w *planner) stays(id, why string) {
	if _, there := w.byID[id]; there && w.why[id] == "" {
		w.why[id] = why
	}
}

// keepFulls keeps the last n full backups with their increments.
func (w *planner) keepFulls(n int) {
	number := map[string]int{}
	for _, m := range slices.Backward(w.all) {
		if m.Kind != backup.Full || len(number) == n {
			continue
		}
		number[m.ID] = len(number) + 1
		w.stays(m.ID, fmt.Sprintf("full backup %d of the last %d", number[m.ID], n))
	}
	for _, m := range w.all {
		if root := w.root(m.ID); number[root] > 0 {
			w.stays(m.ID, "increment to full backup "+root)
		}
	}
}

// root is the full backup that a backup begins with; empty if that is not there.
func (w *planner) root(id string) string {
	for range w.all {
		m, ok := w.byID[id]
		if !ok {
			return ""
		}
		if m.Kind == backup.Full {
			return id
		}
		id = m.Parent
	}
	return ""
}

// keepFor keeps what restores to a moment and to any later one begin with: all
// backups that are younger, the last that was finished by then, and, if from an
// older one a log leads further, the last of these from which it leads furthest.
func (w *planner) keepFor(since time.Time) {
	text := since.UTC().Format(time.RFC3339)
	var last, furthest string
	var reached time.Time
	for _, m := range slices.Backward(w.all) {
		if m.Finished.After(since) {
			w.stays(m.ID, "younger than "+text)
			continue
		}
		if !w.whole[m.ID] {
			continue
		}
		if last == "" {
			last = m.ID
		}
		if to := w.reached(m); furthest == "" || to.After(reached) {
			furthest, reached = m.ID, to
		}
	}
	w.stays(last, "the last one that was finished by "+text)
	w.stays(furthest, "from it a log leads on further than from later ones, which is needed from "+text+" on")
}

// keepLeased keeps what is in use.
func (w *planner) keepLeased() {
	for _, l := range w.inv.Leases {
		if l.What == WhatExpire || l.over(w.now) {
			continue
		}
		if l.Unreadable != "" {
			w.keepAll("there is a lease that cannot be read: " + l.Unreadable)
		}
		for _, id := range l.Backups {
			w.stays(id, fmt.Sprintf("in use: %s by process %d of %s", l.What, l.PID, l.Host))
		}
	}
}

// close keeps what kept ones need, and what is younger than the oldest, until
// there is nothing more of that.
func (w *planner) close() {
	for changed := true; changed; {
		before := len(w.why)
		for _, id := range slices.Collect(maps.Keys(w.why)) {
			w.stays(w.byID[id].Parent, "needed by increment "+id)
		}
		oldest, from := w.oldest()
		for _, m := range w.all {
			if oldest != "" && !m.Finished.Before(from) {
				w.stays(m.ID, "younger than "+oldest+", which stays")
			}
		}
		changed = len(w.why) > before
	}
}

// oldest is the backup that stays and was begun first, and when.
func (w *planner) oldest() (id string, from time.Time) {
	for _, m := range w.all {
		if w.why[m.ID] == "" {
			continue
		}
		if begun := begun(m); id == "" || begun.Before(from) {
			id, from = m.ID, begun
		}
	}
	return id, from
}

// begun is when a backup was: clocks may have jumped meanwhile.
func begun(m backup.Manifest) time.Time {
	if m.Started.IsZero() || m.Started.After(m.Finished) {
		return m.Finished
	}
	return m.Started
}

func (w *planner) fate(id string) Fate {
	if why := w.why[id]; why != "" {
		return Fate{Why: why}
	}
	return Fate{Goes: true, Why: "nothing asks for it"}
}

// inOrder are the backups in the order of removal: families by the age of the
// first of them, in each the last one first.
func (w *planner) inOrder() (list []backup.Manifest) {
	families := map[string][]backup.Manifest{}
	var roots []string
	for _, m := range w.all {
		root := w.ancestor(m.ID)
		if families[root] == nil {
			roots = append(roots, root)
		}
		families[root] = append(families[root], m)
	}
	for _, root := range roots {
		list = append(list, w.childrenFirst(families[root])...)
	}
	return list
}

// ancestor is the first of a chain, as far as it is there.
func (w *planner) ancestor(id string) string {
	for range w.all {
		m := w.byID[id]
		if _, ok := w.byID[m.Parent]; !ok {
			return id
		}
		id = m.Parent
	}
	return id
}

// childrenFirst puts every backup behind those that need it.
func (w *planner) childrenFirst(family []backup.Manifest) []backup.Manifest {
	depth := map[string]int{}
	for _, m := range family {
		for at := m; at.Parent != "" && depth[m.ID] <= len(w.all); depth[m.ID]++ {
			at = w.byID[at.Parent]
		}
	}
	family = slices.Clone(family)
	slices.SortStableFunc(family, func(a, b backup.Manifest) int { return depth[b.ID] - depth[a.ID] })
	return family
}

// leftover decides about an object that belongs to no backup.
func (w *planner) leftover(name string, modified time.Time) Fate {
	if w.now.Sub(modified) < leftAlone {
		return Fate{Why: "younger than a day: it may be of a backup being taken"}
	}
	for _, l := range w.inv.Leases {
		if l.What == WhatExpire || l.over(w.now) {
			continue
		}
		for _, id := range l.Backups {
			if strings.HasPrefix(name, folder(w.inv.Set, id)) {
				return Fate{Why: fmt.Sprintf("in use: %s by process %d of %s", l.What, l.PID, l.Host)}
			}
		}
		if l.Unreadable != "" {
			return Fate{Why: "there is a lease that cannot be read: " + l.Unreadable}
		}
	}
	return Fate{Goes: true, Why: "no backup needs it"}
}

// folder is where the objects of a backup are, with a slash at its end.
func folder(set, id string) string { return set + "/backups/" + id + "/" }
