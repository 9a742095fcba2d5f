package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/approval"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/machine"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
	"github.com/lifeboat-db/lifeboat/internal/guard/request"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/spent"
)

// authority says who may ask: root on the machine itself, which could destroy
// it without asking anybody, or the holder of a key that is listed.
type authority struct {
	keys       []seal.Key
	identity   machine.Identity
	spent      *spent.Store
	signedOnly bool
	// synchronised says whether the clock is kept; nil if nobody asks.
	synchronised func() error
	// spendInSet uses a nonce up in the machine's set; nil: it has none.
	spendInSet func(ctx context.Context, nonce string, expiry time.Time) error
}

// rootName is the name of a requester who has shown no key.
const rootName = "root"

// Authorise implements gate.Authority.
func (a *authority) Authorise(ctx context.Context, ask gate.Ask) (gate.Who, *policy.Denial) {
	who, err := a.who(ask)
	if err == nil && len(ask.Override) > 0 {
		err = a.override(ctx, ask, &who)
	}
	if err != nil {
		return gate.Who{}, denied(err)
	}
	return who, nil
}

func denied(err error) *policy.Denial {
	class := policy.Signature
	if errors.Is(err, request.ErrExpired) || errors.Is(err, approval.ErrExpired) || errors.Is(err, spent.ErrClock) {
		class = policy.Expired
	}
	return &policy.Denial{Code: "request", Class: class, Summary: err.Error()}
}

func (a *authority) who(ask gate.Ask) (gate.Who, error) {
	if len(ask.Request) > 0 {
		return a.signed(ask)
	}
	if ask.Peer.UID != 0 { //check:authority-not-root
		return gate.Who{}, fmt.Errorf("user %d must bring a signed request (--request)", ask.Peer.UID)
	}
	if a.signedOnly { //check:authority-signed-only
		return gate.Who{}, errors.New("on this machine even root must bring a signed request (--request)")
	}
	return gate.Who{Name: rootName}, nil
}

func (a *authority) signed(ask gate.Ask) (gate.Who, error) {
	now, err := a.clock()
	if err != nil {
		return gate.Who{}, err
	}
	r, err := request.Verify(ask.Request, a.keys, request.Want{
		Identity: a.identity, Operation: ask.Operation, Argv: ask.Argv, Scope: ask.Scope, Now: now,
	})
	if err != nil { //check:authority-request
		return gate.Who{}, err
	}
	if err := a.spent.Spend(r.Nonce, r.Expires); err != nil { //check:authority-nonce
		return gate.Who{}, fmt.Errorf("request: %w", err)
	}
	return gate.Who{Name: r.Issuer, Nonce: r.Nonce, Ticket: r.Ticket, Expiry: r.Expires}, nil
}

// override adds what two people have approved.
func (a *authority) override(ctx context.Context, ask gate.Ask, who *gate.Who) error {
	now, err := a.clock()
	if err != nil {
		return err
	}
	o, approvers, err := approval.Verify(ask.Override, a.keys, approval.Want{
		Identity: a.identity, Operation: ask.Operation, Argv: ask.Argv, Scope: ask.Scope, Requester: who.Name, Now: now,
	})
	if err != nil { //check:authority-override
		return fmt.Errorf("override: %w", err)
	}
	if err := a.spent.Spend(o.Nonce, o.Expires); err != nil { //check:authority-override-nonce
		return fmt.Errorf("override: %w", err)
	}
	if a.spendInSet != nil {
		if err := a.spendInSet(ctx, o.Nonce, o.Expires); err != nil { //check:authority-override-nonce-in-set
			return fmt.Errorf("override: %w", err)
		}
	}
	who.Waives, who.Evidence, who.Approvers = o.Waives, o.Evidence, approvers
	return nil
}

// clock returns a time that can be trusted to be over or not.
func (a *authority) clock() (time.Time, error) {
	if a.synchronised != nil {
		if err := a.synchronised(); err != nil { //check:clock-unsynchronised
			return time.Time{}, err
		}
	}
	return a.spent.Clock()
}
