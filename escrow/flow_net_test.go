package escrow_test

import (
	"context"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/lndtest"
	"github.com/mostrodex/mostrodex/escrow/lnsim"
)

// Whole trades on the simulator.
func TestFlowsOnSimulator(t *testing.T) {
	world := lnsim.New(lnsim.Config{Seed: 7, Now: time.Now().Truncate(time.Second), Delay: 20 * time.Millisecond})
	mostro, seller, buyer := world.AddNode("mostro", 10_000_000), world.AddNode("seller", 10_000_000), world.AddNode("buyer", 0)
	escrow.RunFlows(t, &escrow.FlowNet{
		Mostro: mostro, Network: escrow.Regtest,
		Pay: func(ctx context.Context, bolt11 string) error { return seller.Pay(ctx, escrow.Payment{Bolt11: bolt11}) },
		Invoice: func(ctx context.Context, sats int64) (string, error) {
			return buyer.AddInvoice(ctx, sats, "payout", 48*time.Hour)
		},
		Balances: func(context.Context) ([3]int64, error) {
			return [3]int64{mostro.BalanceMsat(), seller.BalanceMsat(), buyer.BalanceMsat()}, nil
		},
		Restart: func(context.Context) error { mostro.Down(); world.Advance(time.Second); mostro.Up(); return nil },
		Pause: func() {
			world.Advance(10 * time.Millisecond)
			time.Sleep(200 * time.Microsecond) // room for the others' goroutines
		},
	})
	if err := world.Check(); err != nil {
		t.Error(err)
	}
}

// The same trades on real LND nodes.
func TestFlowsOnLND(t *testing.T) {
	n := lndtest.Start(t)
	escrow.RunFlows(t, &escrow.FlowNet{
		Mostro: n.Mostro.Lightning, Network: escrow.Regtest,
		Pay: func(ctx context.Context, bolt11 string) error {
			return n.Seller.Lightning.Pay(ctx, escrow.Payment{Bolt11: bolt11})
		},
		Invoice: func(ctx context.Context, sats int64) (string, error) {
			return n.Buyer.AddInvoice(ctx, sats, "payout", 48*time.Hour)
		},
		Balances: func(ctx context.Context) (all [3]int64, err error) {
			for i, node := range []*lndtest.Node{n.Mostro, n.Seller, n.Buyer} {
				if all[i], err = node.BalanceMsat(ctx); err != nil {
					return all, err
				}
			}
			return all, nil
		},
		Restart: func(ctx context.Context) error { return n.Restart(ctx, n.Mostro, true) },
		Pause:   func() { time.Sleep(20 * time.Millisecond) },
	})
}
