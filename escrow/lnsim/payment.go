package lnsim

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Pay implements lightning.Node.
func (n *Node) Pay(ctx context.Context, in lightning.Payment) error {
	invoice, parseErr := n.w.parse(in.Bolt11)
	end, err := n.begin(ctx, OpPay)
	if err != nil {
		return err
	}
	refuse := func(err error, why string) error { return end(fmt.Errorf("pay: %w: %s", err, why)) }
	w := n.w
	switch {
	case parseErr != nil:
		return refuse(lightning.ErrInvoice, "malformed")
	case in.AmountSats < 0, in.MaxFeeSats < 0, in.Timeout < 0:
		return refuse(lightning.ErrInvoice, "amount, fee or timeout out of range")
	case invoice.Network != w.cfg.Network:
		return refuse(lightning.ErrInvoice, "for another network")
	case !w.now.Before(invoice.ExpiresAt):
		return refuse(lightning.ErrInvoice, "expired")
	case invoice.AmountMsat == 0 && in.AmountSats == 0:
		return refuse(lightning.ErrInvoice, "amount must be specified")
	case invoice.AmountMsat != 0 && in.AmountSats != 0:
		return refuse(lightning.ErrInvoice, "amount must not be specified")
	case invoice.Payee == n.pubkey:
		return refuse(lightning.ErrInvoice, "self-payments not allowed")
	case in.MaxCLTVBlocks != 0 && (invoice.MinFinalCLTV >= uint64(in.MaxCLTVBlocks) || invoice.MinFinalCLTV+lockPadding >= uint64(in.MaxCLTVBlocks)):
		return refuse(lightning.ErrInvoice, "the last lock exceeds the limit")
	}
	if old := n.payments[invoice.Hash]; old != nil && old.Status != trade.PaymentFailed {
		return refuse(lightning.ErrExists, old.Status.String())
	}
	n.send(invoice, in)
	return end(nil)
}

// parse returns the content of an invoice. If this world made the invoice, parse takes
// the content from memory and does not check the signature.
func (w *World) parse(bolt11 string) (lightning.Invoice, error) {
	w.mu.Lock()
	known, ok := w.issued[bolt11]
	if ok {
		defer w.mu.Unlock()
		return lightning.Invoice{
			Bolt11:     bolt11,
			Hash:       known.hold.Hash,
			AmountMsat: known.hold.AmountMsat,
			Network:    w.cfg.Network,
			ExpiresAt:  known.hold.ExpiresAt,
			Payee:      known.by.pubkey,

			MinFinalCLTV: uint64(known.hold.CLTVBlocks),
		}, nil
	}
	w.mu.Unlock()
	return lightning.ParseInvoice(bolt11)
}

// send starts a payment attempt and schedules its outcome.
func (n *Node) send(invoice lightning.Invoice, in lightning.Payment) {
	w := n.w
	plan, planned := w.plans[invoice.Hash]
	if planned && plan.Times > 0 {
		w.unsaved.setup = true
		if plan.Times--; plan.Times == 0 {
			delete(w.plans, invoice.Hash)
		} else {
			w.plans[invoice.Hash] = plan
		}
	}
	amount := invoice.AmountMsat
	if amount == 0 {
		amount = in.AmountSats * 1000
	}
	fee := amount / 1_000_000 * w.cfg.FeePPM
	fee += amount % 1_000_000 * w.cfg.FeePPM / 1_000_000
	w.seq++
	p := &payment{
		Hash:       invoice.Hash,
		Attempt:    w.seq,
		Status:     trade.PaymentInFlight,
		AmountMsat: amount,
		CreatedAt:  w.now,
	}
	lock := invoice.MinFinalCLTV + lockPadding
	payee := w.nodeByKey(invoice.Payee)
	if payee != nil {
		lock += uint64(w.locks[pair(n, payee)])
		if between, ok := w.fees[pair(n, payee)]; ok {
			fee = between
		}
	}
	if planned {
		fee = plan.FeeMsat
		p.AmountMsat += plan.ExtraMsat
	}
	if p.AmountMsat == amount && w.chance(n.overpay) {
		p.AmountMsat += w.random.Int64N(amount) // BOLT 4: up to twice the amount of the invoice
	}
	n.payments[invoice.Hash] = p
	n.changed(p.Hash, true)

	next := &event{At: w.now.Add(w.travel() + plan.Delay), Kind: arrive, Node: n.name, Hash: p.Hash, Attempt: p.Attempt}
	failing := func(why lightning.PaymentFailure) {
		next.Kind, next.Failure = fail, why
		w.schedule(next)
	}
	switch {
	case payee == nil, plan.Outcome == FailRoute, fee > in.MaxFeeSats*1000,
		in.MaxCLTVBlocks != 0 && lock > uint64(in.MaxCLTVBlocks):
		// LND has one failure reason for "no path" and "no path within the limits".
		failing(lightning.FailureNoRoute)
		return
	case plan.Outcome == FailBalance, n.balance < p.AmountMsat+fee:
		failing(lightning.FailureBalance)
		return
	case plan.Outcome == FailInternal:
		failing(lightning.FailureOther)
		return
	case !planned && w.chance(w.cfg.FailChance):
		failing(lightning.FailureNoRoute)
		return
	}
	p.To, p.FeeMsat, p.LockedMsat = payee.name, fee, p.AmountMsat+fee
	n.balance -= p.LockedMsat
	switch {
	case plan.Outcome == FailTimeout:
		next.At = next.At.Add(shardTimeout)
		failing(lightning.FailureTimeout)
	case plan.Outcome == Stuck:
		p.Stuck = true
	case !planned && w.chance(w.cfg.StuckChance):
		next.At = next.At.Add(1 + w.durationBelow(w.cfg.StuckFor))
		if w.random.IntN(2) == 0 {
			failing(lightning.FailureTimeout)
			return
		}
		w.schedule(next)
	default:
		w.schedule(next)
	}
}

// happen performs an event. If the event's payment or hold has ended or was replaced,
// the event is dropped. If the event concerns a node that is down or unlinked, the node
// keeps the event.
func (w *World) happen(e *event) {
	n := w.nodeNamed(e.Node)
	if e.Kind == expire {
		// An invoice expires at its time even if its node is down.
		if held := n.holds[e.Hash]; held != nil && held.Seq == e.Attempt && held.Phase == trade.HoldOpen {
			n.cancel(held)
		}
		return
	}
	p := n.payments[e.Hash]
	if p == nil || p.Attempt != e.Attempt || p.Status != trade.PaymentInFlight {
		return
	}
	if n.down || n.unlinked {
		n.parked = append(n.parked, e)
		return
	}
	switch e.Kind {
	case arrive:
		payee := w.nodeNamed(p.To)
		if payee.down || payee.unlinked {
			payee.parked = append(payee.parked, e)
			return
		}
		w.arrive(n, p, payee)
	case succeed:
		p.Status = trade.PaymentSucceeded
		w.routers += p.LockedMsat // only the fee is left
		p.LockedMsat = 0
		n.changed(p.Hash, true)
	case fail:
		p.Status, p.Failure = trade.PaymentFailed, e.Failure
		n.balance += p.LockedMsat
		p.LockedMsat = 0
		n.changed(p.Hash, true)
	}
}

// arrive performs the payee's decision about a payment.
func (w *World) arrive(payer *Node, p *payment, payee *Node) {
	refuse := func(why lightning.PaymentFailure) {
		w.schedule(&event{At: w.now.Add(w.travel()), Kind: fail, Node: payer.name, Hash: p.Hash, Attempt: p.Attempt, Failure: why})
	}
	held := payee.holds[p.Hash]
	switch {
	case held == nil, held.Phase != trade.HoldOpen, !w.now.Before(held.ExpiresAt):
		refuse(lightning.FailureDetails)
		return
	case held.AmountMsat != 0 && (p.AmountMsat < held.AmountMsat || p.AmountMsat > 2*held.AmountMsat):
		// BOLT 4: the amount must be at least the invoice's, and at most twice as much.
		refuse(lightning.FailureDetails)
		return
	case w.cfg.Slots > 0 && payee.heldFrom(payer.name) >= w.cfg.Slots:
		// The channel has no free slot. Only the payer learns of this failure.
		refuse(lightning.FailureBalance)
		return
	}
	held.Payer, held.Attempt, held.PaidMsat = payer.name, p.Attempt, p.AmountMsat
	held.Phase = trade.HoldAccepted
	held.AcceptHeight = w.height
	held.ExpiryHeight = w.height + held.CLTVBlocks + lockPadding
	payee.accepted[held.Hash] = held
	if held.Ordinary {
		payee.settle(held, held.Preimage)
		return
	}
	payee.changed(held.Hash, false)
}

func (n *Node) heldFrom(payer string) int {
	count := 0
	for _, held := range n.accepted {
		if held.Payer == payer {
			count++
		}
	}
	return count
}

// settle takes a held payment. The payer learns of the settlement later.
func (n *Node) settle(held *hold, preimage trade.Preimage) {
	w := n.w
	held.Phase, held.Preimage = trade.HoldSettled, preimage
	delete(n.accepted, held.Hash)
	payer := w.nodeNamed(held.Payer)
	p := payer.payments[held.Hash]
	if p == nil || p.Attempt != held.Attempt || p.LockedMsat < held.PaidMsat {
		w.broken = fmt.Errorf("%s settled %s, which no payer had locked", n.name, held.Hash)
		return
	}
	p.LockedMsat -= held.PaidMsat
	p.Preimage = preimage
	payer.touch(held.Hash, true)
	n.balance += held.PaidMsat
	w.reply(n, &event{At: w.now.Add(w.travel()), Kind: succeed, Node: payer.name, Hash: held.Hash, Attempt: p.Attempt})
	n.changed(held.Hash, false)
}

// cancel cancels an invoice and refunds a held payment.
func (n *Node) cancel(held *hold) {
	w := n.w
	was := held.Phase
	held.Phase = trade.HoldCanceled
	delete(n.accepted, held.Hash)
	if was == trade.HoldAccepted {
		w.reply(n, &event{At: w.now.Add(w.travel()), Kind: fail, Node: held.Payer, Hash: held.Hash, Attempt: held.Attempt, Failure: lightning.FailureDetails})
	}
	n.changed(held.Hash, false)
}

// reply schedules the payee's answer to the payer. If the payee is down or unlinked,
// its node keeps the answer until the channels are active again.
func (w *World) reply(from *Node, e *event) {
	if from.down || from.unlinked {
		w.seq++
		e.Seq = w.seq
		from.parked = append(from.parked, e)
		return
	}
	w.schedule(e)
}

// unpark schedules the events that the node has kept.
func (n *Node) unpark() {
	if n.down || n.unlinked {
		return
	}
	waited := n.parked
	n.parked = nil
	for _, e := range waited {
		if e.At.Before(n.w.now) {
			e.At = n.w.now
		}
		n.w.schedule(e)
	}
	n.w.advanceTo(n.w.now)
}

// expireLocks refunds held payments whose lock ends soon. A node that is down cannot
// refund. In this case the payer takes the payment back on chain when the lock has
// ended.
func (n *Node) expireLocks() {
	if len(n.accepted) == 0 {
		return
	}
	margin := n.w.cfg.HoldExpiryDelta
	if n.down {
		margin = 0
	}
	var due []*hold
	for _, held := range n.accepted {
		if n.w.height+margin >= held.ExpiryHeight {
			due = append(due, held)
		}
	}
	slices.SortFunc(due, func(a, b *hold) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, held := range due {
		if !n.down {
			n.cancel(held)
			continue
		}
		held.Phase = trade.HoldCanceled
		delete(n.accepted, held.Hash)
		n.w.schedule(&event{At: n.w.now, Kind: fail, Node: held.Payer, Hash: held.Hash, Attempt: held.Attempt, Failure: lightning.FailureOther})
		n.changed(held.Hash, false)
	}
}

// durationBelow draws a random duration from 0 to just below d.
func (w *World) durationBelow(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.random.Int64N(int64(d)))
}

// payerWaits reports whether the payer of this hold has not learned of its end yet.
func (w *World) payerWaits(held *hold) bool {
	payer := w.nodeNamed(held.Payer)
	if payer == nil {
		return false
	}
	p := payer.payments[held.Hash]
	return p != nil && p.Attempt == held.Attempt && p.Status == trade.PaymentInFlight
}
