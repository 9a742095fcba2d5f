package interlock

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/strictjson"
)

// Namespaces of the signatures, and the roles that keys need for them. A health
// record is signed by the machine's own key, as the manifest has it.
const (
	ManifestNamespace = "lifeboat-manifest@v1"
	HealthNamespace   = "lifeboat-health@v1"
	ClearNamespace    = "lifeboat-clear@v1"
	ManifestRole      = "manifest"
	ClearRole         = "approve"
)

// Version of all records.
const Version = 1

// size is the one size of a set that this package has rules for.
const size = 3

// Manifest says who belongs to a set. It is sealed by keys with the role
// "manifest". Epoch rises with every change, and when the etcd cluster has been
// replaced or restored.
type Manifest struct {
	Version int      `json:"version"`
	Set     string   `json:"set"`
	Epoch   int64    `json:"epoch"`
	Members []Member `json:"members"` // exactly three
}

// Member is one machine of a set.
type Member struct {
	Machine string `json:"machine"` // machine-id
	Name    string `json:"name"`    // for people
	Key     string `json:"key"`     // the guard's public key, OpenSSH form
}

var (
	machineForm = regexp.MustCompile(`^[0-9a-f]{32}$`)
	nameForm    = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

// Validate says what is wrong with a manifest.
func (m Manifest) Validate() error {
	if m.Version != Version { //check:manifest-version
		return fmt.Errorf("version %d, this guard reads %d", m.Version, Version)
	}
	if !nameForm.MatchString(m.Set) { //check:manifest-set
		return fmt.Errorf("set %q is no name", m.Set)
	}
	if m.Epoch < 1 { //check:manifest-epoch
		return fmt.Errorf("epoch %d", m.Epoch)
	}
	if len(m.Members) != size { //check:manifest-size
		return fmt.Errorf("%d members: the rules are for %d", len(m.Members), size)
	}
	for i, member := range m.Members {
		if err := member.validate(m.Members[:i]); err != nil {
			return fmt.Errorf("member %d: %w", i+1, err)
		}
	}
	return nil
}

func (m Member) validate(others []Member) error {
	if !machineForm.MatchString(m.Machine) { //check:manifest-machine
		return fmt.Errorf("machine %q is no machine-id", m.Machine)
	}
	if !nameForm.MatchString(m.Name) { //check:manifest-name
		return fmt.Errorf("name %q is none", m.Name)
	}
	key, err := seal.ParseKey(m.Key)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	for _, o := range others {
		if o.Machine == m.Machine || o.Name == m.Name { //check:manifest-twice
			return fmt.Errorf("%s (%s) is there twice", m.Machine, m.Name)
		}
		other, err := seal.ParseKey(o.Key)
		if err != nil {
			return err
		}
		if seal.Same(key, other) { //check:manifest-key-twice
			return fmt.Errorf("%s and %s have the same key", m.Name, o.Name)
		}
	}
	return nil
}

// Member returns the member with a machine-id.
func (m Manifest) Member(machine string) (Member, bool) {
	i := slices.IndexFunc(m.Members, func(x Member) bool { return x.Machine == machine })
	if i < 0 {
		return Member{}, false
	}
	return m.Members[i], true
}

// ParseManifest reads a sealed manifest. Every one who has signed must have the
// role.
func ParseManifest(text []byte, keys []seal.Key) (Manifest, error) {
	payload, by, err := open(text, ManifestNamespace, keys)
	if err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	for _, key := range by {
		if !key.Has(ManifestRole) { //check:manifest-role
			return Manifest{}, fmt.Errorf("manifest: %w: %s may not say who belongs to a set", seal.ErrSignature, key.Name)
		}
	}
	var m Manifest
	if err := strictjson.Decode(payload, &m); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	if err := m.Validate(); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

func open(text []byte, namespace string, keys []seal.Key) ([]byte, []seal.Key, error) {
	e, err := seal.Parse(text)
	if err != nil {
		return nil, nil, err
	}
	return e.Verify(namespace, keys)
}

// Role is what a machine's server is.
type Role string

// The roles. The zero value says that nobody knows.
const (
	Source  Role = "source"  // others follow it or could, and it follows nobody
	Replica Role = "replica" // read-only, follows, and nobody follows it
	Down    Role = "down"    // no server runs
	Other   Role = "other"   // anything else: these rules do not know it
)

// State is what a machine's guard knows of its server and data.
type State struct {
	Role   Role   `json:"role"`
	Server string `json:"server"`           // server_uuid; MariaDB: server_id
	Source string `json:"source,omitempty"` // whom it follows, named the same way
	// ReadOnly: read_only, and super_read_only where there is one.
	ReadOnly bool  `json:"read_only"`
	Threads  bool  `json:"threads"` // receiver and applier run
	Lag      int64 `json:"lag"`     // seconds; -1: unknown
	// Replicas are connected to it now.
	Replicas []string `json:"replicas,omitempty"`
	// GTIDs is everything committed; without flavor: nobody has read it.
	GTIDs gtid.Set `json:"gtids"`
	// BinlogState is MariaDB's gtid_binlog_state, "DOMAIN-SERVER-SEQ,…": the
	// last of each (domain, server), which GTIDs does not have.
	BinlogState string `json:"binlog_state,omitempty"`
	// NoData: there is provably no data on the machine.
	NoData bool `json:"no_data,omitempty"`
	// Filter is what its binary log or its replication leaves out: its GTIDs
	// say more than it has, or than its replicas get.
	Filter string `json:"filter,omitempty"`
}

// Health is what a machine's guard publishes, sealed by its own key.
type Health struct {
	Version int       `json:"version"`
	Set     string    `json:"set"`
	Epoch   int64     `json:"epoch"` // of the manifest it was made under
	Machine string    `json:"machine"`
	BootID  string    `json:"boot_id"`
	Made    time.Time `json:"made"`
	State   State     `json:"state"`
}

// ParseHealth reads the sealed record of one member.
func ParseHealth(text []byte, m Manifest, member Member) (Health, error) {
	key, err := seal.ParseKey(member.Key)
	if err != nil {
		return Health{}, err
	}
	payload, _, err := open(text, HealthNamespace, []seal.Key{{Name: member.Name, PublicKey: key}})
	if err != nil {
		return Health{}, err
	}
	var h Health
	if err := strictjson.Decode(payload, &h); err != nil {
		return Health{}, err
	}
	if h.Version != Version { //check:health-version
		return Health{}, fmt.Errorf("version %d, this guard reads %d", h.Version, Version)
	}
	if h.Set != m.Set { //check:health-set
		return Health{}, fmt.Errorf("a record of set %q", h.Set)
	}
	if h.Machine != member.Machine { //check:health-machine
		return Health{}, fmt.Errorf("a record of machine %s", h.Machine)
	}
	return h, nil
}

// Encode seals a record.
func (h Health) Encode(key ed25519.PrivateKey) ([]byte, error) {
	return Seal(HealthNamespace, h, key)
}

// Seal writes a value in its one form and signs it.
func Seal(namespace string, v any, keys ...ed25519.PrivateKey) ([]byte, error) {
	payload, err := strictjson.Encode(v)
	if err != nil {
		return nil, err
	}
	e := seal.Envelope{Payload: payload}
	for _, key := range keys {
		s, err := seal.Sign(namespace, payload, key)
		if err != nil {
			return nil, err
		}
		e.Signatures = append(e.Signatures, s)
	}
	return e.Encode()
}

// Phase is how far a disruption is.
type Phase string

// The phases. An intent expires with its lease, the others never do.
const (
	Intent    Phase = "intent"    // nothing has run
	Committed Phase = "committed" // it may be running
	Done      Phase = "done"      // it has ended; the machine is not healthy yet
)

// Disruption is the set's one record of a member that is leaving. Its token is
// the etcd revision at which it was announced.
type Disruption struct {
	Version   int                 `json:"version"`
	ID        string              `json:"id"` // 128 random bits, hexadecimal
	Epoch     int64               `json:"epoch"`
	Machine   string              `json:"machine"`
	BootID    string              `json:"boot_id"`
	Operation operation.Operation `json:"operation"`
	Requester string              `json:"requester"`
	Phase     Phase               `json:"phase"`
	Made      time.Time           `json:"made"`
	Outcome   string              `json:"outcome,omitempty"`
	Ended     time.Time           `json:"ended,omitzero"`
}

// ParseDisruption reads a record. One that cannot be read is one nevertheless.
func ParseDisruption(text []byte) (Disruption, error) {
	var d Disruption
	if err := strictjson.Decode(text, &d); err != nil {
		return Disruption{}, fmt.Errorf("disruption: %w", err)
	}
	if d.Version != Version {
		return Disruption{}, fmt.Errorf("disruption: version %d", d.Version)
	}
	return d, nil
}

// Clearance removes a disruption by the word of two people (role "approve"),
// neither of whom has asked for it.
type Clearance struct {
	Version int       `json:"version"`
	Set     string    `json:"set"`
	Epoch   int64     `json:"epoch"`
	Machine string    `json:"machine"`
	Token   int64     `json:"token"` // revision of the record as people saw it: it has not changed since
	Expires time.Time `json:"expires"`
	Reason  string    `json:"reason"`
}

// clearLife is how long a clearance may be valid.
const clearLife = time.Hour

// ParseClearance reads a sealed clearance and returns who has signed.
func ParseClearance(text []byte, keys []seal.Key) (Clearance, []string, error) {
	payload, by, err := open(text, ClearNamespace, keys)
	if err != nil {
		return Clearance{}, nil, fmt.Errorf("clearance: %w", err)
	}
	var c Clearance
	if err := strictjson.Decode(payload, &c); err != nil {
		return Clearance{}, nil, fmt.Errorf("clearance: %w", err)
	}
	var people []string
	for _, key := range by {
		if !key.Has(ClearRole) { //check:clear-role
			return Clearance{}, nil, fmt.Errorf("clearance: %w: %s may not approve", seal.ErrSignature, key.Name)
		}
		if !slices.Contains(people, key.Name) { //allow:clear-person-counts-once
			people = append(people, key.Name)
		}
	}
	return c, people, nil
}

// JudgeClearance says why a clearance does not clear a disruption.
func JudgeClearance(c Clearance, people []string, set string, epoch int64, d Disruption, token int64, now time.Time) error {
	if c.Version != Version { //check:clear-version
		return fmt.Errorf("clearance: version %d", c.Version)
	}
	if c.Set != set { //check:clear-set
		return fmt.Errorf("clearance: it is for set %q", c.Set)
	}
	if c.Epoch != epoch { //check:clear-epoch
		return fmt.Errorf("clearance: it is for epoch %d, the manifest has %d", c.Epoch, epoch)
	}
	if c.Machine != d.Machine { //check:clear-machine
		return fmt.Errorf("clearance: it is for machine %s", c.Machine)
	}
	if c.Token != token { //check:clear-token
		return fmt.Errorf("clearance: it is for disruption %d, this is %d", c.Token, token)
	}
	if !now.Before(c.Expires) || c.Expires.After(now.Add(clearLife)) { //check:clear-time
		return errors.New("clearance: it has expired, or is valid for more than an hour")
	}
	if len(people) < 2 { //check:clear-two-people
		return errors.New("clearance: it takes two people")
	}
	if slices.Contains(people, d.Requester) { //check:clear-requester
		return fmt.Errorf("clearance: %s has asked for the disruption", d.Requester)
	}
	return nil
}
