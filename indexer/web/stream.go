package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/internal/route"
)

// Bounds of streams.
const (
	maxStreams           = 1000
	maxStreamsPerAddress = 8
	streamBehind         = 100_000          // entries: a reader who is further behind is dropped
	streamResume         = 1_000_000        // entries of the log that a resumed stream reads at most
	streamPing           = 15 * time.Second // silence after which a comment is sent
	streamWrite          = 10 * time.Second // longest time of one write
	streamCache          = 1024             // encoded updates that readers share
)

// stream answers GET /api/v1/stream. Each reader follows the book on its own, and the readers
// share the encoded updates. A stream holds no queue: a reader that does not read in time is
// dropped, and reads the rest from the log when it comes back with Last-Event-ID.
type stream struct {
	*views
	address func(*http.Request) string
	behind  uint64 // streamBehind; tests set less

	mu      sync.Mutex
	readers map[string]int // by address
	total   int
	encoded map[uint64][]byte // JSON of an order by position
	oldest  []uint64          // positions in encoded, in the order of use
}

func newStream(v *views, address func(*http.Request) string) *stream {
	if address == nil {
		address = func(r *http.Request) string {
			host, _, err := net.SplitHostPort(r.RemoteAddr)
			if err != nil {
				return r.RemoteAddr
			}
			return host
		}
	}
	return &stream{views: v, address: address, behind: streamBehind, readers: map[string]int{}, encoded: map[uint64][]byte{}}
}

func (x *stream) route() route.Route {
	params := orderParams("open", "at", "sort", "limit", "cursor")
	params = append(params, route.Param{Name: "last_event_id", Type: "integer", Doc: "position from which the stream goes on, as the header Last-Event-ID"})
	return route.Route{Method: http.MethodGet, Path: "/api/v1/stream", Name: "stream", Params: params, Media: "text/event-stream",
		Summary: "server-sent events: order (a pending order that fits the filters, or a new version), gone (a fitting order that is no longer on offer); resumed with Last-Event-ID",
		Handler: http.HandlerFunc(x.serve)}
}

// errDropped ends a stream with a reason.
type errDropped string

func (e errDropped) Error() string { return string(e) }

func (x *stream) enter(address string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.total >= maxStreams {
		return refuse(http.StatusServiceUnavailable, "As many streams as this server allows are open. Try again in a minute.")
	}
	if x.readers[address] >= maxStreamsPerAddress {
		return refuse(http.StatusTooManyRequests, fmt.Sprintf("This address has %d streams open, as many as are allowed. Close one first.", maxStreamsPerAddress))
	}
	x.total++
	x.readers[address]++
	return nil
}

func (x *stream) leave(address string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.total--
	if x.readers[address]--; x.readers[address] == 0 {
		delete(x.readers, address)
	}
}

// begin parses a request. after is the position from which the stream goes on.
func (x *stream) begin(r *http.Request) (q orders.Query, after uint64, err error) {
	values := r.URL.Query()
	last := strings.TrimSpace(r.Header.Get("Last-Event-ID"))
	if v := strings.TrimSpace(values.Get("last_event_id")); v != "" && last == "" {
		last = v
	}
	values.Del("last_event_id")
	for _, name := range []string{"open", "at", "sort", "limit", "cursor", "include"} {
		if values.Has(name) {
			return q, 0, &orders.QueryError{Param: name, Reason: "a stream has no such parameter"}
		}
	}
	if q, err = orders.ParseQuery(values); err != nil {
		return q, 0, err
	}
	if q.Text != "" {
		return q, 0, &orders.QueryError{Param: "q", Reason: "a stream has filters only, such as q=fiat:VES; words are not compared"}
	}
	if q, err = x.ranked(q); err != nil {
		return q, 0, err
	}
	after = x.index.Position()
	if last != "" {
		n, err := strconv.ParseUint(last, 10, 63)
		if err != nil || n > after {
			return q, 0, &orders.QueryError{Param: "last_event_id", Reason: "not an id of this stream; start again without it"}
		}
		if after-n > streamResume {
			return q, 0, refuse(http.StatusGone, "The stream cannot be resumed from so long ago. Read /api/v1/orders, and start again without Last-Event-ID.")
		}
		after = n
	}
	return q, after, nil
}

func (x *stream) serve(w http.ResponseWriter, r *http.Request) {
	address := x.address(r)
	q, after, err := x.begin(r)
	if err == nil {
		err = x.enter(address)
	}
	if err != nil {
		problemOf(err).answer(w, r)
		return
	}
	defer x.leave(address)
	c := http.NewResponseController(w)
	c.SetReadDeadline(time.Time{}) //nolint:errcheck // a test's recorder has none; the server's ends the request after a minute
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // nginx passes each event on at once
	w.WriteHeader(http.StatusOK)
	send := func(text string) error {
		c.SetWriteDeadline(time.Now().Add(streamWrite)) //nolint:errcheck // as above
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		return c.Flush()
	}
	if send(fmt.Sprintf(": the book at %d\nretry: 3000\nid: %d\n\n", after, after)) != nil {
		return
	}
	var dropped errDropped
	if err := x.follow(r, q, after, send); errors.As(err, &dropped) {
		send(fmt.Sprintf("event: end\ndata: {\"reason\":%q}\n\n", string(dropped))) //nolint:errcheck // the stream ends in any case
	}
}

// follow sends the changes that fit q until the request ends or the reader is too slow.
func (x *stream) follow(r *http.Request, q orders.Query, after uint64, send func(string) error) error {
	any := q // the same filters, of orders in any state
	any.Open, any.Status = orders.OpenAny, nil
	// A resumed reader may be as far behind as it was at the begin, and no further.
	allowed := x.index.Position() - min(after, x.index.Position()) + x.behind
	for {
		said := false
		upTo, err := x.index.Updates(r.Context(), after, streamPing, func(u indexer.Update) error {
			if late := x.index.Position() - u.Seq; late > allowed {
				return errDropped("too_slow")
			} else if late+x.behind < allowed {
				allowed = late + x.behind
			}
			text, err := x.eventOf(&u, &q, &any)
			if err != nil || text == "" {
				return err
			}
			said = true
			return send(text)
		})
		if err != nil {
			return err
		}
		after = upTo
		if !said {
			if err := send(": ping\n\n"); err != nil {
				return err
			}
		}
	}
}

// eventOf returns an update in the form of server-sent events, or "" if it does not fit.
func (x *stream) eventOf(u *indexer.Update, q, any *orders.Query) (string, error) {
	now := x.index.Now()
	if u.Record != nil && q.Matches(&u.Record.Version, now) {
		body, err := x.encode(u)
		return fmt.Sprintf("event: order\nid: %d\ndata: %s\n\n", u.Seq, body), err
	}
	if u.Record != nil && !any.Matches(&u.Record.Version, now) {
		return "", nil
	}
	gone := goneView{Pubkey: u.Pubkey, D: u.D}
	if u.Record != nil {
		gone.Status, gone.EventID = textOrNull(u.Record.Order.Status), &u.Record.Order.EventID
	} else {
		gone.Deleted = true
	}
	body, err := json.Marshal(gone)
	return fmt.Sprintf("event: gone\nid: %d\ndata: %s\n\n", u.Seq, body), err
}

// goneView is the data of the event gone.
type goneView struct {
	Pubkey  string  `json:"pubkey"`
	D       string  `json:"d"`
	Status  *string `json:"status" null:"deleted"`
	EventID *string `json:"event_id" null:"deleted"`
	Deleted bool    `json:"deleted" doc:"its author deleted the order; the filters were not compared"`
}

// encode returns the JSON of an order, which has no line break.
func (x *stream) encode(u *indexer.Update) ([]byte, error) {
	x.mu.Lock()
	body, ok := x.encoded[u.Seq]
	x.mu.Unlock()
	if ok {
		return body, nil
	}
	body, err := json.Marshal(x.orderView(u.Record, math.NaN()))
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.encoded[u.Seq]; !ok {
		if len(x.oldest) >= streamCache {
			delete(x.encoded, x.oldest[0])
			x.oldest = x.oldest[1:]
		}
		x.encoded[u.Seq], x.oldest = body, append(x.oldest, u.Seq)
	}
	return body, nil
}
