// Package audit is the guard's record of what was asked, decided and done: an
// append-only file whose records are chained by their hashes.
//
// The file has one record a line, a JSON object in one form (strictjson):
//
//	seq      1, 2, 3, ...
//	time     RFC 3339, UTC
//	machine  machine-id
//	boot_id
//	prev     hash of the record before; 64 zeros for the first
//	event    allowed, refused, ran, started, ...
//	details  an object
//	hash     SHA-256 of the line with an empty hash, in hexadecimal
//
// Beside it FILE.head holds the seq and hash of the last record, sealed with
// the machine's own key (namespace lifeboat-audit@v1): without it, an end that
// was cut off could not be told from an end. The record is on disk before its
// head is, and both before Append returns. So after a crash the file may have
// one record, whole or torn, beyond the head: nothing was done on its account.
//
// Whoever has the machine's key can write another history, and whoever removes
// log and head together removes all there is. Only a copy of the head that is
// kept elsewhere shows that: "audit verify" prints it.
package audit

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
	"github.com/lifeboat-db/lifeboat/internal/guard/strictjson"
)

// Namespace of the head's signature.
const Namespace = "lifeboat-audit@v1"

// ErrDamaged is wrapped by everything that says that a log is not what was
// written.
var ErrDamaged = errors.New("audit log is damaged")

// maxRecord bounds a line: facts of a machine with hundreds of servers fit.
const maxRecord = strictjson.MaxSize

// Record is one line.
type Record struct {
	Seq     uint64          `json:"seq"`
	Time    time.Time       `json:"time"`
	Machine string          `json:"machine"`
	BootID  string          `json:"boot_id"`
	Prev    string          `json:"prev"`
	Event   string          `json:"event"`
	Details json.RawMessage `json:"details"`
	Hash    string          `json:"hash"`
}

// Head is the last record's place in the chain.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

var zeros = strings.Repeat("0", 64)

func (r Record) sum() (string, error) {
	r.Hash = ""
	text, err := strictjson.Encode(r)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// Log is an audit log that is open for writing. One process has it at a time.
type Log struct {
	mu      sync.Mutex
	file    *os.File
	path    string
	key     ed25519.PrivateKey
	machine string
	bootID  string
	now     func() time.Time
	head    Head
	size    int64
	broken  error // after a failed write nobody knows what is on disk
}

// Options of Open.
type Options struct {
	Path    string
	Key     ed25519.PrivateKey
	Machine string
	BootID  string
	Now     func() time.Time
}

// Open verifies the whole log and opens it for appending. A record beyond the
// head, which a crash has left, is cut off if it is torn and taken if it is
// whole; anything else is damage.
func Open(o Options) (*Log, error) {
	f, err := os.OpenFile(o.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l := &Log{file: f, path: o.Path, key: o.Key, machine: o.Machine, bootID: o.BootID, now: o.Now}
	if err := l.open(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

func (l *Log) open() error {
	if err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //check:audit-one-writer
		return fmt.Errorf("%s is in use by another process: %w", l.path, err)
	}
	if err := atomicfile.SyncDir(filepath.Dir(l.path)); err != nil {
		return err
	}
	public, err := ssh.NewPublicKey(l.key.Public())
	if err != nil {
		return err
	}
	found, err := verify(l.path, public)
	if err != nil {
		return err
	}
	l.head, l.size = found.head, found.size
	if found.torn > 0 {
		if err := errors.Join(l.file.Truncate(l.size), l.file.Sync()); err != nil {
			return err
		}
	}
	return l.writeHead()
}

// Append adds a record. Without an error it is on disk, and so is the head.
func (l *Log) Append(event string, details any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil { //check:audit-broken
		return fmt.Errorf("an earlier record could not be written: %w", l.broken)
	}
	line, head, err := l.record(event, details)
	if err != nil {
		return err
	}
	if err := l.write(line); err != nil {
		l.broken = err
		return err
	}
	l.head = head
	if err := l.writeHead(); err != nil {
		l.broken = err
		return err
	}
	return nil
}

func (l *Log) record(event string, details any) (line []byte, head Head, err error) {
	text, err := strictjson.Encode(details)
	if err != nil {
		return nil, Head{}, err
	}
	r := Record{
		Seq: l.head.Seq + 1, Time: l.now().UTC().Round(0), Machine: l.machine, BootID: l.bootID,
		Prev: l.head.Hash, Event: event, Details: text,
	}
	if r.Hash, err = r.sum(); err != nil {
		return nil, Head{}, err
	}
	if line, err = strictjson.Encode(r); err != nil {
		return nil, Head{}, err
	}
	if len(line) > maxRecord { //check:audit-record-size
		return nil, Head{}, fmt.Errorf("a record of %d bytes, at most %d", len(line), maxRecord)
	}
	return append(line, '\n'), Head{r.Seq, r.Hash}, nil
}

// write adds a line, whole and on disk. What a full disk has left of it is cut
// off again.
func (l *Log) write(line []byte) error {
	_, err := l.file.Write(line)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil { //check:audit-write
		return errors.Join(err, l.file.Truncate(l.size))
	}
	l.size += int64(len(line))
	return nil
}

func (l *Log) writeHead() error {
	payload, err := strictjson.Encode(l.head)
	if err != nil {
		return err
	}
	s, err := seal.Sign(Namespace, payload, l.key)
	if err != nil {
		return err
	}
	text, err := seal.Envelope{Payload: payload, Signatures: []seal.Signature{s}}.Encode()
	if err != nil {
		return err
	}
	return atomicfile.Replace(l.path+".head", append(text, '\n'))
}

// Head returns the last record's place.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Close ends the writing.
func (l *Log) Close() error { return l.file.Close() }

// Verify reads a log and says where it is not what was written. The head it
// returns can be compared with one that was noted elsewhere. The guard may go on
// writing meanwhile. A log without a head is damaged even if it is empty: Open
// begins each with one.
func Verify(path string, key ssh.PublicKey) (Head, error) {
	found, err := verify(path, key)
	if err == nil && !found.headed { //check:audit-emptied
		err = fmt.Errorf("%w: %s is empty, and %s.head is not there", ErrDamaged, path, path)
	}
	return found.head, err
}

// state is what verify has found: the chain up to its last whole record.
type state struct {
	head Head
	size int64 // bytes of whole records
	torn int   // bytes of a torn record behind them

	headed bool // there is a head
}

// verify reads the head, the log, and the head once more: what the first one
// names must be there, and at most one record beyond the second.
func verify(path string, key ssh.PublicKey) (found state, err error) {
	before, there, err := readHead(path+".head", key)
	if err != nil {
		return state{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return state{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	hashes := map[uint64]string{0: zeros} // from the first head on
	found = state{head: Head{Hash: zeros}, headed: there}
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		line, whole, err := readLine(r)
		if err != nil {
			return state{}, fmt.Errorf("%w: %s: line %d: %w", ErrDamaged, path, found.head.Seq+1, err)
		}
		if !whole {
			found.torn = len(line)
			break
		}
		if err := found.next(line); err != nil {
			return state{}, fmt.Errorf("%w: %s: line %d: %w", ErrDamaged, path, found.head.Seq+1, err)
		}
		if found.head.Seq >= before.Seq {
			hashes[found.head.Seq] = found.head.Hash
		}
	}
	if !there && found.size+int64(found.torn) > 0 { //check:audit-no-head
		return state{}, fmt.Errorf("%w: %s has records, and %s.head is not there", ErrDamaged, path, path)
	}
	after, _, err := readHead(path+".head", key)
	if err != nil {
		return state{}, err
	}
	return found, found.check(path, before, after, hashes)
}

// readLine reads a line of at most maxRecord bytes; one without an end is not
// whole.
func readLine(r *bufio.Reader) (line []byte, whole bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxRecord+1: //check:audit-line-bound
			return nil, false, fmt.Errorf("it is longer than %d bytes", maxRecord)
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return line, false, nil
		default:
			return line, err == nil, err
		}
	}
}

// check compares the end with the sealed heads: one record may lie beyond.
func (s state) check(path string, before, after Head, hashes map[uint64]string) error {
	if s.head.Seq < before.Seq { //check:audit-cut-off
		return fmt.Errorf("%w: %s ends at record %d, its head names record %d", ErrDamaged, path, s.head.Seq, before.Seq)
	}
	for _, head := range []Head{before, after} {
		if hash, read := hashes[head.Seq]; head.Seq > 0 && read && hash != head.Hash { //check:audit-head-hash
			return fmt.Errorf("%w: %s: line %d is not the record that its head names", ErrDamaged, path, head.Seq)
		}
	}
	last := s.head.Seq
	if s.torn > 0 {
		last++
	}
	if last > after.Seq+1 { //check:audit-beyond-head
		return fmt.Errorf("%w: %s has %d records beyond its head, a crash leaves one at most", ErrDamaged, path, last-after.Seq)
	}
	return nil
}

// next takes one line into the chain.
func (s *state) next(line []byte) error {
	var r Record
	if err := strictjson.Decode(line, &r); err != nil {
		return err
	}
	written, err := strictjson.Encode(r)
	if err != nil {
		return err
	}
	if !bytes.Equal(append(written, '\n'), line) { //check:audit-exact-bytes
		return errors.New("not as it was written")
	}
	sum, err := r.sum()
	if err != nil {
		return err
	}
	if r.Hash != sum { //check:audit-hash
		return errors.New("it does not have its own hash")
	}
	if r.Prev != s.head.Hash { //check:audit-chain
		return errors.New("it does not follow the record before it")
	}
	if r.Seq != s.head.Seq+1 { //check:audit-seq
		return fmt.Errorf("its number is %d", r.Seq)
	}
	s.head = Head{r.Seq, r.Hash}
	s.size += int64(len(line))
	return nil
}

// readHead reads the sealed head. None is that of an empty log; whoever removes
// it together with the log removes all there is, which only a copy of the head
// elsewhere can show.
func readHead(path string, key ssh.PublicKey) (h Head, there bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Head{Hash: zeros}, false, nil
	}
	if err != nil {
		return Head{}, true, err
	}
	e, err := seal.Parse(text)
	if err != nil {
		return Head{}, true, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	payload, _, err := e.Verify(Namespace, []seal.Key{{PublicKey: key}})
	if err != nil {
		return Head{}, true, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	if err := strictjson.Decode(payload, &h); err != nil {
		return Head{}, true, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	return h, true, nil
}
