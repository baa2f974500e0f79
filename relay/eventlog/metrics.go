package eventlog

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the counters and histograms of a store.
type metrics struct {
	appends *prometheus.CounterVec
	commits prometheus.Histogram
	groups  prometheus.Histogram
	damaged prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	auto := promauto.With(reg)
	return &metrics{
		appends: auto.NewCounterVec(prometheus.CounterOpts{Name: "mostrodex_relay_appends_total",
			Help: "Events handed to the log, by outcome."}, []string{"outcome"}),
		commits: auto.NewHistogram(prometheus.HistogramOpts{Name: "mostrodex_relay_commit_duration_seconds",
			Help: "Time of one synced group commit.", Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12)}),
		groups: auto.NewHistogram(prometheus.HistogramOpts{Name: "mostrodex_relay_commit_events",
			Help: "Events in one group commit.", Buckets: prometheus.ExponentialBuckets(1, 4, 6)}),
		damaged: auto.NewCounter(prometheus.CounterOpts{Name: "mostrodex_relay_damaged_entries_total",
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

// registerGauges registers the gauges that read st.
func registerGauges(reg prometheus.Registerer, st *Store) {
	auto := promauto.With(reg)
	gauge := func(name, help string, of func() float64) {
		auto.NewGaugeFunc(prometheus.GaugeOpts{Name: "mostrodex_relay_" + name, Help: help}, of)
	}
	logBytes := func(state string, of func() int64) {
		auto.NewGaugeFunc(prometheus.GaugeOpts{Name: "mostrodex_relay_log_bytes",
			Help: "Bytes of the log's files, by state: live records, archived records and heads, erased payloads.", ConstLabels: prometheus.Labels{"state": state}},
			func() float64 { return float64(of()) })
	}
	logBytes("live", func() int64 { live, _, _ := st.logBytes(); return live })
	logBytes("archived", func() int64 { _, archived, _ := st.logBytes(); return archived })
	logBytes("erased", func() int64 { _, _, erased := st.logBytes(); return erased })
	gauge("live_events", "Events that are served.", func() float64 { return float64(st.Live()) })
	gauge("disk_free_bytes", "Free bytes of the log's disk.", func() float64 { return float64(st.space.FreeBytes()) })
	gauge("disk_full", "1 if new events are refused because the disk has less free space than the reserve.", func() float64 {
		if st.Full() {
			return 1
		}
		return 0
	})
	gauge("log_head", "Position of the newest entry of the log.", func() float64 { return float64(st.Head()) })
	gauge("body_cache_bytes", "Payloads of live events in memory, in bytes.", func() float64 {
		_, bodies := st.live.Bytes()
		return float64(bodies)
	})
}

func (m *metrics) appended(o Outcome) { m.appends.WithLabelValues(o.String()).Inc() }

func (m *metrics) committed(n int, d time.Duration) {
	m.commits.Observe(d.Seconds())
	m.groups.Observe(float64(n))
}
