package fault_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// TestFromOS: an error of the operating system gets the class of its cause, and
// one that has a class keeps it.
func TestFromOS(t *testing.T) {
	for _, c := range []struct {
		err  error
		want fault.Class
	}{
		{&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, fault.NoSpace},
		{fmt.Errorf("a: %w", syscall.EDQUOT), fault.NoSpace},
		{&os.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, fault.Storage},
		{syscall.EROFS, fault.Storage},
		{syscall.EIO, fault.Storage},
		{fs.ErrNotExist, fault.Failed},
		{fault.New(fault.Gap, syscall.ENOSPC, ""), fault.Gap},
	} {
		if got := fault.FromOS(c.err); fault.ClassOf(got) != c.want || !errors.Is(got, c.err) {
			t.Errorf("%v: %v of class %d, want %d", c.err, got, fault.ClassOf(got), c.want)
		}
	}
	if fault.FromOS(nil) != nil {
		t.Error("nothing is an error")
	}
}

// TestError: the next step is a part of the text, and the class is found behind
// other errors.
func TestError(t *testing.T) {
	err := fmt.Errorf("outer: %w", fault.New(fault.Busy, errors.New("held"), "wait for it"))
	if err.Error() != "outer: held; wait for it" || fault.ClassOf(err) != fault.Busy {
		t.Errorf("%v of class %d", err, fault.ClassOf(err))
	}
	if err := fault.Usagef("--x %d", 3); err.Error() != "--x 3" || fault.ClassOf(err) != fault.Usage || fault.ClassOf(errors.New("x")) != fault.Failed {
		t.Errorf("%v of class %d", err, fault.ClassOf(err))
	}
}
