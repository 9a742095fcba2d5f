package archive

import (
	"fmt"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/stream"
	"github.com/lifeboat-db/lifeboat/internal/txn"
)

// batch is bytes of a file that make a segment.
type batch struct {
	Summary
	data []byte
	// whole is set in the batch that ends a file: what the whole file holds.
	whole *Summary
}

// builder turns a stream's pieces into batches. It is pure.
//
// Invariants: pending.End-pending.Start == len(data); bytes before skip are in
// the repository already and are not put in again, but still looked at, since
// transactions that began in them may end behind them.
type builder struct {
	server  string
	format  binlog.Format
	tracker txn.Tracker
	skip    int64

	pending  Summary
	data     []byte
	base     int64    // Boundary before data
	whole    Summary  // of the file, from its beginning or from what had been archived
	ids, all gtid.Set // of pending, of whole
	prefix   prefix   // of all bytes before data
	streams  gtid.Streams
	inFile   bool
	before   *Summary // the file that ended before it, if that is known
	apart    string   // why this one does not go on from there
}

// resume is where a file is taken up again.
type resume struct {
	at    binlog.Position // a Boundary
	skip  int64           // up to where its bytes are there
	whole Summary         // what those hold

	before *Summary // the file that ended before it, if that is known
	close  bool     // nothing says yet that before has ended
}

// begin enters a file.
func (b *builder) begin(file string, offset int64, from resume) error {
	*b = builder{server: b.server, inFile: true, skip: offset, base: offset, before: b.before, prefix: prefix{known: offset == firstOffset}}
	b.pending = Summary{Server: b.server, File: file, Start: offset, End: offset, Boundary: offset}
	b.whole = b.pending
	if from.at.File == file && from.at.Offset == offset && from.before != nil {
		b.before = from.before
	}
	if from.at.File == file && from.at.Offset == offset && from.skip > 0 {
		b.skip, b.whole = from.skip, from.whole
		b.pending.Start, b.pending.End = from.skip, from.skip
		b.prefix = parsePrefix(from.whole.Prefix)
		all, err := gtid.ParseNamed(from.whole.Flavor, from.whole.GTIDs)
		if err != nil {
			return fmt.Errorf("archive: what is archived of %s: %w", file, err)
		}
		b.all = all
		if b.streams, err = from.whole.Wrote(); err != nil {
			return fmt.Errorf("archive: what is archived of %s: %w", file, err)
		}
	}
	return nil
}

// describe takes the format of the file that has been entered.
func (b *builder) describe(f binlog.Format) {
	b.format = f
	for _, s := range []*Summary{&b.pending, &b.whole} {
		s.ID, s.Flavor, s.Version, s.Begun = f.ID(), f.Flavor.String(), f.ServerVersion, f.Begun()
	}
}

// add takes an event.
func (b *builder) add(p stream.Piece) error {
	ev := p.Event
	ended, err := b.tracker.Add(ev)
	if err != nil {
		return fmt.Errorf("archive: at %s:%d: %w", p.File, p.Offset, err)
	}
	if err := b.control(ev); err != nil {
		return fmt.Errorf("archive: at %s:%d: %w", p.File, p.Offset, err)
	}
	fresh := ev.End > b.skip
	if fresh {
		raw := p.Raw[max(0, b.skip-ev.Offset):]
		b.data = append(b.data, raw...)
		b.pending.End, b.whole.End = ev.End, ev.End
	}
	if ended && fresh {
		if err := b.commit(); err != nil {
			return err
		}
	}
	if !b.tracker.Open() {
		b.pending.Boundary, b.whole.Boundary = ev.End, ev.End
	}
	return nil
}

// control takes what stands outside of transactions and matters here.
func (b *builder) control(ev binlog.Event) error {
	var previous gtid.Set
	switch ev.Type {
	case binlog.PreviousGTIDs:
		set, err := gtid.DecodePreviousGTIDs(ev.Body)
		if err != nil {
			return err
		}
		previous = set
	case binlog.MariaGTIDList:
		list, _, err := gtid.DecodeGTIDList(ev.Body)
		if err != nil {
			return err
		}
		previous = gtid.ListToSet(list)
		if b.pending.Start == firstOffset {
			b.streams = gtid.StreamsOf(list)
		}
	case binlog.RotateEvent:
		r, err := binlog.DecodeRotate(ev.Body)
		b.pending.Next, b.whole.Next = r.Name, r.Name
		return err
	default:
		return nil
	}
	text := previous.String()
	b.whole.Previous = &text
	if b.pending.Start == firstOffset {
		b.pending.Previous = &text
	}
	if b.before != nil {
		if err := continues(*b.before, b.whole); err != nil {
			b.apart = err.Error()
		}
	}
	return nil
}

func (b *builder) commit() error {
	at := b.tracker.Committed
	for _, s := range []*Summary{&b.pending, &b.whole} {
		s.Transactions++
		if s.First.IsZero() || at.Before(s.First) {
			s.First = at
		}
		if at.After(s.Last) {
			s.Last = at
		}
	}
	if b.tracker.Head.Anonymous {
		return nil
	}
	for _, set := range []*gtid.Set{&b.ids, &b.all} {
		if err := set.Add(b.tracker.Head.ID); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
	}
	if b.streams != nil {
		b.streams.Add(b.tracker.Head.ID)
	}
	return nil
}

// cut takes what is pending out, as one batch, or as several if it is more than
// an object can hold (one event can be 1 GiB): then the last one has what is
// known of all of them.
func (b *builder) cut() (out []batch) {
	if len(b.data) == 0 {
		return nil
	}
	all := b.pending
	all.GTIDs, all.Streams = b.ids.String(), b.streams.String()
	for len(b.data) > maxSegment {
		part := Summary{Server: all.Server, File: all.File, ID: all.ID, Flavor: all.Flavor, Version: all.Version, Begun: all.Begun,
			Start: all.Start, End: all.Start + maxSegment, Boundary: b.base, Previous: all.Previous}
		b.prefix.add(b.data[:maxSegment])
		part.Prefix = b.prefix.String()
		out = append(out, batch{Summary: part, data: b.data[:maxSegment:maxSegment]})
		all.Start, all.Previous, b.data = part.End, nil, b.data[maxSegment:]
	}
	b.prefix.add(b.data)
	all.Prefix = b.prefix.String()
	out = append(out, batch{Summary: all, data: b.data})
	b.base = all.Boundary
	b.pending = Summary{Server: all.Server, File: all.File, ID: all.ID, Flavor: all.Flavor, Version: all.Version, Begun: all.Begun,
		Start: all.End, End: all.End, Boundary: all.Boundary}
	b.data, b.ids = nil, gtid.Set{}
	return out
}

// end leaves the file, whose successor is known now. What is pending comes with
// what the whole file holds; there may be no bytes in it.
func (b *builder) end(next string) []batch {
	if !b.inFile || b.whole.ID == "" {
		return nil
	}
	out := b.cut()
	if len(out) == 0 {
		out = []batch{{Summary: b.pending}}
	}
	whole := b.whole
	whole.Next, whole.GTIDs, whole.Prefix, whole.Streams = next, b.all.String(), b.prefix.String(), b.streams.String()
	last := &out[len(out)-1]
	last.Next, last.whole = next, &whole
	before := whole // who stores the other one notes when
	b.inFile, b.before = false, &before
	return out
}
