// Package spent remembers which nonces have been used on this machine, and the
// latest time it has seen: a request counts once, and setting the clock back
// does not make an old one young.
//
// The file has one line for each nonce, "EXPIRY NONCE SUM", EXPIRY in seconds
// since 1970, and for the latest time seen, "TIME clock SUM"; SUM is the first 16
// hexadecimal digits of the SHA-256 of what stands before its space. Lines are
// on disk before Spend or Clock returns, and are dropped when they have been
// expired for longer than a margin. The last line may be torn by a crash only if
// Spend has not returned for it.
package spent

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
)

// Errors that a caller decides on.
var (
	ErrSpent = errors.New("the nonce has been used before")
	ErrClock = errors.New("the clock cannot be trusted")
)

const (
	// keep is how long after its expiry a nonce is remembered: longer than any
	// step of a clock that Backwards would not notice.
	keep = 24 * time.Hour
	// backwards is how far the clock may go back unpunished: NTP steps of a
	// fraction of a second, and the second to which the mark is kept.
	backwards = 2 * time.Second
	// maxNonces bounds the file: far more than people can sign in a day.
	maxNonces = 100_000
)

var nonceForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Store is the file of spent nonces and the clock's mark.
type Store struct {
	mu     sync.Mutex
	path   string
	now    func() time.Time
	until  map[string]int64 // nonce: expiry
	mark   int64            // the latest second seen
	file   *os.File
	size   int64
	broken error
}

// Open reads a store; one that does not exist is empty. Any line that is not
// as written is an error, but for a torn last one.
func Open(path string, now func() time.Time) (*Store, error) {
	s := &Store{path: path, now: now, until: map[string]int64{}}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := s.parse(text); err != nil {
		return nil, fmt.Errorf("spent nonces: %s: %w: nobody knows what has been used; see docs/format/guard-request.md", path, err)
	}
	return s, s.rewrite()
}

// markWord stands in the place of a nonce in the line of the clock's mark.
const markWord = "clock"

func (s *Store) parse(text []byte) error {
	r := bufio.NewReader(bytes.NewReader(text))
	for n := 1; ; n++ {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			if strings.Count(line, " ") >= 2 && len(line)-strings.LastIndexByte(line, ' ') > sumDigits { //check:spent-end-damaged
				return fmt.Errorf("line %d is whole but for its end", n)
			}
			return nil // torn: Spend has not returned
		}
		if err != nil {
			return err
		}
		if err := s.parseLine(strings.TrimSuffix(line, "\n")); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
}

// sumDigits is how long a line's checksum is.
const sumDigits = 16

// line is an entry with its checksum, as it is written.
func line(seconds int64, word string) string {
	text := fmt.Sprintf("%d %s", seconds, word)
	sum := sha256.Sum256([]byte(text))
	return text + " " + hex.EncodeToString(sum[:])[:sumDigits] + "\n"
}

func (s *Store) parseLine(text string) error {
	when, rest, _ := strings.Cut(text, " ")
	word, _, _ := strings.Cut(rest, " ")
	seconds, err := strconv.ParseInt(when, 10, 64)
	if err != nil || seconds < 0 {
		return fmt.Errorf("%q is no time", when)
	}
	if line(seconds, word) != text+"\n" { //check:spent-checksum
		return errors.New("it is not as it was written")
	}
	if word == markWord {
		s.mark = max(s.mark, seconds)
		return nil
	}
	if !nonceForm.MatchString(word) { //check:spent-damaged
		return fmt.Errorf("%q is no nonce", word)
	}
	s.until[word] = seconds
	return nil
}

// rewrite replaces the file by what is still to be remembered.
func (s *Store) rewrite() error {
	var b bytes.Buffer
	b.WriteString(line(s.mark, markWord))
	old := s.mark - int64(keep/time.Second)
	for nonce, until := range s.until {
		if until < old {
			delete(s.until, nonce)
			continue
		}
		b.WriteString(line(until, nonce))
	}
	f, err := os.OpenFile(s.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(b.Bytes()); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(os.Rename(s.path+".new", s.path), atomicfile.SyncDir(filepath.Dir(s.path))); err != nil {
		return errors.Join(err, f.Close())
	}
	if s.file != nil {
		_ = s.file.Close() // written and synced line by line
	}
	s.file, s.size = f, int64(b.Len())
	return nil
}

// Clock returns the time, if it has not gone back, and remembers it on disk: a
// request that has expired by it is not young again when the clock is set back.
func (s *Store) Clock() (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if mark := time.Unix(s.mark, 0); now.Before(mark.Add(-backwards)) { //check:clock-backwards
		return time.Time{}, fmt.Errorf("%w: it shows %s, and has shown %s before", ErrClock, now.UTC().Format(time.RFC3339), mark.UTC().Format(time.RFC3339))
	}
	if now.Unix() <= s.mark {
		return now, nil
	}
	if err := s.append(line(now.Unix(), markWord)); err != nil {
		return time.Time{}, fmt.Errorf("%w: the time cannot be remembered: %w", ErrClock, err)
	}
	s.mark = now.Unix()
	return now, nil
}

// append adds lines, on disk. After a failure nobody knows what is there, and
// nothing more is accepted.
func (s *Store) append(lines string) error {
	if s.broken != nil { //check:spent-broken
		return s.broken
	}
	if _, err := s.file.WriteString(lines); err != nil { //check:spent-write
		s.broken = err
		return err
	}
	if err := s.file.Sync(); err != nil {
		s.broken = err
		return err
	}
	s.size += int64(len(lines))
	if s.size > maxNonces*128 {
		return s.rewrite()
	}
	return nil
}

// Spend uses a nonce up. Without an error it is on disk, and no later Spend of
// it succeeds.
func (s *Store) Spend(nonce string, expires time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !nonceForm.MatchString(nonce) { //check:nonce-form
		return fmt.Errorf("nonce %q is not 32 hexadecimal digits", nonce)
	}
	if _, ok := s.until[nonce]; ok { //check:nonce-spent
		return ErrSpent
	}
	if len(s.until) >= maxNonces { //check:nonce-bound
		return fmt.Errorf("%d nonces have been used within a day: refusing more", len(s.until))
	}
	s.mark = max(s.mark, s.now().Unix())
	s.until[nonce] = expires.Unix() // even if it cannot be written: it is used up
	return s.append(line(expires.Unix(), nonce) + line(s.mark, markWord))
}

// Synchronised reports whether the kernel believes its clock to be
// (adjtimex(2), STA_UNSYNC).
func Synchronised() error {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return fmt.Errorf("%w: adjtimex: %w", ErrClock, err)
	}
	const unsync = 0x0040 // STA_UNSYNC, include/uapi/linux/timex.h
	if t.Status&unsync != 0 {
		return fmt.Errorf("%w: the kernel says that nothing keeps it (start NTP, or set requests.clock_unchecked)", ErrClock)
	}
	return nil
}

// Close ends the writing; what was spent is on disk.
func (s *Store) Close() error { return s.file.Close() }
