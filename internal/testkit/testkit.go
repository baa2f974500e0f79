// Package testkit contains helpers for the tests of several packages: a clock, signed
// and unsigned events, a market of orders, and waiting for a condition.
package testkit

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Clock is a clock that advances only if a test calls Advance. It is safe for
// concurrent use.
type Clock struct {
	mu sync.Mutex
	t  time.Time
}

// NewClock returns a clock that starts at second 1,780,000,000 of Unix time.
func NewClock() *Clock { return &Clock{t: time.Unix(1_780_000_000, 0).UTC()} }

func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// Unsigned returns an event with a valid id and an invalid signature. The store does
// not check signatures.
func Unsigned(author byte, kind int, createdAt int64, content string, tags ...nostr.Tag) *nostr.Event {
	evt := &nostr.Event{PubKey: strings.Repeat(hex.EncodeToString([]byte{author}), 32), Kind: kind,
		CreatedAt: nostr.Timestamp(createdAt), Tags: tags, Content: content, Sig: strings.Repeat("0", 128)}
	if evt.Tags == nil {
		evt.Tags = nostr.Tags{}
	}
	evt.ID = evt.GetID()
	return evt
}

// Market returns n unsigned order events with histories, for benchmarks of the store
// alone.
func Market(n int, now int64) []*nostr.Event {
	r := rand.New(rand.NewPCG(3, 3))
	fiats := []string{"VES", "ARS", "EUR", "USD", "CUP", "BRL", "COP", "MXN", "CRC", "XAF"}
	events := make([]*nostr.Event, 0, n)
	at := now - 72*3600
	for i := 0; len(events) < n; i++ {
		author := byte(1 + min(r.IntN(40), r.IntN(40), r.IntN(40)))
		d := fmt.Sprintf("%08x-0000-4000-8000-%012x", i, r.Uint32())
		fiat := fiats[min(r.IntN(10), r.IntN(10))]
		statuses := [][]string{{"pending"}, {"pending", "in-progress", "success"}, {"pending", "in-progress"}, {"pending", "canceled"}}[r.IntN(4)]
		for j, s := range statuses {
			at += int64(r.IntN(6))
			events = append(events, Unsigned(author, 38383, at+int64(j), "", nostr.Tag{"d", d}, nostr.Tag{"k", []string{"buy", "sell"}[r.IntN(2)]},
				nostr.Tag{"f", fiat}, nostr.Tag{"s", s}, nostr.Tag{"amt", "0"}, nostr.Tag{"fa", "100", "2000"}, nostr.Tag{"pm", "Pago Móvil", "Transferencia bancaria"},
				nostr.Tag{"premium", "2"}, nostr.Tag{"rating", `["rating",{"days":41,"total_rating":4.5,"total_reviews":7}]`},
				nostr.Tag{"source", "mostro:" + d + "?relays=wss://relay.example,wss://relay2.example&mostro=" + d}, nostr.Tag{"network", "mainnet"},
				nostr.Tag{"layer", "lightning"}, nostr.Tag{"expires_at", strconv.FormatInt(now+86400, 10)}, nostr.Tag{"expiration", strconv.FormatInt(now+86400*30, 10)},
				nostr.Tag{"y", "mostro", "Some Node"}, nostr.Tag{"z", "order"}))
		}
	}
	return events[:n]
}

// Secret is the secret key of Signed and Order, in hex.
var Secret = strings.Repeat("1", 64)

// SignedBy returns an event that is signed with secret. If signing returns an error, SignedBy
// fails the test.
func SignedBy(tb testing.TB, secret string, kind int, at int64, content string, tags ...nostr.Tag) *nostr.Event {
	tb.Helper()
	evt := &nostr.Event{Kind: kind, CreatedAt: nostr.Timestamp(at), Content: content, Tags: tags}
	if evt.Tags == nil {
		evt.Tags = nostr.Tags{}
	}
	if err := evt.Sign(secret); err != nil {
		tb.Fatal(err)
	}
	return evt
}

// Signed is SignedBy with Secret and no content.
func Signed(tb testing.TB, kind int, at int64, tags ...nostr.Tag) *nostr.Event {
	tb.Helper()
	return SignedBy(tb, Secret, kind, at, "", tags...)
}

// NDJSON returns the events as lines of JSON, the format of imports and exports.
func NDJSON(tb testing.TB, events ...*nostr.Event) string {
	tb.Helper()
	var b strings.Builder
	for _, evt := range events {
		line, err := evt.MarshalJSON()
		if err != nil {
			tb.Fatal(err)
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	return b.String()
}

// Order returns an order event that is signed with Secret.
func Order(tb testing.TB, d string, at int64, status string) *nostr.Event {
	tb.Helper()
	return Signed(tb, mostro.KindOrder, at, nostr.Tag{"d", d}, nostr.Tag{"k", "sell"}, nostr.Tag{"f", "VES"},
		nostr.Tag{"s", status}, nostr.Tag{"y", "mostro"}, nostr.Tag{"z", "order"})
}

// Now returns the present Unix time in seconds.
func Now() int64 { return time.Now().Unix() }

// Object is a decoded JSON object.
type Object = map[string]any

// Eventually waits until cond returns true. If cond does not return true within 30 seconds,
// Eventually fails the test.
func Eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if cond() {
			return
		}
	}
	tb.Fatalf("timeout while waiting for: %s", what)
}

// OfManyStatuses returns an order event with n status tags and n currency tags.
func OfManyStatuses(d string, at int64, n int) *nostr.Event {
	tags := nostr.Tags{{"d", d}}
	for i := range n {
		tags = append(tags, nostr.Tag{"s", fmt.Sprint("s", i)}, nostr.Tag{"f", fmt.Sprint("f", i)})
	}
	return Unsigned(1, 38383, at, "", tags...)
}
