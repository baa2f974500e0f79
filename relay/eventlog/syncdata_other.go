//go:build !linux

package eventlog

import "os"

// syncData makes what was written to a file durable, and its length.
func syncData(f *os.File) error { return f.Sync() }
