package pgtest

import "syscall"

// processAttributes makes the server end together with the program, even when that
// is killed and closes nothing.
func processAttributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGQUIT}
}
