package orders

import (
	"math"

	"github.com/mostrodex/mostrodex/mostro"
)

// Costs is the input of the costs of orders: the fees of the publishers and the reference
// rates.
type Costs struct {
	Fees  map[string]float64 // by public key: fraction of the amount, both sides together
	Rates map[string]float64 // by currency: price of one bitcoin
}

// Cost returns the cost of an order for its taker, as a fraction of the amount: half of the
// fee, and the premium that a taker who buys pays, or that a taker who sells forgoes. Below 0
// the taker gains. premium is in percent. If sats is above 0, the price is fixed, and the
// premium is that of fiat / sats over rate. Unknown numbers are NaN, and so is the cost if a
// number that it needs is unknown.
func Cost(maker mostro.Side, premium float64, sats int64, fiatMin, fiatMax, fee, rate float64) float64 {
	premium /= 100
	if sats > 0 {
		premium = math.NaN()
		if fiatMin == fiatMax && rate > 0 {
			premium = fiatMax/float64(sats)*1e8/rate - 1
		}
	}
	switch maker {
	case mostro.SideSell:
		return premium + fee/2
	case mostro.SideBuy:
		return -premium + fee/2
	}
	return math.NaN()
}

// Trade is what one order comes to for its taker.
type Trade struct {
	Fiat float64 // amount of fiat
	Sats int64   // received by a taker who buys, or paid by a taker who sells, after the fee
	Fee  int64   // half of the fee, in sats
}

// TradeOf returns what an order comes to for a taker who trades an amount of fiat. fee is the
// fee of the publisher as a fraction, both sides together; rate is the price of one bitcoin,
// NaN if unknown. ok is false if a number is unknown or if the order does not allow the
// amount.
func TradeOf(o *mostro.Order, amount, fee, rate float64) (t Trade, ok bool) {
	lo, hi := RangeOf(o.FiatAmount)
	if !(amount > 0 && amount >= lo && amount <= hi) || !(fee >= 0 && fee < 1) { // false for NaN
		return t, false
	}
	var sats float64
	switch {
	case o.AmountSats != nil && *o.AmountSats > 0:
		if sats = float64(*o.AmountSats); lo != hi {
			return t, false // a range with fixed sats: the price is unknown
		}
	case o.AmountSats != nil && rate > 0 && o.PremiumPct != nil:
		sats = amount / (rate * (1 + o.PremiumPct.Float()/100)) * 1e8
	default:
		return t, false
	}
	half := sats * fee / 2
	if sats = math.Round(sats); !(sats >= 1 && sats <= 21e14) {
		return t, false
	}
	t = Trade{Fiat: amount, Fee: int64(math.Round(half))}
	switch o.Side {
	case mostro.SideSell:
		t.Sats = int64(sats) - t.Fee
	case mostro.SideBuy:
		t.Sats = int64(sats) + t.Fee
	default:
		return t, false
	}
	return t, t.Sats > 0
}

// MakerDaysOf returns the age of the maker's account in days when the version was signed, or
// NaN if unknown.
func MakerDaysOf(o *mostro.Order) float64 {
	if o.MakerRating == nil {
		return math.NaN()
	}
	if days := o.MakerRating.AgeDays(o.CreatedAt); days != nil {
		return float64(*days)
	}
	return math.NaN()
}
