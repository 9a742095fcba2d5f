package request

import (
	"bytes"
	"crypto/ed25519"
	"errors"
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
	identity = machine.Identity{Target: machine.Target{MachineID: "m", DMIUUID: "d", HostKey: "h"}, BootID: "b"}
	argv     = []string{"/bin/true", "x"}
	want     = Want{Identity: identity, Operation: operation.Wipe, Argv: argv, Scope: operation.Scope{Devices: []string{"/dev/x"}}, Now: now}
)

func person(seed byte, name string, roles ...string) (ed25519.PrivateKey, seal.Key) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		panic(err)
	}
	return private, seal.Key{Name: name, Roles: roles, PublicKey: public}
}

func good() Request {
	return Request{
		Version: Version, Operation: operation.Wipe, ArgvSHA256: operation.ArgvDigest(argv), Devices: []string{"/dev/x"},
		Target: identity.Target, BootID: "b", Nonce: "00112233445566778899aabbccddeeff",
		NotBefore: now.Add(-time.Minute), Expires: now.Add(time.Minute), Issuer: "alice", Reason: "new disk",
	}
}

func sealed(r Request, keys ...ed25519.PrivateKey) []byte {
	payload, err := strictjson.Encode(r)
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
	bob, bobKey := person(2, "bob", "approve")
	mallory, _ := person(3, "mallory")
	keys := []seal.Key{aliceKey, bobKey}
	if r, err := Verify(sealed(good(), alice), keys, want); err != nil || r.Issuer != "alice" {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(r *Request)
		by     []ed25519.PrivateKey
		err    error
	}{
		"version":         {func(r *Request) { r.Version = 2 }, nil, seal.ErrSignature},
		"nonce":           {func(r *Request) { r.Nonce = "1" }, nil, seal.ErrSignature},
		"issuer":          {func(r *Request) { r.Issuer = "bob" }, nil, seal.ErrSignature},
		"two signers":     {nil, []ed25519.PrivateKey{alice, bob}, seal.ErrSignature},
		"role":            {func(r *Request) { r.Issuer = "bob" }, []ed25519.PrivateKey{bob}, seal.ErrSignature},
		"unknown key":     {nil, []ed25519.PrivateKey{mallory}, seal.ErrSignature},
		"unsigned":        {nil, []ed25519.PrivateKey{}, seal.ErrSignature},
		"machine":         {func(r *Request) { r.Target.MachineID = "n" }, nil, ErrMismatch},
		"clone":           {func(r *Request) { r.Target.DMIUUID = "" }, nil, ErrMismatch},
		"no machine":      {func(r *Request) { r.Target = machine.Target{} }, nil, ErrMismatch},
		"boot":            {func(r *Request) { r.BootID = "c" }, nil, ErrMismatch},
		"operation":       {func(r *Request) { r.Operation = operation.Reboot }, nil, ErrMismatch},
		"command":         {func(r *Request) { r.ArgvSHA256 = operation.ArgvDigest([]string{"/bin/true x"}) }, nil, ErrMismatch},
		"devices":         {func(r *Request) { r.Devices = []string{"/dev/y"} }, nil, ErrMismatch},
		"whole machine":   {func(r *Request) { r.Devices = nil }, nil, ErrMismatch},
		"too long a life": {func(r *Request) { r.Expires = r.NotBefore.Add(MaxLife + time.Second) }, nil, ErrExpired},
		"no life":         {func(r *Request) { r.Expires = r.NotBefore }, nil, ErrExpired},
		"too early":       {func(r *Request) { r.NotBefore = now.Add(time.Second) }, nil, ErrExpired},
		"expired":         {func(r *Request) { r.Expires = now }, nil, ErrExpired},
	} {
		r := good()
		if c.change != nil {
			c.change(&r)
		}
		if c.by == nil {
			c.by = []ed25519.PrivateKey{alice}
		}
		if _, err := Verify(sealed(r, c.by...), keys, want); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := want
	other.Identity.Target = machine.Target{}
	r := good()
	r.Target = machine.Target{}
	if _, err := Verify(sealed(r, alice), keys, other); err == nil {
		t.Error("no machine is this machine")
	}
	noDigest := good()
	noDigest.ArgvSHA256 = ""
	if _, err := Verify(sealed(noDigest, alice), keys, want); err == nil {
		t.Error("any command")
	}
}

func TestNonce(t *testing.T) {
	a, b := NewNonce(), NewNonce()
	if !nonceForm.MatchString(a) || a == b {
		t.Error(a, b)
	}
}

// FuzzVerify: nothing that somebody makes up is a request.
func FuzzVerify(f *testing.F) {
	alice, aliceKey := person(1, "alice", Role)
	text := sealed(good(), alice)
	f.Add(text)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, changed []byte) {
		r, err := Verify(changed, []seal.Key{aliceKey}, want)
		if err == nil && (r.Nonce != good().Nonce || r.Reason != good().Reason) {
			t.Fatalf("%+v", r)
		}
	})
}
