package export

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Window selects events by the time of receipt: [From, Until).
type Window struct{ From, Until time.Time }

// Holds reports whether a time lies in the window.
func (w Window) Holds(t time.Time) bool { return !t.Before(w.From) && t.Before(w.Until) }

// receiptOf returns the columns of a receipt. coveredFrom is the receipt of the first witnessed
// event in unix seconds, 0 if there is none.
func receiptOf(at time.Time, by mostro.Source, created nostr.Timestamp, coveredFrom int64) Receipt {
	return Receipt{ReceivedAt: at.UTC(), Road: by.Origin.String(), Relay: by.Relay, Witnessed: by.Origin.Witnessed(),
		BeforeCoverage: coveredFrom == 0 || int64(created) < coveredFrom}
}

// Orders turns versions of orders into rows. The versions of one order are added together,
// the oldest first. A nil function leaves its data set out. A function must not keep its row.
type Orders struct {
	Window      Window
	CoveredFrom int64 // receipt of the first witnessed event, unix seconds; 0: none
	History     func(*HistoryRow) error
	State       func(*OrderRow) error
	Trade       func(*TradeRow) error
	// Used is called for each version on which a written row rests, those that arrived before
	// the window too, and for some of them more than once. nil: not wanted.
	Used func(*orders.Version)

	// of the order whose versions are being added
	first, newest, arrived, last *orders.Version // the first and the last by time of signature, and by arrival
	taken, success, canceled     *orders.Version // the first with this status by time of signature; nil: none
	won                          *orders.Version // the success that arrived first
	versions                     int64           // in the window

	row HistoryRow // of the last version; used again for the next one
}

// Add adds a version. A version that was received after the window does not count.
func (x *Orders) Add(v *orders.Version) error {
	if x.newest != nil && (v.Order.D != x.newest.Order.D || v.Order.Pubkey != x.newest.Order.Pubkey) {
		if err := x.End(); err != nil {
			return err
		}
	}
	if !v.ReceivedAt.Before(x.Window.Until) {
		return nil
	}
	if x.newest == nil {
		x.first, x.arrived = v, v
	}
	x.newest = v
	if v.ReceivedAt.Before(x.arrived.ReceivedAt) {
		x.arrived = v
	}
	if x.last == nil || v.Seq > x.last.Seq {
		x.last = v
	}
	began := func(at **orders.Version) {
		if *at == nil {
			*at = v
		}
	}
	switch v.Order.Status {
	case mostro.StatusInProgress:
		began(&x.taken)
	case mostro.StatusSuccess:
		if began(&x.success); x.won == nil || v.Seq < x.won.Seq {
			x.won = v
		}
	case mostro.StatusCanceled, mostro.StatusExpired:
		began(&x.canceled)
	}
	if !x.Window.Holds(v.ReceivedAt) {
		return nil
	}
	x.versions++
	if x.Used != nil {
		x.Used(v)
	}
	if x.History == nil {
		return nil
	}
	o := &v.Order
	x.row = HistoryRow{Receipt: x.receipt(v), Offer: offerOf(o), RawStatus: clean(o.RawStatus), PublishedAt: timeOf(o.PublishedAt), Expiration: timeOf(o.Expiration),
		Source: clean(o.Link), Description: clean(o.Description), Archived: v.Archived, Withdrawn: v.Withdrawn, Seq: int64(v.Seq)}
	return x.History(&x.row)
}

func (x *Orders) receipt(v *orders.Version) Receipt {
	return receiptOf(v.ReceivedAt, v.Source, v.Order.CreatedAt, x.CoveredFrom)
}

// End ends the last order.
func (x *Orders) End() error {
	v := x.newest
	if v == nil {
		return nil
	}
	traded := v.Order.Status == mostro.StatusSuccess && x.won != nil && x.Window.Holds(x.won.ReceivedAt)
	if x.Used != nil && (x.versions > 0 || traded) {
		for _, used := range []*orders.Version{x.first, x.newest, x.arrived, x.last, x.taken, x.success, x.canceled, x.won} {
			if used != nil {
				x.Used(used)
			}
		}
	}
	if x.versions > 0 && x.State != nil {
		if err := x.State(&OrderRow{Receipt: x.receipt(x.last), Offer: offerOf(&v.Order), FirstCreatedAt: instant(x.first.Order.CreatedAt), FirstReceivedAt: x.arrived.ReceivedAt.UTC(), TakenAt: signedAt(x.taken),
			SuccessAt: signedAt(x.success), CanceledAt: signedAt(x.canceled), Versions: x.versions, Withdrawn: v.Withdrawn}); err != nil {
			return err
		}
	}
	if x.Trade != nil && traded {
		if err := x.Trade(&TradeRow{Receipt: x.receipt(x.won), Offer: offerOf(&v.Order), FirstCreatedAt: instant(x.first.Order.CreatedAt), TakenAt: signedAt(x.taken), SuccessAt: instant(x.success.Order.CreatedAt), PriceBTC: priceOf(&v.Order)}); err != nil {
			return err
		}
	}
	*x = Orders{Window: x.Window, CoveredFrom: x.CoveredFrom, History: x.History, State: x.State, Trade: x.Trade, Used: x.Used}
	return nil
}

// Times of rows are bounded, because Parquet and RFC 3339 cannot hold every number of seconds
// that an author may write.
const (
	minTime = -62135596800 // year 1
	maxTime = 253402300799 // year 9999
)

func instant(t nostr.Timestamp) time.Time {
	return time.Unix(min(max(int64(t), minTime), maxTime), 0).UTC()
}

// signedAt returns the time of the signature of a version, or nil if there is none.
func signedAt(v *orders.Version) *time.Time {
	if v == nil {
		return nil
	}
	at := instant(v.Order.CreatedAt)
	return &at
}

// timeOf returns a time, or nil for 0, which is unknown.
func timeOf(t nostr.Timestamp) *time.Time {
	if t <= 0 {
		return nil
	}
	at := instant(t)
	return &at
}

// clean returns a text without invalid UTF-8, which would make a whole file unreadable.
func clean(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

func cleanAll(list []string) []string {
	for i, s := range list {
		if !utf8.ValidString(s) {
			list = slices.Clone(list) // the list is shared
			for j := range list[i:] {
				list[i+j] = clean(list[i+j])
			}
			return list
		}
	}
	return list
}

func floatOf(d *mostro.Decimal) *float64 {
	if d == nil {
		return nil
	}
	return finite(d.Float())
}

func finite(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

func offerOf(o *mostro.Order) Offer {
	out := Offer{Pubkey: o.Pubkey, D: clean(o.D), EventID: o.EventID, CreatedAt: instant(o.CreatedAt), Platform: clean(o.Platform), InstanceName: clean(o.InstanceName), Network: clean(o.Network),
		Side: string(o.Side), Status: string(o.Status), Fiat: clean(o.Fiat), FiatMin: floatOf(o.FiatAmount.Min), FiatMax: floatOf(o.FiatAmount.Max), AmountSats: o.AmountSats,
		PremiumPct: floatOf(o.PremiumPct), Methods: cleanAll(o.Methods), Layers: cleanAll(o.Layers), ExpiresAt: timeOf(o.ExpiresAt)}
	if r := o.MakerRating; r != nil {
		if r.Mean != nil {
			out.RatingMean = finite(*r.Mean)
		}
		if r.Max > 0 {
			out.RatingMax = finite(r.Max)
		}
		out.Reviews, out.AccountDays = r.Reviews, r.AgeDays(o.CreatedAt)
	}
	return out
}

// priceOf returns the price of one bitcoin in a completed order of a fixed amount.
func priceOf(o *mostro.Order) *float64 {
	low, high := floatOf(o.FiatAmount.Min), floatOf(o.FiatAmount.Max)
	if low == nil || high == nil || *low != *high || *low <= 0 || o.AmountSats == nil || *o.AmountSats <= 0 {
		return nil
	}
	return finite(*low / float64(*o.AmountSats) * 1e8)
}

// Exported reports whether events of a kind are in the data set events. Private messages are
// never exported. States of health come every minute and are erased when the next one comes.
func Exported(kind int) bool { return !mostro.IsMail(kind) && kind != mostro.KindHealth }

// EventOf returns the row of an entry. ok is false if its kind is not exported.
func EventOf(e *mostro.Entry, coveredFrom int64) (row *EventRow, ok bool) {
	evt := e.Event
	if !Exported(evt.Kind) {
		return nil, false
	}
	tags, err := json.Marshal(evt.Tags)
	if err != nil || evt.Tags == nil {
		tags = []byte("[]")
	}
	return &EventRow{Receipt: receiptOf(e.ReceivedAt, e.Source, evt.CreatedAt, coveredFrom), ID: evt.ID, Pubkey: evt.PubKey, CreatedAt: instant(evt.CreatedAt), Kind: int64(evt.Kind), KindName: mostro.KindName(evt.Kind),
		D: clean(evt.Tags.GetD()), Tags: string(tags), Content: clean(evt.Content), Sig: evt.Sig, Archived: e.Archived, Seq: int64(e.Seq)}, true
}

// InstanceOf returns the row of an info event. ok is false if the entry is none.
func InstanceOf(e *mostro.Entry, coveredFrom int64) (row *InstanceRow, ok bool) {
	if e.Event.Kind != mostro.KindInfo || mostro.Classify(e.Event) != mostro.ClassInfo {
		return nil, false
	}
	info, err := mostro.ParseInfo(e.Event)
	if err != nil {
		return nil, false
	}
	row = &InstanceRow{Receipt: receiptOf(e.ReceivedAt, e.Source, info.CreatedAt, coveredFrom), Pubkey: info.Pubkey, EventID: info.EventID, CreatedAt: instant(info.CreatedAt), Name: clean(info.Name), Version: clean(info.Version),
		Fee: floatOf(info.Fee), MinSats: info.MinOrderSats, MaxSats: info.MaxOrderSats, ExpirationHours: info.ExpirationHours, Currencies: cleanAll(info.Currencies), AnyCurrency: info.AnyCurrency,
		ProtocolVersion: int64(info.ProtocolVersion), Pow: info.Pow, EscrowMode: clean(info.EscrowMode), Maintenance: info.Maintenance, Seq: int64(e.Seq)}
	if info.Bond != nil {
		row.BondEnabled = &info.Bond.Enabled
	}
	if info.LND != nil {
		row.LightningKey = clean(info.LND.Pubkey)
	}
	return row, true
}

// StatsOf calls fn with the row of each figure of a document.
func StatsOf(doc *stats.Document, by stats.Every, at time.Time, position uint64, fn func(*StatsRow) error) error {
	from := time.Unix(doc.From, 0).UTC()
	receipt := Receipt{ReceivedAt: at.UTC().Truncate(time.Millisecond), Road: mostro.OriginSelf.String(), BeforeCoverage: !doc.Coverage.Complete}
	for i := range doc.Metrics {
		f := &doc.Metrics[i]
		row := &StatsRow{Receipt: receipt, From: from, Until: time.Unix(doc.Until, 0).UTC(), By: string(by), Clock: doc.Clock, Metric: f.Name, Kind: string(f.Kind), Unit: string(f.Unit),
			Events: f.Events, LiveEvents: f.Witnessed, LogPosition: int64(position)}
		if !f.Value.IsNull() {
			if row.Value = finite(f.Value.Float()); row.Value == nil {
				row.Text = f.Value.String()
			}
		}
		if err := fn(row); err != nil {
			return err
		}
	}
	return nil
}
