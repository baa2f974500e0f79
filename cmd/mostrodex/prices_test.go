package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/price"
)

// An index without an escrow polls the sources in reputation.prices, and choose prefers their
// prices to all prices that Mostros sign.
func TestOwnPricesOfAnIndex(t *testing.T) {
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/exrates/BTC" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte(`{"BTC":{"EUR":1000000}}`))
	}))
	defer source.Close()
	m := mustRunConfig(t, t.TempDir(), func(c *Config) { c.Reputation.Prices = []string{"yadio=" + source.URL} })
	var c struct {
		Price *struct {
			BTC, Source string
			Verified    bool
		}
		AmountSats *int64 `json:"amount_sats"`
	}
	eventually(t, "the price", func() bool {
		getJSON(t, "http://"+m.Addr()+"/api/v1/choose?fiat=eur&amount=100&side=buy", &c)
		return c.Price != nil
	})
	if c.Price.Source != "operator" || !c.Price.Verified || c.Price.BTC != "1000000.00" || c.AmountSats == nil || *c.AmountSats != 10_000 {
		t.Errorf("%+v", c.Price)
	}
	own := ownPrices{m.prices}
	if btc, ok := own.Price("EUR", time.Now().Add(time.Hour)); ok {
		t.Errorf("a price of an hour ago is used: %v", btc)
	}
	escrows := price.New(price.Config{})
	for want, s := range map[*price.Feed]surface{
		nil: {escrow: &escrowRoom{}}, escrows: {escrow: &escrowRoom{prices: escrows}}, m.prices: {prices: m.prices, escrow: &escrowRoom{prices: escrows}},
	} {
		if s.ownPrices() != want {
			t.Errorf("the own sources of %+v are not %p", s, want)
		}
	}
}

func TestPriceSourcesAreChecked(t *testing.T) {
	for value, good := range map[string]bool{"": true, "yadio": true, "yadio,coingecko": true, "yadio=http://127.0.0.1:1": true, "moon": false, "yadio=ftp://x": false} {
		_, err := loadConfig("", []string{"MOSTRODEX_REPUTATION_PRICES=" + value})
		if (err == nil) != good || !good && !strings.Contains(err.Error(), "reputation.prices") {
			t.Errorf("%q: %v", value, err)
		}
	}
}
