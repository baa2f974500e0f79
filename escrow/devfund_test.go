package escrow

import (
	"context"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/ledger"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// toOwed brings a trade to success. Its development fee is owed.
func (r *rig) toOwed() trade.OrderID {
	r.tb.Helper()
	id, _, _ := r.toSettled()
	r.resolves(id, true)
	r.status(message.TradeSuccess, id)
	if f := r.store.fees[id]; f.Phase != devfee.PhaseOwed || f.Sats != r.trade(id).DevFeeSats || f.Sats != 180 {
		r.tb.Fatalf("the fee is %+v of %d sats", f, r.trade(id).DevFeeSats)
	}
	return id
}

// feePaid checks that a trade's fee is paid once, published once and posted once.
func (r *rig) feePaid(id trade.OrderID) {
	r.tb.Helper()
	succeeded, inFlight := r.node.feePayments(id)
	if len(succeeded) != 1 || len(inFlight) != 0 || succeeded[0].AmountMsat != r.trade(id).DevFeeSats*1000 {
		r.tb.Fatalf("%d payments have succeeded and %d are in flight", len(succeeded), len(inFlight))
	}
	paid := r.trade(id).DevFeePaid
	if paid != (trade.DevFeePaid{Hash: succeeded[0].Hash, FeeMsat: succeeded[0].FeeMsat}) {
		r.tb.Fatalf("the trade has recorded %+v", paid)
	}
	if _, due := r.store.fees[id]; due {
		r.tb.Fatal("the fee is still due")
	}
	events := make(map[string]bool)
	for _, evt := range r.fees {
		if evt.Tags.FindWithValue("order-id", id.String()) != nil {
			events[evt.GetID()] = true
		}
	}
	if len(events) != 1 {
		r.tb.Fatalf("%d events about the fee", len(events))
	}
	f := &ledger.Fold{}
	for _, in := range r.store.journal[id] {
		if _, err := f.Apply(in); err != nil {
			r.tb.Fatal(err)
		}
	}
	if err := f.Check(); err != nil || f.Balances[ledger.DevFund] != 0 || f.Balances[ledger.DevWallet] != succeeded[0].AmountMsat {
		r.tb.Fatalf("the ledger is wrong: %v, %v", err, f.Balances)
	}
}

// payFees lets the clock run until no fee is left, and has the node end its payments.
func (r *rig) payFees() {
	r.tb.Helper()
	for range 300 {
		if len(r.store.fees) == 0 {
			return
		}
		r.claimFees()
		for _, h := range r.node.inFlight() {
			r.node.resolve(h, true)
		}
		r.pass(30)
	}
	r.tb.Fatalf("fees are left: %+v", r.store.fees)
}

// claimFees tells the node for which trade an invoice of the fund is paid.
func (r *rig) claimFees() {
	for _, f := range r.store.fees {
		for _, text := range r.fund.issued {
			if simDecode(text).Hash == f.Hash && f.Hash != (trade.Hash{}) {
				r.node.makers[text] = simFeeOrder(f.Trade)
			}
		}
	}
}

func TestDevelopmentFee(t *testing.T) {
	r := newRig(t)
	id := r.toOwed()
	r.payFees()
	r.feePaid(id)
	// The tags are those of the reference node (publish_dev_fee_audit_event), then one of ours.
	p := r.trade(id).DevFeePaid
	var got []string
	for _, tag := range r.fees[0].Tags {
		got = append(got, strings.Join(tag, " "))
	}
	want := []string{"order-id " + id.String(), "amount 180", "hash " + p.Hash.String(), "destination dev@fund", "network unknown", "y mostro", "z dev-fee-payment", "expiration"}
	for i, w := range want {
		if i >= len(got) || !strings.HasPrefix(got[i], w) {
			t.Errorf("tag %d is %q, want %q", i, got, w)
		}
	}
	if len(got) != len(want)+1 || !strings.HasPrefix(got[len(got)-1], "verify https://fund/") || r.fees[0].Content != "" {
		t.Errorf("the tags are %q", got)
	}
	fee, err := mostro.ParseDevFee(r.fees[0])
	if err != nil || fee.OrderID != id.String() || fee.AmountSats != 180 || fee.Expiration-fee.CreatedAt != 365*86400 {
		t.Errorf("%+v, %v", fee, err)
	}
	// daemon.md 10.3, row 29, #586: a fee that is paid is never looked up again.
	r.node.down = true
	asked := r.fund.asked
	r.pass(86_400)
	if len(r.store.outbox) != 0 || r.fund.asked != asked {
		t.Errorf("a paid fee causes calls: %+v", r.store.outbox)
	}
}

// Nothing is asked and nothing is paid while a store that may be an older copy is compared.
func TestNoFeeWhileReconciling(t *testing.T) {
	r := newRig(t)
	id := r.toOwed()
	r.book.Reconciling = true
	r.node.now += 600
	if err := r.book.fund.begin(r.node.now); err != nil {
		t.Fatal(err)
	}
	if f := r.book.fund.fees[id]; f.Phase != devfee.PhaseOwed || f.Attempt != 0 {
		t.Errorf("an attempt begins: %+v", f)
	}
	r.book.Reconciling = false
	r.payFees()
	r.feePaid(id)
}

// The program is killed at every point of the payment: before and after each effect, and before
// and after each commit.
func TestDevelopmentFeeOnceAcrossKills(t *testing.T) {
	kills := 0
	for failures := range 2 {
		for kill := 0; ; kill++ {
			r := newRig(t)
			id := r.toOwed()
			n, left := 0, failures
			killed := func() bool {
				n++
				if n-1 != kill {
					return false
				}
				kills++
				r.start()
				return true
			}
			for round := 0; len(r.store.fees) > 0; round++ {
				if round > 500 {
					t.Fatalf("kill %d: %+v", kill, r.store.fees)
				}
				r.node.now += 20
				if err := r.book.fund.begin(r.node.now); err != nil {
					t.Fatal(err)
				}
				if killed() {
					continue
				}
				r.commit()
				killed()
				for _, row := range append([]uint64(nil), r.store.rows...) {
					row, ok := r.store.outbox[row]
					if !ok || lane(row) != laneFund {
						continue
					}
					r.claimFees()
					run := effect.Runner{Node: r.node, Addresses: r.node, Payee: simPayee, Outflow: keyOf(row), Fund: fund.Fund{Address: "dev@fund", Service: r.fund}}
					res, err := run.Do(context.Background(), row.Effect, 0)
					if err != nil {
						t.Fatal(err)
					}
					if killed() {
						continue // the result is lost
					}
					res.Fee.At = r.node.now
					if err := r.book.fund.apply(row.Trade, *res.Fee); err != nil {
						t.Fatal(err)
					}
					r.book.Done(row.ID)
					if killed() {
						continue
					}
					r.commit()
					killed()
				}
				if round%4 == 3 {
					for _, h := range r.node.inFlight() {
						r.node.resolve(h, left == 0)
						left = max(left-1, 0)
					}
				}
			}
			r.settle()
			r.feePaid(id)
			if n <= kill {
				break // the program was not killed any more
			}
		}
	}
	if kills < 40 {
		t.Errorf("only %d kills", kills)
	}
}

// daemon.md 10.3, row 26, #692, #617 and #659: a write of the trade never erases the state of its
// fee. The payout of the trade goes on while the fee is being paid, and ends afterwards.
func Test692TradeWritesKeepTheFee(t *testing.T) {
	r := newRig(t)
	id, _, _ := r.toSettled()
	r.hold[devfee.FxTrack] = true
	r.pass(61)
	was := r.store.fees[id]
	if was.Phase != devfee.PhaseSent {
		t.Fatalf("%+v", was)
	}
	r.claimFees()
	r.resolves(id, false) // the payout fails and is tried again
	if r.store.fees[id] != was {
		t.Errorf("a write of the trade changed its fee from %+v to %+v", was, r.store.fees[id])
	}
	delete(r.hold, devfee.FxTrack)
	for range 20 {
		for _, h := range r.node.inFlight() {
			if h == was.Hash {
				r.node.resolve(h, true)
			}
		}
		r.pass(10)
	}
	paid := r.trade(id).DevFeePaid
	if paid.Hash != was.Hash || r.trade(id).Status != message.TradeSettledHoldInvoice {
		t.Fatalf("%+v, %s", paid, r.trade(id).Status)
	}
	r.pass(600)
	for _, h := range r.node.inFlight() {
		r.node.resolve(h, true)
	}
	r.settle()
	r.status(message.TradeSuccess, id)
	if r.trade(id).DevFeePaid != paid {
		t.Error("the payout of the trade erased the payment of its fee")
	}
	// A second record of a payment is refused.
	r.applyInput(id, trade.Input{Kind: trade.InDevFeePaid, Hash: trade.Hash{1}})
	r.commit()
	if r.trade(id).DevFeePaid != paid {
		t.Error("a second payment is recorded")
	}
}

// daemon.md 10.3, row 27, #622 (#620): the address answers twice with one invoice, for two trades.
func Test622OneInvoiceForTwoTrades(t *testing.T) {
	r := newRig(t)
	one, two := r.toOwed(), r.toOwed()
	r.fund.repeat = true
	r.hold[devfee.FxTrack] = true
	r.pass(61)
	busy, failed := 0, 0
	for _, f := range r.store.fees {
		if f.Phase == devfee.PhaseSent {
			busy++
		}
		if f.Problem == devfee.ProblemUsed {
			failed++
		}
	}
	if busy != 1 || failed != 1 {
		t.Fatalf("%+v", r.store.fees)
	}
	r.fund.repeat = false
	delete(r.hold, devfee.FxTrack)
	r.payFees()
	r.feePaid(one)
	r.feePaid(two)
}

// The invoice of the address was paid before, in a time that this store does not know.
func TestInvoiceThatIsPaidAlready(t *testing.T) {
	r := newRig(t)
	id := r.toOwed()
	var h trade.Hash
	h[0] = 0xee
	r.fund.issued, r.fund.repeat = []string{simInvoice(h, 180_000, r.node.now+86_400, "other")}, true
	r.node.pays[h] = &simPay{order: "other", state: lightning.PaymentState{Hash: h, Status: trade.PaymentSucceeded, AmountMsat: 180_000}}
	r.pass(61)
	if f := r.store.fees[id]; f.Problem != devfee.ProblemUsed || f.Phase != devfee.PhaseOwed || f.Hash == h {
		t.Fatalf("%+v", f)
	}
	r.fund.repeat = false
	r.payFees()
	r.feePaid(id)
}

// daemon.md 10.3, row 28, #584 (#568): the node is down for hours, the answer to the payment is
// lost, and the invoice expires meanwhile. The payment is looked up, and no other is made.
func Test584NodeDownForHours(t *testing.T) {
	for name, arrived := range map[string]bool{"the payment has arrived": true, "the payment has not arrived": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id := r.toOwed()
			r.hold[devfee.FxPay] = true
			r.pass(61)
			f := r.store.fees[id]
			if f.Phase != devfee.PhaseClaimed {
				t.Fatalf("%+v", f)
			}
			r.claimFees()
			if arrived {
				if err := r.node.Pay(context.Background(), lightning.Payment{Bolt11: r.fund.issued[0], MaxFeeSats: 5}); err != nil {
					t.Fatal(err)
				}
			}
			delete(r.hold, devfee.FxPay)
			asked := r.fund.asked
			r.node.down = true
			for range 100 {
				r.pass(300)
				if len(r.store.outbox) != 1 || r.store.fees[id].Hash != f.Hash || r.fund.asked != asked {
					t.Fatalf("while the node is down: %+v, %d requests", r.store.fees[id], r.fund.asked)
				}
			}
			r.start()
			r.node.down = false
			r.payFees()
			r.feePaid(id)
			if got := r.trade(id).DevFeePaid.Hash; (got == f.Hash) != arrived {
				t.Errorf("paid by another hash: %v", got != f.Hash)
			}
		})
	}
}

// delta 4.14, row 73, #1039: no fee is owed if the node is on another network than the fund.
func Test1039NoFeeOffMainnet(t *testing.T) {
	r := newRig(t)
	r.book.fund.active = func() bool { return false }
	id, _, _ := r.toSettled()
	r.resolves(id, true)
	r.pass(7200)
	if len(r.store.fees) != 0 || r.fund.asked != 0 || r.trade(id).DevFeeSats != 180 {
		t.Errorf("%+v, %d requests", r.store.fees, r.fund.asked)
	}
	// A fee that is owed already waits.
	r = newRig(t)
	id = r.toOwed()
	r.book.fund.active = func() bool { return false }
	r.pass(7200)
	if r.store.fees[id].Phase != devfee.PhaseOwed || r.fund.asked != 0 {
		t.Errorf("%+v, %d requests", r.store.fees[id], r.fund.asked)
	}
}

// A store that was restored from a copy pays no fee that may have been paid in the lost time.
func TestCopiedStorePaysNoFee(t *testing.T) {
	for name, begun := range map[string]func(r *rig){
		"owed":    func(*rig) {},
		"asking":  func(r *rig) { r.hold[devfee.FxInvoice] = true; r.pass(61) },
		"claimed": func(r *rig) { r.hold[devfee.FxPay] = true; r.pass(61) },
		"sent":    func(r *rig) { r.hold[devfee.FxTrack] = true; r.pass(61) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id := r.toOwed()
			begun(r)
			copied := r.store.clone()
			clear(r.hold)
			// In the time that the copy does not know, the attempt fails, and the fee is paid
			// to another invoice.
			r.claimFees()
			for _, h := range r.node.inFlight() {
				r.node.resolve(h, false)
			}
			r.payFees()
			r.feePaid(id)
			sats := r.node.feesPaid()
			r.store = copied
			r.copied()
			for range 50 {
				r.claimFees()
				for _, h := range r.node.inFlight() {
					r.node.resolve(h, true)
				}
				r.pass(600)
			}
			f := r.store.fees[id]
			if paid := r.trade(id).DevFeePaid.Hash; r.node.feesPaid() != sats || paid == (trade.Hash{}) && (f.Phase != devfee.PhaseParked || f.Problem != devfee.ProblemCopied) {
				t.Fatalf("%d msat were paid, then %d: %+v", sats, r.node.feesPaid(), f)
			}
			if name != "owed" {
				return
			}
			// The relay's log has the event about the payment.
			hash := r.node.pays
			for h, p := range hash {
				if p.order == simFeeOrder(id) && p.state.Status == trade.PaymentSucceeded {
					// A payment of another amount was for another take of the order.
					for _, sats := range []int64{f.Sats + 1, f.Sats} {
						if p := r.trade(id).DevFeePaid; p.Hash != (trade.Hash{}) {
							t.Errorf("a payment of another amount is recorded: %+v", p)
						}
						if err := r.book.fund.copied(map[trade.OrderID]publishedFee{id: {h, sats}}, r.node.now); err != nil {
							t.Fatal(err)
						}
						r.commit()
						if sats != f.Sats {
							r.pass(60)
						}
					}
				}
			}
			r.commit()
			events := len(r.fees)
			r.pass(60)
			if r.trade(id).DevFeePaid.Hash == (trade.Hash{}) || len(r.store.fees) != 0 || len(r.fees) != events {
				t.Errorf("the published payment is not recorded, or published again: %+v, %d events", r.store.fees, len(r.fees)-events)
			}
		})
	}
}

// A copy was taken between the claim of an invoice and its payment. In the time that the copy does
// not know, the node refused that payment, and the fee was paid to another invoice. The row of the
// first payment is in the copy, and must not be performed.
func TestCopyPaysNoRefusedInvoice(t *testing.T) {
	r := newRig(t)
	id := r.toOwed()
	r.hold[devfee.FxPay] = true
	r.pass(61)
	copied := r.store.clone()
	f := r.store.fees[id]
	rows := 0
	for n, row := range r.store.outbox {
		if row.Effect.Kind == devfee.FxPay {
			r.book.Done(n)
			rows++
		}
	}
	if f.Phase != devfee.PhaseClaimed || rows != 1 {
		t.Fatalf("%+v, %d rows", f, rows)
	}
	if err := r.book.fund.apply(id, devfee.Input{At: r.node.now, Kind: devfee.InRefused, Attempt: f.Attempt, Hash: f.Hash}); err != nil {
		t.Fatal(err)
	}
	r.commit()
	clear(r.hold)
	r.payFees()
	r.feePaid(id)
	sats := r.node.feesPaid()
	r.store = copied
	r.copied()
	r.settle() // at once, before the invoice expires
	for range 10 {
		r.claimFees()
		for _, h := range r.node.inFlight() {
			r.node.resolve(h, true)
		}
		r.pass(600)
	}
	if r.node.feesPaid() != sats || r.store.fees[id].Phase != devfee.PhaseParked {
		t.Errorf("%d msat were paid, then %d: %+v", sats, r.node.feesPaid(), r.store.fees[id])
	}
}

// A frozen trade begins nothing that moves money, so its fee waits until an operator has looked.
func TestFrozenTradePaysNoFee(t *testing.T) {
	r := newRig(t)
	id, _, _ := r.toSettled()
	r.applyInput(id, trade.Input{Kind: trade.InUncommitted})
	r.commit()
	r.pass(7200)
	if f := r.store.fees[id]; !r.trade(id).Frozen || f.Phase != devfee.PhaseOwed || f.Attempt != 0 || r.fund.asked != 0 {
		t.Errorf("%+v, asked %d times", f, r.fund.asked)
	}
}

// The fees of frozen trades do not take the places of other fees.
func TestFrozenTradesDelayNoFee(t *testing.T) {
	r := newRig(t)
	for range devfee.MaxBusy {
		id, _, _ := r.toSettled()
		r.applyInput(id, trade.Input{Kind: trade.InUncommitted})
		r.commit()
	}
	id, _, _ := r.toSettled()
	r.pass(120)
	r.settle()
	if f, due := r.store.fees[id]; due && f.Attempt == 0 {
		t.Errorf("behind %d frozen trades: %+v", devfee.MaxBusy, f)
	}
}

// An operator who lets a frozen trade continue may not know whether its fee is paid.
func TestFeeOfATradeThatAnOperatorContinues(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.applyInput(id, trade.Input{Kind: trade.InUncommitted})
	r.applyInput(id, trade.Input{Kind: trade.InResume})
	r.commit()
	r.must(seller, message.ActionRelease, &id, nil)
	r.resolves(id, true)
	r.pass(7200)
	if f := r.store.fees[id]; f.Phase != devfee.PhaseParked || f.Problem != devfee.ProblemByHand || f.DueAt == 0 || r.fund.asked != 0 {
		t.Fatalf("%+v", f)
	}
	if err := r.book.fund.retry(id, r.node.now); err != nil {
		t.Fatal(err)
	}
	r.commit()
	r.payFees()
	r.feePaid(id)
	if err := r.book.fund.retry(id, r.node.now); err != trade.ErrNothing {
		t.Errorf("a paid fee is tried again: %v", err)
	}
}

// The attempts of all fees in an hour have a ceiling, also across restarts.
func TestCeilingOfAttempts(t *testing.T) {
	r := newRig(t)
	for range 12 {
		r.toOwed()
	}
	r.node.fickle = false
	dead := 0
	for range 60 {
		r.fund.n = nil // any call of the service would fail
		r.start()
		r.node.now += 60
		if err := r.book.fund.begin(r.node.now); err != nil {
			t.Fatal(err)
		}
		r.commit()
		for _, row := range append([]uint64(nil), r.store.rows...) {
			row := r.store.outbox[row]
			if row.Effect.Kind == devfee.FxInvoice {
				dead++
				if err := r.book.fund.apply(row.Trade, devfee.Input{At: r.node.now, Kind: devfee.InNoInvoice, Attempt: row.Effect.Attempt, Problem: devfee.ProblemUnreachable}); err != nil {
					t.Fatal(err)
				}
				r.book.Done(row.ID)
			}
		}
		r.commit()
	}
	if dead < devfee.MaxTries/2 || dead > devfee.MaxTries {
		t.Errorf("%d attempts in an hour, the ceiling is %d", dead, devfee.MaxTries)
	}
}

// A fund that does not answer delays no payout: its lane has rows and workers of its own.
func TestFundDelaysNoPayout(t *testing.T) {
	for _, kind := range []trade.EffectKind{devfee.FxInvoice, devfee.FxPay, devfee.FxTrack} {
		row := OutboxRow{Trade: trade.OrderID{1}, Effect: trade.Effect{Kind: kind}}
		for _, other := range []trade.EffectKind{trade.FxPay, trade.FxMint, trade.FxSettle, trade.FxSend, trade.FxTrack} {
			if lane(row) == lane(OutboxRow{Trade: trade.OrderID{1}, Effect: trade.Effect{Kind: other}}) {
				t.Errorf("%s waits in one lane with %s", other, kind)
			}
		}
		if !row.moves() {
			t.Errorf("%s goes on while its trade is frozen", kind)
		}
	}
}
