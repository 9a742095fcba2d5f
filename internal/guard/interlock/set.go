package interlock

import (
	"context"
	"errors"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
)

// Set is the gate's side of a Client.
type Set struct {
	Client *Client
	// Local says what the machine knows of itself now; it is asked before
	// the announcement and again before the commitment.
	Local func(ctx context.Context, op operation.Operation, facts []fact.Fact) (State, error)
}

var (
	_ gate.Set      = Set{}
	_ gate.Inquirer = Set{}
)

func (s Set) want(ctx context.Context, w gate.Want) (Want, error) {
	local, err := s.Local(ctx, w.Operation, w.Facts)
	if err != nil { //check:interlock-local-unknown
		return Want{}, refuse(UnknownData, "what this machine has: %v", err)
	}
	return Want{Operation: w.Operation, Requester: w.Requester, Nonce: w.Nonce, Expiry: w.Expiry, Local: local}, nil
}

// Acquire announces the loss of this machine.
func (s Set) Acquire(ctx context.Context, w gate.Want) (gate.Grant, []policy.Denial) {
	want, err := s.want(ctx, w)
	if err != nil {
		return nil, Denials(err)
	}
	g, err := s.Client.Acquire(ctx, want)
	if err != nil { //check:interlock-set-acquire
		return nil, Denials(err)
	}
	return granted{g, s, w}, nil
}

// Inquire changes nothing.
func (s Set) Inquire(ctx context.Context, w gate.Want) []policy.Denial {
	want, err := s.want(ctx, w)
	if err == nil {
		err = s.Client.Inquire(ctx, want)
	}
	return Denials(err)
}

type granted struct {
	*Grant
	set  Set
	want gate.Want
}

func (g granted) Commit(ctx context.Context) []policy.Denial {
	want, err := g.set.want(ctx, g.want)
	if err == nil {
		err = g.Grant.Commit(ctx, want.Local)
	}
	return Denials(err)
}

func (g granted) Confirm(ctx context.Context) []policy.Denial {
	return Denials(g.Grant.Confirm(ctx))
}

// Denials says it to the gate: every error denies. What the set refuses nobody waives.
func Denials(err error) (list []policy.Denial) {
	if err == nil {
		return nil
	}
	var refused *Refused
	switch {
	case errors.As(err, &refused) && len(refused.Reasons) > 0:
		for _, r := range refused.Reasons {
			list = append(list, policy.Denial{Code: "interlock:" + string(r.Code), Class: policy.Set, Subject: r.Member, Summary: r.String()})
		}
		return list
	case errors.Is(err, ErrUnavailable):
		return []policy.Denial{{Code: policy.InterlockUnavailable, Class: policy.Unavailable, Waivable: true, Summary: err.Error()}}
	case errors.Is(err, ErrBusy):
		return []policy.Denial{{Code: policy.InterlockBusy, Class: policy.Busy, Summary: err.Error()}}
	}
	return []policy.Denial{{Code: "interlock:error", Class: policy.Unknown, Summary: err.Error()}}
}
