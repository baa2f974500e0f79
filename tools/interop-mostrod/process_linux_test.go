package interopmostrod

import "syscall"

// dieWithParent makes the kernel end the program if the test is killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
