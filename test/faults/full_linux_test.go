package faults_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/test/faults/rig"
	"github.com/lifeboat-db/lifeboat/test/smalldisk"
)

// The target's disk fills up: exit code 9. When it has room again the same
// command goes on.
func TestDiskFull(t *testing.T) {
	one(t, 2, func(t *testing.T, d server.Distribution) {
		t.Logf("LIFEBOAT_SEED=%d", seed)
		w := busy(t, d)
		const room = 10 << 20 // the replay needs more
		disk := smalldisk.Mount(t, ample)
		target := w.Target(t, disk)
		smalldisk.Resize(t, disk, used(t, disk)+room) // a server that starts takes some
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
		smalldisk.Resize(t, disk, ample)
		if target.PID() == 0 {
			said, err := os.ReadFile(target.ErrorLog())
			t.Logf("the server had ended: %s (%v)", said, err)
			if err := target.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		finish(t, args)
		same(t, w, target, "full disk")
	})
}

// used is what a file system holds.
func used(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize //nolint:gosec // a test's file system is small
}

// ample is a size that is never reached.
const ample = 2 << 30
