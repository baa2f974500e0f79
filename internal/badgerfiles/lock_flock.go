//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package badgerfiles

import (
	"errors"
	"os"
	"syscall"
)

// Lock takes the lock that Badger takes on dir, so that no other process writes the
// files during the check. If another process holds the lock, Lock returns ErrInUse. The
// caller calls unlock before Badger opens dir, because Badger takes the lock itself.
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
