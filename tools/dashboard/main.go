// Command dashboard writes deploy/grafana-dashboard.json, a Grafana dashboard of the metrics of a
// mostrodex. A test compares the file with what the command writes, and a test of cmd/mostrodex
// looks for every metric of the file in a running server.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	out := flag.String("o", "deploy/grafana-dashboard.json", "file to write")
	flag.Parse()
	text, err := build()
	if err == nil {
		err = os.WriteFile(*out, text, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

// query is a line of a panel: an expression and its legend.
type query struct{ expr, legend string }

// only restricts a metric to the instances that are chosen in the dashboard.
const only = `{instance=~"$instance"}`

// rows is the dashboard: what an operator looks at first stands first.
var rows = []struct {
	title  string
	panels []panel
}{
	{"At a glance", []panel{
		{title: "Conditions told", help: "Conditions of which the operator was told and that are not over (docs/watch.md).", stat: true, red: 1, queries: []query{{"sum(mostrodex_operator_conditions" + only + ")", ""}}},
		{title: "Least blocks left", help: "Blocks that a held payment has left before the margin of its time lock. Below 0 the chain decides.", stat: true, low: 12, queries: []query{{"min(mostrodex_escrow_least_blocks_left" + only + ")", ""}}},
		{title: "Oldest payout", help: "Time since the settlement of the trade whose buyer has waited longest.", unit: "s", stat: true, red: 1800, queries: []query{{"max(mostrodex_escrow_oldest_unpaid_seconds" + only + ")", ""}}},
		{title: "Disputes due", stat: true, red: 1, queries: []query{{"sum(mostrodex_escrow_due_disputes" + only + ")", ""}}},
		{title: "Frozen trades", stat: true, red: 1, queries: []query{{"sum(mostrodex_escrow_frozen_trades" + only + ")", ""}}},
		{title: "Disk free", unit: "bytes", stat: true, low: 1 << 30, queries: []query{{"min(mostrodex_relay_disk_free_bytes" + only + ")", ""}}},
	}},
	{"Trades and money", []panel{
		{title: "Open trades", queries: []query{{"sum by (status) (mostrodex_escrow_open_trades" + only + ")", "{{status}}"}}},
		{title: "Held payments by blocks left", help: "The class 0 is at or beyond the margin.", stack: true, queries: []query{{"sum by (blocks_left) (mostrodex_escrow_holds" + only + ")", "≤ {{blocks_left}}"}}},
		{title: "Held sats", queries: []query{{"sum(mostrodex_escrow_held_sats" + only + ")", "held"}, {"sum by (blocks_left) (mostrodex_escrow_hold_sats{instance=~\"$instance\",blocks_left=~\"0|12|36\"})", "≤ {{blocks_left}} blocks"}}},
		{title: "Payouts", queries: []query{{"sum(mostrodex_escrow_unpaid_trades" + only + ")", "buyers who wait"}, {"sum(mostrodex_escrow_awaiting_invoice_trades" + only + ")", "wait for an invoice"}, {"sum(mostrodex_escrow_refunds_due" + only + ")", "refunds due"}}},
		{title: "Age of the oldest payout", unit: "s", queries: []query{{"max(mostrodex_escrow_oldest_unpaid_seconds" + only + ")", "oldest"}}},
		{title: "Disputes", queries: []query{{"sum by (state) (mostrodex_escrow_open_disputes" + only + ")", "{{state}}"}, {"sum(mostrodex_escrow_due_disputes" + only + ")", "due"}}},
		{title: "Ledger", help: "Faults are an alarm. Sats in suspense belong to no party yet.", queries: []query{{"sum(mostrodex_escrow_ledger_faults" + only + ")", "faults"}, {"sum(mostrodex_escrow_ledger_suspense_sats" + only + ")", "sats in suspense"}}},
		{title: "Development fees", queries: []query{{"sum(mostrodex_escrow_dev_fees_due_sats" + only + ")", "due (sats)"}, {"sum(mostrodex_escrow_dev_fees_parked" + only + ")", "parked"}}},
	}},
	{"Engine and Lightning node", []panel{
		{title: "Lightning node", help: "1 for the reason why the node cannot be used.", queries: []query{{"max by (problem) (mostrodex_escrow_node_problem" + only + ")", "{{problem}}"}}},
		{title: "Published health", help: "0 ok, 1 warn, 2 fail, 3 unknown.", queries: []query{{"max by (check) (mostrodex_escrow_health_problem" + only + ")", "{{check}}"}}},
		{title: "Outbox rows", queries: []query{{"sum by (lane) (mostrodex_escrow_outbox_rows" + only + ")", "{{lane}}"}}},
		{title: "Oldest row of the outbox", unit: "s", queries: []query{{"max by (lane) (mostrodex_escrow_outbox_oldest_seconds" + only + ")", "{{lane}}"}}},
		{title: "Failed effects", unit: "ops", queries: []query{{"sum by (kind, class) (rate(mostrodex_escrow_effect_failures_total" + only + "[$__rate_interval]))", "{{kind}}: {{class}}"}}},
		{title: "Commits", unit: "s", queries: []query{{"histogram_quantile(0.99, sum by (le) (rate(mostrodex_escrow_commit_seconds_bucket" + only + "[$__rate_interval])))", "p99"}}},
		{title: "Decisions of the clock", help: "Time by which the decision about a trade is late.", unit: "s", queries: []query{{"max(mostrodex_escrow_decision_late_seconds" + only + ")", "late"}}},
		{title: "Messages", unit: "ops", queries: []query{{"sum by (outcome) (rate(mostrodex_escrow_messages_total" + only + "[$__rate_interval]))", "{{outcome}}"}}},
	}},
	{"Relay", []panel{
		{title: "Connections", queries: []query{{"sum(mostrodex_relay_connections" + only + ")", "connections"}, {"sum(mostrodex_relay_subscriptions" + only + ")", "subscriptions"}}},
		{title: "Events", unit: "ops", queries: []query{{"sum by (outcome) (rate(mostrodex_relay_appends_total" + only + "[$__rate_interval]))", "{{outcome}}"}}},
		{title: "Commit of the log", unit: "s", queries: []query{{"histogram_quantile(0.99, sum by (le) (rate(mostrodex_relay_commit_duration_seconds_bucket" + only + "[$__rate_interval])))", "p99"}}},
		{title: "Other relays", queries: []query{{"sum by (state) (mostrodex_relay_upstreams" + only + ")", "{{state}}"}}},
		{title: "Lag of other relays", unit: "s", queries: []query{{"max(mostrodex_relay_upstream_lag_seconds" + only + ")", "lag"}}},
		{title: "Own events that wait for a relay", queries: []query{{"max(mostrodex_relay_forward_queue" + only + ")", "longest queue"}}},
		{title: "Disk", unit: "bytes", queries: []query{{"min(mostrodex_relay_disk_free_bytes" + only + ")", "free"}, {"max(mostrodex_relay_log_bytes" + only + ")", "log"}}},
		{title: "Memory", unit: "bytes", queries: []query{{"process_resident_memory_bytes" + only, "resident"}, {"go_memstats_heap_alloc_bytes" + only, "heap"}}},
	}},
	{"Index, scores and messages to the operator", []panel{
		{title: "Entries behind the log", queries: []query{{"max by (store) (mostrodex_indexer_lag_entries" + only + ")", "{{store}}"}, {"max(mostrodex_reputation_lag_entries" + only + ")", "reputation"}}},
		{title: "Live orders", queries: []query{{"max(mostrodex_indexer_live_orders" + only + ")", "live"}, {"max(mostrodex_indexer_pending_orders" + only + ")", "pending"}}},
		{title: "HTTP requests", unit: "reqps", queries: []query{{"sum by (code) (rate(mostrodex_indexer_http_requests_total" + only + "[$__rate_interval]))", "{{code}}"}}},
		{title: "Messages to the operator", queries: []query{{"sum by (channel, result) (increase(mostrodex_operator_messages_total" + only + "[$__rate_interval]))", "{{channel}}: {{result}}"}, {"sum by (channel) (mostrodex_operator_messages_waiting" + only + ")", "{{channel}}: waiting"}}},
	}},
}

// panel is one panel: a line over time, or a number.
type panel struct {
	title, help, unit string
	stat              bool
	stack             bool
	red               float64 // a number is red from this value; 0: never
	low               float64 // a number is red below this value; 0: never
	queries           []query
}

// source is the variable of the dashboard that names the Prometheus server.
var source = common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${source}")}

func (p panel) targets() (list []cog.Builder[variants.Dataquery]) {
	for i, q := range p.queries {
		list = append(list, prometheus.NewDataqueryBuilder().RefId(string(rune('A'+i))).Expr(q.expr).LegendFormat(q.legend).Datasource(source))
	}
	return list
}

func (p panel) thresholds() *dashboard.ThresholdsConfigBuilder {
	steps := []dashboard.Threshold{{Value: nil, Color: "green"}}
	switch {
	case p.red > 0:
		steps = append(steps, dashboard.Threshold{Value: cog.ToPtr(p.red), Color: "red"})
	case p.low > 0:
		steps = []dashboard.Threshold{{Value: nil, Color: "red"}, {Value: cog.ToPtr(p.low), Color: "green"}}
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}

func (p panel) builder() cog.Builder[dashboard.Panel] {
	unit := p.unit
	if unit == "" {
		unit = "short"
	}
	if p.stat {
		return stat.NewPanelBuilder().Title(p.title).Description(p.help).Unit(unit).Datasource(source).Targets(p.targets()).
			Thresholds(p.thresholds()).ColorMode(common.BigValueColorModeBackground).Span(4).Height(4)
	}
	b := timeseries.NewPanelBuilder().Title(p.title).Description(p.help).Unit(unit).Datasource(source).Targets(p.targets()).
		FillOpacity(10).Span(6).Height(7)
	if p.stack {
		b = b.Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
	}
	return b
}

// build returns the JSON of the dashboard.
func build() ([]byte, error) {
	//lint:ignore SA1019 A file of the second form cannot be imported by Grafana before version 12.
	b := dashboard.NewDashboardBuilder("Mostrodex").Uid("mostrodex").Tags([]string{"mostrodex", "nostr", "lightning"}).
		Description("The relay, the index and the escrow of a mostrodex (docs/watch.md).").
		Refresh("30s").Time("now-6h", "now").Timezone("browser").Editable().
		WithVariable(dashboard.NewDatasourceVariableBuilder("source").Label("Prometheus").Type("prometheus")).
		WithVariable(dashboard.NewQueryVariableBuilder("instance").Label("Instance").Datasource(source).
			Query(dashboard.StringOrMap{String: cog.ToPtr("label_values(mostrodex_relay_log_head, instance)")}).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).IncludeAll(true).Multi(true))
	for _, r := range rows {
		b = b.WithRow(dashboard.NewRowBuilder(r.title))
		for _, p := range r.panels {
			b = b.WithPanel(p.builder())
		}
	}
	d, err := b.Build()
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}
