package alerts

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// randomFilter returns a filter over a small world, so that many orders fit.
func randomFilter(r *rand.Rand) string {
	text := ""
	for _, pair := range []string{"fiat:VES", "fiat:VES,USD", "side:sell", "side:buy", `method:"pago mo"`, "method:cash", "method:c method:zelle", "premium:<=1", "premium:2..5", "amount:>100", "fiat_amount:50-80", "maker_rating:>=4", "maker_days:>=30", "platform:mostro", "platform:robosats,mostro", "network:mainnet", "min_premium:1",
		"instance:0707070707070707070707070707070707070707070707070707070707070707"} {
		if r.IntN(6) == 0 {
			text += " " + pair
		}
	}
	return text
}

func randomOrder(r *rand.Rand, i int) *orders.Version {
	tags := []nostr.Tag{{"d", fmt.Sprint(i)}, {"z", "order"}, {"s", "pending"}}
	maybe := func(name string, values ...string) {
		if v := values[r.IntN(len(values))]; v != "" {
			tags = append(tags, nostr.Tag{name, v})
		}
	}
	maybe("k", "buy", "sell", "sell")
	maybe("f", "VES", "USD", "EUR")
	maybe("y", "mostro", "robosats", "")
	maybe("amt", "0", "5000", "50", "")
	maybe("fa", "10", "60", "900", "")
	maybe("premium", "0", "1", "3", "-2", "")
	maybe("network", "mainnet", "testnet", "")
	maybe("pm", "Pago Movil", "cash", "CashApp", "Zelle, other", "")
	maybe("rating", `["rating",{"days":41,"total_rating":4.5,"total_reviews":7}]`, `["rating",{"days":1,"total_rating":2,"total_reviews":7}]`, "")
	o, err := mostro.ParseOrder(testkit.Unsigned(byte(7+r.IntN(2)), mostro.KindOrder, 1_780_000_000, "", tags...))
	if err != nil {
		return nil
	}
	return &orders.Version{Order: o}
}

// TestIndexFindsAllMatches compares the index with Query.Matches over random filters and orders.
func TestIndexFindsAllMatches(t *testing.T) {
	r, now := rand.New(rand.NewPCG(1, 2)), time.Unix(1_780_000_100, 0)
	x := newIndex()
	var all []*saved
	for i := range 800 {
		q, err := orders.ParseFilter(randomFilter(r))
		if err != nil {
			t.Fatal(err)
		}
		a := &saved{Alert: Alert{ID: fmt.Sprint(i)}, query: q}
		all = append(all, a)
		x.add(a)
	}
	for _, a := range all[:100] {
		x.remove(a)
	}
	all = all[100:]
	fits, tried := 0, 0
	for i := range 400 {
		v := randomOrder(r, i)
		if v == nil {
			continue
		}
		found := map[*saved]int{}
		x.candidates(orderOf(v), now.Unix(), func(e *entry) { found[e.saved]++ })
		tried += len(found)
		for _, a := range all {
			if a.query.Matches(v, now) {
				if fits++; found[a] != 1 {
					t.Fatalf("order %+v fits %+v, and was found %d times", v.Order, a.query, found[a])
				}
			}
		}
	}
	if fits < 1000 || tried > 3*fits {
		t.Errorf("%d matches, %d candidates", fits, tried)
	}
	for _, a := range all {
		x.remove(a)
	}
	if n := len(x.byFiat) + len(x.byInstance) + len(x.byPlatform) + len(x.rest); n != 0 {
		t.Errorf("%d lists are left", n)
	}
}

// benchmarkChange measures one change with 10,000 alerts of a kind.
func benchmarkChange(b *testing.B, filter func(i int) string, told bool) {
	b.Helper()
	w := newWorld(b)
	w.limits = Limits{PerHour: 1 << 30}
	s := w.open()
	defer s.Close()
	for i := range 10_000 {
		q, err := orders.ParseFilter(filter(i))
		if err != nil {
			b.Fatal(err)
		}
		s.keep(&saved{Alert: Alert{ID: fmt.Sprintf("%016x", i), Owner: fmt.Sprint(i), Expires: 1 << 40}, query: q})
	}
	w.order("one", "VES", "sell", "pending")
	o, err := mostro.ParseOrder(w.entries[0].Event)
	if err != nil {
		b.Fatal(err)
	}
	r := &orders.Record{Version: orders.Version{Order: o}}
	if told {
		ids := map[string]struct{}{}
		for id := range s.byID {
			ids[id] = struct{}{}
		}
		s.told[orders.KeyOf(orders.Address(o.Pubkey, o.D))] = ids
	}
	u := updateOf(r, 1<<40)
	b.ResetTimer()
	for b.Loop() {
		var c change
		if err := s.match(&c, u); err != nil || len(c.rows) > 0 {
			b.Fatal(err, len(c.rows))
		}
	}
}

func BenchmarkChange(b *testing.B) {
	fiats := []string{"ARS", "USD", "EUR", "CUP", "BRL", "VES", "COP", "MXN", "CRC", "XAF"}
	b.Run("ten currencies", func(b *testing.B) {
		benchmarkChange(b, func(i int) string { return "fiat:" + fiats[i%10] + " premium:<=-1" }, false)
	})
	b.Run("one currency, other premium", func(b *testing.B) {
		benchmarkChange(b, func(int) string { return "fiat:VES side:sell premium:<=-1" }, false)
	})
	b.Run("one currency, other method", func(b *testing.B) {
		benchmarkChange(b, func(int) string { return `fiat:VES method:"pago efectivo"` }, false)
	})
	b.Run("all fit and were told", func(b *testing.B) { benchmarkChange(b, func(int) string { return "" }, true) })
}

func updateOf(r *orders.Record, seq uint64) *indexer.Update {
	return &indexer.Update{Seq: seq, Pubkey: r.Order.Pubkey, D: r.Order.D, Record: r}
}
