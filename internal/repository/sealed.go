package repository

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"filippo.io/age"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// Version of the format of sealed objects and of the marker.
const Version = 1

// MaxPlain bounds what one object holds, in bytes. It can always be stored: with
// the largest header, not compressible and encrypted, it stays below
// store.MaxObject.
const MaxPlain = 62 << 20

const (
	magic     = "LIFEBOAT"
	fixedSize = 20      // magic, version, zero, length of the header, its checksum
	maxHeader = 1 << 20 // bytes of the JSON
)

// How a body is encrypted.
const (
	encryptionNone = "none"
	encryptionAge  = "age"
)

// ErrDamaged is wrapped by errors about objects that are not what was written.
var ErrDamaged = errors.New("damaged")

// errKind: a kind is written by the program itself.
var errKind = errors.New("a kind has 1 to 64 of a-z 0-9 . _ -")

// Header is the readable beginning of an object.
type Header struct {
	Kind       string          `json:"kind"`
	Encryption string          `json:"encryption"`       // none or age
	Size       int64           `json:"size"`             // bytes of the plain body, 0 to MaxPlain
	SHA256     string          `json:"sha256,omitempty"` // of the plain body, hex; none if it is encrypted
	Meta       json.RawMessage `json:"meta,omitempty"`   // of the kind; never encrypted
}

// damaged makes an error that wraps ErrDamaged.
func damaged(format string, args ...any) error {
	return fault.Errorf(fault.VerifyFailed, "%w: %w", fmt.Errorf(format, args...), ErrDamaged)
}

// sealer turns what an object holds into stored bytes, and back.
type sealer struct {
	frames     *frames
	recipients []age.Recipient // none: not encrypted
	identities []age.Identity
}

// seal makes a sealed object.
func (s *sealer) seal(kind string, meta any, plain []byte) ([]byte, error) {
	if len(plain) > MaxPlain {
		return nil, fmt.Errorf("seal: %d bytes, an object holds at most %d", len(plain), MaxPlain)
	}
	head, err := s.head(kind, meta, plain)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if len(s.recipients) == 0 {
		return s.frames.append(head, plain), nil
	}
	stored, err := s.encrypt(head, plain)
	if err != nil {
		return nil, fault.Errorf(fault.Storage, "seal: %w", err)
	}
	return stored, nil
}

// head is all that comes before the body.
func (s *sealer) head(kind string, meta any, plain []byte) ([]byte, error) {
	h, err := s.header(kind, meta, plain)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	if len(text) > maxHeader {
		return nil, fmt.Errorf("a header of %d bytes, at most %d", len(text), maxHeader)
	}
	head := append(make([]byte, 0, fixedSize+len(text)+len(plain)/2), magic...)
	head = binary.LittleEndian.AppendUint16(head, Version)
	head = binary.LittleEndian.AppendUint16(head, 0)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(text)))
	head = binary.LittleEndian.AppendUint32(head, headSum(head, text))
	return append(head, text...), nil
}

// headSum is the CRC-32C of the 16 bytes before it and of the header behind it: a
// header that is read alone has nothing else to be compared with.
func headSum(before, header []byte) uint32 {
	return crc32.Update(crc32.Checksum(before, castagnoli), castagnoli, header)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (s *sealer) header(kind string, meta any, plain []byte) (Header, error) {
	h := Header{Kind: kind, Encryption: encryptionAge, Size: int64(len(plain))}
	if len(s.recipients) == 0 {
		h.Encryption, h.SHA256 = encryptionNone, hexSum(plain)
	}
	if meta != nil {
		text, err := json.Marshal(meta)
		if err != nil {
			return Header{}, err
		}
		h.Meta = text
	}
	return h, h.check()
}

// encrypt appends the body as an age file, bound to its head.
func (s *sealer) encrypt(head, plain []byte) ([]byte, error) {
	sum := sha256.Sum256(head)
	out := bytes.NewBuffer(head)
	w, err := age.Encrypt(out, s.recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(s.frames.append(sum[:], plain)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// open verifies a sealed object and returns what it holds.
func (s *sealer) open(stored []byte) (Header, []byte, error) {
	h, body, err := parse(stored)
	if err != nil {
		return Header{}, nil, err
	}
	if h.Encryption == encryptionAge {
		head := stored[:len(stored)-len(body)]
		if body, err = s.decrypt(head, body); err != nil {
			return h, nil, err
		}
	}
	plain, err := s.frames.decode(body, h.Size)
	if err != nil {
		return h, nil, damaged("body: %w", err)
	}
	if h.Encryption == encryptionNone && hexSum(plain) != h.SHA256 {
		return h, nil, damaged("body: its hash is not that of the header")
	}
	return h, plain, nil
}

// decrypt returns the frames of an encrypted body that belongs to head.
func (s *sealer) decrypt(head, body []byte) ([]byte, error) {
	if len(s.identities) == 0 {
		return nil, fault.New(fault.Storage, errors.New("it is encrypted, and there is no key"), "give the file of an age identity")
	}
	r, err := age.Decrypt(bytes.NewReader(body), s.identities...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, fault.New(fault.Storage, errors.New("it is encrypted, and none of the keys fits"),
			"give the identity of one of the recipients that the repository names")
	}
	if err != nil {
		return nil, damaged("decrypt: %w", err)
	}
	opened, err := io.ReadAll(r)
	if err != nil {
		return nil, damaged("decrypt: %w", err)
	}
	sum := sha256.Sum256(head)
	if len(opened) < len(sum) || subtle.ConstantTimeCompare(opened[:len(sum)], sum[:]) == 0 {
		return nil, damaged("its body belongs to another header")
	}
	return opened[len(sum):], nil
}

// parse divides an object into header and body.
func parse(stored []byte) (Header, []byte, error) {
	end, err := headEnd(stored)
	if err != nil {
		return Header{}, nil, err
	}
	if end > len(stored) {
		return Header{}, nil, damaged("header: cut short")
	}
	h, err := parseHead(stored[:end])
	return h, stored[end:], err
}

// parseHead reads all that comes before the body.
func parseHead(head []byte) (Header, error) {
	before, text := head[:fixedSize-4], head[fixedSize:]
	if headSum(before, text) != binary.LittleEndian.Uint32(head[fixedSize-4:]) {
		return Header{}, damaged("header: its checksum is not that of its bytes")
	}
	return parseHeader(text)
}

// headEnd says where the body begins, from the first 20 bytes.
func headEnd(stored []byte) (int, error) {
	if len(stored) < fixedSize {
		return 0, damaged("header: %d bytes, want at least %d", len(stored), fixedSize)
	}
	if string(stored[:8]) != magic {
		return 0, damaged("header: it does not begin with %s", magic)
	}
	if err := checkVersion(int(binary.LittleEndian.Uint16(stored[8:]))); err != nil {
		return 0, err
	}
	size := binary.LittleEndian.Uint32(stored[12:])
	if binary.LittleEndian.Uint16(stored[10:]) != 0 || size > maxHeader {
		return 0, damaged("header: not one of version %d", Version)
	}
	return fixedSize + int(size), nil
}

// checkVersion refuses formats that this program does not know.
func checkVersion(version int) error {
	switch {
	case version == Version:
		return nil
	case version > Version:
		return fault.New(fault.Storage, fmt.Errorf("written by a newer version: format %d, known is %d", version, Version), "use that version of lifeboat, or a later one")
	}
	return damaged("there is no format %d", version)
}

func parseHeader(text []byte) (Header, error) {
	var h Header
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h); err != nil {
		return Header{}, damaged("header: %w", err)
	}
	if dec.InputOffset() != int64(len(text)) {
		return Header{}, damaged("header: more than one")
	}
	if err := h.check(); err != nil {
		return Header{}, damaged("header: %w", err)
	}
	return h, nil
}

// check says what is wrong with a header's members.
func (h *Header) check() error {
	switch {
	case !validKind(h.Kind):
		return fmt.Errorf("kind %.100q: %w", h.Kind, errKind)
	case h.Size < 0 || h.Size > MaxPlain:
		return fmt.Errorf("%d bytes, an object holds at most %d", h.Size, MaxPlain)
	case h.Encryption == encryptionAge && h.SHA256 == "", h.Encryption == encryptionNone && isHex(h.SHA256, 2*sha256.Size):
		return nil
	}
	return fmt.Errorf("encryption %.100q with sha256 %.100q", h.Encryption, h.SHA256)
}

func validKind(kind string) bool {
	for _, c := range []byte(kind) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return kind != "" && len(kind) <= 64
}

// isHex tells a text of n lower case hexadecimal digits.
func isHex(text string, n int) bool {
	for _, c := range []byte(text) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f':
		default:
			return false
		}
	}
	return len(text) == n
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
