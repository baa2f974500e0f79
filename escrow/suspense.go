package escrow

import (
	"context"
	"errors"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Resolution is an operator's decision about an amount in suspense: the node has claimed the
// amount although the trade had cancelled its hold. This happens only if an older copy of the
// store was put back.
type Resolution struct {
	Hash    trade.Hash // of the hold
	Msat    int64      // amount in suspense, by the ledger
	Outcome trade.Outcome
	To      string // OutcomeRefund: invoice or address of the seller
	Reason  string
}

// ErrRefundTo reports that a refund cannot be paid to a destination.
var ErrRefundTo = errors.New("the refund cannot be paid to this destination: name an invoice of the whole sats of the amount that is valid for more than an hour, or an address that answers")

// Resolve applies a decision about an amount in suspense. Resolve returns ErrUncompared or an
// error of TradeBook.Resolve.
func (e *Engine) Resolve(ctx context.Context, id trade.OrderID, r Resolution) error {
	reachable := r.Outcome == trade.OutcomeRefund && siteOf(r.To) != "" && e.Addresses.Probe(ctx, r.To) == nil
	return e.Ask(ctx, func(b *TradeBook, at int64) error {
		if !e.awake || b.Reconciling {
			return ErrUncompared
		}
		_, withheld := e.withheld[id]
		return b.Resolve(id, r, reachable, withheld, at)
	})
}

// HeldSats returns the sum of the payments that the node holds for open trades.
func (e *Engine) HeldSats(ctx context.Context) (sats int64, err error) {
	err = e.Ask(ctx, func(b *TradeBook, _ int64) error { sats = b.heldMsat / 1000; return nil })
	return sats, err
}
