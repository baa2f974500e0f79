//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro/corpus"
)

// restartEvents is the number of events in the store whose restart is measured.
var restartEvents = flag.Int("restart.events", 2000, "events in the store of TestRestartUnderLoad")

// copyProgram copies this test binary, by a rename as an upgrade does.
func copyProgram(t *testing.T, path string) {
	t.Helper()
	from, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestRestartUnderLoad replaces the program twice while clients connect all the time. No
// connection is refused and no request fails; the longest wait is logged.
func TestRestartUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: starts processes")
	}
	dir := t.TempDir()
	program, data := filepath.Join(dir, "mostrodex"), filepath.Join(dir, "data")
	copyProgram(t, program)
	events := mustCorpus(t, corpus.Config{Seed: 3, Instances: 20, Events: *restartEvents, Now: time.Now(), Unexpired: true})
	file := filepath.Join(dir, "events.ndjson")
	if err := os.WriteFile(file, []byte(testkit.NDJSON(t, events...)), 0o600); err != nil {
		t.Fatal(err)
	}
	mustProgram(t, "", "import", file, "--data", data)
	d := startProgram(t, program, "serve", "--listen", "127.0.0.1:0", "--private", "127.0.0.1:0", "--data", data, "--upstream", "none")
	eventually(t, "the program is ready", func() bool {
		resp, err := http.Get("http://" + d.addr + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})

	// Each request has a connection of its own, so that a refusal is seen.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Minute}
	var (
		mu       sync.Mutex
		longest  time.Duration
		requests int
		failures []error
	)
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				resp, err := client.Get("http://" + d.addr + "/healthz")
				if err == nil {
					if resp.StatusCode != http.StatusOK {
						err = fmt.Errorf("status %d", resp.StatusCode)
					}
					resp.Body.Close()
				}
				mu.Lock()
				requests++
				longest = max(longest, time.Since(began))
				if err != nil {
					failures = append(failures, err)
				}
				mu.Unlock()
			}
		})
	}
	for i := range 2 {
		mu.Lock()
		before := requests
		mu.Unlock()
		copyProgram(t, program)
		if err := d.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new program serves", func() bool { return strings.Count(d.lines(), "msg=serving") == i+2 })
		eventually(t, "requests go on", func() bool { mu.Lock(); defer mu.Unlock(); return requests > before+50 })
	}
	cancel()
	load.Wait()
	refused := 0
	for _, err := range failures {
		if errors.Is(err, syscall.ECONNREFUSED) {
			refused++
		}
	}
	t.Logf("%d requests, 2 restarts, %d refused, %d failed, longest %s", requests, refused, len(failures), longest.Round(time.Millisecond))
	if len(failures) > 0 {
		t.Errorf("%d of %d requests failed, %d were refused: %v", len(failures), requests, refused, failures[0])
	}
	d.end(t)
}

// TestRestartKeepsTheOldProgram: a new program that does not run, or a configuration that is
// broken, does not replace the one that serves.
func TestRestartKeepsTheOldProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: starts processes")
	}
	dir := t.TempDir()
	program, file := filepath.Join(dir, "mostrodex"), filepath.Join(dir, "a.toml")
	copyProgram(t, program)
	config := func(more string) {
		t.Helper()
		text := fmt.Sprintf("role = \"relay\"\ndata = %q\n%s[[upstream]]\nurl = \"none\"\n", filepath.Join(dir, "data"), more)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config("")
	d := startProgram(t, program, "serve", "-c", file, "--listen", "127.0.0.1:0")
	keeps := func(says string) {
		t.Helper()
		before := len(d.lines())
		if err := d.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the old program goes on", func() bool { return strings.Contains(d.lines()[before:], "the old one goes on") })
		if !strings.Contains(d.lines()[before:], says) {
			t.Errorf("the log does not say %q: %s", says, d.lines()[before:])
		}
		if code, _, _ := getBody(t, "http://"+d.addr+"/healthz"); code != http.StatusOK {
			t.Errorf("/healthz answers %d", code)
		}
	}
	config("rloe = \"x\"\n")
	keeps("is role meant?")
	config("")
	if err := os.Rename(program, program+".old"); err != nil {
		t.Fatal(err)
	}
	keeps("no such file")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho this is no mostrodex; exit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	keeps("this is no mostrodex")
	d.end(t)
}

// TestSocketActivation passes the public listener as systemd does, and one that has no name.
func TestSocketActivation(t *testing.T) {
	for _, names := range []string{"public", "mostrodex.socket", "private:public"} {
		dir := t.TempDir()
		var fds []*os.File
		var addr string
		for _, name := range strings.Split(names, ":") {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			f, err := l.(*net.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			if fds = append(fds, f); name != privateSocket {
				addr = l.Addr().String()
			}
			l.Close()
		}
		setup := fmt.Sprintf("export LISTEN_PID=$$ LISTEN_FDS=%d LISTEN_FDNAMES=%s; ", len(fds), names)
		cmd := exec.Command("sh", "-c", setup+`exec "$0" "$@"`, os.Args[0], "serve", "--listen", "127.0.0.1:1", "--private", "127.0.0.1:0", "--data", dir, "--upstream", "none")
		cmd.ExtraFiles = fds
		d := startCmd(t, cmd)
		for _, f := range fds {
			f.Close()
		}
		if d.addr != addr {
			t.Errorf("%s: the program serves on %s, the socket is %s", names, d.addr, addr)
		}
		if code, _, _ := getBody(t, "http://"+addr+"/healthz"); code != http.StatusOK {
			t.Errorf("%s: /healthz answers %d", names, code)
		}
		d.end(t)
	}
	t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
	t.Setenv("LISTEN_FDS", "2")
	t.Setenv("LISTEN_FDNAMES", "one:two")
	if _, err := inheritedSockets(); err == nil || !strings.Contains(err.Error(), "FileDescriptorName") {
		t.Errorf("two sockets of unknown names: %v", err)
	}
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "2")
	if s, err := inheritedSockets(); err != nil || len(s) != 0 || os.Getenv("LISTEN_FDS") != "" {
		t.Errorf("sockets of another process: %v, %v", s, err)
	}
}
