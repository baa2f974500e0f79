package audit

import (
	"github.com/mostrodex/mostrodex/escrow/ledger"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the metrics of the comparisons that Tick makes. A nil *Metrics counts nothing.
type Metrics struct {
	faults   prometheus.Gauge
	suspense prometheus.Gauge
	at       prometheus.Gauge
	failed   prometheus.Counter
}

// NewMetrics creates and registers the metrics. reg may be nil.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "mostrodex_escrow_ledger_" + name, Help: help})
	}
	m := &Metrics{
		faults:   gauge("faults", "Broken laws of the ledger, differences from the Lightning node, and amounts in suspense, at the last comparison. An alarm if not 0."),
		suspense: gauge("suspense_sats", "Sats that the node has claimed and that belong to no party, at the last comparison."),
		at:       gauge("compared_timestamp_seconds", "Time of the last comparison of the ledger with the Lightning node."),
		failed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "mostrodex_escrow_ledger_failures_total", Help: "Comparisons that could not be made."}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.faults, m.suspense, m.at, m.failed} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) compared(r Result, report *ledger.Report) {
	switch {
	case m == nil:
	case r.Err != nil:
		m.failed.Inc()
	default:
		m.faults.Set(float64(r.Faults))
		m.suspense.Set(float64(report.Balances[ledger.Suspense] / 1000))
		m.at.Set(float64(r.At))
	}
}
