package indexer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
)

// memLog is a log in memory that can fail before or after it passes an entry to the
// reader. Like the real log, memLog erases deleted events.
type memLog struct {
	mu      sync.Mutex
	entries []mostro.Entry
	erased  map[uint64]bool
	moved   signal
	// failAt is the position at which Read returns errLog. If persist is set, Read passes
	// the entry to fn first.
	failAt  uint64
	persist bool
}

var errLog = errors.New("log out of order")

func newMemLog() *memLog {
	l := &memLog{erased: map[uint64]bool{}}
	l.moved.init()
	return l
}

func (l *memLog) add(evt *nostr.Event, at time.Time, origin mostro.Origin, archived bool) uint64 {
	l.mu.Lock()
	seq := uint64(len(l.entries) + 1)
	l.entries = append(l.entries, mostro.Entry{Seq: seq, Event: evt, ReceivedAt: at.UTC().Truncate(time.Millisecond), Source: mostro.Source{Origin: origin}, Archived: archived})
	if evt.Kind == mostro.KindDeletion {
		l.erase(evt)
	}
	l.mu.Unlock()
	l.moved.raise()
	return seq
}

func (l *memLog) erase(del *nostr.Event) {
	for i, e := range l.entries {
		if e.Event.PubKey != del.PubKey || e.Event.Kind == mostro.KindDeletion {
			continue
		}
		address := fmt.Sprintf("%d:%s:%s", e.Event.Kind, e.Event.PubKey, e.Event.Tags.GetD())
		for _, tag := range del.Tags {
			if tag[0] == "e" && tag[1] == e.Event.ID || tag[0] == "a" && tag[1] == address && e.Event.CreatedAt <= del.CreatedAt {
				l.erased[uint64(i+1)] = true
			}
		}
	}
}

func (l *memLog) Head() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.entries))
}

func (l *memLog) Read(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	l.mu.Lock()
	all, failAt, persist := l.entries, l.failAt, l.persist
	erased := make(map[uint64]bool, len(l.erased))
	for k := range l.erased {
		erased[k] = true
	}
	l.mu.Unlock()
	for _, e := range all[min(after, uint64(len(all))):] {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failAt != 0 && e.Seq == failAt && !persist {
			return errLog
		}
		if !erased[e.Seq] {
			if err := fn(e); err != nil {
				return err
			}
		}
		if failAt != 0 && e.Seq == failAt {
			return errLog
		}
	}
	return nil
}

// ReadEvidence passes the erased entries with facts as well.
func (l *memLog) ReadEvidence(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	for seq := after + 1; seq <= l.Head(); seq++ {
		e, err := l.EntryAt(ctx, seq)
		if err != nil {
			return err
		}
		if e.Erased {
			l.mu.Lock()
			tags, ok := mostro.FactTags(l.entries[seq-1].Event)
			l.mu.Unlock()
			if e.Event.Tags = tags; !ok {
				continue
			}
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (l *memLog) EntryAt(_ context.Context, seq uint64) (mostro.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq == 0 || seq > uint64(len(l.entries)) {
		return mostro.Entry{}, mostro.ErrNotFound
	}
	e := l.entries[seq-1]
	if l.erased[seq] {
		e.Erased = true
		e.Event = &nostr.Event{ID: e.Event.ID, PubKey: e.Event.PubKey, Kind: e.Event.Kind, CreatedAt: e.Event.CreatedAt}
	}
	return e, nil
}

func (l *memLog) Wait(ctx context.Context, seq uint64) error {
	return l.moved.until(ctx, time.Hour, func() bool { return l.Head() > seq })
}

// Event returns events for NIP-50 answers.
func (l *memLog) Event(_ context.Context, id string) (*nostr.Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range l.entries {
		if e.Event.ID == id && !l.erased[uint64(i+1)] {
			return e.Event, nil
		}
	}
	return nil, mostro.ErrNotFound
}

var _ Log = (*memLog)(nil)

// clock is a clock that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) set(unix int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = time.Unix(unix, 0).UTC()
}

const t0 = 1_790_000_000

func newClock() *clock { c := &clock{}; c.set(t0); return c }

func pubkeyOf(n int) string { return fmt.Sprintf("%064x", 0xa000+n) }

// signless returns an event with an id and without a signature. The relay checks
// signatures, and the index does not read them.
func signless(evt nostr.Event) *nostr.Event {
	evt.ID = evt.GetID()
	return &evt
}

// draft is an order in the short form that tests use.
type draft struct {
	author             int
	d                  string
	at                 int64
	side, status, fiat string
	amt                string
	fa                 []string
	premium            string
	rating             string
	methods            []string
	platform, name     string
	network            string
	expiresAt, expiry  int64
	content            string
}

func (d draft) event() *nostr.Event {
	or := func(s, alt string) string {
		if s == "" {
			return alt
		}
		return s
	}
	tags := nostr.Tags{{"d", d.d}, {"k", or(d.side, "sell")}, {"f", or(d.fiat, "USD")}, {"s", or(d.status, "pending")}}
	if d.amt != "" {
		tags = append(tags, nostr.Tag{"amt", d.amt})
	}
	if d.fa != nil {
		tags = append(tags, append(nostr.Tag{"fa"}, d.fa...))
	}
	tags = append(tags, append(nostr.Tag{"pm"}, d.methods...))
	if d.premium != "" {
		tags = append(tags, nostr.Tag{"premium", d.premium})
	}
	if d.rating != "" {
		tags = append(tags, nostr.Tag{"rating", d.rating})
	}
	tags = append(tags, nostr.Tag{"network", or(d.network, "mainnet")}, nostr.Tag{"layer", "lightning"})
	if d.expiresAt != 0 {
		tags = append(tags, nostr.Tag{"expires_at", strconv.FormatInt(d.expiresAt, 10)})
	}
	if d.expiry != 0 {
		tags = append(tags, nostr.Tag{"expiration", strconv.FormatInt(d.expiry, 10)})
	}
	y := nostr.Tag{"y", or(d.platform, "mostro")}
	if d.name != "" {
		y = append(y, d.name)
	}
	tags = append(tags, y, nostr.Tag{"z", "order"})
	at := d.at
	if at == 0 {
		at = t0
	}
	return signless(nostr.Event{PubKey: pubkeyOf(d.author), Kind: mostro.KindOrder, CreatedAt: nostr.Timestamp(at), Tags: tags, Content: d.content})
}

func infoEvent(author int, at int64, name string) *nostr.Event {
	pk := pubkeyOf(author)
	return signless(nostr.Event{PubKey: pk, Kind: mostro.KindInfo, CreatedAt: nostr.Timestamp(at), Tags: nostr.Tags{
		{"d", pk}, {"mostro_version", "0.18.5"}, {"max_order_amount", "1000000"}, {"min_order_amount", "100"}, {"fiat_currencies_accepted", "USD,VES"},
		{"fee", "0.006"}, {"pow", "0"}, {"protocol_version", "2"}, {"y", "mostro", name}, {"z", "info"}}})
}

// opened is an index over a memLog.
type opened struct {
	*Index
	log      *memLog
	clock    *clock
	dir      string
	registry *prometheus.Registry
}

func openTest(t testing.TB, log *memLog, clk *clock, dir string) *opened {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	registry := prometheus.NewPedanticRegistry()
	x, err := Open(Config{Dir: dir, Log: log, Events: log, Now: clk.now, Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{x, log, clk, dir, registry}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func (o *opened) catchUp(t testing.TB) {
	t.Helper()
	if err := o.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
}

func (o *opened) digest(t testing.TB) string {
	t.Helper()
	d, err := o.Digest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// random returns a version of an order with values from small sets, so that each filter
// matches some orders and rejects others.
func random(r *rand.Rand, orders int) draft {
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	d := draft{
		author: r.IntN(4), d: strconv.Itoa(r.IntN(orders)), at: t0 - 500 + r.Int64N(600),
		side: pick("buy", "sell"), status: pick("pending", "pending", "pending", "in-progress", "success", "canceled"),
		fiat: pick("USD", "EUR", "VES", "ARS"), amt: pick("0", "1000", "50000", "", "7500"),
		premium: pick("", "0", "-2", "1.5", "10"), platform: pick("mostro", "mostro", "robosats", "peach"),
		rating:  pick("", `["rating",{"days":9,"total_rating":4.5,"total_reviews":7}]`, `{"total_rating":0.9,"total_reviews":1}`, `{"total_rating":3.0,"total_reviews":0}`),
		network: pick("mainnet", "mainnet", "testnet"), content: pick("", "", "solo efectivo"),
	}
	d.fa = [][]string{{"100"}, {"10", "500"}, {"50.5"}, nil}[r.IntN(4)]
	all := []string{"SEPA", "Pago Móvil", "Transferencia bancaria", "Zelle", "Banco de Venezuela", "pago movil"}
	for range r.IntN(3) {
		d.methods = append(d.methods, all[r.IntN(len(all))])
	}
	if r.IntN(4) > 0 {
		d.expiry = t0 - 100 + r.Int64N(400)
	}
	if r.IntN(2) > 0 {
		d.expiresAt = t0 - 100 + r.Int64N(400)
	}
	if d.platform == "mostro" {
		d.name = fmt.Sprintf("Mostro %d", d.author)
	}
	return d
}

// fillRandom adds n random entries: versions in any order of created_at, some archived,
// infos, and some deletions.
func fillRandom(r *rand.Rand, l *memLog, n, addresses int) {
	seen := map[string]bool{}
	var ids []*nostr.Event
	for range n {
		at := time.Unix(t0-1000+int64(l.Head()), 0)
		var evt *nostr.Event
		archived := r.IntN(12) == 0
		switch k := r.IntN(40); {
		case k == 0:
			evt = infoEvent(r.IntN(4), t0-r.Int64N(500), "Mostro "+strconv.Itoa(r.IntN(6)))
		case k == 1 && len(ids) > 0:
			victim := ids[r.IntN(len(ids))]
			pk := victim.PubKey
			if r.IntN(4) == 0 {
				pk = pubkeyOf(77) // a deletion by another author has no effect
			}
			tag := nostr.Tag{"e", victim.ID}
			if r.IntN(2) == 0 {
				tag = nostr.Tag{"a", orders.Address(victim.PubKey, victim.Tags.GetD())}
			}
			evt = signless(nostr.Event{PubKey: pk, Kind: mostro.KindDeletion, CreatedAt: nostr.Timestamp(t0 - 600 + r.Int64N(700)), Tags: nostr.Tags{tag}})
		case k == 2 && len(ids) > 0:
			victim := ids[r.IntN(len(ids))] // an event at an order's address that is not an order
			evt = signless(nostr.Event{PubKey: victim.PubKey, Kind: mostro.KindOrder, CreatedAt: nostr.Timestamp(t0 - 500 + r.Int64N(600)), Tags: nostr.Tags{{"d", victim.Tags.GetD()}, {"z", "other"}, {"y", "bondtrade"}}})
		default:
			evt = random(r, addresses).event()
		}
		if seen[evt.ID] || l.deleted(evt) {
			continue
		}
		seen[evt.ID] = true
		if evt.Kind == mostro.KindOrder {
			ids = append(ids, evt)
		}
		l.add(evt, at, mostro.OriginClient, archived)
	}
}

// deleted reports whether the relay would refuse the event because its author deleted it.
func (l *memLog) deleted(evt *nostr.Event) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.entries, func(e mostro.Entry) bool {
		if e.Event.Kind != mostro.KindDeletion || e.Event.PubKey != evt.PubKey {
			return false
		}
		tag := e.Event.Tags[0]
		return tag[0] == "e" && tag[1] == evt.ID ||
			tag[0] == "a" && tag[1] == orders.Address(evt.PubKey, evt.Tags.GetD()) && evt.CreatedAt <= e.Event.CreatedAt
	})
}
