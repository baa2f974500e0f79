package lndtest

import (
	"context"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
)

func TestNetworkCarriesAPaymentOverTwoHops(t *testing.T) {
	n := Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	before := map[*Node]int64{}
	for _, node := range n.Nodes() {
		var err error
		if before[node], err = node.BalanceMsat(ctx); err != nil {
			t.Fatal(err)
		}
	}
	bolt11, err := n.Buyer.AddInvoice(ctx, 50_000, "two hops", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	invoice, err := escrow.ParseInvoice(bolt11)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Seller.Lightning.Pay(ctx, escrow.Payment{Bolt11: bolt11, MaxFeeSats: 100}); err != nil {
		t.Fatal(err)
	}
	var end escrow.PaymentState
	if err := n.Seller.Lightning.WatchPayment(ctx, invoice.Hash, func(s escrow.PaymentState) error { end = s; return nil }); err != nil {
		t.Fatal(err)
	}
	if end.Status != escrow.PaymentSucceeded || end.Preimage.Hash() != invoice.Hash {
		t.Fatalf("payment ended as %+v", end)
	}
	want := map[*Node]int64{
		n.Seller: -50_000_000 - end.FeeMsat,
		n.Mostro: end.FeeMsat,
		n.Buyer:  50_000_000,
	}
	for _, node := range n.Nodes() {
		after, err := node.BalanceMsat(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := after - before[node]; got != want[node] {
			t.Errorf("%s: balance changed by %d msat, want %d", node.Name, got, want[node])
		}
	}
}
