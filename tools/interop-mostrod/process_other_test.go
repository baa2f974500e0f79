//go:build !linux

package interopmostrod

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
