package eventlog

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics holds the Prometheus metrics of a store.
type Metrics struct {
	appends *prometheus.CounterVec
	commits prometheus.Histogram
	groups  prometheus.Histogram
	damaged prometheus.Counter
}

// NewMetrics returns metrics that are not registered. Collectors returns the list to
// register.
func NewMetrics() *Metrics {
	return &Metrics{
		appends: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mostrodex_relay_appends_total",
			Help: "Events handed to the log, by outcome."}, []string{"outcome"}),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "mostrodex_relay_commit_duration_seconds",
			Help: "Time of one synced group commit.", Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12)}),
		groups: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "mostrodex_relay_commit_events",
			Help: "Events in one group commit.", Buckets: prometheus.ExponentialBuckets(1, 4, 6)}),
		damaged: prometheus.NewCounter(prometheus.CounterOpts{Name: "mostrodex_relay_damaged_entries_total",
			Help: "Damaged entries of the log found since the start, each counted once."}),
	}
}

// logBytes returns the bytes of the log's files by state: records of live events,
// scrubbed payloads, and the rest, which is replaced and archived records and the heads
// of erased ones. A scrub that a crash interrupted may be counted twice as erased until
// its file is compacted.
func (p *parts) logBytes() (live, archived, erased int64) {
	live, _ = p.live.Bytes()
	all := int64(0)
	for _, f := range p.log.Sizes() {
		all, erased = all+f.Bytes, erased+f.ErasedBytes
	}
	return live, max(all-live-erased, 0), erased
}

// Collectors returns all metrics, with gauges that read st.
func (m *Metrics) Collectors(st *Store) []prometheus.Collector {
	logBytes := func(state string, of func() int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mostrodex_relay_log_bytes",
			Help: "Bytes of the log's files, by state: live records, archived records and heads, erased payloads.", ConstLabels: prometheus.Labels{"state": state}},
			func() float64 { return float64(of()) })
	}
	return []prometheus.Collector{
		logBytes("live", func() int64 { live, _, _ := st.logBytes(); return live }),
		logBytes("archived", func() int64 { _, archived, _ := st.logBytes(); return archived }),
		logBytes("erased", func() int64 { _, _, erased := st.logBytes(); return erased }),
		m.appends, m.commits, m.groups, m.damaged,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mostrodex_relay_live_events",
			Help: "Events that are served."}, func() float64 { return float64(st.Live()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mostrodex_relay_disk_free_bytes",
			Help: "Free bytes of the log's disk."}, func() float64 { return float64(st.space.FreeBytes()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mostrodex_relay_disk_full",
			Help: "1 if new events are refused because the disk has less free space than the reserve."}, func() float64 {
			if st.Full() {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mostrodex_relay_log_head",
			Help: "Position of the newest entry of the log."}, func() float64 { return float64(st.Head()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mostrodex_relay_body_cache_bytes",
			Help: "Payloads of live events in memory, in bytes."}, func() float64 {
			_, bodies := st.live.Bytes()
			return float64(bodies)
		}),
	}
}

func (m *Metrics) appended(o Outcome) { m.appends.WithLabelValues(o.String()).Inc() }

func (m *Metrics) committed(n int, d time.Duration) {
	m.commits.Observe(d.Seconds())
	m.groups.Observe(float64(n))
}
