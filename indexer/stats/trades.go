package stats

import (
	"cmp"
	"slices"

	"github.com/mostrodex/mostrodex/mostro"
)

// Trade is an executed order of a fixed fiat amount.
type Trade struct {
	Seq     uint64 // of the event that announced the success
	At      int64  // time of the success, by the clock
	Side    mostro.Side
	Fiat    string
	Amount  float64 // fiat
	Sats    int64
	Methods []string
}

// Price returns the price of one bitcoin.
func (t *Trade) Price() float64 { return t.Amount / float64(t.Sats) * 1e8 }

// Trades returns the executed orders of a fixed amount in the window, oldest first. Orders
// without sats are left out. The error is a ParamError.
func (c *Collector) Trades(q Query) ([]Trade, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	s, _ := newScan(c, &q, windowBounds(q.From, q.Until), needCompleted, "")
	var out []Trade
	for i := 0; i < c.orders.n; i += rows {
		chunk := c.orders.chunks[i/rows]
		if sp := chunk.spans[q.Clock][firstSuccess]; sp.first == 0 || int64(sp.last) < q.From || int64(sp.first) >= q.Until {
			continue
		}
		for k := range min(rows, c.orders.n-i) {
			t := chunk.at[q.Clock][firstSuccess][k]
			if chunk.status[k] != statusSuccess || chunk.flags[k]&flagFixed == 0 || chunk.sats[k] <= 0 || !(chunk.amount[k] > 0) ||
				s.bucket(t) != 1 || s.targets[chunk.cohort[k]] == nil {
				continue
			}
			h := &c.cohorts[chunk.cohort[k]]
			trade := Trade{Seq: s.seqOf(i+k, statusSuccess), At: int64(t), Side: mostro.Side(sideOf(h.buy)), Fiat: c.fiats.text[h.fiat], Amount: chunk.amount[k], Sats: chunk.sats[k]}
			for _, label := range c.methodsOf(h.methods) {
				trade.Methods = append(trade.Methods, c.labels.text[label])
			}
			out = append(out, trade)
		}
	}
	slices.SortFunc(out, func(a, b Trade) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq)) })
	return out, nil
}
