package ticket

import (
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

const (
	uuid  = "4c4c4544-0042-3510-8052-b4c04f4d3432"
	other = "4c4c4544-0042-3510-8052-b4c04f4d3433"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func key(letter string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(letter, ed25519.SeedSize)))
}

func line(k ed25519.PrivateKey) string {
	p, err := ssh.NewPublicKey(k.Public())
	if err != nil {
		panic(err)
	}
	return string(ssh.MarshalAuthorizedKey(p))
}

func good() Ticket {
	return Ticket{
		Version: 1, Operation: operation.Reinstall, Machine: machine.Target{MachineID: strings.Repeat("a", 32), DMIUUID: uuid},
		BootID: "boot", Run: "run", Nonce: strings.Repeat("0f", 16), Made: noon, Expires: noon.Add(10 * time.Minute),
	}
}

// sealed signs whatever it is given, as an evil program could.
func sealed(t testing.TB, v any, keys ...ed25519.PrivateKey) []byte {
	t.Helper()
	payload, err := strictjson.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	e := seal.Envelope{Payload: payload}
	for _, k := range keys {
		s, err := seal.Sign(Namespace, payload, k)
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

func known() []Known {
	return []Known{
		{strings.Repeat("a", 32), strings.ToUpper(uuid), line(key("a"))},
		{strings.Repeat("b", 32), other, line(key("b"))},
	}
}

func TestVerify(t *testing.T) {
	text, err := Seal(good(), key("a"))
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []string{uuid, strings.ToUpper(uuid)} {
		if got, err := Verify(text, known(), Want{u, noon.Add(time.Minute)}); err != nil || got.Nonce != good().Nonce {
			t.Errorf("%+v %v", got, err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*Ticket)
		by     []ed25519.PrivateKey
		want   Want
		err    error
	}{
		{"another version", func(x *Ticket) { x.Version = 2 }, nil, Want{}, seal.ErrSignature},
		{"another operation", func(x *Ticket) { x.Operation = operation.Wipe }, nil, Want{}, seal.ErrSignature},
		{"no nonce", func(x *Ticket) { x.Nonce = "" }, nil, Want{}, seal.ErrSignature},
		{"no boot", func(x *Ticket) { x.BootID = "" }, nil, Want{}, seal.ErrSignature},
		{"no machine", func(x *Ticket) { x.Machine.MachineID = "" }, nil, Want{}, seal.ErrSignature},
		{"no UUID", func(x *Ticket) { x.Machine.DMIUUID = "" }, nil, Want{}, seal.ErrSignature},
		{"too long", func(x *Ticket) { x.Expires = noon.Add(31 * time.Minute) }, nil, Want{}, seal.ErrSignature},
		{"never", func(x *Ticket) { x.Expires = noon }, nil, Want{}, seal.ErrSignature},
		{"another's id", func(x *Ticket) { x.Machine.MachineID = strings.Repeat("b", 32) }, nil, Want{}, ErrMismatch},
		{"another's UUID", func(x *Ticket) { x.Machine.DMIUUID = other }, nil, Want{}, ErrMismatch},
		{"another machine boots", func(*Ticket) {}, nil, Want{other, noon}, seal.ErrSignature},
		{"an unknown machine boots", func(*Ticket) {}, nil, Want{strings.Replace(uuid, "4c", "5c", 1), noon}, ErrMismatch},
		{"no UUID boots", func(*Ticket) {}, nil, Want{"", noon}, ErrMismatch},
		{"any UUID boots", func(*Ticket) {}, nil, Want{"*", noon}, ErrMismatch},
		{"signed by another guard", func(*Ticket) {}, []ed25519.PrivateKey{key("b")}, Want{}, seal.ErrSignature},
		{"signed by a stranger", func(*Ticket) {}, []ed25519.PrivateKey{key("x")}, Want{}, seal.ErrSignature},
		{"signed by its guard and a stranger", func(*Ticket) {}, []ed25519.PrivateKey{key("a"), key("x")}, Want{}, seal.ErrSignature},
		{"not signed", func(*Ticket) {}, []ed25519.PrivateKey{}, Want{}, seal.ErrSignature},
		{"late", func(*Ticket) {}, nil, Want{uuid, noon.Add(10 * time.Minute)}, ErrExpired},
		{"early", func(*Ticket) {}, nil, Want{uuid, noon.Add(-6 * time.Second)}, ErrExpired},
	} {
		x := good()
		c.change(&x)
		if c.by == nil {
			c.by = []ed25519.PrivateKey{key("a")}
		}
		if c.want == (Want{}) {
			c.want = Want{uuid, noon}
		}
		if _, err := Verify(sealed(t, x, c.by...), known(), c.want); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
	}
	twins := append(known(), known()[0])
	if _, err := Verify(text, twins, Want{uuid, noon}); !errors.Is(err, ErrMismatch) {
		t.Errorf("two machines have the UUID: %v", err)
	}
	for _, nobody := range []string{"", "*", "x"} {
		if m, err := find([]Known{{MachineID: "m", DMIUUID: nobody}}, nobody); err == nil {
			t.Errorf("%q is the UUID of %v", nobody, m)
		}
	}
	broken := known()
	broken[0].GuardKey = "no key"
	if _, err := Verify(text, broken, Want{uuid, noon}); !errors.Is(err, seal.ErrSignature) {
		t.Errorf("no key: %v", err)
	}
	bad := good()
	bad.Nonce = "short"
	if _, err := Seal(bad, key("a")); err == nil {
		t.Error("sealed what nobody would read")
	}
}

// FuzzVerify: nothing but what the guard has signed verifies.
func FuzzVerify(f *testing.F) {
	text, err := Seal(good(), key("a"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, changed []byte) {
		got, err := Verify(changed, known(), Want{uuid, noon})
		if err == nil && got != good() {
			t.Errorf("%q verifies: %+v", changed, got)
		}
	})
}
