package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/procstat"
)

// Inodes of the first namespaces of their kinds (include/linux/proc_ns.h,
// PROC_PID_INIT_INO and PROC_USER_INIT_INO).
const (
	firstPIDNS  = "pid:[4026531836]"
	firstUserNS = "user:[4026531837]"
)

// World is the machine as its first processes see it. The zero value is the
// real one. Tests put a machine into namespaces of its own and say so; nothing
// that a user can set does.
type World struct {
	PIDNS, UserNS string // readlink of ns/pid and ns/user
	NoKernel      bool   // it has no kernel threads
}

func (w World) namespaces() (pid, user string) {
	if w == (World{}) {
		return firstPIDNS, firstUserNS
	}
	return w.PIDNS, w.UserNS
}

// needed are the capabilities without which something stays hidden
// (capabilities(7)): DAC_READ_SEARCH, SYS_PTRACE, SYS_ADMIN.
var needed = map[string]uint{"CAP_DAC_READ_SEARCH": 2, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21}

// visibility says whether /proc shows everything.
func visibility(proc string, world World) []fact.Fact {
	var hidden []string
	for _, check := range []func(string) error{realProc, world.firstNamespaces, world.kernelThreads, nobodyHidden, capabilities} {
		if err := check(proc); err != nil { //check:visibility
			hidden = append(hidden, err.Error())
		}
	}
	f := fact.Fact{Probe: VisibilityName, Kind: fact.Visibility, Verdict: fact.Clear, Subject: "machine",
		Summary: "the guard sees all processes of the machine"}
	if len(hidden) > 0 {
		f.Verdict = fact.Unknown
		f.Summary = "the guard does not see the whole machine: " + strings.Join(hidden, "; ") + ": run the agent as root, outside of containers"
	}
	return []fact.Fact{f}
}

func realProc(proc string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(proc, &st); err != nil {
		return err
	}
	if st.Type != unix.PROC_SUPER_MAGIC { //check:visibility-procfs
		return fmt.Errorf("%s is not procfs", proc)
	}
	return nil
}

// firstNamespaces: the guard is in the namespaces the machine has started with,
// and /proc shows that PID namespace.
func (w World) firstNamespaces(proc string) error {
	pid, user := w.namespaces()
	for link, want := range map[string]string{"self/ns/pid": pid, "self/ns/user": user, "1/ns/pid": pid} {
		got, err := os.Readlink(filepath.Join(proc, link))
		if err != nil {
			return err
		}
		if got != want { //check:visibility-namespaces
			return fmt.Errorf("%s is %s, not the machine's own %s", link, got, want)
		}
	}
	return nil
}

// kernelThreads: the first kernel thread is there.
func (w World) kernelThreads(proc string) error {
	if w.NoKernel {
		return nil
	}
	st, err := procstat.Read(proc, 2)
	if err != nil {
		return fmt.Errorf("process 2, the kernel's kthreadd: %w", err)
	}
	if !st.Kernel { //check:visibility-kthreadd
		return fmt.Errorf("process 2 is %s and not the kernel's kthreadd", st.Name)
	}
	return nil
}

// nobodyHidden: the mount of /proc hides nobody (proc(5), hidepid).
func nobodyHidden(proc string) error {
	text, err := os.ReadFile(filepath.Join(proc, "self/mounts"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[1] != proc || fields[2] != "proc" {
			continue
		}
		for option := range strings.SplitSeq(fields[3], ",") {
			value, ok := strings.CutPrefix(option, "hidepid=")
			if ok && value != "0" && value != "off" { //check:visibility-hidepid
				return fmt.Errorf("%s is mounted with %s", proc, option)
			}
			if option == "subset=pid" { //check:visibility-subset
				return fmt.Errorf("%s is mounted with %s", proc, option)
			}
		}
	}
	return nil
}

func capabilities(proc string) error {
	text, err := os.ReadFile(filepath.Join(proc, "self/status"))
	if err != nil {
		return err
	}
	return parseCapabilities(text)
}

func parseCapabilities(status []byte) error {
	for line := range strings.Lines(string(status)) {
		value, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			return err
		}
		for name, bit := range needed {
			if set&(1<<bit) == 0 { //check:visibility-capability
				return fmt.Errorf("the guard lacks %s", name)
			}
		}
		return nil
	}
	return fmt.Errorf("status has no CapEff")
}
