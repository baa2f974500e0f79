package reputation

import (
	"fmt"
	"math"

	"github.com/mostrodex/mostrodex/mostro"
)

// impostors is a Market that knows which keys use the name of another one.
type impostors interface {
	// Impostor returns the key that was seen first with a name that this key
	// uses, and the name; ok is false for a key that uses nobody's.
	Impostor(pubkey string) (of, name string, ok bool)
}

// namesake is the first owner of a name that another key uses.
type namesake struct{ pubkey, name string }

// doubt notes that a candidate uses the name of another key.
func (c *Candidate) doubt(of namesake) {
	c.UsesNameOf = &of.pubkey
	c.Warnings = append(c.Warnings, fmt.Sprintf("it uses the name of %s (%s), which this relay has known longer: it is another key", of.name, shortKey(of.pubkey)))
}

// cost returns what the best offer of a Mostro costs the visitor, as a fraction
// of the amount: half of the fee, and the premium that a buyer pays or a seller
// forgoes. What is not stated costs more than all that is.
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
