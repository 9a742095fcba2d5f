package restore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/fault"
	"github.com/lifeboat-db/lifeboat/internal/repository"
)

// real is a path without symbolic links; what is not there yet keeps its name.
func real(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return resolved, err
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("%s is a symbolic link to what is not there", path)
	}
	parent, err := real(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}

// checkTarget refuses a directory into which nothing must be restored, whatever
// is in it. It writes nothing.
func checkTarget(target string) error {
	refuse := func(hint, format string, args ...any) error {
		return fault.New(fault.Refused, fmt.Errorf("restore: "+format, args...), hint)
	}
	if in, ok := repository.Around(target); ok {
		return refuse("choose a directory outside of it", "%s lies in the repository %s", target, in)
	}
	info, err := os.Stat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.FromOS(fmt.Errorf("restore: %w", err))
	}
	if !info.IsDir() {
		return refuse("choose another name", "%s is no directory", target)
	}
	mounted, err := isMountPoint(target)
	if err != nil {
		return fault.FromOS(fmt.Errorf("restore: %w", err))
	}
	if mounted {
		return refuse("name a directory in it", "%s is a mount point: what a restore keeps beside its target would be on another filesystem", target)
	}
	if err := unix.Access(target, unix.W_OK|unix.X_OK); err != nil {
		return fault.FromOS(fmt.Errorf("restore: %s: %w", target, err))
	}
	return nil
}

// isMountPoint reports whether something is mounted on a directory, also of the
// filesystem that it lies on.
func isMountPoint(dir string) (bool, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	// Fields are separated by blanks; the fifth is the mount point, with \040 and
	// the like for what would be taken for a separator.
	escape := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`)
	for line := range bytes.Lines(table) {
		if f := strings.Fields(string(line)); len(f) > 4 && f[4] == escape.Replace(dir) {
			return true, nil
		}
	}
	return false, nil
}

// dying is how long a server, or a tool, may take to end whose restore was
// killed.
const dying = 10 * time.Second

// inUse refuses a directory that a process works in. A directory can look empty
// and be a server's: one that begins to initialise it, or one whose files have
// been removed. Processes of others can be looked into by root alone.
func inUse(target string, patience time.Duration) error {
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		pid, how, err := user(target)
		if err != nil || pid == 0 {
			return err
		}
		if time.Now().After(end) {
			return fault.New(fault.Refused, fmt.Errorf("restore: process %d uses %s: %s", pid, target, how), "stop it, or choose another directory")
		}
	}
}

// user finds a process that works in a directory, and how one can tell; 0: there
// is none.
func user(target string) (pid int, how string, err error) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return 0, "", fmt.Errorf("restore: %w", err)
	}
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if how := uses(filepath.Join("/proc", p.Name()), target); how != "" {
			return pid, how, nil
		}
	}
	return 0, "", nil
}

// uses says how a process, by its directory in /proc, uses a directory; empty:
// not, or nobody can tell. Servers work in their data directory; other programs,
// such as a shell, may stand in it.
func uses(proc, target string) string {
	line, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
	in, _ := os.Readlink(filepath.Join(proc, "cwd"))
	if name := program(line); name != "" && (within(in, target) || same(filepath.Join(proc, "cwd"), target)) {
		return name + " works in it"
	}
	open, _ := os.ReadDir(filepath.Join(proc, "fd"))
	for _, fd := range open {
		if path, _ := os.Readlink(filepath.Join(proc, "fd", fd.Name())); within(path, target) {
			return "it has " + path + " open"
		}
	}
	for arg := range bytes.SplitSeq(line, []byte{0}) {
		if dir, ok := strings.CutPrefix(string(arg), "--datadir="); ok {
			if dir, err := real(dir); err == nil && dir == target {
				return "it was started with --datadir=" + dir
			}
		}
	}
	return ""
}

// same reports whether two paths are one file, also of a process that sees other
// mounts, as one in a container.
func same(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// program is the name of a database server's program among the arguments of a
// process, which may have been started by a loader.
func program(arguments []byte) string {
	for arg := range bytes.SplitSeq(arguments, []byte{0}) {
		if name := filepath.Base(string(arg)); strings.HasPrefix(name, "mysqld") || strings.HasPrefix(name, "mariadbd") {
			return name
		}
	}
	return ""
}

// within reports whether a path is a directory or in it. The kernel marks what
// has been removed.
func within(path, dir string) bool {
	path = strings.TrimSuffix(path, " (deleted)")
	return path == dir || strings.HasPrefix(path, dir+"/")
}
