// Package demomarket writes the script of an invented market for mostrodex demo: five Mostros of
// different quality, two other platforms, forty traders and a development fund. A script is a
// sequence of events in the order of time, not signed yet, each with the keys of its author. The
// same Config gives the same script.
//
// The package does no I/O and reads no clock. cmd/mostrodex signs the events, and publishes each
// at its moment on the demo's clock.
package demomarket

import (
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/nbd-wtf/go-nostr"
)

// Config describes a script.
type Config struct {
	Seed  uint64    // the keys and names depend on the seed alone
	Run   uint64    // distinguishes several scripts of the same keys; 0: the one with the past
	Start time.Time // first moment of the script
	// Newcomer is the moment at which the newcomer opens.
	Newcomer time.Time
	// Exit is the moment from which the scammer offers orders that are far too large.
	Exit time.Time
	// Prices are the prices of one bitcoin by currency at the moment Level. Before and after it
	// prices move around them.
	Prices map[string]float64
	Level  time.Time
	// Relay is the address that the Mostros name as their relay; "" names none.
	Relay string
}

// Step is one event of a script.
type Step struct {
	At     time.Time // moment of publication; CreatedAt is its second
	Event  nostr.Event
	Author *envelope.Keys
}

// Market is a script that is being written. It has no end. A Market must not be used by two
// goroutines at the same time.
type Market struct {
	cfg       Config
	agenda    agenda
	planned   uint64
	ready     []Step // events of the act under way
	hosts     []*host
	platforms []*platform
	traders   []*trader
	fund      *envelope.Keys
	paid      []payment // since the fund's last list
	arrivals  float64   // factor of the number of orders
	steps     float64   // factor of the speed of a trade
	pulse     time.Duration
}

// The script without a hurry: every host states its health once an hour.
const slowPulse = time.Hour

// New returns the script of cfg.
func New(cfg Config) *Market {
	cfg.Start = cfg.Start.UTC().Truncate(time.Second)
	m := &Market{cfg: cfg, arrivals: 1, steps: 1, pulse: slowPulse, fund: keysOf(cfg.Seed, "fund")}
	for i := range traderCount {
		m.traders = append(m.traders, newTrader(m.stream(fmt.Sprint("trader ", i)), i, cfg.Start))
	}
	for _, n := range natures {
		m.addHost(n)
	}
	m.addPlatforms()
	if cfg.Run == 0 {
		m.planStanding()
	}
	midnight := cfg.Start.Truncate(day).Add(day)
	m.plan(midnight.Add(10*time.Minute), m.publishFundList)
	return m
}

const day = 24 * time.Hour

func keysOf(seed uint64, name string) *envelope.Keys {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("mostrodex demo key "+name), seed))
	keys, err := envelope.KeysFromSecret(sum)
	if err != nil {
		panic(err) // probability 2^-128
	}
	return keys
}

// stream returns a random generator for a name. The same seed, run and name produce the same
// numbers.
func (m *Market) stream(name string) *rand.Rand {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte("mostrodex demo "+name), m.cfg.Seed), m.cfg.Run))
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])))
}

// act is a planned action of a member of the market.
type act struct {
	at time.Time
	n  uint64 // of two actions of one moment the one that was planned first happens first
	do func(at time.Time)
}

type agenda []act

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].n < a[j].n
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(act)) }
func (a *agenda) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	(*a)[last] = act{}
	*a = (*a)[:last]
	return x
}

// plan adds an action. Actions happen at whole seconds, as created_at states them.
func (m *Market) plan(at time.Time, do func(time.Time)) {
	m.planned++
	heap.Push(&m.agenda, act{at.Truncate(time.Second), m.planned, do})
}

// Next returns the next event. The moments of the events never decrease.
func (m *Market) Next() Step {
	for len(m.ready) == 0 {
		a := heap.Pop(&m.agenda).(act)
		a.do(a.at)
	}
	s := m.ready[0]
	m.ready = m.ready[1:]
	return s
}

// put adds an event of the act under way.
func (m *Market) put(by *envelope.Keys, evt nostr.Event, at time.Time) {
	evt.PubKey, evt.CreatedAt = by.Pubkey(), nostr.Timestamp(at.Unix())
	m.ready = append(m.ready, Step{At: at, Event: evt, Author: by})
}

// Hurry lets traders come arrivals times as often, and act steps times as fast, from now on, and
// has the Mostros state their health every pulse. A viewer of a running demo so sees the market
// move. now is the moment of the last event that Next returned, or later.
func (m *Market) Hurry(now time.Time, arrivals, steps float64, pulse time.Duration) {
	m.arrivals, m.steps, m.pulse = arrivals, steps, pulse
	for _, h := range m.hosts {
		h.generation++
		m.planArrival(h, h.generation, later(now, h.opens))
		m.planHealth(h, h.generation, later(now, h.opens))
	}
	for _, p := range m.platforms {
		p.generation++
		m.planOffer(p, p.generation, now)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Hosts returns the public keys of the five Mostros by the names of their natures: good, small,
// slow, newcomer and scammer.
func (m *Market) Hosts() map[string]string {
	keys := map[string]string{}
	for _, h := range m.hosts {
		keys[h.nature.id] = h.keys.Pubkey()
	}
	return keys
}

// Fund returns the key of the development fund.
func Fund(seed uint64) string { return keysOf(seed, "fund").Pubkey() }

// price returns the price of one bitcoin in a currency at a moment.
func (m *Market) price(code string, at time.Time) float64 {
	walk := func(t time.Time) float64 {
		days := float64(t.Unix()) / 86400
		phase := float64(m.cfg.Seed%97) + float64(code[0])
		return .022*math.Sin(days/5.3+phase) + .012*math.Sin(days/1.7+2*phase) + .004*math.Sin(days*7.1+phase)
	}
	drift := 0.0
	if code == "VES" || code == "ARS" || code == "CUP" { // loses value by the day
		drift = .003 * at.Sub(m.cfg.Level).Hours() / 24
	}
	return m.cfg.Prices[code] * math.Exp(walk(at)-walk(m.cfg.Level)+drift)
}

// payment is a development fee that the fund received.
type payment struct {
	hash, node string
	sats       int64
}

// FundListD is the prefix of the d tag of a fund's lists (reputation/score.FundListD).
const FundListD = "mostro-dev-fees:"

// publishFundList publishes the payments of the last day.
func (m *Market) publishFundList(at time.Time) {
	m.plan(at.Add(day), m.publishFundList)
	if len(m.paid) == 0 {
		return
	}
	evt := nostr.Event{Kind: mostro.KindAppData, Tags: nostr.Tags{{"d", FundListD + at.Format(time.DateOnly)}}}
	for _, p := range m.paid {
		evt.Tags = append(evt.Tags, nostr.Tag{"paid", p.hash, fmt.Sprint(p.sats), p.node})
	}
	m.paid = nil
	m.put(m.fund, evt, at)
}

// exponential draws a waiting time with a mean.
func exponential(r *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(r.ExpFloat64() * float64(mean))
}

// between draws a duration.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// within returns a duration of a trade in the present hurry.
func (m *Market) within(d time.Duration) time.Duration {
	return max(time.Second, time.Duration(float64(d)/m.steps))
}

// hexOf draws random hex digits.
func hexOf(r *rand.Rand, bytes int) string {
	b := make([]byte, 0, bytes+8)
	for len(b) < bytes {
		b = binary.BigEndian.AppendUint64(b, r.Uint64())
	}
	return hex.EncodeToString(b[:bytes])
}

func uuid(r *rand.Rand) string {
	s := hexOf(r, 16)
	return s[:8] + "-" + s[8:12] + "-4" + s[13:16] + "-8" + s[17:20] + "-" + s[20:]
}

func decimal(text string) mostro.Decimal {
	d, err := mostro.ParseDecimal(text)
	if err != nil {
		panic(err) // the texts are constants or formatted numbers
	}
	return d
}

// source lets a random generator fill the nonces of signatures, so that the same script has the
// same bytes.
type source struct{ *rand.Rand }

func (s source) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s.Uint32())
	}
	return len(b), nil
}

// rates returns the prices that a Mostro publishes.
func (m *Market) rates(at time.Time) map[string]float64 {
	btc := map[string]float64{}
	for _, code := range slices.Sorted(maps.Keys(m.cfg.Prices)) {
		btc[code] = math.Round(m.price(code, at)*100) / 100
	}
	return btc
}

// expiry returns a moment after another one, as a tag states it.
func expiry(at time.Time, after time.Duration) nostr.Timestamp {
	return nostr.Timestamp(at.Add(after).Unix())
}
