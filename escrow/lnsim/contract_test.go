package lnsim_test

import (
	"context"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lncontract"
	"github.com/mostrodex/mostrodex/escrow/lnsim"
)

// wallet adds to a Node the BalanceMsat method that lncontract.Wallet requires.
type wallet struct{ *lnsim.Node }

func (w wallet) BalanceMsat(context.Context) (int64, error) { return w.Node.BalanceMsat(), nil }

func TestContract(t *testing.T) {
	for name, delay := range map[string]time.Duration{"at once": 0, "with delays": 120 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			world := lnsim.New(lnsim.Config{Seed: 1, Delay: delay, Network: "regtest"})
			mostro := world.AddNode("mostro", 8_000_000)
			seller := world.AddNode("seller", 8_000_000)
			buyer := world.AddNode("buyer", 8_000_000)
			restart := func(context.Context) error {
				mostro.Down()
				world.Advance(3 * time.Second)
				mostro.Up()
				return nil
			}
			// Only a payment from the seller to the buyer takes two hops.
			world.RouteFee(seller, buyer, 1030)
			world.RouteBlocks(seller, buyer, lncontract.HopBlocks)
			lncontract.Run(t, &lncontract.Network{
				Mostro: wallet{mostro}, Seller: wallet{seller}, Buyer: wallet{buyer},
				Mine:    func(_ context.Context, n int) error { world.Mine(n); return nil },
				Restart: restart, Kill: restart,
				Pause: func() {
					world.Advance(50 * time.Millisecond)
					time.Sleep(100 * time.Microsecond) // lets the goroutines of the watches run
				},
				Sleep:    world.Advance,
				Patience: 10 * time.Second,
			})
			if err := world.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// BenchmarkBareTrades measures the simulator's own time per trade.
func BenchmarkBareTrades(b *testing.B) {
	world := lnsim.New(lnsim.Config{Seed: 1})
	n := &lncontract.Network{
		Mostro: wallet{world.AddNode("mostro", 100_000_000)},
		Seller: wallet{world.AddNode("seller", 100_000_000_000)},
		Buyer:  wallet{world.AddNode("buyer", 0)},
	}
	for b.Loop() {
		bare, err := lncontract.RunBare(b.Context(), n, 500, 10)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(bare.PerSecond(), "trades/s")
	}
}
