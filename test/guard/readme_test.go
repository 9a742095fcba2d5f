package guard

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/test/readme"
)

// TestReadme runs README's commands as they stand there, with the real program
// and its usual paths. The world of this test is a container to it, so it
// refuses everything: that is the answer that is checked.
func TestReadme(t *testing.T) {
	commands := readme.Blocks(t, "test/guard", 1)[0]
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../../cmd/lifeboat-guard").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, dir := range []string{"/var/lib", "/run"} { // this world's own
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
	done := "/tmp/reinstalled"
	_ = os.Remove(done)
	cmd := exec.CommandContext(t.Context(), "/bin/bash", "-c", commands+"\nkill %1; wait")
	cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin:/usr/sbin:/sbin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Logf("it ends with %v", err)
	}
	for _, want := range []string{"guarding this machine", "REFUSED reinstall", "Facts:", "every one as it was written"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in the output:\n%s", want, out)
		}
	}
	if _, err := os.Stat(done); err == nil {
		t.Error("the command has run")
	}
	if _, err := os.Stat(filepath.Join("/var/lib/lifeboat-guard", "audit.log")); err != nil {
		t.Error(err)
	}
}
