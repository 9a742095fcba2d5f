package retain

import (
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
)

// log decides about the files of a server's log: a run of them from the front
// goes.
func (w *planner) log(l archive.Log) (fates []FileFate) {
	n, why := w.first(l)
	for i, f := range l.Files {
		fate := FileFate{Server: l.Server, File: f.File, Folder: f.Folder(w.inv.Set), Stored: f.Stored, Fate: Fate{Why: why}}
		if i < n {
			fate.Fate = Fate{Goes: true, Why: "no backup that stays needs it"}
		} else if i > n {
			fate.Why = "it follows on one that stays"
		}
		fates = append(fates, fate)
	}
	return fates
}

// first is the number of the first file that stays, and why.
func (w *planner) first(l archive.Log) (n int, why string) {
	oldest, from := w.oldest()
	switch {
	case oldest == "":
		return 0, "no backup stays"
	case len(w.inv.Unreadable) > 0:
		return 0, "there is a manifest that cannot be read"
	}
	n, why = len(l.Files)-1, "the archive goes on there"
	for _, m := range w.all {
		if i, ok := entry(l, m); ok && w.why[m.ID] != "" && i < n {
			n, why = i, "it leads on from backup "+m.ID
		}
	}
	for i, f := range l.Files[:max(n, 0)] {
		if !f.Archived.Before(from.Add(-clockError)) {
			return i, "younger than backup " + oldest + ", which stays"
		}
	}
	return n, why
}

// entry finds the file of a log in which a backup's state lies: of the backup's
// own server by position, and by the GTIDs that it has executed. Where both are
// known it is the earlier one; where something cannot be read, the first file.
func entry(l archive.Log, m backup.Manifest) (n int, ok bool) {
	state := archive.State{Server: m.Server, File: m.File, Offset: m.Offset, GTIDs: m.GTIDs, Flavor: m.Flavor, At: m.Finished}
	n = len(l.Files)
	if i, found := l.ByPosition(state); found {
		n = i
	}
	if i, found, err := l.ByGTIDs(state); found || err != nil {
		n = min(n, i) // with an error, the first
	}
	return n, n < len(l.Files)
}

// reached is the time of the last commit to which any log leads on from a
// backup; zero if none leads to one.
func (w *planner) reached(m backup.Manifest) (last time.Time) {
	for _, l := range w.inv.Logs {
		i, ok := entry(l, m)
		if !ok {
			continue
		}
		for goesOn := true; goesOn; i++ {
			if l.Files[i].Last.After(last) {
				last = l.Files[i].Last
			}
			goesOn = i+1 < len(l.Files) && l.Apart(i) == ""
		}
	}
	return last
}
