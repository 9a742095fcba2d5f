package storage_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/verify"
)

// TestDamagedArchive: each object of a log is cut short, emptied, removed, given
// the bytes of another one, or replaced by another one that is whole and has its
// own hash in its name. Who reads the log for a restore never gets other bytes
// than the server's, nor less of them without a word; verify finds all of it.
func TestDamagedArchive(t *testing.T) {
	one(t, 4, func(t *testing.T, d server.Distribution) {
		r := random(t)
		s := start(t, d)
		dir := t.TempDir()
		repo := create(t, store.Options{URL: dir})
		a := s.archiver(repo)
		a.SegmentBytes = 2000
		stop := a.run(t)
		for range 4 {
			for range 6 {
				s.writeSmall(r)
			}
			s.exec("FLUSH BINARY LOGS")
		}
		truth := s.await(repo)
		stop()
		var objects []string
		for e, err := range repo.List(t.Context(), "s/") {
			if err != nil {
				t.Fatal(err)
			}
			objects = append(objects, filepath.Join(dir, e.Name))
		}
		tries, found := 0, 0
		for _, path := range objects {
			if strings.HasPrefix(path, tipOf(t, repo, dir)) {
				continue // what is gone from the very end is missed only by who has seen it: internal/verify
			}
			if !long && r.IntN(3) > 0 {
				continue
			}
			for name, damage := range damages {
				other := objects[r.IntN(len(objects))]
				for other == path {
					other = objects[r.IntN(len(objects))]
				}
				if name == "removed" && strings.HasPrefix(path, filepath.Join(dir, "s/members")) {
					continue // without any, every server is one: nothing is lost
				}
				undo := damage(t, path, other, r)
				tries++
				reading, verifying := s.read(repo, truth), verified(t, repo)
				if reading == nil || verifying == nil {
					t.Errorf("%s: %s by %s: reading: %v; verify: %v", name, path, other, reading, verifying)
				} else {
					found++
				}
				undo()
			}
		}
		t.Logf("%d of %d were found, of %d objects", found, tries, len(objects))
		if err := s.read(repo, truth); err != nil {
			t.Errorf("undamaged: %v", err)
		}
	})
}

// tipOf is where the objects of the log's last file are.
func tipOf(t *testing.T, repo *repository.Repository, dir string) string {
	t.Helper()
	files := load(t, repo).Files
	return filepath.Join(dir, files[len(files)-1].Folder("s"))
}

// damages damage an object; undo makes it whole again.
var damages = map[string]func(t *testing.T, path, other string, r *rand.Rand) (undo func()){
	"cut short": func(t *testing.T, path, _ string, r *rand.Rand) func() {
		data := bytesOf(t, path)
		return put(t, path, data[:r.IntN(len(data))])
	},
	"emptied": func(t *testing.T, path, _ string, _ *rand.Rand) func() { return put(t, path, nil) },
	"swapped": func(t *testing.T, path, other string, _ *rand.Rand) func() { return put(t, path, bytesOf(t, other)) },
	"removed": func(t *testing.T, path, _ string, _ *rand.Rand) func() { return move(t, path, path+".aside", nil) },
	"replaced": func(t *testing.T, path, other string, _ *rand.Rand) func() {
		hash := other[strings.LastIndexByte(other, '-'):]
		return move(t, path, path[:strings.LastIndexByte(path, '-')]+hash, bytesOf(t, other))
	},
}

func bytesOf(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func put(t *testing.T, path string, data []byte) (undo func()) {
	t.Helper()
	old := bytesOf(t, path)
	write := func(data []byte) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	write(data)
	return func() { write(old) }
}

// move removes an object; if there are data, they are one under another name.
func move(t *testing.T, path, to string, data []byte) (undo func()) {
	t.Helper()
	old := bytesOf(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if data != nil {
		if err := os.WriteFile(to, data, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if data != nil {
			if err := os.Remove(to); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, old, 0o400); err != nil {
			t.Fatal(err)
		}
	}
}

// read is what a restore does with the log: nil if it is the server's.
func (s *source) read(repo *repository.Repository, truth map[string][]byte) error {
	logs, err := archive.Load(s.t.Context(), repo, "s")
	if err != nil {
		return err
	}
	for _, l := range logs {
		if gaps := l.Gaps(); len(gaps) > 0 {
			return fmt.Errorf("gap: %v", gaps[0])
		}
		for _, f := range l.Files {
			path, err := archive.Fetch(s.t.Context(), repo, f, s.t.TempDir())
			if err != nil {
				return err
			}
			if !bytes.HasPrefix(bytesOf(s.t, path), truth[f.File]) { // the last one may have grown
				s.t.Errorf("%s has other bytes than the server's", f.File)
			}
		}
	}
	return nil
}

func verified(t *testing.T, repo *repository.Repository) error {
	t.Helper()
	_, err := verify.Run(t.Context(), verify.Options{Repository: repo, Set: "s"})
	return err
}
