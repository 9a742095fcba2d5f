package replay

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/binlog"
)

// Pages of a mapped file that were read count as the process's memory until
// they are given back. This watcher gives them back when they exceed
// residentMost; reading them again costs a page fault, and the page cache
// still has them.
const (
	residentMost  = 96 << 20
	residentCheck = 10 * time.Millisecond
)

func watchResident(ctx context.Context, files []*binlog.File) {
	tick := time.NewTicker(residentCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if fileResident() < residentMost {
			continue
		}
		for _, f := range files {
			f.Release(0, int64(len(f.Data)))
		}
	}
}

// fileResident is the size of resident file-backed pages, in bytes: the third
// field of /proc/self/statm, in pages.
func fileResident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b)
	if len(fields) < 3 {
		return 0
	}
	n, err := strconv.ParseInt(string(fields[2]), 10, 64)
	if err != nil {
		return 0
	}
	return n * int64(os.Getpagesize())
}
