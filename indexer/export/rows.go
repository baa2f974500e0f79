package export

import (
	"time"
)

// Receipt holds the columns that every row has.
type Receipt struct {
	ReceivedAt     time.Time `parquet:"received_at,timestamp(millisecond)" export:"received_at" doc:"time at which this relay received the event; the month of a partition is that of this time, in UTC"`
	Road           string    `parquet:"road,dict" export:"road" doc:"road on which the event arrived: client (a socket of this relay), live (a subscription to another relay), self, backfill (catching up from another relay) or import (a file)"`
	Relay          string    `parquet:"relay,optional,dict" export:"relay" null:"the road is client, self or import" doc:"address of the other relay"`
	Witnessed      bool      `parquet:"witnessed" export:"witnessed" doc:"the event was received when it was published (roads client, live and self)"`
	BeforeCoverage bool      `parquet:"before_coverage" export:"before_coverage" doc:"created_at lies before the first event that this relay witnessed: what is missing from that time is unknown"`
}

// Offer holds the columns of one state of an order.
type Offer struct {
	Pubkey       string     `parquet:"pubkey,dict" export:"pubkey" doc:"key of the publisher, 64 hex digits"`
	D            string     `parquet:"d" export:"d" doc:"tag d; pubkey and d identify the order"`
	EventID      string     `parquet:"event_id" export:"event_id" doc:"id of the signed event, 64 hex digits"`
	CreatedAt    time.Time  `parquet:"created_at,timestamp(millisecond)" export:"created_at" doc:"time of the signature, as the author states it"`
	Platform     string     `parquet:"platform,optional,dict" export:"platform" null:"not stated" doc:"mostro, robosats, lnp2pbot, ..."`
	InstanceName string     `parquet:"instance_name,optional,dict" export:"instance_name" null:"not stated" doc:"name that the event states; anyone may state any name"`
	Network      string     `parquet:"network,optional,dict" export:"network" null:"not stated" doc:"mainnet, testnet, signet or regtest"`
	Side         string     `parquet:"side,optional,dict" export:"side" null:"not stated" doc:"side of the maker: buy or sell"`
	Status       string     `parquet:"status,optional,dict" export:"status" null:"a status that no dialect explains" doc:"pending, in-progress, success, canceled, expired or gone"`
	Fiat         string     `parquet:"fiat,optional,dict" export:"fiat" null:"not stated" doc:"currency code"`
	FiatMin      *float64   `parquet:"fiat_min,optional" export:"fiat_min" unit:"fiat" null:"not stated" doc:"least amount of fiat; equal to fiat_max if the amount is fixed"`
	FiatMax      *float64   `parquet:"fiat_max,optional" export:"fiat_max" unit:"fiat" null:"not stated" doc:"greatest amount of fiat"`
	AmountSats   *int64     `parquet:"amount_sats,optional" export:"amount_sats" unit:"sats" null:"not stated" doc:"amount of the trade; 0: at the market price, not fixed yet"`
	PremiumPct   *float64   `parquet:"premium_pct,optional" export:"premium_pct" unit:"percent" null:"not stated" doc:"premium on the market price"`
	Methods      []string   `parquet:"methods,list" export:"methods" doc:"payment methods as the maker writes them, at most 32"`
	Layers       []string   `parquet:"layers,list" export:"layers" doc:"lightning, onchain, liquid"`
	RatingMean   *float64   `parquet:"rating_mean,optional" export:"rating_mean" null:"not stated" doc:"mean rating of the maker, as the publisher states it"`
	RatingMax    *float64   `parquet:"rating_max,optional" export:"rating_max" null:"unknown" doc:"top of the scale of rating_mean"`
	Reviews      *int64     `parquet:"reviews,optional" export:"reviews" null:"not stated" doc:"number of ratings of the maker"`
	AccountDays  *int64     `parquet:"account_days,optional" export:"account_days" unit:"days" null:"not stated" doc:"age of the maker's account when the event was signed"`
	ExpiresAt    *time.Time `parquet:"expires_at,optional,timestamp(millisecond)" export:"expires_at" null:"not stated" doc:"end of the time in which the order can be taken"`
}

// HistoryRow is one version of an order.
type HistoryRow struct {
	Receipt
	Offer
	RawStatus   string     `parquet:"raw_status,optional,dict" export:"raw_status" null:"not stated" doc:"status as published"`
	PublishedAt *time.Time `parquet:"published_at,optional,timestamp(millisecond)" export:"published_at" null:"not stated" doc:"time of the first listing, as the publisher states it"`
	Expiration  *time.Time `parquet:"expiration,optional,timestamp(millisecond)" export:"expiration" null:"not stated" doc:"tag expiration (NIP-40)"`
	Source      string     `parquet:"source,optional" export:"source" null:"not stated" doc:"link as the publisher wrote it, not checked"`
	Description string     `parquet:"description,optional" export:"description" null:"not stated" doc:"content of the event, at most 4000 bytes"`
	Archived    bool       `parquet:"archived" export:"archived" doc:"the version was history when it arrived"`
	Withdrawn   bool       `parquet:"withdrawn" export:"withdrawn" doc:"an event that is no order replaced the order"`
	Seq         int64      `parquet:"seq" export:"seq" doc:"position in the log of this relay"`
}

// OrderRow is the state of an order at the end of the time that an export covers.
type OrderRow struct {
	Receipt
	Offer
	FirstCreatedAt  time.Time  `parquet:"first_created_at,timestamp(millisecond)" export:"first_created_at" doc:"created_at of the first version"`
	FirstReceivedAt time.Time  `parquet:"first_received_at,timestamp(millisecond)" export:"first_received_at" doc:"earliest receipt of a version"`
	TakenAt         *time.Time `parquet:"taken_at,optional,timestamp(millisecond)" export:"taken_at" null:"never seen in progress" doc:"created_at of the first version in progress"`
	SuccessAt       *time.Time `parquet:"success_at,optional,timestamp(millisecond)" export:"success_at" null:"no success was seen" doc:"created_at of the first version with status success"`
	CanceledAt      *time.Time `parquet:"canceled_at,optional,timestamp(millisecond)" export:"canceled_at" null:"neither canceled nor expired" doc:"created_at of the first version with status canceled or expired"`
	Versions        int64      `parquet:"versions" export:"versions" doc:"versions that arrived in the time of the export"`
	Withdrawn       bool       `parquet:"withdrawn" export:"withdrawn" doc:"an event that is no order replaced the order"`
}

// TradeRow is an order that was completed: its newest version has the status success. The
// receipt is that of the first success that arrived, the offer is that of the newest version.
type TradeRow struct {
	Receipt
	Offer
	FirstCreatedAt time.Time  `parquet:"first_created_at,timestamp(millisecond)" export:"first_created_at" doc:"created_at of the first version"`
	TakenAt        *time.Time `parquet:"taken_at,optional,timestamp(millisecond)" export:"taken_at" null:"never seen in progress" doc:"created_at of the first version in progress"`
	SuccessAt      time.Time  `parquet:"success_at,timestamp(millisecond)" export:"success_at" doc:"created_at of the first version with status success"`
	PriceBTC       *float64   `parquet:"price_btc,optional" export:"price_btc" unit:"fiat per bitcoin" null:"an amount is unknown, 0 or a range" doc:"fiat / sats * 100,000,000"`
}

// EventRow is one event of the log, without private messages and states of health.
type EventRow struct {
	Receipt
	ID        string    `parquet:"id" export:"id" doc:"id of the event, 64 hex digits"`
	Pubkey    string    `parquet:"pubkey,dict" export:"pubkey" doc:"author, 64 hex digits"`
	CreatedAt time.Time `parquet:"created_at,timestamp(millisecond)" export:"created_at" doc:"time of the signature, as the author states it"`
	Kind      int64     `parquet:"kind" export:"kind" doc:"kind of the event (NIP-01)"`
	KindName  string    `parquet:"kind_name,optional,dict" export:"kind_name" null:"a kind without a name here" doc:"order, dispute, info, ..."`
	D         string    `parquet:"d,optional" export:"d" null:"no tag d" doc:"tag d"`
	Tags      string    `parquet:"tags" export:"tags" doc:"tags as JSON"`
	Content   string    `parquet:"content,optional" export:"content" null:"empty" doc:"content of the event"`
	Sig       string    `parquet:"sig" export:"sig" doc:"signature, 128 hex digits"`
	Archived  bool      `parquet:"archived" export:"archived" doc:"the event was history when it arrived"`
	Seq       int64     `parquet:"seq" export:"seq" doc:"position in the log of this relay"`
}

// InstanceRow is one info event (kind 38385), in which a Mostro describes itself.
type InstanceRow struct {
	Receipt
	Pubkey          string    `parquet:"pubkey,dict" export:"pubkey" doc:"key of the node, 64 hex digits"`
	EventID         string    `parquet:"event_id" export:"event_id" doc:"id of the signed event, 64 hex digits"`
	CreatedAt       time.Time `parquet:"created_at,timestamp(millisecond)" export:"created_at" doc:"time of the signature, as the author states it"`
	Name            string    `parquet:"name,optional,dict" export:"name" null:"not stated" doc:"name that the node states; anyone may state any name"`
	Version         string    `parquet:"version,optional,dict" export:"version" null:"not stated" doc:"version of the daemon"`
	Fee             *float64  `parquet:"fee,optional" export:"fee" unit:"fraction" null:"not stated" doc:"fee of both sides together"`
	MinSats         *int64    `parquet:"min_sats,optional" export:"min_sats" unit:"sats" null:"not stated" doc:"least amount of an order"`
	MaxSats         *int64    `parquet:"max_sats,optional" export:"max_sats" unit:"sats" null:"not stated" doc:"greatest amount of an order"`
	ExpirationHours *int64    `parquet:"expiration_hours,optional" export:"expiration_hours" unit:"hours" null:"not stated" doc:"life of a pending order"`
	Currencies      []string  `parquet:"currencies,list" export:"currencies" doc:"accepted currencies"`
	AnyCurrency     bool      `parquet:"any_currency" export:"any_currency" doc:"every currency is accepted"`
	ProtocolVersion int64     `parquet:"protocol_version" export:"protocol_version" doc:"1 or 2; 0: not readable"`
	Pow             *int64    `parquet:"pow,optional" export:"pow" unit:"bits" null:"not stated" doc:"proof of work of messages (NIP-13)"`
	BondEnabled     *bool     `parquet:"bond_enabled,optional" export:"bond_enabled" null:"the daemon is older than bonds" doc:"the node asks for bonds"`
	EscrowMode      string    `parquet:"escrow_mode,optional,dict" export:"escrow_mode" null:"not stated: Lightning" doc:"lightning or cashu"`
	Maintenance     *bool     `parquet:"maintenance,optional" export:"maintenance" null:"not stated" doc:"the node takes no new orders"`
	LightningKey    string    `parquet:"lightning_key,optional,dict" export:"lightning_key" null:"not stated" doc:"key of the Lightning node, not proved"`
	Seq             int64     `parquet:"seq" export:"seq" doc:"position in the log of this relay"`
}

// StatsRow is one figure (docs/statistics.md) of one period. Its receipt is the computation:
// the road is self, and before_coverage says that the period begins before this relay
// witnessed events.
type StatsRow struct {
	Receipt
	From        time.Time `parquet:"from,timestamp(millisecond)" export:"from" doc:"begin of the period"`
	Until       time.Time `parquet:"until,timestamp(millisecond)" export:"until" doc:"end of the period, not included"`
	By          string    `parquet:"by,dict" export:"by" doc:"width of the period: hour, day, week or month"`
	Clock       string    `parquet:"clock,dict" export:"clock" doc:"signed: events are dated by created_at"`
	Metric      string    `parquet:"metric,dict" export:"metric" doc:"name of the metric, from /api/v1/stats/metrics"`
	Kind        string    `parquet:"kind,dict" export:"kind" doc:"observed, witnessed or inferred"`
	Unit        string    `parquet:"unit,dict" export:"unit" doc:"unit of the value"`
	Value       *float64  `parquet:"value,optional" export:"value" null:"no denominator, no sample, or a text" doc:"the figure"`
	Text        string    `parquet:"text,optional" export:"text" null:"the figure is a number" doc:"the figure, if it is a text"`
	Events      int64     `parquet:"events" export:"events" unit:"events" doc:"events that the figure counts"`
	LiveEvents  int64     `parquet:"live_events" export:"live_events" unit:"events" doc:"of these, the witnessed ones"`
	LogPosition int64     `parquet:"log_position" export:"log_position" doc:"position of the log up to which the figure was computed"`
}
