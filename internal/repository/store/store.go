// Package store keeps immutable objects in a separate place: a directory
// (dir.go) or an S3 bucket with a prefix (s3.go). Package storetest is the
// contract that both fulfil, as tests.
//
// An object has a name and at most MaxObject bytes. It appears whole or not at
// all, is never changed and never overwritten. A Put without an error has
// brought it to where it outlives a crash: on disk with all directories above
// it, or acknowledged by the S3 server.
//
// Names are slash-separated; each element is of A-Z a-z 0-9 . _ = + -, begins
// with no dot and is shorter than 201 bytes; the whole name is shorter than
// 701. So a name is the same on every filesystem and in every URL, and nothing
// leads out of the place. No name is also a folder of others: a and a/b do not
// exist together in a directory. What lies in the place under other names is
// not listed.
//
// Errors say operation and cause. The caller knows object and place and says
// them.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// MaxObject is the size of the largest object, in bytes. A single request
// carries it to S3: there are no multipart uploads, nor their remains.
const MaxObject = 64 << 20

// Bounds of names. Filesystems take 255 bytes in an element, and S3 takes 1,024
// in a key, the prefix included.
const (
	maxName    = 700
	maxElement = 200
)

// ErrName is wrapped by errors about names that no object can have.
var ErrName = errors.New("not the name of an object")

// Entry is what List tells of an object.
type Entry struct {
	Name     string
	Size     int64     // bytes
	Modified time.Time // by the clock of the place, at best to the second
}

// Store is a place of objects. Its methods may be called from several
// goroutines and processes at once.
type Store interface {
	// Put makes an object. If there is one of this name, the error is
	// fs.ErrExist, and it is left as it is; of several at once exactly one
	// makes it. With another error there is no object, or, if only the last
	// step has failed, the whole one.
	Put(ctx context.Context, name string, data []byte) error

	// Get reads an object; fs.ErrNotExist if there is none.
	Get(ctx context.Context, name string) ([]byte, error)

	// GetRange reads length bytes (1 or more) from offset on: fewer where the
	// object ends, none behind its end.
	GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error)

	// List goes through the objects whose names begin with prefix, ascending
	// by the bytes of their names. An error is the last thing it gives.
	List(ctx context.Context, prefix string) iter.Seq2[Entry, error]

	// Delete removes an object; it is no error if there is none.
	Delete(ctx context.Context, name string) error

	// String is the URL, without secrets.
	String() string
}

// Sweeper is a Store in which writers that died leave something.
type Sweeper interface {
	// Sweep removes what they have left, once it is older than 12 hours. None
	// of it is ever listed or read. Done every 6 hours, nothing stays for a day.
	Sweep(ctx context.Context) error
}

// Spacious is a Store that knows how much room it has.
type Spacious interface {
	// Free is how many bytes can be stored, by this user.
	Free() (int64, error)
}

// Options of Open.
type Options struct {
	// URL is file:///PATH, an absolute path, or s3://BUCKET/PREFIX.
	URL string

	// Create lets the directory be made if it is not there. A bucket is never
	// made.
	Create bool

	// AsOf shows the place, for reading only, as it was then; zero: as it is.
	// A bucket with versioning shows the versions of that time, also of what
	// has been deleted or overwritten since. A directory, and a bucket without
	// versioning, hide what has been made since, and cannot bring back what has
	// been deleted: open a snapshot of the filesystem for that.
	AsOf time.Time

	// Of S3 only.
	Endpoint  string // URL of the server; empty: AWS
	Region    string // empty: us-east-1, which S3-compatible servers accept
	AccessKey string // empty: as AWS's own tools find it
	SecretKey string
	// Keys reads both keys again, which may have been changed since: it is asked
	// when the server refuses those that are used. Nil: they never change.
	Keys      func() (access, secret string, err error) `json:"-"`
	PathStyle bool                                      // the bucket is in the path, not in the host name
	CAFile    string                                    // PEM: certificates to trust beside the system's
	Tries     int                                       // of one call; 0: 10; negative: until its context ends
	MaxWait   time.Duration                             // between two tries, at most a minute; 0: a minute
	Stall     time.Duration                             // a try ends when nothing was sent or received for so long; 0: a minute

	SessionToken string // of temporary keys
}

// Open opens a place. A directory has to be there unless o.Create is set;
// whether a bucket is there shows at the first call.
func Open(ctx context.Context, o Options) (Store, error) {
	if filepath.IsAbs(o.URL) {
		return OpenDir(o.URL, o)
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fault.Usagef("the repository's URL cannot be read: want file:///PATH, /PATH or s3://BUCKET/PREFIX")
	}
	switch {
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path) && u.RawQuery == "" && u.Fragment == "":
		return OpenDir(u.Path, o)
	case u.Scheme == "s3" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "":
		return openS3(ctx, u.Host, strings.Trim(u.Path, "/"), o)
	}
	return nil, fault.Usagef("the repository %s: want file:///PATH, /PATH or s3://BUCKET/PREFIX, without keys in it", u.Redacted())
}

// CheckName says why a text cannot be the name of an object; the error wraps
// ErrName.
func CheckName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("%q…: %w: longer than %d bytes", name[:32], ErrName, maxName)
	}
	for element := range strings.SplitSeq(name, "/") {
		if !validElement(element) {
			return fmt.Errorf("%q: %w", name, ErrName)
		}
	}
	return nil
}

// validElement tells the elements of names from all else, such as temporary
// files and the lost+found of a filesystem.
func validElement(element string) bool {
	return element != "" && len(element) <= maxElement && element[0] != '.' &&
		element != "lost+found" && validBytes(element)
}

func validBytes(text string) bool {
	for _, c := range []byte(text) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("._=+-", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// checkPrefix is CheckName for the beginning of a name: only its last element
// may be incomplete.
func checkPrefix(prefix string) error {
	dir, last := "", prefix
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		dir, last = prefix[:i], prefix[i+1:]
		if err := CheckName(dir); err != nil {
			return err
		}
	}
	if !validBytes(last) || len(prefix) > maxName {
		return fmt.Errorf("prefix %.100q: %w", prefix, ErrName)
	}
	return nil
}

// checkPut says why an object cannot be put.
func checkPut(ctx context.Context, name string, data []byte, asOf time.Time) error {
	switch {
	case len(data) > MaxObject:
		return fmt.Errorf("put: %d bytes, an object has at most %d", len(data), MaxObject)
	case !asOf.IsZero():
		return errPast
	}
	return check(ctx, name)
}

// check is what every call begins with.
func check(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return CheckName(name)
}

// errPast refuses changes in a view of the past.
var errPast = fault.Usagef("a repository as it was at a time is read only: %w", errors.ErrUnsupported)

func checkRange(offset, length int64) error {
	if offset < 0 || length < 1 || offset > MaxObject || length > MaxObject {
		return fmt.Errorf("get: bytes %d+%d: no such range", offset, length)
	}
	return nil
}

// missing is the error of a read that finds no object.
func missing(op string) error { return fmt.Errorf("%s: %w", op, fs.ErrNotExist) }
