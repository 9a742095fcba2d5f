package verify

import (
	"context"
	"sync"
	"time"
)

// limiter bounds a rate: who wants to read waits until all before him would
// have been read at that rate.
type limiter struct {
	rate int64 // bytes a second; 0: no bound

	mu   sync.Mutex
	next time.Time
}

// reserve says when n bytes may be read.
func (l *limiter) reserve(now time.Time, n int64) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next.Before(now) {
		l.next = now
	}
	at := l.next
	l.next = at.Add(time.Duration(float64(n) / float64(l.rate) * float64(time.Second)))
	return at
}

func (l *limiter) wait(ctx context.Context, n int64) error {
	if l.rate == 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(time.Until(l.reserve(time.Now(), n))):
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
