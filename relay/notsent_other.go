//go:build !linux

package relay

import "syscall"

// limitUnsent does nothing on this system.
func limitUnsent(syscall.RawConn) error { return nil }
