package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// magic is what every binary log file begins with.
const magic = "\xfebin"

// Fetch writes the archived bytes of a file, from its beginning to its first
// hole or its end, as a binary log file of its own name into a directory, and
// returns the path; see FetchedEnd. Every segment is verified, and that all of
// them together are what the server sent. A file of that name is replaced; it
// appears whole.
func Fetch(ctx context.Context, r *repository.Repository, f File, dir string) (path string, err error) {
	return fetch(ctx, r, f, dir, func(string) error { return nil })
}

// fetchTemp are the names of files that are not whole yet.
const fetchTemp = ".fetch-*"

// fetch is Fetch; the file takes its place if accept, which is given its path
// until then, agrees.
func fetch(ctx context.Context, r *repository.Repository, f File, dir string, accept func(tmp string) error) (path string, err error) {
	path = filepath.Join(dir, f.File)
	tmp, err := os.CreateTemp(dir, fetchTemp)
	if err != nil {
		return "", fetchError(f, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	if err = f.write(ctx, r, tmp); err == nil {
		err = tmp.Truncate(f.FetchedEnd())
	}
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return "", fetchError(f, err)
	}
	if err = accept(tmp.Name()); err != nil {
		return "", err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return "", fetchError(f, err)
	}
	return path, nil
}

// FetchedEnd is how long the file is that Fetch writes: up to End, but without
// the part of a transaction that a server leaves when it dies while it writes
// (MariaDB does; MySQL cuts it off). That it came to nothing is known by the
// next file, whose head does not name it (Apart); that takes GTIDs.
func (f File) FetchedEnd() int64 {
	if reach, err := f.Reach(); err == nil && reach != "" && f.Closed && f.Boundary < f.End {
		return f.Boundary
	}
	return f.End
}

func fetchError(f File, err error) error {
	if f.GTIDs != "" && errors.Is(err, repository.ErrDamaged) {
		err = fmt.Errorf("%w; the file has transactions %s", err, f.GTIDs)
	}
	return fault.FromOS(fmt.Errorf("archive: fetch %s of %s: %w", f.File, f.Server, err))
}

// fetchers is how many segments are read at once: each is in memory as a whole.
const fetchers = 4

func (f File) write(ctx context.Context, r *repository.Repository, out *os.File) error {
	if _, err := out.WriteString(magic); err != nil {
		return err
	}
	chain := Chain(f.Segments)
	if len(chain) == 0 || chain[len(chain)-1].End != f.End {
		return fmt.Errorf("%w: its segments do not reach %d", repository.ErrDamaged, f.End)
	}
	said := make([]string, len(chain)) // the Prefix of each
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fetchers)
	for i, s := range chain {
		g.Go(func() error {
			h, data, err := r.Read(ctx, s.Name)
			if err != nil {
				return err
			}
			if _, err := told(s.Name, h); err != nil {
				return err
			}
			about, err := parseSummary(h.Meta)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			said[i] = about.Prefix
			// Where segments overlap both write the same bytes.
			_, err = out.WriteAt(data, s.Start)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return f.checkPrefixes(chain, said, out)
}

// checkPrefixes reads what was written once more, in order, and compares it with
// what each segment says of all bytes up to its end, and with what closes the
// file. Each by itself is whole: what does not fit was put by somebody else, or
// by a defect.
func (f File) checkPrefixes(chain []Segment, said []string, out io.ReaderAt) error {
	var sum prefix
	buf := make([]byte, 1<<20)
	at := int64(firstOffset)
	sum.known = true
	for i, s := range chain {
		for at < s.End {
			n, err := out.ReadAt(buf[:min(int64(len(buf)), s.End-at)], at)
			if err != nil {
				return err
			}
			sum.add(buf[:n])
			at += int64(n)
		}
		want := []string{said[i]}
		if f.Closed && i == len(chain)-1 {
			want = append(want, f.Prefix)
		}
		for _, w := range want {
			if w != "" && w != sum.String() {
				return fault.Errorf(fault.VerifyFailed, "%w: the bytes up to %d, where %s ends, are not those that the server sent", repository.ErrDamaged, s.End, s.Name)
			}
		}
	}
	return nil
}
