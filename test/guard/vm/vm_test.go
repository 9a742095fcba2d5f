//go:build long

package vm

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/installed"
)

// refused are the ways to end a running system that go through systemd's
// manager. Each must leave the machine running, with no agent there at all.
var refused = []string{
	"systemctl reboot", "reboot", "shutdown -r now", "shutdown -r +0", "poweroff", "halt", "shutdown -h now",
	"systemctl start reboot.target", "systemctl isolate reboot.target",
	"systemctl start systemd-reboot.service", "systemctl start systemd-poweroff.service",
	"init 6", "telinit 0",
	"busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager Reboot b false",
	"busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager PowerOff b false",
	"systemctl start ctrl-alt-del.target", "systemctl start runlevel6.target", "systemctl start shutdown.target",
	"systemctl start --job-mode=ignore-dependencies reboot.target",
}

// TestSystemdRefuses: with the drop-ins nothing but a permitted reboot passes,
// and revoking the permit directly after systemctl has returned does not stop
// the reboot that is under way.
func TestSystemdRefuses(t *testing.T) {
	script := refusals(refused)
	script += "permit grant; permit revoke\n" + refusals([]string{"systemctl reboot "})
	script += "permit grant\n" + refusals([]string{"systemctl poweroff"})
	script += "systemctl reboot; permit revoke; say revoked; sleep 90; say NO-REBOOT; off\n"
	said := boot(t, true, script)
	want := append(append([]string{}, refused...), "systemctl reboot ", "systemctl poweroff")
	for _, command := range want {
		if !said["STAYED "+strings.TrimSpace(command)] {
			t.Errorf("%q: the machine did not say that it stayed", command)
		}
	}
	for line := range said {
		if strings.HasPrefix(line, "GOING-DOWN") || line == "NO-REBOOT" {
			t.Error(line)
		}
	}
	if !said["boot 2"] {
		t.Error("the permitted reboot did not bring the machine back")
	}
}

// TestSystemdWithoutDropIns: the test above can fail.
func TestSystemdWithoutDropIns(t *testing.T) {
	if said := boot(t, false, refusals([]string{"systemctl reboot"})+"off\n"); said["STAYED systemctl reboot"] || !said["boot 2"] {
		t.Errorf("a machine without the drop-ins was not rebooted: %v", said)
	}
}

func refusals(commands []string) string {
	var b strings.Builder
	for _, c := range commands {
		b.WriteString("try " + c + "\n")
	}
	return b.String()
}

// boot runs a script in a fresh machine and returns the lines it has said. The
// machine switches itself off when it has come back a second time.
func boot(t *testing.T, dropIns bool, script string) map[string]bool {
	t.Helper()
	return bootWith(t, script, func(ctx context.Context, payload string) {
		if dropIns {
			run(ctx, t, "../../../packaging/guard/install", "/bin/true", filepath.Join(payload, "tree"))
		}
	})
}

// bootWith is boot with what prepare puts into the payload: its directory tree
// is copied over the machine's root, and its script boot2 is run when the
// machine has come back.
func bootWith(t *testing.T, script string, prepare func(ctx context.Context, payload string)) map[string]bool {
	t.Helper()
	repo, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	if os.Geteuid() != 0 {
		t.Skip("scripts/vm needs root")
	}
	run(ctx, t, filepath.Join(repo, "scripts/vm"))
	vm, dir := filepath.Join(installed.Dir(), "vm"), t.TempDir()
	payload := filepath.Join(dir, "payload")
	if err := os.MkdirAll(filepath.Join(payload, "tree"), 0o755); err != nil {
		t.Fatal(err)
	}
	prepare(ctx, payload)
	prelude, err := os.ReadFile("testdata/prelude.sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(payload, "run"), append(prelude, script...), 0o644); err != nil {
		t.Fatal(err)
	}
	tar, disk := filepath.Join(dir, "payload.tar"), filepath.Join(dir, "disk.img")
	run(ctx, t, "tar", "-C", payload, "-cf", tar, ".")
	run(ctx, t, "cp", "--sparse=always", filepath.Join(vm, "base.img"), disk)
	run(ctx, t, "truncate", "-s", "6G", disk) // a script that needs it grows the filesystem
	qemu := exec.CommandContext(ctx, filepath.Join(vm, "qemu"), "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "qemu64",
		"-m", "1024", "-smp", "2", "-display", "none", "-serial", "stdio", "-monitor", "none", "-vga", "none", "-net", "none",
		"-kernel", filepath.Join(vm, "kernel"), "-initrd", filepath.Join(vm, "initrd"),
		"-append", "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=no",
		"-drive", "file="+disk+",if=virtio,format=raw,cache=unsafe", "-drive", "file="+tar+",if=virtio,format=raw,readonly=on")
	out, err := qemu.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(map[string]bool)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, line, ok := strings.Cut(lines.Text(), "VM: "); ok {
			t.Log(strings.TrimSpace(line))
			said[strings.TrimSpace(line)] = true
		}
	}
	if err := qemu.Wait(); err != nil {
		t.Fatalf("qemu: %v", err)
	}
	return said
}

func run(ctx context.Context, t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
