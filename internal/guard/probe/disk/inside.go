package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lifeboat-db/lifeboat/internal/guard/engine"
)

// filesystem is how a signature's filesystem is mounted so that nothing is
// written to the device: the journal is not replayed. All of it is wanted, and
// not only what is mounted unless somebody asks (btrfs: a default subvolume, as
// SUSE has, beside which others lie).
type filesystem struct {
	kind, options string
	all           string // options that are needed to see all of it
}

var filesystems = map[Signature]filesystem{
	"ext":      {"ext4", "noload", ""},
	"xfs":      {"xfs", "norecovery,nouuid", ""},
	"btrfs":    {"btrfs", "rescue=nologreplay,subvolid=5", "subvolid=5"},
	"squashfs": {"squashfs", "", ""},
	"fat":      {"vfat", "", ""}, // the EFI system partition
	"iso9660":  {"iso9660", "", ""},
}

// layers hide what is in them. Whoever makes one may leave an older filesystem's
// superblock in place, which can be mounted still; the filesystems' makers
// overwrite theirs.
var layers = []Signature{"luks", "lvm2", "md", "bcache", "ntfs"}

// openRoot mounts a device where nobody else sees it, and returns a descriptor
// of the filesystem's root. What is mounted over parts of it elsewhere does not
// hide them here. The mount goes with the descriptor.
//
// A device that is not mounted is mounted read-only, without replay of its
// journal. For one that is mounted for writing the kernel refuses that with
// EBUSY; then its live filesystem is entered, through a read-only mount.
func openRoot(device string, f filesystem) (fd int, err error) {
	onItsOwnThread(func() { fd, err = openRootHere(device, f) })
	return fd, err
}

// onItsOwnThread runs f on a thread that is not used for anything else and ends
// with it. The process's first thread cannot end: it would keep what f leaves
// behind, and show it as the process's own, so it is held until f has run on
// another one.
func onItsOwnThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return // locked: the thread ends
		}
		onItsOwnThread(f)
		runtime.UnlockOSThread()
	}()
	<-done
}

const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME

// openRootHere leaves its thread in a mount namespace of its own.
func openRootHere(device string, f filesystem) (fd int, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return -1, fmt.Errorf("a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return -1, fmt.Errorf("a private mount namespace: %w", err)
	}
	const at = "/proc" // a directory that is there; what it shows elsewhere stays
	err = unix.Mount(device, at, f.kind, unix.MS_RDONLY|quiet, f.options)
	if errors.Is(err, unix.EBUSY) {
		if err = unix.Mount(device, at, f.kind, quiet, f.all); err == nil {
			err = unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|quiet, "")
		}
	}
	if err != nil {
		return -1, fmt.Errorf("mount %s (%s) read-only: %w", device, f.kind, err)
	}
	fd, err = unix.Open(at, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return fd, errors.Join(err, unix.Unmount(at, unix.MNT_DETACH))
}

// rawStep is how much of a device is read at once, rawAlign where files can
// begin: at a sector, since filesystems have blocks of that size, and
// partitions begin anywhere.
const (
	rawStep  = 4 << 20
	rawAlign = 512
)

// rawResult is what a device's bytes say.
type rawResult struct {
	class engine.Class // of the first file of an engine that begins there
	at    int64
	blank bool // nothing but zeros
}

// scanRaw looks for the beginnings of engines' files on a device's bytes.
func scanRaw(ctx context.Context, device string, size int64) (r rawResult, err error) {
	f, err := os.Open(device)
	if err != nil {
		return r, err
	}
	r.blank = true
	defer func() { _ = f.Close() }()
	buf := make([]byte, rawStep)
	for offset := int64(0); offset < size; offset += rawStep {
		if err := ctx.Err(); err != nil { //check:disk-raw-time
			return r, fmt.Errorf("after %d of %d bytes: %w", offset, size, err)
		}
		part := buf[:min(rawStep, size-offset)]
		if n, err := f.ReadAt(part, offset); n < len(part) { //check:disk-raw-read
			return r, fmt.Errorf("at %d of %d bytes: %w", offset+int64(n), size, err)
		}
		// What has been read will not be read again, and the page cache belongs
		// to the server.
		_ = unix.Fadvise(int(f.Fd()), offset, rawStep, unix.FADV_DONTNEED)
		if zeros(part) {
			continue
		}
		r.blank = false
		for i := 0; i < len(part); i += rawAlign {
			head := part[i:min(i+engine.HeadSize, len(part))]
			if class := engine.Classify(head); slices.Contains(rawClasses, class) {
				r.class, r.at = class, offset+int64(i)
				return r, nil
			}
		}
	}
	return r, nil
}

func zeros(b []byte) bool { // all bytes are the one before, and the first is 0
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

// rawClasses have beginnings that other bytes do not have by accident.
var rawClasses = []engine.Class{
	engine.SystemSpace, engine.Tablespace, engine.RedoLog, engine.BinaryLog, engine.AriaControl, engine.AriaLog,
}

// awaitFree waits until a device that was free is free again: the kernel ends a
// mount a moment after its last descriptor.
func awaitFree(ctx context.Context, device string) error {
	for range 400 {
		claims, err := Claim([]string{device})
		if err == nil {
			return claims.Release()
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s is still in use after it was looked at", device)
}
