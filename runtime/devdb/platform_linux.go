package devdb

import (
	"os"
	"syscall"
)

// needsWatchdog: the kernel ends the server when its owner ends.
const needsWatchdog = false

// memoryDir returns a directory in memory with room for a database, if there is one.
// Containers often have a small one.
func memoryDir() (string, bool) {
	const dir, enough = "/dev/shm", 512 << 20
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil || st.Bavail*uint64(st.Bsize) < enough {
		return "", false
	}
	return dir, true
}

// identities lists the users to run as, the best first.
func identities() []identity {
	if os.Geteuid() != 0 {
		return []identity{{name: "ourselves"}}
	}
	ids := accounts()
	// Inside its namespace, too, initdb looks up its user's name.
	nobody := identity{name: "root in a user namespace", drop: true, uid: 65534, gid: 65534, userNamespace: true}
	if n := len(ids); n > 0 {
		nobody.uid, nobody.gid = ids[n-1].uid, ids[n-1].gid
	}
	return append(ids, nobody)
}

// serverAttr starts the server in a process group of its own, so that Ctrl-C reaches only
// its owner, and ends it with its owner.
func serverAttr(id identity, ifOwnerDies StopMode) *syscall.SysProcAttr {
	attr := toolAttr(id)
	attr.Setpgid = true
	attr.Pdeathsig = stopSignal(ifOwnerDies)
	return attr
}

// toolAttr returns the attributes of a program that is run and waited for.
func toolAttr(id identity) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{}
	if !id.drop {
		return attr
	}
	attr.Credential = &syscall.Credential{Uid: uint32(id.uid), Gid: uint32(id.gid)}
	if id.userNamespace {
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: id.uid, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: id.gid, HostID: os.Getegid(), Size: 1}}
		attr.Credential.NoSetGroups = true
	}
	return attr
}
