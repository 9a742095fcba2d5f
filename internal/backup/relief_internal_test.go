package backup

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// TestThrottleLifted: who waits for the backup's locks does not wait for its
// throttle; when nobody waits any more it counts again.
func TestThrottleLifted(t *testing.T) {
	var waiting atomic.Int64
	var asked atomic.Int64
	r := &relief{most: time.Hour, give: func(err error) { t.Error(err) }, waiters: func(context.Context) (int, error) {
		asked.Add(1)
		return int(waiting.Load()), nil
	}}
	r.hold.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); r.look(ctx, time.NewTicker(time.Millisecond), true) }()
	u := &upload{ctx: t.Context(), free: make(chan []byte, 1), size: 1 << 20}
	u.free <- nil
	w := &watcher{ctx: ctx, to: u, bucket: bucket{rate: 1}, relief: r, call: func(Progress) {}}
	wrote := make(chan error, 1)
	go func() { _, err := w.Write(make([]byte, 1000)); wrote <- err }() // which would take 1000 s
	for asked.Load() < 20 {
		time.Sleep(time.Millisecond)
	}
	if len(wrote) > 0 {
		t.Errorf("nobody waits, and there is no throttle: %v", <-wrote)
	}
	waiting.Store(2)
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	waiting.Store(0)
	for seen := asked.Load(); asked.Load() < seen+20; {
		time.Sleep(time.Millisecond)
	}
	go func() { _, err := w.Write(make([]byte, 1000)); wrote <- err }()
	cancel()
	if err := <-wrote; !errors.Is(err, context.Canceled) {
		t.Errorf("the throttle does not count any more: %v", err)
	}
	<-ended
}

// TestGivenUp: a backup is given up when storage has held it up for as long as it
// may while sessions wait, in one write or in many; not when nobody waits, and not
// for what the tool itself takes.
func TestGivenUp(t *testing.T) {
	const most = 200 * time.Millisecond
	for _, c := range []struct {
		what    string
		writes  time.Duration // each in storage
		between time.Duration // of the tool
		waiters int
		other   bool // who waits does so for somebody else's lock
		given   bool
	}{
		{"one long write", time.Hour, 0, 3, false, true},
		{"many short ones", 5 * time.Millisecond, 0, 3, false, true},
		{"nobody waits", 5 * time.Millisecond, 0, 0, false, false},
		{"for somebody else", 5 * time.Millisecond, 0, 3, true, false},
		{"a slow tool", 0, 20 * time.Millisecond, 3, false, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			r := &relief{most: most, give: cancel, waiters: func(context.Context) (int, error) { return c.waiters, nil }}
			r.hold.Store(!c.other)
			go r.look(ctx, time.NewTicker(lookFrom+time.Millisecond), true)
			for begun := time.Now(); ctx.Err() == nil && time.Since(begun) < 5*most; {
				_, _ = r.stall(func() (int, error) { pass(ctx, c.writes); return 0, nil })
				pass(ctx, c.between)
			}
			if err := context.Cause(ctx); (err != nil) != c.given || c.given && fault.ClassOf(err) != fault.Storage {
				t.Errorf("given up: %v", err)
			}
		})
	}
}

func pass(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
