package testkit

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"
)

// Bridge is a program of another implementation that answers requests in JSON lines.
type Bridge struct {
	TB  testing.TB
	in  io.Writer
	out *bufio.Scanner
}

// PreparedBridge returns the path of the program that a make target built. The target
// sets the variable. If the variable is not set, the test is skipped with a message.
func PreparedBridge(tb testing.TB, variable, target string) string {
	tb.Helper()
	path := os.Getenv(variable)
	if path == "" {
		tb.Skipf("SKIPPED: run by make %s, which sets %s", target, variable)
	}
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("SKIPPED: make %s has prepared nothing: %v", target, err)
	}
	return path
}

// StartPiped starts a program whose input and output are pipes. Its errors go to those of
// the test.
func StartPiped(tb testing.TB, cmd *exec.Cmd) (in io.WriteCloser, out io.Reader) {
	tb.Helper()
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err = cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	return in, out
}

// StartBridge starts the program. It ends with the test.
func StartBridge(tb testing.TB, name string, args ...string) *Bridge {
	tb.Helper()
	cmd := exec.Command(name, args...)
	in, out := StartPiped(tb, cmd)
	tb.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			tb.Errorf("%s: %v", name, err)
		}
	})
	s := bufio.NewScanner(out)
	s.Buffer(nil, 1<<20)
	return &Bridge{TB: tb, in: in, out: s}
}

// For returns the same program for a sub-test.
func (b *Bridge) For(tb testing.TB) *Bridge { return &Bridge{TB: tb, in: b.in, out: b.out} }

// BridgeAnswer is one answer. Each request fills the fields that it needs.
type BridgeAnswer struct {
	Error     string
	Event     json.RawMessage
	Message   string
	Sender    string
	Identity  string
	Signed    bool
	CreatedAt int64 `json:"created_at"`
	Text      string
	Reason    string
	Verify    bool
	OK, More  bool
	Numbers   []int64
}

// Ask sends one request. The answer may hold an error.
func (b *Bridge) Ask(request map[string]any) BridgeAnswer {
	b.TB.Helper()
	line, err := json.Marshal(request)
	if err != nil {
		b.TB.Fatal(err)
	}
	if _, err := b.in.Write(append(line, '\n')); err != nil {
		b.TB.Fatal(err)
	}
	if !b.out.Scan() {
		b.TB.Fatalf("no answer to %s: %v", line, b.out.Err())
	}
	var a BridgeAnswer
	if err := json.Unmarshal(b.out.Bytes(), &a); err != nil {
		b.TB.Fatalf("answer %s: %v", b.out.Bytes(), err)
	}
	return a
}

// Must is like Ask, but fails the test if the answer holds an error.
func (b *Bridge) Must(request map[string]any) BridgeAnswer {
	b.TB.Helper()
	a := b.Ask(request)
	if a.Error != "" {
		b.TB.Fatalf("%v: %s", request["op"], a.Error)
	}
	return a
}
