// Command attack plays attacks over loopback sockets against a running mostrodex with
// the rates of its default config. During each attack it measures the latency of an
// innocent client: of its publish, its REQ and its live events. If a bound is exceeded,
// the exit code is 1.
//
// The attackers and the innocent client have different addresses. The program writes
// the addresses into X-Forwarded-For, and the server trusts loopback as a proxy. The
// program starts the server itself with a new data directory, and sends nothing to any
// other host.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxWait, maxGrown, maxRSS and maxStop are the bounds for the innocent client and the
// server.
var (
	program  = flag.String("program", "bin/mostrodex", "server binary to attack")
	slice    = flag.Duration("slice", 5*time.Second, "duration of each attack")
	only     = flag.String("only", "", "play only attacks whose name contains this text")
	maxWait  = flag.Duration("p99", 250*time.Millisecond, "maximum p99 latency of the innocent client")
	maxGrown = flag.Int64("grown", 300, "maximum growth of the server's memory during an attack, in MiB")
	maxRSS   = flag.Int64("rss", 3072, "maximum memory of the server after a restart, in MiB")
	maxStop  = flag.Duration("stop", 5*time.Second, "maximum time for the server to stop")
	pace     = flag.Duration("pace", 100*time.Millisecond, "pause of the innocent client between two rounds")
	tries    = flag.Int("tries", 3, "maximum tries of an attack that exceeds a bound; other work on the machine may cause one such result, a real defect causes one each time")
	quick    = flag.Bool("quick", false, "neither wait before an attack nor start the server again after it")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(ctx context.Context) (held bool, err error) {
	dir, err := os.MkdirTemp("", "attack-*")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	held = true
	fmt.Printf("%-28s %10s %10s %10s %8s  %s\n", "attack", "publish", "REQ", "live", "grown", "")
	for _, a := range attacks {
		if !strings.Contains(a.name, *only) {
			continue
		}
		ok := false
		for try := 0; try < *tries && !ok; try++ {
			if ok, err = playOn(ctx, a, filepath.Join(dir, strings.ReplaceAll(a.name, " ", "-"), strconv.Itoa(try))); err != nil {
				return false, fmt.Errorf("%s: %w", a.name, err)
			}
		}
		held = held && ok
	}
	return held, nil
}

// playOn plays one attack on a new server and stops the server. If -quick is not set,
// it starts the server again to measure the memory. held is true if no bound was
// exceeded.
func playOn(ctx context.Context, a attack, dir string) (held bool, err error) {
	s, err := start(ctx, dir)
	if err != nil {
		return false, err
	}
	defer s.kill()
	w, err := newInnocent(ctx, s)
	if err != nil {
		return false, err
	}
	if !*quick {
		quiet, cancel := context.WithTimeout(ctx, time.Second)
		w.run(quiet)
		cancel()
	}
	before := s.rss()
	w.waits = waits{}
	during, cancel := context.WithTimeout(ctx, *slice+preparing[a.name])
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.play(during, s)
	}()
	most := before
	go func() {
		for during.Err() == nil {
			most = max(most, s.rss())
			time.Sleep(100 * time.Millisecond)
		}
	}()
	err = w.run(during)
	cancel()
	<-done
	w.close()
	if err != nil {
		return false, fmt.Errorf("the innocent client: %w", err)
	}
	ended, err := s.stop()
	if err != nil {
		return false, fmt.Errorf("end the server: %w", err)
	}
	restarted := int64(0)
	if !*quick {
		again, err := start(ctx, dir)
		if err != nil {
			return false, fmt.Errorf("start the server again: %w", err)
		}
		restarted = again.rss()
		again.kill()
	}
	var broken []string
	for name, list := range map[string][]time.Duration{"publish": w.waits.publish, "REQ": w.waits.req, "live": w.waits.live} {
		if p99(list) > *maxWait {
			broken = append(broken, name)
		}
	}
	if most-before > *maxGrown {
		broken = append(broken, "memory")
	}
	if restarted > *maxRSS {
		broken = append(broken, fmt.Sprintf("%d MiB after a restart", restarted))
	}
	if ended > *maxStop {
		broken = append(broken, fmt.Sprintf("ended after %v", ended.Round(time.Millisecond)))
	}
	word := "held"
	if len(broken) > 0 {
		word = "BROKEN: " + strings.Join(broken, ", ")
	}
	fmt.Printf("%-28s %10v %10v %10v %5d MB  %s\n", a.name, p99(w.waits.publish), p99(w.waits.req), p99(w.waits.live), most-before, word)
	return len(broken) == 0, nil
}

func p99(list []time.Duration) time.Duration {
	if len(list) == 0 {
		return time.Hour // no message arrived
	}
	slices.Sort(list)
	return list[len(list)*99/100].Round(100 * time.Microsecond)
}

// server is a running mostrodex.
type server struct {
	cmd  *exec.Cmd
	addr string // host:port
	done chan error
	log  *os.File
}

func start(ctx context.Context, dir string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	s := &server{addr: addr, done: make(chan error, 1), log: log}
	s.cmd = exec.CommandContext(ctx, *program, "serve", "--listen", addr, "--data", filepath.Join(dir, "data"), "--upstream", "none")
	s.cmd.Env = append(os.Environ(), "MOSTRODEX_RELAY_TRUSTED_PROXIES=127.0.0.0/8")
	s.cmd.Stderr, s.cmd.Stdout = log, log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.done <- s.cmd.Wait() }()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get("http://" + addr + "/healthz"); err == nil {
			resp.Body.Close()
			return s, nil
		}
		select {
		case err := <-s.done:
			b, _ := os.ReadFile(filepath.Join(dir, "log"))
			return nil, fmt.Errorf("the server ended: %w\n%s", err, b)
		default:
		}
	}
	s.kill()
	return nil, errors.New("the server does not respond")
}

// stop sends SIGTERM to the server, as an operator does, and returns the time until the
// process has ended.
func (s *server) stop() (time.Duration, error) {
	began := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case err := <-s.done:
		return time.Since(began), err
	case <-time.After(time.Minute):
		return 0, errors.New("the server does not stop")
	}
}

func (s *server) kill() {
	s.cmd.Process.Kill() // an error means that the process has already ended
	s.log.Close()
}

// rss returns the server's resident memory in MiB, or 0 if it cannot be read.
func (s *server) rss() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib >> 10
		}
	}
	return 0
}
