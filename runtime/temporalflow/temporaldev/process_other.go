//go:build !linux

package temporaldev

import "syscall"

// attributes are as usual: a server whose owner was killed runs on.
func attributes() *syscall.SysProcAttr { return nil }
