package testkit

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
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Client is one websocket. It fails the test if nothing comes for 30 seconds.
type Client struct {
	TB        testing.TB
	WS        *websocket.Conn
	Challenge string
}

// NeedChallenge has the relay send its challenge, which it does when a request
// needs a proof.
func (c *Client) NeedChallenge() {
	c.TB.Helper()
	evt := Signed(c.TB, mostro.KindDevFee, Now(), nostr.Tag{"-"}, nostr.Tag{"for", "a challenge"})
	c.Send("EVENT", evt)
	c.Challenge = c.Expect("AUTH")[1]
	c.Expect("OK", evt.ID, "false")
}

func (c *Client) SendText(s string) {
	c.TB.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.WS.Write(ctx, websocket.MessageText, []byte(s)); err != nil {
		c.TB.Fatalf("send %.80s: %v", s, err)
	}
}

func (c *Client) Send(words ...any) {
	c.TB.Helper()
	b, err := json.Marshal(words)
	if err != nil {
		c.TB.Fatal(err)
	}
	c.SendText(string(b))
}

func (c *Client) Read() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, b, err := c.WS.Read(ctx)
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

func (c *Client) Next() []string {
	c.TB.Helper()
	words, err := c.Read()
	if err != nil {
		c.TB.Fatalf("read: %v", err)
	}
	return words
}

func (c *Client) Expect(words ...string) []string {
	c.TB.Helper()
	got := c.Next()
	if len(got) < len(words) || !slices.Equal(got[:len(words)], words) {
		c.TB.Fatalf("got %.200q, want it to begin %.200q", got, words)
	}
	return got
}

// Publish sends an event and returns its OK.
func (c *Client) Publish(evt *nostr.Event) (ok bool, reason string) {
	c.TB.Helper()
	c.Send("EVENT", evt)
	got := c.Expect("OK", evt.ID)
	return got[2] == "true", got[3]
}

func (c *Client) MustPublish(evt *nostr.Event) {
	c.TB.Helper()
	if ok, reason := c.Publish(evt); !ok || reason != "" {
		c.TB.Fatalf("OK %v %q", ok, reason)
	}
}

func (c *Client) MustRefuse(evt *nostr.Event, prefix string) {
	c.TB.Helper()
	if ok, reason := c.Publish(evt); ok || !strings.HasPrefix(reason, prefix) {
		c.TB.Fatalf("OK %v %q, want false %q", ok, reason, prefix)
	}
}

// Req opens a subscription and returns the ids of its stored events.
func (c *Client) Req(sub string, filters ...any) (ids []string) {
	c.TB.Helper()
	c.Send(append([]any{"REQ", sub}, filters...)...)
	for {
		got := c.Next()
		if got[0] == "EOSE" && got[1] == sub {
			return ids
		}
		if got[0] != "EVENT" || got[1] != sub {
			c.TB.Fatalf("got %.200q inside the stored events of %s", got, sub)
		}
		ids = append(ids, EventID(c.TB, got[2]))
	}
}

func EventID(tb testing.TB, body string) string {
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

// Quiet proves that nothing is on its way: the answer to a COUNT is the next frame.
func (c *Client) Quiet() {
	c.TB.Helper()
	c.Send("COUNT", "quiet", map[string]any{"kinds": []int{1}})
	c.Expect("COUNT", "quiet")
}

// LogLines collects log records.
type LogLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *LogLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(b))
	return len(b), nil
}

func (l *LogLines) Count(part string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// Dial opens a websocket. The test closes it.
func Dial(tb testing.TB, url string, headers http.Header) *Client {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: headers})
	if err != nil {
		tb.Fatal(err)
	}
	ws.SetReadLimit(-1)
	c := &Client{TB: tb, WS: ws}
	tb.Cleanup(func() { ws.CloseNow() })
	return c
}
