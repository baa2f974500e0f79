package negentropy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy/storage/vector"
)

// world returns two sets with some common items. There are few distinct times, so that
// some bounds divide items of the same second.
func world(r *rand.Rand, shared, onlyA, onlyB, seconds int) (a, b *Set, wantHave, wantNeed map[[32]byte]bool) {
	a, b = &Set{}, &Set{}
	wantHave, wantNeed = map[[32]byte]bool{}, map[[32]byte]bool{}
	item := func() eventlog.LiveItem {
		var seed [8]byte
		binary.LittleEndian.PutUint64(seed[:], r.Uint64())
		return eventlog.LiveItem{At: 1_700_000_000 + r.Int64N(int64(seconds)), ID: sha256.Sum256(seed[:])}
	}
	for range shared {
		it := item()
		a.Items, b.Items = append(a.Items, it), append(b.Items, it)
	}
	for range onlyA {
		it := item()
		a.Items, wantHave[it.ID] = append(a.Items, it), true
	}
	for range onlyB {
		it := item()
		b.Items, wantNeed[it.ID] = append(b.Items, it), true
	}
	a.Seal()
	b.Seal()
	return a, b, wantHave, wantNeed
}

// reconcile runs both sides, and returns the ids reported to the client, the bytes sent
// in both directions and the number of rounds.
func reconcile(tb testing.TB, client, server *Session) (have, need map[[32]byte]bool, traffic, rounds int) {
	tb.Helper()
	have, need = map[[32]byte]bool{}, map[[32]byte]bool{}
	client.Client = true
	client.have = func(id [32]byte) { have[id] = true }
	client.Need = func(id [32]byte) { need[id] = true }
	for msg := client.Start(); msg != nil; rounds++ {
		if rounds > 100_000 {
			tb.Fatal("the reconciliation does not end")
		}
		answer, err := server.Answer(msg)
		if err != nil {
			tb.Fatal(err)
		}
		if len(answer) > server.Limit || rounds > 0 && len(msg) > client.Limit {
			tb.Fatalf("messages of %d and %d bytes, limits %d and %d", len(msg), len(answer), client.Limit, server.Limit)
		}
		traffic += len(msg) + len(answer)
		if msg, err = client.Answer(answer); err != nil {
			tb.Fatal(err)
		}
	}
	return have, need, traffic, rounds
}

func sameIDs(a, b map[[32]byte]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for id := range a {
		if !b[id] {
			return false
		}
	}
	return true
}

func TestReconciliationFindsExactlyTheDifference(t *testing.T) {
	for seed := range uint64(120) {
		r := rand.New(rand.NewPCG(seed, 77))
		shared, onlyA, onlyB := r.IntN(3000), r.IntN(200), r.IntN(200)
		switch seed % 6 {
		case 0:
			shared, onlyA = 0, 0 // the first set is empty
		case 1:
			shared, onlyB = 0, 0 // the second set is empty
		case 2:
			onlyA, onlyB = 0, 0
		case 3:
			onlyA, onlyB = 3000, 4000
		}
		a, b, wantHave, wantNeed := world(r, shared, onlyA, onlyB, 1+r.IntN(2000))
		limits := []int{4096, 9000, 1 << 20}
		client := &Session{Set: a, Limit: limits[r.IntN(3)]}
		server := &Session{Set: b, Limit: limits[r.IntN(3)]}
		have, need, _, _ := reconcile(t, client, server)
		if !sameIDs(have, wantHave) || !sameIDs(need, wantNeed) {
			t.Fatalf("seed %d: have %d of %d, need %d of %d", seed, len(have), len(wantHave), len(need), len(wantNeed))
		}
	}
}

// goNostrSide returns go-nostr's implementation, filled with a set.
func goNostrSide(s *Set, limit int) *negentropy.Negentropy {
	v := vector.New()
	for _, it := range s.Items {
		v.Insert(nostr.Timestamp(it.At), hex.EncodeToString(it.ID[:]))
	}
	v.Seal()
	return negentropy.New(v, limit)
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestReconciliationWithGoNostr(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 12 {
		a, b, wantHave, wantNeed := world(r, 4000, 150, 170, 1+n*300)
		t.Run(fmt.Sprint("ours asks ", n), func(t *testing.T) {
			theirs := goNostrSide(b, 60_000)
			have, need := map[[32]byte]bool{}, map[[32]byte]bool{}
			ours := &Session{Set: a, Limit: 60_000, Client: true,
				have: func(id [32]byte) { have[id] = true }, Need: func(id [32]byte) { need[id] = true }}
			for msg, rounds := ours.Start(), 0; msg != nil; rounds++ {
				answer, err := theirs.Reconcile(hex.EncodeToString(msg))
				if err != nil || rounds > 100 {
					t.Fatal(rounds, err)
				}
				if msg, err = ours.Answer(unhex(t, answer)); err != nil {
					t.Fatal(err)
				}
			}
			if !sameIDs(have, wantHave) || !sameIDs(need, wantNeed) {
				t.Errorf("have %d of %d, need %d of %d", len(have), len(wantHave), len(need), len(wantNeed))
			}
		})
		t.Run(fmt.Sprint("theirs asks ", n), func(t *testing.T) {
			theirs := goNostrSide(a, 60_000)
			ours := &Session{Set: b, Limit: 60_000}
			have, need := map[[32]byte]bool{}, map[[32]byte]bool{}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for haves, needs := theirs.Haves, theirs.HaveNots; haves != nil || needs != nil; {
					select {
					case id, ok := <-haves:
						if !ok {
							haves = nil
							continue
						}
						have[[32]byte(hex32.OrZero(id))] = true
					case id, ok := <-needs:
						if !ok {
							needs = nil
							continue
						}
						need[[32]byte(hex32.OrZero(id))] = true
					}
				}
			}()
			for msg, rounds := theirs.Start(), 0; msg != ""; rounds++ {
				answer, err := ours.Answer(unhex(t, msg))
				if err != nil || rounds > 100 {
					t.Fatal(rounds, err)
				}
				if msg, err = theirs.Reconcile(hex.EncodeToString(answer)); err != nil {
					t.Fatal(err)
				}
			}
			<-done
			if !sameIDs(have, wantHave) || !sameIDs(need, wantNeed) {
				t.Errorf("have %d of %d, need %d of %d", len(have), len(wantHave), len(need), len(wantNeed))
			}
		})
	}
}

func TestFingerprintIsOfTheRange(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	s, _, _, _ := world(r, 1000, 0, 0, 50)
	for range 500 {
		lower := r.IntN(1001)
		upper := lower + r.IntN(1001-lower)
		part := &Set{Items: slices.Clone(s.Items[lower:upper])}
		part.Seal()
		if s.fingerprint(lower, upper) != part.fingerprint(0, upper-lower) {
			t.Fatalf("fingerprint of %d to %d", lower, upper)
		}
	}
}

func FuzzReconcile(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	a, b, _, _ := world(r, 300, 20, 20, 40)
	f.Add((&Session{Set: a, Limit: 4096}).Start(), true)
	f.Add([]byte{0x61, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, true)
	f.Add([]byte{0x62}, false)
	f.Add(bytes.Repeat([]byte{0x61, 1, 0, 1}, 40), false)
	f.Fuzz(func(t *testing.T, msg []byte, client bool) {
		n := &Session{Set: b, Limit: 4096, Client: client, have: func([32]byte) {}, Need: func([32]byte) {}}
		out, err := n.Answer(msg)
		if err == nil && len(out) > n.Limit {
			t.Errorf("an answer of %d bytes", len(out))
		}
	})
}

// BenchmarkReconcile reconciles two sets of a million events that differ in a thousand,
// and fills an empty set.
func BenchmarkReconcile(b *testing.B) {
	r := rand.New(rand.NewPCG(9, 9))
	x, y, _, _ := world(r, 999_500, 500, 500, 40*86400)
	for b.Loop() {
		client, server := &Session{Set: x, Limit: 128 << 10}, &Session{Set: y, Limit: 128 << 10}
		have, need, traffic, rounds := reconcile(b, client, server)
		if len(have) != 500 || len(need) != 500 {
			b.Fatal(len(have), len(need))
		}
		b.ReportMetric(float64(traffic*2), "hexbytes")
		b.ReportMetric(float64(rounds), "rounds")
	}
}
