package stream

import (
	"net"
	"time"
)

// gatherer is a connection that does not wake for every transaction. When it
// has read all that was there, it lets more gather before it reads again: a
// server sends each commit by itself, and thousands of wake-ups in a second
// would take the source's own processors. While much is coming it does not wait
// at all. What it has not read lies in the kernel; if that is full the source's
// dump thread waits, and no commit does.
//
// It lies below encryption: what comes out of that comes in pieces of 16 KiB,
// which do not tell whether there is more.
type gatherer struct {
	net.Conn
	silence time.Duration // after which the other side counts as dead; 0: as the connection says
	pause   time.Duration // 0: none

	drained bool // the last read has taken all that was there
	got     int  // bytes since the last pause
	pauses  int  // so far
}

const (
	// pause is how long a commit may lie in the kernel.
	pause = 10 * time.Millisecond
	// plenty, in bytes, is so much for one pause that the next is left out.
	plenty = 64 << 10
)

// Read waits for what comes, for as long as silence.
func (g *gatherer) Read(p []byte) (int, error) {
	if g.drained {
		if g.got < plenty && g.pause > 0 {
			g.pauses++
			time.Sleep(g.pause)
		}
		g.got = 0
	}
	if g.silence > 0 {
		if err := g.SetReadDeadline(time.Now().Add(g.silence)); err != nil {
			return 0, err
		}
	}
	n, err := g.Conn.Read(p)
	g.drained, g.got = n < len(p), g.got+n
	return n, err
}
