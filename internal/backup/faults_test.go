package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// large is a schema whose backup has some parts.
func large(t *testing.T, d server.Distribution) *server.Instance {
	t.Helper()
	i := start(t, d, true)
	servertest.Exec(t, servertest.Open(t, i, "shop"), "CREATE TABLE big (a INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB)",
		"INSERT INTO big (b) VALUES (REPEAT('x', 4000000)), (REPEAT('y', 4000000)), (REPEAT('z', 4000000))")
	return i
}

// midst lets something happen once, when a backup is in its midst: the tool
// waits until it has happened.
func midst(o backup.Options, happen func()) backup.Options {
	done := false
	o.Progress = func(backup.Progress) {
		if !done {
			happen()
			done = true
		}
	}
	return o
}

// children are the processes of that name that a process has started.
func children(parent int, name string) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, _ := os.ReadFile(path)
		_, after, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(after)
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if len(fields) > 1 && fields[0] != "Z" && fields[1] == strconv.Itoa(parent) && strings.Contains(string(command), name) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// toolName is in the command line of the driver's tool.
func toolName(d server.Distribution, driver string) string {
	switch {
	case driver != backup.Dump:
		return "mariadb-backup"
	case d.Flavor == server.MariaDB:
		return "mariadb-dump"
	}
	return "mysqldump"
}

// TestEnded: a backup whose tool, server or context ends is none, and leaves
// nothing behind but what Leftovers finds; the next one is.
func TestEnded(t *testing.T) {
	cases(t, func(t *testing.T, d server.Distribution, driver string) {
		source := large(t, d)
		r := newRepository(t, t.TempDir())
		o := options(t, source, driver, r)
		ctx, cancel := context.WithCancel(t.Context())
		for _, c := range []struct {
			what   string
			happen func()
			class  fault.Class
			text   string
		}{
			{"tool killed", func() {
				pids := children(os.Getpid(), toolName(d, driver))
				if len(pids) != 1 {
					t.Errorf("tools: %v", pids)
				}
				for _, pid := range pids {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}, fault.Failed, "signal: killed"},
			{"cancelled", cancel, fault.Failed, "context canceled"},
			{"server killed", func() { _ = source.Kill() }, fault.Failed, "driver " + driver},
		} {
			use := t.Context()
			if c.what == "cancelled" {
				use = ctx
			}
			_, err := backup.Take(use, midst(o, c.happen))
			wantClass(t, err, c.class, c.text)
			t.Logf("%s: %v", c.what, err)
			nothing(t, r)
			if left, err := os.ReadDir(o.Source.Dir); err != nil || len(left) != 0 {
				t.Errorf("%s: %v is left, %v", c.what, left, err)
			}
			if pids := children(os.Getpid(), toolName(d, driver)); len(pids) != 0 {
				t.Errorf("%s: the tool still runs: %v", c.what, pids)
			}
		}
		left, err := backup.Leftovers(t.Context(), r, "shop", 0)
		if err != nil || len(left) == 0 {
			t.Errorf("leftovers: %v, %v", left, err)
		}
		_, err = backup.Take(t.Context(), o)
		wantClass(t, err, fault.Storage, "is the server running")
		if err := source.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		m := take(t, o)
		if all := list(t, r); len(all) != 1 || all[0].ID != m.ID {
			t.Errorf("%v", all)
		}
		if again, err := backup.Leftovers(t.Context(), r, "shop", 0); err != nil || len(again) != len(left) {
			t.Errorf("leftovers: %v, %v, were %v", again, err, left)
		}
	})
}

// TestProcessKilled: kill -9 in the midst of a backup leaves no backup, no tool,
// and a server that can write.
func TestProcessKilled(t *testing.T) {
	if dir := os.Getenv("LIFEBOAT_TEST_TAKE"); dir != "" {
		takeUntilKilled(t, dir)
		return
	}
	cases(t, func(t *testing.T, d server.Distribution, driver string) {
		source := large(t, d)
		dir := t.TempDir()
		r := newRepository(t, dir)
		paths := toolsFor(t, d, driver)
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProcessKilled$")
		cmd.Env = append(os.Environ(), "LIFEBOAT_TEST_TAKE="+dir, "LIFEBOAT_TEST_DSN="+source.DSN(""), "LIFEBOAT_TEST_DRIVER="+driver,
			"LIFEBOAT_TEST_TOOL="+paths[backup.MariaDBBackup]+paths["mysqldump"], "TMPDIR="+t.TempDir())
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, scanned := fmt.Fscanf(out, "midst\n")
		tools := children(cmd.Process.Pid, toolName(d, driver))
		if err := cmd.Process.Kill(); err != nil || scanned != nil || len(tools) != 1 {
			t.Fatalf("%v %v, tools %v", err, scanned, tools)
		}
		_ = cmd.Wait() // killed
		servertest.Exec(t, servertest.Open(t, source, "shop"), "INSERT INTO big (b) VALUES ('after')", "CREATE TABLE after (a INT)")
		for running(tools[0]) {
			time.Sleep(10 * time.Millisecond)
		}
		nothing(t, r)
		if left, err := backup.Leftovers(t.Context(), r, "shop", 0); err != nil || len(left) == 0 {
			t.Errorf("leftovers: %v, %v", left, err)
		}
	})
}

func takeUntilKilled(t *testing.T, dir string) {
	t.Helper()
	r, err := repository.Open(t.Context(), location(dir))
	if err != nil {
		t.Fatal(err)
	}
	driver, tool := os.Getenv("LIFEBOAT_TEST_DRIVER"), os.Getenv("LIFEBOAT_TEST_TOOL")
	_, err = backup.Take(t.Context(), midst(backup.Options{
		Repositories: []*repository.Repository{r}, Set: "shop", Driver: driver, PartBytes: 100_000,
		Source: backup.Source{DSN: os.Getenv("LIFEBOAT_TEST_DSN"), Tools: map[string]string{"mysqldump": tool, backup.MariaDBBackup: tool}},
	}, func() {
		fmt.Println("midst")
		select {} // until it is killed
	}))
	t.Fatalf("not killed: %v", err)
}

func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(after, "Z")
}

// TestAccounts: what is wrong with account or tool is told before anything is
// put; no password is ever seen in the list of processes.
func TestAccounts(t *testing.T) {
	cases(t, func(t *testing.T, d server.Distribution, driver string) {
		source := large(t, d)
		db := servertest.Open(t, source, "")
		const password = `pa'ss"w\o#r=d ;%41`
		servertest.Exec(t, db, "CREATE USER lifeboat@localhost IDENTIFIED BY 'pa''ss\"w\\\\o#r=d ;%41'", "CREATE USER nobody@localhost")
		r := newRepository(t, t.TempDir())
		o := options(t, source, driver, r)
		dsn := func(account string) string { return account + "@unix(" + source.Socket() + ")/" }

		o.Source.DSN = dsn("lifeboat:wrong")
		_, err := backup.Take(t.Context(), o)
		wantClass(t, err, fault.Storage, "Access denied", "check user and password")
		o.Source.DSN = dsn("nobody")
		_, err = backup.Take(t.Context(), o)
		wantClass(t, err, fault.Storage, "the account lacks", "RELOAD", "GRANT")
		o.Source.DSN = dsn("lifeboat:" + password)
		grants(t, source, err)
		o.Source.Tools = map[string]string{"mysqldump": "/nonexistent/tool", backup.MariaDBBackup: "/nonexistent/tool"}
		_, err = backup.Take(t.Context(), o)
		wantClass(t, err, fault.Storage, "/nonexistent/tool", "install the package")
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v", err)
		}
		for e, err := range r.List(t.Context(), "") {
			t.Errorf("there is %s, %v", e.Name, err)
		}

		o.Source.Tools, o.Source.Throttle = toolsFor(t, d, driver), 16<<20
		looked := false
		_, err = backup.Take(t.Context(), midst(o, func() { looked = checkProcesses(t, o.Source.Dir, "pa'ss") }))
		if err != nil || !looked {
			t.Errorf("by an account with just what is needed: %v", err)
		}
		o.Source.DefaultsFile = filepath.Join(t.TempDir(), "own.cnf")
		for user, class := range map[string]fault.Class{"root": 0, "nosuch": fault.Failed} {
			text := "[client]\nsocket=" + source.Socket() + "\nuser=" + user + "\npassword=\n"
			if err := os.WriteFile(o.Source.DefaultsFile, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := backup.Take(t.Context(), o); class == 0 && err != nil || class != 0 && fault.ClassOf(err) != class {
				t.Errorf("the tool as %s: %v", user, err)
			}
		}
	})
}

// grants gives lifeboat what the error has said that the account lacks.
func grants(t *testing.T, source *server.Instance, err error) {
	t.Helper()
	_, text, _ := strings.Cut(err.Error(), "the account lacks ")
	text, _, _ = strings.Cut(text, ";")
	t.Logf("GRANT %s", text)
	servertest.Exec(t, servertest.Open(t, source, ""), "GRANT "+text+" ON *.* TO lifeboat@localhost")
}

// checkProcesses looks for a secret where everybody on the host can look: in
// command lines; and that the files in dir are only ours.
func checkProcesses(t *testing.T, dir, secret string) bool {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if line, _ := os.ReadFile(path); strings.Contains(string(line), secret) {
			t.Errorf("the password is in a command line: %q", line)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*", "client.cnf"))
	for _, path := range files {
		for _, name := range []string{path, filepath.Dir(path)} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %v %v", name, info.Mode(), err)
			}
		}
	}
	return len(files) == 1
}

// TestWrongDriver: drivers say for whom they are not.
func TestWrongDriver(t *testing.T) {
	mysql, maria := servertest.Of(t, server.MySQL), servertest.Of(t, server.MariaDB)
	source := servertest.Start(t, mysql)
	o := options(t, source, backup.Dump, newRepository(t, t.TempDir()))
	o.Driver = backup.MariaDBBackup
	_, err := backup.Take(t.Context(), o)
	wantClass(t, err, fault.Usage, "the server is MySQL")
	o.Driver, o.Source.Tools = backup.Dump, toolsFor(t, maria, backup.Dump)
	_, err = backup.Take(t.Context(), o)
	wantClass(t, err, fault.Storage, "not of the vendor")
}

// TestLyingTool: exit code 0 is not enough.
func TestLyingTool(t *testing.T) {
	cases(t, func(t *testing.T, d server.Distribution, driver string) {
		source := servertest.Start(t, d, "--log-bin=bin", "--server-id=7")
		r := newRepository(t, t.TempDir())
		o := options(t, source, driver, r)
		for name, path := range o.Source.Tools {
			script := filepath.Join(t.TempDir(), name)
			text := "#!/bin/sh\ncase \"$*\" in *--version*) exec '" + path + "' --version;; esac\n'" + path + "' \"$@\" 2>/dev/null | head -c 300000\nexit 0\n"
			if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
			o.Source.Tools[name] = script
		}
		_, err := backup.Take(t.Context(), o)
		wantClass(t, err, fault.Failed)
		if err != nil && !strings.Contains(err.Error(), "ompleted") {
			t.Errorf("%v", err)
		}
		nothing(t, r)
	})
}

// TestUnpackFails: of a backup with a missing or damaged part there is no data
// directory, not even half of one.
func TestUnpackFails(t *testing.T) {
	cases(t, func(t *testing.T, d server.Distribution, driver string) {
		source := start(t, d, true)
		place := t.TempDir()
		r := newRepository(t, place)
		o := options(t, source, driver, r)
		m := take(t, o)
		part := filepath.Join(place, m.PartObject(len(m.Parts)/2+1))
		u := backup.UnpackOptions{Tools: toolsFor(t, d, driver), Load: func(ctx context.Context, sql io.Reader) error {
			_, err := io.Copy(io.Discard, sql)
			return err
		}}
		dir := filepath.Join(t.TempDir(), "data")
		data, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		damaged := append([]byte(nil), data...)
		damaged[len(damaged)/2] ^= 4
		for _, c := range []struct {
			content []byte
			want    error
		}{{damaged, repository.ErrDamaged}, {nil, fs.ErrNotExist}} {
			_ = os.Remove(part)
			if c.content != nil {
				if err := os.WriteFile(part, c.content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := backup.Unpack(t.Context(), r, []backup.Manifest{m}, dir, u)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), m.ID) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("%d files are left, %v", len(left), err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		err = backup.Unpack(t.Context(), r, []backup.Manifest{m}, dir, u)
		wantClass(t, err, fault.Usage, "is not empty")
		if _, err := os.Stat(filepath.Join(dir, "mine")); err != nil {
			t.Error(err)
		}
	})
}
