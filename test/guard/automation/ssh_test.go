package automation

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/installed"
)

// TestForcedCommand: through a real sshd nothing but plain words for exec,
// check and status reaches the guard.
func TestForcedCommand(t *testing.T) {
	ssh, dir := startSSHD(t)
	mark := filepath.Join(dir, "injected")
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"status reaches the client", []string{"status"}, 10, "no agent answers"},
		{"exec reaches the client", []string{"exec reboot -- /usr/bin/systemctl reboot"}, 10, "no agent answers"},
		{"semicolon", []string{"status; touch " + mark}, 2, "';'"},
		{"substitution", []string{"exec reboot -- $(touch " + mark + ")"}, 2, "'$'"},
		{"backticks", []string{"exec reboot -- `touch " + mark + "`"}, 2, "'`'"},
		{"newline", []string{"status\ntouch " + mark}, 2, `'\n'`},
		{"pipe", []string{"status | touch " + mark}, 2, "'|'"},
		{"ampersand", []string{"status && touch " + mark}, 2, "'&'"},
		{"quotes", []string{`status "a b"`}, 2, `'"'`},
		{"other verb", []string{"agent"}, 2, "only exec, check, status"},
		{"other socket", []string{"exec reboot --socket /x -- /usr/bin/systemctl reboot"}, 2, "--socket cannot"},
		{"file as request", []string{"exec reboot --request /etc/shadow -- /usr/bin/systemctl reboot"}, 2, "standard input"},
		{"no command", nil, 2, "only exec, check, status"},
		{"subsystem", []string{"-s", "sftp"}, 2, ""},
		{"terminal", []string{"-tt", "status"}, 255, "PTY"},
		{"remote forwarding", []string{"-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:{port}"}, 255, "forwarding"},
		{"local forwarding", []string{"-W", "127.0.0.1:{port}"}, 255, "forwarding"},
	} {
		code, out := ssh(c.args...)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit %d, want %d with %q:\n%s", c.name, code, c.code, c.says, out)
		}
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("a shell has run an injected command")
	}
}

// sshGroup is the number of the account's group (testdata/sshd.sh).
const sshGroup = 64023

func startSSHD(t *testing.T) (ssh func(args ...string) (int, string), dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a private sshd with accounts of its own needs root")
	}
	repo, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	cache := installed.Dir()
	dir, err = os.MkdirTemp("", "guard-ssh") // below t.TempDir other users may not enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	must(t, "./install-sshd")
	must(t, "go", "build", "-o", filepath.Join(dir, "lifeboat-guard"), repo+"/cmd/lifeboat-guard")
	for _, key := range []string{"host", "user"} {
		must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key))
	}
	must(t, "cp", filepath.Join(dir, "user.pub"), filepath.Join(dir, "keys"))
	port := freePort(t)
	var log bytes.Buffer
	sshd := exec.CommandContext(t.Context(), "unshare", "-m", "sh", "testdata/sshd.sh", dir, filepath.Join(cache, "sshd/root"), repo, port)
	sshd.Stdout, sshd.Stderr = &log, &log
	if err := sshd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sshd.Process.Kill(); _ = sshd.Wait() })
	for range 100 {
		if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+port); err == nil {
			_ = conn.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return func(args ...string) (int, string) {
		options := []string{"-F", "none", "-i", filepath.Join(dir, "user"), "-p", port, "-o", "StrictHostKeyChecking=no",
			"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"}
		var words []string
		for i := 0; i < len(args); i++ {
			switch args[i] {
			case "-tt", "-N":
				options = append(options, args[i])
			case "-o", "-R", "-W":
				options = append(options, args[i], strings.ReplaceAll(args[i+1], "{port}", port))
				i++
			case "-s":
				options = append(options, "-s")
			default:
				words = append(words, args[i])
			}
		}
		// A session that is not refused may stay open for ever.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, "ssh", append(append(options, "lifeboat-guard@127.0.0.1"), words...)...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}, dir
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return strings.TrimSpace(string(out))
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
