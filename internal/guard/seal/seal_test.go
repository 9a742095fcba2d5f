package seal

import (
	"crypto/ed25519"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func newKey(t *testing.T, name string) (ed25519.PrivateKey, Key) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	sshKey, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return private, Key{Name: name, PublicKey: sshKey}
}

func signed(t *testing.T, namespace, payload string, keys ...ed25519.PrivateKey) Envelope {
	t.Helper()
	e := Envelope{Payload: []byte(payload)}
	for _, key := range keys {
		s, err := Sign(namespace, e.Payload, key)
		if err != nil {
			t.Fatal(err)
		}
		e.Signatures = append(e.Signatures, s)
	}
	return e
}

func TestVerify(t *testing.T) {
	a, keyA := newKey(t, "a")
	b, keyB := newKey(t, "b")
	keys := []Key{keyA, keyB}
	payload, by, err := signed(t, "n", "text", a, b, a).Verify("n", keys)
	if err != nil || string(payload) != "text" || len(by) != 2 || by[0].Name != "a" || by[1].Name != "b" {
		t.Errorf("%q by %v, %v", payload, by, err)
	}
	for name, c := range map[string]struct {
		e         Envelope
		namespace string
		keys      []Key
	}{
		"other namespace": {signed(t, "n", "text", a), "m", keys},
		"no namespace":    {signed(t, "", "text", a), "", keys},
		"unknown key":     {signed(t, "n", "text", a), "n", []Key{keyB}},
		"no keys":         {signed(t, "n", "text", a), "n", nil},
		"unsigned":        {signed(t, "n", "text"), "n", keys},
		"too many":        {signed(t, "n", "text", a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a), "n", keys},
	} {
		if _, _, err := c.e.Verify(c.namespace, c.keys); err == nil {
			t.Errorf("%s: verified", name)
		}
	}
	for name, change := range map[string]func(e *Envelope){
		"changed payload":         func(e *Envelope) { e.Payload[0] ^= 1 },
		"signature of another":    func(e *Envelope) { e.Signatures[0].Key = e.Signatures[1].Key },
		"one of two is not good":  func(e *Envelope) { e.Signatures[1].Value = e.Signatures[0].Value },
		"unknown format":          func(e *Envelope) { e.Signatures[0].Format = "none" },
		"empty signature":         func(e *Envelope) { e.Signatures[0].Value = "" },
		"no base64":               func(e *Envelope) { e.Signatures[0].Value = "!" },
		"no SSH signature":        func(e *Envelope) { e.Signatures[0].Format = SSHSIG },
		"bits moved to namespace": func(e *Envelope) { e.Payload = []byte("text\x00") },
	} {
		e := signed(t, "n", "text", a, b)
		change(&e)
		if _, by, err := e.Verify("n", keys); err == nil {
			t.Errorf("%s: verified by %v", name, by)
		}
	}
}

// TestSSHKeygen: what the real ssh-keygen signs is verified, and for nothing
// else.
func TestSSHKeygen(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("needs ssh-keygen")
	}
	for _, kind := range [][]string{{"ed25519"}, {"ecdsa", "-b", "256"}, {"ecdsa", "-b", "521"}, {"rsa", "-b", "2048"}} {
		dir := t.TempDir()
		file := filepath.Join(dir, "key")
		run(t, keygen, append([]string{"-q", "-N", "", "-f", file, "-t"}, kind...)...)
		text := filepath.Join(dir, "text")
		if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, keygen, "-q", "-Y", "sign", "-n", "space", "-f", file, text)
		armored, err := os.ReadFile(text + ".sig")
		if err != nil {
			t.Fatal(err)
		}
		line, err := os.ReadFile(file + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		public, err := ParseKey(string(line))
		if err != nil {
			t.Fatal(err)
		}
		keys := []Key{{Name: "a", PublicKey: public}}
		e := Envelope{Payload: []byte("text"), Signatures: []Signature{{SSHSIG, ssh.FingerprintSHA256(public), string(armored)}}}
		if _, by, err := e.Verify("space", keys); err != nil || len(by) != 1 {
			t.Errorf("%v: %v", kind, err)
		}
		if _, _, err := e.Verify("other", keys); err == nil {
			t.Errorf("%v: verified for another namespace", kind)
		}
		e.Payload = []byte("texts")
		if _, _, err := e.Verify("space", keys); err == nil {
			t.Errorf("%v: verified for another text", kind)
		}
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

func TestParseKey(t *testing.T) {
	_, key := newKey(t, "a")
	line := string(ssh.MarshalAuthorizedKey(key.PublicKey))
	if _, err := ParseKey(line); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		"", "x", "ssh-ed25519", "ssh-ed25519 AAAA", `command="x" ` + line, line + line,
		"ssh-dss AAAAB3NzaC1kc3MAAACBAP", strings.Replace(line, "ssh-ed25519", "ssh-rsa", 1),
	} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}

// FuzzParse: no text that somebody makes up is verified.
func FuzzParse(f *testing.F) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	sshKey, err := ssh.NewPublicKey(public)
	if err != nil {
		f.Fatal(err)
	}
	s, err := Sign("n", []byte("text"), private)
	if err != nil {
		f.Fatal(err)
	}
	text, err := Envelope{Payload: []byte("text"), Signatures: []Signature{s}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"payload":"","signatures":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := Parse(text)
		if err != nil {
			return
		}
		if payload, _, err := e.Verify("n", []Key{{PublicKey: sshKey}}); err == nil && string(payload) != "text" {
			t.Fatalf("%q is verified", payload)
		}
	})
}
