package relay

import (
	"strings"

	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the metrics of the server. Labels have closed sets of values, never a key,
// an id, a subscription or an address.
type metrics struct {
	connections      prometheus.Gauge
	connectionsTotal prometheus.Counter
	subscriptions    prometheus.Gauge
	frames           *prometheus.CounterVec // by verb
	events           *prometheus.CounterVec // by outcome
	refusals         *prometheus.CounterVec // by frame and reason
	deliveries       prometheus.Counter
	ephemeral        prometheus.Counter
	ephemeralDropped prometheus.Counter
	slow             prometheus.Counter
	unresponsive     prometheus.Counter
	panics           prometheus.Counter
	writes           prometheus.Counter
	sentBytes        prometheus.Counter
	querySeconds     prometheus.Histogram
	appendSeconds    prometheus.Histogram
	importLines      *prometheus.CounterVec // by outcome

	verbs    map[string]prometheus.Counter
	outcomes [eventlog.OverQuota + 1]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	const ns, sub = "mostrodex", "relay"
	auto := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return auto.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return auto.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return auto.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return auto.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: name, Help: help,
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		})
	}
	m := &metrics{
		connections:      gauge("connections", "Open websocket connections."),
		connectionsTotal: counter("connections_opened_total", "Websocket connections accepted."),
		subscriptions:    gauge("subscriptions", "Open subscriptions."),
		frames:           counters("frames_total", "Messages from clients, by verb.", "verb"),
		events:           counters("events_total", "Events that reached the store, by outcome.", "outcome"),
		refusals:         counters("refusals_total", "Events and requests refused, by answer and machine-readable prefix.", "answer", "reason"),
		deliveries:       counter("deliveries_total", "Live events sent to subscriptions."),
		ephemeral:        counter("ephemeral_events_total", "Ephemeral events accepted for delivery."),
		ephemeralDropped: counter("ephemeral_events_dropped_total", "Ephemeral events refused because their lane was full."),
		slow:             counter("connections_dropped_slow_total", "Connections closed because the client read too slowly."),
		unresponsive:     counter("connections_dropped_unresponsive_total", "Connections closed because the client answered no ping."),
		panics:           counter("panics_total", "Panics caught while handling a client's message. Each is a bug."),
		writes:           counter("socket_writes_total", "Write calls on client sockets."),
		sentBytes:        counter("sent_bytes_total", "Bytes written to client sockets."),
		querySeconds:     seconds("query_seconds", "Time to answer the stored part of a REQ, from frame to last byte queued."),
		appendSeconds:    seconds("append_seconds", "Time from an EVENT frame to its OK being queued."),
		importLines:      counters("import_lines_total", "Lines of imports, by outcome.", "outcome"),
		verbs:            make(map[string]prometheus.Counter),
	}
	for _, verb := range []string{"EVENT", "REQ", "CLOSE", "COUNT", "AUTH", "NEG", "unknown", "malformed"} {
		m.verbs[verb] = m.frames.WithLabelValues(verb)
	}
	for out, name := range outcomeNames {
		if name != "" {
			m.outcomes[out] = m.events.WithLabelValues(name)
		}
	}
	return m
}

var outcomeNames = [...]string{eventlog.Added: "added", eventlog.Duplicate: "duplicate", eventlog.Archived: "archived", eventlog.Deleted: "deleted", eventlog.OverQuota: "over_quota"}

func (m *metrics) outcome(out eventlog.Outcome) {
	if int(out) < len(m.outcomes) && m.outcomes[out] != nil {
		m.outcomes[out].Inc()
	}
}

// refused counts a refusal under its prefix. An unknown prefix counts as "other", so that
// the set of label values stays closed.
func (m *metrics) refused(answer, reason string) {
	prefix, _, _ := strings.Cut(reason, ":")
	switch prefix {
	case "invalid", "pow", "blocked", "duplicate", "rate-limited", "restricted", "auth-required", "unsupported", "error":
	default:
		prefix = "other"
	}
	m.refusals.WithLabelValues(answer, prefix).Inc()
}
