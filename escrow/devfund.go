package escrow

import (
	"context"
	"errors"
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// fundBook holds the development fees that are not paid. It belongs to a TradeBook and shares
// its goroutine and its commits.
type fundBook struct {
	book   *TradeBook
	active func() bool // reports whether a trade that is settled now owes a fee
	// event builds the event about the payment that the trade has recorded, unsigned.
	event  func(t trade.Trade, verify string, at int64) *nostr.Event
	fees   map[trade.OrderID]devfee.Fee
	paid   []int64 // sats of the fees that were paid since the last commit, for metrics
	failed int     // attempts that have failed since the last commit, for metrics
}

// put stores a fee, or removes a fee without a phase.
func (d *fundBook) put(f devfee.Fee) {
	if d.fees[f.Trade] = f; f.Phase == "" {
		delete(d.fees, f.Trade)
	}
	d.book.batch.commit.DevFees = append(d.book.batch.commit.DevFees, f)
	d.book.batch.bytes += rowBytes
}

// follow begins the fee of a trade that is settled. If an operator has let a frozen trade
// continue, or has closed it, its fee is parked: the trade may have been settled and the fee
// paid in a time that this store does not know.
func (d *fundBook) follow(before, after trade.Trade, in trade.Input) error {
	f, known := d.fees[after.ID]
	byHand := in.Kind == trade.InPayAfterAll || in.Kind == trade.InResume || in.Kind == trade.InClose
	switch {
	case trade.Settled(before.Status), !known && (after.DevFeeSats == 0 || !d.active()):
		return nil
	case after.OwesDevFee():
		if !known {
			f = devfee.New(after.ID, after.DevFeeSats, in.At)
		}
		f.Sats, f.DueAt = after.DevFeeSats, in.At
	case known && (trade.Terminal(after.Status) || after.Status == message.TradePending):
		f.Phase = ""
	case byHand && !known && !trade.Terminal(after.Status):
		f = devfee.Fee{Trade: after.ID, Sats: after.DevFeeSats, Phase: devfee.PhaseOwed}
	default:
		return nil
	}
	d.put(f)
	if byHand && f.Phase != "" {
		return d.apply(after.ID, devfee.Input{At: in.At, Kind: devfee.InByHand})
	}
	return nil
}

// apply applies an input about a fee. An input about a fee that is paid or unknown is out of
// date and has no effect.
func (d *fundBook) apply(id trade.OrderID, in devfee.Input) error {
	f, ok := d.fees[id]
	if !ok {
		return nil
	}
	t, err := d.book.trade(id)
	if err != nil {
		return fmt.Errorf("the trade of a development fee: %w", err)
	}
	if in.Kind == devfee.InInvoice {
		dest := d.book.Decode(in.Invoice.Text)
		if err := d.book.claimed(&dest, trade.OrderID{}); err != nil {
			return err
		}
		// The fund may return the invoice of the attempt that has failed once more.
		dest.Taken = dest.Taken && dest.Hash != f.Hash
		in.Invoice, in.Payable = &dest, dest.Payable(t.Terms, in.At)
	}
	next, effects, paid, err := devfee.Step(f, in)
	if errors.Is(err, devfee.ErrNothing) {
		return nil
	}
	if paid {
		return d.pay(t, next, in, "")
	}
	if next.Hash != f.Hash {
		d.book.claim(next.Hash, devFeeClaim)
	}
	if next.Failures > f.Failures {
		d.failed++
	}
	d.put(next)
	for _, e := range effects {
		if e.Kind == devfee.FxPay {
			e.MaxFeeSats = t.Terms.MaxRoutingFee.RoutingCap(f.Sats)
		}
		d.book.ask(OutboxRow{Trade: id, Effect: e})
	}
	return nil
}

// pay records in the trade that its fee is paid, and publishes the event about it, once. The
// record, the event and the end of the fee are one commit. reason is that of an operator, or "".
func (d *fundBook) pay(t trade.Trade, f devfee.Fee, in devfee.Input, reason string) error {
	err := d.book.step(t, trade.Input{At: in.At, Kind: trade.InDevFeePaid, Hash: f.Hash, Payment: in.Payment, Reason: reason})
	if err != nil && !errors.Is(err, trade.ErrNothing) {
		return err
	}
	if err == nil {
		d.paid = append(d.paid, f.Sats)
		d.book.head.DevFees = d.book.head.DevFees.Succeeded()
		if after, err := d.book.trade(t.ID); err != nil {
			return err
		} else if !f.Published {
			d.book.row(OutboxRow{Trade: t.ID, Effect: trade.Effect{Kind: trade.FxPublish}, Event: d.event(after, f.Verify, in.At)})
		}
	}
	f.Phase = ""
	d.put(f)
	return nil
}

// begin begins the attempts and lookups that are due. No attempt begins while the node cannot
// be used, while a copied store is compared, and for a trade that is frozen.
func (d *fundBook) begin(at int64) error {
	if d.book.Reconciling || len(d.fees) == 0 {
		return nil
	}
	held := func(f devfee.Fee) bool {
		t, err := d.book.trade(f.Trade)
		return err != nil || t.Frozen
	}
	for _, f := range devfee.Ready(d.fees, at, d.active() && !d.book.NodeDown, held) {
		if f.Phase == devfee.PhaseOwed {
			budget, ok := d.book.head.DevFees.Spend(at)
			if !ok {
				continue
			}
			d.book.head.DevFees = budget
		}
		if err := d.apply(f.Trade, devfee.Input{At: at, Kind: devfee.InClock}); err != nil {
			return err
		}
	}
	return nil
}

// copied treats the store as an older copy of itself: an attempt that this copy has in
// progress is not continued, because the same fee may have been paid to another invoice since.
// published are the payments of the events that the log has and the copy has not. A payment of
// another amount belongs to another take of the order, in the time that the copy has lost.
func (d *fundBook) copied(published map[trade.OrderID]publishedFee, at int64) error {
	for row, q := range d.book.asking {
		if q.kind == devfee.FxInvoice || q.kind == devfee.FxPay {
			d.book.Done(row)
		}
	}
	for id, f := range d.fees {
		if err := d.apply(id, devfee.Input{At: at, Kind: devfee.InCopied}); err != nil {
			return err
		}
		if p, ok := published[id]; ok && p.sats == f.Sats {
			if err := d.apply(id, devfee.Input{At: at, Kind: devfee.InPublished, Hash: p.hash}); err != nil {
				return err
			}
		}
	}
	return nil
}

// retry begins a fee again that an operator has seen to be unpaid. A trade that was settled
// before its fee was kept gets one. retry returns trade.ErrNothing if the trade owes no fee, or
// if its fee is not parked.
func (d *fundBook) retry(id trade.OrderID, at int64) error {
	t, err := d.book.trade(id)
	if err != nil {
		return err
	}
	f, ok := d.fees[id]
	switch {
	case !t.OwesDevFee() || !d.active() || ok && f.Phase != devfee.PhaseParked:
		return trade.ErrNothing
	case !ok:
		d.put(devfee.New(id, t.DevFeeSats, at))
		return nil
	}
	return d.apply(id, devfee.Input{At: at, Kind: devfee.InRetry})
}

// settle records that the fund has received a fee that is parked, or that was settled before its
// fee was kept, as an operator decides. For a payment of another wallet the hash is zero. paid is
// the node's state of the payment of the hash, or for a zero hash of the last attempt of the fee.
// settle returns trade.ErrNothing if the trade owes no fee or an attempt is in progress,
// ErrFeePayment if the payment of the hash did not pay this fee or has another owner, and
// ErrFeeMoves if the last attempt has paid the fee or is in flight: a parked fee is one whose
// outcome the program does not know.
func (d *fundBook) settle(id trade.OrderID, h trade.Hash, paid lightning.PaymentState, reason string, at int64) error {
	if reason == "" || len(reason) > maxReason {
		return ErrReason
	}
	t, err := d.book.trade(id)
	if err != nil {
		return err
	}
	f, ok := d.fees[id]
	if !t.OwesDevFee() || ok && f.Phase != devfee.PhaseParked {
		return trade.ErrNothing
	}
	if h == (trade.Hash{}) {
		if paid.Status == trade.PaymentInFlight || paid.Status == trade.PaymentSucceeded {
			return ErrFeeMoves
		}
		if err := d.book.step(t, trade.Input{At: at, Kind: trade.InDevFeePaid, Reason: reason}); err != nil {
			return err
		}
		if ok {
			f.Phase = ""
			d.put(f)
		}
		return nil
	}
	dest := trade.Destination{Parsed: true, Hash: h}
	if err := d.book.claimed(&dest, trade.OrderID{}); err != nil {
		return err
	}
	if paid.Status != trade.PaymentSucceeded || paid.AmountMsat != t.DevFeeSats*1000 || dest.Taken && h != f.Hash {
		return ErrFeePayment
	}
	if !ok {
		f = devfee.New(id, t.DevFeeSats, at)
	}
	if h != f.Hash {
		d.book.claim(h, devFeeClaim) // no other fee and no buyer is paid by this hash
		f.Hash, f.Verify = h, ""
	}
	return d.pay(t, f, devfee.Input{At: at, Payment: trade.Result{Status: paid.Status, FeeMsat: paid.FeeMsat}}, reason)
}

// publishedFee is the payment of a development fee of which the log has an event.
type publishedFee struct {
	hash trade.Hash
	sats int64
}

// publishedFees returns the payments of development fees whose events this node has published
// after a position of the log. Of several payments of one order, the newest is returned.
func publishedFees(ctx context.Context, log Log, pubkey string, after uint64) (map[trade.OrderID]publishedFee, error) {
	found := make(map[trade.OrderID]publishedFee)
	err := log.Read(ctx, after, func(entry mostro.Entry) error {
		if entry.Event.PubKey != pubkey || entry.Event.Kind != mostro.KindDevFee || entry.Source.Origin != mostro.OriginSelf {
			return nil
		}
		fee, err := mostro.ParseDevFee(entry.Event)
		if err != nil {
			return nil // not of this program
		}
		id, err := message.ParseUUID(fee.OrderID)
		if err != nil {
			return nil
		}
		if h, err := trade.ParseHash(fee.Hash); err == nil {
			found[id] = publishedFee{h, fee.AmountSats}
		}
		return nil
	})
	return found, err
}

// devFeeClaim is the owner of the payment hashes of the fund's invoices. No order has this id, so
// no buyer is paid by the hash of a fee.
var devFeeClaim = trade.OrderID{0: 0xff, 1: 0xff, 2: 0xff, 3: 0xff, 15: 2}
