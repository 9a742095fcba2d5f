// Package approval reads overrides: two people who say that a machine's refusal
// is to be waived, this once, for the reasons that it gave.
//
// An override is a sealed payload (namespace lifeboat-approve@v1) with the
// signatures of two people who may approve and are not the requester.
// docs/format/guard-approval.md has the members.
package approval

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/machine"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/strictjson"
)

// Namespace of an approval's signature, and the role its keys need.
const (
	Namespace = "lifeboat-approve@v1"
	Role      = "approve"
)

// Version of the format.
const Version = 1

// MaxLife is how long an override may be valid.
const MaxLife = time.Hour

// Approvers is how many people it takes.
const Approvers = 2

// Errors that Verify wraps, with package seal's ErrSignature.
var (
	ErrExpired  = errors.New("the override is not valid at this time")
	ErrMismatch = errors.New("the override is for something else")
)

// Override is the payload.
type Override struct {
	Version    int                 `json:"version"`
	Operation  operation.Operation `json:"operation"`
	ArgvSHA256 string              `json:"argv_sha256"`
	Devices    []string            `json:"devices,omitempty"`
	Target     machine.Target      `json:"target"`
	Evidence   string              `json:"evidence"` // digest of the facts that were refused for
	Waives     []string            `json:"waives"`   // codes of denials
	Requester  string              `json:"requester"`
	Nonce      string              `json:"nonce"`
	Made       time.Time           `json:"made"`
	Expires    time.Time           `json:"expires"`
	Reason     string              `json:"reason"`
}

// Want is what is really being asked, of whom and by whom.
type Want struct {
	Identity  machine.Identity
	Operation operation.Operation
	Argv      []string
	Scope     operation.Scope
	Requester string
	Now       time.Time
}

var (
	nonceForm    = regexp.MustCompile(`^[0-9a-f]{32}$`)
	evidenceForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
	codeForm     = regexp.MustCompile(`^[a-z][a-z-]*(:[A-Za-z0-9._-]+)?$`)
)

// Verify reads an envelope and returns what it waives and who has approved.
// Whether the evidence is still the same is for the gate to say.
func Verify(text []byte, keys []seal.Key, want Want) (o Override, approvers []string, err error) {
	e, err := seal.Parse(text)
	if err != nil {
		return Override{}, nil, err
	}
	payload, by, err := e.Verify(Namespace, keys)
	if err != nil {
		return Override{}, nil, err
	}
	if err := strictjson.Decode(payload, &o); err != nil {
		return Override{}, nil, fmt.Errorf("%w: override: %w", seal.ErrSignature, err)
	}
	if err := o.checkForm(); err != nil {
		return Override{}, nil, fmt.Errorf("%w: %w", seal.ErrSignature, err)
	}
	if approvers, err = people(by, o.Requester, want.Requester); err != nil {
		return Override{}, nil, fmt.Errorf("%w: %w", seal.ErrSignature, err)
	}
	if err := o.checkSubject(want); err != nil {
		return Override{}, nil, fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	if err := o.checkTime(want.Now); err != nil {
		return Override{}, nil, fmt.Errorf("%w: %w", ErrExpired, err)
	}
	return o, approvers, nil
}

func (o Override) checkForm() error {
	if o.Version != Version { //check:override-version
		return fmt.Errorf("override of version %d, this guard reads %d", o.Version, Version)
	}
	if !nonceForm.MatchString(o.Nonce) || !evidenceForm.MatchString(o.Evidence) { //check:override-form
		return errors.New("nonce or evidence digest has not its form")
	}
	return CheckWaives(o.Waives)
}

// CheckWaives says what is wrong with a list of codes: empty, a wildcard, or
// live data on the machine together with a set that does not answer.
func CheckWaives(codes []string) error {
	if len(codes) == 0 { //check:override-waives-nothing
		return errors.New("it waives nothing")
	}
	blind, live := false, false
	for _, code := range codes {
		if !codeForm.MatchString(code) { //check:override-code
			return fmt.Errorf("%q is no code of a denial: each is named, there are no wildcards", code)
		}
		blind = blind || code == policy.InterlockUnavailable
		live = live || policy.IsLocal(code)
	}
	if blind && live { //check:override-never-both
		return errors.New("live data and a set that does not answer cannot be waived together: nobody would know whether this is the last copy")
	}
	return nil
}

// people returns the names of two different approvers, neither of whom asks.
func people(by []seal.Key, requesters ...string) (names []string, err error) {
	for _, key := range by {
		if !key.Has(Role) { //check:override-role
			return nil, fmt.Errorf("%s may not approve", key.Name)
		}
		if slices.Contains(requesters, key.Name) { //check:override-own-request
			return nil, fmt.Errorf("%s cannot approve an own request", key.Name)
		}
		if !slices.Contains(names, key.Name) { //allow:override-person-counts-once
			names = append(names, key.Name)
		}
	}
	if len(names) < Approvers { //check:override-two-people
		return nil, fmt.Errorf("%d people have approved, it takes %d", len(names), Approvers)
	}
	return names, nil
}

func (o Override) checkSubject(want Want) error {
	if err := o.Target.Matches(want.Identity); err != nil { //check:override-target
		return err
	}
	if o.Requester != want.Requester { //check:override-requester
		return fmt.Errorf("it was approved for %s, %s asks", o.Requester, want.Requester)
	}
	if o.Operation != want.Operation { //check:override-operation
		return fmt.Errorf("it is for %s, not for %s", o.Operation, want.Operation)
	}
	if o.ArgvSHA256 != operation.ArgvDigest(want.Argv) { //check:override-argv
		return errors.New("it is for another command")
	}
	if !slices.Equal(o.Devices, want.Scope.Devices) { //check:override-devices
		return fmt.Errorf("it is for the devices %q, not for %q", o.Devices, want.Scope.Devices)
	}
	return nil
}

func (o Override) checkTime(now time.Time) error {
	if life := o.Expires.Sub(o.Made); life > MaxLife { //check:override-life
		return fmt.Errorf("it is valid for %s: at most %s", life, MaxLife)
	}
	if now.Before(o.Made) || !now.Before(o.Expires) { //check:override-time
		return fmt.Errorf("it is valid from %s to %s, it is %s here", o.Made.Format(time.RFC3339), o.Expires.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}
