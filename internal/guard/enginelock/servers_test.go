package enginelock_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/enginelock"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/process"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestServers: a running server holds its locks, and while the guard holds them
// none starts.
func TestServers(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		dir := filepath.Join(t.TempDir(), "db")
		i := servertest.StartWith(t, d, server.Options{DataDir: dir})
		paths, err := process.LockFiles(nil, []string{dir})
		if err != nil || !slices.Contains(paths, filepath.Join(dir, "ibdata1")) {
			t.Fatal(paths, err)
		}
		for _, path := range paths {
			if _, pid, held, err := enginelock.Test(path); err != nil || held && pid != i.PID() || !held && filepath.Base(path) == "ibdata1" {
				t.Errorf("%s: held %v by %d, %v", path, held, pid, err)
			}
		}
		if _, err := enginelock.Take(paths); err == nil {
			t.Error("taken from a running server")
		}
		if err := i.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if paths, err = process.LockFiles(nil, []string{dir}); err != nil { // some are there only while it runs
			t.Fatal(err)
		}
		held, err := enginelock.Take(paths)
		if err != nil {
			t.Fatal(err)
		}
		if j, err := server.Start(t.Context(), d, server.Options{DataDir: dir, Timeout: 3 * time.Second}); err == nil {
			t.Error("a server has started on locked files")
			_ = j.Stop(context.Background())
		} else if !strings.Contains(strings.ToLower(err.Error()), "lock") {
			t.Errorf("it has not started for another reason: %v", err)
		}
		if err := held.Close(); err != nil {
			t.Fatal(err)
		}
		j, err := server.Start(t.Context(), d, server.Options{DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
