package escrow

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// postman delivers published messages to waiting clients without their cryptography. It
// remembers the content of each sealed event.
type postman struct {
	KeysSealer
	mu     sync.Mutex
	sealed map[string]delivery
	boxes  map[string]chan message.Message
}

type delivery struct {
	to      string
	message message.Message
}

func (p *postman) Seal(ctx context.Context, to trade.Party, m message.Message, now time.Time) (*nostr.Event, error) {
	evt, err := p.KeysSealer.Seal(ctx, to, m, now)
	if err == nil {
		p.mu.Lock()
		p.sealed[evt.ID] = delivery{to.Key, m}
		p.mu.Unlock()
	}
	return evt, err
}

func (p *postman) Publish(_ context.Context, evt *nostr.Event) error {
	p.mu.Lock()
	d, ok := p.sealed[evt.ID]
	box := p.boxes[d.to]
	delete(p.sealed, evt.ID)
	p.mu.Unlock()
	if ok && box != nil {
		box <- d.message
	}
	return nil
}

func (p *postman) box(key string) chan message.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	box := make(chan message.Message, 64) // a trade has fewer messages
	p.boxes[key] = box
	return box
}

// rateSats is the amount of each trade. It is as small as the amount of the bare calls, so
// that no channel runs dry. rateFee is the fee of one side.
const (
	rateSats = 1000
	rateFee  = 3
)

// Rate is an engine on a network, for whole trades in large numbers.
type Rate struct {
	tb      testing.TB
	n       *FlowNet
	engine  *Engine
	post    *postman
	parties []trade.Party // of trades that have not begun
}

// StartRate starts an engine for at most the given number of trades, and returns once the
// engine has compared its store with the node. The clients' keys are made in advance.
func StartRate(tb testing.TB, n *FlowNet, trades int) *Rate {
	keys := newKeys(tb).Remembering(10_000)
	db, err := OpenDB(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	post := &postman{KeysSealer: KeysSealer{Keys: keys}, sealed: make(map[string]delivery), boxes: make(map[string]chan message.Message)}
	policy := DefaultPolicy()
	policy.Terms.Fee = 6_000_000
	e, err := Open(Config{
		Policy: policy, Store: db, Log: newMemLog(), Node: n.Mostro, Addresses: noAddresses{}, Publisher: post,
		Opener: KeysOpener{keys}, Sealer: post, Signer: post, Prefilter: &Prefilter{}, Quote: func(string, int64) trade.Quote { return trade.Quote{} },
		Events: EventBuilder{Pubkey: keys.Pubkey()}, Secret: trade.NodeSecretOf(keys),
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		<-done
		if err := db.Check(); err != nil {
			tb.Error(err)
		}
		_ = db.Close()
	})
	r := &Rate{tb: tb, n: n, engine: e, post: post}
	for range 2 * trades {
		key := newKeys(tb).Pubkey()
		r.parties = append(r.parties, trade.Party{Key: key, Identity: key, Transport: envelope.TransportV2})
	}
	<-e.Surveyed()
	return r
}

// Run runs whole trades, parallel at a time, and returns the time that they took. The payout
// invoices are made in advance.
func (r *Rate) Run(trades, parallel int) time.Duration {
	invoices := make([]string, trades)
	for i := range invoices {
		var err error
		if invoices[i], err = r.n.Invoice(r.tb.Context(), rateSats-rateFee); err != nil {
			r.tb.Fatal(err)
		}
	}
	var work errgroup.Group
	work.SetLimit(parallel)
	began := time.Now()
	for _, bolt11 := range invoices {
		seller, buyer := r.parties[0], r.parties[1]
		r.parties = r.parties[2:]
		work.Go(func() error { return runTrade(r.tb.Context(), r.engine, r.post, r.n, seller, buyer, bolt11) })
	}
	if err := work.Wait(); err != nil {
		r.tb.Fatal(err)
	}
	return time.Since(began)
}

func runTrade(ctx context.Context, e *Engine, post *postman, n *FlowNet, seller, buyer trade.Party, bolt11 string) error {
	sells, buys := post.box(seller.Key), post.box(buyer.Key)
	say := func(p trade.Party, action message.Action, id *trade.OrderID, payload message.Payload) error {
		now := time.Now().Unix()
		return e.send(ctx, notice{message: &InboundMessage{
			Transport: p.Transport, Sender: p.Key, Identity: p.Identity, CreatedAt: now, Received: now, ReplayID: fmt.Sprint(p.Key, action),
			Message: trade.Outgoing{Message: message.Message{Wrapper: message.WrapperOrder, ID: id, Action: action, Payload: payload}},
		}})
	}
	wait := func(box chan message.Message, action message.Action) (message.Message, error) {
		deadline := time.After(20 * time.Second)
		for {
			select {
			case m := <-box:
				if m.Action == action {
					return m, nil
				}
				if m.Action == message.ActionCantDo {
					return m, m.Payload.(message.CantDo)
				}
			case <-deadline:
				return message.Message{}, fmt.Errorf("no %s came", action)
			}
		}
	}
	err := say(seller, message.ActionNewOrder, nil, &message.SmallOrder{Kind: mostro.SideSell, AmountSats: rateSats, FiatCode: "EUR", FiatAmount: 1, PaymentMethod: "SEPA"})
	if err != nil {
		return err
	}
	ack, err := wait(sells, message.ActionNewOrder)
	if err != nil {
		return err
	}
	id := ack.ID
	if err := say(buyer, message.ActionTakeSell, id, message.PaymentRequest{Invoice: bolt11}); err != nil {
		return err
	}
	pay, err := wait(sells, message.ActionPayInvoice)
	if err != nil {
		return err
	}
	if err := n.Pay(ctx, pay.Payload.(message.PaymentRequest).Invoice); err != nil {
		return err
	}
	if _, err := wait(buys, message.ActionHoldInvoicePaymentAccepted); err != nil {
		return err
	}
	if err := say(buyer, message.ActionFiatSent, id, nil); err != nil {
		return err
	}
	if _, err := wait(sells, message.ActionFiatSentOk); err != nil {
		return err
	}
	if err := say(seller, message.ActionRelease, id, nil); err != nil {
		return err
	}
	_, err = wait(buys, message.ActionPurchaseCompleted)
	return err
}
