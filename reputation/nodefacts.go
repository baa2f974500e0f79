package reputation

import (
	"slices"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
)

// describer is an optional interface of a Market that knows what a Mostro says of itself.
type describer interface {
	// Describe returns the newest info and the newest health of a Mostro. health is nil if
	// there is none that has not expired. ok is false if the key has no info.
	Describe(pubkey string) (info mostro.Info, health *mostro.Health, ok bool)
}

// factsView holds facts about a node that need no score. A field says in its name or in
// its doc whether the number is the node's own word or was witnessed.
type factsView struct {
	Trades7  score.Triple `json:"trades_7d" doc:"trades that ended well in the last 7 days"`
	Trades30 score.Triple `json:"trades_30d" doc:"trades that ended well in the last 30 days"`
	Trades90 score.Triple `json:"trades_90d" doc:"trades that ended well in the last 90 days"`

	LastTradeClaimedOn      *string `json:"last_trade_claimed_on" null:"the node claims no trade" doc:"day of the last trade, by the node's own word"`
	LastTradeWitnessedAt    *int64  `json:"last_trade_witnessed_at" unit:"unix seconds" null:"no trade was witnessed" doc:"receipt of the end of the last witnessed trade"`
	LastTradeWitnessedAtRFC *string `json:"last_trade_witnessed_at_rfc3339"`

	DisputesPer100Claimed   *score.Micro `json:"disputes_per_100_claimed" null:"no order was taken" doc:"disputes of 100 taken orders, by the node's own word"`
	DisputesPer100Witnessed *score.Micro `json:"disputes_per_100_witnessed" null:"no taken order was witnessed" doc:"disputes of 100 taken orders, witnessed"`
	DisputesLong            score.Triple `json:"disputes_open_72h" doc:"disputes that stayed open for more than 72 hours"`

	InfoUptime     *score.Micro `json:"uptime_info" null:"too little was witnessed" doc:"share of the last 30 days on which infos (38385) came as often as usual, 0 to 1; witnessed"`
	InfoUptimeDays int64        `json:"uptime_info_days" unit:"days" doc:"days that uptime_info covers"`
	HealthUptime   *score.Micro `json:"uptime_health" null:"no health was received" doc:"share of hours in which the node said that it was not down (38389), 0 to 1; the node's own word, received in time"`
	HealthHours    int64        `json:"uptime_health_hours" unit:"hours" doc:"hours that uptime_health covers"`
	Health         *string      `json:"health" null:"no health is valid now" doc:"ok, degraded or down, by the node's own word"`

	Fee             *mostro.Decimal `json:"fee" null:"the node states none" doc:"fraction of the amount, both sides together; the node's own word"`
	BondEnabled     *bool           `json:"bond_enabled" null:"the node does not say" doc:"the node asks its users for a bond; its own word"`
	BondSats        *int64          `json:"bond_sats" null:"the node states none" doc:"least bond; the node's own word"`
	BondPct         *mostro.Decimal `json:"bond_pct" null:"the node states none" doc:"bond as a fraction of the order; the node's own word"`
	LightningNode   *string         `json:"lightning_node" unit:"66 hex digits" null:"the node names none" doc:"Lightning node that the Mostro names; its own word"`
	LightningSigned bool            `json:"lightning_signed" doc:"this Lightning node signed the key of the Mostro"`
}

func factsOf(s *score.Score, about describer) factsView {
	known := func(m score.Micro) *score.Micro {
		if m < 0 {
			return nil
		}
		return &m
	}
	f := &s.Facts
	v := factsView{Trades7: f.Trades7, Trades30: f.Trades30, Trades90: f.Trades90, DisputesLong: s.Evidence.Unresolved,
		DisputesPer100Claimed: known(f.DisputesPer100Claimed), DisputesPer100Witnessed: known(f.DisputesPer100Witnessed),
		InfoUptime: known(f.InfoUp), InfoUptimeDays: f.InfoUpDays, HealthUptime: known(f.HealthUp), HealthHours: f.HealthHours}
	if !f.LastClaimed.IsZero() {
		v.LastTradeClaimedOn = wordsOrNull(f.LastClaimed.Format(time.DateOnly))
	}
	v.LastTradeWitnessedAt, v.LastTradeWitnessedAtRFC = unixOrNull(f.LastWitnessed)
	if about == nil {
		return v
	}
	info, health, ok := about.Describe(s.Pubkey)
	if health != nil {
		v.Health = wordsOrNull(string(health.Status))
	}
	if !ok {
		return v
	}
	v.Fee = info.Fee
	if b := info.Bond; b != nil {
		v.BondEnabled = &b.Enabled
		if b.Enabled {
			v.BondSats, v.BondPct = b.BaseSats, b.AmountPct
		}
	}
	if info.LND != nil {
		v.LightningNode = wordsOrNull(info.LND.Pubkey)
		v.LightningSigned = slices.Contains(f.Lightning, info.LND.Pubkey)
	}
	return v
}

// factRow is a fact on the page of a node. A column without an entry is "".
type factRow struct{ Title, Own, Witnessed, Note string }

// factRows returns the facts as text. All texts of the table of facts stand here.
func factRows(v *factsView) []factRow {
	number := func(n int64) string { return thousands(n) }
	decimal := func(m *score.Micro) string {
		if m == nil {
			return ""
		}
		return strconv.FormatFloat(m.Float(), 'f', 1, 64)
	}
	percent := func(m *score.Micro) string {
		if m == nil {
			return ""
		}
		return percentOf(*m) + "%"
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	rows := []factRow{
		{"Trades of 7 days", number(v.Trades7.Claimed), number(v.Trades7.Witnessed), ""},
		{"Trades of 30 days", number(v.Trades30.Claimed), number(v.Trades30.Witnessed), ""},
		{"Trades of 90 days", number(v.Trades90.Claimed), number(v.Trades90.Witnessed), ""},
	}
	last := factRow{Title: "Last trade", Own: text(v.LastTradeClaimedOn)}
	if v.LastTradeWitnessedAt != nil {
		last.Witnessed = time.Unix(*v.LastTradeWitnessedAt, 0).UTC().Format("2006-01-02 15:04 UTC")
	}
	rows = append(rows, last,
		factRow{"Disputes of 100 trades", decimal(v.DisputesPer100Claimed), decimal(v.DisputesPer100Witnessed), ""},
		factRow{"Disputes open for more than 72 hours", number(v.DisputesLong.Claimed), number(v.DisputesLong.Witnessed), ""})
	up := factRow{Title: "Online, by its announcements", Witnessed: percent(v.InfoUptime)}
	if v.InfoUptime != nil {
		up.Note = "of " + counted(int(v.InfoUptimeDays), "day", "days")
	}
	rows = append(rows, up)
	if v.HealthUptime != nil || v.Health != nil {
		h := factRow{Title: "Online, by its health reports", Own: percent(v.HealthUptime)}
		if v.HealthUptime != nil {
			h.Note = "of " + counted(int(v.HealthHours), "hour", "hours")
		}
		if v.Health != nil {
			h.Own += map[bool]string{true: "", false: ", "}[h.Own == ""] + "now " + *v.Health
		}
		rows = append(rows, h)
	}
	fee := factRow{Title: "Fee, both sides together"}
	if v.Fee != nil {
		fee.Own = strconv.FormatFloat(v.Fee.Float()*100, 'f', -1, 64) + "%"
	}
	bond := factRow{Title: "Bond that it asks of users"}
	if v.BondEnabled != nil {
		switch {
		case !*v.BondEnabled:
			bond.Own = "none"
		case v.BondPct != nil && v.BondSats != nil:
			bond.Own = strconv.FormatFloat(v.BondPct.Float()*100, 'f', -1, 64) + "%, at least " + thousands(*v.BondSats) + " sats"
		default:
			bond.Own = "yes"
		}
	}
	node := factRow{Title: "Lightning node"}
	if v.LightningNode != nil {
		node.Own = shortKey(*v.LightningNode)
		if v.LightningSigned {
			node.Witnessed = "signed by the Lightning node"
		}
	}
	return append(rows, fee, bond, node)
}
