package escrow

import (
	"errors"
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/health"
	"github.com/mostrodex/mostrodex/escrow/nodecard"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// HealthHead is the part of a node's health (kind 38389) that a restart keeps.
type HealthHead struct {
	Seq    int64 `json:"seq,omitzero"`     // number of the last event
	PaidAt int64 `json:"paid_at,omitzero"` // time of the last payout, as far as an event stated it
}

// Maintenance is a state in which no new trade begins.
type Maintenance = health.Maintenance

// ReasonLNDUnsynced is the reason of a maintenance that began by itself.
const ReasonLNDUnsynced = health.ReasonLNDUnsynced

// nodeHealth publishes the health of a node. The engine's goroutine owns it.
type nodeHealth struct {
	publisher health.Publisher
	attempts  health.Attempts
	unpaid    map[trade.OrderID]int64 // settled trades whose buyer is not paid, with the time of the settlement
	awaiting  int64                   // settled trades that wait for an invoice of the buyer
}

// facts returns what the health of the node is computed from.
func (n *nodeHealth) facts(e *Engine, at int64) (health.Facts, error) {
	f := health.Facts{At: at, Maintenance: e.book.Maintenance().On, Configured: 1, Connected: 1, Payouts: n.attempts.Facts(at)}
	f.Payouts.PaidAt = max(f.Payouts.PaidAt, e.book.head.Health.PaidAt)
	if e.Relays != nil {
		others, connected := e.Relays()
		f.Configured, f.Connected = f.Configured+others, f.Connected+connected
	}
	e.Card.View(func(w *health.SyncWatch, now time.Time) { f.LND = w.Check(now, e.Policy.MaintenanceAfter) })
	switch e.Card.State().Problem {
	case nodecard.Unfit:
		f.LND = mostro.CheckFail
	case nodecard.Refusing:
		if f.LND == mostro.CheckOK {
			f.LND = mostro.CheckWarn
		}
	}
	if info, ok := e.Card.Info(); ok && f.LND != mostro.CheckUnknown {
		f.Node = &mostro.HealthLND{BlockHeight: int64(info.Height), Synced: info.Synced, Network: string(info.Network)}
	}
	unpaid := make(map[trade.OrderID]int64)
	var err error
	n.awaiting = 0
	e.book.Trades(func(t *trade.Trade) {
		switch {
		case t.Status != message.TradeSettledHoldInvoice:
			return
		case t.AwaitsInvoice(at):
			n.awaiting++
			return
		}
		since, known := n.unpaid[t.ID]
		if !known {
			var readErr error
			since, readErr = SettledAt(e.Store, t)
			err = errors.Join(err, readErr)
		}
		unpaid[t.ID] = since
		f.Payouts.Oldest = max(f.Payouts.Oldest, at-since)
	})
	n.unpaid = unpaid
	return f, err
}

// SettledAt returns the time at which the hold of a trade was settled.
func SettledAt(store Store, t *trade.Trade) (at int64, err error) {
	at = t.HeldAt
	err = store.Journal(t.ID, func(_ uint32, in trade.Input) error {
		if in.Kind == trade.InSettled || in.Kind == trade.InHold && in.Hold.Phase == trade.HoldSettled {
			at = in.At
		}
		return nil
	})
	if err != nil {
		return at, fmt.Errorf("read the journal of a trade: %w", err)
	}
	return at, nil
}

// publish queues the health of the node if it is due. The number of the event is
// committed with the event.
func (n *nodeHealth) publish(e *Engine, now time.Time) error {
	at := now.Unix()
	if !n.publisher.Watches(at, e.book.Maintenance().On) {
		return nil
	}
	facts, err := n.facts(e, at)
	if err != nil {
		return err
	}
	h, due := n.publisher.Due(facts)
	if !due {
		return nil
	}
	head := &e.book.head.Health
	head.Seq++
	head.PaidAt = facts.Payouts.PaidAt
	seq := head.Seq
	h.Pubkey, h.Name, h.Version, h.Seq = e.Events.Pubkey, e.Events.Name, e.Events.Version, &seq
	h.CreatedAt = nostr.Timestamp(e.book.stamp(mostro.KindHealth, at))
	health.Expire(&h)
	if e.Watchdog != "" {
		text, err := n.detail(e, facts).JSON()
		if err == nil {
			h.Content, err = e.EncryptTo(e.Watchdog, string(text))
		}
		if err != nil {
			return fmt.Errorf("the health for the watchdog: %w", err)
		}
		h.Watchdog = e.Watchdog
	}
	evt := h.Event()
	e.book.QueueEvent(&evt, at)
	return nil
}

// detail returns the part of the health that only the watchdog reads. A value that this node does
// not measure is nil: the macaroon does not permit to list channels and peers, and no reason of a
// failed payout is kept.
func (n *nodeHealth) detail(e *Engine, f health.Facts) mostro.HealthDetail {
	whole := func(v int64) *int64 { return &v }
	unpaid := int64(len(n.unpaid))
	d := mostro.HealthDetail{
		GeneratedAt: f.At,
		LND:         &mostro.LNDDetail{Reachable: f.Node != nil},
		Payouts: &mostro.PayoutDetail{
			WindowSeconds: health.Window, Succeeded: int64(f.Payouts.Paid), Failed: int64(f.Payouts.Failed), FailedOrders: int64(f.Payouts.FailedTrades),
			SettledUnpaidOrders: &unpaid, StaleSettledUnpaidOrders: whole(0), // each unpaid trade is paid some day
			AwaitingInvoiceOrders: &n.awaiting,
		},
		Relays:      mostro.RelayDetail{Configured: int64(f.Configured), Connected: int64(f.Connected)},
		Maintenance: mostro.MaintenanceDetail{Enabled: f.Maintenance},
	}
	if f.Node != nil {
		d.LND.Synced, d.LND.BlockHeight = &f.Node.Synced, &f.Node.BlockHeight
		e.Card.View(func(w *health.SyncWatch, now time.Time) {
			if s := w.UnsyncedFor(now); s > 0 {
				d.LND.UnsyncedSince = whole(f.At - int64(s/time.Second))
			}
		})
	}
	if f.Payouts.PaidAt > 0 {
		d.Payouts.LastSuccessAt = &f.Payouts.PaidAt
	}
	if unpaid > 0 {
		d.Payouts.OldestSettledUnpaidSeconds = &f.Payouts.Oldest
	}
	if e.Fund.Address != "" {
		due := devfee.Sum(e.book.fund.fees)
		d.DevFee = &mostro.DevFeeDetail{Pending: whole(int64(due.Due)), Failed: int64(e.book.head.DevFees.TriesAt(f.At))}
	}
	if m := e.book.Maintenance(); m.On && m.Reason != "" {
		d.Maintenance.Reason = &m.Reason
	}
	return d
}
