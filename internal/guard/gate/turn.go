package gate

import (
	"fmt"
	"sync"

	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
)

// turn is the machine's mutex: one operation at a time. A command that was
// started before the agent was restarted keeps it.
type turn struct {
	mu    sync.Mutex
	taken bool
	// abandoned says what of an earlier agent's command still runs.
	abandoned func() (string, error)
}

// take returns a denial if it is somebody else's turn.
func (t *turn) take() *policy.Denial {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken { //check:turn-taken
		return busy("another operation is going on on this machine; ask again when it has ended")
	}
	what, err := t.left()
	if err != nil { //check:turn-unknown
		return &policy.Denial{Code: "journal", Class: policy.Unknown, Summary: "whether a command of an earlier agent still runs: " + err.Error()}
	}
	if what != "" { //check:turn-abandoned
		return busy(fmt.Sprintf("a command that an earlier agent has started still runs: %s", what))
	}
	t.taken = true
	return nil
}

// left asks for the command of an earlier agent; nobody may have taken the turn.
func (t *turn) left() (what string, err error) {
	if t.abandoned == nil {
		return "", nil
	}
	return t.abandoned()
}

func (t *turn) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken = false
}

// Idle reports whether no operation goes on, and no command of an earlier agent
// runs. It may be so no longer when the caller hears of it.
func (g *Gate) Idle() bool {
	g.turn.mu.Lock()
	defer g.turn.mu.Unlock()
	if g.turn.taken {
		return false
	}
	what, err := g.turn.left()
	return what == "" && err == nil
}

func busy(why string) *policy.Denial {
	return &policy.Denial{Code: "busy", Class: policy.Busy, Summary: why}
}

// Abandoned makes the gate busy as long as f says that something runs, and
// refuse while f cannot say.
func (g *Gate) Abandoned(f func() (what string, err error)) {
	g.turn.mu.Lock()
	defer g.turn.mu.Unlock()
	g.turn.abandoned = f
}
