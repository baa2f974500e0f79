package score

import (
	"crypto/rsa"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
)

// randomEvidence appends random events about few orders of few nodes, so that events often
// share an order: late and early versions, witnessed and unwitnessed versions, fees that
// share a payment, confirmations of a fund, disputes, ratings and deletions.
func randomEvidence(w *scoretest.World, r *rand.Rand, n int, fund string) {
	nodes := []string{scoretest.KeyOf("a"), scoretest.KeyOf("b"), scoretest.KeyOf("c")}
	origins := []mostro.Origin{mostro.OriginLive, mostro.OriginLive, mostro.OriginLive, mostro.OriginClient, mostro.OriginBackfill}
	hash := func() string { return scoretest.KeyOf(fmt.Sprint("hash ", r.IntN(12))) }
	for range n {
		node, num, origin := nodes[r.IntN(len(nodes))], r.IntN(12), origins[r.IntN(len(origins))]
		when := scoretest.At(r.Float64() * 20)
		switch r.IntN(16) {
		case 0:
			w.Info(node, []string{"", node, "shared"}[r.IntN(3)], when)
		case 1, 10:
			paid := hash()
			if r.IntN(4) > 0 { // versions of one order, many times
				num %= 4
				node, paid = nodes[num%2], scoretest.KeyOf(fmt.Sprint("hash ", num))
			}
			w.Event(mostro.DevFee{Pubkey: node, OrderID: scoretest.OrderID(num), AmountSats: int64(1 + r.IntN(300)), Hash: paid}.Event(), when, origin)
		case 2:
			tags := nostr.Tags{{"d", FundListD + fmt.Sprint(r.IntN(3))}}
			for range 1 + r.IntN(4) {
				tags = append(tags, nostr.Tag{"paid", hash(), fmt.Sprint(1 + r.IntN(300))})
			}
			w.Event(nostr.Event{Kind: mostro.KindAppData, PubKey: fund, Tags: tags}, when, origin)
		case 3:
			states := []mostro.DisputeState{mostro.DisputeStateInitiated, mostro.DisputeStateInProgress, mostro.DisputeStateSettled}
			w.Event(mostro.Dispute{Pubkey: node, D: fmt.Sprint("q", r.IntN(6)), State: states[r.IntN(3)]}.Event(), when, origin)
		case 4:
			w.Event(mostro.UserRating{Pubkey: node, D: scoretest.KeyOf(fmt.Sprint("user ", r.IntN(5))), TotalReviews: new(int64(1)), TotalRating: new(5.0)}.Event(), when, origin)
		case 5, 6, 7:
			receipt := [][]string{{"R1"}, {"R0", "canceled"}, {"R2"}, {"r2", "2026-0" + fmt.Sprint(1+r.IntN(3))}, {"forged"}, nil}[r.IntN(6)]
			w.Rate(node, scoretest.KeyOf(fmt.Sprint("rater ", r.IntN(20))), num, []string{"0", "0.4", "1"}[r.IntN(3)], when, receipt...)
		case 8:
			tag := nostr.Tag{"a", "38383:" + node + ":" + scoretest.OrderID(num)}
			author := node
			if r.IntN(2) == 0 {
				author = scoretest.KeyOf(fmt.Sprint("rater ", r.IntN(20)))
				tag = nostr.Tag{"a", "31986:" + author + ":mostro:" + scoretest.OrderID(num)}
			}
			w.Event(nostr.Event{Kind: nostr.KindDeletion, PubKey: author, Tags: nostr.Tags{tag}}, when, origin)
		case 11: // rare, so that blind receipts wait for a keyset
			if r.IntN(12) == 0 {
				epoch := fmt.Sprint("2026-0", 1+r.IntN(3))
				k, err := receipt.NewKeyset(node, epoch, &blindKey().PublicKey)
				if err != nil {
					w.T.Fatal(err)
				}
				w.Event(k.Event(), when, origin)
			}
		case 9: // a second receipt of an event that was received before
			if len(w.Entries) > 0 {
				e := w.Entries[r.IntN(len(w.Entries))]
				e.ReceivedAt = e.ReceivedAt.Add(time.Duration(r.IntN(7200)-3600) * time.Second)
				e.Source.Origin = origin
				w.Entries = append(w.Entries, e)
			}
		default:
			statuses := []mostro.Status{mostro.StatusPending, mostro.StatusInProgress, mostro.StatusSuccess, mostro.StatusCanceled, mostro.StatusExpired}
			o := mostro.Order{Pubkey: node, D: scoretest.OrderID(num), Side: mostro.SideSell, Status: statuses[r.IntN(5)], Fiat: "VES", Methods: []string{"x"},
				AmountSats: new(int64(1000 * (1 + r.IntN(5)))), Network: "mainnet", CreatedAt: nostr.Timestamp(when.Unix() / 7200 * 7200)}
			if r.IntN(3) > 0 {
				o.ExpiresAt = nostr.Timestamp(when.Add(time.Duration(r.IntN(480)) * time.Hour).Unix())
			}
			if r.IntN(400) == 0 {
				o.Network = "testnet"
			}
			w.Event(o.Event(), scoretest.At(float64(o.CreatedAt-nostr.Timestamp(scoretest.Start.Unix()))/day+float64(r.IntN(300))/day), origin)
		}
	}
}

var blindKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := receipt.NewBlindKey()
	if err != nil {
		panic(err)
	}
	return key
})

// saysSoByKey is saysSo, but accepts a blind receipt only if a keyset of the host is
// known.
type saysSoByKey struct{ saysSo }

func (p saysSoByKey) Check(evt *nostr.Event, r mostro.HostRating, keysets receipt.Keysets) (Proof, error) {
	if !isBlind(r) {
		return p.saysSo.Check(evt, r, keysets)
	}
	k, err := receipt.NewKeyset(r.Host, r.Receipt[1], &blindKey().PublicKey)
	if err != nil || keysets == nil || keysets(r.Host, k.ID) == nil {
		return Proof{}, errForged
	}
	return Proof{Grade: "R2", Nullifier: r.OrderID}, nil
}

// TestKeptEqualsAnew: cached results must lead to the same bytes as a new ledger, for any
// order of the entries and for computations at any moments in between.
func TestKeptEqualsAnew(t *testing.T) {
	fund := scoretest.KeyOf("fund")
	params := DefaultParams()
	params.Funds = []string{fund}
	witnessed, costed, traded := 0, 0, 0
	seeds := uint64(12)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 44))
		w := &scoretest.World{T: t}
		randomEvidence(w, r, 500, fund)
		r.Shuffle(len(w.Entries), func(i, k int) { w.Entries[i], w.Entries[k] = w.Entries[k], w.Entries[i] })
		kept := NewLedger(params, saysSoByKey{})
		for i, e := range w.Entries {
			kept.Apply(e)
			if i%(1+int(seed)) != 0 && r.IntN(12) > 0 {
				continue
			}
			moment := scoretest.At(21 + float64(i)/100 + r.Float64())
			if r.IntN(10) == 0 {
				moment = scoretest.At(25 * r.Float64()) // an earlier moment
			}
			if i%7 > 0 { // mostly without a comparison, so that the caches must last
				kept.Compute(moment)
				continue
			}
			anew := NewLedger(params, saysSoByKey{})
			for _, e := range w.Entries[:i+1] {
				anew.Apply(e)
			}
			have, want := kept.Compute(moment), anew.Compute(moment)
			if a, b := scoretest.JSON(t, have), scoretest.JSON(t, want); a != b {
				t.Fatalf("seed %d, after %d entries: %s", seed, i+1, firstDifference([]byte(scoretest.JSON(t, differing(t, want, have))), []byte(scoretest.JSON(t, differing(t, have, want)))))
			}
			for _, s := range want {
				witnessed += int(s.Evidence.Orders.Witnessed)
				costed += int(s.Evidence.Successes.Costed)
				traded += int(s.Evidence.Omitted.Witnessed)
				if a, b := scoretest.JSON(t, kept.Ratings(s.Pubkey, s.Mu, moment.Unix())), scoretest.JSON(t, anew.Ratings(s.Pubkey, s.Mu, moment.Unix())); a != b {
					t.Fatalf("seed %d, after %d entries: other ratings\n%s\n%s", seed, i+1, a, b)
				}
			}
		}
	}
	if witnessed == 0 || costed == 0 || traded == 0 {
		t.Errorf("%d witnessed orders, %d with cost, %d omitted: the draw is too tame", witnessed, costed, traded)
	}
}

// differing returns the first score that differs between two lists.
func differing(t *testing.T, list, other []Score) any {
	for i := range list {
		if i >= len(other) || scoretest.JSON(t, list[i]) != scoretest.JSON(t, other[i]) {
			return list[i]
		}
	}
	return nil
}

// Leaves that are merged into a tree must lead to the same root as all leaves at once.
func TestTreeEqualsMerkle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func() (leaf [32]byte) { leaf[0], leaf[1] = byte(r.IntN(20)), byte(r.IntN(3)); return leaf }
	kept, all := &tree{}, [][32]byte{}
	for range 3000 {
		if len(all) > 0 && r.IntN(3) == 0 {
			k := r.IntN(len(all))
			leaf := all[k]
			all = append(all[:k], all[k+1:]...)
			kept.drop(func() [32]byte { return leaf })
		} else {
			leaf := draw()
			all = append(all, leaf)
			kept.add(func() [32]byte { return leaf })
		}
		if r.IntN(4) > 0 {
			continue
		}
		if !kept.merge() {
			t.Fatal("a leaf that was there is not found")
		}
		if merkleOf(kept.leaves) != merkle(append([][32]byte(nil), all...)) {
			t.Fatalf("another root of %d leaves", len(all))
		}
	}
	kept.drop(func() [32]byte { return [32]byte{255} })
	if kept.merge() {
		t.Error("a leaf that was never there is dropped")
	}
}
