package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// testClient is one websocket. It fails the test if nothing comes for 30 seconds.
type testClient struct {
	tb        testing.TB
	ws        *websocket.Conn
	challenge string
}

// needChallenge has the relay send its challenge, which it does when a request
// needs a proof.
func (c *testClient) needChallenge() {
	c.tb.Helper()
	evt := testkit.Signed(c.tb, mostro.KindDevFee, testkit.Now(), nostr.Tag{"-"}, nostr.Tag{"for", "a challenge"})
	c.send("EVENT", evt)
	c.challenge = c.expect("AUTH")[1]
	c.expect("OK", evt.ID, "false")
}

func (c *testClient) sendText(s string) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, []byte(s)); err != nil {
		c.tb.Fatalf("send %.80s: %v", s, err)
	}
}

func (c *testClient) send(words ...any) {
	c.tb.Helper()
	b, err := json.Marshal(words)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.sendText(string(b))
}

func (c *testClient) read() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, b, err := c.ws.Read(ctx)
	if err != nil {
		return nil, err
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return nil, fmt.Errorf("frame %.100q: %w", b, err)
	}
	words := make([]string, len(parts))
	for i, p := range parts {
		if json.Unmarshal(p, &words[i]) != nil {
			words[i] = string(p)
		}
	}
	return words, nil
}

func (c *testClient) next() []string {
	c.tb.Helper()
	words, err := c.read()
	if err != nil {
		c.tb.Fatalf("read: %v", err)
	}
	return words
}

func (c *testClient) expect(words ...string) []string {
	c.tb.Helper()
	got := c.next()
	if len(got) < len(words) || !slices.Equal(got[:len(words)], words) {
		c.tb.Fatalf("got %.200q, want it to begin %.200q", got, words)
	}
	return got
}

// publish sends an event and gives its OK.
func (c *testClient) publish(evt *nostr.Event) (ok bool, reason string) {
	c.tb.Helper()
	c.send("EVENT", evt)
	got := c.expect("OK", evt.ID)
	return got[2] == "true", got[3]
}

func (c *testClient) mustPublish(evt *nostr.Event) {
	c.tb.Helper()
	if ok, reason := c.publish(evt); !ok || reason != "" {
		c.tb.Fatalf("OK %v %q", ok, reason)
	}
}

func (c *testClient) mustRefuse(evt *nostr.Event, prefix string) {
	c.tb.Helper()
	if ok, reason := c.publish(evt); ok || !strings.HasPrefix(reason, prefix) {
		c.tb.Fatalf("OK %v %q, want false %q", ok, reason, prefix)
	}
}

// req opens a subscription and gives the ids of its stored events.
func (c *testClient) req(sub string, filters ...any) (ids []string) {
	c.tb.Helper()
	c.send(append([]any{"REQ", sub}, filters...)...)
	for {
		got := c.next()
		if got[0] == "EOSE" && got[1] == sub {
			return ids
		}
		if got[0] != "EVENT" || got[1] != sub {
			c.tb.Fatalf("got %.200q inside the stored events of %s", got, sub)
		}
		ids = append(ids, eventID(c.tb, got[2]))
	}
}

func eventID(tb testing.TB, body string) string {
	tb.Helper()
	var evt nostr.Event
	if err := json.Unmarshal([]byte(body), &evt); err != nil {
		tb.Fatal(err)
	}
	if !evt.CheckID() {
		tb.Fatalf("event with a wrong id: %s", body)
	}
	return evt.ID
}

// quiet proves that nothing is on its way: the answer to a COUNT is the next frame.
func (c *testClient) quiet() {
	c.tb.Helper()
	c.send("COUNT", "quiet", map[string]any{"kinds": []int{1}})
	c.expect("COUNT", "quiet")
}

// logLines collects log records.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(b))
	return len(b), nil
}

func (l *logLines) count(part string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// dialClient opens a websocket. The test closes it.
func dialClient(tb testing.TB, url string, headers http.Header) *testClient {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: headers})
	if err != nil {
		tb.Fatal(err)
	}
	ws.SetReadLimit(-1)
	c := &testClient{tb: tb, ws: ws}
	tb.Cleanup(func() { ws.CloseNow() })
	return c
}
