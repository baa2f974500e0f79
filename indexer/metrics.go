package indexer

import (
	"time"

	"github.com/mostrodex/mostrodex/indexer/market"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Values of the label "store".
const (
	storeBook   = "book"
	storeSearch = "search"
)

// metrics are the counters and histograms of the index.
type metrics struct {
	entries  *prometheus.CounterVec
	busy     *prometheus.CounterVec
	behind   *prometheus.GaugeVec
	rebuilds *prometheus.CounterVec
	queries  *prometheus.HistogramVec
}

func metricOpts(name, help string) prometheus.Opts {
	return prometheus.Opts{Namespace: "mostrodex", Subsystem: "indexer", Name: name, Help: help}
}

func newMetrics(reg prometheus.Registerer) *metrics {
	auto := promauto.With(reg)
	counter := func(name, help string) *prometheus.CounterVec {
		return auto.NewCounterVec(prometheus.CounterOpts(metricOpts(name, help)), []string{"store"})
	}
	m := &metrics{
		entries:  counter("applied_total", "Log entries applied to the book, and documents written to search."),
		busy:     counter("apply_seconds_total", "Time spent applying entries and writing documents."),
		behind:   auto.NewGaugeVec(prometheus.GaugeOpts(metricOpts("lag_seconds", "Age of the last applied entry if more entries wait, else 0.")), []string{"store"}),
		rebuilds: counter("rebuilds_total", "Number of times that a damaged store was deleted and rebuilt."),
		queries: auto.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "mostrodex", Subsystem: "indexer", Name: "query_seconds", Help: "Time to answer a query, by the source of the answer.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"from"}),
	}
	for _, store := range []string{storeBook, storeSearch} {
		m.entries.WithLabelValues(store)
		m.rebuilds.WithLabelValues(store)
		m.behind.WithLabelValues(store)
	}
	return m
}

// registerGauges registers the gauges that read x.
func registerGauges(reg prometheus.Registerer, x *Index) {
	auto := promauto.With(reg)
	gauge := func(name, help string, fn func() float64) {
		auto.NewGaugeFunc(prometheus.GaugeOpts(metricOpts(name, help)), fn)
	}
	lag := func(store string, cursor func() uint64) {
		o := prometheus.GaugeOpts(metricOpts("lag_entries", "Log entries that a store has not applied yet."))
		o.ConstLabels = prometheus.Labels{"store": store}
		auto.NewGaugeFunc(o, func() float64 {
			head, at := x.cfg.Log.Head(), cursor()
			return float64(head - min(at, head))
		})
	}
	lag(storeBook, func() uint64 { return x.book.cursor.Load() })
	lag(storeSearch, func() uint64 { return x.search.cursor.Load() })
	lag(market.Name, func() uint64 { return x.market.Position() })
	gauge("live_orders", "Orders that have not expired, of any status.", func() float64 { live, _ := x.book.live.Load().Size(); return float64(live) })
	gauge("pending_orders", "Live orders with status pending.", func() float64 { _, pending := x.book.live.Load().Size(); return float64(pending) })
	gauge("instances", "Authors that publish an info event.", func() float64 { return float64(x.book.authors.Load().instances()) })
	gauge("search_documents", "Documents in the search index.", func() float64 { n, _ := x.search.docs(); return float64(n) })
	gauge("ready", "1 if both stores and the statistics have caught up with the log, else 0.", func() float64 {
		if x.Ready() {
			return 1
		}
		return 0
	})
}

func (m *metrics) applied(store string, n int, took time.Duration) {
	m.entries.WithLabelValues(store).Add(float64(n))
	m.busy.WithLabelValues(store).Add(took.Seconds())
}

// lag sets the metric of the time since the last applied entry arrived, or 0 if no entry
// waits.
func (m *metrics) lag(store string, batch []mostro.Entry, now time.Time) {
	behind := time.Duration(0)
	if len(batch) > 0 {
		behind = max(0, now.Sub(batch[len(batch)-1].ReceivedAt))
	}
	m.behind.WithLabelValues(store).Set(behind.Seconds())
}
