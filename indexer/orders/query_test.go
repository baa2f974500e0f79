package orders

import (
	"errors"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
)

func TestParseSearch(t *testing.T) {
	one := func(f float64) *float64 { return &f }
	for in, want := range map[string]Query{
		`transferencia fiat:ves side:sell`:                 {Text: "transferencia", Fiat: []string{"VES"}, Side: []mostro.Side{"sell"}},
		`method:"pago movil" amount:1000-50000`:            {Method: []string{"pago movil"}, Amount: Span{one(1000), one(50000)}},
		`premium:<=2 platform:RoboSats`:                    {Premium: Span{nil, one(2)}, Platform: []string{"robosats"}},
		`premium:-5--2`:                                    {Premium: Span{one(-5), one(-2)}},
		`amount:>1000`:                                     {Amount: Span{one(math.Nextafter(1000, 2000)), nil}},
		`status:in-progress network:testnet lang:es`:       {Status: []mostro.Status{"in-progress"}, Network: []string{"testnet"}},
		`"a phrase: with colon" https://example.com/x`:     {Text: "a phrase: with colon https://example.com/x"},
		`include:spam FIAT:usd,EUR`:                        {Fiat: []string{"USD", "EUR"}, Spam: true},
		`include:other FIAT:usd`:                           {Fiat: []string{"USD"}},
		`mostro:` + strings.Repeat("0a", 32) + ` pm:Zelle`: {Instance: []string{strings.Repeat("0a", 32)}, Method: []string{"Zelle"}},
		`fiat:`: {},
	} {
		want.Open = OpenAny
		got, none := ParseSearch(in)
		if none || got.CacheKey() != want.CacheKey() {
			t.Errorf("ParseSearch(%q)\n got %s (%v)\nwant %s", in, got.CacheKey(), none, want.CacheKey())
		}
	}
	for _, in := range []string{"amount:lots", "side:both", "instance:me", "premium:5..1"} {
		if _, none := ParseSearch(in); !none {
			t.Errorf("ParseSearch(%q) can match events", in)
		}
	}
}

func FuzzParseSearch(f *testing.F) {
	for _, s := range []string{`transferencia fiat:VES`, `method:"pago movil`, `amount:1-2-3`, `premium:<`, `a:b:c`, "\"\"", `amount:--`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, none := ParseSearch(s)
		for _, span := range []Span{q.Amount, q.Premium, q.FiatAmount} {
			if span.Min != nil && (math.IsNaN(*span.Min) || span.Max != nil && *span.Min > *span.Max && !none) {
				t.Errorf("%q returns a span that holds no number", s)
			}
		}
		if len(q.Fiat) > maxValues || len(q.Method) > maxValues || len(words.Asked(q.Text)) > words.MaxAsked {
			t.Errorf("%q is not bounded", s)
		}
		q.Matches(&Version{Order: mostro.Order{Methods: []string{s}}}, time.Unix(1_790_000_000, 0))
	})
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"q=a&fiat=USD&limit=3", "amount=1-2&at=2026-01-01T00:00:00Z", "cursor=AW5ld2VzdAA", "min_premium=-1.5&sort=-premium"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		values, err := url.ParseQuery(s)
		if err != nil {
			t.Skip("not a query string")
		}
		q, err := ParseQuery(values)
		if err != nil {
			return
		}
		if q.PageSize() < 1 || q.PageSize() > MaxLimit {
			t.Errorf("%q: limit %d", s, q.PageSize())
		}
		if m, err := q.After(); err != nil || m != nil && q.CursorAt(*m) == "" {
			t.Errorf("%q: cursor: %v", s, err)
		}
	})
}

func TestPairsInQ(t *testing.T) {
	two, minus := 2.0, -1.0
	for text, want := range map[string]Query{
		"venezuela premium:<=2":               {Text: "venezuela", Premium: Span{Max: &two}},
		"side:sell pago movil fiat:ves":       {Text: "pago movil", Side: []mostro.Side{"sell"}, Fiat: []string{"VES"}},
		`method:"pago movil" premium:-1..2`:   {Method: []string{"pago movil"}, Premium: Span{Min: &minus, Max: &two}},
		`"side:sell" other:thing at:all cash`: {Text: "side:sell other:thing at:all cash"},
		"https://example.org/ status:":        {Text: "https://example.org/ status:"},
	} {
		got, err := ParseQuery(url.Values{"q": {text}})
		got.asked = 0
		if err != nil || got.CacheKey() != want.CacheKey() {
			t.Errorf("%s: %s, want %s (%v)", text, got.CacheKey(), want.CacheKey(), err)
		}
	}
	var wrong *QueryError
	if _, err := ParseQuery(url.Values{"q": {"cash side:both"}}); !errors.As(err, &wrong) || wrong.Param != "q" || !strings.Contains(wrong.Reason, "side") {
		t.Errorf("side:both: %v", err)
	}
}
