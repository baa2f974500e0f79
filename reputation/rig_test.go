package reputation

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
	"github.com/nbd-wtf/go-nostr"
)

// memLog is a log in memory.
type memLog struct {
	mu      sync.Mutex
	entries []mostro.Entry
	moved   chan struct{}
}

func (l *memLog) add(list ...mostro.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range list {
		e.Seq = uint64(len(l.entries) + 1)
		l.entries = append(l.entries, e)
	}
	if l.moved != nil {
		close(l.moved)
		l.moved = nil
	}
}

func (l *memLog) Head() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.entries))
}

func (l *memLog) Read(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	l.mu.Lock()
	list := l.entries[min(after, uint64(len(l.entries))):]
	l.mu.Unlock()
	for _, e := range list {
		if err := fn(e); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (l *memLog) Wait(ctx context.Context, seq uint64) error {
	l.mu.Lock()
	if uint64(len(l.entries)) > seq {
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

// keyOf gives a public key that nobody holds: the ledger checks no signatures
// of events.
func keyOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// start is the first second of test time.
var start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// world writes entries as a relay would have received them.
type world struct {
	t       testing.TB
	entries []mostro.Entry
}

func at(days float64) time.Time { return start.Add(time.Duration(days * float64(24*time.Hour))) }

func (w *world) event(evt nostr.Event, when time.Time, road mostro.Road) *nostr.Event {
	if evt.CreatedAt == 0 {
		evt.CreatedAt = nostr.Timestamp(when.Unix())
	}
	evt.ID = evt.GetID()
	w.entries = append(w.entries, mostro.Entry{Seq: uint64(len(w.entries) + 1), Event: &evt, ReceivedAt: when.Add(300 * time.Millisecond), Source: mostro.Source{Road: road}})
	return &evt
}

func (w *world) info(node, ln string, when time.Time) {
	i := mostro.Info{Pubkey: node, Name: "node " + node[:4], Version: "0.18.5", ProtocolVersion: 2}
	if ln != "" {
		i.LND = &mostro.LightningNode{Pubkey: "02" + keyOf(ln)}
	}
	w.event(i.Event(), when, mostro.RoadLive)
}

func orderID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func (w *world) order(node string, n int, status mostro.Status, sats int64, when time.Time) *nostr.Event {
	return w.orderBy(node, n, status, sats, when, mostro.RoadLive)
}

func (w *world) orderBy(node string, n int, status mostro.Status, sats int64, when time.Time, road mostro.Road) *nostr.Event {
	o := mostro.Order{Pubkey: node, D: orderID(n), Side: mostro.SideSell, Status: status, Fiat: "VES", AmountSats: &sats,
		Methods: []string{fmt.Sprint("method ", n%7)}, Network: "mainnet", ExpiresAt: nostr.Timestamp(when.Add(24 * time.Hour).Unix())}
	return w.event(o.Event(), when, road)
}

// trade is the whole life of a good order, witnessed.
func (w *world) trade(node string, n int, sats int64, when time.Time) {
	w.order(node, n, mostro.StatusPending, sats, when)
	w.order(node, n, mostro.StatusInProgress, sats, when.Add(20*time.Minute))
	w.order(node, n, mostro.StatusSuccess, sats, when.Add(40*time.Minute))
}

// failure is one of a trade that was taken and cancelled, long after a payment
// was due.
func (w *world) failure(node string, n int, sats int64, when time.Time) {
	w.order(node, n, mostro.StatusPending, sats, when)
	w.order(node, n, mostro.StatusInProgress, sats, when.Add(20*time.Minute))
	w.order(node, n, mostro.StatusCanceled, sats, when.Add(80*time.Minute))
}

// honest gives a node some days of presence and a trade a day, each rated.
func (w *world) honest(node string, from, days int, rating string) {
	for d := range days {
		for h := range 4 {
			w.info(node, node, at(float64(from+d)+float64(h)/4))
		}
		n := 1000*int(node[0]) + 10_000*int(node[1]) + d
		w.trade(node, n, int64(20_000+1777*d), at(float64(from+d)+.3))
		w.rate(node, keyOf(fmt.Sprint("rater", node, d)), n, rating, at(float64(from+d)+.5), "R1")
	}
}

// number is the order that honest gave a node on a day.
func number(node string, d int) int { return 1000*int(node[0]) + 10_000*int(node[1]) + d }

func (w *world) rate(node, rater string, n int, rating string, when time.Time, receipt ...string) *nostr.Event {
	score, err := mostro.ParseDecimal(rating)
	if err != nil {
		w.t.Fatal(err)
	}
	r := mostro.HostRating{Pubkey: rater, D: "mostro:" + orderID(n), Platform: "mostro", Host: node, Rating: score, Receipt: receipt,
		Order: "38383:" + node + ":" + orderID(n)}
	return w.event(r.Event(), when, mostro.RoadClient)
}

// testKeys are keys by name.
func testKeys(t testing.TB, name ...any) *mostro.Keys {
	t.Helper()
	k, err := mostro.KeysFromSecret(sha256.Sum256([]byte(fmt.Sprint(name...))))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
