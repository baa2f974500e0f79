package diskspace

import (
	"errors"
	"os"
	"syscall"
)

const fallocKeepSize = 1 // FALLOC_FL_KEEP_SIZE

// Free returns the number of bytes that an unprivileged process may still write to
// the disk of dir.
func Free(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// Reserve allocates disk space for n bytes of a file at an offset, without changing the
// size of the file. If the file system does not support this, Reserve returns nil.
func Reserve(f *os.File, from, n int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), fallocKeepSize, from, n)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS), err == nil:
			return nil
		default:
			return os.NewSyscallError("fallocate", err)
		}
	}
}
