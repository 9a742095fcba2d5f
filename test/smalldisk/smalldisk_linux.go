// Package smalldisk mounts small file systems for tests of full disks.
package smalldisk

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// Mount mounts a file system in memory of a size in bytes until the test ends,
// and returns its directory. The test is skipped where it is not allowed to:
// that takes root.
func Mount(t testing.TB, bytes int64) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("lifeboat-test", dir, "tmpfs", 0, size(bytes))
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

// Resize gives the file system another size, which what is on it must fit.
func Resize(t testing.TB, dir string, bytes int64) {
	t.Helper()
	if err := unix.Mount("lifeboat-test", dir, "tmpfs", unix.MS_REMOUNT, size(bytes)); err != nil {
		t.Fatal(err)
	}
}

func size(bytes int64) string { return fmt.Sprintf("size=%d", bytes) }
