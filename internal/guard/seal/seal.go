// Package seal signs and verifies: Ed25519, and SSH signatures as ssh-keygen -Y
// sign makes them.
//
// A signature is over a namespace and a payload, so that what was signed for
// one purpose counts for no other. For "sshsig" the namespace is that of the
// SSH signature (openssh/PROTOCOL.sshsig). For "ed25519" the signed bytes are
//
//	"lifeboat-seal-v1" 00
//	length of the namespace, 8 bytes big endian; the namespace
//	length of the payload, 8 bytes big endian; the payload
package seal

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/lifeboat-db/lifeboat/internal/guard/strictjson"
)

// ErrSignature is wrapped by everything that Verify returns.
var ErrSignature = errors.New("signature")

// Formats of signatures.
const (
	Ed25519 = "ed25519"
	SSHSIG  = "sshsig"
)

// maxSignatures bounds the work that one envelope can ask for.
const maxSignatures = 16

// Envelope is a payload and who has signed it.
type Envelope struct {
	Payload    []byte      `json:"payload"` // the exact signed bytes; base64 in JSON
	Signatures []Signature `json:"signatures"`
}

// Signature is one signature of an envelope's payload.
type Signature struct {
	Format string `json:"format"`
	Key    string `json:"key"`       // SHA256:... fingerprint of the public key
	Value  string `json:"signature"` // base64 for ed25519, armored text for sshsig
}

// Key is a public key that counts, whose it is, and what for.
type Key struct {
	Name      string
	Roles     []string
	PublicKey ssh.PublicKey
}

// Has reports whether the key's owner has a role.
func (k Key) Has(role string) bool { return slices.Contains(k.Roles, role) }

// ParseKey reads a line of an OpenSSH public key file. Options before the key,
// and certificates, are refused: their restrictions would not be heeded.
func ParseKey(line string) (ssh.PublicKey, error) {
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return nil, err
	}
	if len(options) > 0 || len(bytes.TrimSpace(rest)) > 0 { //check:seal-plain-key
		return nil, errors.New("a key is one line without options")
	}
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoRSA:
		return key, nil
	}
	return nil, fmt.Errorf("keys of type %s are not accepted", key.Type())
}

// Parse reads an envelope.
func Parse(text []byte) (Envelope, error) {
	var e Envelope
	if err := strictjson.Decode(text, &e); err != nil {
		return Envelope{}, fmt.Errorf("%w: envelope: %w", ErrSignature, err)
	}
	return e, nil
}

// Encode writes an envelope.
func (e Envelope) Encode() ([]byte, error) { return strictjson.Encode(e) }

func encoded(namespace string, payload []byte) []byte {
	b := []byte("lifeboat-seal-v1\x00")
	for _, part := range [][]byte{[]byte(namespace), payload} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

// Sign signs with an Ed25519 key.
func Sign(namespace string, payload []byte, signer crypto.Signer) (Signature, error) {
	public, err := ssh.NewPublicKey(signer.Public())
	if err != nil {
		return Signature{}, err
	}
	if public.Type() != ssh.KeyAlgoED25519 {
		return Signature{}, fmt.Errorf("key of type %s: this signs with ed25519; for others use ssh-keygen -Y sign", public.Type())
	}
	value, err := signer.Sign(rand.Reader, encoded(namespace, payload), crypto.Hash(0))
	if err != nil {
		return Signature{}, err
	}
	return Signature{Format: Ed25519, Key: ssh.FingerprintSHA256(public), Value: base64.StdEncoding.EncodeToString(value)}, nil
}

// Verify returns the payload and the owners of the keys that have signed it,
// each key once. One signature that is not good spoils all.
func (e Envelope) Verify(namespace string, keys []Key) (payload []byte, by []Key, err error) {
	if namespace == "" { //check:seal-namespace
		return nil, nil, fmt.Errorf("%w: no namespace", ErrSignature)
	}
	if len(e.Signatures) == 0 { //check:seal-unsigned
		return nil, nil, fmt.Errorf("%w: there is none", ErrSignature)
	}
	if len(e.Signatures) > maxSignatures { //check:seal-too-many
		return nil, nil, fmt.Errorf("%w: %d of them, at most %d", ErrSignature, len(e.Signatures), maxSignatures)
	}
	for i, s := range e.Signatures {
		key, err := s.verify(namespace, e.Payload, keys)
		if err != nil { //check:seal-every-signature
			return nil, nil, fmt.Errorf("%w %d: %w", ErrSignature, i+1, err)
		}
		if !slices.ContainsFunc(by, func(k Key) bool { return Same(k.PublicKey, key.PublicKey) }) { //allow:seal-key-counts-once
			by = append(by, key)
		}
	}
	return e.Payload, by, nil
}

// Same reports whether two public keys are the same.
func Same(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

func (s Signature) verify(namespace string, payload []byte, keys []Key) (Key, error) {
	i := slices.IndexFunc(keys, func(k Key) bool { return ssh.FingerprintSHA256(k.PublicKey) == s.Key })
	if i < 0 { //check:seal-known-key
		return Key{}, fmt.Errorf("key %s is not listed", s.Key)
	}
	switch s.Format {
	case Ed25519:
		return keys[i], s.verifyEd25519(namespace, payload, keys[i].PublicKey)
	case SSHSIG:
		return keys[i], s.verifySSH(namespace, payload, keys[i].PublicKey)
	}
	return Key{}, fmt.Errorf("format %q is unknown", s.Format)
}

func (s Signature) verifyEd25519(namespace string, payload []byte, key ssh.PublicKey) error {
	wrapped, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return fmt.Errorf("key of type %s signs by SSH only", key.Type())
	}
	public, ok := wrapped.CryptoPublicKey().(ed25519.PublicKey)
	if !ok {
		return fmt.Errorf("key of type %s does not sign with ed25519", key.Type())
	}
	value, err := base64.StdEncoding.Strict().DecodeString(s.Value)
	if err != nil {
		return err
	}
	if !ed25519.Verify(public, encoded(namespace, payload), value) { //check:seal-ed25519
		return errors.New("it is not over this text, or not by this key")
	}
	return nil
}

func (s Signature) verifySSH(namespace string, payload []byte, key ssh.PublicKey) error {
	parsed, err := sshsig.Unarmor([]byte(s.Value))
	if err != nil {
		return err
	}
	// It checks key, namespace and hash, and takes sha256 and sha512 only.
	if err := sshsig.Verify(bytes.NewReader(payload), parsed, key, parsed.HashAlgorithm, namespace); err != nil { //check:seal-sshsig
		return err
	}
	return nil
}
