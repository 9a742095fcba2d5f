//go:build !linux

package server

import "syscall"

// childAttributes keep a Ctrl-C at the terminal from the server. Only Linux
// can make it die with this process.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
