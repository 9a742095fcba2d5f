package disk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountinfo(t *testing.T) {
	got, err := ParseMountinfo([]byte("36 35 98:0 /a//deleted /mnt/a\\040b\\134 rw,noatime master:1 shared:2 - ext4 /dev/x rw\n"))
	want := Mount{36, 35, 98, 0, "/a//deleted", `/mnt/a b\`, "ext4", "/dev/x"}
	if err != nil || len(got) != 1 || got[0] != want {
		t.Fatalf("%+v, %v", got, err)
	}
	own, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseMountinfo(own); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"x", "\n\n", "1 1 8:0 / /a\\04 rw - t s o", "1 1 8 / / rw - t s o", "1 1 8:0 / / rw - t"} {
		if m, err := ParseMountinfo([]byte(bad)); err == nil {
			t.Errorf("%q is read as %+v", bad, m)
		}
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add([]byte("36 35 98:0 / /a\\040b rw - ext4 /dev/x rw\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseMountinfo(b); err == nil && len(m) != len(lines(b)) {
			t.Error("a line is lost")
		}
	})
}

func FuzzSwaps(f *testing.F) {
	f.Add([]byte("Filename Type Size Used Priority\n/dev/x partition 1 0 -2\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParseSwaps(b); err == nil && len(p) != len(lines(b))-1 {
			t.Error("a line is lost")
		}
	})
}

func FuzzSignatures(f *testing.F) {
	f.Add("XFSB")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := Signatures(strings.NewReader(s), int64(len(s))); err != nil {
			t.Error(err)
		}
		if got, err := Signatures(strings.NewReader(s), int64(len(s))+1<<20); err == nil {
			t.Errorf("a device that is cut short gives %v", got)
		}
	})
}

func TestSignaturesEach(t *testing.T) {
	const size = 1<<20 + 3*512
	for _, m := range append(magics(), atEnd(size)...) {
		b := make([]byte, size)
		copy(b[m.offset:], m.bytes)
		got, err := Signatures(strings.NewReader(string(b)), size)
		if err != nil || !slices.Contains(got, m.name) {
			t.Errorf("%s at %d: %v, %v", m.name, m.offset, got, err)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestClaimMountedElsewhere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for loop devices")
	}
	image := filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 16<<20)); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", image)
	device := run(t, "losetup", "-f", "--show", image)
	defer run(t, "losetup", "-d", device)
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Signatures(f, 16<<20)
	if err != nil || !slices.Contains(got, "ext") {
		t.Errorf("%v, %v", got, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := Claim([]string{device})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Claim([]string{device}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("claimed twice: %v", err)
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	mount := exec.CommandContext(t.Context(), "unshare", "-m", "sh", "-c", `mount "$0" /mnt && echo && cat`, device)
	in, _ := mount.StdinPipe()
	out, _ := mount.StdoutPipe()
	if err := mount.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Claim([]string{device}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("mounted in another namespace: %v", err)
	}
	if err := errors.Join(in.Close(), mount.Wait()); err != nil {
		t.Error(err)
	}
}

func TestClaimRefuses(t *testing.T) {
	for _, path := range []string{"/dev/null", t.TempDir(), os.Args[0]} {
		if _, err := Claim([]string{path}); !errors.Is(err, ErrNotBlock) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := Claim(nil); err == nil {
		t.Error("no device is a claim")
	}
}
