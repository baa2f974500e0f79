package partitions

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/export"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// memLog is a log in memory. Like the real log, memLog erases deleted events.
type memLog struct {
	mu      sync.Mutex
	entries []mostro.Entry
	erased  map[uint64]bool
}

func (l *memLog) add(evt nostr.Event, at time.Time, origin mostro.Origin) *nostr.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	evt.ID = evt.GetID()
	evt.Sig = strings.Repeat("0", 128)
	source := mostro.Source{Origin: origin}
	if origin == mostro.OriginLive || origin == mostro.OriginBackfill {
		source.Relay = "wss://relay.example"
	}
	l.entries = append(l.entries, mostro.Entry{Seq: uint64(len(l.entries) + 1), Event: &evt, ReceivedAt: at.UTC().Truncate(time.Millisecond), Source: source})
	if evt.Kind == mostro.KindDeletion {
		for i, e := range l.entries {
			for _, tag := range evt.Tags {
				if tag[0] == "e" && tag[1] == e.Event.ID && e.Event.PubKey == evt.PubKey {
					l.erased[uint64(i+1)] = true
				}
			}
		}
	}
	return &evt
}

func (l *memLog) Head() uint64 { l.mu.Lock(); defer l.mu.Unlock(); return uint64(len(l.entries)) }

func (l *memLog) Read(_ context.Context, after uint64, fn func(mostro.Entry) error) error {
	l.mu.Lock()
	all, erased := l.entries, maps.Clone(l.erased)
	l.mu.Unlock()
	for _, e := range all[min(after, uint64(len(all))):] {
		if erased[e.Seq] {
			continue
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (l *memLog) ReadEvidence(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	return l.Read(ctx, after, fn)
}

func (l *memLog) EntryAt(_ context.Context, seq uint64) (mostro.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[seq-1], nil
}

func (l *memLog) Wait(ctx context.Context, _ uint64) error { <-ctx.Done(); return ctx.Err() }

func (l *memLog) Event(_ context.Context, id string) (*nostr.Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.Event.ID == id && !l.erased[e.Seq] {
			return e.Event, nil
		}
	}
	return nil, mostro.ErrNotFound
}

// rules are the operator's rules.
type rules struct {
	version uint64
	keys    map[[32]byte]struct{}
	events  map[[32]byte]struct{}
}

func (r *rules) Hidden() (uint64, map[[32]byte]struct{}, map[[32]byte]struct{}, map[[32]byte]struct{}) {
	return r.version, r.keys, nil, r.events
}

func keyOf(hex string) (k [32]byte) {
	for i := range k {
		n, _ := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		k[i] = byte(n)
	}
	return k
}

// world is a market over some months with its index.
type world struct {
	t     testing.TB
	log   *memLog
	index *indexer.Index
	rules rules
	now   time.Time
}

var july = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)

func newWorld(t testing.TB) *world {
	w := &world{t: t, log: &memLog{erased: map[uint64]bool{}}, now: july.AddDate(0, 2, 14)}
	var err error
	w.index, err = indexer.Open(indexer.Config{Dir: t.TempDir(), Log: w.log, Events: w.log, Rules: &w.rules, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.index.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) catchUp() {
	w.t.Helper()
	if err := w.index.CatchUp(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func pubkeyOf(n int) string { return fmt.Sprintf("%064x", 0xa000+n) }

// fill adds random events from July to the middle of September.
func (w *world) fill(seed uint64, n int) { w.fillFrom(july, seed, n) }

// fillFrom adds random events that are received between a time and now.
func (w *world) fillFrom(from time.Time, seed uint64, n int) {
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	span := w.now.Sub(from)
	texts := []string{"", "solo efectivo", "=HYPERLINK(\"http://x\")", "a;=1+1", "line\nbreak, \"quoted\"", "\u202egnp", "-2"}
	for i := range n {
		at := from.Add(span * time.Duration(i) / time.Duration(n))
		created := at.Add(-time.Duration(r.IntN(100_000)) * time.Second)
		if r.IntN(2) == 0 {
			created = at
		}
		origin := []mostro.Origin{mostro.OriginClient, mostro.OriginLive, mostro.OriginBackfill, mostro.OriginImport}[r.IntN(4)]
		author := r.IntN(4)
		evt := nostr.Event{PubKey: pubkeyOf(author), CreatedAt: nostr.Timestamp(created.Unix())}
		switch r.IntN(20) {
		case 0:
			evt.Kind, evt.Tags = mostro.KindInfo, nostr.Tags{{"d", evt.PubKey}, {"mostro_version", "0.20.0"}, {"max_order_amount", "1000000"}, {"min_order_amount", "100"},
				{"fiat_currencies_accepted", "USD,VES"}, {"fee", pick("0.006", "0.01")}, {"pow", "0"}, {"protocol_version", "2"}, {"y", "mostro", pick("Node", "=cmd")}, {"z", "info"}}
		case 1:
			evt.Kind, evt.Tags = mostro.KindDispute, nostr.Tags{{"d", strconv.Itoa(r.IntN(50))}, {"s", pick("initiated", "settled")}, {"y", "mostro"}, {"z", "dispute"}}
		case 2:
			evt.Kind, evt.Content = mostro.KindMessage, "private"
		case 3:
			evt.Kind, evt.Tags = mostro.KindHealth, nostr.Tags{{"d", evt.PubKey}}
		case 4: // an event at an order's address that is no order
			evt.Kind, evt.Tags = mostro.KindOrder, nostr.Tags{{"d", strconv.Itoa(r.IntN(n / 5))}, {"z", "other"}, {"y", "bondtrade"}}
		default:
			fa := [][]string{{"100"}, {"10", "500"}, {"50.5"}}[r.IntN(3)]
			evt.Kind, evt.Content = mostro.KindOrder, texts[r.IntN(len(texts))]
			evt.Tags = nostr.Tags{{"d", strconv.Itoa(r.IntN(n / 5))}, {"k", pick("buy", "sell")}, {"f", pick("USD", "VES")}, {"s", pick("pending", "in-progress", "success", "success", "canceled")},
				{"amt", pick("0", "1000", "50000")}, append(nostr.Tag{"fa"}, fa...), {"pm", pick("SEPA", "=1+1", "Zelle"), "PIX"}, {"premium", pick("0", "-2", "1.5")},
				{"rating", pick(`["rating",{"days":9,"total_rating":4.5,"total_reviews":7}]`, `{"total_rating":3.0,"total_reviews":0}`)}, {"network", "mainnet"}, {"layer", "lightning"},
				{"expires_at", strconv.FormatInt(created.Unix()+86400, 10)}, {"y", "mostro", pick("Node", "@x")}, {"z", "order"}}
		}
		w.log.add(evt, at, origin)
	}
	w.catchUp()
}

// line is the content of a row that the naive computation knows.
func line(parts ...any) string { return strings.Trim(fmt.Sprintln(parts...), "\n") }

func orNil[T any](p *T) any {
	if p == nil {
		return nil
	}
	if t, ok := any(p).(*time.Time); ok {
		return t.Unix()
	}
	return *p
}

func lineOf(row any) string {
	receipt := func(r *export.Receipt) string {
		return line(r.ReceivedAt.UnixMilli(), r.Road, r.Relay, r.Witnessed, r.BeforeCoverage)
	}
	offer := func(o *export.Offer) string {
		return line(o.Pubkey, o.D, o.EventID, o.CreatedAt.Unix(), o.Status, o.Side, o.Fiat, orNil(o.FiatMin), orNil(o.FiatMax), orNil(o.AmountSats), orNil(o.PremiumPct), strings.Join(o.Methods, "/"), orNil(o.RatingMean))
	}
	switch r := row.(type) {
	case *export.HistoryRow:
		return line(receipt(&r.Receipt), offer(&r.Offer), strconv.Quote(r.Description), r.Withdrawn, r.Seq)
	case *export.OrderRow:
		return line(receipt(&r.Receipt), offer(&r.Offer), r.FirstCreatedAt.Unix(), r.FirstReceivedAt.UnixMilli(), orNil(r.TakenAt), orNil(r.SuccessAt), orNil(r.CanceledAt), r.Versions, r.Withdrawn)
	case *export.TradeRow:
		return line(receipt(&r.Receipt), offer(&r.Offer), r.FirstCreatedAt.Unix(), orNil(r.TakenAt), r.SuccessAt.Unix(), orNil(r.PriceBTC))
	case *export.EventRow:
		return line(receipt(&r.Receipt), r.ID, r.Pubkey, r.CreatedAt.Unix(), r.Kind, r.Tags, strconv.Quote(r.Content), r.Sig, r.Seq)
	case *export.InstanceRow:
		return line(receipt(&r.Receipt), r.Pubkey, r.EventID, r.Name, r.Version, orNil(r.Fee), orNil(r.MinSats), strings.Join(r.Currencies, "/"), r.Seq)
	}
	return "?"
}

// version is a version of an order in the naive computation.
type version struct {
	mostro.Entry
	withdrawn bool
}

func (v *version) sats() any {
	n, err := strconv.ParseInt(v.Event.Tags.Find("amt")[1], 10, 64)
	if err != nil {
		return nil
	}
	return n
}

// naive computes the rows of a window from the entries, one order at a time and without the code
// of package export.
func (w *world) naive(win export.Window) map[string][]string {
	out := map[string][]string{}
	covered := int64(0)
	known := map[string]bool{} // addresses that held an order
	byOrder := map[string][]version{}
	_, hiddenKeys, _, hiddenEvents := w.rules.Hidden()
	for _, e := range w.log.entries {
		if e.Source.Origin.Witnessed() && (covered == 0 || e.ReceivedAt.Unix() < covered) && e.Event.Kind != mostro.KindMessage && e.Event.Kind != mostro.KindHealth && e.Event.Kind != mostro.KindDeletion {
			if class := mostro.Classify(e.Event); class != mostro.ClassForeign {
				covered = e.ReceivedAt.Unix()
			}
		}
	}
	receipt := func(e *mostro.Entry) string {
		return line(e.ReceivedAt.UnixMilli(), e.Source.Origin, e.Source.Relay, e.Source.Origin.Witnessed(), int64(e.Event.CreatedAt) < covered)
	}
	for _, e := range w.log.entries {
		if w.log.erased[e.Seq] {
			continue
		}
		_, badKey := hiddenKeys[keyOf(e.Event.PubKey)]
		_, badID := hiddenEvents[keyOf(e.Event.ID)]
		evt := e.Event
		key := evt.PubKey + " " + evt.Tags.GetD()
		if evt.Kind == mostro.KindOrder {
			_, err := mostro.ParseOrder(evt)
			known[key] = known[key] || err == nil
			if known[key] && !badKey && !badID {
				byOrder[key] = append(byOrder[key], version{e, err != nil})
			}
		}
		if badKey || badID || !win.Holds(e.ReceivedAt) || evt.Kind == mostro.KindMessage || evt.Kind == mostro.KindHealth {
			continue
		}
		tags, _ := json.Marshal(evt.Tags)
		out["events"] = append(out["events"], line(receipt(&e), evt.ID, evt.PubKey, int64(evt.CreatedAt), evt.Kind, string(tags), strconv.Quote(evt.Content), evt.Sig, e.Seq))
		if evt.Kind == mostro.KindInfo {
			fee, _ := strconv.ParseFloat(evt.Tags.Find("fee")[1], 64)
			out["instances"] = append(out["instances"], line(receipt(&e), evt.PubKey, evt.ID, evt.Tags.Find("y")[2], "0.20.0", fee, 100, "USD/VES", e.Seq))
		}
	}
	number := func(evt *nostr.Event, tag string, at int) any {
		found := evt.Tags.Find(tag)
		if found == nil {
			return nil
		}
		f, _ := strconv.ParseFloat(found[min(at, len(found)-1)], 64)
		return f
	}
	for _, all := range byOrder {
		slices.SortFunc(all, func(a, b version) int {
			return cmp.Or(cmp.Compare(a.Event.CreatedAt, b.Event.CreatedAt), -strings.Compare(a.Event.ID, b.Event.ID))
		})
		all = slices.DeleteFunc(all, func(v version) bool { return !v.ReceivedAt.Before(win.Until) })
		if len(all) == 0 {
			continue
		}
		offer := func(v *version) string {
			evt := v.Event
			if v.withdrawn {
				return line(evt.PubKey, evt.Tags.GetD(), evt.ID, int64(evt.CreatedAt), "", "", "", nil, nil, nil, nil, "", nil)
			}
			rating := any(nil)
			if strings.Contains(evt.Tags.Find("rating")[1], "4.5") {
				rating = 4.5
			}
			return line(evt.PubKey, evt.Tags.GetD(), evt.ID, int64(evt.CreatedAt), evt.Tags.Find("s")[1], evt.Tags.Find("k")[1], evt.Tags.Find("f")[1], number(evt, "fa", 1), number(evt, "fa", 2), v.sats(), number(evt, "premium", 1), strings.Join(evt.Tags.Find("pm")[1:], "/"), rating)
		}
		var last, won *version
		taken, success, canceled := any(nil), any(nil), any(nil)
		firstReceived, arrived := all[0].ReceivedAt, 0
		for i := range all {
			v := &all[i]
			if last == nil || v.Seq > last.Seq {
				last = v
			}
			if v.ReceivedAt.Before(firstReceived) {
				firstReceived = v.ReceivedAt
			}
			status := ""
			if !v.withdrawn {
				status = v.Event.Tags.Find("s")[1]
			}
			switch {
			case status == "in-progress" && taken == nil:
				taken = int64(v.Event.CreatedAt)
			case status == "success":
				if success == nil {
					success = int64(v.Event.CreatedAt)
				}
				if won == nil || v.Seq < won.Seq {
					won = v
				}
			case status == "canceled" && canceled == nil:
				canceled = int64(v.Event.CreatedAt)
			}
			if !win.Holds(v.ReceivedAt) {
				continue
			}
			arrived++
			out["history"] = append(out["history"], line(receipt(&v.Entry), offer(v), `""`, v.withdrawn, v.Seq))
		}
		newest := &all[len(all)-1]
		if arrived > 0 {
			out["orders"] = append(out["orders"], line(receipt(&last.Entry), offer(newest), int64(all[0].Event.CreatedAt), firstReceived.UnixMilli(), taken, success, canceled, arrived, newest.withdrawn))
		}
		if !newest.withdrawn && newest.Event.Tags.Find("s")[1] == "success" && win.Holds(won.ReceivedAt) {
			price := any(nil)
			if fa := newest.Event.Tags.Find("fa"); len(fa) == 2 && newest.sats() != int64(0) {
				price = number(newest.Event, "fa", 1).(float64) / float64(newest.sats().(int64)) * 1e8
			}
			out["trades"] = append(out["trades"], line(receipt(&won.Entry), offer(newest), int64(all[0].Event.CreatedAt), taken, success, price))
		}
	}
	for _, lines := range out {
		slices.Sort(lines)
	}
	return out
}

func (w *world) add(evt nostr.Event, at time.Time) *nostr.Event {
	added := w.log.add(evt, at, mostro.OriginClient)
	w.catchUp()
	return added
}
