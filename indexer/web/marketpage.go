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
		for _, l := range c.Lines {
			f.Legend = append(f.Legend, l.Name)
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
func (x marketPages) minuteOf(ctx context.Context, key string, fn func(c *stats.Collector, q stats.Query) (any, error)) (v any, at webpage.Moment, err error) {
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
	return out.value, webpage.MomentAt(out.at, x.index.Now()), nil
}

// marketRow is a currency in the list of markets.
type marketRow struct {
	Fiat, Link, Price, Age, Buy, Sell, Spread string
	Offers, ToBuy, ToSell                     int64
	Crossed                                   bool
}

func (x marketPages) marketsPage(r *http.Request) (string, any, error) {
	v, at, err := x.minuteOf(r.Context(), "/market", func(c *stats.Collector, q stats.Query) (any, error) { return x.figures.marketsOf(r, c, q) })
	if err != nil {
		return "", nil, err
	}
	d := &struct {
		frame
		At   webpage.Moment
		Rows []marketRow
	}{frame: frame{Page: "market"}, At: at}
	d.Title, d.Description = d.T("markets.title"), d.T("markets.lede")
	for _, m := range v.(*marketList).Items {
		row := marketRow{Fiat: m.Fiat, Link: "/market/" + url.PathEscape(m.Fiat), Offers: m.Offers, ToBuy: m.Sell, ToSell: m.Buy,
			Buy: levelOf(m.Ask), Sell: levelOf(m.Bid), Spread: premiumOf(m.SpreadPct), Crossed: m.SpreadPct != nil && *m.SpreadPct < 0}
		if m.Rate != nil {
			row.Price, row.Age = priceText(m.Rate.Price), webpage.Ago(time.Duration(m.Rate.AgeSeconds)*time.Second)
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
	Fiat                         string
	At                           webpage.Moment
	Rate, RateNote, Implied      string
	Buy, Sell                    offerCell // best offers, from the view of a visitor
	Spread                       string
	Crossed                      bool
	Offers, ToBuy, ToSell        int64
	BuyLink, SellLink, JSON      string
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
	fiat, err := parseFiat(r)
	if err != nil {
		return "", nil, err
	}
	v, at, err := x.minuteOf(r.Context(), "/market/"+fiat, func(c *stats.Collector, q stats.Query) (any, error) {
		return x.marketFigures(r, c, fiat, q)
	})
	if errors.Is(err, errNoMarket) {
		return "", nil, refuse(http.StatusNotFound, (&frame{}).T("market.unknown", fiat))
	}
	if err != nil {
		return "", nil, err
	}
	m, now := v.(*marketFigures), x.index.Now()
	d := &marketData{frame: frame{Page: "market"}, Fiat: fiat, At: at, Spread: premiumOf(m.SpreadPct), Crossed: m.SpreadPct != nil && *m.SpreadPct < 0,
		Buy: cellOf(m.Ask), Sell: cellOf(m.Bid), Offers: m.Offers, ToBuy: m.marketItem.Sell, ToSell: m.marketItem.Buy, Unleveled: m.Unleveled, Unsized: m.Unsized,
		BuyLink: "/?side=sell&fiat=" + fiat, SellLink: "/?side=buy&fiat=" + fiat, JSON: "/api/v1/market/" + fiat, Series: "/api/v1/market/" + fiat + "/series", SurvivalJS: "/api/v1/stats/survival?fiat=" + fiat}
	d.Title, d.Description = d.T("market.title", fiat), d.T("market.description", fiat, m.Offers)
	if m.Rate != nil {
		d.Rate = priceText(m.Rate.Price)
		d.RateNote = d.T("market.signed", m.Rate.Nodes, webpage.Ago(time.Duration(m.Rate.AgeSeconds)*time.Second))
	}
	if m.Implied != nil {
		d.Implied = priceText(m.Implied.Rate.String())
	}
	d.depth(m)
	d.rates(m.rates)
	d.time(&m.survival)
	for _, b := range m.Best[:min(len(m.Best), shownBest)] {
		row := bestRow{Platform: b.Platform, Buy: cellOf(b.Ask), Sell: cellOf(b.Bid)}
		row.publisherCell = x.publisherCell(b.Pubkey, b.Platform, now)
		if rank := x.rankOf(b.Pubkey); rank != nil {
			row.Rank = strconv.Itoa(*rank)
		}
		d.Best = append(d.Best, row)
	}
	d.BestLeft = len(m.Best) - len(d.Best)
	d.methods(m.methods)
	for _, p := range m.marketView.Crossed[:min(len(m.marketView.Crossed), shownPairs)] {
		row := pairRow{Gap: premiumOf(&p.GapPct), Methods: strings.Join(p.Methods[:min(len(p.Methods), shownMethods)], ", "), Buy: pageOf(p.BuyAt), Sell: pageOf(p.SellAt)}
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

func (x marketPages) publisherCell(pubkey, platform string, now time.Time) publisherCell {
	c := publisherCell{Link: "/?open=any&instance=" + pubkey, Key: pubkey[:8], Note: x.noteRow(lang.Default, x.index.NoteOf(pubkey, platform), now)}
	c.Name = cmp.Or(x.index.NameFor(&mostro.Order{Pubkey: pubkey, Platform: platform}), c.Key+"…")
	if x.index.IsInstance(pubkey) {
		c.Link = "/instances/" + pubkey
	}
	return c
}

// pageOf returns the page of an order, by its path in the API.
func pageOf(api *string) string {
	if api == nil {
		return ""
	}
	return strings.TrimPrefix(*api, "/api/v1")
}

func cellOf(b *bestView) offerCell {
	if b == nil {
		return offerCell{}
	}
	c := offerCell{Level: premiumOf(b.LevelPct), Link: pageOf(b.Order)}
	if !b.Price.IsNull() {
		c.Price = priceText(b.Price.String())
	}
	return c
}

func levelOf(b *bestView) string {
	if b == nil {
		return ""
	}
	return premiumOf(b.LevelPct)
}

// premiumOf returns a premium as text, "" if it is unknown.
func premiumOf(f *float64) string {
	if f == nil {
		return ""
	}
	d, err := mostro.ParseDecimal(strconv.FormatFloat(math.Round(*f*100)/100, 'f', -1, 64))
	if err != nil {
		return ""
	}
	return premiumText(&d)
}

// priceText returns a price with about six digits.
func priceText(decimal string) string {
	f, err := strconv.ParseFloat(decimal, 64)
	switch {
	case err != nil:
		return decimal
	case f >= 1000:
		return webpage.Grouped(strconv.FormatFloat(f, 'f', 0, 64))
	case f >= 1:
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
	return strconv.FormatFloat(f, 'g', 4, 64)
}

func count(n int64) string { return webpage.Grouped(strconv.FormatInt(n, 10)) }

// hundredths of a percent are the numbers below the chart of the depth.
func hundredths(f float64) int64 { return int64(math.Round(max(-1e9, min(1e9, f)) * 100)) }

// depth sets the chart of the offers by premium.
func (d *marketData) depth(m *marketFigures) {
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
		if l := m.Bids[i]; near(l.Level) {
			above := int64(0)
			if i > 0 {
				above = m.Bids[i-1].Cumulative
			}
			bids = append(bids, plot.Point{At: hundredths(l.Level), Value: float64(l.Cumulative)}, plot.Point{At: hundredths(l.Level + 1), Value: float64(above)})
		}
	}
	for _, l := range m.Asks {
		if near(l.Level) {
			asks = append(asks, plot.Point{At: hundredths(l.Level), Value: float64(l.Cumulative)})
		}
	}
	if n := len(asks); n > 0 {
		asks = append(asks, plot.Point{At: hundredths(middle + depthAround), Value: asks[n-1].Value})
	}
	d.Depth = figureOf(&plot.Chart{Title: d.T("market.depth"), Unit: "sats", Shape: plot.Steps, Number: true, Zero: true, Description: d.T("market.depth.desc", d.ToSell, d.ToBuy),
		Label: func(at int64) string { return strconv.FormatInt(at/100, 10) + " %" },
		Lines: []plot.Line{{Name: d.T("market.bids"), Points: bids}, {Name: d.T("market.asks"), Points: asks}}}, d.T("market.depth.note"))
	d.Depth.Head = []string{d.T("market.premium"), d.T("market.side"), d.T("market.offers"), d.T("market.sats"), d.T("market.sum")}
	left := 0
	for i, side := range [][]stats.DepthLevel{m.Asks, m.Bids} {
		name := d.T([]string{"market.asks", "market.bids"}[i])
		for _, l := range side[:min(len(side), shownLevels)] {
			from, until := l.Level, l.Level+1
			d.Depth.Rows = append(d.Depth.Rows, []string{d.T("market.level", premiumOf(&from), premiumOf(&until)), name, count(l.Orders), count(l.Sats), count(l.Cumulative)})
		}
		left += max(0, len(side)-shownLevels)
	}
	if left > 0 {
		d.Depth.More = d.T("market.levels.left", left)
	}
}

// rates sets the chart of prices by day.
func (d *marketData) rates(points []stats.RatePoint) {
	implied, signed, known := plot.Line{Name: d.T("market.implied")}, plot.Line{Name: d.T("market.rate")}, false
	for _, p := range points {
		implied.Points = append(implied.Points, plot.Point{At: p.From, Value: p.Rate.Float()})
		implied.Low = append(implied.Low, plot.Point{At: p.From, Value: p.Low.Float()})
		implied.High = append(implied.High, plot.Point{At: p.From, Value: p.High.Float()})
		signed.Points = append(signed.Points, plot.Point{At: p.From, Value: p.Signed.Float()})
		known = known || !p.Rate.IsNull() || !p.Signed.IsNull()
	}
	if !known {
		return
	}
	d.Rates = figureOf(&plot.Chart{Title: d.T("market.rates", d.Fiat), Unit: d.Fiat, Lines: []plot.Line{implied, signed}, Label: dayText}, d.T("market.rates.note"))
	d.Rates.Head = []string{d.T("market.day"), d.T("market.implied"), d.T("market.interval"), d.T("market.samples"), d.T("market.rate")}
	text := func(v stats.Value) string {
		if v.IsNull() {
			return "–"
		}
		return priceText(v.String())
	}
	for _, p := range slices.Backward(points) {
		if p.Samples == 0 && p.Signed.IsNull() {
			continue
		}
		between := "–"
		if !p.Low.IsNull() {
			between = text(p.Low) + "–" + text(p.High)
		}
		d.Rates.Rows = append(d.Rates.Rows, []string{time.Unix(p.From, 0).UTC().Format(time.DateOnly), text(p.Rate), between, count(int64(p.Samples)), text(p.Signed)})
	}
}

// dayText returns a day without its year, in the order of ISO 8601.
func dayText(t int64) string { return time.Unix(t, 0).UTC().Format("01-02") }

// time sets the chart of the share of orders that are taken by their age.
func (d *marketData) time(s *stats.Survival) {
	if d.Orders = s.Orders; s.Taken == 0 {
		return
	}
	d.Taken = percentOf(float64(s.Taken) / float64(s.Orders))
	if !s.Median.IsNull() {
		d.Median = webpage.Ago(time.Duration(s.Median.Float()) * time.Second)
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
	line := plot.Line{Name: d.T("market.taken")}
	for hour := int64(0); hour <= day; hour++ {
		line.Points = append(line.Points, plot.Point{At: hour, Value: shareAt(hour * 3600)})
	}
	d.Time = figureOf(&plot.Chart{Title: d.T("market.time"), Unit: "%", Lines: []plot.Line{line}, Shape: plot.Steps, Number: true, Zero: true,
		Label: func(at int64) string { return strconv.FormatInt(at, 10) + " h" }}, d.T("market.time.note", pageDays))
	d.Time.Head = []string{d.T("market.within"), d.T("market.taken")}
	for _, age := range []time.Duration{15 * time.Minute, time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour} {
		d.Time.Rows = append(d.Time.Rows, []string{webpage.Ago(age), percentOf(shareAt(int64(age.Seconds())) / 100)})
	}
}

func percentOf(share float64) string {
	return strconv.FormatFloat(math.Round(share*1000)/10, 'f', -1, 64) + " %"
}

// methods sets the payment methods with the most offers.
func (d *marketData) methods(all map[string]*methodOffers) {
	for _, m := range all {
		d.Methods = append(d.Methods, methodRow{Text: m.text, Link: "/?fiat=" + d.Fiat + "&method=" + url.QueryEscape(m.text), Buy: m.sell, Sell: m.buy, Total: m.buy + m.sell})
	}
	slices.SortFunc(d.Methods, func(a, b methodRow) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), strings.Compare(strings.ToLower(a.Text), strings.ToLower(b.Text)))
	})
	d.Methods = d.Methods[:min(len(d.Methods), pageMethods)]
	for i := range d.Methods {
		d.Methods[i].Width = strconv.Itoa(max(2, d.Methods[i].Total*shareOfTrack/d.Methods[0].Total))
	}
}
