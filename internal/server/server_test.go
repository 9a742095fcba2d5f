package server_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// makeTable leaves one row behind, for others to look for.
func makeTable(t *testing.T, i *server.Instance) {
	t.Helper()
	withDB(t, i, "", func(db *sql.DB) {
		servertest.Exec(t, db,
			"CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)", "INSERT INTO d.t VALUES (42)")
	})
}

// withDB leaves no connection open, for which a shutdown of MySQL would wait.
func withDB(t *testing.T, i *server.Instance, database string, use func(*sql.DB)) {
	t.Helper()
	db, err := i.Open(database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	use(db)
}

// queryString reads one value.
func queryString(t *testing.T, i *server.Instance, query string) (value string) {
	t.Helper()
	withDB(t, i, "", func(db *sql.DB) {
		if err := db.QueryRowContext(t.Context(), query).Scan(&value); err != nil {
			t.Fatal(err)
		}
	})
	return value
}

func checkTable(t *testing.T, i *server.Instance) {
	t.Helper()
	if a := queryString(t, i, "SELECT a FROM d.t"); a != "42" {
		t.Errorf("the table holds %s, want 42", a)
	}
}

func mustNotExist(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there (%v)", path, err)
	}
}

func TestStartQueryStop(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		i, err := server.Start(t.Context(), d, server.Options{})
		if err != nil {
			t.Fatal(err)
		}
		version := queryString(t, i, "SELECT version()")
		if !strings.HasPrefix(version, d.Version) {
			t.Errorf("the server says it is %q, its program says %q", version, d.Version)
		}
		if logBin := queryString(t, i, "SELECT @@log_bin"); logBin != "0" {
			t.Errorf("log_bin is %s, want it off unless asked for", logBin)
		}
		pid := i.PID()
		if err := i.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d after Stop: %v, want no such process", pid, err)
		}
		mustNotExist(t, i.DataDir())
		mustNotExist(t, filepath.Dir(i.Socket()))
	})
}

func TestNetworkPort(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		i := servertest.Start(t, d)
		client, err := d.Tool("mysql")
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), client, "--no-defaults", "-h127.0.0.1",
			fmt.Sprintf("-P%d", i.Port()), "-uroot", "-Ne", "SELECT current_user()").Output()
		if err != nil || strings.TrimSpace(string(out)) != "root@127.0.0.1" {
			t.Errorf("%s: %v: %s", client, err, out)
		}
	})
}

func TestSkipNetworking(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		i := servertest.StartWith(t, d, server.Options{SkipNetworking: true})
		if i.Port() != 0 {
			t.Errorf("port %d, want 0", i.Port())
		}
		makeTable(t, i)
	})
}

func TestKillAndRestart(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		i := servertest.Start(t, d)
		makeTable(t, i)
		socket, port, pid := i.Socket(), i.Port(), i.PID()
		if err := i.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d after Kill: %v, want no such process", pid, err)
		}
		if i.PID() != 0 {
			t.Errorf("PID after Kill is %d, want 0", i.PID())
		}
		if err := i.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i.Socket() != socket || i.Port() != port {
			t.Errorf("restarted at %s and %d, want %s and %d", i.Socket(), i.Port(), socket, port)
		}
		checkTable(t, i)
	})
}

func TestCopy(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		original := servertest.Start(t, d)
		makeTable(t, original)
		if err := original.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "copy")
		if err := server.Copy(t.Context(), original.DataDir(), dir); err != nil {
			t.Fatal(err)
		}
		if err := original.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		second, err := server.Start(t.Context(), d, server.Options{DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		checkTable(t, second)
		if d.Flavor == server.MySQL && uuid(t, original) == uuid(t, second) {
			t.Error("original and copy have the same server UUID")
		}
		if err := second.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "d")); err != nil {
			t.Errorf("Stop removed a data directory that is not its own: %v", err)
		}
		if err := server.Copy(t.Context(), original.DataDir(), dir); err == nil {
			t.Error("a copy over another data directory was not refused")
		}
	})
}

func uuid(t *testing.T, i *server.Instance) string {
	t.Helper()
	return queryString(t, i, "SELECT @@server_uuid")
}

func TestBinaryLogs(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		i := servertest.Start(t, d, "--log-bin=bin")
		makeTable(t, i)
		withDB(t, i, "", func(db *sql.DB) { servertest.Exec(t, db, "FLUSH BINARY LOGS") })
		logs, err := i.BinaryLogs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := []string{filepath.Join(i.DataDir(), "bin.000001"), filepath.Join(i.DataDir(), "bin.000002")}
		if strings.Join(logs, " ") != strings.Join(want, " ") {
			t.Fatalf("logs are %q, want %q", logs, want)
		}
		tool, err := d.Tool("mysqlbinlog")
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), tool, "--no-defaults", logs[0]).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "CREATE TABLE d.t") {
			t.Errorf("%s: %v: %s", tool, err, out)
		}
	})
}

// The vendor's own physical backup needs no installation beside the server.
func TestMariabackup(t *testing.T) {
	d := servertest.Of(t, server.MariaDB)
	i := servertest.Start(t, d)
	makeTable(t, i)
	tool, err := d.Tool("mariabackup")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "backup")
	for _, args := range [][]string{
		{"--no-defaults", "--backup", "--socket=" + i.Socket(), "--user=root", "--target-dir=" + dir},
		{"--no-defaults", "--prepare", "--target-dir=" + dir},
	} {
		if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
		}
	}
	checkTable(t, servertest.StartWith(t, d, server.Options{DataDir: dir}))
}

func TestStartErrors(t *testing.T) {
	occupied, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = occupied.Close() }()
	notADir := filepath.Join(t.TempDir(), "file")
	other := t.TempDir()
	for _, f := range []string{notADir, filepath.Join(other, "something")} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		for name, c := range map[string]struct {
			options server.Options
			want    string
		}{
			"port in use": {
				server.Options{Port: occupied.Addr().(*net.TCPAddr).Port},
				"Address already in use",
			},
			"data directory below a file": {
				server.Options{DataDir: filepath.Join(notADir, "data")},
				"not a directory",
			},
			"data directory of something else": {
				server.Options{DataDir: other},
				"neither empty nor a server's",
			},
			"unknown option": {
				server.Options{Args: []string{"--no-such-option"}},
				"unknown variable 'no-such-option'|unknown option '--no-such-option'",
			},
			"an account that it does not have": {
				server.Options{User: "nobody", Password: "x", Timeout: time.Hour},
				"Access denied for user 'nobody'",
			},
			"too slow": {
				server.Options{Timeout: time.Millisecond},
				"no answer within 1ms",
			},
		} {
			i, err := server.Start(t.Context(), d, c.options)
			if err == nil {
				t.Errorf("%s: no error", name)
				_ = i.Stop(t.Context())
				continue
			}
			if !containsAny(err.Error(), strings.Split(c.want, "|")) || !strings.HasPrefix(err.Error(), "server: start "+d.Name+": ") {
				t.Errorf("%s: the error is %q, want it to contain %q", name, err, c.want)
			}
		}
	})
}

func containsAny(s string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

func TestCanceledStartLeavesNothing(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := server.Start(ctx, d, server.Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v, want the context's", err)
		}
		if left, _ := os.ReadDir(tmp); len(left) != 0 {
			t.Errorf("%s still holds %v", tmp, left)
		}
	})
}

func TestFindNothing(t *testing.T) {
	t.Setenv("LIFEBOAT_MYSQLD", "")
	_, err := server.Find(t.TempDir())
	if !errors.Is(err, server.ErrNoServer) || !strings.Contains(err.Error(), "make servers") {
		t.Errorf("the error is %v, want it to name make servers", err)
	}
}

func TestFindMissingProgram(t *testing.T) {
	t.Setenv("LIFEBOAT_MYSQLD", filepath.Join(t.TempDir(), "mysqld"))
	_, err := server.Find(t.TempDir())
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/mysqld --version: ") {
		t.Errorf("the error is %v, want that the program does not exist", err)
	}
}

func TestFindNamedServer(t *testing.T) {
	d := servertest.All(t)[0]
	path, err := d.Tool("mysqld")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("LIFEBOAT_MYSQLD", path+","+path)
	found, err := server.Find(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	full := string(d.Flavor) + "-" + d.Version
	if len(found) != 2 || found[0].Name != d.Name || found[1].Name != full {
		t.Errorf("found %v, want %s and %s", found, d.Name, full)
	}
}

func TestToolMissing(t *testing.T) {
	d := servertest.All(t)[0]
	_, err := d.Tool("nosuchtool")
	if err == nil || !strings.Contains(err.Error(), "no nosuchtool beside ") {
		t.Errorf("the error is %v", err)
	}
}

// A test process that dies must not leave a server behind, nor for long its
// run directory. The test runs itself once more as the process to be killed.
func TestServerDiesWithItsStarter(t *testing.T) {
	if os.Getenv("LIFEBOAT_TEST_STARTER") != "" {
		i, err := server.Start(t.Context(), servertest.All(t)[0], server.Options{DataDir: os.Getenv("LIFEBOAT_TEST_STARTER")})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("pid %d run %s\n", i.PID(), filepath.Dir(i.Socket()))
		select {}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServerDiesWithItsStarter$")
	cmd.Env = append(os.Environ(), "LIFEBOAT_TEST_STARTER="+filepath.Join(t.TempDir(), "data"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var run string
	_, scanErr := fmt.Fscanf(out, "pid %d run %s\n", &pid, &run)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if scanErr != nil {
		t.Fatalf("the starter said nothing: %v", scanErr)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if gone(pid) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("server %d outlives its starter", pid)
		}
	}
	next := servertest.Start(t, servertest.All(t)[0])
	mustNotExist(t, run)
	servertest.Start(t, next.Distribution())
	if _, err := os.Stat(next.Socket()); err != nil {
		t.Errorf("the run directory of a living server was swept: %v", err)
	}
}

// gone says whether a process has ended. Its new parent may not have waited
// for it yet.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}
