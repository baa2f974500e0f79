// Package web serves an index over HTTP: the API under /api/v1, the pages of the
// explorer, and problem documents. The package returns rows of the program's route table
// (internal/route). Other packages make their own rows with two methods: API makes a row
// that answers JSON, and Page a row that answers a page in the explorer's layout.
package web

import (
	"encoding/json"
	"html/template"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/internal/lang"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Config is the configuration of a Site. Only Index is required.
type Config struct {
	Index *indexer.Index
	// Notice is shown at the top of every page. "": no notice.
	Notice string

	URL   string // public address without a path, such as https://example.org; "": that of each request
	Onion string // address in the Tor network without a path, such as http://….onion; "": none
	Own   string // public key of the operator's Mostro in hex; "": none

	// Unready returns the reason, as a line of text, if the rest of the program is not
	// ready, and "" if it is ready. GET /readyz calls Unready when the index is ready.
	// nil: always ready.
	Unready func() string
	// Notes returns lines that GET /readyz adds to its answer. nil: no lines.
	Notes func() []string
	// Address returns the address of the client of a request, by which streams are bounded.
	// nil: the address of the connection.
	Address func(*http.Request) string

	Logger  *slog.Logger          // nil: log lines are discarded
	Metrics prometheus.Registerer // nil: metrics are not registered
}

// Site is the API and the explorer of one index.
type Site struct {
	cfg      Config
	log      *slog.Logger
	views    *views
	api      *api
	explorer *explorer
	figures  *figures
	stream   *stream
	requests *prometheus.CounterVec
}

// New returns a site.
func New(cfg Config) *Site {
	log, v := room.Logger(cfg.Logger).With("room", "indexer"), &views{index: cfg.Index}
	f := &figures{v, newAnswers()}
	return &Site{cfg: cfg, log: log, views: v, api: &api{v}, figures: f, stream: newStream(v, cfg.Address), explorer: &explorer{views: v, figures: f, notice: cfg.Notice, origin: origin{strings.TrimSuffix(cfg.URL, "/"), strings.TrimSuffix(cfg.Onion, "/")}, own: cfg.Own, pages: newPages(), log: log},
		requests: promauto.With(cfg.Metrics).NewCounterVec(prometheus.CounterOpts{Namespace: "mostrodex", Subsystem: "indexer", Name: "http_requests_total", Help: "HTTP requests by route and status."}, []string{"route", "code"})}
}

// Mux returns the mux for the routes of the site's table.
func (x *Site) Mux() route.Mux {
	return route.Mux{
		Front:  lang.Front,
		Refuse: func(w http.ResponseWriter, status int, detail string) { refuse(status, detail).write(w) },
		Count: func(name string, status int) {
			x.requests.WithLabelValues(name, strconv.Itoa(status)).Inc()
		},
	}
}

// Routes returns the rows of the explorer and the API.
func (x *Site) Routes() []route.Route {
	return slices.Concat(x.explorer.routes(), marketPages{x.explorer}.routes(), crawled{marketPages{x.explorer}}.routes(), cards{x.explorer}.routes(), x.api.routes(x.API, x.figures), []route.Route{x.feedRoute(), x.stream.route()},
		x.figures.routes(x.API), bisq{x.figures}.routes(x.API))
}

// Health returns the rows about the health of the program.
func (x *Site) Health() []route.Route {
	return []route.Route{
		{Method: http.MethodGet, Path: "/healthz", Summary: "200 while the program runs",
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { plainText(w, http.StatusOK, "ok\n") })},
		{Method: http.MethodGet, Path: "/readyz", Handler: http.HandlerFunc(x.serveReady),
			Summary: "200 once the index and the scores have caught up with the log;\na line more for each reason why the escrow takes no new orders"},
	}
}

// Describe returns an order as the JSON of the API, and as a text without the description and
// the link that its publisher wrote.
func (x *Site) Describe(r *orders.Record) (body json.RawMessage, text string) {
	v := x.views.orderView(r, math.NaN())
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // impossible: the view has no type that cannot be encoded
	}
	return body, alertText(&v)
}

// Rank returns the published rank of an instance. ok is false if there is none.
func (x *Site) Rank(pubkey string) (rank int, ok bool) {
	if x.views.summaries == nil {
		return 0, false
	}
	s, ok := x.views.summaries.ReputationSummary(pubkey)
	return s.Rank, ok && s.Unranked == "" && !s.Provisional
}

// NotFound returns the rows for all paths that a table does not have. The answer under
// /api/ lists the API's paths in the table.
func (x *Site) NotFound(t route.Table) []route.Route {
	paths := t.Paths("/api/")
	last := len(paths) - 1
	there := "No such resource. There are " + strings.Join(paths[:last], ", ") + " and " + paths[last] + "."
	return []route.Route{
		x.API("/api/", "other", "", func(*http.Request) (any, error) { return nil, refuse(http.StatusNotFound, there) }),
		x.explorer.page("/", "explorer", "", func(*http.Request) (string, any, error) {
			return "", nil, refuse(http.StatusNotFound, "There is no page at this address.")
		}),
	}
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
		tag := ""
		if later, ok := value.(*lazy); ok && err == nil {
			if tag = later.tag; hasTag(r, tag) {
				notModified(w, tag)
				return
			}
			value, err = later.make()
		}
		if err != nil {
			p := problemOf(err)
			if p.Status == http.StatusInternalServerError {
				x.log.Error("request failed", "route", name, "error", err)
			}
			p.answer(w, r)
			return
		}
		body := takeBuffer()
		defer body.release()
		enc := json.NewEncoder(body)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(value); err != nil {
			x.log.Error("request failed", "route", name, "error", err)
			problemOf(err).answer(w, r)
			return
		}
		h.Set("Content-Type", "application/json; charset=utf-8")
		if tag == "" {
			tag = tagOf(body.Bytes())
		}
		serveTagged(w, r, body.Bytes(), tag)
	})}
}

// Page returns the row of a page in the explorer's layout, in the language of lang.Of(r). get
// returns a title and the safe HTML between header and footer. nav is the entry that the navigation marks as
// current.
func (x *Site) Page(path, name, nav, summary string, get func(*http.Request) (title string, body template.HTML, err error)) route.Route {
	return x.explorer.page(path, name, summary, func(r *http.Request) (string, any, error) {
		title, body, err := get(r)
		if err != nil {
			return "", nil, err
		}
		return "lent", &lentPage{frame{Title: title, Page: nav}, body}, nil
	})
}

// Show adds reputations to the API and the explorer. Show must be called before the first
// request.
func (x *Site) Show(s Summaries) { x.views.summaries = s }

// serveReady answers GET /readyz. Notes do not change the status, because the program can
// serve requests despite them.
func (x *Site) serveReady(w http.ResponseWriter, _ *http.Request) {
	status, text := http.StatusOK, "ready\n"
	if !x.cfg.Index.Ready() {
		status, text = http.StatusServiceUnavailable, "the index has not caught up with the log yet\n"
	} else if x.cfg.Unready != nil {
		if why := x.cfg.Unready(); why != "" {
			status, text = http.StatusServiceUnavailable, why+"\n"
		}
	}
	if x.cfg.Notes != nil {
		for _, note := range x.cfg.Notes() {
			text += note + "\n"
		}
	}
	plainText(w, status, text)
}

func plainText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write([]byte(text))
}
