package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy/storage/vector"
)

// negWorld makes two sets that share some items; times are few, so that bounds
// fall within one second too.
func negWorld(r *rand.Rand, shared, onlyA, onlyB, seconds int) (a, b *negSet, wantHave, wantNeed map[[32]byte]bool) {
	a, b = &negSet{}, &negSet{}
	wantHave, wantNeed = map[[32]byte]bool{}, map[[32]byte]bool{}
	item := func() eventlog.LiveItem {
		var seed [8]byte
		binary.LittleEndian.PutUint64(seed[:], r.Uint64())
		return eventlog.LiveItem{At: 1_700_000_000 + r.Int64N(int64(seconds)), ID: sha256.Sum256(seed[:])}
	}
	for range shared {
		it := item()
		a.items, b.items = append(a.items, it), append(b.items, it)
	}
	for range onlyA {
		it := item()
		a.items, wantHave[it.ID] = append(a.items, it), true
	}
	for range onlyB {
		it := item()
		b.items, wantNeed[it.ID] = append(b.items, it), true
	}
	a.seal()
	b.seal()
	return a, b, wantHave, wantNeed
}

// reconcile runs both sides and gives what the client was told, the bytes sent
// both ways and the rounds.
func reconcile(tb testing.TB, client, server *negotiation) (have, need map[[32]byte]bool, traffic, rounds int) {
	tb.Helper()
	have, need = map[[32]byte]bool{}, map[[32]byte]bool{}
	client.client = true
	client.have = func(id [32]byte) { have[id] = true }
	client.need = func(id [32]byte) { need[id] = true }
	for msg := client.start(); msg != nil; rounds++ {
		if rounds > 100_000 {
			tb.Fatal("the sides never agree")
		}
		answer, err := server.answer(msg)
		if err != nil {
			tb.Fatal(err)
		}
		if len(answer) > server.limit || rounds > 0 && len(msg) > client.limit {
			tb.Fatalf("messages of %d and %d bytes, limits %d and %d", len(msg), len(answer), client.limit, server.limit)
		}
		traffic += len(msg) + len(answer)
		if msg, err = client.answer(answer); err != nil {
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
			shared, onlyA = 0, 0 // an empty one fills
		case 1:
			shared, onlyB = 0, 0 // an empty one is asked
		case 2:
			onlyA, onlyB = 0, 0
		case 3:
			onlyA, onlyB = 3000, 4000
		}
		a, b, wantHave, wantNeed := negWorld(r, shared, onlyA, onlyB, 1+r.IntN(2000))
		limits := []int{4096, 9000, 1 << 20}
		client := &negotiation{set: a, limit: limits[r.IntN(3)]}
		server := &negotiation{set: b, limit: limits[r.IntN(3)]}
		have, need, _, _ := reconcile(t, client, server)
		if !sameIDs(have, wantHave) || !sameIDs(need, wantNeed) {
			t.Fatalf("seed %d: have %d of %d, need %d of %d", seed, len(have), len(wantHave), len(need), len(wantNeed))
		}
	}
}

// goNostrSide fills go-nostr's implementation with a set.
func goNostrSide(s *negSet, limit int) *negentropy.Negentropy {
	v := vector.New()
	for _, it := range s.items {
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
		a, b, wantHave, wantNeed := negWorld(r, 4000, 150, 170, 1+n*300)
		t.Run(fmt.Sprint("ours asks ", n), func(t *testing.T) {
			theirs := goNostrSide(b, 60_000)
			have, need := map[[32]byte]bool{}, map[[32]byte]bool{}
			ours := &negotiation{set: a, limit: 60_000, client: true,
				have: func(id [32]byte) { have[id] = true }, need: func(id [32]byte) { need[id] = true }}
			for msg, rounds := ours.start(), 0; msg != nil; rounds++ {
				answer, err := theirs.Reconcile(hex.EncodeToString(msg))
				if err != nil || rounds > 100 {
					t.Fatal(rounds, err)
				}
				if msg, err = ours.answer(unhex(t, answer)); err != nil {
					t.Fatal(err)
				}
			}
			if !sameIDs(have, wantHave) || !sameIDs(need, wantNeed) {
				t.Errorf("have %d of %d, need %d of %d", len(have), len(wantHave), len(need), len(wantNeed))
			}
		})
		t.Run(fmt.Sprint("theirs asks ", n), func(t *testing.T) {
			theirs := goNostrSide(a, 60_000)
			ours := &negotiation{set: b, limit: 60_000}
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
				answer, err := ours.answer(unhex(t, msg))
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
	s, _, _, _ := negWorld(r, 1000, 0, 0, 50)
	for range 500 {
		lower := r.IntN(1001)
		upper := lower + r.IntN(1001-lower)
		part := &negSet{items: slices.Clone(s.items[lower:upper])}
		part.seal()
		if s.fingerprint(lower, upper) != part.fingerprint(0, upper-lower) {
			t.Fatalf("fingerprint of %d to %d", lower, upper)
		}
	}
}

func FuzzReconcile(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	a, b, _, _ := negWorld(r, 300, 20, 20, 40)
	f.Add((&negotiation{set: a, limit: 4096}).start(), true)
	f.Add([]byte{0x61, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, true)
	f.Add([]byte{0x62}, false)
	f.Add(bytes.Repeat([]byte{0x61, 1, 0, 1}, 40), false)
	f.Fuzz(func(t *testing.T, msg []byte, client bool) {
		n := &negotiation{set: b, limit: 4096, client: client, have: func([32]byte) {}, need: func([32]byte) {}}
		out, err := n.answer(msg)
		if err == nil && len(out) > n.limit {
			t.Errorf("an answer of %d bytes", len(out))
		}
	})
}

func TestNegentropyOverTheSocket(t *testing.T) {
	r := startRelay(t, nil)
	c := r.dial()
	at := testkit.Now()
	var want []string
	for i := range 60 {
		evt := testkit.Order(t, fmt.Sprint("o", i), at-int64(i/3), "pending")
		c.mustPublish(evt)
		want = append(want, evt.ID)
	}
	mail := testkit.Signed(t, mostro.KindGiftWrap, at, nostr.Tag{"p", want[0]})
	c.mustPublish(mail)
	c.mustPublish(testkit.Order(t, "o0", at+1, "success")) // supersedes the first
	newest := r.liveIDs(t)

	need := map[[32]byte]bool{}
	empty := &negSet{}
	empty.seal()
	ours := &negotiation{set: empty, limit: 60_000, client: true, need: func(id [32]byte) { need[id] = true }}
	c.send("NEG-OPEN", "n", map[string]any{}, hex.EncodeToString(ours.start()))
	for {
		frame := c.expect("NEG-MSG", "n")
		msg, err := ours.answer(unhex(t, frame[2]))
		if err != nil {
			t.Fatal(err)
		}
		if msg == nil {
			break
		}
		c.send("NEG-MSG", "n", hex.EncodeToString(msg))
	}
	if len(need) != 60 || need[hex32.OrZero(want[0])] || need[hex32.OrZero(mail.ID)] {
		t.Errorf("%d ids; a superseded or private event among them: %t %t", len(need), need[hex32.OrZero(want[0])], need[hex32.OrZero(mail.ID)])
	}
	if len(newest) != 61 {
		t.Errorf("%d live events", len(newest))
	}
	c.send("NEG-CLOSE", "n")
	c.send("NEG-MSG", "n", "6100")
	c.expect("NEG-ERR", "n", "closed: no such reconciliation is open")
	for _, bad := range []string{"61ff", "zz", "6100000280808080808080808001"} {
		c.send("NEG-OPEN", "bad", map[string]any{}, bad)
		if frame := c.expect("NEG-ERR", "bad"); frame[2] == "" {
			t.Error("no reason")
		}
	}
	c.send("NEG-OPEN", "v", map[string]any{}, "62")
	if frame := c.expect("NEG-MSG", "v"); frame[2] != "61" {
		t.Errorf("another version is answered %q", frame[2])
	}
	for i := range maxNegSessions {
		c.send("NEG-OPEN", fmt.Sprint("s", i), map[string]any{"kinds": []int{1}}, "6100000200")
	}
	for range maxNegSessions - 1 {
		c.expect("NEG-MSG")
	}
	c.expect("NEG-ERR")
	c.ws.CloseNow()
	testkit.Eventually(t, "sessions give their snapshots back", func() bool {
		r.srv.negs.mu.Lock()
		defer r.srv.negs.mu.Unlock()
		for _, s := range r.srv.negs.sets {
			if s.users != 0 {
				return false
			}
		}
		return true
	})
}

// liveIDs lists the ids of all that is served.
func (r *testRelay) liveIDs(tb testing.TB) []string {
	tb.Helper()
	return idsOf(tb, r.store, nostr.Filter{}, 1<<20)
}

// BenchmarkReconcile compares two relays of a million events that differ by a
// thousand, and fills an empty one.
func BenchmarkReconcile(b *testing.B) {
	r := rand.New(rand.NewPCG(9, 9))
	x, y, _, _ := negWorld(r, 999_500, 500, 500, 40*86400)
	for b.Loop() {
		client, server := &negotiation{set: x, limit: 128 << 10}, &negotiation{set: y, limit: negServerLimit}
		have, need, traffic, rounds := reconcile(b, client, server)
		if len(have) != 500 || len(need) != 500 {
			b.Fatal(len(have), len(need))
		}
		b.ReportMetric(float64(traffic*2), "hexbytes")
		b.ReportMetric(float64(rounds), "rounds")
	}
}

func TestLiveItemsEqualQuery(t *testing.T) {
	r := startRelay(t, nil)
	c := r.dial()
	for i := range 40 {
		c.mustPublish(testkit.Order(t, fmt.Sprint(i), testkit.Now()-int64(i), []string{"pending", "success"}[i%2]))
	}
	since := nostr.Timestamp(testkit.Now() - 20)
	for _, f := range []nostr.Filter{{}, {Kinds: []int{mostro.KindOrder}, Tags: nostr.TagMap{"s": {"success"}}}, {Since: &since}, {Kinds: []int{1}}} {
		items, _, err := r.store.LiveItems(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, it := range items {
			got = append(got, hex.EncodeToString(it.ID[:]))
		}
		want := idsOf(t, r.store, f, 1000)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%v: %d items, the query finds %d", f, len(got), len(want))
		}
	}
}
