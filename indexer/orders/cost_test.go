package orders

import (
	"math"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
)

func decimal(t *testing.T, s string) *mostro.Decimal {
	t.Helper()
	if s == "" {
		return nil
	}
	d, err := mostro.ParseDecimal(s)
	if err != nil {
		t.Fatal(err)
	}
	return &d
}

// TestTradeOf compares with amounts that were computed by hand.
func TestTradeOf(t *testing.T) {
	for name, c := range map[string]struct {
		side         mostro.Side
		lo, hi       string
		sats         int64
		premium      string
		amount, fee  float64
		rate         float64
		want, wanted int64 // sats and fee; 0: unknown
	}{
		"market price, taker buys":         {mostro.SideSell, "100", "100", 0, "0", 100, 0.006, 100_000, 99_700, 300},
		"market price, taker sells":        {mostro.SideBuy, "100", "100", 0, "0", 100, 0.006, 100_000, 100_300, 300},
		"premium of a seller costs sats":   {mostro.SideSell, "100", "100", 0, "25", 100, 0, 100_000, 80_000, 0},
		"premium of a buyer saves sats":    {mostro.SideBuy, "100", "100", 0, "25", 100, 0, 100_000, 80_000, 0},
		"range":                            {mostro.SideSell, "10", "200", 0, "0", 50, 0.01, 100_000, 49_750, 250},
		"amount outside the range":         {mostro.SideSell, "10", "40", 0, "0", 50, 0.01, 100_000, 0, 0},
		"fixed price needs no rate":        {mostro.SideSell, "100", "100", 90_000, "0", 100, 0.01, math.NaN(), 89_550, 450},
		"market price without a rate":      {mostro.SideSell, "100", "100", 0, "0", 100, 0.01, math.NaN(), 0, 0},
		"market price without a premium":   {mostro.SideSell, "100", "100", 0, "", 100, 0.01, 100_000, 0, 0},
		"unknown fee":                      {mostro.SideSell, "100", "100", 0, "0", 100, math.NaN(), 100_000, 0, 0},
		"premium of minus 100 percent":     {mostro.SideSell, "100", "100", 0, "-100", 100, 0, 100_000, 0, 0},
		"premium below minus 100 percent":  {mostro.SideSell, "100", "100", 0, "-150", 100, 0, 100_000, 0, 0},
		"absurdly small rate":              {mostro.SideSell, "100", "100", 0, "0", 100, 0, 1e-9, 0, 0},
		"unknown side":                     {"", "100", "100", 0, "0", 100, 0, 100_000, 0, 0},
		"range of fixed sats has no price": {mostro.SideSell, "10", "100", 5000, "0", 50, 0, 100_000, 0, 0},
		"amount is not a number":           {mostro.SideSell, "10", "100", 0, "0", math.NaN(), 0, 100_000, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := &mostro.Order{Side: c.side, AmountSats: &c.sats, FiatAmount: mostro.Range{Min: decimal(t, c.lo), Max: decimal(t, c.hi)}, PremiumPct: decimal(t, c.premium)}
			got, ok := TradeOf(o, c.amount, c.fee, c.rate)
			if ok != (c.want != 0) || ok && (got.Sats != c.want || got.Fee != c.wanted) {
				t.Errorf("%+v, %t, want %d sats and a fee of %d", got, ok, c.want, c.wanted)
			}
		})
	}
}

func TestCost(t *testing.T) {
	nan := math.NaN()
	for name, c := range map[string]struct {
		side            mostro.Side
		premium         float64
		sats            int64
		fiat, fee, rate float64
		want            float64
	}{
		"taker buys":                 {mostro.SideSell, 2, 0, nan, 0.01, nan, 0.025},
		"taker sells":                {mostro.SideBuy, 2, 0, nan, 0.01, nan, -0.015},
		"fixed price above the rate": {mostro.SideSell, 0, 100_000, 110, 0, 100_000, 0.1},
		"fixed price without a rate": {mostro.SideSell, 0, 100_000, 110, 0, nan, nan},
		"no fee stated":              {mostro.SideSell, 2, 0, nan, nan, nan, nan},
		"no premium stated":          {mostro.SideSell, nan, 0, nan, 0.01, nan, nan},
		"no side stated":             {"", 2, 0, nan, 0.01, nan, nan},
	} {
		got := Cost(c.side, c.premium, c.sats, c.fiat, c.fiat, c.fee, c.rate)
		if math.IsNaN(got) != math.IsNaN(c.want) || math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
