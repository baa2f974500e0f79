package web

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/mostro"
)

// figures answers the routes about statistics and markets. Its answers have tags by the
// position of the last event that counts, so that a client that polls costs little.
type figures struct {
	*views
	answers *answers
}

type excluded = []map[[32]byte]struct{}

// rowMaker is Site.API.
type rowMaker func(path, name, summary string, get func(*http.Request) (any, error)) route.Route

// described returns a row with the description of its answer and of its parameters.
func described(r route.Route, answer any, params ...route.Param) route.Route {
	r.Answer, r.Params = answer, params
	return r
}

// Parameters that several routes have.
var (
	paramFrom    = route.Param{Name: "from", Doc: "begin of the window, in unix seconds or RFC 3339; default: 30 days before until"}
	paramUntil   = route.Param{Name: "until", Doc: "end of the window, not included, in unix seconds or RFC 3339; default: the end of the present minute"}
	paramClock   = route.Param{Name: "clock", Enum: []string{"signed", "witnessed"}, Default: "signed", Doc: "signed dates events by created_at; witnessed counts only events that this relay received live, dated by receipt"}
	paramMetric  = route.Param{Name: "metric", Needed: true, Doc: "name of a metric, from /api/v1/stats/metrics"}
	paramBy      = route.Param{Name: "by", Enum: []string{"hour", "day", "week", "month"}, Default: "day", Doc: "width of a bucket, in UTC; weeks begin on Monday"}
	paramInclude = route.Param{Name: "include", Enum: []string{"spam"}, Doc: "spam: events of quarantined keys count"}
	paramAt      = route.Param{Name: "at", Doc: "past time in unix seconds or RFC 3339; default: now"}
	paramStep    = route.Param{Name: "step", Type: "number", Default: "1", Doc: "width of a level of the depth in percent, from 0.01 to 100"}
	paramFiat    = route.Param{Name: "fiat", InPath: true, Doc: "currency code, such as VES"}
	paramPubkey  = route.Param{Name: "pubkey", InPath: true, Doc: "public key, in hex or as npub"}
)

// dimensionParams are the parameters that filter by dimension.
func dimensionParams(but ...stats.Dimension) (out []route.Param) {
	doc := map[stats.Dimension]string{
		stats.ByInstance: "public key of a publisher, in hex or as npub", stats.ByFiat: "currency code", stats.BySide: "side of the maker",
		stats.ByPlatform: "mostro, robosats, lnp2pbot, ...", stats.ByNetwork: "mainnet, testnet, signet or regtest", stats.ByMethod: "payment method as its makers write it",
	}
	for _, dim := range stats.Dimensions {
		if slices.Contains(but, dim) {
			continue
		}
		p := route.Param{Name: string(dim), Many: true, Doc: doc[dim]}
		if dim == stats.BySide {
			p.Enum = []string{"buy", "sell"}
		}
		out = append(out, p)
	}
	return out
}

// windowParams are the parameters of a query over a window, behind params.
func windowParams(params ...route.Param) []route.Param {
	params = append(params, paramFrom, paramUntil)
	params = append(params, dimensionParams()...)
	return append(params, paramClock, route.Param{Name: "in", Doc: "currency of volume.in.*"}, paramInclude)
}

func (x *figures) routes(row rowMaker) []route.Route {
	limit := route.Param{Name: "limit", Type: "integer", Default: "100", Doc: "events of a page, from 1 to 500"}
	cursor := route.Param{Name: "cursor", Doc: "next_cursor of the page before"}
	split := route.Param{Name: "split", Needed: true, Enum: []string{"instance", "fiat", "side", "platform", "network", "method"}, Doc: "dimension of the groups"}
	return []route.Route{
		described(row("/api/v1/stats", "stats", "all metrics of a window: metric from until instance fiat side platform network method clock in", x.document),
			statsView{}, windowParams(route.Param{Name: "metric", Many: true, Doc: "name of a metric, from /api/v1/stats/metrics; default: all"})...),
		described(row("/api/v1/stats/metrics", "stats_metrics", "names, units, kinds and formulas of the metrics", x.definitions), definitionList{}),
		described(row("/api/v1/stats/series", "stats_series", "one metric by=hour|day|week|month", x.series), seriesView{}, windowParams(paramMetric, paramBy)...),
		described(row("/api/v1/stats/groups", "stats_groups", "one metric split=instance|fiat|side|platform|network|method", x.groups), groupsView{}, windowParams(paramMetric, split)...),
		described(row("/api/v1/stats/events", "stats_events", "the signed events behind one metric; limit cursor", x.sources), sourcesView{}, windowParams(paramMetric, limit, cursor)...),
		described(row("/api/v1/stats/survival", "stats_survival", "time until orders are taken (Kaplan-Meier)", x.survival), survivalView{}, windowParams()...),
		described(row("/api/v1/market", "market", "each currency: offers, best bid and ask, rate; at=TIME", x.markets), marketList{}, append(dimensionParams(stats.ByFiat), paramAt, paramClock, paramInclude)...),
		described(row("/api/v1/market/{fiat}", "market_fiat", "depth, best offers of each instance, crossed pairs, spread, implied rate; at=TIME step", x.market),
			marketView{}, append(dimensionParams(stats.ByFiat), paramFiat, paramAt, paramStep, paramClock, paramInclude)...),
		described(row("/api/v1/market/{fiat}/series", "market_series", "implied_rate or one metric of this currency, by=hour|day|week|month", x.marketSeries), marketSeries{},
			append([]route.Param{paramFiat, {Name: "metric", Default: "implied_rate", Doc: "implied_rate, or the name of a metric"}, paramBy,
				{Name: "trim", Type: "number", Default: "0.1", Doc: "share of the prices that is cut off at each end, below 0.5; for implied_rate"}, paramFrom, paramUntil, paramClock, paramInclude},
				dimensionParams(stats.ByFiat)...)...),
		described(row("/api/v1/instances/{pubkey}/stats", "instance_stats", "all metrics of one instance, and its policies over time; from until at=TIME", x.ofInstance), instanceStats{},
			append([]route.Param{paramPubkey, paramFrom, paramUntil, {Name: "at", Doc: "the same as until"}, paramClock, {Name: "in", Doc: "currency of volume.in.*"}, paramInclude}, dimensionParams(stats.ByInstance)...)...),
	}
}

// roundUp returns t, rounded up to a multiple of step seconds.
func roundUp(t int64, step int64) int64 { return (t + step - 1) / step * step }

// Widths to which the default times of queries are rounded up, in seconds, so that the tag of
// an answer is valid for some time. A book is rounded up and not down, so that no expired
// order is in it.
const (
	windowStep = 60
	bookStep   = 10
)

// asked parses the parameters of a route. Public keys may be npubs.
func (x *figures) asked(r *http.Request, known []route.Param) (q stats.Query, values url.Values, err error) {
	values = r.URL.Query()
	if err := checkParams(values, known); err != nil {
		return q, nil, err
	}
	for i, v := range values["instance"] {
		if v = strings.TrimSpace(v); v != "" {
			if values["instance"][i], err = orders.ParsePubkey(v); err != nil {
				return q, nil, &orders.QueryError{Param: "instance", Reason: err.Error()}
			}
		}
	}
	now := x.index.Now().Unix()
	if q, err = stats.ParseQuery(values, roundUp(now, windowStep)); err != nil {
		return q, nil, err
	}
	if err := wellFormed(values); err != nil {
		return q, nil, err
	}
	if q.Until > roundUp(now, windowStep) {
		return q, nil, &orders.QueryError{Param: "until", Reason: "lies in the future"}
	}
	return q, values, nil
}

// wellFormed checks the values of parameters with a list of values.
func wellFormed(values url.Values) error {
	switch v := strings.TrimSpace(values.Get("include")); v {
	case "", "spam":
		return nil
	default:
		return &orders.QueryError{Param: "include", Reason: fmt.Sprintf("%q is not spam", v)}
	}
}

// later returns the answer to a query. Its tag is made of the position of the last event that
// counts, the window, the rules and the minute of the answer.
func (x *figures) later(r *http.Request, from, until int64, fn func(c *stats.Collector, hidden excluded) (any, error)) (any, error) {
	var changed uint64
	if err := x.index.View(true, func(c *stats.Collector, _ excluded) error {
		changed = c.Changed()
		return nil
	}); err != nil {
		return nil, err
	}
	tag := fmt.Sprintf("%x.%x.%x.%x", changed, from, until, x.index.RulesVersion())
	return x.answers.lazy(r, tag, func() (v any, err error) {
		err = x.index.View(wantsSpam(r), func(c *stats.Collector, hidden excluded) error {
			v, err = fn(c, hidden)
			return err
		})
		return v, err
	}), nil
}

// maxMetrics bounds the metrics that a request of /api/v1/stats names.
const maxMetrics = 50

func (x *figures) document(r *http.Request) (any, error) {
	q, values, err := x.asked(r, windowParams(route.Param{Name: "metric", Many: true}))
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(values["metric"], func(s string) bool { return strings.TrimSpace(s) == "" })
	if len(names) > maxMetrics {
		return nil, &orders.QueryError{Param: "metric", Reason: "is given more than " + strconv.Itoa(maxMetrics) + " times"}
	}
	return x.later(r, q.From, q.Until, func(c *stats.Collector, hidden excluded) (any, error) {
		q.Exclude = hidden
		out := &statsView{header: x.header(c, &q), Metrics: []figureView{}}
		if len(names) == 0 {
			doc, err := c.Document(q)
			if err != nil {
				return nil, err
			}
			for _, f := range doc.Metrics {
				out.Metrics = append(out.Metrics, viewOfFigure(f, &q))
			}
			return out, nil
		}
		for _, name := range names {
			f, err := c.Metric(name, q)
			if err != nil {
				return nil, err
			}
			out.Metrics = append(out.Metrics, viewOfFigure(f, &q))
		}
		return out, nil
	})
}

func (x *figures) definitions(r *http.Request) (any, error) {
	if err := checkParams(r.URL.Query(), nil); err != nil {
		return nil, err
	}
	out := definitionList{Items: []definitionView{}}
	for _, d := range stats.Definitions() {
		v := definitionView{Name: d.Name, Unit: string(d.Unit), Kind: string(d.Kind), Kinds: []int{}, Formula: d.Formula, Series: d.HasSeries()}
		for kind := range strings.SplitSeq(d.Events, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(kind))
			if err != nil {
				return nil, fmt.Errorf("kinds of %s: %w", d.Name, err)
			}
			v.Kinds = append(v.Kinds, n)
		}
		out.Items = append(out.Items, v)
	}
	return out, nil
}

// maxSeries bounds the points of one series.
const maxSeries = 5000

// bucketsOf returns the width of the buckets of a series, or an error if the series is too long.
func bucketsOf(values url.Values, q *stats.Query) (stats.Every, error) {
	by := stats.Every(strings.TrimSpace(values.Get("by")))
	if by == "" {
		by = stats.Day
	}
	width := map[stats.Every]int64{stats.Hour: 3600, stats.Day: 86400, stats.Week: 7 * 86400, stats.Month: 28 * 86400}[by]
	switch {
	case width == 0:
		return "", &orders.QueryError{Param: "by", Reason: fmt.Sprintf("%q is not hour, day, week or month", by)}
	case (q.Until-q.From)/width >= maxSeries:
		return "", &orders.QueryError{Param: "by", Reason: fmt.Sprintf("the window has more than %d buckets; choose wider ones", maxSeries)}
	}
	return by, nil
}

func (x *figures) series(r *http.Request) (any, error) {
	q, values, err := x.asked(r, windowParams(paramMetric, paramBy))
	if err != nil {
		return nil, err
	}
	by, err := bucketsOf(values, &q)
	if err != nil {
		return nil, err
	}
	return x.later(r, q.From, q.Until, func(c *stats.Collector, hidden excluded) (any, error) {
		q.Exclude = hidden
		return x.seriesOf(c, values.Get("metric"), q, by)
	})
}

func (x *figures) seriesOf(c *stats.Collector, metric string, q stats.Query, by stats.Every) (*seriesView, error) {
	points, err := c.Series(metric, q, by)
	if err != nil {
		return nil, err
	}
	out := &seriesView{header: x.header(c, &q), Metric: metric, By: string(by), Points: []pointView{}}
	for _, p := range points {
		one := q
		one.From, one.Until = p.From, p.Until
		out.Points = append(out.Points, pointView{From: p.From, FromRFC: rfcUnix(p.From), Until: p.Until, UntilRFC: rfcUnix(p.Until), figureView: viewOfFigure(p.Figure, &one)})
	}
	return out, nil
}

// maxGroups bounds the groups of one answer. Those with the greatest values are kept.
const maxGroups = 500

func (x *figures) groups(r *http.Request) (any, error) {
	q, values, err := x.asked(r, windowParams(paramMetric, route.Param{Name: "split", Needed: true}))
	if err != nil {
		return nil, err
	}
	dim := stats.Dimension(strings.TrimSpace(values.Get("split")))
	return x.later(r, q.From, q.Until, func(c *stats.Collector, hidden excluded) (any, error) {
		q.Exclude = hidden
		points, err := c.Groups(values.Get("metric"), q, dim)
		if err != nil {
			return nil, err
		}
		out := &groupsView{header: x.header(c, &q), Metric: values.Get("metric"), Split: string(dim), Groups: []groupView{}, Total: len(points)}
		for _, p := range points[:min(len(points), maxGroups)] {
			one := q
			one.Filter = stats.Filter{dim: {p.Group}}
			for d, v := range q.Filter {
				if d != dim {
					one.Filter[d] = v
				}
			}
			out.Groups = append(out.Groups, groupView{Group: p.Group, figureView: viewOfFigure(p.Figure, &one)})
		}
		return out, nil
	})
}

func (x *figures) survival(r *http.Request) (any, error) {
	q, _, err := x.asked(r, windowParams())
	if err != nil {
		return nil, err
	}
	return x.later(r, q.From, q.Until, func(c *stats.Collector, hidden excluded) (any, error) {
		q.Exclude = hidden
		s, err := c.Survival(q)
		if err != nil {
			return nil, err
		}
		if s.Steps == nil {
			s.Steps = []stats.SurvivalStep{}
		}
		return &survivalView{header: x.header(c, &q), Kind: "inferred", Survival: s}, nil
	})
}

// sourceCursor is the position in a list of events. It holds the window, because the default
// window moves on between two pages.
type sourceCursor struct {
	query       [8]byte // hash of the other parameters
	from, until int64
	after       uint64
}

// queryHash returns a hash of all parameters but those of paging.
func queryHash(values url.Values) (out [8]byte) {
	rest := url.Values{}
	for name, all := range values {
		if name != "cursor" && name != "limit" {
			rest[name] = all
		}
	}
	sum := sha256.Sum256([]byte(rest.Encode()))
	copy(out[:], sum[:])
	return out
}

func (c sourceCursor) String() string {
	b := append([]byte{1}, c.query[:]...)
	for _, n := range []uint64{uint64(c.from), uint64(c.until), c.after} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseSourceCursor(text string, query [8]byte) (c sourceCursor, err error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != 1+8+3*8 || b[0] != 1 || [8]byte(b[1:9]) != query {
		return c, &orders.QueryError{Param: "cursor", Reason: "not a cursor of this query; start again without it"}
	}
	return sourceCursor{query: query, from: int64(binary.BigEndian.Uint64(b[9:])), until: int64(binary.BigEndian.Uint64(b[17:])), after: binary.BigEndian.Uint64(b[25:])}, nil
}

// limitOf returns the parameter limit.
func limitOf(values url.Values, otherwise int) (int, error) {
	text := strings.TrimSpace(values.Get("limit"))
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > orders.MaxLimit {
		return 0, &orders.QueryError{Param: "limit", Reason: fmt.Sprintf("%q is not a whole number from 1 to %d", text, orders.MaxLimit)}
	}
	return n, nil
}

func (x *figures) sources(r *http.Request) (any, error) {
	q, values, err := x.asked(r, windowParams(paramMetric, route.Param{Name: "limit"}, route.Param{Name: "cursor"}))
	if err != nil {
		return nil, err
	}
	limit, err := limitOf(values, 100)
	if err != nil {
		return nil, err
	}
	at := sourceCursor{query: queryHash(values), from: q.From, until: q.Until}
	if text := strings.TrimSpace(values.Get("cursor")); text != "" {
		if at, err = parseSourceCursor(text, at.query); err != nil {
			return nil, err
		}
		q.From, q.Until = at.from, at.until
	}
	return x.later(r, q.From, q.Until, func(c *stats.Collector, hidden excluded) (any, error) {
		q.Exclude = hidden
		seqs, err := c.Sources(values.Get("metric"), q, at.after, limit+1)
		if err != nil {
			return nil, err
		}
		out := &sourcesView{header: x.header(c, &q), Metric: values.Get("metric"), Items: []sourceView{}}
		if len(seqs) > limit {
			seqs = seqs[:limit]
			at.after = seqs[limit-1]
			out.NextCursor = new(at.String())
		}
		for _, seq := range seqs {
			e, err := x.index.EntryAt(r.Context(), seq, wantsSpam(r))
			if errors.Is(err, mostro.ErrNotFound) {
				continue // hidden by the operator
			}
			if err != nil {
				return nil, err
			}
			v := sourceView{EventID: e.Event.ID, Pubkey: e.Event.PubKey, Kind: e.Event.Kind, CreatedAt: int64(e.Event.CreatedAt), CreatedAtRFC: rfcUnix(int64(e.Event.CreatedAt)),
				ReceivedAt: e.ReceivedAt.Unix(), ReceivedAtRFC: rfc(e.ReceivedAt), ReceivedBy: e.Source.String(), Witnessed: e.Source.Origin.Witnessed(), Deleted: e.Erased}
			if !e.Erased {
				v.Event = new("/api/v1/events/" + e.Event.ID)
			}
			out.Items = append(out.Items, v)
		}
		return out, nil
	})
}

func (x *figures) ofInstance(r *http.Request) (any, error) {
	pubkey, err := orders.ParsePubkey(r.PathValue("pubkey"))
	if err != nil {
		return nil, &orders.QueryError{Param: "pubkey", Reason: err.Error()}
	}
	values := r.URL.Query()
	if at := values.Get("at"); at != "" && values.Get("until") == "" {
		values.Set("until", at)
		r = r.Clone(r.Context())
		r.URL.RawQuery = values.Encode()
	}
	q, _, err := x.asked(r, append([]route.Param{paramFrom, paramUntil, {Name: "at"}, paramClock, {Name: "in"}, paramInclude}, dimensionParams(stats.ByInstance)...))
	if err != nil {
		return nil, err
	}
	if err := x.index.Visible(r.Context(), pubkey, "", wantsSpam(r)); err != nil {
		return nil, err
	}
	if q.Filter == nil {
		q.Filter = stats.Filter{}
	}
	q.Filter[stats.ByInstance] = []string{pubkey}
	return x.later(r, q.From, q.Until, func(c *stats.Collector, hidden excluded) (any, error) {
		q.Exclude = hidden
		doc, err := c.Document(q)
		if err != nil {
			return nil, err
		}
		policies, err := c.Policies(pubkey, q.From, q.Until)
		if err != nil {
			return nil, err
		}
		out := &instanceStats{Pubkey: pubkey, header: x.header(c, &q), Metrics: []figureView{}, Policies: []policyChange{}}
		for _, f := range doc.Metrics {
			out.Metrics = append(out.Metrics, viewOfFigure(f, &q))
		}
		for _, p := range policies {
			v := policyChange{At: p.At, AtRFC: rfcUnix(p.At), Policy: p.Policy}
			if e, err := x.index.EntryAt(r.Context(), p.Seq, wantsSpam(r)); err == nil {
				v.EventID = &e.Event.ID
			}
			out.Policies = append(out.Policies, v)
		}
		return out, nil
	})
}

// header returns the part that all answers over a window share.
func (x *figures) header(c *stats.Collector, q *stats.Query) header {
	now := x.index.Now()
	return header{GeneratedAt: rfc(now), GeneratedAtUnix: now.Unix(),
		Range: rangeOfTime{From: rfcUnix(q.From), Until: rfcUnix(q.Until), FromUnix: q.From, UntilUnix: q.Until},
		Clock: q.Clock.String(), Coverage: coverageOf(c.Coverage(q.From))}
}

func rfcUnix(t int64) string { return rfc(time.Unix(t, 0)) }
