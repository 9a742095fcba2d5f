//go:build long

package vm

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// TestWholeMachine: the guard as packaged, run by systemd, on a machine of its
// own: nothing of it is made up for the test. A live server is kept from
// restarts and reinstalls; disks under LVM, LUKS and md are in use or unknown,
// never clear; the drained machine restarts, through the drop-ins that
// refuse everybody else, and its log is whole afterwards.
func TestWholeMachine(t *testing.T) {
	said := bootWith(t, script(t, "machine.sh"), func(ctx context.Context, payload string) {
		binary := filepath.Join(t.TempDir(), "lifeboat-guard")
		run(ctx, t, "go", "build", "-o", binary, "../../../cmd/lifeboat-guard")
		run(ctx, t, "../../../packaging/guard/install", binary, filepath.Join(payload, "tree"))
		copyServer(ctx, t, payload)
		copyFile(t, "testdata/machine-boot2.sh", filepath.Join(payload, "boot2"))
	})
	for _, want := range []string{
		"unit verified", "agent active",
		"live: exec reboot 6", "live: exec reinstall 6", "live: not reinstalled",
		"lvm, active: 6", "lvm, inactive: 10",
		"luks, open: 10", "luks, closed: 10",
		"md, running: 6", "md, stopped: 10",
		"data on lvm: 6",
		"stopped: exec reinstall 6", "empty: exec wipe 0",
		"systemctl reboot is refused",
		"boot 2",
		"boot 2: agent active", "boot 2: audit verify 0",
		"boot 2: systemctl reboot is refused",
	} {
		if !said[want] {
			t.Errorf("the machine did not say %q", want)
		}
	}
}

func script(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// copyServer puts MariaDB and a data directory of its into the payload.
func copyServer(ctx context.Context, t *testing.T, payload string) {
	t.Helper()
	d := servertest.Of(t, server.MariaDB)
	tool, err := d.Tool("mariadb")
	if err != nil {
		t.Fatal(err)
	}
	prefix := filepath.Dir(filepath.Dir(tool))
	run(ctx, t, "cp", "-a", prefix, filepath.Join(payload, "server"))
	i, err := server.Start(ctx, d, server.Options{DataDir: filepath.Join(payload, "data")})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}
