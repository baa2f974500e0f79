package alerts

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/nbd-wtf/go-nostr"
)

func init() { pollDue = 2 * time.Millisecond }

// world is the surroundings of a service: a log with the book over it, other relays and
// webhooks. It survives the service.
type world struct {
	tb    testing.TB
	dir   string
	clock *testkit.Clock
	keys  *envelope.Keys

	mu      sync.Mutex
	entries []mostro.Entry
	moved   chan struct{}
	seen    map[string]bool // ids of published messages
	sent    []*nostr.Event  // each once
	pushed  []string
	calls   []Call
	answer  func(Call) (int, []byte, error)
	publish func(*nostr.Event) error
	inbox   []string
	limits  Limits
	banned  string
	text    string // of each order; "": its name
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	keys, err := envelope.NewKeys(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return &world{tb: tb, dir: tb.TempDir(), clock: testkit.NewClock(), keys: keys, moved: make(chan struct{}), seen: map[string]bool{}, answer: echo}
}

// echo answers a challenge as a webhook must.
func echo(c Call) (int, []byte, error) { return 200, c.Body, nil }

func (w *world) add(evt *nostr.Event, origin mostro.Origin) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	seq := uint64(len(w.entries) + 1)
	w.entries = append(w.entries, mostro.Entry{Seq: seq, Event: evt, ReceivedAt: w.clock.Now(), Source: mostro.Source{Origin: origin}})
	close(w.moved)
	w.moved = make(chan struct{})
	return seq
}

// order adds a version of an order to the log.
func (w *world) order(d, fiat, side, status string, more ...nostr.Tag) uint64 {
	tags := append([]nostr.Tag{{"d", d}, {"k", side}, {"f", fiat}, {"s", status}, {"amt", "0"}, {"fa", "100"}, {"pm", "Pago Movil", "cash"}, {"premium", "1.5"}, {"y", "mostro"}, {"z", "order"}}, more...)
	return w.add(testkit.Unsigned(7, mostro.KindOrder, w.clock.Now().Unix(), "", tags...), mostro.OriginLive)
}

func (w *world) Head() uint64 { w.mu.Lock(); defer w.mu.Unlock(); return uint64(len(w.entries)) }

func (w *world) since(after uint64) []mostro.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.entries[min(after, uint64(len(w.entries))):]
}

func (w *world) Read(_ context.Context, after uint64, fn func(mostro.Entry) error) error {
	for _, e := range w.since(after) {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) Wait(ctx context.Context, seq uint64) error {
	for {
		w.mu.Lock()
		n, moved := uint64(len(w.entries)), w.moved
		w.mu.Unlock()
		if n > seq {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

func (w *world) Updates(ctx context.Context, after uint64, wait time.Duration, fn func(indexer.Update) error) (uint64, error) {
	patient, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if w.Wait(patient, after) != nil {
		return after, ctx.Err()
	}
	upTo := after
	for _, e := range w.since(after) {
		upTo = e.Seq
		if e.Event.Kind != mostro.KindOrder {
			continue
		}
		o, err := mostro.ParseOrder(e.Event)
		if err != nil {
			w.tb.Error(err)
		}
		r := &orders.Record{Version: orders.Version{Seq: e.Seq, ReceivedAt: e.ReceivedAt, Order: o}, Versions: 1}
		if err := fn(indexer.Update{Seq: e.Seq, Pubkey: o.Pubkey, D: o.D, Record: r}); err != nil {
			return after, err
		}
	}
	return upTo, nil
}

func (w *world) open() *Service {
	w.tb.Helper()
	s, err := Open(Config{Dir: w.dir, Book: w, Log: w, Keys: w.keys, Limits: w.limits, Now: w.clock.Now,
		Publish: func(_ context.Context, evt *nostr.Event) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.publish != nil {
				if err := w.publish(evt); err != nil {
					return err
				}
			}
			if !w.seen[evt.ID] {
				w.seen[evt.ID] = true
				w.sent = append(w.sent, evt)
			}
			return nil
		},
		Push: func(_ context.Context, relay string, evt *nostr.Event) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.pushed = append(w.pushed, relay+" "+evt.ID)
			return nil
		},
		Post: func(_ context.Context, c Call) (int, []byte, error) {
			w.mu.Lock()
			w.calls = append(w.calls, c)
			answer := w.answer
			w.mu.Unlock()
			return answer(c)
		},
		Inbox: func(context.Context, string) []string { return w.inbox },
		Describe: func(r *orders.Record) (json.RawMessage, string) {
			return json.RawMessage(fmt.Sprintf(`{"d":%q}`, r.Order.D)), cmp.Or(w.text, "Order "+r.Order.D)
		},
		Refused: func(pubkey string) bool { return pubkey == w.banned },
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return s
}

// run runs a service and returns a function that ends it as a crash does: all that is not
// committed is lost.
func (w *world) run() (s *Service, stop func()) {
	s = w.open()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				w.tb.Error(err)
			}
			if err := s.Close(); err != nil {
				w.tb.Error(err)
			}
		})
	}
	w.tb.Cleanup(stop)
	return s, stop
}

// texts returns the messages to a key so far.
func (w *world) texts(to *envelope.Keys) (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, evt := range w.sent {
		if d, err := envelope.OpenDirect(evt, to); err == nil {
			if d.Sender != w.keys.Pubkey() {
				w.tb.Errorf("a message by %s", d.Sender)
			}
			out = append(out, d.Text)
		}
	}
	return out
}

// about counts the messages to a key with a text in them.
func (w *world) about(to *envelope.Keys, part string) (n int) {
	for _, text := range w.texts(to) {
		n += strings.Count(text, part)
	}
	return n
}

func (w *world) called(part string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		n += strings.Count(string(c.Body), part)
	}
	return n
}

func newKeys(tb testing.TB) *envelope.Keys {
	tb.Helper()
	k, err := envelope.NewKeys(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func mustSave(tb testing.TB, s *Service, k *envelope.Keys, filter string) Alert {
	tb.Helper()
	a, err := s.Save(k.Pubkey(), "", Request{Filter: filter})
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// caughtUp waits until the service has read the whole log and its outbox is empty.
func (w *world) caughtUp(s *Service) {
	w.tb.Helper()
	testkit.Eventually(w.tb, "the service to catch up", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.head.Book == w.Head() && s.head.Mail == w.Head() && s.rows == 0
	})
}

// TestOncePerOrder delivers each order that fits once, whatever versions follow, none from
// before the alert, none for others, and none after the deletion.
func TestOncePerOrder(t *testing.T) {
	w := newWorld(t)
	s, _ := w.run()
	alice, bob := newKeys(t), newKeys(t)
	w.order("early", "VES", "sell", "pending")
	w.caughtUp(s)
	a := mustSave(t, s, alice, `fiat:VES side:sell method:"pago movil" premium:<=2`)
	mustSave(t, s, bob, "fiat:USD")
	w.order("one", "VES", "sell", "pending")
	w.order("other", "VES", "buy", "pending")
	w.order("taken", "VES", "sell", "in-progress")
	w.clock.Advance(time.Second)
	w.order("one", "VES", "sell", "in-progress")
	w.clock.Advance(time.Second)
	w.order("one", "VES", "sell", "pending")
	w.order("taken", "VES", "sell", "pending")
	w.caughtUp(s)
	if n := w.about(alice, "Order one"); n != 1 {
		t.Errorf("order one was told %d times", n)
	}
	if got := w.texts(alice); len(got) != 2 || w.about(alice, "Order taken") != 1 || len(w.texts(bob)) != 0 {
		t.Errorf("told %q and %q", got, w.texts(bob))
	}
	if err := s.Delete(bob.Pubkey(), a.ID); err == nil {
		t.Error("a stranger deleted an alert")
	}
	if got := s.List(bob.Pubkey()); len(got) != 1 || got[0].ID == a.ID {
		t.Errorf("bob sees %+v", got)
	}
	if err := s.Delete(alice.Pubkey(), a.ID); err != nil {
		t.Fatal(err)
	}
	w.order("late", "VES", "sell", "pending")
	w.caughtUp(s)
	if n := len(w.texts(alice)); n != 2 {
		t.Errorf("%d messages after the deletion", n)
	}
}

// TestRestarts stops the service between all steps: a message that cannot be published, one
// whose publication has no answer, changes while the program is off, and lost positions.
func TestRestarts(t *testing.T) {
	w := newWorld(t)
	s, stop := w.run()
	alice := newKeys(t)
	a, err := s.Save(alice.Pubkey(), "", Request{Filter: "fiat:VES", Webhook: "https://hook.example/x"})
	if err != nil {
		t.Fatal(err)
	}
	w.caughtUp(s)
	failing := errors.New("no answer")
	w.mu.Lock()
	w.publish = func(evt *nostr.Event) error { // stored, but the caller does not learn it
		if !w.seen[evt.ID] {
			w.seen[evt.ID] = true
			w.sent = append(w.sent, evt)
		}
		return failing
	}
	w.mu.Unlock()
	w.order("one", "VES", "sell", "pending")
	testkit.Eventually(t, "the first publication", func() bool { return w.about(alice, "Order one") == 1 })
	testkit.Eventually(t, "the end of the webhook's row", func() bool { // else a stop in the middle repeats the call
		s.mu.Lock()
		defer s.mu.Unlock()
		return w.called(`"d":"one"`) == 1 && s.rows == 1
	})
	stop()
	w.order("two", "VES", "sell", "pending") // while the program is off
	w.order("one", "VES", "sell", "in-progress")
	w.order("one", "VES", "sell", "pending")
	w.mu.Lock()
	w.publish = nil
	w.mu.Unlock()
	w.clock.Advance(2 * time.Hour)
	s, stop = w.run()
	w.caughtUp(s)
	for _, d := range []string{"one", "two"} {
		if n := w.about(alice, "Order "+d); n != 1 {
			t.Errorf("order %s was told %d times", d, n)
		}
		if n := w.called(`"d":"` + d + `"`); n != 1 {
			t.Errorf("order %s was posted %d times", d, n)
		}
	}
	stop()
	// A crash loses the positions that were not committed, never the marks.
	st, err := openStore(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.commit(&change{head: &head{}}); err != nil {
		t.Fatal(err)
	}
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	s, stop = w.run()
	w.caughtUp(s)
	if n := len(w.texts(alice)); n != 2 {
		t.Errorf("%d messages after the positions were lost", n)
	}
	stop()
	// A log that was put back from an older copy ends before the positions.
	w.mu.Lock()
	w.entries = w.entries[:1]
	w.mu.Unlock()
	s, _ = w.run()
	w.order("three", "VES", "sell", "pending")
	w.order("two", "VES", "sell", "pending")
	w.caughtUp(s)
	if n := w.about(alice, "Order three"); n != 1 || len(w.texts(alice)) != 3 {
		t.Errorf("told of three %d times, %d in all", n, len(w.texts(alice)))
	}
	if got := s.List(alice.Pubkey()); len(got) != 1 || got[0].ID != a.ID || got[0].Hook != HookActive || got[0].Secret != a.Secret {
		t.Errorf("%+v", got)
	}
}

// crashed returns a world whose store is a copy of the present one, which is what a kill leaves.
// mu is held, so nothing is published during the copy; commits go on.
func (w *world) crashed() *world {
	c := &world{tb: w.tb, dir: w.tb.TempDir(), clock: w.clock, keys: w.keys, moved: make(chan struct{}), seen: maps.Clone(w.seen), sent: slices.Clone(w.sent), answer: echo, entries: slices.Clone(w.entries)}
	if err := os.CopyFS(c.dir, os.DirFS(w.dir)); err != nil {
		w.tb.Error(err)
	}
	return c
}

// TestCrashAtAnyTime copies the store while the service works, also directly before and after
// the publication of a message, and goes on with the copy: each order is told once.
func TestCrashAtAnyTime(t *testing.T) {
	w := newWorld(t)
	s, _ := w.run()
	alice := newKeys(t)
	if _, err := s.Save(alice.Pubkey(), "", Request{Filter: "fiat:VES"}); err != nil {
		t.Fatal(err)
	}
	check := func(c *world, what string) {
		t.Helper()
		s, stop := c.run()
		c.caughtUp(s)
		stop()
		os.RemoveAll(c.dir)
		for i := range c.entries {
			if got := c.about(alice, fmt.Sprintf("Order o%02d", i)); got != 1 {
				t.Errorf("%s: order %d of %d was told %d times", what, i, len(c.entries), got)
			}
		}
	}
	n := 8
	if testing.Short() {
		n = 3
	}
	for i := range n {
		w.order(fmt.Sprintf("o%02d", i), "VES", "sell", "pending")
		w.mu.Lock()
		c := w.crashed()
		w.mu.Unlock()
		check(c, "while it works")
	}
	w.caughtUp(s)
	var before, after *world
	w.mu.Lock()
	w.publish = func(evt *nostr.Event) error {
		if before == nil {
			before = w.crashed()
			w.seen[evt.ID], w.sent = true, append(w.sent, evt)
			after = w.crashed()
		}
		return nil
	}
	w.mu.Unlock()
	w.order(fmt.Sprintf("o%02d", n), "VES", "sell", "pending")
	w.caughtUp(s)
	check(before, "before a publication")
	check(after, "after a publication")
}

// TestRateOfAnAlert lets an alert match everything: it is silent after its rate, says so, and
// speaks again in the next hour.
func TestRateOfAnAlert(t *testing.T) {
	w := newWorld(t)
	w.limits = Limits{PerHour: 5}
	s, _ := w.run()
	alice := newKeys(t)
	mustSave(t, s, alice, "")
	for i := range 50 {
		w.order(fmt.Sprint("o", i), "VES", "sell", "pending")
	}
	w.caughtUp(s)
	if got := w.texts(alice); len(got) != 5 || !strings.Contains(got[4], "silent") && w.about(alice, "silent") != 1 {
		t.Fatalf("%d messages: %q", len(got), got)
	}
	w.clock.Advance(time.Hour)
	w.order("later", "VES", "sell", "pending")
	w.caughtUp(s)
	if n := w.about(alice, "Order later"); n != 1 {
		t.Errorf("told %d times in the next hour", n)
	}
}

// TestBounds checks the bounds per key, per address, in all and of the outbox, and that what is
// refused leaves nothing behind.
func TestBounds(t *testing.T) {
	w := newWorld(t)
	w.limits = Limits{PerKey: 2, InAll: 6, PerAddress: 3, RowsPerKey: 3}
	s, _ := w.run()
	refused := func(what string, k *envelope.Keys, address string, r Request, status int) {
		t.Helper()
		var refusal *Refusal
		if _, err := s.Save(k.Pubkey(), address, r); !errors.As(err, &refusal) || refusal.Status != status {
			t.Errorf("%s: %v", what, err)
		}
	}
	alice := newKeys(t)
	mustSave(t, s, alice, "fiat:VES")
	mustSave(t, s, alice, "fiat:VES") // the same
	mustSave(t, s, alice, "fiat:ARS")
	if n := len(s.List(alice.Pubkey())); n != 2 {
		t.Errorf("%d alerts after the same was saved again", n)
	}
	refused("a third alert", alice, "", Request{Filter: "fiat:USD"}, 409)
	for i := range 4 {
		_, err := s.Save(newKeys(t).Pubkey(), "192.0.2.1", Request{Filter: "fiat:VES"})
		if (err == nil) != (i < 3) {
			t.Errorf("alert %d of an address: %v", i, err)
		}
	}
	bob := newKeys(t)
	no := false
	for what, r := range map[string]Request{"words": {Filter: "venezuela"}, "no road": {Message: &no}, "a file": {Webhook: "file:///etc/passwd"}, "http": {Webhook: "http://hook.example"}, "a user": {Webhook: "https://a:b@hook.example"},
		"a port": {Webhook: "https://hook.example:25/"}, "a long URL": {Webhook: "https://hook.example/" + strings.Repeat("x", 600)}, "no host": {Webhook: "https:///x"}, "rank": {Filter: "min_rank:5"}, "a name of this network": {Webhook: "https://router/"}} {
		refused(what, bob, "", r, 400)
	}
	for i := range maxChallenges + 1 {
		r := Request{Webhook: fmt.Sprint("https://victim.example/", i)}
		if i == maxChallenges {
			refused("many webhooks of a host", bob, "", r, 429)
		} else if a, err := s.Save(bob.Pubkey(), "", r); err != nil {
			t.Fatal(err)
		} else if err := s.Delete(bob.Pubkey(), a.ID); err != nil {
			t.Fatal(err)
		}
	}
	carol := newKeys(t)
	mustSave(t, s, carol, "fiat:VES")
	refused("more than in all", bob, "", Request{Filter: "fiat:VES"}, 503)
	w.banned = bob.Pubkey()
	refused("a banned key", bob, "", Request{Filter: "fiat:VES"}, 403)
	testkit.Eventually(t, "no trace of what was refused or deleted", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.owners) == 5 && s.rows == 0
	})
	w.mu.Lock()
	w.publish = func(*nostr.Event) error { return errors.New("later") }
	w.mu.Unlock()
	for i := range 20 {
		w.order(fmt.Sprint("o", i), "ARS", "sell", "pending")
	}
	testkit.Eventually(t, "the orders", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.head.Book == w.Head() })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows != 3 || s.owners[alice.Pubkey()].rows != 3 {
		t.Errorf("%d rows wait, of alice %d", s.rows, s.owners[alice.Pubkey()].rows)
	}
}

// TestWebhook checks the challenge, the signature, retries with the same delivery id, and that
// a webhook that fails is called rarely and is off in the end.
func TestWebhook(t *testing.T) {
	w := newWorld(t)
	w.mu.Lock()
	w.answer = func(Call) (int, []byte, error) { return 200, []byte("fine"), nil } // does not answer its challenge
	w.mu.Unlock()
	s, _ := w.run()
	alice := newKeys(t)
	no := false
	r := Request{Filter: "fiat:VES", Message: &no, Webhook: "https://hook.example/x"}
	a, err := s.Save(alice.Pubkey(), "", r)
	if err != nil || len(a.Secret) != 64 || a.Hook != HookUnconfirmed {
		t.Fatalf("%+v, %v", a, err)
	}
	w.order("before", "VES", "sell", "pending")
	state := func() Hook { return s.List(alice.Pubkey())[0].Hook }
	// Each step of the clock is longer than every wait, and has at most one call of each row.
	untilOff := func() {
		t.Helper()
		for n := -1; ; n = w.called(`"type"`) { // counted before the clock moves
			if n > 40 {
				t.Fatal("the webhook is not off")
			}
			if n >= 0 {
				w.clock.Advance(longestRetry + time.Second)
			}
			testkit.Eventually(t, "a call", func() bool { return state() == HookOff || w.called(`"type"`) > n })
			if state() == HookOff {
				return
			}
			testkit.Eventually(t, "the result of the call", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				a := s.byID[a.ID]
				return a.Hook == HookOff || a.Failures > 0 && a.Next > w.clock.Now().Unix() || a.Hook == HookUnconfirmed
			})
		}
	}
	untilOff()
	if n := w.called(`"confirm"`); n != maxConfirms || w.called(`"order"`) != 0 {
		t.Errorf("%d challenges and %d orders", n, w.called(`"order"`))
	}
	testkit.Eventually(t, "a message", func() bool { return w.about(alice, "did not answer its challenge") == 1 })
	w.mu.Lock()
	w.answer, w.calls = echo, nil
	w.mu.Unlock()
	if again, err := s.Save(alice.Pubkey(), "", r); err != nil || again.ID != a.ID {
		t.Fatalf("%+v, %v", again, err)
	}
	testkit.Eventually(t, "the webhook", func() bool { return state() == HookActive })
	w.mu.Lock()
	w.answer, w.calls = func(Call) (int, []byte, error) { return 500, nil, nil }, nil
	w.mu.Unlock()
	w.order("one", "VES", "sell", "pending")
	w.order("two", "VES", "sell", "pending")
	untilOff()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.calls) != maxFailures {
		t.Errorf("%d calls of a failing webhook", len(w.calls))
	}
	ids := map[string]bool{}
	for _, c := range w.calls {
		ids[c.Header[headerDelivery]] = true
		at, _, _ := strings.Cut(strings.TrimPrefix(c.Header[headerSignature], "t="), ",")
		var unix int64
		fmt.Sscan(at, &unix)
		if c.Header[headerSignature] != Sign(a.Secret, time.Unix(unix, 0), c.Body) {
			t.Error("a wrong signature")
		}
	}
	if len(ids) > 2 {
		t.Errorf("%d delivery ids of two orders", len(ids))
	}
}

// write sends a private message to the relay.
func (w *world) write(from *envelope.Keys, text string, at time.Time) {
	w.tb.Helper()
	evt, err := envelope.SealDirect(from, w.keys.Pubkey(), text, at, nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.add(evt, mostro.OriginClient)
}

// TestCommands drives alerts by private messages: each command is answered once, also over
// restarts, and old, foreign and long messages are not.
func TestCommands(t *testing.T) {
	w := newWorld(t)
	s, stop := w.run()
	alice := newKeys(t)
	say := func(text, want string) string {
		t.Helper()
		before := len(w.texts(alice))
		w.write(alice, text, w.clock.Now())
		testkit.Eventually(t, "an answer to "+text, func() bool { return len(w.texts(alice)) > before })
		got := w.texts(alice)[before]
		if !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q in it", text, got, want)
		}
		return got
	}
	say("hello", "Write one line")
	say("alert venezuela", "Not saved: filter")
	say("alert fiat:VES webhook:ftp://x", "Not saved: webhook")
	say("list", "0 alerts")
	id := strings.Fields(say("alert fiat:VES side:sell", "Saved as"))[2]
	id = strings.TrimSuffix(id, ":")
	say("LIST", id)
	w.order("one", "VES", "sell", "pending")
	testkit.Eventually(t, "the order", func() bool { return w.about(alice, "Order one") == 1 })
	w.caughtUp(s)
	stop()
	n := len(w.texts(alice))
	s, _ = w.run()
	w.caughtUp(s)
	if got := len(w.texts(alice)); got != n {
		t.Errorf("a restart answered %d times again", got-n)
	}
	w.write(alice, "delete all", w.clock.Now().Add(-11*time.Minute))
	w.write(alice, "delete all", w.clock.Now().Add(time.Hour))
	w.write(alice, "delete all "+strings.Repeat("x", maxCommand), w.clock.Now())
	w.add(w.entries[0].Event, mostro.OriginImport)
	for _, content := range []string{"", "AAAA", strings.Repeat("A", 2000)} {
		w.add(testkit.Unsigned(9, mostro.KindGiftWrap, w.clock.Now().Unix(), content, nostr.Tag{"p", w.keys.Pubkey()}), mostro.OriginClient)
	}
	w.caughtUp(s)
	if len(s.List(alice.Pubkey())) != 1 || len(w.texts(alice)) != n {
		t.Error("an old, foreign or long message was obeyed or answered")
	}
	say("delete 123", "no such alert")
	say("delete "+id, "Deleted")
	if len(s.List(alice.Pubkey())) != 0 {
		t.Error("the alert is still there")
	}
}

// TestFloodOfKeys lets many fresh keys write. Those with proof of work, and those that have an
// alert, are answered all the same.
func TestFloodOfKeys(t *testing.T) {
	w := newWorld(t)
	w.limits = Limits{NewKeys: 5, Work: 8, CommandsHour: 10}
	s, _ := w.run()
	alice := newKeys(t)
	mustSave(t, s, alice, "fiat:VES")
	for range 30 {
		w.write(newKeys(t), "help", w.clock.Now())
	}
	w.write(alice, "list", w.clock.Now())
	for range 200 { // until one has 8 bits
		bob := newKeys(t)
		evt, err := envelope.SealDirect(bob, w.keys.Pubkey(), "list", w.clock.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if envelope.Difficulty(evt.ID) >= 8 {
			w.add(evt, mostro.OriginClient)
			break
		}
	}
	for range 30 {
		w.write(alice, "list", w.clock.Now())
	}
	w.caughtUp(s)
	w.mu.Lock()
	n := len(w.sent)
	w.mu.Unlock()
	if n < 5+10 || n > 5+10+1 || len(w.texts(alice)) != 10 {
		t.Errorf("%d messages were sent, %d of them to alice", n, len(w.texts(alice)))
	}
}

// TestExpiry ends an alert that is not saved again, and forgets its marks.
func TestExpiry(t *testing.T) {
	w := newWorld(t)
	w.inbox = []string{"wss://a.example", "wss://b.example", "wss://c.example", "wss://d.example"}
	s, _ := w.run()
	alice := newKeys(t)
	mustSave(t, s, alice, "fiat:VES")
	w.order("one", "VES", "sell", "pending")
	w.caughtUp(s)
	w.mu.Lock()
	if len(w.pushed) != maxPushRelays {
		t.Errorf("pushed %q", w.pushed)
	}
	w.mu.Unlock()
	w.clock.Advance(31 * 24 * time.Hour)
	if err := s.expire(); err != nil {
		t.Fatal(err)
	}
	w.caughtUp(s)
	if len(s.List(alice.Pubkey())) != 0 || w.about(alice, "has ended") != 1 {
		t.Errorf("%+v, %q", s.List(alice.Pubkey()), w.texts(alice))
	}
	o, err := mostro.ParseOrder(w.entries[0].Event)
	if err != nil {
		t.Fatal(err)
	}
	key := orders.KeyOf(orders.Address(o.Pubkey, o.D))
	if ids, err := s.store.marks(key); err != nil || len(ids) != 1 {
		t.Fatalf("%v, %v", ids, err)
	}
	if err := s.sweep(w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if ids, err := s.store.marks(key); err != nil || len(ids) != 0 {
		t.Errorf("%v, %v", ids, err)
	}
}

func FuzzCommand(f *testing.F) {
	for _, text := range []string{"alert fiat:VES side:sell", `alert method:"pago movil" webhook:https://h.example/`, "list", "delete all", "/delete x", "", "alert webhook: webhook:x"} {
		f.Add(text)
	}
	w := newWorld(f)
	s := w.open()
	f.Cleanup(func() { s.Close() })
	owner := strings.Repeat("ab", 32)
	f.Fuzz(func(t *testing.T, text string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var c change
		if s.command(&c, owner, text) == "" {
			t.Error("no answer")
		}
		if len(s.alertsOf(owner)) > s.cfg.Limits.PerKey {
			t.Error("too many alerts")
		}
		s.command(&c, owner, "delete all")
	})
}

// Each commit fits into one transaction of the store: one order for thousands of alerts, with a
// text that JSON makes six times as long, and thousands of alerts that end in the same minute.
func TestGreatestCommits(t *testing.T) {
	const alerts = 5000
	w := newWorld(t)
	w.text = strings.Repeat("<", maxOrderText)
	s := w.open()
	for i := range alerts {
		if _, err := s.Save(fmt.Sprintf("%064x", i), "", Request{}); err != nil {
			t.Fatal(err)
		}
	}
	w.order("a", "VES", "sell", "pending")
	var c change
	upTo, err := w.Updates(t.Context(), 0, time.Second, func(u indexer.Update) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.match(&c, &u)
	})
	if err == nil {
		err = s.passed(&c, func(h *head) { h.Book = upTo }, true)
	}
	if err != nil || s.rows != alerts {
		t.Fatalf("%d rows: %v", s.rows, err)
	}
	w.clock.Advance(31 * 24 * time.Hour)
	if err := s.expire(); err != nil || len(s.byID) != 0 {
		t.Fatalf("%d alerts left: %v", len(s.byID), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = w.open()
	if s.rows != 2*alerts || len(s.byID) != 0 {
		t.Errorf("the store has %d rows and %d alerts", s.rows, len(s.byID))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
