package trade

import (
	"errors"
	"testing"

	"github.com/mostrodex/mostrodex/mostro/message"
)

// The routing fee of a payout never exceeds the fees that the trade earns.
func TestNoTradeCostsMoreThanItEarns(t *testing.T) {
	for _, fee := range []Fraction{1_000_000, 6_000_000, 20_000_000} {
		terms := DefaultTerms()
		terms.Fee = fee
		least := terms.LeastSats()
		for _, a := range []int64{least, least + 1, 999, 1000, 1001, 5000, 10_000, 123_456, 1_000_000} {
			if a < least {
				continue
			}
			tr := Trade{Terms: terms, AmountSats: a, FeeSats: fee.SideFee(a)}
			if cap := tr.payEffect().MaxFeeSats; cap > 2*tr.FeeSats || cap < leastRoutingSats && cap < fee.RoutingCap(a) {
				t.Errorf("fee %s, %d sats: earns %d, routing may cost %d", fee.Decimal(), a, 2*tr.FeeSats, cap)
			}
		}
		if least > terms.MinSats && 2*fee.SideFee(least-1) >= leastRoutingSats {
			t.Errorf("fee %s: %d sats would do as well as %d", fee.Decimal(), least-1, least)
		}
	}
	free := DefaultTerms()
	if free.LeastSats() != free.MinSats {
		t.Error("a node without a fee pays for routing by choice")
	}
}

func TestTermsCheck(t *testing.T) {
	if err := DefaultTerms().Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Terms){
		"fee of all": func(t *Terms) { t.Fee = fractionOne }, "development fund's share": func(t *Terms) { t.DevFee = 1 },
		"limits": func(t *Terms) { t.MaxSats = 99 }, "least": func(t *Terms) { t.MinSats = 0 }, "life": func(t *Terms) { t.LifeSeconds = 0 },
		"wait": func(t *Terms) { t.WaitSeconds = 0 }, "lock": func(t *Terms) { t.CLTVBlocks = 0 }, "attempts": func(t *Terms) { t.PaymentAttempts = 0 },
		"routing": func(t *Terms) { t.MaxRoutingFee = -1 }, "margin": func(t *Terms) { t.MarginBlocks = 17 }, "margin of the whole hold": func(t *Terms) { t.MarginBlocks = t.CLTVBlocks },
		"overdue": func(t *Terms) { t.Overdue = "chain" },
	} {
		terms := DefaultTerms()
		if spoil(&terms); terms.Check() == nil {
			t.Errorf("%s passes", name)
		}
	}
	terms := DefaultTerms()
	if terms.MarginBlocks = 18; terms.Check() != nil {
		t.Error("the least margin is refused: ", terms.Check())
	}
}

// A hold that waits for the buyer's invoice is dated again when it is seen. Rules 2 kept the date of
// the payment, so a trade of an older copy of the store began with a hold that was nearly over.
func TestHoldBeforeTheInvoiceIsDatedAgain(t *testing.T) {
	const at = 1_790_000_000
	tr := Trade{ID: OrderID{1}, Status: message.TradeWaitingBuyerInvoice, Terms: Terms{CLTVBlocks: 144, MarginBlocks: 24}}
	tr.Hash, tr.HeldAt, tr.SafeUntil = Hash{1}, at-1000, at+70_000
	in := Input{At: at, Kind: InHold, Rules: rules3, Hash: Hash{1}, Hold: Hold{Phase: HoldAccepted, Height: 1128, ExpiryHeight: 1147}}
	next, _, err := Step(tr, in)
	if err != nil || next.Status != tr.Status || next.SafeUntil != at-5*BlockSeconds {
		t.Errorf("%v, %s, safe until %d", err, next.Status, next.SafeUntil-at)
	}
	in.Rules = rules2
	if _, _, err := Step(tr, in); !errors.Is(err, ErrNothing) {
		t.Errorf("rules 2: %v", err)
	}
	for name, change := range map[string]func(){
		"without a height": func() { in.Hold.Height = 0 },
		"without a lock":   func() { in.Hold.Height, in.Hold.ExpiryHeight = 1128, 0 },
		"nearly as before": func() { in.Hold.Height, in.Hold.ExpiryHeight = 1000, 1147 },
	} {
		in.Rules = rules3
		if change(); name == "nearly as before" {
			tr.SafeUntil = at + 123*BlockSeconds + 60
		}
		if _, _, err := Step(tr, in); !errors.Is(err, ErrNothing) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
