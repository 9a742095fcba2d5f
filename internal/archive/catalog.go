package archive

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// Segment is a stored run of bytes.
type Segment struct {
	Name       string // of the object
	Start, End int64
	Size       int64     // stored bytes
	Modified   time.Time // by the storage's clock; zero: not known
}

// File is what is archived of one file.
type File struct {
	// Summary is that of the bytes from the beginning to the first hole, or to
	// the end.
	Summary
	Segments []Segment // by their start; they may overlap, and some lie behind a hole
	Closed   bool      // the file is there as a whole
	Stored   int64     // bytes in the repository
}

// Hole reports whether bytes are stored behind the end of Summary.
func (f File) Hole() bool {
	return len(f.Segments) > 0 && slices.MaxFunc(f.Segments, func(a, b Segment) int { return cmp.Compare(a.End, b.End) }).End > f.End
}

// Log is one server's log, in its order. Where a file does not go on where the
// one before it ended, there is a Gap.
type Log struct {
	Server string
	Files  []File

	// Stranger: the server is no member of the set. Nothing leads on by its log.
	Stranger bool
}

// Position returns the end of what is archived.
func (l Log) tip() binlog.Position {
	if len(l.Files) == 0 {
		return binlog.Position{}
	}
	last := l.Files[len(l.Files)-1]
	return binlog.Position{File: last.File, Offset: last.End}
}

// archived is when the last of it was.
func (l Log) archived() (last time.Time) {
	for _, f := range l.Files {
		if f.Archived.After(last) {
			last = f.Archived
		}
	}
	return last
}

// Load reads what is archived of all servers of a set, by name.
func Load(ctx context.Context, r *repository.Repository, set string) ([]Log, error) {
	members, err := LoadMembers(ctx, r, set)
	if err != nil {
		return nil, err
	}
	logs, err := load(ctx, r, set, logsDir(set)+"/")
	for i := range logs {
		logs[i].Stranger = !members.Has(logs[i].Server)
	}
	return logs, err
}

// LoadServer reads what is archived of one server.
func LoadServer(ctx context.Context, r *repository.Repository, set, server string) (Log, error) {
	logs, err := load(ctx, r, set, logsDir(set)+"/"+server+"/")
	if err != nil || len(logs) == 0 {
		return Log{Server: server}, err
	}
	return logs[0], nil
}

// loaders is how many headers are read at once: each is a round trip.
const loaders = 16

func load(ctx context.Context, r *repository.Repository, set, prefix string) ([]Log, error) {
	found, err := list(ctx, r, set, prefix)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	files := make([]File, len(found))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(loaders)
	for i, l := range found {
		g.Go(func() (err error) {
			files[i], err = l.look(ctx, r)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return arrange(files), nil
}

// listed is the objects of one file.
type listed struct {
	place
	segments []Segment
	closed   []string
	stored   int64
}

func list(ctx context.Context, r *repository.Repository, set, prefix string) (found []*listed, err error) {
	files := map[place]*listed{}
	for e, err := range r.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		p, ok := parseName(set, e.Name)
		if !ok {
			return nil, fault.New(fault.Storage, fmt.Errorf("%s does not belong there", e.Name),
				"was it written by a newer version? nothing but lifeboat may write to a repository")
		}
		key := place{server: p.server, file: p.file, id: p.id}
		l := files[key]
		if l == nil {
			l = &listed{place: key}
			files[key] = l
			found = append(found, l)
		}
		l.stored += e.Size
		if p.closed {
			l.closed = append(l.closed, e.Name)
		} else {
			l.segments = append(l.segments, Segment{Name: e.Name, Start: p.start, End: p.end, Size: e.Size, Modified: e.Modified})
		}
	}
	return found, nil
}

// bare is a file of which nothing is known but its name.
func (p place) bare() Summary {
	return Summary{Server: p.server, File: p.file, ID: p.id, Start: firstOffset, End: firstOffset, Boundary: firstOffset}
}

// look finds out what the objects of a file hold.
func (l *listed) look(ctx context.Context, r *repository.Repository) (File, error) {
	return l.lookBehind(ctx, r, l.bare())
}

// lookBehind is look where what is stored up to known.End is known already: only
// headers of what lies behind it are read.
func (l *listed) lookBehind(ctx context.Context, r *repository.Repository, known Summary) (File, error) {
	slices.SortFunc(l.segments, byStart)
	f := File{Segments: l.segments, Stored: l.stored, Summary: known}
	chain := chainFrom(l.segments, known.End)
	end := known.End
	if len(chain) > 0 {
		end = chain[len(chain)-1].End
	}
	for _, name := range l.closed {
		s, err := summary(ctx, r, name, r.Check) // it has no bytes: all of it is read
		if err != nil {
			return File{}, err
		}
		if s.End == end {
			f.Summary, f.Closed = s, true
			return f, nil
		}
	}
	for _, segment := range chain {
		s, err := summary(ctx, r, segment.Name, r.Header)
		if err != nil {
			return File{}, err
		}
		if f.Summary, err = f.join(s); err != nil {
			return File{}, fmt.Errorf("%s: %w", segment.Name, err)
		}
	}
	return f, nil
}

func byStart(a, b Segment) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.End, a.End))
}

// Chain picks the segments that hold a file's bytes from its beginning on, up
// to the first hole, as few as it takes. Each begins where the one before it
// ends, or before that.
func Chain(segments []Segment) []Segment { return chainFrom(segments, firstOffset) }

// chainFrom is Chain for the bytes from an offset on. A file that was written to
// for a day has tens of thousands of segments: each is looked at once.
func chainFrom(segments []Segment, end int64) (chain []Segment) {
	sorted := slices.SortedStableFunc(slices.Values(segments), byStart)
	for i := 0; ; {
		best := Segment{End: end}
		for ; i < len(sorted) && sorted[i].Start <= end; i++ {
			if sorted[i].End > best.End {
				best = sorted[i]
			}
		}
		if best.End == end {
			return chain
		}
		chain = append(chain, best)
		end = best.End
	}
}

func summary(ctx context.Context, r *repository.Repository, name string, read func(context.Context, string) (repository.Header, error)) (s Summary, err error) {
	h, err := read(ctx, name)
	if err != nil {
		return s, err
	}
	return told(name, h)
}

// parseSummary reads a header's meta. A member that is not known may change what
// the others mean.
func parseSummary(meta []byte) (s Summary, err error) {
	dec := json.NewDecoder(bytes.NewReader(meta))
	dec.DisallowUnknownFields()
	if err = dec.Decode(&s); err == nil {
		return s, nil
	}
	if json.Unmarshal(meta, new(Summary)) == nil {
		return s, fault.New(fault.Storage, fmt.Errorf("written by a newer version: what it holds: %w", err), "use that version of lifeboat, or a later one")
	}
	return s, fmt.Errorf("what it holds: %w: %w", err, repository.ErrDamaged)
}

// join adds what a segment holds that goes on where f ends.
func (f File) join(s Summary) (Summary, error) {
	sum := f.Summary
	sum.Flavor, sum.Version, sum.Begun, sum.Next = s.Flavor, s.Version, s.Begun, s.Next
	sum.End, sum.Boundary, sum.Prefix, sum.Streams = s.End, max(sum.Boundary, s.Boundary), s.Prefix, s.Streams
	if s.Previous != nil {
		sum.Previous = s.Previous
	}
	if s.Archived.After(sum.Archived) {
		sum.Archived = s.Archived
	}
	if s.Transactions == 0 {
		return sum, nil
	}
	sum.Transactions += s.Transactions
	if sum.First.IsZero() || s.First.Before(sum.First) {
		sum.First = s.First
	}
	if s.Last.After(sum.Last) {
		sum.Last = s.Last
	}
	all, err := union(s.Flavor, sum.GTIDs, s.GTIDs)
	sum.GTIDs = all.String()
	return sum, err
}

func union(flavor string, texts ...string) (all gtid.Set, err error) {
	for _, text := range texts {
		set, err := gtid.ParseNamed(flavor, text)
		if err == nil {
			err = all.Union(set)
		}
		if err != nil {
			return gtid.Set{}, err
		}
	}
	return all, nil
}

// arrange puts files into the order of their logs.
func arrange(files []File) (logs []Log) {
	byServer := map[string][]File{}
	for _, f := range files {
		byServer[f.Server] = append(byServer[f.Server], f)
	}
	for server, files := range byServer {
		logs = append(logs, Log{Server: server, Files: order(files)})
	}
	slices.SortFunc(logs, func(a, b Log) int { return strings.Compare(a.Server, b.Server) })
	return logs
}

// order follows from each file to the one that it names as its successor. Runs
// that nothing links (after a gap, or a RESET MASTER, which begins the names
// anew) are ordered by when they were archived last, which says nothing about
// the files but which of them the server writes now.
func order(files []File) (out []File) {
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(binlog.Number(a.File), binlog.Number(b.File)) })
	next, linked := links(files)
	type run struct {
		files []File
		last  time.Time
	}
	var runs []run
	for i := range files {
		if linked[i] {
			continue
		}
		var r run
		for at := i; at >= 0; at = next[at] {
			r.files = append(r.files, files[at])
			if files[at].Archived.After(r.last) {
				r.last = files[at].Archived
			}
		}
		runs = append(runs, r)
	}
	slices.SortStableFunc(runs, func(a, b run) int { return a.last.Compare(b.last) })
	for _, r := range runs {
		out = append(out, r.files...)
	}
	return out
}

// links finds the successor of each file, -1 if there is none, and says which
// files are one. Those that go on exactly come first: they are not taken by
// another file that has lost its own.
func links(files []File) (next []int, linked []bool) {
	next, linked = make([]int, len(files)), make([]bool, len(files))
	for i := range next {
		next[i] = -1
	}
	for _, exact := range []bool{true, false} {
		for i := range files {
			if next[i] >= 0 || !files[i].Closed {
				continue
			}
			if next[i] = successor(files, i, linked, exact); next[i] >= 0 {
				linked[next[i]] = true
			}
		}
	}
	return next, linked
}

// successor finds the file that goes on where file i ended: of those of its name
// the one that names the transactions before it, or, if it need not be exact,
// the first that was begun later. -1: there is none.
func successor(files []File, i int, taken []bool, exact bool) int {
	found := -1
	for j, f := range files {
		if f.File != files[i].Next || taken[j] || j == i || binlog.Number(f.File) <= binlog.Number(files[i].File) && binlog.Base(f.File) == binlog.Base(files[i].File) {
			continue
		}
		earlier := f.Begun.Before(files[i].Begun) // the names have begun anew, or the clock was set back
		if exact && continues(files[i].Summary, f.Summary) != nil || !exact && earlier {
			continue
		}
		if found < 0 || !earlier && (files[found].Begun.Before(files[i].Begun) || f.Begun.Before(files[found].Begun)) {
			found = j
		}
	}
	return found
}
