package replay

import (
	"sync"
	"sync/atomic"
	"time"
)

// Progress is what a running replay tells others. Safe for concurrent use.
type Progress struct {
	mu    sync.Mutex
	phase string
	since time.Time
	done  atomic.Int64
	total atomic.Int64
}

// NewProgress returns a Progress in phase "starting".
func NewProgress() *Progress { return &Progress{phase: "starting", since: time.Now()} }

// Snapshot is a Progress at one moment.
type Snapshot struct {
	Phase       string
	Since       time.Time // begin of the phase
	Done, Total int64     // bytes of log; Total 0: not known
}

// Snapshot returns the present state.
func (p *Progress) Snapshot() Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Snapshot{p.phase, p.since, p.done.Load(), p.total.Load()}
}

// Begin enters a phase that reads total bytes of log; 0 means not known.
func (p *Progress) Begin(phase string, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase, p.since = phase, time.Now()
	p.done.Store(0)
	p.total.Store(total)
}

// Add counts n more bytes as done.
func (p *Progress) Add(n int64) { p.done.Add(n) }
