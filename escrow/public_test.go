package escrow

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

func testEvents() EventBuilder {
	return EventBuilder{
		Pubkey: strings.Repeat("ab", 32), Name: "Mostro of ours", Relays: []string{"wss://relay.example"}, Version: "1.0", Commit: "abc",
		Pow: 2, Transports: []envelope.Transport{envelope.TransportV2, envelope.TransportV1},
		Node: func() (lightning.NodeInfo, bool) {
			return lightning.NodeInfo{Pubkey: "02" + strings.Repeat("cd", 32), Alias: "alice", Version: "0.21", Chain: "bitcoin", Network: lightning.Regtest}, true
		},
	}
}

// The mobile client parses these tags without checking that they exist.
func TestInfoStatesEveryNumber(t *testing.T) {
	events := testEvents()
	policy := DefaultPolicy()
	policy.Terms.Fee = 6_000_000
	evt := events.Info(policy)
	for name, want := range map[string]string{
		"max_order_amount": "1000000", "min_order_amount": "100", "expiration_hours": "24", "expiration_seconds": "900",
		"max_orders_per_response": "10", "fee": "0.006", "pow": "2", "pow_first_contact": "2", "protocol_version": "2",
		"hold_invoice_expiration_window": "3600", "hold_invoice_cltv_delta": "144", "invoice_expiration_window": "3600",
		"mostro_version": "1.0", "lnd_networks": "regtest", "lnd_chains": "bitcoin", "bond_enabled": "false", "z": "info",
		"escrow_mode": "lightning", "escrow_deadline_margin_blocks": "24", "maintenance_mode": "false",
		"d": events.Pubkey, "fiat_currencies_accepted": "",
	} {
		if tag := evt.Tags.Find(name); tag == nil || tag[1] != want {
			t.Errorf("%s: %v, want %q", name, tag, want)
		}
	}
	// The order of mostrod 0.20, with our tag before the last one.
	var names []string
	for _, tag := range evt.Tags {
		names = append(names, tag[0])
	}
	const want = "d mostro_version mostro_commit_hash max_order_amount min_order_amount expiration_hours expiration_seconds fiat_currencies_accepted " +
		"max_orders_per_response fee pow pow_first_contact protocol_version y z escrow_mode hold_invoice_cltv_delta escrow_deadline_margin_blocks lnd_version " +
		"lnd_node_pubkey lnd_commit_hash lnd_node_alias lnd_chains lnd_networks lnd_uris invoice_expiration_window hold_invoice_expiration_window bond_enabled dispute_overdue maintenance_mode"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("the tags are\n%s\nwant\n%s", got, want)
	}
	info, err := mostro.ParseInfo(&evt)
	if err != nil || !info.AnyCurrency || info.ProtocolVersion != 2 {
		t.Errorf("%+v %v", info, err)
	}
	events.Transports = []envelope.Transport{envelope.TransportV1}
	evt = events.Info(policy)
	if info, err := mostro.ParseInfo(&evt); err != nil || info.ProtocolVersion != 1 {
		t.Errorf("%+v %v", info, err)
	}
}

func TestOrderEvent(t *testing.T) {
	events := testEvents()
	tr := trade.Trade{
		ID: trade.OrderID{1}, Kind: mostro.SideSell, Fiat: "EUR", MinFiat: 10, MaxFiat: 100, Premium: -2, MarketPrice: true,
		PaymentMethod: "SEPA, Revolut,,", CreatedAt: 1_789_999_000, StampedAt: 1_790_000_000, ExpiresAt: 1_790_086_400, Bucket: mostro.StatusPending,
		AmountSats: 49_000, // of a taker who is not bound yet
		Seller:     trade.Party{Key: simKey(77), Identity: simKey(78)}, Lock: trade.Lock{Preimage: trade.Preimage{9}}, BuyerInvoice: trade.PayTo{Text: "a@b"},
	}
	evt := events.Order(tr, nil, DefaultPolicy())
	o, err := mostro.ParseOrder(evt)
	if err != nil {
		t.Fatal(err)
	}
	if o.Status != mostro.StatusPending || o.FiatAmount.Min.String() != "10" || o.FiatAmount.Max.String() != "100" || *o.AmountSats != 0 ||
		o.PremiumPct.String() != "-2" || len(o.Methods) != 2 || o.Network != "regtest" || o.InstanceName != "Mostro of ours" ||
		o.PublishedAt != 1_789_999_000 || o.Expiration != o.ExpiresAt || o.Expiration != 1_790_086_400 || !strings.HasPrefix(o.Link, "mostro:") {
		t.Errorf("%+v", o)
	}
	text := evt.String()
	for _, secret := range []string{simKey(77), simKey(78), "a@b", trade.Preimage{9}.Hex()} {
		if strings.Contains(text, secret) {
			t.Errorf("the event contains %s", secret)
		}
	}
	tr.AmountSats = 49_000
	if o, err := mostro.ParseOrder(events.Order(tr, nil, DefaultPolicy())); err != nil || *o.AmountSats != 0 {
		t.Errorf("a pending range shows an amount: %+v %v", o, err)
	}
	tr.Bucket, tr.FiatAmount = mostro.StatusInProgress, 50
	evt = events.Order(tr, nil, DefaultPolicy())
	o, err = mostro.ParseOrder(evt)
	if err != nil || o.PublishedAt != 1_789_999_000 || *o.AmountSats != 49_000 || o.FiatAmount.Min.String() != "50" || o.FiatAmount.Max.String() != "50" || o.Link != "" {
		t.Errorf("%+v %v", o, err)
	}
	if o.Expiration != nostr.Timestamp(1_790_000_000+30*86400) {
		t.Errorf("the event expires at %d", o.Expiration)
	}
}

func TestDisputeEventDoesNotNameItsOrder(t *testing.T) {
	events := testEvents()
	tr := trade.Trade{ID: trade.OrderID{1, 2, 3}, Dispute: trade.Dispute{ID: trade.OrderID{4, 5, 6}, Status: message.DisputeStatusInitiated, By: message.InitiatorBuyer, OpenedAt: 5, StampedAt: 7}}
	evt := events.Disputes(tr, DefaultPolicy())[0]
	d, err := mostro.ParseDispute(evt)
	if err != nil || d.D != tr.Dispute.ID.String() || d.State != mostro.DisputeStateInitiated || d.Initiator != "buyer" || d.OpenedAt != 5 || evt.Tags.FindWithValue("published_at", "5") == nil {
		t.Errorf("%+v %v", d, err)
	}
	if strings.Contains(evt.String(), tr.ID.String()) {
		t.Error("the event names the order")
	}
	if n := len(events.Disputes(tr, DefaultPolicy())); n != 1 {
		t.Errorf("%d events", n)
	}
	tr.Seller.Transport = envelope.TransportLegacy
	both := events.Disputes(tr, DefaultPolicy())
	if len(both) != 2 || both[1].Kind != mostro.KindOrder || both[1].Tags.FindWithValue("s", "Pending") == nil || both[1].CreatedAt != 7 || both[1].PubKey != events.Pubkey {
		t.Errorf("%v", both)
	}
}

// The end of a dispute by the rule is public, with the rule. The rule is in the description,
// before the last tag of the reference.
func TestOverdueIsPublic(t *testing.T) {
	events := testEvents()
	tr := trade.Trade{Dispute: trade.Dispute{ID: trade.OrderID{4}, Status: message.DisputeStatusSellerRefunded, By: message.InitiatorBuyer, OpenedAt: 5, StampedAt: 7,
		Verdict: &trade.Verdict{Action: message.ActionAdminCancel, Overdue: true, Reason: "overdue"}}}
	evt := events.Disputes(tr, DefaultPolicy())[0]
	if last := evt.Tags[len(evt.Tags)-1]; len(last) != 2 || last[0] != "overdue" || last[1] != "cancel" {
		t.Errorf("the last tag is %v", last)
	}
	if d, err := mostro.ParseDispute(evt); err != nil || d.Overdue != "cancel" || d.State != mostro.DisputeStateSellerRefunded {
		t.Errorf("%v %+v", err, d)
	}
	tr.Terms.Overdue, tr.Dispute.Status = trade.OverdueSettle, message.DisputeStatusSettled
	if evt = events.Disputes(tr, DefaultPolicy())[0]; evt.Tags.FindWithValue("overdue", "settle") == nil {
		t.Errorf("%v", evt.Tags)
	}
	tr.Dispute.Status = message.DisputeStatusInProgress // the settlement is on its way
	if evt = events.Disputes(tr, DefaultPolicy())[0]; evt.Tags.Find("overdue") != nil {
		t.Errorf("%v", evt.Tags)
	}
	tr.Dispute.Status, tr.Dispute.Verdict = message.DisputeStatusSettled, &trade.Verdict{By: "ann", Reason: "a private text"}
	if evt = events.Disputes(tr, DefaultPolicy())[0]; evt.Tags.Find("overdue") != nil || strings.Contains(evt.String(), "private") {
		t.Errorf("%v", evt.Tags)
	}
	tr.Buyer.Transport, tr.Dispute.Verdict = envelope.TransportLegacy, &trade.Verdict{Overdue: true}
	if old := events.Disputes(tr, DefaultPolicy())[1]; len(old.Tags) != 4 {
		t.Errorf("the form of 2023 has the tags %v", old.Tags)
	}
	policy := DefaultPolicy()
	events.Assistant = strings.Repeat("cd", 32)
	if evt := events.Info(policy); evt.Tags.FindWithValue("serbero", events.Assistant) == nil {
		t.Errorf("%v", evt.Tags)
	}
	for rule, want := range map[trade.Overdue]string{"": "cancel", trade.OverdueCancel: "cancel", trade.OverdueSettle: "settle"} {
		policy.Terms.Overdue = rule
		info := events.Info(policy)
		if info.Tags.FindWithValue("dispute_overdue", want) == nil {
			t.Errorf("rule %q: %v", rule, info.Tags)
		}
		if got, err := mostro.ParseInfo(&info); err != nil || got.DisputeOverdue != want {
			t.Errorf("rule %q: %v %+v", rule, err, got)
		}
	}
}

// The node's own events are published at their intervals. Each is dated after the last event
// of its kind, also across restarts.
func TestOwnEventsAreDatedAscending(t *testing.T) {
	events := testEvents()
	polled := nostr.Timestamp(100)
	events.Rates = func(time.Time) (mostro.Rates, bool) {
		return mostro.Rates{BTC: map[string]float64{"USD": 5}, PublishedAt: polled}, true
	}
	r := newRig(t)
	stamps := make(map[int]int64)
	count := make(map[int]int)
	say := func(at time.Time) {
		for _, evt := range events.Due(at, r.policy) {
			r.book.QueueEvent(evt, at.Unix())
			if int64(evt.CreatedAt) <= stamps[evt.Kind] {
				t.Errorf("kind %d dated %d after %d", evt.Kind, evt.CreatedAt, stamps[evt.Kind])
			}
			stamps[evt.Kind] = int64(evt.CreatedAt)
			count[evt.Kind]++
		}
		r.commit()
	}
	at := time.Unix(1_790_000_000, 0)
	for range 600 {
		say(at)
		at = at.Add(time.Second)
	}
	for kind, want := range map[int]int{mostro.KindProfile: 1, mostro.KindInfo: 2, mostro.KindRelayList: 10, mostro.KindAppData: 1} {
		if count[kind] != want {
			t.Errorf("kind %s: published %d times in ten minutes, want %d", strconv.Itoa(kind), count[kind], want)
		}
	}
	// The builder is started anew with a clock that went back.
	events.profiled, events.infoAt, events.relaysAt = false, time.Time{}, time.Time{}
	r.start()
	say(at.Add(-time.Hour))
}
