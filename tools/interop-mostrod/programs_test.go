package interopmostrod

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lnd"
	"github.com/mostrodex/mostrodex/escrow/lndtest"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/nbd-wtf/go-nostr"
)

// Environment variables. `make interop-mostrod` sets the first two to the paths of both
// programs. If the third is set, the tests write the transcripts to that directory.
const (
	envDaemon      = "MOSTRODEX_INTEROP_MOSTROD"
	envProgram     = "MOSTRODEX_INTEROP_MOSTROD_SERVER"
	envTranscripts = "MOSTRODEX_INTEROP_MOSTROD_TRANSCRIPTS"
	envClient      = "MOSTRODEX_INTEROP_CLI" // mostro-cli; without it one test is skipped
)

// instanceName is the name of both Mostros, so that their events have the same y tag.
const instanceName = "interop"

// usdPerBTC is the price that the stub of the price service returns.
const usdPerBTC = 50_000

// mostroNode is one of the two Mostros.
type mostroNode struct {
	name string
	keys *envelope.Keys
}

// world is the Lightning network, our program with its escrow, and mostrod.
type world struct {
	t       *testing.T
	nodes   *lndtest.Network
	ours    mostroNode
	theirs  mostroNode
	relay   string // ws:// address of our relay
	api     string // base URL of the API
	private string // base URL of the private listener
	daemon  *program
	server  *program
	bin     string          // path of our program
	data    string          // data directory of our program
	rpcPort int             // port of mostrod's gRPC service
	seen    map[string]bool // ids of the events of earlier scripts
}

// program is a running program. Its output is kept.
type program struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended

	mu   sync.Mutex
	said bytes.Buffer
}

// start runs the program and calls heard for each line of its output. The program ends
// with the test.
func start(t *testing.T, cmd *exec.Cmd, heard func(line string)) *program {
	t.Helper()
	p := &program{name: filepath.Base(cmd.Path), cmd: cmd, done: make(chan struct{})}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.mu.Lock()
			p.said.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
			heard(lines.Text())
		}
		_ = cmd.Wait() // the output has the reason of an early end
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // returns an error if the program has ended already
		select {
		case <-p.done:
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			<-p.done
		}
		if t.Failed() {
			t.Logf("last output of %s:\n%s", p.name, p.tail(6000))
		}
	})
	return p
}

func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

func (p *program) tail(n int) string {
	s := p.output()
	return s[max(len(s)-n, 0):]
}

// prices is a price service on loopback, so that mostrod needs no other host.
func prices(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"BTC":{"USD":%d,"EUR":%d,"VES":null}}`, usdPerBTC, usdPerBTC)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// freePort returns a port that is free at the time of the call.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func newKeys(t *testing.T) *envelope.Keys {
	t.Helper()
	k, err := envelope.NewKeys(nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// startWorld skips the test if a program is missing.
func startWorld(t *testing.T) *world {
	t.Helper()
	daemon := testkit.PreparedBridge(t, envDaemon, "interop-mostrod")
	server := testkit.PreparedBridge(t, envProgram, "interop-mostrod")
	dir := t.TempDir()
	w := &world{t: t, seen: make(map[string]bool), ours: mostroNode{"mostrodex", newKeys(t)}, theirs: mostroNode{"mostrod", newKeys(t)}}
	w.nodes = lndtest.StartIn(t, filepath.Join(dir, "ln"))
	w.startServer(server, filepath.Join(dir, "ours"))
	w.startDaemon(daemon, filepath.Join(dir, "theirs"), filepath.Join(dir, "ln", "mostro"))
	return w
}

var servingLine = regexp.MustCompile(`msg=serving url=(\S+) relay=(\S+) private=(\S+)`)

// startServer starts our program with an escrow on the Mostro's Lightning node. The
// limits of the relay hold for programs on this machine too, as for remote Mostros. The
// escrow reads the prices that mostrod publishes.
func (w *world) startServer(bin, dir string) {
	t := w.t
	t.Helper()
	credentials, err := w.nodes.Mostro.Config(t.Context(), lnd.Permissions())
	if err != nil {
		t.Fatal(err)
	}
	// The control socket is below the data directory, and the path of a socket is limited.
	data, err := os.MkdirTemp("", "interop")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) }) // a temporary directory
	w.bin, w.data = bin, data
	write(t, filepath.Join(dir, "mostro.key"), w.ours.keys.Nsec()+"\n")
	write(t, filepath.Join(dir, "mostrodex.toml"), fmt.Sprintf(`data = %q
[relay]
listen = "127.0.0.1:0"
private = "127.0.0.1:0"
import_local = false
[escrow]
enabled = true
key = %q
witness = %q
name = %q
fee = "0.006"
currencies = ["USD", "EUR", "VES"]
prices = []
health_seconds = 30
price_nodes = [%q]
[escrow.lnd]
address = %q
cert = %q
macaroon = %q
`, data, filepath.Join(dir, "mostro.key"), filepath.Join(dir, "witness"), instanceName, w.theirs.keys.Pubkey(),
		credentials.Address, credentials.CertFile, credentials.MacaroonFile))
	serving := make(chan []string, 1)
	w.server = start(t, exec.Command(bin, "serve", "--config", filepath.Join(dir, "mostrodex.toml"), "--upstream", "none"), func(line string) {
		if m := servingLine.FindStringSubmatch(line); m != nil {
			select {
			case serving <- m:
			default:
			}
		}
	})
	select {
	case m := <-serving:
		w.api, w.relay, w.private = m[1], strings.TrimSuffix(m[2], "/"), "http://"+m[3]
	case <-w.server.done:
		t.Fatal("our program ended before it served")
	case <-time.After(time.Minute):
		t.Fatal("our program does not serve")
	}
	w.eventually("our escrow describes itself", func() bool {
		return len(w.events(nostr.Filter{Kinds: []int{mostro.KindInfo}, Authors: []string{w.ours.keys.Pubkey()}})) == 1
	})
}

// startDaemon starts mostrod with the settings of its template, except for the addresses,
// the prices, the fee and shorter intervals.
func (w *world) startDaemon(bin, dir, node string) {
	t := w.t
	t.Helper()
	credentials, err := w.nodes.Mostro.Config(t.Context(), lnd.Permissions())
	if err != nil {
		t.Fatal(err)
	}
	price := prices(t)
	w.rpcPort = freePort(t)
	write(t, filepath.Join(dir, "settings.toml"), fmt.Sprintf(`[lightning]
lnd_cert_file = %q
lnd_macaroon_file = %q
lnd_grpc_host = %q
invoice_expiration_window = 3600
hold_invoice_cltv_delta = 144
hold_invoice_expiration_window = 300
payment_attempts = 3
payment_retries_interval = 60
[nostr]
nsec_privkey = %q
relays = [%q]
[mostro]
name = %q
fee = 0.006
max_routing_fee = 0.002
max_order_amount = 1000000
min_payment_amount = 100
expiration_hours = 24
max_expiration_days = 15
expiration_seconds = 900
user_rates_sent_interval_seconds = 2
publish_relays_interval = 60
pow = 0
publish_mostro_info_interval = 300
bitcoin_price_api_url = %q
fiat_currencies_accepted = ["USD", "EUR", "VES"]
max_orders_per_response = 10
dev_fee_percentage = 0.30
[database]
url = "sqlite://mostro.db"
[expiration]
order_days = 30
rating_days = 90
dispute_days = 90
fee_audit_days = 365
dm_days = 30
[rpc]
enabled = true
listen_address = "127.0.0.1"
port = %d
[health]
enabled = true
interval = 30
[price]
update_interval_seconds = 60
publish_to_nostr = true
[price.providers.yadio]
enabled = true
url = %q
`, credentials.CertFile, filepath.Join(node, "data", "chain", "bitcoin", "regtest", "admin.macaroon"), "https://"+credentials.Address,
		w.theirs.keys.Nsec(), w.relay, instanceName, price, w.rpcPort, price))
	cmd := exec.Command(bin, "--dirsettings", dir)
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "TERM=xterm", "PATH=" + os.Getenv("PATH")}
	w.daemon = start(t, cmd, func(string) {})
	w.eventually("mostrod describes itself", func() bool {
		select {
		case <-w.daemon.done:
			t.Fatal("mostrod ended")
		default:
		}
		return len(w.events(nostr.Filter{Kinds: []int{mostro.KindInfo}, Authors: []string{w.theirs.keys.Pubkey()}})) == 1
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// events returns the stored events that match the filter.
func (w *world) events(f nostr.Filter) []*nostr.Event {
	w.t.Helper()
	relay, err := nostr.RelayConnect(w.t.Context(), w.relay)
	if err != nil {
		w.t.Fatal(err)
	}
	defer relay.Close()
	list, err := relay.QuerySync(w.t.Context(), f)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// get decodes the answer of our API.
func (w *world) get(url string, out any) (code int) {
	w.t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode == http.StatusOK && out != nil {
		if text, ok := out.(*string); ok {
			*text = string(body)
		} else if err := json.Unmarshal(body, out); err != nil {
			w.t.Fatalf("%s: %v", url, err)
		}
	}
	return resp.StatusCode
}

// metric returns the sum of a metric of our program over all labels that contain part.
func (w *world) metric(name, part string) (sum float64) {
	w.t.Helper()
	var text string
	w.get(w.private+"/metrics", &text)
	for line := range strings.Lines(text) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		family, labels, _ := strings.Cut(series, "{")
		if !ok || family != name || !strings.Contains(labels, part) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			w.t.Fatalf("%s: %v", line, err)
		}
		sum += n
	}
	return sum
}

// eventually waits until a condition holds. The limit is generous, because mostrod has
// jobs with an interval of a minute.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("timeout while waiting for: %s", what)
		}
	}
}
