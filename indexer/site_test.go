package indexer_test

import (
	"net/http"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/web"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/prometheus/client_golang/prometheus"
)

// The tests of package indexer send HTTP requests, as clients do. indexer/web imports
// indexer, so only an external test package can import indexer/web.
func init() {
	indexer.ServeForTest = func(x *indexer.Index, reg prometheus.Registerer) http.Handler {
		site := web.New(web.Config{Index: x, Metrics: reg})
		table := route.Table(append(site.Routes(), site.Health()...))
		return site.Mux().Public(append(table, site.NotFound(table)...))
	}
}
