package gate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
)

func TestJudgeCommand(t *testing.T) {
	long := strings.Repeat("x", maxArgvBytes)
	templates := []Template{{"/opt/stop", "now"}, {"/opt/wipe", "{device}"}, {"/opt/wipe2", "{device}", "{device}"}}
	whole, one := operation.Scope{}, operation.Scope{Devices: []string{"/dev/vdb"}}
	two := operation.Scope{Devices: []string{"/dev/vdb", "/dev/vdc"}}
	for _, c := range []struct {
		op    operation.Operation
		scope operation.Scope
		argv  []string
		ok    bool
	}{
		{operation.Reinstall, whole, []string{"/opt/anything", "-x"}, true},
		{operation.Reinstall, whole, nil, false},
		{operation.Reinstall, whole, []string{""}, false},
		{operation.Reinstall, whole, []string{"wipefs"}, false},
		{operation.Reinstall, whole, []string{"./wipefs"}, false},
		{operation.Reinstall, whole, []string{"/opt/../bin/sh"}, false},
		{operation.Reinstall, whole, []string{"/opt/anything", "a\x00b"}, false},
		{operation.Reinstall, whole, []string{"/opt/anything", long}, false},
		{operation.Reinstall, whole, append([]string{"/opt/anything"}, make([]string, maxArguments)...), false},
		{operation.StopServer, whole, []string{"/opt/stop", "now"}, true},
		{operation.StopServer, whole, []string{"/usr/bin/systemctl", "stop", "mariadb"}, true},
		{operation.StopServer, whole, []string{"/usr/bin/systemctl", "stop", "mariadb", "--force"}, false},
		{operation.StopServer, whole, []string{"/usr/bin/systemctl", "stop"}, false},
		{operation.StopServer, whole, []string{"/opt/stop", "later"}, false},
		{operation.StopServer, whole, []string{"/bin/sh", "-c", "rm -rf /var/lib/mysql"}, false},
		{operation.Reboot, whole, []string{"/usr/bin/systemctl", "reboot"}, true},
		{operation.Reboot, whole, []string{"/usr/bin/systemctl", "kexec"}, false},
		{operation.Wipe, one, []string{"/usr/sbin/wipefs", "-a", "/dev/vdb"}, true},
		{operation.Wipe, one, []string{"/usr/sbin/wipefs", "-a", "/dev/vda"}, false},
		{operation.Wipe, one, []string{"/opt/wipe", "/dev/vdb"}, true},
		{operation.Wipe, two, []string{"/opt/wipe", "/dev/vdb"}, false},
		{operation.Wipe, two, []string{"/opt/wipe2", "/dev/vdc", "/dev/vdb"}, true},
		{operation.Wipe, one, []string{"/opt/wipe2", "/dev/vdb", "/dev/vdb"}, false},
		{operation.Wipe, one, []string{"/opt/anything", "/dev/vdb"}, false},
		{operation.Repartition, one, []string{"/usr/sbin/sgdisk", "--zap-all", "/dev/vdb"}, true},
	} {
		list := append(templates, BuiltIn(c.op)...)
		if denial := JudgeCommand(c.op, c.scope, c.argv, list); (denial == nil) != c.ok {
			t.Errorf("%s %v %.80q: %+v", c.op, c.scope.Devices, c.argv, denial)
		}
	}
}

func TestTrusted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to own a program")
	}
	dir := t.TempDir()
	program := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := program("good", 0o755)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{good, link, "/bin/true"} {
		if _, err := Trusted(path); err != nil {
			t.Error(err)
		}
	}
	if path, err := Trusted(link); err != nil || path != good {
		t.Errorf("%s %v", path, err)
	}
	owned := program("owned", 0o755)
	if err := os.Chown(owned, 12345, 0); err != nil {
		t.Fatal(err)
	}
	inOpenDir := filepath.Join(dir, "open", "program")
	if err := os.Mkdir(filepath.Dir(inOpenDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inOpenDir, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(inOpenDir), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		program("group", 0o775), program("world", 0o757), program("plain", 0o644), owned, inOpenDir, dir, filepath.Join(dir, "absent"),
	} {
		if _, err := Trusted(path); err == nil {
			t.Errorf("%s is trusted", path)
		}
	}
}
