package indexer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/indexer/livebook"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestWholeWordsComeFirst checks the order of NIP-50 results over several pages: whole
// words before prefixes, and newer orders before older ones, in whichever field the words
// are.
func TestWholeWordsComeFirst(t *testing.T) {
	l, clk := newMemLog(), newClock()
	o := openTest(t, l, clk, "")
	type known struct {
		id   string
		tier int
		at   int64
	}
	var all []known
	r := newRand(t)
	// Orders of Mostros without an info come last, whatever their words. Here all authors
	// have an info.
	for author := range 6 {
		l.add(infoEvent(author, t0-1000, fmt.Sprint("node", author)), clk.now(), mostro.OriginClient, false)
	}
	for i := range 900 {
		d := draft{author: 1 + r.IntN(5), d: fmt.Sprint(i), at: t0 - int64(r.IntN(400)), platform: "hodlhodl"}
		tier := 0
		place := func(begun, whole string) string {
			if r.IntN(2) == 0 {
				return begun
			}
			tier++
			return whole
		}
		first, second := place("Transferencia", "transfer"), place("Bancolombia", "Banco")
		switch r.IntN(4) {
		case 0:
			d.methods = []string{first, second}
		case 1:
			// Each author has its own names, because orders of a key that uses another
			// key's name come last, whatever their words.
			d.platform, d.methods, d.name = "mostro", []string{first}, second+" "+[]string{"Uno", "Dos", "Tres", "Cuatro", "Cinco"}[d.author-1]
		case 2:
			d.methods, d.content = []string{second}, "solo "+first+"."
		case 3:
			d.content = first + " a " + second
		}
		evt := d.event()
		l.add(evt, clk.now(), mostro.OriginClient, false)
		all = append(all, known{evt.ID, tier, d.at})
	}
	l.add(draft{d: "half", methods: []string{"transfer"}}.event(), clk.now(), mostro.OriginClient, false)
	o.catchUp(t)
	ids, err := o.Search(t.Context(), nostr.Filter{Search: "transfer banco", Limit: 1000, Tags: nostr.TagMap{"y": {"hodlhodl", "mostro"}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(ids) != len(all) {
		t.Fatalf("%d found, want %d", len(ids), len(all))
	}
	byID := map[string]known{}
	for _, k := range all {
		byID[k.id] = k
	}
	for i := range ids[1:] {
		a, b := byID[ids[i]], byID[ids[i+1]]
		if a.tier < b.tier || a.tier == b.tier && a.at < b.at {
			t.Fatalf("place %d: %+v is before %+v", i, a, b)
		}
	}
}

// TestDeletedVersionLeavesNoTrace checks an order whose last, expired version was
// deleted, so that the order is live again: search must not hold it as a past order as
// well.
func TestDeletedVersionLeavesNoTrace(t *testing.T) {
	l, clk := newMemLog(), newClock()
	o := openTest(t, l, clk, "")
	l.add(draft{author: 1, d: "x", at: t0, methods: []string{"Zelle"}}.event(), clk.now(), mostro.OriginClient, false)
	last := draft{author: 1, d: "x", at: t0 + 1, expiry: t0 + 10, methods: []string{"Zelle"}}.event()
	l.add(last, clk.now(), mostro.OriginClient, false)
	clk.set(t0 + 20)
	o.catchUp(t)
	l.add(signless(nostr.Event{PubKey: pubkeyOf(1), Kind: mostro.KindDeletion, CreatedAt: t0 + 15, Tags: nostr.Tags{{"e", last.ID}}}), clk.now(), mostro.OriginClient, false)
	o.catchUp(t)
	if a, err := o.Orders(t.Context(), orders.Query{}); err != nil || a.Total != 1 {
		t.Fatalf("%+v (%v), want the first version live", a, err)
	}
	fresh := openTest(t, l, clk, "")
	fresh.catchUp(t)
	if got, want := o.digest(t), fresh.digest(t); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

// BenchmarkFind matches words in a column store of many orders.
func BenchmarkFind(b *testing.B) {
	m := &bigLog{orders: 200_000, versions: 1}
	s := livebook.New()
	now := newClock().now()
	s.Load(func(add func(livebook.Item)) {
		for seq := uint64(1); seq <= m.base(); seq++ {
			e := m.entry(seq)
			order, err := mostro.ParseOrder(e.Event)
			if err != nil {
				b.Fatal(err)
			}
			add(livebook.Item{Key: orders.KeyOf(orders.Address(order.Pubkey, order.D)), Record: &orders.Record{Version: orders.Version{Order: order}, Versions: 1}})
		}
	}, now)
	for _, text := range []string{"transferencia", "banco", "pago movil", "mi banco 77", "b"} {
		var all []livebook.Word
		for _, w := range words.Asked(text) {
			all = append(all, livebook.Word{Text: w, Codes: words.CurrenciesOf(w)})
		}
		b.Run(strings.ReplaceAll(text, " ", "_"), func(b *testing.B) {
			q := orders.Query{Open: orders.OpenAny}
			for b.Loop() {
				s.Best(&q, all, nil, 50)
			}
		})
	}
}
