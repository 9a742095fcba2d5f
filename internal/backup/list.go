package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

// List returns the backups of a set, the oldest first, and an error for each
// manifest that is damaged or not understood; its backup is not among them. It
// needs no key. The last error is that of the repository itself.
//
// Every object of the set's backups is listed for it: on S3, one request for
// each thousand parts.
func List(ctx context.Context, r *repository.Repository, set string) (found []Manifest, bad []error, err error) {
	for e, err := range r.List(ctx, backups(set)) {
		if err != nil {
			return nil, nil, fmt.Errorf("backup: list: %w", err)
		}
		if _, file := split(set, e.Name); !isManifest(file) {
			continue
		}
		m, err := read(ctx, r, e.Name)
		switch {
		case ctx.Err() != nil:
			return nil, nil, fmt.Errorf("backup: list: %w", context.Cause(ctx))
		case err != nil:
			bad = append(bad, fmt.Errorf("backup: %w", err))
		case len(found) == 0 || found[len(found)-1].ID != m.ID: // else its put was tried again
			found = append(found, m)
		}
	}
	return found, bad, nil
}

// split divides the name of an object into the backup's id, empty if it belongs
// to none, and the name in the backup's folder.
func split(set, name string) (id, file string) {
	id, file, _ = strings.Cut(strings.TrimPrefix(name, backups(set)), "/")
	if !idPattern.MatchString(id) {
		return "", ""
	}
	return id, file
}

func isManifest(file string) bool { return strings.HasPrefix(file, "manifest-") }

// read reads a manifest with all its parts.
func read(ctx context.Context, r *repository.Repository, object string) (Manifest, error) {
	meta, err := readMeta(ctx, r, object, kindManifest)
	if err != nil {
		return Manifest{}, err
	}
	m, err := parseManifest(object, meta)
	if errors.Is(err, errNewer) {
		return Manifest{}, fault.New(fault.Storage, fmt.Errorf("%s: object %s: %w", r, object, err), "use that version")
	}
	if err == nil {
		if err := m.readLists(ctx, r); err != nil {
			return Manifest{}, err
		}
		err = m.checkParts()
	}
	if err != nil {
		return Manifest{}, damaged(r, object, err)
	}
	return m, nil
}

// readMeta reads the meta of an object of a kind, with its hash verified.
func readMeta(ctx context.Context, r *repository.Repository, object, kind string) (json.RawMessage, error) {
	h, err := r.Check(ctx, object)
	if err != nil {
		return nil, err
	}
	if h.Kind != kind {
		return nil, damaged(r, object, fmt.Errorf("it is a %s, not a %s", h.Kind, kind))
	}
	return h.Meta, nil
}

func damaged(r *repository.Repository, object string, err error) error {
	return fault.Errorf(fault.VerifyFailed, "%s: object %s: %w: %w", r, object, err, repository.ErrDamaged)
}

// readLists appends the parts that are not in the manifest itself.
func (m *Manifest) readLists(ctx context.Context, r *repository.Repository) error {
	for _, name := range m.PartLists {
		object := folder(m.Set, m.ID) + name
		meta, err := readMeta(ctx, r, object, kindParts)
		if err != nil {
			return fmt.Errorf("backup %s: %w", m.ID, err)
		}
		var list listMeta
		if err := json.Unmarshal(meta, &list); err != nil {
			return damaged(r, object, err)
		}
		if list.Backup != m.ID {
			return damaged(r, object, fmt.Errorf("it is that of backup %.100q", list.Backup))
		}
		m.Parts = append(m.Parts, list.Parts...)
	}
	return nil
}

// Chain returns the full backup and the increments, in order, that together are
// the backup id. It fails if one is not there, or if two do not join.
func Chain(all []Manifest, id string) ([]Manifest, error) {
	var chain []Manifest
	for next := id; next != ""; {
		i := slices.IndexFunc(all, func(m Manifest) bool { return m.ID == next })
		if i < 0 {
			return nil, fault.New(fault.Storage, fmt.Errorf("backup %s: %w", next, errMissing), "take another one that is whole: list them")
		}
		if len(chain) > len(all) {
			return nil, fault.Errorf(fault.VerifyFailed, "backup %s: it goes on from itself", id)
		}
		chain = append(chain, all[i])
		next = all[i].Parent
	}
	slices.Reverse(chain)
	return chain, CheckChain(chain)
}

var errMissing = errors.New("there is none, or its manifest cannot be read")

// CheckChain checks that a chain begins with a full backup and that each
// increment goes on exactly where the one before ends.
func CheckChain(chain []Manifest) error {
	if len(chain) == 0 || chain[0].Kind != Full {
		return fault.Errorf(fault.VerifyFailed, "a chain of backups has to begin with a full one")
	}
	for i := 1; i < len(chain); i++ {
		if err := joins(&chain[i-1], &chain[i]); err != nil {
			return fault.Errorf(fault.VerifyFailed, "backup %s does not go on from %s: %w", chain[i].ID, chain[i-1].ID, err)
		}
	}
	return nil
}

// joins says why increment b does not go on from a.
func joins(a, b *Manifest) error {
	switch {
	case b.Kind != Incremental || b.Parent != a.ID:
		return fmt.Errorf("it is %s, with parent %q", b.Kind, b.Parent)
	case a.Server != b.Server:
		return fmt.Errorf("one is of server %s, the other of %s", a.Server, b.Server)
	case a.Driver != b.Driver:
		return fmt.Errorf("one was taken by %s, the other by %s", a.Driver, b.Driver)
	case a.ToLSN != b.FromLSN:
		return fmt.Errorf("one ends at LSN %d, the other begins at %d", a.ToLSN, b.FromLSN)
	}
	return nil
}

// Leftovers are the objects in the backups of a set that belong to no backup:
// of those that came to nothing, or of puts that were tried again. A folder
// whose newest object is younger than olderThan is left out: it may be of a
// backup being taken. So is one with a manifest that cannot be read: what it
// needs is not known.
func Leftovers(ctx context.Context, r *repository.Repository, set string, olderThan time.Duration) ([]store.Entry, error) {
	var left, objects []store.Entry
	before := time.Now().Add(-olderThan)
	current := ""
	flush := func() error {
		more, err := leftovers(ctx, r, objects, before)
		left, objects = append(left, more...), nil
		return err
	}
	for e, err := range r.List(ctx, backups(set)) {
		if err != nil {
			return nil, fmt.Errorf("backup: leftovers: %w", err)
		}
		if id, _ := split(set, e.Name); id != current {
			if err := flush(); err != nil {
				return nil, err
			}
			current = id
		}
		if current != "" {
			objects = append(objects, e)
		}
	}
	return left, flush()
}

// leftovers looks at the objects of one folder.
func leftovers(ctx context.Context, r *repository.Repository, objects []store.Entry, before time.Time) ([]store.Entry, error) {
	used := map[string]bool{}
	for _, e := range objects {
		if e.Modified.After(before) {
			return nil, nil
		}
		if !isManifest(path.Base(e.Name)) {
			continue
		}
		m, err := read(ctx, r, e.Name)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("backup: leftovers: %w", context.Cause(ctx))
		}
		if err != nil {
			return nil, nil
		}
		m.use(used)
	}
	return slices.DeleteFunc(objects, func(e store.Entry) bool { return used[e.Name] }), nil
}

// use marks the objects of the backup.
func (m *Manifest) use(used map[string]bool) {
	used[m.Object] = true
	for _, l := range m.PartLists {
		used[folder(m.Set, m.ID)+l] = true
	}
	for n := range m.Parts {
		used[m.PartObject(n+1)] = true
	}
}

// Remove deletes a backup: first its manifest, so that no half of it is ever
// listed, then all else in its folder. Whether an increment needs it is for the
// caller to know.
func Remove(ctx context.Context, r *repository.Repository, set, id string) error {
	var manifests, others []string
	for e, err := range r.List(ctx, folder(set, id)) {
		if err != nil {
			return fmt.Errorf("backup: remove %s: %w", id, err)
		}
		if isManifest(path.Base(e.Name)) {
			manifests = append(manifests, e.Name)
		} else {
			others = append(others, e.Name)
		}
	}
	for _, name := range append(manifests, others...) {
		if err := r.Delete(ctx, name); err != nil {
			return fmt.Errorf("backup: remove %s: %w", id, err)
		}
	}
	return nil
}
