package guard

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/agent"
	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe/process"
	"github.com/lifeboat-db/lifeboat/internal/server"
)

// machine is a machine with two disks: the system's, on which the guard keeps
// its state, and one for data.
type machine struct {
	t      testing.TB
	dir    string // outside of the machine's disks
	system string // device
	data   string // device
	mnt    string // where data is mounted
	config string // text of the configuration
	agent  *agent.Agent
	dist   server.Distribution
}

const plainConfig = `version: 1
next_boot: disk
requests: {clock_unchecked: true}
commands:
  stop-server: [[/bin/true]]
  reboot: [[/bin/true]]
  wipe: [[/bin/true, "{device}"]]
  repartition: [[/bin/true, "{device}"]]
`

func newMachine(t testing.TB, d server.Distribution) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir(), config: plainConfig, dist: d}
	m.system = m.loop("system", 64<<20)
	m.mkfs(m.system)
	m.mount(m.system, filepath.Join(m.dir, "sys"))
	m.data = m.loop("data", 600<<20)
	m.mnt = filepath.Join(m.dir, "mnt")
	return m
}

func (m *machine) run(name string, args ...string) string {
	m.t.Helper()
	out, err := exec.CommandContext(m.t.Context(), name, args...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (m *machine) loop(name string, size int64) string {
	m.t.Helper()
	file := filepath.Join(m.dir, name+".img")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		m.t.Fatal(err)
	}
	device := m.run("losetup", "-f", "--show", file)
	m.t.Cleanup(func() { // the last mount may go a moment later
		for range 100 {
			_ = exec.CommandContext(context.Background(), "losetup", "-d", device).Run()
			if out, err := exec.CommandContext(context.Background(), "losetup", "-n", "-O", "BACK-FILE", device).Output(); err != nil || !strings.Contains(string(out), file) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		m.t.Errorf("%s cannot be detached", device)
	})
	return device
}

func (m *machine) mkfs(device string) {
	m.t.Helper()
	m.run("mkfs.ext4", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1", device)
}

func (m *machine) mount(device, dir string) {
	m.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	m.run("mount", device, dir)
	m.t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

func (m *machine) mkfsAndMount() {
	m.t.Helper()
	m.mkfs(m.data)
	m.mount(m.data, m.mnt)
}

func (m *machine) unmount() {
	m.t.Helper()
	m.run("umount", m.mnt)
}

func (m *machine) datadir() string { return filepath.Join(m.mnt, "db") }

// start starts a server whose data lie on the data disk.
func (m *machine) start(args ...string) *server.Instance {
	m.t.Helper()
	m.mkfsAndMount()
	i, err := server.Start(m.t.Context(), m.dist, server.Options{DataDir: m.datadir(), Args: args})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = unix.Kill(i.PID(), unix.SIGCONT)
		_ = i.Kill()
		_ = i.Stop(context.Background())
	})
	return i
}

// stopped leaves the data of a server that was shut down.
func (m *machine) stopped() {
	m.t.Helper()
	if err := m.start().Shutdown(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

// serverByHand starts the server on data that are there, by another way: prefix
// is a command that runs it, program replaces the server's own file.
func (m *machine) serverByHand(prefix []string, program string) {
	m.t.Helper()
	wrapper, err := m.dist.Tool("mysqld")
	if err != nil {
		m.t.Fatal(err)
	}
	socket := filepath.Join("/tmp", fmt.Sprintf("hand%d.sock", os.Getpid()))
	if program != "" {
		wrapper = m.rename(wrapper, program)
	}
	args := append(prefix, wrapper, "--no-defaults", "--datadir="+m.datadir(), "--socket="+socket, "--skip-networking",
		"--user=root", "--pid-file="+filepath.Join(m.dir, "pid"), "--log-error="+filepath.Join(m.dir, "error.log"))
	if m.dist.Flavor == server.MySQL {
		args = append(args, "--mysqlx=OFF", "--secure-file-priv=")
	}
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // ended below
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
		_ = os.Remove(socket)
	})
	m.await(func() bool {
		text, _ := os.ReadFile(filepath.Join(m.dir, "error.log"))
		return bytes.Contains(text, []byte("ready for connections"))
	})
}

// rename makes a copy of the server's program under a harmless name, and a
// copy of the wrapper that runs it.
func (m *machine) rename(wrapper, program string) string {
	m.t.Helper()
	text, err := os.ReadFile(wrapper)
	if err != nil {
		m.t.Fatal(err)
	}
	root := filepath.Join(filepath.Dir(filepath.Dir(wrapper)), "root")
	for _, inside := range []string{"usr/sbin/mariadbd", "usr/sbin/mysqld"} {
		from := `"$root/` + inside + `"`
		if !strings.Contains(string(text), from) {
			continue
		}
		m.run("cp", filepath.Join(root, inside), program)
		changed := strings.Replace(string(text), from, `"`+program+`"`, 1)
		changed = strings.Replace(changed, "root=${here%/*/*}/root", "root="+root, 1)
		path := filepath.Join(m.dir, "harmless.sh")
		if err := os.WriteFile(path, []byte(changed), 0o755); err != nil {
			m.t.Fatal(err)
		}
		return path
	}
	m.t.Fatalf("%s runs no server", wrapper)
	return ""
}

func (m *machine) await(done func() bool) {
	m.t.Helper()
	for range 600 {
		if done() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	m.t.Fatal("it does not happen")
}

// guard starts the machine's guard.
func (m *machine) guard() {
	m.t.Helper()
	path := filepath.Join(m.dir, "guard.yaml")
	if err := os.WriteFile(path, []byte(m.config), 0o600); err != nil {
		m.t.Fatal(err)
	}
	links := map[string]string{}
	for _, ns := range []string{"pid", "user"} {
		link, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			m.t.Fatal(err)
		}
		links[ns] = link
	}
	a, err := agent.New(agent.Options{
		ConfigPath: path, StateDir: filepath.Join(m.dir, "sys", "guard"), Version: "test",
		World: agent.World{
			Processes: process.World{PIDNS: links["pid"], UserNS: links["user"], NoKernel: true},
			Devices:   []string{m.system, m.data},
		},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.agent = a
	ctx, stop := context.WithCancel(context.Background())
	var attended sync.WaitGroup
	attended.Go(func() { a.Attend(ctx) })
	m.t.Cleanup(func() {
		stop()
		attended.Wait()
		if err := a.Close(); err != nil {
			m.t.Error(err)
		}
	})
}

func (m *machine) exec(ask gate.Ask) gate.Result {
	return m.agent.Exec(m.t.Context(), ask, gate.Output{})
}
