package escrow

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bojanz/currency"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// PriceSource says what a bitcoin costs.
type PriceSource interface {
	// Name is the source's id on the wire: "yadio".
	Name() string
	// Fetch gives the price of one bitcoin by currency code, as stated; what
	// is not a price is sorted out by the caller.
	Fetch(ctx context.Context) (map[string]float64, error)
}

// Prices asks several sources, and answers from memory. Its fields are set
// before Run; Quote and Rates may be called from anywhere.
type Prices struct {
	Sources []PriceSource // in order of trust, as `contributors` are listed
	// Nodes are the keys of nodes whose published rates are believed where no
	// source knows a currency. What comes from them is never published again.
	Nodes []string

	Interval  time.Duration // between polls; 0: five minutes, at least one
	Staleness time.Duration // after which a price is not used; 0: half an hour
	Outlier   float64       // percent from the median; 0: five
	Timeout   time.Duration // for each source; 0: ten seconds
	Failures  int           // in a row before a source is left alone; 0: three
	Cooldown  time.Duration // the first time, doubling; 0: two minutes, at most half an hour
	Publish   bool          // whether Rates gives anything
	Clock     func() time.Time
	Logger    *slog.Logger

	mu       sync.Mutex
	known    map[string]price // guarded by mu
	heard    map[string]mostro.Rates
	breakers map[string]*breaker // Poll's alone
	polled   time.Time           // guarded by mu: when known last changed
}

type price struct {
	value        float64
	at           time.Time
	contributors []string
	fromNodes    bool
}

// breaker leaves a failing source alone for a while.
type breaker struct {
	failures int // in a row
	opened   int // times in a row
	until    time.Time
}

const (
	maxCooldown   = 30 * time.Minute
	maxHeardRates = 64
)

// Run polls until ctx ends.
func (p *Prices) Run(ctx context.Context) error {
	every := max(orElse(p.Interval, 5*time.Minute), time.Minute)
	ticker := time.NewTicker(every)
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

// Poll asks every source that is not left alone, all at once, and keeps what
// they agree on. A currency that nobody names this time keeps its last price
// until that is stale.
func (p *Prices) Poll(ctx context.Context) {
	now := p.Clock()
	if p.breakers == nil {
		p.breakers = make(map[string]*breaker)
	}
	answers := make([]map[string]float64, len(p.Sources))
	errs := make([]error, len(p.Sources))
	asked := make([]bool, len(p.Sources))
	var wg sync.WaitGroup
	for i, s := range p.Sources {
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
			ctx, cancel := context.WithTimeout(ctx, orElse(p.Timeout, 10*time.Second))
			defer cancel()
			answers[i], errs[i] = s.Fetch(ctx)
		}()
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	offers := make(map[string][]offer)
	for i, s := range p.Sources {
		if !asked[i] {
			continue
		}
		clean := cleanPrices(answers[i])
		if errs[i] == nil && len(clean) == 0 {
			errs[i] = errors.New("no price in the answer")
		}
		p.judge(s.Name(), errs[i], now)
		for code, value := range clean {
			offers[code] = append(offers[code], offer{s.Name(), value})
		}
	}
	p.keep(offers, now)
}

// judge opens or closes a source's breaker.
func (p *Prices) judge(name string, err error, now time.Time) {
	b := p.breakers[name]
	if err == nil {
		*b = breaker{}
		return
	}
	if p.Logger != nil {
		p.Logger.Warn("a price source does not answer", "source", name, "error", err)
	}
	most := p.Failures
	if most <= 0 {
		most = 3
	}
	if b.failures++; b.failures < most {
		return
	}
	b.until = now.Add(min(orElse(p.Cooldown, 2*time.Minute)<<min(b.opened, 10), maxCooldown))
	b.opened++
	b.failures = most - 1 // one more failure, once the time is up, opens it again
}

type offer struct {
	source string
	value  float64
}

func (p *Prices) keep(offers map[string][]offer, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = make(map[string]price)
	}
	for code, list := range offers {
		value, from := aggregate(list, p.outlier())
		p.known[code] = price{value: value, at: now, contributors: from}
		p.polled = now
	}
	for code, value := range p.fromNodes(now) {
		if old, ok := p.known[code]; !ok || old.fromNodes || now.Sub(old.at) > p.staleness() {
			p.known[code] = price{value: value, at: now, contributors: []string{"nostr"}, fromNodes: true}
		}
	}
}

func (p *Prices) outlier() float64 {
	if p.Outlier > 0 {
		return p.Outlier
	}
	return 5
}

func (p *Prices) staleness() time.Duration { return orElse(p.Staleness, 30*time.Minute) }

// aggregate gives one price for what several say: of two the mean, of more the
// mean of those near the median.
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

// Hear takes an event of kind 30078 from the log. Only the newest table of a
// node that the operator trusts is kept.
func (p *Prices) Hear(evt *nostr.Event) {
	if !slices.Contains(p.Nodes, evt.PubKey) {
		return
	}
	r, err := mostro.ParseRates(evt)
	if err != nil {
		return // not a table of rates
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heard == nil {
		p.heard = make(map[string]mostro.Rates)
	}
	if old, ok := p.heard[r.Pubkey]; (!ok || r.CreatedAt > old.CreatedAt) && (ok || len(p.heard) < maxHeardRates) {
		p.heard[r.Pubkey] = r
	}
}

// fromNodes needs mu. It gives what the trusted nodes say at the moment; a
// table from the future, too old or expired says nothing.
func (p *Prices) fromNodes(now time.Time) map[string]float64 {
	offers := make(map[string][]offer)
	for _, node := range p.Nodes {
		r, ok := p.heard[node]
		at := r.CreatedAt.Time()
		if !ok || at.After(now) || now.Sub(at) > p.staleness() || r.Expiration != 0 && !r.Expiration.Time().After(now) {
			continue
		}
		for code, value := range cleanPrices(r.BTC) {
			offers[code] = append(offers[code], offer{node, value})
		}
	}
	rates := make(map[string]float64)
	for code, list := range offers {
		rates[code], _ = aggregate(list, p.outlier())
	}
	return rates
}

// Quote gives the price in a currency: zero when nobody ever named one.
func (p *Prices) Quote(fiat string, at int64) trade.Quote {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.known[strings.ToUpper(fiat)]
	if !ok {
		return trade.Quote{}
	}
	return trade.Quote{Price: known.value, Stale: time.Unix(at, 0).Sub(known.at) > p.staleness()}
}

// Rates gives the table to publish: fresh prices of our own sources.
func (p *Prices) Rates(now time.Time) (mostro.Rates, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.Publish || p.polled.IsZero() {
		return mostro.Rates{}, false
	}
	interval := max(orElse(p.Interval, 5*time.Minute), time.Minute)
	r := mostro.Rates{
		BTC: make(map[string]float64), PublishedAt: nostr.Timestamp(p.polled.Unix()),
		Expiration: nostr.Timestamp(p.polled.Add(min(2*interval, time.Hour)).Unix()),
	}
	sources := make(map[string]bool)
	for code, known := range p.known {
		if known.fromNodes || now.Sub(known.at) > p.staleness() {
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

// cleanPrices keeps what is a price of bitcoin in money.
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

// isMoney says whether a code is a currency that people trade bitcoin for: one
// of CLDR's, which follow ISO 4217 (the bolívar soberano, VES, among them), or
// one that sources quote besides.
func isMoney(code string) bool {
	switch code {
	case "IRT", "GGP", "IMP", "JEP", "MLC":
		return true
	}
	return code != "" && currency.IsValid(code) // the library takes "" for the absence of one
}
