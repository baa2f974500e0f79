package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// demoUser is a client of the demo: one trade key, one transport.
type demoUser struct {
	t         *testing.T
	m         *Main
	keys      *mostro.Keys
	transport mostro.Transport
	relay     *nostr.Relay
	sub       *nostr.Subscription
	got       []mostro.Message
}

func newDemoUser(t *testing.T, m *Main, transport mostro.Transport) *demoUser {
	t.Helper()
	keys, err := mostro.NewKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	relay := dialNostr(t, ctx, m)
	sub, err := relay.Subscribe(ctx, nostr.Filters{{Kinds: []int{mostro.KindMessage, mostro.KindGiftWrap, mostro.KindLegacyDM}, Tags: nostr.TagMap{"p": {keys.Pubkey()}}}})
	if err != nil {
		t.Fatal(err)
	}
	return &demoUser{t: t, m: m, keys: keys, transport: transport, relay: relay, sub: sub}
}

func (u *demoUser) send(action mostro.Action, id *mostro.UUID, payload mostro.Payload) {
	u.t.Helper()
	request := uint64(7)
	msg := mostro.Message{Wrapper: mostro.WrapperOrder, RequestID: &request, ID: id, Action: action, Payload: payload}
	evt, err := mostro.Seal(context.Background(), msg, mostro.SealOptions{Transport: u.transport, To: u.m.escrow.engine.Face.Pubkey, Trade: u.keys, Now: time.Now()})
	if err != nil {
		u.t.Fatalf("seal %s: %v", action, err)
	}
	if err := u.relay.Publish(context.Background(), *evt); err != nil {
		u.t.Fatalf("publish %s: %v", action, err)
	}
}

// expect waits for a message with that action.
func (u *demoUser) expect(action mostro.Action) mostro.Message {
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
			env, err := mostro.Open(evt, u.keys)
			if err != nil {
				u.t.Fatalf("open: %v", err)
			}
			if env.Message.Action == mostro.ActionCantDo && action != mostro.ActionCantDo {
				u.t.Fatalf("waiting for %s: refused: %s", action, env.RawMessage)
			}
			u.got = append(u.got, env.Message)
		case <-time.After(20 * time.Second):
			u.t.Fatalf("%s has not come; got %v", action, u.got)
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

// TestDemoTrade trades over the demo's own sockets, once in each transport,
// from offer to payout, and counts the sats.
func TestDemoTrade(t *testing.T) {
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	m, err := demoMain(cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.Log = slog.New(slog.DiscardHandler)
	startMain(t, m)
	wallet := "http://" + m.PrivateAddr() + "/lnsim/"
	var before, after purse
	getJSON(t, wallet+"balance", &before)
	for _, transport := range []mostro.Transport{mostro.TransportV2, mostro.TransportV1, mostro.TransportLegacy} {
		t.Run(fmt.Sprint(transport), func(t *testing.T) {
			demoTrade(t, m, transport)
		})
	}
	getJSON(t, wallet+"balance", &after)
	fee := int64(3 * 60) // 0.6 % of each trade, half from each side
	if after.HeldSats != 0 || after.NodeSats != before.NodeSats+fee || after.WalletSats != before.WalletSats-fee {
		t.Errorf("before %+v, after %+v: want %d sats of fees moved and nothing held", before, after, fee)
	}
}

// demoTrade trades 10,000 sats from offer to payout.
func demoTrade(t *testing.T, m *Main, transport mostro.Transport) (id *mostro.UUID, seller, buyer *demoUser, holdInvoice string) {
	t.Helper()
	wallet := "http://" + m.PrivateAddr() + "/lnsim/"
	const amount = 10_000
	seller, buyer = newDemoUser(t, m, transport), newDemoUser(t, m, transport)
	sell := mostro.SideSell
	seller.send(mostro.ActionNewOrder, nil, &mostro.SmallOrder{Kind: sell, AmountSats: amount, FiatCode: "VES", FiatAmount: 100, PaymentMethod: "Pago Móvil"})
	id = seller.expect(mostro.ActionNewOrder).ID
	if id == nil {
		t.Fatal("the order has no id")
	}
	eventually(t, "the order is public", func() bool {
		found := mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindOrder}, Tags: nostr.TagMap{"d": {id.String()}, "s": {"pending"}}})
		return len(found) == 1
	})
	var invoice struct{ Bolt11 string }
	postJSON(t, wallet+"invoice", map[string]any{"amount_sats": amount - 30, "memo": "payout"}, &invoice)
	buyer.send(mostro.ActionTakeSell, id, mostro.PaymentRequest{Invoice: invoice.Bolt11})
	request, ok := seller.expect(mostro.ActionPayInvoice).Payload.(mostro.PaymentRequest)
	if !ok { // the buyer's reputation comes first, under the same action
		request, ok = seller.expect(mostro.ActionPayInvoice).Payload.(mostro.PaymentRequest)
	}
	if !ok {
		t.Fatal("pay-invoice carries no payment request")
	}
	var paid struct{ State string }
	postJSON(t, wallet+"pay", map[string]any{"bolt11": request.Invoice}, &paid)
	if paid.State != "accepted" {
		t.Fatalf("the hold invoice is %s, want accepted", paid.State)
	}
	buyer.expect(mostro.ActionHoldInvoicePaymentAccepted)
	buyer.send(mostro.ActionFiatSent, id, nil)
	seller.expect(mostro.ActionFiatSentOk)
	seller.send(mostro.ActionRelease, id, nil)
	buyer.expect(mostro.ActionPurchaseCompleted)
	eventually(t, "the order's end is public", func() bool {
		return len(mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindOrder}, Tags: nostr.TagMap{"d": {id.String()}, "s": {"success"}}})) == 1
	})
	return id, seller, buyer, request.Invoice
}
