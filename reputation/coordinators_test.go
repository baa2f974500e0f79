package reputation

import (
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
)

// TestCoordinatorsKeepTheirOwnStars: a coordinator of RoboSats has the plain mean and the
// count of its verified ratings, on pages of its own, and no score. A forged token, an older
// version of a rating and a rating that its author took back do not count.
func TestCoordinatorsKeepTheirOwnStars(t *testing.T) {
	host, other := scoretest.Keys(t, "coordinator"), scoretest.Keys(t, "another")
	log := &scoretest.MemLog{}
	w := &scoretest.World{T: t}
	rate := func(name, order, stars string, day float64, forged bool) *nostr.Event {
		rater, signer := scoretest.Keys(t, name), host
		if forged {
			signer = other
		}
		token, err := receipt.SignToken(signer, rater.Pubkey(), order, nil)
		if err != nil {
			t.Fatal(err)
		}
		evt := nostr.Event{PubKey: rater.Pubkey(), Kind: mostro.KindHostRating, Tags: nostr.Tags{{"sig", token}, {"d", "temple:" + order}, {"p", host.Pubkey()}, {"rating", stars}}}
		return w.Event(evt, scoretest.At(day), mostro.OriginBackfill)
	}
	rate("a", "1", "1", 1, false)
	rate("b", "2", "0.2", 1, false)
	rate("b", "2", "0.8", 2, false) // the newer version
	rate("c", "3", "0.2", 1, true)
	gone := rate("d", "4", "0.2", 1, false)
	w.Event(nostr.Event{PubKey: gone.PubKey, Kind: mostro.KindDeletion, Tags: nostr.Tags{{"e", gone.ID}}}, scoretest.At(3), mostro.OriginLive)
	w.Info(scoretest.KeyOf("a mostro"), "", scoretest.At(1))
	log.Add(w.Entries...)
	s := open(t, Config{Log: log, Proofs: score.Receipts{}})
	round(t, s)
	list := s.Coordinators()
	if len(list) != 1 || list[0].Pubkey != host.Pubkey() || list[0].Count != 2 || list[0].Mean != 900_000 || list[0].Alias != "temple" {
		t.Fatalf("coordinators %+v, want one with two ratings of .9", list)
	}
	if _, ok := s.Score(host.Pubkey()); ok {
		t.Error("a coordinator has a score")
	}
	f := scoreAPI{known: s}
	_, page, err := f.coordinatorsPage(nil)
	if err != nil || !strings.Contains(string(page), "★ 4.50") || !strings.Contains(string(page), "temple") {
		t.Errorf("page: %v\n%s", err, page)
	}
}
