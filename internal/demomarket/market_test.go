package demomarket

import (
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

var end = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func config(seed uint64) Config {
	return Config{Seed: seed, Start: end.Add(-40 * day), Level: end, Newcomer: end.Add(-14 * day), Exit: end.Add(-4 * day), Relay: "ws://127.0.0.1:7777",
		Prices: map[string]float64{"USD": 100_000, "EUR": 90_000, "ARS": 140_000_000, "VES": 25_000_000, "CUP": 40_000_000, "BRL": 550_000, "COP": 400_000_000, "MXN": 1_900_000}}
}

// The same seed gives the same events, up to the ids. Another seed gives none of them.
func TestSameSeedSameScript(t *testing.T) {
	a, b, other := New(config(1)), New(config(1)), New(config(2))
	ids := map[string]bool{}
	for i := range 3000 {
		x, y := a.Next(), b.Next()
		if x.Event.GetID() != y.Event.GetID() || !x.At.Equal(y.At) || x.Author.Pubkey() != y.Author.Pubkey() {
			t.Fatalf("event %d differs: %s %s, %s %s", i, x.At, x.Event.String(), y.At, y.Event.String())
		}
		ids[x.Event.GetID()] = true
	}
	for range 3000 {
		if z := other.Next(); ids[z.Event.GetID()] {
			t.Fatal("two seeds share an event")
		}
	}
}

// The script is in the order of time, its events are events that this program understands, and
// the past holds what a viewer should find.
func TestPast(t *testing.T) {
	m := New(config(1))
	keys := m.Hosts()
	last, kinds := time.Time{}, map[int]int{}
	orders := map[string][]mostro.Status{}
	disputes := map[mostro.DisputeState]int{}
	scams := 0
	for s := m.Next(); s.At.Before(end); s = m.Next() {
		if s.At.Before(last) || s.Event.CreatedAt != nostr.Timestamp(s.At.Unix()) || s.Event.PubKey != s.Author.Pubkey() {
			t.Fatalf("an event at %s after %s, created at %d", s.At, last, s.Event.CreatedAt)
		}
		last = s.At
		kinds[s.Event.Kind]++
		s.Event.ID = s.Event.GetID()
		switch s.Event.Kind {
		case mostro.KindOrder:
			o, err := mostro.ParseOrder(&s.Event)
			if err != nil {
				t.Fatal(err)
			}
			if o.Status == mostro.StatusUnknown || o.Platform == "" || o.Fiat == "" || len(o.Methods) == 0 {
				t.Fatalf("an order without its facts: %s", s.Event.String())
			}
			if o.Platform == mostro.PlatformMostro {
				orders[o.D] = append(orders[o.D], o.Status)
			}
			if o.Pubkey == keys["scammer"] && o.Status == mostro.StatusPending && s.At.After(end.Add(-4*day)) {
				scams++
			}
		case mostro.KindDispute:
			d, err := mostro.ParseDispute(&s.Event)
			if err != nil {
				t.Fatal(err)
			}
			disputes[d.State]++
		default:
			if c := mostro.Classify(&s.Event); c == mostro.ClassForeign && s.Event.Kind != mostro.KindAppData {
				t.Fatalf("an event of no class: %s", s.Event.String())
			}
		}
	}
	ended := 0
	for _, states := range orders {
		if len(states) > 1 && states[len(states)-1] == mostro.StatusSuccess {
			ended++
		}
	}
	t.Logf("%d orders of Mostros, %d with success, events by kind %v, disputes %v, orders of the exit %d", len(orders), ended, kinds, disputes, scams)
	if len(orders) < 700 || ended < 500 || ended > 900 {
		t.Errorf("%d orders of Mostros, %d with success", len(orders), ended)
	}
	for _, kind := range []int{mostro.KindProfile, mostro.KindRelayList, mostro.KindOrder, mostro.KindInfo, mostro.KindDispute, mostro.KindUserRating, mostro.KindHostRating, mostro.KindDevFee, mostro.KindAppData, mostro.KindHealth} {
		if kinds[kind] == 0 {
			t.Errorf("no event of kind %d", kind)
		}
	}
	if disputes[mostro.DisputeStateInitiated] < 15 || disputes[mostro.DisputeStateSettled] == 0 || disputes[mostro.DisputeStateSellerRefunded] == 0 || scams == 0 {
		t.Errorf("disputes %v, orders of the exit %d", disputes, scams)
	}
}

// After Hurry more happens in the same time, still in order and never before the call.
func TestHurry(t *testing.T) {
	count := func(hurry bool) (orders int) {
		m := New(config(1))
		s := m.Next()
		for s.At.Before(end) {
			s = m.Next()
		}
		if hurry {
			m.Hurry(end, 40, 8, time.Minute)
			s = m.Next()
		}
		for last := end; s.At.Before(end.Add(time.Hour)); s = m.Next() {
			if s.At.Before(last) {
				t.Fatalf("%s after %s", s.At, last)
			}
			last = s.At
			if s.Event.Kind == mostro.KindOrder {
				orders++
			}
		}
		return orders
	}
	if calm, hurried := count(false), count(true); hurried < 50 || hurried < 5*calm {
		t.Errorf("%d versions of orders in an hour, hurried %d", calm, hurried)
	}
}

// TestMethodsForEveryCurrency checks that an order of every currency of a host has methods.
func TestMethodsForEveryCurrency(t *testing.T) {
	m := New(config(1))
	for _, n := range natures {
		for _, code := range n.currencies {
			if len(methods[code]) == 0 || m.cfg.Prices[code] == 0 {
				t.Errorf("%s: no methods or no price", code)
			}
		}
	}
	for _, p := range m.platforms {
		for _, code := range p.currencies {
			if len(methods[code]) == 0 || m.cfg.Prices[code] == 0 {
				t.Errorf("%s of %s: no methods or no price", code, p.name)
			}
		}
	}
}
