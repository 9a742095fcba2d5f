// Package request reads what somebody with a key asks of one machine.
//
// A request is a sealed payload (namespace lifeboat-request@v1), good for one
// machine, one command, once, for minutes. docs/format/guard-request.md has the
// members.
package request

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/machine"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/strictjson"
)

// Namespace of a request's signature, and the role its key needs.
const (
	Namespace = "lifeboat-request@v1"
	Role      = "request"
)

// Version of the format.
const Version = 1

// MaxLife is how long a request may be valid: long enough for people and
// queues, short enough that the machine it was meant for is still what it was.
const MaxLife = 15 * time.Minute

// Errors that Verify wraps, with package seal's ErrSignature.
var (
	ErrExpired  = errors.New("the request is not valid at this time")
	ErrMismatch = errors.New("the request is for something else")
)

// Request is the payload.
type Request struct {
	Version    int                 `json:"version"`
	Operation  operation.Operation `json:"operation"`
	ArgvSHA256 string              `json:"argv_sha256"` // operation.ArgvDigest
	Devices    []string            `json:"devices,omitempty"`
	Target     machine.Target      `json:"target"`
	BootID     string              `json:"boot_id,omitempty"` // this boot only
	Nonce      string              `json:"nonce"`             // 32 hexadecimal digits
	NotBefore  time.Time           `json:"not_before"`
	Expires    time.Time           `json:"expires"`
	Issuer     string              `json:"issuer"` // name of the signing key
	Ticket     string              `json:"ticket,omitempty"`
	Reason     string              `json:"reason"`
}

// Want is what is really being asked, and of whom.
type Want struct {
	Identity  machine.Identity
	Operation operation.Operation
	Argv      []string
	Scope     operation.Scope
	Now       time.Time
}

var nonceForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// NewNonce makes 128 random bits.
func NewNonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return hex.EncodeToString(b[:])
}

// Verify reads an envelope and checks that it asks for exactly this.
func Verify(text []byte, keys []seal.Key, want Want) (Request, error) {
	e, err := seal.Parse(text)
	if err != nil {
		return Request{}, err
	}
	payload, by, err := e.Verify(Namespace, keys)
	if err != nil {
		return Request{}, err
	}
	var r Request
	if err := strictjson.Decode(payload, &r); err != nil {
		return Request{}, fmt.Errorf("%w: request: %w", seal.ErrSignature, err)
	}
	if err := r.checkIssuer(by); err != nil {
		return Request{}, err
	}
	if err := r.checkSubject(want); err != nil {
		return Request{}, fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	if err := r.checkTime(want.Now); err != nil {
		return Request{}, fmt.Errorf("%w: %w", ErrExpired, err)
	}
	return r, nil
}

func (r Request) checkIssuer(by []seal.Key) error {
	if r.Version != Version { //check:request-version
		return fmt.Errorf("%w: request of version %d, this guard reads %d", seal.ErrSignature, r.Version, Version)
	}
	if !nonceForm.MatchString(r.Nonce) { //check:request-nonce
		return fmt.Errorf("%w: nonce %q is not 32 hexadecimal digits", seal.ErrSignature, r.Nonce)
	}
	if len(by) != 1 || by[0].Name != r.Issuer { //check:request-issuer
		return fmt.Errorf("%w: the issuer %q is not the one who has signed", seal.ErrSignature, r.Issuer)
	}
	if !by[0].Has(Role) { //check:request-role
		return fmt.Errorf("%w: %s may not make requests", seal.ErrSignature, r.Issuer)
	}
	return nil
}

func (r Request) checkSubject(want Want) error {
	if err := r.Target.Matches(want.Identity); err != nil { //check:request-target
		return err
	}
	if r.BootID != "" && r.BootID != want.Identity.BootID { //check:request-boot
		return errors.New("the machine has been restarted since")
	}
	if r.Operation != want.Operation { //check:request-operation
		return fmt.Errorf("it is for %s, not for %s", r.Operation, want.Operation)
	}
	if r.ArgvSHA256 != operation.ArgvDigest(want.Argv) { //check:request-argv
		return errors.New("it is for another command")
	}
	if !slices.Equal(r.Devices, want.Scope.Devices) { //check:request-devices
		return fmt.Errorf("it is for the devices %q, not for %q", r.Devices, want.Scope.Devices)
	}
	return nil
}

func (r Request) checkTime(now time.Time) error {
	if life := r.Expires.Sub(r.NotBefore); life > MaxLife { //check:request-life
		return fmt.Errorf("it is valid for %s: at most %s", life, MaxLife)
	}
	if now.Before(r.NotBefore) { //check:request-too-early
		return fmt.Errorf("it is valid from %s on, it is %s here", r.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if !now.Before(r.Expires) { //check:request-expired
		return fmt.Errorf("it was valid until %s, it is %s here", r.Expires.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}
