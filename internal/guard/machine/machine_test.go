package machine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	root := t.TempDir()
	put := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{"", "uninitialized", strings.Repeat("0", 32), strings.Repeat("A", 32), strings.Repeat("a", 31)} {
		put("etc/machine-id", bad+"\n")
		if id, err := Read(root); err == nil {
			t.Errorf("%q is %+v", bad, id)
		}
	}
	put("etc/machine-id", strings.Repeat("a1", 16)+"\n")
	id, err := Read(root)
	if err != nil || id.MachineID != strings.Repeat("a1", 16) || id.DMIUUID != "" || id.HostKey != "" {
		t.Errorf("%+v %v", id, err)
	}
	put("etc/ssh/ssh_host_ed25519_key.pub", "rubbish")
	if _, err := Read(root); err == nil {
		t.Error("a damaged host key is none")
	}
	if id, err := Read("/"); err != nil || id.BootID == "" {
		t.Errorf("this machine: %+v %v", id, err)
	}
}

func TestMatches(t *testing.T) {
	id := Identity{Target: Target{"m", "d", "h"}, BootID: "b"}
	if err := id.Matches(id); err != nil {
		t.Error(err)
	}
	for _, target := range []Target{{}, {"m", "", ""}, {"m", "d", ""}, {"m", "", "h"}, {"n", "d", "h"}, {"m", "e", "h"}, {"m", "d", "i"}, {"*", "*", "*"}} {
		if target.Matches(id) == nil {
			t.Errorf("%+v matches", target)
		}
	}
	if (Target{}).Matches(Identity{}) == nil {
		t.Error("no target matches no machine")
	}
}

func TestKey(t *testing.T) {
	dir := t.TempDir()
	key, err := LoadOrCreateKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateKey(dir)
	if err != nil || !again.Equal(key) {
		t.Fatal(err)
	}
	if line, err := PublicKey(key); err != nil || !strings.HasPrefix(line, "ssh-ed25519 ") {
		t.Error(line, err)
	}
	path := filepath.Join(dir, "guard.key")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateKey(dir); err == nil {
		t.Error("a key that a group can read is taken")
	}
	if os.Geteuid() == 0 {
		if err := errors.Join(os.Chmod(path, 0o600), os.Chown(path, 12345, -1)); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateKey(dir); err == nil {
			t.Error("somebody else's key is taken")
		}
		if err := os.Chown(path, 0, -1); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"", "x", "-----BEGIN X-----\nAAAA\n-----END X-----\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateKey(dir); err == nil {
			t.Errorf("%q is a key", text)
		}
	}
}
