package enginelock

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/engine"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// page makes a file that begins as the system tablespace of InnoDB does.
func page(t *testing.T, path string) {
	t.Helper()
	text := make([]byte, 16<<10)
	text[25], text[49] = 8, 1
	if engine.Classify(text) == engine.None {
		t.Fatal("not a page")
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// locker locks a file from another process, as engines do, until it is killed.
func locker(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:noctx // ended below
	cmd.Env = append(os.Environ(), "LIFEBOAT_TEST_LOCK="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(cmd) })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	return cmd
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func TestMain(m *testing.M) {
	if path := os.Getenv("LIFEBOAT_TEST_LOCK"); path != "" {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		}
		if err != nil {
			panic(err)
		}
		_, _ = os.Stdout.WriteString("locked\n")
		time.Sleep(time.Minute)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestTest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ibdata1")
	page(t, path)
	if _, _, held, err := Test(path); held || err != nil {
		t.Error(held, err)
	}
	other := locker(t, path)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if id, pid, held, err := Test(path); !held || err != nil || pid != other.Process.Pid || id != (probe.FileID{Dev: st.Dev, Ino: st.Ino}) {
		t.Error(id, pid, held, err)
	}
	end(other)
	if _, _, held, err := Test(path); held || err != nil {
		t.Error(held, err)
	}
	h, err := Take([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	if _, pid, held, err := Test(path); !held || pid != 0 || err != nil {
		t.Error("the guard's own lock is not seen", pid, held, err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// TestUntestable: that a lock is not there must be a proof.
func TestUntestable(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, dir, "/dev/null", filepath.Join(dir, "none")} {
		if _, _, _, err := Test(path); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	if _, _, _, err := Test("/proc/version"); !errors.Is(err, ErrFilesystem) {
		t.Errorf("procfs: %v", err)
	}
	f, err := os.Create(filepath.Join(dir, "closed"))
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if _, _, err := TestFile(f); err == nil {
		t.Error("a closed file has been tested")
	}
}

func TestTake(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "ibdata1"), filepath.Join(dir, "aria_log_control")
	page(t, a)
	page(t, b)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(a, link); err != nil {
		t.Fatal(err)
	}
	h, err := Take([]string{a, b, link})
	if err != nil || len(h.IDs()) != 2 || len(h.Files()) != 2 {
		t.Fatal(h, err)
	}
	if _, err := Take([]string{b}); !errors.Is(err, ErrHeld) {
		t.Errorf("taken twice: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	locker(t, b)
	if _, err := Take([]string{a, b}); !errors.Is(err, ErrHeld) {
		t.Errorf("an engine's: %v", err)
	}
	if _, _, held, err := Test(a); held || err != nil {
		t.Error("all or none: the first is still held", err)
	}
	if h, err := Take(nil); err != nil || len(h.Files()) != 0 {
		t.Error(h, err)
	}
}

// TestRefused: what is no engine's file, or where a lock means nothing.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(text, []byte("notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "ibdata1")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, fifo, dir, filepath.Join(dir, "none")} {
		if h, err := Take([]string{path}); err == nil {
			t.Errorf("%s: %v", path, h.Files())
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a filesystem")
	}
	strange := filepath.Join(dir, "strange")
	if err := os.Mkdir(strange, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", strange, "hugetlbfs", 0, ""); err != nil {
		t.Skip("no filesystem to try: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(strange, unix.MNT_DETACH) })
	path := filepath.Join(strange, "ibdata1")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if _, err := Take([]string{path}); !errors.Is(err, ErrFilesystem) {
		t.Errorf("hugetlbfs: %v", err)
	}
}

// TestReplaced: the file that was opened is not the one at its path any more.
func TestReplaced(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "ibdata1"), filepath.Join(dir, "ibdata2")
	page(t, path)
	page(t, other)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	id, err := identify(func(st *unix.Stat_t) error { return unix.Stat(path, st) })
	if err != nil {
		t.Fatal(err)
	}
	if err := lock(f, path, id); err != nil {
		t.Error(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	if err := lock(f, path, id); err == nil {
		t.Error("another file is there, and the old one is locked")
	}
}

// TestInherited: who has inherited the files holds the locks when the guard is
// dead.
func TestInherited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ibdata1")
	page(t, path)
	h, err := Take([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60") //nolint:noctx // ended below
	cmd.ExtraFiles = h.Files()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(cmd) })
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Take([]string{path}); !errors.Is(err, ErrHeld) {
		t.Errorf("the child has not kept it: %v", err)
	}
	end(cmd)
	if _, err := Take([]string{path}); err != nil {
		t.Error(err)
	}
}

func TestTrusted(t *testing.T) {
	for magic, want := range map[uint32]bool{unix.EXT4_SUPER_MAGIC: true, unix.NFS_SUPER_MAGIC: false, unix.FUSE_SUPER_MAGIC: false, 0: false} {
		if Trusted(magic) != want {
			t.Errorf("%#x", magic)
		}
	}
}
