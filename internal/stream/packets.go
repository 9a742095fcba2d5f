package stream

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// packets takes a server's answer apart: packets of a length of 3 bytes, a number
// of 1 that counts from 1 and begins anew behind 255, and that many bytes; what
// is longer than 2^24-2 bytes goes on in the next one. It reads as much as there
// is, and hands the bytes out where they lie.
//
// Invariant: buf[start:end] was read and not handed out; between two calls it is
// no longer than readSize.
type packets struct {
	r          io.Reader
	number     byte // of the next packet
	buf        []byte
	start, end int
	long       []byte // a payload of several packets
}

const (
	packetHeader = 4
	longest      = 1<<24 - 1 // of the payload of one packet; the next one goes on with it
	readSize     = 256 << 10
	// keep is the largest buffer that is kept; one huge event may make a larger
	// one.
	keep = 4 << 20
)

func newPackets(r io.Reader) packets { return packets{r: r, number: 1, buf: make([]byte, readSize)} }

// next returns the next payload. It is valid until the next call.
func (p *packets) next() ([]byte, error) {
	p.forget()
	payload, err := p.one()
	if err != nil || len(payload) < longest {
		return payload, err
	}
	for len(payload) == longest {
		p.long = append(p.long, payload...)
		if payload, err = p.one(); err != nil {
			return nil, begun(err)
		}
	}
	p.long = append(p.long, payload...)
	return p.long, nil
}

// forget gives up what a huge event has made.
func (p *packets) forget() {
	p.long = p.long[:0]
	if cap(p.long) > keep {
		p.long = nil
	}
	if len(p.buf) > keep {
		buf := make([]byte, readSize) // more was not read ahead
		p.end = copy(buf, p.buf[p.start:p.end])
		p.buf, p.start = buf, 0
	}
}

func (p *packets) one() ([]byte, error) {
	if err := p.fill(packetHeader); err != nil {
		return nil, err
	}
	header := binary.LittleEndian.Uint32(p.buf[p.start:])
	size, number := int(header&longest), byte(header>>24)
	if number != p.number {
		return nil, fmt.Errorf("%w: packet %d, and %d was to come", binlog.ErrCorrupt, number, p.number)
	}
	p.number++
	if err := p.fill(packetHeader + size); err != nil {
		return nil, err
	}
	payload := p.buf[p.start+packetHeader:][:size]
	p.start += packetHeader + size
	return payload, nil
}

// fill reads until n bytes lie in the buffer, and not far beyond.
func (p *packets) fill(n int) error {
	if p.end-p.start >= n {
		return nil
	}
	if p.start+n > len(p.buf) || p.start == p.end {
		buf := p.buf
		if n > len(buf) {
			buf = make([]byte, 1<<bits.Len(uint(n)))
		}
		p.end = copy(buf, p.buf[p.start:p.end])
		p.buf, p.start = buf, 0
	}
	need := n - (p.end - p.start)
	room := p.buf[p.end:min(len(p.buf), p.end+max(need, readSize))]
	first := p.end == p.start
	got, err := io.ReadAtLeast(p.r, room, need)
	p.end += got
	if err != nil && !first {
		return begun(err)
	}
	return err
}

// begun is an error in a packet that was begun: it is not the end of the stream.
func begun(err error) error {
	if err == io.EOF { //nolint:errorlint // of the reader itself
		return io.ErrUnexpectedEOF
	}
	return err
}
