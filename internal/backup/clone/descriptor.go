package clone

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// A descriptor says what InnoDB's next step is. All numbers are big endian
// (MySQL 9.7 storage/innobase/clone/clone0desc.cc). Each begins with
//
//	offset  size
//	0       4     version: 100
//	4       4     length of the descriptor, this header included
//	8       4     type
type header struct {
	version uint32
	size    uint32
	kind    kind
}

const headerSize = 12

// descriptorVersion is the only one there has been since 8.0.17.
const descriptorVersion = 100

type kind uint32

const (
	descLocator kind = 1
	descTask    kind = 2
	descState   kind = 3
	descFile    kind = 4
	descData    kind = 5
)

func (k kind) String() string {
	switch k {
	case descLocator:
		return "locator"
	case descTask:
		return "task descriptor"
	case descState:
		return "state descriptor"
	case descFile:
		return "file descriptor"
	case descData:
		return "data descriptor"
	default:
		return fmt.Sprintf("descriptor of type %d", uint32(k))
	}
}

// state is of the snapshot; they follow each other in this order.
type state uint32

const (
	stateInit state = iota + 1
	stateFileCopy
	statePageCopy
	stateRedoCopy
	stateDone
)

func (s state) String() string {
	names := [...]string{stateInit: "INIT", stateFileCopy: "FILE COPY", statePageCopy: "PAGE COPY", stateRedoCopy: "REDO COPY", stateDone: "DONE"}
	if s < stateInit || int(s) >= len(names) {
		return fmt.Sprintf("state %d", uint32(s))
	}
	return names[s]
}

func appendHeader(b []byte, size uint32, k kind) []byte {
	b = binary.BigEndian.AppendUint32(b, descriptorVersion)
	b = binary.BigEndian.AppendUint32(b, size)
	return binary.BigEndian.AppendUint32(b, uint32(k))
}

// decodeHeader checks that b is one whole descriptor of a version that we know.
func decodeHeader(b []byte) (header, error) {
	if len(b) < headerSize {
		return header{}, fmt.Errorf("%w: a descriptor of %d bytes", ErrProtocol, len(b))
	}
	h := header{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), kind(binary.BigEndian.Uint32(b[8:]))}
	if h.version != descriptorVersion {
		return h, unsupported("upgrade lifeboat", "version %d of InnoDB's clone descriptors", h.version)
	}
	if uint64(h.size) != uint64(len(b)) {
		return h, fmt.Errorf("%w: a %s of %d bytes says that it has %d", ErrProtocol, h.kind, len(b), h.size)
	}
	return h, nil
}

// stateDescriptor begins a state, ends one, or only says that the donor lives.
//
//	12  4  state
//	16  4  task
//	20  4  chunks
//	24  4  files
//	28  8  bytes to come, an estimate
//	36  8  bytes on disk, an estimate
//	44  2  flags: 1 begin of the state, 2 acknowledgement
type stateDescriptor struct {
	state state
	begin bool
	alive bool // an acknowledgement; the donor's are only there to be heard
}

const (
	stateSize     = 46
	stateFlags    = 44
	flagBegin     = 1 << 0
	flagAck       = 1 << 1
	stateFlagsAll = flagBegin | flagAck
)

func decodeState(b []byte) (stateDescriptor, error) {
	if len(b) != stateSize {
		return stateDescriptor{}, fmt.Errorf("%w: a state descriptor of %d bytes", ErrProtocol, len(b))
	}
	flags := binary.BigEndian.Uint16(b[stateFlags:])
	if flags&^stateFlagsAll != 0 {
		return stateDescriptor{}, unsupported("upgrade lifeboat", "flags %#x of a state descriptor", flags)
	}
	return stateDescriptor{
		state: state(binary.BigEndian.Uint32(b[headerSize:])),
		begin: flags&flagBegin != 0,
		alive: flags&flagAck != 0,
	}, nil
}

// ackOf makes the acknowledgement of the end of a state: the same descriptor,
// marked as one.
func ackOf(end []byte) []byte {
	b := append([]byte(nil), end...)
	binary.BigEndian.PutUint16(b[stateFlags:], flagAck)
	return b
}

// fileDescriptor introduces a file, or says what DDL has done to one.
//
//	12  4  state
//	16  8  size of the file
//	24  8  of it, allocated
//	32  4  flags of the tablespace
//	36  4  block size of the file system
//	40  2  flags, below
//	42  4  tablespace
//	46  4  index of the file
//	50  4  first chunk
//	54  4  last chunk
//	58  4  length of the name
//	62  n  name, with a NUL
//	       key and initialization vector, 32 bytes each, if flag 32 says so
type fileDescriptor struct {
	state   state
	size    uint64
	space   spaceFlags
	flags   uint16
	spaceID uint32
	index   uint32
	name    string // as the donor has it; empty for redo
}

const fileSize = 62

// The flags of a file descriptor.
const (
	fileZlib    = 1 << 0
	fileLZ4     = 1 << 1
	fileAES     = 1 << 2
	fileRenamed = 1 << 3
	fileDeleted = 1 << 4
	fileHasKey  = 1 << 5
	fileFlags   = fileZlib | fileLZ4 | fileAES | fileRenamed | fileDeleted | fileHasKey
)

func decodeFile(b []byte) (f fileDescriptor, err error) {
	if len(b) < fileSize {
		return f, fmt.Errorf("%w: a file descriptor of %d bytes", ErrProtocol, len(b))
	}
	n := binary.BigEndian.Uint32(b[58:])
	f = fileDescriptor{
		state:   state(binary.BigEndian.Uint32(b[headerSize:])),
		size:    binary.BigEndian.Uint64(b[16:]),
		space:   spaceFlags(binary.BigEndian.Uint32(b[32:])),
		flags:   binary.BigEndian.Uint16(b[40:]),
		spaceID: binary.BigEndian.Uint32(b[42:]),
		index:   binary.BigEndian.Uint32(b[46:]),
	}
	if uint64(n) > uint64(len(b)-fileSize) {
		return f, fmt.Errorf("%w: a file descriptor of %d bytes has a name of %d", ErrProtocol, len(b), n)
	}
	name, rest := string(b[fileSize:fileSize+n]), b[fileSize+n:]
	f.name = strings.TrimSuffix(name, "\x00")
	switch {
	case f.flags&(fileAES|fileHasKey) != 0 || f.space.encrypted():
		return f, unsupported(encryptedHint, "%s is encrypted", f)
	case f.flags&^fileFlags != 0:
		return f, unsupported("upgrade lifeboat", "flags %#x of %s", f.flags, f)
	case len(rest) != 0 || n != 0 && (name == f.name || f.name == "") || strings.Contains(f.name, "\x00"):
		return f, fmt.Errorf("%w: file descriptor with name %q and %d bytes after it", ErrProtocol, name, len(rest))
	}
	return f, nil
}

func (f fileDescriptor) String() string {
	if f.name == "" {
		return fmt.Sprintf("redo log %d", f.index)
	}
	return fmt.Sprintf("file %s (tablespace %d)", f.name, f.spaceID)
}

// dataDescriptor says where the next RES_DATA belongs.
//
//	12  4  state
//	16  4  task
//	20  4  chunk
//	24  4  block
//	28  4  index of the file
//	32  4  length of the data
//	36  8  offset in the file
//	44  8  size of the file now
type dataDescriptor struct {
	state  state
	index  uint32
	length uint32
	offset uint64
	size   uint64
}

const dataSize = 52

// maxFile is more than InnoDB's files can have: 2^32 pages of 64 KiB.
const maxFile = 1 << 48

func decodeData(b []byte) (d dataDescriptor, err error) {
	if len(b) != dataSize {
		return d, fmt.Errorf("%w: a data descriptor of %d bytes", ErrProtocol, len(b))
	}
	d = dataDescriptor{
		state:  state(binary.BigEndian.Uint32(b[headerSize:])),
		index:  binary.BigEndian.Uint32(b[28:]),
		length: binary.BigEndian.Uint32(b[32:]),
		offset: binary.BigEndian.Uint64(b[36:]),
		size:   binary.BigEndian.Uint64(b[44:]),
	}
	if d.offset > maxFile || d.size > maxFile {
		return d, fmt.Errorf("%w: data at %d of a file of %d bytes", ErrProtocol, d.offset, d.size)
	}
	return d, nil
}
