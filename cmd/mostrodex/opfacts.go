package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/exposure"
	"github.com/mostrodex/mostrodex/escrow/nodecard"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/opalert"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/federation"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	dto "github.com/prometheus/client_model/go"
)

// facts are what the conditions of which the operator is told are computed from.
type facts struct {
	at       int64
	readings readings
	escrow   *escrowFacts // nil: there is no escrow
	backupAt int64        // time of the newest backup; 0: none
	reserve  int64        // bytes of the disk reserve; 0: the disk is not watched
	clock    []string     // what is wrong with the clock; empty: nothing
}

// escrowFacts are the facts about the escrow.
type escrowFacts struct {
	problem nodecard.State
	status  escrow.Status
	sum     *exposure.Sum                // nil: the engine did not answer
	unpaid  map[trade.OrderID]int64      // settled trades whose buyer is not paid: the time of the settlement
	health  map[string]mostro.CheckState // checks of the newest event of kind 38389; nil: none
}

// readings are the values of metrics, by name.
type readings map[string][]*dto.Metric

// readMetrics reads the metrics of a registry. A metric that cannot be collected is left out.
func readMetrics(g prometheus.Gatherer) readings {
	families, _ := g.Gather() // the families that were collected are returned beside the error
	r := make(readings, len(families))
	for _, f := range families {
		r[f.GetName()] = f.GetMetric()
	}
	return r
}

// sum returns the sum of the values of a metric whose labels include the given pairs, and whether
// there is one.
func (r readings) sum(name string, pairs ...string) (sum float64, ok bool) {
	for _, m := range r[name] {
		if !labelled(m, pairs) {
			continue
		}
		ok = true
		switch {
		case m.Gauge != nil:
			sum += m.Gauge.GetValue()
		case m.Counter != nil:
			sum += m.Counter.GetValue()
		}
	}
	return sum, ok
}

func labelled(m *dto.Metric, pairs []string) bool {
	for i := 0; i+1 < len(pairs); i += 2 {
		found := false
		for _, l := range m.GetLabel() {
			found = found || l.GetName() == pairs[i] && l.GetValue() == pairs[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

// Kinds of conditions.
const (
	kindLightning = "lightning"
	kindWallet    = "wallet"
	kindEngine    = "engine"
	kindMargin    = "margin"
	kindPayout    = "payout"
	kindFrozen    = "frozen"
	kindDispute   = "dispute"
	kindOutbox    = "outbox"
	kindClosed    = "closed"
	kindLedger    = "ledger"
	kindDevFee    = "dev-fee"
	kindBug       = "bug"
	kindDisk      = "disk"
	kindRelays    = "relays"
	kindIndex     = "index"
	kindBackup    = "backup"
	kindClock     = "clock"
)

// tradeKinds are the kinds that are unknown if the engine does not answer.
var tradeKinds = []string{kindMargin, kindPayout, kindFrozen, kindDispute}

// look computes the conditions. It reads no clock and no file.
func (c *OperatorConfig) look(f *facts) (l opalert.Look) {
	add := func(kind, subject string, level opalert.Level, delay time.Duration, format string, args ...any) {
		l.Conditions = append(l.Conditions, opalert.Condition{Kind: kind, Subject: subject, Level: level, Delay: delay, Text: fmt.Sprintf(format, args...)})
	}
	c.lookAtRelay(f, add)
	for _, wrong := range f.clock {
		add(kindClock, "", opalert.Warning, 10*time.Minute, "%s", wrong)
	}
	if f.backupAt == 0 && c.Backup != "" {
		add(kindBackup, "", opalert.Critical, 0, "There is no backup at %s.", c.Backup)
	} else if hours := (f.at - f.backupAt) / 3600; c.Backup != "" && hours >= c.BackupHours {
		add(kindBackup, "", opalert.Warning, 0, "The newest backup at %s is %d hours old.", c.Backup, hours)
	}
	if f.escrow == nil {
		return l
	}
	c.lookAtNode(f, add)
	if f.escrow.sum == nil {
		l.Unknown = append(l.Unknown, tradeKinds...)
		return l
	}
	c.lookAtTrades(f, add)
	return l
}

// adder adds a condition.
type adder func(kind, subject string, level opalert.Level, delay time.Duration, format string, args ...any)

func (c *OperatorConfig) lookAtRelay(f *facts, add adder) {
	value := func(name string, pairs ...string) float64 { v, _ := f.readings.sum(name, pairs...); return v }
	free, known := f.readings.sum("mostrodex_relay_disk_free_bytes")
	switch {
	case value("mostrodex_relay_disk_full") > 0:
		add(kindDisk, "", opalert.Critical, 0, "The disk is full up to the reserve: no event is accepted. %d MiB are free.", int64(free)>>20)
	case known && f.reserve > 0 && free < 2*float64(f.reserve):
		add(kindDisk, "", opalert.Warning, time.Minute, "%d MiB are free on the disk; below %d MiB no event is accepted.", int64(free)>>20, f.reserve>>20)
	}
	others := value("mostrodex_relay_upstreams", "origin", "configured")
	if others > 0 && value("mostrodex_relay_upstreams", "origin", "configured", "state", "live")+value("mostrodex_relay_upstreams", "origin", "configured", "state", "catching_up") == 0 {
		add(kindRelays, "connected", opalert.Warning, 10*time.Minute, "None of the %d configured relays is connected.", int(others))
	}
	if queue := value("mostrodex_relay_forward_queue"); queue > 1000 {
		add(kindRelays, "forward", opalert.Warning, 10*time.Minute, "%d own events wait for another relay.", int(queue))
	}
	if lag := value("mostrodex_relay_upstream_lag_seconds"); lag > 600 {
		add(kindRelays, "lag", opalert.Warning, 10*time.Minute, "Events of other relays arrive %d s late.", int(lag))
	}
	if lag := value("mostrodex_indexer_lag_entries"); lag > 10_000 {
		add(kindIndex, "", opalert.Warning, 10*time.Minute, "The index is %d entries behind the log.", int(lag))
	}
}

func (c *OperatorConfig) lookAtNode(f *facts, add adder) {
	e := f.escrow
	value := func(name string, pairs ...string) float64 { v, _ := f.readings.sum(name, pairs...); return v }
	switch e.problem.Problem {
	case nodecard.Usable:
		if e.sum == nil {
			add(kindEngine, "", opalert.Critical, 3*time.Minute, "The escrow does not answer although the Lightning node does.")
		}
	case nodecard.OtherWallet:
		add(kindWallet, "", opalert.Critical, 0, "%s", e.problem.Detail)
	case nodecard.Unsynced:
		add(kindLightning, "", opalert.Warning, 15*time.Minute, "%s", e.problem.Detail)
	default:
		add(kindLightning, "", opalert.Critical, 3*time.Minute, "%s", e.problem.Detail)
	}
	var closed []string
	for _, why := range e.status.Closed {
		if why != e.problem.Detail && !strings.HasPrefix(why, "the operator") && !strings.HasPrefix(why, "maintenance: the operator") {
			closed = append(closed, why)
		}
	}
	if len(closed) > 0 {
		add(kindClosed, "", opalert.Warning, 15*time.Minute, "The escrow takes no new orders: %s", strings.Join(closed, "; "))
	}
	// Rows of the lanes of the Lightning node and of addresses may wait for a node that is down,
	// of which another condition tells. A row about the development fund waits for hours.
	for lane, factor := range map[string]int64{"mail": 1, "reply": 1, "event": 1, "node": 4, "mint": 4} {
		if waits := value("mostrodex_escrow_outbox_oldest_seconds", "lane", lane); waits >= float64(factor*c.OutboxMinutes*60) {
			add(kindOutbox, lane, opalert.Warning, 0, "An effect in the lane %s of the outbox has waited for %d minutes.", lane, int(waits)/60)
		}
	}
	if n := value("mostrodex_escrow_ledger_faults"); n > 0 {
		add(kindLedger, "", opalert.Critical, 0, "The ledger has %d faults: see 'mostrodex ledger check'.", int(n))
	}
	if n := value("mostrodex_escrow_dev_fees_parked"); n > 0 {
		add(kindDevFee, "", opalert.Warning, 0, "%d development fees wait for a decision: see 'mostrodex devfee list'.", int(n))
	}
	if n := value("mostrodex_escrow_bugs_total") + value("mostrodex_escrow_set_aside_total"); n > 0 {
		add(kindBug, "", opalert.Warning, 0, "%d inputs of trades were refused or set aside since the start, each because of a bug: please report the lines of the log.", int(n))
	}
}

func (c *OperatorConfig) lookAtTrades(f *facts, add adder) {
	for i := range f.escrow.sum.Trades {
		t := &f.escrow.sum.Trades[i]
		id := t.ID.String()
		if t.Frozen {
			add(kindFrozen, id, opalert.Critical, 0, "A trade of %d sats is frozen and waits for a decision: see 'mostrodex trade show'.", t.Sats)
		}
		if t.Blocks <= c.MarginBlocks {
			level := opalert.Warning
			if t.Blocks <= 0 {
				level = opalert.Critical
			}
			add(kindMargin, id, level, 0, "The payment of a seller (%d sats, trade %s) has %d blocks left before the margin of its time lock.", t.Sats, t.Status, max(t.Blocks, 0))
		}
		if since, known := f.escrow.unpaid[t.ID]; t.Unpaid && known && f.at-since >= c.PayoutMinutes*60 {
			level := opalert.Warning
			if f.at-since >= 12*c.PayoutMinutes*60 {
				level = opalert.Critical
			}
			add(kindPayout, id, level, 0, "A buyer waits for %d sats for more than %d minutes after the settlement: see 'mostrodex trade show'.", t.Sats, c.PayoutMinutes)
		}
		switch {
		case t.Dispute == nil:
		case t.Dispute.Told != 0:
			add(kindDispute, id, opalert.Critical, 0, "A dispute about %d sats is due: the parties were told that some %d blocks are left before the rule decides it.", t.Sats, t.Dispute.Told)
		default:
			add(kindDispute, id, opalert.Warning, 0, "A dispute about %d sats is open (opened by the %s, %s): see 'mostrodex dispute inbox'.", t.Sats, cmp.Or(string(t.Dispute.By), "escrow"), t.Dispute.Status)
		}
	}
}

// askEngine is the time for which a look waits for the escrow.
const askEngine = 5 * time.Second

// looker collects the facts and sets the gauges that are derived from them.
type looker struct {
	config   *OperatorConfig
	disk     int // relay.disk_reserve_mib
	registry *prometheus.Registry
	store    *eventlog.Store
	escrow   *escrowRoom // nil: there is no escrow
	relays   *federation.Upstreams
	now      func() time.Time
	unpaid   map[trade.OrderID]int64 // of the last look; one goroutine looks
	gauges   *exposureGauges         // nil without an escrow
	backup   prometheus.Gauge        // nil if no backup is configured
	skew     prometheus.Gauge
}

func newLooker(m *Main) *looker {
	l := &looker{config: &m.Config.Operator, disk: m.Config.Relay.DiskReserveMiB, registry: m.registry, store: m.store, escrow: m.escrow, relays: m.upstreams, now: m.Now,
		skew: promauto.With(m.registry).NewGauge(prometheus.GaugeOpts{Name: "mostrodex_operator_clock_ahead_seconds", Help: "Time by which our clock is ahead of those of the relays that are followed, negative if it is behind; 0 if none has answered."})}
	if m.escrow != nil {
		l.gauges = newExposureGauges(m.registry)
		l.gauges.least.Set(math.Inf(1)) // until the engine has answered
		l.gauges.summedUpAt.Set(float64(m.Now().Unix()))
	}
	if l.config.Backup != "" {
		l.backup = promauto.With(m.registry).NewGauge(prometheus.GaugeOpts{Name: "mostrodex_operator_backup_timestamp_seconds", Help: "Time of the newest backup that operator.backup names; 0 if there is none."})
	}
	return l
}

func (l *looker) look(ctx context.Context) opalert.Look {
	f := &facts{at: l.now().Unix(), clock: clockNotes(l.relays)}
	if l.relays != nil {
		ahead, _ := l.relays.ClockSkew()
		l.skew.Set(ahead.Seconds())
	}
	if l.escrow != nil {
		f.escrow = l.ofEscrow(ctx, f.at)
		l.gauges.set(f)
	}
	if l.backup != nil {
		f.backupAt = newestIn(l.config.Backup)
		l.backup.Set(float64(f.backupAt))
	}
	switch {
	case l.disk == 0:
		f.reserve = eventlog.DefaultDiskReserve
	case l.disk > 0:
		f.reserve = int64(l.disk) << 20
	}
	f.readings = readMetrics(l.registry)
	return l.config.look(f)
}

func (l *looker) ofEscrow(ctx context.Context, at int64) *escrowFacts {
	ctx, cancel := context.WithTimeout(ctx, askEngine)
	defer cancel()
	e := &escrowFacts{problem: l.escrow.engine.Card.State(), status: l.escrow.engine.Status(), health: l.health(ctx)}
	var sum *exposure.Sum
	err := l.escrow.engine.Ask(ctx, func(b *escrow.TradeBook, _ int64) error {
		sum = exposure.New(at) // a batch may be decided twice
		b.Trades(sum.Add)
		return nil
	})
	if err != nil {
		return e
	}
	e.sum, e.unpaid = sum, make(map[trade.OrderID]int64)
	for i := range sum.Trades {
		t := &sum.Trades[i]
		if !t.Unpaid {
			continue
		}
		since, known := l.unpaid[t.ID]
		if !known {
			if since, err = escrow.SettledAt(l.escrow.db, &trade.Trade{ID: t.ID, Lock: trade.Lock{HeldAt: at}}); err != nil {
				continue // the engine finds the same error and stops
			}
		}
		e.unpaid[t.ID] = since
	}
	l.unpaid = e.unpaid
	return e
}

// health returns the checks of the newest event about the health of this node.
func (l *looker) health(ctx context.Context) map[string]mostro.CheckState {
	found, err := l.store.Query(ctx, nil, nostr.Filter{Kinds: []int{mostro.KindHealth}, Authors: []string{l.escrow.pubkey}}, 1, 0)
	if err != nil || len(found) == 0 {
		return nil
	}
	evt, err := eventlog.ParseBody(found[0].JSON)
	if err != nil {
		return nil
	}
	h, err := mostro.ParseHealth(evt)
	if err != nil {
		return nil
	}
	checks := make(map[string]mostro.CheckState)
	for _, c := range h.Checks {
		checks[c.Name] = c.State
	}
	return checks
}

// newestIn returns the time of the newest file at a path: of the file, or of the entries of the
// directory. It returns 0 if there is none.
func newestIn(path string) (at int64) {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	if !info.IsDir() {
		return info.ModTime().Unix()
	}
	entries, err := os.ReadDir(filepath.Clean(path))
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			at = max(at, info.ModTime().Unix())
		}
	}
	return at
}

// exposureGauges show the sum of the open trades. The labels are from closed sets.
type exposureGauges struct {
	holds, holdSats, health                                    *prometheus.GaugeVec
	least, late, unpaid, oldest, awaiting, refunds, summedUpAt prometheus.Gauge
}

func newExposureGauges(reg prometheus.Registerer) *exposureGauges {
	auto := promauto.With(reg)
	opts := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Name: "mostrodex_escrow_" + name, Help: help}
	}
	return &exposureGauges{
		holds:      auto.NewGaugeVec(opts("holds", "Payments that the Lightning node holds, by the most blocks that are left before the margin of their time lock."), []string{"blocks_left"}),
		holdSats:   auto.NewGaugeVec(opts("hold_sats", "Sats of these payments."), []string{"blocks_left"}),
		health:     auto.NewGaugeVec(opts("health_problem", "Checks of the health that this node has published last: 0 ok, 1 warn, 2 fail, 3 unknown."), []string{"check"}),
		least:      auto.NewGauge(opts("least_blocks_left", "Least number of blocks that a held payment has left before the margin; +Inf if none is held.")),
		late:       auto.NewGauge(opts("decision_late_seconds", "Time by which the decision of the clock about a trade is late.")),
		unpaid:     auto.NewGauge(opts("unpaid_trades", "Settled trades whose buyer is not paid, without those that wait for an invoice of the buyer.")),
		oldest:     auto.NewGauge(opts("oldest_unpaid_seconds", "Time since the settlement of the settled trade whose buyer has waited longest; 0 if none waits.")),
		awaiting:   auto.NewGauge(opts("awaiting_invoice_trades", "Settled trades that wait for another invoice of the buyer.")),
		refunds:    auto.NewGauge(opts("refunds_due", "Payments besides payouts that the node owes.")),
		summedUpAt: auto.NewGauge(opts("summed_up_timestamp_seconds", "Time at which the open trades were summed up last.")),
	}
}

// set sets the gauges, if the engine has answered.
func (g *exposureGauges) set(f *facts) {
	for check, state := range f.escrow.health {
		problem := map[mostro.CheckState]float64{mostro.CheckOK: 0, mostro.CheckWarn: 1, mostro.CheckFail: 2}
		value, known := problem[state]
		if !known {
			value = 3
		}
		g.health.WithLabelValues(check).Set(value)
	}
	s := f.escrow.sum
	if s == nil {
		return
	}
	for class := range s.Held {
		name := "more"
		if class < len(exposure.Bounds) {
			name = fmt.Sprint(exposure.Bounds[class])
		}
		g.holds.WithLabelValues(name).Set(float64(s.Held[class]))
		g.holdSats.WithLabelValues(name).Set(float64(s.HeldSats[class]))
	}
	least := math.Inf(1)
	if s.Least != exposure.Unknown {
		least = float64(s.Least)
	}
	oldest := int64(0)
	for _, since := range f.escrow.unpaid {
		oldest = max(oldest, f.at-since)
	}
	g.least.Set(least)
	g.late.Set(float64(s.Late))
	g.unpaid.Set(float64(s.Unpaid))
	g.oldest.Set(float64(oldest))
	g.awaiting.Set(float64(s.Awaiting))
	g.refunds.Set(float64(s.Refunds))
	g.summedUpAt.Set(float64(s.At))
}
