package audit

import (
	"github.com/mostrodex/mostrodex/escrow/ledger"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the metrics of the comparisons that Tick makes.
type metrics struct {
	faults   prometheus.Gauge
	suspense prometheus.Gauge
	at       prometheus.Gauge
	failed   prometheus.Counter
}

// newMetrics creates the metrics, and registers them if reg is not nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	auto := promauto.With(reg)
	gauge := func(name, help string) prometheus.Gauge {
		return auto.NewGauge(prometheus.GaugeOpts{Name: "mostrodex_escrow_ledger_" + name, Help: help})
	}
	return &metrics{
		faults:   gauge("faults", "Broken laws of the ledger, differences from the Lightning node, and amounts in suspense, at the last comparison. An alarm if not 0."),
		suspense: gauge("suspense_sats", "Sats that the node has claimed and that belong to no party, at the last comparison."),
		at:       gauge("compared_timestamp_seconds", "Time of the last comparison of the ledger with the Lightning node."),
		failed:   auto.NewCounter(prometheus.CounterOpts{Name: "mostrodex_escrow_ledger_failures_total", Help: "Comparisons that could not be made."}),
	}
}

func (m *metrics) compared(r Result, report *ledger.Report) {
	if r.Err != nil {
		m.failed.Inc()
		return
	}
	m.faults.Set(float64(r.Faults))
	m.suspense.Set(float64(report.Balances[ledger.Suspense] / 1000))
	m.at.Set(float64(r.At))
}
