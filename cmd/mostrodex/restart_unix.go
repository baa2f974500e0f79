//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// checkTimeout is the limit for the check of the program that replaces this one.
const checkTimeout = 30 * time.Second

// successor is the program that replaces this one: the file from which this program was started,
// which an upgrade has replaced.
type successor struct {
	path string
	args []string // with the name of the program
}

// thisProgram returns the successor with the arguments of this process.
func thisProgram() (s successor, err error) {
	s.args = os.Args
	s.path, err = os.Executable()
	return s, err
}

// check runs the successor with --check, which reads the configuration and ends. A program that
// does not start, or refuses the configuration, must not replace one that serves.
func (s successor) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.path, append(s.args[1:len(s.args):len(s.args)], "--check")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, clip(strings.TrimSpace(string(out)), 500))
	}
	return nil
}

// notifyRestart sends SIGUSR2 to c.
func notifyRestart(c chan<- os.Signal) { signal.Notify(c, syscall.SIGUSR2) }

// kept are duplicates of listeners. While one exists, the kernel accepts connections for the
// listener and keeps them in its queue, also if no program takes them.
type kept []keptSocket

type keptSocket struct {
	name string
	file *os.File
}

// keep duplicates a listener. It does nothing for nil and for a listener without a descriptor.
func (k *kept) keep(name string, l net.Listener) error {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil
	}
	f, err := tcp.File()
	if err != nil {
		return fmt.Errorf("keep the listener %s: %w", name, err)
	}
	*k = append(*k, keptSocket{name, f})
	return nil
}

func (k kept) close() {
	for _, s := range k {
		s.file.Close()
	}
}

// become replaces this process by the successor, under the same process id. It returns only an
// error.
func (s successor) become(k kept) error {
	var names []string
	for _, socket := range k {
		fd := int(socket.file.Fd())
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("hand over the listener %s: %w", socket.name, err)
		}
		names = append(names, fmt.Sprintf("%s=%d", socket.name, fd))
	}
	return fmt.Errorf("start %s: %w", s.path, syscall.Exec(s.path, s.args, append(os.Environ(), socketsVar+"="+strings.Join(names, ","))))
}
