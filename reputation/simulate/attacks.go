package simulate

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/reputation/score"
)

func after(days float64) time.Time { return genesis.Add(time.Duration(days * float64(day))) }

// stuffing is row 1. A fifth of the hosts cheat. The cheaters are bad hosts that add
// ten ratings of themselves for each real rating, with receipts that they sign for keys
// of their own. If fabricated is set, the cheaters also publish the whole public life
// of an order for each pair of fake ratings, in time, which costs nothing either.
func stuffing(g *game, funded, fabricated bool) error {
	n, days := g.size()
	end := after(float64(days))
	quality := func(i int, r *rand.Rand) float64 {
		if i%5 == 0 {
			return .4 * r.Float64()
		}
		return r.Float64()
	}
	play := func(attack bool) (*market, []*host, view) {
		m := newMarket(g.Seed, funded)
		hosts := m.crowd(n, days, quality)
		if attack {
			for i, h := range hosts {
				if i%5 == 0 {
					m.stuff(h, days, fabricated)
				}
			}
		}
		return m, hosts, look(m.ledger(end), end)
	}
	_, hosts, clean := play(false)
	_, _, dirty := play(true)
	cheats := map[string]bool{}
	for i, h := range hosts {
		if i%5 == 0 {
			cheats[h.pubkey] = true
		}
	}
	g.measure("rho without attack", rho(hosts)(clean.by("rank")), note, nil)
	moved := func(name string) (worst float64) {
		before, now := clean.by(name), dirty.by(name)
		for k := range cheats {
			worst = math.Max(worst, now(k)-before(k))
		}
		return worst
	}
	others := map[string]float64{}
	for _, name := range comparators {
		others[name] = round(moved(name))
	}
	g.measure("points moved, worst cheater", moved("rank"), most(3), others)
	own, others := dirty.compare(rho(hosts))
	g.measure("rho", own, least(.70), others)
	own, others = dirty.compare(onTop(hosts, func(h *host) bool { return cheats[h.pubkey] }))
	g.measure("cheaters in the top quarter", own, most(.05), others)
	return nil
}

// stuff adds ten fake ratings for each real one.
func (m *market) stuff(h *host, days int, fabricated bool) {
	r := stream(m.seed, "stuffing "+h.pubkey)
	real := int(2 * rateShare * h.PerDay * h.Complete * float64(days))
	for i := 0; i < 10*real; i += 2 {
		d := h.newDeal(r, genesis.Add(time.Duration(r.Int64N(int64(time.Duration(days-1)*day)))))
		if fabricated {
			m.order(h, d, mostro.StatusPending, d.made)
			m.order(h, d, mostro.StatusInProgress, d.taken)
			m.order(h, d, mostro.StatusSuccess, d.ended)
		}
		for _, role := range []string{receipt.RoleBuyer, receipt.RoleSeller} {
			m.rate(h, d, role, nobody(r), 1, d.ended.Add(time.Duration(60+r.IntN(7200))*time.Second), r)
		}
	}
}

// forged is row 2. On one day a key without a history publishes a hundred successes and
// the fees of a year, all dated back, and ratings of itself.
func forged(_ context.Context, g *game) error {
	n, days := g.size()
	m := newMarket(g.Seed, true)
	m.crowd(n/2, days, anyQuality)
	end := after(float64(days))
	r := stream(g.Seed, "forger")
	h := m.addHost("forger", nature{}, genesis, end)
	now := end.Add(-6 * time.Hour)
	put := func(d deal, made time.Time) {
		o := mostro.Order{Pubkey: h.pubkey, D: d.id, Side: d.side, Status: mostro.StatusSuccess, Fiat: "VES", AmountSats: &d.sats, Network: "mainnet", ExpiresAt: 1}
		m.putAt(o.Event(), made, now, mostro.OriginClient)
	}
	info := mostro.Info{Pubkey: h.pubkey, Name: "forger", Version: "0.18.5", ProtocolVersion: 2}
	for back := 365; back >= 0; back-- {
		m.putAt(info.Event(), now.Add(-time.Duration(back)*day), now.Add(time.Duration(400-back)*time.Second), mostro.OriginClient)
		d := h.newDeal(r, now.Add(-time.Duration(back)*day-5*time.Hour))
		d.sats = 1_000_000
		if back < 100 {
			put(d, d.ended)
		}
		fee := mostro.DevFee{Pubkey: h.pubkey, OrderID: d.id, AmountSats: 1800, Hash: nobody(r), Destination: "dev@fund.example", Network: "mainnet"}
		m.putAt(fee.Event(), d.ended, now.Add(time.Minute), mostro.OriginClient)
		for _, role := range []string{receipt.RoleBuyer, receipt.RoleSeller} {
			m.rate(h, d, role, nobody(r), 1, now.Add(2*time.Minute), r)
		}
	}
	v := look(m.ledger(end), end)
	others := map[string]float64{}
	for _, name := range comparators {
		others[name] = round(v.by(name)(h.pubkey))
	}
	s := v.score[h.pubkey]
	g.measure("rank", float64(s.Rank), most(40), others)
	g.measure("costed volume, sats", float64(s.Evidence.VolumeSats.Costed), exactly(0), nil)
	g.measure("claimed fees, sats", float64(s.Evidence.DevFeeSats.Claimed), note, nil)
	g.measure("exposure, sats", float64(s.ExposureSats), exactly(0), nil)
	return nil
}

// selfTrade is row 3. An attacker runs an honest daemon, trades only with itself at
// several rates, and rates every trade with five stars. The fees are really paid. For
// comparison, an honest host of the best quality has as many trades.
func selfTrade(_ context.Context, g *game) error {
	n, days := g.size()
	days = max(days, 240)
	if g.Small {
		days = 60
	}
	firstAt80 := func(l *score.Ledger, m *market, pubkey string) (reached int, s score.Score) {
		next := 0
		for d := 10; d <= days; d += 2 {
			next = m.feed(l, next, after(float64(d)))
			for _, score := range l.Compute(after(float64(d))) {
				if score.Pubkey == pubkey && score.Rank >= 80 {
					return d, score
				}
			}
		}
		return 0, s
	}
	bestDays, bestFees, worstGain, parity := 1e9, 1e18, -1e18, 1e18
	for _, pace := range []struct {
		perDay float64
		sats   int64
	}{{3, 50_000}, {10, 5_000}, {40, 1_000}, {20, 100_000}} {
		m := newMarket(g.Seed, true)
		m.crowd(n/4, days, anyQuality)
		h := m.addHost("self-trader", nature{Users: 1, Complete: 1, Resolve: 1, Up: 1, PerDay: pace.perDay}, genesis, after(float64(days)))
		r := stream(g.Seed, fmt.Sprint("self ", pace.perDay))
		m.present(h)
		spent, paid := map[int]int64{}, map[int][]int64{}
		for d := range days {
			for range int(pace.perDay) {
				x := h.newDeal(r, after(float64(d)).Add(time.Duration(r.IntN(70000))*time.Second))
				x.sats = int64(float64(pace.sats) * math.Exp(r.Float64()*4-2))
				m.order(h, x, mostro.StatusPending, x.made)
				m.order(h, x, mostro.StatusInProgress, x.taken)
				m.order(h, x, mostro.StatusSuccess, x.ended)
				paid[d] = append(paid[d], m.devFee(h, x, r))
				for _, role := range []string{receipt.RoleBuyer, receipt.RoleSeller} {
					m.rate(h, x, role, nobody(r), 1, x.ended.Add(time.Duration(60+r.IntN(600))*time.Second), r)
				}
			}
			spent[d] = h.fees
		}
		l := score.NewLedger(m.params(), score.Receipts{})
		reached, s := firstAt80(l, m, h.pubkey)
		name := fmt.Sprintf("%g trades a day of about %d sats: ", pace.perDay, pace.sats)
		g.measure(name+"days to rank 80, 0 never", float64(reached), note, nil)
		if reached > 0 {
			// An honest host needs the fees of as many trades of the same amounts to
			// earn the same record. One in a hundred of its trades fails.
			earned, tr := int64(0), stream(g.Seed, fmt.Sprint("twin ", pace.perDay))
			for d := range reached {
				for _, sats := range paid[d] {
					if tr.Float64() < .99 {
						earned += sats
					}
				}
			}
			parity = math.Min(parity, float64(spent[reached-1])/float64(earned))
			bestDays = math.Min(bestDays, float64(s.Evidence.WitnessedDays))
			bestFees = math.Min(bestFees, float64(spent[reached-1]))
			g.measure(name+"fees paid by then, sats", float64(spent[reached-1]), note, nil)
		}
		final := look(m.ledger(after(float64(days))), after(float64(days))).score[h.pubkey]
		worstGain = math.Max(worstGain, float64(final.ExposureSats-h.fees))
		g.measure(name+"rank at the end", float64(final.Rank), note, nil)
		g.measure(name+"exposure less fees paid at the end, sats", float64(final.ExposureSats-h.fees), note, nil)
	}
	if bestDays < 1e9 {
		g.measure("witnessed days to rank 80, fastest", bestDays, least(90), nil)
		g.measure("fees to rank 80, cheapest, sats", bestFees, note, nil)
		g.measure("fees to rank 80, of those of an honest host with as many trades, least", parity, least(1), nil)
	} else {
		g.measure("witnessed days to rank 80, fastest", float64(days), least(90), nil)
	}
	g.measure("exposure less fees paid, worst, sats", worstGain, most(0), nil)

	// An honest host earns the record in this market. The fee of each trade is the
	// fund's share, the same for an attacker and for an honest user. The days and the
	// fees are measured, not assumed.
	m := newMarket(g.Seed, true)
	m.crowd(n/4, days, anyQuality)
	h := m.addHost("honest", nature{Quality: 1, Users: .97, Complete: .99, Dispute: .002, Resolve: .98, Up: .99, PerDay: 10}, genesis, after(float64(days)))
	m.present(h)
	m.trades(h)
	fees := h.fees
	l := score.NewLedger(m.params(), score.Receipts{})
	reached, s := firstAt80(l, m, h.pubkey)
	g.measure("honest, 10 trades a day: days to rank 80, 0 never", float64(reached), note, nil)
	if reached > 0 {
		g.measure("honest, 10 trades a day: confirmed fees by then, sats", float64(s.Evidence.DevFeeSats.Costed), note, nil)
	}
	g.measure("honest, 10 trades a day: fees at the end, sats", float64(fees), note, nil)
	return nil
}

// badMouthing is row 4. A fifth of the hosts are good hosts that a rival rates with one
// star. The rival really trades there, until three of ten ratings are the rival's.
func badMouthing(_ context.Context, g *game) error {
	n, days := g.size()
	end := after(float64(days))
	quality := func(i int, r *rand.Rand) float64 {
		if i%5 == 0 {
			return .6 + .4*r.Float64()
		}
		return r.Float64()
	}
	var paid int64
	play := func(attack bool) ([]*host, view) {
		m := newMarket(g.Seed, true)
		hosts := m.crowd(n, days, quality)
		for i, h := range hosts {
			if attack && i%5 == 0 {
				paid += m.malign(h, days)
			}
		}
		return hosts, look(m.ledger(end), end)
	}
	hosts, clean := play(false)
	_, dirty := play(true)
	dropped := func(name string) (worst, sum float64) {
		for i, h := range hosts {
			if i%5 == 0 {
				drop := clean.by(name)(h.pubkey) - dirty.by(name)(h.pubkey)
				worst, sum = math.Max(worst, drop), sum+drop
			}
		}
		return worst, sum
	}
	others := map[string]float64{}
	for _, name := range comparators {
		worst, _ := dropped(name)
		others[name] = round(worst)
	}
	worst, sum := dropped("rank")
	g.measure("points dropped, worst victim", worst, most(10), others)
	own, others := dirty.compare(rho(hosts))
	g.measure("rho", own, least(.65), others)
	if sum > 0 {
		g.measure("rival's cost per point, sats", float64(paid)/sum, note, nil)
	}
	g.measure("rival's cost, sats", float64(paid), note, nil)
	return nil
}

// malign plays the rival's trades and ratings at one host. It returns the fees that the
// rival paid: half of 0.6 percent of each amount.
func (m *market) malign(h *host, days int) (paid int64) {
	r := stream(m.seed, "rival of "+h.pubkey)
	real := 2 * rateShare * h.PerDay * h.Complete * float64(days)
	for range int(real * 3 / 7) {
		d := h.newDeal(r, genesis.Add(time.Duration(r.Int64N(int64(time.Duration(days-1)*day)))))
		m.order(h, d, mostro.StatusPending, d.made)
		m.order(h, d, mostro.StatusInProgress, d.taken)
		m.order(h, d, mostro.StatusSuccess, d.ended)
		m.devFee(h, d, r)
		m.rate(h, d, receipt.RoleBuyer, nobody(r), .2, d.ended.Add(time.Duration(60+r.IntN(7200))*time.Second), r)
		paid += int64(math.Round(float64(d.sats) * .003))
	}
	return paid
}

// whitewash is row 5. A bad host returns under a new key, with the same Lightning node
// or a new one, and behaves as before.
func whitewash(_ context.Context, g *game) error {
	n, days := g.size()
	for _, same := range []bool{true, false} {
		m := newMarket(g.Seed, true)
		m.crowd(n/2, days+31, anyQuality)
		bad := drawNature(stream(g.Seed, "dirty nature"), .1)
		bad.PerDay = 3
		old := m.addHost("dirty", bad, genesis, after(float64(days)))
		m.present(old)
		m.trades(old)
		fresh := m.addHost("washed", bad, after(float64(days)), after(float64(days+31)))
		if same {
			fresh.lightning = old.lightning
		}
		m.present(fresh)
		m.trades(fresh)
		l := score.NewLedger(m.params(), score.Receipts{})
		next := m.feed(l, 0, after(float64(days)))
		before := look(l, after(float64(days)))
		start := map[string]float64{"rank": before.by("rank")(old.pubkey)}
		gain := map[string]float64{}
		for _, name := range comparators {
			start[name], gain[name] = before.by(name)(old.pubkey), -100
		}
		own, linked := -100.0, -1.0
		for hour := 1; hour <= 30*24; hour++ {
			if hour > 12 && hour%24 != 0 {
				continue
			}
			at := after(float64(days)).Add(time.Duration(hour) * time.Hour)
			next = m.feed(l, next, at)
			v := look(l, at)
			s, ok := v.score[fresh.pubkey]
			if !ok {
				continue
			}
			if linked < 0 && len(s.Linked) > 0 {
				first := s.Evidence.FirstWitnessed
				linked = at.Sub(first).Hours()
			}
			own = math.Max(own, float64(s.Rank)-start["rank"])
			for _, name := range comparators {
				gain[name] = round(math.Max(gain[name], v.by(name)(fresh.pubkey)-start[name]))
			}
		}
		name := "new Lightning node: "
		if same {
			name = "same Lightning node: "
			g.measure(name+"hours until linked, -1 never", linked, between(0, 1), nil)
		}
		g.measure(name+"dirty rank", start["rank"], note, nil)
		g.measure(name+"most rank gained in 30 days", own, most(0), gain)
	}
	return nil
}
