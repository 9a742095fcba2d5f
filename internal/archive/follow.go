package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/stream"
)

// Options of a Follower.
type Options struct {
	Set        string
	Server     // that is followed
	Repository *repository.Repository

	// Flush is how long a byte waits before it is stored. Zero: 1 s.
	Flush time.Duration
	// SegmentBytes is after how many bytes it does not wait. Zero: 8 MiB.
	SegmentBytes int
	// MaxWait is the longest time between two attempts after a failure. Zero: a
	// minute.
	MaxWait time.Duration
	// Grace is how long what has been received may take to be stored after the
	// context has ended. Zero: 30 s.
	Grace time.Duration

	// Now is the archiving host's clock, which may be wrong and may jump. Nil:
	// time.Now.
	Now func() time.Time

	Listener Listener

	edge *edge // of the server's log; nil: not known
}

// Listener hears what happens, one call at a time for each follower. Any of its
// members may be nil.
type Listener struct {
	Connected func(server string, from binlog.Position)
	Stored    func(Summary, int64) // bytes in the repository
	Closed    func(Summary)
	Alarm     func(Alarm)
	Waiting   func(err error, again time.Duration) // after a failure

	// ServerAt tells where the server's log ends, on which Run keeps an eye. It
	// is called beside the others, at the same time.
	ServerAt func(binlog.Position)
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
	defaultGrace   = 30 * time.Second
)

func (o *Options) setDefaults() error {
	o.Flush = cmp.Or(o.Flush, defaultFlush)
	o.SegmentBytes = cmp.Or(o.SegmentBytes, defaultSegment)
	o.MaxWait = cmp.Or(o.MaxWait, defaultMaxWait)
	o.Grace = cmp.Or(o.Grace, defaultGrace)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SegmentBytes < 1 || o.SegmentBytes > maxSegment {
		return fmt.Errorf("archive: segments of %d bytes: it takes 1 to %d", o.SegmentBytes, maxSegment)
	}
	return nil
}

// Follow archives one server's log into one repository until the context ends,
// whatever happens meanwhile: a server that is down or moves, a repository that
// does not answer. It goes on where the repository's own content ends. The
// error is about options that can never work, or says that something that was
// received could not be stored (fault.Interrupted): it is still on the server.
func Follow(ctx context.Context, o Options) error {
	if err := o.setDefaults(); err != nil {
		return err
	}
	wait := o.MaxWait / 64
	var other otherFile
	var torn tornFile
	var lost *unstored
	var end tail
	for {
		f := &follower{Options: o, other: other.id, torn: torn.at, tail: &end}
		back := o.edge.returns()
		err := f.once(ctx)
		if e := (*otherFile)(nil); errors.As(err, &e) {
			other = *e
		}
		if e := (*tornFile)(nil); errors.As(err, &e) {
			torn = *e
		}
		if !errors.As(err, &lost) && f.batches != nil { // it was received again, and stored
			lost = nil
		}
		if ctx.Err() != nil {
			return lost.orNil()
		}
		if !f.connected.IsZero() && time.Since(f.connected) > wait { // longer than it was waited for
			wait = o.MaxWait / 64
		}
		pause := pauseAfter(err, wait)
		if o.Listener.Waiting != nil {
			o.Listener.Waiting(err, pause)
		}
		select {
		case <-ctx.Done():
			return lost.orNil()
		case <-time.After(pause):
		case <-back: // it need not be waited for any more
		}
		wait = min(2*wait, o.MaxWait)
	}
}

// fullWait is the longest time between two attempts while a repository is full:
// space comes back all at once, and until then the server's log grows.
const fullWait = 5 * time.Second

func pauseAfter(err error, wait time.Duration) time.Duration {
	if fault.ClassOf(err) == fault.NoSpace {
		return min(wait, fullWait)
	}
	return wait
}

// unstored is the error of a connection that has received bytes that are not
// stored.
type unstored struct{ error }

func (e *unstored) Unwrap() error { return e.error }

func (e *unstored) orNil() error {
	if e == nil {
		return nil
	}
	return fault.New(fault.Interrupted, fmt.Errorf("archive: not all that was received is stored: %w", e.error),
		"run it again: it goes on where the repository ends, if the server still has its log")
}

// follower is one connection's life.
type follower struct {
	Options
	server string
	other  string // ID of an archived file that the server's is not
	torn   binlog.Position
	tail   *tail
	newest time.Time // of what is archived, by whichever host

	connected time.Time // when the server began to send; zero: it has not

	mu      sync.Mutex // of builder: the stream fills it, the clock empties it
	builder builder
	since   time.Time // when the first of its bytes came
	batches chan batch
	spare   chan []byte // buffers that have been stored
}

// otherFile ends a connection: the server's file is not the archived one.
type otherFile struct{ name, id string }

func (e *otherFile) Error() string {
	return fmt.Sprintf("archive: the server's %s is another file than the archived one", e.name)
}

// tornFile ends a connection: the server has no whole event there.
type tornFile struct {
	at binlog.Position
	error
}

func (e *tornFile) Unwrap() error { return e.error }

func (f *follower) once(ctx context.Context) error {
	dsn, err := f.dsn()
	if err != nil {
		return err
	}
	f.DSN = dsn
	if err := Admit(ctx, Admission{Repository: f.Repository, Set: f.Set, DSN: f.DSN, Asked: f.Admit}); err != nil {
		return err
	}
	source, err := Ask(ctx, f.DSN)
	if err != nil {
		return err
	}
	f.server = source.Server
	from, err := f.start(ctx, source)
	if err != nil {
		return err
	}
	if from.at.File == "" {
		return errors.New("archive: the server has no binary log: log_bin is off, or there is no file yet")
	}
	if from.close {
		if err := f.put(ctx, batch{Summary: *from.before, whole: from.before}); err != nil {
			return err
		}
	}
	return f.follow(ctx, from)
}

// start finds out where to go on. What is an alarm by the log's end is one only
// if the whole log agrees, and the server, asked after that was read: another
// archive may have stored a file that the server had not begun before.
func (f *follower) start(ctx context.Context, s Source) (from resume, err error) {
	log, err := f.tail.load(ctx, f.Repository, f.Set, s.Server)
	if err != nil {
		return from, err
	}
	f.newest = log.archived()
	from, alarm := start(log, s.files, f.other, f.torn)
	if alarm == "" {
		return from, nil
	}
	if log, err = f.tail.loadAll(ctx, f.Repository, f.Set, s.Server); err != nil {
		return from, err
	}
	f.newest = log.archived()
	if s, err = Ask(ctx, f.DSN); err != nil {
		return from, err
	}
	if from, alarm = start(log, s.files, f.other, f.torn); alarm != "" {
		f.alarm(log.tip().String(), alarm)
	}
	return from, nil
}

// follow receives and stores until one of them fails or the context ends. What
// has been received by then is stored, all the same: the server may be gone.
func (f *follower) follow(asked context.Context, from resume) error {
	ctx, cancel := context.WithCancelCause(asked)
	defer cancel(nil)
	s, err := stream.Open(ctx, stream.Options{DSN: f.DSN, From: from.at})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	f.connected = time.Now()
	if f.Listener.Connected != nil {
		f.Listener.Connected(f.server, from.at)
	}
	f.batches, f.spare = make(chan batch, 1), make(chan []byte, 2)
	storing, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	var clock, stored sync.WaitGroup
	stored.Go(func() { f.grace(asked, storing, end) })
	stored.Go(func() {
		err := f.store(storing)
		end(err)
		cancel(err)
		_ = s.Close()
	})
	clock.Go(func() { f.clock(ctx, storing) })
	err = f.receive(ctx, storing, s, from)
	cancel(err)
	clock.Wait() // nobody else fills the channel now
	f.finish(storing)
	stored.Wait()
	if failed := context.Cause(storing); !errors.Is(failed, errStored) {
		return &unstored{failed}
	}
	return err
}

// errStored ends storing when there is nothing left to store.
var errStored = errors.New("everything is stored")

// errGrace ends storing when it takes too long after the requested end.
var errGrace = errors.New("it has taken too long")

// grace waits for the requested end, and then bounds storing.
func (f *follower) grace(asked, storing context.Context, end context.CancelCauseFunc) {
	select {
	case <-storing.Done():
		return
	case <-asked.Done():
	}
	select {
	case <-storing.Done():
	case <-time.After(f.Grace):
		end(errGrace)
	}
}

// finish hands out what is pending, and says that it is the last.
func (f *follower) finish(storing context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hand(storing, f.builder.cut())
	close(f.batches)
}

// hand gives batches to who stores them; if storing has ended they are lost.
func (f *follower) hand(storing context.Context, batches []batch) {
	for _, b := range batches {
		select {
		case f.batches <- b:
		case <-storing.Done():
			return
		}
	}
}

func (f *follower) alarm(at, why string) {
	if f.Listener.Alarm != nil {
		f.Listener.Alarm(Alarm{Server: f.server, At: at, Why: why, Time: time.Now().UTC()})
	}
}

// receive fills the builder until the stream ends.
func (f *follower) receive(ctx, storing context.Context, s *stream.Stream, from resume) error {
	f.builder.server = f.server
	shore := shore{edge: f.edge}
	for storing.Err() == nil {
		shore.await(ctx, s.At())
		p, err := s.Next()
		if errors.Is(err, stream.ErrTorn) {
			return &tornFile{s.At(), err}
		}
		if err != nil {
			return err
		}
		out, err := f.take(s, p, from)
		if err != nil {
			return err
		}
		f.hand(storing, out)
	}
	return context.Cause(storing)
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
	first := len(b.data) == 0
	if b.data == nil {
		b.data = f.buffer()
	}
	if err := b.add(p); err != nil {
		return nil, err
	}
	if b.apart != "" {
		f.alarm(binlog.Position{File: b.before.File, Offset: b.before.End}.String(), b.apart)
		b.apart = ""
	}
	if first {
		f.since = time.Now()
	}
	if len(b.data) >= f.SegmentBytes {
		out = b.cut()
	}
	return out, nil
}

// buffer is an empty one, used before if there is one.
func (f *follower) buffer() []byte {
	select {
	case b := <-f.spare:
		return b
	default:
		return nil
	}
}

// recycle keeps a buffer for later, unless one huge event has made it.
func (f *follower) recycle(b []byte) {
	if cap(b) > 2*f.SegmentBytes {
		return
	}
	select {
	case f.spare <- b[:0]:
	default:
	}
}

// clock stores what has waited long enough.
func (f *follower) clock(ctx, storing context.Context) {
	tick := time.NewTicker(max(f.Flush/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			f.flush(storing, now)
		}
	}
}

func (f *follower) flush(storing context.Context, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.batches) == cap(f.batches) || len(f.builder.data) == 0 || now.Sub(f.since) < f.Flush {
		return // there is enough to store, or nothing, or not yet
	}
	f.hand(storing, f.builder.cut())
}

// store puts batches into the repository, one after the other, to the last. It
// never returns nil.
func (f *follower) store(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case b, ok := <-f.batches:
			if !ok {
				return errStored
			}
			if err := f.put(ctx, b); err != nil {
				return err
			}
		}
	}
}

// stamp is the time of what is stored now: later than that of all before it,
// also if a clock has gone back. It tells which of two runs of files is the
// later one (order).
func (f *follower) stamp() time.Time {
	now := f.Now().UTC()
	if !now.After(f.newest) {
		now = f.newest.Add(time.Microsecond)
	}
	f.newest = now
	return now
}

func (f *follower) put(ctx context.Context, b batch) error {
	b.Archived = f.stamp()
	if len(b.data) > 0 {
		_, size, err := f.Repository.Put(ctx, b.dir(f.Set)+"/"+segmentPrefix(b.Start, b.End), kindSegment, b.Summary, b.data)
		if err != nil {
			return err
		}
		f.recycle(b.data)
		f.tail.stored(b.Summary)
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
	f.tail.closed(*b.whole)
	if f.Listener.Closed != nil {
		f.Listener.Closed(*b.whole)
	}
	return nil
}
