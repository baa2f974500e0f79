package mostro

import (
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseDecimal(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "-0.000": "0", "+3": "3", "007": "7", "-1.50": "-1.5", ".5": "0.5", "5.": "5",
		"100.00000000": "100", "0.006": "0.006", "112.4": "112.4", "3.3333333333333335": "3.3333333333333335",
		"9007199254740993":       "9007199254740993", // not a float64
		strings.Repeat("9", 40):  strings.Repeat("9", 40),
		"0" + "." + "1" + "0000": "0.1",
	} {
		d, err := ParseDecimal(in)
		if err != nil || d.String() != want {
			t.Errorf("ParseDecimal(%q) = %q, %v; want %q", in, d, err, want)
		}
	}
	for _, in := range []string{
		"", " ", "-", "+", ".", "-.", "1e3", "1E3", "NaN", "Inf", "-Infinity", "0x10", "1_000", "1,5", "1.2.3",
		" 1", "1 ", "--1", "+-1", "None", "٣", "1-2", strings.Repeat("9", 41), "." + strings.Repeat("1", 39), "-." + strings.Repeat("1", 38),
	} {
		if d, err := ParseDecimal(in); !errors.Is(err, ErrDecimal) {
			t.Errorf("ParseDecimal(%q) = %q, %v; want ErrDecimal", in, d, err)
		}
	}
}

// decimalText draws a text that ParseDecimal accepts.
var decimalText = rapid.StringMatching(`[-+]?[0-9]{1,18}(\.[0-9]{1,18})?`)

func TestDecimalAgreesWithRat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		as, bs := decimalText.Draw(t, "a"), decimalText.Draw(t, "b")
		if rapid.Bool().Draw(t, "same whole part") {
			aw, _, _ := strings.Cut(as, ".")
			_, bf, _ := strings.Cut(bs, ".")
			bs = strings.TrimSuffix(aw+"."+bf, ".")
		}
		a, err := ParseDecimal(as)
		if err != nil {
			t.Fatalf("%q: %v", as, err)
		}
		b, err := ParseDecimal(bs)
		if err != nil {
			t.Fatalf("%q: %v", bs, err)
		}
		ar, _ := new(big.Rat).SetString(as)
		br, _ := new(big.Rat).SetString(bs)
		if got, want := a.Cmp(b), ar.Cmp(br); got != want {
			t.Fatalf("%q.Cmp(%q) = %d, want %d", as, bs, got, want)
		}
		if (a == b) != (ar.Cmp(br) == 0) {
			t.Fatalf("%q == %q is %v", as, bs, a == b)
		}
		if got, want := a.Sign(), ar.Sign(); got != want {
			t.Fatalf("%q.Sign() = %d, want %d", as, got, want)
		}
		if n, ok := a.Int64(); ok != (ar.IsInt() && ar.Num().IsInt64()) || ok && n != ar.Num().Int64() {
			t.Fatalf("%q.Int64() = %d, %v", as, n, ok)
		}
		if f, _ := ar.Float64(); a.Float() != f {
			t.Fatalf("%q.Float() = %v, want %v", as, a.Float(), f)
		}
	})
}

func TestDecimalJSON(t *testing.T) {
	in, err := ParseDecimal("-12.50")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]*Decimal{"d": &in})
	if err != nil || string(b) != `{"d":"-12.5"}` {
		t.Fatalf("Marshal = %s, %v", b, err)
	}
	var out map[string]*Decimal
	if err := json.Unmarshal(b, &out); err != nil || *out["d"] != in {
		t.Fatalf("Unmarshal = %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"d":"NaN"}`), &out); !errors.Is(err, ErrDecimal) {
		t.Fatalf("Unmarshal NaN: %v", err)
	}
}

// TestRustFloats compares floats with the text that Rust prints.
func TestRustFloats(t *testing.T) {
	for _, c := range []struct {
		f              float64
		display, serde string
	}{
		{0, "0", "0.0"}, {5, "5", "5.0"}, {4.5, "4.5", "4.5"}, {0.006, "0.006", "0.006"},
		{3.3333333333333335, "3.3333333333333335", "3.3333333333333335"},
		{1e15, "1000000000000000", "1000000000000000.0"}, {1e16, "10000000000000000", "1e16"},
		{1.5e21, "1500000000000000000000", "1.5e21"}, {0.00001, "0.00001", "0.00001"}, {1.5e-6, "0.0000015", "1.5e-6"},
	} {
		if got := rustDisplay(c.f); got != c.display {
			t.Errorf("rustDisplay(%v) = %s, want %s", c.f, got, c.display)
		}
		if got := serdeFloat(c.f); got != c.serde {
			t.Errorf("serdeFloat(%v) = %s, want %s", c.f, got, c.serde)
		}
	}
}

func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"0", "-0.0", "100.00000000", "1e9", "NaN", ".", "+.5", "-1.50", "9999999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDecimal(s)
		if err != nil {
			return
		}
		again, err := ParseDecimal(d.String())
		if err != nil || again != d {
			t.Fatalf("%q -> %q -> %q, %v", s, d, again, err)
		}
		r, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("accepted %q, which is no number", s)
		}
		if n, _ := new(big.Rat).SetString(d.String()); n.Cmp(r) != 0 {
			t.Fatalf("%q became %q", s, d)
		}
	})
}
