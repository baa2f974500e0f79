package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// hostileModes are the kinds of lies of the hostile relay.
//
//	stale        serves older versions of addresses, never the newest
//	liar-filter  answers every request with events that do not match the filter
//	resurrect    serves events that their authors have deleted, and no deletions
var hostileModes = []string{"stale", "liar-filter", "resurrect"}

// hostile is the scenario in which relay a follows three relays. Relay b is honest. The
// second is the hostile relay. Relay c is a mostrodex relay that accepts no deletions,
// has the events of the hostile relay and serves these events by NIP-77. Relay a must
// hold exactly the events of b.
type hostile struct {
	*world
	mode   string
	keys   []string // secret keys; no key has an info event
	within time.Duration
}

// run plays one mode. There are n orders with three versions each. A third of the
// orders is deleted: by id with the kind, by id alone, or by address.
func (h *hostile) run(ctx context.Context, n int) error {
	for range 8 {
		h.keys = append(h.keys, nostr.GeneratePrivateKey())
	}
	at := nostr.Now() - 3600
	orders := make([][]*nostr.Event, n)
	for i := range orders {
		for version, status := range []string{"pending", "in-progress", "success"} {
			evt, err := h.order(i, status, at+nostr.Timestamp(i%900+version*1000))
			if err != nil {
				return err
			}
			orders[i] = append(orders[i], evt)
		}
	}
	bad, err := startHostile(h.mode)
	if err != nil {
		return err
	}
	defer bad.srv.Close()
	// lies are the events of the hostile relay and of c. Relay a receives them first,
	// in pages and live.
	var lies []*nostr.Event
	for i, versions := range orders {
		switch h.mode {
		case "stale":
			lies = append(lies, versions[:2]...)
		case "resurrect":
			lies = append(lies, versions...)
		case "liar-filter":
			if i%2 == 0 {
				lies = append(lies, versions[2])
			}
		}
	}
	bad.serve(lies...)
	config := "[indexer]\nenabled = false\n[relay]\nlisten = \"127.0.0.1:0\"\n%s[relay.federation]\ndiscover = 0\nresync_seconds = 600\nrewalk_seconds = 5\n%s"
	for _, name := range []string{"a", "b", "c"} {
		p := &process{name: name, binary: h.ours, lanes: 4, data: filepath.Join(h.dir, h.mode, name)}
		h.relays[name] = p
	}
	defer h.stopAll()
	var follow strings.Builder
	for _, name := range []string{"b", "c"} {
		l, err := h.link(h.relays[name])
		if err != nil {
			return err
		}
		fmt.Fprintf(&follow, "[[upstream]]\nurl = \"ws://%s\"\n", l.l.Addr())
	}
	fmt.Fprintf(&follow, "[[upstream]]\nurl = \"ws://%s\"\n", bad.addr)
	for name, parts := range map[string][2]string{"a": {"", follow.String()}, "b": {"", "[[upstream]]\nurl = \"none\"\n"}, "c": {"kinds = [38383]\n", "[[upstream]]\nurl = \"none\"\n"}} {
		p := h.relays[name]
		if err := os.MkdirAll(p.data, 0o700); err != nil {
			return err
		}
		path := filepath.Join(h.dir, h.mode, name+".toml")
		if err := os.WriteFile(path, fmt.Appendf(nil, config, parts[0], parts[1]), 0o600); err != nil {
			return err
		}
		p.args = []string{"serve", "-c", path, "--data", p.data}
		if err := p.start(ctx); err != nil {
			return err
		}
	}

	newest := map[string]*nostr.Event{} // c refuses an event if it has a newer version
	for _, evt := range lies {
		newest[evt.PubKey+evt.Tags.GetD()] = evt
	}
	if err := h.relays["c"].publish(ctx, slices.Collect(maps.Values(newest))); err != nil {
		return err
	}
	if h.mode != "liar-filter" {
		if err := h.holds(ctx, "a holds the lies", sorted(slices.Collect(maps.Values(newest)))); err != nil {
			return err
		}
	}

	var all, want []*nostr.Event
	delete := func(i int) (*nostr.Event, error) {
		last := orders[i][2]
		evt := &nostr.Event{Kind: nostr.KindDeletion, CreatedAt: nostr.Now()}
		switch i / 3 % 3 {
		case 0:
			evt.Tags = nostr.Tags{{"e", last.ID}, {"k", "38383"}}
		case 1:
			evt.Tags = nostr.Tags{{"e", last.ID}}
		case 2:
			evt.Tags = nostr.Tags{{"a", "38383:" + last.PubKey + ":" + last.Tags.GetD()}}
		}
		return evt, evt.Sign(h.keys[i%len(h.keys)])
	}
	for i, versions := range orders {
		all = append(all, versions...)
		if i%3 != 0 {
			want = append(want, versions[2])
		}
	}
	if err := h.relays["b"].publish(ctx, all); err != nil {
		return err
	}
	var deletions []*nostr.Event
	for i := 0; i < len(orders); i += 3 {
		evt, err := delete(i)
		if err != nil {
			return err
		}
		deletions = append(deletions, evt)
	}
	if err := h.relays["b"].publish(ctx, deletions); err != nil {
		return err
	}
	want = append(want, deletions...)
	if err := h.holds(ctx, "a has applied the deletions at b", sorted(want)); err != nil {
		return err
	}

	// The hostile relay sends the lies again, live, while no other events arrive.
	for range 5 {
		bad.push(lies...)
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	if err := h.holds(ctx, "a after the lies came live", sorted(want)); err != nil {
		return err
	}
	h.say("%s: kill -9 of a, and deletions at b meanwhile", h.mode)
	if err := h.relays["a"].kill(); err != nil {
		return err
	}
	deletions = nil
	for i := 1; i < len(orders); i += 3 {
		evt, err := delete(i)
		if err != nil {
			return err
		}
		deletions = append(deletions, evt)
	}
	if err := h.relays["b"].publish(ctx, deletions); err != nil {
		return err
	}
	gone := map[string]bool{}
	for i := 1; i < len(orders); i += 3 {
		gone[orders[i][2].ID] = true
	}
	want = append(slices.DeleteFunc(want, func(evt *nostr.Event) bool { return gone[evt.ID] }), deletions...)
	if err := h.relays["a"].start(ctx); err != nil {
		return err
	}
	if err := h.holds(ctx, "a after its restart", sorted(want)); err != nil {
		return err
	}
	// A key that is new to a publishes an order and deletes it without naming the kind.
	h.keys = append(h.keys, nostr.GeneratePrivateKey())
	late, err := h.order(len(h.keys)-1, "pending", nostr.Now())
	if err != nil {
		return err
	}
	if err := h.relays["b"].publish(ctx, []*nostr.Event{late}); err != nil {
		return err
	}
	if err := h.holds(ctx, "an order of a new key", sorted(append(slices.Clone(want), late))); err != nil {
		return err
	}
	bad.serve(late)
	request := &nostr.Event{Kind: nostr.KindDeletion, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"e", late.ID}}}
	if err := request.Sign(h.keys[len(h.keys)-1]); err != nil {
		return err
	}
	if err := h.relays["b"].publish(ctx, []*nostr.Event{request}); err != nil {
		return err
	}
	want = append(want, request)
	if err := h.holds(ctx, "its deletion", sorted(want)); err != nil {
		return err
	}
	bad.push(late)
	bad.push(lies...)
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := h.holds(ctx, "a at the end", sorted(want)); err != nil {
		return err
	}
	health, err := h.relays["a"].get(ctx, "/api/v1/relays")
	if err != nil {
		return err
	}
	var answer struct {
		Items []struct {
			URL, State string
			Events     map[string]int64
			Failures   map[string]int64
		}
	}
	if err := json.Unmarshal(health, &answer); err != nil {
		return err
	}
	for _, it := range answer.Items {
		if strings.HasSuffix(it.URL, bad.addr) {
			h.say("%s: a reports for the hostile relay: %s, events %v, failures %v", h.mode, it.State, it.Events, it.Failures)
		}
	}
	return nil
}

// holds waits until a holds exactly the events of want. If a does not within h.within,
// holds returns an error with the differences.
func (h *hostile) holds(ctx context.Context, what string, want []string) error {
	began := time.Now()
	for {
		got, err := h.relays["a"].held(ctx)
		if err != nil {
			return err
		}
		if slices.Equal(got, want) {
			h.say("%s: %s: %d events, %.1fs", h.mode, what, len(got), time.Since(began).Seconds())
			return nil
		}
		if time.Since(began) > h.within {
			missing, extra := compare(want, got)
			health, err := h.relays["a"].get(ctx, "/api/v1/relays")
			return fmt.Errorf("%s: %s: %d of %d are missing (%v), %d too many (%v); %s %v", h.mode, what, len(missing), len(want), first(missing), len(extra), first(extra), health, err)
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// order returns a signed version of the i-th order.
func (h *hostile) order(i int, status string, at nostr.Timestamp) (*nostr.Event, error) {
	evt := &nostr.Event{Kind: 38383, CreatedAt: at, Tags: nostr.Tags{{"d", fmt.Sprint("order ", i)}, {"k", "sell"}, {"s", status}, {"f", "EUR"}, {"z", "order"}}}
	return evt, evt.Sign(h.keys[i%len(h.keys)])
}

func sorted(events []*nostr.Event) []string {
	ids := make([]string, 0, len(events))
	for _, evt := range events {
		ids = append(ids, evt.ID)
	}
	slices.Sort(ids)
	return ids
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hostileRelay serves its events according to its mode. It does not support NIP-77.
type hostileRelay struct {
	mode, addr string
	srv        *http.Server
	foreign    []*nostr.Event // validly signed events that match no request

	mu     sync.Mutex
	events []*nostr.Event
	subs   map[*websocket.Conn]map[string]nostr.Filter
}

func startHostile(mode string) (*hostileRelay, error) {
	r := &hostileRelay{mode: mode, subs: map[*websocket.Conn]map[string]nostr.Filter{}}
	for i := range 20 {
		evt := &nostr.Event{Kind: []int{1, 0, 38383, 5}[i%4], CreatedAt: nostr.Now() - 50, Tags: nostr.Tags{{"d", fmt.Sprint(i)}, {"z", "order"}}, Content: "foreign"}
		if err := evt.Sign(nostr.GeneratePrivateKey()); err != nil {
			return nil, err
		}
		r.foreign = append(r.foreign, evt)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.addr, r.srv = l.Addr().String(), &http.Server{Handler: r}
	go r.srv.Serve(l) // returns at Close
	return r, nil
}

// serve adds events to the answers.
func (r *hostileRelay) serve(events ...*nostr.Event) {
	r.mu.Lock()
	r.events = append(r.events, events...)
	r.mu.Unlock()
}

// push sends events to the open live subscriptions. In mode liar-filter it ignores the
// filters.
func (r *hostileRelay) push(events ...*nostr.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ws, subs := range r.subs {
		for id, f := range subs {
			for _, evt := range events {
				if f.Limit == 1 && (r.mode == "liar-filter" || f.Matches(evt)) { // a live subscription
					say(ws, "EVENT", id, evt)
				}
			}
		}
	}
}

func say(ws *websocket.Conn, words ...any) error {
	b, err := json.Marshal(words)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return ws.Write(ctx, websocket.MessageText, b)
}

// ServeHTTP serves one connection.
func (r *hostileRelay) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	ws, err := websocket.Accept(w, q, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	defer func() {
		r.mu.Lock()
		delete(r.subs, ws)
		r.mu.Unlock()
	}()
	ws.SetReadLimit(-1)
	for {
		_, b, err := ws.Read(q.Context())
		if err != nil {
			return
		}
		var words []json.RawMessage
		var verb, id string
		if json.Unmarshal(b, &words) != nil || len(words) < 2 || json.Unmarshal(words[0], &verb) != nil || json.Unmarshal(words[1], &id) != nil {
			continue
		}
		switch verb {
		case "CLOSE":
			r.mu.Lock()
			delete(r.subs[ws], id)
			r.mu.Unlock()
			continue
		case "REQ":
		default:
			say(ws, "NOTICE", "unknown verb")
			continue
		}
		var f nostr.Filter
		if len(words) < 3 || json.Unmarshal(words[2], &f) != nil {
			continue
		}
		r.mu.Lock()
		if r.subs[ws] == nil {
			r.subs[ws] = map[string]nostr.Filter{}
		}
		r.subs[ws][id] = f
		answer := r.find(f)
		r.mu.Unlock()
		for _, evt := range answer {
			if err = errors.Join(err, say(ws, "EVENT", id, evt)); err != nil {
				return
			}
		}
		if say(ws, "EOSE", id) != nil {
			return
		}
	}
}

// find returns the answer to a filter, newest first, at most 300 events. In mode
// liar-filter it adds events that do not match. The caller holds r.mu.
func (r *hostileRelay) find(f nostr.Filter) (found []*nostr.Event) {
	for _, evt := range r.events {
		if f.Matches(evt) {
			found = append(found, evt)
		}
	}
	slices.SortStableFunc(found, func(a, b *nostr.Event) int { return int(b.CreatedAt - a.CreatedAt) })
	limit := 300
	if f.Limit > 0 {
		limit = min(limit, f.Limit)
	}
	found = found[:min(len(found), limit)]
	if r.mode == "liar-filter" {
		for _, evt := range r.foreign {
			if !f.Matches(evt) {
				found = append(found, evt)
			}
		}
	}
	return found
}
