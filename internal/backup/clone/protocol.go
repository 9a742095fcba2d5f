package clone

import (
	"encoding/binary"
	"fmt"
	"time"
)

// The commands of the protocol (MySQL 9.7 plugin/clone/include/clone.h).
const (
	comInit    = 1
	comExecute = 4
	comAck     = 5
	comExit    = 6
)

// response is the kind of what the donor says.
type response byte

// The responses. Those of protocol version 0x0103 are not asked for.
const (
	resLocators   response = 1
	resDescriptor response = 2
	resData       response = 3
	resPlugin     response = 4
	resConfig     response = 5
	resCollation  response = 6
	resPluginV2   response = 7
	resConfigV3   response = 8
	resComplete   response = 99
	resError      response = 100
)

// version of the protocol that we offer; the donor takes the lower one of its own
// and this. 0x0100 is 8.0.17's, 0x0101 names the plugins' libraries, 0x0102 sends
// more settings, 0x0103 has JSON in them for upgrades.
const version = 0x0102

// noBackupLock is the flag in the DDL timeout that leaves DDL alone.
const noBackupLock = 1 << 31

// engineInnoDB is legacy_db_type DB_TYPE_INNODB (sql/handler.h).
const engineInnoDB = 12

// locator names a snapshot of an engine. On the wire (plugin/clone/include/
// clone_hton.h, little endian):
//
//	offset  size
//	0       1     engine, a legacy_db_type
//	1       4     length of the locator
//	5       n     the engine's locator: InnoDB's is a descriptor of type 1
type locator []byte

// anySnapshot is InnoDB's locator of no snapshot (clone0desc.cc
// Clone_Desc_Locator, big endian): it says which version of descriptors we read.
//
//	offset  size
//	0       12    header, see descriptor
//	12      8     clone: 0
//	20      8     snapshot: 0
//	28      4     index of the clone: 0
//	32      1     state of the snapshot: 0
//	33      1     1 if the files' metadata has been sent
func anySnapshot() locator {
	const size = 34
	b := appendHeader(nil, size, descLocator)
	return append(b, make([]byte, size-len(b))...)
}

func (l locator) append(b []byte) []byte {
	b = append(b, engineInnoDB)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(l))) //nolint:gosec // from a packet
	return append(b, l...)
}

// initCommand is the body of COM_INIT: version (4), DDL timeout in seconds with
// flag (4), locators. DDL goes on: one that waited for the backup lock would keep
// hold from getting its own (sql/sql_base.cc lock_table_names).
func initCommand(timeout time.Duration) []byte {
	seconds := uint32(timeout / time.Second) //nolint:gosec // Options.complete has checked it
	b := binary.LittleEndian.AppendUint32(nil, version)
	b = binary.LittleEndian.AppendUint32(b, seconds|noBackupLock)
	return anySnapshot().append(b)
}

// ackCommand is the body of COM_ACK: error number (4; 0: all is well), locator,
// length (4) and bytes of the state's descriptor.
func ackCommand(code uint32, l locator, descriptor []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, code)
	b = l.append(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(descriptor))) //nolint:gosec // ours
	return append(b, descriptor...)
}

// decodeLocators reads RES_LOCS: the version that the donor has chosen (4), and
// the locators of its engines, of which only InnoDB's may be there.
func decodeLocators(body []byte) (locator, error) {
	const head = 4 + 1 + 4
	if len(body) < head {
		return nil, fmt.Errorf("%w: RES_LOCS of %d bytes", ErrProtocol, len(body))
	}
	if v := binary.LittleEndian.Uint32(body); v > version {
		return nil, fmt.Errorf("%w: the donor chose version %#x, %#x was offered", ErrProtocol, v, version)
	}
	if body[4] != engineInnoDB {
		return nil, unsupported("upgrade lifeboat", "the data of an engine with number %d", body[4])
	}
	n := binary.LittleEndian.Uint32(body[5:])
	switch rest := body[head:]; {
	case uint64(n) > uint64(len(rest)):
		return nil, fmt.Errorf("%w: a locator of %d bytes in RES_LOCS of %d", ErrProtocol, n, len(body))
	case uint64(n) < uint64(len(rest)):
		return nil, unsupported("upgrade lifeboat", "the data of more engines than InnoDB")
	}
	l := locator(append([]byte(nil), body[head:]...))
	h, err := decodeHeader(l)
	if err == nil && h.kind != descLocator {
		err = fmt.Errorf("%w: %s instead of a locator", ErrProtocol, h.kind)
	}
	return l, err
}

// decodePair reads a name and a value, each of them its length (4, little endian)
// and its bytes, as RES_CONFIG has them.
func decodePair(body []byte) (name, value string, err error) {
	if name, body, err = cutText(body); err != nil {
		return "", "", err
	}
	if value, body, err = cutText(body); err != nil {
		return "", "", err
	}
	if len(body) != 0 {
		return "", "", fmt.Errorf("%w: %d bytes after the value of %q", ErrProtocol, len(body), name)
	}
	return name, value, nil
}

func cutText(b []byte) (string, []byte, error) {
	if len(b) < 4 {
		return "", nil, fmt.Errorf("%w: a text's length of %d bytes", ErrProtocol, len(b))
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return "", nil, fmt.Errorf("%w: a text of %d bytes, there are %d", ErrProtocol, n, len(b)-4)
	}
	return string(b[4 : 4+n]), b[4+n:], nil
}
