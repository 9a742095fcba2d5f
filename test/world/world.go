// Package world furnishes the namespaces in which tests of the guard have a
// machine to themselves.
package world

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Settle is called by the first process of new PID and mount namespaces. It
// mounts the world's own /proc, and takes away what lies hidden below other
// mounts, and what other tests have mounted at this moment, such as small disks
// in memory with a server's data: a guard would rightly refuse them.
func Settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	for range 3 {
		_ = unix.Unmount("/dev/shm", unix.MNT_DETACH)
		_ = unix.Unmount("/dev/pts", unix.MNT_DETACH)
	}
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[4], os.TempDir()+"/") {
			continue
		}
		if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // it has gone with another
			return fmt.Errorf("unmount %s: %w", fields[4], err)
		}
	}
	return nil
}
