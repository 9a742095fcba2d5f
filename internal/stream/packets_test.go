package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// packed is what a server sends for payloads.
func packed(payloads ...[]byte) (sent []byte) {
	number := byte(1)
	for _, rest := range payloads {
		for {
			n := min(len(rest), longest)
			sent = binary.LittleEndian.AppendUint32(sent, uint32(n)|uint32(number)<<24)
			sent = append(sent, rest[:n]...)
			number++
			rest = rest[n:]
			if n < longest {
				break
			}
		}
	}
	return sent
}

// TestPackets: what was sent comes out, in whatever pieces it arrives, and none of
// it before it is there as a whole.
func TestPackets(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var payloads [][]byte
	for _, n := range []int{0, 1, longest - 1, longest, 3, longest + 1, 2 * longest, 0} {
		payloads = append(payloads, bytes.Repeat([]byte{byte(r.Uint32())}, n))
	}
	for range 600 { // the number begins anew
		payloads = append(payloads, bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(1<<r.IntN(20))))
	}
	sent := packed(payloads...)
	p := newPackets(&pieces{r: bytes.NewReader(sent), rand: r})
	for i, want := range payloads {
		got, err := p.next()
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("payload %d of %d bytes: %d bytes, %v", i, len(want), len(got), err)
		}
		if len(want) < keep/4 && len(p.buf) > keep {
			t.Fatalf("payload %d of %d bytes: a buffer of %d", i, len(want), len(p.buf))
		}
	}
	if _, err := p.next(); err != io.EOF { //nolint:errorlint // as it is
		t.Errorf("at the end: %v", err)
	}
	if len(p.buf) > keep || cap(p.long) > keep {
		t.Errorf("%d and %d bytes are kept", len(p.buf), cap(p.long))
	}
}

// pieces gives random parts of what is read.
type pieces struct {
	r    io.Reader
	rand *rand.Rand
}

func (p *pieces) Read(b []byte) (int, error) { return p.r.Read(b[:1+p.rand.IntN(len(b))]) }

// TestPacketsEnd: only between two packets is it an end.
func TestPacketsEnd(t *testing.T) {
	sent := packed([]byte("abc"), []byte("defgh"))
	for n := range len(sent) {
		p := newPackets(iotest.OneByteReader(bytes.NewReader(sent[:n])))
		var err error
		for err == nil {
			_, err = p.next()
		}
		want := io.ErrUnexpectedEOF
		if n == 0 || n == packetHeader+3 {
			want = io.EOF
		}
		if !errors.Is(err, want) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	long := packed(make([]byte, longest))
	p := newPackets(bytes.NewReader(long[:len(long)-packetHeader]))
	if _, err := p.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a payload without its last packet: %v", err)
	}
}

// TestPacketsLost: a packet that is missing is noticed by the numbers.
func TestPacketsLost(t *testing.T) {
	sent := packed([]byte("a"), []byte("b"), []byte("c"))
	p := newPackets(bytes.NewReader(append(sent[:5:5], sent[10:]...)))
	if _, err := p.next(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.next(); !errors.Is(err, binlog.ErrCorrupt) {
		t.Error(err)
	}
}

// FuzzPackets: whatever a server sends, what comes out of it is what it was made
// of.
func FuzzPackets(f *testing.F) {
	f.Add(packed([]byte("abc"), nil, []byte("de")))
	f.Add([]byte{255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, sent []byte) {
		p := newPackets(iotest.HalfReader(bytes.NewReader(sent)))
		var got [][]byte
		for {
			payload, err := p.next()
			if err != nil {
				break
			}
			got = append(got, bytes.Clone(payload))
		}
		if again := packed(got...); !bytes.HasPrefix(sent, again) {
			t.Errorf("%x became %x", sent, again)
		}
	})
}
