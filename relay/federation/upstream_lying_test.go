package federation

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/relay/negentropy"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/nbd-wtf/go-nostr"
)

// subOf returns the subscription id and the filter of a REQ.
func subOf(words []json.RawMessage) (id string, f nostr.Filter) {
	json.Unmarshal(words[1], &id)
	if len(words) > 2 {
		json.Unmarshal(words[2], &f)
	}
	return id, f
}

func TestLyingUpstreams(t *testing.T) {
	good := orders(t, 3, 1)
	forged := *good[0]
	forged.Sig = strings.Repeat("1", 128)
	wrongID := *good[1]
	wrongID.ID = strings.Repeat("a", 64)
	future := testkit.Order(t, "future", testkit.Now()+86400, "pending")
	foreign := testkit.Signed(t, 1, testkit.Now()-50)
	for _, c := range []struct {
		name    string
		nip     []int
		onFrame func(c *otherConn, verb string, words []json.RawMessage) bool
		check   func(h RelayHealth) bool // condition that becomes true in the end
	}{
		{"bad signatures and ids", nil, func(c *otherConn, verb string, words []json.RawMessage) bool {
			if verb == "REQ" {
				id, f := subOf(words)
				if f.Until != nil && f.Until.Time().After(time.Now()) && f.Kinds[0] == good[0].Kind {
					for _, evt := range []*nostr.Event{&forged, &wrongID, good[2]} {
						c.say("EVENT", id, evt)
					}
				}
				c.say("EOSE", id)
			}
			return verb == "REQ"
		}, func(h RelayHealth) bool { return h.State == "live" && h.Refused["invalid"] == 2 && h.Events.Kept == 1 }},
		{"outside the filter for ever", nil, func(c *otherConn, verb string, words []json.RawMessage) bool {
			if verb == "REQ" {
				id, _ := subOf(words)
				for range 200 {
					c.say("EVENT", id, foreign)
				}
				c.say("EOSE", id)
			}
			return verb == "REQ"
		}, func(h RelayHealth) bool { return h.Failures["lying"] > 0 && h.Events.Kept == 0 && h.State == "down" }},
		{"a relay that ignores until", nil, func(c *otherConn, verb string, words []json.RawMessage) bool {
			if verb == "REQ" {
				id, _ := subOf(words)
				for _, evt := range good {
					c.say("EVENT", id, evt)
				}
				c.say("EOSE", id)
			}
			return verb == "REQ"
		}, func(h RelayHealth) bool { return h.Failures["lying"] > 0 && h.Events.Kept == 3 }},
		{"endless pages of forgeries", nil, func(c *otherConn, verb string, words []json.RawMessage) bool {
			if verb == "REQ" {
				id, f := subOf(words)
				if f.Until != nil {
					for i := range 3 {
						evt := forged
						evt.CreatedAt = *f.Until - nostr.Timestamp(i)
						evt.ID = evt.GetID()
						c.say("EVENT", id, &evt)
					}
				}
				c.say("EOSE", id)
			}
			return verb == "REQ"
		}, func(h RelayHealth) bool {
			return h.Failures["lying"] > 0 && h.Events.Kept == 0 && h.Events.Received < 500
		}},
		{"the future", nil, func(c *otherConn, verb string, words []json.RawMessage) bool {
			if verb == "REQ" {
				id, f := subOf(words)
				if f.Until == nil {
					c.say("EVENT", id, future)
				}
				c.say("EOSE", id)
			}
			return verb == "REQ"
		}, func(h RelayHealth) bool { return h.State == "live" && h.Refused["invalid"] == 1 && h.Events.Kept == 0 }},
		{"garbage frames", nil, func(c *otherConn, verb string, words []json.RawMessage) bool {
			if verb == "REQ" {
				id, _ := subOf(words)
				for _, s := range []string{"", "[", "nonsense", `["EVENT"]`, `["EVENT","` + id + `",{"id":7}]`, `["EOSE",7]`, `{"a":1}`, `["OK",1,2,3]`, `["NEG-MSG","x"]`} {
					c.ws.Write(c.ctx, 1, []byte(s))
				}
				c.say("EOSE", id)
			}
			return verb == "REQ"
		}, func(h RelayHealth) bool { return h.State == "live" && h.Events.Malformed > 5 }},
		{"negentropy garbage falls back to pages", []int{77}, func(c *otherConn, verb string, words []json.RawMessage) bool {
			if verb == "NEG-OPEN" {
				id, _ := subOf(words)
				c.say("NEG-MSG", id, "61ffffffffffffff")
				return true
			}
			return false
		}, func(h RelayHealth) bool { return h.State == "live" && *h.Method == "paging" && h.Events.Kept == 3 }},
		{"negentropy that offers what nobody has", []int{77}, func(c *otherConn, verb string, words []json.RawMessage) bool {
			if verb == "NEG-OPEN" {
				id, _ := subOf(words)
				msg := []byte{negentropy.Version, 0, 0, negentropy.IDList, 40}
				for i := range 40 {
					msg = append(msg, make([]byte, 31)...)
					msg = append(msg, byte(i))
				}
				c.say("NEG-MSG", id, fmt.Sprintf("%x", msg))
				return true
			}
			return verb == "NEG-CLOSE"
		}, func(h RelayHealth) bool {
			return h.State == "live" && h.Events.Missing >= 40 && h.Events.Missing%40 == 0 && h.Events.Kept <= 1
		}},
		{"closes every request", nil, func(c *otherConn, verb string, words []json.RawMessage) bool {
			if verb == "REQ" {
				id, _ := subOf(words)
				c.say("CLOSED", id, "blocked: not for you")
			}
			return verb == "REQ"
		}, func(h RelayHealth) bool {
			return h.Failures["refused"] > 1 && h.State == "down" && strings.Contains(*h.LastReason, "not for you")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := startOther(t, 100, good...)
			other.nip, other.onFrame = c.nip, c.onFrame
			r := startRelay(t, nil)
			us, lines, stop := r.follow(Config{}, other.url())
			testkit.Eventually(t, "the lie is noticed", func() bool { return c.check(healthOf(t, us, other.url())) })
			if n := lines.Count("lost"); n > 1 {
				t.Errorf("%d lines for one state", n)
			}
			// The relay serves clients as before.
			r.Dial().MustPublish(testkit.Order(t, "mine", testkit.Now(), "pending"))
			stop()
		})
	}
}

func TestUpstreamsThatCannotBeReached(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	tls.Config.ErrorLog = nil
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := "ws://" + closed.Addr().String()
	closed.Close()
	host := func(u string) string { return u[strings.Index(u, "//"):] }
	for url, class := range map[string]string{
		"ws:" + host(plain.URL):  "handshake",
		"wss:" + host(tls.URL):   "tls",
		"wss:" + host(plain.URL): "tls",
		refusing:                 "unreachable",
		"wss://relay.invalid":    "dns",
	} {
		t.Run(class+" "+url[:4], func(t *testing.T) {
			r := startRelay(t, nil)
			us, lines, stop := r.follow(Config{}, url)
			testkit.Eventually(t, "several attempts", func() bool { return healthOf(t, us, url).Failures[class] > 1 })
			stop()
			if n := lines.Count("upstream relay lost"); n != 1 {
				t.Errorf("%d lines for one state", n)
			}
		})
	}
}

// A relay that stops in the middle of a frame is detected by its silence.
func TestHangInMidFrame(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the silence of an answer")
	}
	var dials atomic.Int32
	hung := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Upgrade") == "" {
			http.NotFound(w, q)
			return
		}
		dials.Add(1)
		nc := hijackUpgraded(t, w, q)
		defer nc.Close()
		nc.Write([]byte{0x81, 0x7e, 0x10, 0x00, '[', '"'}) // announces 4,096 bytes
		<-hung
	}))
	defer srv.Close()
	defer close(hung)
	r := startRelay(t, nil)
	url := "ws" + strings.TrimPrefix(srv.URL, "http")
	us, _, _ := r.follow(Config{}, url)
	deadline := time.Now().Add(frameTimeout + 20*time.Second)
	for healthOf(t, us, url).Failures["silent"] == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("not noticed: %+v", healthOf(t, us, url))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestRelaysFromEventsAreDialledOnlyInPublic(t *testing.T) {
	other := startOther(t, 100)
	for _, private := range []string{other.url(), "ws://localhost:" + other.url()[strings.LastIndex(other.url(), ":")+1:], "ws://169.254.169.254", "ws://10.0.0.1:7777", "ws://[::1]:1", "ws://[fe80::1]:1"} {
		res, err := relayClient(false).Get("http" + strings.TrimPrefix(private, "ws"))
		if err == nil {
			res.Body.Close()
			t.Errorf("%s was dialled", private)
		} else if failure(err) != "private" && !strings.Contains(err.Error(), "zone") && failure(err) != "unreachable" {
			t.Errorf("%s: %s: %v", private, failure(err), err)
		}
	}
	if other.dials != 0 {
		t.Errorf("%d connections", other.dials)
	}
}

func TestDiscovery(t *testing.T) {
	other := startOther(t, 100)
	info := testkit.Signed(t, 38385, testkit.Now()-100, nostr.Tag{"d", "x"}, nostr.Tag{"y", "mostro"})
	list := testkit.Signed(t, 10002, testkit.Now()-90, nostr.Tag{"r", other.url()}, nostr.Tag{"r", "wss://found.invalid"}, nostr.Tag{"r", "http://no.relay"})
	stranger := testkit.SignedBy(t, fmt.Sprintf("%064x", 99), 10002, testkit.Now()-90, "", nostr.Tag{"r", "wss://stranger.invalid"})
	link := testkit.Signed(t, 38383, testkit.Now()-80, nostr.Tag{"d", "o"}, nostr.Tag{"source", "mostro:o?relays=wss://linked.invalid/,ws://127.0.0.1:9"})
	feeder := startOther(t, 100, info, list, stranger, link)
	r := startRelay(t, nil)
	us, _, _ := r.follow(Config{Discover: 3, Resync: 50 * time.Millisecond}, feeder.url())
	r.Dial().MustPublish(stranger)
	testkit.Eventually(t, "three relays are found", func() bool { return len(us.Health()) == 4 })
	for _, h := range us.Health() {
		if strings.Contains(h.URL, "stranger") {
			t.Errorf("a stranger's relay is followed")
		}
		if h.Configured != (h.URL == feeder.url()) {
			t.Errorf("%s: configured %t", h.URL, h.Configured)
		}
	}
	testkit.Eventually(t, "private addresses are refused", func() bool {
		for _, h := range us.Health() {
			if strings.Contains(h.URL, "127.0.0.1") && !h.Configured && h.Failures["private"] == 0 {
				return false
			}
		}
		return true
	})
	if other.dials != 0 {
		t.Errorf("a private address was dialled")
	}
	// The author's relay list was requested by author, once the author was known.
	testkit.Eventually(t, "the relay list is kept", func() bool {
		return len(relaytest.IDs(t, r.Store, nostr.Filter{IDs: []string{list.ID}}, 1)) == 1
	})
}

// hijackUpgraded answers a websocket handshake and returns the bare connection.
func hijackUpgraded(tb testing.TB, w http.ResponseWriter, q *http.Request) net.Conn {
	tb.Helper()
	h := sha1.New()
	h.Write([]byte(q.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	nc, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		tb.Error(err)
		return nil
	}
	fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(h.Sum(nil)))
	return nc
}
