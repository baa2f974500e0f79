package web

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// JSON of the public API. Each time has two fields, unix seconds and RFC 3339. An unknown
// value is null and never 0.

// views makes the JSON views of orders and instances, from which the API answers and the
// explorer makes its pages. It has no state of its own.
type views struct {
	index     *indexer.Index
	summaries Summaries // nil: no reputations are shown; set by Site.Show before the first request
}

type orderView struct {
	Pubkey         string        `json:"pubkey" source:"author of the event"`
	D              string        `json:"d" source:"tag d"`
	Kind           string        `json:"kind"`
	Side           *string       `json:"side" source:"tag k" null:"not stated"`
	Status         *string       `json:"status" source:"tag s" null:"a status that no dialect explains"`
	Fiat           *string       `json:"fiat" source:"tag f" null:"not stated"`
	FiatAmount     *rangeView    `json:"fiat_amount" source:"tag fa" null:"not stated"`
	AmountSats     *int64        `json:"amount_sats" source:"tag amt" null:"market price, or not stated"`
	PremiumPct     *string       `json:"premium_pct" source:"tag premium" null:"not stated"`
	Methods        []string      `json:"methods" source:"tag pm"`
	Platform       *string       `json:"platform" source:"tag y" null:"not stated"`
	Instance       authorView    `json:"instance"`
	Network        *string       `json:"network" source:"tag network" null:"not stated"`
	Layer          []string      `json:"layer" source:"tag layer"`
	MakerRating    *ratingView   `json:"maker_rating" source:"tag rating" null:"not stated"`
	ExpiresAt      *int64        `json:"expires_at" source:"tags expires_at and expiration" null:"the order does not expire"`
	ExpiresAtRFC   *string       `json:"expires_at_rfc3339" source:"tags expires_at and expiration" null:"the order does not expire"`
	FirstSeenAt    *int64        `json:"first_seen_at" doc:"time at which this relay received the first version" source:"this relay"`
	FirstSeenAtRFC *string       `json:"first_seen_at_rfc3339" source:"this relay"`
	UpdatedAt      *int64        `json:"updated_at" doc:"created_at of the newest version" source:"created_at of the event"`
	UpdatedAtRFC   *string       `json:"updated_at_rfc3339" source:"created_at of the event"`
	PublishedAt    *int64        `json:"published_at" source:"tag published_at" null:"not stated"`
	PublishedAtRFC *string       `json:"published_at_rfc3339" source:"tag published_at" null:"not stated"`
	EventID        string        `json:"event_id" source:"id of the event"`
	Source         *string       `json:"source" doc:"link as the publisher wrote it, not checked" source:"tag source" null:"not stated"`
	TakeLink       *string       `json:"take_link" doc:"source, if the order can be taken and the link has the form that its platform promises" source:"tag source" null:"the order cannot be taken, or the link has another form"`
	Description    *string       `json:"description" source:"content" null:"not stated"`
	CashuMintURL   *string       `json:"cashu_mint_url,omitempty" doc:"mint of the escrow, not checked; absent: Lightning" source:"tag"`
	ReceivedBy     string        `json:"received_by" doc:"name of the source from which the newest version arrived" source:"this relay"`
	VersionsKnown  int           `json:"versions" source:"this relay"`
	Price          *priceView    `json:"price" source:"computed" null:"the order is not on offer"`
	History        []versionView `json:"history,omitempty"`
	HistoryCursor  *string       `json:"history_cursor,omitempty" doc:"of older versions"`
}

type rangeView struct {
	Min *string `json:"min"`
	Max *string `json:"max"`
}

type authorView struct {
	Pubkey string  `json:"pubkey"`
	Name   *string `json:"name"`
	Rank   *int    `json:"rank" null:"it has no rank yet; its page says why" doc:"lower bound of how well it behaved, 0 to 100" source:"docs/reputation.md"`
	noteView
}

// noteView is a warning or remark about the author of an order.
type noteView struct {
	Unknown        bool       `json:"unknown" doc:"the order says that its author is a Mostro, but the author has published no info event"`
	New            bool       `json:"new" doc:"first seen by this relay less than seven days ago"`
	UsesNameOf     *clashView `json:"uses_name_of,omitempty" doc:"a key that this relay saw with this name first"`
	SharesNameWith *clashView `json:"shares_name_with,omitempty" doc:"a key with this name; this relay cannot tell which of both was first"`
}

type clashView struct {
	Pubkey         string  `json:"pubkey"`
	Name           string  `json:"name"`
	FirstSeenAt    *int64  `json:"first_seen_at" doc:"first seen with this name"`
	FirstSeenAtRFC *string `json:"first_seen_at_rfc3339"`
}

func viewOfNote(n *indexer.Note) noteView {
	v := noteView{Unknown: n.Unknown, New: n.New}
	if c := n.Clash; c != nil {
		other := &clashView{Pubkey: c.Pubkey, Name: c.Name}
		other.FirstSeenAt, other.FirstSeenAtRFC = timeBoth(c.Since)
		if c.Shared {
			v.SharesNameWith = other
		} else {
			v.UsesNameOf = other
		}
	}
	return v
}

// ratingView is a rating of the maker, as stated by the publisher of the order.
type ratingView struct {
	StatedBy string   `json:"stated_by" doc:"always \"publisher\""`
	Mean     *float64 `json:"mean"`
	Max      *float64 `json:"max"`
	Reviews  *int64   `json:"reviews"`
	Days     *int64   `json:"days" doc:"age of the maker's account now, if since is known; else as published"`
	Since    *int64   `json:"since,omitempty" doc:"day of the maker's first trade"`
}

type versionView struct {
	EventID       string     `json:"event_id"`
	Status        *string    `json:"status"`
	RawStatus     *string    `json:"raw_status"`
	FiatAmount    *rangeView `json:"fiat_amount"`
	AmountSats    *int64     `json:"amount_sats"`
	PremiumPct    *string    `json:"premium_pct"`
	CreatedAt     int64      `json:"created_at" doc:"time of the signature"`
	CreatedAtRFC  string     `json:"created_at_rfc3339"`
	ReceivedAt    int64      `json:"received_at" doc:"time at which this relay received the version"`
	ReceivedAtRFC string     `json:"received_at_rfc3339"`
	ReceivedBy    string     `json:"received_by"`
	Archived      bool       `json:"archived" doc:"the version was history when it arrived"`
	Withdrawn     bool       `json:"withdrawn" doc:"an event that is not an order replaced the order"`
}

type listView struct {
	Items      []orderView   `json:"items"`
	Total      int           `json:"total"`
	Facets     orders.Facets `json:"facets"`
	NextCursor *string       `json:"next_cursor"`
	*atView
}

// atView says how much of the book at a past time this relay witnessed.
type atView struct {
	At             int64         `json:"at,omitempty" unit:"unix seconds" doc:"time of the book, if the parameter at is given"`
	AtRFC          string        `json:"at_rfc3339,omitempty"`
	BeforeCoverage bool          `json:"before_coverage" doc:"this relay had witnessed no event by this time: the book holds what authors and other relays stated later"`
	Coverage       *coverageView `json:"coverage,omitempty"`
}

// priceView is what an order on offer comes to for its taker.
type priceView struct {
	FiatAmount *string  `json:"fiat_amount" unit:"fiat" null:"the order states no amount" doc:"amount of this price: the parameter fiat_amount, or else the least amount of the order"`
	Sats       *int64   `json:"sats" unit:"sats" null:"see reason" doc:"received by a taker who buys, or paid by a taker who sells, after premium and fee"`
	FeeSats    *int64   `json:"fee_sats" unit:"sats" null:"see reason" doc:"half of the fee: the taker's"`
	CostPct    *float64 `json:"cost_pct" unit:"percent" null:"fee, premium, or the rate of a fixed price is unknown" doc:"premium and half of the fee for the taker; below 0 the taker gains"`
	Reason     *string  `json:"reason" null:"sats is known" doc:"why sats is null: no_rate, no_fee, no_amount, no_premium or amount_outside"`
	Rate       *rateRef `json:"rate" null:"unknown"`
}

// rateRef is the reference rate of a price.
type rateRef struct {
	BTC        string  `json:"btc" unit:"fiat per bitcoin"`
	Source     string  `json:"source" doc:"operator: the operator's own sources; nodes: median of the newest rate of each node"`
	Nodes      int     `json:"nodes" doc:"nodes that signed a rate; 0 for the operator's"`
	At         *int64  `json:"at" unit:"unix seconds" null:"operator" doc:"created_at of the oldest of these rates"`
	AtRFC      *string `json:"at_rfc3339" null:"operator"`
	AgeSeconds int64   `json:"age_seconds" unit:"seconds"`
}

// priceOf returns the price of an order that is on offer, nil for others. amount is the amount
// that the visitor wants, NaN if it is not one number.
func (x *views) priceOf(o *mostro.Order, amount float64, now time.Time) *priceView {
	if o.Status != mostro.StatusPending || o.ExpiresAt > 0 && int64(o.ExpiresAt) <= now.Unix() {
		return nil
	}
	v, rate, fee := &priceView{}, math.NaN(), math.NaN()
	if ref, ok := x.index.Reference(o.Fiat); ok {
		rate = ref.Price
		v.Rate = &rateRef{BTC: decimalText(ref.Price), Source: ref.Source, Nodes: ref.Nodes}
		if !ref.At.IsZero() {
			v.Rate.At, v.Rate.AtRFC = timeBoth(ref.At)
			v.Rate.AgeSeconds = max(0, int64(now.Sub(ref.At).Seconds()))
		}
	}
	if f := x.index.FeeOf(o.Pubkey); f != nil {
		fee = f.Float()
	}
	lo, hi := orders.RangeOf(o.FiatAmount)
	if math.IsNaN(amount) {
		amount = lo
	}
	sats := int64(0)
	if o.AmountSats != nil {
		sats = *o.AmountSats
	}
	if cost := orders.Cost(o.Side, orders.FloatOf(o.PremiumPct), sats, lo, hi, fee, rate); !math.IsNaN(cost) {
		v.CostPct = new(math.Round(cost*1e8) / 1e6)
	}
	if !math.IsNaN(amount) {
		v.FiatAmount = new(decimalText(amount))
	}
	reason := ""
	t, ok := orders.TradeOf(o, amount, fee, rate)
	switch {
	case ok:
		v.Sats, v.FeeSats = &t.Sats, &t.Fee
	case math.IsNaN(amount) || sats > 0 && lo != hi:
		reason = "no_amount"
	case amount < lo || amount > hi:
		reason = "amount_outside"
	case math.IsNaN(fee):
		reason = "no_fee"
	case sats == 0 && o.PremiumPct == nil:
		reason = "no_premium"
	default:
		reason = "no_rate"
	}
	v.Reason = textOrNull(reason)
	return v
}

// wantedAmount returns the amount of fiat that a query names, NaN if it names none or a range.
func wantedAmount(q *orders.Query) float64 {
	if s := q.FiatAmount; s.Min != nil && s.Max != nil && *s.Min == *s.Max {
		return *s.Min
	}
	return math.NaN()
}

// ranked returns a query with min_rank as a query for the instances with such a rank.
func (x *views) ranked(q orders.Query) (orders.Query, error) {
	if q.MinRank == 0 {
		return q, nil
	}
	if x.summaries == nil {
		return q, &orders.QueryError{Param: "min_rank", Reason: "is not offered: the reputation of instances is switched off here"}
	}
	var ranked []string
	for _, info := range x.index.Infos() {
		if s, ok := x.summaries.ReputationSummary(info.Pubkey); ok && s.Unranked == "" && !s.Provisional && s.Rank >= q.MinRank {
			ranked = append(ranked, info.Pubkey)
		}
	}
	q.Among(ranked)
	return q, nil
}

// find returns a page of orders.
func (x *views) find(ctx context.Context, q orders.Query) (*indexer.Answer, error) {
	q, err := x.ranked(q)
	if err != nil {
		return nil, err
	}
	return x.index.Orders(ctx, q)
}

func textOrNull[T ~string](s T) *string {
	if s == "" {
		return nil
	}
	t := string(s)
	return &t
}

func decimalOrNull(d *mostro.Decimal) *string {
	if d == nil {
		return nil
	}
	s := d.String()
	return &s
}

// unixAndRFC returns a time in both forms, or nil and nil if there is none.
func unixAndRFC(t nostr.Timestamp) (*int64, *string) {
	if t <= 0 {
		return nil, nil
	}
	unix, text := int64(t), rfc(time.Unix(int64(t), 0))
	return &unix, &text
}

func timeBoth(t time.Time) (*int64, *string) {
	if t.IsZero() {
		return nil, nil
	}
	return unixAndRFC(nostr.Timestamp(t.Unix()))
}

func rfc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// satsOrNull returns nil for 0, which means market price and is not an amount.
func satsOrNull(n *int64) *int64 {
	if n == nil || *n <= 0 {
		return nil
	}
	return n
}

func rangeOrNull(r mostro.Range) *rangeView {
	if r.Min == nil && r.Max == nil {
		return nil
	}
	return &rangeView{decimalOrNull(r.Min), decimalOrNull(r.Max)}
}

func listOf(all []string) []string {
	if all == nil {
		return []string{}
	}
	return all
}

// orderView returns the JSON of an order. amount is the amount of fiat of its price, NaN for
// the least amount of the order.
func (x *views) orderView(r *orders.Record, amount float64) orderView {
	o, now := &r.Order, x.index.Now()
	note := x.index.NoteOf(o.Pubkey, o.Platform)
	v := orderView{
		Pubkey: o.Pubkey, D: o.D, Kind: "38383",
		Side: textOrNull(o.Side), Status: textOrNull(o.Status), Fiat: textOrNull(o.Fiat),
		FiatAmount: rangeOrNull(o.FiatAmount), AmountSats: satsOrNull(o.AmountSats), PremiumPct: decimalOrNull(o.PremiumPct),
		Methods: listOf(o.Methods), Platform: textOrNull(o.Platform),
		Instance: authorView{o.Pubkey, textOrNull(x.index.NameFor(o)), x.rankOf(o.Pubkey), viewOfNote(&note)}, TakeLink: textOrNull(note.TakeLink(&r.Version, now)),
		Network: textOrNull(o.Network), Layer: listOf(o.Layers),
		EventID: o.EventID, Source: textOrNull(o.Link), Description: textOrNull(o.Description),
		ReceivedBy: r.Source.String(), VersionsKnown: r.Versions, CashuMintURL: textOrNull(o.CashuMintURL),
		Price: x.priceOf(o, amount, now),
	}
	v.ExpiresAt, v.ExpiresAtRFC = unixAndRFC(o.ExpiresAt)
	v.FirstSeenAt, v.FirstSeenAtRFC = timeBoth(r.FirstSeenAt)
	v.UpdatedAt, v.UpdatedAtRFC = unixAndRFC(o.CreatedAt)
	v.PublishedAt, v.PublishedAtRFC = unixAndRFC(o.PublishedAt)
	if m := o.MakerRating; m != nil {
		v.MakerRating = &ratingView{StatedBy: "publisher", Mean: m.Mean, Reviews: m.Reviews, Days: m.AgeDays(nostr.Timestamp(now.Unix()))}
		if m.Since > 0 {
			v.MakerRating.Since = new(int64(m.Since))
		}
		if m.Max > 0 {
			v.MakerRating.Max = &m.Max
		}
	}
	return v
}

func versionViews(all []*orders.Version) []versionView {
	out := make([]versionView, 0, len(all))
	for _, v := range all {
		o := &v.Order
		out = append(out, versionView{
			EventID: o.EventID, Status: textOrNull(o.Status), RawStatus: textOrNull(o.RawStatus),
			FiatAmount: rangeOrNull(o.FiatAmount), AmountSats: satsOrNull(o.AmountSats), PremiumPct: decimalOrNull(o.PremiumPct),
			CreatedAt: int64(o.CreatedAt), CreatedAtRFC: rfc(time.Unix(int64(o.CreatedAt), 0)),
			ReceivedAt: v.ReceivedAt.Unix(), ReceivedAtRFC: rfc(v.ReceivedAt), ReceivedBy: v.Source.String(),
			Archived: v.Archived, Withdrawn: v.Withdrawn,
		})
	}
	return out
}

type instanceView struct {
	Pubkey            string         `json:"pubkey"`
	Name              *string        `json:"name"`
	About             *string        `json:"about"`
	Website           *string        `json:"website"`
	Picture           *string        `json:"picture"`
	Version           *string        `json:"version"`
	Fee               *string        `json:"fee" doc:"fraction of the amount, both sides together"`
	MinOrderSats      *int64         `json:"min_order_sats"`
	MaxOrderSats      *int64         `json:"max_order_sats"`
	Currencies        []string       `json:"currencies" null:"not stated"`
	AnyCurrency       bool           `json:"any_currency"`
	ExpirationHours   *int64         `json:"expiration_hours"`
	ProtocolVersion   *int           `json:"protocol_version"`
	Pow               *int64         `json:"pow"`
	Bond              *bondView      `json:"bond" doc:"null: not stated"`
	EscrowMode        string         `json:"escrow_mode"`
	LightningAlias    *string        `json:"lightning_alias"`
	LightningNetworks []string       `json:"lightning_networks" null:"not stated"`
	Maintenance       *bool          `json:"maintenance"`
	Health            *healthView    `json:"health" doc:"the newest kind 38389; null: none"`
	Relays            []string       `json:"relays" null:"not stated"`
	Orders            map[string]int `json:"orders" doc:"by status of the newest version"`
	Fiats             map[string]int `json:"fiats"`
	Trades            int            `json:"trades" doc:"orders with status success"`
	VolumeSats        *int64         `json:"volume_sats" doc:"sum of the successful orders that state an amount"`
	Disputes          map[string]int `json:"disputes"`
	FirstSeenAt       *int64         `json:"first_seen_at"`
	FirstSeenAtRFC    *string        `json:"first_seen_at_rfc3339"`
	noteView                         // field unknown is always false here
	LastSeenAt        *int64         `json:"last_seen_at"`
	LastSeenAtRFC     *string        `json:"last_seen_at_rfc3339"`
	InfoAt            *int64         `json:"info_at" doc:"created_at of the newest info"`
	InfoAtRFC         *string        `json:"info_at_rfc3339"`
	InfoEventID       string         `json:"info_event_id"`

	Rank       *int            `json:"rank" doc:"null: unknown, or no event was witnessed"`
	Reputation *reputationView `json:"reputation" doc:"null: unknown"`
}

type bondView struct {
	Enabled  bool    `json:"enabled"`
	Fraction *string `json:"fraction"`
	BaseSats *int64  `json:"base_sats"`
	ApplyTo  *string `json:"apply_to"`
}

type healthView struct {
	Status    string            `json:"status" doc:"ok, degraded, down or unknown; down if the event has expired"`
	Checks    map[string]string `json:"checks" doc:"ok, warn, fail or unknown, by name; empty if the event has expired"`
	At        *int64            `json:"at" doc:"created_at of the event"`
	AtRFC     *string           `json:"at_rfc3339"`
	ExpiresAt *int64            `json:"expires_at"`
	ExpiryRFC *string           `json:"expires_at_rfc3339"`
}

// viewOfHealth returns the health of a Mostro at a time. A Mostro publishes its health every few
// minutes at most, so one whose newest event has expired is down.
func viewOfHealth(h *mostro.Health, now time.Time) *healthView {
	if h == nil {
		return nil
	}
	v := &healthView{Status: cmp.Or(string(h.Status), "unknown"), Checks: map[string]string{}}
	v.At, v.AtRFC = unixAndRFC(h.CreatedAt)
	v.ExpiresAt, v.ExpiryRFC = unixAndRFC(h.Expiration)
	if h.Expiration != 0 && int64(h.Expiration) <= now.Unix() {
		v.Status = string(mostro.HealthDown)
		return v
	}
	for _, c := range h.Checks {
		v.Checks[c.Name] = string(c.State)
	}
	return v
}

// publisherView is an author of orders without an info event. A publisher belongs to the
// platform that its orders state.
type publisherView struct {
	Pubkey   string  `json:"pubkey"`
	Name     *string `json:"name"`
	Platform *string `json:"platform" doc:"platform of most of its orders"`
	Orders   int     `json:"orders"`
}

type instanceList struct {
	Items      []instanceView  `json:"items"`
	Total      int             `json:"total"`
	NextCursor *string         `json:"next_cursor"`
	Publishers []publisherView `json:"publishers" doc:"at most 500, those with most orders"`
}

func viewOf(in *indexer.Instance, now time.Time) *instanceView {
	i := in.Info
	v := &instanceView{
		Pubkey: in.Pubkey, Name: textOrNull(in.Name), Version: textOrNull(i.Version), Fee: decimalOrNull(i.Fee),
		MinOrderSats: i.MinOrderSats, MaxOrderSats: i.MaxOrderSats, Currencies: i.Currencies, AnyCurrency: i.AnyCurrency,
		ExpirationHours: i.ExpirationHours, Pow: i.Pow, EscrowMode: cmp.Or(i.EscrowMode, "lightning"), Maintenance: i.Maintenance,
		Orders: map[string]int{}, Fiats: in.Fiats, Disputes: map[string]int{},
		Trades: in.Trades, InfoEventID: i.EventID,
	}
	if i.ProtocolVersion > 0 {
		v.ProtocolVersion = &i.ProtocolVersion
	}
	if in.VolumeSats > 0 || v.Trades == 0 {
		v.VolumeSats = &in.VolumeSats
	}
	if p := in.Profile; p != nil {
		v.About, v.Website, v.Picture = textOrNull(p.About), textOrNull(p.Website), textOrNull(p.Picture)
	}
	if b := i.Bond; b != nil {
		v.Bond = &bondView{b.Enabled, decimalOrNull(b.AmountPct), b.BaseSats, textOrNull(b.ApplyTo)}
	}
	v.Health = viewOfHealth(in.Health, now)
	if n := i.LND; n != nil {
		v.LightningAlias, v.LightningNetworks = textOrNull(n.Alias), n.Networks
	}
	if in.Relays != nil {
		v.Relays = []string{}
		for _, r := range in.Relays.Relays {
			v.Relays = append(v.Relays, r.URL)
		}
	}
	for status, n := range in.Orders {
		v.Orders[cmp.Or(string(status), "unknown")] = n
	}
	for state, n := range in.Disputes {
		v.Disputes[cmp.Or(string(state), "unknown")] = n
	}
	v.noteView = viewOfNote(&in.Note)
	v.FirstSeenAt, v.FirstSeenAtRFC = timeBoth(in.FirstSeen)
	v.LastSeenAt, v.LastSeenAtRFC = timeBoth(in.LastSeen)
	v.InfoAt, v.InfoAtRFC = unixAndRFC(i.CreatedAt)
	return v
}

// shownOrder returns the order with the path value d of a request, if the rules do not
// hide the order, and a page of its versions. The parameters limit and cursor select the
// page. next is the cursor of older versions, or "" if there are none.
func (x *views) shownOrder(r *http.Request, pubkey string) (record *orders.Record, versions []*orders.Version, next string, err error) {
	limit, cursor := historyLimit, ""
	for name, values := range r.URL.Query() {
		value := strings.TrimSpace(values[len(values)-1])
		switch {
		case value == "" || name == "include":
		case name == "cursor":
			cursor = value
		case name == "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > orders.MaxLimit {
				return nil, nil, "", &orders.QueryError{Param: "limit", Reason: fmt.Sprintf("%q is not a whole number from 1 to %d", value, orders.MaxLimit)}
			}
			limit = n
		default:
			return nil, nil, "", &orders.QueryError{Param: name, Reason: "unknown parameter; known are limit, cursor and include"}
		}
	}
	return x.index.History(r.Context(), pubkey, r.PathValue("d"), cursor, limit, wantsSpam(r))
}

// wantsSpam reports whether a request asks for quarantined keys as well.
