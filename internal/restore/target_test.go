package restore_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/restore"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/server/servertest"
)

// mount mounts something until the test ends.
func mount(t *testing.T, source, dir, kind string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(source, dir, kind, flags, ""); err != nil {
		t.Fatalf("mount (this test needs root): %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// TestWrongTarget: whatever is named by mistake is refused, and nothing in it is
// changed.
func TestWrongTarget(t *testing.T) {
	w := newWorld(t, servertest.Of(t, server.MariaDB))
	w.backup(backup.MariaDBBackup, backup.Options{})
	made := func(name string) string {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	running := servertest.Start(t, w.d)
	link := filepath.Join(t.TempDir(), "link")
	mounted, readOnly, bound := made("mounted"), made("ro"), made("bound")
	mount(t, "tmpfs", mounted, "tmpfs", 0)
	mount(t, "tmpfs", readOnly, "tmpfs", 0)
	inReadOnly := filepath.Join(readOnly, "data")
	blank := made("a b\tc") // names of mount points are escaped
	mount(t, made("elsewhere"), blank, "", unix.MS_BIND)
	mount(t, running.DataDir(), bound, "", unix.MS_BIND)
	stopped := made("stopped")
	file := filepath.Join(made("f"), "file")
	dangling := filepath.Join(made("l"), "dangling")
	for _, err := range []error{
		os.Symlink(running.DataDir(), link), os.Mkdir(inReadOnly, 0o700), unix.Mount("", readOnly, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""),
		os.WriteFile(filepath.Join(stopped, "auto.cnf"), []byte("[auto]\nserver-uuid=x\n"), 0o600), os.WriteFile(file, nil, 0o600),
		os.Symlink(filepath.Join(t.TempDir(), "nothing"), dangling),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	emptied, starting := w.emptied(), w.starting()
	for name, c := range map[string]struct {
		dir   string
		class fault.Class
		says  string
	}{
		"the data directory of a live server":           {running.DataDir(), fault.Refused, "uses"},
		"a symbolic link to it":                         {link, fault.Refused, "uses"},
		"a directory of its":                            {filepath.Join(running.DataDir(), "mysql"), fault.Refused, ""},
		"it, mounted elsewhere":                         {bound, fault.Refused, "mount point"},
		"one that is empty while its server runs":       {emptied, fault.Refused, "uses"},
		"one that a server is about to use":             {starting, fault.Refused, "--datadir="},
		"one with a server's identity":                  {stopped, fault.Refused, "not empty"},
		"the parent of one":                             {filepath.Dir(stopped), fault.Refused, "not empty"},
		"a mount point":                                 {mounted, fault.Refused, "mount point"},
		"one with blanks in its name":                   {blank, fault.Refused, "mount point"},
		"a directory into which nothing can be written": {inReadOnly, fault.Storage, "read-only"},
		"a new one in such a directory":                 {filepath.Join(readOnly, "new"), fault.Storage, "read-only"},
		"the repository":                                {w.url, fault.Refused, "in the repository"},
		"a directory in it":                             {filepath.Join(w.url, "s", "new"), fault.Refused, "in the repository"},
		"the directory that it is in":                   {filepath.Dir(w.url), fault.Refused, "not empty"},
		"a file":                                        {file, fault.Refused, "no directory"},
		"a link to nothing":                             {dangling, fault.Failed, "symbolic link"},
		"the root":                                      {"/", fault.Refused, "mount point"},
	} {
		o := w.options(c.dir, "")
		if _, err := restore.Run(t.Context(), o); err == nil || fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v (class %d), want class %d, %q", name, err, fault.ClassOf(err), c.class, c.says)
		}
	}
	for _, dir := range []string{mounted, emptied, starting, blank} {
		if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
			t.Errorf("%s holds %v %v", dir, list, err)
		}
	}
	if _, err := os.Stat(filepath.Join(w.url, "s", "new.restore")); err == nil {
		t.Error("the repository has something that is not its own")
	}
	if err := running.Shutdown(t.Context()); err != nil {
		t.Errorf("the live server: %v", err)
	}
}

// emptied is the data directory of a server that runs, and whose files somebody
// has removed.
func (w *world) emptied() string {
	w.t.Helper()
	i := servertest.Start(w.t, w.d)
	list, err := os.ReadDir(i.DataDir())
	for _, e := range list {
		err = errors.Join(err, os.RemoveAll(filepath.Join(i.DataDir(), e.Name())))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return i.DataDir()
}

// starting is an empty directory that a server has been told to use and has not
// touched yet.
func (w *world) starting() string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "starting")
	if err := os.Mkdir(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	sleepAs(w.t, "--datadir="+dir)
	return dir
}

// TestTargetLink: a symbolic link to a directory stands for the directory, whose
// restore it is by either name.
func TestTargetLink(t *testing.T) {
	w := newWorld(t, servertest.Of(t, server.MariaDB))
	w.backup(backup.MariaDBBackup, backup.Options{})
	w.archived()
	dir, link := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Symlink(dir, link)); err != nil {
		t.Fatal(err)
	}
	w.restore(w.options(link, ""))
	if rep := w.restore(w.options(dir, "")); !rep.Forward {
		t.Errorf("by its name it is another one: %+v", rep)
	}
	i, err := server.Start(t.Context(), w.d, server.Options{DataDir: dir, SkipNetworking: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restore.Run(t.Context(), w.options(dir, "")); fault.ClassOf(err) != fault.Refused || !strings.Contains(err.Error(), "uses") {
		t.Errorf("a server runs on it: %v", err)
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// sleepAs runs a process that has an argument and does nothing.
func sleepAs(t *testing.T, argument string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "sleep 600 & wait", "sh", argument)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
}
