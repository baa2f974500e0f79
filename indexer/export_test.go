package indexer

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// ServeForTest returns the site of an index. site_test.go sets it.
var ServeForTest func(x *Index, reg prometheus.Registerer) http.Handler

// Handler serves an index to a test.
func (x *Index) Handler() http.Handler { return ServeForTest(x, prometheus.NewRegistry()) }
