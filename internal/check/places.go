package check

import (
	"context"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/retain"
)

// placeFacts are what a repository is, and what it lets us do.
type placeFacts struct {
	name string
	err  error // why it cannot be opened; nothing below is known then

	repo       *repository.Repository
	place      string
	configured []string // recipients
	marked     []string // recipients that it is encrypted for
	keys       int      // files of private keys that are configured
	write      error    // of putting the marker once more
	tried      retain.Tried
	object     error // of putting, finding and reading an object
	space      space
}

// space is the room of a place.
type space struct {
	known bool
	free  int64
	full  int64 // stored bytes of the last full backup; 0: there is none
	err   error
}

// tries of one call to S3: whoever waits at a terminal wants to know soon.
const tries = 3

func (o *Options) place(ctx context.Context, p Place) (f placeFacts) {
	f.name = p.Name
	l, err := p.Location()
	if err != nil {
		f.err = err
		return f
	}
	l.Tries = tries
	if f.repo, f.err = repository.Open(ctx, l); f.err != nil {
		return f
	}
	f.place, f.configured, f.marked, f.keys = f.repo.String(), l.Recipients, f.repo.Recipients(), len(l.Identities)
	f.write = f.repo.TryWrite(ctx)
	f.tried, f.object = retain.Try(ctx, f.repo, o.Set)
	f.space = askSpace(ctx, f.repo, o.Set)
	return f
}

func askSpace(ctx context.Context, r *repository.Repository, set string) (s space) {
	if s.free, s.known, s.err = r.Free(); s.err != nil || !s.known {
		return s
	}
	all, _, err := backup.List(ctx, r, set) // what is damaged is told by info and verify
	s.err = err
	for _, m := range all {
		if m.Kind == backup.Full {
			s.full = m.StoredBytes
		}
	}
	return s
}

// pairFacts are what a repository has of a server's log.
type pairFacts struct {
	server, place string
	standing      archive.Standing
	end           string // where the server's log was
	has           bool   // the archive has all up to there
	waited        time.Duration
	err           error
}

// poll is how often the archive is looked at.
const poll = 500 * time.Millisecond

// archived compares every log with what every repository has of it, until all
// is there or the time is up. Who could not be asked is left out.
func (o *Options) archived(ctx context.Context, servers []serverFacts, places []placeFacts) (pairs []pairFacts) {
	began := time.Now()
	for _, s := range servers {
		if s.err != nil || s.asked != nil || s.source.End.IsZero() {
			continue
		}
		for _, p := range places {
			if p.err != nil {
				continue
			}
			f := pairFacts{server: s.name, place: p.name, end: s.source.End.String()}
			for f.look(ctx, o.Set, s, p); f.err == nil && !f.has && time.Since(began) < o.Wait && ctx.Err() == nil; f.look(ctx, o.Set, s, p) {
				pause(ctx, poll)
			}
			f.waited = time.Since(began)
			pairs = append(pairs, f)
		}
	}
	return pairs
}

// look compares once. The server is asked again, behind the archive.
func (f *pairFacts) look(ctx context.Context, set string, s serverFacts, p placeFacts) {
	log, err := archive.LoadServer(ctx, p.repo, set, s.source.Server)
	if err != nil {
		f.err = err
		return
	}
	now, err := archive.Ask(ctx, s.dsn)
	if err != nil {
		f.err = err
		return
	}
	f.standing = now.Standing(log)
	f.has = f.standing.Has(s.source.End)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
