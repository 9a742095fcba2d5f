package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// pin confines a process, with all of its threads, to one processor. A thread
// that is made meanwhile has its maker's processors: it is looked for again.
func pin(pid, processor int) error {
	var want unix.CPUSet
	want.Set(processor)
	for changed := true; changed; {
		changed = false
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		for _, thread := range threads {
			tid, err := strconv.Atoi(thread.Name())
			if err != nil {
				return err
			}
			var has unix.CPUSet
			if err := unix.SchedGetaffinity(tid, &has); err == nil && has == want {
				continue
			}
			changed = true
			if err := unix.SchedSetaffinity(tid, &want); err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
				return fmt.Errorf("confine a process to processor %d: %w", processor, err)
			}
		}
	}
	return nil
}
