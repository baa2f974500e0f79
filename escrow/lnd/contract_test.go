package lnd_test

import (
	"context"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lncontract"
	"github.com/mostrodex/mostrodex/escrow/lnd"
	"github.com/mostrodex/mostrodex/escrow/lndtest"
)

// wallet is a real node as the contract wants it: its client, and what the
// test harness asks of it directly.
type wallet struct {
	*lnd.Client
	node *lndtest.Node
}

func (w wallet) AddInvoice(ctx context.Context, sats int64, memo string, expiry time.Duration) (string, error) {
	return w.node.AddInvoice(ctx, sats, memo, expiry)
}

func (w wallet) BalanceMsat(ctx context.Context) (int64, error) { return w.node.BalanceMsat(ctx) }

func TestContract(t *testing.T) {
	n := lndtest.Start(t)
	of := func(node *lndtest.Node) wallet { return wallet{node.Lightning, node} }
	lncontract.Run(t, &lncontract.Network{
		Mostro: of(n.Mostro), Seller: of(n.Seller), Buyer: of(n.Buyer),
		Mine:     n.Mine,
		Restart:  func(ctx context.Context) error { return n.Restart(ctx, n.Mostro, false) },
		Kill:     func(ctx context.Context) error { return n.Restart(ctx, n.Mostro, true) },
		Pause:    func() { time.Sleep(20 * time.Millisecond) },
		Sleep:    time.Sleep,
		Patience: 90 * time.Second,
	})
	t.Run("permissions", func(t *testing.T) { testPermissions(t, n.Mostro) })
}
