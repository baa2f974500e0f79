package score

import (
	"slices"
	"time"
)

// Ratings returns all ratings of a host, the newest first, with the weight and the reason
// of each. Moves is the amount by which the value of the node would fall without the
// rating, if all other weights stay. If the ledger has no fact about the key, Ratings
// returns nil.
func (l *Ledger) Ratings(pubkey string, mu Micro, asOf int64) []RatedBy {
	if l.book.Nodes[pubkey] == nil {
		return nil
	}
	l.book.ready()
	return ratingsOf(l.view().derive(pubkey, asOf), &l.params, mu, asOf)
}

func ratingsOf(d *derived, p *Params, mu Micro, asOf int64) []RatedBy {
	q := partsOf(d, p, mu, asOf)
	m := q.means(p)
	value := p.Value(m)
	out := make([]RatedBy, 0, len(d.users.list))
	for i := range d.users.list {
		w := &d.users.list[i]
		r := RatedBy{
			EventID: w.ID.String(), Rater: w.Rater, OrderID: w.OrderID, Rating: w.Rating, Role: w.Role, Text: w.Text, Platform: w.Platform,
			CreatedAt: time.Unix(w.Created, 0).UTC(), ReceivedAt: time.UnixMilli(w.Received).UTC(), Source: w.Source,
			Proof: w.Proof.Grade, Weight: w.weight, Reason: w.reason,
		}
		if w.weight > 0 {
			without := q.users
			weight := w.weight.times(d.users.spread)
			without.For -= weight.times(w.Rating)
			without.Against -= weight - weight.times(w.Rating)
			m[SubUsers] = without.mean()
			r.Moves = value - p.Value(m)
		}
		out = append(out, r)
	}
	slices.Reverse(out)
	return out
}
