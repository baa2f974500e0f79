package escrow

import (
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/nbd-wtf/go-nostr"
)

// EventBuilder builds the events that the node publishes, unsigned. Only the engine's
// goroutine uses an EventBuilder. Its fields are set before.
type EventBuilder struct {
	Pubkey  string // the node's key, hex
	Name    string // of the instance; "" for none
	About   string
	Picture string
	Website string
	Relays  []string // relays at which the node can be reached
	Version string
	Commit  string
	// Assistant is the key of the announced assistant for disputes, hex; "" for none.
	Assistant string
	// ReputationImport and ReputationIssuer say whose attestations the node imports, and with
	// which key it signs its own; nil and "" for none.
	ReputationImport *mostro.ReputationIssuers
	ReputationIssuer string
	// Pow and PowFirstContact equal the prefilter's values.
	Pow, PowFirstContact int
	// Transports are the accepted transports. If V2 is one of them, the description says
	// protocol 2.
	Transports []envelope.Transport
	// Node returns the description of the Lightning node. ok is false while it is unknown.
	// Node does not block.
	Node func() (info lightning.NodeInfo, ok bool)
	// Rates returns the prices to publish. If Rates is nil, no prices are published. Rates
	// does not block.
	Rates func(now time.Time) (mostro.Rates, bool)

	// InfoEvery and RelaysEvery are the intervals of kinds 38385 and 10002. 0 means 300
	// and 60 seconds.
	InfoEvery, RelaysEvery time.Duration

	profiled         bool
	maintenance      bool // no new trade begins
	infoAt, relaysAt time.Time
	ratesAt          int64
}

// Order builds the order's event, unsigned. The date is the trade's StampedAt. maker is the
// record of the maker of a pending order.
func (b *EventBuilder) Order(t trade.Trade, maker *mostro.MakerRating, p Policy) *nostr.Event {
	premium, amount := mostro.DecimalOf(t.Premium), t.AmountSats
	o := mostro.Order{
		Pubkey: b.Pubkey, D: t.ID.String(), CreatedAt: nostr.Timestamp(t.StampedAt), InstanceName: b.Name,
		Side: t.Kind, Status: t.Bucket, Fiat: t.Fiat, AmountSats: &amount, PremiumPct: &premium,
		Methods: methods(t.PaymentMethod), Network: b.network(), Layers: []string{"lightning"},
		PublishedAt: nostr.Timestamp(t.CreatedAt), ExpiresAt: nostr.Timestamp(t.ExpiresAt),
		Expiration: nostr.Timestamp(t.StampedAt + p.OrderDays*86400),
		Link:       mostro.OrderLink(t.ID.String(), b.Relays, b.Pubkey),
	}
	if t.Bucket == mostro.StatusPending && t.Range() {
		amount = 0 // the taker chooses the amount
	}
	low, high := mostro.DecimalOf(t.FiatAmount), mostro.DecimalOf(t.FiatAmount)
	if t.Bucket == mostro.StatusPending {
		o.Expiration = o.ExpiresAt
		o.MakerRating = maker
		if t.Range() {
			amount = 0 // also if a taker's amount is known already
			low, high = mostro.DecimalOf(t.MinFiat), mostro.DecimalOf(t.MaxFiat)
		}
	}
	o.FiatAmount = mostro.Range{Min: &low, Max: &high}
	evt := o.Event()
	return &evt
}

// methods splits the maker's text as the reference node does.
func methods(text string) []string {
	var list []string
	for _, m := range strings.Split(text, ",") {
		if m = strings.TrimSpace(m); m != "" {
			list = append(list, m)
		}
	}
	return list
}

func (b *EventBuilder) network() string {
	if info, ok := b.node(); ok {
		return string(info.Network)
	}
	return "unknown"
}

func (b *EventBuilder) node() (lightning.NodeInfo, bool) {
	if b.Node == nil {
		return lightning.NodeInfo{}, false
	}
	return b.Node()
}

// Disputes builds the dispute's event, unsigned. The event does not reveal its order. If a
// party uses the protocol of 2023, there is a second event in the form of that time.
func (b *EventBuilder) Disputes(t trade.Trade, p Policy) []*nostr.Event {
	d := mostro.Dispute{
		Pubkey: b.Pubkey, D: t.Dispute.ID.String(), CreatedAt: nostr.Timestamp(t.Dispute.StampedAt),
		State: mostro.DisputeState(t.Dispute.Status), Initiator: string(t.Dispute.By),
		OpenedAt: nostr.Timestamp(t.Dispute.OpenedAt), InstanceName: b.Name,
		Expiration: nostr.Timestamp(t.Dispute.StampedAt + p.DisputeDays*86400),
	}
	if v := t.Dispute.Verdict; v != nil && v.Overdue && d.State.Final() {
		d.Overdue = string(t.Terms.OverdueRule())
	}
	evt := d.Event()
	events := []*nostr.Event{&evt}
	if t.Buyer.Transport == envelope.TransportLegacy || t.Seller.Transport == envelope.TransportLegacy {
		old := d.LegacyEvent()
		old.PubKey, old.CreatedAt = b.Pubkey, evt.CreatedAt
		events = append(events, &old)
	}
	return events
}

// DevFee builds the event about the development fee that the trade has recorded as paid,
// unsigned. The event names no party.
func (b *EventBuilder) DevFee(t trade.Trade, destination, verify string, at int64) *nostr.Event {
	evt := mostro.DevFee{
		Pubkey: b.Pubkey, CreatedAt: nostr.Timestamp(at), OrderID: t.ID.String(), AmountSats: t.DevFeeSats,
		Hash: t.DevFeePaid.Hash.String(), Destination: destination, Network: b.network(), Verify: verify,
		InstanceName: b.Name, Expiration: nostr.Timestamp(at + devFeeDays*86400),
	}.Event()
	return &evt
}

// devFeeDays is the number of days for which relays keep the event, as the reference node sets
// it whatever the configuration says.
const devFeeDays = 365

// Due returns the node's own events that are due, unsigned and undated. The description is
// not published before the Lightning node has answered, because clients parse every number
// without a check that the number is present.
func (b *EventBuilder) Due(now time.Time, p Policy) []*nostr.Event {
	var events []*nostr.Event
	add := func(evt nostr.Event) { events = append(events, &evt) }
	if !b.profiled {
		b.profiled = true
		if b.Name+b.About+b.Picture+b.Website != "" {
			add(mostro.Profile{Pubkey: b.Pubkey, Name: b.Name, About: b.About, Picture: b.Picture, Website: b.Website}.Event())
		}
	}
	if _, ok := b.node(); ok && now.Sub(b.infoAt) >= orElse(b.InfoEvery, 300*time.Second) {
		b.infoAt = now
		add(b.Info(p))
	}
	if len(b.Relays) > 0 && now.Sub(b.relaysAt) >= orElse(b.RelaysEvery, 60*time.Second) {
		b.relaysAt = now
		list := mostro.RelayList{Pubkey: b.Pubkey}
		for _, url := range b.Relays {
			list.Relays = append(list.Relays, mostro.RelayUse{URL: url, Read: true, Write: true})
		}
		add(list.Event())
	}
	if b.Rates != nil {
		if r, ok := b.Rates(now); ok && int64(r.PublishedAt) > b.ratesAt {
			b.ratesAt = int64(r.PublishedAt)
			r.Pubkey = b.Pubkey
			add(r.Event())
		}
	}
	return events
}

// maintained sets whether no new trade begins. A change makes the description due.
func (b *EventBuilder) maintained(on bool) {
	if b.maintenance != on {
		b.maintenance, b.infoAt = on, time.Time{}
	}
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// Info builds the node's description of itself. Every number is always present.
func (b *EventBuilder) Info(p Policy) nostr.Event {
	t := p.Terms
	whole := func(n int64) *int64 { return &n }
	fee := t.Fee.Decimal()
	version := 1
	for _, transport := range b.Transports {
		if transport == envelope.TransportV2 {
			version = 2
		}
	}
	info := mostro.Info{
		Pubkey: b.Pubkey, Name: b.Name, Version: b.Version, Commit: b.Commit,
		MinOrderSats: whole(t.MinSats), MaxOrderSats: whole(t.MaxSats),
		ExpirationHours: whole(max(t.LifeSeconds/3600, 1)), ExpirationSeconds: whole(t.WaitSeconds),
		Currencies: p.Currencies, AnyCurrency: len(p.Currencies) == 0,
		MaxOrdersPerResponse: whole(int64(orMost(p.MaxOrders))), Fee: &fee,
		Pow: whole(int64(b.Pow)), PowFirstContact: whole(int64(max(b.Pow, b.PowFirstContact))),
		ProtocolVersion:          version,
		HoldInvoiceWindowSeconds: whole(t.HoldSeconds()), HoldInvoiceCLTVDelta: whole(int64(t.CLTVBlocks)),
		InvoiceWindowSeconds: whole(t.InvoiceSeconds),
		EscrowMode:           "lightning", EscrowDeadlineMarginBlocks: whole(int64(t.MarginBlocks)),
		Bond: &mostro.BondPolicy{Enabled: false}, Maintenance: &b.maintenance, Serbero: b.Assistant,
		DisputeOverdue: string(t.OverdueRule()), ReputationImport: b.ReputationImport, ReputationIssuer: b.ReputationIssuer,
	}
	if n, ok := b.node(); ok {
		info.LND = &mostro.LightningNode{
			Version: n.Version, Pubkey: n.Pubkey, Commit: n.Commit, Alias: n.Alias,
			Chains: []string{n.Chain}, Networks: []string{string(n.Network)}, URIs: n.URIs,
		}
	}
	return info.Event()
}

func orMost(n int) int {
	if n <= 0 {
		return defaultMaxOrders
	}
	return n
}
