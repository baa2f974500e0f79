// Package scoretest writes evidence as a relay would have received the events. The package
// is for tests of scores and of the service that computes scores. If an event needs a
// signature, the test signs the event with a key of Keys.
package scoretest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/nbd-wtf/go-nostr"
)

// MemLog is a log in memory.
type MemLog struct {
	mu      sync.Mutex
	Entries []mostro.Entry
	moved   chan struct{}
}

func (l *MemLog) Add(list ...mostro.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range list {
		e.Seq = uint64(len(l.Entries) + 1)
		l.Entries = append(l.Entries, e)
	}
	if l.moved != nil {
		close(l.moved)
		l.moved = nil
	}
}

func (l *MemLog) Head() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.Entries))
}

func (l *MemLog) Read(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	l.mu.Lock()
	list := l.Entries[min(after, uint64(len(l.Entries))):]
	l.mu.Unlock()
	for _, e := range list {
		if err := fn(e); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (l *MemLog) Wait(ctx context.Context, seq uint64) error {
	l.mu.Lock()
	if uint64(len(l.Entries)) > seq {
		l.mu.Unlock()
		return nil
	}
	if l.moved == nil {
		l.moved = make(chan struct{})
	}
	moved := l.moved
	l.mu.Unlock()
	select {
	case <-moved:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// KeyOf returns the public key of a name. No private key is known: the ledger
// does not check the signatures of events.
func KeyOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// Start is the first moment of test time.
var Start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// World writes entries as a relay would have received them.
type World struct {
	T       testing.TB
	Entries []mostro.Entry
}

// At returns the moment some days after Start.
func At(days float64) time.Time { return Start.Add(time.Duration(days * float64(24*time.Hour))) }

// Event appends an event that was received 300 ms after a moment. An event without
// a created_at is dated at that moment.
func (w *World) Event(evt nostr.Event, when time.Time, origin mostro.Origin) *nostr.Event {
	if evt.CreatedAt == 0 {
		evt.CreatedAt = nostr.Timestamp(when.Unix())
	}
	evt.ID = evt.GetID()
	w.Entries = append(w.Entries, mostro.Entry{Seq: uint64(len(w.Entries) + 1), Event: &evt, ReceivedAt: when.Add(300 * time.Millisecond), Source: mostro.Source{Origin: origin}})
	return &evt
}

// Info appends an info event of a node. If ln is not "", the event names a Lightning
// node.
func (w *World) Info(node, ln string, when time.Time) {
	i := mostro.Info{Pubkey: node, Name: "node " + node[:4], Version: "0.18.5", ProtocolVersion: 2}
	if ln != "" {
		i.LND = &mostro.LightningNode{Pubkey: "02" + KeyOf(ln)}
	}
	w.Event(i.Event(), when, mostro.OriginLive)
}

// OrderID returns the order id of a number.
func OrderID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// Order appends a version of an order, received live.
func (w *World) Order(node string, n int, status mostro.Status, sats int64, when time.Time) *nostr.Event {
	return w.OrderBy(node, n, status, sats, when, mostro.OriginLive)
}

// OrderBy appends a version of an order, received from an origin.
func (w *World) OrderBy(node string, n int, status mostro.Status, sats int64, when time.Time, origin mostro.Origin) *nostr.Event {
	o := mostro.Order{Pubkey: node, D: OrderID(n), Side: mostro.SideSell, Status: status, Fiat: "VES", AmountSats: &sats,
		Methods: []string{fmt.Sprint("method ", n%7)}, Network: "mainnet", ExpiresAt: nostr.Timestamp(when.Add(24 * time.Hour).Unix())}
	return w.Event(o.Event(), when, origin)
}

// Trade appends all versions of an order that ended well, witnessed.
func (w *World) Trade(node string, n int, sats int64, when time.Time) {
	w.Order(node, n, mostro.StatusPending, sats, when)
	w.Order(node, n, mostro.StatusInProgress, sats, when.Add(20*time.Minute))
	w.Order(node, n, mostro.StatusSuccess, sats, when.Add(40*time.Minute))
}

// Failure appends all versions of an order that was taken, and cancelled long after
// a payment was due.
func (w *World) Failure(node string, n int, sats int64, when time.Time) {
	w.Order(node, n, mostro.StatusPending, sats, when)
	w.Order(node, n, mostro.StatusInProgress, sats, when.Add(20*time.Minute))
	w.Order(node, n, mostro.StatusCanceled, sats, when.Add(80*time.Minute))
}

// Honest appends days of presence of a node, and a rated trade a day.
func (w *World) Honest(node string, from, days int, rating string) {
	for d := range days {
		for h := range 4 {
			w.Info(node, node, At(float64(from+d)+float64(h)/4))
		}
		n := 1000*int(node[0]) + 10_000*int(node[1]) + d
		w.Trade(node, n, int64(20_000+1777*d), At(float64(from+d)+.3))
		w.Rate(node, KeyOf(fmt.Sprint("rater", node, d)), n, rating, At(float64(from+d)+.5), "R1")
	}
}

// HonestOrder returns the number of the order that Honest appends for a day.
func HonestOrder(node string, d int) int { return 1000*int(node[0]) + 10_000*int(node[1]) + d }

// Rate appends a rating of a node with a receipt.
func (w *World) Rate(node, rater string, n int, rating string, when time.Time, receipt ...string) *nostr.Event {
	r := mostro.HostRating{Pubkey: rater, D: "mostro:" + OrderID(n), Platform: "mostro", Host: node, Rating: *Decimal(w.T, rating), Receipt: receipt,
		Order: "38383:" + node + ":" + OrderID(n)}
	return w.Event(r.Event(), when, mostro.OriginClient)
}

// Keys returns the keys of a name.
func Keys(t testing.TB, name ...any) *envelope.Keys {
	t.Helper()
	k, err := envelope.KeysFromSecret(sha256.Sum256([]byte(fmt.Sprint(name...))))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Hex returns bytes as hex digits.
func Hex(b []byte) string { return hex.EncodeToString(b) }

// Decimal parses a decimal number.
func Decimal(t testing.TB, s string) *mostro.Decimal {
	t.Helper()
	d, err := mostro.ParseDecimal(s)
	if err != nil {
		t.Fatal(err)
	}
	return &d
}

// JSON returns a value as JSON.
func JSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
