package archive

import (
	"context"
	"sync"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// edge is where a server's log ends, as the server has said last. A follower
// that has read up to there lets more gather before it reads on: a server's dump
// thread that can send wakes for every commit, and thousands of wake-ups in a
// second take the source's own processors; one that nobody reads from fills the
// connection and then sleeps. No commit waits for it. What a follower reads ends
// at the edge of the moment, so that it never falls behind.
type edge struct {
	every time.Duration // between two words of the server
	// patience is for how long at most nothing is read: a connection that nobody
	// reads from does not tell that it is dead.
	patience time.Duration

	mu    sync.Mutex
	at    binlog.Position
	asked time.Time     // for it
	news  chan struct{} // closed with the next word
	back  chan struct{} // closed with the next word that comes after a silence
}

// idle is the patience with a log that does not grow.
const idle = 5 * time.Second

func newEdge(every, patience time.Duration) *edge {
	return &edge{every: every, patience: patience, news: make(chan struct{}), back: make(chan struct{})}
}

// tell is the server's word, and when it was asked for it.
func (e *edge) tell(at binlog.Position, asked time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if asked.Sub(e.asked) > silence {
		close(e.back)
		e.back = make(chan struct{})
	}
	e.at, e.asked = at, asked
	close(e.news)
	e.news = make(chan struct{})
}

// silence is for how long a server that is asked again and again has said nothing,
// if it was away.
const silence = 5 * time.Second

// returns is closed when a server that was away answers again; nil, which never
// is, if nobody asks.
func (e *edge) returns() <-chan struct{} {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.back
}

// last is the last word, when it was asked for, and what is closed with the next
// one.
func (e *edge) last() (at binlog.Position, asked time.Time, news <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.at, e.asked, e.news
}

// stale is after how many times every a word counts no more: whoever asked does
// so no longer, or gets no answer.
const stale = 3

// shore is one follower's view of an edge.
type shore struct {
	*edge // nil: nobody asks, and there is no waiting

	// strange: the words are of another log. One address may lead to several
	// servers, the stream came from one and the word from another.
	strange bool
}

// await waits as long as the log is known to end at a place, which has been read.
func (s *shore) await(ctx context.Context, at binlog.Position) {
	if s.edge == nil {
		return
	}
	var began time.Time
	for {
		end, asked, news := s.last()
		if end.File != at.File || at.Offset < end.Offset {
			s.strange = false
			return
		}
		if s.strange && at.Offset > end.Offset {
			return
		}
		now := time.Now()
		if began.IsZero() {
			began = now
		}
		if s.strange = at.Offset > end.Offset && asked.After(began); s.strange {
			return // it should have what was read before it was asked
		}
		wait := min(began.Add(s.patience).Sub(now), asked.Add(stale*s.every).Sub(now))
		if wait <= 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		case <-time.After(wait):
		}
	}
}
