package trade

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"

	"github.com/mostrodex/mostrodex/mostro"
)

// MaxSats is the number of sats that can ever exist, and therefore an upper bound of any
// amount.
const MaxSats = 21_000_000 * satsPerBTC

const satsPerBTC = 100_000_000

// Fraction is a share of an amount in billionths: 0.006 is 6,000,000. A fraction is exact,
// unlike a float, so two programs with the same decimal compute the same sats.
type Fraction int64

// fractionOne is the fraction 1.
const fractionOne Fraction = 1_000_000_000

// FractionOf returns the fraction of a decimal. FractionOf returns an error if the decimal
// is not from 0 to 1, or has more than nine decimal places.
func FractionOf(d mostro.Decimal) (Fraction, error) {
	if d.Sign() < 0 || d.Cmp(mostro.DecimalOf(1)) > 0 {
		return 0, fmt.Errorf("fraction %s is not from 0 to 1", d)
	}
	r, ok := new(big.Rat).SetString(d.String())
	if !ok {
		return 0, fmt.Errorf("fraction %s: %w", d, mostro.ErrDecimal)
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(fractionOne)))
	if !r.IsInt() {
		return 0, fmt.Errorf("fraction %s has more than nine decimals", d)
	}
	return Fraction(r.Num().Int64()), nil
}

// Decimal returns the fraction as a decimal of the wire, for example 0.006.
func (f Fraction) Decimal() mostro.Decimal {
	d, err := mostro.ParseDecimal(fmt.Sprintf("%d.%09d", f/fractionOne, f%fractionOne))
	if err != nil {
		return mostro.Decimal{} // only for a negative fraction, which FractionOf never returns
	}
	return d
}

// share returns round(f * amount / parts), half away from zero. The amount is at most
// MaxSats and not negative.
func (f Fraction) share(amountSats, parts int64) int64 {
	if amountSats <= 0 || f <= 0 {
		return 0
	}
	divisor := uint64(parts) * uint64(fractionOne)
	hi, lo := bits.Mul64(uint64(f), uint64(amountSats))
	lo, carry := bits.Add64(lo, divisor/2, 0)
	quotient, _ := bits.Div64(hi+carry, lo, divisor)
	return int64(quotient)
}

// floor returns f * amount, rounded down.
func (f Fraction) floor(amountSats int64) int64 {
	if amountSats <= 0 || f <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(f), uint64(amountSats))
	quotient, _ := bits.Div64(hi, lo, uint64(fractionOne))
	return int64(quotient)
}

// SideFee returns the fee of each side in sats: half of the fee, rounded half away from
// zero. The seller locks the amount plus the side fee. The buyer receives the amount less
// the side fee.
func (f Fraction) SideFee(amountSats int64) (feeSats int64) { return f.share(amountSats, 2) }

// DevFee returns the development fund's share of the fees of both sides, in sats. The
// share changes neither the sum that the seller locks nor the sum that the buyer receives.
func (f Fraction) DevFee(feeSats int64) (devFeeSats int64) { return f.share(2*feeSats, 1) }

// RoutingCap returns the largest routing fee of a payout, in sats. For an amount of at
// most 1,000 sats the cap is one percent, but at least 10 sats. For a larger amount the
// cap is the operator's fraction.
func (f Fraction) RoutingCap(amountSats int64) (maxFeeSats int64) {
	if amountSats <= 1000 {
		return max(amountSats/100, 10)
	}
	return f.floor(amountSats)
}

// quoteSats returns the sats that a fiat amount buys at a price, less the premium in
// percent: a maker with a higher premium pays fewer sats for the same fiat. ok is false if
// the result is no valid amount of sats.
//
// quoteSats is the only function with floating point. Prices are floats, and the reference
// node computes a quote with floats in this order. The result is rounded to the nearest sat,
// half away from zero. Before rules2 it was rounded down.
func quoteSats(fiat int64, price float64, premium int64, rules Rules) (amountSats int64, ok bool) {
	if fiat < 0 || !(price > 0) || math.IsInf(price, 0) {
		return 0, false
	}
	base := float64(fiat) / price * satsPerBTC
	// The conversion keeps the compiler from fusing the operations, whose result would differ
	// between processors.
	sats := math.Round(base - float64(float64(premium)/100*base))
	if rules < rules2 {
		sats = math.Trunc(base - float64(premium)/100*base)
	}
	if math.IsNaN(sats) || sats < 0 || sats > MaxSats {
		return 0, false
	}
	return int64(sats), true
}
