package bench

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxRSS is in bytes; Linux counts in KiB.
func maxRSS(ru *syscall.Rusage) int64 { return ru.Maxrss << 10 }

// syncFileSystem writes out what a file system has in memory only.
func syncFileSystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}
