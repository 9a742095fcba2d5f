// Package ticket makes and reads release tickets: the word of a machine's own
// guard that the machine may be installed anew by somebody outside of it, who
// boots it from the network or by its BMC and cannot go through the gate.
//
// A ticket is a sealed payload (namespace lifeboat-ticket@v1), signed by the
// guard's own key, good for one machine, one boot of it, once, for minutes.
// docs/format/guard-ticket.md has the members.
package ticket

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/machine"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/strictjson"
)

// Namespace of a ticket's signature.
const Namespace = "lifeboat-ticket@v1"

// Version of the format.
const Version = 1

// MaxLife is how long a ticket may count: the machine's locks are held as long.
const MaxLife = 30 * time.Minute

// clockSlack is how much younger than it says a ticket may be: two clocks that
// are kept differ by less.
const clockSlack = 5 * time.Second

// Errors that Verify wraps, with package seal's ErrSignature.
var (
	ErrExpired  = errors.New("the ticket is not valid at this time")
	ErrMismatch = errors.New("the ticket is for another machine or operation")
)

// Ticket is the payload.
type Ticket struct {
	Version   int                 `json:"version"`
	Operation operation.Operation `json:"operation"` // reinstall
	Machine   machine.Target      `json:"machine"`
	BootID    string              `json:"boot_id"`
	Run       string              `json:"run"`   // of the guard's journal and audit log
	Nonce     string              `json:"nonce"` // 32 hexadecimal digits
	Made      time.Time           `json:"made"`
	Expires   time.Time           `json:"expires"`
}

var (
	nonceForm = regexp.MustCompile(`^[0-9a-f]{32}$`)
	uuidForm  = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// Seal writes and signs a ticket.
func Seal(t Ticket, key ed25519.PrivateKey) ([]byte, error) {
	if err := t.checkForm(); err != nil {
		return nil, err
	}
	payload, err := strictjson.Encode(t)
	if err != nil {
		return nil, err
	}
	s, err := seal.Sign(Namespace, payload, key)
	if err != nil {
		return nil, err
	}
	return seal.Envelope{Payload: payload, Signatures: []seal.Signature{s}}.Encode()
}

// Want is the machine that is about to be installed.
type Want struct {
	UUID string // as SMBIOS has it (dmidecode, iPXE's ${uuid}), in either case
	Now  time.Time
}

// Known is a machine that a provisioner knows, as "lifeboat-guard identity"
// prints it.
type Known struct {
	MachineID string
	DMIUUID   string
	GuardKey  string // OpenSSH form
}

// Verify reads a ticket and checks that the guard of the machine with the
// wanted UUID has signed it, for that machine, for now.
func Verify(text []byte, machines []Known, want Want) (Ticket, error) {
	known, err := find(machines, want.UUID)
	if err != nil {
		return Ticket{}, err
	}
	key, err := seal.ParseKey(known.GuardKey)
	if err != nil {
		return Ticket{}, fmt.Errorf("%w: machine %s: %w", seal.ErrSignature, known.MachineID, err)
	}
	e, err := seal.Parse(text)
	if err != nil {
		return Ticket{}, err
	}
	payload, _, err := e.Verify(Namespace, []seal.Key{{Name: known.MachineID, PublicKey: key}})
	if err != nil {
		return Ticket{}, err
	}
	var t Ticket
	if err := strictjson.Decode(payload, &t); err != nil {
		return Ticket{}, fmt.Errorf("%w: ticket: %w", seal.ErrSignature, err)
	}
	if err := t.checkForm(); err != nil {
		return Ticket{}, fmt.Errorf("%w: %w", seal.ErrSignature, err)
	}
	if t.Machine.MachineID != known.MachineID || !strings.EqualFold(t.Machine.DMIUUID, want.UUID) { //check:ticket-machine
		return Ticket{}, fmt.Errorf("%w: it is for %s (%s)", ErrMismatch, t.Machine.MachineID, t.Machine.DMIUUID)
	}
	return t, t.checkTime(want.Now)
}

// find returns the one machine with a UUID. Boards with the same UUID exist;
// of two nobody knows which one boots.
func find(machines []Known, uuid string) (found Known, err error) {
	uuid = strings.ToLower(uuid)
	if !uuidForm.MatchString(uuid) { //check:ticket-uuid
		return found, fmt.Errorf("%w: %q is no UUID", ErrMismatch, uuid)
	}
	n := 0
	for _, m := range machines {
		if strings.EqualFold(m.DMIUUID, uuid) {
			found, n = m, n+1
		}
	}
	if n != 1 { //check:ticket-known
		return Known{}, fmt.Errorf("%w: %d machines with UUID %s are known, it must be one", ErrMismatch, n, uuid)
	}
	return found, nil
}

func (t Ticket) checkForm() error {
	if t.Version != Version { //check:ticket-version
		return fmt.Errorf("ticket of version %d, this program reads %d", t.Version, Version)
	}
	if t.Operation != operation.Reinstall { //check:ticket-operation
		return fmt.Errorf("ticket for %q: only reinstall is known", t.Operation)
	}
	if !nonceForm.MatchString(t.Nonce) { //check:ticket-nonce
		return fmt.Errorf("nonce %q is not 32 hexadecimal digits", t.Nonce)
	}
	if t.Machine.MachineID == "" || t.Machine.DMIUUID == "" || t.BootID == "" { //check:ticket-identity
		return errors.New("it names no machine, UUID or boot")
	}
	if life := t.Expires.Sub(t.Made); life <= 0 || life > MaxLife { //check:ticket-life
		return fmt.Errorf("it counts for %s: at most %s", life, MaxLife)
	}
	return nil
}

func (t Ticket) checkTime(now time.Time) error {
	if now.Before(t.Made.Add(-clockSlack)) || !now.Before(t.Expires) { //check:ticket-time
		return fmt.Errorf("%w: it counts from %s to %s, it is %s here", ErrExpired,
			t.Made.Format(time.RFC3339), t.Expires.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}
