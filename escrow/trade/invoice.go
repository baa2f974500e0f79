package trade

// pays reports whether a destination is valid for a payout of amountSats. If open is set,
// the order's amount is not known yet, and only a destination without an amount is valid.
// A nil destination is never valid.
func (d *Destination) pays(amountSats int64, open bool, terms Terms, at int64) bool {
	if d == nil || d.Text == "" || len(d.Text) > MaxInvoiceText || d.Taken {
		return false
	}
	if !open && amountSats <= 0 {
		return false
	}
	if d.Address {
		return d.Reachable
	}
	switch {
	case !d.Payable(terms, at):
		return false
	case d.ExpiresAt < at+terms.InvoiceSeconds:
		return false
	case d.AmountMsat == 0:
		return true
	case open:
		return false
	}
	return d.AmountMsat == amountSats*1000 && amountSats >= terms.leastPayout()
}

// Payable reports whether an invoice satisfies the rules that also hold for an invoice
// that an address made for this payout.
func (d *Destination) Payable(terms Terms, at int64) bool {
	return d != nil && d.Parsed && d.ChainOK && !d.Taken && d.FinalCLTV <= terms.MaxFinalCLTV && d.ExpiresAt > at &&
		d.Hash != Hash{}
}

func (d *Destination) payTo() PayTo {
	if d.Address {
		return PayTo{Text: d.Text}
	}
	return PayTo{Text: d.Text, Hash: d.Hash, ExpiresAt: d.ExpiresAt, Open: d.AmountMsat == 0}
}

// usable reports whether an invoice that was valid earlier can still be paid.
func (i PayTo) usable(at int64) bool {
	return i.Text != "" && (i.Address() || i.ExpiresAt > at)
}

// MaxInvoiceText is the longest text that is parsed, in bytes: the longest invoice that
// LND accepts.
const MaxInvoiceText = 7089
