package trade

// TextBytes estimates the size of the texts of a trade in the store, and of an input in its
// journal.
func TextBytes(t Trade, in Input) int { return tradeTextBytes(t) + inputTextBytes(in) }

// tradeTextBytes estimates the size of a trade's texts in the store.
func tradeTextBytes(t Trade) int {
	reason := 0
	if v := t.Dispute.Verdict; v != nil {
		reason = 6 * len(v.Reason)
	}
	outflows := 0
	for i := range t.Outflows {
		outflows += 500 + len(t.Outflows[i].Bolt11) + len(t.Outflows[i].To.Text)
	}
	for i := range t.Suspended {
		outflows += 200 + 6*len(t.Suspended[i].Reason)
	}
	return outflows + reason + 6*(len(t.PaymentMethod)+len(t.Fiat)) + len(t.BuyerInvoice.Text) + len(t.MakerInvoice.Text) +
		len(t.HoldInvoice) + len(t.Payout.Bolt11) + 70*len(t.Closing)
}

// inputTextBytes estimates the size of an input's texts in the journal.
func inputTextBytes(in Input) int {
	n := len(in.Bolt11) + 6*len(in.Reason)
	if in.Request != nil {
		n += JournalLimit(in.Request.Message.Payload)
	}
	if in.Invoice != nil {
		n += 2 * len(in.Invoice.Text)
	}
	return n
}
