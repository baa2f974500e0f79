package lncontract

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"golang.org/x/sync/errgroup"
)

// bareSats is the amount that each bare trade moves from the seller to the buyer.
const bareSats = 1_000

// Bare is the result of RunBare: the time of a trade's node calls without an escrow's
// decisions, storage and messages. It is the baseline for an escrow on the same nodes.
type Bare struct {
	Trades  int
	Elapsed time.Duration
}

// PerSecond returns the number of trades per second.
func (b Bare) PerSecond() float64 { return float64(b.Trades) / b.Elapsed.Seconds() }

// RunBare performs the given number of trades, at most parallel at a time. A trade adds
// a hold invoice, has the seller pay the invoice, waits until the payment is accepted,
// settles, pays the buyer's invoice and waits until the payout has ended. The buyer's
// invoices are made before the clock starts. RunBare returns the first error of a
// trade.
func RunBare(ctx context.Context, n *Network, trades, parallel int) (Bare, error) {
	invoices := make([]string, trades)
	for i := range invoices {
		var err error
		if invoices[i], err = n.Buyer.AddInvoice(ctx, bareSats, "payout", time.Hour); err != nil {
			return Bare{}, err
		}
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(parallel)
	began := time.Now()
	for _, payout := range invoices {
		work.Go(func() error { return n.bareTrade(ctx, payout) })
	}
	if err := work.Wait(); err != nil {
		return Bare{}, err
	}
	return Bare{Trades: trades, Elapsed: time.Since(began)}, nil
}

var errReached = errors.New("reached")

func (n *Network) bareTrade(ctx context.Context, payout string) error {
	invoice, err := lightning.ParseInvoice(payout)
	if err != nil {
		return err
	}
	p := newPreimage()
	bolt11, err := n.Mostro.CreateHold(ctx, lightning.HoldRequest{Hash: p.Hash(), AmountSats: bareSats, Memo: "bare", CLTVBlocks: holdCLTV})
	if err != nil {
		return err
	}
	accepted := make(chan error, 1) // written once
	go func() {
		accepted <- n.Mostro.WatchHold(ctx, p.Hash(), func(s lightning.HoldState) error {
			if s.Phase != trade.HoldOpen {
				return errReached
			}
			return nil
		})
	}()
	if err := n.Seller.Pay(ctx, lightning.Payment{Bolt11: bolt11}); err != nil {
		return err
	}
	if err := <-accepted; !errors.Is(err, errReached) {
		return err
	}
	if err := n.Mostro.Settle(ctx, p); err != nil {
		return err
	}
	if err := n.Mostro.Pay(ctx, lightning.Payment{Bolt11: payout, MaxFeeSats: 10}); err != nil {
		return err
	}
	return n.Mostro.WatchPayment(ctx, invoice.Hash, func(s lightning.PaymentState) error {
		if s.Status == trade.PaymentFailed {
			return fmt.Errorf("payout failed: %s", s.Failure)
		}
		return nil
	})
}
