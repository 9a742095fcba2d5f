package guard

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// attempt is one way to destroy the machine: an operation on all of it, or on
// its data disk alone.
type attempt struct {
	op     operation.Operation
	narrow bool
}

func (a attempt) String() string {
	if a.narrow {
		return string(a.op) + " of the data disk"
	}
	return string(a.op)
}

var attempts = []attempt{
	{operation.StopServer, false},
	{operation.Reboot, false},
	{operation.Repartition, true},
	{operation.Wipe, true},
	{operation.Wipe, false},
	{operation.Reinstall, false},
	{operation.Decommission, false},
}

func (m *machine) ask(a attempt) gate.Ask {
	ask := gate.Ask{Operation: a.op, Argv: []string{"/bin/true"}}
	if a.narrow {
		ask.Scope.Devices = []string{m.data}
		ask.Argv = append(ask.Argv, m.data)
	}
	return ask
}

// Sets of attempts that a state allows.
var (
	everything = attempts
	nothing    []attempt
	inPlace    = attempts[:2] // stop-server, reboot: the disks stay as they are
)

// state is what a machine is in, and what it must allow in it.
type state struct {
	name  string
	both  bool // on each server, not only on the first
	build func(m *machine)
	allow []attempt
}

var states = []state{
	// Properly drained machines: nothing may be refused.
	{"blank disk", false, func(*machine) {}, everything},
	{"empty filesystem", false, func(m *machine) { m.mkfs(m.data) }, everything},
	{"files of no engine", false, func(m *machine) {
		m.mkfsAndMount()
		m.run("cp", "-r", "/etc", m.mnt)
		m.unmount()
	}, everything},
	{"logical dumps only", false, func(m *machine) {
		m.mkfsAndMount()
		m.write("dump.sql", "-- MariaDB dump\nCREATE TABLE t (a INT);\n")
		m.unmount()
	}, everything},
	{"data removed", true, func(m *machine) {
		m.stopped()
		m.run("rm", "-rf", m.datadir())
		m.unmount()
	}, everything},
	{"overwritten", true, func(m *machine) {
		m.stopped()
		m.unmount()
		m.run("dd", "if=/dev/zero", "of="+m.data, "bs=4M", "count=150", "conv=notrunc", "status=none")
	}, everything},
	{"a client program runs", false, func(m *machine) { m.called("mysql") }, everything},

	// Mounted, and nothing of an engine on it: only the disk that is in use
	// is spared.
	{"data disk in use", false, func(m *machine) { m.mkfsAndMount() }, slices.DeleteFunc(slices.Clone(attempts), func(a attempt) bool { return a.narrow })},

	// A server runs.
	{"server runs, started through the dynamic loader", true, func(m *machine) { m.start() }, nothing},
	{"server by socket only", true, func(m *machine) { m.start("--skip-networking") }, nothing},
	{"server stopped by SIGSTOP", false, func(m *machine) { m.signal(m.start().PID(), unix.SIGSTOP) }, nothing},
	{"server whose files are deleted", true, func(m *machine) {
		m.start()
		// The directories stay: without them MySQL ends itself some time later,
		// and then there is nothing left to guard.
		m.run("find", m.datadir(), "-type", "f", "-delete")
	}, nothing},
	{"server under another name", true, func(m *machine) {
		m.stopped()
		m.serverByHand(nil, filepath.Join(m.dir, "harmless"))
	}, nothing},
	{"server in namespaces of its own", true, func(m *machine) {
		m.stopped()
		m.serverByHand([]string{"unshare", "--pid", "--fork", "--mount", "--net", "--ipc", "--uts", "--kill-child"}, "")
	}, nothing},
	{"server whose datadir is mounted in its namespace only", true, func(m *machine) {
		m.stopped()
		m.serverByHand([]string{"unshare", "--pid", "--fork", "--mount", "--propagation", "private", "--kill-child"}, "")
		m.run("umount", "-l", m.mnt)
	}, nothing},
	{"server killed, data to be recovered", true, func(m *machine) {
		if err := m.start().Kill(); err != nil {
			m.t.Fatal(err)
		}
	}, inPlace},
	{"a backup runs", false, func(m *machine) { m.called("mariadb-backup") }, nothing},
	{"a deleted data file is open somewhere", true, func(m *machine) {
		m.stopped()
		m.tail(filepath.Join(m.datadir(), "ibdata1"))
		m.run("rm", "-rf", m.datadir())
	}, nothing},

	// Data lie on the disk.
	{"server stopped, data mounted", true, func(m *machine) { m.stopped() }, inPlace},
	{"server stopped, data not mounted", true, func(m *machine) { m.stopped(); m.unmount() }, inPlace},
	{"data mounted in another namespace only", false, func(m *machine) { m.stopped(); m.elsewhere() }, inPlace},
	{"data below another mount", false, func(m *machine) {
		m.stopped()
		m.run("mount", "-t", "tmpfs", "none", m.mnt)
		m.t.Cleanup(func() { _ = unix.Unmount(m.mnt, unix.MNT_DETACH) })
	}, inPlace},
	{"filesystem's signature wiped, data still there", true, func(m *machine) {
		m.stopped()
		m.unmount()
		m.run("wipefs", "-q", "-a", m.data)
	}, inPlace},
	{"only a binary log is left", false, func(m *machine) {
		m.mkfsAndMount()
		m.write("bin.000001", "\xfebin\x00\x00\x00\x00\x0f\x01\x00\x00\x00")
		m.unmount()
	}, inPlace},
	{"a tablespace nobody can read (encrypted)", false, func(m *machine) {
		m.mkfsAndMount()
		m.write("secret.ibd", strings.Repeat("\x5a\xa5\x17", 6000))
		m.unmount()
	}, inPlace},
	{"LUKS", false, func(m *machine) { m.poke(0, "LUKS\xba\xbe\x00\x02") }, inPlace},
	{"LVM physical volume", false, func(m *machine) { m.poke(512, "LABELONE\x01\x00\x00\x00\x00\x00\x00\x00") }, inPlace},
	{"member of an md array", false, func(m *machine) { m.poke(4096, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00") }, inPlace},
	{"data in memory", false, func(m *machine) {
		m.mkfsAndMount()
		m.run("mount", "-t", "tmpfs", "none", m.mnt)
		m.t.Cleanup(func() { _ = unix.Unmount(m.mnt, unix.MNT_DETACH) })
		m.write("bin.000001", "\xfebin\x00\x00\x00\x00\x0f\x01\x00\x00\x00")
	}, attempts[:1]},

	// What the guard needs is not there.
	{"set configured, etcd down", false, func(m *machine) {
		m.config += "interlock: {set: s1, endpoints: [\"127.0.0.1:1\"]}\n"
	}, nothing},
}

// TestAttempts: every attempt on every state, and what the machine says.
func TestAttempts(t *testing.T) {
	tried, refused := 0, 0
	for _, s := range states {
		for _, d := range distributions(t, s.both) {
			t.Run(strings.ReplaceAll(s.name, " ", "-")+"/"+d.Name, func(t *testing.T) {
				m := newMachine(t, d)
				s.build(m)
				m.guard()
				for _, a := range attempts {
					r := m.exec(m.ask(a))
					tried++
					switch want := slices.Contains(s.allow, a); {
					case want && r.Verdict != gate.Ran:
						t.Errorf("%s is refused at %s: %s", a, r.Stage, reasons(r))
					case !want && r.Verdict != gate.Refused:
						t.Errorf("%s IS ALLOWED", a)
					case !want:
						refused++
						t.Logf("%s: %s: %.150s", a, r.Class, reasons(r))
					}
				}
			})
		}
	}
	t.Logf("%d attempts, %d refused", tried, refused)
}

func distributions(t *testing.T, all bool) []server.Distribution {
	found := servertest.All(t)
	if !all {
		return found[:1]
	}
	return found
}

func reasons(r gate.Result) string {
	var list []string
	for _, d := range r.Decision.Denials {
		list = append(list, fmt.Sprintf("[%s] %s", d.Code, d.Summary))
	}
	return strings.Join(append(list, r.Warnings...), "; ")
}

// write writes a file on the data disk.
func (m *machine) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.mnt, name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// poke writes bytes on the data disk itself.
func (m *machine) poke(at int64, text string) {
	m.t.Helper()
	f, err := os.OpenFile(m.data, os.O_WRONLY, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(text), at); err != nil {
		m.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) signal(pid int, s unix.Signal) {
	m.t.Helper()
	if err := unix.Kill(pid, s); err != nil {
		m.t.Fatal(err)
	}
}

// background runs a command until the test ends.
func (m *machine) background(name string, args ...string) {
	m.t.Helper()
	cmd := exec.Command(name, args...) //nolint:noctx // ended below
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// called runs something harmless under a name.
func (m *machine) called(name string) {
	m.t.Helper()
	program := filepath.Join(m.dir, name)
	m.run("cp", "/bin/sleep", program)
	m.background(program, "600")
}

// tail keeps a file open.
func (m *machine) tail(path string) {
	m.t.Helper()
	m.background("tail", "-f", "-c", "1", path)
	m.await(func() bool {
		return strings.Contains(m.run("sh", "-c", "ls -l /proc/[0-9]*/fd 2>/dev/null; true"), path)
	})
}

// elsewhere moves the data disk's mount into a namespace of another process.
func (m *machine) elsewhere() {
	m.t.Helper()
	m.background("unshare", "--mount", "--propagation", "private", "sleep", "600")
	m.await(func() bool {
		return strings.Contains(m.run("sh", "-c", "cat /proc/[0-9]*/mountinfo | grep -c '"+m.mnt+"' ; true"), "") &&
			m.run("sh", "-c", "readlink /proc/[0-9]*/ns/mnt 2>/dev/null | sort -u | wc -l") != "1"
	})
	m.unmount()
}
