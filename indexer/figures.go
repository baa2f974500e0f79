package indexer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/indexer/market"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/mostro"
)

// Figures answers questions about statistics. Events of hidden keys do not count, and neither do
// orders, disputes and fees that the operator bans by their ids.
type Figures struct {
	market    *market.Store
	log       Log
	rules     *moderator
	directory *Directory
	prices    Prices // nil: the operator has no sources
	now       func() time.Time

	known references
}

// View calls fn with the statistics and the sets of hidden keys, which fn passes to each
// query. If spam is set, quarantined keys are not hidden. View returns market.ErrBehind until
// the statistics have caught up with the log.
func (f *Figures) View(spam bool, fn func(c *stats.Collector, hidden []map[[32]byte]struct{}) error) error {
	var hidden []map[[32]byte]struct{}
	if f.rules.rules != nil {
		_, never, onDemand, _ := f.rules.rules.Hidden()
		if len(never) > 0 {
			hidden = append(hidden, never)
		}
		if !spam && len(onDemand) > 0 {
			hidden = append(hidden, onDemand)
		}
	}
	return f.market.View(func(c *stats.Collector) error { return fn(c, hidden) })
}

// RulesVersion returns a number that changes when the operator's rules change.
func (f *Figures) RulesVersion() uint64 {
	if f.rules.rules == nil {
		return 0
	}
	version, _, _, _ := f.rules.rules.Hidden()
	return version
}

// Hidden returns what the rules hide, or nil.
func (f *Figures) Hidden(ctx context.Context) (*orders.Hidden, error) { return f.rules.hidden(ctx) }

// EntryAt returns the entry of the log with a position, or mostro.ErrNotFound if there is none
// that may be shown. If spam is set, quarantined keys are shown.
func (f *Figures) EntryAt(ctx context.Context, seq uint64, spam bool) (mostro.Entry, error) {
	e, err := f.log.EntryAt(ctx, seq)
	if err != nil {
		return e, err
	}
	hidden, err := f.rules.hidden(ctx)
	if err == nil && hidden.Hides(e.Event.PubKey, e.Event.ID, spam) {
		err = mostro.ErrNotFound
	}
	return e, err
}

// Prices is a source of prices that the operator trusts more than those of nodes.
type Prices interface {
	// Price returns the price of one bitcoin in a currency. ok is false if no source has a
	// recent price.
	Price(fiat string, now time.Time) (btc float64, ok bool)
}

// UsePrices sets the operator's own sources. UsePrices must be called before the first request.
func (f *Figures) UsePrices(p Prices) { f.prices = p }

// Reference is the price of one bitcoin by which the orders of a currency are compared.
type Reference struct {
	Price  float64
	Source string    // SourceOperator or SourceNodes
	Nodes  int       // nodes whose signed rates make the price; 0 for the operator's
	At     time.Time // of the oldest of these rates; zero for the operator's, which is of now
}

// Sources of a Reference.
const (
	SourceOperator = "operator" // the operator's own sources
	SourceNodes    = "nodes"    // median of the newest rate that each node signed (kind 30078)
)

// maxReferenceAge is the greatest age of a signed rate in a Reference, in seconds. Nodes sign a
// new rate every few minutes.
const maxReferenceAge = 3600

// references keeps the references of the last moments.
type references struct {
	mu      sync.Mutex
	changed uint64 // stats.Collector.Changed
	rules   uint64
	second  int64
	by      map[string]Reference // Price 0: there is none
}

// Reference returns the reference of a currency: the operator's price, or else the median of
// the rates that nodes signed in the last hour. Rates of hidden keys, of keys without an info
// event, and of keys that use the name of another key do not count. ok is false if there is no
// price, or if the statistics have not caught up with the log.
func (f *Figures) Reference(fiat string) (r Reference, ok bool) {
	now := f.now()
	if f.prices != nil {
		if btc, ok := f.prices.Price(fiat, now); ok {
			return Reference{Price: btc, Source: SourceOperator}, true
		}
	}
	rules := f.RulesVersion()
	err := f.View(false, func(c *stats.Collector, hidden []map[[32]byte]struct{}) error {
		f.known.mu.Lock()
		defer f.known.mu.Unlock()
		k := &f.known
		if k.changed != c.Changed() || k.rules != rules || k.second != now.Unix() || k.by == nil {
			k.changed, k.rules, k.second, k.by = c.Changed(), rules, now.Unix(), map[string]Reference{}
		}
		if r, ok = k.by[fiat]; !ok {
			r = referenceOf(c.SignedRates(fiat, now.Unix(), maxReferenceAge, stats.Query{Exclude: hidden, Distrust: f.Distrust}))
			k.by[fiat] = r
		}
		return nil
	})
	return r, err == nil && r.Price > 0
}

// Distrust reports whether the signed rates of a key price no offer, because the key uses the
// name of another key.
func (f *Figures) Distrust(pubkey string) bool {
	_, _, impostor := f.directory.Impostor(pubkey)
	return impostor
}

func referenceOf(signed []stats.SignedRate) Reference {
	var prices []float64
	oldest := int64(0)
	for _, s := range signed {
		prices = append(prices, s.Price)
		if oldest == 0 || s.At < oldest {
			oldest = s.At
		}
	}
	n := len(prices)
	if n == 0 {
		return Reference{}
	}
	slices.Sort(prices)
	return Reference{Price: prices[(n-1)/2]/2 + prices[n/2]/2, Source: SourceNodes, Nodes: n, At: time.Unix(oldest, 0).UTC()}
}
