package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const whole = `version: 1
datadirs: [/srv/mysql]
servers:
  - socket: /run/mysqld/mysqld.sock
    defaults_file: /etc/lifeboat/guard.cnf
next_boot: disk
backup: {status: /var/lib/lifeboat/status.json, max_age: 26h}
requests: {signed_only: true}
keys:
  - {name: alice, roles: [request, approve], key: ssh-ed25519 AAAA}
commands:
  stop-server:
    - [/usr/bin/systemctl, stop, mariadb@one]
  wipe:
    - [/usr/sbin/mkfs.ext4, -F, "{device}"]
rules:
  - {name: no-clients, deny_if: "true", message: not today}
interlock:
  set: orders-1
  endpoints: [https://10.0.0.1:2379]
`

func TestParse(t *testing.T) {
	c, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if c.Backup.MaxAge != 26*time.Hour || c.Interlock.Timeout != defaultTimeout || len(c.Commands["wipe"][0]) != 3 || len(c.Digest) != 64 {
		t.Errorf("%+v", c)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, change := range map[string][2]string{
		"unknown key":        {"next_boot: disk", "nextboot: disk"},
		"key twice":          {"next_boot: disk", "next_boot: disk\nnext_boot: disk"},
		"version":            {"version: 1", "version: 2"},
		"no version":         {"version: 1", ""},
		"next boot":          {"next_boot: disk", "next_boot: network"},
		"datadir":            {"/srv/mysql", "mysql"},
		"socket":             {"/run/mysqld", "mysqld"},
		"defaults file":      {"/etc/lifeboat/guard.cnf", "guard.cnf"},
		"status":             {"/var/lib/lifeboat", "lifeboat"},
		"age":                {"26h", "-26h"},
		"role":               {"[request, approve]", "[root]"},
		"no role":            {"[request, approve]", "[]"},
		"name":               {"name: alice", "name: al ice"},
		"operation":          {"  wipe:", "  format:"},
		"command":            {"/usr/sbin/mkfs", "mkfs"},
		"empty command":      {`[/usr/sbin/mkfs.ext4, -F, "{device}"]`, "[]"},
		"set":                {"orders-1", "orders/1"},
		"endpoints":          {"[https://10.0.0.1:2379]", "[]"},
		"certificate":        {"  set:", "  cert_file: /x\n  set:"},
		"password":           {"  set:", "  username: x\n  set:"},
		"interlock time":     {"  set:", "  timeout: -1s\n  set:"},
		"timeout":            {"next_boot: disk", "timeouts: {disks: 9s}"},
		"second document":    {"next_boot: disk", "next_boot: disk\n---\nversion: 1"},
		"not a mapping":      {whole, "hello"},
		"nothing":            {whole, ""},
		"not YAML":           {whole, "{"},
		"rules of no list":   {"rules:\n  - ", "rules:\n    "},
		"signed_only a word": {"signed_only: true", "signed_only: maybe"},
	} {
		if c, err := Parse([]byte(strings.Replace(whole, change[0], change[1], 1))); err == nil {
			t.Errorf("%s: read as %+v", name, c)
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guard.yaml")
	if c, err := Load(path, true); err != nil || c.Interlock != nil || c.Timeouts.Disks != defaultDiskTimeout {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := Load(path, false); err == nil {
		t.Error("a file that does not exist is read")
	}
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, true); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, true); err == nil {
		t.Error("a file that a group may write is read")
	}
	if os.Geteuid() == 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, 12345, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path, true); err == nil {
			t.Error("somebody else's file is read")
		}
	}
	if err := os.WriteFile(path+"2", []byte(whole+"#"+strings.Repeat("x", maxSize)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path+"2", true); err == nil {
		t.Error("a huge file is read")
	}
}

// FuzzParse: whatever is read is valid, and nothing panics.
func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("version: 1\n"))
	f.Add([]byte("&a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text)
		if err == nil && (c.Version != Version || c.Timeouts.Disks <= 0) {
			t.Fatalf("%+v", c)
		}
	})
}

// TestReadable: errors name what stands in the file.
func TestReadable(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "it is empty",
		"# nothing\n":                        "it is empty",
		"next_boot: disk\n":                  "version is missing",
		"verzion: 1\n":                       "line 1: unknown key verzion",
		"version: 1\nbackup: {max_age: 26}":  "line 2: `26` is no time: write 90s",
		"version: 1\nrequests: {signed: on}": "line 2: unknown key signed",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
