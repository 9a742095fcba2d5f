package storage_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/verify"
	"github.com/lifeboat-db/lifeboat/test/powercut"
)

// diskSize is in bytes: enough for what these tests write.
const diskSize = 96 << 20

// TestPowerLoss: of objects whose Put has returned, none is missing or damaged
// on the disk of a machine that loses its power right then, whoever made their
// directories. The test itself is tested: what nobody has synced is not there.
func TestPowerLoss(t *testing.T) {
	if !long {
		t.Skip("the tests of the guard, which run at the same time, would see its loop devices")
	}
	for _, options := range []string{"data=ordered", "data=writeback"} {
		t.Run(options, func(t *testing.T) {
			r := random(t)
			d := powercut.New(t, diskSize, options)
			var stores [2]store.Store // they know nothing of each other
			for i := range stores {
				stores[i] = storetest.OpenStore(t, store.Options{URL: d.Dir})
			}
			acknowledged := map[string][]byte{}
			for n := range crashes {
				name := strings.Repeat(fmt.Sprintf("d%d/", r.IntN(20)), r.IntN(3)) + fmt.Sprintf("o%d", n)
				data := storetest.Bytes(r.Uint64(), r.IntN(1<<r.IntN(17)))
				storetest.MustPut(t, stores[r.IntN(2)], name, data)
				acknowledged[name] = data
				if err := os.WriteFile(filepath.Join(d.Dir, "unsynced"), []byte(name), 0o600); err != nil {
					t.Fatal(err)
				}
				d.Boot(d.Cut(), func(dir string) {
					if text, err := os.ReadFile(filepath.Join(dir, "unsynced")); err == nil && string(text) == name {
						t.Error("this disk keeps what was not synced: it proves nothing")
					}
					check(t, dir, acknowledged)
				})
			}
		})
	}
}

func check(t *testing.T, dir string, acknowledged map[string][]byte) {
	t.Helper()
	s := storetest.OpenStore(t, store.Options{URL: dir})
	for name, want := range acknowledged {
		if got, err := s.Get(t.Context(), name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s, of %d bytes, was acknowledged: %d bytes are there, %v", name, len(want), len(got), err)
		}
	}
}

// TestPowerLossArchive: of segments that the archive has called stored, and of
// backups, none is missing or damaged on such a disk.
func TestPowerLossArchive(t *testing.T) {
	if !long {
		t.Skip("the tests of the guard, which run at the same time, would see its loop devices")
	}
	one(t, 1, func(t *testing.T, dist server.Distribution) {
		r := random(t)
		s := start(t, dist)
		d := powercut.New(t, diskSize, "data=ordered")
		repo := create(t, store.Options{URL: d.Dir + "/repository"})
		a := s.archiver(repo)
		a.SegmentBytes = 4000
		ends := map[string]int64{} // of the files, as acknowledged
		type crash struct {
			image string
			ends  map[string]int64
		}
		want := min(crashes, 60) // each looks at all before it
		cuts, left := make(chan crash), want
		a.Listener = archive.Both(a.Listener, archive.Listener{Stored: func(x archive.Summary, _ int64) {
			ends[x.File] = x.End
			if left--; left >= 0 {
				cuts <- crash{d.Cut(), maps.Clone(ends)}
			}
		}})
		stop := a.run(t)
		for n := 0; n < want; {
			select {
			case c := <-cuts:
				d.Boot(c.image, func(dir string) { s.survives(dir+"/repository", c.ends) })
				n++
			default:
				s.writeSmall(r)
			}
		}
		stop()
		s.backup(repo)
		d.Boot(d.Cut(), func(dir string) {
			copied := open(t, store.Options{URL: dir + "/repository"})
			list, bad, err := backup.List(t.Context(), copied, "s")
			if err != nil || len(bad) > 0 || len(list) != 1 {
				t.Errorf("%d backups, %v, %v", len(list), bad, err)
			}
			if rep, err := verify.Run(t.Context(), verify.Options{Repository: copied, Set: "s"}); err != nil {
				t.Errorf("%v: %+v", err, rep)
			}
		})
	})
}

// survives checks a repository: it has every file up to where it was
// acknowledged, as the server has it.
func (s *source) survives(dir string, ends map[string]int64) {
	s.t.Helper()
	repo := open(s.t, store.Options{URL: dir})
	have := map[string]archive.File{}
	for _, f := range load(s.t, repo).Files {
		have[f.File] = f
	}
	want := s.files()
	for name, end := range ends {
		f := have[name]
		if f.End < end {
			s.t.Errorf("%s was acknowledged up to %d, and is there up to %d", name, end, f.End)
			continue
		}
		path, err := archive.Fetch(s.t.Context(), repo, f, s.t.TempDir())
		if err != nil {
			s.t.Error(err)
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		if n := min(int64(len(got)), end); !bytes.Equal(got[:n], want[name][:n]) {
			s.t.Errorf("%s has other bytes than the server's", name)
		}
	}
}

// writeSmall commits a small transaction.
func (s *source) writeSmall(r *rand.Rand) {
	s.t.Helper()
	s.exec(fmt.Sprintf("INSERT INTO d.t (b) VALUES (REPEAT('%d', %d))", r.IntN(10), r.IntN(1<<12)))
	if r.IntN(20) == 0 {
		s.exec("FLUSH BINARY LOGS")
	}
}
