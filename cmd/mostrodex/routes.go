package main

import (
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/mostrodex/mostrodex/escrow/price"
	"github.com/mostrodex/mostrodex/indexer/partitions"
	"github.com/mostrodex/mostrodex/indexer/web"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/federation"
	"github.com/mostrodex/mostrodex/reputation"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// surface is everything that has routes.
type surface struct {
	ambient
	stores    *stores
	url       string // relay.url
	onion     string // relay.onion
	relay     *relay.Server
	upstreams *federation.Upstreams
	scores    *reputation.Service // nil: no scores
	seeds     []string            // reputation.seeds
	prices    *price.Feed         // of reputation.prices; nil: none are named
	escrow    *escrowRoom         // nil: no escrow
	alerts    *alertRoom          // nil: no alerts
	exports   *partitions.Store   // nil: no files of closed months
	wallet    []route.Route       // of a demo
	alone     bool                // an escrow alone: the public listener has no route but the health
}

// exportRow is the place of /api/v1/export/events in the relay's rows.
const exportRow = 2

// table puts the route table together and makes the handler of its public rows. The relay,
// which takes sockets on every path first, passes it all other requests. Without an index
// the relay's rows are all that there is.
func (s surface) table() (table route.Table, public http.Handler, err error) {
	var mux route.Mux
	var health, notFound []route.Route
	addCompressed := func(rows []route.Route) {
		for _, r := range rows {
			if r.Media != "text/event-stream" { // a compressor holds events back
				r.Handler = compressed(r.Handler)
			}
			table = append(table, r)
		}
	}
	if s.stores.index == nil {
		health = plainHealth(s.notes)
	}
	events := atMost(maxExports, compressed(http.HandlerFunc(s.relay.ServeExport)))
	relayRows := []route.Route{
		{Method: http.MethodGet, Path: "/api/v1/relays", Handler: http.HandlerFunc(s.upstreams.ServeRelays), Answer: federation.RelayList{},
			Summary: "other relays: state, lag, what came of their events, limits, what was forwarded"},
		{Method: http.MethodGet, Path: "/api/v1/kinds", Handler: http.HandlerFunc(s.relay.ServeKinds), Answer: relay.KindList{},
			Summary: "kinds of the live events: kind, name if it is known here, count"},
		{Method: http.MethodGet, Path: "/api/v1/export/events", Handler: events, Media: "application/x-ndjson",
			Summary: "NDJSON: kinds authors since until after live; without banned and quarantined keys\nformat=rows|csv|parquet from until month: rows with time and road of receipt"},
		{Method: http.MethodPost, Path: "/api/v1/import", Handler: http.HandlerFunc(s.relay.ServeImport), Media: "application/x-ndjson",
			Summary: "NDJSON; from this machine, or with NIP-98 by an admin"},
	}
	if s.stores.index != nil {
		site, rows := s.site()
		downloads, err := s.downloads(site)
		if err != nil {
			return nil, nil, err
		}
		relayRows[exportRow].Handler = downloads.events(events)
		relayRows = append(downloads.Routes(), relayRows...)
		description, err := site.OpenAPI(append(rows, relayRows...))
		if err != nil {
			return nil, nil, err
		}
		rows = append(rows, description)
		rows = append(rows, web.DataPages(site, s.pages(), append(rows, relayRows...))...)
		addCompressed(rows)
		mux, health, notFound = site.Mux(), site.Health(), site.NotFound(append(rows, relayRows...))
	}
	if !s.alone {
		table = append(table, relayRows...)
	}
	addCompressed(health)
	addCompressed(notFound)
	table = append(table, s.private()...)
	return table, mux.Public(table), nil
}

// site makes the API and the explorer, with the reputation in them if there are scores, and
// returns them with their rows of the route table.
func (s surface) site() (*web.Site, []route.Route) {
	var address func(*http.Request) string
	if s.relay != nil { // else a verb on a data directory
		address = s.relay.ClientAddress
	}
	own := ""
	if s.escrow != nil {
		own = s.escrow.pubkey
	}
	site := web.New(web.Config{Index: s.stores.index, URL: webURL(s.url), Onion: s.onion, Own: own, Notice: s.notice, Logger: s.logger, Metrics: s.registry, Notes: s.notes, Address: address, Unready: func() string {
		if s.scores == nil || s.scores.Ready() {
			return ""
		}
		return "the scores have not caught up with the log yet"
	}})
	if feed := s.ownPrices(); feed != nil {
		s.stores.index.UsePrices(ownPrices{feed})
	}
	rows := site.Routes()
	if s.alerts != nil {
		s.alerts.site = site
		rows = append(rows, web.Alerts(site, s.alerts.service, s.relay.ProvenKey)...)
	}
	if s.scores == nil {
		return site, rows
	}
	handler := &reputation.Handler{Seeds: s.seeds, Known: s.scores, Market: market{s.stores.index, s.stores.store, s.now}, Web: site, Now: s.now}
	if feed := s.ownPrices(); feed != nil {
		handler.Prices = ownPrices{feed}
	}
	if s.url != "" {
		handler.URL = "http" + strings.TrimPrefix(s.url, "ws")
	}
	site.Show(handler)
	return site, append(rows, handler.Routes()...)
}

// notes returns the lines of /readyz for the operator.
func (s surface) notes() []string { return append(s.escrow.notes(), clockNotes(s.upstreams)...) }

// ownPrices returns the operator's own sources of prices: those of reputation.prices, or if
// none are named those of the escrow. It returns nil if there are none.
func (s surface) ownPrices() *price.Feed {
	if s.prices == nil && s.escrow != nil {
		return s.escrow.prices
	}
	return s.prices
}

// private returns the rows of the private listener.
func (s surface) private() []route.Route {
	row := func(path, summary string, h http.Handler) route.Route {
		return route.Route{Listener: route.Private, Path: path, Summary: summary, Handler: h}
	}
	metrics := row("/metrics", "for Prometheus", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{Registry: s.registry}))
	metrics.Method = http.MethodGet
	rows := []route.Route{
		metrics,
		row("/debug/pprof/", "profiles, for go tool pprof", http.HandlerFunc(pprof.Index)),
		row("/debug/pprof/cmdline", "", http.HandlerFunc(pprof.Cmdline)),
		row("/debug/pprof/profile", "", http.HandlerFunc(pprof.Profile)),
		row("/debug/pprof/symbol", "", http.HandlerFunc(pprof.Symbol)),
		row("/debug/pprof/trace", "", http.HandlerFunc(pprof.Trace)),
	}
	if s.escrow != nil {
		rows = append(rows, s.escrow.inbox.Routes()...)
	}
	if s.escrow != nil && s.escrow.wallet != nil {
		rows = append(rows, row("/lnsim/", "", s.escrow.wallet))
	}
	rows = append(rows, s.wallet...)
	return rows
}
