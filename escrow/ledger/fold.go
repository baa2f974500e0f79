package ledger

import (
	"fmt"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// HoldState is the state of a hold invoice according to the journal.
type HoldState uint8

const (
	HoldOrdered  HoldState = iota // the node was asked for the invoice; no payment is known
	HoldHeld                      // paid
	HoldSettling                  // released by the seller; the node is asked to settle
	HoldClosing                   // cancelled; the node has not confirmed
	HoldDone                      // settled
	HoldClosed                    // cancelled or ended; an amount is returned
	HoldSuspense                  // cancelled here, but settled at the node
	HoldResolved                  // settled at the node, and an operator has decided about the amount
)

var holdStateNames = [...]string{"ordered", "held", "settling", "closing", "settled", "closed", "suspense", "resolved"}

// String returns the state in one word, for example "held".
func (s HoldState) String() string { return nameOf(holdStateNames[:], uint8(s)) }

// PayoutState is the state of a payment of the node according to the journal.
type PayoutState uint8

const (
	PayoutClaimed PayoutState = iota // committed; the node may have received the payment
	PayoutSent                       // accepted by the node; no outcome is known
	PayoutFailed                     // the trade may pay another invoice instead
	PayoutPaid                       // succeeded
)

var payoutStateNames = [...]string{"claimed", "sent", "failed", "paid"}

// String returns the state in one word, for example "sent".
func (s PayoutState) String() string { return nameOf(payoutStateNames[:], uint8(s)) }

func nameOf(names []string, i uint8) string {
	if int(i) < len(names) {
		return names[i]
	}
	return fmt.Sprintf("state %d", i)
}

// HoldRow is one hold invoice of a trade.
type HoldRow struct {
	Hash      trade.Hash
	AskedMsat int64 // amount of the invoice
	PaidMsat  int64 // amount that the seller has paid
	HeldMsat  int64 // balance of the hold account
	State     HoldState
}

// PayoutRow is one payment to the buyer, of another outflow, or to the development fund. A retry
// under the same hash has no row of its own.
type PayoutRow struct {
	Hash    trade.Hash
	Msat    int64 // amount that the payee receives
	FeeMsat int64 // routing fee, if paid
	State   PayoutState
}

// Fold is the ledger of one trade after a number of journal steps. The zero Fold is the
// ledger of a trade that does not exist yet. A Fold needs memory only for its holds and
// payouts, and not for its transactions.
type Fold struct {
	Trade    trade.Trade
	Balances Balances
	Holds    []HoldRow
	Payouts  []PayoutRow
	other    bool // a transaction was posted that does not follow from the journal

	// post replaces Post in tests.
	post func(Step) ([]Transaction, error)
}

// Apply replays one row of the trade's journal, and returns its transactions. If Apply
// returns an error, the fold is unchanged.
func (f *Fold) Apply(in trade.Input) ([]Transaction, error) {
	next, _, err := trade.Step(f.Trade, in)
	if err != nil {
		return nil, fmt.Errorf("journal of %s, row %d: %w", f.Trade.ID, f.Trade.Steps+1, err)
	}
	return f.Observe(in, next)
}

// Observe is like Apply, for a caller that has the next state of the trade. Observe does not
// replay the step.
func (f *Fold) Observe(in trade.Input, after trade.Trade) ([]Transaction, error) {
	s := Step{Before: f.Trade, After: after, Input: in}
	h := s.Hold()
	if row := f.hold(h); row != nil {
		s.HeldMsat = row.HeldMsat
		if row.State == HoldSuspense {
			s.SuspenseMsat = row.PaidMsat
		}
	}
	post := f.post
	if post == nil {
		post = Post
	}
	list, err := post(s)
	if err != nil {
		return nil, err
	}
	balances := f.Balances
	for _, t := range list {
		if err := t.Check(); err != nil {
			return nil, &Violation{Law: LawBalanced, Trade: after.ID, Step: after.Steps, Text: err.Error()}
		}
		if err := balances.Post(t); err != nil {
			return nil, fmt.Errorf("trade %s, step %d: %w", after.ID, after.Steps, err)
		}
	}
	f.Trade, f.Balances = after, balances
	f.follow(s, list)
	return list, nil
}

// PostOther posts a transaction that does not follow from the journal of the trade, for
// example about a bond.
func (f *Fold) PostOther(t Transaction) error {
	if err := t.Check(); err != nil {
		return &Violation{Law: LawBalanced, Trade: t.Trade, Step: t.Step, Text: err.Error()}
	}
	f.other = true
	return f.Balances.Post(t)
}

func (f *Fold) hold(h trade.Hash) *HoldRow {
	for i := range f.Holds {
		if f.Holds[i].Hash == h {
			return &f.Holds[i]
		}
	}
	return nil
}

func (f *Fold) payout(h trade.Hash) *PayoutRow {
	for i := range f.Payouts {
		if f.Payouts[i].Hash == h {
			return &f.Payouts[i]
		}
	}
	f.Payouts = append(f.Payouts, PayoutRow{Hash: h})
	return &f.Payouts[len(f.Payouts)-1]
}

// follow updates the rows of holds and payouts after a step.
func (f *Fold) follow(s Step, list []Transaction) {
	t := s.After
	if t.Hash != (trade.Hash{}) && t.Hash != s.Before.Hash {
		f.Holds = append(f.Holds, HoldRow{Hash: t.Hash, AskedMsat: t.LockSats() * 1000})
	}
	for _, tx := range list {
		for _, e := range tx.Entries {
			if row := f.hold(tx.Hash); e.Kind == Hold && row != nil {
				row.HeldMsat += e.Msat
				row.PaidMsat = max(row.PaidMsat, row.HeldMsat)
			}
		}
	}
	if row := f.hold(s.Hold()); row != nil {
		switch {
		case s.settled():
			row.State = HoldDone
		case s.found():
			row.PaidMsat = t.HeldMsat()
		case s.closed() && s.Input.Kind == trade.InCancelRefused:
			row.State = HoldSuspense
		case s.resolved(), s.refunded():
			row.State = HoldResolved
		case s.closed(), s.ended():
			row.State = HoldClosed
		}
	}
	for _, h := range t.Closing {
		if row := f.hold(h); row != nil {
			row.State = HoldClosing
		}
	}
	if row := f.hold(t.Hash); row != nil && row.State < HoldClosing {
		switch {
		case t.Settling:
			row.State = HoldSettling
		case t.HeldAt != 0:
			row.State = HoldHeld
		}
	}
	before, p := s.Before.Payout, t.Payout
	if before.Hash != (trade.Hash{}) && before.Hash != p.Hash {
		f.payout(before.Hash).State = PayoutFailed
	}
	switch {
	case p.Hash != trade.Hash{}:
		row := f.payout(p.Hash)
		row.Msat, row.State = t.PayoutSats()*1000, PayoutClaimed
		if p.Sent {
			row.State = PayoutSent
		}
	case s.paid():
		row := f.payout(p.LastHash)
		row.Msat, row.FeeMsat, row.State = t.PayoutSats()*1000, p.FeeMsat, PayoutPaid
	}
	if s.devFeePaid() && !t.DevFeePaid.ByHand {
		row := f.payout(t.DevFeePaid.Hash)
		row.Msat, row.FeeMsat, row.State = t.DevFeeSats*1000, t.DevFeePaid.FeeMsat, PayoutPaid
	}
	for i := range t.Outflows {
		var was trade.Outflow
		if i < len(s.Before.Outflows) {
			was = s.Before.Outflows[i]
		}
		f.followOutflow(was, t.Outflows[i])
	}
}

// followOutflow updates the rows of payments after a step of an outflow other than the
// buyer's.
func (f *Fold) followOutflow(was, o trade.Outflow) {
	if was.Hash != (trade.Hash{}) && was.Hash != o.Hash {
		f.payout(was.Hash).State = PayoutFailed
	}
	switch {
	case o.Hash != trade.Hash{}:
		row := f.payout(o.Hash)
		row.Msat, row.State = o.AmountSats*1000, PayoutClaimed
		if o.Sent {
			row.State = PayoutSent
		}
	case o.Done() && !o.Withdrawn && !was.Done():
		row := f.payout(o.LastHash)
		row.Msat, row.FeeMsat, row.State = o.AmountSats*1000, o.FeeMsat, PayoutPaid
	}
}

// Law names a rule that the ledger never breaks.
type Law string

// The laws.
const (
	LawBalanced Law = "balanced" // the entries of a transaction sum to zero
	LawSign     Law = "sign"     // no account of a trade is negative
	LawState    Law = "state"    // the accounts of a trade follow from its state
	LawOver     Law = "over"     // the accounts of a trade that is over are zero
	LawReplay   Law = "replay"   // the stored trade equals the replay of its journal, as far as the ledger reads it
	LawOwned    Law = "owned"    // the node owns fees less routing and development fees, plus forfeits and overpayments
	LawOnce     Law = "once"     // one payment hash pays one trade
)

// Violation is a broken law.
type Violation struct {
	Law   Law           `json:"law"`
	Trade trade.OrderID `json:"trade,omitzero"`
	Step  uint32        `json:"step,omitzero"`
	Text  string        `json:"text"`
}

// Error returns the law, the trade and the step.
func (v *Violation) Error() string {
	return fmt.Sprintf("law %s: trade %s, step %d: %s", v.Law, v.Trade, v.Step, v.Text)
}

// Check returns a *Violation if the fold breaks a law.
func (f *Fold) Check() error {
	broken := func(law Law, format string, args ...any) error {
		return &Violation{Law: law, Trade: f.Trade.ID, Step: f.Trade.Steps, Text: fmt.Sprintf(format, args...)}
	}
	for k := Hold; k <= Suspense; k++ {
		if msat := f.Balances[k]; msat < 0 {
			return broken(LawSign, "%s are %d msat", k, msat)
		}
	}
	var held, suspended int64
	for i := range f.Holds {
		held += f.Holds[i].HeldMsat
		if f.Holds[i].State == HoldSuspense {
			suspended += f.Holds[i].PaidMsat
		}
	}
	if held != f.Balances[Hold] {
		return broken(LawState, "the holds of all hashes are %d msat, and the account has %d", held, f.Balances[Hold])
	}
	if suspended != f.Balances[Suspense] {
		return broken(LawState, "%d msat of cancelled holds are settled, and suspense is %d", suspended, f.Balances[Suspense])
	}
	for _, u := range f.Trade.Suspended {
		open := u.Outcome == "" || u.Outcome == trade.OutcomeRefund && !f.Trade.Refunded(u.Hash)
		if row := f.hold(u.Hash); row == nil || (row.State == HoldSuspense) != open || row.PaidMsat != u.PaidMsat {
			return broken(LawState, "hold %s of %d msat is in suspense: %v in the state, and the ledger has %+v", u.Hash, u.PaidMsat, open, row)
		}
	}
	if err := f.checkState(broken); err != nil {
		return err
	}
	if f.Trade.Over() {
		for k := Hold; k < Suspense; k++ {
			if msat := f.Balances[k]; msat != 0 {
				return broken(LawOver, "the trade is %s, and %s are %d msat", f.Trade.Status, k, msat)
			}
		}
	}
	return nil
}

// checkState compares the accounts with the amounts that follow from the trade's state
// alone. The state does not contain the amounts of holds that are being returned.
func (f *Fold) checkState(broken func(Law, string, ...any) error) error {
	t, b := f.Trade, f.Balances
	lock, payout, fees, dev := t.LockSats()*1000, t.PayoutSats()*1000, feesMsat(t), t.DevFeeSats*1000
	var wantHold, wantClaim, wantBuyer, wantRouting, wantIncome, wantDev, wantDevPaid, wantByHand int64
	if trade.Settled(t.Status) {
		wantClaim, wantDev = payout, dev
		wantIncome += fees - dev
	} else if live(t) {
		wantHold = lock
	}
	if paid(t.Status) {
		wantClaim = 0
		wantBuyer += payout
		wantRouting += t.Payout.FeeMsat
		wantIncome -= t.Payout.FeeMsat
	}
	if t.DevFeePaid.Hash != (trade.Hash{}) {
		wantDev, wantDevPaid = wantDev-dev, dev
		wantRouting += t.DevFeePaid.FeeMsat
		wantIncome -= t.DevFeePaid.FeeMsat
	}
	if t.DevFeePaid.ByHand {
		wantDev, wantByHand = wantDev-dev, dev
	}
	over := t.HeldMsat() - lock // paid above the amount of the live or settled hold
	wantForfeits := int64(0)
	for i := range t.Outflows {
		wantRouting += t.Outflows[i].FeeMsat
		wantIncome -= t.Outflows[i].FeeMsat
	}
	for _, u := range t.Suspended {
		switch {
		case u.Outcome == trade.OutcomePaid:
			wantBuyer += u.PaidMsat
		case u.Outcome == trade.OutcomeKept:
			wantForfeits += u.PaidMsat
		case u.Outcome == trade.OutcomeRefund && t.Refunded(u.Hash):
			wantForfeits += u.PaidMsat % 1000
		}
	}
	for i := range f.Holds {
		row := &f.Holds[i]
		switch {
		case row.Hash == t.Hash:
			if wantHold > 0 && row.HeldMsat != wantHold+over || wantHold == 0 && row.HeldMsat != 0 {
				return broken(LawState, "%d msat are held under the live hash, and the state says %d", row.HeldMsat, wantHold)
			}
		case !slices.Contains(t.Closing, row.Hash) && row.HeldMsat != 0:
			return broken(LawState, "%d msat are held under %s, which the trade does not know", row.HeldMsat, row.Hash)
		}
	}
	if wantHold > 0 && f.hold(t.Hash) == nil {
		return broken(LawState, "no hold is known, and the state says %d msat", wantHold)
	}
	if !trade.Settled(t.Status) {
		over = 0
	}
	// Bonds are posted beside the journal, so their part is left out.
	for _, want := range []struct {
		kind Kind
		msat int64
	}{{Claim, wantClaim}, {Overpayments, over}} {
		if b[want.kind] != want.msat {
			return broken(LawState, "%s are %d msat, and the state says %d", want.kind, b[want.kind], want.msat)
		}
	}
	if !f.other && b[Forfeits] != wantForfeits {
		return broken(LawState, "forfeits are %d msat, and the state says %d", b[Forfeits], wantForfeits)
	}
	if !f.other && (b[BuyerWallet] != wantBuyer || b[Routing] != wantRouting || b[Income] != wantIncome) {
		return broken(LawState, "buyers are %d, routing %d and income %d msat, and the state says %d, %d and %d",
			b[BuyerWallet], b[Routing], b[Income], wantBuyer, wantRouting, wantIncome)
	}
	if b[DevFund] != wantDev || b[DevWallet] != wantDevPaid || b[ByHand] != wantByHand {
		return broken(LawState, "the development fund is owed %d and has %d msat, and %d by hand; the state says %d, %d and %d", b[DevFund], b[DevWallet], b[ByHand], wantDev, wantDevPaid, wantByHand)
	}
	return nil
}

// live reports whether the trade's hold is paid and neither settled nor returned.
func live(t trade.Trade) bool {
	if t.Hash == (trade.Hash{}) || t.HeldAt == 0 || t.EscrowGone {
		return false
	}
	return !trade.Terminal(t.Status) || slices.Contains(t.Closing, t.Hash)
}
