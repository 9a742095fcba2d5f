package clone

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// sink takes what a stream comes to.
type sink interface {
	begin(h head) error
	change(c change) error // but for data
	data(c change, b []byte) error
}

// play reads a whole stream, checks that it is one that Take writes, and hands its
// changes to a sink. It returns the files that the snapshot has at the end.
func play(r io.Reader, s sink) (Taken, []*file, error) {
	in, err := newReader(r)
	if err != nil {
		return Taken{}, nil, err
	}
	p := player{in: in, sink: s, cat: newCatalog()}
	if err := p.head(); err != nil {
		return Taken{}, nil, err
	}
	for !p.done {
		if err := p.step(); err != nil {
			return Taken{}, nil, err
		}
	}
	files, err := p.finish()
	return p.taken, files, err
}

type player struct {
	in    *reader
	sink  sink
	cat   *catalog
	taken Taken
	want  *change // data that must come next
	done  bool
}

func (p *player) head() error {
	k, b, err := p.in.next()
	if err != nil {
		return err
	}
	if k != recordAbout {
		return fmt.Errorf("%w: %s instead of the head", ErrCorrupt, k)
	}
	var h head
	if err := decodeJSON(b, &h); err != nil {
		return fmt.Errorf("head: %w", err)
	}
	p.taken.Version, p.taken.Settings = h.Version, h.Settings
	return p.sink.begin(h)
}

func (p *player) step() error {
	k, b, err := p.in.next()
	if err == nil {
		err = p.take(k, b)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.cat.state, err)
	}
	return nil
}

func (p *player) take(k recordKind, b []byte) error {
	if (p.want != nil) != (k == recordData) {
		return fmt.Errorf("%w: %s in the wrong place", ErrCorrupt, k)
	}
	switch k {
	case recordDescriptor:
		return p.descriptor(b)
	case recordData:
		return p.data(b)
	case recordAfter, recordUntil:
		var at Point
		if err := decodeJSON(b, &at); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		p.taken.set(k, at)
		return nil
	case recordEnd:
		return p.tail(b)
	default:
		return fmt.Errorf("%w: %s", ErrCorrupt, k)
	}
}

func (p *player) descriptor(b []byte) error {
	c, err := p.cat.add(b)
	if err != nil {
		return err
	}
	if c.kind == changeData {
		p.want = &c
		return nil
	}
	return p.sink.change(c)
}

func (p *player) data(b []byte) error {
	c := *p.want
	p.want = nil
	if len(b) != int(c.data.length) {
		return fmt.Errorf("%w: %d bytes for %s, announced were %d", ErrCorrupt, len(b), c.file, c.data.length)
	}
	p.taken.Bytes += int64(len(b))
	return p.sink.data(c, b)
}

func (p *player) tail(b []byte) error {
	var t tail
	if err := decodeJSON(b, &t); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	if t.Bytes != p.taken.Bytes {
		return fmt.Errorf("%w: %d bytes of data, its end says %d", ErrCorrupt, p.taken.Bytes, t.Bytes)
	}
	p.taken.Files, p.done = t.Files, true
	return nil
}

func (p *player) finish() ([]*file, error) {
	if err := p.in.atEnd(); err != nil {
		return nil, err
	}
	files, err := p.cat.finish()
	if err == nil && len(files) != p.taken.Files {
		err = fmt.Errorf("%w: %d files, its end says %d", ErrCorrupt, len(files), p.taken.Files)
	}
	return files, err
}

func decodeJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields() // what a newer version has to say is not passed over
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

// Check reads a whole stream and tells what it holds. It writes nothing.
func Check(r io.Reader) (Taken, error) {
	t, _, err := play(r, nowhere{})
	if err != nil {
		return Taken{}, fmt.Errorf("clone: check: %w", err)
	}
	return t, nil
}

type nowhere struct{}

func (nowhere) begin(head) error          { return nil }
func (nowhere) change(change) error       { return nil }
func (nowhere) data(change, []byte) error { return nil }
