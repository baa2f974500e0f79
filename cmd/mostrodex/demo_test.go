package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// demoUser is a client of the demo with one trade key and one transport.
type demoUser struct {
	t         *testing.T
	m         *Main
	keys      *envelope.Keys
	transport envelope.Transport
	identity  *envelope.Keys // nil: full privacy
	relay     *nostr.Relay
	sub       *nostr.Subscription
	got       []message.Message
}

func newDemoUser(t *testing.T, m *Main, transport envelope.Transport) *demoUser {
	t.Helper()
	keys, err := envelope.NewKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return demoUserOf(t, m, transport, keys)
}

// demoUserOf returns the client of a key.
func demoUserOf(t *testing.T, m *Main, transport envelope.Transport, keys *envelope.Keys) *demoUser {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	relay := dialNostr(t, ctx, m)
	sub, err := relay.Subscribe(ctx, nostr.Filters{{Kinds: []int{mostro.KindMessage, mostro.KindGiftWrap, mostro.KindLegacyDM}, Tags: nostr.TagMap{"p": {keys.Pubkey()}}}})
	if err != nil {
		t.Fatal(err)
	}
	return &demoUser{t: t, m: m, keys: keys, transport: transport, relay: relay, sub: sub}
}

func (u *demoUser) send(action message.Action, id *message.UUID, payload message.Payload) {
	u.t.Helper()
	request := uint64(7)
	msg := message.Message{Wrapper: message.WrapperOrder, RequestID: &request, ID: id, Action: action, Payload: payload}
	if u.identity != nil && (action == message.ActionNewOrder || action == message.ActionTakeSell) {
		msg.TradeIndex = new(int64)
		*msg.TradeIndex = 1
	}
	evt, err := envelope.Seal(context.Background(), msg, envelope.SealOptions{Transport: u.transport, To: u.m.escrow.engine.Events.Pubkey, Trade: u.keys, Identity: u.identity, Now: u.m.Now()})
	if err != nil {
		u.t.Fatalf("seal %s: %v", action, err)
	}
	if err := u.relay.Publish(context.Background(), *evt); err != nil {
		u.t.Fatalf("publish %s: %v", action, err)
	}
}

// expect waits for a message with the action.
func (u *demoUser) expect(action message.Action) message.Message {
	u.t.Helper()
	for {
		for i, msg := range u.got {
			if msg.Action == action {
				u.got = append(u.got[:i], u.got[i+1:]...)
				return msg
			}
		}
		select {
		case evt := <-u.sub.Events:
			env, err := envelope.Open(evt, u.keys)
			if err != nil {
				u.t.Fatalf("open: %v", err)
			}
			if env.Message.Action == message.ActionCantDo && action != message.ActionCantDo {
				u.t.Fatalf("refused while waiting for %s: %s", action, env.RawMessage)
			}
			u.got = append(u.got, env.Message)
		case <-time.After(20 * time.Second):
			u.t.Fatalf("%s did not arrive; the messages are %v", action, u.got)
		}
	}
}

func postJSON(t *testing.T, url string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var text bytes.Buffer
		text.ReadFrom(resp.Body)
		t.Fatalf("POST %s: %s %s", url, resp.Status, text.String())
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
}

type purse struct {
	WalletSats int64 `json:"wallet_sats"`
	NodeSats   int64 `json:"node_sats"`
	HeldSats   int64 `json:"held_sats"`
}

// demoTrade is one sell order between two clients of the demo.
type demoTrade struct {
	t             *testing.T
	m             *Main
	seller, buyer *demoUser
	id            message.UUID
	payoutInvoice string
	holdInvoice   string
}

// These are the amount of a trade in the demo and the fee of each side, which is 0.3 %.
const (
	demoTradeSats = 10_000
	demoFeeSats   = 30
)

func newDemoTrade(t *testing.T, m *Main, transport envelope.Transport) *demoTrade {
	return &demoTrade{t: t, m: m, seller: newDemoUser(t, m, transport), buyer: newDemoUser(t, m, transport)}
}

func (x *demoTrade) order() *message.SmallOrder {
	return &message.SmallOrder{Kind: mostro.SideSell, AmountSats: demoTradeSats, FiatCode: "VES", FiatAmount: 100, PaymentMethod: "Pago Móvil"}
}

func (x *demoTrade) payout() int64 { return demoTradeSats - demoFeeSats }

func (x *demoTrade) wallet() string { return "http://" + x.m.PrivateAddr() + "/lnsim/" }

// toTaken creates the order and has the buyer take it.
func (x *demoTrade) toTaken() {
	t := x.t
	t.Helper()
	x.seller.send(message.ActionNewOrder, nil, x.order())
	id := x.seller.expect(message.ActionNewOrder).ID
	if id == nil {
		t.Fatal("the order has no id")
	}
	x.id = *id
	var invoice struct{ Bolt11 string }
	postJSON(t, x.wallet()+"invoice", map[string]any{"amount_sats": x.payout(), "memo": "payout"}, &invoice)
	x.payoutInvoice = invoice.Bolt11
	x.buyer.send(message.ActionTakeSell, id, message.PaymentRequest{Invoice: invoice.Bolt11})
}

// toFiatSent runs the trade to the buyer's fiat-sent.
func (x *demoTrade) toFiatSent() {
	t := x.t
	t.Helper()
	request, ok := x.seller.expect(message.ActionPayInvoice).Payload.(message.PaymentRequest)
	if !ok { // the buyer's reputation arrives first, with the same action
		request, ok = x.seller.expect(message.ActionPayInvoice).Payload.(message.PaymentRequest)
	}
	if !ok {
		t.Fatal("pay-invoice carries no payment request")
	}
	x.holdInvoice = request.Invoice
	var paid struct{ State string }
	postJSON(t, x.wallet()+"pay", map[string]any{"bolt11": request.Invoice}, &paid)
	if paid.State != "accepted" {
		t.Fatalf("the hold invoice is %s, want accepted", paid.State)
	}
	x.buyer.expect(message.ActionHoldInvoicePaymentAccepted)
	x.buyer.send(message.ActionFiatSent, &x.id, nil)
	x.seller.expect(message.ActionFiatSentOk)
}

// finish runs the trade to the payout.
func (x *demoTrade) finish() {
	x.t.Helper()
	x.seller.send(message.ActionRelease, &x.id, nil)
	x.buyer.expect(message.ActionPurchaseCompleted)
	x.shown("success")
}

// shown waits until the book shows the order with a status.
func (x *demoTrade) shown(status string) {
	x.t.Helper()
	eventually(x.t, "the order is shown as "+status, func() bool {
		return len(mustREQ(x.t, x.m, nostr.Filter{Kinds: []int{mostro.KindOrder}, Tags: nostr.TagMap{"d": {x.id.String()}, "s": {status}}})) == 1
	})
}

// TestDemoTrade trades over the demo's own sockets, once over each transport, from the order
// to the payout, and compares the balances.
func TestDemoTrade(t *testing.T) {
	m, stop := runDemo(t, t.TempDir(), nil)
	defer stop()
	var before, after purse
	getJSON(t, "http://"+m.PrivateAddr()+"/lnsim/balance", &before)
	transports := []envelope.Transport{envelope.TransportV2, envelope.TransportV1, envelope.TransportLegacy}
	for _, transport := range transports {
		t.Run(fmt.Sprint(transport), func(t *testing.T) {
			x := newDemoTrade(t, m, transport)
			x.toTaken()
			x.toFiatSent()
			x.finish()
		})
	}
	getJSON(t, "http://"+m.PrivateAddr()+"/lnsim/balance", &after)
	fees := int64(len(transports)) * 2 * demoFeeSats
	if after.HeldSats != 0 || after.NodeSats != before.NodeSats+fees || after.WalletSats != before.WalletSats-fees {
		t.Errorf("before %+v, after %+v; want %d sats of fees and no held sats", before, after, fees)
	}
}
