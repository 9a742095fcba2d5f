package automation

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/installed"
)

// TestAnsible: the play against a real agent. A machine with a live server
// ends the play with the guard's own words, and nothing is done; a second host
// is not asked any more. A drained one is "rebooted".
func TestAnsible(t *testing.T) {
	m := newMachine(t, "")
	play := playbook(t, m.dir, "[databases]\ndb1 ansible_connection=local\ndb2 ansible_connection=local\n")
	vars := `{"guard": "` + m.guard + `", "guard_command": ["/bin/touch", "` + m.mark + `"]}`

	code, out := play("reboot.yml", "-e", vars)
	if code == 0 || m.acted() {
		t.Fatalf("a live server's machine was rebooted: exit %d\n%s", code, out)
	}
	for _, want := range []string{`"rc": 6`, "REFUSED reboot", "something lives"} {
		if !strings.Contains(out, want) {
			t.Errorf("the play does not say %q:\n%s", want, out)
		}
	}
	if n := m.audited("refused"); n != 1 {
		t.Errorf("%d refusals, want 1: the second host must not be asked", n)
	}

	m.drain()
	if code, out := play("reboot.yml", "-e", vars, "-l", "db1"); code != 0 || !m.acted() {
		t.Errorf("a drained machine was not rebooted: exit %d\n%s", code, out)
	}
	if code, out := play("reboot.yml", "-e", vars, "-l", "db1", "--check"); code != 0 || m.acted() {
		t.Errorf("--check: exit %d, or something was done\n%s", code, out)
	}
	if code, _ := play("reboot.yml", "-e", `{"guard": "/nonexistent/lifeboat-guard"}`, "-l", "db1"); code == 0 {
		t.Error("the play succeeds without a guard")
	}
}

// playbook installs a private Ansible and returns how to run an example.
func playbook(t *testing.T, dir, hosts string) func(name string, args ...string) (int, string) {
	t.Helper()
	repo, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	must(t, filepath.Join(repo, "scripts/ansible"))
	inventory := filepath.Join(dir, "inventory")
	write(t, filepath.Join(dir, "ansible.cfg"), "")
	write(t, inventory, hosts)
	if err := os.Chmod(inventory, 0o644); err != nil { // one that is executable is run
		t.Fatal(err)
	}
	ansible := filepath.Join(installed.Dir(), "ansible")
	return func(name string, args ...string) (int, string) {
		args = append([]string{"-i", inventory, "-e", "ansible_python_interpreter=" + ansible + "/python", filepath.Join(repo, "examples/guard", name)}, args...)
		cmd := exec.CommandContext(t.Context(), filepath.Join(ansible, "ansible-playbook"), args...)
		cmd.Env = append(os.Environ(), "HOME="+dir, "ANSIBLE_CONFIG="+filepath.Join(dir, "ansible.cfg"), "ANSIBLE_LOCAL_TEMP="+dir+"/local", "ANSIBLE_REMOTE_TEMP="+dir+"/remote",
			"ANSIBLE_NOCOLOR=1", "ANSIBLE_RETRY_FILES_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
}
