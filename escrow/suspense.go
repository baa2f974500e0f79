package escrow

import (
	"context"
	"errors"
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
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

// Resolve applies a decision about an amount in suspense. reachable reports that the address of
// a refund answers. withheld reports that the outbox holds the trade's calls back. Resolve
// returns ErrReason, ErrRefundTo, ErrUnderWay if a call for an earlier refund may be performed,
// mostro.ErrNotFound if there is no such trade, and trade.ErrNothing if the amount has an owner
// already or its refund is in flight.
func (b *TradeBook) Resolve(id trade.OrderID, r Resolution, reachable, withheld bool, at int64) error {
	if r.Reason == "" || len(r.Reason) > maxReason {
		return ErrReason
	}
	t, err := b.trade(id)
	if errors.Is(err, ErrNoRow) {
		return mostro.ErrNotFound
	}
	if err != nil {
		return err
	}
	in := trade.Input{At: at, Kind: trade.InResolve, Hash: r.Hash, Hold: trade.Hold{Phase: trade.HoldSettled, PaidMsat: r.Msat}, Outcome: r.Outcome, Reason: r.Reason}
	if r.Outcome == trade.OutcomeRefund {
		dest := b.Decode(r.To)
		if err := b.claimed(&dest, id); err != nil {
			return err
		}
		dest.Reachable = reachable
		in.Invoice = &dest
	}
	var rows []uint64
	if n := t.Refund(r.Hash); n != 0 {
		if rows, err = b.moving(id, n); err != nil {
			return err
		}
	}
	if len(rows) > 0 && !withheld {
		return ErrUnderWay
	}
	err = b.step(t, in)
	var refusal message.CantDo
	if errors.As(err, &refusal) {
		return ErrRefundTo
	}
	if err != nil {
		return err
	}
	for _, row := range rows {
		b.Done(row)
	}
	return nil
}

// moving returns the rows of the outbox that may move money for one outflow of a trade: for the
// payout also those about the hold.
func (b *TradeBook) moving(id trade.OrderID, outflow uint32) (rows []uint64, err error) {
	err = b.store.Outbox(func(r OutboxRow) error {
		switch k := r.Effect.Kind; {
		case keyOf(r) != (trade.OutflowKey{Trade: id, N: outflow}):
		case k == trade.FxPay || k == trade.FxSettle || k == trade.FxMint || k == trade.FxCreateHold:
			rows = append(rows, r.ID)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	return rows, nil
}

// HeldSats returns the sum of the payments that the node holds for open trades.
func (e *Engine) HeldSats(ctx context.Context) (sats int64, err error) {
	err = e.Ask(ctx, func(b *TradeBook, _ int64) error { sats = b.heldMsat / 1000; return nil })
	return sats, err
}
