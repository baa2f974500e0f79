package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// These are the names of the listeners in a socket unit of systemd (FileDescriptorName).
const (
	publicSocket  = "public"
	privateSocket = "private"
	secureSocket  = "secure"
)

func isSocket(name string) bool {
	return name == publicSocket || name == privateSocket || name == secureSocket
}

// socketsVar names the listeners that a program hands to the program that replaces it, such as
// "public=7,private=8". The numbers are file descriptors.
const socketsVar = "MOSTRODEX_SOCKETS"

// sockets are listeners that were open before this program started, by name.
type sockets map[string]*os.File

// inheritedSockets returns the listeners of socketsVar, or of systemd's socket activation
// (LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES; sd_listen_fds(3)). A listener of systemd without
// one of these names is the public one if it is the only one. inheritedSockets removes the
// variables, so that child processes do not believe that the listeners are theirs.
func inheritedSockets() (sockets, error) {
	handed, pid, count, names := os.Getenv(socketsVar), os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{socketsVar, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	s := make(sockets)
	if handed != "" {
		for part := range strings.SplitSeq(handed, ",") {
			name, number, _ := strings.Cut(part, "=")
			fd, err := strconv.ParseUint(number, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("%s: %q names no listener", socketsVar, part)
			}
			s[name] = os.NewFile(uintptr(fd), name)
		}
		return s, nil
	}
	n, err := strconv.ParseUint(count, 10, 8)
	if err != nil || pid != strconv.Itoa(os.Getpid()) {
		return s, nil // the variables are absent or were meant for another process
	}
	const first = 3 // SD_LISTEN_FDS_START
	list := strings.Split(names, ":")
	for i := range int(n) {
		name := ""
		if i < len(list) {
			name = list[i]
		}
		if !isSocket(name) && n == 1 {
			name = publicSocket
		}
		if _, twice := s[name]; twice || !isSocket(name) {
			return nil, fmt.Errorf("systemd passes a socket named %q: name the sockets public, private and secure, each once, with FileDescriptorName", name)
		}
		s[name] = os.NewFile(uintptr(first+i), name)
	}
	return s, nil
}

// listen returns the listener of a name, or opens one at addr.
func (s sockets) listen(name, addr, flag string) (net.Listener, error) {
	f := s[name]
	if f == nil {
		return listen(addr, flag)
	}
	l, err := net.FileListener(f) // has a descriptor of its own
	if err != nil {
		return nil, fmt.Errorf("the inherited listener %s: %w", name, err)
	}
	delete(s, name)
	return l, f.Close()
}

// close closes the listeners that nothing has taken.
func (s sockets) close() error {
	var errs []error
	for _, f := range s {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
