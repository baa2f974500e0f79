package main

import (
	"net/http"
	"net/http/pprof"

	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// openRoutes puts the route table together and makes the handler of its public
// rows. The relay, which takes sockets on every path first, passes it all other
// requests. Without an index the relay's rows are all that there is.
func (m *Main) openRoutes() error {
	var mux route.Mux
	var health, notFound []route.Route
	add := func(rows ...route.Route) { m.routes = append(m.routes, rows...) }
	addCompressed := func(rows []route.Route) {
		for _, r := range rows {
			if r.Media != "text/event-stream" { // a compressor holds events back
				r.Handler = compressed(r.Handler)
			}
			add(r)
		}
	}
	relayRows := []route.Route{
		{Method: http.MethodGet, Path: "/api/v1/relays", Handler: http.HandlerFunc(m.upstreams.ServeRelays),
			Summary: "other relays: state, lag, what came of their events, limits, what was forwarded"},
		{Method: http.MethodGet, Path: "/api/v1/kinds", Handler: http.HandlerFunc(m.relay.ServeKinds),
			Summary: "kinds of the live events: kind, name if it is known here, count"},
		{Method: http.MethodGet, Path: "/api/v1/export/events", Handler: atMost(maxExports, compressed(http.HandlerFunc(m.relay.ServeExport))),
			Summary: "NDJSON: kinds authors since until after live; without banned and quarantined keys"},
		{Method: http.MethodPost, Path: "/api/v1/import", Handler: http.HandlerFunc(m.relay.ServeImport),
			Summary: "NDJSON; from this machine, or with NIP-98 by an admin"},
	}
	if m.index != nil {
		site, rows := m.openSite(m.scores)
		if err := site.Register(m.registry); err != nil {
			return err
		}
		addCompressed(rows)
		mux, health, notFound = site.Mux(), site.Health(), site.NotFound(append(rows, relayRows...))
	}
	add(relayRows...)
	addCompressed(health)
	addCompressed(notFound)
	add(m.privateRoutes()...)
	m.web = mux.Public(m.routes)
	return nil
}

// privateRoutes are the rows of the private listener.
func (m *Main) privateRoutes() []route.Route {
	row := func(path, summary string, h http.Handler) route.Route {
		return route.Route{Listener: route.Private, Path: path, Summary: summary, Handler: h}
	}
	metrics := row("/metrics", "for Prometheus", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry}))
	metrics.Method = http.MethodGet
	rows := []route.Route{
		metrics,
		row("/debug/pprof/", "profiles, for go tool pprof", http.HandlerFunc(pprof.Index)),
		row("/debug/pprof/cmdline", "", http.HandlerFunc(pprof.Cmdline)),
		row("/debug/pprof/profile", "", http.HandlerFunc(pprof.Profile)),
		row("/debug/pprof/symbol", "", http.HandlerFunc(pprof.Symbol)),
		row("/debug/pprof/trace", "", http.HandlerFunc(pprof.Trace)),
	}
	if m.escrow != nil && m.escrow.wallet != nil {
		rows = append(rows, row("/lnsim/", "", m.escrow.wallet))
	}
	return rows
}
