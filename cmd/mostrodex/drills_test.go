//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// drilled is a serving process whose log lines are kept.
type drilled struct {
	cmd  *exec.Cmd
	addr string
	done chan struct{} // closed when the process ended; err is set before
	err  error

	mu   sync.Mutex
	said bytes.Buffer
}

// startDrilled runs this test binary as the program, in a shell that first executes setup.
func startDrilled(t *testing.T, setup, data string) *drilled {
	t.Helper()
	return startCmd(t, exec.Command("sh", "-c", setup+` exec "$0" "$@"`, os.Args[0], "serve", "--listen", "127.0.0.1:0", "--data", data, "--upstream", "none"))
}

// startServing runs this test binary as the program, with arguments.
func startServing(t *testing.T, args ...string) *drilled {
	t.Helper()
	return startProgram(t, os.Args[0], args...)
}

// startProgram runs a copy of this test binary as the program.
func startProgram(t *testing.T, path string, args ...string) *drilled {
	t.Helper()
	return startCmd(t, exec.Command(path, args...))
}

// startCmd starts a command that becomes the program, and waits until it serves.
func startCmd(t *testing.T, cmd *exec.Cmd) *drilled {
	t.Helper()
	d := &drilled{cmd: cmd, done: make(chan struct{})}
	d.cmd.Env = append(os.Environ(), childVar+"=1")
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.cmd.Process.Kill(); <-d.done }) // the process has ended already, unless the test failed
	url := regexp.MustCompile(`url=http://([0-9.:]+)/`)
	serves := make(chan string, 1)
	go func() {
		defer close(d.done)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			d.mu.Lock()
			d.said.WriteString(lines.Text() + "\n")
			d.mu.Unlock()
			if m := url.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case serves <- m[1]:
				default:
				}
			}
		}
		d.err = d.cmd.Wait()
	}()
	select {
	case d.addr = <-serves:
	case <-d.done:
		t.Fatalf("the process does not serve: %s", d.lines())
	case <-time.After(time.Minute):
		t.Fatalf("the process does not serve within a minute: %s", d.lines())
	}
	return d
}

func (d *drilled) lines() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said.String()
}

// end stops the process as an operator does.
func (d *drilled) end(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.done:
		if d.err != nil {
			t.Errorf("the process ended with %v: %s", d.err, d.lines())
		}
	case <-time.After(time.Minute):
		t.Fatalf("the process does not end: %s", d.lines())
	}
}

// drillClient is a client with one socket.
type drillClient struct {
	t  *testing.T
	ws *websocket.Conn
}

func dialDrilled(addr string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+addr+"/", nil)
	if err == nil {
		ws.SetReadLimit(-1)
	}
	return ws, err
}

// ask sends a message and reads until the first frame with one of the verbs.
func (c *drillClient) ask(message string, verbs ...string) (words []json.RawMessage, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		return nil, err
	}
	for {
		_, b, err := c.ws.Read(ctx)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b, &words); err != nil {
			return nil, err
		}
		for _, verb := range verbs {
			if string(words[0]) == `"`+verb+`"` {
				return words, nil
			}
		}
	}
}

// publish reports whether an event was acknowledged, and returns the reason if it was not.
func (c *drillClient) publish(evt *nostr.Event) (ok bool, reason string, err error) {
	words, err := c.ask(`["EVENT",`+evt.String()+`]`, "OK")
	if err != nil {
		return false, "", err
	}
	return string(words[2]) == "true", string(words[3]), nil
}

// mustHold requests events by their ids, and fails if one is missing.
func (c *drillClient) mustHold(events []*nostr.Event) {
	c.t.Helper()
	for i, evt := range events {
		words, err := c.ask(fmt.Sprintf(`["REQ","held%d",{"ids":["%s"]}]`, i, evt.ID), "EVENT", "CLOSED")
		if err == nil {
			_, err = c.ask(fmt.Sprintf(`["CLOSE","held%d"]`, i), "EOSE")
		}
		if err != nil || string(words[0]) != `"EVENT"` {
			c.t.Fatalf("event %d of %d is not served: %s, %v", i, len(events), words, err)
		}
	}
}

func drillEvent(t *testing.T, n, size int) *nostr.Event {
	t.Helper()
	evt := &nostr.Event{Kind: 38383, CreatedAt: nostr.Now(), Content: strings.Repeat("x", size),
		Tags: nostr.Tags{{"d", fmt.Sprint(n)}, {"s", "pending"}, {"y", "mostro"}, {"z", "order"}}}
	if err := evt.Sign(strings.Repeat("1", 64)); err != nil {
		t.Fatal(err)
	}
	return evt
}

// A process with a limit of 256 files and connections serves an honest client beside 400
// silent connections. Meanwhile it starts new files of the log, and it accepts a new client
// when a connection is free again.
func TestFewDescriptors(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: writes 70 MB")
	}
	data := t.TempDir()
	d := startDrilled(t, "ulimit -n 256;", data)
	ws, err := dialDrilled(d.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	c := &drillClient{t, ws}
	var silent []net.Conn
	defer func() {
		for _, s := range silent {
			s.Close()
		}
	}()
	for range 400 {
		s, err := net.DialTimeout("tcp", d.addr, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, s)
	}
	var taken []*nostr.Event
	publish := func(size int) {
		evt := drillEvent(t, len(taken), size)
		if ok, reason, err := c.publish(evt); !ok || err != nil {
			t.Fatalf("event %d was not accepted: %s, %v\n%s", len(taken), reason, err, d.lines())
		}
		taken = append(taken, evt)
	}
	files := func() int {
		logs, err := filepath.Glob(filepath.Join(data, "events", "log", "*.log"))
		if err != nil {
			t.Fatal(err)
		}
		return len(logs)
	}
	for files() < 2 {
		if len(taken) > 1000 {
			t.Fatalf("after %d events of 100 KiB the log has only one file", len(taken))
		}
		publish(100 << 10)
	}
	// All connections are in use, or a limit of the relay has closed the excess ones.
	closed := 0
	for _, s := range silent {
		if err := s.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			closed++
		}
	}
	t.Logf("%d of %d silent connections are closed", closed, len(silent))
	if closed < len(silent)-256 {
		t.Errorf("%d of %d silent connections are closed", closed, len(silent))
	}
	for _, s := range silent {
		s.Close()
	}
	var second *websocket.Conn
	for end := time.Now().Add(time.Minute); second == nil; {
		if second, err = dialDrilled(d.addr); err != nil && time.Now().After(end) {
			t.Fatalf("a new client is not served: %v\n%s", err, d.lines())
		}
	}
	defer second.CloseNow()
	c.ws = second
	publish(10)
	c.mustHold(taken[len(taken)-20:])
	second.CloseNow()
	d.end(t)
	if said := d.lines(); strings.Contains(said, "panic") || strings.Contains(said, "too many open files") {
		t.Errorf("it says %s", said)
	}
	if out, errs, code := runProgram(t, "", "log", "verify", "--data", data); code != 0 {
		t.Errorf("log verify: %s%s", out, errs)
	}
}

// abortedDisk mounts an ext4 file system of its own. abort makes the system set it read-only
// as after a disk error, and again mounts it anew.
func abortedDisk(t *testing.T) (dir string, abort, again func()) {
	t.Helper()
	if os.Getuid() != 0 || testing.Short() {
		t.Skip("mounting a file system takes root")
	}
	dir, image := t.TempDir(), filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 512<<20)); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) error {
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
		}
		return nil
	}
	mount := func() error { return run("mount", "-o", "loop,errors=remount-ro", image, dir) }
	if err := run("mkfs.ext4", "-q", "-m", "0", image); err != nil {
		t.Skip(err)
	}
	if err := mount(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := run("umount", dir); err != nil {
			t.Error(err)
		}
	})
	abort = func() {
		if err := run("mount", "-o", "remount,abort", dir); err != nil {
			t.Fatal(err)
		}
	}
	again = func() {
		if err := errors.Join(run("umount", dir), mount()); err != nil {
			t.Fatal(err)
		}
	}
	return dir, abort, again
}

// A disk that becomes read-only ends the program with one log line, and no acknowledged event
// is lost. The program detects the error at the next event, or when it writes after the last
// event.
func TestReadOnlyRemount(t *testing.T) {
	for _, idle := range []time.Duration{0, 2 * time.Second} {
		t.Run(fmt.Sprint("next event within ", idle), func(t *testing.T) { readOnlyRemount(t, idle) })
	}
}

func readOnlyRemount(t *testing.T, idle time.Duration) {
	dir, abort, again := abortedDisk(t)
	const reserve = "export MOSTRODEX_RELAY_DISK_RESERVE_MIB=32;"
	data := filepath.Join(dir, "data")
	d := startDrilled(t, reserve, data)
	ws, err := dialDrilled(d.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	c := &drillClient{t, ws}
	var taken []*nostr.Event
	publish := func() (string, error) {
		evt := drillEvent(t, len(taken), 1000)
		ok, reason, err := c.publish(evt)
		if ok {
			taken = append(taken, evt)
		}
		return reason, err
	}
	for range 200 {
		if reason, err := publish(); err != nil || reason != `""` {
			t.Fatalf("%s, %v", reason, err)
		}
	}
	abort()
	select {
	case <-d.done:
	case <-time.After(idle):
	}
	var reason string
	for err = nil; err == nil && !strings.Contains(reason, "error:"); {
		reason, err = publish()
	}
	t.Logf("%d events are acknowledged; then %s, %v", len(taken), reason, err)
	select {
	case <-d.done:
	case <-time.After(time.Minute):
		t.Fatalf("the process continues after a failed write of the log: %s", d.lines())
	}
	said := d.lines()
	// A writer beside the log can be the first to meet the error, and ends the program as well.
	if d.err == nil || strings.Count(said, "event log in doubt") > 1 || !strings.Contains(said, "read-only file system") || strings.Contains(said, "goroutine ") {
		t.Errorf("the process ended with %v and logged\n%s", d.err, said)
	}
	again()
	d = startDrilled(t, reserve, data)
	if c.ws, err = dialDrilled(d.addr); err != nil {
		t.Fatal(err)
	}
	defer c.ws.CloseNow()
	c.mustHold(taken)
	if reason, err := publish(); err != nil || reason != `""` {
		t.Errorf("the answer to an event after the restart is %s, %v", reason, err)
	}
	c.ws.CloseNow()
	d.end(t)
	if out, errs, code := runProgram(t, "", "log", "verify", "--data", data); code != 0 {
		t.Errorf("log verify: %s%s", out, errs)
	}
}
