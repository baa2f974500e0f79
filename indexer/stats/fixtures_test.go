package stats

import (
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/reference"
	"github.com/mostrodex/mostrodex/mostro"
)

// TestFiguresOfRealEvents compares figures of the captured events with figures that were
// computed by hand from the events.
func TestFiguresOfRealEvents(t *testing.T) {
	c := New()
	for i, evt := range reference.RealEvents(t) {
		c.Apply(&mostro.Entry{Seq: uint64(i + 1), Event: evt, ReceivedAt: time.Unix(1_791_429_600, 0), Source: mostro.Source{Origin: mostro.OriginBackfill, Relay: "wss://relay.example"}})
	}
	whole := Query{From: 1_770_000_000, Until: 1_791_430_000}
	august := Query{From: 1_787_000_000, Until: 1_787_741_000}
	only := func(q Query, dim Dimension, value string) Query { q.Filter = Filter{dim: {value}}; return q }
	witnessed := whole
	witnessed.Clock = Witnessed
	for _, test := range []struct {
		q     Query
		name  string
		value string
	}{
		{whole, "orders.created", "12"},
		{whole, "orders.completed", "1"},
		{whole, "orders.canceled", "3"},
		{whole, "orders.completion_rate", "0.25"},
		{whole, "orders.abandonment_rate", "0.25"},
		{whole, "orders.created_delta", "null"},
		{whole, "orders.open_now", "1"}, // the offer of RoboSats
		{august, "orders.open_now", "6"},
		{whole, "orders.in_progress_now", "1"},
		{whole, "volume.sats", "1361"},
		{whole, "volume.ticket_p90", "1361"},
		{whole, "volume.size.le_9999", "1"},
		{whole, "volume.sell_sats", "1361"},
		{whole, "volume.buy_sats", "0"},
		{whole, "volume.fiat.CUP.total", "800"},
		{only(whole, ByNetwork, "mainnet"), "volume.sats", "0"}, // the success is on regtest
		{only(whole, ByNetwork, "mainnet"), "orders.completion_rate", "0"},
		{only(whole, ByNetwork, "mainnet"), "volume.ticket_avg", "null"},
		{whole, "market.buy_orders_share", "0.3333333333333333"},
		{whole, "market.premium_p50", "0"},
		{whole, "market.premium_sell_p50", "0.02"},
		{whole, "market.spread", "0.02"},
		{whole, "market.market_price_share", "0.5"},
		{whole, "market.range_share", "0.4166666666666667"},
		{whole, "market.fiat_orders_hhi", "0.2222222222222222"},
		{whole, "market.fiat_orders_top3", "0.75"},
		{whole, "market.methods.CVU.orders", "2"},
		{only(whole, ByMethod, "cvu"), "orders.created", "2"},
		{only(whole, ByPlatform, "mostro"), "orders.created", "8"},
		{only(whole, ByPlatform, "robosats"), "orders.created", "1"},
		{only(whole, ByFiat, "BRL"), "orders.canceled", "2"},
		{whole, "dev_fees.count", "11"},
		{whole, "dev_fees.sats", "505"},
		{whole, "dev_fees.duplicates", "0"},
		{whole, "dev_fees.coverage", "null"}, // no info of the node that completed
		{whole, "dev_fees.implied_volume", "null"},
		{whole, "disputes.opened", "6"},
		{whole, "disputes.closed", "4"},
		{whole, "disputes.outcome.seller_refunded", "3"},
		{whole, "disputes.outcome.settled", "1"},
		{whole, "disputes.outcome.by_parties", "0"},
		{whole, "disputes.resolution_p50", "1568"},
		{whole, "disputes.resolution_p90", "7305"},
		{whole, "disputes.open_now", "2"},
		{whole, "disputes.rate", "3"},
		{whole, "instances.active", "8"},
		{whole, "instances.silent", "11"},
		{whole, "instances.total_volume_sats", "1361"},
		{whole, "instances.premium_baseline", "10"},
		{only(whole, ByInstance, "000018b160c81819d864aa994003b29cdacd6027def22bb5c5002c6a68a3df4b"), "instances.first_seen_at", "null"},
		{only(whole, ByInstance, "82fa8cb978b43c79b2156585bac2c011176a21d2aead6d9f7c575c005be88390"), "instances.first_seen_at", "1787721916"},
		{only(whole, ByInstance, "82fa8cb978b43c79b2156585bac2c011176a21d2aead6d9f7c575c005be88390"), "instances.orders_share", "0.3333333333333333"},
		{witnessed, "orders.created", "0"}, // all came by catching up
		{witnessed, "orders.completion_rate", "null"},
	} {
		f, err := c.Metric(test.name, test.q)
		if err != nil {
			t.Fatal(err)
		}
		if f.Value.String() != test.value {
			t.Errorf("%s with %v is %s, want %s", test.name, test.q.Filter, f.Value, test.value)
		}
		if f.Witnessed != 0 || (f.Kind == KindWitnessed) != (test.q.Clock == Witnessed) {
			t.Errorf("%s is %s with %d witnessed events", test.name, f.Kind, f.Witnessed)
		}
	}
	coverage := c.Coverage(whole.From)
	if coverage.Witnessed != 0 || coverage.Complete || len(coverage.Sources) != 1 || coverage.Sources[0].Origin != "backfill" || coverage.Sources[0].Events != coverage.History {
		t.Errorf("the coverage is %+v", coverage)
	}
	// 12 orders, 11 fees, 6 disputes and 5 infos: the 3 events of other applications, user
	// ratings, relay lists and host ratings do not count.
	if coverage.History != 34 {
		t.Errorf("%d events count, want 34", coverage.History)
	}
}
