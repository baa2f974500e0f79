package interopcli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro/envelope"
)

// demo is a running `mostrodex demo`.
type demo struct {
	t       *testing.T
	relay   string // ws:// address
	url     string // base URL of the API
	private string // base URL of the simulated wallet
	pubkey  string
	bin     string
	data    string
}

var (
	servingLine = regexp.MustCompile(`msg=serving url=(\S+) relay=(\S+) private=(\S+)`)
	mostroLine  = regexp.MustCompile(`msg="this is a Mostro" pubkey=([0-9a-f]{64})`)
)

// startDemo starts the program on free ports with a data directory of its own, and
// stops the program when the test ends. If the program does not start within 30
// seconds, startDemo fails the test.
func startDemo(t *testing.T, bin string) *demo {
	t.Helper()
	data, err := os.MkdirTemp("", "interop-cli") // a short path, because the path of a unix socket has a length limit
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "demo", "--days", "0", "--listen", "127.0.0.1:0", "--private", "127.0.0.1:0", "--data", data)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &demo{t: t, bin: bin, data: data}
	ready := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if m := servingLine.FindStringSubmatch(lines.Text()); m != nil {
				d.url, d.relay, d.private = m[1], m[2], "http://"+m[3]
			}
			if m := mostroLine.FindStringSubmatch(lines.Text()); m != nil {
				d.pubkey = m[1]
				close(ready)
			}
		}
		ended <- cmd.Wait()
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stop the demo: %v", err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the demo ended with %v", err)
			}
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			t.Error("the demo does not stop")
		}
		if err := os.RemoveAll(data); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("the demo ended before it served: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the demo does not serve")
	}
	// The client chooses its transport from the node's info event, so the tests wait
	// for that event.
	eventually(t, "the node describes itself", func() bool {
		var out struct{ Items []struct{ Pubkey string } }
		d.call(http.MethodGet, d.url+"api/v1/instances", nil, &out)
		return len(out.Items) == 1 && out.Items[0].Pubkey == d.pubkey
	})
	return d
}

// purse is the balances of the simulated wallet and of the Mostro's node, in sats.
type purse struct {
	WalletSats int64 `json:"wallet_sats"`
	NodeSats   int64 `json:"node_sats"`
	HeldSats   int64 `json:"held_sats"`
}

func (d *demo) balance() (p purse) {
	d.t.Helper()
	d.call(http.MethodGet, d.private+"/lnsim/balance", nil, &p)
	return p
}

func (d *demo) invoice(sats int64) string {
	d.t.Helper()
	var out struct{ Bolt11 string }
	d.call(http.MethodPost, d.private+"/lnsim/invoice", map[string]any{"amount_sats": sats, "memo": "payout"}, &out)
	return out.Bolt11
}

// pay pays an invoice from the simulated wallet and returns the state of the payment.
func (d *demo) pay(bolt11 string) string {
	d.t.Helper()
	var out struct{ State string }
	d.call(http.MethodPost, d.private+"/lnsim/pay", map[string]any{"bolt11": bolt11}, &out)
	return out.State
}

// status returns the status of an order in the book.
func (d *demo) status(id string) string {
	d.t.Helper()
	var out struct{ Status string }
	d.call(http.MethodGet, d.url+"api/v1/orders/"+d.pubkey+"/"+id, nil, &out)
	return out.Status
}

// spoken checks with `mostrodex trade show` that the Mostro writes to both parties of a
// trade in the given transport.
func (d *demo) spoken(id, transport string) {
	d.t.Helper()
	out, err := exec.Command(d.bin, "trade", "show", id, "--data", d.data).CombinedOutput()
	if err != nil {
		d.t.Fatalf("trade show: %v: %s", err, out)
	}
	if n := bytes.Count(out, []byte("("+transport+",")); n != 2 {
		d.t.Errorf("%d of the two parties speak %s:\n%s", n, transport, out)
	}
}

// nodeKey returns the secret key of the demo's Mostro.
func (d *demo) nodeKey() *envelope.Keys {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.data, "keys", "mostro.key"))
	if err != nil {
		d.t.Fatal(err)
	}
	keys, err := envelope.ParseSecret(string(text))
	if err != nil {
		d.t.Fatal(err)
	}
	return keys
}

// solver reports whether the key has the role of a solver.
func (d *demo) solver(pubkey string) bool {
	d.t.Helper()
	out, err := exec.Command(d.bin, "solver", "list", "--json", "--data", d.data).CombinedOutput()
	if err != nil {
		d.t.Fatalf("solver list: %v: %s", err, out)
	}
	return bytes.Contains(out, []byte(pubkey))
}

func (d *demo) call(method, url string, in, out any) {
	d.t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			d.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		d.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		d.t.Fatalf("%s %s: %s: %s", method, url, resp.Status, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		d.t.Fatalf("%s %s: %v", method, url, err)
	}
}

// user is one person with the client. The home directory holds the person's seed.
type user struct {
	d     *demo
	name  string
	home  string
	extra []string // additional environment variables
	bin   string
	out   io.Writer // writer of the transcript
	old   string    // mail that the user had before this trade
}

func (d *demo) user(name, bin string, transcript io.Writer, extra ...string) *user {
	return &user{d: d, name: name, home: d.t.TempDir(), bin: bin, out: transcript, extra: extra}
}

// run runs one command of the client, answers yes to each question, and returns the
// output. If the client returns an error, run fails the test.
func (u *user) run(args ...string) string {
	u.d.t.Helper()
	out, err := u.try(args...)
	if err != nil {
		u.d.t.Fatalf("%s: mostro-cli %v: %v\n%s", u.name, args, err, out)
	}
	return out
}

func (u *user) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(u.d.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, u.bin, args...)
	cmd.Env = append([]string{"HOME=" + u.home, "PATH=" + os.Getenv("PATH"), "MOSTRO_PUBKEY=" + u.d.pubkey, "RELAYS=" + u.d.relay}, u.extra...)
	cmd.Stdin = bytes.NewBufferString("y\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	fmt.Fprintf(u.out, "%s$ mostro-cli", u.name)
	for _, a := range args {
		fmt.Fprintf(u.out, " %s", quoted(a))
	}
	fmt.Fprintf(u.out, "\n%s", out.Bytes())
	if err != nil {
		fmt.Fprintf(u.out, "[%v]\n", err)
	}
	fmt.Fprintln(u.out)
	return out.String(), err
}

func quoted(arg string) string {
	if regexp.MustCompile(`^[A-Za-z0-9_./:-]+$`).MatchString(arg) {
		return arg
	}
	return fmt.Sprintf("%q", arg)
}
