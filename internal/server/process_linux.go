package server

import "syscall"

// childAttributes make the server die with this process, and keep a Ctrl-C at
// the terminal from it: who started it decides when it stops.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
