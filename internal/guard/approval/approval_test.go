package approval

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/lifeboat-db/lifeboat/internal/guard/machine"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/strictjson"
)

var (
	now      = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	identity = machine.Identity{Target: machine.Target{MachineID: "m"}}
	argv     = []string{"/bin/true"}
	want     = Want{Identity: identity, Operation: operation.Wipe, Argv: argv, Requester: "rita", Now: now}
)

func person(seed byte, name string, roles ...string) (ed25519.PrivateKey, seal.Key) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		panic(err)
	}
	return private, seal.Key{Name: name, Roles: roles, PublicKey: public}
}

func good() Override {
	return Override{
		Version: Version, Operation: operation.Wipe, ArgvSHA256: operation.ArgvDigest(argv), Target: identity.Target,
		Evidence: strings.Repeat("0a", 32), Waives: []string{"data-at-rest"}, Requester: "rita",
		Nonce: strings.Repeat("0b", 16), Made: now.Add(-time.Minute), Expires: now.Add(time.Minute), Reason: "it is a copy",
	}
}

func sealed(o Override, keys ...ed25519.PrivateKey) []byte {
	payload, err := strictjson.Encode(o)
	if err != nil {
		panic(err)
	}
	e := seal.Envelope{Payload: payload}
	for _, key := range keys {
		s, err := seal.Sign(Namespace, payload, key)
		if err != nil {
			panic(err)
		}
		e.Signatures = append(e.Signatures, s)
	}
	text, err := e.Encode()
	if err != nil {
		panic(err)
	}
	return text
}

func TestVerify(t *testing.T) {
	alice, aliceKey := person(1, "alice", Role)
	bob, bobKey := person(2, "bob", Role)
	alice2, alice2Key := person(3, "alice", Role)
	carol, carolKey := person(4, "carol", "request")
	rita, ritaKey := person(5, "rita", "request", Role)
	keys := []seal.Key{aliceKey, bobKey, alice2Key, carolKey, ritaKey}
	both := []ed25519.PrivateKey{alice, bob}
	if _, names, err := Verify(sealed(good(), both...), keys, want); err != nil || len(names) != 2 {
		t.Fatal(names, err)
	}
	for name, c := range map[string]struct {
		change func(o *Override)
		by     []ed25519.PrivateKey
		err    error
	}{
		"version":             {func(o *Override) { o.Version = 0 }, both, seal.ErrSignature},
		"nonce":               {func(o *Override) { o.Nonce = "" }, both, seal.ErrSignature},
		"evidence":            {func(o *Override) { o.Evidence = "any" }, both, seal.ErrSignature},
		"waives nothing":      {func(o *Override) { o.Waives = nil }, both, seal.ErrSignature},
		"waives everything":   {func(o *Override) { o.Waives = []string{"*"} }, both, seal.ErrSignature},
		"waives both":         {func(o *Override) { o.Waives = []string{"interlock-unavailable", "open-file"} }, both, seal.ErrSignature},
		"one person":          {nil, []ed25519.PrivateKey{alice}, seal.ErrSignature},
		"one person twice":    {nil, []ed25519.PrivateKey{alice, alice}, seal.ErrSignature},
		"one with two keys":   {nil, []ed25519.PrivateKey{alice, alice2}, seal.ErrSignature},
		"one may not approve": {nil, []ed25519.PrivateKey{alice, bob, carol}, seal.ErrSignature},
		"the requester too":   {nil, []ed25519.PrivateKey{alice, bob, rita}, seal.ErrSignature},
		"machine":             {func(o *Override) { o.Target.MachineID = "n" }, both, ErrMismatch},
		"requester":           {func(o *Override) { o.Requester = "carol" }, both, ErrMismatch},
		"operation":           {func(o *Override) { o.Operation = operation.Reboot }, both, ErrMismatch},
		"command":             {func(o *Override) { o.ArgvSHA256 = "" }, both, ErrMismatch},
		"devices":             {func(o *Override) { o.Devices = []string{"/dev/x"} }, both, ErrMismatch},
		"too long a life":     {func(o *Override) { o.Expires = o.Made.Add(MaxLife + time.Second) }, both, ErrExpired},
		"no life":             {func(o *Override) { o.Expires = o.Made }, both, ErrExpired},
		"too early":           {func(o *Override) { o.Made = now.Add(time.Second) }, both, ErrExpired},
		"expired":             {func(o *Override) { o.Expires = now }, both, ErrExpired},
	} {
		o := good()
		if c.change != nil {
			c.change(&o)
		}
		if _, _, err := Verify(sealed(o, c.by...), keys, want); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	forged := []byte(strings.Replace(string(sealed(good(), both...)), "payload\":\"", "payload\":\"AAAA", 1))
	if _, _, err := Verify(forged, keys, want); err == nil {
		t.Error("forged")
	}
}

// FuzzVerify: nothing that somebody makes up waives anything.
func FuzzVerify(f *testing.F) {
	alice, aliceKey := person(1, "alice", Role)
	bob, bobKey := person(2, "bob", Role)
	f.Add(sealed(good(), alice, bob))
	f.Add(sealed(good(), alice))
	f.Fuzz(func(t *testing.T, text []byte) {
		o, names, err := Verify(text, []seal.Key{aliceKey, bobKey}, want)
		if err == nil && (len(names) != 2 || o.Reason != good().Reason || len(o.Waives) != 1) {
			t.Fatalf("%+v by %v", o, names)
		}
	})
}
