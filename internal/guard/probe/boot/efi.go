package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
)

// What EFI starts next (UEFI 2.10 section 3.1): BootNext once, if it is set;
// otherwise the entries of BootOrder in their order, as far as they are active
// and not applications. All integers are little endian.
//
//	BootNext, BootCurrent  uint16, the number of an option
//	BootOrder              uint16 each
//	OsIndications          uint64: bit 0 start the firmware's menu, 2 and above capsules, recovery
//	Boot####               EFI_LOAD_OPTION:
//	    0    4   attributes: 1 active, 8 hidden, 0x1f00 category (0 boot, 0x100 application)
//	    4    2   n, length of the device paths
//	    6    ..  description, UTF-16, ends with a zero
//	         n   device paths (section 10.3): nodes of type, subtype, length (2, header included)
//	         ..  optional data
//
// CLEAR is said only if the first entry that the firmware tries is the very one
// that started the running system, and a local disk.
type efiBoot struct {
	bootNext, current *uint16 // nil: not set
	order             []uint16
	options           map[uint16]option
	indications       []byte
}

// class is what an option starts.
type class int

const (
	unclear class = iota
	disk
	removable
	network
	remoteDisk
)

var classNames = [...]string{"something unclear", "a local disk", "a removable medium", "the network", "a remote disk"}

func (c class) String() string { return classNames[c] }

type option struct {
	active      bool
	application bool
	description string
	class       class
}

// next decides.
func (e efiBoot) next() (fact.Verdict, string) {
	if e.bootNext != nil { //check:boot-bootnext
		return fact.Active, fmt.Sprintf("BootNext is set: the next boot is Boot%04X, %s", *e.bootNext, e.describe(*e.bootNext))
	}
	for i, b := range e.indications {
		if b != 0 { //check:boot-osindications
			return fact.Active, fmt.Sprintf("OsIndications is set (byte %d is %#x): the firmware does something else next", i, b)
		}
	}
	if e.current == nil { //check:boot-no-current
		return fact.Unknown, "BootCurrent is not set: what started the running system is not known"
	}
	for _, n := range e.order {
		o, there := e.options[n]
		switch {
		case !there, !o.active, o.application:
			continue
		case o.class == network: //check:boot-order-network
			return fact.Active, fmt.Sprintf("the next boot is from the network: Boot%04X, %s", n, e.describe(n))
		case n != *e.current: //check:boot-order-other
			return fact.Unknown, fmt.Sprintf("the firmware tries Boot%04X first, %s, which has not started the running system (Boot%04X, %s)",
				n, e.describe(n), *e.current, e.describe(*e.current))
		case o.class == disk:
			return fact.Clear, fmt.Sprintf("the next boot is Boot%04X as now, %s", n, e.describe(n))
		}
		return fact.Unknown, fmt.Sprintf("the next boot is Boot%04X as now, %s: whether that is the local disk is not known", n, e.describe(n))
	}
	return fact.Unknown, "BootOrder has no active entry: the firmware decides"
}

func (e efiBoot) describe(n uint16) string {
	o, there := e.options[n]
	if !there {
		return "which does not exist"
	}
	return fmt.Sprintf("%.80q, %s", o.description, o.class)
}

var errOption = errors.New("malformed load option")

func parseNumbers(data []byte) (list []uint16, err error) {
	if len(data)%2 != 0 {
		return nil, fmt.Errorf("%d bytes are no list of numbers", len(data))
	}
	for ; len(data) > 0; data = data[2:] {
		list = append(list, binary.LittleEndian.Uint16(data))
	}
	return list, nil
}

func parseOption(data []byte) (o option, err error) {
	if len(data) < 8 {
		return o, fmt.Errorf("%w: %d bytes", errOption, len(data))
	}
	attributes, n := binary.LittleEndian.Uint32(data), int(binary.LittleEndian.Uint16(data[4:]))
	rest := data[6:]
	end := -1
	for i := 0; i+1 < len(rest); i += 2 {
		if rest[i] == 0 && rest[i+1] == 0 {
			end = i
			break
		}
	}
	if end < 0 || len(rest) < end+2+n {
		return o, fmt.Errorf("%w: description or device path is cut off", errOption)
	}
	o.active, o.application = attributes&1 != 0, attributes&0x1f00 != 0
	o.description = fromUTF16(rest[:end])
	o.class, err = classify(rest[end+2 : end+2+n])
	return o, err
}

func fromUTF16(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		if u := binary.LittleEndian.Uint16(b); u != 0 {
			units = append(units, u)
		}
	}
	return string(utf16.Decode(units))
}

// classify walks a device path. Of several instances, one on the network makes
// it the network. A node of the network outweighs a remote disk, that a
// removable medium, and that a disk.
func classify(path []byte) (c class, err error) {
	ended := false
	for len(path) > 0 {
		if len(path) < 4 {
			return unclear, fmt.Errorf("%w: device path of %d more bytes", errOption, len(path))
		}
		size := int(binary.LittleEndian.Uint16(path[2:]))
		if size < 4 || size > len(path) {
			return unclear, fmt.Errorf("%w: device path node of %d bytes", errOption, size)
		}
		node := path[:size]
		c = worse(c, classOf(node))
		ended = node[0]&0x7f == 0x7f && node[1] == 0xff
		path = path[size:]
		if ended {
			break // what follows belongs to no path
		}
	}
	if !ended { //check:boot-path-end
		return unclear, fmt.Errorf("%w: device path without an end", errOption)
	}
	return c, nil
}

func worse(a, b class) class {
	rank := [...]int{unclear: 0, disk: 1, removable: 2, remoteDisk: 3, network: 4}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// Types and subtypes of nodes (UEFI 2.10 section 10.3.4 and 10.3.5).
const (
	messaging = 3
	media     = 4
	bbs       = 5
)

func classOf(node []byte) class {
	switch node[0] {
	case messaging:
		switch node[1] {
		case 11, 12, 13, 20, 24, 28, 31, 33: // MAC, IPv4, IPv6, VLAN, URI, Wi-Fi, DNS, REST
			return network
		case 3, 9, 19, 21, 34: // Fibre Channel, InfiniBand, iSCSI, Fibre Channel Ex, NVMe over fabrics
			return remoteDisk
		case 4, 5, 15, 16, 27, 30: // FireWire, USB, USB class, USB WWID, Bluetooth
			return removable
		}
	case media:
		switch node[1] {
		case 1: // hard drive: a partition
			return disk
		case 2, 9: // CD-ROM, RAM disk
			return removable
		}
	case bbs:
		return classOfBBS(node)
	}
	return unclear
}

// classOfBBS: legacy BIOS device types (section 10.3.6).
func classOfBBS(node []byte) class {
	if len(node) < 6 {
		return unclear
	}
	switch binary.LittleEndian.Uint16(node[4:]) {
	case 2:
		return disk
	case 1, 3, 4, 5:
		return removable
	case 6, 0x80: // embedded network, bootstrap entry vector (network cards)
		return network
	}
	return unclear
}
