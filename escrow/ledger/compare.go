package ledger

import (
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Invoice is one row of the node's list of invoices.
type Invoice struct {
	Hash       trade.Hash
	Phase      trade.HoldPhase
	AmountMsat int64 // amount of the invoice
	PaidMsat   int64 // amount that is held or was claimed
	// Trade is the trade for which this escrow made the invoice, according to the invoice
	// itself: see trade.NodeSecret.Ours. If zero, other software may have made the invoice.
	Trade trade.OrderID
}

// Payment is one row of the node's list of payments.
type Payment struct {
	Hash       trade.Hash
	Status     trade.PaymentStatus
	AmountMsat int64 // amount that the payee receives; 0 if unknown
	FeeMsat    int64 // routing fee, after success
}

// Lists are the node's own lists. Each function calls fn for each row, in any order.
type Lists struct {
	Invoices func(fn func(Invoice) error) error
	// Payments lists the payments of the node. If Payments is nil, payments are not
	// compared.
	Payments func(fn func(Payment) error) error
	// Dedicated reports that no other software and no operator uses the node. Then a row
	// that the ledger does not know is a difference.
	Dedicated bool
}

// DifferenceKind is the kind of a difference.
type DifferenceKind string

// The kinds of differences between the ledger and an invoice of the node.
const (
	MissingInvoice   DifferenceKind = "missing invoice"     // the node does not list the invoice
	UnknownInvoice   DifferenceKind = "unknown invoice"     // this escrow made the invoice, and the ledger does not know the hash
	InvoiceAmount    DifferenceKind = "invoice amount"      // the invoice has another amount
	Overpaid         DifferenceKind = "overpaid"            // more was paid than the ledger has
	Underpaid        DifferenceKind = "underpaid"           // less was paid than the ledger has
	HeldAtNode       DifferenceKind = "held at node"        // held at the node, and not in the ledger
	NotHeldAtNode    DifferenceKind = "not held at node"    // held in the ledger, and not at the node
	SettledAtNode    DifferenceKind = "settled at node"     // settled at the node, and not in the ledger
	NotSettledAtNode DifferenceKind = "not settled at node" // settled in the ledger, and not at the node
	OpenAtNode       DifferenceKind = "open at node"        // closed in the ledger, and payable at the node
)

// The kinds of differences between the ledger and a payment of the node.
const (
	MissingPayment DifferenceKind = "missing payment"   // the node does not list the payment
	UnknownPayment DifferenceKind = "unknown payment"   // the ledger does not know the payment of a dedicated node
	PaymentAmount  DifferenceKind = "payment amount"    // another amount was paid
	PaymentFee     DifferenceKind = "payment fee"       // another routing fee was paid
	PaidAtNode     DifferenceKind = "paid at node"      // paid at the node, and not in the ledger
	NotPaidAtNode  DifferenceKind = "not paid at node"  // paid in the ledger, and not at the node
	InFlightAtNode DifferenceKind = "in flight at node" // the ledger has given the payment up, and the node has not
	FailedAtNode   DifferenceKind = "failed at node"    // the ledger waits for a payment that has failed
	SharedPayment  DifferenceKind = "shared payment"    // one payment counts for more than one trade
)

// RepeatedRow is the kind of a second row of the node with the same hash.
const RepeatedRow DifferenceKind = "repeated row"

// Difference is one fact in which the ledger and the node differ.
type Difference struct {
	Kind  DifferenceKind `json:"kind"`
	Hash  trade.Hash     `json:"hash"`
	Trade trade.OrderID  `json:"trade,omitzero"` // zero if the ledger does not know the hash
	// Ledger and Node are the two states, in one word.
	Ledger     string `json:"ledger,omitempty"`
	Node       string `json:"node,omitempty"`
	LedgerMsat int64  `json:"ledger_msat"`
	NodeMsat   int64  `json:"node_msat"`
	// Passing reports that the difference can be the time between an action of the node and
	// its row in the journal. A passing difference that is still there later is a fault.
	Passing bool `json:"passing,omitempty"`
	// Frozen reports that the trade waits for an operator. A difference of such a trade does
	// not pass by itself.
	Frozen bool `json:"frozen,omitempty"`
}

// Fault reports whether an operator must look at the difference.
func (d Difference) Fault() bool { return !d.Passing || d.Frozen }

// Comparison is the sum of a comparison. It needs the same memory for any number of rows.
type Comparison struct {
	Differences map[DifferenceKind]int `json:"differences"`
	Passing     int                    `json:"passing"` // differences that are no faults

	// Rows that belong to the escrow, and amounts of the node's rows.
	Invoices    int   `json:"invoices"`
	Payments    int   `json:"payments"`
	HeldMsat    int64 `json:"held_msat"`
	SettledMsat int64 `json:"settled_msat"`
	PaidMsat    int64 `json:"paid_msat"`
	RoutingMsat int64 `json:"routing_msat"`

	// Rows that do not belong to the escrow, for example invoices of the operator.
	ForeignInvoices    int   `json:"foreign_invoices"`
	ForeignSettledMsat int64 `json:"foreign_settled_msat"`
	ForeignPayments    int   `json:"foreign_payments"`
	ForeignPaidMsat    int64 `json:"foreign_paid_msat"` // with routing fees

	PaymentsCompared bool `json:"payments_compared"`
}

// Faults returns the number of differences that an operator must look at.
func (c Comparison) Faults() int {
	n := -c.Passing
	for _, count := range c.Differences {
		n += count
	}
	return n
}

// Compare compares a ledger with the lists of its node, and calls fn for each difference.
// Compare keeps no row of the node in memory. If fn or a list returns an error, Compare
// returns that error, and the comparison is incomplete.
//
// A list is newer or older than the ledger if the escrow runs meanwhile. The differences
// that this can cause are marked as passing.
func Compare(l *Ledger, lists Lists, fn func(Difference) error) (Comparison, error) {
	c := comparison{ledger: l, fn: fn, dedicated: lists.Dedicated}
	c.sum.Differences = make(map[DifferenceKind]int)
	for i := range l.rows {
		l.rows[i].listed = false
	}
	if err := lists.Invoices(c.invoice); err != nil {
		return c.sum, fmt.Errorf("the node's invoices: %w", err)
	}
	if c.sum.PaymentsCompared = lists.Payments != nil; c.sum.PaymentsCompared {
		if err := lists.Payments(c.payment); err != nil {
			return c.sum, fmt.Errorf("the node's payments: %w", err)
		}
	}
	return c.sum, c.missing()
}

type comparison struct {
	ledger    *Ledger
	fn        func(Difference) error
	dedicated bool
	sum       Comparison
}

func (c *comparison) report(d Difference) error {
	c.sum.Differences[d.Kind]++
	if !d.Fault() {
		c.sum.Passing++
	}
	return c.fn(d)
}

// differs reports a difference about a row of the ledger.
func (c *comparison) differs(r *row, kind DifferenceKind, node string, ledgerMsat, nodeMsat int64, passing bool) error {
	t := c.ledger.trades[r.trade]
	state := HoldState(r.state).String()
	if r.class == classPayout {
		state = PayoutState(r.state).String()
	}
	return c.report(Difference{Kind: kind, Hash: r.hash, Trade: t.id, Ledger: state, Node: node, LedgerMsat: ledgerMsat, NodeMsat: nodeMsat, Passing: passing, Frozen: t.frozen})
}

func (c *comparison) invoice(in Invoice) error {
	rows := c.ledger.find(classHold, in.Hash)
	if len(rows) == 0 {
		if in.Trade != (trade.OrderID{}) || c.dedicated {
			return c.report(Difference{Kind: UnknownInvoice, Hash: in.Hash, Trade: in.Trade, Node: in.Phase.String(), NodeMsat: max(in.PaidMsat, in.AmountMsat)})
		}
		c.sum.ForeignInvoices++
		if in.Phase == trade.HoldSettled {
			c.sum.ForeignSettledMsat += in.PaidMsat
		}
		return nil
	}
	r := &rows[0] // two holds of one hash break LawOnce
	if r.listed {
		return c.differs(r, RepeatedRow, in.Phase.String(), r.msat, in.AmountMsat, false)
	}
	r.listed = true
	c.sum.Invoices++
	switch in.Phase {
	case trade.HoldAccepted:
		c.sum.HeldMsat += in.PaidMsat
	case trade.HoldSettled:
		c.sum.SettledMsat += in.PaidMsat
	}
	if in.AmountMsat != r.msat {
		if err := c.differs(r, InvoiceAmount, in.Phase.String(), r.msat, in.AmountMsat, false); err != nil {
			return err
		}
	}
	if kind, passing := holdDiffers(HoldState(r.state), r.paid != 0, in.Phase); kind != "" {
		return c.differs(r, kind, in.Phase.String(), r.paid, in.PaidMsat, passing)
	}
	if r.paid == 0 || in.PaidMsat == 0 {
		return nil // not paid, or returned and no longer known
	}
	switch {
	case in.PaidMsat > r.paid:
		return c.differs(r, Overpaid, in.Phase.String(), r.paid, in.PaidMsat, false)
	case in.PaidMsat < r.paid:
		return c.differs(r, Underpaid, in.Phase.String(), r.paid, in.PaidMsat, false)
	}
	return nil
}

// holdDiffers compares the state of a hold with the node's phase. paid reports that the
// ledger has an amount of the hold. kind is "" if the two agree.
func holdDiffers(state HoldState, paid bool, phase trade.HoldPhase) (kind DifferenceKind, passing bool) {
	switch state {
	case HoldOrdered:
		switch phase {
		case trade.HoldAccepted:
			return HeldAtNode, true
		case trade.HoldSettled:
			return SettledAtNode, false
		}
	case HoldHeld, HoldSettling:
		switch phase {
		case trade.HoldOpen:
			return NotHeldAtNode, false
		case trade.HoldCanceled:
			return NotHeldAtNode, true
		case trade.HoldSettled:
			return SettledAtNode, state == HoldSettling
		}
	case HoldClosing:
		switch {
		case phase == trade.HoldSettled:
			return SettledAtNode, false
		case phase == trade.HoldAccepted && !paid:
			return HeldAtNode, true
		case phase == trade.HoldCanceled && paid:
			return NotHeldAtNode, true
		}
	case HoldDone, HoldResolved:
		if phase != trade.HoldSettled {
			return NotSettledAtNode, false
		}
	case HoldClosed:
		switch phase {
		case trade.HoldOpen:
			return OpenAtNode, false
		case trade.HoldAccepted:
			return HeldAtNode, false
		case trade.HoldSettled:
			return SettledAtNode, false
		}
	case HoldSuspense:
		switch {
		case phase != trade.HoldSettled:
			return NotSettledAtNode, false
		case !paid:
			return SettledAtNode, false
		}
	}
	return "", false
}

func (c *comparison) payment(p Payment) error {
	rows := c.ledger.find(classPayout, p.Hash)
	if len(rows) == 0 {
		if c.dedicated {
			return c.report(Difference{Kind: UnknownPayment, Hash: p.Hash, Node: p.Status.String(), NodeMsat: p.AmountMsat})
		}
		c.sum.ForeignPayments++
		if p.Status == trade.PaymentSucceeded {
			c.sum.ForeignPaidMsat += p.AmountMsat + p.FeeMsat
		}
		return nil
	}
	// More than one trade may have named the invoice. The row that has used the payment is
	// compared, or the row that still waits for it.
	r := &rows[0]
	for i := range rows[1:] {
		if other := &rows[i+1]; waits(other.state) > waits(r.state) {
			r = other
		}
	}
	if r.listed {
		return c.differs(r, RepeatedRow, p.Status.String(), r.msat, p.AmountMsat, false)
	}
	for i := range rows {
		rows[i].listed = true
		if other := &rows[i]; other != r && PayoutState(other.state) == PayoutPaid {
			if err := c.differs(other, SharedPayment, p.Status.String(), other.msat, p.AmountMsat, false); err != nil {
				return err
			}
		}
	}
	c.sum.Payments++
	succeeded := p.Status == trade.PaymentSucceeded
	if succeeded {
		c.sum.PaidMsat += p.AmountMsat
		c.sum.RoutingMsat += p.FeeMsat
	}
	if kind, passing := payoutDiffers(PayoutState(r.state), p.Status); kind != "" {
		if err := c.differs(r, kind, p.Status.String(), r.msat, p.AmountMsat, passing); err != nil {
			return err
		}
	}
	if succeeded && p.AmountMsat != r.msat {
		if err := c.differs(r, PaymentAmount, p.Status.String(), r.msat, p.AmountMsat, false); err != nil {
			return err
		}
	}
	if succeeded && PayoutState(r.state) == PayoutPaid && p.FeeMsat != r.paid {
		return c.differs(r, PaymentFee, p.Status.String(), r.paid, p.FeeMsat, false)
	}
	return nil
}

// waits orders the states of a payout: a row that was paid, then a row that can still be
// paid.
func waits(state uint8) int {
	switch PayoutState(state) {
	case PayoutPaid:
		return 3
	case PayoutSent:
		return 2
	case PayoutClaimed:
		return 1
	}
	return 0
}

// payoutDiffers compares the state of a payout with the node's status. kind is "" if the two
// agree.
func payoutDiffers(state PayoutState, status trade.PaymentStatus) (kind DifferenceKind, passing bool) {
	switch state {
	case PayoutClaimed:
		if status == trade.PaymentSucceeded {
			return PaidAtNode, true
		}
	case PayoutSent:
		switch status {
		case trade.PaymentSucceeded:
			return PaidAtNode, true
		case trade.PaymentFailed:
			return FailedAtNode, true
		case trade.PaymentUnknown:
			return MissingPayment, true
		}
	case PayoutFailed:
		switch status {
		case trade.PaymentSucceeded:
			return PaidAtNode, false
		case trade.PaymentInFlight:
			return InFlightAtNode, false
		}
	case PayoutPaid:
		switch status {
		case trade.PaymentUnknown:
			return MissingPayment, false
		case trade.PaymentInFlight, trade.PaymentFailed:
			return NotPaidAtNode, false
		}
	}
	return "", false
}

// missing reports the rows that the node must have and did not list. A node may delete a
// cancelled invoice and a failed payment, and an invoice that was only ordered may not exist
// yet.
func (c *comparison) missing() error {
	for i := range c.ledger.rows {
		r := &c.ledger.rows[i]
		if r.listed {
			continue
		}
		var err error
		if r.class == classHold {
			switch HoldState(r.state) {
			case HoldHeld, HoldSettling, HoldDone, HoldSuspense, HoldResolved:
				err = c.differs(r, MissingInvoice, "", r.paid, 0, false)
			case HoldClosing:
				if r.paid != 0 {
					err = c.differs(r, MissingInvoice, "", r.paid, 0, true)
				}
			}
		} else if c.sum.PaymentsCompared {
			switch PayoutState(r.state) {
			case PayoutPaid:
				err = c.differs(r, MissingPayment, "", r.msat, 0, false)
			case PayoutSent:
				err = c.differs(r, MissingPayment, "", r.msat, 0, true)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
