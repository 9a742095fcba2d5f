// Package boot is the probe "next-boot": what the machine starts when it is
// restarted. A reboot into the network or an installer is a reinstall.
//
// Six places can say that the next boot is not the local disk as now; each
// makes a fact of its own, and any of them denies:
//
//	firmware     EFI: BootNext, OsIndications, BootOrder before BootCurrent (package comment of efi.go)
//	boot-loader  GRUB's next_entry, systemd-boot's LoaderEntryOneShot
//	kexec        a loaded kernel, which systemctl reboot starts instead
//	soft-reboot  /run/nextroot, which systemd starts without a reboot
//	bmc          the boot flags of IPMI (ipmi.go)
//	root         the running system is itself from the network or in memory
//
// Without EFI nothing tells what a BIOS or a hypervisor starts: UNKNOWN, unless
// the configuration says that it is the disk (AssumeDisk); the fact then says
// that this was assumed. The configuration does not outweigh anything seen.
//
// Not seen: one-time overrides by Redfish or a hypervisor that the firmware
// reads neither from IPMI's boot flags nor from EFI variables; syslinux's once;
// a boot loader's ordinary menu entry that leads into the network; what the
// firmware does when the disk does not start.
package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// Name is the probe's.
const Name = "next-boot"

// Probe looks at what boots next.
type Probe struct {
	// AssumeDisk: the configuration says next_boot: disk.
	AssumeDisk bool
	// Root is for tests: the directory that stands for /.
	Root string
	// IPMI is for tests: it asks the BMC for its boot flags. ErrNoBMC is the
	// answer of a machine without one.
	IPMI func(context.Context) ([]byte, error)
}

// Name is the probe's name.
func (Probe) Name() string { return Name }

// Look is asked for reboots only.
func (p Probe) Look(ctx context.Context, q probe.Question) []fact.Fact {
	if q.Operation != operation.Reboot {
		return []fact.Fact{told("", fact.Clear, "not asked: the operation is no reboot")}
	}
	return []fact.Fact{p.firmware(), p.loader(), p.kexec(), p.softReboot(), p.bmc(ctx), p.running()}
}

func told(subject string, v fact.Verdict, format string, args ...any) fact.Fact {
	return fact.Fact{Probe: Name, Kind: fact.NextBoot, Verdict: v, Subject: subject, Summary: fmt.Sprintf(format, args...)}
}

func (p Probe) path(name string) string { return filepath.Join("/", p.Root, name) }

// maxFile is more than any of the files here may have.
const maxFile = 1 << 20

// read reads a small file whole; there is false if it does not exist.
func (p Probe) read(name string) (data []byte, there bool, err error) {
	f, err := os.Open(p.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, true, err
	}
	defer func() { _ = f.Close() }()
	data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	return data, true, err
}

func (p Probe) exists(name string) (bool, error) {
	_, err := os.Lstat(p.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

const (
	efiDir    = "sys/firmware/efi"
	varsDir   = efiDir + "/efivars/"
	global    = "-8be4df61-93ca-11d2-aa0d-00e098032b8c" // EFI_GLOBAL_VARIABLE
	systemd   = "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f" // systemd's Boot Loader Interface
	indicates = "OsIndications"
)

func (p Probe) firmware() fact.Fact {
	const subject = "firmware"
	efi, err := p.exists(efiDir)
	if err != nil {
		return told(subject, fact.Unknown, "whether the firmware is EFI cannot be seen: %v", err)
	}
	if !efi && !p.AssumeDisk { //check:boot-no-efi
		return told(subject, fact.Unknown, "no EFI: what a BIOS or hypervisor starts next cannot be seen; if it is always the disk, say next_boot: disk in the configuration")
	}
	if !efi {
		return told(subject, fact.Clear, "no EFI; the configuration says that the disk is next: assumed, not seen")
	}
	e, err := p.readEFI()
	if err != nil { //check:boot-efi-unreadable
		return told(subject, fact.Unknown, "EFI variables: %v", err)
	}
	v, why := e.next()
	return told(subject, v, "%s", why)
}

// variable reads an EFI variable from efivarfs: 4 bytes attributes, then data.
func (p Probe) variable(name, vendor string) (data []byte, there bool, err error) {
	data, there, err = p.read(varsDir + name + vendor)
	if err != nil || !there {
		return nil, there, err
	}
	if len(data) < 4 {
		return nil, true, fmt.Errorf("%s has %d bytes, less than its attributes", name, len(data))
	}
	return data[4:], true, nil
}

func (p Probe) readEFI() (e efiBoot, err error) {
	if e.order, _, err = p.numbers("BootOrder"); err != nil {
		return e, err
	}
	for name, into := range map[string]**uint16{"BootNext": &e.bootNext, "BootCurrent": &e.current} {
		n, there, err := p.numbers(name)
		if err != nil {
			return e, err
		}
		if there && len(n) != 1 {
			return e, fmt.Errorf("%s has %d numbers", name, len(n))
		}
		if there {
			*into = &n[0]
		}
	}
	if e.indications, _, err = p.variable(indicates, global); err != nil {
		return e, err
	}
	e.options = map[uint16]option{}
	wanted := e.order
	for _, n := range []*uint16{e.bootNext, e.current} {
		if n != nil {
			wanted = append(wanted, *n)
		}
	}
	for _, n := range wanted {
		data, there, err := p.variable(fmt.Sprintf("Boot%04X", n), global)
		if err != nil {
			return e, err
		}
		if !there {
			continue
		}
		if e.options[n], err = parseOption(data); err != nil {
			return e, fmt.Errorf("Boot%04X: %w", n, err)
		}
	}
	return e, nil
}

func (p Probe) numbers(name string) ([]uint16, bool, error) {
	data, there, err := p.variable(name, global)
	if err != nil || !there {
		return nil, there, err
	}
	list, err := parseNumbers(data)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return list, true, err
}

// loader looks for one-time entries of boot loaders.
func (p Probe) loader() fact.Fact {
	const subject = "boot-loader"
	data, there, err := p.variable("LoaderEntryOneShot", systemd)
	if err != nil {
		return told(subject, fact.Unknown, "systemd-boot's one-time entry: %v", err)
	}
	if there && len(data) > 2 { //check:boot-loader-one-shot
		return told(subject, fact.Active, "systemd-boot starts a one-time entry next: %s", fromUTF16(data))
	}
	files, err := p.grubFiles()
	if err != nil {
		return told(subject, fact.Unknown, "GRUB's environment: %v", err)
	}
	for _, name := range files {
		data, there, err := p.read(name)
		if err != nil {
			return told(subject, fact.Unknown, "GRUB's environment: %v", err)
		}
		if !there {
			continue
		}
		entry, err := parseGrub(data)
		if err != nil { //check:boot-grub-unreadable
			return told(subject, fact.Unknown, "GRUB's environment %s: %v", name, err)
		}
		if entry != "" { //check:boot-grub-next
			return told(subject, fact.Active, "GRUB starts a one-time entry next (%s): %s", name, entry)
		}
	}
	return told(subject, fact.Clear, "no one-time entry of GRUB or systemd-boot")
}

func (p Probe) grubFiles() ([]string, error) {
	files := []string{"boot/grub/grubenv", "boot/grub2/grubenv"}
	for _, pattern := range []string{"boot/efi/EFI/*/grubenv", "boot/EFI/*/grubenv", "efi/EFI/*/grubenv"} {
		found, err := filepath.Glob(p.path(pattern))
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			files = append(files, strings.TrimPrefix(f, p.path("")))
		}
	}
	return files, nil
}

// grubHeader is the first line of an environment block (grub-core/lib/envblk.c).
const grubHeader = "# GRUB Environment Block\n"

// parseGrub returns the one-time entry. Older GRUBs, and grub-set-default while
// one is pending, keep the ordinary one in prev_saved_entry.
func parseGrub(data []byte) (entry string, err error) {
	text, ok := strings.CutPrefix(string(data), grubHeader)
	if !ok {
		return "", errors.New("not an environment block")
	}
	for _, line := range strings.Split(text, "\n") {
		name, value, assigned := strings.Cut(line, "=")
		switch {
		case assigned && (name == "next_entry" || name == "prev_saved_entry") && value != "":
			entry = value
		case !assigned && strings.Trim(line, "#") != "":
			return "", fmt.Errorf("a line that assigns nothing: %.60q", line)
		}
	}
	return entry, nil
}

func (p Probe) kexec() fact.Fact {
	const subject = "kexec"
	data, there, err := p.read("sys/kernel/kexec_loaded")
	switch {
	case err != nil:
		return told(subject, fact.Unknown, "whether a kernel is loaded by kexec cannot be seen: %v", err)
	case !there:
		return told(subject, fact.Clear, "this kernel has no kexec")
	case strings.TrimSpace(string(data)) == "0":
		return told(subject, fact.Clear, "no kernel is loaded by kexec")
	case strings.TrimSpace(string(data)) == "1":
		return told(subject, fact.Active, "a kernel is loaded by kexec: a reboot may start it instead of the firmware; unload it with kexec -u")
	}
	return told(subject, fact.Unknown, "kexec_loaded is %.20q", data)
}

func (p Probe) softReboot() fact.Fact {
	const subject = "soft-reboot"
	there, err := p.exists("run/nextroot")
	if err != nil {
		return told(subject, fact.Unknown, "/run/nextroot: %v", err)
	}
	if there { //check:boot-nextroot
		return told(subject, fact.Active, "/run/nextroot exists: a soft reboot starts what is in it")
	}
	return told(subject, fact.Clear, "no /run/nextroot")
}

// running looks where the running system comes from.
func (p Probe) running() fact.Fact {
	const subject = "root"
	cmdline, there, err := p.read("proc/cmdline")
	if err != nil || !there { //check:boot-cmdline-unreadable
		return told(subject, fact.Unknown, "/proc/cmdline cannot be read: %v", err)
	}
	mounts, there, err := p.read("proc/self/mountinfo")
	if err != nil || !there {
		return told(subject, fact.Unknown, "/proc/self/mountinfo cannot be read: %v", err)
	}
	v, why := runsFrom(string(cmdline), string(mounts))
	return told(subject, v, "%s", why)
}

func runsFrom(cmdline, mounts string) (fact.Verdict, string) {
	kind, source, err := rootMount(mounts)
	if err != nil { //check:boot-root-unknown
		return fact.Unknown, err.Error()
	}
	if networkRoot(kind, source) { //check:boot-root-network
		return fact.Active, fmt.Sprintf("the root is on the network: %s %s", kind, source)
	}
	for _, word := range strings.Fields(cmdline) {
		if networkWord(word) { //check:boot-cmdline-network
			return fact.Active, fmt.Sprintf("the kernel was started from the network: %s", word)
		}
		if strings.HasPrefix(word, "ip=") || strings.HasPrefix(word, "BOOTIF=") { //check:boot-cmdline-ip
			return fact.Unknown, fmt.Sprintf("the kernel was given %s: it may have been started from the network", word)
		}
	}
	if memoryRoot[kind] { //check:boot-root-memory
		return fact.Unknown, fmt.Sprintf("the root is %s: what the machine was started from cannot be seen", kind)
	}
	return fact.Clear, fmt.Sprintf("the root is local: %s %s", kind, source)
}

var memoryRoot = map[string]bool{"tmpfs": true, "ramfs": true, "rootfs": true, "overlay": true, "aufs": true, "squashfs": true, "erofs": true}

func networkRoot(kind, source string) bool {
	switch kind {
	case "nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "glusterfs", "fuse.glusterfs", "ocfs2", "lustre":
		return true
	}
	return strings.HasPrefix(source, "/dev/nbd") || strings.HasPrefix(source, "/dev/rbd")
}

func networkWord(word string) bool {
	for _, prefix := range []string{"root=/dev/nfs", "root=nfs", "root=nbd", "root=/dev/nbd", "root=live:http", "root=live:nfs", "nfsroot=", "netroot=", "fetch=", "url=http", "inst.ks=http", "inst.repo=http", "netboot="} {
		if strings.HasPrefix(word, prefix) {
			return true
		}
	}
	return false
}

// rootMount finds the last mount on / in /proc/self/mountinfo (proc(5)): field
// 5 is the mount point; after " - " come type and source.
func rootMount(mounts string) (kind, source string, err error) {
	for line := range strings.Lines(mounts) {
		before, after, ok := strings.Cut(line, " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if ok && len(fields) >= 6 && fields[4] == "/" && len(rest) >= 2 {
			kind, source = rest[0], rest[1]
		}
	}
	if kind == "" {
		return "", "", errors.New("/proc/self/mountinfo has no mount on /")
	}
	return kind, source, nil
}
