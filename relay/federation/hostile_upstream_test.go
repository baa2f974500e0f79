package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/nbd-wtf/go-nostr"
)

// Events that a relay sends after the EOSE of a page do not move the end of the page.
// Otherwise the events in between would never be requested. The test also shows under
// -race that no count is written while the page is read.
func TestEventsBehindEOSEMoveNoPage(t *testing.T) {
	events := orders(t, 60, 2)
	other := startOther(t, 10, events...)
	late := testkit.Order(t, "late", testkit.Now()-100_000, "pending")
	other.onFrame = func(c *otherConn, verb string, words []json.RawMessage) bool {
		if verb != "REQ" {
			return false
		}
		id, f := subOf(words)
		if f.Until == nil || len(f.Kinds) != 1 || f.Kinds[0] != mostro.KindOrder {
			return false
		}
		for _, evt := range c.r.find(f) {
			c.say("EVENT", id, evt)
		}
		c.say("EOSE", id)
		for range 5 {
			c.say("EVENT", id, late)
		}
		return true
	}
	r := startRelay(t, nil)
	us, _, _ := r.follow(Config{}, other.url())
	testkit.Eventually(t, "all is taken", func() bool { return healthOf(t, us, other.url()).State == "live" })
	want := len(events) + 1
	if got := len(relaytest.IDs(t, r.Store, nostr.Filter{Kinds: []int{mostro.KindOrder}}, 1000)); got != want {
		t.Errorf("%d of %d orders are taken", got, want)
	}
}

// A relay that sends many good events and a few wrong ones stays followed.
func TestFewLiesAmongManyEvents(t *testing.T) {
	events := orders(t, 600, 3)
	foreign := testkit.Signed(t, 1, testkit.Now()-50)
	other := startOther(t, 100)
	type liveSub struct {
		c  *otherConn
		id string
	}
	live := make(chan liveSub, 10)
	other.onFrame = func(c *otherConn, verb string, words []json.RawMessage) bool {
		if id, f := subOf(words); verb == "REQ" && f.Until == nil && len(f.Kinds) > 1 && f.Kinds[0] == mostro.KindOrder {
			live <- liveSub{c, id}
		}
		return false
	}
	r := startRelay(t, nil)
	us, _, _ := r.follow(Config{}, other.url())
	testkit.Eventually(t, "live", func() bool { return healthOf(t, us, other.url()).State == "live" })
	sub := <-live
	lies := 0
	for i, evt := range events {
		if sub.c.say("EVENT", sub.id, evt); i%8 == 0 {
			lies++
			sub.c.say("EVENT", sub.id, foreign)
		}
	}
	testkit.Eventually(t, "all is taken", func() bool {
		h := healthOf(t, us, other.url())
		return int(h.Events.Kept) == len(events) || h.Failures["lying"] > 0
	})
	if h := healthOf(t, us, other.url()); h.Failures["lying"] > 0 || lies < maxOutsideEvent {
		t.Errorf("%d lies: %+v", lies, h)
	}
}

// White space in an OK is not a refusal.
func TestSpacesInOK(t *testing.T) {
	other := startOther(t, 100)
	other.onFrame = func(c *otherConn, verb string, words []json.RawMessage) bool {
		var evt nostr.Event
		if verb != "EVENT" || json.Unmarshal(words[1], &evt) != nil {
			return false
		}
		c.ws.Write(c.ctx, websocket.MessageText, fmt.Appendf(nil, "[\"OK\",\"%s\", \n true , \"\"]", evt.ID))
		return true
	}
	r := startRelay(t, func(c *relay.Config) { c.Forwarding = true })
	order := testkit.Order(t, "x", testkit.Now(), "pending")
	if err := r.srv.Publish(context.Background(), order); err != nil {
		t.Fatal(err)
	}
	r.follow(Config{Forward: []string{other.url()}})
	testkit.Eventually(t, "an outcome", func() bool { return outcomes(t, r, order.ID)[other.url()] != "" })
	if got := outcomes(t, r, order.ID)[other.url()]; got != "accepted" {
		t.Errorf("the outcome is %s", got)
	}
}

// A configured relay cannot redirect the client to another address.
func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, configured := range []bool{true, false} {
		reached := make(chan string, 10)
		inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { reached <- q.URL.Path }))
		defer inside.Close()
		outside := httptest.NewServer(http.RedirectHandler(inside.URL+"/secret", http.StatusTemporaryRedirect))
		defer outside.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		client := relayClient(configured)
		url := "ws" + strings.TrimPrefix(outside.URL, "http")
		fetchInfo(ctx, client, url, time.Now)
		if ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client}); err == nil {
			ws.CloseNow()
		}
		if len(reached) > 0 {
			t.Errorf("configured=%v: %s was asked for on this machine", configured, <-reached)
		}
	}
}
