package backup

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// blocker is a Driver whose tool holds locks at the server while it writes.
type blocker interface {
	// waiters counts the sessions that wait for the tool's locks.
	waiters(ctx context.Context, db *sql.DB) (int, error)
}

// holder is told by a driver when its tool takes such locks, and lets them go. Who
// waits at other times waits for somebody else.
type holder interface{ holds(yes bool) }

// relief keeps a stream that is held up from holding up the server. Near its end
// a tool has locks that commits wait for, and still writes: if that does not get
// away, because the throttle or the storage lets nothing pass, the server stands
// still. While sessions wait the throttle is lifted, and once storage has held
// them up for as long as it may, the backup is given up.
type relief struct {
	most    time.Duration // that storage may hold sessions up for
	waiters func(context.Context) (int, error)
	give    func(error) // up

	hold  atomic.Bool // the tool has locks
	hurry atomic.Bool // sessions wait

	mu      sync.Mutex
	stalled time.Duration // in storage, over all writes that have ended
	since   time.Time     // the beginning of one that has not; zero: there is none
}

// defaultHeld is as long as a clone holds commits at most.
const defaultHeld = 10 * time.Second

// Times of look: how often it happens, and of how much stalling in between.
const (
	lookEvery = time.Second
	lookFrom  = lookEvery / 10
)

// relieve begins to look after the server, if the driver's tool may hold it up.
// It ends with stop.
func (t *taking) relieve(u *upload) (r *relief, stop func()) {
	r = &relief{most: t.Held, give: u.fail}
	b, ok := t.driver.(blocker)
	if !ok {
		return r, func() {}
	}
	ctx, cancel := context.WithCancel(u.ctx)
	var ended sync.WaitGroup
	ended.Go(func() {
		r.waiters = func(ctx context.Context) (n int, err error) {
			err = withServer(ctx, t.Source.DSN, func(db *sql.DB) error { n, err = b.waiters(ctx, db); return err })
			return n, err
		}
		r.look(ctx, time.NewTicker(lookEvery), t.Source.Throttle > 0)
	})
	return r, func() { cancel(); ended.Wait() }
}

// look looks again and again until ctx ends: always if the stream is throttled,
// else when storage has held it up.
func (r *relief) look(ctx context.Context, tick *time.Ticker, throttled bool) {
	defer tick.Stop()
	var held, last time.Duration // held: by storage, since sessions wait
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := r.total(time.Now())
		stalled := now - last
		last = now
		n := 0
		if r.hold.Load() && (throttled || stalled >= lookFrom) {
			n = r.ask(ctx)
		}
		r.hurry.Store(n > 0)
		if n == 0 {
			held = 0
			continue
		}
		if held += stalled; held >= r.most {
			r.give(fault.New(fault.Storage, fmt.Errorf("storage has held up the backup for %s while %d sessions waited for its locks, and it was given up, so that they go on", held.Round(time.Second), n),
				"run again when the repositories are reachable and fast enough; what is copied under the locks are log tables (mysql.general_log, slow_log) and tables without transactions"))
			return
		}
	}
}

// ask counts who waits. Of a server that does not say so nobody is known to wait.
func (r *relief) ask(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, 5*lookEvery)
	defer cancel()
	n, err := r.waiters(ctx)
	if err != nil {
		return 0
	}
	return n
}

// stall notes how long a write to storage takes.
func (r *relief) stall(write func() (int, error)) (int, error) {
	begun := time.Now()
	r.mark(begun)
	n, err := write()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stalled += time.Since(begun)
	r.since = time.Time{}
	return n, err
}

func (r *relief) mark(begun time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = begun
}

// total is how long storage has held up the stream so far.
func (r *relief) total(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() {
		return r.stalled
	}
	return r.stalled + now.Sub(r.since)
}
