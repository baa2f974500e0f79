package trade

import "testing"

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
