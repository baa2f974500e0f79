package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mostrodex/mostrodex/tools/bench/record"
)

// server is a process under measurement.
type server struct {
	name    string
	addr    string // host:port of its socket
	private string // host:port of /metrics and pprof, or ""
	cmd     *exec.Cmd
	log     *tail
	ready   time.Duration // from the start of the process to its "serving" line
	done    chan struct{} // closed when the process has ended
}

// tail keeps the last 20 lines of a server's log, for error messages.
type tail struct {
	lines []string
}

func (t *tail) add(line string) {
	if t.lines = append(t.lines, line); len(t.lines) > 20 {
		t.lines = t.lines[1:]
	}
}

var (
	relayAt   = regexp.MustCompile(`relay=ws://([0-9.:]+)/`)
	privateAt = regexp.MustCompile(`private=([0-9.]+:[0-9]+)`)
)

// start runs a server until stop, and waits until its log has the address. If the
// server does not serve within the given time, start returns an error.
func start(ctx context.Context, within time.Duration, name string, env []string, binary string, args ...string) (*server, error) {
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), env...)
	// If the benchmark is interrupted, the kernel ends the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	s := &server{name: name, cmd: cmd, log: new(tail), done: make(chan struct{})}
	serving := make(chan struct{})
	go func() {
		defer close(s.done)
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			s.log.add(lines.Text())
			if m := relayAt.FindStringSubmatch(lines.Text()); m != nil && s.addr == "" {
				s.addr, s.ready = m[1], time.Since(began)
				if p := privateAt.FindStringSubmatch(lines.Text()); p != nil {
					s.private = p[1]
				}
				close(serving)
			}
		}
		io.Copy(io.Discard, stderr)
		cmd.Wait()
	}()
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	select {
	case <-serving:
		return s, nil
	case <-s.done:
		return nil, fmt.Errorf("%s ended before it served:\n%s", name, strings.Join(s.log.lines, "\n"))
	case <-timeout.C:
		err = fmt.Errorf("%s did not serve within %v", name, within)
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.stop()
	return nil, err
}

func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(2 * time.Minute):
		s.cmd.Process.Kill()
		<-s.done
	}
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// statusOf returns a field of /proc/PID/status that is in kB, converted to bytes.
func statusOf(pid int, field string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb * 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, field)
}

// writtenBy returns the number of bytes that a process has sent to the disk.
func writtenBy(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "write_bytes:"); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, errors.New("/proc/PID/io has no write_bytes")
}

// meter measures one phase: wall time, CPU time of the processes that take part, and
// CPU time of all others.
type meter struct {
	began   time.Time
	used    float64
	stolen  float64
	self    float64
	subject map[*server]float64
	wrote   map[*server]float64
}

// usage is the result of a meter.
type usage struct {
	Wall   float64 // seconds
	CPU    map[*server]float64
	Wrote  map[*server]float64
	Self   float64 // CPU seconds of the generator
	Noise  float64 // CPU seconds of all other processes
	Stolen float64 // CPU seconds that the host took away
}

func (u usage) record() record.Usage {
	return record.Usage{Wall: u.Wall, Noise: u.Noise, Stolen: u.Stolen}
}

func newMeter(servers ...*server) (*meter, error) {
	m := &meter{subject: make(map[*server]float64), wrote: make(map[*server]float64)}
	var err error
	for _, s := range servers {
		if m.subject[s], err = record.CPU(s.pid()); err != nil {
			return nil, err
		}
		if m.wrote[s], err = writtenBy(s.pid()); err != nil {
			return nil, err
		}
	}
	if m.self, err = record.CPU(os.Getpid()); err != nil {
		return nil, err
	}
	m.used, m.stolen, err = record.Busy()
	m.began = time.Now()
	return m, err
}

func (m *meter) read() (usage, error) {
	u := usage{Wall: time.Since(m.began).Seconds(), CPU: make(map[*server]float64), Wrote: make(map[*server]float64)}
	used, stolen, err := record.Busy()
	if err != nil {
		return u, err
	}
	self, err := record.CPU(os.Getpid())
	if err != nil {
		return u, err
	}
	u.Self = self - m.self
	u.Noise = used - m.used - u.Self
	u.Stolen = stolen - m.stolen
	for s, was := range m.subject {
		now, err := record.CPU(s.pid())
		if err != nil {
			return u, err
		}
		wrote, err := writtenBy(s.pid())
		if err != nil {
			return u, err
		}
		u.CPU[s], u.Wrote[s] = now-was, wrote-m.wrote[s]
		u.Noise -= u.CPU[s]
	}
	// The ticks have a resolution of a hundredth of a second per process, so a value
	// near zero may be negative.
	u.Noise = max(0, u.Noise)
	return u, nil
}

// sizeOf returns the disk usage of a directory in bytes, without holes.
func sizeOf(dir string) (float64, error) {
	var total float64
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			total += float64(st.Blocks) * 512
		}
		return nil
	})
	return total, err
}
