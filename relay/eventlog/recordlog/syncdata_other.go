//go:build !linux

package recordlog

import "os"

// syncData makes the content and the length of a file durable.
func syncData(f *os.File) error { return f.Sync() }
