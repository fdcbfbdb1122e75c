//go:build unix && !linux

package pgtest

import "syscall"

// processAttributes: outside of Linux nothing ends a server whose program was
// killed.
func processAttributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as}
}
