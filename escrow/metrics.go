package escrow

import (
	"errors"
	"strconv"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/nodecard"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the metrics of the escrow. No label contains a key, a hash or an order id. A
// nil *metrics counts nothing.
type metrics struct {
	messages *prometheus.CounterVec // outcome
	receipts *prometheus.CounterVec // kind
	drops    *prometheus.CounterVec // rule
	steps    *prometheus.CounterVec // trigger
	effects  *prometheus.CounterVec // kind
	failures *prometheus.CounterVec // kind, class
	bugs     prometheus.Counter
	unsealed prometheus.Counter
	commits  prometheus.Histogram
	open     *prometheus.GaugeVec // status
	queue    *prometheus.GaugeVec // lane
	waits    *prometheus.GaugeVec // lane
	doubtful prometheus.Gauge
	disputes *prometheus.GaugeVec // state
	due      prometheus.Gauge
	held     prometheus.Gauge
	heldSats prometheus.Gauge
	refused  *prometheus.CounterVec // kind of event
	aside    prometheus.Counter
	node     *prometheus.GaugeVec // problem
	ahead    prometheus.Gauge
	fund     fund.Metrics
}

func newMetrics(reg prometheus.Registerer) *metrics {
	auto := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return auto.NewCounterVec(prometheus.CounterOpts{Name: "mostrodex_escrow_" + name, Help: help}, labels)
	}
	return &metrics{
		messages: counter("messages_total", "Messages by outcome: done, a reason of refusal, dropped or replayed.", "outcome"),
		receipts: counter("receipts_total", "Receipts issued to a side of a trade, plain or blind.", "kind"),
		drops:    counter("drops_total", "Events dropped before they were opened or because they hold no valid message, by broken rule.", "rule"),
		steps:    counter("steps_total", "Steps of trades by their trigger.", "trigger"),
		effects:  counter("effects_total", "Effects committed, by kind.", "kind"),
		failures: counter("effect_failures_total", "Effects that failed and will be repeated, by kind and class of error.", "kind", "class"),
		bugs:     auto.NewCounter(prometheus.CounterOpts{Name: "mostrodex_escrow_bugs_total", Help: "Transitions outside of the table that were refused, each a bug."}),
		unsealed: auto.NewCounter(prometheus.CounterOpts{Name: "mostrodex_escrow_unsealed_total", Help: "Messages dropped because the receiver's key is not a point of the curve."}),
		commits: auto.NewHistogram(prometheus.HistogramOpts{
			Name: "mostrodex_escrow_commit_seconds", Help: "Time of a synced commit.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		open:     auto.NewGaugeVec(prometheus.GaugeOpts{Name: "mostrodex_escrow_open_trades", Help: "Trades that are not over, by status."}, []string{"status"}),
		queue:    auto.NewGaugeVec(prometheus.GaugeOpts{Name: "mostrodex_escrow_outbox_rows", Help: "Effects that wait to be performed, by lane."}, []string{"lane"}),
		waits:    auto.NewGaugeVec(prometheus.GaugeOpts{Name: "mostrodex_escrow_outbox_oldest_seconds", Help: "Longest time for which the first effect of a queue has waited, by lane. A restart begins it anew."}, []string{"lane"}),
		refused:  counter("events_refused_total", "Own events that the relay refused for ever, by kind.", "kind"),
		aside:    auto.NewCounter(prometheus.CounterOpts{Name: "mostrodex_escrow_set_aside_total", Help: "Inputs that no commit could hold. Messages were skipped and trades frozen."}),
		node:     auto.NewGaugeVec(prometheus.GaugeOpts{Name: "mostrodex_escrow_node_problem", Help: "1 for the reason why the Lightning node cannot be used."}, []string{"problem"}),
		ahead:    auto.NewGauge(prometheus.GaugeOpts{Name: "mostrodex_escrow_stamps_ahead_seconds", Help: "Seconds by which published events are dated ahead of the clock."}),
		disputes: auto.NewGaugeVec(prometheus.GaugeOpts{Name: "mostrodex_escrow_open_disputes", Help: "Trades in dispute, by the public state of the dispute."}, []string{"state"}),
		due:      auto.NewGauge(prometheus.GaugeOpts{Name: "mostrodex_escrow_due_disputes", Help: "Trades in dispute of which the parties were told that the time ends."}),
		heldSats: auto.NewGauge(prometheus.GaugeOpts{Name: "mostrodex_escrow_held_sats", Help: "Sats of the payments that the Lightning node holds for open trades."}),
		held:     auto.NewGauge(prometheus.GaugeOpts{Name: "mostrodex_escrow_held_payments", Help: "Payments that the Lightning node holds for open trades."}),
		doubtful: auto.NewGauge(prometheus.GaugeOpts{Name: "mostrodex_escrow_frozen_trades", Help: "Trades that wait for an operator."}),
		fund:     fund.NewMetrics(auto),
	}
}

func (m *metrics) message(outcome string) {
	if m == nil {
		return
	}
	if outcome == "" {
		outcome = "done"
	}
	m.messages.WithLabelValues(outcome).Inc()
}

func (m *metrics) dropped(err error) {
	if m == nil {
		return
	}
	var rule message.Rule
	if !errors.As(err, &rule) {
		rule = "other"
	}
	m.drops.WithLabelValues(string(rule)).Inc()
}

func (m *metrics) failed(kind trade.EffectKind, err error) {
	if m != nil {
		m.failures.WithLabelValues(string(kind), nodeClass(err)).Inc()
	}
}

func (m *metrics) unsealable() {
	if m != nil {
		m.unsealed.Inc()
	}
}

// committed counts a commit and its content.
func (m *metrics) committed(c *Commit, steps map[trade.Trigger]int, bugs int, seconds float64) {
	if m == nil {
		return
	}
	m.commits.Observe(seconds)
	m.bugs.Add(float64(bugs))
	for on, n := range steps {
		m.steps.WithLabelValues(string(on)).Add(float64(n))
	}
	for _, row := range c.Issued {
		kind := "plain"
		if row.Signed != nil {
			kind = "blind"
		}
		m.receipts.WithLabelValues(kind).Inc()
	}
	for i := range c.Outbox {
		m.effects.WithLabelValues(string(c.Outbox[i].Effect.Kind)).Inc()
	}
}

// survey sets the gauges.
func (m *metrics) survey(b *TradeBook, o *outbox, ahead int64) {
	if m == nil {
		return
	}
	m.open.Reset()
	frozen := 0
	open := map[message.DisputeStatus]int{message.DisputeStatusInitiated: 0, message.DisputeStatusInProgress: 0}
	b.Trades(func(t *trade.Trade) {
		m.open.WithLabelValues(string(t.Status)).Inc()
		if t.Status == message.TradeDispute {
			open[t.Dispute.Status]++
		}
		if t.Frozen {
			frozen++
		}
	})
	m.doubtful.Set(float64(frozen))
	for state, n := range open {
		m.disputes.WithLabelValues(string(state)).Set(float64(n))
	}
	m.due.Set(float64(b.dueDisputes()))
	m.held.Set(float64(b.held))
	m.heldSats.Set(float64(b.heldMsat / 1000))
	depth, waits := o.depth(), o.waits()
	for l, name := range laneNames {
		m.queue.WithLabelValues(name).Set(float64(depth[l]))
		m.waits.WithLabelValues(name).Set(waits[l].Seconds())
	}
	m.ahead.Set(float64(ahead))
	m.fund.Survey(devfee.Sum(b.fund.fees), b.fund.paid, b.fund.failed)
	b.fund.paid, b.fund.failed = nil, 0
}

func (m *metrics) refusedEvent(kind int) {
	if m != nil {
		m.refused.WithLabelValues(strconv.Itoa(kind)).Inc()
	}
}

func (m *metrics) setAside() {
	if m != nil {
		m.aside.Inc()
	}
}

func (m *metrics) nodeState(problem nodecard.Problem) {
	if m == nil {
		return
	}
	for _, p := range nodecard.Problems {
		m.node.WithLabelValues(string(p)).Set(0)
	}
	if problem != nodecard.Usable {
		m.node.WithLabelValues(string(problem)).Set(1)
	}
}
