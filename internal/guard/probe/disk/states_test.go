package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// tablespace is the first page of InnoDB's system tablespace, four times.
func tablespace() []byte {
	page := make([]byte, 16<<10)
	binary.BigEndian.PutUint16(page[24:], 8)
	binary.BigEndian.PutUint32(page[46:], 1)
	return bytes.Repeat(page, 4)
}

func noise(n int) []byte {
	b, r := make([]byte, n), rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// device is a loop device and its file.
type device struct {
	t          *testing.T
	path, file string
}

func newDevice(t *testing.T, size int64, options ...string) *device {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for loop devices")
	}
	d := &device{t: t, file: filepath.Join(t.TempDir(), "disk.img")}
	if err := os.WriteFile(d.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.file, size); err != nil {
		t.Fatal(err)
	}
	d.path = d.run("losetup", append(options, "-f", "--show", d.file)...)
	t.Cleanup(func() {
		for range 100 {
			_ = exec.CommandContext(context.Background(), "losetup", "-d", d.path).Run()
			out, err := exec.CommandContext(context.Background(), "losetup", "-n", "-O", "BACK-FILE", d.path).Output()
			if err != nil || !strings.Contains(string(out), d.file) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("%s cannot be detached", d.path)
	})
	return d
}

func (d *device) run(name string, args ...string) string {
	d.t.Helper()
	out, err := exec.CommandContext(d.t.Context(), name, args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (d *device) write(at int64, b []byte) {
	d.t.Helper()
	f, err := os.OpenFile(d.path, os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt(b, at); err != nil {
		d.t.Fatal(err)
	}
}

// mount mounts a device until unmount or the end.
func (d *device) mount(path string) (dir string, unmount func()) {
	d.t.Helper()
	dir = d.t.TempDir()
	d.run("mount", path, dir)
	unmount = func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }
	d.t.Cleanup(unmount)
	return dir, unmount
}

// fill makes a filesystem with a data directory in it.
func (d *device) fill(path string, options ...string) {
	d.t.Helper()
	d.run("mkfs.ext4", append(append([]string{"-q"}, options...), path)...)
	dir, unmount := d.mount(path)
	if err := os.MkdirAll(filepath.Join(dir, "var/db"), 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "var/db/ibdata1"), tablespace(), 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.run("sync", "-f", dir)
	unmount()
}

// wiping asks the probe about a wipe of the device.
func wiping(t *testing.T, p Probe, devices ...string) (found []fact.Fact) {
	t.Helper()
	p.MaxDuration = time.Minute
	p.Machine = devices
	for _, f := range p.Look(t.Context(), probe.Question{Operation: operation.Wipe, Scope: operation.Scope{Devices: devices}}) {
		if f.Kind == fact.DataAtRest || f.Kind == fact.Layer {
			found = append(found, f)
		}
	}
	return found
}

// away is a probe whose canary lies on no device that is asked about.
func away(t *testing.T) Probe {
	t.Helper()
	c, err := PlantCanary(t.TempDir(), tablespace()[:16<<10])
	if err != nil {
		t.Fatal(err)
	}
	return Probe{Canary: c}
}

// TestStates: what lies on a device, mounted nowhere, and what the probe says.
func TestStates(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name  string
		size  int64
		build func(d *device)
		kind  fact.Kind
		want  fact.Verdict
	}{
		{"blank", 32 * mib, func(*device) {}, fact.DataAtRest, fact.Clear},
		{"an empty filesystem", 32 * mib, func(d *device) { d.run("mkfs.ext4", "-q", d.path) }, fact.DataAtRest, fact.Clear},
		{"a data directory", 32 * mib, func(d *device) { d.fill(d.path) }, fact.DataAtRest, fact.Active},
		{"a data directory, signature wiped, blocks of 1 KiB", 32 * mib, func(d *device) {
			d.fill(d.path, "-b", "1024")
			d.write(0x438, []byte{0, 0})
		}, fact.DataAtRest, fact.Active},
		{"a tablespace at an odd sector", 32 * mib, func(d *device) { d.write(16*mib+512, tablespace()) }, fact.DataAtRest, fact.Active},
		{"a tablespace at the very end", 32 * mib, func(d *device) { d.write(32*mib-16<<10, tablespace()[:16<<10]) }, fact.DataAtRest, fact.Active},
		{"a tablespace whose bytes nobody knows (encrypted)", 32 * mib, func(d *device) {
			d.run("mkfs.ext4", "-q", d.path)
			dir, unmount := d.mount(d.path)
			if err := os.WriteFile(filepath.Join(dir, "secret.ibd"), noise(64<<10), 0o600); err != nil {
				d.t.Fatal(err)
			}
			d.run("sync", "-f", dir)
			unmount()
		}, fact.DataAtRest, fact.Unknown},
		{"bytes that nobody knows", 32 * mib, func(d *device) { d.write(20*mib, noise(mib)) }, fact.Layer, fact.Unknown},
		{"one byte that nobody knows", 32 * mib, func(d *device) { d.write(20*mib+77, []byte{1}) }, fact.Layer, fact.Unknown},
		{"a boot loader's partition", 2 * mib, func(d *device) { d.write(0, noise(mib)) }, fact.DataAtRest, fact.Clear},
		{"LUKS", 32 * mib, func(d *device) { d.write(0, []byte("LUKS\xba\xbe\x00\x02")) }, fact.Layer, fact.Unknown},
		{"LVM", 32 * mib, func(d *device) { d.write(512, []byte("LABELONE")) }, fact.Layer, fact.Unknown},
		{"md 1.2", 32 * mib, func(d *device) { d.write(4096, []byte("\xfc\x4e\x2b\xa9")) }, fact.Layer, fact.Unknown},
		{"md 1.0", 32 * mib, func(d *device) { d.write((32*mib/512-16)&^7*512, []byte("\xfc\x4e\x2b\xa9")) }, fact.Layer, fact.Unknown},
		{"md 1.2 over an old filesystem", 32 * mib, func(d *device) {
			d.run("mkfs.ext4", "-q", "-b", "1024", d.path)
			d.write(4096, []byte("\xfc\x4e\x2b\xa9"))
		}, fact.Layer, fact.Unknown},
		{"a filesystem on a mirror, md 1.0", 32 * mib, func(d *device) {
			d.fill(d.path)
			d.write((32*mib/512-16)&^7*512, []byte("\xfc\x4e\x2b\xa9"))
		}, fact.DataAtRest, fact.Active},
		{"a filesystem that is damaged", 32 * mib, func(d *device) {
			d.run("mkfs.ext4", "-q", d.path)
			d.write(0x400, noise(56)) // the superblock, but for its magic number
		}, fact.Layer, fact.Unknown},
		{"swap that is not in use, over old data", 32 * mib, func(d *device) {
			d.fill(d.path)
			d.write(0, make([]byte, 4096))
			d.write(4096-10, []byte("SWAPSPACE2"))
		}, fact.DataAtRest, fact.Active},
		{"a disk that cannot be read to its end", 32 * mib, func(d *device) {
			if err := os.Truncate(d.file, 16*mib); err != nil {
				d.t.Fatal(err)
			}
		}, fact.DataAtRest, fact.Unknown},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			d := newDevice(t, c.size)
			c.build(d)
			got := wiping(t, away(t), d.path)
			if len(got) != 1 || got[0].Verdict != c.want || got[0].Kind != c.kind {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestPartitions: each partition is looked into, by itself and as part of its disk.
func TestPartitions(t *testing.T) {
	d := newDevice(t, 64<<20)
	table := make([]byte, 512)
	for i, start := range []uint32{2048, 67584} { // 1 MiB and 33 MiB
		e := table[446+16*i:]
		e[4] = 0x83
		binary.LittleEndian.PutUint32(e[8:], start)
		binary.LittleEndian.PutUint32(e[12:], 61440)
	}
	table[510], table[511] = 0x55, 0xaa
	d.write(0, table)
	d.run("losetup", "-d", d.path)
	d.path = d.run("losetup", "-P", "-f", "--show", d.file)
	second := d.path + "p2"
	if _, err := os.Stat(second); err != nil {
		t.Skip("partitions of loop devices do not appear here:", err)
	}
	d.fill(second)
	for what, c := range map[string]struct {
		devices []string
		want    fact.Verdict
	}{
		"the disk": {[]string{d.path}, fact.Active}, "the first": {[]string{d.path + "p1"}, fact.Clear}, "the second": {[]string{second}, fact.Active},
	} {
		got := wiping(t, away(t), c.devices...)
		if len(got) != 1 || got[0].Verdict != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// TestMounted: a mounted filesystem is walked below what is mounted over it, and
// the fact names the directory as people know it.
func TestMounted(t *testing.T) {
	d := newDevice(t, 32<<20)
	d.fill(d.path)
	dir, _ := d.mount(d.path)
	got := wiping(t, away(t), d.path)
	if len(got) != 1 || got[0].Verdict != fact.Active || got[0].Evidence["datadir"] != filepath.Join(dir, "var/db") {
		t.Errorf("%v", got)
	}
	if err := unix.Mount("none", filepath.Join(dir, "var"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(dir, "var"), unix.MNT_DETACH) })
	if got := wiping(t, away(t), d.path); len(got) != 1 || got[0].Verdict != fact.Active {
		t.Errorf("below another mount: %v", got)
	}
}

// TestHiddenByMount: two data directories of one path, of which one is mounted
// over the other, are two. Whoever reads the path reads one of them only.
func TestHiddenByMount(t *testing.T) {
	below, above := newDevice(t, 32<<20), newDevice(t, 32<<20)
	below.fill(below.path)
	above.fill(above.path)
	dir, _ := below.mount(below.path)
	data := filepath.Join(dir, "var/db")
	above.run("mount", above.path, data)
	t.Cleanup(func() { _ = unix.Unmount(data, unix.MNT_DETACH) })
	if err := os.Rename(filepath.Join(data, "var/db/ibdata1"), filepath.Join(data, "ibdata1")); err != nil {
		t.Fatal(err)
	}
	got := wiping(t, away(t), below.path, above.path)
	if len(got) != 2 || got[0].Subject == got[1].Subject {
		t.Errorf("%v", got)
	}
	for _, f := range got {
		if named := f.Evidence["datadir"]; (named == data) != (f.Evidence["device"] == above.path) {
			t.Errorf("%s is said to be at %q", f.Evidence["device"], named)
		}
	}
}

// TestSubvolumes: all subvolumes of a btrfs are looked into, not only those below
// the one that is mounted by default.
func TestSubvolumes(t *testing.T) {
	for _, tool := range []string{"mkfs.btrfs", "btrfs"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs ", tool)
		}
	}
	d := newDevice(t, 256<<20)
	d.run("mkfs.btrfs", "-q", d.path)
	dir, unmount := d.mount(d.path)
	for _, name := range []string{"system", "data"} {
		d.run("btrfs", "subvolume", "create", filepath.Join(dir, name))
	}
	if err := os.WriteFile(filepath.Join(dir, "data/ibdata1"), tablespace(), 0o600); err != nil {
		t.Fatal(err)
	}
	d.run("btrfs", "subvolume", "set-default", filepath.Join(dir, "system"))
	d.run("sync", "-f", dir)
	unmount()
	if got := wiping(t, away(t), d.path); len(got) != 1 || got[0].Verdict != fact.Active {
		t.Errorf("mounted nowhere: %v", got)
	}
	d.mount(d.path)
	if got := wiping(t, away(t), d.path); len(got) != 1 || got[0].Verdict != fact.Active {
		t.Errorf("its default is mounted: %v", got)
	}
}

// TestCanary: the guard's own file on a disk is found by every walk, or the
// walk proves nothing.
func TestCanary(t *testing.T) {
	d := newDevice(t, 32<<20)
	d.run("mkfs.ext4", "-q", d.path)
	dir, _ := d.mount(d.path)
	c, err := PlantCanary(dir, tablespace()[:16<<10])
	if err != nil {
		t.Fatal(err)
	}
	d.run("sync", "-f", dir)
	if got := wiping(t, Probe{Canary: c}, d.path); len(got) != 1 || got[0].Verdict != fact.Clear {
		t.Errorf("%v", got)
	}
	if got := wiping(t, away(t), d.path); len(got) != 1 || got[0].Verdict != fact.Active {
		t.Errorf("another guard's: %v", got)
	}
	if got := wiping(t, Probe{}, d.path); !slices.ContainsFunc(got, func(f fact.Fact) bool { return f.Subject == "canary" }) {
		t.Errorf("no canary at all: %v", got)
	}
	if err := os.Remove(filepath.Join(dir, "at-rest/ibdata1")); err != nil {
		t.Fatal(err)
	}
	if got := wiping(t, Probe{Canary: c}, d.path); !slices.ContainsFunc(got, func(f fact.Fact) bool { return f.Subject == "canary" && f.Verdict == fact.Unknown }) {
		t.Errorf("removed: %v", got)
	}
}

// TestTimeIsUp: what was not looked at in time is UNKNOWN.
func TestTimeIsUp(t *testing.T) {
	d := newDevice(t, 32<<20)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := Probe{MaxDuration: time.Minute, Machine: []string{d.path}}
	facts := p.Look(ctx, probe.Question{Operation: operation.Wipe})
	if !slices.ContainsFunc(facts, func(f fact.Fact) bool { return f.Kind == fact.DataAtRest && f.Verdict == fact.Unknown }) {
		t.Errorf("%v", facts)
	}
}

// TestNoDevices: a machine without disks, or with others than it has, is not
// understood.
func TestNoDevices(t *testing.T) {
	for _, machine := range [][]string{{"/dev/no-such-disk"}, {"/dev/null"}} {
		facts := Probe{MaxDuration: time.Minute, Machine: machine}.Look(t.Context(), probe.Question{Operation: operation.Wipe})
		for _, f := range facts {
			if f.Verdict != fact.Unknown {
				t.Errorf("%v: %v", machine, f)
			}
		}
		if len(facts) != 3 {
			t.Errorf("%v: %v", machine, facts)
		}
	}
}

// FuzzEachEntry: what the kernel would never write is an error, and no name is
// made of what lies behind an entry.
func FuzzEachEntry(f *testing.F) {
	entry := make([]byte, 24)
	entry[16] = 24
	copy(entry[19:], "a.ib")
	f.Add(entry)
	f.Add(append(entry, entry[:20]...))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, buf []byte) {
		total := 0
		_ = eachEntry(buf, func(name string, _ byte) error {
			if name == "" || name == "." || name == ".." || strings.ContainsRune(name, 0) {
				t.Errorf("name %q", name)
			}
			total += 19 + len(name)
			return nil
		})
		if total > len(buf) {
			t.Errorf("%d bytes of names in %d", total, len(buf))
		}
	})
}

// TestUnreadable: each thing that cannot be read is told, and as what it is.
func TestUnreadable(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := scanRaw(gone, short, 1<<20); err == nil {
		t.Error("scanned without time")
	}
	if _, err := scanRaw(t.Context(), short, 2<<20); err == nil {
		t.Error("scanned beyond the end")
	}
	said := func(l *look, part string) {
		t.Helper()
		if len(l.facts) != 1 || l.facts[0].Verdict != fact.Unknown || !strings.Contains(l.facts[0].Summary, part) {
			t.Errorf("%v, want %q", l.facts, part)
		}
	}
	l := &look{ctx: gone}
	if found, blank := l.raw(Device{Path: short, Size: 1 << 20}, "why"); !found || blank {
		t.Error("read through without time")
	}
	said(l, "cannot be read through")
	l = &look{ctx: t.Context()}
	l.device(Device{Path: short, Size: 2 << 20})
	said(l, short+" cannot be read: ")
	l = &look{ctx: t.Context()}
	l.device(Device{Path: short + "x", Size: 1 << 20})
	said(l, "cannot be read: ")
	l = &look{ctx: t.Context()}
	l.claimed(Device{Path: "/dev/x"})
	said(l, "nobody knows by whom")
	l = &look{ctx: t.Context()}
	l.notSeen(nil)
	l.notSeen([]string{"process 7"})
	said(l, "process 7")
	if _, err := Reach(nil, nil); err == nil {
		t.Error("a machine without disks")
	}
	if _, err := Signatures(strange{}, 1<<20); err == nil {
		t.Error("an error beside all bytes is none")
	}
}

// strange is a disk that returns bytes and an error.
type strange struct{}

func (strange) ReadAt(b []byte, _ int64) (int, error) { return len(b), unix.EIO }

// TestNamespaceUnseen: a process whose mounts cannot be read is told of.
func TestNamespaceUnseen(t *testing.T) {
	proc := t.TempDir()
	if err := os.MkdirAll(filepath.Join(proc, "7/mountinfo"), 0o700); err != nil { // no file
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(proc, "7/ns"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("mnt:[1]", filepath.Join(proc, "7/ns/mnt")); err != nil {
		t.Fatal(err)
	}
	if list, unseen, err := allMounts(proc, 1); err != nil || len(list) != 0 || len(unseen) != 1 {
		t.Errorf("%v %v %v", list, unseen, err)
	}
}

// TestNotADevice: a character device is no disk, whatever its number is.
func TestNotADevice(t *testing.T) {
	d := newDevice(t, 1<<20)
	var st unix.Stat_t
	if err := unix.Stat(d.path, &st); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "character")
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(st.Rdev)); err != nil {
		t.Skip("no device files here: ", err)
	}
	all, err := Devices("/sys")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Reach(all, []string{path}); err == nil {
		t.Errorf("%v", got)
	}
	if got, err := Reach(all, []string{d.path}); err != nil || len(got) != 1 {
		t.Errorf("%v %v", got, err)
	}
}

// TestMemory: data in memory are gone after a reboot, wherever they are mounted.
func TestMemory(t *testing.T) {
	d := newDevice(t, 1<<20)
	dir := t.TempDir()
	says := func(want fact.Verdict) {
		t.Helper()
		p := away(t)
		p.MaxDuration, p.Machine = time.Minute, []string{d.path}
		got := fact.Clear
		for _, f := range p.Look(t.Context(), probe.Question{Operation: operation.Reboot}) {
			if f.Kind == fact.VolatileData && f.Subject == dir {
				got = f.Verdict
			}
		}
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	mount := func() {
		t.Helper()
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
	mount()
	says(fact.Clear)
	if err := os.WriteFile(filepath.Join(dir, "ibdata1"), tablespace(), 0o600); err != nil {
		t.Fatal(err)
	}
	says(fact.Active)
	mount() // over it
	says(fact.Unknown)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	l := &look{ctx: gone}
	l.tmpfs([]place{{os.Getpid(), Mount{Point: dir, Root: "/", Type: "tmpfs", Major: unix.Major(st.Dev), Minor: unix.Minor(st.Dev)}}})
	if len(l.facts) != 1 || l.facts[0].Verdict != fact.Unknown {
		t.Errorf("no time: %v", l.facts)
	}
}

// TestMemoryBelowMount: what lies in memory does so, too, where something else is
// mounted over its directory.
func TestMemoryBelowMount(t *testing.T) {
	d := newDevice(t, 1<<20)
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	for _, step := range []func() error{
		func() error { return unix.Mount("none", dir, "tmpfs", 0, "") },
		func() error { return os.Mkdir(data, 0o700) },
		func() error { return os.WriteFile(filepath.Join(data, "ibdata1"), tablespace(), 0o600) },
		func() error { return unix.Mount("none", data, "tmpfs", 0, "") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _, _ = unix.Unmount(data, unix.MNT_DETACH), unix.Unmount(dir, unix.MNT_DETACH) })
	p := away(t)
	p.MaxDuration, p.Machine = time.Minute, []string{d.path}
	for _, f := range p.Look(t.Context(), probe.Question{Operation: operation.Reboot}) {
		if f.Kind == fact.VolatileData && f.Subject == dir && f.Verdict == fact.Active {
			return
		}
	}
	t.Error("data below a mount are not seen")
}

// TestUnwalkable: a directory that cannot be opened hides what is in it.
func TestUnwalkable(t *testing.T) {
	dir := t.TempDir()
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	root, name := at, strings.Repeat("d", 250)
	for range 20 { // a path longer than the kernel takes
		if err := unix.Mkdirat(at, name, 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if at != root {
			_ = unix.Close(at)
		}
		at = next
	}
	_ = unix.Close(at)
	defer func() { _ = unix.Close(root) }()
	if found, _, err := walk(t.Context(), root); err == nil {
		t.Errorf("walked: %v", found)
	}
}
