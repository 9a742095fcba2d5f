package binlog

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/gtid"
)

// ErrGap says that between two files something is missing.
var ErrGap = errors.New("gap between binary log files")

// Head is what the beginning of a file says about what came before it.
type Head struct {
	HasPrevious bool
	Previous    gtid.Set  // MySQL: all GTIDs in the log before this file
	List        []gtid.ID // MariaDB: binlog state, the last GTID of each (domain, server)
}

// Set is the files of one log in their order.
type Set struct {
	Files []*File
	Heads []Head
}

// OpenSet opens the files and puts them in order by what they contain: by how
// many transactions precede each file, then by number within a base name, then
// by the time in the format description. It refuses files of two vendors, one file given
// twice, and a file whose last event names another successor than the next.
func OpenSet(paths []string) (*Set, error) {
	if len(paths) == 0 {
		return nil, fmt.Errorf("%w: no file was given", ErrGap)
	}
	s := &Set{}
	for _, p := range paths {
		f, err := Open(p)
		if err != nil {
			_ = s.Close()
			return nil, err
		}
		s.Files = append(s.Files, f)
	}
	if err := s.arrange(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// Close unmaps all files.
func (s *Set) Close() error {
	var errs []error
	for _, f := range s.Files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Flavor is the vendor of the log.
func (s *Set) Flavor() gtid.Flavor { return s.Files[0].Format.Flavor }

// Size is the number of bytes in all files.
func (s *Set) Size() int64 {
	var n int64
	for _, f := range s.Files {
		n += int64(len(f.Data))
	}
	return n
}

// Index finds a file by its base name; -1 if there is none.
func (s *Set) Index(name string) int {
	return slices.IndexFunc(s.Files, func(f *File) bool { return f.Name == name })
}

func (s *Set) arrange() error {
	type item struct {
		f      *File
		h      Head
		before uint64 // transactions before the file
	}
	items := make([]item, 0, len(s.Files))
	for _, f := range s.Files {
		h, err := f.ReadHead()
		if err != nil {
			return err
		}
		if f.Format.Flavor != s.Flavor() {
			return At(f.At(0), fmt.Errorf("%w: %s wrote this file, %s wrote %s",
				ErrUnsupported, f.Format.ServerVersion, s.Files[0].Format.ServerVersion, s.Files[0].Name))
		}
		items = append(items, item{f, h, h.transactionsBefore()})
	}
	slices.SortStableFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.before, b.before), compareNames(a.f.Name, b.f.Name),
			cmp.Compare(a.f.timestamp(), b.f.timestamp()), cmp.Compare(a.f.Name, b.f.Name))
	})
	s.Files, s.Heads = nil, nil
	for _, it := range items {
		s.Files, s.Heads = append(s.Files, it.f), append(s.Heads, it.h)
	}
	return s.checkNames()
}

// compareNames orders two files of one base name by number; 0 for others. It
// counts for more than the time in the format description, which is that of
// the session that rotated the log, and SET timestamp changes it (tried).
func compareNames(a, b string) int {
	if baseName(a) != baseName(b) || Number(a) < 0 || Number(b) < 0 {
		return 0
	}
	return cmp.Compare(Number(a), Number(b))
}

func baseName(name string) string { return name[:max(0, strings.LastIndexByte(name, '.'))] }

// checkNames refuses two files of one name, by which positions could not be
// told apart, and looks for files missing between two neighbours.
func (s *Set) checkNames() error {
	seen := map[string]bool{}
	for i, f := range s.Files {
		if seen[f.Name] {
			return At(f.At(0), fmt.Errorf("%w: two files have this name", ErrGap))
		}
		seen[f.Name] = true
		if i == 0 {
			continue
		}
		if before := s.Files[i-1]; !follows(before, f, &s.Heads[i]) {
			expected := before.Tail().Rotate
			if expected == "" {
				expected = "the file with the next number"
			}
			return At(before.At(int64(len(before.Data))), fmt.Errorf("%w: this file is continued in %s, but the next one given is %s",
				ErrGap, expected, f.Name))
		}
		if err := distinct(s.Files[i-1], f); err != nil {
			return err
		}
	}
	return nil
}

// distinct refuses one file given under two names. Files without a transaction
// may be equal: those of two rotations within a second.
func distinct(f, next *File) error {
	n := min(len(f.Data), len(next.Data), sameBytes)
	if int64(n) > next.headEnd() && bytes.Equal(f.Data[:n], next.Data[:n]) {
		return At(next.At(0), fmt.Errorf("%w: it is the same file as %s under another name", ErrGap, f.Name))
	}
	return nil
}

// headEnd is the offset behind the events that precede the first transaction.
func (f *File) headEnd() int64 {
	for r := f.Events(0); ; {
		at := r.Offset()
		ev, ok, err := r.Next()
		if err != nil || !ok {
			return at
		}
		switch ev.Type {
		case PreviousGTIDs, MariaGTIDList, StartEncryption, BinlogCheckpoint:
		default:
			return at
		}
	}
}

// CheckClosed checks that the files from number first up to the one before
// number last are whole: each ends with a ROTATE_EVENT, or its server stopped or died, and then
// the next file is the first one after a start and says so (Format.Created).
func (s *Set) CheckClosed(first, last int) error {
	for i := first; i < last; i++ {
		f, next := s.Files[i], s.Files[i+1]
		if f.Tail().Rotate == "" && next.Format.Created == 0 {
			return At(f.At(int64(len(f.Data))), fmt.Errorf("%w: this file was cut off: it ends without ROTATE_EVENT, and the server was not restarted before %s",
				ErrGap, next.Name))
		}
	}
	return nil
}

// sameBytes is how many equal bytes at the beginning make two files one.
const sameBytes = 64 << 10

// follows reports whether nothing can be missing between two files by their
// names. Where a file ends in no ROTATE_EVENT, because the server stopped or
// died, a server goes on with the next number; only after a change of the
// log's base name it begins anew, which GTIDs must prove then.
func follows(f, next *File, head *Head) bool {
	if rotate := f.Tail().Rotate; rotate != "" {
		return rotate == next.Name || Number(rotate) == Number(next.Name)
	}
	a, b := Number(f.Name), Number(next.Name)
	switch {
	case a < 0 || b < 0 || b == a+1:
		return true
	case Base(f.Name) == Base(next.Name):
		return false
	default:
		return head.transactionsBefore() > 0
	}
}

// timestamp is when the file was begun, by its format description.
func (f *File) timestamp() uint32 { return header(f.Format.raw).Timestamp }

// ServerID is that of the server that wrote the file.
func (f *File) ServerID() uint32 { return header(f.Format.raw).ServerID }

// Number is the number at the end of a log file's name, -1 if there is none.
func Number(name string) int64 {
	i := strings.LastIndexByte(name, '.')
	n, err := strconv.ParseInt(name[i+1:], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// Base is a log file's name without its number.
func Base(name string) string { return name[:strings.LastIndexByte(name, '.')+1] }

func (h Head) transactionsBefore() uint64 {
	if h.List == nil {
		return h.Previous.Count()
	}
	var n uint64
	for _, id := range h.List {
		n += id.Seq
	}
	return n
}

// ReadHead reads the events before the first transaction.
func (f *File) ReadHead() (Head, error) {
	r := f.Events(0)
	for range 8 { // PREVIOUS_GTIDS or GTID_LIST comes first or behind START_ENCRYPTION
		ev, ok, err := r.Next()
		if errors.Is(err, ErrTruncated) || err == nil && !ok {
			return Head{}, nil
		}
		if err != nil {
			return Head{}, err
		}
		switch ev.Type {
		case PreviousGTIDs:
			set, err := gtid.DecodePreviousGTIDs(ev.Body)
			return Head{HasPrevious: true, Previous: set}, At(f.At(ev.Offset), err)
		case MariaGTIDList:
			list, _, err := gtid.DecodeGTIDList(ev.Body)
			return Head{HasPrevious: true, Previous: gtid.ListToSet(list), List: list}, At(f.At(ev.Offset), err)
		default:
		}
	}
	return Head{}, nil
}
