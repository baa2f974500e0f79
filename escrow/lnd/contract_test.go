package lnd_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lncontract"
	"github.com/mostrodex/mostrodex/escrow/lnd"
	"github.com/mostrodex/mostrodex/escrow/lndtest"
)

// wallet is a real node as a Wallet of the contract suite: the node's client, and
// methods of the test harness.
type wallet struct {
	*lnd.Client
	node *lndtest.Node
}

func (w wallet) AddInvoice(ctx context.Context, sats int64, memo string, expiry time.Duration) (string, error) {
	return w.node.AddInvoice(ctx, sats, memo, expiry)
}

func (w wallet) BalanceMsat(ctx context.Context) (int64, error) { return w.node.BalanceMsat(ctx) }

// realNetwork returns a network of real nodes for the contract suite.
func realNetwork(n *lndtest.Network) *lncontract.Network {
	of := func(node *lndtest.Node) wallet { return wallet{node.Lightning, node} }
	return &lncontract.Network{
		Mostro: of(n.Mostro), Seller: of(n.Seller), Buyer: of(n.Buyer),
		Mine:     n.Mine,
		Restart:  func(ctx context.Context) error { return n.Restart(ctx, n.Mostro, false) },
		Kill:     func(ctx context.Context) error { return n.Restart(ctx, n.Mostro, true) },
		Pause:    func() { time.Sleep(20 * time.Millisecond) },
		Sleep:    time.Sleep,
		Patience: 90 * time.Second,
	}
}

// TestOnLND runs the contract suite on real nodes, and then exposes them to actions of an
// operator, and to faults, between two calls. The parts share one network, which takes some
// 20 s to start. The full disk and the new wallet come last, because they harm the node.
func TestOnLND(t *testing.T) {
	lndtest.Require(t)
	dir := t.TempDir()
	disk := &disk{dir: filepath.Join(dir, "mostro")}
	disk.small = lndtest.SmallDisk(t, disk.dir, 96<<20)
	n := lndtest.StartIn(t, dir)
	t.Run("contract", func(t *testing.T) { lncontract.Run(t, realNetwork(n)) })
	t.Run("permissions", func(t *testing.T) { testPermissions(t, n.Mostro) })
	t.Run("macaroon revoked", func(t *testing.T) { drillRevoked(t, n.Mostro) })
	t.Run("macaroon expired", func(t *testing.T) { drillExpired(t, n.Mostro) })
	t.Run("disk full", func(t *testing.T) { drillDiskFull(t, n, disk) })
	t.Run("wallet swapped", func(t *testing.T) { drillWalletSwapped(t, n.Mostro) })
}

// BenchmarkBareTrades measures the node calls of a trade on real nodes, without an
// escrow:
//
//	go test ./escrow/lnd -run '^$' -bench Bare -benchtime 1x
func BenchmarkBareTrades(b *testing.B) {
	n := realNetwork(lndtest.Start(b))
	for _, c := range []struct{ trades, parallel int }{{20, 1}, {100, 10}} {
		b.Run(fmt.Sprintf("%d at a time", c.parallel), func(b *testing.B) {
			for b.Loop() {
				bare, err := lncontract.RunBare(b.Context(), n, c.trades, c.parallel)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(bare.PerSecond(), "trades/s")
			}
		})
	}
}
