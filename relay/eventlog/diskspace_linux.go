package eventlog

import (
	"errors"
	"os"
	"syscall"
)

const fallocKeepSize = 1 // FALLOC_FL_KEEP_SIZE

// freeSpace is how many bytes a process may still write to the disk of dir.
func freeSpace(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// reserve has the disk keep room for n bytes of a file at from, whose size
// stays as it is. A file system that cannot do that is no error.
func reserve(f *os.File, from, n int64) error {
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
