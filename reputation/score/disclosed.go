package score

import (
	"cmp"
	"maps"
	"slices"
)

// countDisclosed counts the disputes that only the receipts of users show. A node that opens a
// dispute tells both sides of the trade, with its signature, and publishes the dispute. A
// user who discloses that message (R0) proves a dispute that the node did not publish.
//
// A published dispute counts once. A node could name the id of one published dispute in its
// messages about many orders. Therefore the id of a published dispute stands for one order.
// A receipt that names no dispute is not counted, because the dispute may be published.
func countDisclosed(d *derived, b *book, ratings []numberedRating) {
	type mention struct {
		order string
		at    int64 // unix ms: the first receipt
	}
	byID := map[string][]mention{}
	for i := range ratings {
		r := ratings[i].rated
		if r.Refusal != "" || r.Proof.Dispute == "" || !r.Proof.OfOrder || !r.Witness || b.takenBack(r) {
			continue
		}
		if _, o := d.node.orders.find(r.OrderID); o == nil || o.lifecycle.Start == 0 {
			continue // the order was not witnessed
		}
		held := byID[r.Proof.Dispute]
		if at := slices.IndexFunc(held, func(m mention) bool { return m.order == r.OrderID }); at >= 0 {
			held[at].at = min(held[at].at, r.Received)
			continue
		}
		byID[r.Proof.Dispute] = append(held, mention{r.OrderID, r.Received})
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		list := byID[id]
		slices.SortFunc(list, func(a, b mention) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.order, b.order)) })
		published := d.node.Disputes[id]
		claimed := len(list)
		if published != nil {
			claimed--
			if published.outcomeSince(d.seen.first).opened > 0 {
				list = list[1:] // counted by its own events
			}
		}
		d.evidence.Disputes.Claimed += int64(claimed) // each message has the signature of the node
		d.evidence.Disputes.Witnessed += int64(len(list))
		for _, m := range list {
			d.disputes = append(d.disputes, m.at/1000)
		}
	}
}
