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

// Prices is the operator's own source of prices. Price must be safe for concurrent use.
type Prices interface {
	// Price returns the price of one bitcoin in a currency. ok is false if no source has a
	// recent price.
	Price(fiat string, now time.Time) (btc float64, ok bool)
}

// Sources of a Price.
const (
	PriceOfOperator = "operator"   // the operator's own sources
	PriceOfMostros  = "mostros"    // Mostros with a rank whose prices agree
	PriceUnverified = "unverified" // other Mostros, or Mostros that do not agree: such a price excludes no Mostro
)

// Price is the price of one bitcoin.
type Price struct {
	BTC      string `json:"btc" unit:"fiat per bitcoin" doc:"decimal"`
	Fiat     string `json:"fiat" doc:"currency"`
	Source   string `json:"source" doc:"operator, mostros or unverified"`
	Verified bool   `json:"verified" doc:"the price is the operator's, or enough Mostros with a rank agree"`
	Mostros  int    `json:"mostros" doc:"Mostros that signed a price; 0 for the operator's price"`
	Rated    bool   `json:"rated" doc:"these Mostros have a rank"`
	times           // time of the oldest price
}

// Rules for a verified price of Mostros.
const (
	priceNodes  = 3    // smallest number of Mostros with a rank
	priceSpread = .01  // largest relative change of the price by one Mostro
	priceAgree  = .666 // share of the weight that must lie within priceSpread of the price
)

// weightedRate is a Rate with its weight.
type weightedRate struct {
	Rate
	weight float64
}

// price returns the price of a bitcoin, or nil if there is none. The operator's own
// sources have priority. An attacker can publish any number of price tables with any
// number of keys at no cost. Therefore only Mostros with a rank verify a price. The weight
// of a Mostro is its rank, and no Mostro may move the price by more than a hundredth.
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

// doubt returns the reason why a price is not verified, as text.
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

// agreed reports whether enough of the sorted rates lie near btc, the median, and whether
// the median stays near btc without any one of the rates.
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

// weightedMedian returns the weighted median of sorted rates without the rate at an index.
// If the index is -1, weightedMedian uses all rates.
func weightedMedian(list []weightedRate, without int) float64 {
	whole := 0.0
	for i, r := range list {
		if i != without {
			whole += r.weight
		}
	}
	sum, half := 0.0, -1.0 // half is a rate at which exactly half of the weight is reached
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

// sats returns the sats of an amount of fiat, rounded up, or 0 if the result is not
// plausible.
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
