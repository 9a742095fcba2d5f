package automation

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const boardUUID = "4c4c4544-0042-3510-8052-b4c04f4b4e31"

// overlay mounts memory over a directory of this world.
func overlay(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("none", dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// TestTicket: a machine that may be installed anew releases itself to who boots
// it, and nobody else is served. From the agent to the boot handler all is real;
// only the board's UUID, which this machine may not have, is made up.
func TestTicket(t *testing.T) {
	m := newMachine(t, "")
	// A directory in which only root can write, as the gate demands.
	overlay(t, "/opt")
	program := "/opt/lifeboat-guard"
	must(t, "cp", filepath.Join(m.dir, "lifeboat-guard"), program)
	blocks := filepath.Join(m.dir, "blocks")
	must(t, "mkdir", blocks)
	must(t, "mount", "--bind", "/sys/class/block", blocks)
	t.Cleanup(func() { _ = unix.Unmount(blocks, unix.MNT_DETACH) })
	overlay(t, "/sys/class")
	must(t, "mkdir", "/sys/class/block")
	must(t, "mount", "--bind", blocks, "/sys/class/block")
	t.Cleanup(func() { _ = unix.Unmount("/sys/class/block", unix.MNT_DETACH) })
	if err := errors.Join(os.MkdirAll("/sys/class/dmi/id", 0o755), os.WriteFile("/sys/class/dmi/id/product_uuid", []byte(strings.ToUpper(boardUUID)+"\n"), 0o444)); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(m.dir, "sys/guard")
	tickets := filepath.Join(m.dir, "tickets")
	must(t, "mkdir", tickets)
	ticket := filepath.Join(tickets, boardUUID+".json")
	issue := []string{"reinstall", "--", program, "ticket", "issue", "--state", state, "--out", ticket}

	if code, _ := guardSays(t, program, "ticket", "issue", "--state", state); code != 14 {
		t.Errorf("a ticket that no gate has let pass: exit %d, want 14", code)
	}
	if code, out := guardSays(t, m.guard, append([]string{"exec"}, issue...)...); code != 6 {
		t.Errorf("a live server's machine: exit %d, want 6: %s", code, out)
	}
	if _, err := os.Stat(ticket); err == nil {
		t.Fatal("a live server's machine is released")
	}

	m.drain()
	identity := must(t, m.guard, "identity")
	machines := filepath.Join(m.dir, "machines.json")
	// The agent was started before the board had its UUID.
	identity = strings.Replace(identity, `"machine_id"`, `"dmi_uuid":"`+boardUUID+`","machine_id"`, 1)
	write(t, machines, identity)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	exec := exec.CommandContext(ctx, m.guard, append([]string{"exec"}, append(issue, "--valid", "20s")...)...)
	var said strings.Builder
	exec.Stdout, exec.Stderr = &said, &said
	if err := exec.Start(); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if _, err := os.Stat(ticket); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	text, err := os.ReadFile(ticket)
	if err != nil {
		t.Fatal(err, said.String())
	}
	if code, _ := guardSays(t, m.guard, "exec", "reinstall", "--", "/bin/touch", m.mark); code != 7 || m.acted() {
		t.Errorf("a released machine takes another command: exit %d, want 7", code)
	}
	env := []string{"GUARD=" + program}
	verify := func(uuid, spent string) int {
		write(t, filepath.Join(m.dir, "copy.json"), string(text))
		code, _ := guardSays(t, program, "ticket", "verify", "--uuid", uuid, "--machines", machines, "--spent", filepath.Join(m.dir, spent), filepath.Join(m.dir, "copy.json"))
		return code
	}
	for _, c := range []struct {
		uuid, spent string
		want        int
	}{
		{boardUUID, "one", 0}, {boardUUID, "one", 14}, {strings.ToUpper(boardUUID), "two", 0},
		{strings.Replace(boardUUID, "4c", "5c", 1), "two", 14}, {"", "two", 2},
	} {
		if got := verify(c.uuid, c.spent); got != c.want {
			t.Errorf("verify %s %s: exit %d, want %d", c.uuid, c.spent, got, c.want)
		}
	}
	if _, out := example(t, env, "boot-handler", boardUUID, tickets, machines); !strings.Contains(out, "installer") {
		t.Errorf("the released machine is not served: %s", out)
	}
	write(t, ticket, string(text)) // somebody has kept a copy
	if _, out := example(t, env, "boot-handler", boardUUID, tickets, machines); strings.Contains(out, "installer") {
		t.Error("served twice")
	}
	_ = exec.Wait() // the ticket expires
	if code := exec.ProcessState.ExitCode(); code != 20 {
		t.Errorf("an unused ticket: exit %d, want 20 (the command ended with 13)", code)
	}
	if got := verify(boardUUID, "three"); got != 13 {
		t.Errorf("an expired ticket: exit %d, want 13", got)
	}
}

func guardSays(t *testing.T, program string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}
