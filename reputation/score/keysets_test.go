package score

import (
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
)

// TestKeysetsOfBothKinds applies a rating with a blind receipt. The keyset of the receipt
// has the former kind, the present kind, or both in either order. The receipt must count.
// A bundle must hold the keysets, and no announcement of the same kind.
func TestKeysetsOfBothKinds(t *testing.T) {
	node := scoretest.KeyOf("node")
	k, err := receipt.NewKeyset(node, "2026-01", &blindKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	keyset := func(kind int) nostr.Event {
		evt := k.Event()
		evt.Kind = kind
		return evt
	}
	notice := nostr.Event{Kind: mostro.KindAnnouncement, PubKey: node, Tags: nostr.Tags{{"d", "2026-01"}, {"z", "announcement"}, {"expiration", "1800000000"}}}
	present, former := mostro.KindReceiptKeys, 38387
	for name, kinds := range map[string][]int{"present": {present}, "former": {former}, "moved": {former, present}, "moved, seen later": {present, former}} {
		t.Run(name, func(t *testing.T) {
			w := &scoretest.World{T: t}
			w.Info(node, "", scoretest.At(0))
			rating := w.Rate(node, scoretest.KeyOf("rater"), 1, "1", scoretest.At(2), "r2", "2026-01")
			w.Event(notice, scoretest.At(3), mostro.OriginLive)
			for i, kind := range kinds {
				w.Event(keyset(kind), scoretest.At(float64(4+i)), mostro.OriginLive)
			}
			l := NewLedger(DefaultParams(), saysSoByKey{})
			for _, e := range w.Entries {
				l.Apply(e)
			}
			if got := l.book.keysets(node, k.ID); got == nil || got.Kind != kinds[0] {
				t.Errorf("the keyset is %v, want the one of kind %d", got, kinds[0])
			}
			for _, r := range l.book.Nodes[node].Ratings {
				if r.Proof.Grade != "R2" || r.Refusal != "" {
					t.Errorf("the rating's proof is %+v, %q", r.Proof, r.Refusal)
				}
			}
			for _, about := range []func(*nostr.Event) bool{evidenceOf(&l.book, &l.params, nil), evidenceOf(&l.book, &l.params, map[string]bool{node: true})} {
				for _, e := range w.Entries {
					if want := e.Event.ID == rating.ID || e.Event.Kind == mostro.KindInfo || mostro.Classify(e.Event) == mostro.ClassKeyset; about(e.Event) != want {
						t.Errorf("kind %d %v is in the bundle: %v, want %v", e.Event.Kind, e.Event.Tags, !want, want)
					}
				}
			}
		})
	}
}
