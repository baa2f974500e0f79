package simulate

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/mostrodex/mostrodex/reputation/witness"
	"github.com/nbd-wtf/go-nostr"
)

// newRelay is a relay that starts when the market is some days old. It fetches all older
// events as history, and the signed receive logs of its witnesses.
type newRelay struct {
	m       *market
	start   time.Time
	stage   *stage
	events  map[string]*nostr.Event
	service *reputation.Service
	now     time.Time
	taken   int // entries of the market that the relay holds
	rows    map[string][]witness.Row
	stated  map[string]uint64 // statements so far, by witness
}

// testimony returns the row of a witness about an entry. ok is false if the witness does not
// state the entry.
type testimony func(e *mostro.Entry) (row witness.Row, ok bool)

func openRelay(m *market, start time.Time, witnesses map[string]testimony) (*newRelay, error) {
	r := &newRelay{m: m, start: start, stage: &stage{moved: make(chan struct{})}, events: map[string]*nostr.Event{}, rows: map[string][]witness.Row{}, stated: map[string]uint64{}}
	keys := []string{}
	for key := range witnesses {
		keys = append(keys, key)
	}
	var err error
	r.service, err = reputation.Open(reputation.Config{Log: r.stage, Params: m.params(), Witnesses: keys, Finder: r, Now: func() time.Time { return r.now }})
	return r, err
}

// Event implements reputation.Finder.
func (r *newRelay) Event(_ context.Context, id string) (*nostr.Event, error) {
	if evt := r.events[id]; evt != nil {
		return evt, nil
	}
	return nil, mostro.ErrNotFound
}

// until moves the relay to a moment: events, statements, scores.
func (r *newRelay) until(ctx context.Context, when time.Time, witnesses map[string]testimony) error {
	r.m.feed(score.NewLedger(r.m.params(), score.Receipts{}), len(r.m.entries), when) // sorts the entries
	list := r.stage.entries
	add := func(e mostro.Entry) {
		e.Seq = uint64(len(list) + 1)
		list = append(list, e)
		r.events[e.Event.ID] = e.Event
	}
	for ; r.taken < len(r.m.entries) && !r.m.entries[r.taken].ReceivedAt.After(when); r.taken++ {
		e := r.m.entries[r.taken]
		for key, say := range witnesses {
			if row, ok := say(&e); ok {
				r.rows[key] = append(r.rows[key], row)
			}
		}
		if e.ReceivedAt.Before(r.start) {
			e.ReceivedAt, e.Source = r.start, mostro.Source{Origin: mostro.OriginBackfill, Relay: "wss://old.example"}
		}
		add(e)
	}
	for key := range witnesses {
		for chunk := range slices.Chunk(r.rows[key], witness.MaxRows) {
			evt, err := witness.New(key, r.stated[key], chunk, nostr.Timestamp(when.Unix()))
			if err != nil {
				return err
			}
			r.stated[key] += uint64(len(chunk))
			evt.ID = evt.GetID()
			add(mostro.Entry{Event: &evt, ReceivedAt: when, Source: mostro.Source{Origin: mostro.OriginLive}})
		}
		r.rows[key] = nil
	}
	r.now = when
	r.stage.show(list)
	return r.service.CatchUp(ctx)
}

// own returns the rank that the relay shows by its own evidence; 0 if it shows none.
func (r *newRelay) own(pubkey string) float64 {
	if s, ok := r.service.Score(pubkey); ok && s.Unranked == "" {
		return float64(s.Rank)
	}
	return 0
}

// shown returns the rank by which the relay orders a host: its own, or else the borrowed one.
func (r *newRelay) shown(pubkey string) float64 {
	if rank := r.own(pubkey); rank > 0 {
		return rank
	}
	rank, _ := r.service.Borrowed(pubkey)
	return float64(rank)
}

func faithful(e *mostro.Entry) (witness.Row, bool) { return reputation.RowOf(e) }

// losing returns a witness that misses a share of the events.
func losing(seed uint64, name string, share float64) testimony {
	r := stream(seed, name)
	return func(e *mostro.Entry) (witness.Row, bool) {
		if r.Float64() < share {
			return witness.Row{}, false
		}
		return reputation.RowOf(e)
	}
}

// spans returns the number of hosts, the age of the market when the new relay starts, and
// the days of the measurement.
func (g *game) spans() (hosts, age int, days []int) {
	if g.Small {
		return 12, 60, []int{1, 7}
	}
	return 20, 120, []int{1, 7, 30, 120}
}

// borrowedWitness is row 23. Twenty hosts of known quality are seen by a new relay on its
// first days, without a witness, and with one honest witness that watched from the start.
func borrowedWitness(ctx context.Context, g *game) error {
	n, age, days := g.spans()
	m := newMarket(g.Seed, true)
	hosts := m.crowd(n, age+days[len(days)-1], anyQuality)
	key := keysOf(g.Seed, "witness").Pubkey()
	says := map[string]testimony{key: faithful}
	r, err := openRelay(m, after(float64(age)), says)
	if err != nil {
		return err
	}
	for _, d := range days {
		when := after(float64(age + d))
		if err := r.until(ctx, when, says); err != nil {
			return err
		}
		theirs := look(m.ledger(when), when).by("rank")
		ranks, lent, differ := 0.0, 0.0, 0.0
		for _, h := range hosts {
			if r.own(h.pubkey) > 0 {
				ranks++
			}
			if rank, ok := r.service.Borrowed(h.pubkey); ok {
				lent++
				differ = math.Max(differ, math.Abs(float64(rank)-theirs(h.pubkey)))
			}
		}
		alone, with, witnessed := rho(hosts)(r.own), rho(hosts)(r.shown), rho(hosts)(theirs)
		of := fmt.Sprintf(" on day %d", d)
		g.measure("own ranks shown"+of, ranks, note, nil)
		g.measure("borrowed ranks shown"+of, lent, note, nil)
		g.measure("rho of what is shown, without a witness"+of, alone, note, nil)
		g.measure("rho of the witness"+of, witnessed, note, nil)
		t := note
		if d == 1 {
			t = least(-.05)
		}
		g.measure("rho with the witness, less that of the witness"+of, with-witnessed, t, nil)
		g.measure("borrowed rank and the rank of the witness differ by"+of, differ, exactly(0), nil)
	}
	return nil
}

// lyingWitness is row 24. One of three witnesses lies: it vouches for the invented history of
// one host, and conceals the trades of all others that ended well.
func lyingWitness(ctx context.Context, g *game) error {
	n, age, _ := g.spans()
	m := newMarket(g.Seed, true)
	hosts := m.crowd(n, age+1, anyQuality)
	friend := hosts[0]
	for _, h := range hosts {
		if h.Quality < friend.Quality {
			friend = h
		}
	}
	invented := map[string]bool{}
	before := len(m.entries)
	r := stream(g.Seed, "invented")
	for range 400 { // dated within the whole time, published at its end
		when := genesis.Add(time.Duration(r.Float64() * float64(age-1) * float64(day)))
		d := friend.newDeal(r, when)
		for _, v := range []struct {
			status mostro.Status
			at     time.Time
		}{{mostro.StatusPending, d.made}, {mostro.StatusInProgress, d.taken}, {mostro.StatusSuccess, d.ended}} {
			o := mostro.Order{Pubkey: friend.pubkey, D: d.id, Side: d.side, Status: v.status, Fiat: friend.fiat, AmountSats: &d.sats, Network: "mainnet", Methods: friend.methods[:1], ExpiresAt: nostr.Timestamp(d.made.Add(day).Unix())}
			m.putAt(o.Event(), v.at, after(float64(age)-.01), mostro.OriginClient)
		}
	}
	for _, e := range m.entries[before:] {
		invented[e.Event.ID] = true
	}
	lie := func(e *mostro.Entry) (witness.Row, bool) {
		row, ok := reputation.RowOf(e)
		switch o, err := e.Order(); {
		case !ok:
		case invented[e.Event.ID]:
			row.ReceivedMS, row.Live = int64(e.Event.CreatedAt)*1000+400, true
		case err == nil && e.Event.PubKey != friend.pubkey && o.Status == mostro.StatusSuccess, e.Event.Kind == mostro.KindHostRating && e.Event.Tags.Find("p")[1] != friend.pubkey:
			return row, false
		}
		return row, ok
	}
	key := func(name string) string { return keysOf(g.Seed, name).Pubkey() }
	play := func(third testimony) (*newRelay, error) {
		says := map[string]testimony{key("a"): losing(g.Seed, "a", .01), key("b"): losing(g.Seed, "b", .01), key("c"): third}
		relay, err := openRelay(m, after(float64(age)), says)
		if err != nil {
			return nil, err
		}
		return relay, relay.until(ctx, after(float64(age+1)), says)
	}
	truth, err := play(losing(g.Seed, "c", .01))
	if err != nil {
		return err
	}
	lied, err := play(lie)
	if err != nil {
		return err
	}
	most2, believed, all := 0.0, 0.0, 0.0
	for _, h := range hosts {
		x, ok := truth.service.Borrowed(h.pubkey)
		y, ok2 := lied.service.Borrowed(h.pubkey)
		if !ok || !ok2 {
			continue
		}
		all++
		most2 = math.Max(most2, math.Abs(float64(x-y)))
		for _, s := range lied.service.SeenBy(h.pubkey) {
			if s.Witness == key("c") {
				believed = math.Max(believed, math.Abs(float64(s.Score.Rank-x)))
			}
		}
	}
	g.measure("hosts with a borrowed rank", all/float64(n), exactly(1), nil)
	g.measure("points that the lie moves a host, worst", most2, most(2), nil)
	g.measure("points that the column of the liar is off, worst", believed, least(10), nil)
	g.measure("rho with the liar", rho(hosts)(lied.shown), note, nil)
	return nil
}
