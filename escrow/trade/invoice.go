package trade

import (
	"fmt"

	"github.com/mostrodex/mostrodex/mostro"
)

// pays says whether a destination fits for a payout of so many sats. open
// stands for an order whose amount is not known yet: only a destination
// without an amount of its own fits. nil fits nothing.
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
	case !d.payable(terms, at):
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

// payable holds the rules that also an invoice has to keep which an address
// made for this very payout.
func (d *Destination) payable(terms Terms, at int64) bool {
	return d != nil && d.Parsed && d.ChainOK && !d.Taken && d.FinalCLTV <= terms.MaxFinalCLTV && d.ExpiresAt > at &&
		d.Hash != Hash{}
}

func (d *Destination) payTo() PayTo {
	if d.Address {
		return PayTo{Text: d.Text}
	}
	return PayTo{Text: d.Text, Hash: d.Hash, ExpiresAt: d.ExpiresAt, Open: d.AmountMsat == 0}
}

// usable says whether an invoice that was good once can still be paid.
func (i PayTo) usable(at int64) bool {
	return i.Text != "" && (i.Address() || i.ExpiresAt > at)
}

// memo is what the seller's wallet shows of the hold invoice.
func (t Trade) memo() string {
	verb := "SELL"
	if t.Kind == mostro.SideBuy {
		verb = "BUY"
	}
	return fmt.Sprintf("Escrow of order %s: %s BTC for %s %d. The payment freezes until it is released or cancelled.",
		t.ID, verb, t.Fiat, t.FiatAmount)
}

// MaxInvoiceText bounds what is looked at: the longest invoice that LND reads.
const MaxInvoiceText = 7089
