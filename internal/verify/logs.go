package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// looks is how often a log in which something is missing is listed again while
// it changes.
const looks = 5

// logs compares the files and logs of a set with their objects.
func (v *verifier) logs(ctx context.Context, set string) error {
	for n := 1; ; n++ {
		found, err := v.lookAtLogs(ctx, set)
		if err != nil {
			return err
		}
		changed := false
		if len(found) > 0 && n < looks {
			if changed, err = v.listLogs(ctx, set); err != nil {
				return err
			}
		}
		if !changed {
			v.report.Findings = append(v.report.Findings, found...)
			return v.lostLogs(ctx, set)
		}
	}
}

// listLogs lists the logs of a set again, and reports whether they have
// changed. A segment may have been stored after its folder was listed, and what
// closes a file before the next folder was.
func (v *verifier) listLogs(ctx context.Context, set string) (changed bool, err error) {
	there := map[string]bool{}
	for e, err := range v.Repository.List(ctx, set+"/logs/") {
		if err != nil {
			return false, err
		}
		there[e.Name] = true
		if v.named[e.Name] != nil {
			continue
		}
		o := classify(e)
		if o.status = skipped; o.role != roleLog || !v.describe(ctx, o) {
			continue
		}
		changed = true
		v.objects = append(v.objects, o)
		v.named[e.Name] = o
	}
	for _, o := range v.objects {
		if o.set == set && o.role == roleLog && o.there() && !there[o.Name] {
			o.status, changed = vanished, true
		}
	}
	return changed, ctx.Err()
}

// file is the objects of one file of a log.
type file struct {
	archive.Summary // Server, File, ID
	objects         []*object
}

// files groups the objects of a set's logs, all that are there.
func (v *verifier) files(set string) (list []*file) {
	byKey := map[string]*file{}
	for _, o := range v.objects {
		if o.set != set || o.role != roleLog || !o.there() {
			continue
		}
		key := fileKey(o.log.Summary)
		if byKey[key] == nil {
			byKey[key] = &file{Summary: o.log.Summary}
			list = append(list, byKey[key])
		}
		byKey[key].objects = append(byKey[key].objects, o)
	}
	return list
}

func fileKey(s archive.Summary) string { return s.Server + "/" + s.File + "." + s.ID }

// lookAtLogs finds holes in files and gaps between them.
func (v *verifier) lookAtLogs(ctx context.Context, set string) (found []Finding, err error) {
	files := map[string]*file{}
	var objects []archive.Object
	for _, f := range v.files(set) {
		files[fileKey(f.Summary)] = f
		for _, o := range f.objects {
			if !o.log.Closed || o.log.Described() {
				objects = append(objects, o.log)
			}
		}
	}
	logs, err := archive.Assemble(objects)
	if err != nil {
		return nil, err
	}
	for _, l := range logs {
		for i, f := range l.Files {
			mine := files[fileKey(f.Summary)]
			holes := mine.holes()
			for _, h := range holes {
				found = append(found, v.hole(ctx, set, mine, h, i == 0))
			}
			if len(holes) == 0 && !mine.endUnknown() {
				found = append(found, gap(set, l, i)...)
			}
		}
	}
	return found, nil
}

// span is bytes of a file.
type span struct{ start, end int64 }

// firstOffset is that of a file's first event.
const firstOffset = 4

// holes are the bytes that no object holds, though those behind them, or what
// the whole file holds, are there.
func (f *file) holes() (holes []span) {
	at := int64(firstOffset)
	segments := f.segments()
	for _, s := range append(segments, span{f.end(), f.end()}) {
		if s.start > at {
			holes = append(holes, span{at, s.start})
		}
		at = max(at, s.end)
	}
	return holes
}

// segments are those that are there, damaged or not, by their start.
func (f *file) segments() (list []span) {
	for _, o := range f.objects {
		if !o.log.Closed {
			list = append(list, span{o.log.Summary.Start, o.log.Summary.End})
		}
	}
	slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	return list
}

// end is the last offset that something tells of.
func (f *file) end() int64 {
	end := int64(firstOffset)
	for _, o := range f.objects {
		end = max(end, o.log.Summary.End)
	}
	return end
}

// endUnknown reports whether what closes the file is there, but cannot be read.
func (f *file) endUnknown() bool {
	return slices.ContainsFunc(f.objects, func(o *object) bool { return o.log.Closed && !o.log.Described() })
}

func (v *verifier) hole(ctx context.Context, set string, f *file, h span, first bool) Finding {
	cause := fmt.Sprintf("%d bytes of the file are not there, those behind them are, or were", h.end-h.start)
	if first && h.start == firstOffset {
		cause += "; an expire that was interrupted leaves that, and goes on when it runs again"
	}
	return Finding{Kind: Missing, Object: archive.File{Summary: f.Summary}.Folder(set), Lost: Lost{Log: v.lost(ctx, f, h, nil)}, Cause: cause}
}

// gap says why the log does not go on behind its file number i, if it does not.
func gap(set string, l archive.Log, i int) []Finding {
	why := l.Apart(i)
	if why == "" {
		return nil
	}
	f, next := l.Files[i], l.Files[i+1]
	r := Range{Server: l.Server, File: f.File, ID: f.ID, Start: f.End, End: f.End, Next: fmt.Sprintf("%s:%d", next.File, firstOffset)}
	if f.Previous != nil && next.Previous != nil {
		flavor := gtid.FlavorNamed(f.Flavor)
		had, says := union(flavor, *f.Previous, f.GTIDs), union(flavor, *next.Previous)
		r.GTIDs, r.After = between(had, says)
	}
	return []Finding{{Kind: Gap, Object: f.Folder(set), Lost: Lost{Log: &r}, Cause: why}}
}

// union leaves out what is no GTID set: nothing that was described is none.
func union(flavor gtid.Flavor, texts ...string) (all gtid.Set) {
	for _, text := range texts {
		if set, err := gtid.ParseSet(flavor, text); err == nil {
			_ = all.Union(set) // of one flavor
		}
	}
	return all
}

// between is what is in b and not in a; on MariaDB the position b, after a.
func between(a, b gtid.Set) (gtids, after string) {
	if a.Flavor() == gtid.MariaDB || b.Flavor() == gtid.MariaDB {
		return b.String(), a.String()
	}
	_ = b.Subtract(a) // both are MySQL's
	return b.String(), ""
}
