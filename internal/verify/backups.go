package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// leftAlone is how long nothing in a folder without a manifest has to have
// changed until it is no backup being taken.
const leftAlone = 24 * time.Hour

// family knows which increments need a backup.
type family struct {
	children map[string][]string
}

func newFamily(all []backup.Manifest) family {
	f := family{children: map[string][]string{}}
	for _, m := range all {
		f.children[m.Parent] = append(f.children[m.Parent], m.ID)
	}
	return f
}

// needs are a backup and those that need it.
func (f family) needs(id string) (ids []string) {
	ids = []string{id}
	for i := 0; i < len(ids); i++ {
		for _, child := range f.children[ids[i]] {
			if !slices.Contains(ids, child) {
				ids = append(ids, child)
			}
		}
	}
	return ids
}

// damages makes findings of the objects that are not whole. What is lost by
// those of backups and logs is added when these are known.
func (v *verifier) damages() {
	for _, o := range v.objects {
		kind := Damaged
		switch o.status {
		case damaged:
		case unreadable:
			kind = Unreadable
		default:
			continue
		}
		f := Finding{Kind: kind, Object: o.Name, Cause: o.err.Error()}
		if o.backup != "" {
			f.Lost.Backups = []string{o.backup}
		}
		if o.role == roleLog {
			f.Lost.Log = byName(o)
		}
		o.former, _ = v.state.remembered(o.Name)
		v.state.forget(o.Name)
		v.found(f)
	}
}

// backups compares the backups of a set with their objects, and with each other.
func (v *verifier) backups(ctx context.Context, set string) error {
	all, bad, err := backup.List(ctx, v.Repository, set)
	if err != nil {
		return err
	}
	// What came while the run went on is not compared.
	all = slices.DeleteFunc(all, func(m backup.Manifest) bool { return v.named[m.Object] == nil })
	kin := newFamily(all)
	for i := range v.report.Findings {
		f := &v.report.Findings[i]
		if o := v.named[f.Object]; o != nil && o.set == set && o.backup != "" {
			f.Lost.Backups = kin.needs(o.backup)
		}
	}
	v.manifests(set, all, bad, kin)
	for _, m := range all {
		if err := v.parts(ctx, m, kin); err != nil {
			return err
		}
	}
	v.chains(set, all)
	return v.strangers(ctx, set, all)
}

// manifests finds those that package backup could not read, though each by
// itself may be whole.
func (v *verifier) manifests(set string, all []backup.Manifest, bad []error, kin family) {
	readable := map[string]bool{}
	for _, m := range all {
		readable[m.ID] = true
	}
	for _, o := range v.objects {
		if o.set != set || o.role != roleManifest || !o.there() {
			continue
		}
		err := about(bad, "object "+o.Name+":")
		if err == nil && !readable[o.backup] {
			err = about(bad, folder(set, o.backup)) // one of its lists
		}
		if err == nil { // it is well, or was removed meanwhile
			continue
		}
		v.unknown[folder(set, o.backup)] = !readable[o.backup]
		if o.status == damaged || o.status == unreadable {
			continue
		}
		v.state.forget(o.Name)
		v.found(Finding{Kind: kindOf(err), Object: o.Name, Lost: Lost{Backups: kin.needs(o.backup)}, Cause: err.Error()})
	}
}

// about finds the error that has a text.
func about(errs []error, text string) error {
	for _, err := range errs {
		if strings.Contains(err.Error(), text) {
			return err
		}
	}
	return nil
}

func kindOf(err error) Kind {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Missing
	case errors.Is(err, repository.ErrDamaged), fault.ClassOf(err) == fault.VerifyFailed:
		return Damaged
	default:
		return Unreadable
	}
}

// parts finds the objects that a manifest names and that are not there.
func (v *verifier) parts(ctx context.Context, m backup.Manifest, kin family) error {
	at := folder(m.Set, m.ID)
	v.used[m.Object] = true
	for _, l := range m.PartLists {
		v.used[at+l] = true
	}
	for n := range m.Parts {
		name := m.PartObject(n + 1)
		v.used[name] = true
		if v.named[name].there() {
			continue
		}
		missing, err := v.missing(ctx, name, m.Object)
		if err != nil {
			return err
		}
		if missing {
			v.found(Finding{Kind: Missing, Object: name, Lost: Lost{Backups: kin.needs(m.ID)},
				Cause: fmt.Sprintf("the manifest of backup %s names it as part %d, and it is not there", m.ID, n+1)})
		}
	}
	return nil
}

// missing asks once more: an object may have come since it was not listed, and
// what names it may have gone.
func (v *verifier) missing(ctx context.Context, name, namedBy string) (bool, error) {
	_, err := v.Repository.Header(ctx, name)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	_, err = v.Repository.Header(ctx, namedBy)
	return !errors.Is(err, fs.ErrNotExist), nil
}

// chains finds increments that do not go on from another backup. One whose
// parent is there, and damaged, is lost by that already.
func (v *verifier) chains(set string, all []backup.Manifest) {
	for _, m := range all {
		if m.Kind != backup.Incremental || v.lostAlready(all, m) {
			continue
		}
		if _, err := backup.Chain(all, m.ID); err != nil {
			v.found(Finding{Kind: Broken, Object: m.Object, Lost: Lost{Backups: []string{m.ID}}, Cause: err.Error()})
		}
	}
}

func (v *verifier) lostAlready(all []backup.Manifest, m backup.Manifest) bool {
	for range all { // a chain is no longer
		if v.unknown[folder(m.Set, m.Parent)] {
			return true
		}
		i := slices.IndexFunc(all, func(p backup.Manifest) bool { return p.ID == m.Parent })
		if i < 0 {
			return false
		}
		m = all[i]
	}
	return false
}

// orphans finds what belongs to nothing.
func (v *verifier) orphans() {
	changed := map[string]time.Time{} // folders of backups
	for _, o := range v.objects {
		if at := folder(o.set, o.backup); o.Modified.After(changed[at]) {
			changed[at] = o.Modified
		}
	}
	before := v.report.Started.Add(-leftAlone)
	for _, o := range v.objects {
		at := folder(o.set, o.backup)
		switch {
		case !o.there() || o.status == damaged || v.used[o.Name]:
		case o.role == roleForeign && o.backup == "":
			v.foreign(o)
		case o.backup != "" && !v.unknown[at] && changed[at].Before(before):
			v.found(Finding{Kind: Orphan, Object: o.Name,
				Cause: fmt.Sprintf("no manifest names it: backup %s came to nothing, or its manifest is lost", o.backup)})
		}
	}
}

// foreign is about an object of a name that nothing here gives.
func (v *verifier) foreign(o *object) {
	if strings.HasPrefix(o.Name, o.set+"/logs/") && o.set != "" {
		v.found(Finding{Kind: Foreign, Object: o.Name, Cause: "it is no part of a log, and keeps the logs from being read: nothing but lifeboat may write to a repository"})
		return
	}
	v.found(Finding{Kind: Orphan, Object: o.Name, Cause: "it belongs to nothing that this version knows"})
}
