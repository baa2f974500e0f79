package relay

import "syscall"

// limitUnsent bounds what the system takes of a connection's data before it can
// be sent. Without the bound a client that reads nothing has 4 MiB of its answers
// in the memory of the system, where no limit of this program counts them.
func limitUnsent(raw syscall.RawConn) error {
	const notSentLowat = 25 // TCP_NOTSENT_LOWAT, which package syscall lacks
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, notSentLowat, maxUnsent)
	})
	if err != nil {
		return err
	}
	return failed
}
