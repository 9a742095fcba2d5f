package gtid

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Flavor says whose identifiers these are.
type Flavor uint8

// The zero Flavor is that of an empty Set nobody has added to yet.
const (
	MySQL Flavor = iota + 1
	MariaDB
)

func (f Flavor) String() string {
	switch f {
	case MySQL:
		return "mysql"
	case MariaDB:
		return "mariadb"
	}
	return "unknown"
}

// FlavorNamed is the flavor of which String gives the name; MySQL for any other.
func FlavorNamed(name string) Flavor {
	if name == MariaDB.String() {
		return MariaDB
	}
	return MySQL
}

// ErrSyntax is wrapped by every error about malformed text.
var ErrSyntax = errors.New("malformed GTID text")

const (
	// endSeq is the first number MySQL never assigns (GNO_END).
	endSeq = math.MaxInt64
	// maxTag is the longest tag in bytes (tag_max_length).
	maxTag = 32
)

// ID names one transaction. A MySQL ID uses UUID, Tag and Seq, a MariaDB ID uses
// Domain, Server and Seq; the others are zero, so that IDs compare with ==.
type ID struct {
	Flavor Flavor
	UUID   [16]byte
	Tag    string
	Domain uint32
	Server uint32
	Seq    uint64
}

func (id ID) String() string {
	return string(id.append(nil))
}

func (id ID) append(b []byte) []byte {
	if id.Flavor == MariaDB {
		b = strconv.AppendUint(b, uint64(id.Domain), 10)
		b = append(b, '-')
		b = strconv.AppendUint(b, uint64(id.Server), 10)
		b = append(b, '-')
		return strconv.AppendUint(b, id.Seq, 10)
	}
	b = appendUUID(b, id.UUID)
	b = append(b, ':')
	if id.Tag != "" {
		b = append(b, id.Tag...)
		b = append(b, ':')
	}
	return strconv.AppendUint(b, id.Seq, 10)
}

// ParseID reads one identifier: uuid:7, uuid:tag:7 or 0-1-7.
func ParseID(f Flavor, s string) (ID, error) {
	if f == MariaDB {
		return parseMariaDBID(s)
	}
	if f != MySQL {
		return ID{}, fmt.Errorf("parse GTID %q: unknown flavor", s)
	}
	parts := strings.Split(s, ":")
	uuid, err := ParseUUID(strings.TrimSpace(parts[0]))
	if err != nil {
		return ID{}, err
	}
	id := ID{Flavor: MySQL, UUID: uuid}
	switch len(parts) {
	case 2:
	case 3:
		if id.Tag, err = parseTag(parts[1]); err != nil {
			return ID{}, err
		}
	default:
		return ID{}, fmt.Errorf("%w: %q is not uuid[:tag]:number", ErrSyntax, s)
	}
	if id.Seq, err = parseSeq(parts[len(parts)-1]); err != nil {
		return ID{}, err
	}
	return id, id.check()
}

func parseMariaDBID(s string) (ID, error) {
	parts := strings.Split(strings.TrimSpace(s), "-")
	if len(parts) != 3 {
		return ID{}, fmt.Errorf("%w: %q is not domain-server-sequence", ErrSyntax, s)
	}
	var n [3]uint64
	for i, bits := range [3]int{32, 32, 64} {
		v, err := parseNumber(parts[i], bits)
		if err != nil {
			return ID{}, err
		}
		n[i] = v
	}
	return ID{Flavor: MariaDB, Domain: uint32(n[0]), Server: uint32(n[1]), Seq: n[2]}, nil
}

// check says whether a server could have assigned the ID.
func (id ID) check() error {
	switch id.Flavor {
	case MariaDB:
		return nil
	case MySQL:
		if id.Seq == 0 || id.Seq >= endSeq {
			return fmt.Errorf("GTID %s: number out of range", id)
		}
		if id.Tag != "" && !validTag(id.Tag) {
			return fmt.Errorf("GTID %s: bad tag", id)
		}
		return nil
	}
	return errors.New("GTID of unknown flavor")
}

// parseSeq reads the number of a MySQL GTID; its range is checked by the caller.
func parseSeq(s string) (uint64, error) {
	return parseNumber(strings.TrimSpace(s), 63)
}

// parseNumber reads plain decimal digits, no sign, no leading zero.
func parseNumber(s string, bits int) (uint64, error) {
	if s == "" || s[0] < '0' || s[0] > '9' || s[0] == '0' && len(s) > 1 {
		return 0, fmt.Errorf("%w: %q is not a decimal number", ErrSyntax, s)
	}
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is not a decimal number in range", ErrSyntax, s)
	}
	return n, nil
}

func parseTag(s string) (string, error) {
	tag := strings.ToLower(strings.TrimSpace(s))
	if !validTag(tag) {
		return "", fmt.Errorf("%w: %q is not a tag", ErrSyntax, s)
	}
	return tag, nil
}

func validTag(tag string) bool {
	if tag == "" || len(tag) > maxTag || isDigit(tag[0]) {
		return false
	}
	for i := range len(tag) {
		c := tag[i]
		if !isDigit(c) && c != '_' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

const uuidLen = 36 // 8-4-4-4-12 and four dashes

// ParseUUID reads the dashed form of a server's UUID, in either case.
func ParseUUID(s string) (uuid [16]byte, err error) {
	if len(s) != uuidLen || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return uuid, fmt.Errorf("%w: %q is not a UUID", ErrSyntax, s)
	}
	digits := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	b, err := hex.DecodeString(digits)
	if err != nil {
		return uuid, fmt.Errorf("%w: %q is not a UUID", ErrSyntax, s)
	}
	return [16]byte(b), nil
}

// FormatUUID writes the form servers print: dashed, lower case.
func FormatUUID(uuid [16]byte) string {
	return string(appendUUID(nil, uuid))
}

func appendUUID(b []byte, u [16]byte) []byte {
	b = append(hex.AppendEncode(b, u[:4]), '-')
	b = append(hex.AppendEncode(b, u[4:6]), '-')
	b = append(hex.AppendEncode(b, u[6:8]), '-')
	b = append(hex.AppendEncode(b, u[8:10]), '-')
	return hex.AppendEncode(b, u[10:])
}
