// Package bestiario writes statistics as the documents of kind 30666 that the program bestiario
// publishes, so that its readers (bestiario-fe) understand them. The package is pure.
//
// A document is a signed event. Its content is an envelope around a payload, and an index lists
// the SHA-256 of each payload. The payload is written once, compact and with its fields in the
// order that bestiario-fe expects, and the hash is of exactly these bytes: a reader that hashes
// the received bytes and a reader that writes the payload again both find the same hash.
package bestiario

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/nbd-wtf/go-nostr"
)

// Kind is the kind of all documents.
const Kind = 30666

// schemaVersion is the version of bestiario's schema.
const schemaVersion = 1

// MaxContent bounds the content of one document, as bestiario does.
const MaxContent = 64 << 10

// Windows are the windows of the reports. 0 days: all.
var Windows = []Window{{"24h", 1, "the last 24 hours"}, {"7d", 7, "the last 7 days"}, {"30d", 30, "the last 30 days"}, {"90d", 90, "the last 90 days"}, {"all", 0, "the whole archive"}}

// Window is the time of a report.
type Window struct {
	Name string
	Days int64
	text string
}

// field is a figure of a report: bestiario's name for one of our metrics.
type field struct{ name, metric string }

// Report is a list of figures about one subject.
type Report struct {
	Name    string
	text    string
	fields  []field
	perFiat []field // a figure for each currency; {code} in both names
}

func same(names ...string) (out []field) {
	for _, n := range names {
		out = append(out, field{n, n})
	}
	return out
}

// Reports are the published reports. The figures that bestiario states as texts, such as the
// three greatest currencies, are left out, and so are its reports summary, instances, compare and
// the series.
var Reports = []Report{
	{Name: "orders", text: "orders", fields: same("orders.created", "orders.completed", "orders.canceled", "orders.completion_rate", "orders.abandonment_rate",
		"orders.created_delta", "orders.completed_delta", "orders.open_now", "orders.in_progress_now")},
	{Name: "volume", text: "volume", fields: []field{{"volume.sats", "volume.sats"}, {"volume.completed", "orders.completed"}, {"volume.ticket_avg", "volume.ticket_avg"},
		{"volume.ticket_p50", "volume.ticket_p50"}, {"volume.ticket_p90", "volume.ticket_p90"}, {"volume.largest", "volume.largest"},
		{"volume.size.lt_10k", "volume.size.le_9999"}, {"volume.size.10k_50k", "volume.size.le_50000"}, {"volume.size.50k_200k", "volume.size.le_200000"},
		{"volume.size.200k_1m", "volume.size.le_1000000"}, {"volume.size.gt_1m", "volume.size.above"}, {"volume.buy_sats", "volume.buy_sats"}, {"volume.sell_sats", "volume.sell_sats"}},
		perFiat: []field{{"volume.fiat.{code}.total", "volume.fiat.{code}.total"}, {"volume.fiat.{code}.orders", "volume.fiat.{code}.orders"},
			{"volume.fiat.{code}.ticket_avg", "volume.fiat.{code}.avg"}, {"volume.fiat.{code}.ticket_p50", "volume.fiat.{code}.p50"}, {"volume.fiat.{code}.ticket_p90", "volume.fiat.{code}.p90"}}},
	{Name: "market", text: "market structure", fields: []field{{"market.orders", "orders.created"}, {"market.buy_orders_share", "market.buy_orders_share"}, {"market.buy_volume_share", "market.buy_volume_share"},
		{"market.premium_avg", "market.premium_avg"}, {"market.premium_p50", "market.premium_p50"}, {"market.premium_p50_buy", "market.premium_buy_p50"}, {"market.premium_p50_sell", "market.premium_sell_p50"},
		{"market.premium_spread", "market.spread"}, {"market.market_price_share", "market.market_price_share"}, {"market.range_share", "market.range_share"}, {"market.range_width_avg", "market.range_width_avg"},
		{"market.fiat_top3_orders_share", "market.fiat_orders_top3"}, {"market.fiat_hhi_orders", "market.fiat_orders_hhi"}, {"market.fiat_top3_volume_share", "market.fiat_sats_top3"}, {"market.fiat_hhi_volume", "market.fiat_sats_hhi"}}},
	{Name: "disputes", text: "disputes", fields: []field{{"disputes.opened", "disputes.opened"}, {"disputes.rate", "disputes.rate"}, {"disputes.resolved", "disputes.closed"},
		{"disputes.resolution_p50", "disputes.resolution_p50"}, {"disputes.resolution_p90", "disputes.resolution_p90"}, {"disputes.open_now", "disputes.open_now"}}},
	{Name: "dev-fees", text: "dev fees", fields: []field{{"dev_fees.total_sats", "dev_fees.sats"}, {"dev_fees.paid", "dev_fees.count"}, {"dev_fees.coverage", "dev_fees.coverage"},
		{"dev_fees.latency_p50", "dev_fees.latency_p50"}, {"dev_fees.latency_p90", "dev_fees.latency_p90"}, {"dev_fees.duplicates", "dev_fees.duplicates"},
		{"dev_fees.implied_volume", "dev_fees.implied_volume"}, {"dev_fees.implied_vs_observed", "dev_fees.implied_vs_observed"}}},
}

// errInferred is the reason in the figures of kind inferred.
const errInferred = "the share of the development fund is assumed to be 0.30"

// Document is the payload of one report.
type Document struct {
	D       string // address: report:window
	Alt     string
	Payload []byte
	Hash    string // SHA-256 of Payload, hex
}

// From returns the begin of a window that ends at until. first is the least created_at of all
// events.
func (w Window) From(until, first int64) int64 {
	if w.Days == 0 {
		return min(first, until-1)
	}
	return until - w.Days*86400
}

// Document returns the payload of a report over the window [from, until) from all figures of
// this window.
func (r *Report) Document(w Window, from, until int64, figures []stats.Figure) (Document, error) {
	byName := map[string]stats.Figure{}
	var codes []string
	for _, f := range figures {
		byName[f.Name] = f
		if code, ok := strings.CutPrefix(f.Name, "volume.fiat."); ok {
			if code, ok = strings.CutSuffix(code, ".total"); ok && isCode(code) {
				codes = append(codes, code)
			}
		}
	}
	b := fmt.Appendf(nil, `{"range":{"from":%s,"until":%s},"metrics":[`, quote(rfc(from)), quote(rfc(until)))
	n := 0
	add := func(f field, code string) error {
		named := func(s string) string { return strings.ReplaceAll(s, "{code}", code) }
		figure, ok := byName[named(f.metric)]
		if !ok {
			return fmt.Errorf("no figure is named %s", named(f.metric))
		}
		if n++; n > 1 {
			b = append(b, ',')
		}
		var err error
		b, err = appendMetric(b, named(f.name), code, &figure)
		return err
	}
	for _, f := range r.fields {
		if err := add(f, ""); err != nil {
			return Document{}, err
		}
	}
	if len(r.perFiat) > 0 {
		for _, code := range codes { // the greatest first, as many as fit
			if len(b) > MaxContent-4096 {
				break
			}
			for _, f := range r.perFiat {
				if err := add(f, code); err != nil {
					return Document{}, err
				}
			}
		}
	}
	b = append(b, "]}"...)
	return Document{D: r.Name + ":" + w.Name, Alt: "bestiario " + r.text + " report over " + w.text, Payload: b, Hash: hashOf(b)}, nil
}

// isCode reports whether a text has the form of a currency in bestiario's names.
func isCode(s string) bool {
	return len(s) == 3 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// rfc returns a time as bestiario writes it.
func rfc(t int64) string { return time.Unix(t, 0).UTC().Format("2006-01-02T15:04:05-07:00") }

// quote returns a JSON string without the escapes that encoding/json adds for HTML, which no other
// program would write again.
func quote(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return `""`
	}
	// encoding/json escapes the two line separators of JavaScript, and JSON.stringify does not.
	return strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029").Replace(strings.TrimSuffix(b.String(), "\n"))
}

// appendMetric appends a metric: name, kind, unit, value, and error if there is one.
func appendMetric(b []byte, name, code string, f *stats.Figure) ([]byte, error) {
	kind, unit, reason := "observed", string(f.Unit), f.Error
	if f.Kind == stats.KindInferred {
		kind, reason = "inferred", errInferred
	}
	value := "null"
	switch x := f.Value.Float(); {
	case f.Value.IsNull():
		unit = "missing"
	case math.IsNaN(x):
		return b, fmt.Errorf("%s is a text", f.Name)
	case f.Unit == stats.UnitRatio:
		value = float(x)
	case f.Unit == stats.UnitFiat:
		value = fmt.Sprintf(`{"amount":%s,"code":%s}`, float(x), quote(code))
	case f.Unit == stats.UnitCount || f.Unit == stats.UnitSats || f.Unit == stats.UnitSeconds:
		if x != math.Trunc(x) {
			x = math.Round(x)
		}
		value = strconv.FormatFloat(x, 'f', 0, 64)
	default:
		return b, fmt.Errorf("%s has the unit %s, which a document has not", f.Name, f.Unit)
	}
	b = fmt.Appendf(b, `{"name":%s,"kind":%s,"unit":%s,"value":%s`, quote(name), quote(kind), quote(unit), value)
	if reason != "" {
		b = fmt.Appendf(b, `,"error":%s`, quote(reason))
	}
	return append(b, '}'), nil
}

// float writes a float as bestiario and bestiario-fe do: the shortest digits that restore it, as
// JavaScript writes them, with ".0" behind a whole number.
func float(x float64) string {
	if x == 0 {
		if math.Signbit(x) {
			return "-0.0"
		}
		return "0.0"
	}
	if a := math.Abs(x); a >= 1e21 || a < 1e-6 { // JavaScript's exponents have no leading zero
		s := strconv.FormatFloat(x, 'e', -1, 64)
		mantissa, exponent, _ := strings.Cut(s, "e")
		sign := exponent[:1]
		return mantissa + "e" + sign + strings.TrimLeft(exponent[1:], "0")
	}
	s := strconv.FormatFloat(x, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// Snapshot is one publication: all documents of one moment.
type Snapshot struct {
	At        int64
	Publisher string // name
	Version   string
	// FirstEvent and LastEvent are created_at of the first and of the last event behind the figures.
	FirstEvent, LastEvent int64
	Documents             []Document
}

// State is the part of a publication that the next one needs.
type State struct {
	// Documents holds the hash, the revision and the time of the last change of each document.
	Documents map[string]Known `json:"documents"`
	Index     int              `json:"index"` // revision of the index
}

// Known is the last published form of a document.
type Known struct {
	Hash      string `json:"hash"`
	Revision  int    `json:"revision"`
	UpdatedAt int64  `json:"updated_at"`
}

// Events returns the unsigned events of a snapshot, the index last, and the state after them. A
// document whose payload is the one of before is left out, because the index names it still.
func (s *Snapshot) Events(before State) (events []nostr.Event, after State, err error) {
	after = State{Documents: map[string]Known{}, Index: before.Index + 1}
	id := time.Unix(s.At, 0).UTC().Format("20060102T150405Z")
	event := func(d, alt string, revision int, content []byte) error {
		if len(content) > MaxContent {
			return fmt.Errorf("document %s has %d bytes", d, len(content))
		}
		events = append(events, nostr.Event{Kind: Kind, CreatedAt: nostr.Timestamp(s.At), Content: string(content), Tags: nostr.Tags{{"d", d}, {"s", id}, {"t", "bestiario"},
			{"alt", alt}, {"revision", strconv.Itoa(revision)}, {"schema_version", strconv.Itoa(schemaVersion)}}})
		return nil
	}
	var list []string
	for _, d := range s.Documents {
		known := before.Documents[d.D]
		if known.Hash != d.Hash {
			known = Known{d.Hash, known.Revision + 1, s.At}
			content := fmt.Appendf(nil, `{"schema_version":%d,"snapshot_id":%s,"generated_at":%s,"revision":%d,"payload":%s}`, schemaVersion, quote(id), quote(rfc(s.At)), known.Revision, d.Payload)
			if err := event(d.D, d.Alt, known.Revision, content); err != nil {
				return nil, before, err
			}
		}
		after.Documents[d.D] = known
		list = append(list, fmt.Sprintf(`{"d":%s,"hash":%s,"revision":%d,"updated_at":%s}`, quote(d.D), quote(d.Hash), known.Revision, quote(rfc(known.UpdatedAt))))
	}
	if len(list) == 0 {
		return nil, before, errors.New("a snapshot without documents")
	}
	if len(events) == 0 {
		return nil, before, nil
	}
	index := fmt.Appendf(nil, `{"schema_version":%d,"snapshot_id":%s,"generated_at":%s,"publisher":{"name":%s,"version":%s},"coverage":{"first_event_at":%s,"last_event_at":%s},"resolutions":{},"documents":[%s]}`,
		schemaVersion, quote(id), quote(rfc(s.At)), quote(s.Publisher), quote(s.Version), quote(rfc(s.FirstEvent)), quote(rfc(s.LastEvent)), strings.Join(list, ","))
	err = event("index", "bestiario index: the documents of the current snapshot", after.Index, index)
	return events, after, err
}
