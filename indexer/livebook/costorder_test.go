package livebook

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestCheapest changes orders, classes, rules, fees and rates at random and compares pages of kept
// lists with pages that read each order.
func TestCheapest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 16))
	s, now := New(), time.Unix(1_790_000_000, 0)
	premiums := []mostro.Decimal{}
	for _, text := range []string{"-3", "-1.5", "0", "1", "2", "2.5", "7"} {
		d, err := mostro.ParseDecimal(text)
		if err != nil {
			t.Fatal(err)
		}
		premiums = append(premiums, d)
	}
	authors := []string{"a", "b", "c", "d"}
	costs := &orders.Costs{Fees: map[string]float64{"a": 0.006, "b": 0.01, "c": 0}, Rates: map[string]float64{"EUR": 50_000, "USD": 60_000}}
	hidden := &orders.Hidden{}
	put := func(i int) {
		o := mostro.Order{Pubkey: authors[i%len(authors)], Platform: mostro.PlatformMostro, Fiat: []string{"EUR", "EUR", "USD"}[i%3], Side: []mostro.Side{mostro.SideBuy, mostro.SideSell}[i%2], Status: mostro.StatusPending, CreatedAt: nostr.Timestamp(now.Unix())}
		if rng.IntN(9) == 0 {
			o.Status = mostro.StatusCanceled
		}
		if rng.IntN(9) > 0 {
			o.PremiumPct = &premiums[rng.IntN(len(premiums))]
		}
		if rng.IntN(3) == 0 {
			amount := mostro.DecimalOf(int64(10 + rng.IntN(90)))
			o.FiatAmount = mostro.Range{Min: &amount, Max: &amount}
			o.AmountSats = new(int64(10_000 + rng.IntN(200_000)))
		}
		o.ExpiresAt = nostr.Timestamp(now.Unix() + 1 + rng.Int64N(100_000))
		o.Expiration = o.ExpiresAt
		s.Update([]Item{{orders.KeyOf(fmt.Sprint(i)), &orders.Record{Version: orders.Version{Order: o}}}}, nil, now)
	}
	const n = 6000
	for i := range n {
		put(i)
	}
	s.Judge(map[string]Judgement{"a": {Info: true}, "b": {Info: true, New: true}, "c": {Info: true}})
	kept := 0
	check := func() {
		t.Helper()
		q := &orders.Query{Open: orders.OpenTrue, Sort: orders.SortCost, Limit: 1 + rng.IntN(60), Costs: costs, Hidden: hidden}
		if rng.IntN(3) > 0 {
			q.Fiat = []string{"EUR"}
		}
		if rng.IntN(4) == 0 {
			q.Side = []mostro.Side{mostro.SideSell}
		}
		s.mu.RLock()
		defer s.mu.RUnlock()
		sel := s.choose(q, nil)
		for class := range uint8(orders.NumClasses) {
			of := s.ofClass(sel, class)
			var after *orders.Mark
			for range rng.IntN(20) {
				got, want := cheapest(s, q, class, of, after, q.Limit), s.pick(q, of, after, q.Limit)
				if !slices.Equal(got, want) {
					t.Fatalf("class %d of %d orders, behind %v: %d marks %v, want %d marks %v", class, of.size(), after, len(got), got, len(want), want)
				}
				if len(want) == 0 {
					break
				}
				after = &want[len(want)-1]
			}
		}
		kept = max(kept, s.cheap.Len())
	}
	for round := range 600 {
		switch rng.IntN(12) {
		case 0:
			costs = &orders.Costs{Fees: maps.Clone(costs.Fees), Rates: maps.Clone(costs.Rates)}
			if rng.IntN(2) == 0 {
				costs.Rates["EUR"] = 49_000 + 2000*rng.Float64()
			} else {
				costs.Fees["a"] = 0.001 * float64(rng.IntN(3))
			}
		case 1:
			if round%10 == 0 {
				s.Judge(map[string]Judgement{authors[rng.IntN(len(authors))]: {Info: rng.IntN(2) == 0, New: rng.IntN(2) == 0}})
			}
		case 2:
			now = now.Add(time.Duration(rng.IntN(20)) * time.Second)
			s.Expire(now)
		case 3:
			s.Update(nil, []orders.Key{orders.KeyOf(fmt.Sprint(rng.IntN(n)))}, now)
		case 4:
			if round%10 == 0 {
				hidden = &orders.Hidden{Version: hidden.Version + 1, Never: map[string]bool{authors[rng.IntN(len(authors))]: rng.IntN(2) == 0}}
			}
		case 5:
			if round%8 == 0 {
				for range 3 * maxChanged {
					put(rng.IntN(n))
				}
			}
		default:
			for range rng.IntN(40) {
				put(rng.IntN(n))
			}
		}
		check()
	}
	if kept < 4 {
		t.Errorf("%d lists were kept", kept)
	}
}
