package repository

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"filippo.io/age"
)

func fuzzSealer(f *testing.F, encrypted bool) *sealer {
	fr, err := newFrames()
	if err != nil {
		f.Fatal(err)
	}
	s := &sealer{frames: fr}
	if encrypted {
		k := newKey(f)
		text, err := os.ReadFile(k.file)
		if err != nil {
			f.Fatal(err)
		}
		if s.identities, err = age.ParseIdentities(bytes.NewReader(text)); err != nil {
			f.Fatal(err)
		}
		if s.recipients, err = parseRecipients([]string{k.public}); err != nil {
			f.Fatal(err)
		}
	}
	return s
}

// FuzzOpen: no bytes make the decoder panic, and what it returns has the size
// and the hash of the header.
func FuzzOpen(f *testing.F) {
	s := fuzzSealer(f, false)
	for _, plain := range []string{"", "x", strings.Repeat("rows ", 200), strings.Repeat("\x00", 100_000)} {
		stored, err := s.seal("test", map[string]int{"n": len(plain)}, []byte(plain))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(stored)
	}
	f.Fuzz(func(t *testing.T, stored []byte) {
		h, plain, err := s.open(stored)
		if err != nil {
			return
		}
		if h.Encryption != encryptionNone || int64(len(plain)) != h.Size || hexSum(plain) != h.SHA256 {
			t.Errorf("%d bytes, header %+v", len(plain), h)
		}
	})
}

// FuzzOpenEncrypted: of an object that was encrypted, no other bytes give
// anything but an error. A part of it is replaced by other bytes.
func FuzzOpenEncrypted(f *testing.F) {
	s := fuzzSealer(f, true)
	stored, err := s.seal("test", nil, []byte(strings.Repeat("rows ", 200)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), []byte("lifeboat"))
	f.Add(uint16(300), []byte{0})
	f.Fuzz(func(t *testing.T, at uint16, other []byte) {
		from := int(at) % len(stored)
		to := min(from+len(other), len(stored))
		changed := append(append(bytes.Clone(stored[:from]), other...), stored[to:]...)
		if _, _, err := s.open(changed); err == nil && !bytes.Equal(changed, stored) {
			t.Errorf("%d bytes from %d on are other ones", len(other), from)
		}
	})
}

// FuzzFrames: cutFrame finds the same frames as the decoder.
func FuzzFrames(f *testing.F) {
	s := fuzzSealer(f, false)
	f.Add([]byte("rows"), []byte{})
	f.Add([]byte{}, s.frames.append(nil, []byte("rows")))
	f.Fuzz(func(t *testing.T, plain, body []byte) {
		if got, err := s.frames.decode(s.frames.append(nil, plain), int64(len(plain))); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%q became %q: %v", plain, got, err)
		}
		n, content, err := cutFrame(body)
		if err != nil {
			return
		}
		if n < 1 || n > len(body) || content < 0 || content > maxFrame {
			t.Errorf("a frame of %d bytes of %d, content %d", n, len(body), content)
		}
	})
}
