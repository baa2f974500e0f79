package indexer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Handler serves the explorer, /api/v1, /healthz and /readyz.
func (x *Index) Handler() http.Handler {
	mux := http.NewServeMux()
	x.explorer(mux)
	mux.HandleFunc("/api/", x.api("other", func(r *http.Request) (any, error) {
		return nil, refuse(http.StatusNotFound, "No such resource. There are /api/v1/orders, /api/v1/orders/{pubkey}/{d}, /api/v1/instances, /api/v1/instances/{pubkey} and /api/v1/events/{id}.")
	}))
	mux.HandleFunc("/api/v1/orders", x.api("orders", x.getOrders))
	mux.HandleFunc("/api/v1/orders/{pubkey}/{d...}", x.api("order", x.getOrder))
	mux.HandleFunc("/api/v1/instances", x.api("instances", func(r *http.Request) (any, error) { return x.directory(r.Context(), r.URL.Query()) }))
	mux.HandleFunc("/api/v1/instances/{pubkey}", x.api("instance", x.getInstance))
	mux.HandleFunc("/api/v1/events/{id}", x.api("event", x.getEvent))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { plainText(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		if !x.Ready() {
			plainText(w, http.StatusServiceUnavailable, "the index has not caught up with the log yet\n")
			return
		}
		plainText(w, http.StatusOK, "ready\n")
	})
	return mux
}

func plainText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write([]byte(text))
}

// api makes a handler of what gives a value or an error: reads only, open to
// every origin, with an ETag.
func (x *Index) api(route string, get func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rec := &statusRecorder{ResponseWriter: w, code: http.StatusOK}
		defer func() { x.metrics.requests.WithLabelValues(route, strconv.Itoa(rec.code)).Inc() }()
		h := rec.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", "ETag")
		h.Set("X-Content-Type-Options", "nosniff")
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodOptions:
			h.Set("Access-Control-Allow-Methods", "GET, HEAD")
			h.Set("Access-Control-Allow-Headers", "If-None-Match")
			h.Set("Access-Control-Max-Age", "86400")
			rec.WriteHeader(http.StatusNoContent)
			return
		default:
			h.Set("Allow", "GET, HEAD, OPTIONS")
			refuse(http.StatusMethodNotAllowed, "This resource is only read: use GET.").write(rec)
			return
		}
		value, err := get(r)
		if err != nil {
			p := problemOf(err)
			if p.Status == http.StatusInternalServerError {
				x.log.Error("request failed", "route", route, "error", err)
			}
			p.write(rec)
			return
		}
		body := takeBuffer()
		defer body.release()
		enc := json.NewEncoder(body)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(value); err != nil {
			x.log.Error("request failed", "route", route, "error", err)
			problemOf(err).write(rec)
			return
		}
		h.Set("Content-Type", "application/json; charset=utf-8")
		serveTagged(rec, r, body.Bytes())
	}
}

// buffer holds an answer while it is made.
type buffer struct{ bytes.Buffer }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func takeBuffer() *buffer { return buffers.Get().(*buffer) }

// maxKeptBuffer bounds the buffers that are used again.
const maxKeptBuffer = 1 << 20

func (b *buffer) release() {
	if b.Cap() <= maxKeptBuffer {
		b.Reset()
		buffers.Put(b)
	}
}

// serveTagged answers with a body, or says that the client has it already.
func serveTagged(w http.ResponseWriter, r *http.Request, body []byte) {
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	// A weak tag: the answer may be sent compressed.
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
		w.Write(body) // a client that is gone needs no answer
	}
}

// statusRecorder remembers the status for the metrics.
type statusRecorder struct {
	http.ResponseWriter
	code int
}

// WriteHeader remembers.
func (r *statusRecorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

func (x *Index) getOrders(r *http.Request) (any, error) {
	q, err := ParseQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	a, err := x.Orders(r.Context(), q)
	if err != nil {
		return nil, err
	}
	out := listView{Items: make([]orderView, 0, len(a.Orders)), Total: a.Total, Facets: a.Facets, NextCursor: textOrNull(a.Next)}
	for _, o := range a.Orders {
		out.Items = append(out.Items, x.orderView(o))
	}
	return out, nil
}

func (x *Index) getOrder(r *http.Request) (any, error) {
	pubkey, err := ParsePubkey(r.PathValue("pubkey"))
	if err != nil {
		return nil, &QueryError{"pubkey", err.Error()}
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

func (x *Index) getInstance(r *http.Request) (any, error) {
	pubkey, err := ParsePubkey(r.PathValue("pubkey"))
	if err != nil {
		return nil, &QueryError{"pubkey", err.Error()}
	}
	return x.instance(r, pubkey)
}

func (x *Index) getEvent(r *http.Request) (any, error) {
	id := strings.ToLower(r.PathValue("id"))
	if !nostr.IsValid32ByteHex(id) {
		return nil, &QueryError{"id", "not an event id of 64 hex digits"}
	}
	evt, err := x.cfg.Events.Event(r.Context(), id)
	if err != nil {
		return nil, err
	}
	if mostro.IsMail(evt.Kind) {
		return nil, mostro.ErrNotFound // served to subscribers of the relay alone
	}
	return evt, x.hidden(r, evt.PubKey, evt.ID)
}

// historyLimit is the default number of versions in one answer.
const historyLimit = 100

// shownOrder returns the order of a request with a path value d, as far as the
// rules show it, with a page of its versions: limit and cursor of the request
// choose which. next is the cursor of older versions, "" for none.
func (x *Index) shownOrder(r *http.Request, pubkey string) (record *Record, versions []*Version, next string, err error) {
	limit, cursor := historyLimit, ""
	for name, values := range r.URL.Query() {
		value := strings.TrimSpace(values[len(values)-1])
		switch {
		case value == "" || name == "include":
		case name == "cursor":
			cursor = value
		case name == "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > MaxLimit {
				return nil, nil, "", &QueryError{"limit", fmt.Sprintf("%q is not a whole number from 1 to %d", value, MaxLimit)}
			}
			limit = n
		default:
			return nil, nil, "", &QueryError{name, "unknown parameter; known are limit, cursor and include"}
		}
	}
	k := keyOf(addressOf(pubkey, r.PathValue("d")))
	if record, err = x.book.record(k); err != nil {
		return nil, nil, "", err
	}
	if err = x.hidden(r, pubkey, record.Order.EventID); err != nil {
		return nil, nil, "", err
	}
	if versions, next, err = x.book.historyPage(k, cursor, limit); err != nil {
		return nil, nil, "", err
	}
	shun, err := x.shunned(r.Context())
	return record, slices.DeleteFunc(versions, func(v *Version) bool { return shun.hides(pubkey, v.Order.EventID, true) }), next, err
}

// hidden is mostro.ErrNotFound for what the rules do not let this request see.
func (x *Index) hidden(r *http.Request, pubkey, id string) error {
	shun, err := x.shunned(r.Context())
	if err == nil && shun.hides(pubkey, id, r.URL.Query().Get("include") == "spam") {
		err = mostro.ErrNotFound
	}
	return err
}

// ago says how long something lies back or ahead, in the largest unit.
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
