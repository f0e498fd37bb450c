//go:build unix && !linux

package devdb

import (
	"os"
	"syscall"
)

const needsWatchdog = true

func memoryDir() (string, bool) { return "", false }

// identities lists whom to run as, the best first.
func identities() []identity {
	if os.Geteuid() != 0 {
		return []identity{{name: "ourselves"}}
	}
	return accounts()
}

// serverAttr is how the server is started: in a process group of its own, so
// that a Ctrl-C reaches its owner alone.
func serverAttr(id identity, _ StopMode) *syscall.SysProcAttr {
	attr := toolAttr(id)
	attr.Setpgid = true
	return attr
}

// toolAttr is how a program is run and waited for.
func toolAttr(id identity) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{}
	if id.drop {
		attr.Credential = &syscall.Credential{Uid: uint32(id.uid), Gid: uint32(id.gid)}
	}
	return attr
}
