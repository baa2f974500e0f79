package reputation

import (
	"fmt"
	"math"

	"github.com/mostrodex/mostrodex/mostro"
)

// impostors is an optional interface of a Market that knows which keys use the name of
// another key.
type impostors interface {
	// Impostor returns the first seen key with the same name as pubkey, and the name. ok
	// is false if pubkey uses the name of no other key.
	Impostor(pubkey string) (of, name string, ok bool)
}

// namesake is the first owner of a name that a later key also uses.
type namesake struct{ pubkey, name string }

// doubt records that a candidate uses the name of another key.
func (c *Candidate) doubt(of namesake) {
	c.UsesNameOf = &of.pubkey
	c.Warnings = append(c.Warnings, fmt.Sprintf("it uses the name of %s (%s), which this relay has known longer: it is another key", of.name, shortKey(of.pubkey)))
}

// cost returns the cost of the best offer for the visitor, as a fraction of the amount:
// half of the fee, plus the premium that a buyer pays or a seller forgoes. If the fee or
// the premium is not stated, cost returns infinity.
func cost(fee *mostro.Decimal, best *offerView, side mostro.Side) float64 {
	if fee == nil || best == nil || best.PremiumPct == nil {
		return math.Inf(1)
	}
	premium := best.PremiumPct.Float() / 100
	if side == mostro.SideSell {
		premium = -premium
	}
	return fee.Float()/2 + premium
}
