package indexer

import (
	"math/rand/v2"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestDamagedStoresGrowAgain checks that a store that cannot be read is deleted and
// rebuilt from the log.
func TestDamagedStoresGrowAgain(t *testing.T) {
	r := newRand(t)
	l, clk, dir := newMemLog(), newClock(), t.TempDir()
	fillRandom(r, l, 200, 50)
	first := openTest(t, l, clk, "")
	first.catchUp(t)
	want := first.digest(t)
	for _, damage := range []string{"book", "search"} {
		x := openTest(t, l, clk, dir)
		x.catchUp(t)
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		spoil(t, dir, damage)
		x = openTest(t, l, clk, dir)
		x.catchUp(t)
		if got := x.digest(t); got != want {
			t.Errorf("%s damaged: digest %s, want %s", damage, got, want)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRunFollowsTheLog runs the index as the program does.
func TestRunFollowsTheLog(t *testing.T) {
	l, clk := newMemLog(), newClock()
	o := openTest(t, l, clk, "")
	ctx, cancel := contextWith(t)
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	for i := range 50 {
		l.add(draft{d: string(rune('a' + i)), expiry: t0 + 100 + int64(i), methods: []string{"Transferencia"}}.event(), clk.now(), mostro.OriginClient, false)
	}
	waitFor(t, func() bool {
		ids, err := o.Search(t.Context(), nostr.Filter{Search: "transf", Kinds: []int{mostro.KindOrder}})
		return err == nil && len(ids) == 50 && o.Ready()
	})
	clk.set(t0 + 120)
	waitFor(t, func() bool {
		a, err := o.Orders(t.Context(), orders.Query{Open: orders.OpenFalse, Text: "transferencia"})
		return err == nil && a.Total == 21
	})
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run ended with %v", err)
	}
}

func TestEmptyLogGetsReady(t *testing.T) {
	o := openTest(t, newMemLog(), newClock(), "")
	ctx, cancel := contextWith(t)
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	waitFor(t, o.Ready)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run ended with %v", err)
	}
}

// TestDeletionsStick checks that a deleted event is in no answer, whether the event or
// its deletion arrives first, and that deletions by other authors have no effect.
func TestDeletionsStick(t *testing.T) {
	l, clk := newMemLog(), newClock()
	o := openTest(t, l, clk, "")
	first := draft{author: 1, d: "x", at: t0, methods: []string{"Zelle"}}.event()
	address := orders.Address(pubkeyOf(1), "x")
	del := func(author int, at int64, tag ...string) {
		l.add(signless(nostr.Event{PubKey: pubkeyOf(author), Kind: mostro.KindDeletion, CreatedAt: nostr.Timestamp(at), Tags: nostr.Tags{tag}}), clk.now(), mostro.OriginClient, false)
	}
	total := func(want int) {
		t.Helper()
		o.catchUp(t)
		for _, q := range []orders.Query{{Open: orders.OpenAny}, {Open: orders.OpenAny, Text: "zelle"}} {
			if a, err := o.Orders(t.Context(), q); err != nil || a.Total != want || len(a.Orders) != want {
				t.Fatalf("%q: %d orders (%v), want %d", q.Text, a.Total, err, want)
			}
		}
	}
	l.add(first, clk.now(), mostro.OriginClient, false)
	total(1)
	del(2, t0+5, "a", address)
	del(2, t0+5, "e", first.ID)
	total(1)
	del(1, t0-1, "a", address) // covers only the time before the order
	total(1)
	del(1, t0+5, "a", address)
	total(0)
	// The real log would not pass these entries on. The index refuses them as well.
	l.add(draft{author: 1, d: "x", at: t0 + 5, methods: []string{"Zelle"}}.event(), clk.now(), mostro.OriginClient, false)
	total(0)
	l.add(draft{author: 1, d: "x", at: t0 + 6, methods: []string{"Zelle"}}.event(), clk.now(), mostro.OriginClient, false)
	total(1)
	late := draft{author: 1, d: "y", at: t0, methods: []string{"Zelle"}}.event()
	del(1, t0, "e", late.ID)
	l.add(late, clk.now(), mostro.OriginClient, false)
	total(1)
}

// TestPairsInQ checks that key:value pairs in q mean the same as in a NIP-50 search.

func FuzzRecord(f *testing.F) {
	order, err := mostro.ParseOrder(random(rand.New(rand.NewPCG(1, 2)), 5).event())
	if err != nil {
		f.Fatal(err)
	}
	r := &orders.Record{Version: orders.Version{Seq: 7, ReceivedAt: time.UnixMilli(5).UTC(), Source: mostro.Source{Origin: mostro.OriginLive, Relay: "wss://relay.example"}, Order: order}, FirstSeenAt: time.UnixMilli(3).UTC(), Versions: 2}
	f.Add(r.Pack(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := orders.UnpackRecord(b)
		if err != nil {
			return
		}
		again, err := orders.UnpackRecord(r.Pack(nil))
		if err != nil || string(again.Pack(nil)) != string(r.Pack(nil)) {
			t.Errorf("%x: the second encoding differs: %v", b, err)
		}
	})
}

// TestPairOfTheHelpFinds checks the example of the help with an index.
func TestPairOfTheHelpFinds(t *testing.T) {
	clk := newClock()
	l := newMemLog()
	l.add(draft{author: 1, d: "dear", premium: "5", fiat: "VES"}.event(), clk.now(), mostro.OriginClient, false)
	l.add(draft{author: 1, d: "cheap", premium: "1", fiat: "VES"}.event(), clk.now(), mostro.OriginClient, false)
	x := openTest(t, l, clk, "")
	x.catchUp(t)
	if got := dsOf(t, x.Index, "q="+url.QueryEscape("venezuela premium:<=2")); !slices.Equal(got, []string{"cheap"}) {
		t.Errorf("the help's own example finds %v", got)
	}
}
