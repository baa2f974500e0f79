//go:build !linux

package relay

import "syscall"

// limitUnsent leaves the bound to the system.
func limitUnsent(syscall.RawConn) error { return nil }
