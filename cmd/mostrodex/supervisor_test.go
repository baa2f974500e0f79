package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/room"
)

// notifySocket makes the socket of systemd and returns the messages that it has received.
func notifySocket(t *testing.T) func() []string {
	t.Helper()
	dir, err := os.MkdirTemp("", "n") // the path of a socket is at most 107 bytes long
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); os.RemoveAll(dir) })
	t.Setenv("NOTIFY_SOCKET", path)
	var mu sync.Mutex
	var got []string
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			got = append(got, strings.Split(string(buf[:n]), "\n")...)
			mu.Unlock()
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
}

// TestSystemdIsTold: the program sends READY once /readyz answers 200, signs of life while it
// runs, and STOPPING at the end, in this order.
func TestSystemdIsTold(t *testing.T) {
	said := notifySocket(t)
	t.Setenv("WATCHDOG_USEC", "300000")
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen = t.TempDir(), "127.0.0.1:0"
	m := &Main{Config: cfg}
	stop := startMainUntil(t, m)
	defer stop()
	eventually(t, "READY", func() bool { return slices.Contains(said(), "READY=1") })
	if code, _, body := getBody(t, "http://"+m.Addr()+"/readyz"); code != http.StatusOK {
		t.Errorf("READY was sent while /readyz says %d %s", code, body)
	}
	eventually(t, "WATCHDOG", func() bool { return slices.Contains(said(), "WATCHDOG=1") })
	if slices.Contains(said(), "STOPPING=1") {
		t.Error("STOPPING was sent while the program runs")
	}
	stop()
	eventually(t, "STOPPING", func() bool { return slices.Contains(said(), "STOPPING=1") })
	if got := said(); slices.Index(got, "READY=1") > slices.Index(got, "STOPPING=1") {
		t.Errorf("the order is %q", got)
	}
}

// TestSupervisorWaits: READY is not sent before the program is ready, the reason is sent once,
// and no sign of life is sent while the committer does not answer.
func TestSupervisorWaits(t *testing.T) {
	var mu sync.Mutex
	var said []string
	var ready, alive atomic.Bool
	var asked, pinged atomic.Int64
	s := supervisor{watchdog: 30 * time.Millisecond, logger: room.Logger(nil),
		notify: func(state string) { mu.Lock(); said = append(said, state); mu.Unlock() },
		ready: func() error {
			asked.Add(1)
			if !ready.Load() {
				return errors.New("not yet")
			}
			return nil
		},
		alive: func(ctx context.Context) error {
			pinged.Add(1)
			if !alive.Load() {
				<-ctx.Done()
			}
			return ctx.Err()
		}, replaced: func() bool { return false }}
	count := func(prefix string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, state := range said {
			if strings.HasPrefix(state, prefix) {
				n++
			}
		}
		return n
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.run(ctx) }()
	eventually(t, "questions", func() bool { return asked.Load() > 1 && pinged.Load() > 2 })
	if n := count("READY"); n != 0 {
		t.Error("READY was sent before the program was ready")
	}
	if n := count("STATUS=not yet"); n != 1 {
		t.Errorf("the reason was sent %d times", n)
	}
	if n := count("WATCHDOG"); n != 0 {
		t.Error("a sign of life was sent while the committer did not answer")
	}
	alive.Store(true)
	ready.Store(true)
	eventually(t, "READY and WATCHDOG", func() bool { return count("READY=1") == 1 && count("WATCHDOG=1") > 0 })
	cancel()
	<-done
	if n := count("STOPPING=1"); n != 1 {
		t.Errorf("STOPPING was sent %d times", n)
	}
}

// TestHealthVerb: the verb fails if no server answers, and if a server answers that it is not
// ready, and prints the answer.
func TestHealthVerb(t *testing.T) {
	m := MustRunMain(t, t.TempDir())
	ready(t, m)
	if out := mustProgram(t, "", "health", "--url", "http://"+m.Addr()); out != "ready\n" {
		t.Errorf("health prints %q", out)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the index has not caught up with the log yet", http.StatusServiceUnavailable)
	})}
	go srv.Serve(busy)
	defer srv.Close()
	if _, errs, code := runProgram(t, "", "health", "--url", "http://"+busy.Addr().String()); code != exitError || !strings.Contains(errs, "503") || !strings.Contains(errs, "caught up") {
		t.Errorf("health of a server that is not ready: exit %d, %s", code, errs)
	}
	if _, _, code := runProgram(t, "", "health", "--url", "http://127.0.0.1:1"); code != exitError {
		t.Errorf("health without a server: exit %d", code)
	}
}

// TestSystemdIsToldOfAReplacement: a program that hands over to its successor says RELOADING and
// never STOPPING, because systemd kills a process that has said STOPPING. The successor says READY.
func TestSystemdIsToldOfAReplacement(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: starts processes")
	}
	said := notifySocket(t)
	count := func(state string) (n int) {
		for _, s := range said() {
			if s == state {
				n++
			}
		}
		return n
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "mostrodex")
	copyProgram(t, program)
	d := startProgram(t, program, "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--upstream", "none")
	eventually(t, "READY", func() bool { return count("READY=1") == 1 })
	if err := d.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "READY of the successor", func() bool { return count("READY=1") == 2 })
	if count("RELOADING=1") != 1 || count("STOPPING=1") != 0 {
		t.Errorf("systemd was told %q", said())
	}
	d.end(t)
	eventually(t, "STOPPING", func() bool { return count("STOPPING=1") == 1 })
}
