package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// socket is one websocket connection from one address.
type socket struct {
	ws  *websocket.Conn
	ctx context.Context
}

func (s *server) dial(ctx context.Context, ip string) (*socket, error) {
	ws, _, err := websocket.Dial(ctx, "ws://"+s.addr+"/", &websocket.DialOptions{HTTPHeader: http.Header{"X-Forwarded-For": {ip}}})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(-1)
	return &socket{ws, ctx}, nil
}

func (c *socket) text(s string) error {
	return c.ws.Write(c.ctx, websocket.MessageText, []byte(s))
}

func (c *socket) send(words ...any) error {
	b, err := json.Marshal(words)
	if err != nil {
		return err
	}
	return c.text(string(b))
}

// next reads one frame.
func (c *socket) next() ([]json.RawMessage, error) {
	_, b, err := c.ws.Read(c.ctx)
	if err != nil {
		return nil, err
	}
	var words []json.RawMessage
	return words, json.Unmarshal(b, &words)
}

// until reads frames until one with either verb arrives.
func (c *socket) until(verb, other string) error {
	for {
		words, err := c.next()
		if err != nil {
			return err
		}
		if got := string(words[0]); got == `"`+verb+`"` || got == `"`+other+`"` {
			return nil
		}
	}
}

// drain reads and discards messages until the socket ends.
func (c *socket) drain() {
	for {
		if _, _, err := c.ws.Read(c.ctx); err != nil {
			return
		}
	}
}

func signed(secret string, kind int, content string, tags ...nostr.Tag) *nostr.Event {
	evt := &nostr.Event{Kind: kind, CreatedAt: nostr.Now(), Content: content, Tags: tags}
	if evt.Tags == nil {
		evt.Tags = nostr.Tags{}
	}
	if err := evt.Sign(secret); err != nil {
		panic(err) // not possible, because this program made the secret
	}
	return evt
}

func order(secret, d string, more ...nostr.Tag) *nostr.Event {
	tags := nostr.Tags{{"d", d}, {"k", "sell"}, {"f", "VES"}, {"s", "pending"}, {"amt", "0"}, {"fa", "100"}, {"pm", "cash"}, {"premium", "1"},
		{"network", "mainnet"}, {"layer", "lightning"}, {"y", "mostro"}, {"z", "order"},
		{"expiration", fmt.Sprint(time.Now().Add(time.Hour).Unix())}}
	return signed(secret, 38383, "", append(tags, more...)...)
}

type waits struct{ publish, req, live []time.Duration }

// innocent is a normal client. In each round it publishes an order, requests orders, and
// waits for its own order on a live subscription. The pause between two rounds is -pace.
type innocent struct {
	secret          string
	pub, ask, watch *socket
	waits           waits
	n               int
}

const innocentIP = "198.51.100.1"

func newInnocent(ctx context.Context, s *server) (w *innocent, err error) {
	w = &innocent{secret: nostr.GeneratePrivateKey()}
	for _, c := range []**socket{&w.pub, &w.ask, &w.watch} {
		if *c, err = s.dial(ctx, innocentIP); err != nil {
			return nil, err
		}
	}
	key, err := nostr.GetPublicKey(w.secret)
	if err != nil {
		return nil, err
	}
	if err := w.watch.send("REQ", "mine", map[string]any{"authors": []string{key}, "limit": 0}); err != nil {
		return nil, err
	}
	return w, w.watch.until("EOSE", "CLOSED")
}

func (w *innocent) run(ctx context.Context) error {
	for ; ctx.Err() == nil; time.Sleep(*pace) {
		w.n++
		evt := order(w.secret, fmt.Sprint(w.n))
		began := time.Now()
		arrived := make(chan error, 1)
		var live time.Duration
		go func() {
			err := w.watch.until("EVENT", "CLOSED")
			live = time.Since(began)
			arrived <- err
		}()
		if err := w.pub.send("EVENT", evt); err != nil {
			return err
		}
		if err := w.pub.until("OK", "OK"); err != nil {
			return err
		}
		w.waits.publish = append(w.waits.publish, time.Since(began))
		if err := <-arrived; err != nil {
			return err
		}
		w.waits.live = append(w.waits.live, live)
		began = time.Now()
		if err := w.ask.send("REQ", "book", map[string]any{"kinds": []int{38383}, "#s": []string{"pending"}, "#f": []string{"VES"}, "limit": 50}); err != nil {
			return err
		}
		if err := w.ask.until("EOSE", "CLOSED"); err != nil {
			return err
		}
		w.waits.req = append(w.waits.req, time.Since(began))
		if err := w.ask.send("CLOSE", "book"); err != nil {
			return err
		}
	}
	return nil
}

func (w *innocent) close() {
	for _, c := range []*socket{w.pub, w.ask, w.watch} {
		c.ws.CloseNow()
	}
}
