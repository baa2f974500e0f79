package stats

import "slices"

// signers finds the rate by which offers are compared: the median of the newest price that each
// known signer signed. A known signer is a node that published an info event and that the
// query neither excludes nor distrusts. Among three or more signers, one signer cannot move the
// rate beyond the prices of the others.
type signers struct {
	c        *Collector
	excluded []bool
	distrust func(pubkey string) bool
	known    []int8  // by author: 0 not judged yet, 1 known, -1 not
	round    []int32 // by author: the last round in which a price was taken
	now      int32
	prices   []float64
}

func newSigners(c *Collector, excluded []bool, distrust func(string) bool) *signers {
	return &signers{c: c, excluded: excluded, distrust: distrust, known: make([]int8, len(c.authors)), round: make([]int32, len(c.authors))}
}

func (g *signers) knows(id uint32) bool {
	if g.known[id] == 0 {
		g.known[id] = -1
		if len(g.c.authors[id].policies) > 0 && (g.excluded == nil || !g.excluded[id]) && (g.distrust == nil || !g.distrust(hexOf(g.c.authors[id].pubkey))) {
			g.known[id] = 1
		}
	}
	return g.known[id] == 1
}

// each calls fn with the newest price of each known signer of a currency that is not after t
// and at most maxAge seconds old at t, the newest first.
func (g *signers) each(fiat uint32, t, maxAge int64, fn func(author uint32, price float64, at uint32)) {
	s := g.c.rates[fiat]
	if s == nil || fiat == 0 || t <= 0 || t > maxTime {
		return
	}
	g.now++
	for i := s.after(uint32(t), len(s.at)) - 1; i >= 0 && t-int64(s.at[i]) <= maxAge; i-- {
		if id := s.author[i]; g.round[id] != g.now && g.knows(id) {
			g.round[id] = g.now
			fn(id, s.price[i], s.at[i])
		}
	}
}

// median returns the median of the prices of each: of an even number, the mean of the middle two.
func (g *signers) median(fiat uint32, t, maxAge int64) (price float64, ok bool) {
	g.prices = g.prices[:0]
	g.each(fiat, t, maxAge, func(_ uint32, price float64, _ uint32) { g.prices = append(g.prices, price) })
	n := len(g.prices)
	if n == 0 {
		return 0, false
	}
	slices.Sort(g.prices)
	return g.prices[(n-1)/2]/2 + g.prices[n/2]/2, true
}
