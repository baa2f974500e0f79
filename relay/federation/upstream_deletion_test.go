package federation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/nbd-wtf/go-nostr"
)

// deletionOf returns a deletion request of an order's author, which has no info event. The
// request names the order by id and kind, by id alone, or by address.
func deletionOf(t *testing.T, order *nostr.Event, by string) *nostr.Event {
	t.Helper()
	tags := map[string]nostr.Tags{
		"kind":    {{"e", order.ID}, {"k", "38383"}},
		"id":      {{"e", order.ID}},
		"address": {{"a", "38383:" + order.PubKey + ":" + order.Tags.GetD()}},
	}[by]
	return testkit.Signed(t, mostro.KindDeletion, testkit.Now(), tags...)
}

var deletionForms = []string{"kind", "id", "address"}

// liveOrders returns the ids of the orders that a relay serves.
func (r *testRelay) liveOrders() []string {
	r.TB.Helper()
	ids := relaytest.IDs(r.TB, r.Store, nostr.Filter{Kinds: []int{mostro.KindOrder}}, 1000)
	slices.Sort(ids)
	return ids
}

// orderAt returns an order made at one time. A later version replaces an earlier one.
func orderAt(t *testing.T, d, status string, ago int64) *nostr.Event {
	t.Helper()
	return testkit.Order(t, d, testkit.Now()-ago, status)
}

// TestDeletionsByAnybodyAreFollowed has two relays and a deletion at one of them. The
// other relay deletes the order too, although it never saw an info event of the author.
func TestDeletionsByAnybodyAreFollowed(t *testing.T) {
	for _, by := range deletionForms {
		for _, when := range []string{"held by both", "new by the link", "deleted while the follower is down", "published and deleted at once"} {
			t.Run(by+", "+when, func(t *testing.T) {
				a, b := startRelay(t, nil), startRelay(t, nil)
				order := orderAt(t, "x", "pending", 50)
				ca, cb := a.Dial(), b.Dial()
				request := deletionOf(t, order, by)
				if when == "held by both" {
					ca.MustPublish(order)
					cb.MustPublish(order)
				}
				us, _, stop := b.follow(Config{}, a.URL())
				live := func() {
					t.Helper()
					testkit.Eventually(t, "live", func() bool { return healthOf(t, us, a.URL()).State == "live" })
				}
				live()
				if when != "held by both" {
					ca.MustPublish(order)
					if when != "published and deleted at once" {
						testkit.Eventually(t, "it has come", func() bool { return len(b.liveOrders()) == 1 })
					}
				}
				if when == "deleted while the follower is down" {
					stop()
					ca.MustPublish(request)
					us, _, _ = b.follow(Config{}, a.URL())
					live()
				} else {
					ca.MustPublish(request)
				}
				// The request is stored for good, so the order is refused from now on.
				testkit.Eventually(t, "it is gone", func() bool {
					return len(b.liveOrders()) == 0 && len(relaytest.IDs(t, b.Store, nostr.Filter{IDs: []string{request.ID}}, 1)) == 1
				})
			})
		}
	}
}

// TestResurrectedOrdersGo has a relay that serves, by pages and live, orders that their
// author deleted at another relay. The follower has seen neither before.
func TestResurrectedOrdersGo(t *testing.T) {
	for _, by := range deletionForms {
		for _, honest := range []string{"negentropy", "paging"} {
			t.Run(by+", "+honest, func(t *testing.T) {
				first, second := orderAt(t, "x", "pending", 90), orderAt(t, "x", "success", 50)
				request := deletionOf(t, second, by)
				liar := startOther(t, 100, second)
				var url string
				if honest == "paging" {
					url = startOther(t, 100, request).url()
				} else {
					a := startRelay(t, nil)
					c := a.Dial()
					for _, evt := range []*nostr.Event{first, second, request} {
						c.MustPublish(evt)
					}
					url = a.URL()
				}
				r := startRelay(t, nil)
				us, _, stop := r.follow(Config{}, liar.url(), url)
				gone := func(what string) {
					t.Helper()
					testkit.Eventually(t, what, func() bool {
						return healthOf(t, us, liar.url()).State == "live" && healthOf(t, us, url).State == "live" && len(r.liveOrders()) == 0 &&
							len(relaytest.IDs(t, r.Store, nostr.Filter{IDs: []string{request.ID}}, 1)) == 1
					})
				}
				gone("the order is gone")
				held := healthOf(t, us, liar.url()).Events
				again := []*nostr.Event{second}
				if by == "address" {
					// A request by id names one version. If that version was never stored
					// here, the relay cannot know that an older version has the same
					// address.
					again = append(again, first)
				}
				for _, evt := range again {
					liar.publish(evt)
				}
				testkit.Eventually(t, "they came live", func() bool {
					h := healthOf(t, us, liar.url()).Events
					return h.Held+h.Kept >= held.Held+held.Kept+int64(len(again))
				})
				gone("none came back")
				stop()
				us, _, _ = r.follow(Config{}, liar.url(), url)
				gone("nor by another connection")
			})
		}
	}
}

// TestStaleVersionsStayHistory has a relay that serves only older versions, by pages and
// live: of an order that is live here, of an order whose newest version was deleted here,
// and of an order that the relay sends first.
func TestStaleVersionsStayHistory(t *testing.T) {
	var stale []*nostr.Event
	newest := map[string]*nostr.Event{}
	for _, d := range []string{"live", "deleted", "late"} {
		stale = append(stale, orderAt(t, d, "pending", 900), orderAt(t, d, "in-progress", 500))
		newest[d] = orderAt(t, d, "success", 60)
	}
	liar := startOther(t, 100, stale...)
	r := startRelay(t, nil)
	c := r.Dial()
	c.MustPublish(newest["live"])
	c.MustPublish(newest["deleted"])
	c.MustPublish(deletionOf(t, newest["deleted"], "id"))
	us, _, _ := r.follow(Config{}, liar.url())
	testkit.Eventually(t, "the newest of the late one that is offered", func() bool {
		return slices.Equal(r.liveOrders(), sortedIDs([]*nostr.Event{newest["live"], stale[5]}))
	})
	c.MustPublish(newest["late"])
	taken := func() int64 {
		h := healthOf(t, us, liar.url()).Events
		return h.Kept + h.Held
	}
	before := taken()
	for _, evt := range stale {
		liar.publish(evt)
	}
	testkit.Eventually(t, "all come live", func() bool { return taken() >= before+int64(len(stale)) })
	if got := r.liveOrders(); !slices.Equal(got, sortedIDs([]*nostr.Event{newest["live"], newest["late"]})) {
		t.Errorf("%d orders are served", len(got))
	}
}

// TestForeignEventsAreNotTaken has a relay that answers each request with matching events
// and with others: other kinds, other authors, other times, and deletions by other keys
// that name good orders.
func TestForeignEventsAreNotTaken(t *testing.T) {
	mine := orderAt(t, "mine", "pending", 50)
	other := testkit.SignedBy(t, strings.Repeat("2", 64), mostro.KindOrder, testkit.Now()-40, "", nostr.Tag{"d", "other"}, nostr.Tag{"s", "pending"})
	foreign := []*nostr.Event{
		testkit.Signed(t, 1, testkit.Now()-50), other,
		testkit.SignedBy(t, strings.Repeat("3", 64), mostro.KindDeletion, testkit.Now(), "", nostr.Tag{"e", mine.ID}, nostr.Tag{"k", "38383"}),
		testkit.SignedBy(t, strings.Repeat("3", 64), mostro.KindDeletion, testkit.Now(), "", nostr.Tag{"e", mine.ID}),
	}
	liar := startOther(t, 100, mine)
	liar.onFrame = func(c *otherConn, verb string, words []json.RawMessage) bool {
		if id, f := subOf(words); verb == "REQ" {
			for _, evt := range foreign {
				if !f.Matches(evt) {
					c.say("EVENT", id, evt)
				}
			}
		}
		return false
	}
	r := startRelay(t, nil)
	us, _, _ := r.follow(Config{Follow: []Upstream{{URL: liar.url(), Instances: []string{mine.PubKey}}}})
	testkit.Eventually(t, "the good order is taken", func() bool { return slices.Equal(r.liveOrders(), []string{mine.ID}) })
	testkit.Eventually(t, "the liar is noticed", func() bool {
		h := healthOf(t, us, liar.url())
		return h.Events.Outside >= maxOutsideEvent && h.Failures["lying"] > 0
	})
	if got := relaytest.IDs(t, r.Store, nostr.Filter{}, 100); !slices.Equal(got, []string{mine.ID}) {
		t.Errorf("%d events are served", len(got))
	}
}

// TestRelayRefusesAllDeletions has a relay that refuses, at once or later, to send the
// deletions of all authors. The deletions of the authors of orders are requested instead.
func TestRelayRefusesAllDeletions(t *testing.T) {
	for _, later := range []bool{false, true} {
		t.Run(fmt.Sprint("later=", later), func(t *testing.T) {
			order := orderAt(t, "x", "pending", 50)
			other := startOther(t, 100, order)
			other.onFrame = func(c *otherConn, verb string, words []json.RawMessage) bool {
				id, f := subOf(words)
				if verb != "REQ" || !slices.Equal(f.Kinds, []int{mostro.KindDeletion}) || len(f.Authors)+len(f.Tags) > 0 {
					return false
				}
				if later {
					c.say("EOSE", id)
				}
				c.say("CLOSED", id, "blocked: name an author")
				return true
			}
			r := startRelay(t, nil)
			us, _, _ := r.follow(Config{}, other.url())
			testkit.Eventually(t, "it is followed all the same", func() bool {
				h := healthOf(t, us, other.url())
				return h.Connects > 1 && h.State == "live" && slices.Equal(r.liveOrders(), []string{order.ID})
			})
			other.publish(deletionOf(t, order, "kind"))
			testkit.Eventually(t, "it is gone", func() bool { return len(r.liveOrders()) == 0 })
		})
	}
}

// TestDeletionsOfOthersAreNotKept has a relay that sends the deletions of all authors.
// Deletions that cannot be about a followed event are dropped.
func TestDeletionsOfOthersAreNotKept(t *testing.T) {
	other := startOther(t, 100)
	r := startRelay(t, nil)
	us, _, _ := r.follow(Config{}, other.url())
	testkit.Eventually(t, "live", func() bool { return healthOf(t, us, other.url()).State == "live" })
	order := orderAt(t, "x", "pending", 50)
	stranger := strings.Repeat("4", 64)
	for i := range 50 {
		other.publish(testkit.SignedBy(t, stranger, mostro.KindDeletion, testkit.Now(), "", nostr.Tag{"e", fmt.Sprintf("%064x", i)}, nostr.Tag{"k", "1"}))
	}
	testkit.Eventually(t, "they came", func() bool { return healthOf(t, us, other.url()).Events.Received >= 50 })
	other.publish(order)
	r.awaitIDs("the order alone", []string{order.ID})
}
