package stats

import (
	"cmp"
	"math"
	"slices"

	"github.com/mostrodex/mostrodex/mostro"
)

// Offer is an order that was on offer at some time.
type Offer struct {
	Pubkey   string      `json:"pubkey"`
	Seq      uint64      `json:"seq"` // of the event with the version in force
	Side     mostro.Side `json:"side"`
	Fiat     string      `json:"fiat"`
	Platform string      `json:"platform"`
	Network  string      `json:"network"`
	Methods  []string    `json:"methods"`
	Min      Value       `json:"min"` // fiat amount
	Max      Value       `json:"max"`
	Sats     Value       `json:"sats"`        // stated amount; null for an order at the market price
	Premium  Value       `json:"premium_pct"` // stated
	// Price is the price of one bitcoin: fiat amount / sats, or the signed rate and the
	// premium. Level is the premium over the signed rate in percent. Both are null if
	// unknown.
	Price     Value `json:"price"`
	Level     Value `json:"level_pct"`
	FirstAt   int64 `json:"first_at"`   // time of the first version, by the clock
	ExpiresAt int64 `json:"expires_at"` // 0 none

	row     int
	cohort  uint32
	market  bool
	maxFiat float64
}

// Book is the offers at a time.
type Book struct {
	At int64 `json:"at"`
	// BeforeCoverage is true if this relay witnessed no event before At: the book then
	// holds only what authors and other relays later stated.
	BeforeCoverage bool     `json:"before_coverage"`
	Clock          string   `json:"clock"`
	Offers         []Offer  `json:"offers"` // sorted by first time and seq
	Coverage       Coverage `json:"coverage"`
}

// maxBookRateAge is the greatest age of a signed rate that prices an offer, in seconds.
const maxBookRateAge = 3600

// newOffer returns the offer of a version. rate is the price of one bitcoin by which offers are
// compared, or NaN.
func newOffer(c *Collector, row int, first int64, v *version, rate float64) Offer {
	h := &c.cohorts[v.cohort]
	o := Offer{
		Pubkey: hexOf(c.authors[h.author].pubkey), Seq: v.seq, Side: mostro.Side(sideOf(h.buy)), Fiat: c.fiats.text[h.fiat],
		Platform: c.platform.text[h.platform], Network: c.networks.text[h.network],
		Min: fiatValue(v.min), Max: fiatValue(v.max), Premium: floatValue(v.premium),
		FirstAt: first, ExpiresAt: int64(v.ends), row: row, cohort: v.cohort, market: v.sats == 0, maxFiat: v.max,
	}
	for _, label := range c.methodsOf(h.methods) {
		o.Methods = append(o.Methods, c.labels.text[label])
	}
	price := math.NaN()
	switch {
	case v.sats > 0:
		o.Sats = intValue(v.sats)
		if v.min == v.max {
			price = v.max / float64(v.sats) * 1e8
		}
	case o.market: // NaN if the rate or the premium is
		price = rate * (1 + v.premium/100)
	}
	o.Price = fiatValue(price)
	switch {
	case o.market:
		o.Level = o.Premium
	default: // NaN if the rate is
		o.Level = floatValue((price/rate - 1) * 100)
	}
	return o
}

// sats returns the size of an offer in sats, and whether it is known.
func (o *Offer) sats() (int64, bool) {
	if !o.Sats.IsNull() {
		return o.Sats.n, true
	}
	n := o.maxFiat / o.Price.Float() * 1e8
	if !o.market || math.IsNaN(n) || n < 0 || n > 21e14 {
		return 0, false
	}
	return int64(math.Round(n)), true
}

// DepthLevel sums the offers of one side at one premium.
type DepthLevel struct {
	Level      float64 `json:"level_pct"` // lower bound of the step, in percent over the signed rate
	Orders     int64   `json:"orders"`
	Sats       int64   `json:"sats"`       // of the offers whose size is known
	Cumulative int64   `json:"cumulative"` // sats at this level and at all better ones
}

// Best is the best offer of a side: the highest bid or the lowest ask.
type Best struct {
	Seq      uint64 `json:"seq"`
	Pubkey   string `json:"pubkey"`
	Platform string `json:"platform"`
	Level    Value  `json:"level_pct"`
	Price    Value  `json:"price"`
}

// Depth is the book of one currency by premium.
type Depth struct {
	Fiat  string       `json:"fiat"`
	Bids  []DepthLevel `json:"bids"` // orders of buying makers, highest level first
	Asks  []DepthLevel `json:"asks"` // orders of selling makers, lowest level first
	Bid   *Best        `json:"bid"`
	Ask   *Best        `json:"ask"`
	ByKey []BestOf     `json:"best"` // best offers of each instance
	// Unleveled counts offers whose premium is unknown: a fixed price without a signed rate.
	Unleveled int64 `json:"unleveled"`
	// Unsized counts offers whose size is unknown.
	Unsized int64 `json:"unsized"`
}

// BestOf is the best bid and the best ask of one instance of a platform.
type BestOf struct {
	Platform string `json:"platform"`
	Pubkey   string `json:"pubkey"`
	Bid      *Best  `json:"bid"`
	Ask      *Best  `json:"ask"`
}

// maxLevels bounds the levels of one side of a depth.
const maxLevels = 2000

// Depth returns the depth of a book in one currency, in steps of step percent.
func (b *Book) Depth(fiat string, step float64) (Depth, error) {
	if !(step >= 0.01 && step <= 100) { // also NaN
		return Depth{}, badParam("step", "is not between 0.01 and 100")
	}
	out := Depth{Fiat: fiat}
	levels := [2]map[int64]*DepthLevel{{}, {}}
	best := map[[2]string]*BestOf{}
	for i := range b.Offers {
		o := &b.Offers[i]
		if o.Fiat != fiat {
			continue
		}
		side := 1
		if o.Side == mostro.SideBuy {
			side = 0
		}
		sats, sized := o.sats()
		if !sized {
			out.Unsized++
		}
		if o.Level.IsNull() {
			out.Unleveled++
			continue
		}
		n := int64(math.Floor(max(-1e6, min(1e6, o.Level.f)) / step))
		l := levels[side][n]
		if l == nil {
			l = &DepthLevel{Level: float64(n) * step}
			levels[side][n] = l
		}
		l.Orders++
		l.Sats += sats
		key := [2]string{o.Platform, o.Pubkey}
		if best[key] == nil {
			best[key] = &BestOf{Platform: o.Platform, Pubkey: o.Pubkey}
		}
		if side == 0 {
			better(&out.Bid, o, 1)
			better(&best[key].Bid, o, 1)
		} else {
			better(&out.Ask, o, -1)
			better(&best[key].Ask, o, -1)
		}
	}
	for side, list := range [2]*[]DepthLevel{&out.Bids, &out.Asks} {
		for _, l := range levels[side] {
			*list = append(*list, *l)
		}
		slices.SortFunc(*list, func(a, b DepthLevel) int {
			if side == 0 {
				a, b = b, a
			}
			return cmp.Compare(a.Level, b.Level)
		})
		sum := int64(0)
		for i := range *list {
			sum += (*list)[i].Sats
			(*list)[i].Cumulative = sum
		}
		*list = (*list)[:min(len(*list), maxLevels)]
	}
	for _, of := range best {
		out.ByKey = append(out.ByKey, *of)
	}
	slices.SortFunc(out.ByKey, func(a, b BestOf) int {
		return cmp.Or(cmp.Compare(a.Platform, b.Platform), cmp.Compare(a.Pubkey, b.Pubkey))
	})
	return out, nil
}

// better replaces a best offer if o is better: by level, then the older offer. sign is 1 for bids.
func better(held **Best, o *Offer, sign float64) {
	if *held == nil || sign*o.Level.f > sign*(*held).Level.f {
		*held = &Best{Seq: o.Seq, Pubkey: o.Pubkey, Platform: o.Platform, Level: o.Level, Price: o.Price}
	}
}

// Crossed is a pair of offers with a payment method in common: the buying maker pays more than
// the selling maker asks.
type Crossed struct {
	Fiat    string   `json:"fiat"`
	Network string   `json:"network"`
	Buy     uint64   `json:"buy"` // seq
	Sell    uint64   `json:"sell"`
	Methods []string `json:"methods"` // in common
	// Gap is the difference of the premiums in percent, or, if prices were compared without a
	// signed rate, the difference of the prices in percent of the sell's price.
	Gap float64 `json:"gap_pct"`
}

// maxCrossed bounds the pairs of one answer. The pairs with the greatest gaps are kept.
const maxCrossed = 1000

// maxCompared bounds the work of Crossed.
const maxCompared = 20_000_000

// Crossed returns the crossed pairs of a book, the greatest gap first. whole is false if pairs are
// missing. Offers are compared by level if both have one, else by price.
func (b *Book) Crossed() (pairs []Crossed, whole bool) {
	type market struct{ fiat, network string }
	sides := map[market]*[2][]*Offer{}
	for i := range b.Offers {
		o := &b.Offers[i]
		if o.Level.IsNull() && o.Price.IsNull() || len(o.Methods) == 0 {
			continue
		}
		m := sides[market{o.Fiat, o.Network}]
		if m == nil {
			m = new([2][]*Offer)
			sides[market{o.Fiat, o.Network}] = m
		}
		side := 0
		if o.Side == mostro.SideSell {
			side = 1
		}
		m[side] = append(m[side], o)
	}
	whole = true
	compared := 0
	for key, m := range sides {
		for _, buy := range m[0] {
			for _, sell := range m[1] {
				if compared++; compared > maxCompared {
					whole = false
					break
				}
				gap, ok := gapOf(buy, sell)
				if !ok || gap <= 0 {
					continue
				}
				common := intersect(buy.Methods, sell.Methods)
				if len(common) > 0 {
					pairs = append(pairs, Crossed{Fiat: key.fiat, Network: key.network, Buy: buy.Seq, Sell: sell.Seq, Methods: common, Gap: gap})
				}
			}
		}
	}
	slices.SortFunc(pairs, func(a, b Crossed) int {
		return cmp.Or(cmp.Compare(b.Gap, a.Gap), cmp.Compare(a.Buy, b.Buy), cmp.Compare(a.Sell, b.Sell))
	})
	if len(pairs) > maxCrossed {
		pairs, whole = pairs[:maxCrossed], false
	}
	return pairs, whole
}

// gapOf returns by how many percent the buy is above the sell. ok is false if the two cannot be
// compared.
func gapOf(buy, sell *Offer) (gap float64, ok bool) {
	switch {
	case !buy.Level.IsNull() && !sell.Level.IsNull():
		return buy.Level.f - sell.Level.f, true
	case !buy.Price.IsNull() && !sell.Price.IsNull() && sell.Price.f > 0:
		return (buy.Price.f/sell.Price.f - 1) * 100, true
	}
	return 0, false
}

func intersect(a, b []string) []string {
	var out []string
	for _, s := range a {
		if slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}
