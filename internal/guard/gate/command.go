package gate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/lifeboat-db/lifeboat/internal/guard/operation"
	"github.com/lifeboat-db/lifeboat/internal/guard/policy"
)

// Template is an argument vector that may be run for an operation. An element
// "{device}" stands for exactly one device of the operation's scope.
type Template []string

const deviceElement = "{device}"

// Limits of an argument vector: more is not a command that people can read in
// an audit log.
const (
	maxArguments = 256
	maxArgvBytes = 64 << 10
)

// Code of denials about commands.
const commandCode = "command"

// refuseCommand is a denial of the command itself.
func refuseCommand(format string, args ...any) *policy.Denial {
	return &policy.Denial{Code: commandCode, Class: policy.RuleClass, Summary: fmt.Sprintf(format, args...)}
}

// JudgeCommand says what is wrong with a command for an operation; nil means
// nothing.
//
// An operation that tolerates something (a running replica, data that stay)
// runs only listed commands, because another one might do more than the
// operation's name says. So does one whose scope is a device: the command must
// name that device and no other. An operation on the whole machine tolerates
// nothing that could be lost, so any command may run.
func JudgeCommand(op operation.Operation, scope operation.Scope, argv []string, templates []Template) *policy.Denial {
	if len(argv) == 0 { //check:command-empty
		return refuseCommand("no command given")
	}
	size := 0
	for _, arg := range argv {
		size += len(arg)
		if strings.ContainsRune(arg, 0) { //check:command-nul
			return refuseCommand("an argument holds a NUL byte")
		}
	}
	if len(argv) > maxArguments || size > maxArgvBytes { //check:command-too-long
		return refuseCommand("the command has %d arguments of %d bytes: at most %d and %d", len(argv), size, maxArguments, maxArgvBytes)
	}
	if !filepath.IsAbs(argv[0]) || filepath.Clean(argv[0]) != argv[0] { //check:command-not-absolute
		return refuseCommand("%q is not the absolute path of a program: the guard searches no PATH", argv[0])
	}
	if op.Destroys() && scope.WholeMachine() { //allow:command-any
		return nil
	}
	for _, template := range templates {
		if template.matches(argv, scope) {
			return nil
		}
	}
	if !scope.WholeMachine() {
		return refuseCommand("no listed command of %s matches %q for the devices %q: list it under commands in the configuration, or leave out --device so that the whole machine is judged", op, argv, scope.Devices)
	}
	return refuseCommand("%q is not among the commands listed for %s, which leaves data in place: list it under commands in the configuration", argv, op)
}

// matches: each device of the scope stands exactly once in the place of a
// {device}, and everything else is the same.
func (t Template) matches(argv []string, scope operation.Scope) bool {
	if len(t) != len(argv) { //check:template-length
		return false
	}
	var devices []string
	for i, element := range t {
		if element == deviceElement {
			devices = append(devices, argv[i])
			continue
		}
		if element != argv[i] { //check:template-element
			return false
		}
	}
	slices.Sort(devices)
	want := slices.Clone(scope.Devices)
	slices.Sort(want)
	return slices.Equal(devices, want)
}

// BuiltIn are the commands that can be used without configuration: the plain
// ways to stop a server, to reboot, and to erase one device.
func BuiltIn(op operation.Operation) []Template {
	switch op {
	case operation.StopServer:
		var list []Template
		for _, unit := range []string{"mariadb", "mysql", "mysqld", "mariadb.service", "mysql.service", "mysqld.service"} {
			list = append(list, Template{"/usr/bin/systemctl", "stop", unit}, Template{"/bin/systemctl", "stop", unit})
		}
		return list
	case operation.Reboot:
		// reboot(8) of systemd 252 ends with 0 although it was refused.
		return []Template{{"/usr/bin/systemctl", "reboot"}, {"/bin/systemctl", "reboot"}}
	case operation.Wipe:
		return []Template{
			{"/usr/sbin/wipefs", "-a", deviceElement}, {"/sbin/wipefs", "-a", deviceElement},
			{"/usr/sbin/blkdiscard", deviceElement}, {"/sbin/blkdiscard", deviceElement},
		}
	case operation.Repartition:
		return []Template{{"/usr/sbin/sgdisk", "--zap-all", deviceElement}, {"/sbin/sgdisk", "--zap-all", deviceElement}}
	case operation.Reinstall, operation.Decommission:
	}
	return nil
}

// Trusted follows the links to a program and returns the file, if only root
// can have written it: the file and every directory above it belong to root,
// and nobody else may write to them. Otherwise the file that runs need not be
// the one that was looked at.
func Trusted(program string) (path string, err error) {
	path, err = filepath.EvalSymlinks(program)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 { //check:program-not-executable
		return "", fmt.Errorf("%s is not an executable file", path)
	}
	for dir := path; ; dir = filepath.Dir(dir) {
		if err := onlyRootWrites(dir); err != nil {
			return "", err
		}
		if dir == "/" {
			return path, nil
		}
	}
}

func onlyRootWrites(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("no owner known for " + path)
	}
	if stat.Uid != 0 { //check:program-owner
		return fmt.Errorf("%s belongs to user %d, not to root", path, stat.Uid)
	}
	sticky := info.IsDir() && info.Mode()&fs.ModeSticky != 0
	if info.Mode().Perm()&0o022 != 0 && !sticky { //check:program-writable
		return fmt.Errorf("%s may be written by others than root (mode %04o)", path, info.Mode().Perm())
	}
	return nil
}

// environment is all that a command sees of one.
func environment() []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"}
}
