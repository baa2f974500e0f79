package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// attack is one attack class. play returns when ctx ends, or when the attack has
// nothing more to send.
type attack struct {
	name string
	play func(ctx context.Context, s *server)
}

// preparing is the time that an attack needs before it begins. It is added to the slice of
// the attack.
var preparing = map[string]time.Duration{"unread answers": 2 * time.Second, "subscribers that never read": time.Second}

// sockets runs fn on n sockets of one attacker. The attacker reads the messages of the
// server unless deaf is set.
func sockets(ctx context.Context, s *server, n int, deaf bool, fn func(i int, c *socket)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			c, err := s.dial(ctx, fmt.Sprintf("203.0.113.%d", 1+i/64))
			if err != nil {
				return // the server refused the connection, which is the purpose of some attacks
			}
			defer c.ws.CloseNow()
			if !deaf {
				go c.drain()
			}
			fn(i, c)
		})
	}
	wg.Wait()
}

// paced calls fn repeatedly, with a pause of every between two calls, until ctx ends or
// fn returns an error.
func paced(ctx context.Context, every time.Duration, fn func(n int) error) {
	for n := 0; ctx.Err() == nil; n++ {
		if fn(n) != nil {
			return
		}
		time.Sleep(every)
	}
}

// events sends n events on each of two sockets, with a pause of every between two
// events.
func events(n int, every time.Duration, make func(secret string, i int) *nostr.Event) func(ctx context.Context, s *server) {
	return func(ctx context.Context, s *server) {
		secret := nostr.GeneratePrivateKey()
		sockets(ctx, s, 2, false, func(who int, c *socket) {
			paced(ctx, every, func(i int) error {
				if i >= n {
					return io.EOF
				}
				return c.send("EVENT", make(secret, who*n+i))
			})
		})
	}
}

// requests sends the message that text returns, repeatedly, on n sockets.
func requests(n int, every time.Duration, text func(i int) string) func(ctx context.Context, s *server) {
	return func(ctx context.Context, s *server) {
		sockets(ctx, s, n, false, func(_ int, c *socket) {
			paced(ctx, every, func(i int) error { return c.text(text(i)) })
		})
	}
}

func filters(n int, filter func(i int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("," + filter(i))
	}
	return b.String()
}

func statuses(n int) (tags []nostr.Tag) {
	for i := range n {
		tags = append(tags, nostr.Tag{"s", fmt.Sprint("s", i)}, nostr.Tag{"f", fmt.Sprint("f", i)})
	}
	return tags
}

const letters = "bcghijlmnotuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func conditions(int) string {
	var b strings.Builder
	b.WriteString(`{"limit":0`)
	for i, l := range letters {
		v := fmt.Sprint(i + len(letters)*((1499-i)/len(letters)))
		if l == 'z' {
			v = "none"
		}
		fmt.Fprintf(&b, `,"#%c":["%s"]`, l, v)
	}
	return b.String() + "}"
}

func lettered(n int) (tags []nostr.Tag) {
	for i := range n {
		tags = append(tags, nostr.Tag{string(letters[i%len(letters)]), fmt.Sprint(i)})
	}
	return tags
}

func publicKey(secret string) string {
	key, err := nostr.GetPublicKey(secret)
	if err != nil {
		panic(err) // not possible, because this program made the secret
	}
	return key
}

// plain opens n TCP connections and sends the beginning of a request on each of them.
func plain(n int, head string) func(ctx context.Context, s *server) {
	return func(ctx context.Context, s *server) {
		for range n {
			c, err := net.DialTimeout("tcp", s.addr, time.Second)
			if err != nil {
				continue
			}
			defer c.Close()
			io.WriteString(c, head) // a refusal by the server is a valid result
		}
		<-ctx.Done()
	}
}

var sixtyFour = strings.Repeat(`"a",`, 63) + `"a"`

var attacks = []attack{
	{"nothing", func(ctx context.Context, _ *server) { <-ctx.Done() }},
	{"990 statuses and currencies", events(80, 10*time.Millisecond, func(secret string, i int) *nostr.Event {
		return order(secret, fmt.Sprint(i), statuses(990)...)
	})},
	{"8 statuses and currencies", events(2000, 10*time.Millisecond, func(secret string, i int) *nostr.Event {
		return order(secret, fmt.Sprint(i), statuses(7)...)
	})},
	{"equal filters, closed", func(ctx context.Context, s *server) {
		sockets(ctx, s, 4, false, func(_ int, c *socket) {
			paced(ctx, 10*time.Millisecond, func(i int) error {
				return c.text(fmt.Sprintf(`["REQ","s%d"%s]`, i, filters(100, func(int) string { return `{"#d":[` + sixtyFour + `],"limit":0}` })))
			})
		})
	}},
	{"filters of 43 conditions", func(ctx context.Context, s *server) {
		secret := nostr.GeneratePrivateKey()
		sockets(ctx, s, 8, false, func(who int, c *socket) {
			for i := range 4 {
				c.text(fmt.Sprintf(`["REQ","s%d"%s]`, i, filters(100, conditions)))
			}
			paced(ctx, 50*time.Millisecond, func(i int) error {
				return c.send("EVENT", order(secret, fmt.Sprint(who, i), lettered(1500)...))
			})
		})
	}},
	{"an address deleted 1,500 times", func(ctx context.Context, s *server) {
		secret := nostr.GeneratePrivateKey()
		sockets(ctx, s, 1, false, func(_ int, c *socket) {
			for i := range 1000 {
				evt := &nostr.Event{Kind: 38383, CreatedAt: nostr.Timestamp(1_700_000_000 + i), Tags: nostr.Tags{{"d", "x"}}}
				if evt.Sign(secret) != nil || c.send("EVENT", evt) != nil {
					return
				}
			}
			var tags []nostr.Tag
			for range 1500 {
				tags = append(tags, nostr.Tag{"a", "38383:" + publicKey(secret) + ":x"})
			}
			paced(ctx, 10*time.Millisecond, func(i int) error {
				evt := &nostr.Event{Kind: 5, CreatedAt: nostr.Timestamp(1_700_000_000 + i), Tags: tags}
				if err := evt.Sign(secret); err != nil {
					return err
				}
				return c.send("EVENT", evt)
			})
		})
	}},
	{"deletions of 1,700 ids", events(300, 10*time.Millisecond, func(secret string, i int) *nostr.Event {
		var tags []nostr.Tag
		for j := range 1700 {
			tags = append(tags, nostr.Tag{"e", fmt.Sprintf("%064x", i*1700+j)})
		}
		return signed(secret, 5, "", tags...)
	})},
	{"small deletions", events(3000, 5*time.Millisecond, func(secret string, i int) *nostr.Event {
		return signed(secret, 5, fmt.Sprint(i), nostr.Tag{"e", fmt.Sprintf("%064x", i)})
	})},
	{"COUNT of 100 filters", requests(4, 10*time.Millisecond, func(i int) string {
		return fmt.Sprintf(`["COUNT","c%d"%s]`, i, filters(100, func(j int) string { return fmt.Sprintf(`{"kinds":[38383],"since":%d,"#k":["sell"]}`, j) }))
	})},
	{"searches", requests(4, 10*time.Millisecond, func(i int) string {
		return fmt.Sprintf(`["REQ","c"%s]`, filters(8, func(j int) string { return fmt.Sprintf(`{"search":"cash transfer bank %d %d"}`, i, j) }))
	})},
	{"unread answers", func(ctx context.Context, s *server) {
		secret := nostr.GeneratePrivateKey()
		sockets(ctx, s, 1, false, func(_ int, c *socket) {
			for i := range 300 {
				c.send("EVENT", signed(secret, 38383, strings.Repeat("x", 60<<10), nostr.Tag{"d", fmt.Sprint(i)}, nostr.Tag{"s", "success"}))
			}
		})
		sockets(ctx, s, 200, true, func(_ int, c *socket) {
			c.text(`["REQ","unread",{"kinds":[38383],"limit":5000}]`)
			<-ctx.Done()
		})
	}},
	{"subscribers that never read", func(ctx context.Context, s *server) {
		secret := nostr.GeneratePrivateKey()
		var wg sync.WaitGroup
		wg.Go(func() {
			sockets(ctx, s, 200, true, func(_ int, c *socket) {
				c.text(`["REQ","deaf",{"kinds":[38383],"limit":0}]`)
				<-ctx.Done()
			})
		})
		time.Sleep(time.Second)
		sockets(ctx, s, 1, false, func(_ int, c *socket) {
			paced(ctx, 20*time.Millisecond, func(i int) error {
				return c.send("EVENT", signed(secret, 38383, strings.Repeat("x", 60<<10), nostr.Tag{"d", fmt.Sprint(i)}, nostr.Tag{"s", "success"}))
			})
		})
		wg.Wait()
	}},
	{"half messages and pings", func(ctx context.Context, s *server) {
		sockets(ctx, s, 100, true, func(_ int, c *socket) {
			w, err := c.ws.Writer(ctx, websocket.MessageText)
			if err != nil {
				return
			}
			io.WriteString(w, strings.Repeat(" ", 256<<10))
			<-ctx.Done()
		})
	}},
	{"connections without a request", plain(2000, "")},
	{"headers that never end", plain(500, "GET / HTTP/1.1\r\nHost: x\r\nA: ")},
	{"bodies that never come", plain(500, "POST /api/v1/import HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n")},
	{"reconciliations", func(ctx context.Context, s *server) {
		sockets(ctx, s, 8, false, func(who int, c *socket) {
			paced(ctx, 10*time.Millisecond, func(i int) error {
				return c.text(fmt.Sprintf(`["NEG-OPEN","n%d",{"kinds":[38383],"since":%d},"6100000200"]`, i%16, who*10_000+i))
			})
		})
	}},
	{"proofs of keys", func(ctx context.Context, s *server) {
		evt := signed(nostr.GeneratePrivateKey(), 22242, "", nostr.Tag{"relay", "ws://" + s.addr}, nostr.Tag{"challenge", "guessed"})
		sockets(ctx, s, 4, false, func(_ int, c *socket) {
			paced(ctx, time.Millisecond, func(int) error { return c.send("AUTH", evt) })
		})
	}},
	{"exports", func(ctx context.Context, s *server) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				paced(ctx, 10*time.Millisecond, func(int) error {
					req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/api/v1/export/events", nil)
					if err != nil {
						return err
					}
					req.Header.Set("X-Forwarded-For", "203.0.113.1")
					if resp, err := http.DefaultClient.Do(req); err == nil {
						io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
					return nil
				})
			})
		}
		wg.Wait()
	}},
	{"connections that come and go", func(ctx context.Context, s *server) {
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				paced(ctx, time.Millisecond, func(int) error {
					if c, err := s.dial(ctx, "203.0.113.1"); err == nil {
						c.ws.CloseNow()
					}
					return nil
				})
			})
		}
		wg.Wait()
	}},
	{"malformed messages", requests(8, time.Millisecond, func(i int) string {
		return []string{`[`, `{"a":1}`, `["EVENT",{"id":7}]`, `["REQ"]`, `["REQ","x",{"ids":["z"]}]`, `["NEG-MSG","x","zz"]`}[i%6]
	})},
	{"large messages", requests(4, 20*time.Millisecond, func(int) string {
		return `["REQ","x",{"#t":["` + strings.Repeat(`a","`, 100<<10) + `"]}]`
	})},
	{"unique values", events(400, 10*time.Millisecond, func(secret string, i int) *nostr.Event {
		var tags []nostr.Tag
		for j := range 1900 {
			tags = append(tags, nostr.Tag{"t", fmt.Sprint(i, ".", j)})
		}
		return order(secret, fmt.Sprint(i), tags...)
	})},
	{"requests by 5,000 ids", requests(4, 20*time.Millisecond, func(i int) string {
		var b strings.Builder
		for j := range 5000 {
			fmt.Fprintf(&b, `,"%064x"`, i*5000+j)
		}
		return `["REQ","ids",{"ids":[` + b.String()[1:] + `]}]`
	})},
	{"one subscription again and again", requests(8, time.Millisecond, func(int) string { return `["REQ","x",{"kinds":[38383],"limit":500}]` })},
	{"ephemeral events", events(3000, 5*time.Millisecond, func(secret string, i int) *nostr.Event { return signed(secret, 20001, strings.Repeat("x", i)) })},
	{"versions of one address", events(3000, 5*time.Millisecond, func(secret string, i int) *nostr.Event {
		return order(secret, "same", nostr.Tag{"n", fmt.Sprint(i)})
	})},
	{"one event again and again", func(ctx context.Context, s *server) {
		evt := order(nostr.GeneratePrivateKey(), "same")
		sockets(ctx, s, 8, false, func(_ int, c *socket) {
			paced(ctx, time.Millisecond, func(int) error { return c.send("EVENT", evt) })
		})
	}},
	{"wrong signatures", func(ctx context.Context, s *server) {
		secret := nostr.GeneratePrivateKey()
		sockets(ctx, s, 4, false, func(who int, c *socket) {
			paced(ctx, time.Millisecond, func(i int) error {
				evt := signed(secret, 38383, fmt.Sprint(who, i), nostr.Tag{"d", "x"})
				evt.Sig = strings.Repeat("1", 128)
				return c.send("EVENT", evt)
			})
		})
	}},
}
