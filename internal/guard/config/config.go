// Package config reads the guard's configuration: one YAML file. Unknown keys,
// wrong types and impossible values are errors; a guard whose configuration
// cannot be read refuses everything.
package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/lifeboat-db/lifeboat/internal/guard/gate"
	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
)

// Path is where the configuration is unless a flag says otherwise. A machine
// without the file is guarded as one that belongs to no set.
const Path = "/etc/lifeboat/guard.yaml"

// Version is the version of the format.
const Version = 1

// Size beyond which a file is not a configuration.
const maxSize = 1 << 20

// Config is the file.
type Config struct {
	Version int `yaml:"version"`
	// DataDirs are data directories beyond those the guard finds by itself.
	DataDirs []string `yaml:"datadirs"`
	// Servers are how to ask local servers that root cannot ask through their
	// socket without a password.
	Servers []Server `yaml:"servers"`
	// NextBoot "disk" states that this machine always boots from its disk,
	// where firmware cannot be asked. Empty: the firmware is asked.
	NextBoot string `yaml:"next_boot"`
	Backup   Backup `yaml:"backup"`
	// Requests says who may ask.
	Requests Requests `yaml:"requests"`
	// Keys are the people and programs whose signatures count.
	Keys []Key `yaml:"keys"`
	// Commands are argument vectors that may run, by operation. "{device}"
	// stands for a device of the operation's scope.
	Commands map[operation.Operation][]gate.Template `yaml:"commands"`
	// Rules add denials.
	Rules []policy.Rule `yaml:"rules"`
	// Interlock is the set this machine belongs to; absent: none.
	Interlock *Interlock `yaml:"interlock"`
	// SocketGroup is the group, by name, that may connect to the agent beside
	// root. Its members still need a signed request for everything but looking.
	SocketGroup string `yaml:"socket_group"`
	// Timeouts of probes.
	Timeouts Timeouts `yaml:"timeouts"`

	// Digest is the SHA-256 of the file's bytes, in hexadecimal; of no bytes if
	// there is no file.
	Digest string `yaml:"-"`
}

// Server is a local server.
type Server struct {
	Socket string `yaml:"socket"`
	// DefaultsFile holds user and password in its [client] group, as for the
	// vendors' own tools.
	DefaultsFile string `yaml:"defaults_file"`
}

// Backup is where the state of backup and archive is written.
type Backup struct {
	Status string        `yaml:"status"`
	MaxAge time.Duration `yaml:"max_age"`
}

// Requests says who may ask.
type Requests struct {
	// SignedOnly: even root must bring a signed request.
	SignedOnly bool `yaml:"signed_only"`
	// ClockUnchecked: do not refuse because the kernel says that the clock is
	// not synchronised.
	ClockUnchecked bool `yaml:"clock_unchecked"`
}

// Key is somebody's public key.
type Key struct {
	Name  string   `yaml:"name"`
	Roles []string `yaml:"roles"`
	Key   string   `yaml:"key"` // a line of an OpenSSH public key file
}

// Roles of keys.
const (
	RoleRequest  = "request"  // may ask
	RoleApprove  = "approve"  // may approve an override or a clearance
	RoleManifest = "manifest" // may say who belongs to a set
)

var roles = []string{RoleRequest, RoleApprove, RoleManifest}

// Interlock is the set and its etcd.
type Interlock struct {
	Set          string        `yaml:"set"`
	Endpoints    []string      `yaml:"endpoints"`
	Prefix       string        `yaml:"prefix"`
	CAFile       string        `yaml:"ca_file"`
	CertFile     string        `yaml:"cert_file"`
	KeyFile      string        `yaml:"key_file"`
	Username     string        `yaml:"username"`
	PasswordFile string        `yaml:"password_file"`
	Timeout      time.Duration `yaml:"timeout"`
	MaxLag       time.Duration `yaml:"max_lag"`
	HealthTTL    time.Duration `yaml:"health_ttl"`
	IntentTTL    time.Duration `yaml:"intent_ttl"`
	Pace         Pace          `yaml:"pace"`
}

// Pace is how fast anything may go over all sets that share the etcd.
type Pace struct {
	Operations int           `yaml:"operations"`
	Interval   time.Duration `yaml:"interval"`
}

// Timeouts bound the probes.
type Timeouts struct {
	Disks time.Duration `yaml:"disks"` // walking and scanning disks
}

// Defaults.
const (
	defaultDiskTimeout = 15 * time.Minute
	defaultTimeout     = 3 * time.Second
	defaultMaxLag      = 60 * time.Second
	defaultHealthTTL   = 15 * time.Second
	defaultIntentTTL   = 30 * time.Second
	defaultPrefix      = "/lifeboat/v1"
	defaultOperations  = 10
	defaultInterval    = 10 * time.Minute
)

// Load reads a file that only root can have written. With optional, a file
// that does not exist is an empty one.
func Load(path string, optional bool) (Config, error) {
	text, err := read(path)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return Parse([]byte("version: 1\n"))
	}
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	c, err := Parse(text)
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("nobody knows whom %s belongs to", path)
	}
	if stat.Uid != 0 && int(stat.Uid) != os.Geteuid() { //check:config-owner
		return nil, fmt.Errorf("%s does not belong to root", path)
	}
	if info.Mode().Perm()&0o022 != 0 { //check:config-writable
		return nil, fmt.Errorf("%s may be written by others than its owner (mode %04o)", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(text) > maxSize {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxSize)
	}
	return text, err
}

// Parse reads a configuration and fills in the defaults.
func Parse(text []byte) (Config, error) {
	var c Config
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		return Config{}, readable(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) { //check:config-one-document
		return Config{}, errors.New("there is more than one document")
	}
	sum := sha256.Sum256(text)
	c.Digest = hex.EncodeToString(sum[:])
	c.setDefaults()
	return c, c.validate()
}

var (
	unknownKey = regexp.MustCompile(`field (\S+) not found in type \S+`)
	wrongTime  = regexp.MustCompile(`cannot unmarshal \S+ (\S+) into time\.Duration`)
)

// readable puts the parser's errors into the words of the file instead of the
// program's.
func readable(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty: it needs \"version: 1\" at least; a machine without a configuration has no such file")
	}
	var wrong *yaml.TypeError
	if !errors.As(err, &wrong) {
		return err
	}
	lines := make([]string, len(wrong.Errors))
	for i, line := range wrong.Errors {
		line = unknownKey.ReplaceAllString(line, "unknown key $1")
		lines[i] = wrongTime.ReplaceAllString(line, "$1 is no time: write 90s, 10m or 26h")
	}
	return errors.New(strings.Join(lines, "; "))
}

func (c *Config) setDefaults() {
	orElse(&c.Timeouts.Disks, defaultDiskTimeout)
	if i := c.Interlock; i != nil {
		orElse(&i.Timeout, defaultTimeout)
		orElse(&i.MaxLag, defaultMaxLag)
		orElse(&i.HealthTTL, defaultHealthTTL)
		orElse(&i.IntentTTL, defaultIntentTTL)
		orElse(&i.Prefix, defaultPrefix)
		orElse(&i.Pace.Operations, defaultOperations)
		orElse(&i.Pace.Interval, defaultInterval)
	}
}

func orElse[T comparable](v *T, otherwise T) {
	if *v == *new(T) {
		*v = otherwise
	}
}

var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (c *Config) validate() error {
	if c.Version == 0 {
		return fmt.Errorf("version is missing: write \"version: %d\"", Version)
	}
	if c.Version != Version {
		return fmt.Errorf("version is %d: this guard reads version %d", c.Version, Version)
	}
	if c.NextBoot != "" && c.NextBoot != "disk" {
		return fmt.Errorf("next_boot is %q: it is \"disk\" or absent", c.NextBoot)
	}
	for _, dir := range c.DataDirs {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("datadirs: %q is not an absolute path", dir)
		}
	}
	for _, s := range c.Servers {
		if !filepath.IsAbs(s.Socket) || s.DefaultsFile != "" && !filepath.IsAbs(s.DefaultsFile) {
			return fmt.Errorf("servers: socket %q and defaults_file %q must be absolute paths", s.Socket, s.DefaultsFile)
		}
	}
	if c.Backup.Status != "" && !filepath.IsAbs(c.Backup.Status) || c.Backup.MaxAge < 0 {
		return errors.New("backup: status must be an absolute path and max_age positive")
	}
	if c.Timeouts.Disks < 10*time.Second {
		return errors.New("timeouts: disks must be 10s or more: what is not walked in time is refused")
	}
	return errors.Join(c.validateKeys(), c.validateCommands(), c.Interlock.validate())
}

func (c *Config) validateKeys() error {
	for _, k := range c.Keys {
		if !name.MatchString(k.Name) {
			return fmt.Errorf("keys: %q is no name of 1 to 64 letters, digits and ._-", k.Name)
		}
		if len(k.Roles) == 0 {
			return fmt.Errorf("keys: %s has no roles", k.Name)
		}
		for _, role := range k.Roles {
			if !slices.Contains(roles, role) {
				return fmt.Errorf("keys: %s has the unknown role %q: roles are %v", k.Name, role, roles)
			}
		}
	}
	return nil
}

func (c *Config) validateCommands() error {
	for op, templates := range c.Commands {
		if _, err := operation.Parse(string(op)); err != nil {
			return fmt.Errorf("commands: %w", err)
		}
		for _, t := range templates {
			if len(t) == 0 || !filepath.IsAbs(t[0]) {
				return fmt.Errorf("commands: %s: %q does not begin with an absolute path", op, t)
			}
		}
	}
	return nil
}

func (i *Interlock) validate() error {
	switch {
	case i == nil:
		return nil
	case !name.MatchString(i.Set):
		return fmt.Errorf("interlock: set %q is no name of 1 to 64 letters, digits and ._-", i.Set)
	case len(i.Endpoints) == 0:
		return errors.New("interlock: no endpoints")
	case (i.CertFile == "") != (i.KeyFile == ""):
		return errors.New("interlock: cert_file and key_file belong together")
	case (i.Username == "") != (i.PasswordFile == ""):
		return errors.New("interlock: username and password_file belong together")
	case i.Timeout < 0, i.MaxLag < 0, i.HealthTTL < 0, i.IntentTTL < 0, i.Pace.Operations < 0, i.Pace.Interval < 0:
		return errors.New("interlock: times and numbers must be positive")
	}
	return nil
}
