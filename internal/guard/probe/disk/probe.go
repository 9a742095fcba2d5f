package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/engine"
	"github.com/lifeboat-db/lifeboat/internal/guard/fact"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/probe"
)

// Names of the probes.
const (
	ClaimsName = "block-devices"
	DataName   = "data-at-rest"
)

// Probe is both of them, one after the other: looking into a device claims it.
type Probe struct {
	Canary *Canary
	// MaxDuration bounds walking and scanning.
	MaxDuration time.Duration
	// Machine is for tests: the devices that a machine has. Nil: all.
	Machine []string
}

// Name is that of both; facts have the names above.
func (Probe) Name() string { return "disks" }

// Look looks at the devices within reach. An operation that leaves the disks as
// they are is asked for what does not survive a reboot only.
func (p Probe) Look(ctx context.Context, q probe.Question) []fact.Fact {
	if q.Operation == operation.StopServer {
		return notAsked()
	}
	ctx, cancel := context.WithTimeout(ctx, p.MaxDuration)
	defer cancel()
	l := &look{ctx: ctx, canary: p.Canary, self: os.Getpid()}
	if err := l.survey(p.Machine, q); err != nil { //check:disk-survey
		return []fact.Fact{
			{Probe: ClaimsName, Kind: fact.BlockClaim, Subject: "devices", Summary: fmt.Sprintf("the devices cannot be listed: %v", err)},
			{Probe: DataName, Kind: fact.DataAtRest, Subject: "devices", Summary: "nobody knows what lies on devices that cannot be listed"},
			{Probe: DataName, Kind: fact.VolatileData, Subject: "devices", Summary: "nobody knows what lies on devices that cannot be listed"},
		}
	}
	if q.Operation.Destroys() {
		l.claims()
		l.data()
	}
	l.memory()
	return l.facts
}

func notAsked() (facts []fact.Fact) {
	for kind, name := range map[fact.Kind]string{fact.BlockClaim: ClaimsName, fact.DataAtRest: DataName, fact.VolatileData: DataName} {
		facts = append(facts, fact.Fact{Probe: name, Kind: kind, Verdict: fact.Clear, Summary: "not asked: the operation leaves disks and memory as they are"})
	}
	return facts
}

// look is one look.
type look struct {
	ctx     context.Context
	canary  *Canary
	self    int
	devices []Device // within reach
	mounts  []namespaceMounts
	swaps   []string
	free    map[string]bool // devices that nobody claims, by name
	facts   []fact.Fact
}

func (l *look) add(probe string, kind fact.Kind, v fact.Verdict, subject, format string, args ...any) *fact.Fact {
	l.facts = append(l.facts, fact.Fact{Probe: probe, Kind: kind, Verdict: v, Subject: subject, Summary: fmt.Sprintf(format, args...)})
	return &l.facts[len(l.facts)-1]
}

// has reports whether a fact of the kind denies already.
func (l *look) has(kinds ...fact.Kind) bool {
	return slices.ContainsFunc(l.facts, func(f fact.Fact) bool { return slices.Contains(kinds, f.Kind) && f.Verdict != fact.Clear })
}

func (l *look) survey(machine []string, q probe.Question) error {
	all, err := Devices("/sys")
	if err != nil {
		return err
	}
	if machine != nil {
		if all, err = Reach(all, machine); err != nil {
			return err
		}
	}
	if l.devices, err = Reach(all, q.Scope.Devices); err != nil {
		return err
	}
	var unseen []string
	if l.mounts, unseen, err = allMounts("/proc", l.self); err != nil {
		return err
	}
	l.notSeen(unseen)
	text, err := os.ReadFile("/proc/swaps")
	if err != nil {
		return err
	}
	l.swaps, err = ParseSwaps(text)
	return err
}

func (l *look) notSeen(processes []string) {
	if len(processes) > 0 { //check:disk-unseen
		l.add(ClaimsName, fact.BlockClaim, fact.Unknown, "mount namespaces",
			"mounts of some processes cannot be seen: %s", strings.Join(processes[:min(len(processes), 5)], "; "))
	}
}

// claims asks each device whether somebody has it.
func (l *look) claims() {
	l.free = map[string]bool{}
	for _, d := range l.devices {
		claims, err := Claim([]string{d.Path})
		switch {
		case errors.Is(err, unix.ENOMEDIUM): // an empty drive
		case err == nil:
			l.free[d.Name] = true
			if err := claims.Release(); err != nil {
				l.add(ClaimsName, fact.BlockClaim, fact.Unknown, d.Path, "%s: %v", d.Path, err)
			}
		case errors.Is(err, unix.EBUSY):
			l.claimed(d)
		default:
			l.add(ClaimsName, fact.BlockClaim, fact.Unknown, d.Path, "whether somebody uses %s cannot be found out: %v", d.Path, err)
		}
	}
	if !l.has(fact.BlockClaim) {
		l.add(ClaimsName, fact.BlockClaim, fact.Clear, "", "nobody uses any of %d block devices", len(l.devices))
	}
}

// claimed names who has a device. One whose holder cannot be named may be
// anybody's.
func (l *look) claimed(d Device) {
	users := l.users(d)
	for _, name := range d.Partitions {
		for _, p := range l.devices {
			if p.Name == name {
				users = append(users, l.users(p)...)
			}
		}
	}
	if len(users) == 0 { //check:disk-claimed-by-nobody
		l.add(ClaimsName, fact.BlockClaim, fact.Unknown, d.Path, "%s is in use, and nobody knows by whom: no mount in any namespace, no swap, no stacked device", d.Path)
		return
	}
	f := l.add(ClaimsName, fact.BlockClaim, fact.Active, d.Path, "%s is in use: %s", d.Path, strings.Join(users[:min(len(users), 3)], ", "))
	f.Evidence = map[string]string{"users": strings.Join(users[:min(len(users), 20)], ", ")}
}

func (l *look) users(d Device) (users []string) {
	for _, point := range mountsOf(d, l.mounts, l.self) {
		users = append(users, "mounted at "+point)
	}
	for _, holder := range d.Holders {
		users = append(users, "part of "+holder)
	}
	for _, swap := range l.swaps {
		if swap == d.Path {
			users = append(users, "swap")
		}
	}
	return users
}

// data looks into each device.
func (l *look) data() {
	seenCanary := false
	for _, d := range l.devices {
		seenCanary = l.device(d) || seenCanary
	}
	if l.canary.within(l.devices) && !seenCanary { //check:disk-canary
		l.add(DataName, fact.DataAtRest, fact.Unknown, "canary",
			"the walk did not find the guard's own canary, so it may have missed data as well")
	}
	if !l.has(fact.DataAtRest, fact.Layer) {
		l.add(DataName, fact.DataAtRest, fact.Clear, "", "no data of a storage engine lie on any of %d block devices", len(l.devices))
	}
}

// device looks into one device, and reports whether the canary was there.
func (l *look) device(d Device) (canary bool) {
	f, err := os.Open(d.Path)
	if errors.Is(err, unix.ENOMEDIUM) {
		return false
	}
	if err != nil {
		l.add(DataName, fact.DataAtRest, fact.Unknown, d.Path, "%s cannot be read: %v", d.Path, err)
		return false
	}
	signatures, err := Signatures(f, d.Size)
	if err = errors.Join(err, f.Close()); err != nil { //check:disk-signatures
		l.add(DataName, fact.DataAtRest, fact.Unknown, d.Path, "%s cannot be read: %v", d.Path, err)
		return false
	}
	if len(d.Partitions) > 0 {
		return false // each is looked into by itself
	}
	for _, s := range signatures {
		if slices.Contains(layers, s) { //check:disk-layer-first
			l.layer(d, s)
			return false
		}
	}
	for _, s := range signatures {
		if known, ok := filesystems[s]; ok {
			return l.inside(d, known)
		}
	}
	if slices.Contains(signatures, mdAtEnd) {
		l.layer(d, mdAtEnd)
		return false
	}
	if slices.Contains(signatures, "swap") && slices.Contains(l.swaps, d.Path) {
		return false // in use as swap: whatever was there before is being overwritten
	}
	found, blank := l.raw(d, "no filesystem that is known")
	if !found && !blank && d.Size > smallest { //check:disk-unknown-layout
		l.add(DataName, fact.Layer, fact.Unknown, d.Path,
			"%s holds bytes that no known layout explains, and they may hide data (ZFS, dm-crypt without a header, a filesystem this guard does not know): look at it, then zero it by hand (blkdiscard --zeroout; wipefs is not enough), or have the guard waive it", d.Path)
	}
	return false
}

// layer: a holder shows one part of it; a volume or array that is not active is
// seen by nobody.
func (l *look) layer(d Device, s Signature) {
	l.add(DataName, fact.Layer, fact.Unknown, d.Path, "%s is part of %s, which may hide more than what is active of it: look at it elsewhere", d.Path, s)
}

// smallest is how large a device without a known layout must be to hide data:
// InnoDB's system tablespace alone has 10 MiB or more, and the partitions that
// boot loaders use without a filesystem (BIOS boot, PReP) have 8 MiB or less.
const smallest = 8 << 20

// raw scans a device's bytes. Found: there is a fact about them.
func (l *look) raw(d Device, why string) (found, blank bool) {
	r, err := scanRaw(l.ctx, d.Path, d.Size)
	switch {
	case err != nil: //check:disk-raw-error
		l.add(DataName, fact.DataAtRest, fact.Unknown, d.Path, "%s (%s) cannot be read through: %v", d.Path, why, err)
	case r.class != engine.None:
		l.add(DataName, fact.DataAtRest, fact.Active, d.Path, "%s (%s) holds an %s at byte %d", d.Path, why, r.class, r.at)
	default:
		return false, r.blank
	}
	return true, false
}

// inside walks the filesystem on a device.
func (l *look) inside(d Device, kind filesystem) (canary bool) {
	found, canary, err := l.walkDevice(d, kind)
	if err != nil {
		if found, _ := l.raw(d, "its filesystem cannot be walked"); !found { //check:disk-unwalkable
			l.add(DataName, fact.Layer, fact.Unknown, d.Path, "the filesystem on %s cannot be walked: %v", d.Path, err)
		}
		return canary
	}
	l.report(d, found, fact.DataAtRest)
	return canary
}

func (l *look) walkDevice(d Device, kind filesystem) (found []finding, canary bool, err error) {
	root, err := openRoot(d.Path, kind)
	if err != nil {
		return nil, false, err
	}
	found, _, err = walk(l.ctx, root)
	err = errors.Join(err, unix.Close(root))
	if l.free[d.Name] {
		err = errors.Join(err, awaitFree(l.ctx, d.Path))
	}
	found = slices.DeleteFunc(found, func(f finding) bool {
		is := l.canary.is(f)
		canary = canary || is
		return is
	})
	return found, canary, err
}

// report makes a fact of each data directory.
func (l *look) report(d Device, found []finding, kind fact.Kind) {
	groups := directories(found)
	dirs := make([]string, 0, len(groups))
	for dir := range groups {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	for _, dir := range dirs {
		l.directory(d, dir, groups[dir], kind)
	}
}

func (l *look) directory(d Device, dir string, files []finding, kind fact.Kind) {
	verdict, note := fact.Active, ""
	if !slices.ContainsFunc(files, func(f finding) bool { return !f.weak }) { //check:disk-weak-only
		verdict, note = fact.Unknown, ": they are called so, but their bytes are not known (encrypted?)"
	}
	subject, visible := l.visible(d, dir, files)
	f := l.add(DataName, kind, verdict, subject, "%s holds %d files of a storage engine, such as %s (%s)%s",
		subject, len(files), path.Base(files[0].path), files[0].class, note)
	f.Evidence = map[string]string{"device": d.Path, "files": paths(files)}
	if visible {
		f.Evidence["datadir"] = subject
	}
}

func paths(files []finding) string {
	var names []string
	for _, f := range files[:min(len(files), 5)] {
		names = append(names, "/"+strings.TrimPrefix(f.path, "./"))
	}
	return strings.Join(names, ", ")
}

// visible returns the path by which the guard itself can reach a directory of
// a device's filesystem, or "DEVICE:/path" if it cannot: it is mounted nowhere,
// or something else is mounted over it, which is another directory.
func (l *look) visible(d Device, dir string, files []finding) (string, bool) {
	inside := path.Join("/", dir)
	for _, ns := range l.mounts {
		if ns.pid != l.self {
			continue
		}
		for _, m := range ns.mounts {
			rest, ok := strings.CutPrefix(inside, strings.TrimSuffix(m.Root, "/"))
			if !mountedFrom(d, m) || !ok || rest != "" && rest[0] != '/' {
				continue
			}
			at := path.Join(m.Point, rest)
			if !shows(at, dir, files) { //check:disk-mounted-over
				continue
			}
			return at, true
		}
	}
	return d.Path + ":" + inside, false
}

// shows reports whether the files that were found in a directory of a
// filesystem are those that are at a path now.
func shows(at, dir string, files []finding) bool {
	return !slices.ContainsFunc(files, func(f finding) bool {
		var st unix.Stat_t
		inside := strings.TrimPrefix(path.Join("/", f.path), path.Join("/", dir))
		err := unix.Lstat(path.Join(at, inside), &st)
		return err != nil || probe.FileID{Dev: st.Dev, Ino: st.Ino} != f.id
	})
}

// memory looks through filesystems that live in memory, in every mount
// namespace: what lies there does not survive a reboot.
func (l *look) memory() {
	places := map[[2]uint32][]place{}
	var numbers [][2]uint32
	for _, ns := range l.mounts {
		for _, m := range ns.mounts {
			if m.Type != "tmpfs" && m.Type != "ramfs" {
				continue
			}
			number := [2]uint32{m.Major, m.Minor}
			if places[number] == nil {
				numbers = append(numbers, number)
			}
			places[number] = append(places[number], place{ns.pid, m})
		}
	}
	for _, number := range numbers {
		l.tmpfs(places[number])
	}
	if !l.has(fact.VolatileData) {
		l.add(DataName, fact.VolatileData, fact.Clear, "", "no data of a storage engine lie in memory (%d filesystems)", len(numbers))
	}
}

// place is where a filesystem is mounted.
type place struct {
	pid   int
	mount Mount
}

// openAny opens a filesystem at the first of its places that shows its root:
// at others something else may be mounted over it.
func openAny(places []place) (root int, at place, err error) {
	for _, wholeFirst := range []bool{true, false} {
		for _, at = range places {
			if (at.mount.Root == "/") != wholeFirst {
				continue
			}
			if root, err = openMount(at.pid, at.mount); err == nil {
				return root, at, nil
			}
		}
	}
	return -1, at, err
}

func (l *look) tmpfs(places []place) {
	root, at, err := openAny(places)
	m, pid := at.mount, at.pid
	if err != nil {
		if _, alive := os.Stat(fmt.Sprintf("/proc/%d/ns", pid)); alive == nil { //check:disk-tmpfs-unseen
			l.add(DataName, fact.VolatileData, fact.Unknown, m.Point, "%s at %s of process %d cannot be looked into: %v", m.Type, m.Point, pid, err)
		}
		return
	}
	found, _, err := walk(l.ctx, root)
	if err = errors.Join(err, unix.Close(root)); err != nil { //check:disk-tmpfs-unread
		l.add(DataName, fact.VolatileData, fact.Unknown, m.Point, "%s at %s cannot be read: %v", m.Type, m.Point, err)
		return
	}
	found = slices.DeleteFunc(found, l.canary.is)
	if len(found) > 0 { //check:disk-tmpfs-data
		l.add(DataName, fact.VolatileData, fact.Active, m.Point, "%s at %s lives in memory and holds %d files of a storage engine, such as %s",
			m.Type, m.Point, len(found), found[0].path)
	}
}

// openMount opens the root of a mount through a process of its namespace.
func openMount(pid int, m Mount) (int, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/root%s", pid, m.Point), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOTDIR) {
		return -1, unix.ENOENT // a single file is mounted: its filesystem is mounted elsewhere as well
	}
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	if st.Dev != unix.Mkdev(m.Major, m.Minor) { //check:disk-hidden-mount
		return -1, errors.Join(errors.New("something else is mounted over it: unmount that"), unix.Close(fd))
	}
	if alone, err := withoutMounts(pid, fd); err == nil {
		return alone, unix.Close(fd)
	}
	return fd, nil // a namespace of other users does not let its mounts be taken off
}

// withoutMounts opens a filesystem's root anew, without what is mounted below it:
// a copy of the mount alone, made in its own namespace, where nobody sees it.
func withoutMounts(pid, root int) (fd int, err error) {
	onItsOwnThread(func() { fd, err = withoutMountsHere(pid, root) })
	return fd, err
}

func withoutMountsHere(pid, root int) (int, error) {
	ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(ns) }()
	if err := errors.Join(unix.Unshare(unix.CLONE_FS), unix.Setns(ns, unix.CLONE_NEWNS)); err != nil {
		return -1, err
	}
	copied, err := unix.OpenTree(root, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(copied) }()
	return unix.Openat(copied, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}
