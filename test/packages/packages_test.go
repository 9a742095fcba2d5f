// Package packages looks into what scripts/package builds, and uses what comes
// out of it.
package packages

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// run runs a command and returns what it says.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// needs skips a test where a program is not there.
func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(err)
	}
}

// built is where the packages are, and a root into which both are unpacked.
func built(t *testing.T, format string) (dir, root string) {
	t.Helper()
	dir, root = t.TempDir(), t.TempDir()
	if err := errors.Join(os.Chmod(root, 0o755), os.Chmod(filepath.Dir(root), 0o755)); err != nil { // for other users
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "../../scripts/package", "--format", format, dir)
	c.Env = append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=") // as the other tests build, so that little is compiled
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir, root
}

func packageOf(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v %v", pattern, found, err)
	}
	return found[0]
}

// TestDeb: the .deb have what they should, which works: programs, units, man
// pages, completions, a configuration that changes nothing; and nothing is
// started by them.
func TestDeb(t *testing.T) {
	needs(t, "dpkg-deb")
	dir, root := built(t, "deb")
	for _, pattern := range []string{"lifeboat_*.deb", "lifeboat-guard_*.deb"} {
		path := packageOf(t, dir, pattern)
		checkControl(t, path)
		run(t, "dpkg-deb", "-x", path, root)
	}
	t.Run("programs", func(t *testing.T) { checkPrograms(t, root) })
	t.Run("files", func(t *testing.T) { checkFiles(t, root) })
	t.Run("units", func(t *testing.T) { checkUnits(t, root) })
	t.Run("man", func(t *testing.T) { checkMan(t, root) })
	t.Run("completions", func(t *testing.T) { checkCompletions(t, root) })
	t.Run("user", func(t *testing.T) { checkUser(t, root) })
	t.Run("capability", func(t *testing.T) { checkCapability(t, root) })
}

// checkControl: what the scripts of a package do is to be read, and none starts
// anything.
func checkControl(t *testing.T, path string) {
	t.Helper()
	control := t.TempDir()
	run(t, "dpkg-deb", "-e", path, control)
	if says := run(t, "dpkg-deb", "-I", path); !strings.Contains(says, "Homepage: https://") || !strings.Contains(says, "Architecture: ") {
		t.Errorf("%s", says)
	}
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		script := filepath.Join(control, name)
		run(t, "sh", "-n", script)
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			for _, word := range []string{"start", "enable", "preset"} {
				if !strings.HasPrefix(line, "#") && slices.Contains(strings.Fields(line), word) {
					t.Errorf("%s: %s starts something: %s", path, name, line)
				}
			}
		}
	}
	conffiles, err := os.ReadFile(filepath.Join(control, "conffiles"))
	want := "/etc/lifeboat/lifeboat.yaml\n"
	if strings.Contains(path, "guard") {
		want = "/etc/ssh/sshd_config.d/60-lifeboat-guard.conf\n"
	}
	if err != nil || string(conffiles) != want {
		t.Errorf("%s: conffiles %q %v, want %q", path, conffiles, err, want)
	}
}

func checkPrograms(t *testing.T, root string) {
	lifeboat := filepath.Join(root, "usr/bin/lifeboat")
	if says := run(t, lifeboat, "--version"); strings.Contains(says, "development") {
		t.Errorf("it does not know its version: %s", says)
	}
	run(t, filepath.Join(root, "usr/bin/lifeboat-guard"), "--version")
	if out, err := exec.CommandContext(t.Context(), lifeboat, "man", t.TempDir()).CombinedOutput(); err == nil {
		t.Errorf("what only writes man pages is in it: %s", out)
	}
	config := filepath.Join(root, "etc/lifeboat/lifeboat.yaml")
	says := run(t, lifeboat, "config", "check", "--config", config)
	for line := range strings.Lines(says) {
		if strings.Contains(line, config) && !strings.Contains(line, "version") {
			t.Errorf("the configuration changes something: %s", line)
		}
	}
	// Without its marks it is the example.
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.TrimPrefix(line, "# "))
	}
	var example []string
	for line := range strings.Lines(run(t, lifeboat, "config", "example")) {
		example = append(example, strings.TrimPrefix(line, "# "))
	}
	if !slices.Equal(lines, example) {
		t.Errorf("%s", text)
	}
}

// checkFiles: no file can be written by others, none but programs can be run,
// and what packaging/guard/install would put there is there.
func checkFiles(t *testing.T, root string) {
	installed := t.TempDir()
	run(t, "../../packaging/guard/install", filepath.Join(root, "usr/bin/lifeboat-guard"), installed)
	err := filepath.WalkDir(installed, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, installed)
		want, err1 := os.ReadFile(path)
		got, err2 := os.ReadFile(root + name)
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(want, got) {
			t.Errorf("%s is not what packaging/guard/install puts there: %v", name, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		program := e.IsDir() || strings.HasPrefix(name, "/usr/bin/") || name == "/usr/lib/lifeboat-guard/permit" || strings.Contains(name, "/examples/")
		if info.Mode().Perm()&0o022 != 0 || !program && info.Mode().Perm()&0o111 != 0 {
			t.Errorf("%s has mode %s", name, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

const unitDir = "usr/lib/systemd/system"

// checkUnits: the units are valid, each command is one that there is, each timer
// catches up and has its job, and what the jobs may do is written down.
func checkUnits(t *testing.T, root string) {
	jobs, err := filepath.Glob(filepath.Join(root, unitDir, "lifeboat-job-*.service"))
	if err != nil || len(jobs) != 6 {
		t.Fatalf("%v %v", jobs, err)
	}
	for _, path := range append(jobs, filepath.Join(root, unitDir, "lifeboat-archive.service")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, line, _ := strings.Cut(string(text), "\nExecStart=/usr/bin/lifeboat ")
		line, _, _ = strings.Cut(line, "\n")
		c := exec.CommandContext(t.Context(), filepath.Join(root, "usr/bin/lifeboat"), strings.Fields(line)...)
		c.Env = []string{"LIFEBOAT_CONFIG=" + filepath.Join(root, "etc/lifeboat/lifeboat.yaml")}
		out, _ := c.CombinedOutput()
		if c.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "set: it is missing") {
			t.Errorf("%s: %d: %s", filepath.Base(path), c.ProcessState.ExitCode(), out)
		}
		if !strings.Contains(string(text), "\nCapabilityBoundingSet=") {
			t.Errorf("%s does not say which capabilities it has", path)
		}
	}
	for _, path := range jobs {
		timer, err := os.ReadFile(strings.TrimSuffix(path, "service") + "timer")
		if err != nil {
			t.Error(err)
		}
		for _, line := range []string{"Persistent=yes", "RandomizedDelaySec=", "OnCalendar=", "WantedBy=timers.target"} {
			if !strings.Contains(string(timer), "\n"+line) {
				t.Errorf("%s: its timer has no %s", path, line)
			}
		}
	}
	needs(t, "systemd-analyze")
	verifyUnits(t, root)
}

// verifyUnits has systemd read the units, with the programs where they are here.
func verifyUnits(t *testing.T, root string) {
	units := t.TempDir()
	if err := os.CopyFS(units, os.DirFS(filepath.Join(root, unitDir))); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, pattern := range []string{"lifeboat-*.service", "lifeboat-*.timer"} {
		found, err := filepath.Glob(filepath.Join(units, pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"/usr/bin/", "/usr/lib/"} {
			text = bytes.ReplaceAll(text, []byte("="+dir), []byte("="+root+dir))
			text = bytes.ReplaceAll(text, []byte("=-"+dir), []byte("=-"+root+dir))
		}
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(t.Context(), "systemd-analyze", append([]string{"verify", "--man=no"}, names...)...)
	c.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+units+":")
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// checkMan: each command has a page, which can be shown.
func checkMan(t *testing.T, root string) {
	needs(t, "gzip")
	_, missing := exec.LookPath("man")
	pages := filepath.Join(root, "usr/share/man/man1")
	for _, name := range []string{"lifeboat", "lifeboat-check", "lifeboat-archive-run", "lifeboat-restore", "lifeboat-guard", "lifeboat-guard-exec"} {
		path := filepath.Join(pages, name+".1.gz")
		text := run(t, "gzip", "-dc", path)
		if missing == nil {
			c := exec.CommandContext(t.Context(), "man", "-l", path)
			c.Env = append(os.Environ(), "MANPAGER=cat", "MANROFFOPT=", "MANWIDTH=80", "LC_ALL=C.UTF-8")
			out, err := c.Output()
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			text += string(out)
		}
		for _, part := range []string{"NAME", "SYNOPSIS", "Exit codes", "SEE ALSO"} {
			if part == "Exit codes" && strings.Contains(name, "guard-") {
				continue // the guard's own page has them
			}
			if !strings.Contains(text, part) {
				t.Errorf("%s has no %s:\n%s", name, part, text)
			}
		}
	}
}

// checkCompletions: the shells that are here read their files.
func checkCompletions(t *testing.T, root string) {
	for shell, paths := range map[string][]string{
		"bash": {"usr/share/bash-completion/completions/lifeboat", "usr/share/bash-completion/completions/lifeboat-guard"},
		"zsh":  {"usr/share/zsh/vendor-completions/_lifeboat", "usr/share/zsh/vendor-completions/_lifeboat-guard"},
		"fish": {"usr/share/fish/vendor_completions.d/lifeboat.fish", "usr/share/fish/vendor_completions.d/lifeboat-guard.fish"},
	} {
		for _, path := range paths {
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Error(err)
			}
			if _, err := exec.LookPath(shell); err == nil {
				run(t, shell, "-n", filepath.Join(root, path))
			}
		}
	}
}

// checkUser: systemd makes the user and its directory of the files that are
// there for that.
func checkUser(t *testing.T, root string) {
	needs(t, "systemd-sysusers")
	if os.Getuid() != 0 {
		t.Skip("making users, even below another root, needs root")
	}
	run(t, "systemd-sysusers", "--root="+root, "lifeboat.conf")
	run(t, "systemd-tmpfiles", "--root="+root, "--create", "lifeboat.conf")
	passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil || !strings.Contains(string(passwd), "lifeboat:x:") || !strings.Contains(string(passwd), ":/var/lib/lifeboat:/usr/sbin/nologin") {
		t.Errorf("%s %v", passwd, err)
	}
	info, err := os.Stat(filepath.Join(root, "var/lib/lifeboat"))
	if err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("%v %v", info, err)
	}
}

// checkCapability: an ordinary user with the capability and the secure bit that
// the jobs for backups have backs up files of a server that are not its own;
// without one of them it is told beforehand that it cannot.
func checkCapability(t *testing.T, root string) {
	needs(t, "setpriv")
	if os.Getuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	for _, name := range []string{"full", "incremental", "check"} {
		text, err := os.ReadFile(filepath.Join(root, unitDir, "lifeboat-job-"+name+".service"))
		if err != nil || !strings.Contains(string(text), "\nAmbientCapabilities=CAP_DAC_OVERRIDE\nSecureBits=no-setuid-fixup\n") || strings.Contains(string(text), "PrivateUsers=") {
			t.Errorf("%s: %s %v", name, text, err)
		}
	}
	d := servertest.Of(t, server.MariaDB)
	i := servertest.Start(t, d, "--log-bin=bin", "--server-id=7")
	mysqld, err := d.Tool("mysqld")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(i.DataDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	if err := errors.Join(os.Chown(home, 65534, 65534), os.Chmod(filepath.Dir(home), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(i.Socket()), 0o755); err != nil {
		t.Fatal(err)
	}
	lifeboat := func(capabilities, bits string, args ...string) (string, error) {
		c := exec.CommandContext(t.Context(), "setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--securebits=" + bits,
			"--inh-caps=" + capabilities, "--ambient-caps=" + capabilities, filepath.Join(root, "usr/bin/lifeboat")}, args...)...)
		c.Dir = home
		c.Env = []string{"PATH=" + filepath.Dir(mysqld) + ":" + os.Getenv("PATH"), "TMPDIR=" + home, "LIFEBOAT_SET=s", "LIFEBOAT_SERVER1_DSN=" + i.DSN(""),
			"LIFEBOAT_REPO1_URL=" + filepath.Join(home, "r"), "LIFEBOAT_CONFIG=" + filepath.Join(root, "etc/lifeboat/lifeboat.yaml")}
		out, err := c.CombinedOutput()
		return string(out), err
	}
	const capability, bits = "-all,+dac_override", "+no_setuid_fixup"
	for _, args := range [][]string{{"repository", "create"}, {"backup"}, {"backup", "--backup-incremental"}} {
		if out, err := lifeboat(capability, bits, args...); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	for _, c := range [][2]string{{capability, "-no_setuid_fixup"}, {"-all", bits}} {
		if out, err := lifeboat(c[0], c[1], "backup"); err == nil || !strings.Contains(out, "as a user that may read and write them") {
			t.Errorf("%s, %s: %v\n%s", c[0], c[1], err, out)
		}
	}
}

// TestRPM: the .rpm are built; where rpm is, it reads them.
func TestRPM(t *testing.T) {
	if !long {
		t.Skip("make test-long")
	}
	dir, _ := built(t, "rpm")
	for _, pattern := range []string{"lifeboat-0*.rpm", "lifeboat-guard-*.rpm"} {
		path := packageOf(t, dir, pattern)
		head := make([]byte, 4)
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		if _, err := f.Read(head); err != nil || !bytes.Equal(head, []byte{0xed, 0xab, 0xee, 0xdb}) {
			t.Errorf("%s is no rpm: %x %v", path, head, err)
		}
		if _, err := exec.LookPath("rpm"); err == nil {
			if says := run(t, "rpm", "-qpl", path); !strings.Contains(says, "/usr/bin/lifeboat") {
				t.Errorf("%s", says)
			}
		}
	}
}
