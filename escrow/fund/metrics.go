package fund

import (
	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the metrics of the development fees.
type Metrics struct {
	due, oldest, parked  prometheus.Gauge
	paid, sats, failures prometheus.Counter
}

// NewMetrics creates the metrics.
func NewMetrics(auto promauto.Factory) Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return auto.NewGauge(prometheus.GaugeOpts{Name: "mostrodex_escrow_dev_fees_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return auto.NewCounter(prometheus.CounterOpts{Name: "mostrodex_escrow_dev_fees_" + name, Help: help})
	}
	return Metrics{
		due:      gauge("due_sats", "Development fees that are due and not paid, in sats."),
		oldest:   gauge("oldest_due_timestamp_seconds", "Settlement of the trade whose development fee is due for the longest time; 0 for none."),
		parked:   gauge("parked", "Development fees about which an operator must decide."),
		paid:     counter("paid_total", "Development fees that were paid."),
		sats:     counter("paid_sats_total", "Development fees that were paid, in sats."),
		failures: counter("failed_attempts_total", "Failed attempts to pay a development fee."),
	}
}

// Survey sets the gauges to the sum of the fees that are not paid, and counts the fees, in sats,
// that were paid and the attempts that failed since the last call.
func (m Metrics) Survey(sum devfee.Total, paid []int64, failed int) {
	m.due.Set(float64(sum.DueSats))
	m.oldest.Set(float64(sum.OldestAt))
	m.parked.Set(float64(sum.Parked))
	for _, sats := range paid {
		m.paid.Inc()
		m.sats.Add(float64(sats))
	}
	m.failures.Add(float64(failed))
}
