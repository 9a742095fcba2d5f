package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/stream"
)

// Options of a Follower.
type Options struct {
	Set        string
	DSN        string // of the server that is followed
	Repository *repository.Repository

	// Flush is how long a byte waits before it is stored. Zero: 1 s.
	Flush time.Duration
	// SegmentBytes is after how many bytes it does not wait. Zero: 8 MiB.
	SegmentBytes int
	// MaxWait is the longest time between two attempts after a failure. Zero: a
	// minute.
	MaxWait time.Duration

	Listener Listener
}

// Listener hears what happens, one call at a time for each follower. Any of its
// members may be nil.
type Listener struct {
	Connected func(server string, from binlog.Position)
	Stored    func(Summary, int64) // bytes in the repository
	Closed    func(Summary)
	Alarm     func(Alarm)
	Waiting   func(err error, again time.Duration) // after a failure
}

// Alarm is something that no new attempt will mend.
type Alarm struct {
	Server string    `json:"server"`
	At     string    `json:"at"` // FILE:OFFSET, where the archive ends
	Why    string    `json:"why"`
	Time   time.Time `json:"time"`
}

// Bounds of a follower's memory: SegmentBytes are being filled, as many wait to
// be stored, and as many are being stored, compressed beside that.
const (
	defaultFlush   = time.Second
	defaultSegment = 8 << 20
	maxSegment     = 48 << 20 // fits an object whatever it is
	defaultMaxWait = time.Minute
)

func (o *Options) setDefaults() error {
	orElse(&o.Flush, defaultFlush)
	orElse(&o.SegmentBytes, defaultSegment)
	orElse(&o.MaxWait, defaultMaxWait)
	if o.SegmentBytes < 1 || o.SegmentBytes > maxSegment {
		return fmt.Errorf("archive: segments of %d bytes: it takes 1 to %d", o.SegmentBytes, maxSegment)
	}
	return nil
}

func orElse[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Follow archives one server's log into one repository until the context ends,
// whatever happens meanwhile: a server that is down or moves, a repository that
// does not answer. It goes on where the repository's own content ends. The
// error is about options that can never work.
func Follow(ctx context.Context, o Options) error {
	if err := o.setDefaults(); err != nil {
		return err
	}
	wait := o.MaxWait / 64
	var other otherFile
	for {
		began := time.Now()
		err := (&follower{Options: o, other: other.id}).once(ctx)
		if e := (*otherFile)(nil); errors.As(err, &e) {
			other = *e
		}
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > o.MaxWait { // it went well for a while
			wait = o.MaxWait / 64
		}
		if o.Listener.Waiting != nil {
			o.Listener.Waiting(err, wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, o.MaxWait)
	}
}

// follower is one connection's life.
type follower struct {
	Options
	server string
	other  string // ID of an archived file that the server's is not

	mu      sync.Mutex // of builder: the stream fills it, the clock empties it
	builder builder
	batches chan batch
}

// otherFile ends a connection: the server's file is not the archived one.
type otherFile struct{ name, id string }

func (e *otherFile) Error() string {
	return fmt.Sprintf("archive: the server's %s is another file than the archived one", e.name)
}

func (f *follower) once(ctx context.Context) error {
	source, err := ask(ctx, f.DSN)
	if err != nil {
		return err
	}
	f.server = source.Server
	log, err := LoadServer(ctx, f.Repository, f.Set, source.Server)
	if err != nil {
		return err
	}
	from, alarm := start(log, source.Files, f.other)
	if alarm != "" {
		f.alarm(log.tip().String(), alarm)
	}
	if from.at.File == "" {
		return errors.New("archive: the server has no binary log: log_bin is off, or there is no file yet")
	}
	// Both ends of the channel end with the context.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s, err := stream.Open(ctx, stream.Options{DSN: f.DSN, From: from.at})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if f.Listener.Connected != nil {
		f.Listener.Connected(f.server, from.at)
	}
	f.batches = make(chan batch, 1)
	var work sync.WaitGroup
	work.Go(func() {
		if err := f.store(ctx); err != nil {
			cancel(err)
			_ = s.Close()
		}
	})
	work.Go(func() { f.clock(ctx) })
	err = f.receive(ctx, s, from)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(err)
	work.Wait()
	return err
}

func (f *follower) alarm(at, why string) {
	if f.Listener.Alarm != nil {
		f.Listener.Alarm(Alarm{Server: f.server, At: at, Why: why, Time: time.Now().UTC()})
	}
}

// receive fills the builder until the stream ends.
func (f *follower) receive(ctx context.Context, s *stream.Stream, from resume) error {
	f.builder.server = f.server
	for {
		p, err := s.Next()
		if err != nil {
			return err
		}
		out, err := f.take(s, p, from)
		if err != nil {
			return err
		}
		for _, b := range out {
			select {
			case f.batches <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// take puts a piece into the builder, and returns what is to be stored now.
func (f *follower) take(s *stream.Stream, p stream.Piece, from resume) (out []batch, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := &f.builder
	if p.Kind == stream.Begin {
		out = b.end(p.File)
		return out, b.begin(p.File, p.Offset, from)
	}
	if b.pending.ID == "" && s.Described() {
		b.describe(s.Format())
		if want := from.whole.ID; p.File == from.at.File && want != "" && want != b.pending.ID {
			return nil, &otherFile{p.File, want}
		}
	}
	if p.Kind != stream.Bytes {
		return nil, nil
	}
	if err := b.add(p, time.Now()); err != nil {
		return nil, err
	}
	if len(b.data) >= f.SegmentBytes {
		out = b.cut()
	}
	return out, nil
}

// clock stores what has waited long enough.
func (f *follower) clock(ctx context.Context) {
	tick := time.NewTicker(max(f.Flush/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			f.flush(ctx, now)
		}
	}
}

func (f *follower) flush(ctx context.Context, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.batches) == cap(f.batches) || len(f.builder.data) == 0 || now.Sub(f.builder.since) < f.Flush {
		return // there is enough to store, or nothing, or not yet
	}
	for _, b := range f.builder.cut() {
		select {
		case f.batches <- b:
		case <-ctx.Done():
			return
		}
	}
}

// store puts batches into the repository, one after the other.
func (f *follower) store(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-f.batches:
			if err := f.put(ctx, b); err != nil {
				return err
			}
		}
	}
}

func (f *follower) put(ctx context.Context, b batch) error {
	b.Archived = time.Now().UTC()
	if len(b.data) > 0 {
		_, size, err := f.Repository.Put(ctx, b.dir(f.Set)+"/"+segmentPrefix(b.Start, b.End), kindSegment, b.Summary, b.data)
		if err != nil {
			return err
		}
		if f.Listener.Stored != nil {
			f.Listener.Stored(b.Summary, size)
		}
	}
	if b.whole == nil {
		return nil
	}
	b.whole.Archived = b.Archived
	if _, _, err := f.Repository.Put(ctx, b.whole.dir(f.Set)+"/closed", kindClosed, *b.whole, nil); err != nil {
		return err
	}
	if f.Listener.Closed != nil {
		f.Listener.Closed(*b.whole)
	}
	return nil
}
