package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/lifeboat-db/lifeboat/internal/guard/approval"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/machine"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
	"github.com/lifeboat-db/lifeboat/internal/guard/request"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/spent"
	"github.com/lifeboat-db/lifeboat/internal/guard/strictjson"
)

func person(seed byte, name string, roles ...string) (ed25519.PrivateKey, seal.Key) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		panic(err)
	}
	return private, seal.Key{Name: name, Roles: roles, PublicKey: public}
}

func sealed(t *testing.T, namespace string, v any, keys ...ed25519.PrivateKey) []byte {
	t.Helper()
	payload, err := strictjson.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	e := seal.Envelope{Payload: payload}
	for _, key := range keys {
		s, err := seal.Sign(namespace, payload, key)
		if err != nil {
			t.Fatal(err)
		}
		e.Signatures = append(e.Signatures, s)
	}
	text, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestAuthority: who may ask, and that each request and override counts once.
func TestAuthority(t *testing.T) {
	alice, aliceKey := person(1, "alice", request.Role)
	bob, bobKey := person(2, "bob", approval.Role)
	carol, carolKey := person(3, "carol", approval.Role)
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	nonces, err := spent.Open(filepath.Join(t.TempDir(), "spent"), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	identity := machine.Identity{Target: machine.Target{MachineID: "m"}}
	a := &authority{keys: []seal.Key{aliceKey, bobKey, carolKey}, identity: identity, spent: nonces}
	argv := []string{"/bin/true"}
	ask := gate.Ask{Operation: operation.Wipe, Argv: argv}
	class := func(ask gate.Ask) policy.Class {
		_, denial := a.Authorise(t.Context(), ask)
		if denial == nil {
			return ""
		}
		return denial.Class
	}

	user := ask
	user.Peer.UID = 1000
	if class(ask) != "" || class(user) != policy.Signature {
		t.Errorf("root %q, user %q", class(ask), class(user))
	}
	a.signedOnly = true
	if class(ask) != policy.Signature {
		t.Error("root without a request, where even root needs one")
	}

	r := request.Request{
		Version: 1, Operation: operation.Wipe, ArgvSHA256: operation.ArgvDigest(argv), Target: identity.Target,
		Nonce: request.NewNonce(), NotBefore: now, Expires: now.Add(time.Minute), Issuer: "alice", Reason: "test",
	}
	user.Request = sealed(t, request.Namespace, r, alice)
	forged := user
	forged.Argv = []string{"/bin/false"}
	if got := class(forged); got != policy.Signature {
		t.Errorf("another command: %q", got)
	}
	if first, second := class(user), class(user); first != "" || second != policy.Signature {
		t.Errorf("first %q, second %q", first, second)
	}

	o := approval.Override{
		Version: 1, Operation: operation.Wipe, ArgvSHA256: operation.ArgvDigest(argv), Target: identity.Target,
		Evidence: strings.Repeat("0a", 32), Waives: []string{"data-at-rest"}, Requester: rootName,
		Nonce: request.NewNonce(), Made: now, Expires: now.Add(time.Minute), Reason: "test",
	}
	a.signedOnly = false
	one := ask
	one.Override = sealed(t, approval.Namespace, o, bob)
	if class(one) != policy.Signature {
		t.Error("one approver is enough")
	}
	two := ask
	two.Override = sealed(t, approval.Namespace, o, bob, carol)
	who, denial := a.Authorise(t.Context(), two)
	if denial != nil || len(who.Waives) != 1 || who.Evidence != o.Evidence || len(who.Approvers) != 2 {
		t.Errorf("%+v %+v", who, denial)
	}
	if class(two) != policy.Signature {
		t.Error("an override counts twice")
	}

	// Time: an expired one, a clock that has gone back, one that nobody keeps.
	fresh := func() gate.Ask {
		r.Nonce = request.NewNonce()
		ask := user
		ask.Request = sealed(t, request.Namespace, r, alice)
		return ask
	}
	freshOverride := func() gate.Ask {
		o.Nonce = request.NewNonce()
		ask := two
		ask.Override = sealed(t, approval.Namespace, o, bob, carol)
		return ask
	}
	now = now.Add(time.Hour)
	if class(fresh()) != policy.Expired || class(freshOverride()) != policy.Expired {
		t.Error("expired ones count")
	}
	if err := nonces.Spend(request.NewNonce(), now); err != nil {
		t.Fatal(err)
	}
	now = now.Add(-time.Hour)
	if class(fresh()) != policy.Expired || class(freshOverride()) != policy.Expired {
		t.Error("the clock may go back")
	}
	now = now.Add(time.Hour)
	r.NotBefore, r.Expires, o.Made, o.Expires = now, now.Add(time.Minute), now, now.Add(time.Minute)
	if class(fresh()) != "" || class(freshOverride()) != "" {
		t.Error("good ones do not count")
	}
	a.spendInSet = func(context.Context, string, time.Time) error { return errors.New("used before") }
	if class(fresh()) != "" || class(freshOverride()) != policy.Signature {
		t.Error("an override that the set has seen counts")
	}
	a.spendInSet = nil
	a.synchronised = func() error { return errors.Join(spent.ErrClock) }
	if class(fresh()) != policy.Expired || class(freshOverride()) != policy.Expired {
		t.Error("a clock that nobody keeps is trusted")
	}
}
