package reputation

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
)

// Prices are those of the operator's own sources. Price is called concurrently.
type Prices interface {
	// Price returns the price of one bitcoin in a currency; ok is false if no
	// source has said one of late.
	Price(fiat string, now time.Time) (btc float64, ok bool)
}

// Where a Price comes from.
const (
	PriceOfOperator = "operator"   // the operator's own sources
	PriceOfMostros  = "mostros"    // Mostros with a rank that agree
	PriceUnverified = "unverified" // other Mostros, or some that do not agree: it excludes no Mostro
)

// Price is the price of a bitcoin.
type Price struct {
	BTC      string `json:"btc"` // of fiat, in decimals
	Fiat     string `json:"fiat"`
	Source   string `json:"source"` // "operator", "mostros" or "unverified"
	Verified bool   `json:"verified"`
	Mostros  int    `json:"mostros"` // that say one; 0: of the operator
	Rated    bool   `json:"rated"`   // these Mostros have a rank
	times           // of the oldest
}

// How a price of Mostros is verified.
const (
	priceNodes  = 3    // with a rank, at the least
	priceSpread = .01  // of the price: what one of them may move it by
	priceAgree  = .666 // of their weight lies within priceSpread of it
)

// weightedRate is a Rate and what it weighs.
type weightedRate struct {
	Rate
	weight float64
}

// price returns what a bitcoin costs, nil if nobody says it. The operator's own
// sources come first. A table of prices is free to publish, and so is a key, so
// only Mostros with a rank verify a price: each weighs by its rank, and none of
// them may move the price by more than a hundredth.
func price(fiat string, rates []Rate, scores map[string]score.Score, own Prices, now time.Time) *Price {
	p := &Price{Fiat: fiat, Source: PriceUnverified}
	if own != nil {
		if btc, ok := own.Price(fiat, now); ok && btc > 0 && !math.IsInf(btc, 0) {
			p.Source, p.Verified, p.BTC, p.times = PriceOfOperator, true, formatPrice(btc), timesOf(now)
			return p
		}
	}
	var rated, all []weightedRate
	for _, r := range rates {
		all = append(all, weightedRate{r, 1})
		if s, ok := scores[r.Pubkey]; ok && s.Unranked == "" && s.Rank > 0 {
			rated = append(rated, weightedRate{r, float64(s.Rank)})
		}
	}
	list := all
	if p.Rated = len(rated) > 0; p.Rated {
		list = rated
	}
	if p.Mostros = len(list); p.Mostros == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b weightedRate) int {
		return cmp.Or(cmp.Compare(a.Price, b.Price), cmp.Compare(a.Pubkey, b.Pubkey))
	})
	btc := weightedMedian(list, -1)
	if p.Rated && agreed(list, btc) {
		p.Source, p.Verified = PriceOfMostros, true
	}
	oldest := list[0].At
	for _, r := range list {
		if r.At.Before(oldest) {
			oldest = r.At
		}
	}
	p.BTC, p.times = formatPrice(btc), timesOf(oldest)
	return p
}

// doubt says in words why a price is not verified.
func (p *Price) doubt() string {
	who := counted(p.Mostros, "Mostro", "Mostros")
	switch {
	case !p.Rated:
		return who + " without a rank signed it"
	case p.Mostros < priceNodes:
		return "only " + who + " with a rank signed it"
	}
	return who + " with a rank sign prices that differ by more than a hundredth"
}

func formatPrice(btc float64) string { return strconv.FormatFloat(btc, 'f', 2, 64) }

// agreed says whether enough rates, sorted, lie near to their median, and whether
// it would stay where it is without any one of them.
func agreed(list []weightedRate, btc float64) bool {
	if len(list) < priceNodes {
		return false
	}
	near := func(x float64) bool { return math.Abs(x-btc) <= priceSpread*btc }
	sum, whole := 0.0, 0.0
	for i, r := range list {
		if whole += r.weight; near(r.Price) {
			sum += r.weight
		}
		if !near(weightedMedian(list, i)) {
			return false
		}
	}
	return sum >= priceAgree*whole
}

// weightedMedian of sorted rates, without the one at an index.
func weightedMedian(list []weightedRate, without int) float64 {
	whole := 0.0
	for i, r := range list {
		if i != without {
			whole += r.weight
		}
	}
	sum, half := 0.0, -1.0 // half: a rate at which exactly half of the weight is reached
	for i, r := range list {
		if i == without {
			continue
		}
		if half >= 0 {
			return (half + r.Price) / 2
		}
		if sum += r.weight; sum*2 > whole {
			return r.Price
		} else if sum*2 == whole {
			half = r.Price
		}
	}
	return max(half, 0)
}

// sats gives what an amount comes to; 0 where that is no sane number.
func (p *Price) sats(amount *mostro.Decimal) int64 {
	per, err := strconv.ParseFloat(p.BTC, 64)
	if err != nil || per <= 0 || amount == nil {
		return 0
	}
	if s := amount.Float() / per * 1e8; s < 21e14 {
		return int64(math.Ceil(s))
	}
	return 0
}
