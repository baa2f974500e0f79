package trade

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"

	"github.com/mostrodex/mostrodex/mostro"
)

// MaxSats is every bitcoin there can be, and so a bound for any amount.
const MaxSats = 21_000_000 * satsPerBTC

const satsPerBTC = 100_000_000

// Fraction is a share of an amount in billionths: 0.006 is 6,000,000. It is
// exact where a float is not, so that two programs that agree on the decimal
// agree on every sat.
type Fraction int64

// fractionOne is the whole.
const fractionOne Fraction = 1_000_000_000

// FractionOf gives a decimal from 0 to 1 with at most nine decimals.
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

// Decimal gives the fraction as the wire writes it: "0.006".
func (f Fraction) Decimal() mostro.Decimal {
	d, err := mostro.ParseDecimal(fmt.Sprintf("%d.%09d", f/fractionOne, f%fractionOne))
	if err != nil {
		return mostro.Decimal{} // only for a negative fraction, which FractionOf never makes
	}
	return d
}

// share gives round(f * amount / parts), half away from zero. The amount is
// at most MaxSats and not negative.
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

// floor gives f * amount, rounded down.
func (f Fraction) floor(amountSats int64) int64 {
	if amountSats <= 0 || f <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(f), uint64(amountSats))
	quotient, _ := bits.Div64(hi, lo, uint64(fractionOne))
	return int64(quotient)
}

// SideFee gives what each side pays of the fee: half of it, rounded half away
// from zero. The seller locks the amount and this, the buyer gets the amount
// less this.
func (f Fraction) SideFee(amountSats int64) (feeSats int64) { return f.share(amountSats, 2) }

// DevFee gives the development fund's share of both sides' fees. It changes
// neither what the seller locks nor what the buyer gets.
func (f Fraction) DevFee(feeSats int64) (devFeeSats int64) { return f.share(2*feeSats, 1) }

// RoutingCap gives the most that a payout may cost in routing: one percent of
// small amounts, at least 10 sats; the operator's fraction of others.
func (f Fraction) RoutingCap(amountSats int64) (maxFeeSats int64) {
	if amountSats <= 1000 {
		return max(amountSats/100, 10)
	}
	return f.floor(amountSats)
}

// quoteSats gives the sats that a fiat amount buys at a price, less the
// premium in percent: a maker who asks for more fiat gives fewer sats. ok is
// false when no amount of sats comes out.
//
// It is the one place with floating point: prices are floats, and the
// reference node quotes in floats, in this order.
func quoteSats(fiat int64, price float64, premium int64) (amountSats int64, ok bool) {
	if fiat < 0 || !(price > 0) || math.IsInf(price, 0) {
		return 0, false
	}
	base := float64(fiat) / price * satsPerBTC
	sats := math.Trunc(base - float64(premium)/100*base)
	if math.IsNaN(sats) || sats < 0 || sats > MaxSats {
		return 0, false
	}
	return int64(sats), true
}
