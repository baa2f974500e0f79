package mostro

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/nbd-wtf/go-nostr"
)

// HealthStatus is the state of a whole node.
type HealthStatus string

// The states of a node. HealthUnknown means that the event states none of the others.
const (
	HealthUnknown  HealthStatus = ""
	HealthOK       HealthStatus = "ok"
	HealthDegraded HealthStatus = "degraded"
	HealthDown     HealthStatus = "down"
)

// CheckState is the state of one check.
type CheckState string

// The states of a check. CheckUnknown means that the node could not observe the check; a
// reader must not take CheckUnknown for CheckOK.
const (
	CheckOK      CheckState = "ok"
	CheckWarn    CheckState = "warn"
	CheckFail    CheckState = "fail"
	CheckUnknown CheckState = "unknown"
)

// The names of the checks.
const (
	CheckLNDSync   = "lnd_sync"
	CheckPayouts   = "payouts"
	CheckCashuMint = "cashu_mint" // only on a Cashu node
	CheckRelays    = "relays"
	CheckDatabase  = "database"
)

// HealthCheck is one check of a node.
type HealthCheck struct {
	Name  string
	State CheckState
	Since nostr.Timestamp // beginning of the state, never later than the event; 0 unknown
}

// Health is a node's statement about its own state. A node publishes it every minute and
// at each change, so a node whose last Health has expired is down.
type Health struct {
	EventID   string
	Pubkey    string // the node
	CreatedAt nostr.Timestamp
	Name      string // of the instance

	Status          HealthStatus
	Checks          []HealthCheck // at most maxChecks, each name once
	EscrowMode      string        // "lightning", "cashu"
	LND             *HealthLND    // nil if the node states none: on a Cashu node, and if its Lightning node does not answer
	Maintenance     *bool
	Version         string // of the daemon
	IntervalSeconds *int64 // between two events; the Expiration is three intervals after CreatedAt
	Seq             *int64 // number of the event; the next event has the next number

	Watchdog   string // key that can decrypt Content, hex; "" none
	Content    string // HealthDetail in NIP-44 for Watchdog; "" none
	Expiration nostr.Timestamp
}

// HealthLND is the state of the Lightning node behind a Mostro.
type HealthLND struct {
	BlockHeight int64
	Synced      bool
	Network     string // as published
}

const (
	maxChecks = 32 // the protocol has 5
	// maxHealthContent is the size of the largest NIP-44 payload, in bytes.
	maxHealthContent = 87472
	// maxHealthDetail is the protocol's limit of a HealthDetail, in bytes.
	maxHealthDetail = 32 << 10
)

// ParseHealth parses kind 38389. A watchdog acts on these events, so a tag that occurs
// twice, or two checks of one name, are refused. The error is an EventError.
func ParseHealth(evt *nostr.Event) (Health, error) {
	if err := Expect(evt, ClassHealth); err != nil {
		return Health{}, err
	}
	if err := Once(evt, "d", "status", "escrow_mode", "lnd_block_height", "lnd_synced_to_chain", "lnd_network", "maintenance_mode",
		"interval", "seq", "p", "expiration"); err != nil {
		return Health{}, err
	}
	if len(evt.Content) > maxHealthContent {
		return Health{}, MalformedEvent(evt, "content above the limit")
	}
	t := TagReader(evt.Tags)
	_, name := t.Claim()
	h := Health{
		EventID: evt.ID, Pubkey: evt.PubKey, CreatedAt: evt.CreatedAt, Name: name,
		Status: HealthStatus(t.Value("status")), EscrowMode: t.Value("escrow_mode"), Maintenance: t.boolean("maintenance_mode"),
		Version: t.Value("mostro_version"), IntervalSeconds: t.Whole("interval"), Seq: t.Whole("seq"),
		Watchdog: t.Value("p"), Content: evt.Content, Expiration: t.time("expiration"),
	}
	switch h.Status {
	case HealthOK, HealthDegraded, HealthDown:
	default:
		h.Status = HealthUnknown
	}
	if h.Watchdog != "" && !hex32.Valid(h.Watchdog) {
		return Health{}, MalformedEvent(evt, "p is not a public key")
	}
	if height, synced := t.Whole("lnd_block_height"), t.boolean("lnd_synced_to_chain"); height != nil && synced != nil && t.Value("lnd_network") != "" {
		h.LND = &HealthLND{BlockHeight: *height, Synced: *synced, Network: t.Value("lnd_network")}
	}
	for _, tag := range evt.Tags {
		if len(tag) < 3 || tag[0] != "check" || tag[1] == "" {
			continue
		}
		c := HealthCheck{Name: tag[1], State: CheckState(tag[2])}
		switch c.State {
		case CheckOK, CheckWarn, CheckFail:
		default:
			c.State = CheckUnknown
		}
		if len(tag) > 3 {
			if since := (TagReader{{"since", tag[3]}}).time("since"); since <= evt.CreatedAt {
				c.Since = since
			}
		}
		if slices.ContainsFunc(h.Checks, func(have HealthCheck) bool { return have.Name == c.Name }) {
			return Health{}, MalformedEvent(evt, "two states of one check")
		}
		if len(h.Checks) == maxChecks {
			return Health{}, MalformedEvent(evt, "too many checks")
		}
		h.Checks = append(h.Checks, c)
	}
	return h, nil
}

// Event returns the health as a Mostro publishes it, ready to be signed: tags in
// mostrod's order, and the expiration if there is one.
func (h Health) Event() nostr.Event {
	w := TagWriter{{"d", h.Pubkey}}
	w.Instance(h.Name)
	w.Add("z", "health")
	w.text("status", string(h.Status))
	for _, c := range h.Checks {
		w.Add("check", c.Name, string(c.State), strconv.FormatInt(int64(min(c.Since, h.CreatedAt)), 10))
	}
	w.text("escrow_mode", h.EscrowMode)
	if n := h.LND; n != nil {
		w.Add("lnd_block_height", strconv.FormatInt(n.BlockHeight, 10))
		w.Add("lnd_synced_to_chain", strconv.FormatBool(n.Synced))
		w.Add("lnd_network", n.Network)
	}
	w.boolean("maintenance_mode", h.Maintenance)
	w.text("mostro_version", h.Version)
	w.Whole("interval", h.IntervalSeconds)
	w.Whole("seq", h.Seq)
	w.text("p", h.Watchdog)
	w.time("expiration", h.Expiration)
	return nostr.Event{PubKey: h.Pubkey, CreatedAt: h.CreatedAt, Kind: KindHealth, Tags: nostr.Tags(w), Content: h.Content}
}

// StatusOf returns the status that follows from the checks. A node is down if it cannot
// settle a hold, and degraded if a check is not ok or the node takes no new orders.
// Failing payouts alone degrade the node: a payout is repeated.
func StatusOf(checks []HealthCheck, maintenance bool) HealthStatus {
	status := HealthOK
	if maintenance {
		status = HealthDegraded
	}
	for _, c := range checks {
		if c.State == CheckOK {
			continue
		}
		status = HealthDegraded
		switch c.Name {
		case CheckLNDSync:
			if c.State == CheckFail || c.State == CheckUnknown {
				return HealthDown
			}
		case CheckCashuMint, CheckRelays, CheckDatabase:
			if c.State == CheckFail {
				return HealthDown
			}
		}
	}
	return status
}

// HealthDetail is the part of a node's health that only its watchdog can decrypt. nil is
// unknown and is written as null.
type HealthDetail struct {
	Version     int               `json:"v"` // 1
	GeneratedAt int64             `json:"generated_at"`
	LND         *LNDDetail        `json:"lnd"`     // null on a Cashu node
	Payouts     *PayoutDetail     `json:"payouts"` // null on a Cashu node
	DevFee      *DevFeeDetail     `json:"dev_fee"`
	Relays      RelayDetail       `json:"relays"`
	Maintenance MaintenanceDetail `json:"maintenance"`
}

// LNDDetail is the state of a node's Lightning node.
type LNDDetail struct {
	Reachable               bool   `json:"reachable"`
	Synced                  *bool  `json:"synced_to_chain"`
	UnsyncedSince           *int64 `json:"unsynced_since"`
	BlockHeight             *int64 `json:"block_height"`
	BestHeaderAt            *int64 `json:"best_header_timestamp"`
	Peers                   *int64 `json:"peers"`
	ChannelsActive          *int64 `json:"channels_active"`
	ChannelsInactive        *int64 `json:"channels_inactive"`
	ChannelsPending         *int64 `json:"channels_pending"`
	OutboundSats            *int64 `json:"outbound_liquidity_sats"`
	InboundSats             *int64 `json:"inbound_liquidity_sats"`
	PendingHTLCs            *int64 `json:"pending_htlcs"`
	NearestHTLCExpiryBlocks *int64 `json:"nearest_htlc_expiry_blocks"`
}

// PayoutDetail counts the payments to buyers.
type PayoutDetail struct {
	WindowSeconds              int64            `json:"window_secs"`
	Succeeded                  int64            `json:"payouts_succeeded_1h"`
	Failed                     int64            `json:"payouts_failed_1h"`
	FailedOrders               int64            `json:"payouts_failed_orders_1h"`
	FailureReasons             map[string]int64 `json:"failure_reasons_1h"`
	LastSuccessAt              *int64           `json:"last_payout_success_at"`
	SettledUnpaidOrders        *int64           `json:"settled_unpaid_orders"`
	StaleSettledUnpaidOrders   *int64           `json:"stale_settled_unpaid_orders"`
	OldestSettledUnpaidSeconds *int64           `json:"oldest_settled_unpaid_order_age_secs"`
	AwaitingInvoiceOrders      *int64           `json:"awaiting_buyer_invoice_orders"`
}

// DevFeeDetail counts the payments of the development fee.
type DevFeeDetail struct {
	Pending *int64 `json:"pending"`
	Failed  int64  `json:"failed_1h"`
}

// RelayDetail is the state of the node's relays.
type RelayDetail struct {
	Configured          int64  `json:"configured"`
	Connected           int64  `json:"connected"`
	LastOutageStartedAt *int64 `json:"last_outage_started_at"`
	LastOutageEndedAt   *int64 `json:"last_outage_ended_at"`
}

// MaintenanceDetail states whether the node takes new orders.
type MaintenanceDetail struct {
	Enabled bool    `json:"enabled"`
	Reason  *string `json:"reason"`
}

// JSON returns the text that a node encrypts for its watchdog. It returns an error if the
// text is above the protocol's limit of 32 KiB.
func (d HealthDetail) JSON() ([]byte, error) {
	d.Version = 1
	if d.Payouts != nil && d.Payouts.FailureReasons == nil {
		p := *d.Payouts
		p.FailureReasons = map[string]int64{} // {} and not null
		d.Payouts = &p
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(d); err != nil {
		return nil, err
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
	if len(text) > maxHealthDetail {
		return nil, fmt.Errorf("health detail of %d bytes, the limit is %d", len(text), maxHealthDetail)
	}
	return text, nil
}

// ParseHealthDetail parses the decrypted content of a Health.
func ParseHealthDetail(text []byte) (HealthDetail, error) {
	if len(text) > maxHealthDetail {
		return HealthDetail{}, fmt.Errorf("health detail of %d bytes, the limit is %d", len(text), maxHealthDetail)
	}
	var d HealthDetail
	if err := json.Unmarshal(text, &d); err != nil {
		return HealthDetail{}, fmt.Errorf("health detail: %w", err)
	}
	if d.Version != 1 {
		return HealthDetail{}, fmt.Errorf("health detail of version %d, want 1", d.Version)
	}
	return d, nil
}
