package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is a block device, as /sys/class/block shows it.
type Device struct {
	Name         string // of the kernel
	Path         string // below /dev
	Major, Minor uint32
	Size         int64    // bytes
	Disk         string   // name of the disk, if it is a partition
	Partitions   []string // names
	Holders      []string // names of devices stacked on it: device mapper, md
	Backing      string   // file of a loop device
}

// rdev is the number by which stat(2) knows the device.
func (d Device) rdev() uint64 { return unix.Mkdev(d.Major, d.Minor) }

// Devices reads all block devices that have a size.
func Devices(sys string) ([]Device, error) {
	dir := filepath.Join(sys, "class/block")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []Device
	for _, e := range entries {
		d, err := readDevice(dir, e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("block device %s: %w", e.Name(), err)
		}
		if d.Size > 0 {
			list = append(list, d)
		}
	}
	for i := range list {
		for _, p := range list {
			if p.Disk == list[i].Name {
				list[i].Partitions = append(list[i].Partitions, p.Name)
			}
		}
	}
	return list, nil
}

func readDevice(dir, name string) (Device, error) {
	d := Device{Name: name, Path: "/dev/" + strings.ReplaceAll(name, "!", "/")}
	at := filepath.Join(dir, name)
	number, err := os.ReadFile(filepath.Join(at, "dev"))
	if err != nil {
		return d, err
	}
	if d.Major, d.Minor, err = parseDev(strings.TrimSpace(string(number))); err != nil {
		return d, err
	}
	size, err := os.ReadFile(filepath.Join(at, "size"))
	if err != nil {
		return d, err
	}
	sectors, err := strconv.ParseInt(strings.TrimSpace(string(size)), 10, 54)
	if err != nil {
		return d, err
	}
	d.Size = sectors * 512 // always of 512 bytes (Documentation/ABI/stable/sysfs-block)
	if _, err := os.Stat(filepath.Join(at, "partition")); err == nil {
		real, err := filepath.EvalSymlinks(at)
		if err != nil {
			return d, err
		}
		d.Disk = filepath.Base(filepath.Dir(real))
	}
	holders, err := os.ReadDir(filepath.Join(at, "holders"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	for _, h := range holders {
		d.Holders = append(d.Holders, h.Name())
	}
	backing, err := os.ReadFile(filepath.Join(at, "loop/backing_file"))
	if err == nil {
		d.Backing = strings.TrimSuffix(string(backing), "\n")
	}
	return d, nil
}

// Reach returns what an operation on the named devices reaches: they, their
// partitions, what is stacked on them, and loop devices whose file lies on a
// filesystem on them. No names is all of them.
func Reach(all []Device, names []string) ([]Device, error) {
	if len(all) == 0 { //check:disk-no-devices
		return nil, errors.New("there are none")
	}
	if len(names) == 0 {
		return all, nil
	}
	reached := map[string]bool{}
	for _, name := range names {
		d, err := lookup(all, name)
		if err != nil {
			return nil, err
		}
		reached[d.Name] = true
	}
	for grown := true; grown; {
		grown = false
		for _, d := range all {
			if reached[d.Name] {
				continue
			}
			if under(all, d, reached) { //allow:disk-reach
				reached[d.Name], grown = true, true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(d Device) bool { return !reached[d.Name] }), nil
}

// lookup finds a device by a path, through links such as those of /dev/disk.
func lookup(all []Device, path string) (Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Device{}, fmt.Errorf("%s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK { //check:disk-not-a-device
		return Device{}, fmt.Errorf("%s: %w", path, ErrNotBlock)
	}
	for _, d := range all {
		if d.rdev() == st.Rdev {
			return d, nil
		}
	}
	return Device{}, fmt.Errorf("%s is a device without a size, or unknown to the kernel", path)
}

// under reports whether a device lies on one of those that are reached.
func under(all []Device, d Device, reached map[string]bool) bool {
	if reached[d.Disk] {
		return true
	}
	for _, other := range all {
		if reached[other.Name] && slices.Contains(other.Holders, d.Name) {
			return true
		}
	}
	if d.Backing == "" {
		return false
	}
	var st unix.Stat_t
	if unix.Stat(d.Backing, &st) != nil {
		return true // nobody knows where its file lies
	}
	return slices.ContainsFunc(all, func(other Device) bool { return reached[other.Name] && other.rdev() == st.Dev })
}

// namespaceMounts are the mounts of one mount namespace.
type namespaceMounts struct {
	pid    int
	mounts []Mount
}

// allMounts reads the mounts of every mount namespace that has a process, the
// guard's own by its own number (self): it shares it with nearly everybody.
// Unseen are processes that could not be asked.
func allMounts(proc string, self int) (list []namespaceMounts, unseen []string, err error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, nil, err
	}
	pids := []int{self}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != self {
			pids = append(pids, pid)
		}
	}
	asked := map[string]bool{}
	for _, pid := range pids {
		dir := filepath.Join(proc, strconv.Itoa(pid))
		ns, err := os.Readlink(filepath.Join(dir, "ns/mnt"))
		if err == nil && asked[ns] {
			continue
		}
		text, readErr := os.ReadFile(filepath.Join(dir, "mountinfo"))
		if err = errors.Join(err, readErr); err != nil {
			if !gone(err) { //check:disk-namespace-unseen
				unseen = append(unseen, fmt.Sprintf("process %d: %v", pid, err))
			}
			continue
		}
		mounts, err := ParseMountinfo(text)
		if err != nil {
			return nil, nil, err
		}
		asked[ns] = true
		list = append(list, namespaceMounts{pid, mounts})
	}
	return list, unseen, nil
}

// gone: the process, or what it had, is not there any more. EINVAL is what
// mountinfo says of a process that is ending.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL)
}

// mountsOf returns where a device is mounted, "POINT" in the guard's own
// namespace and "POINT of process PID" elsewhere. A filesystem with a device
// number of its own (btrfs) names the device as its source.
func mountsOf(d Device, namespaces []namespaceMounts, self int) (points []string) {
	for _, ns := range namespaces {
		for _, m := range ns.mounts {
			if !mountedFrom(d, m) {
				continue
			}
			where := m.Point
			if ns.pid != self {
				where = fmt.Sprintf("%s of process %d", m.Point, ns.pid)
			}
			points = append(points, where)
		}
	}
	return points
}

func mountedFrom(d Device, m Mount) bool {
	if m.Major == d.Major && m.Minor == d.Minor {
		return true
	}
	if m.Major != 0 || !strings.HasPrefix(m.Source, "/dev/") {
		return false
	}
	var st unix.Stat_t
	return unix.Stat(m.Source, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == d.rdev()
}
