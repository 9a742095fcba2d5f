package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// Server is one whose log is archived.
type Server struct {
	Name  string // for people
	DSN   string
	Admit bool // it belongs to the set, whatever can be shown: see Admission

	// Source gives the DSN anew for each connection: its password may have been
	// changed. Nil: DSN.
	Source func() (string, error)
}

func (s Server) dsn() (string, error) {
	if s.Source == nil {
		return s.DSN, nil
	}
	return s.Source()
}

// ask asks the server who it is and which files it has.
func (s Server) ask(ctx context.Context) (Source, error) {
	dsn, err := s.dsn()
	if err != nil {
		return Source{}, err
	}
	return Ask(ctx, dsn)
}

// Place is a repository that may not be there yet.
type Place struct {
	Name string // for people
	Open func(context.Context) (*repository.Repository, error)
}

// RunOptions of Run. Flush, SegmentBytes, MaxWait and Grace are those of each
// follower.
type RunOptions struct {
	Set          string
	Servers      []Server
	Places       []Place
	Flush        time.Duration
	SegmentBytes int
	MaxWait      time.Duration
	Grace        time.Duration

	// Listen gives each pair of a server and a place, by their names, its
	// Listener. Nil: nobody listens.
	Listen func(server, place string) Listener
	// Hold: files go from the servers by us, and only when they are whole in
	// every place for Keep at least. Else the servers remove them as they are
	// set up.
	Hold bool
	Keep time.Duration
	// Kept is told for each server how it stands with its files, now and then;
	// may be nil. HoldEvery is how often; zero: a minute.
	Kept      func(server string, k Kept)
	HoldEvery time.Duration

	// Watch is how often each server is asked where its log ends, for
	// Listener.ServerAt, and so that commits gather between two answers: so long
	// ago the last ones may have been that a source which is lost for good takes
	// with it. Zero: half of Flush, 200 ms at most.
	Watch time.Duration
}

const longestWatch = 200 * time.Millisecond

// Run archives every server into every place until the context ends. None
// waits for another: what does not answer is tried again, for ever. Only if no
// place can be opened at the beginning, or every server refuses the account, is
// it an error (fault.Storage): then nothing would ever be archived.
func Run(asked context.Context, o RunOptions) error {
	if len(o.Servers) == 0 || len(o.Places) == 0 {
		return fault.Usagef("archive: there are %d servers and %d repositories: it takes one of each at least", len(o.Servers), len(o.Places))
	}
	o.Watch = cmp.Or(o.Watch, min(longestWatch, cmp.Or(o.Flush, defaultFlush)/2))
	o.MaxWait = cmp.Or(o.MaxWait, defaultMaxWait)
	o.HoldEvery = cmp.Or(o.HoldEvery, holdEvery)
	if o.Listen == nil {
		o.Listen = func(string, string) Listener { return Listener{} }
	}
	ctx, cancel := context.WithCancelCause(asked)
	defer cancel(nil)
	r := &runner{RunOptions: o, judged: make(chan struct{}), errs: make([]error, len(o.Servers)*len(o.Places))}
	for _, p := range o.Places {
		r.places = append(r.places, r.open(ctx, p))
	}
	for _, judge := range []func(context.Context) error{r.judgePlaces, r.judgeAccounts} {
		r.all.Go(func() {
			if err := judge(ctx); err != nil {
				cancel(err)
			}
		})
	}
	for i := range o.Servers {
		r.server(ctx, i)
	}
	for k := range o.Places {
		r.all.Go(func() { r.sweep(ctx, k) })
	}
	r.all.Wait()
	if asked.Err() == nil { // nothing else ends it
		return context.Cause(ctx)
	}
	return errors.Join(r.errs...)
}

// runner is one Run.
type runner struct {
	RunOptions
	places []*opening
	judged chan struct{} // closed when every place has been tried once
	all    sync.WaitGroup
	errs   []error // of each pair
}

// opening is a place's first attempt. repo and err are valid once done is
// closed.
type opening struct {
	done chan struct{}
	repo *repository.Repository
	err  error
}

func (r *runner) open(ctx context.Context, p Place) *opening {
	o := &opening{done: make(chan struct{})}
	r.all.Go(func() {
		defer close(o.done)
		o.repo, o.err = p.Open(ctx)
	})
	return o
}

// judgePlaces says that no place can be opened.
func (r *runner) judgePlaces(ctx context.Context) error {
	errs := make([]error, len(r.places))
	for i, p := range r.places {
		<-p.done
		errs[i] = p.err
	}
	if ctx.Err() == nil && !slices.Contains(errs, nil) {
		return storage(errors.Join(errs...)) // nobody goes on meanwhile
	}
	close(r.judged)
	return nil
}

// storage gives an error a class, unless it has one.
func storage(err error) error {
	if fault.ClassOf(err) != fault.Failed {
		return err
	}
	return fault.New(fault.Storage, err, "")
}

// judgeAccounts says that every server refuses the account. One that does not
// answer may do so later.
func (r *runner) judgeAccounts(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	errs := make([]error, len(r.Servers))
	var all sync.WaitGroup
	for i, s := range r.Servers {
		all.Go(func() {
			if _, err := s.ask(ctx); err != nil {
				errs[i] = fmt.Errorf("server %s: %w", s.Name, err)
			}
		})
	}
	all.Wait()
	if slices.ContainsFunc(errs, func(err error) bool { return !Denied(err) }) {
		return nil
	}
	return fault.New(fault.Storage, errors.Join(errs...), "check the account, its password and its privileges: docs/archive.md has them")
}

// server starts what is done for one server.
func (r *runner) server(ctx context.Context, i int) {
	s := r.Servers[i]
	listeners := make([]Listener, len(r.Places))
	end := newEdge(r.Watch, idle)
	for k, p := range r.Places {
		listeners[k] = r.Listen(s.Name, p.Name)
		r.all.Go(func() { r.errs[i*len(r.Places)+k] = r.pair(ctx, s, k, listeners[k], end) })
	}
	k := &keeper{runner: r, number: i, server: s}
	r.all.Go(func() { k.run(ctx) })
	r.all.Go(func() {
		watch(ctx, s.dsn, r.Watch, func(at binlog.Position, asked time.Time) {
			end.tell(at, asked)
			for _, l := range listeners {
				if l.ServerAt != nil {
					l.ServerAt(at)
				}
			}
		})
	})
}

// pair archives one server into one place.
func (r *runner) pair(ctx context.Context, s Server, place int, l Listener, end *edge) error {
	repo := r.await(ctx, place, l)
	if repo == nil {
		return nil
	}
	err := Follow(ctx, Options{Set: r.Set, Server: s, Repository: repo, Flush: r.Flush, SegmentBytes: r.SegmentBytes,
		MaxWait: r.MaxWait, Grace: r.Grace, Listener: l, edge: end})
	if err != nil {
		return fmt.Errorf("server %s, repository %s: %w", s.Name, r.Places[place].Name, err)
	}
	return nil
}

// await waits until a place is open; nil if the context ends before.
func (r *runner) await(ctx context.Context, place int, l Listener) *repository.Repository {
	first := r.places[place]
	<-first.done
	repo, err := first.repo, first.err
	if err != nil && !done(ctx, r.judged) {
		return nil
	}
	for wait := r.MaxWait / 64; err != nil; wait = min(2*wait, r.MaxWait) {
		if l.Waiting != nil {
			l.Waiting(err, wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		repo, err = r.Places[place].Open(ctx)
	}
	return repo
}

// done waits for a channel to be closed; false if the context ends before.
func done(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-c:
		return true
	}
}

// Both makes one Listener of two; a comes first.
func Both(a, b Listener) Listener {
	return Listener{
		Connected: both2(a.Connected, b.Connected), Stored: both2(a.Stored, b.Stored), Waiting: both2(a.Waiting, b.Waiting),
		Closed: both1(a.Closed, b.Closed), Alarm: both1(a.Alarm, b.Alarm), ServerAt: both1(a.ServerAt, b.ServerAt),
	}
}

func both1[A any](a, b func(A)) func(A) {
	if a == nil || b == nil {
		if a == nil {
			return b
		}
		return a
	}
	return func(x A) {
		a(x)
		b(x)
	}
}

func both2[A, B any](a, b func(A, B)) func(A, B) {
	if a == nil || b == nil {
		if a == nil {
			return b
		}
		return a
	}
	return func(x A, y B) {
		a(x, y)
		b(x, y)
	}
}
