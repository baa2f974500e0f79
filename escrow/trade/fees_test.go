package trade

import (
	"math"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"pgregory.net/rapid"
)

func fraction(tb testing.TB, text string) Fraction {
	tb.Helper()
	d, err := mostro.ParseDecimal(text)
	if err != nil {
		tb.Fatal(err)
	}
	f, err := FractionOf(d)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func TestFractionOf(t *testing.T) {
	for text, want := range map[string]Fraction{"0": 0, "1": fractionOne, "0.006": 6_000_000, "0.000000001": 1, "0.30": 300_000_000} {
		if got := fraction(t, text); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
	for _, text := range []string{"-0.1", "1.000000001", "2", "0.0000000001"} {
		d, err := mostro.ParseDecimal(text)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := FractionOf(d); err == nil {
			t.Errorf("%s: accepted as %d", text, f)
		}
	}
	for _, text := range []string{"0", "1", "0.006", "0.3", "0.000000001"} {
		if got := fraction(t, text).Decimal().String(); got != text {
			t.Errorf("%s written as %s", text, got)
		}
	}
}

func TestFees(t *testing.T) {
	for _, c := range []struct {
		fee, dev            string
		amount, side, devTo int64
	}{
		{"0.006", "0.3", 100_000, 300, 180},
		{"0.006", "0.3", 52_000, 156, 94}, // 93.6
		{"0", "0.3", 100_000, 0, 0},
		{"0.006", "1", 100_000, 300, 600},
		{"0.006", "0.1", 100, 0, 0}, // 0.3
		{"0.006", "0.1", 167, 1, 0}, // 0.501; dev 0.2
		{"0.006", "0.1", 166, 0, 0}, // 0.498
		{"0.006", "0.5", 500, 2, 2}, // 1.5: half away from zero
		{"0.01", "0.25", 1_000_000, 5000, 2500},
		{"1", "0.1", MaxSats, MaxSats / 2, MaxSats / 10},
	} {
		side := fraction(t, c.fee).SideFee(c.amount)
		if side != c.side {
			t.Errorf("fee %s of %d: %d a side, want %d", c.fee, c.amount, side, c.side)
		}
		if dev := fraction(t, c.dev).DevFee(side); dev != c.devTo {
			t.Errorf("dev fee %s of %d a side: %d, want %d", c.dev, side, dev, c.devTo)
		}
	}
	if got := fraction(t, "0.006").SideFee(0); got != 0 {
		t.Errorf("fee of 0 sats: %d", got)
	}
}

func TestRoutingCap(t *testing.T) {
	f := fraction(t, "0.002")
	for amount, want := range map[int64]int64{1: 10, 999: 10, 1000: 10, 1001: 2, 1499: 2, 1500: 3, 100_000: 200, 99_700: 199} {
		if got := f.RoutingCap(amount); got != want {
			t.Errorf("%d sats: cap %d, want %d", amount, got, want)
		}
	}
	if got := fraction(t, "0").RoutingCap(500); got != 10 {
		t.Errorf("small amounts have a floor of their own: %d", got)
	}
}

func TestQuote(t *testing.T) {
	for _, c := range []struct {
		fiat    int64
		price   float64
		premium int64
		want    int64
	}{
		{50, 100_000, 0, 50_000},
		{50, 100_000, 2, 49_000},
		{50, 100_000, -3, 51_500},
		{100, 95_123.45, 0, 105_127}, // 105126.5
		{100, 60_000, 0, 166_667},    // 166666.67
		{100, 60_000, 1, 165_000},
		{1, 300_000, 0, 333}, // 333.33
		{0, 100_000, 0, 0},
		{1, 100_000, 100, 0},
	} {
		got, ok := quoteSats(c.fiat, c.price, c.premium, rules2)
		if !ok || got != c.want {
			t.Errorf("%d at %v, premium %d: %d %v, want %d", c.fiat, c.price, c.premium, got, ok, c.want)
		}
	}
	for price, want := range map[float64]int64{95_123.45: 105_126, 60_000: 166_666} {
		if got, _ := quoteSats(100, price, 0, rules1); got != want {
			t.Errorf("100 at %v by the rules of before: %d, want %d", price, got, want)
		}
	}
	for _, price := range []float64{0, -1, math.NaN(), math.Inf(1), 1e-300} {
		if got, ok := quoteSats(100, price, 0, rules2); ok {
			t.Errorf("price %v: %d sats", price, got)
		}
	}
	if got, ok := quoteSats(1, 1, 101, rules2); ok {
		t.Errorf("premium above all: %d sats", got)
	}
	if got, ok := quoteSats(math.MaxInt64, 1, 0, rules2); ok {
		t.Errorf("more than there is: %d sats", got)
	}
}

// For any amount and fee, the sums of the sides agree: the seller locks the sum that the
// buyer receives plus both fees.
func TestFeesConserve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Fraction(rapid.Int64Range(0, int64(fractionOne)).Draw(t, "fee"))
		amount := rapid.Int64Range(1, MaxSats).Draw(t, "amount")
		side := f.SideFee(amount)
		if side < 0 || side > amount/2+1 {
			t.Fatalf("side fee %d of %d", side, amount)
		}
		exact := float64(f) / 1e9 * float64(amount) / 2
		if math.Abs(exact-float64(side)) > 0.5+exact*1e-12 {
			t.Fatalf("side fee %d, exactly %f", side, exact)
		}
		dev := Fraction(rapid.Int64Range(0, int64(fractionOne)).Draw(t, "dev")).DevFee(side)
		if dev < 0 || dev > 2*side {
			t.Fatalf("dev fee %d of %d", dev, 2*side)
		}
	})
}
