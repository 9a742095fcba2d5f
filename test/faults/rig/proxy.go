package rig

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Action is what a proxy does with a statement.
type Action int

// The actions. CutBefore and CutAfter end all connections, in front of the
// statement or when the server has it but has not answered.
const (
	Pass Action = iota
	CutBefore
	CutAfter
)

// Proxy passes connections on to a server's Unix socket and sees every
// statement. A client packet is length 3, sequence number 1, payload; one with
// sequence number 0 is a command, of which 3 is COM_QUERY.
type Proxy struct {
	upstream string
	listener net.Listener

	mu    sync.Mutex
	hook  func(statement []byte) Action // nil: pass
	conns map[net.Conn]bool
}

// NewProxy starts a proxy for a socket. It ends with the test.
func NewProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "lbp") // a socket's path is short
	must(t, err)
	p := &Proxy{upstream: upstream, conns: map[net.Conn]bool{}}
	p.listener, err = new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	must(t, err)
	t.Cleanup(func() {
		_ = p.listener.Close()
		p.Cut()
		_ = os.RemoveAll(dir)
	})
	go p.accept()
	return p
}

// DSN is the data source name of the server behind the proxy.
func (p *Proxy) DSN() string { return "root@unix(" + p.listener.Addr().String() + ")/" }

// Hook sets the function that decides on each statement. It is called for one
// statement at a time and must not keep it.
func (p *Proxy) Hook(hook func(statement []byte) Action) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hook = hook
}

// Cut ends all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut()
}

func (p *Proxy) cut() {
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).Dial("unix", p.upstream)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		end := func() { p.drop(client); p.drop(server) }
		go func() { _, _ = io.Copy(client, server); end() }()
		go func() { _ = p.forward(server, client); end() }()
	}
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = c.Close()
	delete(p.conns, c)
}

var errCut = errors.New("cut")

// forward passes packets of the client on.
func (p *Proxy) forward(server io.Writer, client io.Reader) error {
	in := bufio.NewReaderSize(client, 1<<16)
	var packet []byte
	for {
		head, err := in.Peek(4)
		if err != nil {
			return err
		}
		size := 4 + int(binary.LittleEndian.Uint32(append(head[:3:3], 0)))
		if cap(packet) < size {
			packet = make([]byte, size)
		}
		packet = packet[:size]
		if _, err := io.ReadFull(in, packet); err != nil {
			return err
		}
		if err := p.packet(server, packet); err != nil {
			return err
		}
	}
}

func (p *Proxy) packet(server io.Writer, packet []byte) error {
	action := Pass
	if len(packet) > 5 && packet[3] == 0 && packet[4] == 3 {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.hook != nil {
			action = p.hook(packet[5:])
		}
	}
	if action == CutBefore {
		p.cut()
		return errCut
	}
	_, err := server.Write(packet)
	if action == CutAfter {
		p.cut()
		return errCut
	}
	return err
}
