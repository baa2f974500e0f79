package escrow

import (
	"math"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
)

func TestNewOrderRefusals(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	text := func(s string) *string { return &s }
	good := func() *mostro.SmallOrder {
		return &mostro.SmallOrder{Kind: mostro.SideSell, AmountSats: 50_000, FiatCode: "EUR", FiatAmount: 50, PaymentMethod: "SEPA"}
	}
	for name, c := range map[string]struct {
		with func(*mostro.SmallOrder, *rig)
		want mostro.Reason
	}{
		"currency that the operator does not take": {func(o *mostro.SmallOrder, r *rig) { o.FiatCode = "USD"; r.book.Policy.Currencies = []string{"EUR"} }, mostro.ReasonInvalidFiatCurrency},
		"currency that is none":                    {func(o *mostro.SmallOrder, _ *rig) { o.FiatCode = "eu\"ro" }, mostro.ReasonInvalidFiatCurrency},
		"no currency":                              {func(o *mostro.SmallOrder, _ *rig) { o.FiatCode = "" }, mostro.ReasonInvalidFiatCurrency},
		"no fiat":                                  {func(o *mostro.SmallOrder, _ *rig) { o.FiatAmount = 0 }, mostro.ReasonInvalidAmount},
		"negative fiat":                            {func(o *mostro.SmallOrder, _ *rig) { o.FiatAmount = -5 }, mostro.ReasonInvalidAmount},
		"negative sats":                            {func(o *mostro.SmallOrder, _ *rig) { o.AmountSats = -1 }, mostro.ReasonInvalidAmount},
		"least number there is":                    {func(o *mostro.SmallOrder, _ *rig) { o.AmountSats = math.MinInt64 }, mostro.ReasonInvalidAmount},
		"range upside down": {func(o *mostro.SmallOrder, _ *rig) {
			o.AmountSats, o.FiatAmount, o.MinAmount, o.MaxAmount = 0, 0, n(50), n(40)
		}, mostro.ReasonInvalidAmount},
		"range of one": {func(o *mostro.SmallOrder, _ *rig) {
			o.AmountSats, o.FiatAmount, o.MinAmount, o.MaxAmount = 0, 0, n(50), n(50)
		}, mostro.ReasonInvalidAmount},
		"range below nothing": {func(o *mostro.SmallOrder, _ *rig) {
			o.AmountSats, o.FiatAmount, o.MinAmount, o.MaxAmount = 0, 0, n(-1), n(50)
		}, mostro.ReasonInvalidAmount},
		"range with fixed sats":       {func(o *mostro.SmallOrder, _ *rig) { o.MinAmount, o.MaxAmount = n(10), n(50) }, mostro.ReasonInvalidAmount},
		"half a range":                {func(o *mostro.SmallOrder, _ *rig) { o.AmountSats, o.MinAmount = 0, n(10) }, mostro.ReasonInvalidAmount},
		"other half, no fiat":         {func(o *mostro.SmallOrder, _ *rig) { o.AmountSats, o.FiatAmount, o.MaxAmount = 0, 0, n(10) }, mostro.ReasonInvalidAmount},
		"premium on fixed sats":       {func(o *mostro.SmallOrder, _ *rig) { o.Premium = 1 }, mostro.ReasonInvalidParameters},
		"premium of everything":       {func(o *mostro.SmallOrder, _ *rig) { o.AmountSats, o.Premium = 0, 100 }, mostro.ReasonInvalidParameters},
		"endless payment method":      {func(o *mostro.SmallOrder, _ *rig) { o.PaymentMethod = strings.Repeat("x", longestMethod+1) }, mostro.ReasonInvalidParameters},
		"expired before it is made":   {func(o *mostro.SmallOrder, r *rig) { o.ExpiresAt = n(r.node.now) }, mostro.ReasonInvalidParameters},
		"too few sats":                {func(o *mostro.SmallOrder, _ *rig) { o.AmountSats = 99 }, mostro.ReasonOutOfRangeSatsAmount},
		"too many sats":               {func(o *mostro.SmallOrder, _ *rig) { o.AmountSats = 1_000_001 }, mostro.ReasonOutOfRangeSatsAmount},
		"too many sats at the market": {func(o *mostro.SmallOrder, _ *rig) { o.AmountSats, o.FiatAmount = 0, 1001 }, mostro.ReasonOutOfRangeSatsAmount},
		"range that goes too far": {func(o *mostro.SmallOrder, _ *rig) {
			o.AmountSats, o.FiatAmount, o.MinAmount, o.MaxAmount = 0, 0, n(10), n(1001)
		}, mostro.ReasonOutOfRangeSatsAmount},
		"range that begins too low": {func(o *mostro.SmallOrder, _ *rig) {
			o.AmountSats, o.FiatAmount, o.MinAmount, o.MaxAmount = 0, 0, n(0), n(10)
		}, mostro.ReasonOutOfRangeSatsAmount},
		"more than the world has": {func(o *mostro.SmallOrder, _ *rig) { o.AmountSats, o.FiatAmount = 0, math.MaxInt64 }, mostro.ReasonOutOfRangeSatsAmount},
		"stale price":             {func(o *mostro.SmallOrder, r *rig) { o.AmountSats = 0; r.price.Stale = true }, mostro.ReasonPriceTooStale},
		"no price":                {func(o *mostro.SmallOrder, r *rig) { o.AmountSats = 0; r.price = trade.Quote{} }, mostro.ReasonPriceTooStale},
		"neither buy nor sell":    {func(o *mostro.SmallOrder, _ *rig) { o.Kind = "" }, mostro.ReasonInvalidOrderKind},
		"invoice that is none":    {func(o *mostro.SmallOrder, _ *rig) { o.Kind, o.BuyerInvoice = mostro.SideBuy, text("lnsim:x") }, mostro.ReasonInvalidInvoice},
		"invoice of the whole amount": {func(o *mostro.SmallOrder, r *rig) {
			o.Kind, o.BuyerInvoice = mostro.SideBuy, text(simInvoice(trade.Hash{1}, 50_000_000, r.node.now+7200, strings.Repeat("0", 36)))
		}, mostro.ReasonInvalidInvoice},
		"invoice with an amount at market price": {func(o *mostro.SmallOrder, r *rig) {
			o.AmountSats, o.Kind, o.BuyerInvoice = 0, mostro.SideBuy, text(simInvoice(trade.Hash{1}, 50_000_000, r.node.now+7200, strings.Repeat("0", 36)))
		}, mostro.ReasonInvalidInvoice},
		"address that does not answer": {func(o *mostro.SmallOrder, _ *rig) { o.Kind, o.BuyerInvoice = mostro.SideBuy, text("me@dead") }, mostro.ReasonInvalidInvoice},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p, o := r.someone(), good()
			c.with(o, r)
			outcome := r.say(p, mostro.ActionNewOrder, nil, o)
			r.settle()
			if m := r.last(p, mostro.ActionCantDo); m.Payload.(mostro.CantDo).Reason != c.want {
				t.Errorf("the refusal is %v (%s), want %s", m.Payload, outcome, c.want)
			}
			if len(r.store.trades) != 0 || len(r.published) != 0 {
				t.Error("the refused order is in the book")
			}
			// A refused order uses no trade key.
			if _, err := r.store.User(p.Identity); err == nil {
				t.Error("the trade key of the refused order counts as used")
			}
		})
	}
	t.Run("without a trade index in reputation mode", func(t *testing.T) {
		r := newRig(t)
		msg := r.message(r.someone(), mostro.ActionNewOrder, nil, good())
		msg.Message.TradeIndex = nil
		if got := r.receive(msg); got != string(mostro.ReasonInvalidTradeIndex) {
			t.Errorf("%q", got)
		}
	})
}

func TestOrdersThatAreAccepted(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	text := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		o       mostro.SmallOrder
		expires int64 // seconds from now
	}{
		"fixed sell":                   {mostro.SmallOrder{AmountSats: 50_000, FiatAmount: 50}, 86400},
		"market buy with a premium":    {mostro.SmallOrder{Kind: mostro.SideBuy, FiatAmount: 50, Premium: -3}, 86400},
		"range (#705: fiat 0)":         {mostro.SmallOrder{MinAmount: n(10), MaxAmount: n(100)}, 86400},
		"expiry of the maker's":        {mostro.SmallOrder{AmountSats: 50_000, FiatAmount: 50, ExpiresAt: n(1_790_000_000 + 1000)}, 1000},
		"expiry too far":               {mostro.SmallOrder{AmountSats: 50_000, FiatAmount: 50, ExpiresAt: n(math.MaxInt64)}, 15 * 86400},
		"expiry 0 is none":             {mostro.SmallOrder{AmountSats: 50_000, FiatAmount: 50, ExpiresAt: n(0)}, 86400},
		"buy with an address":          {mostro.SmallOrder{Kind: mostro.SideBuy, AmountSats: 50_000, FiatAmount: 50, BuyerInvoice: text("me@home")}, 86400},
		"buy with an invoice of A-F":   {mostro.SmallOrder{Kind: mostro.SideBuy, AmountSats: 50_000, FiatAmount: 50, BuyerInvoice: text(simInvoice(trade.Hash{1}, 49_850_000, 1_790_007_200, strings.Repeat("0", 36)))}, 86400},
		"market buy, amountless":       {mostro.SmallOrder{Kind: mostro.SideBuy, FiatAmount: 50, BuyerInvoice: text(simInvoice(trade.Hash{1}, 0, 1_790_007_200, strings.Repeat("0", 36)))}, 86400},
		"sell with somebody's invoice": {mostro.SmallOrder{AmountSats: 50_000, FiatAmount: 50, BuyerInvoice: text("me@home")}, 86400},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := r.someone()
			id := r.order(p, c.o)
			tr := r.trade(id)
			if tr.ExpiresAt != r.node.now+c.expires || tr.Status != mostro.TradePending || len(r.published) != 1 {
				t.Errorf("%+v, shown %v", tr, r.published)
			}
			if c.o.Kind != mostro.SideBuy && tr.BuyerInvoice.Text != "" {
				t.Error("the order of a seller keeps an invoice")
			}
		})
	}
}

func TestTakeRefusals(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	ranged := mostro.SmallOrder{MinAmount: n(10), MaxAmount: n(100)}
	take := mostro.ActionTakeSell
	t.Run("unknown order", func(t *testing.T) {
		r := newRig(t)
		id := trade.OrderID{1}
		r.refused(mostro.ReasonNotFound, r.someone(), take, &id, nil)
	})
	t.Run("wrong kind", func(t *testing.T) {
		r := newRig(t)
		id := r.order(r.someone(), mostro.SmallOrder{})
		r.refused(mostro.ReasonInvalidOrderKind, r.someone(), mostro.ActionTakeBuy, &id, nil)
	})
	t.Run("taken already", func(t *testing.T) {
		r := newRig(t)
		id := r.order(r.someone(), mostro.SmallOrder{})
		r.must(r.someone(), take, &id, nil)
		r.refused(mostro.ReasonInvalidOrderStatus, r.someone(), take, &id, nil)
	})
	t.Run("past its expiry and not yet swept", func(t *testing.T) {
		r := newRig(t)
		id := r.order(r.someone(), mostro.SmallOrder{ExpiresAt: n(r.node.now + 600)})
		r.node.now += 600
		r.refused(mostro.ReasonInvalidOrderStatus, r.someone(), take, &id, nil)
	})
	t.Run("one's own", func(t *testing.T) {
		r := newRig(t)
		p := r.someone()
		id := r.order(p, mostro.SmallOrder{})
		p.Index++
		r.refused(mostro.ReasonInvalidPubkey, p, take, &id, nil)
	})
	for name, payload := range map[string]mostro.Payload{
		"no amount": nil, "below": mostro.Amount(9), "above": mostro.Amount(101), "in an invoice, above": mostro.PaymentRequest{Invoice: "a@home", Amount: n(101)},
	} {
		t.Run("range, "+name, func(t *testing.T) {
			r := newRig(t)
			id := r.order(r.someone(), ranged)
			r.refused(mostro.ReasonOutOfRangeSatsAmount, r.someone(), take, &id, payload)
		})
	}
	t.Run("range, at both ends", func(t *testing.T) {
		for _, fiat := range []int64{10, 100} {
			r := newRig(t)
			id := r.order(r.someone(), ranged)
			r.must(r.someone(), take, &id, mostro.Amount(fiat))
			if got := r.trade(id); got.FiatAmount != fiat || got.AmountSats != fiat*1000 || got.FeeSats != fiat*3 {
				t.Errorf("%+v", got)
			}
		}
	})
	t.Run("price that is stale", func(t *testing.T) {
		r := newRig(t)
		id := r.order(r.someone(), mostro.SmallOrder{FiatAmount: 50})
		r.price.Stale = true
		r.refused(mostro.ReasonPriceTooStale, r.someone(), take, &id, nil)
	})
	t.Run("price by which it has become too large", func(t *testing.T) {
		r := newRig(t)
		id := r.order(r.someone(), mostro.SmallOrder{FiatAmount: 900})
		r.price.Price = 50_000
		r.refused(mostro.ReasonOutOfRangeSatsAmount, r.someone(), take, &id, nil)
	})
	for name, spoil := range map[string]func(*rig, trade.OrderID) string{
		"that is none":          func(*rig, trade.OrderID) string { return "lnsim" },
		"of A":                  func(r *rig, id trade.OrderID) string { return r.bolt11For(id, 100_000_000, 7200).Invoice },
		"of A+F":                func(r *rig, id trade.OrderID) string { return r.bolt11For(id, 100_300_000, 7200).Invoice },
		"with a part of a sat":  func(r *rig, id trade.OrderID) string { return r.bolt11For(id, 99_700_001, 7200).Invoice },
		"that has expired":      func(r *rig, id trade.OrderID) string { return r.bolt11For(id, 99_700_000, -1).Invoice },
		"that expires too soon": func(r *rig, id trade.OrderID) string { return r.bolt11For(id, 99_700_000, 3599).Invoice },
		"of a dead address":     func(*rig, trade.OrderID) string { return "me@dead" },
	} {
		t.Run("invoice "+name, func(t *testing.T) {
			r := newRig(t)
			id, p := r.order(r.someone(), mostro.SmallOrder{}), r.someone()
			r.say(p, take, &id, mostro.PaymentRequest{Invoice: spoil(r, id)})
			r.settle()
			if m := r.last(p, mostro.ActionCantDo); m.Payload.(mostro.CantDo).Reason != mostro.ReasonInvalidInvoice {
				t.Errorf("%v", m.Payload)
			}
			r.status(mostro.TradePending, id)
		})
	}
	for name, spoil := range map[string]func(*trade.Destination){
		"of another chain":       func(d *trade.Destination) { d.ChainOK = false },
		"with too long a lock":   func(d *trade.Destination) { d.FinalCLTV = 433 },
		"without a payment hash": func(d *trade.Destination) { d.Hash = trade.Hash{} },
	} {
		t.Run("invoice "+name, func(t *testing.T) {
			r := newRig(t)
			id := r.order(r.someone(), mostro.SmallOrder{})
			r.book.Decode = func(text string) trade.Destination { d := simDecode(text); spoil(&d); return d }
			r.refused(mostro.ReasonInvalidInvoice, r.someone(), take, &id, r.bolt11For(id, 99_700_000, 7200))
		})
	}
	t.Run("invoice with the longest lock allowed", func(t *testing.T) {
		r := newRig(t)
		id := r.order(r.someone(), mostro.SmallOrder{})
		r.book.Decode = func(text string) trade.Destination { d := simDecode(text); d.FinalCLTV = 432; return d }
		r.must(r.someone(), take, &id, r.bolt11For(id, 99_700_000, 7200))
	})
	t.Run("invoice that another trade is paid by", func(t *testing.T) {
		r := newRig(t)
		one, two := r.order(r.someone(), mostro.SmallOrder{}), r.order(r.someone(), mostro.SmallOrder{})
		pay := r.bolt11For(one, 99_700_000, 7200)
		r.must(r.someone(), take, &one, pay)
		r.refused(mostro.ReasonInvalidInvoice, r.someone(), take, &two, pay)
	})
	t.Run("invoice of a trade that came to nothing is free again", func(t *testing.T) {
		r := newRig(t)
		one, two := r.order(r.someone(), mostro.SmallOrder{}), r.order(r.someone(), mostro.SmallOrder{})
		pay, buyer := r.bolt11For(one, 99_700_000, 7200), r.someone()
		r.must(buyer, take, &one, pay)
		r.must(buyer, mostro.ActionCancel, &one, nil)
		r.must(r.someone(), take, &two, pay)
	})
}

// Each action is refused for the wrong sender, and in every status that does not allow the
// action.
func TestWrongSenderAndWrongStatus(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	stranger := r.someone()
	invoice := r.bolt11(id)
	r.refused(mostro.ReasonInvalidPeer, seller, mostro.ActionAddInvoice, &id, invoice)
	r.refused(mostro.ReasonInvalidPeer, stranger, mostro.ActionAddInvoice, &id, invoice)
	r.refused(mostro.ReasonNotAllowedByStatus, buyer, mostro.ActionAddInvoice, &id, invoice)
	r.refused(mostro.ReasonInvalidPubkey, seller, mostro.ActionFiatSent, &id, nil)
	r.refused(mostro.ReasonInvalidPubkey, stranger, mostro.ActionFiatSent, &id, nil)
	r.refused(mostro.ReasonInvalidPeer, buyer, mostro.ActionRelease, &id, nil)
	r.refused(mostro.ReasonInvalidPeer, stranger, mostro.ActionRelease, &id, nil)
	r.refused(mostro.ReasonNotAllowedByStatus, seller, mostro.ActionRelease, &id, nil)
	r.refused(mostro.ReasonInvalidPubkey, stranger, mostro.ActionCancel, &id, nil)
	r.refused(mostro.ReasonInvalidPubkey, stranger, mostro.ActionDispute, &id, nil)
	r.refused(mostro.ReasonInvalidOrderStatus, seller, mostro.ActionTradePubkey, &id, nil)
	r.must(buyer, mostro.ActionFiatSent, &id, nil)
	r.refused(mostro.ReasonInvalidOrderStatus, buyer, mostro.ActionFiatSent, &id, nil)
	r.must(seller, mostro.ActionRelease, &id, nil)
	r.refused(mostro.ReasonNotAllowedByStatus, seller, mostro.ActionRelease, &id, nil)
	r.refused(mostro.ReasonNotAllowedByStatus, buyer, mostro.ActionCancel, &id, nil)
	r.refused(mostro.ReasonNotAllowedByStatus, buyer, mostro.ActionDispute, &id, nil)
	r.refused(mostro.ReasonNotAllowedByStatus, buyer, mostro.ActionAddInvoice, &id, invoice)
	r.resolves(id, true)
	r.status(mostro.TradeSuccess, id)
	r.refused(mostro.ReasonNotAllowedByStatus, seller, mostro.ActionCancel, &id, nil)
	r.refused(mostro.ReasonInvalidAction, seller, mostro.ActionPayInvoice, &id, invoice)
	r.refused(mostro.ReasonInvalidAction, seller, mostro.ActionRateUser, &id, mostro.RatingUser(5))
}

// Actions of the node, messages without a field that their action needs, and messages between
// users get no answer.
func TestDroppedInSilence(t *testing.T) {
	r := newRig(t)
	id, seller, _ := r.toActive()
	before := r.trade(id)
	for _, msg := range []InboundMessage{
		r.message(seller, mostro.ActionReleased, &id, nil),
		r.message(seller, mostro.ActionSendDM, &id, mostro.TextMessage("hello")),
		r.message(seller, mostro.ActionRelease, nil, nil),
		r.message(seller, mostro.ActionAddInvoice, &id, nil),
		r.message(seller, mostro.ActionNewOrder, nil, nil),
		r.message(seller, "dance", &id, nil),
		r.message(seller, mostro.ActionCancel, &id, mostro.BondResolution{}),
	} {
		rows := len(r.store.outbox)
		if got := r.receive(msg); got != "dropped" || len(r.store.outbox) != rows {
			t.Errorf("%s: outcome %q, %d new rows", msg.Message.Action, got, len(r.store.outbox)-rows)
		}
	}
	if after := r.trade(id); after.Steps != before.Steps {
		t.Error("the trade moved")
	}
}
