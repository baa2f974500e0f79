package interopmostrod

import (
	"fmt"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// describing are the kinds by which a Mostro describes itself and its users.
var describing = []int{mostro.KindInfo, mostro.KindHealth, mostro.KindRelayList, mostro.KindProfile, mostro.KindAppData, mostro.KindUserRating}

// described compares the newest event of each kind of describing.
func (w *world) described(t *testing.T) []difference {
	var played []*transcript
	for _, node := range []mostroNode{w.theirs, w.ours} {
		x := &transcript{script: "description", node: node.name}
		n := &normaliser{pairs: []string{w.relay, "RELAY", node.keys.Pubkey(), "NODE", w.nodes.Mostro.Pubkey, "LND"}}
		for _, kind := range describing {
			x.begin(fmt.Sprintf("kind %d", kind))
			list := w.events(nostr.Filter{Kinds: []int{kind}, Authors: []string{node.keys.Pubkey()}})
			if len(list) > 0 {
				x.event(n, list[0])
			}
		}
		keep(t, x)
		played = append(played, x)
	}
	return compare(played[0], played[1])
}

// indexed checks that our index shows what mostrod published, and that our relay refused
// nothing.
func (w *world) indexed(t *testing.T) {
	var text string
	t.Log(w.get(w.api+"api/v1/instances/"+w.theirs.keys.Pubkey(), &text), text)
	t.Log(w.get(w.api+"api/v1/orders?mostro="+w.theirs.keys.Pubkey(), &text), text)
	if n := w.metric("mostrodex_relay_refusals_total", ""); n != 0 {
		t.Errorf("our relay refused %v events and requests", n)
	}
}
