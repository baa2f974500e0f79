package escrow

import (
	"math"

	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// simVote identifies a vote by its trade, its side and the keys of both parties. An order of a
// lost time may be taken by another user afterwards.
type simVote struct {
	order         trade.OrderID
	by            rating.Role
	buyer, seller string
}

func (s *sim) voteOf(v rating.Vote) simVote {
	t := s.store.trades[v.Order]
	return simVote{v.Order, v.By, t.Buyer.Key, t.Seller.Key}
}

// rate lets a party rate the other party of a trade, which is over in most cases. Some rate
// before the end, twice, out of range, or are strangers.
func (s *sim) rate() {
	if len(s.order) == 0 {
		return
	}
	t := s.store.trades[s.order[s.rng.IntN(len(s.order))]]
	for range 6 {
		if t.Status == message.TradeSuccess {
			break
		}
		t = s.store.trades[s.order[s.rng.IntN(len(s.order))]]
	}
	if t.ID == (trade.OrderID{}) {
		return // lost with the store
	}
	p := []trade.Party{t.Buyer, t.Seller}[s.rng.IntN(2)]
	if p.Key == "" || s.rng.IntN(20) == 0 {
		p, _ = s.user()
	}
	stars := 1 + s.rng.IntN(5)
	if s.rng.IntN(20) == 0 {
		stars = []int{0, 6, 200}[s.rng.IntN(3)]
	}
	id := t.ID
	switch {
	case s.votes[simVote{id, rating.Buyer, t.Buyer.Key, t.Seller.Key}] || s.votes[simVote{id, rating.Seller, t.Buyer.Key, t.Seller.Key}]:
		s.count.ratedAgain++
	case t.Status != message.TradeSuccess:
		s.count.ratedEarly++
	}
	s.send(p, nil, message.ActionRateUser, &id, message.RatingUser(stars))
}

// judgeVotes checks the votes of a commit: each was given by a party of a trade that may be
// rated, for an identity other than its own, once, and the published rating is the mean of all
// votes in the journal.
func (s *sim) judgeVotes(c *Commit) {
	for _, row := range c.Outbox {
		if m := row.Effect.Message; m.Action == message.ActionCantDo && m.RequestID != nil {
			s.answered[*m.RequestID] = true
		}
	}
	for _, row := range c.Ratings {
		v, ok := row.Value.(rating.Vote)
		if !ok {
			continue
		}
		if v.Rated == "" {
			s.count.votesWaited++
			continue
		}
		t, key := s.store.trades[v.Order], s.voteOf(v)
		rater, rated := t.Buyer, t.Seller
		if v.By == rating.Seller {
			rater, rated = rated, rater
		}
		open := t.Status == message.TradeSuccess || t.Status == message.TradeCompletedByAdmin || v.By == rating.Seller && t.Status == message.TradeSettledHoldInvoice
		switch {
		case s.votes[key]:
			s.fail("the %s of trade %s voted twice", v.By, v.Order)
		case !open:
			s.fail("the %s of trade %s votes in %s", v.By, v.Order, t.Status)
		case v.Stars < 1 || v.Stars > 5:
			s.fail("a vote of %d stars counts", v.Stars)
		case rated.Private() || v.Rated != rated.Identity || v.Rated == rater.Identity:
			s.fail("the vote of the %s of trade %s counts for %s", v.By, v.Order, v.Rated)
		}
		s.votes[key] = true
		s.count.rated++
		s.judgeShown(c, v, rated, key)
	}
}

// judgeShown checks the event and the answer of a vote against the journal.
func (s *sim) judgeShown(c *Commit, v rating.Vote, rated trade.Party, key simVote) {
	published, answered := 0, false
	for _, row := range c.Outbox {
		if m := row.Effect.Message; m.Action == message.ActionRateReceived && m.ID != nil && *m.ID == v.Order && m.Payload == message.RatingUser(v.Stars) {
			answered = true
			if m.RequestID != nil {
				s.given[key] = *m.RequestID
			}
		}
		if row.Event == nil || row.Event.Kind != mostro.KindUserRating || row.Event.Tags.GetD() != rated.Key {
			continue
		}
		u, err := mostro.ParseUserRating(row.Event)
		if err != nil {
			s.fail("a published rating: %v", err)
			return
		}
		published++
		if int64(u.CreatedAt) <= s.ratedAt[v.Rated] {
			s.fail("a rating of %s is dated %d, and before %d", v.Rated, u.CreatedAt, s.ratedAt[v.Rated])
		}
		s.ratedAt[v.Rated] = int64(u.CreatedAt)
		if n, mean, least, most, last := s.fold(v.Rated, v.N); n != *u.TotalReviews || math.Abs(mean-*u.TotalRating) > 1e-6 || least != *u.MinRate || most != *u.MaxRate || last != *u.LastRating {
			s.fail("%s is published with %d votes of %f, and the journal has %d of %f", v.Rated, *u.TotalReviews, *u.TotalRating, n, mean)
		}
	}
	if published != 1 || !answered {
		s.fail("a vote was published %d times, answered: %v", published, answered)
	}
}

// fold computes the rating of an identity from the first rows of its journal.
func (s *sim) fold(identity string, rows uint32) (n int64, mean float64, least, most, last int64) {
	sum := 0.0
	imported := make(map[string]rating.Import)
	err := rating.Journal(s.store, identity, func(row uint32, c rating.Change) error {
		switch {
		case row > rows:
			return nil
		case c.Kind == rating.Imported:
			i := *c.Import
			imported[i.Attestation] = i
			n, sum = n+int64(i.Reviews), sum+float64(i.Reviews)*float64(i.Hundredths)/100
			for _, vote := range []*int64{&least, &most, &last} {
				if *vote == 0 {
					*vote = int64(i.Hundredths+50) / 100
				}
			}
			return nil
		case c.Kind == rating.Revoked:
			i := imported[c.Attestation]
			if n, sum = n-int64(i.Reviews), sum-float64(i.Reviews)*float64(i.Hundredths)/100; n == 0 {
				sum, least, most, last = 0, 0, 0, 0
			}
			return nil
		case c.Kind != rating.Voted:
			return nil
		}
		stars := int64(c.Stars)
		if n++; n == 1 {
			sum, least, most = float64(stars)/2, stars, stars
		} else {
			sum += float64(stars)
		}
		least, most, last = min(least, stars), max(most, stars), stars
		return nil
	})
	if err != nil {
		s.fail("journal of ratings: %v", err)
	}
	return n, sum / float64(max(n, 1)), least, most, last
}

// judgeRatings checks at the end that the records equal their journals, that no vote waits for
// a trade that is over, and that no vote vanished in a lost time without an answer.
func (s *sim) judgeRatings() {
	if s.err != nil {
		return
	}
	if err := rating.Check(s.store); err != nil {
		s.fail("%v", err)
	}
	if err := rating.Waiting(s.store, func(v rating.Vote) error {
		if t := s.store.trades[v.Order]; trade.Terminal(t.Status) || t.Status == message.TradePending {
			s.fail("a vote waits for trade %s, which is %s", t.ID, t.Status)
		}
		return nil
	}); err != nil {
		s.fail("%v", err)
	}
	for key, request := range s.given {
		t, ok := s.store.trades[key.order]
		if !ok || t.Buyer.Key != key.buyer || t.Seller.Key != key.seller || !rating.Rateable(t.Status, key.by) || s.answered[request] {
			continue
		}
		if !s.votes[key] {
			s.fail("the vote of the %s of trade %s has vanished: %s, copied %v, abandoned %v, request %d", key.by, key.order, t.Status, s.copied(key.order), s.abandoned[key.order], request)
		}
	}
}
