package automation

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestUpgradeStops: whatever a host answers but 0 ends the script with that
// status, and no host after it is asked. The program in the place of ssh only
// records who was asked; the answers are the guard's exit codes.
func TestUpgradeStops(t *testing.T) {
	for _, code := range []string{"0", "1", "2", "6", "7", "10", "11", "12", "13", "14", "20", "21", "127", "255"} {
		dir := t.TempDir()
		asked := filepath.Join(dir, "asked")
		write(t, filepath.Join(dir, "ssh"), "#!/bin/sh\ncase $3 in *@db2) s="+code+";; *) s=0;; esac\necho $3 >>"+asked+"\ncat >/dev/null\nexit $s\n")
		for _, host := range []string{"db1", "db2", "db3"} {
			write(t, filepath.Join(dir, host+".json"), "{}")
		}
		got, _ := example(t, []string{"SSH=" + filepath.Join(dir, "ssh")}, "upgrade", dir, "db1", "db2", "db3")
		text, err := os.ReadFile(asked)
		if err != nil {
			t.Fatal(err)
		}
		want := 2
		if code == "0" {
			want = 3
		}
		if n := strings.Count(string(text), "\n"); n != want || code != strconv.Itoa(got) {
			t.Errorf("db2 answers %s: exit %d, %d hosts asked, want %d", code, got, n, want)
		}
	}
}

// TestUpgradeNeedsEachRequest: one host without a request, and none is asked.
func TestUpgradeNeedsEachRequest(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "db1.json"), "{}")
	asked := filepath.Join(dir, "asked")
	write(t, filepath.Join(dir, "ssh"), "#!/bin/sh\necho $3 >>"+asked+"\n")
	for _, hosts := range [][]string{{"db1", "db2"}, {"db1", ""}, {"db1", "-oProxyCommand=x"}, {"db1", "../db1"}, {}} {
		code, _ := example(t, []string{"SSH=" + filepath.Join(dir, "ssh")}, "upgrade", append([]string{dir}, hosts...)...)
		if _, err := os.Stat(asked); code != 2 || err == nil {
			t.Errorf("%q: exit %d, want 2 and nobody asked", hosts, code)
		}
	}
}

// TestBootHandler: no answer of the verifier but 0 serves the installer, and a
// ticket serves once. The program in the place of the guard gives the answer.
func TestBootHandler(t *testing.T) {
	const uuid = "4c4c4544-0042-3510-8052-b4c04f4b4e31"
	for _, answer := range []string{"0", "1", "2", "10", "12", "13", "127"} {
		dir := t.TempDir()
		guard := filepath.Join(dir, "guard")
		write(t, guard, "#!/bin/sh\nexit "+answer+"\n")
		env := []string{"GUARD=" + guard}
		if _, out := example(t, env, "boot-handler", uuid, dir, "keys"); strings.Contains(out, "installer") {
			t.Error("served without a ticket")
		}
		write(t, filepath.Join(dir, uuid+".json"), "{}")
		for _, bad := range []string{"", "../" + uuid, uuid + "\n", "*"} {
			if _, out := example(t, env, "boot-handler", bad, dir, "keys"); strings.Contains(out, "installer") {
				t.Errorf("served to %q", bad)
			}
		}
		_, first := example(t, env, "boot-handler", uuid, dir, "keys")
		_, second := example(t, env, "boot-handler", uuid, dir, "keys")
		if strings.Contains(first, "installer") != (answer == "0") || strings.Contains(second, "installer") {
			t.Errorf("verifier answers %s: first %q, second %q", answer, first, second)
		}
	}
}

func example(t *testing.T, env []string, name string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join("../../../examples/guard", name), args...)
	cmd.Env = append(os.Environ(), env...)
	out, _ := cmd.Output()
	return cmd.ProcessState.ExitCode(), string(out)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
