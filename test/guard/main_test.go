// Package guard tries to destroy machines.
//
// A machine here is a world of its own: PID and mount namespaces in which the
// tests are the first process, with loop devices for disks, and real servers.
// The agent is the real one; only what the world consists of is told to it.
// (The machine below may hide its own first process, as sandboxes and CI
// runners do; there the guard refuses everything, rightly.)
package guard

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/agent"
	"github.com/lifeboat-db/lifeboat/test/world"
)

// inside marks the process that is the first one of its world.
const inside = "LIFEBOAT_TEST_WORLD"

func TestMain(m *testing.M) {
	agent.MaybeCanary()
	if os.Geteuid() != 0 {
		fmt.Println("skipped: these tests mount loop devices and need root")
		return
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		fmt.Println("skipped: these tests need loop devices:", err)
		return
	}
	if os.Getenv(outside) != "" { // the other machines
		os.Exit(m.Run())
	}
	if os.Getenv(inside) == "" {
		os.Exit(enter())
	}
	if err := world.Settle(); err != nil {
		fmt.Fprintln(os.Stderr, "the world:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// enter runs the same tests in a world of their own, with other machines
// outside of it.
func enter() int {
	socket, end, err := startOthers()
	if err != nil {
		fmt.Fprintln(os.Stderr, "other machines:", err)
		return 1
	}
	defer end()
	cmd := exec.CommandContext(context.Background(), os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1", others+"="+socket)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "a world of its own:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}
