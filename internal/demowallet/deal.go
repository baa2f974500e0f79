package demowallet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// deal is a trade as the page shows it.
type deal struct {
	dealInFile
	Title   string // "sells 100 VES for 10 000 sats"
	State   string // in words
	Over    bool
	Verbs   []verb
	Said    []string // what the Mostro has written, in words
	invoice string   // hold invoice that the seller pays
	payout  int64    // sats of the invoice that the buyer is asked for
	asks    int      // times that the Mostro has asked for an invoice
}

// verb is a form of a trade.
type verb struct {
	ID, Label, Hint string
	Quiet           bool // not the next step
	Token           string
}

// view returns what the messages of the Mostro say about a trade. The order of the messages does
// not matter: two of them may bear the same second.
func view(d dealInFile, mail []message.Message) deal {
	v := deal{dealInFile: d}
	seen := make(map[message.Action]bool)
	var order *message.SmallOrder
	refusals, asks := 0, 0
	for _, m := range mail {
		seen[m.Action] = true
		if m.Action == message.ActionAddInvoice {
			asks++
		}
		if v.Order == "" && m.ID != nil {
			v.Order = m.ID.String()
		}
		switch p := m.Payload.(type) {
		case *message.SmallOrder:
			order = p
			if m.Action == message.ActionAddInvoice {
				v.payout = p.AmountSats
			}
		case message.PaymentRequest:
			if p.Order != nil {
				order = p.Order
			}
			if m.Action == message.ActionPayInvoice && p.Invoice != "" {
				v.invoice = p.Invoice
			}
		case message.CantDo:
			refusals++
		}
		if text := says[m.Action]; text != "" && !slices.Contains(v.Said, text) {
			v.Said = append(v.Said, text)
		}
	}
	v.Title, v.asks = titleOf(d, order), asks
	active := seen[message.ActionHoldInvoicePaymentAccepted] || seen[message.ActionBuyerTookOrder]
	disputed := seen[message.ActionDisputeInitiatedByYou] || seen[message.ActionDisputeInitiatedByPeer]
	cancelling := seen[message.ActionCooperativeCancelInitiatedByPeer]
	switch {
	case seen[message.ActionPurchaseCompleted]:
		v.State, v.Over = "Done: the sats have arrived.", true
	case seen[message.ActionHoldInvoicePaymentSettled] && d.Side == mostro.SideSell:
		v.State, v.Over = "Done: the sats were released to the buyer.", true
	case seen[message.ActionAdminSettled]:
		v.State, v.Over = "A solver has decided for the buyer.", true
	case seen[message.ActionAdminCanceled]:
		v.State, v.Over = "A solver has decided for the seller: the sats went back.", true
	case seen[message.ActionCooperativeCancelAccepted]:
		v.State, v.Over = "Canceled by both: the sats went back.", true
	case seen[message.ActionCanceled]:
		v.State, v.Over = "Canceled.", true
	case seen[message.ActionReleased] && d.Side == mostro.SideBuy:
		v.State = "The seller has released the sats. They are on their way."
		if asks > d.Invoices {
			v.add("invoice", "Send another invoice of my wallet", "", false)
		}
	case disputed:
		v.State = "In dispute: a solver decides in the dispute inbox ('mostrodex dispute inbox')."
		if d.Side == mostro.SideSell {
			v.add("release", "Release the sats", "The fiat has arrived after all.", true)
		}
	case active && seen[message.ActionFiatSentOk] && d.Side == mostro.SideSell:
		v.State = "The buyer says that the fiat is sent."
		v.add("release", "Release the sats", "Only when the fiat has arrived: this cannot be taken back.", false)
		v.add("dispute", "Open a dispute", "The fiat has not arrived.", true)
	case active && seen[message.ActionFiatSentOk]:
		v.State = "Waiting for the seller to release the sats."
		v.add("dispute", "Open a dispute", "The seller does not answer.", true)
	case active && d.Side == mostro.SideBuy:
		v.State = "The sats are held. Send the fiat now."
		v.add("fiat-sent", "I have sent the fiat", "", false)
		v.add("dispute", "Open a dispute", "", true)
	case active:
		v.State = "Your sats are held. Waiting for the fiat of the buyer."
		v.add("dispute", "Open a dispute", "", true)
	case v.invoice != "" && d.Side == mostro.SideSell && !d.Paid:
		v.State = "The Mostro asks for your sats, and holds them until you release them."
		v.add("pay", "Pay the hold invoice", "From the simulated wallet.", false)
	case v.invoice != "" && d.Side == mostro.SideSell:
		v.State = "Your payment is held. The Mostro tells the buyer."
	case v.payout > 0 && d.Side == mostro.SideBuy && asks > d.Invoices:
		v.State = "The Mostro asks where your sats should go."
		v.add("invoice", "Send an invoice of my wallet", fmt.Sprintf("%s sats, the fee is taken off.", grouped(v.payout)), false)
	case seen[message.ActionWaitingSellerToPay]:
		v.State = "Waiting for the seller to pay the hold invoice."
	case seen[message.ActionWaitingBuyerInvoice]:
		v.State = "Waiting for an invoice of the buyer."
	case d.Maker && seen[message.ActionNewOrder]:
		v.State = "In the book: anyone can take it."
	case refusals > 0:
		v.State, v.Over = "The Mostro has refused this.", true
	default:
		v.State = "Waiting for the Mostro."
	}
	if !v.Over && v.Order != "" && !disputed && !seen[message.ActionReleased] {
		label := "Cancel"
		switch {
		case cancelling:
			label = "Agree to cancel"
		case active:
			label = "Ask to cancel"
		}
		if !seen[message.ActionCooperativeCancelInitiatedByYou] {
			v.add("cancel", label, "", true)
		}
	}
	if v.Over && seen[message.ActionRate] && !d.Rated && !seen[message.ActionRateReceived] {
		v.add("rate", "Rate the other with five stars", "", true)
	}
	return v
}

func (v *deal) add(id, label, hint string, quiet bool) {
	v.Verbs = append(v.Verbs, verb{ID: id, Label: label, Hint: hint, Quiet: quiet})
}

// says are the messages of a Mostro in words, for the history of a trade.
var says = map[message.Action]string{
	message.ActionNewOrder:                         "The order is in the book.",
	message.ActionPayInvoice:                       "Asked the seller for the sats.",
	message.ActionAddInvoice:                       "Asked the buyer for an invoice.",
	message.ActionWaitingSellerToPay:               "Waits for the seller to pay.",
	message.ActionWaitingBuyerInvoice:              "Waits for an invoice of the buyer.",
	message.ActionBuyerTookOrder:                   "Holds the sats of the seller.",
	message.ActionHoldInvoicePaymentAccepted:       "Holds the sats of the seller.",
	message.ActionFiatSentOk:                       "The buyer has sent the fiat.",
	message.ActionReleased:                         "The seller has released the sats.",
	message.ActionHoldInvoicePaymentSettled:        "The seller has released the sats.",
	message.ActionPurchaseCompleted:                "Has paid the buyer.",
	message.ActionPaymentFailed:                    "Could not pay the buyer yet, and tries again.",
	message.ActionDisputeInitiatedByYou:            "A dispute was opened.",
	message.ActionDisputeInitiatedByPeer:           "A dispute was opened by the other.",
	message.ActionAdminTookDispute:                 "A solver has taken the dispute.",
	message.ActionCooperativeCancelInitiatedByYou:  "You have asked to cancel.",
	message.ActionCooperativeCancelInitiatedByPeer: "The other asks to cancel.",
	message.ActionRate:                             "Asks for a rating.",
	message.ActionRateReceived:                     "Has the rating.",
}

func titleOf(d dealInFile, o *message.SmallOrder) string {
	does := "buys"
	if d.Side == mostro.SideSell {
		does = "sells"
	}
	if o == nil {
		return does + " sats"
	}
	sats := "sats at the market price"
	if o.AmountSats > 0 {
		sats = grouped(o.AmountSats) + " sats"
	}
	fiat := grouped(o.FiatAmount)
	if o.MinAmount != nil && o.MaxAmount != nil {
		fiat = grouped(*o.MinAmount) + "–" + grouped(*o.MaxAmount)
	}
	return fmt.Sprintf("%s %s for %s %s", does, sats, fiat, o.FiatCode)
}

// deals returns the newest trades of a person.
func (w *Wallet) deals(ctx context.Context, who string) (list []deal, err error) {
	w.mu.Lock()
	trades := slices.Clone(w.accounts[who].Trades)
	w.mu.Unlock()
	slices.Reverse(trades)
	trades = trades[:min(len(trades), shownTrades)]
	if len(trades) == 0 {
		return nil, nil
	}
	keys := make([]*envelope.Keys, len(trades))
	for i, d := range trades {
		if keys[i], err = w.words[who].Trade(d.Index); err != nil {
			return nil, err
		}
	}
	mail, err := w.mail(ctx, keys...)
	if err != nil {
		return nil, err
	}
	for i, d := range trades {
		v := view(d, mail[keys[i].Pubkey()])
		for i := range v.Verbs {
			v.Verbs[i].Token = w.token(who, fmt.Sprint(d.Index), v.Verbs[i].ID)
		}
		list = append(list, v)
	}
	return list, nil
}

// act performs a verb of a trade. The caller holds mu.
func (w *Wallet) act(ctx context.Context, who string, index uint32, id string) error {
	trades := w.accounts[who].Trades
	i := slices.IndexFunc(trades, func(d dealInFile) bool { return d.Index == index })
	if i < 0 {
		return refused("There is no such trade.")
	}
	d := &trades[i]
	keys, err := w.words[who].Trade(d.Index)
	if err != nil {
		return err
	}
	mail, err := w.mail(ctx, keys)
	if err != nil {
		return err
	}
	v := view(*d, mail[keys.Pubkey()])
	if !slices.ContainsFunc(v.Verbs, func(one verb) bool { return one.ID == id }) {
		return refused("The trade has moved on: it is no longer in a state for this.")
	}
	order, err := message.ParseUUID(v.Order)
	if err != nil {
		return refused("The Mostro has not answered yet.")
	}
	d.Order = v.Order
	m := message.Message{ID: &order}
	answers := 0
	switch id {
	case "pay":
		if err := w.cfg.Purse.Pay(ctx, v.invoice); err != nil {
			return refused("The payment failed: %v", err)
		}
		d.Paid = true
		return w.save()
	case "invoice":
		bolt11, err := w.cfg.Purse.Invoice(ctx, v.payout, "payout of "+v.Order)
		if err != nil {
			return refused("The wallet makes no invoice: %v", err)
		}
		m.Action, m.Payload = message.ActionAddInvoice, message.PaymentRequest{Invoice: bolt11}
		answers = v.asks
	case "fiat-sent":
		m.Action = message.ActionFiatSent
	case "release":
		m.Action = message.ActionRelease
	case "cancel":
		m.Action = message.ActionCancel
	case "dispute":
		m.Action = message.ActionDispute
	case "rate":
		m.Action, m.Payload = message.ActionRateUser, message.RatingUser(5)
	}
	if err = w.send(ctx, who, d, m); err != nil {
		return err
	}
	d.Rated, d.Invoices = d.Rated || id == "rate", max(d.Invoices, answers)
	return w.save()
}

// wanted is an order that a person fills in.
type wanted struct {
	side         mostro.Side
	fiat, method string
	amount, sats int64
}

// offer publishes a new order. The caller holds mu.
func (w *Wallet) offer(ctx context.Context, who string, o wanted) error {
	order := &message.SmallOrder{Kind: o.side, AmountSats: o.sats, FiatCode: strings.ToUpper(o.fiat), FiatAmount: o.amount, PaymentMethod: o.method}
	return w.begin(ctx, who, dealInFile{Side: o.side, Maker: true}, message.Message{Action: message.ActionNewOrder, Payload: order})
}

// take takes an order of the book. The caller holds mu.
func (w *Wallet) take(ctx context.Context, who, id string) error {
	book, err := w.book(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(book, func(o mostro.Order) bool { return o.D == id })
	if i < 0 {
		return refused("The order is not in the book any more.")
	}
	if slices.ContainsFunc(w.accounts[who].Trades, func(d dealInFile) bool { return d.Maker && d.Order == id }) {
		return refused("This order is your own. Let the other person take it.")
	}
	order, err := message.ParseUUID(id)
	if err != nil {
		return refused("The order has no valid id.")
	}
	d, m := dealInFile{Side: mostro.SideBuy, Order: id}, message.Message{ID: &order, Action: message.ActionTakeSell}
	if book[i].Side == mostro.SideBuy {
		d.Side, m.Action = mostro.SideSell, message.ActionTakeBuy
	}
	return w.begin(ctx, who, d, m)
}
