package archive

import (
	"context"
	"time"
)

// sweepEvery is how often a place is rid of what writers that died have left in
// it (repository.Sweep): so often that nothing stays for a day.
const sweepEvery = 6 * time.Hour

// sweep does that until the context ends. What cannot be removed now is tried
// the next time; if the place is out of order, who archives into it says so.
func (r *runner) sweep(ctx context.Context, place int) {
	repo := r.await(ctx, place, Listener{})
	for repo != nil {
		_ = repo.Sweep(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepEvery):
		}
	}
}
