package escrow

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/prometheus/client_golang/prometheus"
)

// A message of a stranger changes neither the trade, in any of its states, nor the process. A
// stranger can only take an order that is in the book.
func TestNoStrangerMovesATrade(t *testing.T) {
	one, huge := int64(1), int64(math.MaxInt64)
	text := strings.Repeat("é\x00", 3000)
	payloads := []message.Payload{
		nil, &message.SmallOrder{}, &message.SmallOrder{AmountSats: huge, FiatAmount: -huge, MinAmount: &huge, MaxAmount: &one, Premium: math.MinInt64, FiatCode: text, BuyerInvoice: &text},
		message.PaymentRequest{}, message.PaymentRequest{Invoice: text, Amount: &huge}, message.PaymentRequest{Invoice: "a@home", Amount: &one},
		message.TextMessage(text), message.Peer{}, message.RatingUser(255), message.Amount(huge), message.Amount(-1), message.DisputeRef{},
		message.DisputeRef{Info: &message.SolverDisputeInfo{}}, message.CantDo{}, message.NextTrade{Pubkey: text, Index: math.MaxUint32},
		message.PaymentFailed{}, message.RestoreData{}, message.IDs{}, message.OrderList{{}}, message.BondResolution{SlashBuyer: true},
		message.BondPayoutRequest{}, message.CashuLockProof{}, message.CashuSignatures{{}},
	}
	for name, begin := range map[string]func(r *rig) trade.OrderID{
		"pending": func(r *rig) trade.OrderID { return r.order(r.someone(), message.SmallOrder{}) },
		"waiting": func(r *rig) trade.OrderID {
			id := r.order(r.someone(), message.SmallOrder{Kind: mostro.SideBuy})
			r.must(r.someone(), message.ActionTakeBuy, &id, nil)
			return id
		},
		"active":  func(r *rig) trade.OrderID { id, _, _ := r.toActive(); return id },
		"settled": func(r *rig) trade.OrderID { id, _, _ := r.toSettled(); return id },
		"success": func(r *rig) trade.OrderID { id, _, _ := r.toSettled(); r.resolves(id, true); return id },
		"over": func(r *rig) trade.OrderID {
			maker := r.someone()
			id := r.order(maker, message.SmallOrder{})
			r.must(maker, message.ActionCancel, &id, nil)
			return id
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id := begin(r)
			before := r.trade(id)
			for _, action := range append(message.Actions(), "", "dance") {
				for _, payload := range payloads {
					if (action == message.ActionTakeSell || action == message.ActionTakeBuy) && name == "pending" {
						continue
					}
					msg := r.message(r.someone(), action, &id, payload)
					r.receive(msg)
					if after := r.trade(id); !reflect.DeepEqual(before, after) {
						t.Fatalf("%s with %T moved the trade to %s by %q", action, payload, after.Status, after.Last)
					}
				}
			}
			if len(r.book.batch.bugs) != 0 {
				t.Error(r.book.batch.bugs)
			}
		})
	}
}

// Metrics hold no data of a trade except counts.
func TestMetricsHoldNoSecret(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := newMetrics(reg)
	r := newRig(t)
	id, seller, _ := r.toSettled()
	r.say(seller, message.ActionRelease, &id, nil)
	m.message(r.say(seller, message.ActionRelease, &id, nil))
	m.failed(trade.FxPay, lightning.ErrUnavailable)
	m.dropped(&message.WireError{Rule: message.RuleStale, Detail: seller.Key})
	m.survey(r.book, newOutbox(effect.Runner{}, nil, m, nil), 0)
	m.committed(&r.book.batch.commit, map[trade.Trigger]int{trade.OnSettled: 1}, 0, 0.1)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range families {
		all.WriteString(f.String())
	}
	if !strings.Contains(all.String(), "settled-hold-invoice") {
		t.Error("the metrics count no trade")
	}
	tr := r.trade(id)
	for _, secret := range []string{id.String(), tr.Hash.String(), tr.Preimage.Hex(), seller.Key, seller.Identity, tr.HoldInvoice} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("a metric contains %s", secret)
		}
	}
}
