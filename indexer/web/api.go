package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// apiRoutes returns the rows of the index's API.
func (x *Site) apiRoutes() []route.Route {
	return []route.Route{
		x.API("/api/v1/orders", "orders", paramNames()+`
sort=trusted (default: unknown publishers last, new ones before them) newest oldest premium amount expiry, and -premium -amount -expiry`, x.getOrders),
		x.API("/api/v1/orders/{pubkey}/{d...}", "order", "one order with its newest 100 versions; limit cursor, history_cursor leads to older ones", x.getOrder),
		x.API("/api/v1/instances", "instances", "sort=rank|volume|trades|fee|age; rank is null while a node was witnessed on fewer than 30 days; reason says so",
			func(r *http.Request) (any, error) { return x.directory(r.Context(), r.URL.Query()) }),
		x.API("/api/v1/instances/{pubkey}", "instance", "what it says of itself, with its rank", x.getInstance),
		x.API("/api/v1/events/{id}", "event", "the signed event", x.getEvent),
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

// API returns the row of an API route. If get returns a value, the answer is the value as
// JSON with an ETag. If get returns an error, the answer is a problem document. An error
// with a method Problem() (status int, param, detail string) is the client's fault. name
// is the value of the label "route" in metrics and the log.
func (x *Site) API(path, name, summary string, get func(*http.Request) (any, error)) route.Route {
	return route.Route{Method: http.MethodGet, Path: path, Name: name, Summary: summary, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Expose-Headers", "ETag")
		h.Set("X-Content-Type-Options", "nosniff")
		value, err := get(r)
		if err != nil {
			p := problemOf(err)
			if p.Status == http.StatusInternalServerError {
				x.log.Error("request failed", "route", name, "error", err)
			}
			p.write(w)
			return
		}
		body := takeBuffer()
		defer body.release()
		enc := json.NewEncoder(body)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(value); err != nil {
			x.log.Error("request failed", "route", name, "error", err)
			problemOf(err).write(w)
			return
		}
		h.Set("Content-Type", "application/json; charset=utf-8")
		serveTagged(w, r, body.Bytes())
	})}
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

// serveTagged answers with a body, or with 304 if the client already has the body.
func serveTagged(w http.ResponseWriter, r *http.Request, body []byte) {
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	// The tag is weak because the answer may be sent compressed.
	w.Header().Set("ETag", "W/"+tag)
	w.Header().Set("Cache-Control", "no-cache")
	for have := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if have = strings.TrimPrefix(strings.TrimSpace(have), "W/"); have == tag || have == "*" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(body) // a write error means that the client is gone
	}
}

func (x *Site) getOrders(r *http.Request) (any, error) {
	q, err := orders.ParseQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	a, err := x.index.Orders(r.Context(), q)
	if err != nil {
		return nil, err
	}
	out := listView{Items: make([]orderView, 0, len(a.Orders)), Total: a.Total, Facets: a.Facets, NextCursor: textOrNull(a.Next)}
	for _, o := range a.Orders {
		out.Items = append(out.Items, x.orderView(o))
	}
	return out, nil
}

func (x *Site) getOrder(r *http.Request) (any, error) {
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
	v := x.orderView(record)
	v.History, v.HistoryCursor = versionViews(versions), textOrNull(next)
	return v, nil
}

func (x *Site) getInstance(r *http.Request) (any, error) {
	pubkey, err := orders.ParsePubkey(r.PathValue("pubkey"))
	if err != nil {
		return nil, &orders.QueryError{Param: "pubkey", Reason: err.Error()}
	}
	return x.instance(r.Context(), pubkey, wantsSpam(r))
}

func (x *Site) getEvent(r *http.Request) (any, error) {
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

// shownOrder returns the order with the path value d of a request, if the rules do not
// hide the order, and a page of its versions. The parameters limit and cursor select the
// page. next is the cursor of older versions, or "" if there are none.
func (x *Site) shownOrder(r *http.Request, pubkey string) (record *orders.Record, versions []*orders.Version, next string, err error) {
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
func wantsSpam(r *http.Request) bool { return r.URL.Query().Get("include") == "spam" }

// ago returns a duration in the past or the future as text, in its largest unit.
func ago(d time.Duration) string {
	d = d.Abs()
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " d"
}
