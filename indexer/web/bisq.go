package web

import (
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

// The routes below /api/v1/markets have the names, parameters and forms of Bisq's markets API,
// which charts and aggregators of this field read. A market is btc_ and a currency, such as
// btc_eur. Prices and amounts are texts with eight decimals, times of trades and offers are in
// milliseconds, and times of periods are in seconds. The side is that of the maker.

// bisqOffer is one offer. The amounts of an order at the market price are computed with the
// signed rate.
type bisqOffer struct {
	ID        string `json:"offer_id" doc:"id of the event"`
	Date      int64  `json:"offer_date" unit:"milliseconds" doc:"created_at of the first version"`
	Direction string `json:"direction" doc:"BUY or SELL: what the maker does"`
	MinAmount string `json:"min_amount" unit:"bitcoin"`
	Amount    string `json:"amount" unit:"bitcoin"`
	Price     string `json:"price" unit:"fiat per bitcoin"`
	Volume    string `json:"volume" unit:"fiat"`
	Method    string `json:"payment_method" doc:"payment methods, separated by commas"`
	FeeTx     string `json:"offer_fee_txid" doc:"empty: there is no such transaction"`
}

type bisqSides struct {
	Buys  []bisqOffer `json:"buys" doc:"highest price first"`
	Sells []bisqOffer `json:"sells" doc:"lowest price first"`
}

type bisqDepth struct {
	Buys  []string `json:"buys"`
	Sells []string `json:"sells"`
}

type bisqTrade struct {
	ID        string `json:"trade_id" doc:"id of the event that announced the success"`
	Date      int64  `json:"trade_date" unit:"milliseconds"`
	Market    string `json:"market"`
	Direction string `json:"direction" doc:"BUY or SELL: what the maker did"`
	Amount    string `json:"amount" unit:"bitcoin"`
	Price     string `json:"price" unit:"fiat per bitcoin"`
	Volume    string `json:"volume" unit:"fiat"`
	Method    string `json:"payment_method"`
}

type bisqTicker struct {
	Last  *string `json:"last" unit:"fiat per bitcoin" null:"no trade of a fixed amount in the last 30 days"`
	High  *string `json:"high" unit:"fiat per bitcoin" null:"no trade in the last 24 hours"`
	Low   *string `json:"low" unit:"fiat per bitcoin" null:"no trade in the last 24 hours"`
	Left  string  `json:"volume_left" unit:"bitcoin" doc:"of the last 24 hours"`
	Right string  `json:"volume_right" unit:"fiat" doc:"of the last 24 hours"`
	Buy   *string `json:"buy" unit:"fiat per bitcoin" null:"no offer with a price" doc:"highest price of a maker who buys"`
	Sell  *string `json:"sell" unit:"fiat per bitcoin" null:"no offer with a price" doc:"lowest price of a maker who sells"`
}

type bisqPeriod struct {
	Start int64  `json:"period_start" unit:"unix seconds"`
	Open  string `json:"open"`
	High  string `json:"high"`
	Low   string `json:"low"`
	Close string `json:"close"`
	Avg   string `json:"avg" doc:"mean, weighted by volume_left"`
	Left  string `json:"volume_left" unit:"bitcoin"`
	Right string `json:"volume_right" unit:"fiat"`
}

type bisqVolume struct {
	Start  int64  `json:"period_start" unit:"unix seconds"`
	Volume string `json:"volume" unit:"bitcoin"`
	Trades int    `json:"num_trades"`
}

// bisq answers the routes in the form of Bisq's markets API.
type bisq struct{ *figures }

func (x bisq) routes(row rowMaker) []route.Route {
	market := route.Param{Name: "market", Needed: true, Doc: "btc_ and a currency code, such as btc_eur"}
	some := market
	some.Needed, some.Doc = false, some.Doc+"; default: all"
	interval := route.Param{Name: "interval", Enum: []string{"hour", "day", "week", "month", "auto"}, Default: "auto", Doc: "auto: day"}
	from := route.Param{Name: "timestamp_from", Type: "integer", Doc: "unix seconds; default: 30 days before timestamp_to"}
	to := route.Param{Name: "timestamp_to", Type: "integer", Doc: "unix seconds; default: now"}
	direction := route.Param{Name: "direction", Enum: []string{"buy", "sell"}, Doc: "what the maker does"}
	return []route.Route{
		described(row("/api/v1/markets/offers", "markets_offers", "as Bisq's markets API: open offers, market=btc_eur direction", x.offers), map[string]bisqSides{}, market, direction),
		described(row("/api/v1/markets/depth", "markets_depth", "the prices of these offers", x.depth), map[string]bisqDepth{}, market),
		described(row("/api/v1/markets/ticker", "markets_ticker", "last price, and volume of 24 hours; without market of all, by market", x.ticker), map[string]bisqTicker{}, some),
		described(row("/api/v1/markets/trades", "markets_trades", "executed orders of a fixed amount, newest first; timestamp_from timestamp_to direction limit", x.trades), []bisqTrade{},
			some, from, to, direction, route.Param{Name: "limit", Type: "integer", Default: "100", Doc: "from 1 to 500"}),
		described(row("/api/v1/markets/hloc", "markets_hloc", "high, low, open and close by interval=hour|day|week|month", x.hloc), []bisqPeriod{}, market, interval, from, to),
		described(row("/api/v1/markets/volumes", "markets_volumes", "volume by interval", x.volumes), []bisqVolume{}, some, interval, from, to),
	}
}

// bisqQuery is the parameters of a request.
type bisqQuery struct {
	fiat string // "": all
	q    stats.Query
	by   stats.Every
	dir  string
	max  int
}

// asked parses the parameters of a request. The parameter market names one currency.
func (x bisq) asked(r *http.Request, known ...string) (out bisqQuery, err error) {
	values := r.URL.Query()
	var params []route.Param
	for _, name := range known {
		params = append(params, route.Param{Name: strings.TrimSuffix(name, "!"), Needed: strings.HasSuffix(name, "!")})
	}
	if err := checkParams(values, params); err != nil {
		return out, err
	}
	bad := func(name, format string, args ...any) error {
		return &orders.QueryError{Param: name, Reason: fmt.Sprintf(format, args...)}
	}
	if m := strings.ToLower(strings.TrimSpace(values.Get("market"))); m != "" && m != "all" {
		fiat, ok := strings.CutPrefix(m, "btc_")
		if !ok || len(fiat) < 2 || len(fiat) > 16 || strings.ContainsFunc(fiat, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') }) {
			return out, bad("market", "not btc_ and a currency code, such as btc_eur")
		}
		out.fiat = strings.ToUpper(fiat)
		out.q.Filter = stats.Filter{stats.ByFiat: {out.fiat}}
	}
	if out.dir = strings.ToLower(strings.TrimSpace(values.Get("direction"))); out.dir != "" && out.dir != "buy" && out.dir != "sell" {
		return out, bad("direction", "%q is not buy or sell", out.dir)
	}
	if out.dir != "" {
		if out.q.Filter == nil {
			out.q.Filter = stats.Filter{}
		}
		out.q.Filter[stats.BySide] = []string{out.dir}
	}
	if out.max, err = limitOf(values, 100); err != nil {
		return out, err
	}
	switch by := stats.Every(strings.ToLower(strings.TrimSpace(values.Get("interval")))); by {
	case "", "auto":
		out.by = stats.Day
	case stats.Hour, stats.Day, stats.Week, stats.Month:
		out.by = by
	default:
		return out, bad("interval", "%q is not hour, day, week, month or auto", by)
	}
	now := roundUp(x.index.Now().Unix(), bookStep)
	for name, to := range map[string]*int64{"timestamp_from": &out.q.From, "timestamp_to": &out.q.Until} {
		if text := strings.TrimSpace(values.Get(name)); text != "" {
			if *to, err = strconv.ParseInt(text, 10, 64); err != nil || *to < 0 {
				return out, bad(name, "%q is not a time in unix seconds", text)
			}
		}
	}
	if out.q.Until == 0 {
		out.q.Until = now
	}
	if out.q.Until > now {
		return out, bad("timestamp_to", "lies in the future")
	}
	if values.Get("timestamp_from") == "" {
		out.q.From = max(0, out.q.Until-30*86400)
	}
	if out.q.From >= out.q.Until {
		return out, bad("timestamp_from", "is not before timestamp_to")
	}
	_, err = bucketsOf(url.Values{"by": {string(out.by)}}, &out.q)
	var q *orders.QueryError
	if errors.As(err, &q) && len(known) > 1 && slices.Contains(known, "interval") {
		q.Param = "interval"
		return out, q
	}
	return out, nil
}

func (x bisq) later(r *http.Request, q *bisqQuery, fn func(c *stats.Collector) (any, error)) (any, error) {
	return x.figures.later(r, q.q.From, q.q.Until, func(c *stats.Collector, hidden excluded) (any, error) {
		q.q.Exclude, q.q.Distrust = hidden, x.index.Distrust
		return fn(c)
	})
}

func marketName(fiat string) string { return "btc_" + strings.ToLower(fiat) }

// eight returns a number with eight decimals.
func eight(f float64) string { return strconv.FormatFloat(f, 'f', 8, 64) }

func bitcoin(sats int64) string { return eight(float64(sats) / 1e8) }

// book returns the offers with a price, by side, the best first.
func (x bisq) book(c *stats.Collector, q *bisqQuery) (buys, sells []stats.Offer, err error) {
	book, err := c.BookAt(q.q)
	if err != nil {
		return nil, nil, err
	}
	for _, o := range book.Offers {
		switch {
		case o.Price.IsNull() || !(o.Price.Float() > 0):
		case o.Side == mostro.SideBuy:
			buys = append(buys, o)
		default:
			sells = append(sells, o)
		}
	}
	slices.SortStableFunc(buys, func(a, b stats.Offer) int { return compareFloat(b.Price.Float(), a.Price.Float()) })
	slices.SortStableFunc(sells, func(a, b stats.Offer) int { return compareFloat(a.Price.Float(), b.Price.Float()) })
	return buys, sells, nil
}

func compareFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// maxBisqOffers bounds the offers of one side.
const maxBisqOffers = 500

func (x bisq) offers(r *http.Request) (any, error) {
	q, err := x.asked(r, "market!", "direction")
	if err != nil {
		return nil, err
	}
	return x.later(r, &q, func(c *stats.Collector) (any, error) {
		buys, sells, err := x.book(c, &q)
		if err != nil {
			return nil, err
		}
		out := bisqSides{Buys: []bisqOffer{}, Sells: []bisqOffer{}}
		for _, side := range []struct {
			all []stats.Offer
			to  *[]bisqOffer
			dir string
		}{{buys, &out.Buys, "BUY"}, {sells, &out.Sells, "SELL"}} {
			for _, o := range side.all[:min(len(side.all), maxBisqOffers)] {
				id, _, err := x.orderOf(r.Context(), o.Seq, false)
				if err != nil {
					return nil, err
				}
				if id == "" {
					continue
				}
				lo, hi, price := o.Min.Float(), o.Max.Float(), o.Price.Float()
				*side.to = append(*side.to, bisqOffer{ID: id, Date: o.FirstAt * 1000, Direction: side.dir, MinAmount: eight(lo / price), Amount: eight(hi / price),
					Price: eight(price), Volume: eight(hi), Method: strings.Join(o.Methods, ", ")})
			}
		}
		return map[string]bisqSides{marketName(q.fiat): out}, nil
	})
}

func (x bisq) depth(r *http.Request) (any, error) {
	q, err := x.asked(r, "market!")
	if err != nil {
		return nil, err
	}
	return x.later(r, &q, func(c *stats.Collector) (any, error) {
		buys, sells, err := x.book(c, &q)
		if err != nil {
			return nil, err
		}
		out := bisqDepth{Buys: []string{}, Sells: []string{}}
		for _, o := range buys[:min(len(buys), maxBisqOffers)] {
			out.Buys = append(out.Buys, eight(o.Price.Float()))
		}
		for _, o := range sells[:min(len(sells), maxBisqOffers)] {
			out.Sells = append(out.Sells, eight(o.Price.Float()))
		}
		return map[string]bisqDepth{marketName(q.fiat): out}, nil
	})
}

func (x bisq) ticker(r *http.Request) (any, error) {
	q, err := x.asked(r, "market")
	if err != nil {
		return nil, err
	}
	return x.later(r, &q, func(c *stats.Collector) (any, error) {
		trades, err := c.Trades(q.q)
		if err != nil {
			return nil, err
		}
		buys, sells, err := x.book(c, &q)
		if err != nil {
			return nil, err
		}
		type sums struct {
			bisqTicker
			high, low, left, right float64
		}
		by := map[string]*sums{}
		of := func(fiat string) *sums {
			if by[fiat] == nil {
				by[fiat] = &sums{}
			}
			return by[fiat]
		}
		for i := range trades {
			t := &trades[i]
			s := of(t.Fiat)
			s.Last = new(eight(t.Price()))
			if t.At < q.q.Until-86400 {
				continue
			}
			s.left, s.right = s.left+float64(t.Sats)/1e8, s.right+t.Amount
			if s.High == nil || t.Price() > s.high {
				s.high, s.High = t.Price(), new(eight(t.Price()))
			}
			if s.Low == nil || t.Price() < s.low {
				s.low, s.Low = t.Price(), new(eight(t.Price()))
			}
		}
		for _, o := range buys {
			if s := of(o.Fiat); s.Buy == nil { // the best comes first
				s.Buy = new(eight(o.Price.Float()))
			}
		}
		for _, o := range sells {
			if s := of(o.Fiat); s.Sell == nil {
				s.Sell = new(eight(o.Price.Float()))
			}
		}
		if q.fiat != "" {
			of(q.fiat)
		}
		out := map[string]bisqTicker{}
		for fiat, s := range by {
			s.Left, s.Right = eight(s.left), eight(s.right)
			if fiat != "" {
				out[marketName(fiat)] = s.bisqTicker
			}
		}
		return out, nil
	})
}

func (x bisq) trades(r *http.Request) (any, error) {
	q, err := x.asked(r, "market", "timestamp_from", "timestamp_to", "direction", "limit")
	if err != nil {
		return nil, err
	}
	return x.later(r, &q, func(c *stats.Collector) (any, error) {
		trades, err := c.Trades(q.q)
		if err != nil {
			return nil, err
		}
		out := []bisqTrade{}
		for i := len(trades) - 1; i >= 0 && len(out) < q.max; i-- {
			t := &trades[i]
			id, _, err := x.orderOf(r.Context(), t.Seq, false)
			if err != nil {
				return nil, err
			}
			if id == "" {
				continue
			}
			out = append(out, bisqTrade{ID: id, Date: t.At * 1000, Market: marketName(t.Fiat), Direction: strings.ToUpper(string(t.Side)), Amount: bitcoin(t.Sats),
				Price: eight(t.Price()), Volume: eight(t.Amount), Method: strings.Join(t.Methods, ", ")})
		}
		return out, nil
	})
}

func (x bisq) hloc(r *http.Request) (any, error) {
	q, err := x.asked(r, "market!", "interval", "timestamp_from", "timestamp_to")
	if err != nil {
		return nil, err
	}
	return x.later(r, &q, func(c *stats.Collector) (any, error) {
		trades, err := c.Trades(q.q)
		if err != nil {
			return nil, err
		}
		out := []bisqPeriod{}
		for start, part := range periods(trades, q.by) {
			p := bisqPeriod{Start: start, Open: eight(part[0].Price()), Close: eight(part[len(part)-1].Price())}
			high, low, left, right := part[0].Price(), part[0].Price(), 0.0, 0.0
			for i := range part {
				high, low = max(high, part[i].Price()), min(low, part[i].Price())
				left, right = left+float64(part[i].Sats)/1e8, right+part[i].Amount
			}
			p.High, p.Low, p.Avg, p.Left, p.Right = eight(high), eight(low), eight(right/left), eight(left), eight(right)
			out = append(out, p)
		}
		return out, nil
	})
}

func (x bisq) volumes(r *http.Request) (any, error) {
	q, err := x.asked(r, "market", "interval", "timestamp_from", "timestamp_to")
	if err != nil {
		return nil, err
	}
	return x.later(r, &q, func(c *stats.Collector) (any, error) {
		trades, err := c.Trades(q.q)
		if err != nil {
			return nil, err
		}
		out := []bisqVolume{}
		for start, part := range periods(trades, q.by) {
			sats := int64(0)
			for i := range part {
				sats += part[i].Sats
			}
			out = append(out, bisqVolume{Start: start, Volume: bitcoin(sats), Trades: len(part)})
		}
		return out, nil
	})
}

// periods calls yield with the start of each period that holds trades, and with these trades.
func periods(trades []stats.Trade, by stats.Every) func(yield func(int64, []stats.Trade) bool) {
	return func(yield func(int64, []stats.Trade) bool) {
		for len(trades) > 0 {
			start, n := by.Floor(trades[0].At), 1
			for n < len(trades) && by.Floor(trades[n].At) == start {
				n++
			}
			if !yield(start, trades[:n]) {
				return
			}
			trades = trades[n:]
		}
	}
}
