package firsttrade

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnd"
	"github.com/mostrodex/mostrodex/escrow/lndtest"
)

// Environment variables. `make first-trade` sets the first two to the paths of both programs. If
// the third is set, the test writes the transcript to that path.
const (
	envClient     = "MOSTRODEX_INTEROP_CLI"
	envProgram    = "MOSTRODEX_INTEROP_FIRST_TRADE_SERVER"
	envTranscript = "MOSTRODEX_INTEROP_FIRST_TRADE_TRANSCRIPT"
)

var (
	uuidText    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	invoiceText = regexp.MustCompile(`lnbcrt[a-z0-9]+`)
	npubText    = regexp.MustCompile(`npub1[a-z0-9]+`)
	pubkeyText  = regexp.MustCompile(`msg="this is a Mostro" pubkey=([0-9a-f]{64})`)
)

// The amount of the trade, and the fee of each side: 0.3 %.
const (
	tradeSats = 10_000
	sideFee   = 30
)

// noPrices turns the price sources off, because the test speaks with no other machine. The order
// states its amount in sats.
const noPrices = "MOSTRODEX_ESCROW_PRICES="

// operator records what is typed and what is printed.
type operator struct {
	t       *testing.T
	program string
	home    string
	out     io.Writer
	began   time.Time
}

// note writes a heading with the time since the start.
func (o *operator) note(format string, args ...any) {
	fmt.Fprintf(o.out, "# %s  %s\n\n", time.Since(o.began).Round(time.Second), fmt.Sprintf(format, args...))
}

// run runs a command in the home directory and returns its output. typed are the lines that are
// typed; each is shown behind the prompt that it answers.
func (o *operator) run(who string, typed []string, env []string, name string, args ...string) (out string, err error) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = o.home
	cmd.Env = append([]string{"HOME=" + o.home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}, env...)
	cmd.Stdin = strings.NewReader(strings.Join(typed, "\n") + "\n")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Run()
	fmt.Fprintf(o.out, "%s$ %s", who, filepath.Base(name))
	for _, a := range args {
		if strings.ContainsAny(a, " ()$") {
			a = fmt.Sprintf("%q", a)
		}
		fmt.Fprintf(o.out, " %s", a)
	}
	shown := said.String()
	for _, line := range typed {
		shown = strings.Replace(shown, "> ", ">\u00a0"+line+"\n", 1)
	}
	shown = strings.ReplaceAll(shown, "\u00a0", " ")
	fmt.Fprintf(o.out, "\n%s", shown)
	if err != nil {
		fmt.Fprintf(o.out, "[%v]\n", err)
	}
	fmt.Fprintln(o.out)
	return said.String(), err
}

func (o *operator) must(who string, typed []string, env []string, name string, args ...string) string {
	o.t.Helper()
	out, err := o.run(who, typed, env, name, args...)
	if err != nil {
		o.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// renamed writes a path as another one.
type renamed struct {
	io.Writer
	from, to string
}

func (r renamed) Write(b []byte) (int, error) {
	_, err := r.Writer.Write(bytes.ReplaceAll(b, []byte(r.from), []byte(r.to)))
	return len(b), err
}

// server is the running program. Its log is kept.
type server struct {
	cmd  *exec.Cmd
	done chan struct{}
	mu   sync.Mutex
	said bytes.Buffer
}

func (s *server) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

func (o *operator) serve(args ...string) *server {
	o.t.Helper()
	s := &server{cmd: exec.Command(o.program, args...), done: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env = o.home, append(os.Environ(), "HOME="+o.home, "XDG_STATE_HOME=", noPrices)
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		o.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	go func() {
		defer close(s.done)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			s.mu.Lock()
			s.said.WriteString(lines.Text() + "\n")
			s.mu.Unlock()
		}
		s.cmd.Wait()
	}()
	o.t.Cleanup(func() {
		s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.done:
		case <-time.After(time.Minute):
			s.cmd.Process.Kill()
		}
	})
	return s
}

// eventually waits for a condition. log returns the log of the server for a failure.
func eventually(t *testing.T, condition string, log func() string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timeout while waiting for: %s\n%s", condition, log())
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestFirstTrade is the way of a new operator from no file to the first trade.
func TestFirstTrade(t *testing.T) {
	client, program := os.Getenv(envClient), os.Getenv(envProgram)
	if client == "" || program == "" {
		t.Skipf("SKIP: %s and %s name no programs; run make first-trade", envClient, envProgram)
	}
	var transcript io.Writer = io.Discard
	if path := os.Getenv(envTranscript); path != "" {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		transcript = f
	}
	nodes := lndtest.Start(t)
	ctx := t.Context()
	home, err := os.MkdirTemp("", "mostro") // a short path, because the path of a unix socket has a length limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	// The transcript has a path that says more than that of a temporary directory.
	transcript = renamed{transcript, home, "/home/operator"}
	o := &operator{t: t, program: program, home: home, out: transcript, began: time.Now()}
	config, listen, private := filepath.Join(home, "mostrodex.toml"), freePort(t), freePort(t)

	// LND's files, as an operator copies them. The macaroon is baked by LND's REST interface, with
	// the permissions of the command that init prints.
	baked, err := nodes.Mostro.Config(ctx, append(lnd.Permissions(), lnd.OptionalPermissions()...))
	if err != nil {
		t.Fatal(err)
	}
	macaroon, cert := filepath.Join(home, "mostrodex.macaroon"), filepath.Join(home, ".lnd", "tls.cert")
	pem, err := os.ReadFile(baked.CertFile)
	if err == nil {
		err = errors.Join(os.Mkdir(filepath.Dir(cert), 0o700), os.WriteFile(cert, pem, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}

	o.note("init asks, and writes")
	out := o.must("operator", []string{
		"en", config, "mostro", "", "none", listen, private, "none", "First Mostro", "none", baked.Address, "", "",
	}, nil, program, "init")
	npub := npubText.FindString(out)
	if npub == "" {
		t.Fatalf("init prints no key:\n%s", out)
	}

	o.note("doctor names the missing file")
	if out, err := o.run("operator", nil, nil, program, "doctor", "-c", config); err == nil || !strings.Contains(out, "macaroon") {
		t.Fatalf("doctor misses that there is no macaroon: %v\n%s", err, out)
	}
	b, err := os.ReadFile(baked.MacaroonFile)
	if err == nil {
		err = os.WriteFile(macaroon, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(transcript, "operator$ (bakes the macaroon on the machine of LND and copies it)\n\n")
	o.note("doctor again")
	out = o.must("operator", nil, nil, program, "doctor", "-c", config)
	for _, want := range []string{"regtest", "inbound liquidity", "outbound liquidity", "the macaroon allows everything"} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor does not say %q:\n%s", want, out)
		}
	}

	o.note("serve")
	s := o.serve("serve", "-c", config, "--upstream", "none")
	var pubkey string
	eventually(t, "the Mostro serves", s.log, func() bool {
		m := pubkeyText.FindStringSubmatch(s.log())
		if m != nil {
			pubkey = m[1]
		}
		return m != nil
	})
	fmt.Fprintf(transcript, "operator$ %s mostrodex serve -c %s --upstream none\n", noPrices, config)
	env := func(who string) []string {
		dir := filepath.Join(home, who)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return []string{"HOME=" + dir, "MOSTRO_PUBKEY=" + pubkey, "RELAYS=ws://" + listen}
	}
	eventually(t, "the Lightning node can be used", s.log, func() bool { return strings.Contains(s.log(), "can be used") || ready(t, listen) })
	fmt.Fprintf(transcript, "%s\n", s.log())
	seller, buyer := env("seller"), env("buyer")
	cli := func(who string, env []string, args ...string) string {
		t.Helper()
		return o.must(who, []string{"y"}, env, client, args...)
	}

	o.note("the seller makes an order")
	eventually(t, "the Mostro describes itself", s.log, func() bool {
		out, _ := (&operator{t: t, home: home, out: io.Discard}).run("", nil, nil, program, "instances", "--url", "http://"+listen)
		return strings.Contains(out, pubkey[:8]) || strings.Contains(out, "First Mostro")
	})
	out = cli("seller", seller, "neworder", "-k", "sell", "-c", "ves", "-f", "100", "-m", "Pago Móvil", "-a", fmt.Sprint(tradeSats))
	_, made, _ := strings.Cut(out, "New Order Created")
	id := uuidText.FindString(made)
	if id == "" {
		t.Fatalf("the order has no id:\n%s", out)
	}
	o.note("the buyer takes the order")
	cli("buyer", buyer, "listorders", "-k", "sell", "-c", "ves")
	cli("buyer", buyer, "takesell", "-o", id)
	before, err := nodes.Buyer.BalanceMsat(ctx)
	if err != nil {
		t.Fatal(err)
	}
	invoice, err := nodes.Buyer.AddInvoice(ctx, tradeSats-sideFee, "payout", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cli("buyer", buyer, "addinvoice", "-o", id, "-i", invoice)

	o.note("the seller pays the hold invoice with an LND of its own")
	var hold string
	eventually(t, "the hold invoice", s.log, func() bool {
		out, err := (&operator{t: t, home: home, out: io.Discard}).run("seller", []string{"y"}, seller, client, "getdm")
		hold = invoiceText.FindString(out)
		return err == nil && hold != ""
	})
	cli("seller", seller, "getdm")
	payer, err := nodes.Seller.Dial(ctx, lnd.Permissions())
	if err != nil {
		t.Fatal(err)
	}
	defer payer.Close()
	if err := payer.Pay(ctx, lightning.Payment{Bolt11: hold, MaxFeeSats: 1000, Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	mailed := func(who string, env []string, words ...string) {
		t.Helper()
		eventually(t, fmt.Sprint(who, " receives ", words), s.log, func() bool {
			out, _ := (&operator{t: t, home: home, out: io.Discard}).run(who, []string{"y"}, env, client, "getdm")
			for _, w := range words {
				if !strings.Contains(out, w) {
					return false
				}
			}
			return true
		})
	}
	mailed("buyer", buyer, "HoldInvoicePaymentAccepted")
	o.note("the buyer sends the fiat, the seller releases")
	cli("buyer", buyer, "fiatsent", "-o", id)
	mailed("seller", seller, "FiatSentOk")
	cli("seller", seller, "release", "-o", id)
	mailed("buyer", buyer, "PurchaseCompleted")
	cli("buyer", buyer, "getdm")
	eventually(t, "the buyer is paid", s.log, func() bool {
		after, err := nodes.Buyer.BalanceMsat(ctx)
		return err == nil && after-before == (tradeSats-sideFee)*1000
	})
	o.note("the operator looks at the trade")
	out = o.must("operator", nil, nil, program, "trade", "list", "--all", "--data", filepath.Join(home, "data"))
	if !strings.Contains(out, id[:8]) {
		t.Errorf("the operator does not see the trade:\n%s", out)
	}
	o.must("operator", nil, nil, program, "ledger", "check", "--data", filepath.Join(home, "data"))
	o.note("done")
	if took := time.Since(o.began); took > 10*time.Minute {
		t.Errorf("the first trade took %s", took)
	}
}

// ready reports whether the escrow takes orders.
func ready(t *testing.T, addr string) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "curl", "-s", "http://"+addr+"/readyz").Output()
	return err == nil && strings.HasPrefix(string(out), "ready") && !strings.Contains(string(out), "no new orders")
}
