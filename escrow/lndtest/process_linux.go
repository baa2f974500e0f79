package lndtest

import "syscall"

// dieWithParent makes the kernel kill the daemon if the test binary is killed or
// exceeds its time limit.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
