package mostro

import "github.com/nbd-wtf/go-nostr"

// Order is the public advertisement of a trade: one version of one address (kind,
// pubkey, d), converted from the dialect of its platform to one vocabulary.
//
// A field is the zero value of its type or nil if its value is absent or unknown.
// Values are never guessed.
type Order struct {
	EventID   string // hex
	Pubkey    string // author, hex: the instance
	D         string // first d tag
	CreatedAt nostr.Timestamp

	Platform     string // first y value, lower-cased, aliases resolved ("mostrop2p" is "mostro"); "" unknown
	InstanceName string // second y value if the platform puts the instance there

	Side      Side   // the maker's side
	Status    Status // public bucket
	RawStatus string // status as published, in kebab-case

	Fiat       string   // upper case: ISO 4217 and the extras in use
	FiatAmount Range    // zero if not stated; Peach states the price in the offer's first currency, whatever Fiat is
	AmountSats *int64   // nil unknown; 0 means "at market price"; HodlHodl states the maximum
	PremiumPct *Decimal // percent, signed; nil if not stated
	Methods    []string // payment methods, trimmed, in the maker's order
	Network    string   // "mainnet", "testnet", ...; "" unknown
	Layers     []string // "lightning", "onchain", "liquid"

	MakerRating *MakerRating // nil if not stated
	MakerName   string
	Bond        *Bond
	Geohash     string

	PublishedAt nostr.Timestamp // time of the first listing, as the publisher states; 0 unknown
	// ExpiresAt is the end of the take window (the expires_at tag, or expiration if
	// absent); 0 unknown. Peach and HodlHodl publish no event when an offer ends, so
	// there ExpiresAt is the only sign of life. lnp2pBot moves it forward with every
	// version. A pending order of a Mostro may already be taken: a sell order that was
	// taken with an invoice shows no change until its end.
	ExpiresAt   nostr.Timestamp
	Expiration  nostr.Timestamp // NIP-40; 0 none
	Link        string          // the source tag: URL or mostro: URI
	Description string          // the content, if the dialect uses it

	CashuMintURL string `json:",omitempty"` // mint of the escrow on a Cashu node; "" for Lightning
}

// ListedAt returns the time of the first listing. If the publisher states none, or states
// a time after the event, ListedAt returns the time of the event.
func (o Order) ListedAt() nostr.Timestamp { return firstTime(o.PublishedAt, o.CreatedAt) }

// firstTime returns the stated time of an event's subject, or the event's own time if
// none is stated, or if the stated time is later: a subject is not younger than its event.
func firstTime(stated, event nostr.Timestamp) nostr.Timestamp {
	if stated <= 0 || stated > event {
		return event
	}
	return stated
}

// Address returns the order's identity, "38383:<pubkey>:<d>". Several platforms use the
// same forms of d, so d alone does not identify an order.
func (o Order) Address() string { return "38383:" + o.Pubkey + ":" + o.D }

// Side is the maker's side of an order. A maker with SideSell sells sats.
type Side string

const (
	SideBuy  Side = "buy"
	SideSell Side = "sell"
)

// Status is the public bucket of an order (NIP-69). StatusUnknown means that no dialect
// defines the published status.
type Status string

const (
	StatusUnknown    Status = ""
	StatusPending    Status = "pending"
	StatusInProgress Status = "in-progress"
	StatusSuccess    Status = "success"
	StatusCanceled   Status = "canceled"
	StatusExpired    Status = "expired"
	// StatusGone is RoboSats' "success": the order is no longer public. The event does
	// not tell whether the order was traded, cancelled or expired.
	StatusGone Status = "gone"
)

// Final reports whether no later version is expected.
func (s Status) Final() bool {
	return s == StatusSuccess || s == StatusCanceled || s == StatusExpired || s == StatusGone
}

// Range is a fiat amount. Min equals Max if the amount is fixed. Both are nil if the
// event states no amount.
type Range struct{ Min, Max *Decimal }

// MakerRating is the publisher's statement about the maker. The scale differs by
// platform; Max is the top of the scale if known.
type MakerRating struct {
	Mean    *float64 // nil if not stated, and if Reviews is 0: a mean of no reviews is not zero
	Max     float64  // top of the scale: 5 for Mostro and lnp2pBot, 1 for Peach and HodlHodl; 0 unknown
	Reviews *int64   // HodlHodl counts trades
	Days    *int64   // age of the maker's account at the time of the event
	// Since is the day of the maker's first trade, in unix seconds; 0 unknown. If Since is
	// stated, it is preferred to Days, which is outdated on an old event.
	Since nostr.Timestamp `json:",omitempty"`
}

// AgeDays returns the age of the maker's account in days at a time, or nil if unknown.
func (r MakerRating) AgeDays(at nostr.Timestamp) *int64 {
	if r.Since <= 0 {
		return r.Days
	}
	days := int64(max(at-r.Since, 0)) / 86400
	return &days
}

// Bond is the amount that a party must lock to trade, in the unit of its platform.
type Bond struct {
	Sats    *int64   // NIP-69
	Percent *Decimal // RoboSats
}
