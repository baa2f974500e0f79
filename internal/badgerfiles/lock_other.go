//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package badgerfiles

// Lock does nothing on systems without flock. Badger has another lock on these systems.
func Lock(string) (unlock func() error, err error) { return func() error { return nil }, nil }
