package web

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// api answers the routes of the index under /api/v1.
type api struct{ *views }

// routes returns the rows of the index's API. row makes one row.
func (x *api) routes(row rowMaker, f *figures) []route.Route {
	return []route.Route{
		described(row("/api/v1/orders", "orders", paramNames()+`
sort=trusted (default: unknown publishers last, new ones before them) newest oldest premium amount expiry, and -premium -amount -expiry; cost: premium and half of the fee, lowest first`, x.getOrders), listView{}, orderParams()...),
		described(row("/api/v1/orders/{pubkey}/{d...}", "order", "one order with its newest 100 versions; limit cursor, history_cursor leads to older ones", x.getOrder), orderView{},
			paramPubkey, route.Param{Name: "limit", Type: "integer", Default: "100", Doc: "versions of a page, from 1 to 500"}, route.Param{Name: "cursor", Doc: "history_cursor of the page before"}, paramInclude),
		described(row("/api/v1/instances", "instances", "sort="+strings.Join(slices.Sorted(maps.Keys(instanceSorts)), "|")+"; rank is null while a node was witnessed on fewer than 30 days; reason says so; at=TIME: policies and sums at a past time",
			func(r *http.Request) (any, error) {
				if r.URL.Query().Get("at") != "" {
					return f.instancesAt(r)
				}
				return x.directory(r.Context(), r.URL.Query())
			}), directoryAnswer{},
			route.Param{Name: "q", Doc: "words of the name"}, route.Param{Name: "sort", Enum: slices.Sorted(maps.Keys(instanceSorts)), Default: "volume", Doc: "order of the list"},
			route.Param{Name: "limit", Type: "integer", Default: "50", Doc: "from 1 to 500"}, route.Param{Name: "cursor", Doc: "next_cursor of the page before"},
			paramInclude, paramAt, paramClock),
		described(row("/api/v1/instances/{pubkey}", "instance", "what it says of itself, with its rank", x.getInstance), instanceView{}, paramPubkey, paramInclude),
		described(row("/api/v1/events/{id}", "event", "the signed event", x.getEvent), nostr.Event{}, route.Param{Name: "id", InPath: true, Doc: "id of the event, 64 hex digits"}, paramInclude),
	}
}

// paramNames lists the parameters of GET /api/v1/orders.
func paramNames() string {
	var names []string
	for _, p := range orders.OrderParams() {
		names = append(names, p.Name)
	}
	return strings.Join(names, " ")
}

// orderParams returns the parameters of GET /api/v1/orders but some.
func orderParams(but ...string) (out []route.Param) {
	types := map[string]string{"limit": "integer", "min_rank": "integer", "min_maker_days": "integer", "min_premium": "number", "max_premium": "number", "min_maker_rating": "number"}
	for _, p := range orders.OrderParams() {
		if !slices.Contains(but, p.Name) {
			doc := map[string]string{"q": "words, and filters such as fiat:VES", "include": "spam: orders of quarantined keys as well"}[p.Name]
			out = append(out, route.Param{Name: p.Name, Doc: cmp.Or(p.Doc, doc), Type: types[p.Name], Many: p.Many})
		}
	}
	return out
}

// buffer holds an answer while it is encoded.
type buffer struct{ bytes.Buffer }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func takeBuffer() *buffer { return buffers.Get().(*buffer) }

// maxKeptBuffer bounds the size of buffers that are kept for reuse.
const maxKeptBuffer = 1 << 20

func (b *buffer) release() {
	if b.Cap() <= maxKeptBuffer {
		b.Reset()
		buffers.Put(b)
	}
}

// tagOf returns the ETag of a body, without quotation marks.
func tagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:16])
}

// setTag sets the headers of an answer with a tag. The tag is weak because the answer may be
// sent compressed.
func setTag(w http.ResponseWriter, tag string) {
	w.Header().Set("ETag", `W/"`+tag+`"`)
	w.Header().Set("Cache-Control", "no-cache")
}

func notModified(w http.ResponseWriter, tag string) {
	setTag(w, tag)
	w.WriteHeader(http.StatusNotModified)
}

// serveTagged answers with a body, or with 304 if the client already has the body.
func serveTagged(w http.ResponseWriter, r *http.Request, body []byte, tag string) {
	if hasTag(r, tag) {
		notModified(w, tag)
		return
	}
	setTag(w, tag)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(body) // a write error means that the client is gone
	}
}

func (x *api) getOrders(r *http.Request) (any, error) {
	q, err := orders.ParseQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	a, err := x.find(r.Context(), q)
	if err != nil {
		return nil, err
	}
	out := listView{Items: make([]orderView, 0, len(a.Orders)), Total: a.Total, Facets: a.Facets, NextCursor: textOrNull(a.Next)}
	for _, o := range a.Orders {
		v := x.orderView(o, wantedAmount(&q))
		if !q.At.IsZero() {
			v.Price = nil // the rate of now is not the rate of that time
		}
		out.Items = append(out.Items, v)
	}
	if !q.At.IsZero() {
		at := q.At.Unix()
		if err := x.index.View(q.Spam, func(c *stats.Collector, _ excluded) error {
			coverage := coverageOf(c.Coverage(at))
			out.atView = &atView{At: at, AtRFC: rfc(q.At), Coverage: &coverage, BeforeCoverage: coverage.WitnessedFrom == nil || at < *coverage.WitnessedFrom}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (x *api) getOrder(r *http.Request) (any, error) {
	pubkey, err := orders.ParsePubkey(r.PathValue("pubkey"))
	if err != nil {
		return nil, &orders.QueryError{Param: "pubkey", Reason: err.Error()}
	}
	record, versions, next, err := x.shownOrder(r, pubkey)
	if errors.Is(err, mostro.ErrNotFound) {
		return nil, refuse(http.StatusNotFound, "No order with this author and d is held here; it may have been deleted by its author. Look it up at /api/v1/orders?open=any&instance="+pubkey)
	}
	if err != nil {
		return nil, err
	}
	v := x.orderView(record, math.NaN())
	v.History, v.HistoryCursor = versionViews(versions), textOrNull(next)
	return v, nil
}

func (x *api) getInstance(r *http.Request) (any, error) {
	pubkey, err := orders.ParsePubkey(r.PathValue("pubkey"))
	if err != nil {
		return nil, &orders.QueryError{Param: "pubkey", Reason: err.Error()}
	}
	return x.instance(r.Context(), pubkey, wantsSpam(r))
}

func (x *api) getEvent(r *http.Request) (any, error) {
	id := strings.ToLower(r.PathValue("id"))
	if !nostr.IsValid32ByteHex(id) {
		return nil, &orders.QueryError{Param: "id", Reason: "not an event id of 64 hex digits"}
	}
	evt, err := x.index.Event(r.Context(), id, wantsSpam(r))
	if err != nil {
		return nil, err
	}
	return evt, nil
}

// historyLimit is the default number of versions in one answer.
const historyLimit = 100

func wantsSpam(r *http.Request) bool { return r.URL.Query().Get("include") == "spam" }
