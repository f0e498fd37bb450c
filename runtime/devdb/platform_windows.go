package devdb

import (
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

const needsWatchdog = true

func memoryDir() (string, bool) { return "", false }

func identities() []identity { return []identity{{name: "ourselves"}} }

func ownerOf(fs.FileInfo) (int, bool) { return 0, false }

// serverAttr keeps a Ctrl-C in the console from the server.
func serverAttr(identity, StopMode) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

func toolAttr(identity) *syscall.SysProcAttr { return nil }

// shortTempDir returns a directory for sockets, whose paths must be short.
func shortTempDir() string { return os.TempDir() }

// tryLock opens a file exclusively; ok is false if it is open already. The lock ends with the
// process.
func tryLock(path string) (f *os.File, ok bool, err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, false, err
	}
	const sharingViolation = syscall.Errno(32)
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	switch err {
	case nil:
		return os.NewFile(uintptr(h), path), true, nil
	case sharingViolation:
		return nil, false, nil
	default:
		return nil, false, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
}

// watchdogCommand waits for the end of its input and then stops a server.
func watchdogCommand(s *server, mode StopMode) *exec.Cmd {
	cmd := exec.Command("cmd")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		CmdLine:       `cmd /c set /p line= & "` + s.bin.program("pg_ctl") + `" kill ` + signalName(mode) + ` ` + pidOf(s),
		CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP,
	}
	return cmd
}
