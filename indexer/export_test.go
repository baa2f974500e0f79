package indexer

import (
	"net/http"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/prometheus/client_golang/prometheus"
)

// ServeForTest returns the site of an index. site_test.go sets ServeForTest.
var ServeForTest func(x *Index, reg prometheus.Registerer) http.Handler

// RanksForTest returns the reputations that sites show. nil: sites show none.
var RanksForTest func(pubkey string) (mostro.ReputationSummary, bool)

// Handler returns the site of an index. The metrics of the site are not registered.
func (x *Index) Handler() http.Handler { return ServeForTest(x, nil) }
