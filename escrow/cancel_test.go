package escrow

import (
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// toShown returns a trade whose seller was shown the hold invoice.
func (r *rig) toShown() (id trade.OrderID, seller, buyer trade.Party) {
	r.tb.Helper()
	seller, buyer = r.someone(), r.someone()
	id = r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, r.bolt11For(id, 99_700_000, 7200))
	r.status(message.TradeWaitingPayment, id)
	return id, seller, buyer
}

// A cancel that arrives when the seller has just paid is refused, from either party. The trade
// goes on.
func TestCancelAsksTheNode(t *testing.T) {
	for _, phase := range []string{"accepted", "open", "ended"} {
		for _, maker := range []bool{true, false} {
			r := newRig(t)
			id, seller, buyer := r.toShown()
			party := buyer
			if maker {
				party = seller
			}
			h := r.trade(id).Hash
			switch phase {
			case "accepted":
				if !r.node.pay(h) {
					t.Fatal("not paid")
				}
			case "ended":
				r.node.giveBack(r.node.holds[h])
			}
			before := len(r.mail[party.Key])
			if outcome := r.say(party, message.ActionCancel, &id, nil); outcome != "" {
				t.Fatalf("%s: %s", phase, outcome)
			}
			if got := r.trade(id).Status; got != message.TradeWaitingPayment || len(r.mail[party.Key]) != before {
				t.Fatalf("%s: decided before the node was asked: %s", phase, got)
			}
			r.settle()
			got := r.trade(id).Status
			switch {
			case phase == "accepted":
				if got != message.TradeActive || r.node.refundedMsat != 0 {
					t.Errorf("%s: %s, %d msat given back", phase, got, r.node.refundedMsat)
				}
				if c, ok := r.last(party, message.ActionCantDo).Payload.(message.CantDo); !ok || c.Reason != message.ReasonNotAllowedByStatus {
					t.Errorf("%s: %+v", phase, c)
				}
			case maker && got != message.TradeCanceled, !maker && got != message.TradePending:
				t.Errorf("%s, by the maker %v: %s", phase, maker, got)
			}
			if got != message.TradeActive && r.node.holds[h].state.Phase != trade.HoldCanceled {
				t.Errorf("%s: the hold is %s", phase, r.node.holds[h].state.Phase)
			}
		}
	}
}

// If the node does not answer, a cancel changes nothing and gets no reply.
func TestCancelWhileTheNodeIsDown(t *testing.T) {
	r := newRig(t)
	id, _, buyer := r.toShown()
	was, before := r.trade(id), len(r.mail[buyer.Key])
	r.node.down = true
	r.must(buyer, message.ActionCancel, &id, nil)
	r.refused(message.ReasonTooManyRequests, buyer, message.ActionCancel, &id, nil) // one at a time
	r.node.now += probeSeconds + 1
	r.node.down = false
	r.settle()
	if got := r.trade(id); got.Status != was.Status || got.Steps != was.Steps {
		t.Errorf("%s after %q", got.Status, got.Last)
	}
	if got := len(r.mail[buyer.Key]); got != before+1 {
		t.Errorf("%d messages came", got-before)
	}
	r.must(buyer, message.ActionCancel, &id, nil) // another cancel is free to come
	r.status(message.TradePending, id)
}

// A stranger's cancel asks the node nothing.
func TestCancelOfAStranger(t *testing.T) {
	r := newRig(t)
	id, _, _ := r.toShown()
	rows := len(r.store.rows)
	r.refused(message.ReasonInvalidPubkey, r.someone(), message.ActionCancel, &id, nil)
	for _, n := range r.store.rows[min(rows, len(r.store.rows)):] {
		if r.store.outbox[n].Effect.Kind == trade.FxLook {
			t.Error("the node is asked for a stranger")
		}
	}
}

// The trade became active while a cancel waited for the node. The cancel is refused, and is not
// taken for a wish to cancel the active trade together.
func TestCancelThatComesTooLate(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toShown()
	r.hold[trade.FxLook] = true
	r.must(buyer, message.ActionCancel, &id, nil)
	r.pays(seller)
	r.status(message.TradeActive, id)
	delete(r.hold, trade.FxLook)
	r.settle()
	if got := r.trade(id); got.Status != message.TradeActive || got.CancelBy != "" {
		t.Errorf("%s, cancel by %q", got.Status, got.CancelBy)
	}
	if c, ok := r.last(buyer, message.ActionCantDo).Payload.(message.CantDo); !ok || c.Reason != message.ReasonNotAllowedByStatus {
		t.Errorf("%+v", c)
	}
}

// The seller's time to pay ends only after the node has said that the seller has not paid.
func TestTimeoutAsksTheNode(t *testing.T) {
	t.Run("paid in the last moment", func(t *testing.T) {
		r := newRig(t)
		id, _, _ := r.toShown()
		r.node.pay(r.trade(id).Hash)
		r.node.now += r.policy.Terms.WaitSeconds
		r.applyInput(id, trade.Input{Kind: trade.InClock}) // the clock is faster than the watch
		r.commit()
		if got := r.trade(id); got.Status != message.TradeWaitingPayment || !got.Expiring {
			t.Fatalf("%s after %q", got.Status, got.Last)
		}
		r.settle()
		if got := r.trade(id); got.Status != message.TradeActive || got.Expiring || r.node.refundedMsat != 0 {
			t.Errorf("%s, expiring %v, %d msat given back", got.Status, got.Expiring, r.node.refundedMsat)
		}
	})
	t.Run("not paid", func(t *testing.T) {
		r := newRig(t)
		id, _, _ := r.toShown()
		r.pass(r.policy.Terms.WaitSeconds)
		r.status(message.TradeCanceled, id)
		if got := r.trade(id); got.Expiring || len(got.Closing) != 0 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("the node is down", func(t *testing.T) {
		r := newRig(t)
		id, _, _ := r.toShown()
		r.node.down = true
		r.pass(r.policy.Terms.WaitSeconds)
		r.pass(300)
		r.status(message.TradeWaitingPayment, id)
		r.node.down = false
		r.pass(300)
		r.status(message.TradeCanceled, id)
	})
	t.Run("the node is down until the invoice has expired", func(t *testing.T) {
		r := newRig(t)
		id, _, _ := r.toShown()
		r.node.down = true
		steps := r.trade(id).Steps
		for range 20 {
			r.pass(300)
		}
		r.status(message.TradeCanceled, id)
		if n := r.trade(id).Steps - steps; n > 40 {
			t.Errorf("%d steps", n)
		}
	})
}
