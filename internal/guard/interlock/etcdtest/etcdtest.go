// Package etcdtest runs real etcd servers for tests: one on loopback, or three
// in network namespaces that can be killed and cut off.
package etcdtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/lifeboat-db/lifeboat/internal/guard/procstat"
	"github.com/lifeboat-db/lifeboat/internal/installed"
)

// binary is what scripts/etcd has installed.
func binary(t testing.TB) string {
	t.Helper()
	path := os.Getenv("LIFEBOAT_ETCD")
	if path == "" {
		path = filepath.Join(installed.Dir(), "etcd", "etcd")
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no etcd server: run scripts/etcd (%v)", err)
	}
	return path
}

// Server is one etcd server.
type Server struct {
	Endpoint string
	argv     []string
	dir      string
	cmd      *exec.Cmd
	ended    chan struct{}
}

// Dir is where its data are.
func (s *Server) Dir() string { return s.dir }

// Start starts a set of one on loopback and waits until it answers.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartIn(t, t.TempDir())
}

// StartIn is Start with a directory for its data.
func StartIn(t testing.TB, dir string) *Server {
	t.Helper()
	client, peer := freePort(t), freePort(t)
	s := &Server{Endpoint: "http://" + client, dir: filepath.Join(dir, "etcd")}
	s.argv = []string{binary(t), "--name", "one", "--data-dir", s.dir, "--log-level", "error",
		"--listen-client-urls", s.Endpoint, "--advertise-client-urls", s.Endpoint,
		"--listen-peer-urls", "http://" + peer, "--initial-advertise-peer-urls", "http://" + peer,
		"--initial-cluster", "one=http://" + peer, "--initial-cluster-token", filepath.Base(filepath.Dir(s.dir)) + client}
	s.Run(t)
	t.Cleanup(func() { s.Kill() })
	s.wait(t)
	return s
}

func freePort(t testing.TB) string {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// PID is the server's process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Put writes a key.
func (s *Server) Put(t testing.TB, key, value string) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint}, Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithNoProxy()}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

// Run starts the server, again after Kill. It dies with this process: the
// kernel's parent death signal comes when the thread ends that has started it,
// so one thread stays for that.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	s.cmd = exec.CommandContext(context.Background(), s.argv[0], s.argv[1:]...)
	for _, v := range os.Environ() { // no proxy stands between the members
		if !strings.Contains(strings.ToLower(v), "proxy") {
			s.cmd.Env = append(s.cmd.Env, v)
		}
	}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd.Stderr = os.Stderr
	s.ended = make(chan struct{})
	started := make(chan error)
	go func(cmd *exec.Cmd, ended chan struct{}) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed
		}
	}(s.cmd, s.ended)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server at once, with SIGKILL.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		<-s.ended
		s.cmd = nil
	}
}

func (s *Server) wait(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var d net.Dialer
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		c, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(s.Endpoint, "http://"))
		cancel()
		if err == nil {
			_ = c.Close()
			return
		}
	}
	t.Fatal("etcd does not listen")
}

// Trio is three servers, each in a network namespace with a link to its peers
// and another one to clients. Their data are in memory.
type Trio struct {
	Servers [3]*Server
	links   [3]string // the peers' side, on the host
	clients [3]string // the clients' side
}

// StartTrio builds namespaces and bridges and starts three servers. Names and
// networks (198.18.0.0/15, RFC 2544) have the process id in them, so that tests
// of several packages can run at a time.
func StartTrio(t testing.TB) *Trio {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	path, tag := binary(t), fmt.Sprintf("%d", os.Getpid()%100000)
	net := os.Getpid() % 250
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(context.Background(), "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	undo := func(args ...string) {
		t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "ip", args...).Run() })
	}
	for _, b := range []string{"lbc", "lbp"} {
		run("link", "add", b+tag, "type", "bridge")
		undo("link", "del", b+tag)
		run("link", "set", b+tag, "up")
	}
	run("addr", "add", fmt.Sprintf("198.18.%d.1/24", net), "dev", "lbc"+tag)
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	var cluster []string
	for i := range 3 {
		cluster = append(cluster, fmt.Sprintf("m%d=http://198.19.%d.%d:2380", i, net, 10+i))
	}
	r := &Trio{}
	for i := range 3 {
		ns := fmt.Sprintf("lb%s-%d", tag, i)
		run("netns", "add", ns)
		undo("netns", "del", ns)
		run("-n", ns, "link", "set", "lo", "up")
		for kind, second := range map[string]int{"c": 18, "p": 19} {
			host := fmt.Sprintf("l%s%d%s", kind, i, tag)
			run("link", "add", host, "type", "veth", "peer", "name", kind, "netns", ns)
			run("link", "set", host, "master", "lb"+kind+tag, "up")
			run("-n", ns, "addr", "add", fmt.Sprintf("198.%d.%d.%d/24", second, net, 10+i), "dev", kind)
			run("-n", ns, "link", "set", kind, "up")
		}
		r.links[i], r.clients[i] = fmt.Sprintf("lp%d%s", i, tag), fmt.Sprintf("lc%d%s", i, tag)
		client, peer := fmt.Sprintf("http://198.18.%d.%d:2379", net, 10+i), fmt.Sprintf("http://198.19.%d.%d:2380", net, 10+i)
		s := &Server{Endpoint: client, dir: filepath.Join(dir, fmt.Sprintf("m%d", i))}
		s.argv = []string{"ip", "netns", "exec", ns, path, "--name", fmt.Sprintf("m%d", i), "--data-dir", s.dir, "--log-level", "panic",
			"--heartbeat-interval", "50", "--election-timeout", "500",
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-token", "lb" + tag}
		r.Servers[i] = s
		s.Run(t)
		t.Cleanup(func() { s.Kill() })
	}
	for _, s := range r.Servers {
		s.wait(t)
	}
	r.awaitLeader(t)
	return r
}

// awaitLeader waits until a write succeeds.
func (r *Trio) awaitLeader(t testing.TB) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: r.Endpoints(), Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithNoProxy()}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err = c.Put(ctx, "/etcdtest/leader", "")
		cancel()
		if err == nil {
			return
		}
	}
	t.Fatalf("no leader: %v", err)
}

// Endpoints of all three.
func (r *Trio) Endpoints() (list []string) {
	for _, s := range r.Servers {
		list = append(list, s.Endpoint)
	}
	return list
}

// Cut parts a server from its peers; clients still reach it.
func (r *Trio) Cut(t testing.TB, i int) { r.link(t, r.links[i], "down") }

// Heal undoes Cut.
func (r *Trio) Heal(t testing.TB, i int) { r.link(t, r.links[i], "up") }

// CutClients parts clients from all servers, which go on among themselves.
func (r *Trio) CutClients(t testing.TB) {
	t.Helper()
	for _, name := range r.clients {
		r.link(t, name, "down")
	}
}

func (r *Trio) link(t testing.TB, name, to string) {
	t.Helper()
	if out, err := exec.CommandContext(context.Background(), "ip", "link", "set", name, to).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// Pause stops a server's process in the middle of what it does. It returns when
// all threads have stopped: on a busy machine they run on until the one that
// takes the signal has had its turn.
func (s *Server) Pause() {
	_ = syscall.Kill(s.PID(), syscall.SIGSTOP)
	for !stopped(s.PID()) {
		time.Sleep(time.Millisecond)
	}
}

// stopped reports whether no thread of a process runs any more.
func stopped(pid int) bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return true
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		if st, err := procstat.Parse(text); err == nil && st.State != 'T' {
			return false
		}
	}
	return true
}

// Resume undoes Pause.
func (s *Server) Resume() { _ = syscall.Kill(s.PID(), syscall.SIGCONT) }
