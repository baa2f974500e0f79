package orders

import (
	"errors"
	"strings"
	"testing"
)

func TestParseFilter(t *testing.T) {
	q, err := ParseFilter(`fiat:ves,USD side:sell method:"pago movil" premium:<=2 min_rank:50`)
	if err != nil || len(q.Fiat) != 2 || q.Fiat[0] != "VES" || q.Method[0] != "pago movil" || *q.Premium.Max != 2 || q.MinRank != 50 {
		t.Fatalf("%+v, %v", q, err)
	}
	if q, err := ParseFilter("  "); err != nil || q.Filtered() {
		t.Errorf("the empty filter: %+v, %v", q, err)
	}
	many := "fiat:" + strings.Repeat("AAA,", 5)
	for i := range 25 {
		many += "," + string(rune('A'+i)) + "BC"
	}
	for _, text := range []string{"venezuela", "status:success", "open:any", "limit:5", "include:spam", "fiat:", `"fiat:VES"`, "premium:much", "side:up", "cursor:x", "sort:newest", "at:1",
		"fiat:VES " + strings.Repeat(" ", MaxFilter), many, "instance:xyz", "min_rank:0"} {
		var refused *QueryError
		if q, err := ParseFilter(text); !errors.As(err, &refused) || refused.Param != "filter" {
			t.Errorf("%.40q: %+v, %v", text, q, err)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add(`fiat:VES side:sell method:"pago movil" amount:1-2`)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := ParseFilter(text)
		if err != nil && q.Filtered() {
			t.Fatal("a refused filter has conditions")
		}
		if q.Open != OpenTrue || len(q.Status) > 0 || q.Spam || q.Text != "" || !q.At.IsZero() || q.Limit != 0 {
			t.Fatalf("%q sets %+v", text, q)
		}
	})
}
