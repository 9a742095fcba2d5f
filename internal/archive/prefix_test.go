package archive_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"os"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/deposit"
)

// TestPrefix: each segment says the checksum of all that the server has sent of
// its file so far, however often archiving was interrupted.
func TestPrefix(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		r := seeded(t)
		w := newWorld(t, d)
		o := w.options()
		for range 4 {
			o.SegmentBytes = 1 << (8 + r.IntN(12))
			stop := w.follow(o)
			w.traffic(15, r)
			stop()
		}
		stop := w.follow(o)
		w.await()
		stop()
		have, said := w.files(), 0
		for _, f := range w.log().Files {
			for _, s := range f.Segments {
				h, err := w.repo.Header(t.Context(), s.Name)
				if err != nil {
					t.Fatal(err)
				}
				var sum archive.Summary
				if err := json.Unmarshal(h.Meta, &sum); err != nil {
					t.Fatal(err)
				}
				said++
				if want := fmt.Sprintf("%016x", crc64.Checksum(have[f.File][4:s.End], crc64.MakeTable(crc64.ECMA))); sum.Prefix != want {
					t.Errorf("%s says %q, its bytes have %s", s.Name, sum.Prefix, want)
				}
			}
		}
		if said < 5 { // one of each run at least
			t.Errorf("%d segments", said)
		}
	})
}

// prefixed puts a closed file of three segments that say their prefixes; change
// may change each before it is put.
func prefixed(t *testing.T, r *repository.Repository, change func(i int, s *archive.Summary, data []byte) []byte) archive.File {
	t.Helper()
	sum, table := uint64(0), crc64.MakeTable(crc64.ECMA)
	s := archive.Summary{Server: "a", File: "bin.000001", ID: "00", Flavor: "mysql", GTIDs: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7", Start: 4}
	put := func(prefix, kind string, s archive.Summary, data []byte) {
		t.Helper()
		if _, _, err := r.Put(t.Context(), prefix, kind, s, data); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		s.End = s.Start + 100
		data := deposit.Bytes(s)
		sum = crc64.Update(sum, table, data)
		s.Prefix = fmt.Sprintf("%016x", sum)
		if change != nil {
			data = change(i, &s, data)
		}
		put(fmt.Sprintf("%s%012d-%012d", deposit.Folder("s", s), s.Start, s.End), "log-segment", s, data)
		s.Start = s.End
	}
	s.Start, s.Next = 4, "bin.000002"
	put(deposit.Folder("s", s)+"closed", "log-file", s, nil)
	logs, err := archive.Load(t.Context(), r, "s")
	if err != nil || len(logs) != 1 || len(logs[0].Files) != 1 {
		t.Fatalf("%+v %v", logs, err)
	}
	return logs[0].Files[0]
}

// TestForgedSegment: a segment that is whole, under its right name, with other
// bytes than the server's, is found by what it says itself, by the next one, and
// by what closes the file.
func TestForgedSegment(t *testing.T) {
	for i := range 3 {
		for _, careful := range []bool{false, true} {
			if careful && i == 2 {
				continue // what closes the file would be made of it, too
			}
			r, _ := deposit.New(t, true)
			f := prefixed(t, r, func(n int, s *archive.Summary, data []byte) []byte {
				if n != i {
					return data
				}
				data[7] ^= 1
				if careful { // a prefix of what there is now: only what follows shows it
					sum := uint64(0)
					for k := range n {
						b := *s
						b.Start, b.End = int64(4+100*k), int64(104+100*k)
						sum = crc64.Update(sum, crc64.MakeTable(crc64.ECMA), deposit.Bytes(b))
					}
					s.Prefix = fmt.Sprintf("%016x", crc64.Update(sum, crc64.MakeTable(crc64.ECMA), data))
				}
				return data
			})
			_, err := archive.Fetch(t.Context(), r, f, t.TempDir())
			if fault.ClassOf(err) != fault.VerifyFailed || !errors.Is(err, repository.ErrDamaged) || !strings.Contains(err.Error(), ":1-7") {
				t.Errorf("segment %d, careful %t: %v", i, careful, err)
			}
		}
	}
	r, _ := deposit.New(t, false)
	if path, err := archive.Fetch(t.Context(), r, prefixed(t, r, nil), t.TempDir()); err != nil {
		t.Error(err)
	} else if info, err := os.Stat(path); err != nil || info.Size() != 304 {
		t.Error(info, err)
	}
}

// TestNewerSegment: a header with more than this version knows is refused.
func TestNewerSegment(t *testing.T) {
	r, _ := deposit.New(t, false)
	type newer struct {
		archive.Summary
		Shape string `json:"shape"`
	}
	s := newer{archive.Summary{Server: "a", File: "bin.000001", ID: "00", Flavor: "mysql", Start: 4, End: 8}, "round"}
	for kind, name := range map[string]string{"log-segment": "000000000004-000000000008", "log-file": "closed"} {
		data := []byte("1234")
		if kind == "log-file" {
			data = nil
		}
		if _, _, err := r.Put(t.Context(), deposit.Folder("s", s.Summary)+name, kind, s, data); err != nil {
			t.Fatal(err)
		}
		_, err := archive.Load(t.Context(), r, "s")
		if fault.ClassOf(err) != fault.Storage || !strings.Contains(err.Error(), "newer version") || !strings.Contains(err.Error(), "shape") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
