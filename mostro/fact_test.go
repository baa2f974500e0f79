package mostro

import (
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestFactTags checks that the kept tags are the same evidence as the event, and that
// they hold no free text.
func TestFactTags(t *testing.T) {
	key, sats := strings.Repeat("ab", 32), int64(1000)
	min, _ := ParseDecimal("10")
	order := Order{Pubkey: key, D: "x", Platform: PlatformMostro, Side: SideSell, Status: StatusCanceled, Fiat: "VES", AmountSats: &sats, FiatAmount: Range{Min: &min, Max: &min},
		Methods: []string{"Pago Móvil", "my phone number"}, Network: "mainnet", ExpiresAt: 99, MakerName: "maker", Link: "https://example.org", Geohash: "abc"}
	evt := order.Event()
	evt.Content = "private words"
	tags, ok := FactTags(&evt)
	if !ok {
		t.Fatal("an order is no evidence")
	}
	stub := nostr.Event{Kind: evt.Kind, PubKey: key, Tags: tags}
	got, err := ParseOrder(&stub)
	if err != nil || got.D != "x" || got.Status != StatusCanceled || got.Side != SideSell || got.Fiat != "VES" || *got.AmountSats != 1000 || got.FiatAmount.Min == nil || got.Methods[0] != "Pago Móvil" ||
		got.Network != "mainnet" || got.ExpiresAt != 99 || got.Platform != PlatformMostro {
		t.Errorf("%+v: %v", got, err)
	}
	if got.MakerName != "" || got.Link != "" || got.Geohash != "" || len(got.Methods) != 1 {
		t.Errorf("more than facts is kept: %v", tags)
	}
	for name, evt := range map[string]nostr.Event{
		"a rating":                   HostRating{Pubkey: key, Host: key, D: "mostro:x"}.Event(),
		"a profile":                  {Kind: KindProfile},
		"another platform's order":   {Kind: KindOrder, PubKey: key, Tags: nostr.Tags{{"d", "x"}, {"k", "sell"}, {"f", "EUR"}, {"s", "pending"}, {"y", "robosats"}, {"z", "order"}}},
		"an order with an endless d": Order{Pubkey: key, D: strings.Repeat("x", 2000), Platform: PlatformMostro, Side: SideSell, Status: StatusPending, Fiat: "EUR"}.Event(),
	} {
		if tags, ok := FactTags(&evt); ok {
			t.Errorf("%s: %v", name, tags)
		}
	}
	for name, evt := range map[string]nostr.Event{
		"dispute": Dispute{Pubkey: key, D: "q", State: DisputeStateInitiated}.Event(),
		"fee":     DevFee{Pubkey: key, OrderID: "x", AmountSats: 1, Hash: key}.Event(),
		"info":    Info{Pubkey: key, Version: "1", ProtocolVersion: 2, LND: &LightningNode{Pubkey: "02" + key}}.Event(),
	} {
		tags, ok := FactTags(&evt)
		stub := nostr.Event{Kind: evt.Kind, PubKey: key, Tags: tags}
		if !ok || Classify(&stub) != Classify(&evt) {
			t.Errorf("%s: %v", name, tags)
		}
	}
}
