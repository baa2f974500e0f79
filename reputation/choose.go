package reputation

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
)

// Wish is a trade that a visitor wants to make.
type Wish struct {
	Fiat     string          // currency code in upper case
	Amount   *mostro.Decimal // amount of fiat; nil for any amount
	Sats     int64           // the amount in sats, if the visitor states it; 0 if not
	Side     mostro.Side     // buy or sell bitcoin, from the view of the visitor
	Method   string          // payment method; "" for any method
	Network  string
	Exposure string // auto, require or ignore
	Limit    int    // largest length of each list
}

// Handling of an amount above the exposure of a Mostro.
const (
	exposureAuto    = "auto"    // exclude the Mostro if another fitting Mostro secures the amount
	exposureRequire = "require" // exclude the Mostro
	exposureIgnore  = "ignore"  // warn
)

// maker returns the side of the orders that the visitor would take.
func (w *Wish) maker() mostro.Side {
	if w.Side == mostro.SideBuy {
		return mostro.SideSell
	}
	return mostro.SideBuy
}

// in returns the wanted amount and currency as text.
func (w *Wish) in() string {
	if w.Amount == nil {
		return w.Fiat
	}
	return w.Amount.String() + " " + w.Fiat
}

// ParseWish parses the parameters of GET /api/v1/choose. If a parameter is unknown,
// malformed or missing, ParseWish returns an error with a method Problem.
func ParseWish(values url.Values) (w Wish, err error) {
	w = Wish{Network: "mainnet", Exposure: exposureAuto, Limit: 50}
	oneOf := func(name, value string, known ...string) (string, error) {
		if value = strings.ToLower(value); !slices.Contains(known, value) {
			return "", badParam(name, "%q is not %s", value, strings.Join(known[:len(known)-1], ", ")+" or "+known[len(known)-1])
		}
		return value, nil
	}
	for name, all := range values {
		value := strings.TrimSpace(all[len(all)-1])
		if value == "" {
			continue
		}
		switch name {
		case "fiat":
			w.Fiat = strings.ToUpper(value)
			if len(w.Fiat) < 2 || len(w.Fiat) > 10 || strings.ContainsFunc(w.Fiat, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '0' || r > '9') }) {
				return w, badParam("fiat", "%q is not a currency code such as VES", value)
			}
		case "amount":
			d, e := mostro.ParseDecimal(value)
			if e != nil || d.Sign() <= 0 {
				return w, badParam("amount", "%q is not an amount of fiat such as 100 or 12.50", value)
			}
			w.Amount = &d
		case "sats":
			if w.Sats, err = strconv.ParseInt(value, 10, 64); err != nil || w.Sats <= 0 || w.Sats > 21e14 {
				return w, badParam("sats", "%q is not a number of sats", value)
			}
		case "side":
			side, e := oneOf(name, value, "buy", "sell")
			if e != nil {
				return w, e
			}
			w.Side = mostro.Side(side)
		case "method":
			if w.Method = value; len(value) > 100 {
				return w, badParam("method", "longer than 100 bytes")
			}
		case "network":
			if w.Network, err = oneOf(name, value, "mainnet", "testnet", "signet", "regtest"); err != nil {
				return w, err
			}
		case "exposure":
			if w.Exposure, err = oneOf(name, value, exposureAuto, exposureRequire, exposureIgnore); err != nil {
				return w, err
			}
		case "limit":
			if w.Limit, err = strconv.Atoi(value); err != nil || w.Limit < 1 || w.Limit > maxRatings {
				return w, badParam("limit", "%q is not a whole number from 1 to %d", value, maxRatings)
			}
		default:
			return w, badParam(name, "unknown parameter; known are fiat, amount, sats, side, method, network, exposure and limit")
		}
	}
	switch {
	case w.Fiat == "":
		return w, badParam("fiat", "missing: name the currency that you pay or want, such as VES")
	case w.Side == "":
		return w, badParam("side", "missing: buy, if you want bitcoin; sell, if you have it")
	}
	return w, nil
}

// Choice lists the Mostros that serve a wish, and the excluded Mostros with the reasons.
type Choice struct {
	Fiat      string          `json:"fiat" doc:"currency"`
	Amount    *mostro.Decimal `json:"amount" null:"not stated" doc:"wanted amount of fiat"`
	Side      mostro.Side     `json:"side" doc:"side of the visitor"`
	MakerSide mostro.Side     `json:"maker_side" doc:"side of the fitting orders"`
	Method    *string         `json:"method" null:"any method"`
	Network   string          `json:"network"`
	Exposure  string          `json:"exposure" doc:"auto, require or ignore"`

	Price      *Price   `json:"price" null:"there is no price"`
	AmountSats *int64   `json:"amount_sats" null:"unknown, or an offer at the market price" doc:"of an answer: the amount in sats; of an offer: its stated amount"`
	Notes      []string `json:"notes" doc:"facts about the answer as a whole"`

	SharedFlags []string `json:"shared_flags" doc:"names of warnings that all candidates have; they tell no candidate from another"`

	Candidates    []Candidate `json:"candidates" doc:"the best first"`
	Total         int         `json:"total"`
	Excluded      []Candidate `json:"excluded" doc:"with the reasons against"`
	ExcludedTotal int         `json:"excluded_total"`
}

// Candidate is one Mostro that was compared for a wish.
type Candidate struct {
	Pubkey       string          `json:"pubkey"`
	Name         *string         `json:"name" null:"the node publishes no name"`
	Rank         *int            `json:"rank" null:"there is no rank; reason says why" doc:"0 to 100"`
	Lo           *score.Micro    `json:"lo" null:"there is no rank" doc:"lower bound, 0 to 100"`
	Hi           *score.Micro    `json:"hi" null:"there is no rank" doc:"upper bound, 0 to 100"`
	BorrowedRank *int            `json:"borrowed_rank" null:"no witnesses are configured, or too few of them have a rank" doc:"rank by the receive logs of other relays"`
	Provisional  bool            `json:"provisional" doc:"the value rests on claims"`
	Reason       *string         `json:"reason" null:"there is a rank" doc:"unwitnessed, watching or clock"`
	WatchedDays  *int            `json:"watched_days" unit:"days" null:"there is no score"`
	ClaimedValue *score.Micro    `json:"claimed_value" null:"the node is not provisional" doc:"value by claims alone"`
	ExposureSats *int64          `json:"exposure_sats" null:"there is no score" doc:"amount that the evidence can secure"`
	Secured      *bool           `json:"secured" null:"the amount in sats is unknown" doc:"the evidence can secure the amount"`
	Fee          *mostro.Decimal `json:"fee" null:"the node states none" doc:"fraction of the amount, both sides together"`
	FeeSats      *int64          `json:"fee_sats" null:"unknown" doc:"half of the fee for this amount"`
	MinSats      *int64          `json:"min_order_sats" null:"the node states none"`
	MaxSats      *int64          `json:"max_order_sats" null:"the node states none"`
	Offers       int             `json:"offers" doc:"fitting offers"`
	Best         *offerView      `json:"best_offer" null:"no offer fits"`
	UsesNameOf   *string         `json:"uses_name_of" null:"no other key did" doc:"key that used the same name earlier"`
	Flags        []string        `json:"flags" doc:"names of warnings"`
	Reasons      []string        `json:"reasons" doc:"reasons for the candidate; if it is excluded, reasons against"`
	Warnings     []string        `json:"warnings" doc:"facts to know before a trade"`
	Score        string          `json:"score" doc:"path of the full score"`
	Page         string          `json:"page" doc:"path of the page"`
	score        *score.Score    // nil if there is no score
	sats         int64           // sats of this trade at this Mostro; 0 if unknown
	firm         bool            // set if sats is stated by the visitor or the offer, or follows from a verified price
	offers       []*mostro.Order // fitting offers
	anyOffers    int             // number of offers in this currency and side
	info         *mostro.Info    // the info event of the Mostro
	networks     map[string]int  // number of offers in this currency and side, by network
	against      map[string]bool // set of reasons for the exclusion: limits, exposure ...
	cost         float64         // fee and premium together, as a fraction of the amount
	unsecured    string          // warning that the record does not secure the amount; "" if there is none
}

type offerView struct {
	Pubkey       string          `json:"pubkey"`
	D            string          `json:"d" doc:"name of the order"`
	PremiumPct   *mostro.Decimal `json:"premium_pct" null:"not stated"`
	Min          *mostro.Decimal `json:"min" null:"not stated" doc:"least fiat amount"`
	Max          *mostro.Decimal `json:"max" null:"not stated" doc:"greatest fiat amount"`
	AmountSats   *int64          `json:"amount_sats" null:"unknown, or an offer at the market price" doc:"of an answer: the amount in sats; of an offer: its stated amount"`
	Methods      []string        `json:"methods" doc:"payment methods"`
	ExpiresAt    *int64          `json:"expires_at" unit:"unix seconds" null:"no end is stated"`
	ExpiresAtRFC *string         `json:"expires_at_rfc3339"`
	Page         string          `json:"page" doc:"path of the page"`
	TakeLink     *string         `json:"take_link" null:"the order has no link, or its author uses the name of another key"`
}

// facts are the input of choose.
type facts struct {
	infos  []mostro.Info
	offers []mostro.Order  // offers of the wanted side in the wanted currency
	fit    map[string]bool // addresses of the offers with the wanted method; nil for all offers
	scores map[string]score.Score
	rates  []Rate
	own    Prices         // nil if the operator has no sources
	lent   map[string]int // borrowed ranks
	whole  bool
	now    time.Time

	impostors map[string]namesake // by pubkey
}

// choose compares all Mostros for a wish. choose is a pure function.
func choose(w Wish, from facts) *Choice {
	out := &Choice{Fiat: w.Fiat, Amount: w.Amount, Side: w.Side, MakerSide: w.maker(), Method: wordsOrNull(w.Method), Network: w.Network, Exposure: w.Exposure,
		Price: price(w.Fiat, from.rates, from.scores, from.own, from.now), Notes: []string{}, SharedFlags: []string{}, Candidates: []Candidate{}, Excluded: []Candidate{}}
	note := func(format string, args ...any) { out.Notes = append(out.Notes, fmt.Sprintf(format, args...)) }
	sats, firm := w.Sats, w.Sats > 0 || out.Price != nil && out.Price.Verified
	if sats == 0 && out.Price != nil && w.Amount != nil {
		sats = out.Price.sats(w.Amount)
	}
	switch {
	case w.Amount == nil && w.Sats == 0:
		note("You named no amount: limits and exposure were not looked at.")
	case sats == 0:
		note("There is no price of bitcoin in %s just now. What %s come to in sats is unknown, so limits and exposure were compared only where an offer states its sats. You can name the sats yourself.", w.Fiat, w.in())
	case !firm:
		note("The price is unverified: %s, and anybody can. It leaves no Mostro out. You can name the sats yourself.", out.Price.doubt())
	}
	if sats > 0 {
		out.AmountSats = &sats
	}
	if !from.whole {
		note("There are very many offers: only the newest were looked at.")
	}
	by := map[string]*Candidate{}
	var all []*Candidate
	for i := range from.infos {
		c := newCandidate(&from.infos[i], from.scores)
		if rank, ok := from.lent[c.Pubkey]; ok {
			c.BorrowedRank = &rank
		}
		if of, ok := from.impostors[c.Pubkey]; ok {
			c.doubt(of)
		}
		by[c.Pubkey] = c
		all = append(all, c)
	}
	for i := range from.offers {
		o := &from.offers[i]
		if c := by[o.Pubkey]; c != nil {
			c.see(&w, o, from.fit == nil || from.fit[o.Address()], from.now)
		}
	}
	secured := false
	for _, c := range all {
		c.weigh(&w, sats, firm)
		secured = secured || len(c.against) == 0 && c.Secured != nil && *c.Secured
	}
	for _, c := range all {
		if c.Secured != nil && !*c.Secured {
			text := fmt.Sprintf("its record secures %s sats, this trade is about %s", thousands(c.exposure()), thousands(c.sats))
			if c.firm && (w.Exposure == exposureRequire || w.Exposure == exposureAuto && secured) {
				c.exclude("exposure", "%s", text)
			} else {
				c.unsecured = text + ": it could gain by running away with it"
			}
		}
	}
	slices.SortFunc(all, compareCandidates)
	out.warn(all)
	for _, c := range all {
		if len(c.against) > 0 {
			if out.ExcludedTotal++; len(out.Excluded) < w.Limit {
				out.Excluded = append(out.Excluded, *c)
			}
		} else if out.Total++; len(out.Candidates) < w.Limit {
			c.praise(&w)
			out.Candidates = append(out.Candidates, *c)
		}
	}
	if sats > 0 && !secured && out.Total > 0 {
		note("No Mostro that fits has a record that secures %s sats: a smaller trade is the safer one.", thousands(sats))
	}
	return out
}

func newCandidate(info *mostro.Info, scores map[string]score.Score) *Candidate {
	c := &Candidate{Pubkey: info.Pubkey, Name: wordsOrNull(info.Name), Fee: info.Fee, MinSats: info.MinOrderSats, MaxSats: info.MaxOrderSats, info: info,
		Flags: []string{}, Reasons: []string{}, Warnings: []string{}, networks: map[string]int{}, against: map[string]bool{},
		Score: "/api/v1/instances/" + info.Pubkey + "/score", Page: "/instances/" + info.Pubkey}
	s, ok := scores[info.Pubkey]
	if !ok {
		return c
	}
	c.score, c.Provisional, c.ExposureSats, c.Flags = &s, s.Provisional, &s.ExposureSats, flagNames(s.Flags)
	c.Reason, c.WatchedDays = wordsOrNull(s.Unranked), &s.Evidence.WitnessedDays
	switch {
	case s.Provisional:
		c.ClaimedValue = &s.Claim
	case s.Unranked == "":
		c.Rank, c.Lo, c.Hi = &s.Rank, &s.Lo, &s.Hi
	}
	return c
}

func (c *Candidate) exposure() int64 {
	if c.ExposureSats == nil {
		return 0
	}
	return *c.ExposureSats
}

// see adds an offer in the wanted currency to the fitting offers, if the offer fits.
func (c *Candidate) see(w *Wish, o *mostro.Order, ofMethod bool, now time.Time) {
	c.anyOffers++
	network := cmp.Or(o.Network, w.Network)
	c.networks[network]++
	if network != w.Network || !ofMethod || o.ExpiresAt > 0 && int64(o.ExpiresAt) <= now.Unix() {
		return
	}
	if r := o.FiatAmount; w.Amount != nil && (r.Min == nil || r.Max == nil || w.Amount.Cmp(*r.Min) < 0 || w.Amount.Cmp(*r.Max) > 0) {
		return
	}
	c.offers = append(c.offers, o)
}

func (c *Candidate) exclude(what, format string, args ...any) {
	c.against[what] = true
	c.Reasons = append(c.Reasons, fmt.Sprintf(format, args...))
}

// weigh computes the reasons against the Mostro, and its best offer. If firm is false, the
// sats follow from an unverified price. Such sats cause warnings and exclude no Mostro.
func (c *Candidate) weigh(w *Wish, sats int64, firm bool) {
	info := c.info
	c.Offers = len(c.offers)
	slices.SortStableFunc(c.offers, func(a, b *mostro.Order) int { return comparePremium(a, b, w.Side) })
	if c.Offers > 0 {
		o := c.offers[0]
		c.Best = &offerView{Pubkey: o.Pubkey, D: o.D, PremiumPct: o.PremiumPct, Min: o.FiatAmount.Min, Max: o.FiatAmount.Max, Methods: append([]string{}, o.Methods...),
			Page: "/orders/" + o.Pubkey + "/" + (&url.URL{Path: o.D}).EscapedPath()}
		if c.UsesNameOf == nil {
			c.Best.TakeLink = wordsOrNull(o.TakeLink())
		}
		if o.AmountSats != nil && *o.AmountSats > 0 {
			c.Best.AmountSats = o.AmountSats
			if !firm && w.Amount != nil {
				sats, firm = *o.AmountSats, true
			}
		}
		if o.ExpiresAt > 0 {
			c.Best.ExpiresAt, c.Best.ExpiresAtRFC = unixOrNull(o.ExpiresAt.Time())
		}
	}
	c.sats, c.firm, c.cost = sats, firm, cost(c.Fee, c.Best, w.Side)
	limit := func(format string, args ...any) {
		if firm {
			c.exclude("limits", format, args...)
		} else {
			c.Warnings = append(c.Warnings, "by an unverified price "+fmt.Sprintf(format, args...))
		}
	}
	if info.Maintenance != nil && *info.Maintenance {
		c.exclude("maintenance", "it says that it is under maintenance")
	}
	if len(info.Currencies) > 0 && !info.AnyCurrency && !slices.Contains(info.Currencies, w.Fiat) {
		c.exclude("currency", "it does not take %s, only %s", w.Fiat, strings.Join(firstFew(info.Currencies, 8), ", "))
	}
	if sats > 0 && info.MinOrderSats != nil && sats < *info.MinOrderSats {
		limit("about %s sats are below its least order of %s", thousands(sats), thousands(*info.MinOrderSats))
	}
	if sats > 0 && info.MaxOrderSats != nil && *info.MaxOrderSats > 0 && sats > *info.MaxOrderSats {
		limit("about %s sats are above its largest order of %s", thousands(sats), thousands(*info.MaxOrderSats))
	}
	if w.Network == "mainnet" && slices.Contains(c.Flags, score.FlagTestNetwork) {
		c.exclude("network", "it trades on a test network")
	}
	if c.Offers == 0 && !c.against["currency"] {
		c.excludeForOffers(w)
	}
	if sats > 0 {
		ok := c.exposure() >= sats
		c.Secured = &ok
		if c.Fee != nil {
			fee := int64(math.Round(c.Fee.Float() / 2 * float64(sats)))
			c.FeeSats = &fee
		}
	}
}

func (c *Candidate) excludeForOffers(w *Wish) {
	does := map[mostro.Side]string{mostro.SideSell: "sells", mostro.SideBuy: "buys"}[w.maker()]
	switch {
	case c.anyOffers == 0:
		c.exclude("offers", "nobody there %s bitcoin for %s just now; you could make the offer yourself", does, w.Fiat)
	case c.networks[w.Network] == 0:
		c.exclude("network", "its offers are on %s", strings.Join(slices.Sorted(keysOf(c.networks)), ", "))
	default:
		what := w.in()
		if w.Method != "" {
			what += " by " + w.Method
		}
		c.exclude("offers", "none of its %s fits %s; you could make one yourself", counted(c.anyOffers, "offer in "+w.Fiat, "offers in "+w.Fiat), what)
	}
}

// praise adds the reasons for the position of the candidate.
func (c *Candidate) praise(w *Wish) {
	say := func(format string, args ...any) { c.Reasons = append(c.Reasons, fmt.Sprintf(format, args...)) }
	switch s := c.score; {
	case s == nil:
		say("no score yet")
	case s.Unranked == score.UnrankedWatching:
		say("no rank yet: %s", s.WatchProgress())
	case c.Rank == nil && c.BorrowedRank != nil:
		say("rank %d as other relays saw it; here %s", *c.BorrowedRank, s.WhyUnranked())
	case s.Unranked != "" || s.Provisional:
		say("no rank: %s", s.WhyUnranked())
	default:
		say("rank %d of 100, between %s and %s", s.Rank, points(s.Lo), points(s.Hi))
	}
	if c.Secured != nil && *c.Secured {
		say("its record secures %s sats, more than this trade", thousands(c.exposure()))
	}
	switch {
	case c.Fee == nil:
		say("it states no fee")
	case c.FeeSats != nil:
		say("your half of its fee is about %s", counted(int(*c.FeeSats), "sat", "sats"))
	default:
		say("its fee is %s%% of the amount, half of it yours", strconv.FormatFloat(c.Fee.Float()*100, 'f', -1, 64))
	}
	if c.MinSats != nil && c.MaxSats != nil && c.sats > 0 {
		say("its orders go from %s to %s sats", thousands(*c.MinSats), thousands(*c.MaxSats))
	}
	offers := counted(c.Offers, "offer fits", "offers fit")
	if c.Best != nil && c.Best.PremiumPct != nil {
		offers += fmt.Sprintf(", the best at %s%%", c.Best.PremiumPct)
	}
	say("%s", offers)
}

// compareCandidates orders candidates. Candidates that use the name of another key come
// last. Otherwise the order is by rank. Candidates with a borrowed rank follow, by that
// rank, and then candidates without a rank, by watched days and then by claim. Candidates that are equal so far are ordered by exposure, total
// cost and number of offers.
func compareCandidates(a, b *Candidate) int {
	class := func(c *Candidate) int {
		switch {
		case c.Rank != nil:
			return 0
		case c.BorrowedRank != nil:
			return 1
		case c.Provisional:
			return 3
		case c.score != nil:
			return 2
		}
		return 4
	}
	days := func(c *Candidate) int {
		if c.Rank != nil || c.WatchedDays == nil {
			return 0
		}
		return *c.WatchedDays
	}
	rank := func(c *Candidate) int {
		switch {
		case c.Rank != nil:
			return *c.Rank
		case c.BorrowedRank != nil:
			return *c.BorrowedRank
		}
		return 0
	}
	claim := func(c *Candidate) score.Micro {
		if c.ClaimedValue == nil {
			return 0
		}
		return *c.ClaimedValue
	}
	impostor := func(c *Candidate) int {
		if c.UsesNameOf != nil {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(impostor(a), impostor(b)), cmp.Compare(class(a), class(b)), cmp.Compare(rank(b), rank(a)), cmp.Compare(days(b), days(a)), cmp.Compare(claim(b), claim(a)),
		cmp.Compare(b.exposure(), a.exposure()), cmp.Compare(a.cost, b.cost), cmp.Compare(b.Offers, a.Offers), strings.Compare(a.Pubkey, b.Pubkey))
}

// comparePremium orders offers by premium, the best for the visitor first. A buyer prefers
// a low premium and a seller prefers a high premium. Offers without a premium come last.
func comparePremium(a, b *mostro.Order, side mostro.Side) int {
	switch {
	case a.PremiumPct == nil && b.PremiumPct == nil:
		return 0
	case a.PremiumPct == nil:
		return 1
	case b.PremiumPct == nil:
		return -1
	case side == mostro.SideBuy:
		return a.PremiumPct.Cmp(*b.PremiumPct)
	}
	return b.PremiumPct.Cmp(*a.PremiumPct)
}

func firstFew(list []string, n int) []string {
	if len(list) <= n {
		return list
	}
	return append(slices.Clone(list[:n]), fmt.Sprintf("and %d more", len(list)-n))
}

func keysOf(m map[string]int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// chooser compares the Mostros. It has no state of its own.
type chooser struct {
	known  Known
	market Market
	prices Prices // nil if the operator has no sources
	now    func() time.Time
}

func (f chooser) choose(ctx context.Context, w Wish) (*Choice, error) {
	from := facts{infos: f.market.Infos(), scores: map[string]score.Score{}, now: f.now(), impostors: map[string]namesake{}, lent: map[string]int{}}
	if m, ok := f.market.(impostors); ok {
		for i := range from.infos {
			if of, name, ok := m.Impostor(from.infos[i].Pubkey); ok {
				from.impostors[from.infos[i].Pubkey] = namesake{of, name}
			}
		}
	}
	for _, s := range f.known.Scores() {
		from.scores[s.Pubkey] = s
		if rank := borrowedRank(f.known, s.Pubkey); rank != nil {
			from.lent[s.Pubkey] = *rank
		}
	}
	var err error
	if from.offers, from.whole, err = f.market.Offers(ctx, w.Fiat, w.maker(), ""); err != nil {
		return nil, err
	}
	if w.Method != "" {
		fit, whole, err := f.market.Offers(ctx, w.Fiat, w.maker(), w.Method)
		if err != nil {
			return nil, err
		}
		from.whole, from.fit = from.whole && whole, map[string]bool{}
		for i := range fit {
			from.fit[fit[i].Address()] = true
		}
	}
	from.own = f.prices
	if from.rates, err = f.market.Rates(ctx, w.Fiat); err != nil {
		return nil, err
	}
	return choose(w, from), nil
}

func (f chooser) get(r *http.Request) (any, error) {
	w, err := ParseWish(r.URL.Query())
	if err != nil {
		return nil, err
	}
	return f.choose(r.Context(), w)
}

// RateOf returns the price in the rate table of one node. ok is false if the table has
// expired, is too old or has no price in the currency.
func RateOf(evt *nostr.Event, fiat string, now time.Time) (rate Rate, ok bool) {
	table, err := mostro.ParseRates(evt)
	if err != nil {
		return Rate{}, false
	}
	at := table.CreatedAt.Time()
	if table.Expiration > 0 && int64(table.Expiration) <= now.Unix() || now.Sub(at) > maxRateAge || at.Sub(now) > 10*time.Minute {
		return Rate{}, false
	}
	price, ok := table.BTC[fiat]
	return Rate{table.Pubkey, price, at}, ok
}

// maxRateAge is the greatest age of a price. Mostros publish a new table every few
// minutes.
const maxRateAge = time.Hour
