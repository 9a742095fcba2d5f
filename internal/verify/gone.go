package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

// gone looks for what the state remembers and the repository does not have any
// more. What was expired is forgotten; for the rest see the package comment.
func (v *verifier) gone() {
	lost := map[string]*lostFile{} // by file
	for _, name := range slices.Sorted(maps.Keys(v.state.known)) {
		set, _, _ := strings.Cut(name, "/")
		if v.named[name].there() || v.Set != "" && v.Set != set {
			continue
		}
		r := v.state.known[name]
		o := classify(entryOf(r))
		switch {
		case o.role == roleManifest && v.hasOlder(o):
			v.found(Finding{Kind: Missing, Object: name, Lost: Lost{Backups: []string{o.backup}}, Cause: whenThere(r)})
		case o.role == roleMember: // nobody removes it; without it strangers are let in, or members are not
			v.found(Finding{Kind: Missing, Object: name, Cause: whenThere(r)})
		case o.role == roleLog:
			collect(lost, o, r)
		default:
			v.state.forget(name)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(lost)) {
		v.lostFile(lost[key])
	}
}

// entryOf is what a listing said of an object that is gone.
func entryOf(r record) store.Entry {
	return store.Entry{Name: r.Object, Size: r.Size, Modified: r.Modified}
}

func whenThere(r record) string {
	return fmt.Sprintf("it was there at %s and is not any more, while older ones are: if it was removed on purpose, remove the state", r.Checked.Format(time.RFC3339))
}

// hasOlder reports whether a backup that is gone was not expired: one older than
// it is still there, or none at all.
func (v *verifier) hasOlder(gone *object) bool {
	some := false
	for _, o := range v.objects {
		if o.set != gone.set || o.role != roleManifest || !o.there() {
			continue
		}
		some = true
		if o.backup == gone.backup { // put again
			return false
		}
		if o.backup < gone.backup { // they begin with their time
			return true
		}
	}
	return !some
}

// lostFile is what is gone of a file.
type lostFile struct {
	set     string
	summary archive.Summary
	objects []record
	begun   time.Time // when the first of it was stored
	spans   []span
}

func collect(lost map[string]*lostFile, o *object, r record) {
	key := o.set + "/" + fileKey(o.log.Summary)
	l := lost[key]
	if l == nil {
		l = &lostFile{set: o.set, summary: o.log.Summary, begun: r.Modified}
		lost[key] = l
	}
	l.objects = append(l.objects, r)
	if r.Modified.Before(l.begun) {
		l.begun = r.Modified
	}
	if !o.log.Closed {
		l.spans = append(l.spans, span{o.log.Summary.Start, o.log.Summary.End})
	}
}

// lostFile decides whether what is gone of a file was expired. What lies before
// bytes that are there is a hole, and has been found.
func (v *verifier) lostFile(l *lostFile) {
	end, rest, older := v.remains(l)
	at := span{end, end}
	for _, s := range l.spans {
		at.end = max(at.end, s.end)
	}
	if rest && at.end == end || !rest && !older {
		for _, r := range l.objects {
			v.state.forget(r.Object)
		}
		return
	}
	r := Range{Server: l.summary.Server, File: l.summary.File, ID: l.summary.ID, Start: at.start, End: at.end}
	flavor := gtid.FlavorNamed(l.objects[0].Flavor)
	var said []string
	for _, o := range l.objects {
		if classify(entryOf(o)).log.Summary.End > end {
			said = append(said, o.GTIDs)
		}
	}
	all := union(flavor, said...)
	r.GTIDs = all.String()
	v.found(Finding{Kind: Missing, Object: archive.File{Summary: l.summary}.Folder(l.set), Lost: Lost{Log: &r}, Cause: whenThere(l.objects[0])})
}

// remains says what is still there beside it: the last offset of the file that
// something tells of, whether any of it is there, and whether one of the
// server's files is older, or none is there.
func (v *verifier) remains(l *lostFile) (end int64, rest, older bool) {
	end = firstOffset
	begun := map[string]time.Time{}
	for _, f := range v.files(l.set) {
		if f.Server != l.summary.Server {
			continue
		}
		if fileKey(f.Summary) == fileKey(l.summary) {
			end, rest = f.end(), true
			continue
		}
		for _, o := range f.objects {
			key := fileKey(f.Summary)
			if first, ok := begun[key]; !ok || o.Modified.Before(first) {
				begun[key] = o.Modified
			}
		}
	}
	older = len(begun) == 0
	for key, at := range begun { // the clock of a place may have seconds
		older = older || at.Before(l.begun) || at.Equal(l.begun) && key < fileKey(l.summary)
	}
	return end, rest, older
}
