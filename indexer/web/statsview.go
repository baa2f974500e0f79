package web

import (
	"encoding/json"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/indexer/stats"
)

// JSON of the statistics. The names generated_at, range, metrics, name, kind, unit and value,
// and their forms, are those of bestiario, an earlier program of this field.

// header is the begin of each answer over a window.
type header struct {
	GeneratedAt     string       `json:"generated_at" doc:"time of the answer, RFC 3339"`
	GeneratedAtUnix int64        `json:"generated_at_unix" unit:"unix seconds"`
	Range           rangeOfTime  `json:"range"`
	Clock           string       `json:"clock" doc:"signed or witnessed"`
	Coverage        coverageView `json:"coverage"`
}

type rangeOfTime struct {
	From      string `json:"from" doc:"begin of the window, RFC 3339"`
	Until     string `json:"until" doc:"end of the window, not included, RFC 3339"`
	FromUnix  int64  `json:"from_unix" unit:"unix seconds"`
	UntilUnix int64  `json:"until_unix" unit:"unix seconds"`
}

type coverageView struct {
	WitnessedFrom    *int64               `json:"witnessed_from" unit:"unix seconds" null:"no event was witnessed" doc:"receipt of the first event that this relay received when it was published"`
	WitnessedFromRFC *string              `json:"witnessed_from_rfc3339" null:"no event was witnessed"`
	ReceivedUntil    *int64               `json:"received_until" unit:"unix seconds" null:"no event counts" doc:"receipt of the last event"`
	SignedFrom       *int64               `json:"signed_from" unit:"unix seconds" null:"no event counts" doc:"least created_at"`
	Witnessed        int64                `json:"witnessed" unit:"events" doc:"events that were received when they were published"`
	History          int64                `json:"history" unit:"events" doc:"events from imports and from catching up"`
	Complete         bool                 `json:"complete" doc:"this relay witnessed the whole window, as far as it was up"`
	Sources          []stats.SourceCounts `json:"sources" doc:"events by road and relay"`
}

func coverageOf(c stats.Coverage) coverageView {
	v := coverageView{Witnessed: c.Witnessed, History: c.History, Complete: c.Complete, Sources: c.Sources}
	if v.Sources == nil {
		v.Sources = []stats.SourceCounts{}
	}
	v.WitnessedFrom = positive(c.WitnessedFrom)
	if v.WitnessedFrom != nil {
		v.WitnessedFromRFC = new(rfcUnix(c.WitnessedFrom))
	}
	v.ReceivedUntil, v.SignedFrom = positive(c.ReceivedUntil), positive(c.SignedFrom)
	return v
}

// positive returns nil for 0, which means unknown.
func positive(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

type statsView struct {
	header
	Metrics []figureView `json:"metrics"`
}

// figureView is one figure. A fiat amount is an object with amount and code, as in bestiario.
type figureView struct {
	Name      string      `json:"name" doc:"name of the metric"`
	Kind      string      `json:"kind" doc:"observed, witnessed or inferred"`
	Unit      string      `json:"unit" doc:"count, sats, ratio, seconds, days, percent, time (unix seconds), fiat or text"`
	Value     figureValue `json:"value" null:"no denominator, no sample, or a sum above 2^63-1"`
	Error     *string     `json:"error,omitempty" doc:"reason why the value is null, if there is one"`
	Events    int64       `json:"events" unit:"events" doc:"events that the figure counts"`
	Witnessed int64       `json:"witnessed" unit:"events" doc:"of these, the witnessed ones"`
	Source    *string     `json:"source" null:"the figure counts no single events" doc:"path of the list of these events"`
}

// figureValue is a number, a text, an amount of fiat, or null.
type figureValue struct {
	value stats.Value
	code  string // currency, if the unit is fiat
}

type fiatValue struct {
	Amount string `json:"amount" doc:"decimal"`
	Code   string `json:"code" doc:"currency"`
}

// MarshalJSON implements json.Marshaler.
func (v figureValue) MarshalJSON() ([]byte, error) {
	if v.code != "" && !v.value.IsNull() {
		return json.Marshal(fiatValue{v.value.String(), v.code})
	}
	return v.value.MarshalJSON()
}

// viewOfFigure returns the JSON of a figure of a query.
func viewOfFigure(f stats.Figure, q *stats.Query) figureView {
	v := figureView{Name: f.Name, Kind: string(f.Kind), Unit: string(f.Unit), Value: figureValue{value: f.Value}, Error: textOrNull(f.Error), Events: f.Events, Witnessed: f.Witnessed}
	if f.Unit == stats.UnitFiat {
		v.Value.code = currencyOf(f.Name, q.In)
	}
	if stats.HasSources(f.Name) {
		v.Source = new("/api/v1/stats/events?" + queryOf(f.Name, q).Encode())
	}
	return v
}

// currencyOf returns the currency of a figure in fiat.
func currencyOf(name, in string) string {
	if rest, ok := strings.CutPrefix(name, "volume.fiat."); ok {
		return rest[:max(0, strings.LastIndexByte(rest, '.'))]
	}
	return in
}

// queryOf returns the parameters of a query for one metric.
func queryOf(metric string, q *stats.Query) url.Values {
	v := url.Values{"metric": {metric}, "from": {strconv.FormatInt(q.From, 10)}, "until": {strconv.FormatInt(q.Until, 10)}}
	for dim, all := range q.Filter {
		v[string(dim)] = all
	}
	if q.Clock == stats.Witnessed {
		v.Set("clock", q.Clock.String())
	}
	if q.In != "" {
		v.Set("in", q.In)
	}
	return v
}

type definitionList struct {
	Items []definitionView `json:"items"`
}

type definitionView struct {
	Name    string `json:"name" doc:"name; {code} stands for a currency, {method} for a payment method"`
	Unit    string `json:"unit"`
	Kind    string `json:"kind" doc:"observed or inferred; with clock=witnessed, observed figures are witnessed"`
	Kinds   []int  `json:"event_kinds" doc:"kinds of the events"`
	Formula string `json:"formula"`
	Series  bool   `json:"series" doc:"the metric has a series"`
}

type pointView struct {
	From     int64  `json:"from" unit:"unix seconds"`
	FromRFC  string `json:"from_rfc3339"`
	Until    int64  `json:"until" unit:"unix seconds"`
	UntilRFC string `json:"until_rfc3339"`
	figureView
}

type seriesView struct {
	header
	Metric string      `json:"metric"`
	By     string      `json:"by"`
	Points []pointView `json:"points" doc:"one for each bucket that overlaps the window, oldest first"`
}

type groupView struct {
	Group string `json:"group" doc:"value of the dimension"`
	figureView
}

type groupsView struct {
	header
	Metric string      `json:"metric"`
	Split  string      `json:"split"`
	Total  int         `json:"total" doc:"number of groups; at most 500 are listed"`
	Groups []groupView `json:"groups" doc:"greatest value first"`
}

type survivalView struct {
	header
	Kind string `json:"kind"`
	stats.Survival
}

type sourceView struct {
	EventID       string  `json:"event_id"`
	Pubkey        string  `json:"pubkey"`
	Kind          int     `json:"event_kind"`
	CreatedAt     int64   `json:"created_at" unit:"unix seconds"`
	CreatedAtRFC  string  `json:"created_at_rfc3339"`
	ReceivedAt    int64   `json:"received_at" unit:"unix seconds" doc:"receipt by this relay"`
	ReceivedAtRFC string  `json:"received_at_rfc3339"`
	ReceivedBy    string  `json:"received_by" doc:"road on which the event arrived"`
	Witnessed     bool    `json:"witnessed" doc:"received when it was published"`
	Deleted       bool    `json:"deleted" doc:"its author deleted the event; only its facts are kept"`
	Event         *string `json:"event" null:"deleted" doc:"path of the signed event"`
}

type sourcesView struct {
	header
	Metric     string       `json:"metric"`
	Items      []sourceView `json:"items" doc:"in the order of receipt"`
	NextCursor *string      `json:"next_cursor" null:"this is the last page"`
}

type policyChange struct {
	At      int64   `json:"at" unit:"unix seconds" doc:"created_at of the first info with this policy"`
	AtRFC   string  `json:"at_rfc3339"`
	EventID *string `json:"event_id" null:"the info is hidden by the operator"`
	stats.Policy
}

type instanceStats struct {
	Pubkey string `json:"pubkey"`
	header
	Metrics  []figureView   `json:"metrics"`
	Policies []policyChange `json:"policies" doc:"in force in the window, oldest first"`
}

// finite returns nil for NaN.
func finite(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}
