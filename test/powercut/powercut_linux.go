// Package powercut takes the power away from a disk, for tests of what is there
// afterwards.
package powercut

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Disk is a real ext4 on a loop device. What lies in the image is what the
// kernel has written to the disk: what was not synced is still in memory, and
// the kernel is told to take its time. A copy of the image is the disk of a
// machine that has lost its power at that moment.
type Disk struct {
	// Dir is where it is mounted.
	Dir string

	t       testing.TB
	image   string
	device  string // as the kernel calls it: loop3
	crashes int
}

// New makes a disk of a size in bytes, with mount options of ext4 and its journal,
// and mounts it until the test ends. The test is skipped where it is not allowed to:
// that takes root.
func New(t testing.TB, bytes int64, options string) *Disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	d := &Disk{t: t, image: filepath.Join(t.TempDir(), "image"), Dir: filepath.Join(t.TempDir(), "disk")}
	if err := errors.Join(os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, bytes), os.Mkdir(d.Dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image)
	d.mount(d.image, d.Dir, "commit=900,"+options)
	d.device = filepath.Base(strings.TrimSpace(d.run("findmnt", "-n", "-o", "SOURCE", d.Dir)))
	return d
}

func (d *Disk) run(argv ...string) string {
	d.t.Helper()
	out, err := exec.CommandContext(d.t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		d.t.Skipf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

// mount mounts an image until the test ends, or the returned function is called.
func (d *Disk) mount(image, dir, options string) (unmount func()) {
	d.t.Helper()
	d.run("mount", "-o", "loop,"+options, image, dir)
	mounted := true
	unmount = func() {
		if mounted {
			mounted = false
			_ = exec.CommandContext(context.Background(), "umount", "-l", dir).Run() // the image is removed anyway
		}
	}
	d.t.Cleanup(unmount)
	return unmount
}

// writes says how often the disk was written to, and how many writes are under
// way.
func (d *Disk) writes() (state string) {
	d.t.Helper()
	text, err := os.ReadFile("/sys/block/" + d.device + "/stat")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 9 {
		d.t.Errorf("the kernel's counters: %q, %v", text, err)
		return " 0"
	}
	return fields[4] + " " + fields[8]
}

// Cut copies the disk as it is at this moment, for Boot. If the kernel has written
// something meanwhile it is no picture of a moment, and is taken again.
func (d *Disk) Cut() (image string) {
	d.t.Helper()
	d.crashes++
	image = fmt.Sprintf("%s.%d", d.image, d.crashes)
	for {
		before := d.writes()
		if err := exec.CommandContext(d.t.Context(), "cp", "--sparse=always", d.image, image).Run(); err != nil {
			d.t.Errorf("copy the image: %v", err)
		}
		if strings.HasSuffix(before, " 0") && d.writes() == before {
			return image
		}
	}
}

// Boot mounts such a copy, as a machine does that starts again (the filesystem
// recovers from its journal), has look look at it, and removes it.
func (d *Disk) Boot(image string, look func(dir string)) {
	d.t.Helper()
	dir := image + ".mnt"
	if err := os.Mkdir(dir, 0o700); err != nil {
		d.t.Fatal(err)
	}
	unmount := d.mount(image, dir, "rw")
	look(dir)
	unmount()
	if err := errors.Join(os.Remove(dir), os.Remove(image)); err != nil {
		d.t.Error(err)
	}
}
