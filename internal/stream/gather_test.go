package stream

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// counted counts what is read of it.
type counted struct {
	net.Conn
	reads int
}

func (c *counted) Read(p []byte) (int, error) {
	c.reads++
	return c.Conn.Read(p)
}

// What is sent in many small pieces is read in few: while the reader pauses,
// more gathers.
func TestGatherer(t *testing.T) {
	const pieces, size = 500, 50
	here, there := unixPair(t)
	raw := &counted{Conn: here}
	g := &gatherer{Conn: raw, silence: time.Minute, pause: 100 * time.Millisecond}
	go func() {
		for range pieces {
			_, _ = there.Write(make([]byte, size))
			time.Sleep(50 * time.Microsecond)
		}
		_ = there.Close()
	}()
	got, err := io.ReadAll(onlyReader{g})
	if err != nil || len(got) != pieces*size {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if raw.reads > pieces/4 {
		t.Errorf("%d reads of %d pieces", raw.reads, pieces)
	}
}

// A side that is silent is an error, and not for ever.
func TestSilence(t *testing.T) {
	here, _ := unixPair(t)
	g := &gatherer{Conn: here, silence: 50 * time.Millisecond}
	if _, err := g.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
}

// onlyReader hides the connection's other methods.
type onlyReader struct{ io.Reader }

func unixPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s") //nolint:noctx // at once
	if err != nil {
		t.Fatal(err)
	}
	if a, err = net.Dial("unix", l.Addr().String()); err != nil { //nolint:noctx // at once
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(a.Close(), b.Close(), l.Close()) })
	return a, b
}
