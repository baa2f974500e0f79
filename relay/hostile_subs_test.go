package relay

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/nbd-wtf/go-nostr"
)

// filtersOf returns the text of n filters, each after a comma.
func filtersOf(n int, filter func(i int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteByte(',')
		b.WriteString(filter(i))
	}
	return b.String()
}

// A connection cannot fill one bucket with many equal filters. Removing a filter from a
// bucket takes the same time for any number of entries.
func TestLeavingManyEqualSubscriptions(t *testing.T) {
	r := startRelay(t, nil)
	values := strings.Repeat(`"a",`, 63) + `"a"`
	filters := filtersOf(100, func(int) string { return `{"#d":[` + values + `],"limit":0}` })
	c := r.Dial()
	open := 0
	for ; ; open++ {
		c.SendText(fmt.Sprintf(`["REQ","s%d"%s]`, open, filters))
		if c.Next()[0] == "CLOSED" {
			break
		}
	}
	d := r.srv.dispatch
	d.mu.Lock()
	entries := 0
	for _, b := range d.index {
		entries += len(b.entries)
	}
	d.mu.Unlock()
	if entries > 100*open {
		t.Errorf("%d REQs of 100 equal filters have %d index entries", open, entries)
	}
	began := time.Now()
	c.WS.Close(websocket.StatusNormalClosure, "")
	testkit.Eventually(t, "the connection is gone", func() bool { return relaytest.Gauge(t, r.reg, "mostrodex_relay_connections") == 0 })
	took := time.Since(began)
	t.Logf("%d REQs, %d index entries, removed after %v", open, entries, took)
	if took > 10*time.Second { // 22 s of CPU when unregister searched for each entry
		t.Errorf("leaving took %v", took)
	}
}

func TestLeavingOneBucketIsConstant(t *testing.T) {
	st := relaytest.OpenStore(t, t.TempDir(), testkit.NewClock().Now)
	srv, err := New(Config{Store: st})
	if err != nil {
		t.Fatal(err)
	}
	leave := func(n int) time.Duration {
		subs := make([]*subscription, n)
		for i := range subs {
			subs[i] = &subscription{w: new(writer), filters: []*liveFilter{newLiveFilter(nostr.Filter{Kinds: []int{1}, Tags: nostr.TagMap{"d": {"a"}}})}}
			srv.dispatch.register(subs[i])
		}
		began := time.Now()
		for i := range subs { // from the middle, which is far from both ends
			srv.dispatch.unregister(subs[n-1-(i+n/2)%n])
		}
		return time.Since(began)
	}
	few, many := leave(5000), leave(100_000)
	t.Logf("5,000 entries of one bucket removed after %v, 100,000 after %v", few, many)
	if many > 100*few && many > time.Second {
		t.Errorf("leaving 20 times as many took %v, %v before", many, few)
	}
}

// deliveryTime publishes an event and returns the time until a client that is subscribed
// to this event alone receives it.
func deliveryTime(t *testing.T, publisher, subscriber *testkit.Client, n int, tags ...nostr.Tag) time.Duration {
	t.Helper()
	evt := testkit.Signed(t, 38383, testkit.Now(), append(nostr.Tags{{"d", fmt.Sprint("delivery", n)}}, tags...)...)
	began := time.Now()
	publisher.Send("EVENT", evt)
	subscriber.Expect("EVENT", "innocent")
	took := time.Since(began)
	publisher.Expect("OK", evt.ID)
	return took
}

// Filters with many conditions do not delay the subscriptions of other clients. The events
// have many tags, and the index finds each filter by one of them.
func TestFiltersOfManyConditions(t *testing.T) {
	r := startRelay(t, nil)
	publisher, subscriber, hostile := r.Dial(), r.Dial(), r.Dial()
	var tags nostr.Tags
	letters := "bcghijlmnotuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	const n = 1500
	for i := range n {
		tags = append(tags, nostr.Tag{string(letters[i%len(letters)]), fmt.Sprint(i)})
	}
	// Each filter matches in every letter, by the last tag of that letter, except in the
	// letter that is compared last.
	filters := filtersOf(100, func(i int) string {
		var b strings.Builder
		fmt.Fprintf(&b, `{"limit":0`)
		for j, l := range letters {
			v := fmt.Sprint(j + len(letters)*((n-1-j)/len(letters)))
			if l == 'z' {
				v = "none"
			}
			fmt.Fprintf(&b, `,"#%c":["%s"]`, l, v)
		}
		return b.String() + "}"
	})
	open := 0
	for ; open < 60; open++ {
		hostile.SendText(fmt.Sprintf(`["REQ","s%d"%s]`, open, filters))
		if hostile.Next()[0] == "CLOSED" {
			break
		}
	}
	subscriber.Req("innocent", testkit.Object{"kinds": []int{38383}, "limit": 0})
	var worst time.Duration
	for i := range 3 {
		worst = max(worst, deliveryTime(t, publisher, subscriber, i, tags...))
	}
	t.Logf("%d REQs of 100 filters of %d conditions: delivered after %v", open, len(letters), worst)
	if worst > 6*time.Second { // 13 s when each condition read all tags again
		t.Errorf("delivered after %v", worst)
	}
}

func TestConditionsOfAConnectionAreBounded(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	for i := range 3 {
		values := make([]string, maxOpenValues/2-10)
		for j := range values {
			values[j] = fmt.Sprint(j)
		}
		c.Send("REQ", fmt.Sprint(i), testkit.Object{"#t": values, "limit": 0})
		want := "EOSE"
		if i == 2 {
			want = "CLOSED"
		}
		if got := c.Next(); got[0] != want {
			t.Fatalf("REQ %d: %.100q", i, got)
		}
	}
	c.Send("CLOSE", "0")
	c.Send("CLOSE", "1")
	if _, err := r.Store.Query(context.Background(), nil, nostr.Filter{}, 1, 0); err != nil {
		t.Fatal(err)
	}
	filters := filtersOf(100, func(i int) string { return fmt.Sprintf(`{"kinds":[%d],"limit":0}`, i) })
	refused := false
	for i := 0; i < maxOpenConditions/100 && !refused; i++ {
		c.SendText(fmt.Sprintf(`["REQ","r%d"%s]`, i, filters))
		refused = c.Next()[0] == "CLOSED"
	}
	if !refused {
		t.Error("no bound on conditions")
	}
}

// All connections of an address share one limit. Closed subscriptions no longer count.
func TestConditionsOfAnAddressAreBounded(t *testing.T) {
	r := startRelay(t, func(cfg *Config) { cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	values := make([]string, maxOpenValues-10)
	for j := range values {
		values[j] = fmt.Sprint(j)
	}
	var clients []*testkit.Client
	for i := range openShare + 1 {
		c := r.DialFrom("203.0.113.1")
		clients = append(clients, c)
		c.Send("REQ", "x", testkit.Object{"#t": values, "limit": 0})
		want := "EOSE"
		if i == openShare {
			want = "CLOSED"
		}
		if got := c.Next(); got[0] != want {
			t.Fatalf("REQ %d: %.100q", i, got)
		}
	}
	other := r.DialFrom("203.0.113.2")
	other.Req("x", testkit.Object{"#t": values, "limit": 0})
	clients[0].WS.CloseNow()
	testkit.Eventually(t, "its place is given back", func() bool {
		clients[openShare].Send("REQ", "x", testkit.Object{"#t": values, "limit": 0})
		return clients[openShare].Next()[0] == "EOSE"
	})
	for _, c := range append(clients, other) {
		c.WS.CloseNow()
	}
	testkit.Eventually(t, "nothing is counted", func() bool {
		r.srv.conns.mu.Lock()
		defer r.srv.conns.mu.Unlock()
		return len(r.srv.conns.open) == 0
	})
}
