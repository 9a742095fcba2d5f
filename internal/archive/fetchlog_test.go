package archive_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// TestFetchLog: what is fetched is what the server had; interrupted, it goes on;
// a file that is another one is left as it is, and said to be in the way.
func TestFetchLog(t *testing.T) {
	vendors(t, func(t *testing.T, d server.Distribution) {
		r := seeded(t)
		w := newWorld(t, d)
		stop := w.follow(w.options())
		for range 4 {
			w.traffic(10, r)
			w.exec("FLUSH BINARY LOGS")
		}
		w.await()
		stop()
		l, err := archive.Choose([]archive.Log{w.log()}, archive.Want{})
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "logs", "of")
		ctx, cancel := context.WithCancel(t.Context())
		rep, err := archive.FetchLog(ctx, w.repo, "s", l, dir, func(p archive.FetchProgress) {
			if p.Files == 2 {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) || len(rep.Files) != 2 {
			t.Fatalf("interrupted: %+v, %v", rep, err)
		}
		last := archive.FetchProgress{}
		rep, err = archive.FetchLog(t.Context(), w.repo, "s", l, dir, func(p archive.FetchProgress) { last = p })
		if err != nil || len(rep.Files) != len(l.Files) || len(rep.Gaps) > 0 || last.Files != len(l.Files)-1 || last.TotalFiles != len(l.Files) {
			t.Fatalf("%+v, %v; %+v", rep, err, last)
		}
		want := w.files()
		for i, f := range rep.Files {
			data, err := os.ReadFile(f.Path)
			if err != nil || !bytes.Equal(data, want[filepath.Base(f.Path)][:len(data)]) || int64(len(data)) != f.Bytes {
				t.Errorf("%s has %d bytes, and is not the server's: %v", f.Path, len(data), err)
			}
			if f.Kept != (i < 2) {
				t.Errorf("%s was there: %v", f.Path, f.Kept)
			}
		}
		if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}

		victim := rep.Files[1].Path
		mine, err := os.ReadFile(victim)
		if err != nil {
			t.Fatal(err)
		}
		for _, beginning := range [][]byte{mine[:len(mine)-5], mine[:10], nil} { // as of an earlier fetch, or of one that the disk has forgotten
			if err := os.WriteFile(victim, beginning, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := archive.FetchLog(t.Context(), w.repo, "s", l, dir, func(archive.FetchProgress) {}); err != nil {
				t.Errorf("%d bytes of it: %v", len(beginning), err)
			}
			if now, err := os.ReadFile(victim); err != nil || !bytes.Equal(now, mine) {
				t.Errorf("%d bytes of it are %d now: %v", len(beginning), len(now), err)
			}
		}
		other := bytes.Clone(mine)
		other[5] ^= 1
		for _, mine := range [][]byte{other, other[:10], append(bytes.Clone(mine), 0)} {
			if err := os.WriteFile(victim, mine, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := archive.FetchLog(t.Context(), w.repo, "s", l, dir, func(archive.FetchProgress) {}); fault.ClassOf(err) != fault.Refused {
				t.Errorf("%d bytes of mine: %v", len(mine), err)
			}
			if now, err := os.ReadFile(victim); err != nil || !bytes.Equal(now, mine) {
				t.Errorf("%d bytes of mine are %d now: %v", len(mine), len(now), err)
			}
		}
		for what, put := range map[string]func() error{
			"a pipe":                  func() error { return unix.Mkfifo(victim, 0o600) },
			"a link to nothing":       func() error { return os.Symlink("nowhere", victim) },
			"a directory of its name": func() error { return os.Mkdir(victim, 0o700) },
		} {
			if err := errors.Join(os.RemoveAll(victim), put()); err != nil {
				t.Fatal(err)
			}
			if _, err := archive.FetchLog(t.Context(), w.repo, "s", l, dir, func(archive.FetchProgress) {}); fault.ClassOf(err) != fault.Refused {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := os.RemoveAll(victim); err != nil {
			t.Fatal(err)
		}
		whole := w.log()
		whole.Files = append(whole.Files[:2:2], whole.Files[3:]...)
		if l, err = archive.Choose([]archive.Log{whole}, archive.Want{}); err != nil {
			t.Fatal(err)
		}
		rep, err = archive.FetchLog(t.Context(), w.repo, "s", l, dir, func(archive.FetchProgress) {})
		if fault.ClassOf(err) != fault.Gap || len(rep.Gaps) != 1 || len(rep.Files) != len(l.Files) {
			t.Errorf("a file is missing between: %+v, %v", rep.Gaps, err)
		}
	})
}
