package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/mostro"
)

// bookHeader is the begin of each answer about the book.
type bookHeader struct {
	At             int64        `json:"at" unit:"unix seconds" doc:"time of the book; the present is rounded up by at most ten seconds"`
	AtRFC          string       `json:"at_rfc3339"`
	Kind           string       `json:"kind" doc:"observed, or witnessed with clock=witnessed"`
	BeforeCoverage bool         `json:"before_coverage" doc:"this relay had witnessed no event by this time: the book holds what authors and other relays stated later"`
	Coverage       coverageView `json:"coverage"`
}

type marketList struct {
	bookHeader
	Items []marketItem `json:"items" doc:"most offers first"`
}

type marketItem struct {
	Fiat      string      `json:"fiat"`
	Offers    int64       `json:"offers"`
	Buy       int64       `json:"buy_offers" doc:"makers who buy bitcoin"`
	Sell      int64       `json:"sell_offers" doc:"makers who sell bitcoin"`
	Bid       *bestView   `json:"bid" null:"no offer with a known premium" doc:"highest premium of a maker who buys"`
	Ask       *bestView   `json:"ask" null:"no offer with a known premium" doc:"lowest premium of a maker who sells"`
	SpreadPct *float64    `json:"spread_pct" unit:"percent" null:"bid or ask is null" doc:"premium of the ask minus premium of the bid; below 0, the book is crossed"`
	Rate      *signedView `json:"rate" null:"no node signed a rate in the hour before"`
	Market    string      `json:"market" doc:"path of the market of this currency"`
}

type bestView struct {
	Pubkey   string      `json:"pubkey"`
	Platform string      `json:"platform"`
	LevelPct *float64    `json:"level_pct" unit:"percent" null:"unknown" doc:"premium over the signed rate"`
	Price    stats.Value `json:"price" unit:"fiat per bitcoin" null:"no signed rate"`
	EventID  *string     `json:"event_id" null:"hidden by the operator"`
	Order    *string     `json:"order" null:"hidden by the operator, or deleted" doc:"path of the order"`
}

// signedView is the newest rate of each known signer (kind 30078).
type signedView struct {
	Price      string `json:"price" unit:"fiat per bitcoin" doc:"median of the newest rate of each known signer: a node with an info event that does not use the name of another key"`
	Low        string `json:"low" unit:"fiat per bitcoin"`
	High       string `json:"high" unit:"fiat per bitcoin"`
	Nodes      int    `json:"nodes" doc:"nodes that signed one of these rates"`
	At         int64  `json:"at" unit:"unix seconds" doc:"created_at of the newest"`
	AtRFC      string `json:"at_rfc3339"`
	AgeSeconds int64  `json:"age_seconds" unit:"seconds"`
}

type marketView struct {
	marketItem
	bookHeader
	StepPct   float64            `json:"step_pct" unit:"percent"`
	Bids      []stats.DepthLevel `json:"bids" doc:"makers who buy, highest premium first"`
	Asks      []stats.DepthLevel `json:"asks" doc:"makers who sell, lowest premium first"`
	Best      []bestOfView       `json:"best" doc:"best offers of each instance"`
	Unleveled int64              `json:"unleveled" doc:"offers of a fixed price without a signed rate; no level holds these"`
	Unsized   int64              `json:"unsized" doc:"offers of unknown size; the sats of the levels leave these out"`
	Crossed   []crossedView      `json:"crossed" doc:"a maker who buys pays more than a maker who sells asks, and both name a payment method in common; greatest gap first, at most 100"`
	Whole     bool               `json:"crossed_complete" doc:"false if pairs are missing"`
	Implied   *stats.RatePoint   `json:"implied_rate" null:"no executed or open order has a price" doc:"of the hour before at"`
}

type bestOfView struct {
	Platform string    `json:"platform"`
	Pubkey   string    `json:"pubkey"`
	Bid      *bestView `json:"bid" null:"no such offer"`
	Ask      *bestView `json:"ask" null:"no such offer"`
}

type crossedView struct {
	Network string   `json:"network"`
	Buy     string   `json:"buy_event_id"`
	Sell    string   `json:"sell_event_id"`
	BuyAt   *string  `json:"buy_order" null:"deleted" doc:"path of the order"`
	SellAt  *string  `json:"sell_order" null:"deleted" doc:"path of the order"`
	Methods []string `json:"methods" doc:"payment methods in common"`
	GapPct  float64  `json:"gap_pct" unit:"percent"`
}

// Bounds of one answer about a market.
const (
	maxCrossedShown = 100
	maxBestShown    = 100
	rateAge         = 3600 // seconds: greatest age of a signed rate
	impliedTrim     = 0.1  // share of the prices that is cut off at each end
)

// askedBook parses the parameters of a question about the book.
func (x *figures) askedBook(r *http.Request, known []route.Param) (q stats.Query, values url.Values, err error) {
	values = r.URL.Query()
	if err := checkParams(values, known); err != nil {
		return q, nil, err
	}
	at, now := strings.TrimSpace(values.Get("at")), x.index.Now()
	until := roundUp(now.Unix(), bookStep)
	if at != "" {
		t, err := orders.ParseTime(at)
		if err != nil {
			return q, nil, &orders.QueryError{Param: "at", Reason: err.Error()}
		}
		if t.After(now) {
			return q, nil, &orders.QueryError{Param: "at", Reason: "lies in the future; ask for a time that has been"}
		}
		until = t.Unix()
	}
	inner := url.Values{"until": {strconv.FormatInt(until, 10)}}
	for _, p := range append(dimensionParams(), paramClock) {
		if all, ok := values[p.Name]; ok {
			inner[p.Name] = slices.Clone(all)
		}
	}
	for i, v := range inner["instance"] {
		if v = strings.TrimSpace(v); v != "" {
			if inner["instance"][i], err = orders.ParsePubkey(v); err != nil {
				return q, nil, &orders.QueryError{Param: "instance", Reason: err.Error()}
			}
		}
	}
	if q, err = stats.ParseQuery(inner, until); err != nil {
		return q, nil, err
	}
	return q, values, wellFormed(values)
}

func bookHeaderOf(b *stats.Book) bookHeader {
	h := bookHeader{At: b.At, AtRFC: rfcUnix(b.At), Kind: "observed", BeforeCoverage: b.BeforeCoverage, Coverage: coverageOf(b.Coverage)}
	if b.Clock == stats.Witnessed.String() {
		h.Kind = b.Clock
	}
	return h
}

func (x *figures) markets(r *http.Request) (any, error) {
	q, _, err := x.askedBook(r, append(dimensionParams(stats.ByFiat), paramAt, paramClock, paramInclude))
	if err != nil {
		return nil, err
	}
	return x.later(r, 0, q.Until, func(c *stats.Collector, hidden excluded) (any, error) {
		q.Exclude, q.Distrust = hidden, x.index.Distrust
		return x.marketsOf(r, c, q)
	})
}

func (x *figures) marketsOf(r *http.Request, c *stats.Collector, q stats.Query) (*marketList, error) {
	book, err := c.BookAt(q)
	if err != nil {
		return nil, err
	}
	out := &marketList{bookHeader: bookHeaderOf(&book), Items: []marketItem{}}
	byFiat := map[string]*stats.Book{}
	for _, o := range book.Offers {
		if byFiat[o.Fiat] == nil {
			byFiat[o.Fiat] = &stats.Book{At: book.At, Clock: book.Clock}
		}
		byFiat[o.Fiat].Offers = append(byFiat[o.Fiat].Offers, o)
	}
	for fiat, part := range byFiat {
		if fiat == "" {
			continue
		}
		depth, err := part.Depth(fiat, 1)
		if err != nil {
			return nil, err
		}
		item, err := x.marketItem(r, c, part, fiat, &depth, &q)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, item)
	}
	slices.SortFunc(out.Items, func(a, b marketItem) int {
		return cmp.Or(cmp.Compare(b.Offers, a.Offers), strings.Compare(a.Fiat, b.Fiat))
	})
	return out, nil
}

// marketItem returns the row of one currency. All offers of the book are in the currency.
func (x *figures) marketItem(r *http.Request, c *stats.Collector, book *stats.Book, fiat string, depth *stats.Depth, q *stats.Query) (m marketItem, err error) {
	m = marketItem{Fiat: fiat, Market: "/api/v1/market/" + url.PathEscape(fiat), Rate: signedOf(c.SignedRates(fiat, q.Until, rateAge, *q), q.Until)}
	for i := range book.Offers {
		o := &book.Offers[i]
		if o.Fiat != fiat {
			continue
		}
		m.Offers++
		if o.Side == mostro.SideBuy {
			m.Buy++
		} else {
			m.Sell++
		}
	}
	if m.Bid, err = x.best(r, depth.Bid); err != nil {
		return m, err
	}
	if m.Ask, err = x.best(r, depth.Ask); err != nil {
		return m, err
	}
	if depth.Bid != nil && depth.Ask != nil {
		m.SpreadPct = finite(depth.Ask.Level.Float() - depth.Bid.Level.Float())
	}
	return m, nil
}

// signedOf returns the view of signed rates at a time, nil if there are none.
func signedOf(all []stats.SignedRate, at int64) *signedView {
	if len(all) == 0 {
		return nil
	}
	prices := make([]float64, len(all))
	for i, r := range all {
		prices[i] = r.Price
	}
	slices.Sort(prices)
	n := len(prices)
	middle := prices[(n-1)/2]/2 + prices[n/2]/2
	return &signedView{Price: decimalText(middle), Low: decimalText(prices[0]), High: decimalText(prices[n-1]), Nodes: n,
		At: all[0].At, AtRFC: rfcUnix(all[0].At), AgeSeconds: at - all[0].At}
}

// decimalText returns a number as a decimal with at most eight places.
func decimalText(f float64) string {
	s := strconv.FormatFloat(f, 'f', 8, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func (x *figures) best(r *http.Request, b *stats.Best) (*bestView, error) {
	if b == nil {
		return nil, nil
	}
	v := &bestView{Pubkey: b.Pubkey, Platform: b.Platform, LevelPct: finite(b.Level.Float()), Price: b.Price}
	id, path, err := x.orderOf(r.Context(), b.Seq, wantsSpam(r))
	if err != nil {
		return nil, err
	}
	v.EventID, v.Order = textOrNull(id), path
	return v, nil
}

// parseFiat returns the currency in the path of a request.
func parseFiat(r *http.Request) (string, error) {
	fiat := strings.ToUpper(strings.TrimSpace(r.PathValue("fiat")))
	if len(fiat) < 2 || len(fiat) > 16 || strings.ContainsFunc(fiat, func(c rune) bool { return (c < 'A' || c > 'Z') && (c < '0' || c > '9') }) {
		return "", &orders.QueryError{Param: "fiat", Reason: "not a currency code such as VES"}
	}
	return fiat, nil
}

// numberOf returns a parameter that is a finite number.
func numberOf(values url.Values, name string, otherwise float64) (float64, error) {
	text := strings.TrimSpace(values.Get(name))
	if text == "" {
		return otherwise, nil
	}
	d, err := mostro.ParseDecimal(text)
	if err != nil {
		return 0, &orders.QueryError{Param: name, Reason: fmt.Sprintf("%q is not a decimal number", text)}
	}
	return d.Float(), nil
}

func (x *figures) market(r *http.Request) (any, error) {
	fiat, err := parseFiat(r)
	if err != nil {
		return nil, err
	}
	q, values, err := x.askedBook(r, append(dimensionParams(stats.ByFiat), paramAt, paramStep, paramClock, paramInclude))
	if err != nil {
		return nil, err
	}
	step, err := numberOf(values, "step", 1)
	if err != nil {
		return nil, err
	}
	if q.Filter == nil {
		q.Filter = stats.Filter{}
	}
	q.Filter[stats.ByFiat] = []string{fiat}
	return x.later(r, 0, q.Until, func(c *stats.Collector, hidden excluded) (any, error) {
		q.Exclude, q.Distrust = hidden, x.index.Distrust
		v, _, err := x.marketOf(r, c, fiat, step, q)
		return v, err
	})
}

// marketOf returns the market of a currency and the book that it is made of.
func (x *figures) marketOf(r *http.Request, c *stats.Collector, fiat string, step float64, q stats.Query) (*marketView, *stats.Book, error) {
	book, err := c.BookAt(q)
	if err != nil {
		return nil, nil, err
	}
	depth, err := book.Depth(fiat, step)
	if err != nil {
		return nil, nil, err
	}
	out := &marketView{bookHeader: bookHeaderOf(&book), StepPct: step, Bids: depth.Bids, Asks: depth.Asks, Unleveled: depth.Unleveled, Unsized: depth.Unsized,
		Best: []bestOfView{}, Crossed: []crossedView{}}
	if out.marketItem, err = x.marketItem(r, c, &book, fiat, &depth, &q); err != nil {
		return nil, nil, err
	}
	if out.Bids == nil {
		out.Bids = []stats.DepthLevel{}
	}
	if out.Asks == nil {
		out.Asks = []stats.DepthLevel{}
	}
	for _, b := range depth.ByKey[:min(len(depth.ByKey), maxBestShown)] {
		v := bestOfView{Platform: b.Platform, Pubkey: b.Pubkey}
		if v.Bid, err = x.best(r, b.Bid); err != nil {
			return nil, nil, err
		}
		if v.Ask, err = x.best(r, b.Ask); err != nil {
			return nil, nil, err
		}
		out.Best = append(out.Best, v)
	}
	pairs, whole := book.Crossed()
	out.Whole = whole && len(pairs) <= maxCrossedShown
	for _, p := range pairs[:min(len(pairs), maxCrossedShown)] {
		v := crossedView{Network: p.Network, Methods: p.Methods, GapPct: p.Gap}
		if v.Buy, v.BuyAt, err = x.orderOf(r.Context(), p.Buy, wantsSpam(r)); err != nil {
			return nil, nil, err
		}
		if v.Sell, v.SellAt, err = x.orderOf(r.Context(), p.Sell, wantsSpam(r)); err != nil {
			return nil, nil, err
		}
		if v.Buy != "" && v.Sell != "" {
			out.Crossed = append(out.Crossed, v)
		}
	}
	q.From = q.Until - 3600 // the implied rate of the buckets that end last
	points, err := c.ImpliedRates(fiat, q, stats.Hour, impliedTrim)
	if err != nil {
		return nil, nil, err
	}
	for i := range points {
		if p := &points[len(points)-1-i]; !p.Rate.IsNull() {
			out.Implied = p
			break
		}
	}
	return out, &book, nil
}

// orderOf returns the id of the event at a position, "" if the operator hides the event, and the
// path of its order, nil if the event is deleted.
func (x *figures) orderOf(ctx context.Context, seq uint64, spam bool) (id string, path *string, err error) {
	e, err := x.index.EntryAt(ctx, seq, spam)
	if errors.Is(err, mostro.ErrNotFound) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	if !e.Erased {
		path = new("/api/v1/orders/" + orderPath(e.Event.PubKey, e.Event.Tags.GetD()))
	}
	return e.Event.ID, path, nil
}

// marketSeries is a series of implied rates, or of a metric of one currency.
type marketSeries struct {
	header
	Fiat   string            `json:"fiat"`
	Metric string            `json:"metric"`
	Kind   string            `json:"kind"`
	By     string            `json:"by"`
	Rates  []stats.RatePoint `json:"rates,omitempty" doc:"points of implied_rate, oldest first"`
	Points []pointView       `json:"points,omitempty" doc:"points of another metric, oldest first"`
}

const impliedRate = "implied_rate"

func (x *figures) marketSeries(r *http.Request) (any, error) {
	fiat, err := parseFiat(r)
	if err != nil {
		return nil, err
	}
	known := append([]route.Param{{Name: "metric"}, paramBy, {Name: "trim"}, paramFrom, paramUntil, paramClock, paramInclude}, dimensionParams(stats.ByFiat)...)
	q, values, err := x.asked(r, known)
	if err != nil {
		return nil, err
	}
	by, err := bucketsOf(values, &q)
	if err != nil {
		return nil, err
	}
	trim, err := numberOf(values, "trim", impliedTrim)
	if err != nil {
		return nil, err
	}
	if q.Filter == nil {
		q.Filter = stats.Filter{}
	}
	q.Filter[stats.ByFiat] = []string{fiat}
	metric := cmp.Or(strings.TrimSpace(values.Get("metric")), impliedRate)
	return x.later(r, q.From, q.Until, func(c *stats.Collector, hidden excluded) (any, error) {
		q.Exclude, q.Distrust = hidden, x.index.Distrust
		if metric == impliedRate {
			points, err := c.ImpliedRates(fiat, q, by, trim)
			if err != nil {
				return nil, err
			}
			return &marketSeries{header: x.header(c, &q), Fiat: fiat, Metric: metric, Kind: "inferred", By: string(by), Rates: points}, nil
		}
		s, err := x.seriesOf(c, metric, q, by)
		if err != nil {
			return nil, err
		}
		out := &marketSeries{header: s.header, Fiat: fiat, Metric: metric, By: string(by), Points: s.Points}
		if len(s.Points) > 0 {
			out.Kind = s.Points[0].Kind
		}
		return out, nil
	})
}

// instancesAt is the directory as it was at a past time.
type instancesAt struct {
	bookHeader
	Items []instanceAt `json:"items" doc:"instances whose info this relay holds from before that time, most completed orders first"`
	Total int          `json:"total"`
}

type instanceAt struct {
	Pubkey    string       `json:"pubkey"`
	Policy    stats.Policy `json:"policy" doc:"in force at that time"`
	PolicyAt  int64        `json:"policy_at" unit:"unix seconds" doc:"created_at of the first info with this policy"`
	Completed stats.Value  `json:"completed" unit:"orders" doc:"orders.completed up to that time"`
	Volume    stats.Value  `json:"volume_sats" unit:"sats" null:"above 2^63-1" doc:"volume.sats up to that time"`
	Open      stats.Value  `json:"open_orders" unit:"orders" doc:"orders.open_now"`
	Disputes  stats.Value  `json:"disputes" unit:"disputes" doc:"disputes.opened up to that time"`
	Stats     string       `json:"stats" doc:"path of all metrics at that time"`
}

// maxInstancesAt bounds the instances of one answer about a past time.
const maxInstancesAt = 500

// instancesAt answers GET /api/v1/instances with the parameter at.
func (x *figures) instancesAt(r *http.Request) (any, error) {
	q, _, err := x.askedBook(r, []route.Param{paramAt, paramClock, paramInclude})
	if err != nil {
		return nil, err
	}
	at := q.Until
	q.From = 0
	return x.later(r, 0, at, func(c *stats.Collector, hidden excluded) (any, error) {
		q.Exclude, q.Distrust = hidden, x.index.Distrust
		book, err := c.BookAt(stats.Query{Until: at, Clock: q.Clock, Exclude: hidden, Filter: stats.Filter{stats.ByFiat: {"-"}}})
		if err != nil {
			return nil, err
		}
		out := &instancesAt{bookHeader: bookHeaderOf(&book), Items: []instanceAt{}}
		by := map[string]*instanceAt{}
		held, err := c.Instances(q)
		if err != nil {
			return nil, err
		}
		for _, k := range held {
			by[k.Pubkey] = &instanceAt{Pubkey: k.Pubkey, Policy: k.Policy, PolicyAt: k.At,
				Stats: "/api/v1/instances/" + k.Pubkey + "/stats?until=" + strconv.FormatInt(at, 10)}
		}
		for _, g := range []struct {
			metric string
			to     func(*instanceAt) *stats.Value
		}{
			{"orders.completed", func(v *instanceAt) *stats.Value { return &v.Completed }},
			{"volume.sats", func(v *instanceAt) *stats.Value { return &v.Volume }},
			{"orders.open_now", func(v *instanceAt) *stats.Value { return &v.Open }},
			{"disputes.opened", func(v *instanceAt) *stats.Value { return &v.Disputes }},
		} {
			points, err := c.Groups(g.metric, q, stats.ByInstance)
			if err != nil {
				return nil, err
			}
			for _, p := range points {
				if v := by[p.Group]; v != nil {
					*g.to(v) = p.Figure.Value
				}
			}
		}
		for _, v := range by {
			out.Items = append(out.Items, *v)
		}
		slices.SortFunc(out.Items, func(a, b instanceAt) int {
			x, y := a.Completed.Float(), b.Completed.Float()
			return cmp.Or(cmp.Compare(y, x), strings.Compare(a.Pubkey, b.Pubkey))
		})
		out.Total = len(out.Items)
		out.Items = out.Items[:min(len(out.Items), maxInstancesAt)]
		return out, nil
	})
}
