package server_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
	guarded "github.com/lifeboat-db/lifeboat/internal/guard/probe/server"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
	"github.com/lifeboat-db/lifeboat/test/topology"
)

func found(kind fact.Kind, pids ...int) fact.Fact {
	return fact.Fact{Probe: "test", Kind: kind, Verdict: fact.Active, Subject: "/some/ibdata1", PIDs: pids}
}

var noFiles = fact.Fact{Kind: fact.OpenFile, Verdict: fact.Clear}

func look(t *testing.T, p guarded.Probe, facts ...fact.Fact) []fact.Fact {
	t.Helper()
	if p.Timeout == 0 {
		p.Timeout = 2 * time.Second
	}
	return p.Look(t.Context(), probe.Question{Facts: facts})
}

func one(t *testing.T, facts []fact.Fact) fact.Fact {
	t.Helper()
	if len(facts) != 1 {
		t.Fatalf("%d facts: %v", len(facts), facts)
	}
	return facts[0]
}

func TestPair(t *testing.T) {
	servertest.Each(t, func(t *testing.T, d server.Distribution) {
		source, replica := topology.Pair(t, d)
		topology.Eventually(t, func() error {
			if source.Query(t, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'") != "1" {
				return errors.New("no replica")
			}
			return nil
		})
		facts := look(t, guarded.Probe{}, found(fact.OpenFile, source.PID(), replica.PID()), found(fact.ProcessName, source.PID(), os.Getpid()))
		if len(facts) != 2 {
			t.Fatalf("%v", facts)
		}
		for _, f := range facts {
			n, kind, role := source, fact.ServerSource, "source"
			if f.PIDs[0] == replica.PID() {
				n, kind, role = replica, fact.ServerReplica, "replica"
			}
			if f.Kind != kind || f.Verdict != fact.Active || f.Evidence["role"] != role || f.Subject != n.DataDir()+"/" || f.Evidence["socket"] != n.Socket() {
				t.Errorf("%+v", f)
			}
			t.Log(f, f.Micros)
		}
	})
}

// TestProcesses: what is found but does not answer is UNKNOWN.
func TestProcesses(t *testing.T) {
	n := topology.Start(t, servertest.Of(t, server.MariaDB), 1)
	short := guarded.Probe{Timeout: 300 * time.Millisecond}
	t.Run("parent called like a server", func(t *testing.T) {
		if f := one(t, look(t, short, found(fact.OpenFile, n.PID()), found(fact.ProcessName, os.Getpid()))); f.Kind != fact.ServerSource {
			t.Error(f)
		}
	})
	t.Run("parent with engine files", func(t *testing.T) {
		facts := look(t, short, found(fact.OpenFile, n.PID(), os.Getpid()))
		if len(facts) != 2 {
			t.Errorf("a process with engine files was explained away: %v", facts)
		}
	})
	t.Run("no server", func(t *testing.T) {
		c := exec.CommandContext(t.Context(), "sleep", "60")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
		for _, kind := range []fact.Kind{fact.OpenFile, fact.EngineLock, fact.ProcessName} {
			if f := one(t, look(t, short, found(kind, c.Process.Pid))); f.Kind != fact.ServerUnproven || f.Verdict != fact.Unknown || f.PIDs[0] != c.Process.Pid {
				t.Error(f)
			}
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		p := guarded.Probe{Logins: []guarded.Login{{User: "root", Password: "x"}}}
		if f := one(t, look(t, p, found(fact.OpenFile, n.PID()))); f.Kind != fact.ServerUnproven || f.Verdict != fact.Unknown {
			t.Error(f)
		}
	})
	t.Run("another login", func(t *testing.T) {
		n.Exec(t, "CREATE USER g@localhost IDENTIFIED BY 'pass word'", "GRANT ALL ON *.* TO g@localhost")
		file := filepath.Join(t.TempDir(), "my.cnf")
		if err := os.WriteFile(file, []byte("[mysqld]\npassword=no\n[client]\nuser = g # me\npassword=\"pass word\"\nsocket="+n.Socket()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := guarded.Probe{Logins: []guarded.Login{{Socket: "/elsewhere", Password: "x"}, {User: "none"}, {DefaultsFile: file}}}
		if f := one(t, look(t, p, found(fact.OpenFile, n.PID()))); f.Kind != fact.ServerSource {
			t.Error(f)
		}
		p.Logins[2].DefaultsFile = file + ".none"
		if f := one(t, look(t, p, noFiles)); f.Kind != fact.ServerUnproven || f.Verdict != fact.Unknown {
			t.Error(f)
		}
	})
	t.Run("configured and not found", func(t *testing.T) {
		p := guarded.Probe{Logins: []guarded.Login{{Socket: n.Socket()}, {Socket: "/nowhere/s"}}}
		if f := one(t, look(t, p, noFiles)); f.Kind != fact.ServerSource || f.PIDs[0] != n.PID() {
			t.Error(f)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		if err := syscall.Kill(n.PID(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = syscall.Kill(n.PID(), syscall.SIGCONT) }()
		if f := one(t, look(t, short, found(fact.OpenFile, n.PID()))); f.Kind != fact.ServerUnproven || f.Verdict != fact.Unknown || !strings.Contains(f.Summary, "does not answer") {
			t.Error(f)
		}
	})
	t.Run("gone", func(t *testing.T) {
		pid := n.PID()
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
		if f := one(t, look(t, short, found(fact.OpenFile, pid))); f.Kind != fact.ServerUnproven || f.Verdict != fact.Unknown {
			t.Error(f)
		}
		p := guarded.Probe{Logins: []guarded.Login{{Socket: n.Socket()}}} // refuses connections
		if f := one(t, look(t, p, noFiles)); f.Verdict != fact.Clear {
			t.Error(f)
		}
	})
}

// TestNone: without a process, CLEAR needs the proof that one would have been found.
func TestNone(t *testing.T) {
	for name, test := range map[string]struct {
		facts []fact.Fact
		want  fact.Verdict
	}{
		"nobody looked":        {nil, fact.Unknown},
		"files unknown":        {[]fact.Fact{{Kind: fact.OpenFile}}, fact.Unknown},
		"names only":           {[]fact.Fact{{Kind: fact.ProcessName, Verdict: fact.Clear}}, fact.Unknown},
		"no files":             {[]fact.Fact{noFiles}, fact.Clear},
		"a port":               {[]fact.Fact{noFiles, {Kind: fact.ProcessName, Verdict: fact.Active}}, fact.Unknown},
		"a lock of who knows?": {[]fact.Fact{noFiles, {Kind: fact.EngineLock, Verdict: fact.Active}}, fact.Unknown},
		"data at rest":         {[]fact.Fact{noFiles, {Kind: fact.DataAtRest, Verdict: fact.Active, PIDs: []int{1}}}, fact.Clear},
	} {
		if f := one(t, look(t, guarded.Probe{}, test.facts...)); f.Verdict != test.want || f.Kind != fact.ServerUnproven {
			t.Errorf("%s: %v", name, f)
		}
	}
}

// TestXProtocol: MySQL listens at a second socket, which is silent to us.
func TestXProtocol(t *testing.T) {
	n := topology.Start(t, servertest.Of(t, server.MySQL), 1, "--mysqlx=ON", "--mysqlx-port=0", "--mysqlx-socket="+filepath.Join(t.TempDir(), "a"))
	start := time.Now()
	if f := one(t, look(t, guarded.Probe{}, found(fact.OpenFile, n.PID()))); f.Kind != fact.ServerSource {
		t.Error(f)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}

// TestNamespace: a server in namespaces of its own, with its socket behind an
// absolute link that leads elsewhere outside; and one that is stopped.
func TestNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mount namespaces")
	}
	d := servertest.Of(t, server.MariaDB)
	dir, err := os.MkdirTemp("", "ns")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	i := servertest.StartWith(t, d, server.Options{DataDir: data})
	if err := i.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(dir+"/run", 0o755), os.Symlink(dir+"/run", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	mysqld, err := d.Tool("mysqld")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	script := fmt.Sprintf("mount -t tmpfs none %[1]s/run && exec %[2]s --no-defaults --user=root --skip-networking --datadir=%[1]s/data"+
		" --socket=%[1]s/link/s --innodb-buffer-pool-size=16M --innodb-log-file-size=48M --pid-file=%[1]s/run/pid", dir, mysqld)
	c := exec.CommandContext(ctx, "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", script)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = c.Wait() }()
	var f fact.Fact
	topology.Eventually(t, func() error {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.Process.Pid, c.Process.Pid))
		var pid int
		if _, scanErr := fmt.Sscan(string(children), &pid); err != nil || scanErr != nil {
			return errors.Join(err, scanErr)
		}
		if f = one(t, look(t, guarded.Probe{}, found(fact.OpenFile, pid))); f.Kind != fact.ServerSource {
			return errors.New(f.Summary)
		}
		return nil
	})
	if f.Subject != data+"/" {
		t.Error(f)
	}
}
