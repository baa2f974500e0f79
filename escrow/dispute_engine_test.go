package escrow

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// disputed brings a trade of two users to a dispute of the buyer, after fiat was sent.
func (w *world) disputed() (id trade.OrderID, seller, buyer *user) {
	w.tb.Helper()
	f := &flow{T: w.tb.(*testing.T), w: w, seller: w.user(envelope.TransportV2), buyer: w.user(envelope.TransportV2)}
	f.sell()
	f.take()
	f.addInvoiceOf(simInvoice(trade.Hash{byte(w.log.Head()), 3}, (flowSats-flowFee)*1000, w.clock.Now().Unix()+86_400*3, f.id.String()))
	for {
		p, ok := f.seller.wait(message.ActionPayInvoice).Payload.(message.PaymentRequest)
		if !ok {
			continue
		}
		w.node.with(func(n *simNode) {
			if !n.pay(simDecode(p.Invoice).Hash) {
				w.tb.Error("the hold invoice cannot be paid")
			}
		})
		break
	}
	f.buyer.wait(message.ActionHoldInvoicePaymentAccepted)
	f.fiatSent()
	f.buyer.send(message.Message{RequestID: number(7), ID: &f.id, Action: message.ActionDispute})
	f.seller.wait(message.ActionDisputeInitiatedByPeer)
	return f.id, f.seller, f.buyer
}

// leave sets the chain so that the hold of a trade has so many blocks left above the margin.
func (w *world) leave(id trade.OrderID, blocks uint32) {
	w.tb.Helper()
	t := w.trade(id)
	w.node.with(func(n *simNode) { n.height = n.holds[t.Hash].state.ExpiryHeight - marginBlocks(t.Terms) - blocks })
	w.clock.move(max(0, time.Duration(t.Deadline-w.clock.Now().Unix())) * time.Second)
	w.node.with(func(n *simNode) { n.now = w.clock.Now().Unix() })
}

// TestOverdueDispute runs a dispute that nobody decides through the engine, with a restart
// between the steps. The operator is told when it opens, when it is due and when the rule
// decides, and the public event names the rule.
func TestOverdueDispute(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		w := newWorld(t)
		between := func() {
			if restarts {
				w.restart()
			}
		}
		id, seller, buyer := w.disputed()
		dispute := w.trade(id).Dispute.ID.String()
		between()
		logged := func(text string) int {
			n := 0
			for line := range strings.SplitSeq(w.output.String(), "\n") {
				if strings.Contains(line, "level=WARN") && strings.Contains(line, text) && strings.Contains(line, dispute) {
					n++
				}
			}
			return n
		}
		if got := logged("a dispute was opened"); got != 1 {
			t.Errorf("the operator is told %d times that the dispute was opened", got)
		}
		for i, blocks := range []uint32{48, 36} {
			w.leave(id, blocks)
			w.eventually("the warning", func() bool { return w.trade(id).Dispute.Told == blocks })
			between()
			if got := logged("a dispute is due"); got != i+1 {
				t.Errorf("the operator is told %d times that the dispute is due", got)
			}
		}
		w.eventually("the status names the dispute", func() bool {
			return strings.Contains(strings.Join(w.engine.Status().Warnings, "\n"), "1 disputes are due")
		})
		w.eventually("the metric of due disputes", func() bool { return testutil.ToFloat64(w.engine.metrics.due) == 1 })
		w.eventually("the metric of open disputes", func() bool {
			return testutil.ToFloat64(w.engine.metrics.disputes.WithLabelValues("initiated")) == 1
		})
		w.leave(id, 0)
		w.until(id, message.TradeCanceledByAdmin)
		between()
		seller.wait(message.ActionAdminCanceled)
		buyer.wait(message.ActionAdminCanceled)
		w.eventually("the hold is given back", func() bool {
			held := int64(-1)
			w.node.with(func(n *simNode) { held = n.heldMsat })
			return held == 0 && w.trade(id).Over()
		})
		if got := logged("the rule decides it"); got != 1 {
			t.Errorf("the operator is told %d times that the rule decides", got)
		}
		w.quiet()
		shown := 0
		_ = w.log.Read(t.Context(), 0, func(e mostro.Entry) error {
			if e.Event.Kind == mostro.KindDispute && e.Event.Tags.FindWithValue("overdue", "cancel") != nil && e.Event.Tags.FindWithValue("s", "seller-refunded") != nil {
				shown++
			}
			return nil
		})
		if shown != 1 {
			t.Errorf("%d public events name the rule", shown)
		}
		w.finish()
		w.engine = nil
	}
}

// TestSlotsForHolds checks that no order can be taken while the node holds as many payments as
// the policy allows, and that orders are still made.
func TestSlotsForHolds(t *testing.T) {
	r := newRig(t)
	r.policy.MaxHolds = 2
	r.start()
	first, seller, buyer := r.toActive()
	open := r.order(r.someone(), message.SmallOrder{})
	buy := r.order(r.someone(), message.SmallOrder{Kind: mostro.SideBuy})
	r.toActive()
	if r.book.held != 2 {
		t.Errorf("%d held payments are counted", r.book.held)
	}
	late := r.someone()
	r.refused(message.ReasonNotAllowedByStatus, late, message.ActionTakeSell, &open, nil)
	r.refused(message.ReasonNotAllowedByStatus, late, message.ActionTakeBuy, &buy, nil)
	r.order(r.someone(), message.SmallOrder{})
	r.start()
	if r.book.held != 2 {
		t.Errorf("%d held payments are counted after a restart", r.book.held)
	}
	r.refused(message.ReasonNotAllowedByStatus, late, message.ActionTakeSell, &open, nil)
	r.must(buyer, message.ActionFiatSent, &first, nil)
	r.must(seller, message.ActionRelease, &first, nil)
	if r.book.held != 1 {
		t.Errorf("%d held payments are counted after a settlement", r.book.held)
	}
	r.must(late, message.ActionTakeSell, &open, nil)
	r.must(late, message.ActionCancel, &open, nil)
	r.policy.MaxHolds = 0
	r.start()
	r.must(r.someone(), message.ActionTakeSell, &open, nil)
}

// TestRestoredStoreOfADispute restores a store from before a verdict. The verdict is not made
// a second time, and a dispute whose hold is settled is not cancelled.
func TestRestoredStoreOfADispute(t *testing.T) {
	r := newRig(t)
	ann := r.solver(trade.RoleWrite)
	id, dispute, _, _ := r.toDispute()
	r.must(ann, message.ActionAdminTakeDispute, &dispute, nil)
	old := r.store.clone()
	verdict := r.message(ann, message.ActionAdminSettle, &id, nil)
	if got := r.receive(verdict); got != "" {
		t.Fatal(got)
	}
	r.settle()
	r.resolves(id, true)
	paid := r.node.paidMsat
	r.store = old
	r.copied()
	// The log brings the verdict again; the solver tries the other one as well.
	r.receive(verdict)
	r.settle()
	r.say(ann, message.ActionAdminCancel, &id, nil)
	r.settle()
	r.pass(86_400)
	if got := r.trade(id); !got.Frozen || r.node.paidMsat != paid || got.Status == message.TradeCanceledByAdmin {
		t.Errorf("the trade is %s after %q, frozen %v; paid %d and %d msat", got.Status, got.Last, got.Frozen, paid, r.node.paidMsat)
	}
	if err := r.book.Decide(id, message.ActionAdminCancel, "x", r.node.now); err == nil {
		t.Error("the operator cancels a frozen trade")
	}
	if err := r.book.Close(id, trade.OutcomePaid, "the payout is in the other copy", false, r.node.now); err != nil {
		t.Fatal(err)
	}
	r.commit()
	r.settle()
	r.status(message.TradeCompletedByAdmin, id)
	if r.node.paidMsat != paid {
		t.Error("the buyer is paid twice")
	}
}

// TestNoVerdictBeforeTheComparison checks that an operator decides nothing while the store is not
// compared with the node: it may be an older copy, whose trade was paid out already.
func TestNoVerdictBeforeTheComparison(t *testing.T) {
	w := newWorld(t)
	id, seller, _ := w.disputed()
	_ = w.stop()
	w.node.with(func(n *simNode) { n.down = true })
	w.start()
	for _, action := range []message.Action{message.ActionAdminCancel, message.ActionAdminSettle} {
		if err := w.engine.Decide(t.Context(), id, action, "x"); !errors.Is(err, ErrUncompared) {
			t.Errorf("%s: %v", action, err)
		}
	}
	if err := w.engine.Close(t.Context(), id, trade.OutcomeRefunded, "x"); !errors.Is(err, ErrUncompared) {
		t.Errorf("close: %v", err)
	}
	if err := w.engine.Resolve(t.Context(), id, Resolution{Hash: trade.Hash{1}, Msat: 1000, Outcome: trade.OutcomeKept, Reason: "x"}); !errors.Is(err, ErrUncompared) {
		t.Errorf("an amount in suspense: %v", err)
	}
	if err := w.engine.SettleDevFee(t.Context(), id, trade.Hash{}, "x"); !errors.Is(err, ErrUncompared) {
		t.Errorf("a development fee: %v", err)
	}
	w.node.with(func(n *simNode) { n.down = false })
	w.eventually("the verdict", func() bool {
		err := w.engine.Decide(t.Context(), id, message.ActionAdminCancel, "x")
		if err != nil && !errors.Is(err, ErrUncompared) {
			t.Fatal(err)
		}
		return err == nil
	})
	seller.wait(message.ActionAdminCanceled)
	w.until(id, message.TradeCanceledByAdmin)
}

// TestOperatorWritesWithTheNodesKey: mostro-cli sends the messages of an operator from the
// node's own key to the node's own key. A client's message is decided. The node's answers,
// which have the same author and receiver, are not, even if they come back from another relay.
func TestOperatorWritesWithTheNodesKey(t *testing.T) {
	w := newWorld(t)
	operator := &user{w: w, trade: w.keys, transport: envelope.TransportV2}
	one, two, three := newKeys(t), newKeys(t), newKeys(t)
	add := func(k *envelope.Keys, origin mostro.Origin) {
		t.Helper()
		evt := operator.event(message.Message{Wrapper: message.WrapperDispute, RequestID: number(7), ID: &anyID, Action: message.ActionAdminAddSolver, Payload: message.TextMessage(k.Npub())})
		w.log.append(evt, mostro.Source{Origin: origin}, w.clock.Now())
	}
	add(one, mostro.OriginSelf)
	add(two, mostro.OriginLive)
	add(three, mostro.OriginClient)
	solvers := func() (keys []string) {
		t.Helper()
		list, err := w.engine.Solvers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			keys = append(keys, s.Key)
		}
		return keys
	}
	w.eventually("a solver", func() bool { return len(solvers()) > 0 })
	w.quiet() // the answer was published and read
	if got := solvers(); !slices.Equal(got, []string{three.Pubkey()}) {
		t.Errorf("solvers %v, want %s", got, three.Pubkey())
	}
}
