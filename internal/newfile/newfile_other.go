//go:build !linux

package newfile

import "io/fs"

// unnamed returns errUnsupported: files without a name exist on Linux only.
func unnamed(string, []byte, fs.FileMode) error { return errUnsupported }
