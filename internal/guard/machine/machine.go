// Package machine says which machine this is, and holds the guard's own key.
package machine

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"

	"github.com/lifeboat-db/lifeboat/internal/atomicfile"
	"github.com/lifeboat-db/lifeboat/internal/guard/seal"
)

// Target is the one machine that a request is for. An empty field stands for a
// machine that has no such thing, never for any.
type Target struct {
	MachineID string `json:"machine_id"`
	DMIUUID   string `json:"dmi_uuid"`
	HostKey   string `json:"host_key"` // SHA256:... of the SSH host key
}

// Identity is a machine, during one boot.
type Identity struct {
	Target
	BootID string
}

var machineID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Read reads the identity below a root directory, "/" in real life. The
// machine-id must be there (machine-id(5)); a cloned one is told apart by the
// other two.
func Read(root string) (Identity, error) {
	var id Identity
	for _, part := range []struct {
		to   *string
		path string
	}{
		{&id.MachineID, "etc/machine-id"},
		{&id.DMIUUID, "sys/class/dmi/id/product_uuid"},
		{&id.HostKey, "etc/ssh/ssh_host_ed25519_key.pub"},
		{&id.BootID, "proc/sys/kernel/random/boot_id"},
	} {
		text, err := os.ReadFile(filepath.Join(root, part.path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Identity{}, fmt.Errorf("machine identity: %w", err)
		}
		*part.to = strings.TrimSpace(string(text))
	}
	if !machineID.MatchString(id.MachineID) || strings.Trim(id.MachineID, "0") == "" { //check:machine-id
		return Identity{}, fmt.Errorf("machine identity: /etc/machine-id holds %q: a machine without an identity of its own is guarded by nobody (systemd-machine-id-setup makes one)", id.MachineID)
	}
	if id.HostKey != "" {
		key, err := seal.ParseKey(id.HostKey)
		if err != nil {
			return Identity{}, fmt.Errorf("machine identity: SSH host key: %w", err)
		}
		id.HostKey = ssh.FingerprintSHA256(key)
	}
	return id, nil
}

// Matches says in what a target is not this machine.
func (t Target) Matches(id Identity) error {
	if t.MachineID == "" { //check:target-empty
		return errors.New("the target names no machine")
	}
	for _, part := range [][3]string{
		{"machine-id", t.MachineID, id.MachineID}, {"DMI UUID", t.DMIUUID, id.DMIUUID}, {"SSH host key", t.HostKey, id.HostKey},
	} {
		if part[1] != part[2] { //check:target-other-machine
			return fmt.Errorf("the target's %s is %q, this machine's is %q", part[0], part[1], part[2])
		}
	}
	return nil
}

const keyType = "LIFEBOAT GUARD ED25519 SEED"

// LoadOrCreateKey reads the guard's own key from a state directory, or makes
// it. A key that others than its owner can read, or that is damaged, is an
// error: whoever has it can speak for this machine.
func LoadOrCreateKey(stateDir string) (ed25519.PrivateKey, error) {
	path := filepath.Join(stateDir, "guard.key")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createKey(path)
	}
	if err != nil {
		return nil, err
	}
	if !ours(info) { //check:key-owner
		return nil, fmt.Errorf("%s does not belong to the guard's own user", path)
	}
	if info.Mode().Perm()&0o077 != 0 { //check:key-readable
		return nil, fmt.Errorf("%s can be read by others (mode %04o): make a new one, and tell the set's manifest", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != keyType || len(block.Bytes) != ed25519.SeedSize || len(rest) > 0 {
		return nil, fmt.Errorf("%s is damaged", path)
	}
	return ed25519.NewKeyFromSeed(block.Bytes), nil
}

func ours(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

func createKey(path string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".guard.key") // mode 0600
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	err = pem.Encode(f, &pem.Block{Type: keyType, Bytes: key.Seed()})
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	// Link, not rename: a key that another agent has made in between stays.
	if err := os.Link(f.Name(), path); err != nil {
		return nil, err
	}
	return key, atomicfile.SyncDir(filepath.Dir(path))
}

// PublicKey is the guard's key in OpenSSH form, as a set's manifest holds it.
func PublicKey(key ed25519.PrivateKey) (string, error) {
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))), nil
}
