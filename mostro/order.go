package mostro

import "github.com/nbd-wtf/go-nostr"

// Order is the public advertisement of a trade: one version of one address
// (kind, pubkey, d), as its event says it, brought to one vocabulary.
//
// Absent and unknown values are the zero value of their type or nil; they are
// never guessed.
type Order struct {
	EventID   string // hex
	Pubkey    string // author, hex: the instance
	D         string // first d tag
	CreatedAt nostr.Timestamp

	Platform     string // first y value, lower-cased, aliases resolved ("mostrop2p" is "mostro"); "" unknown
	InstanceName string // second y value where the platform puts the instance there

	Side      Side   // the maker's side
	Status    Status // public bucket
	RawStatus string // status as published, in kebab-case

	Fiat       string   // upper case: ISO 4217 and the extras in use
	FiatAmount Range    // zero when not stated; Peach states the price in the offer's first currency, whatever Fiat is
	AmountSats *int64   // nil unknown; 0 means "at market price"; HodlHodl states the maximum
	PremiumPct *Decimal // percent, signed; nil when not stated
	Methods    []string // payment methods, trimmed, in the maker's order
	Network    string   // "mainnet", "testnet", ...; "" unknown
	Layers     []string // "lightning", "onchain", "liquid"

	MakerRating *MakerRating // nil when not stated
	MakerName   string
	Bond        *Bond
	Geohash     string

	PublishedAt nostr.Timestamp // when the order was first listed, as the publisher says; 0 unknown
	// ExpiresAt is the end of the take window (expires_at, else expiration);
	// 0 unknown. Peach and HodlHodl publish nothing when an offer goes away:
	// there it is the only sign of life. lnp2pBot moves it on at every
	// version. A Mostro's pending order may already be taken (a sell order
	// taken with an invoice shows nothing until its end).
	ExpiresAt   nostr.Timestamp
	Expiration  nostr.Timestamp // NIP-40; 0 none
	Link        string          // the source tag: URL or mostro: URI
	Description string          // the content, where a dialect uses it
}

// Address gives the order's identity, "38383:<pubkey>:<d>". Platforms reuse
// each other's forms of d, so d alone identifies nothing.
func (o Order) Address() string { return "38383:" + o.Pubkey + ":" + o.D }

// Side is the maker's side of an order: a maker who sells gives sats.
type Side string

const (
	SideBuy  Side = "buy"
	SideSell Side = "sell"
)

// Status is the public bucket of an order (NIP-69). StatusUnknown is an order
// whose status no dialect explains.
type Status string

const (
	StatusUnknown    Status = ""
	StatusPending    Status = "pending"
	StatusInProgress Status = "in-progress"
	StatusSuccess    Status = "success"
	StatusCanceled   Status = "canceled"
	StatusExpired    Status = "expired"
	// StatusGone is RoboSats' "success": the order is no longer public, and
	// nothing says whether it was traded, cancelled or expired.
	StatusGone Status = "gone"
)

// Final says whether no later version is expected.
func (s Status) Final() bool {
	return s == StatusSuccess || s == StatusCanceled || s == StatusExpired || s == StatusGone
}

// Range is a fiat amount; Min equals Max for a fixed one. Both are nil when
// the event states none.
type Range struct{ Min, Max *Decimal }

// MakerRating is what the publisher says of the maker. Scale differs by
// platform; Max says the top of it where known.
type MakerRating struct {
	Mean    *float64 // nil when none is stated, and when Reviews is 0: a mean of nothing is not zero
	Max     float64  // top of the scale: 5 for Mostro and lnp2pBot, 1 for Peach and HodlHodl; 0 unknown
	Reviews *int64   // HodlHodl counts trades
	Days    *int64   // age of the maker's account
}

// Bond is what a party must lock to trade, in the unit its platform uses.
type Bond struct {
	Sats    *int64   // NIP-69
	Percent *Decimal // RoboSats
}
