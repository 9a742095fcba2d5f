package repository

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"filippo.io/age"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

// Location says where a repository is and what is needed to use it.
type Location struct {
	store.Options
	Name       string   // for messages
	Recipients []string // if any: those that the marker must have
	Identities []string // files of age identities, for reading only
}

// Repository is an open repository. Its methods may be called from several
// goroutines at once.
type Repository struct {
	store  store.Store
	name   string
	marker marker
	text   []byte // of the marker, as it is stored
	sealer *sealer
}

// Create makes a repository in an empty place, encrypted for the recipients if
// there are any. Of two at once, one makes it.
func Create(ctx context.Context, l Location, recipients []string) (*Repository, error) {
	r := &Repository{name: l.Name, marker: newMarker(slices.Clone(recipients))}
	if err := checkRecipients(recipients, l.Recipients); err != nil {
		return nil, r.wrap(l.URL, err)
	}
	if err := r.prepare(l.Identities); err != nil { // nothing is made with keys that are none
		return nil, r.wrap(l.URL, err)
	}
	l.Create = true
	s, err := store.Open(ctx, l.Options)
	if err != nil {
		return nil, r.wrap(l.URL, err)
	}
	r.store = s
	if err := r.create(ctx); err != nil {
		return nil, r.wrap(s.String(), err)
	}
	return r, nil
}

// create puts the marker, twice: the same once more does no harm, and shows
// places that overwrite.
func (r *Repository) create(ctx context.Context) error {
	if err := r.checkEmpty(ctx); err != nil {
		return err
	}
	text, err := r.marker.encode()
	if err != nil {
		return err
	}
	err = r.store.Put(ctx, markerName, text)
	if errors.Is(err, fs.ErrExist) {
		return errIsOne
	}
	if err != nil {
		return err
	}
	r.text = text
	return r.refuses(ctx)
}

// refuses puts the marker once more. A place that takes it overwrites objects;
// but its answer may also be to the second of two tries, of which the first was
// refused: so it is asked again.
func (r *Repository) refuses(ctx context.Context) error {
	const times = 3
	for range times {
		if err := r.store.Put(ctx, markerName, r.text); errors.Is(err, fs.ErrExist) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return errOverwrites
}

// TryWrite shows that this account may write, and that the place overwrites
// nothing (conditional writes): it puts the marker once more, as it is, which
// the place must refuse. Nothing is different afterwards.
func (r *Repository) TryWrite(ctx context.Context) error {
	if err := r.refuses(ctx); err != nil {
		return r.wrap(r.store.String(), err)
	}
	return nil
}

// Free tells how many bytes the place has room for; ok is false if nobody knows,
// as in a bucket.
func (r *Repository) Free() (bytes int64, ok bool, err error) {
	s, ok := r.store.(store.Spacious)
	if !ok {
		return 0, false, nil
	}
	if bytes, err = s.Free(); err != nil {
		return 0, true, r.wrap(r.store.String(), err)
	}
	return bytes, true, nil
}

var errOverwrites = fault.New(fault.Storage, errors.New("the place overwrites objects"),
	"the server does not know conditional writes (If-None-Match): use one that does, or a directory")

var errIsOne = fault.New(fault.Storage, errors.New("there is a repository already"), "open it, or choose another place")

func (r *Repository) checkEmpty(ctx context.Context) error {
	if _, err := r.store.Get(ctx, markerName); err == nil {
		return errIsOne
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for e, err := range r.store.List(ctx, "") {
		if err != nil {
			return err
		}
		if e.Name == markerName { // somebody was faster
			return errIsOne
		}
		return fault.New(fault.Storage, fmt.Errorf("the place is not empty: there is %s", e.Name), "choose an empty one")
	}
	return nil
}

// Open opens a repository.
func Open(ctx context.Context, l Location) (*Repository, error) {
	r := &Repository{name: l.Name}
	l.Create = false
	s, err := store.Open(ctx, l.Options)
	if err != nil {
		return nil, r.wrap(l.URL, err)
	}
	r.store = s
	if err := r.open(ctx, l); err != nil {
		return nil, r.wrap(s.String(), err)
	}
	return r, nil
}

func (r *Repository) open(ctx context.Context, l Location) error {
	text, err := r.store.Get(ctx, markerName)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Storage, fmt.Errorf("not a repository: there is no %s", markerName), "check the place, or create one")
	}
	if err != nil {
		return err
	}
	r.text = text
	if r.marker, err = parseMarker(text); err != nil {
		return fmt.Errorf("%s: %w", markerName, err)
	}
	if err := checkRecipients(r.marker.Recipients, l.Recipients); err != nil {
		return err
	}
	return r.prepare(l.Identities)
}

// prepare makes the sealer.
func (r *Repository) prepare(identities []string) error {
	f, err := newFrames()
	if err != nil {
		return err
	}
	recipients, err := parseRecipients(r.marker.Recipients)
	if err != nil {
		return err
	}
	keys, err := readIdentities(identities)
	if err != nil {
		return err
	}
	r.sealer = &sealer{frames: f, recipients: recipients, identities: keys}
	return nil
}

// readIdentities reads files of private keys. Their content is in no error.
func readIdentities(paths []string) (list []age.Identity, err error) {
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, fault.Errorf(fault.Storage, "identity: %w", err)
		}
		keys, err := age.ParseIdentities(f)
		_ = f.Close() // only read
		if err != nil {
			return nil, fault.New(fault.Storage, fmt.Errorf("identity %s: not a file of age identities", path),
				"age-keygen makes one; one with a passphrase has to be decrypted first")
		}
		list = append(list, keys...)
	}
	return list, nil
}

// Around finds a repository in a directory that a path lies in, or is.
func Around(path string) (dir string, ok bool) {
	for dir = filepath.Clean(path); ; dir = filepath.Dir(dir) {
		if text, err := os.ReadFile(filepath.Join(dir, markerName)); err == nil {
			if _, err := parseMarker(text); err == nil {
				return dir, true
			}
		}
		if dir == filepath.Dir(dir) {
			return "", false
		}
	}
}

// ID is the repository's own: 32 hexadecimal digits, different for each.
func (r *Repository) ID() string { return r.marker.ID }

// Name is that of the Location.
func (r *Repository) Name() string { return r.name }

// Recipients are the public keys that it is encrypted for; none: it is not.
func (r *Repository) Recipients() []string { return slices.Clone(r.marker.Recipients) }

// Readable reports whether it is not encrypted, or there are private keys to try.
func (r *Repository) Readable() bool {
	return len(r.marker.Recipients) == 0 || len(r.sealer.identities) > 0
}

// String names it and its place.
func (r *Repository) String() string { return describe(r.name, r.store.String()) }

func describe(name, url string) string {
	if name == "" {
		return "repository " + url
	}
	return fmt.Sprintf("repository %s (%s)", name, url)
}

func (r *Repository) wrap(url string, err error) error {
	return fmt.Errorf("%s: %w", describe(r.name, url), err)
}

// about names the object that an error is about.
func (r *Repository) about(name string, err error) error {
	if err == nil {
		return nil
	}
	return r.wrap(r.store.String(), fmt.Errorf("object %s: %w", name, err))
}

// List goes through the names that begin with prefix, ascending; see
// store.Store. The marker is not among them.
func (r *Repository) List(ctx context.Context, prefix string) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		for e, err := range r.store.List(ctx, prefix) {
			if err != nil {
				err = r.wrap(r.store.String(), err)
			} else if e.Name == markerName {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// Delete removes an object; it is no error if there is none.
func (r *Repository) Delete(ctx context.Context, name string) error {
	if _, err := hashOf(name); err != nil {
		return r.about(name, err)
	}
	return r.about(name, r.store.Delete(ctx, name))
}

// Sweep removes what writers that died have left, half a day later.
func (r *Repository) Sweep(ctx context.Context) error {
	s, ok := r.store.(store.Sweeper)
	if !ok {
		return nil
	}
	if err := s.Sweep(ctx); err != nil {
		return r.wrap(r.store.String(), err)
	}
	return nil
}
