package guard

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/askguard"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/guard/agent"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestRestoreAsks: a restore asks the agent of its machine, which knows where a
// server lives, and what it cannot know.
func TestRestoreAsks(t *testing.T) {
	m := newMachine(t, servertest.Of(t, server.MariaDB))
	i := m.start()
	m.guard()
	g := askguard.Guard{Socket: filepath.Join(m.dir, "guard.sock")}
	l, err := agent.Listen(t.Context(), g.Socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- agent.Serve(ctx, l, m.agent) }()
	refused := func(dir, says string) {
		t.Helper()
		if err := g.Restore(t.Context(), dir); fault.ClassOf(err) != fault.Refused || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", dir, err, says)
		}
	}
	if err := g.Restore(t.Context(), filepath.Join(m.mnt, "other")); err != nil {
		t.Errorf("beside a live server: %v", err)
	}
	refused(m.datadir(), "ACTIVE")
	refused(m.mnt, "ACTIVE")
	refused(filepath.Join(m.datadir(), "mysql"), "ACTIVE")
	if err := i.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g.Restore(t.Context(), m.datadir()); err != nil { // what is in it is the restore's own question
		t.Errorf("the server is down: %v", err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	g.Config = filepath.Join(m.dir, "guard.yaml")
	refused(filepath.Join(m.mnt, "other"), "does not say what lives here")
}

// TestRestoreProgram: the real programs at their usual paths. The world of this
// test is a container to the guard, so it cannot know, and lifeboat restores
// nothing.
func TestRestoreProgram(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../../cmd/lifeboat", "../../cmd/lifeboat-guard").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, own := range []string{"/var/lib", "/run"} { // this world's own
		if err := unix.Mount("tmpfs", own, "tmpfs", 0, "size=16m"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(own, unix.MNT_DETACH) })
	}
	program := func(name string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, name), args...)
		cmd.Env = append(os.Environ(), "LIFEBOAT_SET=s", "LIFEBOAT_REPO1_URL="+filepath.Join(dir, "repository"))
		return cmd
	}
	if out, err := program("lifeboat", "repository", "create").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	restore := func(name string, code int, says string) {
		t.Helper()
		cmd := program("lifeboat", "restore", "--dir", filepath.Join(dir, name), "--mysqld", "/bin/true")
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != code || !strings.Contains(string(out), says) {
			t.Errorf("it ends with %d, want %d, %q:\n%s", cmd.ProcessState.ExitCode(), code, says, out)
		}
	}
	restore("free", 5, "no backup") // no guard
	agent := program("lifeboat-guard", "agent")
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	socket := askguard.Installed().Socket
	for range 200 {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	restore("new", 6, "UNKNOWN")
	_ = agent.Process.Kill()
	_ = agent.Wait()
	restore("new", 6, "does not say what lives here")
	if _, err := os.Stat(filepath.Join(dir, "new.restore")); err == nil {
		t.Error("something has been made")
	}
}
