package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
)

// mount mounts a filesystem in memory for the length of a test.
func mount(t *testing.T, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	dir, err := os.MkdirTemp("", "lifeboat-store-*") // unlike t.TempDir, open to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), unix.Mount("lifeboat-test", dir, "tmpfs", 0, options)); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestDirInMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		dir := mount(t, "size=64m")
		return func(t *testing.T) store.Store { return openDir(t, dir) }
	})
}

// TestFullDisk: what does not fit leaves nothing, and what is there stays.
func TestFullDisk(t *testing.T) {
	dir := mount(t, "size=1m")
	s := openDir(t, dir)
	storetest.MustPut(t, s, "a/small", []byte("small"))
	err := s.Put(t.Context(), "a/large", make([]byte, 2<<20))
	storetest.WantClass(t, err, fault.NoSpace, "no space left", "free some space")
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("%q", got)
	}
	n := 0
	for err = nil; err == nil; n++ {
		err = s.Put(t.Context(), fmt.Sprintf("b/%d", n), make([]byte, 50_000))
	}
	storetest.WantClass(t, err, fault.NoSpace)
	if got := storetest.Names(t, s, ""); len(got) != n {
		t.Errorf("%d objects, %d were put", len(got), n)
	}
	if err := s.Delete(t.Context(), "b/0"); err != nil {
		t.Error(err)
	}
	storetest.MustPut(t, s, "b/again", make([]byte, 40_000))
}

// TestNoInodes is the other way in which a disk is full.
func TestNoInodes(t *testing.T) {
	s := openDir(t, mount(t, "nr_inodes=4"))
	var err error
	for n := 0; err == nil; n++ {
		err = s.Put(t.Context(), fmt.Sprintf("d%d/x", n), nil)
	}
	storetest.WantClass(t, err, fault.NoSpace)
}

func TestReadOnlyDisk(t *testing.T) {
	dir := mount(t, "")
	s := openDir(t, dir)
	storetest.MustPut(t, s, "a/x", []byte("x"))
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("remount: %v", err)
	}
	storetest.WantClass(t, s.Put(t.Context(), "a/y", nil), fault.Storage, "read-only")
	storetest.WantClass(t, s.Put(t.Context(), "b/y", nil), fault.Storage, "read-only")
	storetest.WantClass(t, s.Delete(t.Context(), "a/x"), fault.Storage, "read-only")
	if data, err := s.Get(t.Context(), "a/x"); err != nil || string(data) != "x" {
		t.Errorf("%q %v", data, err)
	}
}

// TestMountedOver: a store stays with the filesystem that it was opened on.
func TestMountedOver(t *testing.T) {
	dir := mount(t, "")
	s := openDir(t, dir)
	if err := unix.Mount("lifeboat-test", dir, "tmpfs", 0, ""); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	storetest.MustPut(t, s, "a/x", []byte("x"))
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("%q was written to what lies over it", got)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

// TestForbidden: a directory of another user. Root may do all, so a child that
// is nobody tries.
func TestForbidden(t *testing.T) {
	if dir := os.Getenv("STORETEST_FORBIDDEN"); dir != "" {
		_, err := store.Open(t.Context(), store.Options{URL: filepath.Join(dir, "hidden")})
		storetest.WantClass(t, err, fault.Storage, "permission denied")
		s := openDir(t, filepath.Join(dir, "readable"))
		storetest.WantClass(t, s.Put(t.Context(), "x", nil), fault.Storage, "permission denied", "the user")
		storetest.WantClass(t, s.Put(t.Context(), "d/x", nil), fault.Storage, "permission denied")
		_, err = s.Get(t.Context(), "secret")
		storetest.WantClass(t, err, fault.Storage, "permission denied")
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root may become another user")
	}
	dir := mount(t, "mode=755")
	if err := errors.Join(os.Mkdir(dir+"/hidden", 0o700), os.Mkdir(dir+"/readable", 0o755), os.WriteFile(dir+"/readable/secret", nil, 0o400)); err != nil {
		t.Fatal(err)
	}
	cmd := child(t, "TestForbidden", "STORETEST_FORBIDDEN="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// child is this test program, copied to where everybody may run it.
func child(t *testing.T, test string, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(mount(t, "mode=755"), "test")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run", "^"+test+"$")
	cmd.Dir = filepath.Dir(program)
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// TestKill: a writer that is killed while it puts leaves whole objects only.
func TestKill(t *testing.T) {
	if dir := os.Getenv("STORETEST_KILL"); dir != "" {
		s := openDir(t, dir)
		fmt.Println("ready")
		for n := 0; ; n++ {
			name := fmt.Sprintf("%s/%d", os.Getenv("STORETEST_ROUND"), n)
			storetest.MustPut(t, s, name, storetest.Bytes(uint64(n), 200_000))
		}
	}
	dir, seed := t.TempDir(), uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	total := 0
	for round := range 15 {
		killWriter(t, dir, round, time.Duration(r.IntN(30))*time.Millisecond)
		total = len(checkWhole(t, dir))
	}
	left := len(files(t, dir)) - total
	t.Logf("%d objects, %d temporary files", total, left)
	if left > 15 {
		t.Errorf("%d temporary files of 15 writers", left)
	}
}

// killWriter starts a writer and kills it after a while.
func killWriter(t *testing.T, dir string, round int, while time.Duration) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^TestKill$")
	cmd.Env = append(os.Environ(), "STORETEST_KILL="+dir, fmt.Sprintf("STORETEST_ROUND=r%d", round))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Error(err)
	}
	time.Sleep(while)
	_ = cmd.Process.Kill() // it goes on until then
	_ = cmd.Wait()
}

// checkWhole reads what is listed: all of it is as it was put.
func checkWhole(t *testing.T, dir string) []string {
	t.Helper()
	s := openDir(t, dir)
	names := storetest.Names(t, s, "")
	for _, name := range names {
		var n uint64
		if _, err := fmt.Sscan(name[strings.IndexByte(name, '/')+1:], &n); err != nil {
			t.Fatal(err)
		}
		if data, err := s.Get(t.Context(), name); err != nil || !bytes.Equal(data, storetest.Bytes(n, 200_000)) {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
	return names
}

// TestVanished: a directory that is removed under a store.
func TestVanished(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := openDir(t, dir)
	storetest.MustPut(t, s, "a/b/x", nil)
	if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	storetest.MustPut(t, s, "a/b/x", nil) // its directories are made again
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a/b/x", nil); err == nil {
		t.Error("put into nothing")
	}
	if _, err := s.Get(t.Context(), "a/b/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
