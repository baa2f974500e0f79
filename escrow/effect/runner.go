package effect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/payoutgate"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Addresses gets invoices from a Lightning address or LNURL. Both calls limit their own
// time, and connect only to public IP addresses.
type Addresses interface {
	// Probe returns nil if the address answers as a Lightning address or LNURL.
	Probe(ctx context.Context, address string) error
	// Mint returns a BOLT11 invoice of exactly that amount.
	Mint(ctx context.Context, address string, amountSats int64) (bolt11 string, err error)
}

// Runner performs the effects that call the Lightning node or an address.
type Runner struct {
	Node      lightning.Node
	Addresses Addresses
	Now       func() time.Time // nil: the system clock
	// Recent returns a description of the node that may be some hundred milliseconds old. nil:
	// the node is asked.
	Recent func(ctx context.Context) (lightning.NodeInfo, error)
	// payoutBlocks is Policy.PayoutBlocks. A blinded path or a route hint adds its own blocks,
	// which the rule about the invoice's last hop does not see.
	PayoutBlocks uint32
	Gate         *payoutgate.Gate           // nil: no limit
	Payee        func(bolt11 string) string // nil: PayeeOf
	Outflow      trade.OutflowKey           // the outflow of the effect
	Fund         fund.Fund
}

func (r Runner) now() int64 {
	if r.Now == nil {
		return time.Now().Unix()
	}
	return r.Now().Unix()
}

func (r Runner) recentInfo(ctx context.Context) (lightning.NodeInfo, error) {
	if r.Recent == nil {
		return r.Node.Info(ctx)
	}
	return r.Recent(ctx)
}

// Result is the result of an effect: an input for its trade, unless Kind is "".
type Result struct {
	Input     trade.Input
	Fee       *devfee.Input   // an input for the trade's development fee
	Reachable bool            // FxProbe
	Phase     trade.HoldPhase // FxLook
}

// Do performs one effect. An effect may be repeated without harm after any earlier event,
// including a crash between any two lines of Do. If Do returns an error, the effect is
// performed again later. refusals is the number of times in a row that the node has
// refused the effect with an unknown text.
func (r Runner) Do(ctx context.Context, e trade.Effect, refusals int) (Result, error) {
	res, err := r.call(ctx, e, refusals)
	if res.Input.Kind != "" {
		res.Input.Outflow = e.Outflow
	}
	return res, err
}

func (r Runner) call(ctx context.Context, e trade.Effect, refusals int) (Result, error) {
	switch e.Kind {
	case trade.FxCreateHold:
		return r.createHold(ctx, e, refusals)
	case trade.FxSettle:
		return r.settle(ctx, e)
	case trade.FxCancel:
		return r.cancel(ctx, e)
	case trade.FxCheckHold:
		return r.checkHold(ctx, e)
	case trade.FxPay:
		return r.pay(ctx, e, refusals)
	case trade.FxTrack:
		return r.track(ctx, e)
	case devfee.FxInvoice, devfee.FxPay, devfee.FxTrack:
		return r.fundEffect(ctx, e, refusals)
	case trade.FxLook:
		state, err := r.Node.LookupHold(ctx, e.Hash)
		if errors.Is(err, lightning.ErrNotFound) {
			state.Phase, err = trade.HoldCanceled, nil
		}
		if err != nil {
			return Result{}, fmt.Errorf("look up a hold: %w", err)
		}
		return Result{Phase: state.Phase}, nil
	case trade.FxMint:
		if err := r.Gate.Room(r.Outflow); err != nil {
			return Result{}, fmt.Errorf("mint: %w", err)
		}
		bolt11, err := r.Addresses.Mint(ctx, e.Text, e.AmountSats)
		if err != nil {
			if ctx.Err() != nil {
				return Result{}, ctx.Err()
			}
			return news(trade.Input{Kind: trade.InMintFailed, Attempt: e.Attempt}), nil
		}
		return news(trade.Input{Kind: trade.InMinted, Attempt: e.Attempt, Bolt11: bolt11}), nil
	case trade.FxProbe:
		err := r.Addresses.Probe(ctx, e.Text)
		if ctx.Err() != nil {
			return Result{}, ctx.Err()
		}
		return Result{Reachable: err == nil}, nil
	}
	return Result{}, fmt.Errorf("effect %q is not an effect of the outbox", e.Kind)
}

func news(in trade.Input) Result { return Result{Input: in} }

// RefusalsBelieved is the number of refusals with an unknown text after which a refusal
// counts: 50 seconds of backoff. Before that, the cause may be a disk that is full for a
// moment.
const RefusalsBelieved = 8

// NodePayoutBlocks is LND's own limit of the time lock of a payment.
const NodePayoutBlocks = 2016

func (r Runner) createHold(ctx context.Context, e trade.Effect, refusals int) (Result, error) {
	bolt11, err := r.Node.CreateHold(ctx, lightning.HoldRequest{
		Hash: e.Hash, AmountSats: e.AmountSats, Memo: e.Memo, CLTVBlocks: e.CLTVBlocks,
		Expiry: time.Duration(e.Seconds) * time.Second,
	})
	switch {
	case errors.Is(err, lightning.ErrExists):
		// An earlier call made the invoice, and its answer was lost.
		state, err := r.Node.LookupHold(ctx, e.Hash)
		if err != nil {
			return Result{}, fmt.Errorf("look up a hold invoice: %w", err)
		}
		switch {
		case state.Phase != trade.HoldOpen:
			// The hold was paid, ended or settled since, so the seller must not receive
			// the invoice as new.
			return r.sighted(ctx, state)
		case state.AmountSats != e.AmountSats:
			// The invoice was made in a time that this store has lost, at another price.
			return news(trade.Input{Kind: trade.InHoldRefused, Hash: e.Hash}), nil
		}
		return news(trade.Input{Kind: trade.InHoldMade, Hash: e.Hash, Bolt11: state.Bolt11}), nil
	case errors.Is(err, lightning.ErrInvoice), errors.Is(err, lightning.ErrRefused) && refusals >= RefusalsBelieved:
		return news(trade.Input{Kind: trade.InHoldRefused, Hash: e.Hash}), nil
	case err != nil:
		return Result{}, fmt.Errorf("create a hold invoice: %w", err)
	}
	return news(trade.Input{Kind: trade.InHoldMade, Hash: e.Hash, Bolt11: bolt11}), nil
}

// sighted returns the state of a hold with the height of the chain, from which Step
// computes how long the hold is still safe.
func (r Runner) sighted(ctx context.Context, state lightning.HoldState) (Result, error) {
	in, err := SightedInput(ctx, r.recentInfo, state)
	if err != nil {
		return Result{}, err
	}
	return news(in), nil
}

// SightedInput adds the height of the chain to an accepted hold. If the node is not
// synced, its height is old, and SightedInput returns an error so that the hold is
// reported later.
func SightedInput(ctx context.Context, ask func(context.Context) (lightning.NodeInfo, error), state lightning.HoldState) (trade.Input, error) {
	in := HoldInput(state.Hash, state)
	if state.Phase != trade.HoldAccepted {
		return in, nil
	}
	info, err := ask(ctx)
	if err != nil {
		return in, fmt.Errorf("ask for the height of the chain: %w", err)
	}
	if !info.Synced {
		return in, fmt.Errorf("%w: the node is not synced to the chain", lightning.ErrUnavailable)
	}
	in.Hold.Height = max(info.Height, state.AcceptHeight)
	return in, nil
}

// LateBlocks is the number of blocks before its expiry at which a hold is too late to
// settle: the payer's node could reclaim the sats on chain at the same time. The node
// cancels a hold by itself long before (HoldExpiryDelta), unless the node was down.
const LateBlocks = 6

// settle treats the answers "not found" and "still open" as a fault of the node (a wrong
// wallet, or a database that was rolled back). An accepted hold does not vanish, and
// giving up would cost the buyer the sats.
func (r Runner) settle(ctx context.Context, e trade.Effect) (Result, error) {
	state, err := r.Node.LookupHold(ctx, e.Hash)
	if err != nil {
		return Result{}, fmt.Errorf("settle: %w", err)
	}
	if state.Phase == trade.HoldAccepted && state.ExpiryHeight != 0 {
		info, err := r.recentInfo(ctx)
		switch {
		case err != nil:
			return Result{}, fmt.Errorf("settle: %w", err)
		case info.Synced && info.Height+LateBlocks >= state.ExpiryHeight:
			return r.tooLate(ctx, e)
		case !info.Synced && e.SafeUntil != 0 && r.now() >= e.SafeUntil:
			return Result{}, fmt.Errorf("settle: %w: the node is not synced to the chain, and the hold may be near its expiry", lightning.ErrUnavailable)
		}
	}
	err = r.Node.Settle(ctx, e.Preimage)
	switch {
	case err == nil:
		return news(trade.Input{Kind: trade.InSettled, Hash: e.Hash}), nil
	case errors.Is(err, lightning.ErrCanceled):
		return news(trade.Input{Kind: trade.InSettleRefused, Hash: e.Hash}), nil
	}
	return Result{}, fmt.Errorf("settle: %w", err)
}

// tooLate cancels a hold that can no longer be settled in time. At this point no party has
// received a message about a settlement.
func (r Runner) tooLate(ctx context.Context, e trade.Effect) (Result, error) {
	err := r.Node.Cancel(ctx, e.Hash)
	switch {
	case err == nil, errors.Is(err, lightning.ErrNotFound):
		return news(trade.Input{Kind: trade.InSettleRefused, Hash: e.Hash}), nil
	case errors.Is(err, lightning.ErrSettled):
		return news(trade.Input{Kind: trade.InSettled, Hash: e.Hash}), nil
	}
	return Result{}, fmt.Errorf("cancel a late hold: %w", err)
}

func (r Runner) cancel(ctx context.Context, e trade.Effect) (Result, error) {
	err := r.Node.Cancel(ctx, e.Hash)
	switch {
	case err == nil, errors.Is(err, lightning.ErrNotFound):
		return news(trade.Input{Kind: trade.InCanceled, Hash: e.Hash}), nil
	case errors.Is(err, lightning.ErrSettled):
		state, err := r.Node.LookupHold(ctx, e.Hash) // the journal records the amount
		if err != nil {
			return Result{}, fmt.Errorf("cancel: %w", err)
		}
		return news(trade.Input{Kind: trade.InCancelRefused, Hash: e.Hash, Hold: holdOf(state)}), nil
	}
	return Result{}, fmt.Errorf("cancel: %w", err)
}

// checkHold does not retry if the node cannot answer: the trade then decides by the clock,
// and asks again soon.
func (r Runner) checkHold(ctx context.Context, e trade.Effect) (Result, error) {
	info, err := r.Node.Info(ctx)
	if err == nil {
		var state lightning.HoldState
		if state, err = r.Node.LookupHold(ctx, e.Hash); err == nil {
			in := trade.Input{Kind: trade.InHold, Hash: e.Hash, Hold: holdOf(state)}
			if info.Synced {
				in.Hold.Height = info.Height
			} else if state.Phase == trade.HoldAccepted {
				return news(trade.Input{Kind: trade.InHoldUnknown, Hash: e.Hash}), nil
			}
			return news(in), nil
		}
	}
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	return news(trade.Input{Kind: trade.InHoldUnknown, Hash: e.Hash}), nil
}

// pay looks up the payment first in every case, because the same effect may have been
// performed before. The node itself refuses a second payment under the same hash, so a
// payment whose answer was lost can be sent again.
func (r Runner) pay(ctx context.Context, e trade.Effect, refusals int) (Result, error) {
	sent := news(trade.Input{Kind: trade.InPaySent, Hash: e.Hash, Attempt: e.Attempt})
	under := func() (bool, error) {
		state, err := r.Node.TrackPayment(ctx, e.Hash)
		if err != nil {
			return false, fmt.Errorf("track a payout: %w", err)
		}
		return state.Status == trade.PaymentInFlight || state.Status == trade.PaymentSucceeded, nil
	}
	payee := r.Payee
	if payee == nil {
		payee = PayeeOf
	}
	if err := r.Gate.Still(r.Outflow, e.Hash, payee(e.Text)); err != nil {
		return Result{}, fmt.Errorf("pay: %w", err)
	}
	if yes, err := under(); yes || err != nil {
		return sent, err
	}
	if err := r.Gate.Enter(r.Outflow, e.Hash, payee(e.Text)); err != nil {
		return Result{}, fmt.Errorf("pay: %w", err)
	}
	err := r.Node.Pay(ctx, lightning.Payment{Bolt11: e.Text, AmountSats: e.AmountSats, MaxFeeSats: e.MaxFeeSats, MaxCLTVBlocks: r.PayoutBlocks})
	switch {
	case err == nil, errors.Is(err, lightning.ErrExists):
		return sent, nil
	case errors.Is(err, lightning.ErrInvoice), errors.Is(err, lightning.ErrRefused) && refusals >= RefusalsBelieved:
		// The node will not attempt the payment, unless an earlier call whose answer was
		// lost started it. A refusal with an unknown text counts only after repeats: until
		// the refusal counts, the buyer cannot name another invoice.
		if yes, err := under(); yes || err != nil {
			return sent, err
		}
		// The invoice may have expired while the payout waited for room.
		return news(trade.Input{Kind: trade.InPayRefused, Hash: e.Hash, Attempt: e.Attempt, Deferred: r.Gate.Waited(r.Outflow, e.Hash)}), nil
	}
	return Result{}, fmt.Errorf("pay: %w", err)
}

func (r Runner) track(ctx context.Context, e trade.Effect) (Result, error) {
	state, err := r.Node.TrackPayment(ctx, e.Hash)
	if err != nil {
		return Result{}, fmt.Errorf("track a payout: %w", err)
	}
	return news(PaymentInput(e.Hash, e.Attempt, state)), nil
}

// PaymentInput returns the input for a payment in a state of the node.
func PaymentInput(h trade.Hash, attempt uint32, state lightning.PaymentState) trade.Input {
	return trade.Input{Kind: trade.InPayment, Hash: h, Attempt: attempt, Payment: trade.Result{Status: state.Status, FeeMsat: state.FeeMsat}}
}

// HoldInput returns the input for a hold in a state of the node, without the height of the
// chain.
func HoldInput(h trade.Hash, state lightning.HoldState) trade.Input {
	return trade.Input{Kind: trade.InHold, Hash: h, Bolt11: state.Bolt11, Hold: holdOf(state)}
}

func holdOf(s lightning.HoldState) trade.Hold {
	return trade.Hold{Phase: s.Phase, ExpiryHeight: s.ExpiryHeight, AcceptHeight: s.AcceptHeight, AmountSats: s.AmountSats, PaidMsat: s.PaidMsat}
}

// fundEffect performs the effects of a fee. The effects may be repeated without harm.
func (r Runner) fundEffect(ctx context.Context, e trade.Effect, refusals int) (Result, error) {
	if e.Kind == devfee.FxInvoice {
		in, err := r.Fund.Request(ctx, r.Outflow.Trade, e, func(ctx context.Context, h trade.Hash) (trade.Result, error) {
			state, err := r.Node.TrackPayment(ctx, h)
			return trade.Result{Status: state.Status, FeeMsat: state.FeeMsat}, err
		})
		return Result{Fee: in}, err
	}
	// The limits of payouts are for buyers. A fee takes none of their room, and the end of its
	// payment does not free the room of the trade's payout, which may still be in flight.
	r.Gate = nil
	var res Result
	var err error
	if e.Kind == devfee.FxPay {
		res, err = r.pay(ctx, e, refusals)
	} else {
		res, err = r.track(ctx, e)
	}
	if err != nil {
		return Result{}, err
	}
	in := devfee.Input{Kind: devfee.InPayment, Hash: e.Hash, Attempt: e.Attempt, Payment: res.Input.Payment}
	switch res.Input.Kind {
	case trade.InPaySent:
		in.Kind = devfee.InSent
	case trade.InPayRefused:
		in.Kind = devfee.InRefused
	}
	return Result{Fee: &in}, nil
}

// PayeeOf returns the public key of the node that an invoice pays, or "".
func PayeeOf(bolt11 string) string {
	in, err := lightning.ParseInvoice(bolt11)
	if err != nil {
		return ""
	}
	return in.Payee
}
