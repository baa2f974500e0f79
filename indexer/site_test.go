package indexer_test

import (
	"net/http"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/web"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/prometheus/client_golang/prometheus"
)

// The tests of this package ask over HTTP, as clients do. indexer/web imports
// this package, so that only a test from outside may import it.
func init() {
	indexer.ServeForTest = func(x *indexer.Index, reg prometheus.Registerer) http.Handler {
		site := web.New(web.Config{Index: x})
		if err := site.Register(reg); err != nil {
			panic(err) // a fresh registry of a test
		}
		table := route.Table(append(site.Routes(), site.Health()...))
		return site.Mux().Public(append(table, site.NotFound(table)...))
	}
}
