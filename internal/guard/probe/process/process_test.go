package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/engine"
	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
	"github.com/lifeboat-db/lifeboat/internal/guard/procstat"
)

// holder has a process of these tests hold a file in some way: "WAY PATH".
const holder = "LIFEBOAT_TEST_HOLDER"

func TestMain(m *testing.M) {
	CanaryMain()
	if way, path, ok := strings.Cut(os.Getenv(holder), " "); ok {
		hold(way, path)
	}
	os.Exit(m.Run())
}

// hold holds a file until the end of the input.
func hold(way, path string) {
	ready := func() { fmt.Println("ready") }
	wait := func() { _, _ = bufio.NewReader(os.Stdin).ReadByte(); os.Exit(0) }
	open := func() int {
		fd, err := unix.Open(path, unix.O_RDWR, 0)
		if err != nil {
			panic(err)
		}
		return fd
	}
	mapped := func() []byte {
		fd := open()
		memory, err := unix.Mmap(fd, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			panic(err)
		}
		_ = unix.Close(fd)
		return memory
	}
	switch way {
	case "descriptor":
		open()
	case "lock":
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		if err := unix.FcntlFlock(uintptr(open()), unix.F_SETLK, &lock); err != nil {
			panic(err)
		}
	case "mapping":
		mapped()
	case "moving": // a mapping that is split and joined all the time
		memory := mapped()
		go func() {
			for {
				_ = unix.Mprotect(memory[:4096], unix.PROT_READ)
				_ = unix.Mprotect(memory[:4096], unix.PROT_READ|unix.PROT_WRITE)
			}
		}()
	case "thread": // in a thread with descriptors of its own
		opened := make(chan bool)
		go func() {
			runtime.LockOSThread()
			if err := unix.Unshare(unix.CLONE_FILES); err != nil {
				panic(err)
			}
			open()
			opened <- true
			select {}
		}()
		<-opened
	case "orphans", "orphans-mapping": // in threads that have outlived their first
		if way == "orphans" {
			open()
		} else {
			mapped()
		}
		runtime.LockOSThread() // main.main runs in the first thread until it is moved
		if unix.Gettid() != os.Getpid() {
			panic("not the first thread")
		}
		go func() {
			for { // until the first thread is a zombie
				text, _ := os.ReadFile("/proc/self/task/" + strconv.Itoa(os.Getpid()) + "/stat")
				if st, err := procstat.Parse(text); err == nil && st.State == 'Z' {
					break
				}
				time.Sleep(time.Millisecond)
			}
			ready()
			wait()
		}()
		time.Sleep(10 * time.Millisecond)
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	default:
		panic(way)
	}
	ready()
	wait()
}

func init() {
	if strings.HasPrefix(os.Getenv(holder), "orphans") {
		runtime.LockOSThread() // keeps main in the first thread
	}
}

func start(t *testing.T, way, path string, attr *syscall.SysProcAttr) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:noctx // ended below
	cmd.Env = append(os.Environ(), holder+"="+way+" "+path)
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Kill(cmd.Process.Pid, unix.SIGCONT)
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatal(line, err)
	}
	return cmd
}

func page(t *testing.T, dir, name string) (path string, id probe.FileID) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, Page(), 0o600); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return path, probe.FileID{Dev: st.Dev, Ino: st.Ino}
}

func snapshot(t *testing.T) *Snapshot {
	t.Helper()
	s, err := Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func of(s *Snapshot, pid int) Process {
	i := slices.IndexFunc(s.Processes, func(p Process) bool { return p.PID == pid })
	if i < 0 {
		return Process{}
	}
	return s.Processes[i]
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, as the agent does")
	}
}

// TestHeldFiles: a file of an engine is found however it is held.
func TestHeldFiles(t *testing.T) {
	needRoot(t)
	for _, way := range []string{"descriptor", "mapping", "moving", "thread", "orphans", "orphans-mapping"} {
		for _, change := range []string{"", "deleted", "renamed", "stopped", "namespaces", "other directory"} {
			t.Run(way+"/"+change, func(t *testing.T) {
				path, id := page(t, t.TempDir(), "harmless")
				var attr *syscall.SysProcAttr
				if change == "namespaces" {
					attr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC}
					if strings.HasPrefix(way, "orphans") {
						attr.Cloneflags &^= unix.CLONE_NEWPID // /proc would be another's
					}
				}
				pid := start(t, way, path, attr).Process.Pid
				switch change {
				case "deleted":
					_ = os.Remove(path)
				case "renamed":
					_ = os.Rename(path, path+".txt")
				case "stopped":
					_ = unix.Kill(pid, unix.SIGSTOP)
				}
				s := snapshot(t)
				p := of(s, pid)
				if !slices.ContainsFunc(p.Files, func(f OpenFile) bool {
					return f.ID == id && f.Class == engine.SystemSpace && !f.Weak
				}) && !slices.ContainsFunc(s.Problems, func(x string) bool {
					return way == "moving" && strings.Contains(x, strconv.Itoa(pid))
				}) {
					t.Errorf("not found: %+v, problems %v", p, s.Problems)
				}
			})
		}
	}
}

// TestNothingHeld: what is open and no file of an engine is none.
func TestNothingHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte(strings.Repeat("SELECT 1;\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	pid := start(t, "descriptor", path, nil).Process.Pid
	if p := of(snapshot(t), pid); p.PID != pid || len(p.Files) != 0 {
		t.Errorf("%+v", p)
	}
}

// TestByName: an encrypted or new file has no header, its name tells weakly.
func TestByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t1.ibd")
	if err := os.WriteFile(path, []byte(strings.Repeat("\x5a\xa5", 8192)), 0o600); err != nil {
		t.Fatal(err)
	}
	pid := start(t, "descriptor", path, nil).Process.Pid
	if p := of(snapshot(t), pid); len(p.Files) != 1 || !p.Files[0].Weak {
		t.Errorf("%+v", p)
	}
}

// TestLocks: a lock is found through whoever has the file open, and tested on
// the file it is about.
func TestLocks(t *testing.T) {
	needRoot(t)
	canary := newCanary(t)
	p := Probe{Canary: canary}
	dir := t.TempDir()
	path, id := page(t, dir, "ibdata1")
	locks := func(q probe.Question) []fact.Fact {
		s := snapshot(t)
		if err := canary.seenIn(s); err != nil {
			t.Fatal(err)
		}
		s.Processes = slices.DeleteFunc(s.Processes, func(x Process) bool {
			return !slices.ContainsFunc(x.Files, func(f OpenFile) bool { return f.ID == id })
		})
		return p.locks(s, q)
	}
	here := probe.Question{Facts: []fact.Fact{{Kind: fact.DataAtRest, Verdict: fact.Active, Evidence: map[string]string{"datadir": dir}}}}
	if f := locks(here); len(f) != 1 || f[0].Verdict != fact.Clear {
		t.Errorf("nobody holds it: %v", f)
	}
	// One that has it open and no lock, one with the lock, in another namespace.
	start(t, "descriptor", path, nil)
	pid := start(t, "lock", path, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}).Process.Pid
	for what, q := range map[string]probe.Question{"by process": {}, "by directory": here} {
		f := locks(q)
		if len(f) != 1 || f[0].Verdict != fact.Active || !slices.Contains(f[0].PIDs, pid) {
			t.Errorf("%s: %v", what, f)
		}
	}
	if f := locks(probe.Question{Held: []probe.FileID{id}}); len(f) != 1 || f[0].Verdict != fact.Clear {
		t.Errorf("the guard's own: %v", f)
	}
	_ = os.Remove(path)
	if f := locks(probe.Question{}); len(f) != 1 || f[0].Verdict != fact.Active {
		t.Errorf("deleted: %v", f)
	}
}

// TestTestLock: whom to ask may be gone, or be another by now.
func TestTestLock(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	path, id := page(t, dir, "ibdata1")
	other, _ := page(t, dir, "ibdata2")
	pid := start(t, "lock", path, nil).Process.Pid
	ended := exec.CommandContext(t.Context(), "true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	dead := fmt.Sprintf("/proc/%d/fd/3", ended.Process.Pid)
	for _, c := range []struct {
		name string
		vias []string
		want *fact.Verdict
	}{
		{"the first has ended", []string{dead, path}, verdict(fact.Active)},
		{"the first cannot be read", []string{dir, path}, verdict(fact.Active)},
		{"none can be read", []string{dir}, verdict(fact.Unknown)},
		{"all have ended", []string{dead}, nil},
		{"the name is another file's", []string{other}, verdict(fact.Unknown)},
		{"the name is gone", []string{path + "x"}, verdict(fact.Unknown)},
		{"a descriptor is another file's", []string{"/proc/self/exe"}, nil},
		{"on a filesystem that proves nothing", []string{"/proc/version"}, verdict(fact.Unknown)},
	} {
		f := testLock(lockFile{id: id, path: path, vias: c.vias, pids: []int{1}})
		if (f == nil) != (c.want == nil) || f != nil && f.Verdict != *c.want {
			t.Errorf("%s: %v", c.name, f)
		}
		if f != nil && f.Verdict == fact.Active && !slices.Equal(f.PIDs, []int{1, pid}) {
			t.Errorf("%s: processes %v", c.name, f.PIDs)
		}
	}
}

func verdict(v fact.Verdict) *fact.Verdict { return &v }

func TestLockSubject(t *testing.T) {
	for path, want := range map[string]string{
		"/d/ibdata1": "/d/ibdata1", "/d/#innodb_redo/#ib_redo74": "/d/#innodb_redo", "/d/#innodb_redo/#ib_redo75_tmp": "/d/#innodb_redo",
	} {
		if got := lockSubject(path); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestLockFiles(t *testing.T) {
	dir := t.TempDir()
	path, _ := page(t, dir, "ibdata1")
	_ = os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600)
	_ = os.Mkdir(filepath.Join(dir, "aria_log_control"), 0o700)
	elsewhere := filepath.Join(t.TempDir(), "real")
	_ = os.WriteFile(elsewhere, Page(), 0o600)
	_ = os.Symlink(elsewhere, filepath.Join(dir, "ibdata2"))
	got, err := LockFiles(nil, []string{dir, dir, filepath.Join(dir, "none")})
	if err != nil || !slices.Equal(got, []string{path, filepath.Join(dir, "ibdata2")}) {
		t.Errorf("%v %v", got, err)
	}
	if _, err := LockFiles(nil, []string{path}); err == nil {
		t.Error("a file has been read as a directory")
	}
}

func newCanary(t *testing.T) *Canary {
	t.Helper()
	c, err := StartCanary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestCanary: each thing that the scan might miss is missed.
func TestCanary(t *testing.T) {
	needRoot(t)
	c := newCanary(t)
	s := snapshot(t)
	other := newCanary(t) // of a second guard: a stranger that has engine's files open
	if err := c.seenIn(s); err != nil {
		t.Fatal(err)
	}
	if of(s, c.cmd.Process.Pid).PID != 0 {
		t.Error("the canary has been left among the processes")
	}
	if err := c.locked(); err != nil {
		t.Error(err)
	}
	if err := c.seenIn(s); err == nil {
		t.Error("seen where it is not")
	}
	if err := (*Canary)(nil).seenIn(s); err == nil {
		t.Error("no canary was seen")
	}
	if err := (*Canary)(nil).locked(); err == nil {
		t.Error("no canary is locked")
	}
	if s := snapshot(t); len(of(s, other.cmd.Process.Pid).Files) == 0 {
		t.Error("the other guard's canary holds nothing")
	}
	for what, change := range map[string]func(*Canary){
		"open file":   func(c *Canary) { c.Has.Open.Ino += 1 << 40 },
		"mapped file": func(c *Canary) { c.Has.Mapped.Ino += 1 << 40 },
	} {
		wrong := *c
		change(&wrong)
		if err := wrong.seenIn(snapshot(t)); err == nil {
			t.Errorf("its %s was seen", what)
		}
	}
	wrong := *c
	wrong.Has.FD = 0
	if err := wrong.locked(); err == nil {
		t.Error("a descriptor of no file is locked")
	}
	wrong = *c
	wrong.Has.Open = other.Has.Open
	if err := wrong.locked(); err == nil {
		t.Error("another file is locked")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.locked(); err == nil {
		t.Error("a dead canary is locked")
	}
}

// TestUnseen: what the scan could not see is UNKNOWN.
func TestUnseen(t *testing.T) {
	needRoot(t)
	canary := newCanary(t)
	look := func(p Probe) (unknown []string) {
		for _, f := range p.Look(t.Context(), probe.Question{}) {
			if f.Verdict == fact.Unknown {
				unknown = append(unknown, f.Subject)
			}
		}
		return unknown
	}
	if got := look(Probe{Canary: canary}); slices.Contains(got, "canary") {
		t.Errorf("%v", got)
	}
	for what, c := range map[string]*Canary{"none": nil, "changed": {cmd: canary.cmd}} {
		if got := look(Probe{Canary: c}); !slices.Contains(got, "canary") {
			t.Errorf("%s: %v", what, got)
		}
		if f := (Probe{Canary: c}).locks(&Snapshot{}, probe.Question{}); len(f) != 1 || f[0].Verdict != fact.Unknown {
			t.Errorf("locks, %s: %v", what, f)
		}
		if f := (Probe{Canary: c}).report(snapshot(t), probe.Question{}); !unknown(f, "canary") {
			t.Errorf("%s: %v", what, f)
		}
	}
	s := snapshot(t)
	s.Problems = []string{"process 1: hidden"}
	if f := (Probe{Canary: canary}).report(s, probe.Question{}); !unknown(f, "processes") {
		t.Errorf("a problem is not told: %v", f)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f := (Probe{Canary: canary}).Look(ctx, probe.Question{}); !slices.ContainsFunc(f, func(f fact.Fact) bool {
		return f.Kind == fact.Visibility && f.Subject == "processes" && f.Verdict == fact.Unknown
	}) {
		t.Errorf("interrupted: %v", f)
	}
}

// unknown reports whether visibility is said to be incomplete.
func unknown(facts []fact.Fact, subject string) bool {
	return slices.ContainsFunc(facts, func(f fact.Fact) bool {
		return f.Kind == fact.Visibility && f.Subject == subject && f.Verdict == fact.Unknown
	})
}

// fakeProc is a /proc with process 7 in it; entries are files, or, beginning
// with "->", links.
func fakeProc(t *testing.T, entries map[string]string) string {
	t.Helper()
	proc := t.TempDir()
	all := map[string]string{"7/stat": statLine(7), "7/maps": "", "7/task/7/stat": statLine(7)}
	for name, text := range entries {
		all[name] = text
	}
	for name, text := range all {
		path := filepath.Join(proc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(proc, "7/fd"), 0o700); err != nil && entries["7/fd"] == "" {
		t.Fatal(err)
	}
	return proc
}

func statLine(pid int) string {
	return fmt.Sprintf("%d (x) S 0 0 0 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 7 0 0", pid)
}

// TestUnreadable: whatever of a process cannot be read is told.
func TestUnreadable(t *testing.T) {
	if s, err := scan(t.Context(), fakeProc(t, nil), 1); err != nil || len(s.Problems) != 0 || s.Total != 1 {
		t.Fatalf("%+v %v", s, err)
	}
	const line = "7f0000-7f1000 r--s 00000000 fe:00 12 /x\n"
	for what, entries := range map[string]map[string]string{
		"descriptors":          {"7/fd": "no directory"},
		"a descriptor":         {"7/fd/3": "->3"},
		"a file":               {"7/fd/3": string(Page())},
		"a line of maps":       {"7/maps": "7f00 r--s\n"},
		"a mapping":            {"7/maps": line, "7/map_files/7f0000-7f1000": "->7f0000-7f1000"},
		"mappings that change": {"7/maps": line},
		"a stat":               {"7/stat": "7 x"},
	} {
		proc := fakeProc(t, entries)
		if s, err := scan(t.Context(), proc, 1); err != nil || len(s.Problems) == 0 {
			t.Errorf("%s: %+v %v", what, s, err)
		}
	}
	proc := fakeProc(t, nil)
	if err := errors.Join(os.RemoveAll(filepath.Join(proc, "7/task")), os.WriteFile(filepath.Join(proc, "7/task"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if s, err := scan(t.Context(), proc, 1); err != nil || len(s.Problems) == 0 {
		t.Errorf("threads: %+v %v", s, err)
	}
	proc = fakeProc(t, map[string]string{"7/net/tcp/x": ""})
	if f := names(proc, &Snapshot{Processes: []Process{{PID: 7}}}); len(f) == 0 || f[0].Verdict != fact.Unknown {
		t.Errorf("ports: %v", f)
	}
}

// TestNeverEnding: processes that are born all the time are not waited for.
func TestNeverEnding(t *testing.T) {
	proc := fakeProc(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	var born sync.WaitGroup
	born.Go(func() {
		for pid := 10; ctx.Err() == nil; pid++ {
			dir := filepath.Join(proc, strconv.Itoa(pid))
			_ = os.Mkdir(dir, 0o700)
			_ = os.WriteFile(filepath.Join(dir, "stat"), []byte(statLine(pid)), 0o600)
		}
	})
	var s *Snapshot
	var err error
	faster := false
	for n := 0; n < 100 && err == nil && !faster; n++ { // on a busy machine they may not be
		s, err = scan(t.Context(), proc, 1)
		faster = err == nil && slices.ContainsFunc(s.Problems, func(p string) bool { return strings.Contains(p, "born faster") })
	}
	stop()
	born.Wait()
	if !faster {
		t.Errorf("%+v %v", s, err)
	}
}

// TestUnreadLocks: locks that cannot be tested are UNKNOWN.
func TestUnreadLocks(t *testing.T) {
	dir := t.TempDir()
	loop := filepath.Join(dir, "ibdata1")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	for what, dirs := range map[string][]string{"a name": {dir}, "a directory": {"/proc/version"}} {
		files, unread := lockFiles(&Snapshot{}, probe.Question{}, dirs)
		if len(files) != 0 || len(unread) != 1 || unread[0].Verdict != fact.Unknown {
			t.Errorf("%s: %v %v", what, files, unread)
		}
	}
}

// TestUnlockedCanary: a canary whose lock is gone proves nothing.
func TestUnlockedCanary(t *testing.T) {
	needRoot(t)
	path, id := page(t, t.TempDir(), "ibdata1")
	cmd := start(t, "descriptor", path, nil)
	c := &Canary{cmd: cmd}
	c.Has.Open = id
	for fd := range 64 {
		if link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", cmd.Process.Pid, fd)); err == nil && link == path {
			c.Has.FD = fd
		}
	}
	if err := c.locked(); err == nil || !strings.Contains(err.Error(), "not locked") {
		t.Error(err)
	}
}

func TestNamespaces(t *testing.T) {
	w := World{PIDNS: "pid:[5]", UserNS: "user:[6]"}
	good := map[string]string{"self/ns/pid": "->pid:[5]", "self/ns/user": "->user:[6]", "1/ns/pid": "->pid:[5]"}
	if err := w.firstNamespaces(fakeProc(t, good)); err != nil {
		t.Error(err)
	}
	for name := range good {
		bad := maps.Clone(good)
		bad[name] = "->pid:[4]"
		if err := w.firstNamespaces(fakeProc(t, bad)); err == nil {
			t.Errorf("%s is another's", name)
		}
	}
	if pid, user := (World{}).namespaces(); pid != firstPIDNS || user != firstUserNS {
		t.Error(pid, user)
	}
}

func TestVisibility(t *testing.T) {
	self := func(ns string) string {
		link, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	if err := realProc("/tmp"); err == nil {
		t.Error("/tmp is procfs")
	}
	if err := realProc("/proc"); err != nil {
		t.Error(err)
	}
	for _, w := range []World{{PIDNS: "pid:[1]", UserNS: self("user")}, {PIDNS: self("pid"), UserNS: "user:[1]"}} {
		if err := w.firstNamespaces("/proc"); err == nil {
			t.Errorf("%v is ours", w)
		}
	}
	proc := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(proc, name)
		_ = os.MkdirAll(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := (World{}).kernelThreads(proc); err == nil {
		t.Error("no process 2, and it is kthreadd")
	}
	write("2/stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 7 0 0")
	if err := (World{}).kernelThreads(proc); err != nil {
		t.Error(err)
	}
	write("2/stat", "2 (sh) S 0 0 0 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 7 0 0")
	if err := (World{}).kernelThreads(proc); err == nil {
		t.Error("sh is kthreadd")
	}
	for options, hidden := range map[string]bool{
		"rw,nosuid": false, "rw,hidepid=0": false, "rw,hidepid=off": false,
		"rw,hidepid=1": true, "rw,hidepid=invisible": true, "rw,hidepid=ptraceable": true, "rw,subset=pid": true,
	} {
		write("self/mounts", "proc "+proc+" proc "+options+" 0 0\nproc /elsewhere proc rw,hidepid=2 0 0\n")
		if err := nobodyHidden(proc); (err != nil) != hidden {
			t.Errorf("%s: %v", options, err)
		}
	}
	for status, ok := range map[string]bool{
		"CapEff:\t000001ffffffffff\n": true, "CapEff:\t0000000000280004\n": true, "CapEff:\t0000000000280000\n": false,
		"CapEff:\t0000000000200004\n": false, "CapEff:\t0000000000080004\n": false, "CapEff:\tx\n": false, "Name:\tx\n": false,
	} {
		if err := parseCapabilities([]byte(status)); (err == nil) != ok {
			t.Errorf("%q: %v", status, err)
		}
	}
	if f := visibility("/tmp", World{}); len(f) != 1 || f[0].Verdict != fact.Unknown {
		t.Errorf("%v", f)
	}
}

// TestNames: what is called like a server, or listens at its port, is told.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	for program, want := range map[string]bool{"mysqld": true, "mariadb-backup": true, "mysql": false} {
		path := filepath.Join(dir, program)
		if out, err := exec.CommandContext(t.Context(), "cp", "/bin/sleep", path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		cmd := exec.Command(path, "100") //nolint:noctx // ended below
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		s := snapshot(t)
		found := slices.ContainsFunc(names("/proc", s), func(f fact.Fact) bool {
			return f.Verdict != fact.Clear && slices.Contains(f.PIDs, cmd.Process.Pid)
		})
		if found != want {
			t.Errorf("%s: %v", program, found)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func FuzzParseMapping(f *testing.F) {
	f.Add("7f00-7f10 r--s 00000000 fe:00 1234  /var/lib/mysql/a b")
	f.Add("7ffc-7ffd rw-p 00000000 00:00 0 [stack]")
	f.Add("x")
	f.Fuzz(func(t *testing.T, line string) {
		m, ok := parseMapping([]byte(line))
		if !ok {
			return
		}
		fields := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' }) // all that the kernel puts between them
		if m.key == "" && len(fields) > 4 && fields[4] != "0" && !strings.Contains(line, "  ") && !strings.HasPrefix(line, " ") {
			t.Errorf("%q is of a file, and has no key", line)
		}
		if m.key != "" && strings.Trim(m.area, "0123456789abcdef-") != "" {
			t.Errorf("%q: area %q", line, m.area)
		}
	})
}

func FuzzParseTCP(f *testing.F) {
	f.Add("   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1")
	f.Add("0 :CEA x 0A")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range parseTCP([]byte(text)) {
			if !slices.Contains(ports, s.port) || !strings.Contains(text, "0A") {
				t.Errorf("%q: %v", text, s)
			}
		}
	})
}

func FuzzParseCapabilities(f *testing.F) {
	f.Add("Name:\tx\nCapEff:\t000001ffffffffff\n")
	f.Add("CapEff:\n")
	f.Fuzz(func(t *testing.T, text string) {
		if parseCapabilities([]byte(text)) == nil && !strings.Contains(text, "CapEff:") {
			t.Errorf("%q has all capabilities", text)
		}
	})
}

func TestListeners(t *testing.T) {
	const line = "   0: 0100007F:%04X 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 4242 1\n"
	text := "  sl  local_address rem_address   st\n" + fmt.Sprintf(line, 3306, "0A") + fmt.Sprintf(line, 3306, "01") + fmt.Sprintf(line, 80, "0A")
	if got := parseTCP([]byte(text)); len(got) != 1 || got[0] != (socket{3306, 4242}) {
		t.Errorf("%v", got)
	}
}
