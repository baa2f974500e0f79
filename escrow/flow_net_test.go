package escrow_test

import (
	"context"
	"flag"
	"path/filepath"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lndtest"
	"github.com/mostrodex/mostrodex/escrow/lnsim"
)

var lndLong = flag.Bool("lnd.long", false, "kill real nodes at every point of a dispute, and not only at some")

// TestFlowsOnSimulator runs whole trades on the simulator.
func TestFlowsOnSimulator(t *testing.T) {
	world := lnsim.New(lnsim.Config{Seed: 7, Now: time.Now().Truncate(time.Second), Delay: 20 * time.Millisecond})
	mostro, seller, buyer := world.AddNode("mostro", 10_000_000), world.AddNode("seller", 10_000_000), world.AddNode("buyer", 0)
	escrow.RunFlows(t, &escrow.FlowNet{
		Mostro: mostro, Network: lightning.Regtest,
		Pay: func(ctx context.Context, bolt11 string) error {
			return seller.Pay(ctx, lightning.Payment{Bolt11: bolt11})
		},
		Invoice: func(ctx context.Context, sats int64) (string, error) {
			return buyer.AddInvoice(ctx, sats, "payout", 48*time.Hour)
		},
		Balances: func(context.Context) ([3]int64, error) {
			return [3]int64{mostro.BalanceMsat(), seller.BalanceMsat(), buyer.BalanceMsat()}, nil
		},
		Kill:  mostro.Down,
		Start: func(context.Context) error { world.Advance(time.Second); mostro.Up(); return nil },
		Mine:  func(_ context.Context, blocks int) error { world.Mine(blocks); return nil },
		Long:  true,
		Pause: func() {
			world.Advance(10 * time.Millisecond)
			time.Sleep(200 * time.Microsecond) // lets other goroutines run
		},
	})
	if err := world.Check(); err != nil {
		t.Error(err)
	}
}

// TestOnLND runs the same trades, and more, on real LND nodes. Its parts share one network,
// which takes some 20 s to start, and compare balances with those at their own start. The
// troubles come last, because LND may keep a payout in flight after its disk was full.
func TestOnLND(t *testing.T) {
	lndtest.Require(t)
	dir := t.TempDir()
	data := filepath.Join(dir, "mostro")
	small := lndtest.SmallDisk(t, data, 128<<20)
	n := lndtest.StartIn(t, dir)
	t.Run("flows", func(t *testing.T) { escrow.RunFlows(t, flowNet(n)) })
	t.Run("killed", func(t *testing.T) { testKilled(t, n) })
	t.Run("killed in a dispute", func(t *testing.T) { testKilledInDispute(t, n) })
	t.Run("development fee once across kill -9", func(t *testing.T) { testFeeKilled(t, n) })
	t.Run("troubles", func(t *testing.T) {
		if small {
			testTroubles(t, n, data)
		} else {
			testTroubles(t, n, "")
		}
	})
}

func flowNet(n *lndtest.Network) *escrow.FlowNet {
	return &escrow.FlowNet{
		Mostro: n.Mostro.Lightning, Network: lightning.Regtest,
		Pay: func(ctx context.Context, bolt11 string) error {
			return n.Seller.Lightning.Pay(ctx, lightning.Payment{Bolt11: bolt11})
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
		Kill: n.Mostro.Kill,
		Start: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
			defer cancel()
			if !n.Mostro.Running() {
				if err := n.Mostro.Start(ctx); err != nil {
					return err
				}
			}
			return n.WaitChannels(ctx)
		},
		Mine:  n.Mine,
		Pause: func() { time.Sleep(20 * time.Millisecond) },
		Long:  *lndLong,
	}
}

// wallet is a real node with the methods that the contract tests need.
type wallet struct {
	lightning.Node
	node *lndtest.Node
}

func (w wallet) AddInvoice(ctx context.Context, sats int64, memo string, expiry time.Duration) (string, error) {
	return w.node.AddInvoice(ctx, sats, memo, expiry)
}

func (w wallet) BalanceMsat(ctx context.Context) (int64, error) { return w.node.BalanceMsat(ctx) }
