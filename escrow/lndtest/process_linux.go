package lndtest

import "syscall"

// dieWithParent makes sure that a test binary that was killed, or ran into its
// timeout, leaves no daemon behind.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
