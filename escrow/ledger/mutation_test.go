package ledger

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// mutation breaks one rule of Post.
type mutation struct {
	name   string
	script string // the trade in which the rule matters
	law    Law    // "" if Post itself refuses the next step of the trade
	event  Event
	change func(s Step, t *Transaction) (keep bool)
}

// with adds an amount to the entry of a kind, or adds the entry.
func (t *Transaction) with(kind Kind, msat int64) {
	for i := range t.Entries {
		if t.Entries[i].Kind == kind {
			t.Entries[i].Msat += msat
			return
		}
	}
	t.Entries = append(t.Entries, Entry{kind, msat})
}

// rename replaces the account of an entry.
func (t *Transaction) rename(from, to Kind) {
	for i := range t.Entries {
		if t.Entries[i].Kind == from {
			t.Entries[i].Kind = to
		}
	}
}

func drop(Step, *Transaction) bool { return false }

// mutations break each posting in each way that keeps the rest intact. The names are rows of a
// table in docs/testing.md.
var mutations = []mutation{
	{"an accepted hold is not posted", "success", LawState, HoldAccepted, drop},
	{"an accepted hold lacks the seller's fee", "success", LawState, HoldAccepted, func(s Step, t *Transaction) bool {
		t.with(SellerWallet, s.Before.FeeSats*1000)
		t.with(Hold, -s.Before.FeeSats*1000)
		return true
	}},
	{"an accepted hold is posted with the wrong sign", "success", LawSign, HoldAccepted, func(_ Step, t *Transaction) bool {
		for i := range t.Entries {
			t.Entries[i].Msat = -t.Entries[i].Msat
		}
		return true
	}},
	{"an accepted hold is paid by the buyer", "success", LawState, HoldAccepted, func(_ Step, t *Transaction) bool { t.rename(SellerWallet, BuyerWallet); return true }},
	{"an accepted hold has one entry", "success", LawBalanced, HoldAccepted, func(_ Step, t *Transaction) bool { t.Entries = t.Entries[1:]; return true }},
	{"a settled hold is not posted", "success", LawState, HoldSettled, drop},
	{"a settled hold owes the fees to the buyer", "success", LawState, HoldSettled, func(s Step, t *Transaction) bool {
		t.with(Claim, 2*s.After.FeeSats*1000)
		t.with(Income, -2*s.After.FeeSats*1000)
		return true
	}},
	{"a settled hold earns one side's fee", "success", LawState, HoldSettled, func(s Step, t *Transaction) bool {
		t.with(Income, -s.After.FeeSats*1000)
		t.with(SellerWallet, s.After.FeeSats*1000)
		return true
	}},
	{"a settled hold has no development fee", "success", LawState, HoldSettled, func(_ Step, t *Transaction) bool { t.rename(DevFund, Income); return true }},
	{"the buyer pays the development fee", "success", LawState, HoldSettled, func(s Step, t *Transaction) bool {
		t.with(Claim, -s.After.DevFeeSats*1000)
		t.with(Income, s.After.DevFeeSats*1000)
		return true
	}},
	{"a settled hold pays the buyer at once", "success", LawState, HoldSettled, func(_ Step, t *Transaction) bool { t.rename(Claim, BuyerWallet); return true }},
	{"a settled hold stays in the hold account", "success", LawSign, HoldSettled, func(_ Step, t *Transaction) bool { t.rename(Hold, BondClaim); return true }},
	{"an overpayment counts as income", "overpaid and settled", LawState, HoldSettled, func(_ Step, t *Transaction) bool { t.rename(Overpayments, Income); return true }},
	{"an overpayment is owed to the buyer", "overpaid and settled", LawState, HoldSettled, func(_ Step, t *Transaction) bool { t.rename(Overpayments, Claim); return true }},
	{"a returned hold is not posted", "cancelled by both", LawState, HoldReturned, drop},
	{"a hold that ended without us is not posted", "hold ended without us", LawState, HoldReturned, drop},
	{"a hold that was gone before settlement is not posted", "hold gone before settlement", LawState, HoldReturned, drop},
	{"a hold of an earlier take is not returned", "paid too late, and taken again at another price", LawState, HoldReturned, drop},
	{"a hold of an earlier take is returned with the new amount", "paid too late, and taken again at another price", LawState, HoldReturned, func(s Step, t *Transaction) bool {
		t.with(SellerWallet, s.After.LockSats()*1000-s.HeldMsat)
		t.with(Hold, s.HeldMsat-s.After.LockSats()*1000)
		return true
	}},
	{"a returned hold is paid to the buyer", "cancelled by both", LawState, HoldReturned, func(_ Step, t *Transaction) bool { t.rename(SellerWallet, BuyerWallet); return true }},
	{"a returned hold is kept as income", "cancelled by both", LawState, HoldReturned, func(_ Step, t *Transaction) bool { t.rename(SellerWallet, Income); return true }},
	{"a returned hold keeps the fee", "cancelled by both", LawState, HoldReturned, func(s Step, t *Transaction) bool {
		t.with(SellerWallet, -s.After.FeeSats*1000)
		t.with(Income, s.After.FeeSats*1000)
		return true
	}},
	{"an overpayment is not returned", "overpaid and returned", LawState, HoldReturned, func(_ Step, t *Transaction) bool {
		t.with(SellerWallet, -777)
		t.with(Hold, 777)
		return true
	}},
	{"a hold that was settled after all counts as returned", "settled although cancelled", LawState, HoldSuspended, func(_ Step, t *Transaction) bool { t.rename(Suspense, SellerWallet); return true }},
	{"a hold that was settled after all is not posted", "settled although cancelled", LawState, HoldSuspended, drop},
	{"a hold that was settled after all counts as income", "settled although cancelled", LawState, HoldSuspended, func(_ Step, t *Transaction) bool { t.rename(Suspense, Income); return true }},
	{"a decision about suspense is not posted", "suspense: kept", LawState, SuspenseResolved, drop},
	{"a decision for the seller counts as kept", "suspense: refunded by hand", LawState, SuspenseResolved, func(_ Step, t *Transaction) bool { t.rename(SellerWallet, Forfeits); return true }},
	{"a decision for the buyer counts as kept", "suspense: the buyer was paid", LawState, SuspenseResolved, func(_ Step, t *Transaction) bool { t.rename(BuyerWallet, Forfeits); return true }},
	{"a kept amount counts as income", "suspense: kept", LawState, SuspenseResolved, func(_ Step, t *Transaction) bool { t.rename(Forfeits, Income); return true }},
	{"a refund is not posted", "suspense: refunded by the program", LawState, RefundPaid, drop},
	{"the seller pays the routing fee of a refund", "suspense: refunded by the program", LawState, RefundPaid, func(_ Step, t *Transaction) bool { t.rename(Income, SellerWallet); return true }},
	{"a refund leaves msat in suspense", "suspense: refunded by the program", LawState, RefundPaid, func(_ Step, t *Transaction) bool { t.rename(Forfeits, Suspense); return true }},
	{"a withdrawn refund is not posted", "suspense: a refund is withdrawn", LawState, SuspenseResolved, drop},
	{"a lost payment is not posted before suspense", "suspense of a payment that the store has lost", LawSign, HoldAccepted, drop},
	{"a payout is not posted", "success", LawState, BuyerPaid, drop},
	{"a payout has no routing fee", "success", LawState, BuyerPaid, func(s Step, t *Transaction) bool {
		t.with(Income, s.After.Payout.FeeMsat)
		t.with(Routing, -s.After.Payout.FeeMsat)
		return true
	}},
	{"the buyer pays the routing fee", "success", LawSign, BuyerPaid, func(_ Step, t *Transaction) bool { t.rename(Income, Claim); return true }},
	{"the routing fee is taken from the payout", "success", LawState, BuyerPaid, func(s Step, t *Transaction) bool {
		t.with(Income, s.After.Payout.FeeMsat)
		t.with(BuyerWallet, -s.After.Payout.FeeMsat)
		return true
	}},
	{"a payout also pays the buyer's fee", "success", LawState, BuyerPaid, func(s Step, t *Transaction) bool {
		t.with(BuyerWallet, s.After.FeeSats*1000)
		t.with(Income, -s.After.FeeSats*1000)
		return true
	}},
	{"a development fee that was paid is not posted", "success, and the development fee is paid", LawState, DevFeePaid, drop},
	{"a development fee is paid to the buyer", "success, and the development fee is paid", LawState, DevFeePaid, func(_ Step, t *Transaction) bool { t.rename(DevWallet, BuyerWallet); return true }},
	{"a development fee that was paid is still due", "success, and the development fee is paid", LawState, DevFeePaid, func(_ Step, t *Transaction) bool { t.rename(DevFund, Income); return true }},
	{"a development fee has no routing fee", "success, and the development fee is paid", LawState, DevFeePaid, func(s Step, t *Transaction) bool {
		t.with(Income, s.After.DevFeePaid.FeeMsat)
		t.with(Routing, -s.After.DevFeePaid.FeeMsat)
		return true
	}},
	{"the fund pays the routing fee", "success, and the development fee is paid", LawState, DevFeePaid, func(s Step, t *Transaction) bool {
		t.with(Income, s.After.DevFeePaid.FeeMsat)
		t.with(DevWallet, -s.After.DevFeePaid.FeeMsat)
		return true
	}},
	{"a development fee is posted twice", "success, and the development fee is paid", LawState, DevFeePaid, func(_ Step, t *Transaction) bool {
		t.Entries = append(t.Entries, t.Entries...)
		return true
	}},
	{"a fee settled by hand is not posted", "success, and the development fee is settled by hand", LawState, DevFeeByHand, drop},
	{"a fee settled by hand counts as paid by the node", "success, and the development fee is settled by hand", LawState, DevFeeByHand, func(_ Step, t *Transaction) bool { t.rename(ByHand, DevWallet); return true }},
	{"a fee settled by hand counts as income", "success, and the development fee is settled by hand", LawState, DevFeeByHand, func(_ Step, t *Transaction) bool { t.rename(ByHand, Income); return true }},
	{"an overpayment that was found is not posted", "success, and an overpayment is found", LawState, OverpaymentFound, drop},
	{"an overpayment that was found counts as income", "success, and an overpayment is found", LawState, OverpaymentFound, func(_ Step, t *Transaction) bool { t.rename(Overpayments, Income); return true }},
	{"a payout is posted again for each failed attempt", "success after a failed payout", LawSign, BuyerPaid, func(_ Step, t *Transaction) bool {
		t.Entries = append(t.Entries, t.Entries...)
		return true
	}},
}

// TestEveryBrokenRuleBreaksALaw breaks one rule of Post at a time. A law must fail.
func TestEveryBrokenRuleBreaksALaw(t *testing.T) {
	doc, err := os.ReadFile("../../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			if names[m.name] {
				t.Error("two mutations have this name")
			}
			names[m.name] = true
			changed := false
			s := play(t, m.script, func(s Step) ([]Transaction, error) {
				list, err := Post(s)
				var kept []Transaction
				for _, tx := range list {
					if tx.Event == m.event {
						changed = true
						if !m.change(s, &tx) {
							continue
						}
					}
					kept = append(kept, tx)
				}
				return kept, err
			})
			if !changed {
				t.Fatal("the rule does not matter in this trade")
			}
			var broken *Violation
			if !errors.As(s.err, &broken) || broken.Law != m.law {
				t.Errorf("no law or another law fails: %v", s.err)
			}
			if row := "| " + m.name + " | " + string(m.law) + " |"; !strings.Contains(string(doc), row) {
				t.Errorf("docs/testing.md lacks the row %s", row)
			}
		})
	}
}

// TestNodeLaws breaks the sums of a sound ledger.
func TestNodeLaws(t *testing.T) {
	for name, c := range map[string]struct {
		law    Law
		change func(l *Ledger)
	}{
		"income without a trade":       {LawOwned, func(l *Ledger) { l.Balances[Income]++; l.Balances[SellerWallet]-- }},
		"routing fee without a trade":  {LawOwned, func(l *Ledger) { l.Balances[Routing]++; l.Balances[BuyerWallet]-- }},
		"development fee not accrued":  {LawOwned, func(l *Ledger) { l.Balances[DevFund]--; l.Balances[SellerWallet]++ }},
		"amount from nowhere":          {LawBalanced, func(l *Ledger) { l.Balances[Hold]++ }},
		"a settled trade is not added": {LawOwned, func(l *Ledger) { l.FeesMsat -= 600_000 }},
		"one payout pays two trades": {LawOnce, func(l *Ledger) {
			failed, paid := &Fold{}, &Fold{}
			failed.Trade.ID, paid.Trade.ID = trade.OrderID{7}, trade.OrderID{8}
			failed.Payouts = []PayoutRow{{Hash: trade.Hash{0xb0, 1, 1}, State: PayoutFailed}}
			paid.Payouts = []PayoutRow{{Hash: trade.Hash{0xb0, 1, 1}, State: PayoutPaid}}
			l.Add(failed) // a row that was not paid stands between two that were
			l.Add(paid)
		}},
		"one hold for two trades": {LawOnce, func(l *Ledger) {
			f := &Fold{Holds: []HoldRow{{Hash: l.rows[0].hash}}}
			f.Trade.ID = trade.OrderID{9}
			l.Add(f)
		}},
		"a trade that breaks a law": {LawOver, func(l *Ledger) {
			f := *l2(t)
			f.Balances[MakerBond]++
			f.Balances[SellerWallet]--
			l.Add(&f)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := play(t, "success", nil)
			var l Ledger
			l.Add(&s.fold)
			if err := l.Check(); err != nil {
				t.Fatal(err)
			}
			c.change(&l)
			var broken *Violation
			if err := l.Check(); !errors.As(err, &broken) || broken.Law != c.law {
				t.Errorf("no law or another law fails: %v", err)
			}
		})
	}
}

func l2(t *testing.T) *Fold { return &play(t, "success after a failed payout", nil).fold }

// memoryStore is a store of one trade.
type memoryStore struct {
	trade trade.Trade
	rows  []trade.Input
	first uint32 // number of the first row
}

func (m memoryStore) Trades(fn func(trade.Trade) error) error { return fn(m.trade) }

func (m memoryStore) Journal(_ trade.OrderID, fn func(uint32, trade.Input) error) error {
	for i, in := range m.rows {
		if err := fn(m.first+uint32(i), in); err != nil {
			return err
		}
	}
	return nil
}

// TestReadComparesTheStoredTrade checks that Read does not only trust the journal.
func TestReadComparesTheStoredTrade(t *testing.T) {
	s := play(t, "success", nil)
	store := memoryStore{s.fold.Trade, s.inputs, 1}
	l, err := Read(store)
	if err != nil || l.Check() != nil || l.Balances != s.fold.Balances {
		t.Fatalf("%v, %v: %+v", err, l.Check(), l)
	}
	store.trade.Payout.FeeMsat++
	if l, err = Read(store); err != nil {
		t.Fatal(err)
	}
	var broken *Violation
	if err := l.Check(); !errors.As(err, &broken) || broken.Law != LawReplay {
		t.Errorf("a stored trade with another routing fee: %v", err)
	}
	store.trade.Steps++ // a newer trade than the journal that was read
	if l, err = Read(store); err != nil || l.Check() != nil {
		t.Errorf("a trade that has changed meanwhile: %v, %v", err, l.Check())
	}
	store.first = 2
	if _, err := Read(store); err == nil {
		t.Error("a journal without its first row is read")
	}
	store.first, store.rows = 1, s.inputs[1:]
	if _, err := Read(store); err == nil {
		t.Error("a journal that cannot be replayed is read")
	}
}
