package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

const (
	tradesInAll = 2000   // of one measurement at full size
	tradeSats   = 10_000 // amount of a trade
	tradeFee    = 30     // fee of each side: 0.3 %
)

// traders are the numbers of trades at a time. The target is that of the last one.
var traders = []int{1, 4, 16}

// trades measures whole trades per second over the sockets of a demo. Each trade has two
// new trade keys with a subscription each. A trader keeps the connections of his two
// sides. A trade is over when the buyer has the message about the payout.
//
// The demo plays no market, whose Mostros would publish beside its own.
func (b *bench) trades(ctx context.Context) error {
	dir, err := os.MkdirTemp(b.work, "trades")
	if err != nil {
		return err
	}
	srv, err := start(ctx, time.Minute, "mostrodex", nil, b.mostrodex, "demo", "--days", "0", "--listen", "127.0.0.1:0", "--private", "127.0.0.1:0", "--data", dir)
	if err != nil {
		return err
	}
	defer srv.stop()
	var node string
	for deadline := time.Now().Add(time.Minute); node == ""; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("the demo has published no description of its Mostro")
		}
		if node, err = authorOf(ctx, srv.addr, mostro.KindInfo); err != nil {
			return err
		}
	}
	m := &market{addr: srv.addr, node: node, wallet: "http://" + srv.private + "/lnsim/"}
	if err := m.run(ctx, 16, 64); err != nil { // fills caches
		return err
	}
	for _, n := range traders {
		err := b.undisturbed(ctx, func() ([]sample, error) {
			return m.measure(ctx, srv, n, max(n, b.scaled(tradesInAll)*n/traders[len(traders)-1]/n*n))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// authorOf returns the author of an event of the given kind, or "" if there is none.
func authorOf(ctx context.Context, addr string, kind int) (string, error) {
	s, err := dial(ctx, addr)
	if err != nil {
		return "", err
	}
	defer s.close()
	if err := s.say(`["REQ","a",{"kinds":[%d],"limit":1}]`, kind); err != nil {
		return "", err
	}
	events, err := s.readAnswer("a")
	if err != nil || len(events) == 0 {
		return "", err
	}
	var evt nostr.Event
	err = evt.UnmarshalJSON(events[0])
	return evt.PubKey, err
}

// market is a demo with traders.
type market struct {
	addr, node, wallet string
	names              atomic.Uint64 // of subscriptions

	mu   sync.Mutex
	took []time.Duration
}

type purse struct {
	Wallet int64 `json:"wallet_sats"`
	Node   int64 `json:"node_sats"`
	Held   int64 `json:"held_sats"`
}

func (m *market) purse() (p purse, err error) {
	resp, err := http.Get(m.wallet + "balance")
	if err != nil {
		return p, err
	}
	defer resp.Body.Close()
	return p, json.NewDecoder(resp.Body).Decode(&p)
}

// measure runs trades, a number of them at a time, and compares the balances.
func (m *market) measure(ctx context.Context, srv *server, parallel, trades int) ([]sample, error) {
	before, err := m.purse()
	if err != nil {
		return nil, err
	}
	m.took = nil
	meter, err := newMeter(srv)
	if err != nil {
		return nil, err
	}
	if err := m.run(ctx, parallel, trades); err != nil {
		return nil, err
	}
	s, err := timed(meter, srv, m.took)
	if err != nil {
		return nil, err
	}
	after, err := m.purse()
	if err != nil {
		return nil, err
	}
	fees := int64(trades) * 2 * tradeFee
	if want := (purse{before.Wallet - fees, before.Node + fees, before.Held}); after != want {
		return nil, fmt.Errorf("after %d trades the balances are %+v, want %+v", trades, after, want)
	}
	s.Scenario, s.Figure, s.Clients = "trades", "over sockets", parallel
	n := float64(trades)
	s.Values["trades_per_s"] = s.Values["per_s"]
	delete(s.Values, "per_s")
	s.Values["cpu_ms_per_trade"] = s.usage.CPU[srv] * 1000 / n
	s.Values["generator_cpu_ms_per_trade"] = s.usage.Self * 1000 / n
	s.Values["written_kb_per_trade"] = s.usage.Wrote[srv] / 1024 / n
	return []sample{s}, nil
}

// run runs trades, a number of them at a time.
func (m *market) run(ctx context.Context, parallel, trades int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var left atomic.Int64
	left.Store(int64(trades))
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			x, err := m.trader(ctx)
			if err != nil {
				cancel(err)
				return
			}
			defer x.close()
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				began := time.Now()
				if err := x.trade(ctx); err != nil {
					cancel(err)
					return
				}
				m.mu.Lock()
				m.took = append(m.took, time.Since(began))
				m.mu.Unlock()
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// trader trades with himself, over two connections.
type trader struct {
	m             *market
	seller, buyer *side
}

// side is one party of a trade.
type side struct {
	m    *market
	name string
	s    *socket
	keys *envelope.Keys
	sub  string
}

func (m *market) trader(ctx context.Context) (*trader, error) {
	seller, err := dial(ctx, m.addr)
	if err != nil {
		return nil, err
	}
	buyer, err := dial(ctx, m.addr)
	if err != nil {
		return nil, errors.Join(err, seller.nc.Close())
	}
	return &trader{m, &side{m: m, name: "seller", s: seller}, &side{m: m, name: "buyer", s: buyer}}, nil
}

func (x *trader) close() {
	x.seller.s.close()
	x.buyer.s.close()
}

// trade performs one sell order from the order to the payout.
func (x *trader) trade(ctx context.Context) error {
	for _, p := range []*side{x.seller, x.buyer} {
		if err := p.renew(); err != nil {
			return err
		}
	}
	order := &message.SmallOrder{Kind: mostro.SideSell, AmountSats: tradeSats, FiatCode: "VES", FiatAmount: 100, PaymentMethod: "Pago Móvil"}
	if err := x.seller.send(ctx, message.ActionNewOrder, nil, order); err != nil {
		return err
	}
	made, err := x.seller.expect(message.ActionNewOrder)
	if err != nil {
		return err
	}
	id := made.ID
	var invoice struct{ Bolt11 string }
	if err := x.m.call(ctx, "invoice", map[string]any{"amount_sats": tradeSats - tradeFee, "memo": "payout"}, &invoice); err != nil {
		return err
	}
	if err := x.buyer.send(ctx, message.ActionTakeSell, id, message.PaymentRequest{Invoice: invoice.Bolt11}); err != nil {
		return err
	}
	var hold message.PaymentRequest
	for ok := false; !ok; { // the buyer's reputation comes first, with the same action
		pay, err := x.seller.expect(message.ActionPayInvoice)
		if err != nil {
			return err
		}
		hold, ok = pay.Payload.(message.PaymentRequest)
	}
	var paid struct{ State string }
	if err := x.m.call(ctx, "pay", map[string]any{"bolt11": hold.Invoice}, &paid); err != nil {
		return err
	}
	if paid.State != "accepted" {
		return fmt.Errorf("the hold invoice is %s, want accepted", paid.State)
	}
	if _, err := x.buyer.expect(message.ActionHoldInvoicePaymentAccepted); err != nil {
		return err
	}
	if err := x.buyer.send(ctx, message.ActionFiatSent, id, nil); err != nil {
		return err
	}
	if _, err := x.seller.expect(message.ActionFiatSentOk); err != nil {
		return err
	}
	if err := x.seller.send(ctx, message.ActionRelease, id, nil); err != nil {
		return err
	}
	_, err = x.buyer.expect(message.ActionPurchaseCompleted)
	return err
}

// renew takes a new trade key, and subscribes to its messages instead of those of the last
// one.
func (p *side) renew() error {
	keys, err := envelope.NewKeys(nil)
	if err != nil {
		return err
	}
	old := p.sub
	p.keys, p.sub = keys.Remembering(1), fmt.Sprint("t", p.m.names.Add(1))
	frames := appendFrame(nil, opText, fmt.Appendf(nil, `["REQ",%q,{"kinds":[%d],"#p":[%q]}]`, p.sub, mostro.KindMessage, keys.Pubkey()))
	if old != "" {
		frames = appendFrame(frames, opText, fmt.Appendf(nil, `["CLOSE",%q]`, old))
	}
	return p.s.send(frames)
}

func (p *side) send(ctx context.Context, action message.Action, id *message.UUID, payload message.Payload) error {
	request, index := uint64(7), int64(1)
	msg := message.Message{Wrapper: message.WrapperOrder, RequestID: &request, TradeIndex: &index, ID: id, Action: action, Payload: payload}
	evt, err := envelope.Seal(ctx, msg, envelope.SealOptions{Transport: envelope.TransportV2, To: p.m.node, Trade: p.keys, Now: time.Now()})
	if err != nil {
		return fmt.Errorf("seal %s: %w", action, err)
	}
	return p.s.say(`["EVENT",%s]`, evt)
}

// expect reads messages up to one with the action.
func (p *side) expect(action message.Action) (message.Message, error) {
	prefix := []byte(`["EVENT","` + p.sub + `",`)
	for {
		text, err := p.s.next()
		if err != nil {
			return message.Message{}, fmt.Errorf("the %s waits for %s: %w", p.name, action, err)
		}
		switch {
		case bytes.HasPrefix(text, []byte(`["OK","`)) && len(text) > 73 && text[73] != 't',
			bytes.HasPrefix(text, []byte(`["CLOSED"`)), bytes.HasPrefix(text, []byte(`["NOTICE"`)):
			return message.Message{}, fmt.Errorf("the %s waits for %s: the relay answered %s", p.name, action, text)
		case !bytes.HasPrefix(text, prefix):
			continue // an OK, an EOSE, or an event of an earlier trade
		}
		var evt nostr.Event
		if err := evt.UnmarshalJSON(text[len(prefix) : len(text)-1]); err != nil {
			return message.Message{}, err
		}
		env, err := envelope.Open(&evt, p.keys)
		switch {
		case err != nil:
			return message.Message{}, err
		case env.Message.Action == action:
			return env.Message, nil
		case env.Message.Action == message.ActionCantDo:
			return message.Message{}, fmt.Errorf("the %s waits for %s and is refused: %s", p.name, action, env.RawMessage)
		}
	}
}

// caller keeps a connection for each trader.
var caller = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: answerWithin}

// call calls the demo's simulated wallet.
func (m *market) call(ctx context.Context, name string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.wallet+name, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := caller.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", name, resp.Status, text)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, out)
}

// decisions measures the decisions of the escrow's engine in one process: see
// BenchmarkTrades of package escrow.
func (b *bench) decisions(ctx context.Context) error {
	return b.escrow(ctx, "BenchmarkTrades$", fmt.Sprint(max(64, b.scaled(6400)/64*64), "x"), "Trades", "engine")
}

// lnd compares whole trades on real Lightning nodes with the bare calls of such trades: see
// BenchmarkTradesOnLND of package escrow. If the nodes are not built (make lnd), the
// scenario says so and measures nothing.
func (b *bench) lnd(ctx context.Context) error {
	return b.escrow(ctx, "BenchmarkTradesOnLND$", "1x", "TradesOnLND", "LND")
}

// escrow runs one benchmark of package escrow and records its figures.
func (b *bench) escrow(ctx context.Context, pattern, times, name, figure string) error {
	return b.undisturbed(ctx, func() ([]sample, error) {
		m, err := newMeter()
		if err != nil {
			return nil, err
		}
		binary, err := filepath.Abs(b.escrowTest)
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, binary, "-test.v", "-test.run", "^$", "-test.bench", pattern, "-test.benchtime", times, "-test.timeout", "1h")
		cmd.Dir = "../../escrow"
		out, err := cmd.CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", b.escrowTest, err, out)
		}
		u, err := m.read()
		if err != nil {
			return nil, err
		}
		u.Noise = max(0, u.Noise-(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()).Seconds())
		var got []sample
		for full, values := range benchmarks(out) {
			clients := 0
			switch {
			case full == name:
			case len(full) > len(name) && full[:len(name)+1] == name+"/":
				if clients, err = strconv.Atoi(full[len(name)+1:]); err != nil {
					return nil, fmt.Errorf("benchmark %s: %w", full, err)
				}
			default:
				continue
			}
			got = append(got, sample{result{Scenario: "trades", Figure: figure, Subject: "mostrodex", Clients: clients, Values: values}, u})
		}
		if len(got) == 0 {
			if bytes.Contains(out, []byte("--- SKIP")) {
				fmt.Fprintf(os.Stderr, "bench: %s was skipped:\n%s", name, out)
				return nil, nil
			}
			return nil, fmt.Errorf("the output of %s lacks %s:\n%s", b.escrowTest, name, out)
		}
		slices.SortFunc(got, func(x, y sample) int { return x.Clients - y.Clients })
		return got, nil
	})
}

// tradeGoals compares the trades with their targets.
func tradeGoals(book resultBook) []goal {
	most := traders[len(traders)-1]
	at := func(figure, target, scenario, name string, clients int, value string, met float64, show func(float64) string) goal {
		g := goal{figure: figure, target: target}
		r, ok := book.find(scenario, name, "mostrodex", clients)
		if g.measured = ok; ok {
			v := r.Values[value]
			g.value, g.met, g.from = show(v), v >= met, []result{r}
		}
		return g
	}
	return []goal{
		at(fmt.Sprintf("trades: complete trades a second over sockets, %d at a time", most), "≥ 60", "trades", "over sockets", most, "trades_per_s", 60, number),
		at("trades: decisions of the engine a second, sealed and committed", "≥ 5,000", "trades", "engine", 0, "decisions/s", 5000, number),
		at("trades: ten at a time on real LND, relative to the bare calls", "≥ 90 %", "trades", "LND", 10, "percent", 90, func(v float64) string { return fmt.Sprintf("%.0f %%", math.Floor(v)) }),
	}
}
