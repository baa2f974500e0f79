package relay

import "syscall"

// limitUnsent limits the data of a connection that the system takes before the data can be
// sent. If there is no limit and a client reads nothing, the system holds 4 MiB of answers
// for that client, and no limit of this program counts them.
func limitUnsent(raw syscall.RawConn) error {
	const notSentLowat = 25 // TCP_NOTSENT_LOWAT; package syscall does not define it
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, notSentLowat, maxUnsent)
	})
	if err != nil {
		return err
	}
	return failed
}
