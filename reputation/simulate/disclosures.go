package simulate

import (
	"context"
	"fmt"
	"math"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/reputation/score"
)

// hiddenDisputes is row 26. A host publishes its disputes or hides them. Its users disclose
// the messages about the disputes in both cases.
func hiddenDisputes(_ context.Context, g *game) error {
	play := func(publish, disclose bool) (score.Score, error) {
		m := newMarket(g.Seed, true)
		x := goodNature(0)
		h := m.addHost("disputed", x, genesis, after(60))
		m.present(h)
		r := stream(g.Seed, "disputes")
		for d := range 59 {
			t := h.newDeal(r, after(float64(d)))
			h.Dispute = 0
			m.trade(h, t, r)
			if d%8 > 0 {
				continue
			}
			id, err := message.ParseUUID(uuid(r))
			if err != nil {
				return score.Score{}, err
			}
			if publish {
				q := mostro.Dispute{Pubkey: h.pubkey, D: id.String(), Initiator: "buyer", State: mostro.DisputeStateInitiated}
				m.put(q.Event(), t.taken.Add(day/100))
				q.State = mostro.DisputeStateSettled
				m.put(q.Event(), t.taken.Add(day/2))
			}
			if disclose {
				for side := range 2 {
					said := message.Message{Action: message.ActionDisputeInitiatedByYou, Payload: message.DisputeRef{ID: id}}
					if side == 1 {
						said.Action = message.ActionDisputeInitiatedByPeer
					}
					if err := m.r0(h, t.id, keysOf(g.Seed, fmt.Sprint("side ", d, side)), said, .8, t.ended.Add(day/4), r); err != nil {
						return score.Score{}, err
					}
				}
			}
		}
		return m.at(after(60))[h.pubkey], nil
	}
	var s [4]score.Score
	for i, how := range [][2]bool{{true, false}, {true, true}, {false, false}, {false, true}} {
		var err error
		if s[i], err = play(how[0], how[1]); err != nil {
			return err
		}
	}
	part := func(i int) float64 { return s[i].Sub[score.SubDisputes].Mean.Float() }
	g.measure("disputes, published", float64(s[0].Evidence.Disputes.Witnessed), exactly(8), nil)
	g.measure("disputes, published and disclosed", float64(s[1].Evidence.Disputes.Witnessed), exactly(8), nil)
	g.measure("disputes, hidden", float64(s[2].Evidence.Disputes.Witnessed), exactly(0), nil)
	g.measure("disputes, hidden and disclosed", float64(s[3].Evidence.Disputes.Witnessed), exactly(8), nil)
	g.measure("part of the score that hiding gains, of 1, where users disclose", part(3)-part(0), most(.05), nil)
	g.measure("part of the score that hiding gains, of 1, where nobody does", part(2)-part(0), note, nil)
	return nil
}

// seedOrder is row 27. A visitor trusts twenty users of the honest hosts. A cheater gives
// itself a thousand ratings.
func seedOrder(_ context.Context, g *game) error {
	n, days := g.size()
	m := newMarket(g.Seed, true)
	hosts := m.crowd(n, days, anyQuality)
	var seeds []string
	for _, e := range m.entries {
		if e.Event.Kind == mostro.KindHostRating && len(seeds) < 400 {
			seeds = append(seeds, e.Event.PubKey)
		}
	}
	cheat := m.addHost("cheat", goodNature(0), genesis, after(float64(days)))
	m.present(cheat)
	r := stream(g.Seed, "fakes")
	for range 1000 {
		d := cheat.newDeal(r, after(r.Float64()*float64(days-1)))
		m.rate(cheat, d, receipt.RoleBuyer, nobody(r), 1, d.ended, r)
	}
	l := m.ledger(after(float64(days)))
	list, known := l.TrustGraph(after(float64(days)).Unix()).Personal(seeds)
	trust := map[string]float64{}
	for _, t := range list {
		trust[t.Pubkey] = t.Trust.Float()
	}
	reached := 0.0
	for _, h := range hosts {
		if trust[h.pubkey] > 0 {
			reached++
		}
	}
	g.measure("seeds with a good rating", float64(known), least(20), nil)
	g.measure("trust of the cheater", trust[cheat.pubkey], exactly(0), nil)
	g.measure("hosts that trust reaches", reached, least(1), nil)
	// One fake rater also trades honestly, once, with the most trusted host.
	best := hosts[0]
	for _, h := range hosts {
		if trust[h.pubkey] > trust[best.pubkey] {
			best = h
		}
	}
	d := best.newDeal(r, after(float64(days)-.9))
	bridge := nobody(r)
	m.rate(best, d, receipt.RoleBuyer, bridge, 1, d.ended, r)
	d = cheat.newDeal(r, after(float64(days)-.9))
	m.rate(cheat, d, receipt.RoleBuyer, bridge, 1, d.ended, r)
	list, _ = m.ledger(after(float64(days))).TrustGraph(after(float64(days)).Unix()).Personal(seeds)
	for _, t := range list {
		if t.Pubkey == cheat.pubkey {
			g.measure("trust of the cheater after one real trade of a fake rater", math.Round(t.Trust.Float()*1e4)/1e4, most(.05), nil)
		}
	}
	return nil
}
