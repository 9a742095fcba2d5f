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
// at the edge of the moment, so that it never falls behind. Nil: nobody asks,
// and there is no waiting.
type edge struct {
	every time.Duration // between two words of the server
	// patience is for how long at most nothing is read: a connection that nobody
	// reads from does not tell that it is dead.
	patience time.Duration

	mu   sync.Mutex
	at   binlog.Position
	told time.Time
	news chan struct{} // closed with the next word
}

// idle is the patience with a log that does not grow.
const idle = 5 * time.Second

func newEdge(every, patience time.Duration) *edge {
	return &edge{every: every, patience: patience, news: make(chan struct{})}
}

// tell is the server's word.
func (e *edge) tell(at binlog.Position, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.at, e.told = at, now
	close(e.news)
	e.news = make(chan struct{})
}

// stale is after how many times every a word counts no more: whoever asked does
// so no longer, or gets no answer.
const stale = 3

// ends tells whether the log ended at a place when the server was asked last,
// when that was, and what is closed with its next word.
func (e *edge) ends(at binlog.Position) (yes bool, told time.Time, news <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.at.File == at.File && e.at.Offset <= at.Offset, e.told, e.news
}

// await waits as long as the log is known to end at a place.
func (e *edge) await(ctx context.Context, at binlog.Position) {
	if e == nil {
		return
	}
	var end time.Time
	for {
		yes, told, news := e.ends(at)
		if !yes {
			return
		}
		now := time.Now()
		if end.IsZero() {
			end = now.Add(e.patience)
		}
		wait := min(end.Sub(now), told.Add(stale*e.every).Sub(now))
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
