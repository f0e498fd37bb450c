//go:build unix && !linux

package devdb

import (
	"os"
	"syscall"
)

const needsWatchdog = true

func memoryDir() (string, bool) { return "", false }

// identities lists the users to run as, the best first.
func identities() []identity {
	if os.Geteuid() != 0 {
		return []identity{{name: "ourselves"}}
	}
	return accounts()
}

// serverAttr starts the server in a process group of its own, so that Ctrl-C reaches only
// its owner.
func serverAttr(id identity, _ StopMode) *syscall.SysProcAttr {
	attr := toolAttr(id)
	attr.Setpgid = true
	return attr
}

// toolAttr returns the attributes of a program that is run and waited for.
func toolAttr(id identity) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{}
	if id.drop {
		attr.Credential = &syscall.Credential{Uid: uint32(id.uid), Gid: uint32(id.gid)}
	}
	return attr
}
