package relay

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/mostrodex/mostrodex/internal/clip"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/nbd-wtf/go-nostr"
)

// An EVENT must not overtake the REQ sent before it. With khatru 839 of 1,500 replies were
// lost.
func TestFramesOfOneSocketTakeEffectInOrder(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	at := testkit.Now()
	const rounds = 300
	events := make([]*nostr.Event, rounds)
	for i := range events {
		kind := mostro.KindDevFee
		if i%3 == 0 {
			kind = 20001
		}
		events[i] = testkit.SignedBy(t, testkit.Secret, kind, at, fmt.Sprint(i))
	}
	for i, evt := range events {
		sub := fmt.Sprint("s", i)
		c.Send("REQ", sub, testkit.Object{"ids": []string{evt.ID}, "limit": 0})
		c.Send("EVENT", evt)
	}
	seen := make(map[string]int)
	for range 3 * rounds {
		seen[c.Next()[0]]++
	}
	if seen["EOSE"] != rounds || seen["OK"] != rounds || seen["EVENT"] != rounds {
		t.Errorf("of %d rounds: %v", rounds, seen)
	}
	c.Quiet()
}

func TestReplyToLimitZeroIsNeverLost(t *testing.T) {
	r := startRelay(t, nil)
	wallet, daemon := r.Dial(), r.Dial()
	at := testkit.Now()
	daemon.Req("inbox", testkit.Object{"kinds": []int{14}, "limit": 0, "#p": []string{strings.Repeat("a", 64)}})
	const rounds = 200
	for i := range rounds {
		ask := testkit.SignedBy(t, testkit.Secret, 14, at, fmt.Sprint("ask", i), nostr.Tag{"p", strings.Repeat("a", 64)})
		answer := testkit.SignedBy(t, testkit.Secret, 14, at, fmt.Sprint("answer", i), nostr.Tag{"p", strings.Repeat("b", 64)})
		// The wallet subscribes and sends its request without waiting for EOSE.
		wallet.Send("REQ", "r", testkit.Object{"kinds": []int{14}, "#p": []string{strings.Repeat("b", 64)}, "limit": 0})
		wallet.Send("EVENT", ask)
		if got := daemon.Expect("EVENT", "inbox"); testkit.EventID(t, got[2]) != ask.ID {
			t.Fatalf("round %d: the daemon got %s", i, got[2])
		}
		daemon.MustPublish(answer)
		wallet.Expect("EOSE", "r")
		// The OK and the answer come from two goroutines, in either order.
		var got []string
		for range 2 {
			f := wallet.Next()
			got = append(got, f[0])
			if f[0] == "EVENT" && testkit.EventID(t, f[2]) != answer.ID {
				t.Fatalf("round %d: the wallet got %s", i, f[2])
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, []string{"EVENT", "OK"}) {
			t.Fatalf("round %d: %v", i, got)
		}
	}
}

// An event that is committed around the time of a REQ arrives exactly once, stored or
// live.
func TestExactlyOnceAroundRegistration(t *testing.T) {
	r := startRelay(t, nil)
	const writers, each, readers = 3, 120, 12
	at := testkit.Now()
	var events [writers][]*nostr.Event
	for w := range events {
		secret := strings.Repeat(fmt.Sprint(w+2), 64)
		for i := range each {
			events[w] = append(events[w], testkit.SignedBy(t, secret, mostro.KindDevFee, at-int64(i%7), fmt.Sprint(i)))
		}
	}
	var ids []string
	for _, own := range events {
		for _, evt := range own {
			ids = append(ids, evt.ID)
		}
	}
	var published atomic.Int64
	var wg sync.WaitGroup
	for w := range events {
		c := r.Dial()
		wg.Go(func() {
			for _, evt := range events[w] {
				c.Send("EVENT", evt)
				published.Add(1)
			}
			for range events[w] {
				if got := c.Next(); got[0] != "OK" || got[2] != "true" {
					t.Errorf("got %q", got)
				}
			}
		})
	}
	seen := make([]map[string]int, readers)
	for i := range readers {
		c := r.Dial()
		seen[i] = make(map[string]int)
		wg.Go(func() {
			for published.Load() < int64(i*writers*each/readers) {
				time.Sleep(100 * time.Microsecond)
			}
			if i%2 == 0 {
				// Both filters match the same events, which still arrive once each.
				c.Send("REQ", "s", testkit.Object{"kinds": []int{mostro.KindDevFee}, "limit": 5000}, testkit.Object{"since": at - 100, "limit": 5000})
			} else {
				// A REQ by ids does not wait for ids that are already stored.
				c.Send("REQ", "s", testkit.Object{"ids": ids, "limit": 5000})
			}
			for total := 0; total < writers*each+1; total++ {
				f, err := c.Read()
				if err != nil {
					t.Errorf("reader %d after %d frames: %v", i, total, err)
					return
				}
				if f[0] == "EVENT" {
					seen[i][testkit.EventID(t, f[2])]++
				}
			}
			c.Quiet()
		})
	}
	wg.Wait()
	for i, got := range seen {
		if len(got) != writers*each {
			t.Errorf("reader %d saw %d of %d", i, len(got), writers*each)
		}
		for id, n := range got {
			if n != 1 {
				t.Errorf("reader %d saw %s %d times", i, id, n)
			}
		}
	}
}

// A request for stored ids is answered from the store and registers no filter. The
// subscription stays open until it is closed. A request with other ids waits for them.
func TestRequestByIDs(t *testing.T) {
	r := startRelay(t, nil)
	at := testkit.Now()
	pub := r.Dial()
	held, gone, later := testkit.Order(t, "a", at, "pending"), testkit.Order(t, "b", at, "pending"), testkit.Order(t, "c", at, "pending")
	pub.MustPublish(held)
	pub.MustPublish(gone)
	pub.MustPublish(testkit.Signed(t, mostro.KindDeletion, at, nostr.Tag{"e", gone.ID}))
	c := r.Dial()
	if got := c.Req("held", testkit.Object{"ids": []string{held.ID}}); len(got) != 1 || got[0] != held.ID {
		t.Fatalf("got %v", got)
	}
	if open, waiting := r.srv.dispatch.open(), r.srv.dispatch.waiting(); open != 1 || waiting != 0 {
		t.Errorf("%d subscriptions open, of which %d wait; want 1 and none", open, waiting)
	}
	if got := c.Req("both", testkit.Object{"ids": []string{held.ID, gone.ID, later.ID}}); len(got) != 1 || got[0] != held.ID {
		t.Fatalf("got %v", got)
	}
	pub.Send("EVENT", held) // again: a duplicate
	pub.Expect("OK")
	pub.Send("EVENT", gone) // deleted, so it is refused
	pub.Expect("OK")
	c.Quiet()
	pub.MustPublish(later)
	if got := c.Expect("EVENT", "both"); testkit.EventID(t, got[2]) != later.ID {
		t.Fatal(got)
	}
	c.Send("CLOSE", "held")
	c.Send("CLOSE", "both")
	c.Quiet()
	if open, waiting := r.srv.dispatch.open(), r.srv.dispatch.waiting(); open != 0 || waiting != 0 {
		t.Errorf("%d subscriptions open, of which %d wait; want none", open, waiting)
	}
}

func TestSubscriptionIDReplaces(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	at := testkit.Now()
	for range 3 {
		c.Req("same", testkit.Object{"kinds": []int{38383}})
	}
	c.Req("same", testkit.Object{"kinds": []int{38383, 8383}, "limit": 0}, testkit.Object{"kinds": []int{38383}, "#s": []string{"pending"}, "limit": 0})
	pub := r.Dial()
	evt := testkit.Order(t, "a", at, "pending")
	pub.MustPublish(evt)
	if got := c.Expect("EVENT", "same"); testkit.EventID(t, got[2]) != evt.ID {
		t.Fatal(got)
	}
	c.Quiet() // once, not four times, and not once per filter
	c.Req("same", testkit.Object{"kinds": []int{0}})
	pub.MustPublish(testkit.Order(t, "b", at, "pending"))
	c.Quiet() // the old filters are removed
	if open, waiting := r.srv.dispatch.open(), r.srv.dispatch.waiting(); open != 1 || waiting != 1 {
		t.Errorf("%d subscriptions open, %d in the index", open, waiting)
	}
	// A refused replacement leaves no subscription open.
	c.Send("REQ", "same", testkit.Object{"ids": []string{"short"}})
	c.Expect("CLOSED", "same")
	if n := r.srv.dispatch.open(); n != 0 {
		t.Errorf("%d subscriptions open", n)
	}
}

// open returns the number of subscriptions. Only tests use it.
func (d *dispatcher) open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if indexed := d.indexed(); indexed > d.count {
		panic(fmt.Sprintf("%d indexed, %d counted", indexed, d.count))
	}
	return d.count
}

// waiting returns the number of subscriptions in the index.
func (d *dispatcher) waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.indexed()
}

func (d *dispatcher) indexed() int {
	subs := make(map[*subscription]bool)
	for _, b := range d.index {
		for _, x := range b.entries {
			subs[x.sub] = true
		}
	}
	return len(subs)
}

func TestLimits(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.DefaultLimit, c.MaxLimit = 3, 6 })
	c := r.Dial()
	at := testkit.Now()
	p := strings.Repeat("c", 64)
	for i := range 8 {
		c.MustPublish(testkit.SignedBy(t, testkit.Secret, 14, at-int64(i), "", nostr.Tag{"p", p}))
	}
	author := testkit.Signed(t, 14, at).PubKey
	for name, tc := range map[string]struct {
		filter testkit.Object
		want   int
	}{
		"neither author nor p": {testkit.Object{"kinds": []int{14}}, 3},
		"author":               {testkit.Object{"kinds": []int{14}, "authors": []string{author}}, 6},
		"p":                    {testkit.Object{"kinds": []int{14}, "#p": []string{p}}, 6},
		"own limit":            {testkit.Object{"kinds": []int{14}, "limit": 5}, 5},
		"own limit above max":  {testkit.Object{"kinds": []int{14}, "limit": 5000}, 6},
		"zero":                 {testkit.Object{"kinds": []int{14}, "authors": []string{author}, "limit": 0}, 0},
		"empty list":           {testkit.Object{"kinds": []int{14}, "#p": []string{}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.Req("q", tc.filter); len(got) != tc.want {
				t.Errorf("%d events, want %d", len(got), tc.want)
			}
		})
	}
}

func TestOneRequestIsNotAnsweredWithoutEnd(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.MaxLimit = 2 })
	c := r.Dial()
	at := testkit.Now()
	var filters []any
	for i := range 12 {
		evt := testkit.SignedBy(t, testkit.Secret, 14, at, fmt.Sprint(i))
		c.MustPublish(evt)
		filters = append(filters, testkit.Object{"ids": []string{evt.ID}})
	}
	if got := c.Req("q", filters...); len(got) != maxAnswers*2 {
		t.Errorf("%d events, want %d", len(got), maxAnswers*2)
	}
}

func TestOpenFiltersAreBounded(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	padding := strings.Repeat(" ", 400<<10)
	open := func(sub string) string {
		c.SendText(`["REQ","` + sub + `",{"kinds":[14],` + padding + `"limit":0}]`)
		got := c.Next()
		return got[0] + " " + clip.Text(got[len(got)-1], 13)
	}
	for i := range 5 {
		if got := open(fmt.Sprint(i)); got != fmt.Sprint("EOSE ", i) {
			t.Fatalf("subscription %d: %s", i, got)
		}
	}
	if got := open("5"); got != "CLOSED rate-limited:" {
		t.Errorf("got %s", got)
	}
	// A closed or replaced subscription makes room for a new one.
	if got := open("0"); got != "EOSE 0" {
		t.Errorf("got %s", got)
	}
	c.Send("CLOSE", "1")
	if got := open("5"); got != "EOSE 5" {
		t.Errorf("got %s", got)
	}
}

// Two filters of one REQ have one answer: newest first, equal times by lowest id, each
// event once.
func TestFiltersOfOneRequestAreMerged(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	at := testkit.Now()
	var all []*nostr.Event
	for i := range 20 {
		kind := []int{14, mostro.KindDevFee}[i%2]
		evt := testkit.SignedBy(t, testkit.Secret, kind, at-int64(i/4), fmt.Sprint(i))
		c.MustPublish(evt)
		all = append(all, evt)
	}
	slices.SortFunc(all, func(a, b *nostr.Event) int {
		if a.CreatedAt != b.CreatedAt {
			return int(b.CreatedAt - a.CreatedAt)
		}
		return strings.Compare(a.ID, b.ID)
	})
	var want []string
	for _, evt := range all {
		want = append(want, evt.ID)
	}
	got := c.Req("q", testkit.Object{"kinds": []int{14}}, testkit.Object{"kinds": []int{mostro.KindDevFee}}, testkit.Object{"kinds": []int{14}, "limit": 4})
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// A subscriber that reads nothing blocks no other client, and is disconnected.
func TestStalledSubscriberHurtsNobody(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.MaxQueueBytes = 1 << 20 })
	stalled := dialRaw(t, r, "")
	stalled.text(`["REQ","s",{"kinds":[8383],"limit":0}]`)
	watcher, pub := r.Dial(), r.Dial()
	watcher.Req("w", testkit.Object{"kinds": []int{8383}, "limit": 0})
	testkit.Eventually(t, "both subscribed", func() bool { return r.srv.dispatch.open() == 2 })
	at, content := testkit.Now(), strings.Repeat("x", 60<<10)
	var worst time.Duration
	for i := 0; relaytest.Gauge(t, r.reg, "mostrodex_relay_connections_dropped_slow_total") == 0; i++ {
		if i == 500 {
			t.Fatal("the client is still connected after 30 MB")
		}
		evt := testkit.SignedBy(t, testkit.Secret, mostro.KindDevFee, at, fmt.Sprint(i)+content)
		from := time.Now()
		pub.MustPublish(evt)
		if got := watcher.Expect("EVENT", "w"); testkit.EventID(t, got[2]) != evt.ID {
			t.Fatal("wrong event")
		}
		worst = max(worst, time.Since(from))
	}
	if code, notices := stalled.closedWith(); code != ws.StatusPolicyViolation || !strings.Contains(notices, "reads too slowly") {
		t.Errorf("closed with %d after %.200q", code, notices)
	}
	if worst > 2*time.Second {
		t.Errorf("a publisher waited %v", worst)
	}
	testkit.Eventually(t, "the connection is gone", func() bool { return relaytest.Gauge(t, r.reg, "mostrodex_relay_connections") == 2 })
}

// A client that requests much and reads nothing is disconnected by the write deadline. Its
// memory is bounded meanwhile.
func TestReaderOfNothingIsLetGo(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.WriteWait = 200 * time.Millisecond })
	pub := r.Dial()
	content := strings.Repeat("x", 100<<10)
	for i := range 60 {
		pub.MustPublish(testkit.SignedBy(t, testkit.Secret, mostro.KindDevFee, testkit.Now(), fmt.Sprint(i)+content))
	}
	raw := dialRaw(t, r, "")
	for i := range 20 {
		raw.text(fmt.Sprintf(`["REQ","s%d",{"kinds":[8383]}]`, i))
	}
	testkit.Eventually(t, "an answer waits", func() bool {
		r.srv.conns.mu.Lock()
		defer r.srv.conns.mu.Unlock()
		for c := range r.srv.conns.all {
			if n := c.w.unsent(); n > replyBytes+2*len(content) {
				t.Errorf("%d bytes are queued for the client", n)
			}
		}
		return len(r.srv.conns.all) == 1
	})
	pub.Quiet()
}

// OKs are sent in the order of their events, for every kind of outcome.
func TestAnswersComeInTheOrderOfTheirEvents(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.MaxInFlight = 8 })
	c := r.Dial()
	at := testkit.Now()
	var sent []*nostr.Event
	var want []string
	for i := range 120 {
		evt, ok := testkit.SignedBy(t, testkit.Secret, 14, at, fmt.Sprint(i)), "true"
		switch i % 4 {
		case 1:
			evt, ok = testkit.Signed(t, 1, at, nostr.Tag{"t", fmt.Sprint(i)}), "false"
		case 2:
			evt = sent[i-2]
		case 3:
			evt.Content += "changed"
			ok = "false"
		}
		sent, want = append(sent, evt), append(want, evt.ID+ok)
	}
	go func() {
		for _, evt := range sent {
			c.Send("EVENT", evt)
		}
		c.Send("COUNT", "end", testkit.Object{"kinds": []int{14}})
	}()
	for i := range want {
		if got := c.Expect("OK"); got[1]+got[2] != want[i] {
			t.Fatalf("answer %d is %q", i, got)
		}
	}
	// COUNT has waited for the appends before it.
	if got := c.Expect("COUNT", "end"); got[2] != `{"count":30}` {
		t.Errorf("count %s", got[2])
	}
}

// Filters of real wallets over events of real daemons.
func TestRealEventsAndRealFilters(t *testing.T) {
	dir := os.Getenv("MOSTRODEX_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "fixtures", "real-events.ndjson"))
	if err != nil {
		t.Skipf("no captured events: %v", err)
	}
	r := startRelay(t, nil)
	refused := make(map[string]int)
	for _, res := range r.importAll(t, string(raw)) {
		if res.Outcome == "rejected" {
			refused[res.Reason]++
		}
	}
	for reason, n := range refused {
		if !strings.HasPrefix(reason, "blocked: kind") {
			t.Errorf("%d real events refused: %s", n, reason)
		}
	}
	if r.Store.Head() < 20 {
		t.Fatalf("only %d events were taken: %v", r.Store.Head(), refused)
	}
	var newest *nostr.Event
	if err := r.Store.Read(t.Context(), 0, func(e mostro.Entry) error {
		if !e.Archived && e.Event.Kind == mostro.KindOrder && (newest == nil || e.Event.CreatedAt > newest.CreatedAt) {
			newest = e.Event
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if newest == nil {
		t.Skip("every captured order has expired")
	}
	c := r.Dial()
	node, at, d := newest.PubKey, int64(newest.CreatedAt), newest.Tags.GetD()
	for name, filter := range map[string]testkit.Object{
		"mobile's book":        {"kinds": []int{38383, 38385}, "authors": []string{node}, "since": at - 48*3600},
		"mobile's deep link":   {"kinds": []int{38383}, "#d": []string{d}},
		"mostro-cli's list":    {"kinds": []int{38383}, "authors": []string{node}, "#z": []string{"order"}, "since": at - 7*86400, "limit": 50},
		"mostrix's snapshot":   {"kinds": []int{38383}, "authors": []string{node}, "limit": 500},
		"RoboSats' book":       {"authors": []string{node, strings.Repeat("0", 64)}, "kinds": []int{38383}, "since": at - 30*3600},
		"by id":                {"ids": []string{newest.ID}},
		"MostroP2P app's book": {"kinds": []int{38383}, "authors": []string{node}},
	} {
		if got := c.Req("r", filter); !slices.Contains(got, newest.ID) {
			t.Errorf("%s: %d events, not the newest order", name, len(got))
		}
	}
	for name, filter := range map[string]testkit.Object{
		"mobile's probe":   {"kinds": []int{1}, "limit": 1},
		"daemon's inbox":   {"kinds": []int{14}, "#p": []string{node}, "limit": 0},
		"restore":          {"kinds": []int{1059}, "#p": []string{node}, "limit": 0},
		"RoboSats ratings": {"kinds": []int{31986}, "#p": []string{node}, "since": at - 180*86400},
	} {
		// Req waits for EOSE. No event arrives that limit 0 excludes.
		if got := c.Req("r", filter); filter["limit"] == 0 && len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}
