package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/archive"
	"github.com/lifeboat-db/lifeboat/internal/backup"
	"github.com/lifeboat-db/lifeboat/internal/repository/store"
	"github.com/lifeboat-db/lifeboat/internal/repository/store/storetest"
	"github.com/lifeboat-db/lifeboat/internal/server"
	"github.com/lifeboat-db/lifeboat/internal/verify"
)

// disk is a real filesystem on a loop device. What lies in the image is what the
// kernel has written to the disk: what was not synced is still in memory, and
// the kernel is told to take its time. A copy of the image is the disk of a
// machine that has lost its power at that moment.
type disk struct {
	t          *testing.T
	image, dir string
	device     string // as the kernel calls it: loop3
	crashes    int
}

func newDisk(t *testing.T, options string) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "image"), dir: filepath.Join(t.TempDir(), "disk")}
	if err := errors.Join(os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, 96<<20), os.Mkdir(d.dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image)
	d.mount(d.image, d.dir, "commit=900,"+options)
	d.device = filepath.Base(strings.TrimSpace(d.run("findmnt", "-n", "-o", "SOURCE", d.dir)))
	return d
}

func (d *disk) run(argv ...string) string {
	d.t.Helper()
	out, err := exec.CommandContext(d.t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		d.t.Skipf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

// mount mounts an image until the test ends, or the returned function is called.
func (d *disk) mount(image, dir, options string) (unmount func()) {
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
func (d *disk) writes() (state string) {
	d.t.Helper()
	text, err := os.ReadFile("/sys/block/" + d.device + "/stat")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 9 {
		d.t.Errorf("the kernel's counters: %q, %v", text, err)
		return " 0"
	}
	return fields[4] + " " + fields[8]
}

// cut copies the image. If the kernel has written something meanwhile it is no
// picture of a moment, and is taken again.
func (d *disk) cut() (image string) {
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

// boot mounts a copy, as a machine does that starts again: the filesystem
// recovers from its journal.
func (d *disk) boot(image string, look func(dir string)) {
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

// TestPowerLoss: of objects whose Put has returned, none is missing or damaged
// on the disk of a machine that loses its power right then, whoever made their
// directories. The test itself is tested: what nobody has synced is not there.
func TestPowerLoss(t *testing.T) {
	if !long {
		t.Skip("the tests of the guard, which run at the same time, would see its loop devices")
	}
	for _, options := range []string{"data=ordered", "data=writeback"} {
		t.Run(options, func(t *testing.T) {
			r := random(t)
			d := newDisk(t, options)
			var stores [2]store.Store // they know nothing of each other
			for i := range stores {
				stores[i] = storetest.OpenStore(t, store.Options{URL: d.dir})
			}
			acknowledged := map[string][]byte{}
			for n := range crashes {
				name := strings.Repeat(fmt.Sprintf("d%d/", r.IntN(20)), r.IntN(3)) + fmt.Sprintf("o%d", n)
				data := storetest.Bytes(r.Uint64(), r.IntN(1<<r.IntN(17)))
				storetest.MustPut(t, stores[r.IntN(2)], name, data)
				acknowledged[name] = data
				if err := os.WriteFile(filepath.Join(d.dir, "unsynced"), []byte(name), 0o600); err != nil {
					t.Fatal(err)
				}
				d.boot(d.cut(), func(dir string) {
					if text, err := os.ReadFile(filepath.Join(dir, "unsynced")); err == nil && string(text) == name {
						t.Error("this disk keeps what was not synced: it proves nothing")
					}
					d.check(dir, acknowledged)
				})
			}
		})
	}
}

func (d *disk) check(dir string, acknowledged map[string][]byte) {
	d.t.Helper()
	s := storetest.OpenStore(d.t, store.Options{URL: dir})
	for name, want := range acknowledged {
		if got, err := s.Get(d.t.Context(), name); err != nil || !bytes.Equal(got, want) {
			d.t.Errorf("%s, of %d bytes, was acknowledged: %d bytes are there, %v", name, len(want), len(got), err)
		}
	}
}

// TestPowerLossArchive: of segments that the archive has called stored, and of
// backups, none is missing or damaged on such a disk.
func TestPowerLossArchive(t *testing.T) {
	if !long {
		t.Skip("the tests of the guard, which run at the same time, would see its loop devices")
	}
	one(t, 1, func(t *testing.T, dist server.Distribution) {
		r := random(t)
		s := start(t, dist)
		d := newDisk(t, "data=ordered")
		repo := create(t, store.Options{URL: d.dir + "/repository"})
		a := s.archiver(repo)
		a.SegmentBytes = 4000
		ends := map[string]int64{} // of the files, as acknowledged
		type crash struct {
			image string
			ends  map[string]int64
		}
		want := min(crashes, 60) // each looks at all before it
		cuts, left := make(chan crash), want
		a.Listener = archive.Both(a.Listener, archive.Listener{Stored: func(x archive.Summary, _ int64) {
			ends[x.File] = x.End
			if left--; left >= 0 {
				cuts <- crash{d.cut(), maps.Clone(ends)}
			}
		}})
		stop := a.run(t)
		for n := 0; n < want; {
			select {
			case c := <-cuts:
				d.boot(c.image, func(dir string) { s.survives(dir+"/repository", c.ends) })
				n++
			default:
				s.writeSmall(r)
			}
		}
		stop()
		s.backup(repo)
		d.boot(d.cut(), func(dir string) {
			copied := open(t, store.Options{URL: dir + "/repository"})
			list, bad, err := backup.List(t.Context(), copied, "s")
			if err != nil || len(bad) > 0 || len(list) != 1 {
				t.Errorf("%d backups, %v, %v", len(list), bad, err)
			}
			if rep, err := verify.Run(t.Context(), verify.Options{Repository: copied, Set: "s"}); err != nil {
				t.Errorf("%v: %+v", err, rep)
			}
		})
	})
}

// survives checks a repository: it has every file up to where it was
// acknowledged, as the server has it.
func (s *source) survives(dir string, ends map[string]int64) {
	s.t.Helper()
	repo := open(s.t, store.Options{URL: dir})
	have := map[string]archive.File{}
	for _, f := range load(s.t, repo).Files {
		have[f.File] = f
	}
	want := s.files()
	for name, end := range ends {
		f := have[name]
		if f.End < end {
			s.t.Errorf("%s was acknowledged up to %d, and is there up to %d", name, end, f.End)
			continue
		}
		path, err := archive.Fetch(s.t.Context(), repo, f, s.t.TempDir())
		if err != nil {
			s.t.Error(err)
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		if n := min(int64(len(got)), end); !bytes.Equal(got[:n], want[name][:n]) {
			s.t.Errorf("%s has other bytes than the server's", name)
		}
	}
}

// writeSmall commits a small transaction.
func (s *source) writeSmall(r *rand.Rand) {
	s.t.Helper()
	s.exec(fmt.Sprintf("INSERT INTO d.t (b) VALUES (REPEAT('%d', %d))", r.IntN(10), r.IntN(1<<12)))
	if r.IntN(20) == 0 {
		s.exec("FLUSH BINARY LOGS")
	}
}
