package indexer_test

import (
	"html/template"
	"net/http"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/web"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/prometheus/client_golang/prometheus"
)

// The tests of package indexer send HTTP requests, as clients do. indexer/web imports
// indexer, so only an external test package can import indexer/web.
func init() {
	indexer.ServeForTest = func(x *indexer.Index, reg prometheus.Registerer) http.Handler {
		site := web.New(web.Config{Index: x, Metrics: reg})
		if indexer.RanksForTest != nil {
			site.Show(ranks{})
		}
		table := route.Table(append(site.Routes(), site.Health()...))
		return site.Mux().Public(append(table, site.NotFound(table)...))
	}
}

// ranks shows the reputations of RanksForTest.
type ranks struct{}

func (ranks) ReputationSummary(pubkey string) (mostro.ReputationSummary, bool) {
	return indexer.RanksForTest(pubkey)
}

func (ranks) Section(*http.Request, string) (template.HTML, error) { return "", nil }
