package federation

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// marketOf returns events of keys that describe themselves, each with live orders and a
// relay list. The events are not signed, because the store does not verify signatures.
func marketOf(keys []string, orders int, relays func(i int) []string) (events []*nostr.Event) {
	at := nostr.Timestamp(testkit.Now() - 60)
	for i, key := range keys {
		add := func(kind int, tags ...nostr.Tag) {
			evt := &nostr.Event{PubKey: key, Kind: kind, CreatedAt: at, Tags: tags, Sig: fmt.Sprintf("%0128x", 1)}
			evt.ID = evt.GetID()
			events = append(events, evt)
		}
		add(mostro.KindInfo, nostr.Tag{"d", key})
		for n := range orders {
			add(mostro.KindOrder, nostr.Tag{"d", fmt.Sprint(key, n)}, nostr.Tag{"s", "pending"})
		}
		tags := nostr.Tags{}
		for _, u := range relays(i) {
			tags = append(tags, nostr.Tag{"r", u})
		}
		add(mostro.KindRelayList, tags...)
	}
	return events
}

func appendAll(tb testing.TB, st *eventlog.Store, events []*nostr.Event) {
	tb.Helper()
	var waiting []eventlog.Pending
	for _, evt := range events {
		p, err := st.Enqueue(context.Background(), eventlog.Arrival{Event: evt, ReceivedAt: time.Now(), Source: mostro.Source{Origin: mostro.OriginClient}})
		if err != nil {
			tb.Fatal(err)
		}
		waiting = append(waiting, p)
	}
	for _, p := range waiting {
		if _, out, err := p.Wait(context.Background()); err != nil || out != eventlog.Added {
			tb.Fatalf("%v %v", out, err)
		}
	}
}

func keysFrom(first, n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprintf("%064x", first+i))
	}
	return keys
}

func followedOf(us *Upstreams) (urls []string) {
	for _, u := range us.list() {
		urls = append(urls, u.url)
	}
	return urls
}

// TestFakesDoNotDisplaceMostros runs discovery over a log with 5,000 fakes and three
// honest Mostros. Each fake has more live orders than an honest Mostro, and names the
// relays of two attackers or relays of its own.
func TestFakesDoNotDisplaceMostros(t *testing.T) {
	const configured = "ws://127.0.0.1:1"
	honest, fakes := keysFrom(1_000_000, 3), keysFrom(1, maxInstances)
	honestEvents := marketOf(honest, 1, func(i int) []string { return []string{fmt.Sprintf("ws://honest%d.invalid", i), "ws://honest.invalid"} })
	fakeEvents := marketOf(fakes, 2, func(i int) []string {
		return []string{"ws://fake.invalid", fmt.Sprintf("ws://fake%d.invalid", i), configured}
	})
	relays := []string{"ws://honest.invalid", "ws://honest0.invalid", "ws://honest1.invalid", "ws://honest2.invalid"}
	witnessed := map[string]Trust{
		honest[0]: {Score: 60, Days: 200, Since: time.Now().AddDate(0, 0, -200)},
		honest[1]: {Days: 12, Since: time.Now().AddDate(0, 0, -12)},
		honest[2]: {Days: 1, Since: time.Now().AddDate(0, 0, -2)},
	}
	seenToday := func(key string) Trust {
		if w, ok := witnessed[key]; ok {
			return w
		}
		return Trust{Days: 1, Since: time.Now()} // the highest trust that keys of an attacker have on their first day
	}
	for name, c := range map[string]struct {
		trust func(string) Trust
		first []*nostr.Event
		then  []*nostr.Event
		// If late is set, trust becomes known after all events are read, as scores do
		// after a start.
		late bool
	}{
		"honest first":                       {trust: seenToday, first: honestEvents, then: fakeEvents},
		"fakes first":                        {trust: seenToday, first: fakeEvents, then: honestEvents},
		"fakes first, scores after the fact": {trust: seenToday, first: fakeEvents, then: honestEvents, late: true},
		"fakes first, no scores":             {first: fakeEvents, then: honestEvents},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && c.trust != nil && !c.late {
				t.Skip("skipped with -short: the case with late scores reads the same events")
			}
			r := startRelay(t, nil)
			us, err := New(Config{Server: r.srv, Store: r.Store, Discover: 8, Follow: []Upstream{{URL: configured}}})
			if err != nil {
				t.Fatal(err)
			}
			scored := make(chan struct{})
			if !c.late {
				close(scored)
			}
			if c.trust != nil {
				us.cfg.Trust = func(key string) Trust {
					select {
					case <-scored:
						return c.trust(key)
					default:
						return Trust{}
					}
				}
			}
			us.disc.every = 20 * time.Millisecond
			ctx, cancel := context.WithCancel(context.Background())
			ran := make(chan error, 1)
			found := make(chan struct{}, 1)
			go func() { ran <- us.disc.run(ctx, found) }()
			defer func() {
				cancel()
				if err := <-ran; err != nil {
					t.Error(err)
				}
			}()
			appendAll(t, r.Store, c.first)
			keys := fakes
			if len(c.first) == len(honestEvents) {
				keys = honest
			}
			testkit.Eventually(t, "the first are known", func() bool { return len(us.disc.instances()) >= len(keys) })
			appendAll(t, r.Store, c.then)
			if c.late {
				testkit.Eventually(t, "all places are taken", func() bool { return len(us.disc.instances()) == maxInstances })
				close(scored)
			}
			if c.trust == nil {
				// Without trust, fakes cannot be told from honest Mostros. Configured
				// relays stay.
				testkit.Eventually(t, "all places are taken", func() bool { return len(us.disc.instances()) == maxInstances && len(us.list()) == 9 })
				if !slices.Contains(followedOf(us), configured) {
					t.Errorf("the configured relay is not followed: %v", followedOf(us))
				}
				return
			}
			testkit.Eventually(t, "the honest ones are known", func() bool {
				for _, key := range honest {
					if !us.Knows(key) {
						return false
					}
				}
				return len(us.disc.instances()) == maxInstances
			})
			testkit.Eventually(t, "their relays are followed", func() bool {
				urls := followedOf(us)
				return len(urls) == 9 && slices.Contains(urls, configured) &&
					!slices.ContainsFunc(relays, func(u string) bool { return !slices.Contains(urls, u) })
			})
		})
	}
}

// TestStandings compares pairs. The first one ranks higher.
func TestStandings(t *testing.T) {
	day := func(n int) time.Time { return time.Now().AddDate(0, 0, -n) }
	for name, c := range map[string][2]standing{
		"a score stands above days":            {{Trust{Score: 1}, 0}, {Trust{Days: 99, Sats: 1e6, Since: day(999)}, 100}},
		"days stand above sats":                {{Trust{Days: 2}, 0}, {Trust{Days: 1, Sats: 1e6}, 100}},
		"sats stand above age":                 {{Trust{Sats: 1}, 0}, {Trust{Since: day(9)}, 100}},
		"age stands above orders":              {{Trust{Since: day(2)}, 0}, {Trust{Since: day(1)}, 100}},
		"who was seen stands above a stranger": {{Trust{Since: day(0)}, 0}, {Trust{}, 100}},
		"orders decide of those of one day":    {{Trust{Days: 1, Since: time.Unix(86_399, 0)}, 2}, {Trust{Days: 1, Since: time.Unix(5, 0)}, 1}},
		"orders decide of strangers":           {{Trust{}, 1}, {Trust{}, 0}},
	} {
		if c[0].compare(c[1]) <= 0 || c[1].compare(c[0]) >= 0 {
			t.Errorf("%s: %d and %d", name, c[0].compare(c[1]), c[1].compare(c[0]))
		}
	}
}

// TestStrangersAreRankedByTheirOrders has no scores. A key without orders is replaced by a
// key with orders. A known key is not replaced by a key with a few more orders.
func TestStrangersAreRankedByTheirOrders(t *testing.T) {
	r := startRelay(t, nil)
	us, err := New(Config{Server: r.srv, Store: r.Store, Discover: 2})
	if err != nil {
		t.Fatal(err)
	}
	d := us.disc
	none := func(int) []string { return nil }
	few, idle := keysFrom(1, 1), keysFrom(2, maxInstances-1)
	appendAll(t, r.Store, slices.Concat(marketOf(few, 2, none), marketOf(idle, 0, none)))
	choose := func() {
		t.Helper()
		if err := d.choose(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d.grow(); len(d.known) != maxInstances {
			t.Fatalf("%d keys are known", len(d.known))
		}
	}
	choose()
	rivals := keysFrom(1_000_000, maxInstances)
	appendAll(t, r.Store, marketOf(rivals, 3, func(i int) []string { return []string{"ws://rivals.invalid"} }))
	choose()
	if !us.Knows(few[0]) || us.Knows(idle[0]) || !slices.Equal(followedOf(us), []string{"ws://rivals.invalid"}) {
		t.Errorf("known: few %v, idle %v; %v are followed", us.Knows(few[0]), us.Knows(idle[0]), followedOf(us))
	}
	if appendAll(t, r.Store, marketOf(keysFrom(2_000_000, 1), 7, none)); d.known[keysFrom(2_000_000, 1)[0]] != nil {
		t.Error("known before the choice")
	}
	choose()
	if !us.Knows(keysFrom(2_000_000, 1)[0]) || us.Knows(few[0]) {
		t.Error("seven orders did not take the place of two")
	}
}

// TestNoKeyFillsAllPlaces has one key of high rank that names 16 relays, and one key of
// low rank that names one relay.
func TestNoKeyFillsAllPlaces(t *testing.T) {
	r := startRelay(t, nil)
	keys := keysFrom(1, 2)
	us, err := New(Config{Server: r.srv, Store: r.Store, Discover: 8, Trust: func(key string) Trust {
		return Trust{Score: map[string]int{keys[0]: 90, keys[1]: 10}[key]}
	}})
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, r.Store, marketOf(keys, 1, func(i int) (urls []string) {
		if i == 1 {
			return []string{"ws://other.invalid"}
		}
		for n := range 16 {
			urls = append(urls, fmt.Sprintf("ws://r%02d.invalid", n))
		}
		return urls
	}))
	if err := us.disc.choose(t.Context()); err != nil {
		t.Fatal(err)
	}
	us.disc.grow()
	if got := followedOf(us); len(got) != 8 || !slices.Contains(got, "ws://other.invalid") {
		t.Errorf("%v are followed", got)
	}
}
