package archive

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
)

// Object is a stored object of a log, for those who look at each of them.
type Object struct {
	store.Entry
	Closed bool // it says what the whole file holds, and has no bytes

	// Summary is what the name says (Server, File, ID, and of a segment Start
	// and End) until Describe has added the rest.
	Summary Summary
}

// ParseObject reads the name of an object; ok is false if it is none of a log
// of the set.
func ParseObject(set string, e store.Entry) (o Object, ok bool) {
	p, ok := parseName(set, e.Name)
	if !ok {
		return Object{}, false
	}
	return Object{Entry: e, Closed: p.closed,
		Summary: Summary{Server: p.server, File: p.file, ID: p.id, Start: p.start, End: p.end}}, true
}

// Described reports whether the header has been seen: there is no log of no
// flavor.
func (o Object) Described() bool { return o.Summary.Flavor != "" }

// Describe takes what the header says, which must fit the name: an object that
// lies in another's place is not taken for it.
func (o *Object) Describe(h repository.Header) error {
	kind := kindSegment
	if o.Closed {
		kind = kindClosed
	}
	if h.Kind != kind {
		return fmt.Errorf("it is of kind %q, not %q: %w", h.Kind, kind, repository.ErrDamaged)
	}
	s, err := parseSummary(h.Meta)
	if err != nil {
		return err
	}
	n := o.Summary
	switch {
	case s.Server != n.Server || s.File != n.File || s.ID != n.ID || !o.Closed && (s.Start != n.Start || s.End != n.End):
		return fmt.Errorf("it says that it is %d to %d of %.100s.%.100s of %.100s: %w", s.Start, s.End, s.File, s.ID, s.Server, repository.ErrDamaged)
	case !o.Closed && h.Size != s.End-s.Start, o.Closed && h.Size != 0, s.Flavor == "", s.End < firstOffset:
		return fmt.Errorf("it holds %d bytes, and says that they are %d to %d of a log of %.100q: %w", h.Size, s.Start, s.End, s.Flavor, repository.ErrDamaged)
	}
	if _, err := union(s.Flavor, s.GTIDs); err != nil {
		return fmt.Errorf("what it holds: %w: %w", err, repository.ErrDamaged)
	}
	o.Summary = s
	return nil
}

// told is what the header of an object says, which must fit its name: see
// Describe.
func told(name string, h repository.Header) (Summary, error) {
	set, _, _ := strings.Cut(name, logsDir("")+"/")
	o, ok := ParseObject(set, store.Entry{Name: name})
	if !ok {
		return Summary{}, fmt.Errorf("%s: not the name of an object of a log", name)
	}
	if err := o.Describe(h); err != nil {
		return Summary{}, fmt.Errorf("%s: %w", name, err)
	}
	return o.Summary, nil
}

// Assemble makes logs of their objects, as Load does. Of those that have not
// been described only the bytes count: a damaged segment leaves no hole.
func Assemble(objects []Object) ([]Log, error) {
	groups := map[place][]Object{}
	var keys []place
	for _, o := range objects {
		key := place{server: o.Summary.Server, file: o.Summary.File, id: o.Summary.ID}
		if groups[key] == nil {
			keys = append(keys, key)
		}
		groups[key] = append(groups[key], o)
	}
	files := make([]File, len(keys))
	for i, key := range keys {
		var err error
		if files[i], err = assemble(key, groups[key]); err != nil {
			return nil, fmt.Errorf("archive: %s.%s of %s: %w", key.file, key.id, key.server, err)
		}
	}
	return arrange(files), nil
}

// assemble makes one file of its objects.
func assemble(key place, objects []Object) (File, error) {
	f := File{Summary: key.bare()}
	said := map[string]Summary{}
	for _, o := range objects {
		f.Stored += o.Size
		if !o.Closed {
			f.Segments = append(f.Segments, Segment{Name: o.Name, Start: o.Summary.Start, End: o.Summary.End, Size: o.Size})
			said[o.Name] = o.Summary
		}
	}
	slices.SortFunc(f.Segments, byStart)
	for _, s := range Chain(f.Segments) {
		if said[s.Name].Flavor == "" {
			f.End = s.End
			continue
		}
		var err error
		if f.Summary, err = f.join(said[s.Name]); err != nil {
			return File{}, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	for _, o := range objects {
		if o.Closed && o.Described() && o.Summary.End == f.End {
			f.Summary, f.Closed = o.Summary, true
		}
	}
	return f, nil
}

// Folder is where the objects of a file are, with a slash at its end.
func (f File) Folder(set string) string { return f.dir(set) + "/" }
