package automation

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/agent"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/process"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/world"
)

// inside marks the process that is the first one of its world: PID and mount
// namespaces, in which an agent can see everything (see test/guard).
const inside = "LIFEBOAT_TEST_WORLD"

func TestMain(m *testing.M) {
	agent.MaybeCanary()
	if os.Geteuid() != 0 {
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

func enter() int {
	cmd := exec.CommandContext(context.Background(), os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "a world of its own:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// machine is a world with a system disk and a data disk, a server on the
// latter, and the guard's real agent and program.
type machine struct {
	t      *testing.T
	dir    string
	mark   string // what the destructive command would make
	guard  string // the program, told of this machine's socket
	socket string
	data   string // device
	live   *server.Instance
}

// newMachine starts a machine with a live server. Mark is a file that the
// commands of reboot and reinstall would make; config is added to the
// configuration.
func newMachine(t *testing.T, config string) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("an agent on loop devices needs root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("an agent on disks of its own needs loop devices")
	}
	dir := t.TempDir()
	m := &machine{t: t, dir: dir, mark: filepath.Join(dir, "mark"), guard: filepath.Join(dir, "guard"), socket: filepath.Join(dir, "agent/guard.sock")}
	must(t, "go", "build", "-o", filepath.Join(dir, "lifeboat-guard"), "../../../cmd/lifeboat-guard")
	write(t, m.guard, "#!/bin/sh\nverb=$1\nshift\nexec "+filepath.Join(dir, "lifeboat-guard")+" \"$verb\" --socket "+m.socket+" \"$@\"\n")
	system := m.disk("system", 64<<20, "sys")
	m.data = m.disk("data", 600<<20, "data")
	live, err := server.Start(t.Context(), servertest.All(t)[0], server.Options{DataDir: filepath.Join(dir, "data/db")})
	if err != nil {
		t.Fatal(err)
	}
	m.live = live
	t.Cleanup(func() { _ = live.Kill(); _ = live.Stop(context.Background()) })
	m.serve(config, system)
	return m
}

// disk makes a loop device with a filesystem, and mounts it.
func (m *machine) disk(name string, size int64, dir string) string {
	m.t.Helper()
	file, dir := filepath.Join(m.dir, name+".img"), filepath.Join(m.dir, dir)
	write(m.t, file, "")
	if err := os.Truncate(file, size); err != nil {
		m.t.Fatal(err)
	}
	device := must(m.t, "losetup", "-f", "--show", file)
	m.t.Cleanup(func() {
		for range 100 {
			_ = exec.CommandContext(context.Background(), "losetup", "-d", device).Run()
			if out, err := exec.CommandContext(context.Background(), "losetup", "-n", "-O", "BACK-FILE", device).Output(); err != nil || !strings.Contains(string(out), file) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		m.t.Errorf("%s cannot be detached", device)
	})
	must(m.t, "mkfs.ext4", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1", device)
	must(m.t, "mkdir", dir)
	must(m.t, "mount", device, dir)
	m.t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return device
}

func (m *machine) serve(config, system string) {
	m.t.Helper()
	path := filepath.Join(m.dir, "guard.yaml")
	text := "version: 1\nnext_boot: disk\nrequests: {clock_unchecked: true}\ncommands:\n  reboot: [[/bin/touch, " + m.mark + "]]\n  reinstall: [[/bin/touch, " + m.mark + "]]\n" + config
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	links := map[string]string{}
	for _, ns := range []string{"pid", "user"} {
		link, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			m.t.Fatal(err)
		}
		links[ns] = link
	}
	a, err := agent.New(agent.Options{
		ConfigPath: path, StateDir: filepath.Join(m.dir, "sys/guard"), Version: "test",
		World: agent.World{
			Processes: process.World{PIDNS: links["pid"], UserNS: links["user"], NoKernel: true},
			Devices:   []string{system, m.data},
		},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var l *net.UnixListener
	if l, err = agent.Listen(ctx, m.socket); err == nil {
		err = a.Admit(m.socket, func(string) (int, error) { return sshGroup, nil })
	}
	if err != nil {
		m.t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		if err := a.Run(ctx, l); err != nil {
			m.t.Error(err)
		}
	})
	m.t.Cleanup(func() {
		stop()
		served.Wait()
		if err := a.Close(); err != nil {
			m.t.Error(err)
		}
	})
}

// drain shuts the server down and removes its data.
func (m *machine) drain() {
	m.t.Helper()
	if err := m.live.Shutdown(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	must(m.t, "rm", "-rf", filepath.Join(m.dir, "data/db"))
	must(m.t, "umount", filepath.Join(m.dir, "data"))
}

// acted reports whether the destructive command has run since it was asked for
// the last time.
func (m *machine) acted() bool {
	err := os.Remove(m.mark)
	return err == nil
}

// audited counts the records of a kind in the audit log.
func (m *machine) audited(kind string) int {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, "sys/guard/audit.log"))
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.Count(string(text), `"`+kind+`"`)
}
