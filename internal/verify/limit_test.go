package verify

import (
	"testing"
	"time"
)

// TestLimiter: who comes waits until those before him have been read at the
// rate; a pause is not made up for.
func TestLimiter(t *testing.T) {
	l := limiter{rate: 100}
	start := time.Unix(1000, 0)
	for _, step := range []struct {
		after, wait time.Duration
		bytes       int64
	}{
		{0, 0, 200},
		{0, 2 * time.Second, 100},
		{time.Second, 2 * time.Second, 50},
		{10 * time.Second, 0, 100},
		{10 * time.Second, time.Second, 1},
	} {
		now := start.Add(step.after)
		if got := l.reserve(now, step.bytes).Sub(now); got != step.wait {
			t.Errorf("after %s: %s, want %s", step.after, got, step.wait)
		}
	}
}
