//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package badgerfiles

import (
	"errors"
	"os"
	"syscall"
)

// Lock takes the lock that Badger takes on dir, so that no other process
// writes the files that are checked. Badger takes the lock itself once unlock was
// called.
func Lock(dir string) (unlock func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrInUse
		}
		return nil, err
	}
	return f.Close, nil
}
