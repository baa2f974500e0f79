package escrow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/rating"
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

// ErrRefundMoves reports that the node has the payment of an earlier refund in flight, or has
// paid it. Another decision would move the amount twice.
var ErrRefundMoves = errors.New("the Lightning node has the payment of an earlier refund in flight or has paid it: the program records the payment within a day, and for a frozen trade after 'mostrodex trade resume'")

// Resolve applies a decision about an amount in suspense. Resolve returns ErrUncompared, an
// error of the node, or an error of TradeBook.Resolve.
func (e *Engine) Resolve(ctx context.Context, id trade.OrderID, r Resolution) error {
	reachable := r.Outcome == trade.OutcomeRefund && siteOf(r.To) != "" && e.Addresses.Probe(ctx, r.To) == nil
	last, err := e.lastRefund(ctx, id, r.Hash)
	if err != nil {
		return err
	}
	return e.Ask(ctx, func(b *TradeBook, at int64) error {
		if !e.awake || b.Reconciling {
			return ErrUncompared
		}
		_, withheld := e.withheld[id]
		return b.Resolve(id, r, reachable, withheld, last, at)
	})
}

// lastRefund returns the node's state of the last payment of the open refund of a hold, or
// trade.PaymentUnknown if there was no payment.
func (e *Engine) lastRefund(ctx context.Context, id trade.OrderID, hold trade.Hash) (trade.PaymentStatus, error) {
	t, err := e.Trade(ctx, id)
	n := t.Refund(hold)
	if err != nil || n == 0 || t.Outflows[n-1].LastHash == (trade.Hash{}) {
		return trade.PaymentUnknown, err
	}
	state, err := e.Node.TrackPayment(ctx, t.Outflows[n-1].LastHash)
	if errors.Is(err, lightning.ErrNotFound) {
		return trade.PaymentUnknown, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up the last payment of the refund: %w", err)
	}
	return state.Status, nil
}

// HeldSats returns the sum of the payments that the node holds for open trades.
func (e *Engine) HeldSats(ctx context.Context) (sats int64, err error) {
	err = e.Ask(ctx, func(b *TradeBook, _ int64) error { sats = b.heldMsat / 1000; return nil })
	return sats, err
}

// Reputation returns the record of an identity, or mostro.ErrNotFound.
func (e *Engine) Reputation(ctx context.Context, identity string) (r rating.Record, err error) {
	err = e.Ask(ctx, func(b *TradeBook, _ int64) error {
		var err error
		if r, err = b.ratings.Record(identity); errors.Is(err, ErrNoRow) {
			return mostro.ErrNotFound
		}
		return err
	})
	return r, err
}

// RevokeImports takes back the imports of reputation that a key has signed and that this node
// recorded at or after a time, 0 for all. It returns their number. Its errors are ErrReason
// and those of the store.
func (e *Engine) RevokeImports(ctx context.Context, key string, after int64, reason string) (n int, err error) {
	if reason == "" || len(reason) > maxReason {
		return 0, ErrReason
	}
	for more := true; more; {
		some := 0
		err := e.Ask(ctx, func(b *TradeBook, at int64) error {
			var effects []rating.Effect
			var err error
			if some, more, effects, err = b.ratings.Revoke(key, after, reason, at); err != nil {
				return err
			}
			return b.affect(effects, at)
		})
		if err != nil {
			return n, err
		}
		n += some
	}
	e.Logger.Warn("an operator has revoked imported reputation", "issuer_key", key, "after", after, "imports", n, "reason", reason)
	return n, nil
}

// RebindReputation moves the binding of an identity's exported reputation to another identity,
// for a user who has lost the bound one. It returns the identity before, "" for none. Its
// errors are ErrReason and mostro.ErrNotFound.
func (e *Engine) RebindReputation(ctx context.Context, identity, to, reason string) (was string, err error) {
	if reason == "" || len(reason) > maxReason {
		return "", ErrReason
	}
	err = e.Ask(ctx, func(b *TradeBook, at int64) error {
		var err error
		if was, err = b.ratings.Rebind(identity, to, reason, at); errors.Is(err, ErrNoRow) {
			return mostro.ErrNotFound
		}
		return err
	})
	if err == nil {
		e.Logger.Warn("an operator has moved the binding of an exported reputation", "identity", identity, "from", was, "to", to, "reason", reason)
	}
	return was, err
}

// DevFees returns the development fees that are not paid, in no order.
func (e *Engine) DevFees(ctx context.Context) (list []devfee.Fee, err error) {
	err = e.Ask(ctx, func(b *TradeBook, _ int64) error { list = slices.Collect(maps.Values(b.fund.fees)); return nil })
	return list, err
}

// DevFeeTotal returns the sum of the development fees that are not paid.
func (e *Engine) DevFeeTotal(ctx context.Context) (t devfee.Total, err error) {
	err = e.Ask(ctx, func(b *TradeBook, _ int64) error { t = devfee.Sum(b.fund.fees); return nil })
	return t, err
}

// RetryDevFee begins a parked development fee again, after an operator has seen that it is not
// paid. RetryDevFee returns mostro.ErrNotFound if there is no such trade, and trade.ErrNothing
// if its fee is not parked.
func (e *Engine) RetryDevFee(ctx context.Context, id trade.OrderID) error {
	return e.Ask(ctx, func(b *TradeBook, at int64) error {
		if !e.awake || b.Reconciling {
			return ErrUncompared
		}
		err := b.fund.retry(id, at)
		if errors.Is(err, ErrNoRow) {
			return mostro.ErrNotFound
		}
		return err
	})
}

// Errors about facts that an operator names and the Lightning node does not confirm.
var (
	ErrFeePayment  = errors.New("the Lightning node has no successful payment of exactly this fee under the hash, or the hash belongs to another payment of this Mostro: see 'lncli listpayments'")
	ErrFeeMoves    = errors.New("the Lightning node has paid this fee or has its payment in flight: name that payment with --hash (see 'mostrodex devfee list'), or wait until it has ended")
	ErrNotOverpaid = errors.New("the Lightning node says of no settled hold of this trade that more was paid than the ledger has: see 'mostrodex ledger check'")
)

// SettleDevFee records that the fund has received a fee that is parked, as an operator decides:
// by a payment of this node, or if h is zero by another wallet. Its errors are ErrReason,
// ErrFeePayment, ErrFeeMoves, ErrUncompared, mostro.ErrNotFound, trade.ErrNothing if the trade owes
// no parked fee, and those of the node.
func (e *Engine) SettleDevFee(ctx context.Context, id trade.OrderID, h trade.Hash, reason string) error {
	// Without a hash, the last payment of the parked fee itself is looked up.
	asked := h
	if asked == (trade.Hash{}) {
		if err := e.Ask(ctx, func(b *TradeBook, _ int64) error { asked = b.fund.fees[id].Hash; return nil }); err != nil {
			return err
		}
	}
	var paid lightning.PaymentState
	if asked != (trade.Hash{}) {
		var err error
		if paid, err = e.Node.TrackPayment(ctx, asked); err != nil && !errors.Is(err, lightning.ErrNotFound) {
			return fmt.Errorf("look up the payment of a development fee: %w", err)
		}
	}
	return e.Ask(ctx, func(b *TradeBook, at int64) error {
		if !e.awake || b.Reconciling {
			return ErrUncompared
		}
		err := b.fund.settle(id, h, paid, reason, at)
		if errors.Is(err, ErrNoRow) {
			return mostro.ErrNotFound
		}
		return err
	})
}

// Overpaid records the amount that was paid for the settled hold of a trade, if it is more than
// the journal says: journals from before December 2026 have no amounts. Its errors are ErrReason,
// ErrNotOverpaid, ErrUncompared, mostro.ErrNotFound, and those of the node.
func (e *Engine) Overpaid(ctx context.Context, id trade.OrderID, reason string) error {
	if reason == "" || len(reason) > maxReason {
		return ErrReason
	}
	t, err := e.Trade(ctx, id)
	if err != nil {
		return err
	}
	hold, err := e.Node.LookupHold(ctx, t.Hash)
	if errors.Is(err, lightning.ErrNotFound) {
		return ErrNotOverpaid
	}
	if err != nil {
		return fmt.Errorf("look up a settled hold: %w", err)
	}
	in := trade.Input{Kind: trade.InOverpaid, Hash: t.Hash, Hold: trade.Hold{Phase: hold.Phase, PaidMsat: hold.PaidMsat}, Reason: reason}
	return e.Ask(ctx, func(b *TradeBook, at int64) error {
		if !e.awake || b.Reconciling {
			return ErrUncompared
		}
		now, err := b.trade(id)
		if err != nil {
			return err
		}
		in.At = at
		if err = b.step(now, in); errors.Is(err, trade.ErrNothing) {
			return ErrNotOverpaid
		}
		return err
	})
}

// Trade returns the current state of a trade, open or over, or mostro.ErrNotFound.
func (e *Engine) Trade(ctx context.Context, id trade.OrderID) (t trade.Trade, err error) {
	err = e.Ask(ctx, func(b *TradeBook, _ int64) error {
		var err error
		t, err = b.trade(id)
		if errors.Is(err, ErrNoRow) {
			return mostro.ErrNotFound
		}
		return err
	})
	return t, err
}

// Resume lets a frozen trade continue unchanged. PayAfterAll starts the payout of a frozen
// trade whose hold the node has settled although this store has no release. Both are
// decisions of an operator. Both return mostro.ErrNotFound if there is no such trade, and
// ErrNothing if the trade is not in a state for the call.
func (e *Engine) Resume(ctx context.Context, id trade.OrderID) error {
	return e.verdict(ctx, id, trade.InResume)
}

// PayAfterAll is described at Resume.
func (e *Engine) PayAfterAll(ctx context.Context, id trade.OrderID) error {
	return e.verdict(ctx, id, trade.InPayAfterAll)
}

func (e *Engine) verdict(ctx context.Context, id trade.OrderID, kind trade.InputKind) error {
	return e.Ask(ctx, func(b *TradeBook, at int64) error {
		t, err := b.trade(id)
		if errors.Is(err, ErrNoRow) {
			return mostro.ErrNotFound
		}
		if err != nil {
			return err
		}
		return b.step(t, trade.Input{At: at, Kind: kind})
	})
}

// Close ends a trade by hand whose escrow is gone, or that is frozen. The errors of Close are
// ErrUncompared and those of TradeBook.Close.
func (e *Engine) Close(ctx context.Context, id trade.OrderID, outcome trade.Outcome, reason string) error {
	return e.Ask(ctx, func(b *TradeBook, at int64) error {
		if !e.awake || b.Reconciling {
			return ErrUncompared
		}
		_, withheld := e.withheld[id]
		return b.Close(id, outcome, reason, withheld, at)
	})
}

// Decide applies a decision of the operator about a dispute. The errors of Decide are
// ErrUncompared and those of TradeBook.DecideAs.
func (e *Engine) Decide(ctx context.Context, id trade.OrderID, action message.Action, reason string) error {
	return e.DecideAs(ctx, e.Events.Pubkey, id, action, reason)
}

// DecideAs applies a decision of a solver, or of the node's own key, about a dispute. Its errors
// are ErrUncompared and those of TradeBook.DecideAs.
func (e *Engine) DecideAs(ctx context.Context, by string, id trade.OrderID, action message.Action, reason string) error {
	return e.Ask(ctx, func(b *TradeBook, at int64) error {
		if !e.awake || b.Reconciling {
			return ErrUncompared
		}
		return b.DecideAs(by, id, action, reason, at)
	})
}

// RoleOf returns the present role of a key, or "".
func (e *Engine) RoleOf(ctx context.Context, key string) (role trade.Role, err error) {
	err = e.Ask(ctx, func(b *TradeBook, _ int64) error { role = b.role(key); return nil })
	return role, err
}

// SetSolver gives a key a role, or with the role "" removes it. Its errors are those of
// TradeBook.SetSolver.
func (e *Engine) SetSolver(ctx context.Context, key string, role trade.Role) error {
	return e.Ask(ctx, func(b *TradeBook, at int64) error { return b.SetSolver(key, role, at) })
}

// Solvers returns the keys that may take disputes.
func (e *Engine) Solvers(ctx context.Context) (list []Solver, err error) {
	err = e.Ask(ctx, func(b *TradeBook, _ int64) error { list = b.Solvers(); return nil })
	return list, err
}

// Paused reports whether new trades are stopped, and whether the reason is a comparison
// with the node of a store that may be an older copy.
func (e *Engine) Paused(ctx context.Context) (paused, reconciling bool, err error) {
	err = e.Ask(ctx, func(b *TradeBook, _ int64) error { paused, reconciling = b.Paused(), b.Reconciling; return nil })
	return paused, reconciling, err
}

// Trades returns the current state of the open trades, in no order.
func (e *Engine) Trades(ctx context.Context) (list []trade.Trade, err error) {
	err = e.Ask(ctx, func(b *TradeBook, _ int64) error {
		list = list[:0] // a batch may be decided twice
		b.Trades(func(t *trade.Trade) { list = append(list, *t) })
		return nil
	})
	return list, err
}

// ErrOwnReason reports that an operator named the reason of an automatic maintenance.
var ErrOwnReason = errors.New("the reason " + ReasonLNDUnsynced + " is the program's own")

// Maintain begins or ends maintenance as an operator's decision. A maintenance that the program
// has begun becomes the operator's.
func (e *Engine) Maintain(ctx context.Context, on bool, reason string) error {
	m := Maintenance{On: on, Reason: reason}
	if !on {
		m = Maintenance{}
	}
	if m.Reason == ReasonLNDUnsynced {
		return ErrOwnReason
	}
	return e.Ask(ctx, func(b *TradeBook, at int64) error { b.SetMaintenance(m, at); return nil })
}

// Maintenance returns the present maintenance.
func (e *Engine) Maintenance(ctx context.Context) (m Maintenance, err error) {
	err = e.Ask(ctx, func(b *TradeBook, _ int64) error { m = b.Maintenance(); return nil })
	return m, err
}

// Pause stops new trades, or allows them again. The setting survives a restart.
func (e *Engine) Pause(ctx context.Context, paused bool) error {
	return e.Ask(ctx, func(b *TradeBook, _ int64) error { b.Pause(paused); return nil })
}
