package clone

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/lifeboat-db/lifeboat/internal/dbconn/rawconn"
)

// wire is a connection that speaks the clone protocol. Login and encryption are
// go-mysql's, the rest is ours.
//
// A command is a packet: its number (1 byte), its body. A response as well. Each
// packet begins a new sequence (sql/server_component/clone_protocol_service.cc,
// which calls net_new_transaction before every one).
type wire struct {
	conn    *client.Conn
	ctx     context.Context // of the clone; a wire lives as long
	stop    func() bool     // of the watch of ctx
	silence time.Duration
	packet  bytes.Buffer
}

// connect logs in and leaves the ordinary protocol with COM_CLONE.
func connect(ctx context.Context, o Options) (_ *wire, err error) {
	conn, err := rawconn.Login(ctx, o.DSN, o.Silence, nil)
	if err != nil {
		return nil, classify(fmt.Errorf("connect: %w", err))
	}
	w := &wire{conn: conn, ctx: ctx, silence: o.Silence}
	w.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	if err := w.enter(); err != nil {
		return nil, errors.Join(classify(err), w.close())
	}
	return w, nil
}

// enter has the server hand the connection to its clone plugin. Before that, the
// session's timeouts are set: the connection for acknowledgements is idle for as
// long as a state lasts (wait_timeout); and the donor waits as long for us to read
// as we wait for it (net_write_timeout).
func (w *wire) enter() error {
	seconds := max(1, int64(w.silence/time.Second))
	settings := fmt.Sprintf("SET SESSION wait_timeout = 604800, SESSION net_write_timeout = %d", seconds)
	if _, err := w.conn.Execute(settings); err != nil {
		return fmt.Errorf("%s: %w", settings, err)
	}
	if err := w.send(mysql.COM_CLONE, nil); err != nil {
		return err
	}
	if _, err := w.conn.ReadOKPacket(); err != nil {
		return fmt.Errorf("COM_CLONE: %w", err)
	}
	return nil
}

// wait sets how long the next read or write may take. When the context has ended
// they take no time, but the connection stays, to tell the donor.
func (w *wire) wait(d time.Duration) error {
	if err := w.conn.SetDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	return w.ctx.Err() // afterwards: whichever comes later, the end wins
}

// detach frees the connection from its context, for the last words.
func (w *wire) detach(silence time.Duration) {
	w.stop()
	w.ctx, w.silence = context.Background(), silence
}

func (w *wire) close() error {
	w.stop()
	err := w.conn.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (w *wire) send(command byte, body []byte) error {
	if err := w.wait(w.silence); err != nil {
		return err
	}
	w.conn.ResetSequence()
	b := make([]byte, 4, 4+1+len(body)) // 4 bytes for the packet's header
	b = append(b, command)
	return w.conn.WritePacket(append(b, body...))
}

// receive waits for a response; its body is valid until the next call. patience
// is what the donor may take beyond the silence.
func (w *wire) receive(patience time.Duration) (response, []byte, error) {
	if err := w.wait(w.silence + patience); err != nil {
		return 0, nil, err
	}
	const keep = 8 << 20 // a buffer that one huge block has made is not kept
	if w.packet.Cap() > keep {
		w.packet = bytes.Buffer{}
	}
	w.packet.Reset()
	w.conn.ResetSequence()
	if err := w.conn.ReadPacketTo(&w.packet); err != nil {
		return 0, nil, err
	}
	data := w.packet.Bytes()
	switch {
	case len(data) == 0:
		return 0, nil, fmt.Errorf("%w: an empty packet", ErrProtocol)
	case data[0] == mysql.ERR_HEADER: // the server, not the plugin
		return 0, nil, classify(w.conn.HandleErrorPacket(data))
	case response(data[0]) == resError:
		return 0, nil, classify(remoteError(data[1:]))
	}
	return response(data[0]), data[1:], nil
}

// remoteError is RES_ERROR: the server's error number (4 bytes, little endian)
// and its text.
func remoteError(body []byte) error {
	if len(body) < 4 {
		return fmt.Errorf("%w: RES_ERROR of %d bytes", ErrProtocol, len(body))
	}
	return &mysql.MyError{Code: uint16(binary.LittleEndian.Uint32(body)), Message: string(body[4:]), State: "HY000"} //nolint:gosec // the server's numbers are of 16 bits
}
