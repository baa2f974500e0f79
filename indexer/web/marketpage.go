package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/internal/lang"
	"github.com/mostrodex/mostrodex/internal/plot"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/internal/webpage"
	"github.com/mostrodex/mostrodex/mostro"
)

// marketPages makes the pages about markets and disputes.
type marketPages struct{ *explorer }

func (x marketPages) routes() []route.Route {
	return []route.Route{
		x.page("/market", "explorer_markets", "the market of each currency (HTML)", x.marketsPage),
		x.page("/market/{fiat}", "explorer_market", "one currency: prices, depth, methods, time to fill, crossed pairs (HTML)", x.marketPage),
		x.page("/disputes", "explorer_disputes", "disputes in aggregate (HTML)", x.disputesPage),
	}
}

// Bounds of the pages about markets.
const (
	pageDays     = 30 // window of prices and of the time to fill
	shownLevels  = 40 // of one side of the depth
	shownPairs   = 20
	shownBest    = 30
	depthAround  = 15 // percent of premium that the chart shows on each side of the middle
	chartWidth   = 400
	chartHeight  = 240
	pageMethods  = 15
	shareOfTrack = 100 // width of a bar
)

// figure is a chart with its table.
type figure struct {
	Title, Note string
	Chart       template.HTML
	Legend      []string
	Head        []string
	Rows        [][]string
	More        string // what the table leaves out; "": nothing
}

// chart returns a figure of a chart, whose text describes the chart.
func figureOf(c *plot.Chart, note string) *figure {
	c.Width, c.Height = chartWidth, chartHeight
	f := &figure{Title: c.Title, Note: note, Chart: template.HTML(c.Inline())} // package plot escapes its texts
	if len(c.Lines) > 1 {
		for _, line := range c.Lines {
			f.Legend = append(f.Legend, line.Name)
		}
	}
	return f
}

// minute is an answer with the time at which it was computed.
type minute struct {
	value any
	at    time.Time
}

// minuteOf returns the answer that fn computed for the present minute and a key, so that many
// visitors of a page cost one computation. at is the time of the computation. The window of the
// query ends with the minute, so that the answer has no order that expires in it.
func (x marketPages) minuteOf(ctx context.Context, key string, fn func(c *stats.Collector, q stats.Query) (any, error)) (v any, at time.Time, err error) {
	until := roundUp(x.index.Now().Unix(), windowStep)
	v, err = x.figures.answers.made(ctx, key, fmt.Sprintf("page.%x.%x", until, x.index.RulesVersion()), func() (any, error) {
		out := minute{at: x.index.Now()}
		err := x.index.View(false, func(c *stats.Collector, hidden excluded) (err error) {
			out.value, err = fn(c, stats.Query{From: until - pageDays*86400, Until: until, Exclude: hidden, Distrust: x.index.Distrust})
			return err
		})
		return out, err
	})
	if err != nil {
		return nil, at, err
	}
	out := v.(minute)
	return out.value, out.at, nil
}

// marketRow is a currency in the list of markets.
type marketRow struct {
	Fiat, Link, Price, Age, Buy, Sell, Spread string
	Offers, ToBuy, ToSell                     int64
	Crossed                                   bool
}

func (x marketPages) marketsPage(r *http.Request) (string, any, error) {
	l := lang.Of(r)
	v, at, err := x.minuteOf(r.Context(), "/market", func(c *stats.Collector, q stats.Query) (any, error) { return x.figures.marketsOf(r, c, q) })
	if err != nil {
		return "", nil, err
	}
	d := &struct {
		frame
		At   webpage.Moment
		Rows []marketRow
	}{frame: frame{Page: "market"}, At: l.Moment(at, x.index.Now())}
	d.Title, d.Description = l.T("markets.title"), l.T("markets.lede")
	for _, m := range v.(*marketList).Items {
		row := marketRow{Fiat: m.Fiat, Link: l.Link("/market/" + url.PathEscape(m.Fiat)), Offers: m.Offers, ToBuy: m.Sell, ToSell: m.Buy,
			Buy: levelOf(l, m.Ask), Sell: levelOf(l, m.Bid), Spread: premiumOf(l, m.SpreadPct), Crossed: m.SpreadPct != nil && *m.SpreadPct < 0}
		if m.Rate != nil {
			row.Price, row.Age = priceText(l, m.Rate.Price), l.Span(time.Duration(m.Rate.AgeSeconds)*time.Second)
		}
		d.Rows = append(d.Rows, row)
	}
	return "markets", d, nil
}

// marketFigures is what the page of one currency shows. It is computed once a minute.
type marketFigures struct {
	*marketView
	rates    []stats.RatePoint
	survival stats.Survival
	methods  map[string]*methodOffers
}

type methodOffers struct {
	text      string // as the first of its makers writes it
	buy, sell int    // offers of makers who buy, and who sell
}

// marketFigures computes the figures of a currency.
func (x marketPages) marketFigures(r *http.Request, c *stats.Collector, fiat string, q stats.Query) (*marketFigures, error) {
	q.Filter = stats.Filter{stats.ByFiat: {fiat}}
	view, book, err := x.figures.marketOf(r, c, fiat, 1, q)
	if err != nil {
		return nil, err
	}
	out := &marketFigures{marketView: view, methods: map[string]*methodOffers{}}
	if out.rates, err = c.ImpliedRates(fiat, q, stats.Day, impliedTrim); err != nil {
		return nil, err
	}
	if out.survival, err = c.Survival(q); err != nil {
		return nil, err
	}
	for i := range book.Offers {
		o := &book.Offers[i]
		for _, label := range o.Methods {
			key := strings.ToLower(label)
			m := out.methods[key]
			if m == nil {
				m = &methodOffers{text: label}
				out.methods[key] = m
			}
			if o.Side == mostro.SideBuy {
				m.buy++
			} else {
				m.sell++
			}
		}
	}
	if out.empty() {
		return nil, errNoMarket // and the answer is not kept
	}
	return out, nil
}

var errNoMarket = errors.New("nothing is known of this currency")

// empty reports whether nothing is known of a currency.
func (m *marketFigures) empty() bool {
	return m.Offers == 0 && m.Rate == nil && m.survival.Orders == 0 && !slices.ContainsFunc(m.rates, func(p stats.RatePoint) bool { return p.Samples > 0 })
}

// bestRow is the best price of an instance.
type bestRow struct {
	publisherCell
	Platform, Rank string
	Buy, Sell      offerCell
}

// offerCell is an offer with its premium and its price.
type offerCell struct{ Level, Price, Link string }

type methodRow struct {
	Text, Link       string
	Buy, Sell, Total int
	Width            string // of its bar, at most 100
}

type pairRow struct {
	Gap, Methods, Buy, Sell, Network string
}

type marketData struct {
	frame
	l                            *lang.Lang
	Fiat                         string
	At                           webpage.Moment
	Rate, RateNote, Implied      string
	Buy, Sell                    offerCell // best offers, from the view of a visitor
	Spread                       string
	Crossed                      bool
	Offers, ToBuy, ToSell        int64
	BuyLink, SellLink, JSON      string
	BookLink                     string
	Unleveled, Unsized           int64
	Depth, Rates, Time           *figure
	Median, Taken                string
	Best                         []bestRow
	BestLeft                     int
	Methods                      []methodRow
	Pairs                        []pairRow
	PairsLeft                    bool
	Orders                       int64
	Series, BookJSON, SurvivalJS string
}

func (x marketPages) marketPage(r *http.Request) (string, any, error) {
	l := lang.Of(r)
	fiat, err := parseFiat(r)
	if err != nil {
		return "", nil, err
	}
	v, at, err := x.minuteOf(r.Context(), "/market/"+fiat, func(c *stats.Collector, q stats.Query) (any, error) {
		return x.marketFigures(r, c, fiat, q)
	})
	if errors.Is(err, errNoMarket) {
		return "", nil, refuse(http.StatusNotFound, l.T("market.unknown", fiat))
	}
	if err != nil {
		return "", nil, err
	}
	m, now := v.(*marketFigures), x.index.Now()
	d := &marketData{frame: frame{Page: "market"}, l: l, Fiat: fiat, At: l.Moment(at, now), Spread: premiumOf(l, m.SpreadPct), Crossed: m.SpreadPct != nil && *m.SpreadPct < 0,
		Buy: cellOf(l, m.Ask), Sell: cellOf(l, m.Bid), Offers: m.Offers, ToBuy: m.marketItem.Sell, ToSell: m.marketItem.Buy, Unleveled: m.Unleveled, Unsized: m.Unsized,
		BuyLink: l.Link("/?side=sell&fiat=" + fiat), SellLink: l.Link("/?side=buy&fiat=" + fiat), BookLink: l.Link("/?fiat=" + fiat), JSON: "/api/v1/market/" + fiat, Series: "/api/v1/market/" + fiat + "/series", SurvivalJS: "/api/v1/stats/survival?fiat=" + fiat}
	d.Title, d.Description = l.T("market.title", fiat), l.T("market.description", fiat, m.Offers)
	if m.Rate != nil {
		d.Rate = priceText(l, m.Rate.Price)
		d.RateNote = l.T("market.signed", m.Rate.Nodes, l.Span(time.Duration(m.Rate.AgeSeconds)*time.Second))
	}
	if m.Implied != nil {
		d.Implied = priceText(l, m.Implied.Rate.String())
	}
	d.depth(m)
	d.rates(m.rates)
	d.time(&m.survival)
	for _, b := range m.Best[:min(len(m.Best), shownBest)] {
		row := bestRow{Platform: b.Platform, Buy: cellOf(l, b.Ask), Sell: cellOf(l, b.Bid)}
		row.publisherCell = x.publisherCell(l, b.Pubkey, b.Platform, now)
		if rank := x.rankOf(b.Pubkey); rank != nil {
			row.Rank = strconv.Itoa(*rank)
		}
		d.Best = append(d.Best, row)
	}
	d.BestLeft = len(m.Best) - len(d.Best)
	d.methods(m.methods)
	for _, p := range m.marketView.Crossed[:min(len(m.marketView.Crossed), shownPairs)] {
		row := pairRow{Gap: premiumOf(l, &p.GapPct), Methods: strings.Join(p.Methods[:min(len(p.Methods), shownMethods)], ", "), Buy: pageOf(l, p.BuyAt), Sell: pageOf(l, p.SellAt)}
		if p.Network != "mainnet" {
			row.Network = p.Network
		}
		d.Pairs = append(d.Pairs, row)
	}
	d.PairsLeft = !m.Whole || len(m.marketView.Crossed) > len(d.Pairs)
	return "market", d, nil
}

// publisherCell is a publisher in a table.
type publisherCell struct {
	Name, Link, Key string
	Note            noteRow
}

func (x marketPages) publisherCell(l *lang.Lang, pubkey, platform string, now time.Time) publisherCell {
	c := publisherCell{Link: x.authorLink(l, pubkey), Key: pubkey[:8], Note: x.noteRow(l, x.index.NoteOf(pubkey, platform), now)}
	c.Name = cmp.Or(x.index.NameFor(&mostro.Order{Pubkey: pubkey, Platform: platform}), c.Key+"…")
	return c
}

// pageOf returns the page of an order, by its path in the API.
func pageOf(l *lang.Lang, api *string) string {
	if api == nil {
		return ""
	}
	return l.Link(strings.TrimPrefix(*api, "/api/v1"))
}

func cellOf(l *lang.Lang, b *bestView) offerCell {
	if b == nil {
		return offerCell{}
	}
	c := offerCell{Level: premiumOf(l, b.LevelPct), Link: pageOf(l, b.Order)}
	if !b.Price.IsNull() {
		c.Price = priceText(l, b.Price.String())
	}
	return c
}

func levelOf(l *lang.Lang, b *bestView) string {
	if b == nil {
		return ""
	}
	return premiumOf(l, b.LevelPct)
}

// premiumOf returns a premium as text, "" if it is unknown.
func premiumOf(l *lang.Lang, f *float64) string {
	if f == nil {
		return ""
	}
	sign := "±"
	rounded := math.Round(*f*100) / 100
	if rounded > 0 {
		sign = "+"
	} else if rounded < 0 {
		sign = "−"
	}
	return sign + shortest(l, math.Abs(rounded)) + " %"
}

// shortest returns a number with the decimals that it needs.
func shortest(l *lang.Lang, f float64) string {
	return l.Number(strconv.FormatFloat(f, 'f', -1, 64))
}

// priceText returns a price with about six digits.
func priceText(l *lang.Lang, decimal string) string {
	f, err := strconv.ParseFloat(decimal, 64)
	switch {
	case err != nil:
		return decimal
	case f >= 1000:
		return l.Float(f, 0)
	case f >= 1:
		return l.Float(f, 2)
	}
	return strconv.FormatFloat(f, 'g', 4, 64)
}

// hundredths of a percent are the numbers below the chart of the depth.
func hundredths(f float64) int64 { return int64(math.Round(max(-1e9, min(1e9, f)) * 100)) }

// depth sets the chart of the offers by premium.
func (d *marketData) depth(m *marketFigures) {
	l := d.l
	if len(m.Bids)+len(m.Asks) == 0 {
		return
	}
	middle, n := 0.0, 0.0
	for _, b := range []*bestView{m.Bid, m.Ask} {
		if b != nil && b.LevelPct != nil {
			middle, n = middle+*b.LevelPct, n+1
		}
	}
	middle /= max(n, 1)
	near := func(level float64) bool { return math.Abs(level-middle) <= depthAround }
	var bids, asks []plot.Point
	for i := len(m.Bids) - 1; i >= 0; i-- { // lowest premium first: of the sum at a level, its own bids end above it
		if level := m.Bids[i]; near(level.Level) {
			above := int64(0)
			if i > 0 {
				above = m.Bids[i-1].Cumulative
			}
			bids = append(bids, plot.Point{At: hundredths(level.Level), Value: float64(level.Cumulative)}, plot.Point{At: hundredths(level.Level + 1), Value: float64(above)})
		}
	}
	for _, level := range m.Asks {
		if near(level.Level) {
			asks = append(asks, plot.Point{At: hundredths(level.Level), Value: float64(level.Cumulative)})
		}
	}
	if n := len(asks); n > 0 {
		asks = append(asks, plot.Point{At: hundredths(middle + depthAround), Value: asks[n-1].Value})
	}
	d.Depth = figureOf(&plot.Chart{Title: l.T("market.depth"), Unit: "sats", Shape: plot.Steps, Number: true, Zero: true, Description: l.T("market.depth_desc", d.ToSell, d.ToBuy),
		Label: func(at int64) string { return strconv.FormatInt(at/100, 10) + " %" },
		Lines: []plot.Line{{Name: l.T("market.bids"), Points: bids}, {Name: l.T("market.asks"), Points: asks}}}, l.T("market.depth_note"))
	d.Depth.Head = []string{l.T("market.premium"), l.T("market.side"), l.T("market.offers"), l.T("market.sats"), l.T("market.sum")}
	left := 0
	for i, side := range [][]stats.DepthLevel{m.Asks, m.Bids} {
		name := l.T([]string{"market.asks", "market.bids"}[i])
		for _, level := range side[:min(len(side), shownLevels)] {
			from, until := level.Level, level.Level+1
			d.Depth.Rows = append(d.Depth.Rows, []string{l.T("market.level", premiumOf(l, &from), premiumOf(l, &until)), name, l.Int(level.Orders), l.Int(level.Sats), l.Int(level.Cumulative)})
		}
		left += max(0, len(side)-shownLevels)
	}
	if left > 0 {
		d.Depth.More = l.T("market.levels_left", left)
	}
}

// rates sets the chart of prices by day.
func (d *marketData) rates(points []stats.RatePoint) {
	l := d.l
	text := func(v stats.Value) string {
		if v.IsNull() {
			return "–"
		}
		return priceText(l, v.String())
	}
	var low, high stats.Value
	days := 0
	implied, signed, known := plot.Line{Name: l.T("market.implied")}, plot.Line{Name: l.T("market.rate")}, false
	for _, p := range points {
		implied.Points = append(implied.Points, plot.Point{At: p.From, Value: p.Rate.Float()})
		implied.Low = append(implied.Low, plot.Point{At: p.From, Value: p.Low.Float()})
		implied.High = append(implied.High, plot.Point{At: p.From, Value: p.High.Float()})
		signed.Points = append(signed.Points, plot.Point{At: p.From, Value: p.Signed.Float()})
		if !p.Rate.IsNull() {
			if days++; days == 1 || p.Rate.Float() < low.Float() {
				low = p.Rate
			}
			if days == 1 || p.Rate.Float() > high.Float() {
				high = p.Rate
			}
		}
		known = known || !p.Rate.IsNull() || !p.Signed.IsNull()
	}
	if !known {
		return
	}
	d.Rates = figureOf(&plot.Chart{Title: l.T("market.rates", d.Fiat), Unit: d.Fiat, Lines: []plot.Line{implied, signed}, Label: dayText, Description: l.T("market.rates_desc", days, text(low), text(high), d.Fiat)}, l.T("market.rates_note"))
	d.Rates.Head = []string{l.T("market.day"), l.T("market.implied"), l.T("market.interval"), l.T("market.samples"), l.T("market.rate")}
	for _, p := range slices.Backward(points) {
		if p.Samples == 0 && p.Signed.IsNull() {
			continue
		}
		between := "–"
		if !p.Low.IsNull() {
			between = text(p.Low) + "–" + text(p.High)
		}
		d.Rates.Rows = append(d.Rates.Rows, []string{time.Unix(p.From, 0).UTC().Format(time.DateOnly), text(p.Rate), between, l.Int(int64(p.Samples)), text(p.Signed)})
	}
}

// dayText returns a day without its year, in the order of ISO 8601.
func dayText(t int64) string { return time.Unix(t, 0).UTC().Format("01-02") }

// time sets the chart of the share of orders that are taken by their age.
func (d *marketData) time(s *stats.Survival) {
	l := d.l
	if d.Orders = s.Orders; s.Taken == 0 {
		return
	}
	d.Taken = percentOf(l, float64(s.Taken)/float64(s.Orders))
	if !s.Median.IsNull() {
		d.Median = l.Span(time.Duration(s.Median.Float()) * time.Second)
	}
	shareAt := func(age int64) float64 {
		share := 0.0
		for _, step := range s.Steps {
			if step.Seconds > age {
				break
			}
			share = 1 - step.Survival
		}
		return share * 100
	}
	const day = 24
	line := plot.Line{Name: l.T("market.taken")}
	for hour := int64(0); hour <= day; hour++ {
		line.Points = append(line.Points, plot.Point{At: hour, Value: shareAt(hour * 3600)})
	}
	d.Time = figureOf(&plot.Chart{Title: l.T("market.time"), Unit: "%", Lines: []plot.Line{line}, Shape: plot.Steps, Number: true, Zero: true, Description: l.T("market.time_desc", percentOf(l, shareAt(86400)/100)),
		Label: func(at int64) string { return strconv.FormatInt(at, 10) + " h" }}, l.T("market.time_note", pageDays))
	d.Time.Head = []string{l.T("market.within"), l.T("market.taken")}
	for _, age := range []time.Duration{15 * time.Minute, time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour} {
		d.Time.Rows = append(d.Time.Rows, []string{l.Span(age), percentOf(l, shareAt(int64(age.Seconds()))/100)})
	}
}

func percentOf(l *lang.Lang, share float64) string {
	return shortest(l, math.Round(share*1000)/10) + " %"
}

// methods sets the payment methods with the most offers.
func (d *marketData) methods(all map[string]*methodOffers) {
	l := d.l
	for _, m := range all {
		d.Methods = append(d.Methods, methodRow{Text: m.text, Link: l.Link("/?fiat=" + d.Fiat + "&method=" + url.QueryEscape(m.text)), Buy: m.sell, Sell: m.buy, Total: m.buy + m.sell})
	}
	slices.SortFunc(d.Methods, func(a, b methodRow) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), strings.Compare(strings.ToLower(a.Text), strings.ToLower(b.Text)))
	})
	d.Methods = d.Methods[:min(len(d.Methods), pageMethods)]
	for i := range d.Methods {
		d.Methods[i].Width = strconv.Itoa(max(2, d.Methods[i].Total*shareOfTrack/d.Methods[0].Total))
	}
}
