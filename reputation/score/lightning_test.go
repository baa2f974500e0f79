package score

import (
	"testing"

	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
)

// TestSignedLightningNodeIsNoLink: a key that named the Lightning node of another first, and
// has no signature of it, flags the owner only until the owner shows the signature. Two keys
// that the node signed are one operator.
func TestSignedLightningNodeIsNoLink(t *testing.T) {
	thief, owner, second := scoretest.KeyOf("thief"), scoretest.KeyOf("owner"), scoretest.KeyOf("second key of the owner")
	links := func(ownerSigned, secondSigned, thiefSigned bool) (list []int) {
		l := NewLedger(DefaultParams(), saysSo{})
		for i, x := range []struct {
			pubkey string
			signed bool
		}{{thief, thiefSigned}, {owner, ownerSigned}, {second, secondSigned}} {
			n := l.node(x.pubkey)
			n.IsNode = true
			n.Lightning["02"+scoretest.KeyOf("node")] = named{Since: int64(i + 1), Witness: true, Signed: x.signed}
		}
		index := newLightningIndex(&l.book)
		for _, key := range []string{thief, owner, second} {
			list = append(list, len(index.before(key, l.book.Nodes[key])))
		}
		return list
	}
	for name, c := range map[string]struct{ got, want []int }{
		"nobody signed":           {links(false, false, false), []int{0, 1, 2}},
		"the owner signed":        {links(true, false, false), []int{0, 0, 2}},
		"both keys of the owner":  {links(true, true, false), []int{0, 0, 1}},
		"the thief cannot unlink": {links(false, true, false), []int{0, 1, 0}},
	} {
		for i := range c.want {
			if c.got[i] != c.want[i] {
				t.Errorf("%s: links %v, want %v", name, c.got, c.want)
			}
		}
	}
}
