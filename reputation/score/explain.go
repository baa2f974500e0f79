package score

import (
	"slices"
	"time"
)

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
