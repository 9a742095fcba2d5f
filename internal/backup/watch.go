package backup

import (
	"context"
	"io"
	"time"
)

// Sizer is a Driver that can tell about how many bytes its stream will have; 0
// if it cannot.
type Sizer interface {
	Size(ctx context.Context, s Source) int64
}

// watcher passes a stream on, not faster than allowed, and says how far it is.
type watcher struct {
	ctx    context.Context
	to     io.Writer
	bucket bucket
	relief *relief
	call   func(Progress)
	at     Progress
	told   int64 // bytes when call was last called
}

// tell is after how many bytes the progress is told.
const tell = 1 << 20

// watch makes the writer that a driver gets.
func (t *taking) watch(ctx context.Context, to *upload, r *relief) io.Writer {
	w := &watcher{ctx: to.ctx, to: to, bucket: bucket{rate: t.Source.Throttle}, relief: r, call: t.Progress}
	if s, ok := t.driver.(Sizer); ok && t.parent == nil {
		w.at.Total = s.Size(ctx, t.Source)
	}
	return w
}

func (w *watcher) Write(p []byte) (int, error) {
	if err := w.throttle(len(p)); err != nil {
		return 0, err
	}
	n, err := w.relief.stall(func() (int, error) { return w.to.Write(p) })
	w.at.Bytes += int64(n)
	if w.at.Bytes-w.told >= tell {
		w.told = w.at.Bytes
		w.call(w.at)
	}
	return n, err
}

// holds is what a driver tells: see holder.
func (w *watcher) holds(yes bool) { w.relief.hold.Store(yes) }

// throttle waits until n bytes may pass, or sessions wait for them.
func (w *watcher) throttle(n int) error {
	if w.relief.hurry.Load() {
		return nil
	}
	const step = 100 * time.Millisecond
	until := time.Now().Add(w.bucket.take(time.Now(), n))
	for left := time.Until(until); left > 0 && !w.relief.hurry.Load(); left = time.Until(until) {
		select {
		case <-time.After(min(left, step)):
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		}
	}
	return nil
}

// bucket is a token bucket: it fills with rate bytes per second, and holds
// those of one second. A write that is larger leaves it in debt.
type bucket struct {
	rate   int64 // bytes per second; 0: no limit
	tokens float64
	last   time.Time // when tokens was right; zero: not begun, and full
}

// take takes n bytes and says how long to wait until they may pass.
func (b *bucket) take(now time.Time, n int) time.Duration {
	if b.rate == 0 {
		return 0
	}
	full := float64(b.rate)
	if b.last.IsZero() {
		b.tokens, b.last = full, now
	}
	b.tokens = min(full, b.tokens+now.Sub(b.last).Seconds()*full) - float64(n)
	b.last = now
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / full * float64(time.Second))
}
