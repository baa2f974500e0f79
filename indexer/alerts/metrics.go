package alerts

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the counters of the alerts.
type metrics struct {
	broken   atomic.Bool // a commit failed
	matched  prometheus.Counter
	muted    prometheus.Counter
	dropped  prometheus.Counter
	effects  *prometheus.CounterVec
	messages *prometheus.CounterVec
}

func metricOpts(name, help string) prometheus.Opts {
	return prometheus.Opts{Namespace: "mostrodex", Subsystem: "indexer", Name: "alerts_" + name, Help: help}
}

func newMetrics(reg prometheus.Registerer) *metrics {
	auto := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return auto.NewCounter(prometheus.CounterOpts(metricOpts(name, help)))
	}
	m := &metrics{
		matched:  counter("matched_total", "Orders that alerts were told of."),
		muted:    counter("muted_total", "Alerts left out at a change of an order because they had reached their rate."),
		dropped:  counter("dropped_total", "Deliveries left out because the outbox of the owner or of all was full."),
		effects:  auto.NewCounterVec(prometheus.CounterOpts(metricOpts("effects_total", "Messages and calls of webhooks, by road and result.")), []string{"road", "result"}),
		messages: auto.NewCounterVec(prometheus.CounterOpts(metricOpts("requests_total", "Private messages to the relay's key, by result.")), []string{"result"}),
	}
	for _, road := range []string{roadMessage, roadPush, roadWebhook, roadConfirm} {
		for _, result := range []string{"done", "retried", "given_up"} {
			m.effects.WithLabelValues(road, result)
		}
	}
	return m
}

func (m *metrics) gauges(reg prometheus.Registerer, s *Service) {
	auto := promauto.With(reg)
	auto.NewGaugeFunc(prometheus.GaugeOpts(metricOpts("saved", "Saved alerts.")), func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(len(s.byID))
	})
	auto.NewGaugeFunc(prometheus.GaugeOpts(metricOpts("outbox_rows", "Effects that remain to be done.")), func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(s.rows)
	})
}
