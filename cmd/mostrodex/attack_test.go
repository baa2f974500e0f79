package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lnurl"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// attackScale multiplies the number of messages of the attacks. At 1, for make test, the
// attacks take seconds; make attack-escrow runs them at 10.
var attackScale = flag.Int("attack.scale", 1, "how large the attacks on the demo's Mostro are; 10: as in docs/security.md")

// honestWithin is the maximum duration of an honest trade during or after an attack.
const honestWithin = 20 * time.Second

// honestTrade runs one whole trade of two honest clients, from the order to the payout.
func honestTrade(t *testing.T, m *Main) {
	t.Helper()
	began := time.Now()
	x := newDemoTrade(t, m, envelope.TransportV2)
	x.toTaken()
	x.toFiatSent()
	x.finish()
	if took := time.Since(began); took > honestWithin {
		t.Errorf("an honest trade took %s, at most %s", took.Round(time.Millisecond), honestWithin)
	} else {
		t.Logf("an honest trade took %s", took.Round(time.Millisecond))
	}
}

// sealedAs seals a message of a key to the demo's Mostro.
func sealedAs(t *testing.T, m *Main, keys *envelope.Keys, action message.Action, id *message.UUID, payload message.Payload) *nostr.Event {
	request := uint64(7)
	msg := message.Message{Wrapper: message.WrapperOrder, RequestID: &request, ID: id, Action: action, Payload: payload}
	evt, err := envelope.Seal(context.Background(), msg, envelope.SealOptions{Transport: envelope.TransportV2, To: m.escrow.pubkey, Trade: keys, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return evt
}

func strangerKeys(t *testing.T) *envelope.Keys {
	keys, err := envelope.NewKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// flood publishes events over 16 connections, and counts the events that the relay refuses.
// An attacker does not wait for answers.
func flood(t *testing.T, m *Main, events []*nostr.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for i := range 16 {
		relay, err := nostr.RelayConnect(ctx, "ws://"+m.Addr())
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer relay.Close()
			for j := i; j < len(events); j += 16 {
				if relay.Publish(ctx, *events[j]) == nil {
					mu.Lock()
					taken++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if taken < len(events)*9/10 {
		t.Errorf("the relay accepted %d of %d events, so the attack did not happen", taken, len(events))
	}
}

// In an earlier version, a burst of messages of 16 KiB in patterns whose JSON form is six
// times as long ended the program for good.
func TestAttackBurst(t *testing.T) {
	dir := t.TempDir()
	m, stop := runDemo(t, dir, nil)
	var events []*nostr.Event
	patterns := []string{"<", "\u2028", "&x"}
	for i := range 200 * *attackScale {
		fill := patterns[i%len(patterns)]
		junk := strings.Repeat(fill, 15_000/len(fill))
		events = append(events, sealedAs(t, m, strangerKeys(t), message.ActionNewOrder, nil,
			&message.SmallOrder{Kind: mostro.SideSell, AmountSats: 10_000, FiatCode: "VES", FiatAmount: 100, PaymentMethod: "x", BuyerTradePubkey: &junk}))
	}
	flood(t, m, events)
	honestTrade(t, m)
	stop()
	m, stop = runDemo(t, dir, nil)
	defer stop()
	honestTrade(t, m)
}

// In an earlier version, takes and cancels made an order untradeable: its events were dated
// into the future, the relay refused them, and the messages of the order waited behind the
// events.
func TestAttackFlap(t *testing.T) {
	for _, one := range []bool{true, false} {
		t.Run(fmt.Sprint("one stranger ", one), func(t *testing.T) {
			m, stop := runDemo(t, t.TempDir(), nil)
			defer stop()
			x := newDemoTrade(t, m, envelope.TransportV2)
			x.seller.send(message.ActionNewOrder, nil, x.order())
			x.id = *x.seller.expect(message.ActionNewOrder).ID
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			relay, err := nostr.RelayConnect(ctx, "ws://"+m.Addr())
			if err != nil {
				t.Fatal(err)
			}
			keys := strangerKeys(t)
			for range 60 * *attackScale {
				if !one {
					keys = strangerKeys(t)
				}
				for _, action := range []message.Action{message.ActionTakeSell, message.ActionCancel} {
					if err := relay.Publish(ctx, *sealedAs(t, m, keys, action, &x.id, nil)); err != nil {
						t.Fatal(err)
					}
				}
			}
			began := time.Now()
			x.shown("pending")
			var invoice struct{ Bolt11 string }
			postJSON(t, x.wallet()+"invoice", map[string]any{"amount_sats": x.payout(), "memo": "payout"}, &invoice)
			x.buyer.send(message.ActionTakeSell, &x.id, message.PaymentRequest{Invoice: invoice.Bolt11})
			x.toFiatSent()
			x.finish()
			trade, err := m.escrow.engine.Trade(ctx, x.id)
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			t.Logf("the order was traded in %s, dated %d s ahead", took.Round(time.Millisecond), trade.StampedAt-time.Now().Unix())
			if took > honestWithin {
				t.Errorf("the order was traded after %s", took)
			}
		})
	}
}

// In an earlier version, orders for one second left events that were never published.
func TestAttackSeconds(t *testing.T) {
	dir := t.TempDir()
	m, stop := runDemo(t, dir, nil)
	var events []*nostr.Event
	for range 160 * *attackScale {
		soon := time.Now().Unix() + 1
		events = append(events, sealedAs(t, m, strangerKeys(t), message.ActionNewOrder, nil,
			&message.SmallOrder{Kind: mostro.SideSell, AmountSats: 10_000, FiatCode: "VES", FiatAmount: 100, PaymentMethod: "x", ExpiresAt: &soon}))
	}
	flood(t, m, events)
	honestTrade(t, m)
	eventually(t, "nothing waits in the outbox", func() bool {
		_, _, body := getBody(t, "http://"+m.PrivateAddr()+"/metrics")
		return strings.Contains(body, `mostrodex_escrow_outbox_rows{lane="event"} 0`) && strings.Contains(body, `mostrodex_escrow_outbox_rows{lane="mail"} 0`)
	})
	stop()
	m, stop = runDemo(t, dir, nil)
	defer stop()
	honestTrade(t, m)
}

// In an earlier version, Lightning addresses that never answer delayed the Lightning calls of
// all trades.
func TestAttackTarpit(t *testing.T) {
	tarpit, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tarpit.Close()
	go func() {
		var held []net.Conn
		for {
			c, err := tarpit.Accept()
			if err != nil {
				for _, c := range held {
					c.Close()
				}
				return
			}
			held = append(held, c)
		}
	}()
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	m, err := demoMain(cfg, 1, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.tune = func(c *escrow.Config) {
		c.Addresses = effect.Services{Client: lnurl.Client{AllowForTest: func(netip.AddrPort) bool { return true }}}
	}
	defer startMainUntil(t, m)()
	address := "a@" + tarpit.Addr().String()
	var events []*nostr.Event
	for range 100 * *attackScale {
		events = append(events, sealedAs(t, m, strangerKeys(t), message.ActionNewOrder, nil,
			&message.SmallOrder{Kind: mostro.SideBuy, AmountSats: 10_000, FiatCode: "VES", FiatAmount: 100, PaymentMethod: "x", BuyerInvoice: &address}))
	}
	flood(t, m, events)
	honestTrade(t, m)
}
