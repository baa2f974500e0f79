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
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
)

// marketOfFormat3 returns the log from which testdata/checkpoint.3 was made. The log holds
// evidence of every kind that a checkpoint stores.
func marketOfFormat3(t *testing.T) *scoretest.MemLog {
	w := &scoretest.World{T: t}
	a, b, fund := scoretest.KeyOf("a"), scoretest.KeyOf("b"), scoretest.KeyOf("fund")
	w.Honest(a, 0, 32, "0.8")
	w.Honest(b, 20, 5, "1")
	n := scoretest.HonestOrder(a, 3)
	w.Event(mostro.DevFee{Pubkey: a, OrderID: scoretest.OrderID(n), AmountSats: 30, Hash: scoretest.KeyOf("hash")}.Event(), scoretest.At(3.4), mostro.OriginLive)
	w.Event(nostr.Event{Kind: mostro.KindAppData, PubKey: fund, Tags: nostr.Tags{{"d", score.FundListD + "1"}, {"paid", scoretest.KeyOf("hash"), "30", a}}}, scoretest.At(4), mostro.OriginLive)
	for i, state := range []mostro.DisputeState{mostro.DisputeStateInitiated, mostro.DisputeStateInProgress, mostro.DisputeStateSettled} {
		w.Event(mostro.Dispute{Pubkey: a, D: "dispute", State: state}.Event(), scoretest.At(5+float64(i)/24), mostro.OriginLive)
	}
	w.Event(mostro.UserRating{Pubkey: a, D: scoretest.KeyOf("user"), TotalReviews: new(int64(1)), TotalRating: new(5.0)}.Event(), scoretest.At(6), mostro.OriginLive)
	w.Event(mostro.Order{Pubkey: a, D: "no uuid", Side: mostro.SideSell, Status: mostro.StatusPending, Fiat: "VES", AmountSats: new(int64(1000)), Methods: []string{"x"}, Network: "testnet"}.Event(), scoretest.At(7), mostro.OriginLive)
	w.Order(a, 99_999, mostro.StatusSuccess, 1000, scoretest.At(31.5))
	w.Order(a, 99_999, mostro.StatusCanceled, 1000, scoretest.At(31.5)) // an equivocation
	w.Rate(a, scoretest.KeyOf("blind"), n, "1", scoretest.At(8), "r2", "2026-01")
	w.Event(nostr.Event{Kind: mostro.KindDeletion, PubKey: a, Tags: nostr.Tags{{"a", "38383:" + a + ":" + scoretest.OrderID(n)}}}, scoretest.At(9), mostro.OriginClient)
	w.Rate(a, scoretest.KeyOf("refused"), n, "0.5", scoretest.At(10), "forged")
	w.Event(nostr.Event{Kind: mostro.KindHostRating, PubKey: scoretest.KeyOf("refused"), Tags: nostr.Tags{{"d", "x"}, {"p", a}, {"rating", "NaN"}}}, scoretest.At(10), mostro.OriginClient)
	rater := scoretest.KeyOf(fmt.Sprint("rater", a, 2))
	w.Event(nostr.Event{Kind: mostro.KindDeletion, PubKey: rater, Tags: nostr.Tags{{"a", "31986:" + rater + ":mostro:" + scoretest.OrderID(n-1)}}}, scoretest.At(11), mostro.OriginClient)
	modulus := new(big.Int).Lsh(big.NewInt(3), 2046)
	key := &rsa.PublicKey{N: modulus.SetBit(modulus, 0, 1), E: 65537} // no private key is known
	k, err := receipt.NewKeyset(a, "2026-01", key)
	if err != nil {
		t.Fatal(err)
	}
	keyset := k.Event()
	keyset.Kind = 38387 // the former kind, as in the file
	w.Event(keyset, scoretest.At(12), mostro.OriginLive)
	log := &scoretest.MemLog{}
	log.Add(w.Entries...)
	return log
}

// TestCheckpointOfFormat3 opens a checkpoint that was written at commit df9b242. The file
// is ignored, because the same log has other facts today, and is replaced. The scores and
// the ratings must equal those after a full read of the log.
func TestCheckpointOfFormat3(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "checkpoint.3"))
	if err != nil {
		t.Fatal(err)
	}
	dir, log, out := t.TempDir(), marketOfFormat3(t), &paper{}
	if err := os.WriteFile(filepath.Join(dir, checkpointName), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: dir, Log: log, Pairs: both{log}, Publisher: out, Signer: pen{scoretest.Keys(t, "provider")}, Params: score.Params{Funds: []string{scoretest.KeyOf("fund")}}, Now: func() time.Time { return scoretest.At(32) }}
	published := 0
	for i, restart := range []string{"as it was written", "as this program wrote it"} {
		want := uint64(i) * log.Head()
		old := openService(t, cfg)
		if err := old.restore(); err != nil {
			t.Fatal(err)
		}
		if got := old.ledger.Cursor(); got != want {
			t.Fatalf("%s: restored up to %d, want %d", restart, got, want)
		}
		catchUp(t, old)
		anew := openService(t, Config{Log: log, Params: cfg.Params, Now: cfg.Now})
		catchUp(t, anew)
		if got, want := scoretest.JSON(t, old.Scores()), scoretest.JSON(t, anew.Scores()); got != want {
			t.Errorf("%s: other scores:\n%.400s\n%.400s", restart, got, want)
		}
		for _, node := range []string{scoretest.KeyOf("a"), scoretest.KeyOf("b")} {
			if got, want := scoretest.JSON(t, old.Ratings(node)), scoretest.JSON(t, anew.Ratings(node)); got != want {
				t.Errorf("%s: other ratings:\n%.400s\n%.400s", restart, got, want)
			}
		}
		if err := old.publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(out.events); n == 0 || i > 0 && n != published || len(old.assertions.said.Sent) != 3 {
			t.Errorf("%s: published %d events, %d before the restart; %d times of publishing are known, want 3", restart, n, published, len(old.assertions.said.Sent))
		}
		published = len(out.events)
		old.assertions.unsaved = true
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
