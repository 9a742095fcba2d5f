package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// TestClassify: what a filesystem's errors are to the operator. Those that no
// test can make a disk give are made here.
func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err   error
		class fault.Class
		hint  string
	}{
		{syscall.ENOSPC, fault.NoSpace, "free some space"},
		{syscall.EDQUOT, fault.NoSpace, "free some space"},
		{syscall.EIO, fault.Storage, "the disk has errors"},
		{syscall.EROFS, fault.Storage, "read-only"},
		{syscall.EACCES, fault.Storage, "permissions"},
		{syscall.EPERM, fault.Storage, "hard links"},
		{syscall.EMLINK, fault.Storage, "hard links"},
		{syscall.EOPNOTSUPP, fault.Storage, "hard links"},
		{syscall.ESTALE, fault.Storage, ""},
		{fs.ErrExist, fault.Failed, ""},
		{fs.ErrNotExist, fault.Failed, ""},
		{context.Canceled, fault.Failed, ""},
	} {
		err := classify("put", &os.PathError{Op: "openat", Path: "a/x", Err: c.err})
		if !errors.Is(err, c.err) || fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.hint) {
			t.Errorf("%v: %v of class %d, want %d", c.err, err, fault.ClassOf(err), c.class)
		}
	}
	if classify("put", nil) != nil {
		t.Error("an error of nothing")
	}
}

// TestBackoff: waits grow to the longest, and no two writers wait alike.
func TestBackoff(t *testing.T) {
	for n := 1; n < 200; n++ {
		full := min(firstWait<<min(n-1, 16), longestWait)
		for range 20 {
			if wait := backoff(n, longestWait); wait < full/2 || wait > full {
				t.Errorf("try %d: %v, want %v to %v", n, wait, full/2, full)
			}
		}
	}
	if wait := backoff(5, time.Millisecond); wait > time.Millisecond {
		t.Errorf("%v", wait)
	}
}
