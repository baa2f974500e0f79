//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

var demoKills = flag.Int("demo.kills", 3, "kill -9 of a demo under load in TestDemoKill")

// TestDemoKill kills a whole demo with SIGKILL again and again, while clients trade over its
// sockets and its wallet. A client writes each message once: after the relay has acknowledged a
// message, it only waits. Every trade ends in success, no acknowledged event is lost, and the
// purses differ by the fees of these trades.
func TestDemoKill(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: starts processes")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := mathrand.New(mathrand.NewPCG(seed, 2))
	d := &killedDemo{t: t, data: t.TempDir(), listen: freeAddress(t), private: freeAddress(t)}
	d.start()
	var before, after purse
	getJSON(t, "http://"+d.private+"/lnsim/balance", &before)

	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(*demoKills)*20*time.Second+3*time.Minute)
	defer cancel()
	var enough atomic.Bool
	var trades atomic.Int64
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for !enough.Load() && ctx.Err() == nil {
				if err := d.trade(ctx); err != nil {
					t.Error(err)
					return
				}
				trades.Add(1)
			}
		})
	}
	longest := time.Duration(0)
	for range *demoKills {
		time.Sleep(time.Duration(200+r.IntN(1500)) * time.Millisecond) // a random moment is the subject of the test
		d.kill()
		began := time.Now()
		d.start()
		longest = max(longest, time.Since(began))
	}
	enough.Store(true)
	wg.Wait()
	if t.Failed() {
		t.Logf("the last lines of the demo: %s", d.said())
		return
	}
	for _, id := range d.acknowledged() {
		if !d.holds(ctx, id) {
			t.Errorf("the acknowledged event %s is lost", id)
		}
	}
	getJSON(t, "http://"+d.private+"/lnsim/balance", &after)
	fees := trades.Load() * 2 * demoFeeSats
	if after.HeldSats != 0 || after.NodeSats != before.NodeSats+fees || after.WalletSats != before.WalletSats-fees {
		t.Errorf("before %+v, after %+v; want %d sats of fees and no held sats", before, after, fees)
	}
	if trades.Load() < 6 {
		t.Errorf("only %d trades were made", trades.Load())
	}
	d.stop()
	db, err := escrow.OpenDB(filepath.Join(d.data, "escrow"))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Check(); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("%d kills, %d trades, %d acknowledged events, the longest start took %s", *demoKills, trades.Load(), len(d.acknowledged()), longest.Round(time.Millisecond))
}

// freeAddress returns an address of the loopback that no process listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// killedDemo is a demo in a process of its own, on fixed addresses.
type killedDemo struct {
	t                     *testing.T
	data, listen, private string

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended

	mu    sync.Mutex
	lines bytes.Buffer
	node  string   // public key of the Mostro
	acked []string // ids of events
}

// start starts the process and waits until it serves.
func (d *killedDemo) start() {
	d.t.Helper()
	d.done = make(chan struct{})
	d.cmd = exec.Command(os.Args[0], "demo", "--days", "0", "--data", d.data, "--listen", d.listen, "--private", d.private)
	d.cmd.Env = append(os.Environ(), childVar+"=1")
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	cmd, done := d.cmd, d.done
	d.t.Cleanup(func() { cmd.Process.Kill(); <-done })
	node := regexp.MustCompile(`this is a Mostro.*pubkey=([0-9a-f]{64})`)
	serves := make(chan struct{}, 1)
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			d.mu.Lock()
			if d.lines.Len() > 64<<10 {
				d.lines.Reset()
			}
			d.lines.WriteString(lines.Text() + "\n")
			if m := node.FindStringSubmatch(lines.Text()); m != nil {
				d.node = m[1]
				select {
				case serves <- struct{}{}:
				default:
				}
			}
			d.mu.Unlock()
		}
		cmd.Wait()
	}()
	select {
	case <-serves:
	case <-done:
		d.t.Fatalf("the demo has ended: %s", d.said())
	case <-time.After(time.Minute):
		d.t.Fatalf("the demo does not serve within a minute: %s", d.said())
	}
}

func (d *killedDemo) kill() {
	d.cmd.Process.Kill()
	<-d.done
}

// stop ends the process as an operator does.
func (d *killedDemo) stop() {
	d.t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatal(err)
	}
	select {
	case <-d.done:
	case <-time.After(time.Minute):
		d.t.Fatalf("the demo does not end: %s", d.said())
	}
}

func (d *killedDemo) said() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lines.String()
}

func (d *killedDemo) mostro() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node
}

func (d *killedDemo) acknowledged() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.acked
}

// holds reports whether the relay serves an event.
func (d *killedDemo) holds(ctx context.Context, id string) bool {
	ws, err := dialDrilled(d.listen)
	if err != nil {
		d.t.Fatal(err)
	}
	defer ws.CloseNow()
	c := &drillClient{d.t, ws}
	words, err := c.ask(`["REQ","held",{"ids":["`+id+`"]}]`, "EVENT", "EOSE", "CLOSED")
	return err == nil && string(words[0]) == `"EVENT"`
}

// wallet asks the simulated wallet until it answers.
func (d *killedDemo) wallet(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	for {
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.private+"/lnsim/"+path, bytes.NewReader(body))
			if err != nil {
				return err
			}
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s", path, resp.Status)
			}
			return json.NewDecoder(resp.Body).Decode(out)
		}()
		if err == nil {
			return nil
		}
		if !pause(ctx) {
			return fmt.Errorf("wallet: %w", err)
		}
	}
}

func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(50 * time.Millisecond):
		return true
	}
}

// trade makes one whole trade.
func (d *killedDemo) trade(ctx context.Context) error {
	seller, buyer := newPatientUser(d), newPatientUser(d)
	defer seller.close()
	defer buyer.close()
	var payout struct{ Bolt11 string }
	if err := d.wallet(ctx, "invoice", map[string]any{"amount_sats": demoTradeSats - demoFeeSats, "memo": "payout"}, &payout); err != nil {
		return err
	}
	order := &message.SmallOrder{Kind: mostro.SideSell, AmountSats: demoTradeSats, FiatCode: "VES", FiatAmount: 100, PaymentMethod: "Pago Móvil"}
	if err := seller.send(ctx, message.ActionNewOrder, nil, order); err != nil {
		return err
	}
	ack, err := seller.expect(ctx, message.ActionNewOrder)
	if err != nil {
		return err
	}
	if err := buyer.send(ctx, message.ActionTakeSell, ack.ID, message.PaymentRequest{Invoice: payout.Bolt11}); err != nil {
		return err
	}
	hold := ""
	for hold == "" { // the buyer's reputation comes with the same action
		m, err := seller.expect(ctx, message.ActionPayInvoice)
		if err != nil {
			return err
		}
		if p, ok := m.Payload.(message.PaymentRequest); ok {
			hold = p.Invoice
		}
	}
	var paid struct{ State string }
	if err := d.wallet(ctx, "pay", map[string]any{"bolt11": hold}, &paid); err != nil {
		return err
	}
	if _, err := buyer.expect(ctx, message.ActionHoldInvoicePaymentAccepted); err != nil {
		return err
	}
	if err := buyer.send(ctx, message.ActionFiatSent, ack.ID, nil); err != nil {
		return err
	}
	if _, err := seller.expect(ctx, message.ActionFiatSentOk); err != nil {
		return err
	}
	if err := seller.send(ctx, message.ActionRelease, ack.ID, nil); err != nil {
		return err
	}
	_, err = buyer.expect(ctx, message.ActionPurchaseCompleted)
	return err
}

// patientUser is a client with one trade key that comes back after every break.
type patientUser struct {
	d    *killedDemo
	keys *envelope.Keys
	ws   *websocket.Conn
	seen map[string]bool
	got  []message.Message
}

func newPatientUser(d *killedDemo) *patientUser {
	keys, err := envelope.NewKeys(rand.Reader)
	if err != nil {
		panic(err) // the system has no random numbers
	}
	return &patientUser{d: d, keys: keys, seen: map[string]bool{}}
}

func (u *patientUser) close() {
	if u.ws != nil {
		u.ws.CloseNow()
		u.ws = nil
	}
}

// connected connects and asks for the messages to the user, unless that is done.
func (u *patientUser) connected(ctx context.Context) error {
	for u.ws == nil {
		ws, err := dialDrilled(u.d.listen)
		if err == nil {
			req := fmt.Sprintf(`["REQ","mine",{"kinds":[%d],"#p":["%s"]}]`, mostro.KindMessage, u.keys.Pubkey())
			if err = ws.Write(ctx, websocket.MessageText, []byte(req)); err == nil {
				u.ws = ws
				return nil
			}
			ws.CloseNow()
		}
		if !pause(ctx) {
			return fmt.Errorf("connect: %w", err)
		}
	}
	return nil
}

// frame reads one frame. It returns nil after a break.
func (u *patientUser) frame(ctx context.Context) ([]json.RawMessage, error) {
	if err := u.connected(ctx); err != nil {
		return nil, err
	}
	_, b, err := u.ws.Read(ctx)
	if err != nil {
		u.close()
		return nil, ctx.Err()
	}
	var words []json.RawMessage
	if err := json.Unmarshal(b, &words); err != nil || len(words) < 2 {
		return nil, fmt.Errorf("frame %.100s", b)
	}
	if string(words[0]) == `"EVENT"` && len(words) == 3 {
		return words, u.take(words[2])
	}
	if string(words[0]) == `"CLOSED"` {
		return nil, fmt.Errorf("the subscription was closed: %.200s", b)
	}
	return words, nil
}

func (u *patientUser) take(raw []byte) error {
	evt := &nostr.Event{}
	if err := json.Unmarshal(raw, evt); err != nil {
		return err
	}
	if u.seen[evt.ID] {
		return nil
	}
	u.seen[evt.ID] = true
	env, err := envelope.Open(evt, u.keys)
	if err != nil {
		return fmt.Errorf("open a message: %w", err)
	}
	if env.Message.Action == message.ActionCantDo {
		return fmt.Errorf("refused: %s", env.RawMessage)
	}
	u.got = append(u.got, env.Message)
	return nil
}

// send writes a message until the relay has acknowledged it.
func (u *patientUser) send(ctx context.Context, action message.Action, id *message.UUID, payload message.Payload) error {
	request := uint64(7)
	m := message.Message{Wrapper: message.WrapperOrder, RequestID: &request, ID: id, Action: action, Payload: payload}
	evt, err := envelope.Seal(ctx, m, envelope.SealOptions{Transport: envelope.TransportV2, To: u.d.mostro(), Trade: u.keys, Now: time.Now()})
	if err != nil {
		return err
	}
	for {
		if err := u.connected(ctx); err != nil {
			return err
		}
		if err := u.ws.Write(ctx, websocket.MessageText, []byte(`["EVENT",`+evt.String()+`]`)); err != nil {
			u.close()
			continue
		}
		for u.ws != nil {
			words, err := u.frame(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", action, err)
			}
			if len(words) < 4 || string(words[0]) != `"OK"` || string(words[1]) != `"`+evt.ID+`"` {
				continue
			}
			if string(words[2]) != "true" && !strings.Contains(string(words[3]), "duplicate:") {
				return fmt.Errorf("%s: %s", action, words[3])
			}
			u.d.mu.Lock()
			u.d.acked = append(u.d.acked, evt.ID)
			u.d.mu.Unlock()
			return nil
		}
	}
}

// expect waits for a message with an action.
func (u *patientUser) expect(ctx context.Context, action message.Action) (message.Message, error) {
	for {
		for i, m := range u.got {
			if m.Action == action {
				u.got = append(u.got[:i], u.got[i+1:]...)
				return m, nil
			}
		}
		if _, err := u.frame(ctx); err != nil {
			var had []string
			for _, m := range u.got {
				had = append(had, string(m.Action))
			}
			return message.Message{}, fmt.Errorf("wait for %s, having %v: %w", action, had, err)
		}
	}
}
