package interopmostrod

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// describing are the kinds by which a Mostro describes itself and its users.
var describing = []int{mostro.KindInfo, mostro.KindHealth, mostro.KindRelayList, mostro.KindProfile, mostro.KindAppData, mostro.KindUserRating}

// described compares the newest event of each kind of describing.
func (w *world) described(t *testing.T) []difference {
	nodes := []mostroNode{w.theirs, w.ours}
	for _, node := range nodes {
		w.eventually("the health of "+node.name+" after the maintenance", func() bool {
			list := w.events(nostr.Filter{Kinds: []int{mostro.KindHealth}, Authors: []string{node.keys.Pubkey()}})
			if len(list) == 0 {
				return false
			}
			h, err := mostro.ParseHealth(list[0])
			return err == nil && h.Maintenance != nil && !*h.Maintenance
		})
	}
	var played []*transcript
	for _, node := range nodes {
		x := &transcript{script: "description", node: node.name}
		n := &normaliser{pairs: []string{w.relay + "/", "RELAY", w.relay, "RELAY", node.keys.Pubkey(), "NODE", w.nodes.Mostro.Pubkey, "LND"}}
		for _, kind := range describing {
			x.begin(fmt.Sprintf("kind %d", kind))
			list := w.events(nostr.Filter{Kinds: []int{kind}, Authors: []string{node.keys.Pubkey()}})
			if len(list) > 0 {
				x.event(n, list[0])
			}
		}
		keep(t, x)
		played = append(played, x)
	}
	return compare(played[0], played[1])
}

// instance is what our index knows about a Mostro.
type instance struct {
	Version     string
	Fee         string
	EscrowMode  string `json:"escrow_mode"`
	Maintenance bool
	Relays      []string
	Orders      map[string]int // by status
	Fiats       map[string]int
	Disputes    map[string]int // by state
	Trades      int
	VolumeSats  int64 `json:"volume_sats"`
	Health      *struct {
		Status string
		Checks map[string]string
	}
}

// indexed checks that our index shows what mostrod published, that our parsers read every
// event of mostrod, and that our relay refused nothing.
func (w *world) indexed(t *testing.T) {
	theirs := w.theirs.keys.Pubkey()
	mine := func(kinds ...int) []*nostr.Event {
		return w.events(nostr.Filter{Kinds: kinds, Authors: []string{theirs}})
	}
	// mostrod publishes ratings in batches, and its health every 30 seconds.
	w.eventually("the ratings of both parties", func() bool { return len(mine(mostro.KindUserRating)) == 2 })
	w.eventually("the health of mostrod", func() bool { return len(mine(mostro.KindHealth)) == 1 })
	for _, evt := range mine(mostro.KindInfo, mostro.KindHealth, mostro.KindOrder, mostro.KindDispute, mostro.KindUserRating, mostro.KindRelayList, mostro.KindProfile, mostro.KindAppData) {
		var err error
		switch evt.Kind {
		case mostro.KindInfo:
			_, err = mostro.ParseInfo(evt)
		case mostro.KindHealth:
			var h mostro.Health
			if h, err = mostro.ParseHealth(evt); err == nil && (h.Version != daemonVersion || len(h.Checks) != 4 || h.LND == nil) {
				t.Errorf("the health is %+v", h)
			}
		case mostro.KindOrder:
			var o mostro.Order
			if o, err = mostro.ParseOrder(evt); err == nil {
				w.shown(t, o)
			}
		case mostro.KindDispute:
			_, err = mostro.ParseDispute(evt)
		case mostro.KindUserRating:
			var r mostro.UserRating
			if r, err = mostro.ParseUserRating(evt); err == nil && (r.TotalReviews == nil || *r.TotalReviews != 1 || r.Since == 0) {
				t.Errorf("the rating is %+v", r)
			}
		case mostro.KindRelayList:
			_, err = mostro.ParseRelayList(evt)
		case mostro.KindProfile:
			_, err = mostro.ParseProfile(evt)
		case mostro.KindAppData:
			_, err = mostro.ParseRates(evt)
		}
		if err != nil {
			t.Errorf("an event of mostrod cannot be read: %v: %s", err, mostro.EncodeEvent(evt))
		}
	}
	var at instance
	if code := w.get(w.api+"api/v1/instances/"+theirs, &at); code != 200 {
		t.Fatalf("our index does not know mostrod: %d", code)
	}
	if at.Version != daemonVersion || at.Fee != "0.006" || at.EscrowMode != "lightning" || at.Maintenance || len(at.Relays) != 1 {
		t.Errorf("our index describes mostrod as %+v", at)
	}
	for status, n := range map[string]int{"success": 3, "canceled": 2, "pending": 1} {
		if at.Orders[status] != n {
			t.Errorf("our index has the orders %v of mostrod, want %d of status %s", at.Orders, n, status)
		}
	}
	for _, state := range []string{"settled", "seller-refunded", "cooperatively-canceled"} {
		if at.Disputes[state] != 1 {
			t.Errorf("our index has the disputes %v of mostrod, want one that is %s", at.Disputes, state)
		}
	}
	if at.Trades != 3 || at.VolumeSats != 2*tradeSats+40_000 {
		t.Errorf("our index has %d trades of mostrod with %d sats", at.Trades, at.VolumeSats)
	}
	if h := at.Health; h == nil || h.Status != "ok" || len(h.Checks) != 4 || h.Checks[mostro.CheckPayouts] != "ok" {
		t.Errorf("our index has the health %+v of mostrod", h)
	}
	w.fee(t)
	// A refusal of any event or request would be counted here.
	if n := w.metric("mostrodex_relay_refusals_total", ""); n != 0 {
		t.Errorf("our relay refused %v events and requests", n)
	}
	if n := w.metric("mostrodex_relay_events_total", "over_quota") + w.metric("mostrodex_relay_events_total", "deleted"); n != 0 {
		t.Errorf("our relay did not keep %v events", n)
	}
	if log := w.daemon.output(); strings.Contains(log, "failed: {R") || strings.Contains(log, "ERROR") {
		t.Errorf("mostrod reports errors:\n%s", log)
	}
}

// shown checks that our API shows the same status of the order as the event.
func (w *world) shown(t *testing.T, o mostro.Order) {
	var out struct{ Status string }
	if code := w.get(w.api+"api/v1/orders/"+o.Pubkey+"/"+o.D, &out); code != 200 || out.Status != string(o.Status) {
		t.Errorf("our API shows order %s as %q (%d), the event says %s", o.D, out.Status, code, o.Status)
	}
}

// fee checks that a development fee of mostrod reaches our index. mostrod pays the fee on mainnet
// only, so the event is made here, with mostrod's key and the tags that mostrod writes in
// util.rs (publish_dev_fee_audit_event), and published as mostrod publishes it.
func (w *world) fee(t *testing.T) {
	var order *nostr.Event
	for _, evt := range w.events(nostr.Filter{Kinds: []int{mostro.KindOrder}, Authors: []string{w.theirs.keys.Pubkey()}}) {
		if evt.Tags.FindWithValue("s", "success") != nil && evt.Tags.FindWithValue("amt", fmt.Sprint(tradeSats)) != nil {
			order = evt
		}
	}
	if order == nil {
		t.Fatal("no order of mostrod has ended in success")
	}
	const sats = 18 // 0.30 of 60
	evt := nostr.Event{Kind: mostro.KindDevFee, CreatedAt: nostr.Now(), Tags: nostr.Tags{
		{"order-id", order.Tags.GetD()}, {"amount", fmt.Sprint(sats)}, {"hash", strings.Repeat("5e", 32)}, {"destination", "dev@pay.mostro.foundation"},
		{"network", "mainnet"}, {"y", "mostro", instanceName}, {"z", "dev-fee-payment"}, {"expiration", fmt.Sprint(int64(nostr.Now()) + 365*86_400)},
	}}
	secret := w.theirs.keys.Secret()
	if err := evt.Sign(hex.EncodeToString(secret[:])); err != nil {
		t.Fatal(err)
	}
	relay, err := nostr.RelayConnect(t.Context(), w.relay)
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	if err := relay.Publish(t.Context(), evt); err != nil {
		t.Fatalf("our relay refuses the event: %v", err)
	}
	w.eventually("the development fee in our index", func() bool {
		var out struct {
			Metrics []struct {
				Name  string
				Value *float64
			}
		}
		w.get(w.api+"api/v1/stats?metric=dev_fees.sats&instance="+w.theirs.keys.Pubkey(), &out)
		return len(out.Metrics) == 1 && out.Metrics[0].Value != nil && *out.Metrics[0].Value == sats
	})
}
