package ledger

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// lines returns transactions as text: the trigger, then each account with its msat.
func lines(list []Transaction) []string {
	var out []string
	for _, t := range list {
		line := fmt.Sprintf("%d %s, %s:", t.Step, t.Trigger, t.Event)
		for _, e := range t.Entries {
			line += fmt.Sprintf(" %s %+d", e.Kind, e.Msat)
		}
		out = append(out, line)
	}
	return out
}

// TestPostings lists the transactions of each kind of trade. The first one is the example of
// docs/ledger.md.
func TestPostings(t *testing.T) {
	want := map[string][]string{
		"success": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 hold settled, hold settled: holds -100300000 buyer_claims +99700000 income +420000 dev_fund_due +180000",
			"9 payout succeeded, buyer paid: buyer_claims -99700000 buyers +99700000 income -21500 routing +21500",
		},
		"success after a failed payout": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 hold settled, hold settled: holds -100300000 buyer_claims +99700000 income +420000 dev_fund_due +180000",
			"12 payout succeeded, buyer paid: buyer_claims -99700000 buyers +99700000",
		},
		"overpaid and settled": {
			"4 seller paid, hold accepted: sellers -100300777 holds +100300777",
			"7 hold settled, hold settled: holds -100300777 buyer_claims +99700000 income +420000 dev_fund_due +180000 overpayments +777",
			"9 payout succeeded, buyer paid: buyer_claims -99700000 buyers +99700000 income -1001 routing +1001",
		},
		"overpaid and returned": {
			"4 seller paid, hold accepted: sellers -100300777 holds +100300777",
			"7 hold given back, hold returned: holds -100300777 sellers +100300777",
		},
		"cancelled by both": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 hold given back, hold returned: holds -100300000 sellers +100300000",
		},
		"never paid": nil,
		"paid too late, and taken again at another price": {
			"4 hold's time lock leaves no room, hold accepted: sellers -100300000 holds +100300000",
			"7 seller paid, hold accepted: sellers -200600000 holds +200600000",
			"8 hold given back, hold returned: holds -100300000 sellers +100300000",
			"11 hold settled, hold settled: holds -200600000 buyer_claims +199400000 income +840000 dev_fund_due +360000",
			"13 payout succeeded, buyer paid: buyer_claims -199400000 buyers +199400000 income -5 routing +5",
		},
		"hold ended without us": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"5 hold ended without us, hold returned: holds -100300000 sellers +100300000",
		},
		"hold gone before settlement": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 hold gone before settlement, hold returned: holds -100300000 sellers +100300000",
		},
		"buy order, held before the invoice": {
			"4 seller paid, no usable buyer invoice, hold accepted: sellers -100300000 holds +100300000",
			"8 hold settled, hold settled: holds -100300000 buyer_claims +99700000 income +420000 dev_fund_due +180000",
			"10 payout succeeded, buyer paid: buyer_claims -99700000 buyers +99700000 income -3 routing +3",
		},
		"frozen with a hold that came too late": {
			"5 node contradicts the store, hold accepted: sellers -100300000 holds +100300000",
			"8 hold given back, hold returned: holds -100300000 sellers +100300000",
		},
		"success of an attempt that was given up": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 hold settled, hold settled: holds -100300000 buyer_claims +99700000 income +420000 dev_fund_due +180000",
			"10 payout succeeded, buyer paid: buyer_claims -99700000 buyers +99700000 income -2 routing +2",
		},
		"settled although cancelled": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 node contradicts the store, hold suspended: holds -100300000 suspense +100300000",
		},
		"success, and the development fee is paid": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 hold settled, hold settled: holds -100300000 buyer_claims +99700000 income +420000 dev_fund_due +180000",
			"8 development fee paid, dev fee paid: dev_fund_due -180000 dev_fund_paid +180000 income -1500 routing +1500",
			"10 payout succeeded, buyer paid: buyer_claims -99700000 buyers +99700000 income -21500 routing +21500",
		},
		"success, and the development fee is settled by hand": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 hold settled, hold settled: holds -100300000 buyer_claims +99700000 income +420000 dev_fund_due +180000",
			"8 development fee paid, dev fee by hand: dev_fund_due -180000 settled_by_hand +180000",
			"10 payout succeeded, buyer paid: buyer_claims -99700000 buyers +99700000 income -21500 routing +21500",
		},
		"success, and an overpayment is found": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 hold settled, hold settled: holds -100300000 buyer_claims +99700000 income +420000 dev_fund_due +180000",
			"8 operator records an overpayment, overpayment found: sellers -777 overpayments +777",
			"10 payout succeeded, buyer paid: buyer_claims -99700000 buyers +99700000 income -21500 routing +21500",
		},
		"suspense: refunded by hand": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 node contradicts the store, hold suspended: holds -100300000 suspense +100300000",
			"8 operator resolves an amount in suspense, suspense resolved: suspense -100300000 sellers +100300000",
		},
		"suspense: the buyer was paid": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 node contradicts the store, hold suspended: holds -100300000 suspense +100300000",
			"8 operator resolves an amount in suspense, suspense resolved: suspense -100300000 buyers +100300000",
		},
		"suspense: kept": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 node contradicts the store, hold suspended: holds -100300000 suspense +100300000",
			"8 operator resolves an amount in suspense, suspense resolved: suspense -100300000 forfeits +100300000",
		},
		"suspense: refunded by the program": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 node contradicts the store, hold accepted: sellers -777 holds +777",
			"7 node contradicts the store, hold suspended: holds -100300777 suspense +100300777",
			"14 another payment succeeded, refund paid: suspense -100300777 sellers +100300000 forfeits +777 income -2100 routing +2100",
		},
		"suspense: a refund is withdrawn": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 node contradicts the store, hold suspended: holds -100300000 suspense +100300000",
			"12 operator resolves an amount in suspense, suspense resolved: suspense -100300000 sellers +100300000",
		},
		"suspense of a journal without amounts": {
			"4 seller paid, hold accepted: sellers -100300000 holds +100300000",
			"7 node contradicts the store, hold suspended: holds -100300000 suspense +100300000",
			"8 operator resolves an amount in suspense, suspense resolved: suspense -100300000 forfeits +100300000",
		},
		"suspense of a payment that the store has lost": {
			"5 node contradicts the store, hold accepted: sellers -100300000 holds +100300000",
			"5 node contradicts the store, hold suspended: holds -100300000 suspense +100300000",
			"6 operator resolves an amount in suspense, suspense resolved: suspense -100300000 forfeits +100300000",
		},
	}
	var sum Ledger
	for _, c := range scripts {
		t.Run(c.name, func(t *testing.T) {
			s := play(t, c.name, nil)
			if s.err != nil {
				t.Fatal(s.err)
			}
			if got := lines(s.list); !reflect.DeepEqual(got, want[c.name]) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want[c.name], "\n"))
			}
			if !s.fold.Trade.Over() {
				t.Errorf("the trade is %s", s.fold.Trade.Status)
			}
			for _, tx := range s.list {
				in := s.inputs[tx.Step-1]
				if tx.At != in.At || tx.Trade != s.fold.Trade.ID || (tx.Hash == trade.Hash{}) != (tx.Event == DevFeeByHand) {
					t.Errorf("step %d does not name its row of the journal: %+v", tx.Step, tx.Source)
				}
			}
			sum.Add(&s.fold)
		})
	}
	if err := sum.Check(); err != nil {
		t.Error(err)
	}
	b := sum.Balances
	// Nine trades are settled, one of them at half the price and so with twice the fees.
	if fees, dev, routing := int64(8*600_000+1_200_000), int64(8*180_000+360_000), int64(21_500+1_001+5+3+2+1_500+3*21_500+2_100); b.Owned() != fees-dev-routing+777+777+777+3*100_300_000 {
		t.Errorf("the node owns %d msat", b.Owned())
	}
}

// TestRows follows the states of a hold and of a payout.
func TestRows(t *testing.T) {
	s := newScript(1, nil)
	want := func(hold HoldState, payouts ...PayoutState) {
		t.Helper()
		if s.err != nil {
			t.Fatal(s.err)
		}
		var got []PayoutState
		for _, p := range s.fold.Payouts {
			got = append(got, p.State)
		}
		if h := s.fold.Holds[0]; h.State != hold || !reflect.DeepEqual(got, payouts) {
			t.Errorf("the hold is %s and the payouts are %v, want %s and %v", h.State, got, hold, payouts)
		}
	}
	s.order(mostro.SideSell, false)
	s.take(1)
	want(HoldOrdered)
	s.pay(0)
	want(HoldHeld)
	s.say(buyer, message.ActionFiatSent, nil, nil)
	s.say(seller, message.ActionRelease, nil, nil)
	want(HoldSettling)
	s.apply(trade.Input{Kind: trade.InSettled, Hash: s.fold.Trade.Hash})
	want(HoldDone, PayoutClaimed)
	p := s.fold.Trade.Payout
	s.apply(trade.Input{Kind: trade.InPaySent, Hash: p.Hash, Attempt: p.Attempt})
	want(HoldDone, PayoutSent)
	s.apply(trade.Input{Kind: trade.InPayment, Hash: p.Hash, Attempt: p.Attempt, Payment: trade.Result{Status: trade.PaymentFailed}})
	want(HoldDone, PayoutFailed)
	h := p.Hash
	s.apply(trade.Input{Kind: trade.InPayment, Hash: h, Attempt: 1, Payment: trade.Result{Status: trade.PaymentSucceeded, FeeMsat: 2}})
	want(HoldDone, PayoutPaid)

	s = newScript(2, nil)
	s.active(0)
	s.cancelBoth()
	want(HoldClosing)
	s.returned()
	want(HoldClosed)
	s = play(t, "hold ended without us", nil)
	want(HoldClosed)
	s = play(t, "settled although cancelled", nil)
	want(HoldSuspense)
}

// TestFoldOverStates folds the same journals twice: once by a replay, and once with the states
// that the engine has stored. The results are equal.
func TestFoldOverStates(t *testing.T) {
	for _, c := range scripts {
		s := play(t, c.name, nil)
		var states []trade.Trade
		var now trade.Trade
		for _, in := range s.inputs {
			now, _, _ = trade.Step(now, in)
			states = append(states, now)
		}
		var f Fold
		var list []Transaction
		for i, in := range s.inputs {
			some, err := f.Observe(in, states[i])
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			list = append(list, some...)
		}
		if f.Balances != s.fold.Balances || !reflect.DeepEqual(list, s.list) || !reflect.DeepEqual(f.Holds, s.fold.Holds) || !reflect.DeepEqual(f.Payouts, s.fold.Payouts) {
			t.Errorf("%s: the fold over the states is %+v, and over the journal %+v", c.name, f, s.fold)
		}
	}
}

func TestAccountOf(t *testing.T) {
	tx := Transaction{Source: Source{Trade: trade.OrderID{1}, Hash: trade.Hash{2}}}
	for kind, want := range map[Kind]Account{
		Hold: {Hold, trade.OrderID{1}, trade.Hash{2}}, Claim: {Claim, trade.OrderID{1}, trade.Hash{}}, Income: {Kind: Income}, SellerWallet: {Kind: SellerWallet},
	} {
		if got := tx.Account(Entry{Kind: kind}); got != want {
			t.Errorf("%s: %+v", kind, got)
		}
	}
}

func TestPostRefusesAnImpossibleFee(t *testing.T) {
	for _, fee := range []int64{-1, maxMsat + 1} {
		s := newScript(1, nil)
		s.active(0)
		s.settle()
		s.result(trade.PaymentSucceeded, fee)
		if !errors.Is(s.err, ErrAmount) {
			t.Errorf("a routing fee of %d msat: %v", fee, s.err)
		}
	}
}

func TestBalancesDoNotOverflow(t *testing.T) {
	b := Balances{Hold: 1<<63 - 1}
	was := b
	tx := Transaction{Entries: []Entry{{SellerWallet, -1}, {Hold, 1}}}
	if err := b.Post(tx); !errors.Is(err, ErrAmount) || b != was {
		t.Errorf("%v, %v", err, b)
	}
	if b.Add(Balances{Hold: 1}) {
		t.Error("a sum beyond 64 bits is accepted")
	}
	low := Balances{SellerWallet: -1 << 63}
	if low.Add(Balances{SellerWallet: -1}) {
		t.Error("a sum below 64 bits is accepted")
	}
}

// TestBonds plays the bonds of a trade beside its journal.
func TestBonds(t *testing.T) {
	from := Source{Trade: trade.OrderID{1}, Hash: trade.Hash{9}}
	post := func(f *Fold, tx Transaction, err error) {
		t.Helper()
		if err == nil {
			err = f.PostOther(tx)
		}
		if err == nil {
			err = f.Check()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	maker, taker := Bond{MakerBond, mostro.SideSell, 5_000_000}, Bond{TakerBond, mostro.SideBuy, 2_000_001}
	s := newScript(1, nil)
	s.active(0)
	f := &s.fold
	for _, bond := range []Bond{maker, taker} {
		tx, err := bond.Lock(from)
		post(f, tx, err)
	}
	if f.Balances[MakerBond] != 5_000_000 || f.Balances[TakerBond] != 2_000_001 || f.Balances[BuyerWallet] != -2_000_001 {
		t.Error(f.Balances)
	}
	s.settle()
	s.result(trade.PaymentSucceeded, 100)
	var broken *Violation
	if !errors.As(s.err, &broken) || broken.Law != LawOver {
		t.Errorf("the trade is over and its bonds are locked: %v", s.err)
	}
	s.err = nil
	tx, err := maker.Return(from)
	if err == nil {
		err = f.PostOther(tx)
	}
	if err != nil {
		t.Fatal(err)
	}
	tx, err = taker.Settle(from, 1_000_000)
	if err == nil {
		err = f.PostOther(tx)
	}
	if err != nil || f.Balances[BondClaim] != 1_000_001 || f.Balances[Forfeits] != 1_000_000 {
		t.Error(err, f.Balances)
	}
	tx, err = PayBondShare(from, mostro.SideSell, 400_001, 7)
	if err == nil {
		err = f.PostOther(tx)
	}
	if err != nil {
		t.Fatal(err)
	}
	tx, err = ForfeitBondShare(from, 600_000)
	post(f, tx, err)
	s.devFee(11)
	if s.err != nil {
		t.Fatal(s.err)
	}
	var sum Ledger
	sum.Add(f)
	if err := sum.Check(); err != nil {
		t.Error(err)
	}
	if want := int64(600_000 - 180_000 - 100 - 7 - 11 + 1_600_000); f.Balances.Owned() != want || f.Balances[DevWallet] != 180_000 || f.Balances[DevFund] != 0 {
		t.Errorf("the node owns %d msat, want %d: %v", f.Balances.Owned(), want, f.Balances)
	}
	for name, err := range map[string]error{
		"a share above the bond":      second(taker.Settle(from, taker.Msat+1)),
		"a negative share":            second(taker.Settle(from, -1)),
		"a bond of another account":   second(Bond{Hold, mostro.SideBuy, 1}.Lock(from)),
		"a negative bond":             second(Bond{MakerBond, mostro.SideBuy, -1}.Return(from)),
		"a negative payment":          second(PayBondShare(from, mostro.SideBuy, -1, 0)),
		"a negative fee":              second(PayDevFee(from, 1, -1)),
		"a forfeit beyond all sats":   second(ForfeitBondShare(from, maxMsat+1)),
		"a settlement beyond a range": second(Bond{MakerBond, mostro.SideBuy, maxMsat + 1}.Settle(from, 0)),
	} {
		if !errors.Is(err, ErrAmount) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wrong := Transaction{Entries: []Entry{{MakerBond, 1}}}
	if err := f.PostOther(wrong); !errors.As(err, &broken) || broken.Law != LawBalanced {
		t.Error(err)
	}
}

func second(_ Transaction, err error) error { return err }
