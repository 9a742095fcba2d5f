package faults_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
)

// The target's disk fills up: exit code 9. When it has room again the same
// command goes on.
func TestDiskFull(t *testing.T) {
	one(t, 2, func(t *testing.T, d server.Distribution) {
		t.Logf("LIFEBOAT_SEED=%d", seed)
		w := busy(t, d)
		const room = 10 << 20 // the replay needs more
		disk := mountSmall(t, size(t, w.Cold)+room)
		target := w.Target(t, disk)
		args := command(w, target.DSN(""))
		r := rig.Run(t, lifeboat, args...)
		checkMessage(t, r)
		if r.Code != 9 {
			t.Errorf("full disk: want exit code 9: %v", r)
		}
		t.Logf("full disk: %s", strings.TrimSpace(r.Stderr))
		again := rig.Run(t, lifeboat, args...)
		if again.Code != 9 {
			t.Errorf("still full: want exit code 9: %v", again)
		}
		resize(t, disk, size(t, w.Cold)+1<<30)
		if target.PID() == 0 {
			t.Log("the server had ended")
			if err := target.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		finish(t, args)
		same(t, w, target, "full disk")
	})
}

// size is what the files of a directory take.
func size(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		bytes += (info.Size() + 4095) &^ 4095
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// mountSmall mounts a file system in memory for the test, which has to be root.
func mountSmall(t *testing.T, bytes int64) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("lifeboat-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes))
	if errors.Is(err, unix.EPERM) {
		t.Skip("mounting a small disk needs root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func resize(t *testing.T, dir string, bytes int64) {
	t.Helper()
	if err := unix.Mount("lifeboat-test", dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatal(err)
	}
}
