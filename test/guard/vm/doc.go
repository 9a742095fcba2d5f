// Package vm holds tests that need a machine of their own: a Debian with
// systemd in qemu, software emulation enough. They have the build tag long.
package vm
