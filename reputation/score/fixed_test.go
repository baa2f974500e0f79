package score

import (
	"math"
	"math/rand/v2"
	"testing"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > tolerance {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// The oracle is package math. The integer functions must agree with it to the last digit
// that a score keeps.
func TestFunctionsFollowMath(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		a, b := 1+r.Uint64N(1<<r.UintN(62)), 1+r.Uint64N(1<<r.UintN(62))
		near(t, "ln", float64(lnNano(a, b))/nano, math.Log(float64(a))-math.Log(float64(b)), 4e-9)
		x := -r.Int64N(30 * nano)
		near(t, "exp", exp(x).Float(), math.Exp(float64(x)/nano), 1.1e-6)
		m := Micro(1 + r.Int64N(int64(One)))
		near(t, "ln of Micro", float64(m.ln())/nano, math.Log(m.Float()), 4e-9)
		n := r.Uint64N(1 << 62)
		near(t, "root", float64(root(n)), math.Floor(math.Sqrt(float64(n))), 1)
		if s := root(n); s*s > n || (s+1)*(s+1) <= n {
			t.Errorf("root(%d) = %d", n, s)
		}
		age, half := r.Int64N(1e9), 1+r.Int64N(1e8)
		near(t, "halved", halved(age, half).Float(), math.Exp2(-float64(age)/float64(half)), 1.1e-6)
		sats := r.Int64N(1e10)
		near(t, "log10", log10Ratio(sats, 1000).Float(), math.Log10(1+float64(sats)/1000), 2e-6)
	}
	near(t, "exp(1)", float64(expNano(nano))/float64(unit), math.E, 1e-8)
	near(t, "mulDiv", float64(mulDiv(-7, 5, 2)), -17, 0)
	if mulDiv(math.MaxInt64, math.MaxInt64, 1) != saturated || mulDiv(math.MinInt64+1, math.MaxInt64, 3) != -saturated {
		t.Error("an overflow is not saturated")
	}
}

// betaCDF integrates the density in float64 with ten times as many cells.
func betaCDF(a, b, x float64) float64 {
	const n = 200_000
	below, all := 0.0, 0.0
	lg := func(v float64) float64 { g, _ := math.Lgamma(v); return g }
	norm := lg(a+b) - lg(a) - lg(b)
	for i := range n {
		at := (float64(i) + .5) / n
		d := math.Exp(norm + (a-1)*math.Log(at) + (b-1)*math.Log(1-at))
		all += d
		if at < x {
			below += d
		}
	}
	return below / all
}

func TestQuantilesFollowBeta(t *testing.T) {
	for _, c := range [][2]float64{{1, 1}, {4, 1}, {1, 39}, {2.5, 7.25}, {40, 10}, {300, 20}, {9000, 1000}, {1, 300}} {
		q := posterior{Micro(c[0] * 1e6), Micro(c[1] * 1e6)}.quantiles(2000)
		for _, k := range []int{0, 100, 500, 1000, 1500, 1899, 1999} {
			want := (float64(k) + .5) / 2000
			near(t, "cdf of the quantile", betaCDF(c[0], c[1], q[k].Float()), want, .003)
		}
		sum := Micro(0)
		for i, v := range q {
			if i > 0 && v < q[i-1] || v < 0 || v > One {
				t.Fatalf("Beta%v: quantile %d is %v after %v", c, i, v, q[i-1])
			}
			sum += v
		}
		near(t, "mean", (sum / 2000).Float(), c[0]/(c[0]+c[1]), .001)
	}
}

func TestShufflesAreOrders(t *testing.T) {
	s := shufflesFor(2000, 38383)
	for j := range posteriors {
		held := make([]bool, 2000)
		for _, k := range s.order[j] {
			if held[k] {
				t.Fatalf("shuffle %d uses %d twice", j, k)
			}
			held[k] = true
		}
	}
}

func TestMicroText(t *testing.T) {
	for _, c := range []struct {
		text string
		want Micro
	}{{"0", 0}, {"1", One}, {"0.5", 500_000}, {"-0.000001", -1}, {"12.3456789", 12_345_678}} {
		got, err := ParseMicro(c.text)
		if err != nil || got != c.want {
			t.Errorf("ParseMicro(%q) = %v, %v", c.text, got, err)
		}
		if back, err := ParseMicro(got.String()); err != nil || back != got {
			t.Errorf("%v does not read back: %v, %v", got, back, err)
		}
	}
	for _, bad := range []string{"", ".5", "x", "1e3", "NaN", "0x1", "1.2.3", "--1", "99999999999999999999"} {
		if v, err := ParseMicro(bad); err == nil {
			t.Errorf("ParseMicro(%q) = %v", bad, v)
		}
	}
}
