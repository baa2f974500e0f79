package main

import (
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow/price"
)

// priceSource parses an entry of reputation.prices: the name of a provider, or name=URL for
// another address of the provider.
func priceSource(text string) (price.HTTPSource, error) {
	name, url, _ := strings.Cut(text, "=")
	s := price.HTTPSource{Provider: strings.TrimSpace(name), URL: strings.TrimSpace(url)}
	return s, s.Check()
}

// openPrices opens the sources of reputation.prices, which any index can have, with or
// without an escrow.
func (m *Main) openPrices() error {
	if len(m.Config.Reputation.Prices) == 0 {
		return nil
	}
	cfg := price.Config{Logger: m.Logger, Now: m.Now}
	for _, text := range m.Config.Reputation.Prices {
		s, err := priceSource(text)
		if err != nil {
			return err
		}
		cfg.Sources = append(cfg.Sources, s)
	}
	m.prices = price.New(cfg)
	return nil
}

// ownPrices lets the reputation read the prices of the operator's own sources. These
// are the sources of reputation.prices, or those of the escrow if none are set. The escrow
// opens after the reputation, so ownPrices reads the escrow's sources at each call.
type ownPrices struct{ m *Main }

// Price returns the price of one bitcoin, if a source has reported a recent one.
func (p ownPrices) Price(fiat string, now time.Time) (btc float64, ok bool) {
	from := p.m.prices
	if from == nil && p.m.escrow != nil {
		from = p.m.escrow.prices
	}
	if from == nil {
		return 0, false
	}
	q := from.Quote(fiat, now.Unix())
	return q.Price, q.Price > 0 && !q.Stale
}
