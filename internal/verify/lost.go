package verify

import (
	"context"
	"slices"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// byName is what the name of an object alone tells of what is lost.
func byName(o *object) *Range {
	s := o.log.Summary
	return &Range{Server: s.Server, File: s.File, ID: s.ID, Start: max(s.Start, firstOffset), End: max(s.End, firstOffset)}
}

// lostLogs says of the damaged objects of a set's logs what is lost by them.
func (v *verifier) lostLogs(ctx context.Context, set string) error {
	for _, f := range v.files(set) {
		for _, o := range f.objects {
			i := slices.IndexFunc(v.report.Findings, func(found Finding) bool { return found.Object == o.Name })
			if i < 0 || o.status != damaged && o.status != unreadable {
				continue
			}
			at := span{o.log.Summary.Start, o.log.Summary.End}
			if o.log.Closed {
				at = span{firstOffset, f.end()}
			}
			v.report.Findings[i].Lost.Log = v.lost(ctx, f, at, o)
		}
	}
	return ctx.Err()
}

// lost says which transactions end in bytes of a file. o, if there is one, is
// the damaged object of these bytes. What is known is, in this order: what the
// object has said when it was whole; what the whole file holds, without what is
// still there; what its header says now.
func (v *verifier) lost(ctx context.Context, f *file, at span, o *object) *Range {
	r := &Range{Server: f.Server, File: f.File, ID: f.ID, Start: at.start, End: at.end}
	whole := f.whole()
	flavor := f.flavor(o)
	switch {
	case o != nil && o.former.Flavor != "":
		r.take(f.before(flavor, at.start), union(flavor, o.former.GTIDs))
	case o != nil && o.log.Closed:
		r.take(f.before(flavor, firstOffset), union(flavor, f.said(at.end)...))
	case whole != nil && flavor == gtid.MySQL:
		r.take(union(flavor, f.said(f.end())...), union(flavor, whole.GTIDs))
		r.Unproven = f.losses() > 1
	default:
		v.guess(ctx, r, f, o)
	}
	return r
}

func (r *Range) take(before, reached gtid.Set) { r.GTIDs, r.After = between(before, reached) }

// guess takes the header of a damaged object, if it still fits its name; of
// bytes that are not there, on MariaDB, what the file has reached behind them.
func (v *verifier) guess(ctx context.Context, r *Range, f *file, o *object) {
	r.Unproven = true
	if o != nil {
		claim := o.log
		if h, err := v.Repository.Header(ctx, o.Name); err == nil && claim.Describe(h) == nil && claim.Summary.GTIDs != "" {
			flavor := gtid.FlavorNamed(claim.Summary.Flavor)
			r.take(f.before(flavor, r.Start), union(flavor, claim.Summary.GTIDs))
			return
		}
	}
	if f.flavor(o) == gtid.MariaDB {
		r.take(f.before(gtid.MariaDB, r.Start), union(gtid.MariaDB, f.behind(r.End)))
	}
}

// described are the summaries of the objects that are whole.
func (f *file) described() (list []archive.Object) {
	for _, o := range f.objects {
		if o.log.Described() && o.status != damaged && o.status != unreadable {
			list = append(list, o.log)
		}
	}
	return list
}

// whole is what the file as a whole holds; nil if that is not known.
func (f *file) whole() *archive.Summary {
	for _, o := range f.described() {
		if o.Closed {
			return &o.Summary
		}
	}
	return nil
}

func (f *file) flavor(o *object) gtid.Flavor {
	for _, d := range f.described() {
		return gtid.FlavorNamed(d.Summary.Flavor)
	}
	if o != nil && o.former.Flavor != "" {
		return gtid.FlavorNamed(o.former.Flavor)
	}
	return gtid.MySQL
}

// said are the GTIDs of the segments up to an offset.
func (f *file) said(end int64) (texts []string) {
	for _, o := range f.described() {
		if !o.Closed && o.Summary.End <= end {
			texts = append(texts, o.Summary.GTIDs)
		}
	}
	return texts
}

// before is what the log has reached at an offset. Of MySQL, whose sets can be
// told apart without it, nothing.
func (f *file) before(flavor gtid.Flavor, start int64) gtid.Set {
	if flavor == gtid.MySQL {
		return gtid.Set{}
	}
	texts := f.said(start)
	for _, o := range f.described() {
		if o.Summary.Previous != nil {
			texts = append(texts, *o.Summary.Previous)
		}
	}
	return union(flavor, texts...)
}

// behind is what the file has reached at the first object that ends at or behind
// an offset and says so.
func (f *file) behind(end int64) string {
	best := archive.Summary{End: -1}
	for _, o := range f.described() {
		if o.Summary.End >= end && o.Summary.GTIDs != "" && (best.End < 0 || o.Summary.End < best.End) {
			best = o.Summary
		}
	}
	return best.GTIDs
}

// losses is how many runs of bytes are damaged or not there.
func (f *file) losses() int {
	n := len(f.holes())
	for _, o := range f.objects {
		if !o.log.Closed && (o.status == damaged || o.status == unreadable) {
			n++
		}
	}
	return n
}
