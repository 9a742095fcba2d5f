package stream

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
	"github.com/lifeboat-db/lifeboat/internal/dbconn/rawconn"
	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// wire is a connection that speaks the replication protocol. Login and
// encryption are go-mysql's, the rest is ours.
type wire struct {
	conn    *client.Conn
	gather  *gatherer   // what conn reads from, below encryption
	stop    func() bool // of the context's watch
	packets             // the answer to the dump command
}

func connect(ctx context.Context, o Options) (*wire, error) {
	w := &wire{}
	conn, err := rawconn.Login(ctx, o.DSN, silence*o.Heartbeat, func(c net.Conn) net.Conn {
		w.gather = &gatherer{Conn: c}
		return w.gather
	})
	if err != nil {
		return nil, classify(fmt.Errorf("connect: %w", err))
	}
	w.conn, w.gather.silence = conn, silence*o.Heartbeat
	w.stop = context.AfterFunc(ctx, func() { _ = hangUp(conn) })
	return w, nil
}

// hangUp closes a connection on which another goroutine may be reading. The
// client's own Close writes to fields that the reader uses.
func hangUp(c *client.Conn) error { return c.Conn.Conn.Close() }

func (w *wire) close() error {
	w.stop()
	err := hangUp(w.conn)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// dump prepares the session and asks for the log. The account is not
// registered as a replica: nothing that counts replicas counts an archive.
func (w *wire) dump(o Options) error {
	maria, err := w.isMariaDB()
	if err != nil {
		return err
	}
	id := o.ServerID
	if id == 0 {
		id = randomID()
	}
	// The source compares UUIDs to end the connections of a replica that has
	// come back; each of ours is one of its own.
	for _, statement := range []string{
		"SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, @source_binlog_checksum = @@GLOBAL.binlog_checksum",
		fmt.Sprintf("SET @master_heartbeat_period = %d, @source_heartbeat_period = %[1]d", o.Heartbeat.Nanoseconds()),
		"SET @slave_uuid = UUID(), @replica_uuid = @slave_uuid",
		"SET @mariadb_slave_capability = 4", // GTID events as they are; ignored by MySQL
	} {
		if _, err := w.conn.Execute(statement); err != nil {
			return classify(fmt.Errorf("%s: %w", statement, err))
		}
	}
	if o.After == "" {
		return w.request(request(o.From), id, maria)
	}
	statement := "SET @slave_connect_state = '" + o.After + "', @slave_gtid_strict_mode = 0, @slave_gtid_ignore_duplicates = 0"
	if _, err := gtid.ParseSet(gtid.MariaDB, o.After); err != nil || !maria {
		return fmt.Errorf("a stream behind GTIDs %.200q: they have to be MariaDB's, and so has the server: %w", o.After, err)
	}
	if _, err := w.conn.Execute(statement); err != nil {
		return classify(fmt.Errorf("%s: %w", statement, err))
	}
	return w.request(binlog.Position{Offset: firstOffset}, id, maria)
}

func (w *wire) isMariaDB() (bool, error) {
	r, err := w.conn.Execute("SELECT @@version, COUNT(*) FROM information_schema.system_variables WHERE variable_name = 'aria_block_size'")
	if err == nil {
		defer r.Close()
		n, err := r.GetInt(0, 1)
		return n > 0, err
	}
	// MySQL has no such table.
	if code(err) == mysql.ER_UNKNOWN_TABLE || code(err) == mysql.ER_NO_SUCH_TABLE {
		return false, nil
	}
	return false, classify(fmt.Errorf("ask the server's vendor: %w", err))
}

// randomID is a replica's number that nobody is likely to have given to one.
func randomID() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint32(b[:]) | 1<<31
}

// request sends COM_BINLOG_DUMP: position 4, flags 2, server id 4, file name.
// Flag 2 is MariaDB's BINLOG_SEND_ANNOTATE_ROWS_EVENT, without which it leaves
// these events out.
func (w *wire) request(from binlog.Position, id uint32, maria bool) error {
	if from.Offset < firstOffset || from.Offset > 1<<32-1 {
		return fmt.Errorf("%w: the protocol has 32 bits for the offset, it is %d", ErrPosition, from.Offset)
	}
	var flags uint16
	if maria {
		flags = 2
	}
	w.conn.ResetSequence()
	b := make([]byte, 4, 32+len(from.File)) // 4 bytes for the packet's header
	b = append(b, mysql.COM_BINLOG_DUMP)
	b = binary.LittleEndian.AppendUint32(b, uint32(from.Offset)) //nolint:gosec // checked above
	b = binary.LittleEndian.AppendUint16(b, flags)
	b = binary.LittleEndian.AppendUint32(b, id)
	w.gather.pause = pause
	w.packets = newPackets(w.conn.Conn.Conn) // conn has read all that was sent before
	return classify(w.conn.WritePacket(append(b, from.File...)))
}

// event returns the next event; its bytes are valid until the next call.
func (w *wire) event() ([]byte, error) {
	data, err := w.next()
	if err != nil {
		return nil, err
	}
	switch {
	case len(data) == 0:
		return nil, fmt.Errorf("%w: an empty packet", binlog.ErrCorrupt)
	case data[0] == mysql.OK_HEADER:
		return data[1:], nil
	case data[0] == mysql.ERR_HEADER:
		return nil, classify(w.conn.HandleErrorPacket(data))
	case data[0] == mysql.EOF_HEADER:
		return nil, errors.New("the source has ended the stream")
	default:
		return nil, fmt.Errorf("%w: a packet of kind %d", binlog.ErrCorrupt, data[0])
	}
}

// classify gives an error of the source the sentinel that it stands for.
func classify(err error) error {
	switch code(err) {
	case mysql.ER_ACCESS_DENIED_ERROR, mysql.ER_SPECIFIC_ACCESS_DENIED_ERROR, mysql.ER_DBACCESS_DENIED_ERROR, accountLocked:
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case mysql.ER_MASTER_FATAL_ERROR_READING_BINLOG:
		return fmt.Errorf("%w: %w", fatal(err.Error()), err)
	default:
		return err
	}
}

// fatal tells the causes of ER_MASTER_FATAL_ERROR_READING_BINLOG apart, which
// only its text does (MySQL 9.7 sql/rpl_binlog_sender.cc, MariaDB 10.11
// sql/sql_repl.cc).
func fatal(text string) error {
	for part, sentinel := range map[string]error{
		"Could not find first log file name": ErrPurged,
		"Could not open log file":            ErrPurged,
		"impossible position":                ErrPosition,
		"position > file size":               ErrPosition,
		"truncated in the middle of event":   ErrTorn,
		"bogus data in log event":            ErrTorn,
		"did not pass":                       ErrTorn, // a checksum
		"not in the master's binlog":         ErrNoGTID,
		"missing the GTID":                   ErrNoGTID,
		"GTID state requested":               ErrNoGTID,
	} {
		if strings.Contains(text, part) {
			return sentinel
		}
	}
	return errSource
}

var errSource = errors.New("the source cannot read its log")

func code(err error) uint16 {
	var e *mysql.MyError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// Flavor is the vendor of the file being read.
func (s *Stream) Flavor() gtid.Flavor { return s.walk.format.Flavor }

// accountLocked is ER_ACCOUNT_HAS_BEEN_LOCKED of MySQL, which go-mysql lacks;
// MariaDB's is 4151.
const accountLocked = 3118
