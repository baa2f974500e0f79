package main

import (
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
)

// priceSource reads one of reputation.prices: the name of a provider, or
// name=URL for another address of it.
func priceSource(text string) (escrow.HTTPSource, error) {
	name, url, _ := strings.Cut(text, "=")
	s := escrow.HTTPSource{Provider: strings.TrimSpace(name), URL: strings.TrimSpace(url)}
	return s, s.Check()
}

// openPrices sets up the sources of reputation.prices, which any index can have,
// with or without an escrow.
func (m *Main) openPrices() error {
	if len(m.Config.Reputation.Prices) == 0 {
		return nil
	}
	m.prices = &escrow.Prices{Clock: m.Now, Logger: m.Log}
	for _, text := range m.Config.Reputation.Prices {
		s, err := priceSource(text)
		if err != nil {
			return err
		}
		m.prices.Sources = append(m.prices.Sources, s)
	}
	return nil
}

// ownPrices shows the reputation the prices of the operator's own sources: those
// of reputation.prices, else the escrow's. The escrow opens after the
// reputation, so it is looked up at each question.
type ownPrices struct{ m *Main }

// Price returns the price of one bitcoin, if a source has said one of late.
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
