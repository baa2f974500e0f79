// Package simulate plays markets of honest and cheating Mostros against the score, from
// events to ranks, and compares the score with three other rating methods.
//
// Every host, user and attack has a random stream of its own, so a market with an
// attack differs from the market without it only by the attack. Events have valid ids
// but no signatures, because the relay checks signatures before reputation reads an
// event. Receipts inside ratings are signed and checked.
package simulate

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
)

const day = 24 * time.Hour

// genesis is the start of every market.
var genesis = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// nature is the true behaviour of a host, which the score estimates.
type nature struct {
	Quality  float64 // 0 to 1; the other fields are derived from Quality with noise
	Users    float64 // mean rating, 0 to 1
	Complete float64 // probability that a taken order succeeds
	Dispute  float64 // probability that a taken order is disputed
	Resolve  float64 // probability that a dispute is resolved in time
	Up       float64 // probability that the host is online
	PerDay   float64 // mean number of taken orders per day
}

// drawNature draws the nature of a host. The constants were not tuned to results of the
// simulation.
func drawNature(r *rand.Rand, quality float64) nature {
	near := func(mid, sd, lo, hi float64) float64 { return math.Max(lo, math.Min(hi, mid+sd*r.NormFloat64())) }
	return nature{
		Quality:  quality,
		Users:    near(.35+.6*quality, .04, .2, .99),
		Complete: near(.70+.27*quality, .02, .5, .995),
		Dispute:  near(.08*(1-quality)+.004, .004, .001, .12),
		Resolve:  near(.50+.47*quality, .03, .2, .99),
		Up:       near(.75+.24*quality, .02, .5, .999),
		PerDay:   math.Exp(math.Log(1.5) + .7*r.NormFloat64()),
	}
}

// host is a Mostro of the market.
type host struct {
	nature
	keys      *envelope.Keys
	pubkey    string
	lightning string
	from, to  time.Time // start and end of the host's life
	random    *rand.Rand
	fees      int64 // sats really paid to the development fund
	orders    int
	methods   []string
	fiat      string
}

// market is a log of events that is being generated.
type market struct {
	seed    uint64
	hosts   []*host
	entries []mostro.Entry
	fund    *envelope.Keys // nil: no fund confirms fees
	paid    map[int64][]fundRow
	sorted  bool

	anonymous bool // if set, the fund's lists do not name the payer
	silent    bool // if set, users do not rate, as today
}

// fundRow is a payment that the fund received.
type fundRow struct {
	hash string
	sats int64
	node string
}

// stream returns a random generator for a name. The same seed and name produce the same
// numbers.
func stream(seed uint64, name string) *rand.Rand {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(name), seed))
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])))
}

func keysOf(seed uint64, name string) *envelope.Keys {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("key "+name), seed))
	keys, err := envelope.KeysFromSecret(sum)
	if err != nil {
		panic(err) // probability 2^-128
	}
	return keys
}

// nobody returns a random public key for a user that does not sign.
func nobody(r *rand.Rand) string {
	var b [32]byte
	for i := range 4 {
		binary.BigEndian.PutUint64(b[8*i:], r.Uint64())
	}
	return hex.EncodeToString(b[:])
}

func newMarket(seed uint64, funded bool) *market {
	m := &market{seed: seed, paid: map[int64][]fundRow{}}
	if funded {
		m.fund = keysOf(seed, "fund")
	}
	return m
}

// params returns the default parameters, with the market's fund if it has one.
func (m *market) params() score.Params {
	p := score.DefaultParams()
	if m.fund != nil {
		p.Funds = []string{m.fund.Pubkey()}
	}
	return p
}

var methodPool = []string{"Pago Móvil", "Transferencia", "Zelle", "SEPA", "Bizum", "PIX", "Mercado Pago", "Efectivo", "Revolut", "Nequi"}

func (m *market) addHost(name string, n nature, from, to time.Time) *host {
	r := stream(m.seed, "host "+name)
	h := &host{nature: n, keys: keysOf(m.seed, name), lightning: "02" + nobody(r), from: from, to: to, random: r, fiat: []string{"VES", "EUR", "ARS", "USD"}[r.IntN(4)]}
	h.pubkey = h.keys.Pubkey()
	for _, i := range r.Perm(len(methodPool))[:3+r.IntN(3)] {
		h.methods = append(h.methods, methodPool[i])
	}
	m.hosts = append(m.hosts, h)
	return h
}

// put appends an event that is received live, 400 ms after its creation.
func (m *market) put(evt nostr.Event, when time.Time) *nostr.Event {
	return m.putAt(evt, when, when.Add(400*time.Millisecond), mostro.OriginLive)
}

func (m *market) putAt(evt nostr.Event, made, received time.Time, origin mostro.Origin) *nostr.Event {
	evt.CreatedAt = nostr.Timestamp(made.Unix())
	if evt.Tags == nil {
		evt.Tags = nostr.Tags{}
	}
	evt.ID = evt.GetID()
	m.entries = append(m.entries, mostro.Entry{Event: &evt, ReceivedAt: received.UTC(), Source: mostro.Source{Origin: origin}})
	m.sorted = false
	return &evt
}

// present publishes the host's infos: one every four hours, if the host is online.
func (m *market) present(h *host) {
	for t := h.from; t.Before(h.to); t = t.Add(4 * time.Hour) {
		if h.random.Float64() < h.Up {
			info := mostro.Info{Pubkey: h.pubkey, Name: "host " + h.pubkey[:6], Version: "0.18.5", ProtocolVersion: 2, LND: &mostro.LightningNode{Pubkey: h.lightning}}
			m.put(info.Event(), t.Add(time.Duration(h.random.IntN(120))*time.Second))
		}
	}
}

// deal is one order of a host.
type deal struct {
	id    string
	sats  int64
	side  mostro.Side
	made  time.Time
	taken time.Time
	ended time.Time
}

func (h *host) newDeal(r *rand.Rand, when time.Time) deal {
	h.orders++
	sats := int64(math.Exp(math.Log(2000) + r.Float64()*math.Log(50))) // 2,000 to 100,000, uniform in the logarithm
	d := deal{id: uuid(r), sats: sats, side: mostro.SideSell, made: when}
	if r.IntN(2) == 0 {
		d.side = mostro.SideBuy
	}
	d.taken = when.Add(time.Duration(120+r.IntN(7200)) * time.Second)
	d.ended = d.taken.Add(time.Duration(600+r.IntN(5400)) * time.Second)
	return d
}

func uuid(r *rand.Rand) string {
	s := nobody(r)
	return s[:8] + "-" + s[8:12] + "-4" + s[13:16] + "-8" + s[17:20] + "-" + s[20:32]
}

func (m *market) order(h *host, d deal, status mostro.Status, when time.Time) {
	o := mostro.Order{Pubkey: h.pubkey, D: d.id, Side: d.side, Status: status, Fiat: h.fiat, AmountSats: &d.sats, Network: "mainnet",
		Methods: []string{h.methods[int(d.id[0])%len(h.methods)]}, ExpiresAt: nostr.Timestamp(d.made.Add(day).Unix())}
	m.put(o.Event(), when)
}

// devFee pays the fund's share of a trade and publishes the fee event, as a daemon
// does. It returns the sats.
func (m *market) devFee(h *host, d deal, r *rand.Rand) int64 {
	return m.pay(h, d, max(1, int64(math.Round(float64(d.sats)*.006*.3))), r)
}

// pay pays the given sats to the fund for a trade. The fund knows the paying node from
// the payment's comment, as mostrod writes it.
func (m *market) pay(h *host, d deal, sats int64, r *rand.Rand) int64 {
	hash := nobody(r)
	fee := mostro.DevFee{Pubkey: h.pubkey, OrderID: d.id, AmountSats: sats, Hash: hash, Destination: "dev@fund.example", Network: "mainnet"}
	when := d.ended.Add(time.Duration(5+r.IntN(120)) * time.Second)
	m.put(fee.Event(), when)
	m.paid[int64(when.Sub(genesis)/day)] = append(m.paid[int64(when.Sub(genesis)/day)], fundRow{hash, sats, h.pubkey})
	h.fees += sats
	return sats
}

// lists publishes the fund's lists of received payments, each one day later.
func (m *market) lists() {
	if m.fund == nil {
		return
	}
	for d, paid := range m.paid {
		for part := 0; len(paid) > 0; part++ {
			n := min(500, len(paid))
			evt := nostr.Event{PubKey: m.fund.Pubkey(), Kind: mostro.KindAppData, Tags: nostr.Tags{{"d", fmt.Sprintf("%s%d-%d", score.FundListD, d, part)}}}
			for _, p := range paid[:n] {
				tag := nostr.Tag{"paid", p.hash, fmt.Sprint(p.sats), p.node}
				if m.anonymous {
					tag = tag[:3]
				}
				evt.Tags = append(evt.Tags, tag)
			}
			m.put(evt, genesis.Add(time.Duration(d+1)*day+time.Duration(part)*time.Second))
			paid = paid[n:]
		}
	}
	clear(m.paid)
}

// rate publishes a user's rating with the host's signed receipt.
func (m *market) rate(h *host, d deal, role, rater string, rating float64, when time.Time, r *rand.Rand) *nostr.Event {
	receipt, err := receipt.Statement{Node: h.pubkey, Rater: rater, Order: d.id, Role: role, BandSats: receipt.AmountBand(d.sats), Day: receipt.SettleDay(d.ended)}.Sign(h.keys, source{r})
	if err != nil {
		panic(err) // not possible, because every field was made here
	}
	return m.rateWith(h, d.id, rater, rating, when, receipt)
}

func (m *market) rateWith(h *host, orderID, rater string, rating float64, when time.Time, receipt []string) *nostr.Event {
	score, err := mostro.ParseDecimal(fmt.Sprintf("%.2f", rating))
	if err != nil {
		panic(err)
	}
	rt := mostro.HostRating{Pubkey: rater, D: "mostro:" + orderID, Platform: mostro.PlatformMostro, Host: h.pubkey, Rating: score, Receipt: receipt, Order: "38383:" + h.pubkey + ":" + orderID}
	return m.putAt(rt.Event(), when, when.Add(time.Second), mostro.OriginClient)
}

// source is a seeded source of randomness for signatures, so the same market has the
// same bytes.
type source struct{ *rand.Rand }

func (s source) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s.Uint32())
	}
	return len(b), nil
}

// stars draws a rating of one to five stars with the given mean, as a fraction of 1.
func stars(r *rand.Rand, mean float64) float64 {
	x := (mean - .2) / .8
	n := 1
	for range 4 {
		if r.Float64() < x {
			n++
		}
	}
	return float64(n) / 5
}

const rateShare = .35 // fraction of users that rate

// trades plays all trades of a host.
func (m *market) trades(h *host) {
	for t := h.from; t.Before(h.to); t = t.Add(day) {
		for range poisson(h.random, h.PerDay) {
			when := t.Add(time.Duration(h.random.IntN(86400)) * time.Second)
			if when.Before(h.to.Add(-5 * time.Hour)) {
				m.trade(h, h.newDeal(h.random, when), h.random)
			}
		}
	}
}

// trade plays one taken order with two users.
func (m *market) trade(h *host, d deal, r *rand.Rand) {
	m.order(h, d, mostro.StatusPending, d.made)
	if r.IntN(5) > 0 { // an order that is taken with an invoice has no public in-progress version
		m.order(h, d, mostro.StatusInProgress, d.taken)
	} else {
		d.side = mostro.SideSell
	}
	good := r.Float64() < h.Complete
	if r.Float64() < h.Dispute {
		m.dispute(h, d, r)
	}
	if !good {
		m.order(h, d, mostro.StatusInProgress, d.taken.Add(time.Minute))
		m.order(h, d, mostro.StatusCanceled, d.ended)
		return
	}
	m.order(h, d, mostro.StatusSuccess, d.ended)
	m.devFee(h, d, r)
	for _, role := range []string{receipt.RoleBuyer, receipt.RoleSeller} {
		if r.Float64() < rateShare && !m.silent {
			m.rate(h, d, role, nobody(r), stars(r, h.Users), d.ended.Add(time.Duration(60+r.IntN(7200))*time.Second), r)
		}
	}
}

func (m *market) dispute(h *host, d deal, r *rand.Rand) {
	q := mostro.Dispute{Pubkey: h.pubkey, D: uuid(r), Initiator: "buyer"}
	opened := d.taken.Add(time.Duration(300+r.IntN(3600)) * time.Second)
	for _, step := range []struct {
		state mostro.DisputeState
		after time.Duration
	}{{mostro.DisputeStateInitiated, 0}, {mostro.DisputeStateInProgress, time.Duration(1+r.IntN(8)) * time.Hour}, {mostro.DisputeStateSettled, time.Duration(9+r.IntN(24)) * time.Hour}} {
		if step.state == mostro.DisputeStateSettled && r.Float64() >= h.Resolve {
			step.after += 5 * day
		}
		q.State = step.state
		if when := opened.Add(step.after); when.Before(h.to) {
			m.put(q.Event(), when)
		}
	}
}

func poisson(r *rand.Rand, mean float64) (n int) {
	for limit, p := math.Exp(-mean), r.Float64(); p > limit; n++ {
		p *= r.Float64()
	}
	return n
}

// ledger returns a ledger with all entries received until the given time.
func (m *market) ledger(until time.Time) *score.Ledger {
	l := score.NewLedger(m.params(), score.Receipts{})
	m.feed(l, 0, until)
	return l
}

// feed applies the entries from an index on that were received until the given time,
// and returns the next index.
func (m *market) feed(l *score.Ledger, from int, until time.Time) int {
	if !m.sorted {
		m.lists()
		slices.SortStableFunc(m.entries, func(a, b mostro.Entry) int { return a.ReceivedAt.Compare(b.ReceivedAt) })
		for i := range m.entries {
			m.entries[i].Seq = uint64(i + 1)
		}
		m.sorted = true
	}
	to := from
	for to < len(m.entries) && !m.entries[to].ReceivedAt.After(until) {
		to++
	}
	for ; from < to; from += 4096 {
		batch := m.entries[from:min(from+4096, to)]
		for i, p := range l.PrepareAll(batch) {
			l.Commit(batch[i], p)
		}
	}
	return to
}

// crowd adds n hosts that live for the whole market, and plays them.
func (m *market) crowd(n int, days int, quality func(i int, r *rand.Rand) float64) []*host {
	var list []*host
	for i := range n {
		r := stream(m.seed, fmt.Sprint("nature ", i))
		h := m.addHost(fmt.Sprint("crowd ", i), drawNature(r, quality(i, r)), genesis, genesis.Add(time.Duration(days)*day))
		m.present(h)
		m.trades(h)
		list = append(list, h)
	}
	return list
}

func anyQuality(_ int, r *rand.Rand) float64 { return r.Float64() }
