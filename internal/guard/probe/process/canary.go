package process

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/engine"
	"github.com/lifeboat-db/lifeboat/internal/guard/enginelock"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// Canary is a process of the guard's own that looks like a server in a
// container: it lives in PID and mount namespaces of its own, and has a deleted
// system tablespace open and locked, and another one mapped only. A scan that
// does not find all of it has not seen enough to say that there is nothing.
type Canary struct {
	cmd   *exec.Cmd
	alive io.Closer // the canary ends when this is closed, or the guard dies
	Has   CanaryFiles
}

// CanaryFiles are what a scan must find.
type CanaryFiles struct {
	Open   probe.FileID `json:"open"` // open and locked, unlinked
	FD     int          `json:"fd"`
	Mapped probe.FileID `json:"mapped"` // mapped, unlinked and closed
}

// canaryName is what the canary is called: by it main knows.
const canaryName = "lifeboat-guard-canary"

// CanaryMain is the canary, in a process that was started as one; in any other
// it returns at once. Call it first thing in main.
func CanaryMain() {
	if len(os.Args) != 2 || os.Args[0] != canaryName {
		return
	}
	if err := sing(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, canaryName+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Page is a first page that engines' files have: the system tablespace of
// InnoDB, one page long.
func Page() []byte {
	page := make([]byte, 16<<10)
	binary.BigEndian.PutUint16(page[24:], 8) // FIL_PAGE_TYPE_FSP_HDR
	binary.BigEndian.PutUint32(page[46:], 1) // FSP_SIZE
	return page
}

func sing(dir string) error {
	locked, err := hidden(dir)
	if err != nil {
		return err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(locked.Fd(), unix.F_SETLK, &lock); err != nil { // as InnoDB does
		return err
	}
	mapped, err := hidden(dir)
	if err != nil {
		return err
	}
	memory, err := unix.Mmap(int(mapped.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if err := leaveMounts(dir); err != nil {
		return fmt.Errorf("leave the machine's mounts: %w", err)
	}
	var has CanaryFiles
	if has.Open, err = fileID(locked); err != nil {
		return err
	}
	if has.Mapped, err = fileID(mapped); err != nil {
		return err
	}
	has.FD = int(locked.Fd())
	if err := mapped.Close(); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(has); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin) // until the guard ends
	return errors.Join(err, unix.Munmap(memory), locked.Close())
}

// leaveMounts gives the canary a root of its own: in its namespace it has a
// copy of every mount of the machine, and would keep disks in use that have
// been unmounted everywhere else.
func leaveMounts(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("canary", dir, "tmpfs", 0, "size=64k"); err != nil {
		return err
	}
	old := filepath.Join(dir, "old")
	if err := os.Mkdir(old, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(dir, old); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return unix.Unmount("/old", unix.MNT_DETACH)
}

// hidden makes an unlinked file with a page in it.
func hidden(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "canary")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	_, err = f.Write(Page())
	return f, err
}

func fileID(f *os.File) (probe.FileID, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return probe.FileID{Dev: st.Dev, Ino: st.Ino}, err
}

// startTimeout is how long a canary may take until it sings.
const startTimeout = 30 * time.Second

// StartCanary starts the canary, with its files in a directory.
func StartCanary(dir string) (*Canary, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	cmd := exec.Command(self) //nolint:noctx // it ends when its input does
	cmd.Args = []string{canaryName, dir}
	cmd.Env = []string{"GOMAXPROCS=1"}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("canary: %w", err)
	}
	c := &Canary{cmd: cmd, alive: stdin}
	late := time.AfterFunc(startTimeout, func() { _ = cmd.Process.Kill() })
	err = json.NewDecoder(stdout).Decode(&c.Has)
	late.Stop()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("canary: %w", err), c.Close())
	}
	return c, nil
}

// Close ends the canary.
func (c *Canary) Close() error {
	err := c.alive.Close()
	_ = c.cmd.Wait() // how it ends does not matter
	return err
}

// seenIn takes the canary out of a snapshot; the error is what of it was not
// there.
func (c *Canary) seenIn(s *Snapshot) error {
	if c == nil { //check:canary-none
		return errors.New("there is none")
	}
	i := slices.IndexFunc(s.Processes, func(p Process) bool { return p.PID == c.cmd.Process.Pid })
	if i < 0 { //check:canary-process
		return errors.New("its process is not there")
	}
	files := s.Processes[i].Files
	s.Processes = slices.Delete(s.Processes, i, i+1)
	for what, id := range map[string]probe.FileID{"open": c.Has.Open, "mapped": c.Has.Mapped} {
		found := slices.ContainsFunc(files, func(f OpenFile) bool { return f.ID == id && f.Class == engine.SystemSpace && !f.Weak })
		if !found { //check:canary-files
			return fmt.Errorf("its %s file is not there", what)
		}
	}
	return nil
}

// locked says whether the canary's lock can be seen.
func (c *Canary) locked() error {
	if c == nil { //check:canary-lock-none
		return errors.New("there is none")
	}
	id, _, held, err := enginelock.Test(fmt.Sprintf("/proc/%d/fd/%d", c.cmd.Process.Pid, c.Has.FD))
	if err != nil {
		return err
	}
	if !held || id != c.Has.Open { //check:canary-lock
		return errors.New("its file is not locked")
	}
	return nil
}
