package clone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// session is a clone in progress.
type session struct {
	donor *donor
	wires struct{ data, ack *wire }
	loc   locator
	head  head
	cat   *catalog
	out   *writer

	patience time.Duration // with statements that keep commits from being held
}

// begin connects and has the donor make a snapshot.
func begin(ctx context.Context, o Options, d *donor, w io.Writer) (_ *session, err error) {
	s := &session{donor: d, patience: o.DDLTimeout, cat: newCatalog(), head: head{Version: d.version, Settings: d.settings}}
	if s.wires.data, err = connect(ctx, o); err != nil {
		return nil, err
	}
	if s.wires.ack, err = connect(ctx, o); err != nil {
		return nil, errors.Join(err, s.wires.data.close())
	}
	if err = s.init(o); err == nil {
		s.out, err = newWriter(w, s.head)
	}
	if err != nil {
		s.abort()
		return nil, err
	}
	return s, nil
}

// init is COM_INIT: the donor waits for its backup lock, looks at all tables,
// and says what it is.
func (s *session) init(o Options) error {
	if err := s.wires.data.send(comInit, initCommand(o.DDLTimeout)); err != nil {
		return fmt.Errorf("COM_INIT: %w", err)
	}
	for {
		// The same as a recipient's patience, which adds 5 minutes.
		r, body, err := s.wires.data.receive(o.DDLTimeout + 5*time.Minute)
		if err == nil && r == resComplete {
			break
		}
		if err == nil {
			err = s.learn(r, body)
		}
		if err != nil {
			return fmt.Errorf("COM_INIT: %w", err)
		}
	}
	if s.loc == nil {
		return fmt.Errorf("COM_INIT: %w: no locator", ErrProtocol)
	}
	return nil
}

// learn takes a response to COM_INIT.
func (s *session) learn(r response, body []byte) (err error) {
	switch r {
	case resLocators:
		s.loc, err = decodeLocators(body)
	case resConfig, resConfigV3, resPluginV2:
		var name, value string
		if name, value, err = decodePair(body); err != nil {
			return err
		}
		switch {
		case r == resConfig:
			s.head.Settings[name] = value
		case r == resPluginV2 && value != "": // others are a part of the server
			s.head.Settings["plugin:"+name] = value
		}
	case resPlugin, resCollation: // a server of the same version has them
	default:
		err = fmt.Errorf("%w: response %d", ErrProtocol, r)
	}
	return err
}

// run is COM_EXECUTE: everything comes.
func (s *session) run(ctx context.Context) error {
	if err := s.wires.data.send(comExecute, nil); err != nil {
		return fmt.Errorf("COM_EXECUTE: %w", err)
	}
	for {
		r, body, err := s.wires.data.receive(0)
		if err == nil && r == resComplete {
			break
		}
		if err == nil {
			err = s.take(ctx, r, body)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.cat.state, err)
		}
	}
	files, err := s.cat.finish()
	if err != nil {
		return err
	}
	return s.out.end(len(files))
}

// take takes a response to COM_EXECUTE: a descriptor behind the engine (1) and
// the number of its locator (1).
func (s *session) take(ctx context.Context, r response, body []byte) error {
	if r != resDescriptor || len(body) < 2 {
		return fmt.Errorf("%w: response %d of %d bytes", ErrProtocol, r, len(body))
	}
	if body[0] != engineInnoDB || body[1] != 0 {
		return unsupported("upgrade lifeboat", "the data of an engine with number %d (locator %d)", body[0], body[1])
	}
	descriptor := body[2:]
	c, err := s.cat.add(descriptor)
	if err != nil {
		return err
	}
	if err := s.out.record(recordDescriptor, descriptor); err != nil {
		return err
	}
	switch c.kind {
	case changeBegin:
		return s.begun(ctx)
	case changeEnd:
		return s.acknowledge(ctx, ackOf(descriptor))
	case changeData:
		return s.copy(c)
	default:
		return nil
	}
}

// copy takes the data that a descriptor has announced.
func (s *session) copy(c change) error {
	r, body, err := s.wires.data.receive(0)
	if err != nil {
		return fmt.Errorf("%s at %d: %w", c.file, c.data.offset, err)
	}
	if r != resData || len(body) != int(c.data.length) {
		return fmt.Errorf("%w: response %d of %d bytes, announced were %d for %s", ErrProtocol, r, len(body), c.data.length, c.file)
	}
	return s.out.data(body)
}

// begun asks for the upper bound of the copy's point, which is behind when REDO
// COPY begins. Commits need not wait any more.
func (s *session) begun(ctx context.Context) error {
	if s.cat.state != stateRedoCopy {
		return nil
	}
	p, err := s.donor.until(ctx)
	if err == nil {
		err = s.donor.letGo()
	}
	if err == nil && s.donor.mustHold() {
		s.out.taken.Held = time.Since(s.donor.since)
		err = unmoved(s.out.taken.After, p)
	}
	if err == nil {
		err = s.out.point(recordUntil, p)
	}
	if err != nil {
		return err
	}
	return s.out.passOn()
}

// acknowledge lets the donor go on to the next state. The end of PAGE COPY is the
// last thing before the copy's point.
func (s *session) acknowledge(ctx context.Context, ack []byte) error {
	if s.cat.state == statePageCopy {
		if err := s.turn(ctx); err != nil {
			return err
		}
	}
	if err := s.command(s.wires.ack, comAck, ackCommand(0, s.loc, ack)); err != nil {
		return fmt.Errorf("COM_ACK: %w", err)
	}
	return nil
}

// turn asks for the lower bound of the copy's point, and has commits wait if they
// must. Nothing is written from here until they go on.
func (s *session) turn(ctx context.Context) error {
	s.out.keep()
	if s.donor.mustHold() {
		if err := s.donor.hold(ctx, s.patience); err != nil {
			return err
		}
	}
	p, err := s.donor.after(ctx)
	if err != nil {
		return err
	}
	return s.out.point(recordAfter, p)
}

// command sends a command that has no other answer than that it is done.
func (s *session) command(w *wire, command byte, body []byte) error {
	if err := w.send(command, body); err != nil {
		return err
	}
	r, _, err := w.receive(0)
	if err == nil && r != resComplete {
		err = fmt.Errorf("%w: response %d", ErrProtocol, r)
	}
	return err
}

// end has the donor let its snapshot go. The stream is whole by then, so that a
// donor that does not answer any more is no failure.
func (s *session) end() {
	for _, w := range []*wire{s.wires.ack, s.wires.data} {
		_ = s.command(w, comExit, nil)
		_ = w.close()
	}
}

// abortCode is what the donor is told of our errors: ER_INTERNAL_ERROR.
const abortCode = 1815

// abort has the donor give up. Without that, and as after a kill -9 of ours, it
// keeps the snapshot for clone_donor_timeout_after_network_failure minutes and
// hopes that we come back; another clone ends that. If the donor cannot be told
// where it listens, its connections are killed.
func (s *session) abort() {
	const patience = 5 * time.Second
	for _, w := range []*wire{s.wires.data, s.wires.ack} {
		w.detach(patience)
	}
	if !s.tell(time.Now().Add(patience)) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		s.donor.kill(ctx, s.wires.data.conn.GetConnectionID(), s.wires.ack.conn.GetConnectionID())
	}
	_ = s.wires.ack.close()
	_ = s.wires.data.close()
}

// tell acknowledges with an error, and reads what the donor has sent before it
// heard of that. It reports whether the donor has answered.
func (s *session) tell(until time.Time) bool {
	if s.loc == nil || s.command(s.wires.ack, comAck, ackCommand(abortCode, s.loc, nil)) != nil {
		return false
	}
	for time.Now().Before(until) {
		r, _, err := s.wires.data.receive(0)
		if err != nil || r == resComplete {
			var said *mysql.MyError
			return err == nil || errors.As(err, &said)
		}
	}
	return false
}
