package reputation

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the counters and histograms of the service.
type metrics struct {
	applied   prometheus.Counter
	computeds *prometheus.HistogramVec
	published *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, s *Service) *metrics {
	auto := promauto.With(reg)
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "mostrodex", Subsystem: "reputation", Name: name, Help: help}
	}
	gauge := func(name, help string, fn func() float64) {
		auto.NewGaugeFunc(prometheus.GaugeOpts(opts(name, help)), func() float64 {
			s.mu.RLock()
			defer s.mu.RUnlock()
			return fn()
		})
	}
	gauge("lag_entries", "Entries of the log that are not applied yet.", func() float64 {
		head, at := s.cfg.Log.Head(), s.ledger.Cursor()
		return float64(head - min(at, head))
	})
	gauge("nodes", "Mostros that have a score.", func() float64 { return float64(len(s.scores)) })
	gauge("provisional_nodes", "Mostros with a score of which no event was witnessed.", func() float64 {
		n := 0
		for _, score := range s.scores {
			if score.Provisional {
				n++
			}
		}
		return float64(n)
	})
	gauge("flagged_nodes", "Mostros with a score that have a flag.", func() float64 {
		n := 0
		for _, score := range s.scores {
			if len(score.Flags) > 0 {
				n++
			}
		}
		return float64(n)
	})
	gauge("refused", "Events that were refused as evidence.", func() float64 {
		n := int64(0)
		for _, c := range s.ledger.Reasons() {
			n += c
		}
		return float64(n)
	})
	gauge("as_of_seconds", "Time of the last computation of all scores, in unix seconds.", func() float64 {
		if s.asOf.IsZero() {
			return 0
		}
		return float64(s.asOf.Unix())
	})
	return &metrics{
		applied: auto.NewCounter(prometheus.CounterOpts(opts("applied_total", "Log entries read."))),
		computeds: auto.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "mostrodex", Subsystem: "reputation", Name: "compute_seconds", Help: "Time to compute all scores, or those whose facts changed.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 2.5, 5, 10, 30},
		}, []string{"what"}),
		published: auto.NewCounterVec(prometheus.CounterOpts(opts("published_total", "Events published, by type.")), []string{"what"}),
	}
}

func (m *metrics) computed(full bool, took time.Duration) {
	what := "changed"
	if full {
		what = "all"
	}
	m.computeds.WithLabelValues(what).Observe(took.Seconds())
}
