package agent

import (
	"context"
	"errors"

	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
)

// joinSet makes the gate ask the machine's set, if it belongs to one.
//
// The interlock is not wired yet: a machine that is configured to belong to a
// set gets a set that never answers, which refuses everything.
func (a *Agent) joinSet([]seal.Key) error {
	if a.config.Interlock == nil {
		return nil
	}
	a.set = SetStatus{Name: a.config.Interlock.Set, Problem: errNoInterlock.Error()}
	a.gate.Set = silentSet{}
	return nil
}

var errNoInterlock = errors.New("this build cannot ask a set")

// silentSet never answers.
type silentSet struct{}

func (silentSet) Acquire(context.Context, gate.Want) (gate.Grant, []policy.Denial) {
	return nil, silentSet{}.Inquire(context.Background(), gate.Want{})
}

func (silentSet) Inquire(context.Context, gate.Want) []policy.Denial {
	return []policy.Denial{{Code: policy.InterlockUnavailable, Class: policy.Unavailable, Waivable: true, Summary: errNoInterlock.Error()}}
}
