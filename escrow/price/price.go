package price

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bojanz/currency"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Source returns prices of a bitcoin.
type Source interface {
	// Name returns the source's id on the wire, for example "yadio".
	Name() string
	// Fetch returns the price of one bitcoin by currency code, unchanged. The caller
	// removes values that are not prices.
	Fetch(ctx context.Context) (map[string]float64, error)
}

// CrossSource is a Source that does not know bitcoin. Its Fetch returns the price of one
// US dollar, which the Feed multiplies by the price of bitcoin in dollars of the same poll.
type CrossSource interface {
	Source
	Cross() bool // true if Fetch returns prices of the dollar
}

// peg is the fixed price of a code that is no money of a state.
type peg struct {
	Fiat string // code to which one unit is pegged, one to one; "" for bitcoin
}

// satsPerBTC is the price of one bitcoin in a code that is pegged to bitcoin: the amounts are
// sats.
const satsPerBTC = 100_000_000

// pegs are the codes that Feed.Pegged may name.
var pegs = map[string]peg{"USDT": {"USD"}, "USDC": {"USD"}, "DOC": {"USD"}, "BTC": {}, "LBTC": {}, "RBTC": {}}

// CheckPegged returns an error if a code has no known peg.
func CheckPegged(codes []string) error {
	for _, code := range codes {
		if _, ok := pegs[code]; !ok {
			return fmt.Errorf("%q has no known peg: name some of %s", code, strings.Join(slices.Sorted(maps.Keys(pegs)), ", "))
		}
	}
	return nil
}

// Config configures a Feed. Every field may be zero.
type Config struct {
	Sources []Source // in order of trust, the order of `contributors`
	// Nodes are the pubkeys of nodes whose published rates are used if no source knows a
	// currency. These rates are never published again.
	Nodes []string
	// Pegged are codes that are quoted by their peg and by no source: USDT, USDC and DOC as USD,
	// and BTC, LBTC and RBTC in sats. Empty: none.
	Pegged []string

	Interval  time.Duration // between polls; 0: five minutes; at least one minute
	Staleness time.Duration // age at which a price is no longer used; 0: half an hour
	Outlier   float64       // percent from the median; 0: five
	Timeout   time.Duration // for each source; 0: ten seconds
	Failures  int           // in a row before a source is skipped for a while; 0: three
	Cooldown  time.Duration // first cooldown, doubling; 0: two minutes, at most half an hour
	Publish   bool          // if set, Rates returns a table

	Logger *slog.Logger     // nil: log lines are discarded
	Now    func() time.Time // nil: time.Now
}

// A Feed polls several sources and answers from memory. Quote and Rates are safe for
// concurrent use.
type Feed struct {
	cfg Config

	mu       sync.Mutex
	known    map[string]price // guarded by mu
	heard    map[string]mostro.Rates
	breakers map[string]*breaker // owned by Poll
	polled   time.Time           // guarded by mu: time of the last change of known
	kept     bool                // guarded by mu: the first poll has ended
}

type price struct {
	value        float64
	at           time.Time
	contributors []string
	fromNodes    bool
}

// breaker skips a failing source for a while.
type breaker struct {
	failures int // in a row
	opened   int // times in a row
	until    time.Time
}

const (
	maxCooldown   = 30 * time.Minute
	maxHeardRates = 64
	maxAhead      = time.Minute // by which a table of a node may be dated ahead of the clock
)

// New returns a feed that knows no price yet.
func New(cfg Config) *Feed {
	cfg.Interval = max(cmp.Or(cfg.Interval, 5*time.Minute), time.Minute)
	cfg.Staleness = cmp.Or(cfg.Staleness, 30*time.Minute)
	if cfg.Outlier <= 0 {
		cfg.Outlier = 5
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	if cfg.Failures <= 0 {
		cfg.Failures = 3
	}
	cfg.Cooldown = cmp.Or(cfg.Cooldown, 2*time.Minute)
	cfg.Logger, cfg.Now = room.Logger(cfg.Logger), room.Clock(cfg.Now)
	return &Feed{cfg: cfg, known: make(map[string]price), heard: make(map[string]mostro.Rates), breakers: make(map[string]*breaker)}
}

// Run polls until ctx ends.
func (p *Feed) Run(ctx context.Context) error {
	ticker := time.NewTicker(p.cfg.Interval)
	defer ticker.Stop()
	for {
		p.Poll(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Poll asks all sources whose breaker is closed, in parallel, and stores the prices on
// which the sources agree. If no source names a currency in this poll, the currency keeps
// its last price until that price is stale.
func (p *Feed) Poll(ctx context.Context) {
	now := p.cfg.Now()
	answers := make([]map[string]float64, len(p.cfg.Sources))
	errs := make([]error, len(p.cfg.Sources))
	asked := make([]bool, len(p.cfg.Sources))
	var wg sync.WaitGroup
	for i, s := range p.cfg.Sources {
		b := p.breakers[s.Name()]
		if b == nil {
			b = new(breaker)
			p.breakers[s.Name()] = b
		}
		if now.Before(b.until) {
			continue
		}
		asked[i] = true
		wg.Add(1)
		go func() {
			defer wg.Done()
			ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
			defer cancel()
			answers[i], errs[i] = s.Fetch(ctx)
		}()
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	offers, crosses := make(map[string][]offer), make(map[string][]offer)
	for i, s := range p.cfg.Sources {
		if !asked[i] {
			continue
		}
		var clean map[string]float64
		if errs[i] == nil {
			if clean = cleanPrices(answers[i]); len(clean) == 0 {
				errs[i] = errors.New("no price in the answer")
			}
		}
		p.judge(s.Name(), errs[i], now)
		into := offers
		if c, ok := s.(CrossSource); ok && c.Cross() {
			into = crosses
		}
		for code, value := range clean {
			into[code] = append(into[code], offer{s.Name(), value})
		}
	}
	// Without a price of the dollar in this poll, the crossed currencies keep their last price.
	if dollar, _ := aggregate(offers["USD"], p.cfg.Outlier); dollar > 0 {
		for code, list := range crosses {
			for _, o := range list {
				offers[code] = append(offers[code], offer{o.source, o.value * dollar})
			}
		}
	}
	p.keep(offers, now)
}

// judge opens or closes a source's breaker.
func (p *Feed) judge(name string, err error, now time.Time) {
	b := p.breakers[name]
	if err == nil {
		*b = breaker{}
		return
	}
	p.cfg.Logger.Warn("a price source does not answer", "source", name, "error", err)
	if b.failures++; b.failures < p.cfg.Failures {
		return
	}
	b.until = now.Add(min(p.cfg.Cooldown<<min(b.opened, 10), maxCooldown))
	b.opened++
	b.failures = p.cfg.Failures - 1 // after the cooldown, one more failure opens the breaker again
}

type offer struct {
	source string
	value  float64
}

func (p *Feed) keep(offers map[string][]offer, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for code, list := range offers {
		value, from := aggregate(list, p.cfg.Outlier)
		p.known[code] = price{value: value, at: now, contributors: from}
		p.polled = now
	}
	p.kept = true
	p.keepNodes(now)
}

// keepNodes applies the rates of the trusted nodes. keepNodes requires mu.
func (p *Feed) keepNodes(now time.Time) {
	for code, rate := range p.fromNodes(now) {
		old, ok := p.known[code]
		switch {
		case ok && !old.fromNodes && !p.stale(old.at, now):
			continue
		case ok && old.fromNodes && rate.at.Before(old.at) && !old.at.After(now):
			continue // an older table must not bring an older price back
		}
		p.known[code] = rate
	}
}

// stale reports whether a price is too old. A price that is dated far ahead is from before the
// clock was set back, and says nothing.
func (p *Feed) stale(at, now time.Time) bool {
	age := now.Sub(at)
	return age > p.cfg.Staleness || -age > p.cfg.Staleness
}

// aggregate returns one price for the offers of several sources. For two offers this is
// the mean. For more offers this is the mean of the offers near the median.
func aggregate(list []offer, outlierPct float64) (value float64, from []string) {
	kept := list
	if len(list) >= 3 {
		m := median(list)
		kept = nil
		for _, o := range list {
			if math.Abs(o.value-m) <= outlierPct/100*m {
				kept = append(kept, o)
			}
		}
		if len(kept) == 0 {
			return m, nil
		}
	}
	for _, o := range kept {
		value += o.value / float64(len(kept))
		from = append(from, o.source)
	}
	return value, from
}

func median(list []offer) float64 {
	values := make([]float64, len(list))
	for i, o := range list {
		values[i] = o.value
	}
	slices.Sort(values)
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half]
	}
	return (values[half-1] + values[half]) / 2
}

// Hear processes an event of kind 30078 from the log. Only the newest table of a node that
// the operator trusts is kept.
func (p *Feed) Hear(evt *nostr.Event) {
	if !slices.Contains(p.cfg.Nodes, evt.PubKey) {
		return
	}
	r, err := mostro.ParseRates(evt)
	if err != nil {
		return // not a table of rates
	}
	if r.CreatedAt.Time().After(p.cfg.Now().Add(maxAhead)) {
		return // it would keep out every later table until its time
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.heard[r.Pubkey]; (!ok || r.CreatedAt > old.CreatedAt) && (ok || len(p.heard) < maxHeardRates) {
		p.heard[r.Pubkey] = r
		if p.kept { // a rate must not take the place of an own price that the first poll has not returned yet
			p.keepNodes(p.cfg.Now())
		}
	}
}

// fromNodes returns the current rates of the trusted nodes. A table that is from the
// future, too old or expired is ignored. A rate is dated by the newest table that it is made
// of, so that no poll renews it. fromNodes requires mu.
func (p *Feed) fromNodes(now time.Time) map[string]price {
	offers, dates := make(map[string][]offer), make(map[string]time.Time)
	for _, node := range p.cfg.Nodes {
		r, ok := p.heard[node]
		at := r.CreatedAt.Time()
		if !ok || at.After(now) || now.Sub(at) > p.cfg.Staleness || r.Expiration != 0 && !r.Expiration.Time().After(now) {
			continue
		}
		for code, value := range cleanPrices(r.BTC) {
			offers[code] = append(offers[code], offer{node, value})
			if at.After(dates[code]) {
				dates[code] = at
			}
		}
	}
	rates := make(map[string]price)
	for code, list := range offers {
		value, _ := aggregate(list, p.cfg.Outlier)
		rates[code] = price{value: value, at: dates[code], contributors: []string{"nostr"}, fromNodes: true}
	}
	return rates
}

// Quote returns the price in a currency, or a zero Quote if no price was ever known.
func (p *Feed) Quote(fiat string, at int64) trade.Quote {
	p.mu.Lock()
	defer p.mu.Unlock()
	code := strings.ToUpper(fiat)
	if slices.Contains(p.cfg.Pegged, code) {
		if code = pegs[code].Fiat; code == "" {
			return trade.Quote{Price: satsPerBTC}
		}
	}
	known, ok := p.known[code]
	if !ok {
		return trade.Quote{}
	}
	return trade.Quote{Price: known.value, Stale: p.stale(known.at, time.Unix(at, 0))}
}

// Rates returns the table to publish: fresh prices of our own sources.
func (p *Feed) Rates(now time.Time) (mostro.Rates, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cfg.Publish || p.polled.IsZero() {
		return mostro.Rates{}, false
	}
	r := mostro.Rates{
		BTC: make(map[string]float64), PublishedAt: nostr.Timestamp(p.polled.Unix()),
		Expiration: nostr.Timestamp(p.polled.Add(min(2*p.cfg.Interval, time.Hour)).Unix()),
	}
	sources := make(map[string]bool)
	for code, known := range p.known {
		if known.fromNodes || p.stale(known.at, now) {
			continue
		}
		r.BTC[code] = known.value
		for _, name := range known.contributors {
			sources[name] = true
		}
	}
	r.Sources = slices.Sorted(maps.Keys(sources))
	return r, len(r.BTC) > 0
}

// cleanPrices keeps the values that are prices of bitcoin in money.
func cleanPrices(prices map[string]float64) map[string]float64 {
	clean := make(map[string]float64, len(prices))
	for code, value := range prices {
		code = strings.ToUpper(strings.TrimSpace(code))
		if value > 0 && !math.IsInf(value, 0) && isMoney(code) {
			clean[code] = value
		}
	}
	return clean
}

// isMoney reports whether a code is a currency for which bitcoin is traded: a currency of
// CLDR, which follows ISO 4217 (including the bolívar soberano, VES), or another one that
// sources quote.
func isMoney(code string) bool {
	switch code {
	case "IRT", "GGP", "IMP", "JEP", "MLC":
		return true
	}
	return code != "" && currency.IsValid(code) // the library accepts "" as the absence of a currency
}
