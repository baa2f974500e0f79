package mostro

import (
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/nbd-wtf/go-nostr"
)

// Info is a node's description of itself. A key is a Mostro instance only if it
// publishes an Info. The `y` tag alone is a claim that anyone can make, but the d tag
// of an Info must be the author's own key, otherwise ParseInfo refuses the event (see
// also Fresh).
//
// nil means unknown, never 0.
type Info struct {
	EventID   string
	Pubkey    string // the node
	CreatedAt nostr.Timestamp

	Name    string // "" on a third of the nodes
	Version string // of the daemon
	Commit  string

	MinOrderSats         *int64
	MaxOrderSats         *int64
	ExpirationHours      *int64 // life of a pending order
	ExpirationSeconds    *int64 // time-out of the waiting states
	Currencies           []string
	AnyCurrency          bool // the list is stated and empty: every currency is accepted
	MaxOrdersPerResponse *int64
	Fee                  *Decimal // fraction of the amount, both sides together: each pays half
	Pow                  *int64   // NIP-13 bits
	PowFirstContact      *int64   // for senders that the node does not know; on a v2 node nil is unknown, not Pow
	ProtocolVersion      int      // 1 gift wrap (also if absent), 2 kind 14, 0 stated and unreadable

	HoldInvoiceWindowSeconds *int64
	HoldInvoiceCLTVDelta     *int64 // blocks
	InvoiceWindowSeconds     *int64

	LND  *LightningNode // nil if the node states none, as Cashu nodes do
	Bond *BondPolicy    // nil: the daemon is older than bonds (0.17.4)

	EscrowMode        string   // "lightning", "cashu"; "" is Lightning (before 0.20)
	CashuMints        []string `json:",omitempty"` // URLs of the mints that a maker may choose; nil on an open Cashu node: any mint
	CashuLocktimeDays *int64
	Maintenance       *bool // no new orders are taken; nil: not stated

	// EscrowDeadlineMarginBlocks is the number of blocks before a hold's expiry at which
	// the node resolves the hold.
	EscrowDeadlineMarginBlocks *int64             `json:",omitempty"`
	Serbero                    string             `json:",omitempty"` // key of the node's assistant for disputes, hex; "" none
	ReputationImport           *ReputationIssuers `json:",omitempty"` // nil: the node imports no reputation
	ReputationIssuer           string             `json:",omitempty"` // key with which the node signs attestations, hex; "" none

	// DisputeOverdue is the rule for a dispute that no solver decides in time: "cancel" or
	// "settle"; "" not stated. The tag is ours.
	DisputeOverdue string `json:",omitempty"`
}

// ReputationIssuers are the issuers whose attestations a node imports.
type ReputationIssuers struct {
	Keys []string // hex; nil if the node trusts nobody yet
}

// LightningNode is the Lightning node behind a Mostro, as the Mostro describes it.
type LightningNode struct {
	Version  string
	Pubkey   string // compressed, 66 hex digits
	Commit   string
	Alias    string
	Chains   []string
	Networks []string // normalised as Order.Network
	URIs     []string
	// Signature is the signature of the node over the key of the Mostro (receipt.NodeSigned);
	// "" if there is none. The tag is a tag of this project.
	Signature string `json:",omitempty"`
}

// BondPolicy is the bond that a node asks of its users. The size of a bond is the
// greater of AmountPct of the order and BaseSats. If bonds are off, the node states
// only Enabled.
type BondPolicy struct {
	Enabled         bool
	AmountPct       *Decimal // fraction of the order, in spite of its name
	BaseSats        *int64
	ApplyTo         string // "take", "make", "both"
	SlashOnTimeout  *bool
	SlashNodeShare  *Decimal // fraction
	PayoutClaimDays *int64
}

// ParseInfo parses kind 38385, and the infos in kind 38383 that nodes published until
// the end of 2025 (d was `info-<pubkey>` during 2024). The error is an EventError.
func ParseInfo(evt *nostr.Event) (Info, error) {
	if err := Expect(evt, ClassInfo); err != nil {
		return Info{}, err
	}
	t := TagReader(evt.Tags)
	if d := strings.TrimPrefix(evt.Tags.GetD(), "info-"); d != evt.PubKey || !hex32.Valid(d) {
		return Info{}, MalformedEvent(evt, "d is not the author's key")
	}
	_, name := t.Claim()
	info := Info{
		EventID: evt.ID, Pubkey: evt.PubKey, CreatedAt: evt.CreatedAt,
		Name: name, Version: t.Value("mostro_version"), Commit: t.Value("mostro_commit_hash"),
		MinOrderSats: t.sats("min_order_amount"), MaxOrderSats: t.sats("max_order_amount"),
		ExpirationHours: t.Whole("expiration_hours"), ExpirationSeconds: t.Whole("expiration_seconds"),
		MaxOrdersPerResponse: t.Whole("max_orders_per_response"),
		Fee:                  t.fraction("fee"), Pow: t.Whole("pow"), PowFirstContact: t.Whole("pow_first_contact"),
		ProtocolVersion:          protocolVersion(t),
		HoldInvoiceWindowSeconds: t.Whole("hold_invoice_expiration_window"),
		HoldInvoiceCLTVDelta:     t.Whole("hold_invoice_cltv_delta"),
		InvoiceWindowSeconds:     t.Whole("invoice_expiration_window"),
		LND:                      lightningNode(t), Bond: bondPolicy(t),
		EscrowMode:        strings.ToLower(t.Value("escrow_mode")),
		CashuLocktimeDays: t.Whole("cashu_escrow_locktime_days"), Maintenance: t.boolean("maintenance_mode"),
		EscrowDeadlineMarginBlocks: t.Whole("escrow_deadline_margin_blocks"),
		Serbero:                    t.pubkey("serbero"), ReputationIssuer: t.pubkey("reputation_issuer"),
		DisputeOverdue: strings.ToLower(t.Value("dispute_overdue")),
	}
	for _, url := range t.values("cashu_mint_url") {
		info.CashuMints = appendNew(info.CashuMints, strings.TrimSpace(url))
	}
	if t.has("reputation_import_issuers") {
		info.ReputationImport = new(ReputationIssuers)
		for _, key := range t.values("reputation_import_issuers") {
			if hex32.Valid(key) {
				info.ReputationImport.Keys = appendNew(info.ReputationImport.Keys, key)
			}
		}
	}
	if info.Commit == "" {
		info.Commit = t.Value("mostro_commit_id") // until early 2025
	}
	for _, code := range t.list("fiat_currencies_accepted") {
		if code = strings.ToUpper(code); isCurrency(code) {
			info.Currencies = appendNew(info.Currencies, code)
		}
	}
	// A list without a readable currency does not mean "all"; only an empty list does.
	info.AnyCurrency = t.values("fiat_currencies_accepted") != nil && t.Value("fiat_currencies_accepted") == ""
	return info, nil
}

// sats reads an amount in sats. It returns nil if the amount is above the supply of
// bitcoin.
func (t TagReader) sats(name string) *int64 {
	if n := t.Whole(name); n != nil && *n <= maxSats {
		return n
	}
	return nil
}

// fraction reads a decimal from 0 to 1, and returns nil for any other value.
func (t TagReader) fraction(name string) *Decimal {
	if d := t.decimal(name); d != nil && d.Sign() >= 0 && d.Cmp(DecimalOf(1)) <= 0 {
		return d
	}
	return nil
}

func protocolVersion(t TagReader) int {
	value := t.Value("protocol_version")
	if value == "" {
		value = t.Value("protocol_versions") // a build before 0.18.0
	}
	if value == "" {
		return 1
	}
	n := wholeNumber(value)
	if n == nil || *n > 255 {
		return 0
	}
	return int(*n)
}

func lightningNode(t TagReader) *LightningNode {
	stated := false
	for _, name := range []string{"lnd_version", "lnd_node_pubkey", "lnd_commit_hash", "lnd_node_alias", "lnd_chains", "lnd_networks", "lnd_uris"} {
		stated = stated || t.values(name) != nil
	}
	if !stated {
		return nil
	}
	return &LightningNode{
		Version: t.Value("lnd_version"), Pubkey: strings.ToLower(t.Value("lnd_node_pubkey")),
		Commit: t.Value("lnd_commit_hash"), Alias: t.Value("lnd_node_alias"),
		Chains: t.list("lnd_chains"), Networks: networkList(t.Value("lnd_networks")), URIs: t.list("lnd_uris"), Signature: t.Value("lnd_signature"),
	}
}

func bondPolicy(t TagReader) *BondPolicy {
	enabled := t.boolean("bond_enabled")
	if enabled == nil {
		return nil
	}
	return &BondPolicy{
		Enabled: *enabled, AmountPct: t.fraction("bond_amount_pct"), BaseSats: t.sats("bond_base_amount_sats"),
		ApplyTo:        strings.ToLower(t.Value("bond_apply_to")),
		SlashOnTimeout: t.boolean("bond_slash_on_waiting_timeout"), SlashNodeShare: t.fraction("bond_slash_node_share_pct"),
		PayoutClaimDays: t.Whole("bond_payout_claim_window_days"),
	}
}

// Fresh reports whether the info proves that its node was running within the given time
// before now. An info that is dated more than ten minutes ahead proves nothing.
// CreatedAt is the node's own claim. If the caller witnessed the event's arrival, it
// should use the arrival time instead.
func (i Info) Fresh(now time.Time, within time.Duration) bool {
	at := i.CreatedAt.Time()
	return !at.Before(now.Add(-within)) && !at.After(now.Add(10*time.Minute))
}

// Accepts reports whether the node takes orders in a currency. ok is false if the info
// does not state its currencies.
func (i Info) Accepts(fiat string) (accepted, ok bool) {
	if i.AnyCurrency {
		return true, true
	}
	for _, code := range i.Currencies {
		if code == fiat {
			return true, true
		}
	}
	return false, len(i.Currencies) > 0
}

// Event returns the info as a Mostro publishes it, ready to be signed. Tags are in
// the order of mostrod 0.20, and tags of unknown values are omitted.
func (i Info) Event() nostr.Event {
	w := TagWriter{{"d", i.Pubkey}}
	w.text("mostro_version", i.Version)
	w.text("mostro_commit_hash", i.Commit)
	w.Whole("max_order_amount", i.MaxOrderSats)
	w.Whole("min_order_amount", i.MinOrderSats)
	w.Whole("expiration_hours", i.ExpirationHours)
	w.Whole("expiration_seconds", i.ExpirationSeconds)
	if i.AnyCurrency {
		w.Add("fiat_currencies_accepted", "")
	} else {
		w.list("fiat_currencies_accepted", i.Currencies)
	}
	w.Whole("max_orders_per_response", i.MaxOrdersPerResponse)
	w.decimal("fee", i.Fee)
	w.Whole("pow", i.Pow)
	w.Whole("pow_first_contact", i.PowFirstContact)
	w.Add("protocol_version", strconv.Itoa(i.ProtocolVersion)) // an absent tag would mean 1
	w.Instance(i.Name)
	w.Add("z", "info")
	w.text("escrow_mode", i.EscrowMode)
	w.Whole("hold_invoice_cltv_delta", i.HoldInvoiceCLTVDelta)
	w.Whole("escrow_deadline_margin_blocks", i.EscrowDeadlineMarginBlocks)
	if n := i.LND; n != nil {
		w.Add("lnd_version", n.Version)
		w.Add("lnd_node_pubkey", n.Pubkey)
		w.Add("lnd_commit_hash", n.Commit)
		w.Add("lnd_node_alias", n.Alias)
		w.Add("lnd_chains", strings.Join(n.Chains, ","))
		w.Add("lnd_networks", strings.Join(n.Networks, ","))
		w.Add("lnd_uris", strings.Join(n.URIs, ","))
		if n.Signature != "" {
			w.Add("lnd_signature", n.Signature)
		}
	}
	w.Whole("invoice_expiration_window", i.InvoiceWindowSeconds)
	w.Whole("hold_invoice_expiration_window", i.HoldInvoiceWindowSeconds)
	if len(i.CashuMints) > 0 {
		w.Add("cashu_mint_url", i.CashuMints...)
	}
	w.Whole("cashu_escrow_locktime_days", i.CashuLocktimeDays)
	if b := i.Bond; b != nil {
		w.Add("bond_enabled", strconv.FormatBool(b.Enabled))
		w.decimal("bond_amount_pct", b.AmountPct)
		w.Whole("bond_base_amount_sats", b.BaseSats)
		w.text("bond_apply_to", b.ApplyTo)
		w.boolean("bond_slash_on_waiting_timeout", b.SlashOnTimeout)
		w.decimal("bond_slash_node_share_pct", b.SlashNodeShare)
		w.Whole("bond_payout_claim_window_days", b.PayoutClaimDays)
	}
	w.text("serbero", i.Serbero)
	if r := i.ReputationImport; r != nil {
		w.Add("reputation_import_issuers", r.Keys...)
	}
	w.text("reputation_issuer", i.ReputationIssuer)
	w.text("dispute_overdue", i.DisputeOverdue)
	w.boolean("maintenance_mode", i.Maintenance)
	return nostr.Event{PubKey: i.Pubkey, CreatedAt: i.CreatedAt, Kind: KindInfo, Tags: nostr.Tags(w)}
}
