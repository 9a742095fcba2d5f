package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// notifier tells systemd how archiving goes, if it has started us: READY=1 when
// the first connection stands, STATUS=, and WATCHDOG=1. It sends nothing where
// there is no NOTIFY_SOCKET; that systemd does not hear it is no failure of
// ours, either.
type notifier struct {
	pairs int

	mu        sync.Mutex
	ready     bool
	connected int
	last      time.Time // commit that is archived
}

func newNotifier(pairs int) *notifier { return &notifier{pairs: pairs} }

// listen is the Listener of one pair.
func (n *notifier) listen() archive.Listener {
	stands := false
	change := func(now bool) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if now == stands {
			return
		}
		stands = now
		if now {
			n.connected++
		} else {
			n.connected--
		}
		n.tell()
	}
	return archive.Listener{
		Connected: func(string, binlog.Position) { change(true) },
		Waiting:   func(error, time.Duration) { change(false) },
		Stored:    func(s archive.Summary, _ int64) { n.stored(s.Last) },
	}
}

func (n *notifier) stored(at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at.After(n.last) {
		n.last = at
	}
}

// tell sends the state. n.mu is held.
func (n *notifier) tell() {
	if n.connected > 0 && !n.ready {
		n.ready = true
		_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	}
	_, _ = daemon.SdNotify(false, "STATUS="+n.status())
}

func (n *notifier) status() string {
	text := fmt.Sprintf("%d of %d connections stand", n.connected, n.pairs)
	if !n.last.IsZero() {
		text += ", archived up to " + n.last.UTC().Format(time.DateTime) + " UTC"
	}
	return text
}

// ending says that the end was asked for.
func (n *notifier) ending() {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping+"\nSTATUS=storing what was received")
}

// statusTime is how often systemd gets the state, unless its watchdog wants to
// hear more often.
const statusTime = 10 * time.Second

// begin tells again and again until stop is called. The lock is that of all
// listeners: a watchdog that is fed sees that none of them hangs.
func (n *notifier) begin() (stop func()) {
	every := statusTime
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err == nil && watchdog > 0 {
		every = min(every, watchdog/3)
	}
	ended := make(chan struct{})
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			n.beat(watchdog > 0)
		}
	}()
	return sync.OnceFunc(func() { close(ended) })
}

func (n *notifier) beat(watchdog bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell()
	if watchdog {
		_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
	}
}
