package archive_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestFetchLog: what is fetched is what the server had; interrupted, it goes on;
// a file that is another one is left as it is, and said to be in the way.
func TestFetchLog(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
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
		mine[len(mine)/2] ^= 1
		for _, mine := range [][]byte{mine, mine[:10], nil} {
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
		if err := os.Remove(victim); err != nil {
			t.Fatal(err)
		}
		l.Files = append(l.Files[:2:2], l.Files[3:]...)
		rep, err = archive.FetchLog(t.Context(), w.repo, "s", l, dir, func(archive.FetchProgress) {})
		if fault.ClassOf(err) != fault.Gap || len(rep.Gaps) != 1 || len(rep.Files) != len(l.Files) {
			t.Errorf("a file is missing between: %+v, %v", rep.Gaps, err)
		}
	})
}
