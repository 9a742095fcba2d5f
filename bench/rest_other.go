//go:build !linux

package bench

import "syscall"

func maxRSS(ru *syscall.Rusage) int64 { return int64(ru.Maxrss) }

func syncFileSystem(string) error {
	syscall.Sync()
	return nil
}
