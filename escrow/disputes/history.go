package disputes

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/webpage"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// happening is one step of a trade in plain words.
type happening struct {
	At     webpage.Moment
	Text   string
	Reason string // that a solver or the operator gave
	Class  string // "party", "solver" or "node"; for the colour of the row
}

// maxSteps is the number of steps of a journal that are read, and maxShown the number that a
// page shows.
const (
	maxSteps = 20_000
	maxShown = 200
)

var errEnough = errors.New("enough steps")

// routine reports the steps that are no action of a party.
func routine(on trade.Trigger) bool {
	switch on {
	case trade.OnGuard, trade.OnTrack, trade.OnRestart, trade.OnClockBack, trade.OnHoldMade, trade.OnRetry, trade.OnMinted, trade.OnPaySent:
		return true
	}
	return false
}

// past is the history of a trade.
type past struct {
	Steps   []happening
	Left    int  // routine steps that are left out
	Earlier int  // steps before the first one that is shown
	Partial bool // the journal is longer than the part that was read
}

// history replays the journal of a trade, and says each step in plain words.
func history(ctx context.Context, e Escrow, t *trade.Trade, now time.Time) (p past, err error) {
	var at trade.Trade
	n := 0
	err = e.Journal(ctx, t.ID, func(in trade.Input) error {
		if n++; n > maxSteps {
			p.Partial = true
			return errEnough
		}
		next, _, err := trade.Step(at, in)
		if err != nil {
			// The row was written by rules that this program does not have.
			p.Steps = append(p.Steps, happening{At: webpage.MomentAt(time.Unix(in.At, 0), now), Text: "A step that this program cannot read (" + string(in.Kind) + ").", Class: "node"})
			return nil
		}
		before := at
		at = next
		if routine(next.Last) && !(next.Frozen && !before.Frozen) {
			p.Left++
			return nil
		}
		h := describe(&before, &next, &in)
		h.At = webpage.MomentAt(time.Unix(in.At, 0), now)
		p.Steps = append(p.Steps, h)
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if over := len(p.Steps) - maxShown; over > 0 {
		p.Earlier, p.Steps = over, p.Steps[over:]
	}
	return p, err
}

// sideOf returns the side of the sender of an input: "buyer", "seller", or "".
func sideOf(t *trade.Trade, in *trade.Input) string {
	if in.Request == nil {
		return ""
	}
	switch from := in.Request.From; {
	case from.Key != "" && from.Key == t.Buyer.Key:
		return "buyer"
	case from.Key != "" && from.Key == t.Seller.Key:
		return "seller"
	}
	return ""
}

// solverText names the key that takes or decides.
func solverText(key string, role trade.Role) string {
	if role == trade.RoleNode {
		return "the operator, under the key of this Mostro"
	}
	return "solver " + short(key)
}

// describe says a step in plain words.
func describe(before, t *trade.Trade, in *trade.Input) happening {
	side, class := sideOf(t, in), "node"
	if side == "" {
		side = sideOf(before, in)
	}
	if side != "" {
		class = "party"
	}
	say := func(text string, args ...any) happening {
		return happening{Text: fmt.Sprintf(text, args...), Class: class}
	}
	maker := "seller"
	if t.Kind == mostro.SideBuy {
		maker = "buyer"
	}
	switch t.Last {
	case trade.OnNewOrder:
		return say("The %s published the order: %s.", maker, orderText(t))
	case trade.OnSpawn:
		return say("The rest of a range order became this order of the %s: %s.", maker, orderText(t))
	case trade.OnTakeSell, trade.OnTakeSellInvoice:
		return say("A buyer took the order: %s for %s.", satsText(t.AmountSats), fiatText(t))
	case trade.OnTakeBuy:
		return say("A seller took the order: %s for %s.", satsText(t.AmountSats), fiatText(t))
	case trade.OnRotate:
		return say("The %s changed the key of the order.", maker)
	case trade.OnHoldImpossible:
		return say("The Lightning node could not make the invoice for the seller. The order went back to the book.")
	case trade.OnHoldTooShort:
		return say("The payment of the seller left too little time. It was given back, and the order went back to the book.")
	case trade.OnAddInvoice:
		return say("The buyer named where the sats are to be paid.")
	case trade.OnHeld:
		return say("The seller paid: this Mostro holds %s.", satsText(t.LockSats()))
	case trade.OnHeldNoInvoice:
		return say("The seller paid: this Mostro holds %s, and waits for the invoice of the buyer.", satsText(t.LockSats()))
	case trade.OnFiatSent:
		return say("The buyer says that the %s are sent.", fiatText(t))
	case trade.OnRelease:
		return say("The seller released the sats.")
	case trade.OnSettled:
		return say("The sats of the seller are settled. The payment to the buyer begins.")
	case trade.OnSettleImpossible:
		return say("The sats could not be settled: the hold had ended before.")
	case trade.OnPaid:
		return say("The buyer was paid.")
	case trade.OnPayFailed:
		return say("A payment to the buyer failed.")
	case trade.OnRemind:
		return say("The buyer was asked for another invoice.")
	case trade.OnCancelMaker, trade.OnCancelTaker:
		return say("The %s cancelled the order.", orOf(side, "party"))
	case trade.OnCancelAsked:
		return say("The %s asked to cancel the trade. The other party has to agree.", orOf(side, "party"))
	case trade.OnCancelAgreed:
		return say("The %s agreed to cancel the trade. The seller has the sats back.", orOf(side, "other party"))
	case trade.OnTimeoutTaker, trade.OnTimeoutMaker:
		return say("A party let its time pass.")
	case trade.OnExpired:
		return say("The order expired.")
	case trade.OnDispute:
		return say("The %s opened the dispute.", t.Dispute.By)
	case trade.OnGuardActive:
		return say("The time of the hold ended, and no party said that fiat was sent. The seller has the sats back.")
	case trade.OnGuardFiatSent:
		return say("The time of the hold comes to its end after fiat was said to be sent: this Mostro opened the dispute for the buyer.")
	case trade.OnEscrowGone:
		return say("The hold ended without this Mostro. The seller has the sats back.")
	case trade.OnContradiction:
		return say("The Lightning node contradicts the store. The trade is frozen until the operator has looked at it.")
	case trade.OnReconcile:
		return say("The store was found to be an older copy of itself.")
	case trade.OnSighted:
		return say("The Lightning node still holds the sats, after the store was found to be an older copy.")
	case trade.OnUncommitted:
		return say("An input could not be written. The trade is frozen until the operator has looked at it.")
	case trade.OnResume:
		class = "solver"
		return say("The operator let the frozen trade go on.")
	case trade.OnPayAfterAll:
		class = "solver"
		return say("The operator began the payment to the buyer.")
	case trade.OnHoldClosed:
		return say("The Lightning node has given the hold back to the seller.")
	case trade.OnSolverTake, trade.OnSolverSettle, trade.OnSolverCancel, trade.OnNodeCancel:
		class = "solver"
		who := "a solver"
		if in.Request != nil {
			who = solverText(in.Request.From.Identity, in.Role)
		}
		text := map[trade.Trigger]string{trade.OnSolverTake: "Taken by %s.", trade.OnSolverSettle: "Decided for the buyer by %s: the sats are settled, and the buyer is paid.",
			trade.OnSolverCancel: "Decided for the seller by %s: the sats go back.", trade.OnNodeCancel: "The order was cancelled by %s."}[t.Last]
		h := say(text, who)
		h.Reason = in.Reason
		return h
	case trade.OnSolverGone:
		class = "solver"
		return say("The solver was removed. The dispute is free again.")
	case trade.OnWarn:
		return say("Both parties and the solver were told that some %d blocks are left.", t.Dispute.Told)
	case trade.OnOverdueCancel:
		return say("No one had decided in time. The rule returned the sats to the seller.")
	case trade.OnOverdueSettle:
		return say("No one had decided in time. The rule has the buyer paid.")
	case trade.OnClosedRefunded, trade.OnClosedPaid:
		class = "solver"
		h := say("The operator closed the trade by hand: %s.", map[trade.Trigger]string{trade.OnClosedRefunded: "the seller has the sats", trade.OnClosedPaid: "the buyer has the sats"}[t.Last])
		h.Reason = in.Reason
		return h
	}
	return say("%s.", t.Last)
}

func orOf(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func satsText(n int64) string { return webpage.Grouped(strconv.FormatInt(n, 10)) + " sats" }

func fiatText(t *trade.Trade) string {
	return webpage.Grouped(strconv.FormatInt(t.FiatAmount, 10)) + " " + Plain(t.Fiat)
}

// orderText returns the offer of an order.
func orderText(t *trade.Trade) string {
	fiat := fiatText(t)
	if t.Range() && t.FiatAmount == 0 {
		fiat = webpage.Grouped(strconv.FormatInt(t.MinFiat, 10)) + "–" + webpage.Grouped(strconv.FormatInt(t.MaxFiat, 10)) + " " + Plain(t.Fiat)
	}
	if t.AmountSats == 0 {
		return fiat + " at the market price"
	}
	return satsText(t.AmountSats) + " for " + fiat
}

// dutyOf says whose turn it is in a dispute.
func dutyOf(t *trade.Trade, v visitor) string {
	d := &t.Dispute
	switch {
	case t.Status != message.TradeDispute:
		return "The dispute is over."
	case t.Frozen:
		return "The operator: the trade is frozen. A verdict decides nothing before the operator has looked at the Lightning node and has resumed or closed the trade (mostrodex trade --help)."
	case t.EscrowGone:
		return "The operator: the hold has ended, and the seller has the sats back. The trade is closed by 'mostrodex trade close', or cancelled here."
	case t.Settling && d.Verdict != nil:
		return "The Lightning node: the verdict for the buyer is being carried out."
	case t.Settling:
		return "The Lightning node: the seller has released, and the sats are being settled."
	case d.Solver.Identity == "":
		return "A solver, or the operator: nobody has taken the dispute."
	case d.Solver.Identity == v.key:
		return "You: you have taken the dispute."
	case d.SolverRole == trade.RoleRead:
		return "A solver who may decide, or the operator: " + solverText(d.Solver.Identity, d.SolverRole) + " has taken the dispute and may only read."
	}
	return "It is the turn of " + solverText(d.Solver.Identity, d.SolverRole) + ", who has taken the dispute."
}
