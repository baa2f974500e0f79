package ledger

import (
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Lookup looks up one row of the node. found is false if the node does not know the hash.
type Lookup struct {
	Invoice func(h trade.Hash) (row Invoice, found bool, err error)
	// Payment is nil if payments are not compared.
	Payment func(h trade.Hash) (row Payment, found bool, err error)
}

// Recheck compares the trades of the listed differences once more, with their newest
// journals and newer rows of the node. A comparison of many trades takes long, and a trade
// may take several steps between the reading of its journal and the reading of the lists.
// Differences that are gone are removed from the report.
//
// A difference between two trades, and a repeated row of a list, are not examined again.
func (r *Report) Recheck(store Journals, node Lookup) error {
	if r.Node == nil {
		return nil
	}
	byTrade := make(map[trade.OrderID][]Difference)
	var order []trade.OrderID
	var kept []Difference
	for _, d := range r.Differences {
		if d.Kind == SharedPayment || d.Kind == RepeatedRow || d.Trade == (trade.OrderID{}) {
			kept = append(kept, d)
			continue
		}
		if byTrade[d.Trade] == nil {
			order = append(order, d.Trade)
		}
		byTrade[d.Trade] = append(byTrade[d.Trade], d)
	}
	for _, id := range order {
		now, err := recheck(store, id, byTrade[id], node)
		if err != nil {
			return fmt.Errorf("compare trade %s again: %w", id, err)
		}
		for _, d := range byTrade[id] {
			r.count(d, -1)
		}
		for _, d := range now {
			r.count(d, 1)
		}
		kept = append(kept, now...)
	}
	r.Differences = kept
	return nil
}

// count adds n to the counts of a difference's kind.
func (r *Report) count(d Difference, n int) {
	if r.Node.Differences[d.Kind] += n; r.Node.Differences[d.Kind] == 0 {
		delete(r.Node.Differences, d.Kind)
	}
	if !d.Fault() {
		r.Node.Passing += n
	}
}

// recheck returns the present differences of one trade.
func recheck(store Journals, id trade.OrderID, was []Difference, node Lookup) ([]Difference, error) {
	f, err := ReadTrade(store, id, nil)
	if err != nil {
		return nil, err
	}
	var l Ledger
	if f.Trade.Steps > 0 {
		l.Add(f)
	}
	hashes := make(map[trade.Hash]bool)
	for i := range f.Holds {
		hashes[f.Holds[i].Hash] = true
	}
	for _, d := range was {
		if d.Kind == UnknownInvoice {
			hashes[d.Hash] = true
		}
	}
	lists := Lists{Invoices: func(fn func(Invoice) error) error {
		for h := range hashes {
			if row, found, err := node.Invoice(h); err != nil {
				return err
			} else if found {
				if err := fn(row); err != nil {
					return err
				}
			}
		}
		return nil
	}}
	if node.Payment != nil {
		lists.Payments = func(fn func(Payment) error) error {
			for i := range f.Payouts {
				if row, found, err := node.Payment(f.Payouts[i].Hash); err != nil {
					return err
				} else if found {
					if err := fn(row); err != nil {
						return err
					}
				}
			}
			return nil
		}
	}
	var now []Difference
	_, err = Compare(&l, lists, func(d Difference) error { now = append(now, d); return nil })
	return now, err
}
