package main

import (
	"context"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// TestLowDisk fills the disk in the middle of a trade. The trade goes on to its payout, no trade
// begins, and nobody else writes. After room is made, trades begin again.
func TestLowDisk(t *testing.T) {
	var free atomic.Int64
	free.Store(math.MaxInt64)
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	cfg.Relay.ImportLocal = false
	m, err := demoMain(cfg, 1, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.freeSpace = func(string) (int64, error) { return free.Load(), nil }
	startMain(t, m)
	x, other := newDemoTrade(t, m, envelope.TransportV2), newDemoTrade(t, m, envelope.TransportV2)
	x.toTaken()
	other.seller.send(message.ActionNewOrder, nil, other.order())
	other.id = *other.seller.expect(message.ActionNewOrder).ID

	refused := func(name string, evt *nostr.Event) {
		t.Helper()
		if err := dialNostr(t, t.Context(), m).Publish(context.Background(), *evt); err == nil || !strings.Contains(err.Error(), "the disk is full") {
			t.Errorf("%s: %v", name, err)
		}
	}
	fill := func(to int64, full bool) {
		t.Helper()
		free.Store(to)
		eventually(t, "the disk is measured", func() bool { return m.store.Full() == full })
	}
	fill(eventlog.DefaultDiskReserve-1, true)
	eventually(t, "/readyz names the disk", func() bool {
		_, _, body := getBody(t, "http://"+m.Addr()+"/readyz")
		return strings.Contains(body, "escrow: no new orders: the disk is nearly full")
	})
	stranger := strangerKeys(t)
	refused("a new order of a stranger", sealedAs(t, m, stranger, message.ActionNewOrder, nil, x.order()))
	refused("the buyer's message to another key", func() *nostr.Event {
		evt, err := envelope.Seal(context.Background(), message.Message{Wrapper: message.WrapperOrder, Action: message.ActionFiatSent, ID: &x.id},
			envelope.SealOptions{Transport: envelope.TransportV2, To: stranger.Pubkey(), Trade: x.buyer.keys, Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		return evt
	}())
	refused("the buyer's order event", signAs(t, x.buyer.keys, nostr.Event{Kind: mostro.KindOrder, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"d", "x"}}}))

	// A party of an open trade may write to the Mostro, but begins no other trade.
	x.seller.send(message.ActionNewOrder, nil, x.order())
	x.seller.expect(message.ActionCantDo)

	// The trade under way ends as on any other day.
	x.toFiatSent()
	x.finish()

	// Below half of the reserve no one but this program writes.
	free.Store(eventlog.DefaultDiskReserve/2 - 1)
	eventually(t, "the last part of the reserve is kept", func() bool {
		evt := sealedAs(t, m, other.seller.keys, message.ActionCancel, &other.id, nil)
		err := dialNostr(t, t.Context(), m).Publish(context.Background(), *evt)
		return err != nil && strings.Contains(err.Error(), "the disk is full")
	})

	fill(math.MaxInt64, false)
	honestTrade(t, m)
}

// TestLowDiskBound sends messages of one party without an end while the disk is full.
func TestLowDiskBound(t *testing.T) {
	full := true
	const party = "party"
	d := &lowDisk{full: func() bool { return full }, node: "node", knows: func(key string) bool { return key == party }, spent: make(map[string]int)}
	evt := &nostr.Event{Kind: mostro.KindMessage, PubKey: party, Tags: nostr.Tags{{"p", "node"}}}
	taken := 0
	for range 1000 {
		if d.urgent(evt, 10_000) {
			taken += 10_000
		}
	}
	if taken == 0 || taken > maxUrgentBytes {
		t.Errorf("%d bytes of one party are taken, at most %d", taken, maxUrgentBytes)
	}
	full = false
	if d.urgent(evt, 1) {
		t.Error("an event is urgent although the disk has room")
	}
	full = true
	if !d.urgent(evt, 10_000) {
		t.Error("after the disk had room the bound is not new")
	}
	for name, bad := range map[string]nostr.Event{
		"no p tag": {Kind: mostro.KindMessage, PubKey: party}, "empty p tag": {Kind: mostro.KindMessage, PubKey: party, Tags: nostr.Tags{{"p"}}},
		"a gift wrap": {Kind: mostro.KindGiftWrap, PubKey: party, Tags: nostr.Tags{{"p", "node"}}}, "a stranger": {Kind: mostro.KindMessage, PubKey: "x", Tags: nostr.Tags{{"p", "node"}}},
	} {
		if d.urgent(&bad, 1) {
			t.Errorf("%s is urgent", name)
		}
	}
}
