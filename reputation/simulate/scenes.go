package simulate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/reputation"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
)

// honest is row 7. It checks that the 90 percent interval contains the true value in
// nine of ten cases. The true value is the value of the host's nature; volume and
// longevity are facts.
//
// One market of 80 hosts determines the share only to about 0.03, so five markets are
// played.
func honest(_ context.Context, g *game) error {
	n, days := g.size()
	markets := 1
	if !g.Small {
		n, markets = 2*n, 5
	}
	end := after(float64(days))
	covered, below, width, all := 0.0, 0.0, 0.0, float64(n*markets)
	own, others := 0.0, map[string]float64{}
	for i := range markets {
		m := newMarket(g.Seed*1000+uint64(i), true)
		hosts := m.crowd(n, days, anyQuality)
		v := look(m.ledger(end), end)
		p := m.params()
		for _, h := range hosts {
			s := v.score[h.pubkey]
			truth := p.Value(h.truth(p, s))
			if s.Lo <= truth && truth <= s.Hi {
				covered++
			} else if truth < s.Lo {
				below++
			}
			width += (s.Hi - s.Lo).Float()
		}
		r, rs := v.compare(rho(hosts))
		own += r / float64(markets)
		for name, x := range rs {
			others[name] = round(others[name] + x/float64(markets))
		}
	}
	g.measure("share of truths within the interval", covered/all, between(.87, .93), nil)
	g.measure("share of truths below it", below/all, note, nil)
	g.measure("mean width, points", width/all, note, nil)
	g.measure("rho", own, note, others)
	return nil
}

// truth returns the sub-scores that result from the host's nature.
func (h *host) truth(p score.Params, s score.Score) (m [6]score.Micro) {
	micro := func(x float64) score.Micro { return score.Micro(math.Round(x * 1e6)) }
	m[score.SubUsers] = micro(h.Users)
	m[score.SubCompletion] = micro(h.Complete)
	m[score.SubDisputes] = (p.Peace(micro(1-h.Dispute)) + micro(h.Resolve)) / 2
	m[score.SubVolume] = s.Sub[score.SubVolume].Mean
	m[score.SubLiveness] = micro(h.Up)
	m[score.SubLongevity] = s.Sub[score.SubLongevity].Mean
	return m
}

// newcomer is row 8. It plays good new hosts with one trade a day, and compares their
// ranks after 30 days and after a year.
func newcomer(_ context.Context, g *game) error {
	n, _ := g.size()
	days := 365
	if g.Small {
		days = 60
	}
	m := newMarket(g.Seed, true)
	m.crowd(n/4, days, anyQuality)
	var fresh []*host
	for i := range 10 {
		r := stream(g.Seed, fmt.Sprint("newcomer ", i))
		x := drawNature(r, .75+.25*r.Float64())
		x.PerDay = 0
		h := m.addHost(fmt.Sprint("newcomer ", i), x, genesis, after(float64(days)))
		m.present(h)
		for d := range days {
			m.trade(h, h.newDeal(h.random, after(float64(d)+.6*h.random.Float64())), h.random)
		}
		fresh = append(fresh, h)
	}
	l := score.NewLedger(m.params(), score.Receipts{})
	next := m.feed(l, 0, after(30))
	young := look(l, after(30))
	m.feed(l, next, after(float64(days)))
	old := look(l, after(float64(days)))
	gap := func(name string) (worst, mean float64) {
		for _, h := range fresh {
			d := math.Abs(old.by(name)(h.pubkey) - young.by(name)(h.pubkey))
			worst, mean = math.Max(worst, d), mean+d/float64(len(fresh))
		}
		return worst, mean
	}
	others, ranks := map[string]float64{}, 0.0
	for _, name := range comparators {
		_, others[name] = gap(name)
		others[name] = round(others[name])
	}
	for _, h := range fresh {
		ranks += old.by("rank")(h.pubkey) / float64(len(fresh))
	}
	worst, mean := gap("rank")
	g.measure("points below its rank of a year later, mean of ten", mean, most(15), others)
	g.measure("points below its rank of a year later, worst of ten", worst, note, nil)
	g.measure("rank of a year later, mean", ranks, note, nil)
	return nil
}

// badInput is row 11. Each event of this scenario must not count, for a different
// reason.
func badInput(_ context.Context, g *game) error {
	m := newMarket(g.Seed, true)
	hosts := m.crowd(4, 40, anyQuality)
	h, r, end := hosts[0], stream(g.Seed, "bad input"), after(40)
	clean := look(m.ledger(end), end).score[h.pubkey]
	when := end.Add(-2 * time.Hour)
	m.sorted = false
	good := func() nostr.Event {
		d := h.newDeal(r, when.Add(-5*time.Hour))
		return *m.rate(h, d, receipt.RoleBuyer, nobody(r), 1, when, r)
	}
	retag := func(evt nostr.Event, name string, values ...string) nostr.Event {
		evt.Tags = slices.Clone(evt.Tags)
		for i, tag := range evt.Tags {
			if tag[0] == name {
				evt.Tags[i] = append(nostr.Tag{name}, values...)
			}
		}
		return evt
	}
	bad := map[string]func(nostr.Event) nostr.Event{
		"NaN":        func(e nostr.Event) nostr.Event { return retag(e, "rating", "NaN") },
		"1e9":        func(e nostr.Event) nostr.Event { return retag(e, "rating", "1e9") },
		"1000000000": func(e nostr.Event) nostr.Event { return retag(e, "rating", "1000000000") },
		"negative":   func(e nostr.Event) nostr.Event { return retag(e, "rating", "-0.5") },
		"duplicate p": func(e nostr.Event) nostr.Event {
			e.Tags = append(slices.Clone(e.Tags), nostr.Tag{"p", hosts[1].pubkey})
			return e
		},
		"two ratings": func(e nostr.Event) nostr.Event {
			e.Tags = append(slices.Clone(e.Tags), nostr.Tag{"rating", "0"})
			return e
		},
		"wrong alias":    func(e nostr.Event) nostr.Event { return retag(e, "d", "other:"+nobody(r)[:20]) },
		"another order":  func(e nostr.Event) nostr.Event { return retag(e, "a", "38383:"+h.pubkey+":other") },
		"forged receipt": func(e nostr.Event) nostr.Event { e.PubKey = nobody(r); return e },
		"no receipt":     func(e nostr.Event) nostr.Event { return retag(e, "receipt") },
		"of itself":      func(e nostr.Event) nostr.Event { e.PubKey = h.pubkey; return e },
		"foreign 31986": func(nostr.Event) nostr.Event {
			return nostr.Event{Kind: 31986, PubKey: nobody(r), Tags: nostr.Tags{{"d", "film"}, {"p", h.pubkey}, {"rating", "5"}}}
		},
		"foreign 38384": func(nostr.Event) nostr.Event {
			return nostr.Event{Kind: 38384, PubKey: h.pubkey, Tags: nostr.Tags{{"d", "x"}, {"z", "compute"}}}
		},
		"foreign 38385": func(nostr.Event) nostr.Event {
			return nostr.Event{Kind: 38385, PubKey: nobody(r), Tags: nostr.Tags{{"d", "x"}, {"y", "paygress"}}}
		},
		"foreign 38386": func(nostr.Event) nostr.Event {
			return nostr.Event{Kind: 38386, PubKey: h.pubkey, Tags: nostr.Tags{{"d", "x"}, {"y", "bondtrade"}}}
		},
		"info of another": func(nostr.Event) nostr.Event {
			return nostr.Event{Kind: 38385, PubKey: nobody(r), Tags: nostr.Tags{{"d", h.pubkey}, {"y", "mostro"}, {"z", "info"}, {"mostro_version", "9"}}}
		},
		"fee without order": func(nostr.Event) nostr.Event {
			return nostr.Event{Kind: 8383, PubKey: h.pubkey, Tags: nostr.Tags{{"amount", "99999999"}, {"hash", nobody(r)}, {"y", "mostro"}, {"z", "dev-fee-payment"}}}
		},
	}
	names := make([]string, 0, len(bad))
	for name := range bad {
		names = append(names, name)
	}
	slices.Sort(names)
	ids := map[string]string{}
	for _, name := range names {
		e := bad[name](good())
		m.entries = m.entries[:len(m.entries)-1] // removes the valid rating that the bad event was derived from
		e.Sig = ""
		ids[m.putAt(e, when, when.Add(time.Second), mostro.OriginClient).ID] = name
	}
	l := m.ledger(end)
	dirty := look(l, end).score[h.pubkey]
	explained := map[string]string{}
	for _, x := range l.Refused() {
		explained[x.EventID] = x.Reason
	}
	for _, x := range l.Ratings(h.pubkey, dirty.Mu, end.Unix()) {
		if x.Weight == 0 && x.Reason != "" {
			explained[x.EventID] = x.Reason
		}
	}
	unexplained := 0.0
	for evt, name := range ids {
		if explained[evt] == "" {
			unexplained++
			g.measure("without a reason: "+name, 1, exactly(0), nil)
		}
	}
	g.measure("bad events", float64(len(ids)), note, nil)
	g.measure("bad events without a reason in the audit", unexplained, exactly(0), nil)
	g.measure("points moved", math.Abs((dirty.Value-clean.Value).Float())+math.Abs((dirty.Lo-clean.Lo).Float()), exactly(0), nil)
	return nil
}

// freeBadMouthing is row 12. A stranger publishes a thousand orders at a good host,
// cancels each of them, and rates each with one star. The receipt is the host's own
// signed message that the order was cancelled.
func freeBadMouthing(ctx context.Context, g *game) error {
	n, days := g.size()
	end := after(float64(days))
	m := newMarket(g.Seed, true)
	hosts := m.crowd(n/4, days, func(i int, r *rand.Rand) float64 {
		if i == 0 {
			return .9
		}
		return r.Float64()
	})
	h := hosts[0]
	clean := look(m.ledger(end), end)
	r := stream(g.Seed, "stranger")
	count := 1000
	if g.Small {
		count = 100
	}
	for i := range count {
		d := h.newDeal(r, after(float64(days)-1).Add(time.Duration(i)*50*time.Second))
		m.order(h, d, mostro.StatusPending, d.made)
		m.order(h, d, mostro.StatusCanceled, d.made.Add(5*time.Minute))
		trade := keysOf(g.Seed, fmt.Sprint("stranger's trade ", i))
		orderID, err := message.ParseUUID(d.id)
		if err != nil {
			return err
		}
		evt, err := envelope.Seal(ctx, message.Message{Wrapper: message.WrapperOrder, Action: message.ActionCanceled, ID: &orderID},
			envelope.SealOptions{Transport: envelope.TransportV2, To: trade.Pubkey(), Trade: h.keys, Unsigned: true, Now: d.made.Add(5 * time.Minute), Rand: source{r}})
		if err != nil {
			return err
		}
		receipt, err := receipt.Disclose(evt, trade, source{r})
		if err != nil {
			return err
		}
		m.rateWith(h, d.id, trade.Pubkey(), .2, d.made.Add(6*time.Minute), receipt)
	}
	l := m.ledger(end)
	dirty := look(l, end)
	proven := 0.0
	for _, x := range l.Ratings(h.pubkey, dirty.score[h.pubkey].Mu, end.Unix()) {
		if x.Proof == "R0" {
			proven++
		}
	}
	g.measure("ratings with a valid receipt of a cancellation", proven, exactly(float64(count)), nil)
	others := map[string]float64{}
	for _, name := range comparators {
		others[name] = round(math.Abs(dirty.by(name)(h.pubkey) - clean.by(name)(h.pubkey)))
	}
	moved := math.Abs((dirty.score[h.pubkey].Value - clean.score[h.pubkey].Value).Float())
	g.measure("points moved", moved, exactly(0), others)
	return nil
}

// omission plays two hosts that fail a third of their trades. One of the hosts does not
// publish the failures.
func omission(_ context.Context, g *game) error {
	_, days := g.size()
	m := newMarket(g.Seed, true)
	m.crowd(6, days, anyQuality)
	rank := map[bool]float64{}
	end := after(float64(days))
	for _, hides := range []bool{false, true} {
		h := m.addHost(fmt.Sprint("hides ", hides), nature{Users: .6, Complete: 1, Resolve: .7, Up: .95}, genesis, end)
		m.present(h)
		for i := range 3 * days {
			d := h.newDeal(h.random, after(float64(i)/3))
			if i%3 != 0 {
				m.trade(h, d, h.random)
				continue
			}
			m.order(h, d, mostro.StatusPending, d.made)
			m.order(h, d, mostro.StatusInProgress, d.taken)
			if !hides {
				m.order(h, d, mostro.StatusCanceled, d.ended)
			}
		}
		rank[hides] = 0
	}
	v := look(m.ledger(end), end)
	for i, hides := range []bool{false, true} {
		rank[hides] = v.score[m.hosts[6+i].pubkey].Sub[score.SubCompletion].Mean.Float()
	}
	g.measure("completion, of 1, gained by not publishing failures", rank[true]-rank[false], most(.03), nil)
	return nil
}

// exitScam plays a host of some months that accepts orders far above its usual amounts.
func exitScam(_ context.Context, g *game) error {
	_, days := g.size()
	m := newMarket(g.Seed, true)
	m.crowd(4, days, anyQuality)
	x := drawNature(stream(g.Seed, "scammer"), .9)
	x.PerDay = 3
	h := m.addHost("scammer", x, genesis, after(float64(days)))
	m.present(h)
	m.trades(h)
	r := stream(g.Seed, "exit")
	when := after(float64(days) - .2)
	before := look(m.ledger(when), when).score[h.pubkey]
	for range 20 {
		d := h.newDeal(r, when.Add(time.Minute))
		d.sats = 1_000_000
		m.order(h, d, mostro.StatusPending, d.made)
		m.order(h, d, mostro.StatusInProgress, d.made.Add(time.Minute))
	}
	at := when.Add(time.Hour)
	s := look(m.ledger(at), at).score[h.pubkey]
	has := func(s score.Score, name string) float64 {
		for _, f := range s.Flags {
			if f.Name == name {
				return 1
			}
		}
		return 0
	}
	g.measure("alarm about an order's size before", has(before, score.FlagOrderSize), exactly(0), nil)
	g.measure("alarm about open volume before", has(before, score.FlagOpenVolume), exactly(0), nil)
	g.measure("alarm about an order's size", has(s, score.FlagOrderSize), exactly(1), nil)
	g.measure("alarm about open volume", has(s, score.FlagOpenVolume), exactly(1), nil)
	g.measure("open is beyond exposure", has(s, score.FlagExposure), exactly(1), nil)
	return nil
}

// overIssue plays a bad host that issues a large number of receipts. If the check
// reduced the weight of all ratings, the receipts would dilute the real ratings.
func overIssue(_ context.Context, g *game) error {
	_, days := g.size()
	end := after(float64(days))
	play := func(attack bool) score.Score {
		m := newMarket(g.Seed, true)
		m.crowd(8, days, anyQuality)
		x := drawNature(stream(g.Seed, "issuer"), .1)
		x.PerDay = 2
		h := m.addHost("issuer", x, genesis, end)
		m.present(h)
		m.trades(h)
		if r := stream(g.Seed, "issues"); attack {
			for range 5000 {
				d := h.newDeal(r, genesis.Add(time.Duration(r.Int64N(int64(time.Duration(days-1)*day)))))
				m.rate(h, d, receipt.RoleBuyer, nobody(r), .8, d.ended.Add(time.Minute), r)
			}
		}
		return look(m.ledger(end), end).score[h.pubkey]
	}
	clean, dirty := play(false), play(true)
	g.measure("points moved by 5,000 receipts too many", float64(dirty.Rank-clean.Rank), most(3), nil)
	flagged := 0.0
	for _, f := range dirty.Flags {
		if f.Name == score.FlagOverIssue {
			flagged = 1
		}
	}
	g.measure("flagged", flagged, exactly(1), nil)
	return nil
}

// equivocation is row 6. It runs the real service on a real clock. A host signs two
// versions of one order for the same second and sends each to a different relay.
func equivocation(ctx context.Context, g *game) error {
	m := newMarket(g.Seed, false)
	h := m.addHost("liar", nature{Up: 1}, genesis, after(1))
	now := time.Now().UTC().Truncate(time.Second)
	d := h.newDeal(h.random, now)
	info := mostro.Info{Pubkey: h.pubkey, Name: "liar", Version: "0.18.5", ProtocolVersion: 2}
	var entries []mostro.Entry
	add := func(evt nostr.Event, relay string) *nostr.Event {
		evt.CreatedAt = nostr.Timestamp(now.Unix())
		evt.ID = evt.GetID()
		entries = append(entries, mostro.Entry{Seq: uint64(len(entries) + 1), Event: &evt, ReceivedAt: now, Source: mostro.Source{Origin: mostro.OriginLive, Relay: relay}})
		return &evt
	}
	order := func(status mostro.Status) nostr.Event {
		o := mostro.Order{Pubkey: h.pubkey, D: d.id, Side: d.side, Status: status, Fiat: "VES", AmountSats: &d.sats, Network: "mainnet", ExpiresAt: nostr.Timestamp(now.Add(day).Unix())}
		return o.Event()
	}
	add(info.Event(), "wss://one.example")
	first := add(order(mostro.StatusSuccess), "wss://one.example")
	second := add(order(mostro.StatusCanceled), "wss://two.example")
	stage := &stage{entries: entries[:2], pair: [2]*nostr.Event{first, second}, moved: make(chan struct{}), proof: make(chan *nostr.Event, 8)}
	s, err := reputation.Open(reputation.Config{Log: stage, Pairs: stage, Publisher: stage, Signer: unsigned(keysOf(g.Seed, "provider").Pubkey())})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 70*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	stage.show(entries)
	shown := time.Now()
	var proof *nostr.Event
	select {
	case proof = <-stage.proof:
	case <-ctx.Done():
	}
	seconds, both := time.Since(shown).Seconds(), 0.0
	if proof != nil {
		both = containsBoth(proof, first, second)
	}
	g.measure("signed events in the published proof", both, exactly(2), nil)
	g.measure("seconds to the proof", seconds, most(60), nil)
	return nil
}

func containsBoth(proof, first, second *nostr.Event) (n float64) {
	var list []*nostr.Event
	if err := decode(proof.Content, &list); err != nil {
		return 0
	}
	for _, e := range list {
		if e.ID == first.ID || e.ID == second.ID {
			n++
		}
	}
	return n
}

// stage is the log and the relay of the one service that runs for real.
type stage struct {
	mu      sync.Mutex
	entries []mostro.Entry
	moved   chan struct{}
	pair    [2]*nostr.Event
	proof   chan *nostr.Event // buffered for all proofs of one run; if it is full, Publish returns an error
}

func (s *stage) show(entries []mostro.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = entries
	close(s.moved)
	s.moved = make(chan struct{})
}

func (s *stage) Head() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(len(s.entries))
}

func (s *stage) Read(_ context.Context, after uint64, fn func(mostro.Entry) error) error {
	s.mu.Lock()
	list := s.entries[min(after, uint64(len(s.entries))):]
	s.mu.Unlock()
	for _, e := range list {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) Wait(ctx context.Context, seq uint64) error {
	s.mu.Lock()
	moved, there := s.moved, uint64(len(s.entries)) > seq
	s.mu.Unlock()
	if there {
		return nil
	}
	select {
	case <-moved:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stage) Equivocations(_ context.Context, fn func(first, second *nostr.Event) error) error {
	return fn(s.pair[0], s.pair[1])
}

func (s *stage) Publish(_ context.Context, evt *nostr.Event) error {
	if evt.Kind != reputation.KindAddressAssertion {
		return nil
	}
	select {
	case s.proof <- evt:
		return nil
	default:
		return errors.New("more proofs than lies")
	}
}

// unsigned is a signer that sets the id and no signature.
type unsigned string

func (u unsigned) Pubkey() string { return string(u) }
func (u unsigned) Sign(evt *nostr.Event) error {
	evt.PubKey = string(u)
	evt.ID = evt.GetID()
	return nil
}
