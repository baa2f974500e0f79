package simulate

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
)

// The attacks in this file cost nothing, or a few sats. An independent audit found them
// in method mostrodex@1.

// farAway is an expires_at that a simulated market never reaches.
var farAway = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)

// fork returns a copy of the market, so that an attack is added to the copy only.
func (m *market) fork() *market {
	n := *m
	n.entries, n.hosts, n.sorted = slices.Clone(m.entries), slices.Clone(m.hosts), false
	n.paid = map[int64][]fundRow{}
	for k, v := range m.paid {
		n.paid[k] = slices.Clone(v)
	}
	return &n
}

// at returns the scores at a moment, by node.
func (m *market) at(when time.Time) map[string]score.Score {
	out := map[string]score.Score{}
	for _, s := range m.ledger(when).Compute(when) {
		out[s.Pubkey] = s
	}
	return out
}

func goodNature(perDay float64) nature {
	return nature{Quality: .9, Users: .92, Complete: .97, Dispute: .01, Resolve: .95, Up: .98, PerDay: perDay}
}

func badNature(perDay float64) nature {
	return nature{Quality: .1, Users: .40, Complete: .72, Dispute: .08, Resolve: .5, Up: .95, PerDay: perDay}
}

// victim plays half a crowd and a good host with three trades a day. It returns the
// market, the good host and the number of days.
func (g *game) victim(funded bool) (*market, *host, int) {
	return g.victimIn(newMarket(g.Seed, funded))
}

func (g *game) victimIn(m *market) (*market, *host, int) {
	n, days := g.size()
	m.crowd(n/2, days, anyQuality)
	v := m.addHost("victim", goodNature(3), genesis, after(float64(days)))
	m.present(v)
	m.trades(v)
	return m, v, days
}

func flagged(s score.Score, names ...string) (n float64) {
	for _, f := range s.Flags {
		if slices.Contains(names, f.Name) {
			n++
		}
	}
	return n
}

func withFund(funded bool) string {
	if funded {
		return "with a fund: "
	}
	return "without a fund: "
}

// poisonedPrior plays nodes of an attacker whose invented users rate with 0. The attack
// targets the prior, which is the assumed value of a node without data. If the market
// has a fund, the nodes pay one sat for each trade. The scenario is also played in a
// market where the users of honest hosts do not rate, which is the situation of today.
func poisonedPrior(_ context.Context, g *game) error {
	for _, world := range []struct{ funded, silent bool }{{false, true}, {false, false}, {true, false}} {
		funded := world.funded
		m := newMarket(g.Seed, funded)
		m.silent = world.silent
		m, v, days := g.victimIn(m)
		fresh := m.addHost("newcomer", goodNature(1), after(float64(days-30)), after(float64(days)))
		m.present(fresh)
		m.trades(fresh)
		end := after(float64(days))
		before := m.fork().at(end)
		for _, k := range []int{3, 24} {
			f := m.fork()
			r := stream(g.Seed, fmt.Sprint("sybils ", k, funded))
			for i := range k {
				h := f.addHost(fmt.Sprint("sybil ", i), nature{Up: 1}, after(float64(days-32)), end)
				f.present(h)
				for range 5 {
					x := h.newDeal(r, after(float64(days-20)))
					x.ended = x.made.Add(2 * time.Minute)
					f.order(h, x, mostro.StatusPending, x.made)
					f.order(h, x, mostro.StatusSuccess, x.ended)
					if funded {
						f.pay(h, x, 1, r)
					}
					for _, role := range []string{receipt.RoleBuyer, receipt.RoleSeller} {
						f.rate(h, x, role, nobody(r), 0, x.ended.Add(time.Minute), r)
					}
				}
			}
			now := f.at(end)
			worst, sum := 0.0, 0.0
			for _, h := range m.hosts {
				drop := float64(before[h.pubkey].Rank - now[h.pubkey].Rank)
				worst, sum = math.Max(worst, drop), sum+drop
			}
			name := withFund(funded)
			if world.silent {
				name = "without a fund and without ratings: "
			}
			name += fmt.Sprint(k, " nodes that rate themselves 0: ")
			g.measure(name+"points lost, mean of all honest hosts", sum/float64(len(m.hosts)), most(1), nil)
			g.measure(name+"points lost, worst", worst, most(1), nil)
			g.measure(name+"prior before", before[v.pubkey].Mu.Float(), note, nil)
			g.measure(name+"prior after", now[v.pubkey].Mu.Float(), note, nil)
		}
	}
	return nil
}

// dirtyKey adds a key with the worst record that costs nothing. The key names Lightning
// nodes in its infos.
func (m *market) dirtyKey(name string, lightning []string, when time.Time) {
	h := m.addHost(name, nature{}, when, when.Add(day))
	r := stream(m.seed, "dirty "+name)
	for i, ln := range lightning {
		info := mostro.Info{Pubkey: h.pubkey, Name: "d", Version: "0.18.5", ProtocolVersion: 2, LND: &mostro.LightningNode{Pubkey: ln}}
		m.put(info.Event(), when.Add(time.Duration(i)*time.Second))
	}
	for i := range 40 {
		x := h.newDeal(r, when.Add(time.Duration(i)*5*time.Minute))
		m.order(h, x, mostro.StatusPending, x.made)
		m.order(h, x, mostro.StatusInProgress, x.made.Add(time.Minute))
		m.order(h, x, mostro.StatusCanceled, x.made.Add(2*time.Hour))
		q := mostro.Dispute{Pubkey: h.pubkey, D: uuid(r), Initiator: "buyer", State: mostro.DisputeStateInitiated}
		m.put(q.Event(), x.made.Add(90*time.Second))
		y := h.newDeal(r, when.Add(time.Duration(i)*5*time.Minute))
		y.ended = y.made.Add(2 * time.Minute)
		m.order(h, y, mostro.StatusPending, y.made)
		m.order(h, y, mostro.StatusSuccess, y.ended)
		for _, role := range []string{receipt.RoleBuyer, receipt.RoleSeller} {
			m.rate(h, y, role, nobody(r), 0, y.made.Add(4*time.Minute), r)
		}
	}
}

// claimedFirst plays a key with a bad record that names the Lightning nodes of other
// hosts before those hosts do.
func claimedFirst(_ context.Context, g *game) error {
	m, _, days := g.victim(false)
	end := after(float64(days))
	fresh := m.addHost("newcomer", goodNature(3), after(float64(days-40)), end)
	m.present(fresh)
	m.trades(fresh)
	before := m.fork().at(end)
	one := m.fork()
	one.dirtyKey("claims one", []string{fresh.lightning}, after(float64(days-41)))
	s := one.at(end)[fresh.pubkey]
	g.measure("points that the honest newcomer loses", float64(before[fresh.pubkey].Rank-s.Rank), exactly(0), nil)
	g.measure("it is flagged", flagged(s, score.FlagWhitewash), exactly(1), nil)
	all := m.fork()
	var names []string
	for _, h := range m.hosts {
		names = append(names, h.lightning)
	}
	all.dirtyKey("claims all", names, genesis.Add(-day))
	now, worst := all.at(end), 0.0
	for _, h := range m.hosts {
		worst = math.Max(worst, float64(before[h.pubkey].Rank-now[h.pubkey].Rank))
	}
	g.measure("points lost where all are claimed, worst host", worst, exactly(0), nil)
	return nil
}

// r0Canceled rates a host. The receipt is the host's own signed message that an order
// was cancelled.
func (m *market) r0Canceled(h *host, orderID string, trade *envelope.Keys, rating float64, when time.Time, r *rand.Rand) error {
	return m.r0(h, orderID, trade, message.Message{Action: message.ActionCanceled}, rating, when, r)
}

// r0 rates a host. The receipt is a signed message of the host about the order.
func (m *market) r0(h *host, orderID string, trade *envelope.Keys, said message.Message, rating float64, when time.Time, r *rand.Rand) error {
	id, err := message.ParseUUID(orderID)
	if err != nil {
		return err
	}
	said.Wrapper, said.ID = message.WrapperOrder, &id
	evt, err := envelope.Seal(context.Background(), said,
		envelope.SealOptions{Transport: envelope.TransportV2, To: trade.Pubkey(), Trade: h.keys, Unsigned: true, Now: when.Add(-time.Minute), Rand: source{r}})
	if err != nil {
		return err
	}
	receipt, err := receipt.Disclose(evt, trade, source{r})
	if err != nil {
		return err
	}
	m.rateWith(h, orderID, trade.Pubkey(), rating, when, receipt)
	return nil
}

// twoKeys plays a stranger with two keys for each order. One key publishes the order
// and the other takes it. The stranger cancels before a payment is due and rates with
// both keys. For comparison, the stranger also cancels cooperatively after the payment.
func twoKeys(_ context.Context, g *game) error {
	orders := 100
	if g.Small {
		orders = 40
	}
	for _, funded := range []bool{false, true} {
		m, v, days := g.victim(funded)
		end := after(float64(days))
		clean := m.fork().at(end)[v.pubkey]
		for _, stay := range []time.Duration{2 * time.Minute, 29 * time.Minute, 40 * time.Minute} {
			f := m.fork()
			r := stream(g.Seed, fmt.Sprint("two keys ", stay, funded))
			for i := range orders {
				d := v.newDeal(r, after(float64(days-10)).Add(time.Duration(i)*9*day/time.Duration(orders)))
				f.order(v, d, mostro.StatusPending, d.made)
				f.order(v, d, mostro.StatusInProgress, d.made.Add(2*time.Minute))
				f.order(v, d, mostro.StatusCanceled, d.made.Add(2*time.Minute+stay))
				for k := range 2 {
					if err := f.r0Canceled(v, d.id, keysOf(g.Seed, fmt.Sprint("stranger ", stay, i, " ", k)), 0, d.made.Add(4*time.Minute+stay), r); err != nil {
						return err
					}
				}
			}
			s, target := f.at(end)[v.pubkey], most(1)
			name := fmt.Sprintf("%s%d orders, cancelled %.0f minutes after they were taken: points lost", withFund(funded), orders, stay.Minutes())
			if stay > 32*time.Minute {
				// If the hold is not paid, a daemon reopens the order before this time.
				// So the attack needs a paid hold. It costs no fee, but locks the sats
				// of each order for this time.
				name, target = name+" (the hold is paid and given back)", note
			}
			g.measure(name, float64(clean.Rank-s.Rank), target, nil)
		}
	}
	return nil
}

// orderAs publishes a version of an order with the given creation, reception and expiry
// times.
func (m *market) orderAs(h *host, d deal, status mostro.Status, made, received, expires time.Time) {
	o := mostro.Order{Pubkey: h.pubkey, D: d.id, Side: d.side, Status: status, Fiat: h.fiat, AmountSats: &d.sats, Network: "mainnet",
		Methods: []string{h.methods[int(d.id[0])%len(h.methods)]}, ExpiresAt: nostr.Timestamp(expires.Unix())}
	m.putAt(o.Event(), made, received, mostro.OriginLive)
}

// launder plays a bad host that hides its failures in the given way.
func (m *market) launder(h *host, how string) {
	r := h.random
	const soon, late = 400 * time.Millisecond, 11 * time.Minute
	for t := h.from; t.Before(h.to); t = t.Add(day) {
		for range poisson(r, h.PerDay) {
			when := t.Add(time.Duration(r.IntN(86400)) * time.Second)
			if !when.Before(h.to.Add(-5 * time.Hour)) {
				continue
			}
			d := h.newDeal(r, when)
			expires := d.made.Add(day)
			if how == "to expire in 2099" {
				expires = farAway
			}
			isGood, disputed, solved := r.Float64() < h.Complete, r.Float64() < h.Dispute, r.Float64() < h.Resolve
			m.orderAs(h, d, mostro.StatusPending, d.made, d.made.Add(soon), expires)
			m.orderAs(h, d, mostro.StatusInProgress, d.taken, d.taken.Add(soon), expires)
			switch {
			case isGood:
				m.orderAs(h, d, mostro.StatusSuccess, d.ended, d.ended.Add(soon), expires)
			case how == "in the open":
				m.orderAs(h, d, mostro.StatusCanceled, d.ended, d.ended.Add(soon), expires)
			case how == "dated back by 11 minutes":
				m.orderAs(h, d, mostro.StatusCanceled, d.ended.Add(-time.Minute), d.ended.Add(late), expires)
			case how == "as offers that nobody took again":
				m.orderAs(h, d, mostro.StatusPending, d.ended, d.ended.Add(soon), expires)
				m.orderAs(h, d, mostro.StatusCanceled, d.ended.Add(time.Minute), d.ended.Add(time.Minute+soon), expires)
			}
			if disputed {
				q := mostro.Dispute{Pubkey: h.pubkey, D: uuid(r), Initiator: "buyer"}
				opened := d.taken.Add(time.Hour)
				for _, x := range []struct {
					state mostro.DisputeState
					after time.Duration
				}{{mostro.DisputeStateInitiated, 0}, {mostro.DisputeStateInProgress, 4 * time.Hour}, {mostro.DisputeStateSettled, 20 * time.Hour}} {
					if q.State = x.state; x.state == mostro.DisputeStateSettled && !solved {
						x.after += 5 * day
					}
					w, by := opened.Add(x.after), soon
					if how != "in the open" {
						by = late
					}
					if w.Before(h.to) {
						m.putAt(q.Event(), w, w.Add(by), mostro.OriginLive)
					}
				}
			}
			if isGood {
				m.devFee(h, d, r)
				for _, role := range []string{receipt.RoleBuyer, receipt.RoleSeller} {
					if r.Float64() < rateShare {
						m.rate(h, d, role, nobody(r), stars(r, h.Users), d.ended.Add(time.Duration(120+r.IntN(7200))*time.Second), r)
					}
				}
			}
		}
	}
}

// lateEndings plays a bad host that hides its failures in three ways. It dates bad
// endings and disputes back, or has its orders expire in 2099, or offers failed orders
// again and cancels the offers.
func lateEndings(_ context.Context, g *game) error {
	ways := []string{"in the open", "dated back by 11 minutes", "to expire in 2099", "as offers that nobody took again"}
	for _, funded := range []bool{false, true} {
		m, v, days := g.victim(funded)
		rank := map[string]float64{}
		for _, how := range ways {
			f := m.fork()
			h := f.addHost("launder", badNature(3), genesis, after(float64(days))) // the same host and random stream each time
			f.present(h)
			f.launder(h, how)
			now := f.at(after(float64(days)))
			rank[how], rank["good"] = float64(now[h.pubkey].Rank), float64(now[v.pubkey].Rank)
		}
		g.measure(withFund(funded)+"rank of a good host", rank["good"], note, nil)
		g.measure(withFund(funded)+"rank of the bad host in the open", rank[ways[0]], note, nil)
		for _, how := range ways[1:] {
			g.measure(withFund(funded)+"points gained by endings "+how, rank[how]-rank[ways[0]], most(2), nil)
		}
	}
	return nil
}

// pennyFees plays a host that confirms invented trades of large amounts with fees of
// one sat each. The amounts are only claimed by the host. In some plans the host also
// has ratings of orders that never end. For comparison, an honest host has one usual
// trade a day. Its fees are counted until it reaches rank 80, or for the whole time if
// it does not.
func pennyFees(_ context.Context, g *game) error {
	n, _ := g.size()
	days := 240
	plans := []struct {
		perDay float64
		fakes  int // rated orders per day that never end
	}{{1, 0}, {.5, 0}, {.5, 2}, {.25, 2}, {1, 4}, {3, 0}, {10, 0}, {40, 0}}
	if g.Small {
		days, plans = 120, plans[:3]
	}
	base := newMarket(g.Seed, true)
	base.crowd(n/4, days, anyQuality)
	honest := base.addHost("honest", goodNature(1), genesis, after(float64(days)))
	base.present(honest)
	base.trades(honest)
	base.lists()
	// reach feeds a market until a host has rank 80, and returns the day, the best rank
	// and the fees. If the host does not reach rank 80, the day is 0.
	reach := func(m *market, pubkey string) (day int, best, fees float64) {
		l := score.NewLedger(m.params(), score.Receipts{})
		next := 0
		for d := 30; d <= days; d += 10 {
			next = m.feed(l, next, after(float64(d)))
			for _, s := range l.Compute(after(float64(d))) {
				if s.Pubkey == pubkey {
					best, fees = math.Max(best, float64(s.Rank)), float64(s.Evidence.DevFeeSats.Costed)
				}
			}
			if best >= 80 {
				return d, best, fees
			}
		}
		return 0, best, fees
	}
	day80, _, fair := reach(base.fork(), honest.pubkey)
	g.measure("an honest host with a trade a day: days to rank 80, 0 never", float64(day80), note, nil)
	g.measure("an honest host with a trade a day: fees paid by then, sats", fair, note, nil)
	lowest := math.Inf(1)
	for _, plan := range plans {
		m := base.fork()
		h := m.addHost("penny", nature{Up: 1}, genesis, after(float64(days)))
		m.present(h)
		name := fmt.Sprintf("%g trades a day, 50M sats declared for 1 sat of fee each, %d rated orders without an end: ", plan.perDay, plan.fakes)
		r := stream(g.Seed, name)
		due := 0.0
		for d := range days {
			for due += plan.perDay; due >= 1; due-- {
				x := h.newDeal(r, after(float64(d)).Add(time.Duration(r.IntN(70000))*time.Second))
				x.sats = int64(50_000_000 * math.Exp(r.Float64()*4-2))
				m.order(h, x, mostro.StatusPending, x.made)
				m.order(h, x, mostro.StatusInProgress, x.taken)
				m.order(h, x, mostro.StatusSuccess, x.ended)
				m.pay(h, x, 1, r)
				for _, role := range []string{receipt.RoleBuyer, receipt.RoleSeller} {
					m.rate(h, x, role, nobody(r), 1, x.ended.Add(time.Duration(60+r.IntN(600))*time.Second), r)
				}
			}
			for range plan.fakes {
				x := h.newDeal(r, after(float64(d)).Add(time.Duration(r.IntN(70000))*time.Second))
				x.sats = int64(5_000_000 * math.Exp(r.Float64()*4-2))
				m.orderAs(h, x, mostro.StatusPending, x.made, x.made.Add(time.Second), farAway)
				m.orderAs(h, x, mostro.StatusInProgress, x.taken, x.taken.Add(time.Second), farAway)
				for _, role := range []string{receipt.RoleBuyer, receipt.RoleSeller} {
					m.rate(h, x, role, nobody(r), 1, x.ended.Add(time.Duration(60+r.IntN(600))*time.Second), r)
				}
			}
		}
		day80, best, fees := reach(m, h.pubkey)
		g.measure(name+"best rank", best, note, nil)
		g.measure(name+"days to rank 80, 0 never", float64(day80), note, nil)
		if day80 > 0 {
			lowest = math.Min(lowest, fees/fair)
		}
	}
	g.measure(fmt.Sprintf("fees to rank 80 within %d days, of the honest host's, least; 1000 never", days), math.Min(lowest, 1000), least(1), nil)
	return nil
}

// hashNamedFirst plays a thief that learns of each payment of a host's fees and names
// the payment here 300 ms before the host does.
func hashNamedFirst(_ context.Context, g *game) error {
	m, v, days := g.victim(true)
	end := after(float64(days))
	before := m.fork().at(end)[v.pubkey]
	for _, names := range []bool{true, false} {
		f := m.fork()
		f.anonymous = !names
		thief := f.addHost("thief", nature{Up: 1}, genesis, end)
		f.present(thief)
		r := stream(g.Seed, "thief")
		for _, e := range m.entries {
			if e.Event.Kind != mostro.KindDevFee || e.Event.PubKey != v.pubkey {
				continue
			}
			fee, err := mostro.ParseDevFee(e.Event)
			if err != nil {
				return err
			}
			x := thief.newDeal(r, e.Event.CreatedAt.Time().Add(-3*time.Hour))
			f.order(thief, x, mostro.StatusPending, x.made)
			f.order(thief, x, mostro.StatusSuccess, e.Event.CreatedAt.Time().Add(-time.Minute))
			stolen := mostro.DevFee{Pubkey: thief.pubkey, OrderID: x.id, AmountSats: fee.AmountSats, Hash: fee.Hash, Destination: "x", Network: "mainnet"}
			f.putAt(stolen.Event(), e.Event.CreatedAt.Time(), e.ReceivedAt.Add(-300*time.Millisecond), mostro.OriginClient)
		}
		now := f.at(end)
		lost, gained := float64(before.Rank-now[v.pubkey].Rank), float64(now[thief.pubkey].Evidence.DevFeeSats.Costed)
		if names {
			g.measure("the fund's list names the payer: points that the victim loses", lost, exactly(0), nil)
			g.measure("the fund's list names the payer: sats of fees that the thief is credited with", gained, exactly(0), nil)
		} else {
			g.measure("the fund's list names no payer: points that the victim loses", lost, note, nil)
		}
	}
	return nil
}

// oneSecond plays an old daemon that publishes an order and its taking within one
// second.
func oneSecond(_ context.Context, g *game) error {
	m, v, days := g.victim(false)
	end := after(float64(days))
	before := m.fork().at(end)[v.pubkey]
	f := m.fork()
	r := stream(g.Seed, "one second")
	for i := range 30 {
		x := v.newDeal(r, after(float64(days)-8).Add(time.Duration(i)*7*day/30))
		f.order(v, x, mostro.StatusPending, x.made)
		f.order(v, x, mostro.StatusInProgress, x.made)
		f.order(v, x, mostro.StatusCanceled, x.made.Add(2*time.Minute))
	}
	s := f.at(end)[v.pubkey]
	g.measure("equivocations proven of 30 orders created and taken in one second", float64(len(s.Evidence.Equivocations)), exactly(0), nil)
	g.measure("points lost", float64(before.Rank-s.Rank), most(0), nil)
	return nil
}

// largeOffer plays a stranger that offers one order of a million sats. In the second
// case the stranger also takes the order with another key.
func largeOffer(_ context.Context, g *game) error {
	m, v, days := g.victim(true)
	end := after(float64(days))
	alarms := []string{score.FlagOrderSize, score.FlagOpenVolume, score.FlagExposure}
	before := flagged(m.fork().at(end)[v.pubkey], alarms...)
	for _, taken := range []bool{false, true} {
		f := m.fork()
		x := v.newDeal(stream(g.Seed, "large"), end.Add(-time.Hour))
		x.sats = 1_000_000
		f.order(v, x, mostro.StatusPending, x.made)
		name := "flags raised by an order that nobody took"
		if taken {
			f.order(v, x, mostro.StatusInProgress, end.Add(-20*time.Minute))
			name = "flags raised by an order that was taken and not paid yet"
		}
		g.measure(name, math.Max(0, flagged(f.at(end)[v.pubkey], alarms...)-before), exactly(0), nil)
	}
	return nil
}

// clockOff plays an honest host whose clock is wrong by eleven minutes.
func clockOff(_ context.Context, g *game) error {
	m, v, days := g.victim(false)
	end := after(float64(days))
	for _, off := range []time.Duration{-11 * time.Minute, 11 * time.Minute} {
		f, name := m.fork(), "behind"
		if off > 0 {
			name = "ahead"
		}
		for i := range f.entries {
			if e := &f.entries[i]; e.Event.PubKey == v.pubkey {
				c := *e.Event
				c.CreatedAt += nostr.Timestamp(off / time.Second)
				c.ID = c.GetID()
				e.Event = &c
			}
		}
		s := f.at(end)[v.pubkey]
		said := 0.0
		if s.Unranked == score.UnrankedClock && flagged(s, score.FlagClock) == 1 {
			said = 1
		}
		g.measure("the reason of having no rank is said, eleven minutes "+name, said, exactly(1), nil)
	}
	return nil
}

// ownOutage plays an outage of this relay of three days. After the outage the relay
// fetches the missed events.
func ownOutage(_ context.Context, g *game) error {
	m, _, days := g.victim(false)
	end := after(float64(days))
	before := m.fork().at(end)
	f := m.fork()
	from, to := after(float64(days-37)), after(float64(days-34))
	for i := range f.entries {
		if e := &f.entries[i]; e.ReceivedAt.After(from) && e.ReceivedAt.Before(to) {
			e.ReceivedAt, e.Source = to.Add(time.Second), mostro.Source{Origin: mostro.OriginBackfill, Relay: "wss://upstream.example"}
		}
	}
	now := f.at(end)
	open, was, late, failed, alarms, drop := 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
	for _, h := range m.hosts {
		a, b := before[h.pubkey], now[h.pubkey]
		was, open = was+float64(a.Evidence.OpenSats.Witnessed), open+float64(b.Evidence.OpenSats.Witnessed)
		late += float64(b.Evidence.EndedLate.Witnessed)
		failed = math.Max(failed, float64(b.Evidence.Omitted.Witnessed-a.Evidence.Omitted.Witnessed))
		alarms += math.Max(0, flagged(b, score.FlagOpenVolume)-flagged(a, score.FlagOpenVolume))
		drop += float64(a.Rank-b.Rank) / float64(len(m.hosts))
	}
	g.measure("sats that are open a month later because of it", open-was, most(0), nil)
	g.measure("orders closed as ended late", late, least(1), nil)
	g.measure("orders said to have never ended because of it, worst host", failed, most(0), nil)
	g.measure("alarms about open volume because of it", alarms, exactly(0), nil)
	g.measure("points lost, mean", drop, note, nil)
	return nil
}
