package temporaldev

import "syscall"

// attributes starts a server in a process group of its own, so that Ctrl-C reaches only its
// owner, and ends it with its owner.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
