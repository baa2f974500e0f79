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

// openPrices returns a feed of sources, which any index can have, with or without an escrow.
// openPrices returns nil if no source is named.
func openPrices(named []string, with ambient) (*price.Feed, error) {
	if len(named) == 0 {
		return nil, nil
	}
	cfg := price.Config{Logger: with.logger, Now: with.now}
	for _, text := range named {
		s, err := priceSource(text)
		if err != nil {
			return nil, err
		}
		cfg.Sources = append(cfg.Sources, s)
	}
	return price.New(cfg), nil
}

// ownPrices lets the reputation read the prices of the operator's own sources.
type ownPrices struct{ feed *price.Feed }

// Price returns the price of one bitcoin, if a source has reported a recent one.
func (p ownPrices) Price(fiat string, now time.Time) (btc float64, ok bool) {
	q := p.feed.Quote(fiat, now.Unix())
	return q.Price, q.Price > 0 && !q.Stale
}
