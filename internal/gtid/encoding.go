package gtid

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrEncoding is wrapped by every error about a malformed event body.
var ErrEncoding = errors.New("malformed GTID encoding")

var le = binary.LittleEndian

const (
	formatUntagged = 0
	formatTagged   = 1
	// minRecord is a record of no intervals: uuid and their number.
	minRecord = 16 + 8
)

// DecodePreviousGTIDs reads the body of MySQL's PREVIOUS_GTIDS_LOG_EVENT, without
// event header and checksum.
func DecodePreviousGTIDs(body []byte) (Set, error) {
	r := reader{rest: body}
	count, tagged, err := r.head()
	if err != nil {
		return Set{}, err
	}
	set := Set{flavor: MySQL}
	for range count {
		if err := r.record(&set, tagged); err != nil {
			return Set{}, err
		}
	}
	if len(r.rest) > 0 {
		return Set{}, fmt.Errorf("%w: %d bytes after the last GTID interval", ErrEncoding, len(r.rest))
	}
	return set, nil
}

// reader cuts a body from the front.
type reader struct{ rest []byte }

var errShort = fmt.Errorf("%w: body ends early", ErrEncoding)

func (r *reader) bytes(n int) ([]byte, error) {
	if len(r.rest) < n {
		return nil, errShort
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b, nil
}

func (r *reader) uint64() (uint64, error) {
	b, err := r.bytes(8)
	if err != nil {
		return 0, err
	}
	return le.Uint64(b), nil
}

func (r *reader) head() (count uint64, tagged bool, err error) {
	word, err := r.uint64()
	if err != nil {
		return 0, false, err
	}
	switch format := word >> 56; format {
	case formatUntagged:
		return word, false, nil
	case formatTagged:
		return word << 8 >> 16, true, nil
	default:
		return 0, false, fmt.Errorf("%w: unknown GTID set format %d", ErrEncoding, format)
	}
}

// record reads one (uuid, tag) with its intervals.
func (r *reader) record(set *Set, tagged bool) error {
	b, err := r.bytes(16)
	if err != nil {
		return err
	}
	uuid, tag := [16]byte(b), ""
	if tagged {
		if tag, err = r.tag(); err != nil {
			return err
		}
	}
	n, err := r.uint64()
	if err != nil {
		return err
	}
	if n > uint64(len(r.rest))/16 {
		return errShort
	}
	last := uint64(0)
	for range n {
		iv, err := r.interval(last)
		if err != nil {
			return err
		}
		last = iv.end
		src := set.source(uuid, tag)
		src.ivs = src.ivs.add(iv)
	}
	return nil
}

// tag reads a length in the server's variable-length form, of which 32 needs
// only the one-byte variant: a zero bit, then the number.
func (r *reader) tag() (string, error) {
	b, err := r.bytes(1)
	if err != nil {
		return "", err
	}
	if b[0]&1 != 0 {
		return "", fmt.Errorf("%w: GTID tag too long", ErrEncoding)
	}
	if b, err = r.bytes(int(b[0] >> 1)); err != nil || len(b) == 0 {
		return "", err
	}
	tag := string(b)
	if !validTag(tag) {
		return "", fmt.Errorf("%w: bad GTID tag %q", ErrEncoding, tag)
	}
	return tag, nil
}

func (r *reader) interval(last uint64) (interval, error) {
	b, err := r.bytes(16)
	if err != nil {
		return interval{}, err
	}
	iv := interval{le.Uint64(b), le.Uint64(b[8:])}
	if iv.start <= last || iv.end <= iv.start || iv.end > endSeq {
		return interval{}, fmt.Errorf("%w: GTID interval %d to %d after %d", ErrEncoding, iv.start, iv.end, last)
	}
	return iv, nil
}

// EncodePreviousGTIDs is the inverse of DecodePreviousGTIDs; like the server it
// uses the tagged format only when it must. The set must not be a MariaDB one.
func EncodePreviousGTIDs(s Set) ([]byte, error) {
	if len(s.heads) > 0 {
		return nil, errors.New("encode previous GTIDs: not a MySQL GTID set")
	}
	tagged := s.tagged()
	word := uint64(len(s.sources))
	if tagged {
		word = formatTagged<<56 | word<<8 | formatTagged
	}
	b := le.AppendUint64(make([]byte, 0, 8+len(s.sources)*(minRecord+16)), word)
	for _, src := range s.sources {
		b = src.encode(b, tagged)
	}
	return b, nil
}

func (s *Set) tagged() bool {
	for _, src := range s.sources {
		if src.tag != "" {
			return true
		}
	}
	return false
}

func (src *source) encode(b []byte, tagged bool) []byte {
	b = append(b, src.uuid[:]...)
	if tagged {
		b = append(b, byte(len(src.tag)<<1))
		b = append(b, src.tag...)
	}
	b = le.AppendUint64(b, uint64(len(src.ivs)))
	for _, iv := range src.ivs {
		b = le.AppendUint64(b, iv.start)
		b = le.AppendUint64(b, iv.end)
	}
	return b
}

// ListFlags are the upper four bits of a GTID_LIST_EVENT's head word.
type ListFlags uint8

// Flags of a GTID_LIST_EVENT (sql/log_event.h). Both occur only in streams from a
// server, not in files.
const (
	ListUntilReached ListFlags = 1 << iota // the UNTIL position of START SLAVE has come
	ListIgnoreGTIDs                        // the events that follow are to be ignored
)

const (
	listHead  = 4
	listEntry = 4 + 4 + 8
	// listPadding follows an empty list, whose event would otherwise be too short
	// to be overwritten by a dummy event.
	listPadding = 2
)

// DecodeGTIDList reads the body of MariaDB's GTID_LIST_EVENT, without event header
// and checksum: the binlog state at the start of the file, in the server's order.
func DecodeGTIDList(body []byte) ([]ID, ListFlags, error) {
	if len(body) < listHead {
		return nil, 0, errShort
	}
	word := le.Uint32(body)
	count := int64(word & (1<<28 - 1))
	entries := body[listHead:]
	if extra := int64(len(entries)) - count*listEntry; extra < 0 {
		return nil, 0, errShort
	} else if extra > 0 && (count > 0 || extra > listPadding) {
		return nil, 0, fmt.Errorf("%w: %d bytes after the GTID list", ErrEncoding, extra)
	}
	ids := make([]ID, count)
	for i := range ids {
		e := entries[i*listEntry:]
		ids[i] = ID{Flavor: MariaDB, Domain: le.Uint32(e), Server: le.Uint32(e[4:]), Seq: le.Uint64(e[8:])}
	}
	return ids, ListFlags(word >> 28), nil
}

// EncodeGTIDList is the inverse of DecodeGTIDList.
func EncodeGTIDList(ids []ID, flags ListFlags) []byte {
	b := le.AppendUint32(nil, uint32(len(ids))&(1<<28-1)|uint32(flags)<<28)
	for _, id := range ids {
		b = le.AppendUint32(b, id.Domain)
		b = le.AppendUint32(b, id.Server)
		b = le.AppendUint64(b, id.Seq)
	}
	if len(ids) == 0 {
		b = append(b, make([]byte, listPadding)...)
	}
	return b
}
