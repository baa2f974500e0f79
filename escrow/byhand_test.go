package escrow

import (
	"errors"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/ledger"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// toParked brings a trade to success whose development fee is parked.
func (r *rig) toParked() trade.OrderID {
	r.tb.Helper()
	id := r.toOwed()
	if err := r.book.fund.apply(id, devfee.Input{At: r.node.now, Kind: devfee.InByHand}); err != nil {
		r.tb.Fatal(err)
	}
	r.commit()
	if f := r.store.fees[id]; f.Phase != devfee.PhaseParked {
		r.tb.Fatalf("%+v", f)
	}
	return id
}

// settleFee settles a fee by hand and commits.
func (r *rig) settleFee(id trade.OrderID, h trade.Hash, paid lightning.PaymentState, reason string) error {
	err := r.book.fund.settle(id, h, paid, reason, r.node.now)
	r.commit()
	r.settle()
	return err
}

// TestDevFeeSettledByHand records a fee that another wallet, or this node outside of the program,
// has paid. The fee is not due any more, also after a restart and for the ledger.
func TestDevFeeSettledByHand(t *testing.T) {
	r := newRig(t)
	owed := r.toOwed()
	if err := r.settleFee(owed, trade.Hash{}, lightning.PaymentState{}, "x"); !errors.Is(err, trade.ErrNothing) {
		t.Errorf("a fee that the program is paying: %v", err)
	}
	r.payFees()
	if err := r.settleFee(owed, trade.Hash{}, lightning.PaymentState{}, "x"); !errors.Is(err, trade.ErrNothing) {
		t.Errorf("a fee that is paid: %v", err)
	}
	r.feePaid(owed)
	first := r.trade(owed).DevFeePaid.Hash

	id := r.toParked()
	for name, reason := range map[string]string{"no reason": "", "a long reason": strings.Repeat("x", maxReason+1)} {
		if err := r.settleFee(id, trade.Hash{}, lightning.PaymentState{}, reason); !errors.Is(err, ErrReason) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.book.step(r.trade(id), trade.Input{At: r.node.now, Kind: trade.InDevFeePaid}); !errors.Is(err, trade.ErrNothing) {
		t.Errorf("a record without a payment and without a reason: %v", err)
	}
	if err := r.settleFee(trade.OrderID{1}, trade.Hash{}, lightning.PaymentState{}, "x"); !errors.Is(err, ErrNoRow) {
		t.Errorf("no such trade: %v", err)
	}
	for _, moves := range []trade.PaymentStatus{trade.PaymentInFlight, trade.PaymentSucceeded} {
		if err := r.settleFee(id, trade.Hash{}, lightning.PaymentState{Status: moves}, "paid by the shop's wallet"); !errors.Is(err, ErrFeeMoves) {
			t.Errorf("the fee's own payment is %v: %v", moves, err)
		}
	}
	if err := r.settleFee(id, trade.Hash{}, lightning.PaymentState{}, "paid by the shop's wallet"); err != nil {
		t.Fatal(err)
	}
	published := len(r.fees)
	r.start()
	r.pass(86_400)
	if p := r.trade(id).DevFeePaid; !p.ByHand || p.Hash != (trade.Hash{}) || len(r.store.fees) != 0 || len(r.fees) != published {
		t.Errorf("%+v, %d fees are due, %d events", p, len(r.store.fees), len(r.fees))
	}
	if err := r.settleFee(id, trade.Hash{}, lightning.PaymentState{}, "again"); !errors.Is(err, trade.ErrNothing) {
		t.Errorf("twice: %v", err)
	}
	if err := r.book.fund.retry(id, r.node.now); !errors.Is(err, trade.ErrNothing) {
		t.Errorf("a settled fee is tried again: %v", err)
	}
	if b := r.balances(); b[ledger.DevFund] != 0 || b[ledger.ByHand] != 180_000 || b[ledger.DevWallet] != 180_000 {
		t.Errorf("%v", b)
	}

	// A payment of this node is named by its hash.
	third, fourth := r.toParked(), r.toParked()
	h := trade.Hash{3, 3, 3}
	good := lightning.PaymentState{Hash: h, Status: trade.PaymentSucceeded, AmountMsat: 180_000, FeeMsat: 7}
	for name, c := range map[string]struct {
		hash trade.Hash
		paid lightning.PaymentState
	}{
		"a payment that the node does not know": {h, lightning.PaymentState{}},
		"a payment in flight":                   {h, lightning.PaymentState{Status: trade.PaymentInFlight, AmountMsat: 180_000}},
		"a payment of another amount":           {h, lightning.PaymentState{Status: trade.PaymentSucceeded, AmountMsat: 180_001}},
		"the payment of another fee":            {first, good},
		"the payout of a trade":                 {r.trade(owed).Payout.LastHash, good},
		"a hold of a trade":                     {r.trade(owed).Hash, good},
	} {
		if err := r.settleFee(third, c.hash, c.paid, "by lncli"); !errors.Is(err, ErrFeePayment) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.settleFee(third, h, good, "by lncli"); err != nil {
		t.Fatal(err)
	}
	if err := r.settleFee(fourth, h, good, "by lncli"); !errors.Is(err, ErrFeePayment) {
		t.Errorf("one payment settles two fees: %v", err)
	}
	if p := r.trade(third).DevFeePaid; p != (trade.DevFeePaid{Hash: h, FeeMsat: 7}) || len(r.fees) != published+1 {
		t.Errorf("%+v, %d events", p, len(r.fees))
	}
	if b := r.balances(); b[ledger.DevFund] != 180_000 || b[ledger.DevWallet] != 360_000 {
		t.Errorf("%v", b)
	}
	rows := r.store.journal[third]
	if last := rows[len(rows)-1]; last.Kind != trade.InDevFeePaid || last.Reason != "by lncli" {
		t.Errorf("the journal has %+v", last)
	}
}

// TestOverpaidByHand records the amount of a hold whose journal is from before December 2026 and
// does not have it.
func TestOverpaidByHand(t *testing.T) {
	r := newRig(t)
	id := r.toOwed()
	// The journal of an older program has no amount.
	for i, in := range r.store.journal[id] {
		if in.Kind == trade.InHold {
			r.store.journal[id][i].Hold.PaidMsat = 0
		}
	}
	tr := r.trade(id)
	lock := tr.LockSats() * 1000
	tr.PaidMsat = 0
	r.store.trades[id] = tr
	r.start()
	if b := r.balances(); b[ledger.Overpayments] != 0 {
		t.Fatalf("%v", b)
	}
	record := func(h trade.Hash, phase trade.HoldPhase, msat int64, reason string) error {
		err := r.book.step(r.trade(id), trade.Input{At: r.node.now, Kind: trade.InOverpaid, Hash: h, Hold: trade.Hold{Phase: phase, PaidMsat: msat}, Reason: reason})
		r.commit()
		return err
	}
	for name, err := range map[string]error{
		"another hash":        record(trade.Hash{1}, trade.HoldSettled, lock+777, "x"),
		"a hold that is held": record(tr.Hash, trade.HoldAccepted, lock+777, "x"),
		"the amount itself":   record(tr.Hash, trade.HoldSettled, lock, "x"),
		"less":                record(tr.Hash, trade.HoldSettled, lock-1, "x"),
		"too much to exist":   record(tr.Hash, trade.HoldSettled, trade.MaxSats*1000+1, "x"),
		"no reason":           record(tr.Hash, trade.HoldSettled, lock+777, ""),
	} {
		if err == nil {
			t.Errorf("%s is recorded", name)
		}
	}
	if err := record(tr.Hash, trade.HoldSettled, lock+777, "lookupinvoice"); err != nil {
		t.Fatal(err)
	}
	if err := record(tr.Hash, trade.HoldSettled, lock+777, "again"); !errors.Is(err, trade.ErrNothing) {
		t.Errorf("twice: %v", err)
	}
	f, err := ledger.ReadTrade(r.store, id, nil)
	if err != nil || f.Check() != nil || f.Balances[ledger.Overpayments] != 777 || f.Holds[0].PaidMsat != lock+777 {
		t.Errorf("%v, %v: %+v", err, f.Check(), f.Holds)
	}
	r.start()
	r.payFees()
	if err := r.settleFee(id, trade.Hash{}, lightning.PaymentState{}, "x"); !errors.Is(err, trade.ErrNothing) {
		t.Errorf("%v", err)
	}
	// A trade whose hold is not settled has nothing to record.
	active, _, _ := r.toActive()
	live := r.trade(active)
	err = r.book.step(live, trade.Input{At: r.node.now, Kind: trade.InOverpaid, Hash: live.Hash, Hold: trade.Hold{Phase: trade.HoldSettled, PaidMsat: live.LockSats()*1000 + 5}, Reason: "x"})
	if !errors.Is(err, trade.ErrNothing) || r.trade(active).Status != message.TradeActive {
		t.Errorf("a trade that goes on: %v", err)
	}
}
