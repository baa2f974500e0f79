//go:build !linux

package lndtest

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
