package reputation

import (
	"crypto/rsa"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// marketOfFormat3 returns the log that testdata/checkpoint.3 was made of. It
// holds evidence of every kind that a checkpoint stores.
func marketOfFormat3(t *testing.T) *memLog {
	w := &world{t: t}
	a, b, fund := keyOf("a"), keyOf("b"), keyOf("fund")
	w.honest(a, 0, 32, "0.8")
	w.honest(b, 20, 5, "1")
	n := number(a, 3)
	w.event(mostro.DevFee{Pubkey: a, OrderID: orderID(n), AmountSats: 30, Hash: keyOf("hash")}.Event(), at(3.4), mostro.RoadLive)
	w.event(nostr.Event{Kind: mostro.KindAppData, PubKey: fund, Tags: nostr.Tags{{"d", FundListD + "1"}, {"paid", keyOf("hash"), "30", a}}}, at(4), mostro.RoadLive)
	for i, state := range []mostro.DisputeState{mostro.DisputeStateInitiated, mostro.DisputeStateInProgress, mostro.DisputeStateSettled} {
		w.event(mostro.Dispute{Pubkey: a, D: "dispute", State: state}.Event(), at(5+float64(i)/24), mostro.RoadLive)
	}
	w.event(mostro.UserRating{Pubkey: a, D: keyOf("user"), TotalReviews: new(int64(1)), TotalRating: new(5.0)}.Event(), at(6), mostro.RoadLive)
	w.event(mostro.Order{Pubkey: a, D: "no uuid", Side: mostro.SideSell, Status: mostro.StatusPending, Fiat: "VES", AmountSats: new(int64(1000)), Methods: []string{"x"}, Network: "testnet"}.Event(), at(7), mostro.RoadLive)
	w.order(a, 99_999, mostro.StatusSuccess, 1000, at(31.5))
	w.order(a, 99_999, mostro.StatusCanceled, 1000, at(31.5)) // an equivocation
	w.rate(a, keyOf("blind"), n, "1", at(8), "r2", "2026-01")
	w.event(nostr.Event{Kind: mostro.KindDeletion, PubKey: a, Tags: nostr.Tags{{"a", "38383:" + a + ":" + orderID(n)}}}, at(9), mostro.RoadClient)
	w.rate(a, keyOf("refused"), n, "0.5", at(10), "forged")
	w.event(nostr.Event{Kind: mostro.KindHostRating, PubKey: keyOf("refused"), Tags: nostr.Tags{{"d", "x"}, {"p", a}, {"rating", "NaN"}}}, at(10), mostro.RoadClient)
	rater := keyOf(fmt.Sprint("rater", a, 2))
	w.event(nostr.Event{Kind: mostro.KindDeletion, PubKey: rater, Tags: nostr.Tags{{"a", "31986:" + rater + ":mostro:" + orderID(n-1)}}}, at(11), mostro.RoadClient)
	modulus := new(big.Int).Lsh(big.NewInt(3), 2046)
	key := &rsa.PublicKey{N: modulus.SetBit(modulus, 0, 1), E: 65537} // no private key is known
	k, err := mostro.NewKeyset(a, "2026-01", key)
	if err != nil {
		t.Fatal(err)
	}
	keyset := k.Event()
	keyset.Kind = 38387 // the former kind, as it was when the file was written
	w.event(keyset, at(12), mostro.RoadLive)
	log := &memLog{}
	log.add(w.entries...)
	return log
}

// TestCheckpointOfFormat3 restores a checkpoint that was written at commit
// df9b242. The scores, the ratings and the record of what was published are the
// same as after reading the log anew.
func TestCheckpointOfFormat3(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "checkpoint.3"))
	if err != nil {
		t.Fatal(err)
	}
	dir, log, out := t.TempDir(), marketOfFormat3(t), &paper{}
	if err := os.WriteFile(filepath.Join(dir, checkpointName), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: dir, Log: log, Pairs: both{log}, Publisher: out, Signer: pen{testKeys(t, "provider")}, Params: Params{Funds: []string{keyOf("fund")}}, Now: func() time.Time { return at(32) }}
	for _, restart := range []string{"as it was written", "as this program wrote it"} {
		old := openService(t, cfg)
		if err := old.restore(); err != nil {
			t.Fatal(err)
		}
		if got := old.ledger.Cursor(); got != log.Head() {
			t.Fatalf("%s: restored up to %d of %d", restart, got, log.Head())
		}
		catchUp(t, old)
		anew := openService(t, Config{Log: log, Params: cfg.Params, Now: cfg.Now})
		catchUp(t, anew)
		if got, want := mustJSON(t, old.Scores()), mustJSON(t, anew.Scores()); got != want {
			t.Errorf("%s: other scores:\n%.400s\n%.400s", restart, got, want)
		}
		for _, node := range []string{keyOf("a"), keyOf("b")} {
			if got, want := mustJSON(t, old.Ratings(node)), mustJSON(t, anew.Ratings(node)); got != want {
				t.Errorf("%s: other ratings:\n%.400s\n%.400s", restart, got, want)
			}
		}
		if err := old.publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if kinds := out.kinds(); len(kinds) > 0 || len(old.sent) != 3 {
			t.Errorf("%s: published again: %v; %d times of publishing are known, want 3", restart, kinds, len(old.sent))
		}
		old.unsaved = true
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
