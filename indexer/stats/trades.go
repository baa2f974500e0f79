package stats

import (
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
