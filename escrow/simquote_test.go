package escrow

import (
	"context"
	"math/big"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// exactQuote returns the sats of a fiat amount, in exact arithmetic.
func exactQuote(fiat int64, price float64, premium int64) *big.Rat {
	exact := new(big.Rat).SetFloat64(price)
	exact.Inv(exact)
	exact.Mul(exact, new(big.Rat).SetInt64(fiat*100_000_000))
	return exact.Mul(exact, big.NewRat(100-premium, 100))
}

// judgeQuote checks the amounts of an accepted order and of a take against exact arithmetic:
// every possible amount is within the limits with the premium, and a take has the nearest sat.
func (s *sim) judgeQuote(row JournalRow) {
	in := row.Input
	near := func(sats int64, exact *big.Rat) bool {
		off := new(big.Rat).Sub(new(big.Rat).SetInt64(sats), exact)
		return off.Abs(off).Cmp(big.NewRat(501, 1000)) <= 0 // a thousandth for the float
	}
	switch in.Request.Message.Action {
	case message.ActionNewOrder:
		o := in.Request.Message.Payload.(*message.SmallOrder)
		if (o.MinAmount == nil) != (o.MaxAmount == nil) {
			s.fail("order %s has half a range", row.Trade)
		}
		if o.AmountSats != 0 {
			return
		}
		amounts := []int64{o.FiatAmount}
		if o.MinAmount != nil && o.MaxAmount != nil {
			amounts = []int64{*o.MinAmount, *o.MaxAmount}
		}
		for _, fiat := range amounts {
			exact := exactQuote(fiat, in.Quote.Price, o.Premium)
			if exact.Cmp(big.NewRat(2*in.Terms.MinSats-2, 2)) < 0 || exact.Cmp(big.NewRat(2*in.Terms.MaxSats+2, 2)) > 0 {
				s.fail("order %s of %d at %v and %d %% is %s sats", row.Trade, fiat, in.Quote.Price, o.Premium, exact.FloatString(2))
			}
		}
	case message.ActionTakeSell, message.ActionTakeBuy:
		t, _, err := trade.Step(s.journalTrade(row), in)
		if err != nil || !t.MarketPrice {
			return
		}
		if exact := exactQuote(t.FiatAmount, in.Quote.Price, t.Premium); !near(t.AmountSats, exact) {
			s.fail("trade %s is of %d sats, and its quote of %s", row.Trade, t.AmountSats, exact.FloatString(3))
		}
	}
}

// Limits of the simulation's payouts, which a few trades reach.
const simPayouts, simPayoutsOfPayee = 4, 2

// simPayee returns one of three payees.
func simPayee(bolt11 string) string { return string('a' + rune(simDecode(bolt11).Hash[5]%3)) }

// judgePayouts checks before a payment that the payouts that the store knows as sent leave
// room for it. A payment that has ended at the node takes no room, also if the store does
// not know the end yet: a new process counts only what is in flight.
func (s *sim) judgePayouts(d trade.Destination) {
	inAll, ofPayee := 0, 0
	for _, t := range s.store.trades {
		t.Claims(func(_ uint32, p *trade.Outflow) {
			if !p.Sent || p.Hash == d.Hash {
				return
			}
			if pay := s.node.pays[p.Hash]; pay != nil && pay.state.Status != trade.PaymentInFlight {
				return
			}
			if inAll++; simPayee(p.Bolt11) == simPayee(d.Text) {
				ofPayee++
			}
		})
	}
	if inAll >= simPayouts || ofPayee >= simPayoutsOfPayee {
		s.fail("a payout is sent beside %d others, %d of them to the same payee", inAll, ofPayee)
	}
}

// trueTime returns the time by which the program measures how long the node is not synced. The
// monotonic clock does not follow a clock that is set.
func (s *sim) trueTime() time.Time { return time.Unix(s.node.now, 0) }

// observe asks the node for its state, as the program does every few seconds.
func (s *sim) observe() {
	if s.stopped {
		return
	}
	info, err := s.node.Info(context.Background())
	s.sync.Observe(s.trueTime(), err == nil, info.Synced)
}

// unhealthyFor returns for how many seconds the node has not been synced, or 0.
func (s *sim) unhealthyFor() int64 {
	if s.sick == 0 {
		return 0
	}
	return s.node.now - s.sick
}

// maintain begins or ends maintenance, as a tick does.
func (s *sim) maintain() {
	s.observe()
	was := s.book.Maintenance()
	s.book.SetMaintenance(was.Next(&s.sync, s.book.Policy.MaintenanceAfter, s.book.Policy.MaintenanceClear, s.trueTime()), s.clock())
	is := s.book.Maintenance()
	switch {
	case is.On && !was.On:
		s.count.automatic++
		if !s.node.unsynced || s.unhealthyFor() < 600 {
			s.fail("maintenance begins by itself after %d s", s.unhealthyFor())
		}
	case s.operators && !is.On:
		s.fail("the program has ended an operator's maintenance")
	case was.On && !is.On && (s.node.down || s.node.unsynced):
		s.fail("maintenance ends although the node is not synced")
	case !is.On && s.node.unsynced && s.unhealthyFor() > 1800 && s.sync.UnsyncedFor(s.trueTime()) > 1800*time.Second:
		s.fail("no maintenance begins although the node has not been synced for %d s", s.unhealthyFor())
	}
}

// judgeSpared checks that a failure counts for nothing while the node is not synced.
func (s *sim) judgeSpared(row JournalRow) {
	if s.unhealthyFor() < 60 {
		return
	}
	was := s.journalTrade(row)
	next, _, err := trade.Step(was, row.Input)
	if err != nil {
		return
	}
	s.count.spared++
	payable := was.BuyerInvoice.Address() || was.BuyerInvoice.ExpiresAt > row.Input.At
	if payable && next.Payout.Failures > was.Payout.Failures {
		s.fail("a failed payout of trade %s counts, and the node was not synced for %d s", row.Trade, s.unhealthyFor())
	}
}

// survey counts the payouts that the process before has sent, as surveyPayouts does.
func (s *sim) survey() {
	for _, id := range s.store.rows {
		r := s.store.outbox[id]
		if p := s.node.pays[r.Effect.Hash]; r.Effect.Kind == trade.FxPay && p != nil && p.state.Status == trade.PaymentInFlight {
			s.out.runner.Gate.Found(keyOf(r), r.Effect.Hash, simPayee(r.Effect.Text))
		}
	}
}

// performLook looks a hold up for a message that waits, and has the message decided.
func (s *sim) performLook(row OutboxRow) {
	s.count.calls++
	n, err := s.do(row)
	if !s.calm && s.rng.IntN(50) == 0 {
		s.count.crashes++ // a crash between the lookup and the decision
		s.start()
		return
	}
	if err != nil {
		return
	}
	s.count.looked++
	if s.node.holds[row.Effect.Hash] != nil && s.node.holds[row.Effect.Hash].state.Phase == trade.HoldAccepted {
		s.count.lateCancels++
	}
	delete(s.stale, *row.Inbound.Message.RequestID)
	if s.clock() > s.probed[row.ID]+probeSeconds {
		s.stale[*row.Inbound.Message.RequestID] = true
	}
	s.inputs = append(s.inputs, simInput{message: row.Inbound, row: row.ID})
	rows := len(s.book.batch.commit.Journal)
	if _, err := s.book.Looked(row.ID, *row.Inbound, n.hash, *n.looked, s.clock()); err != nil {
		s.fail("looked: %v", err)
	}
	s.judgeDerived(row.Inbound.ReplayID, rows)
	s.batch()
}

// judgeCancelled checks that no cancel ends a trade whose seller has paid the invoice that was
// shown.
func (s *sim) judgeCancelled(row JournalRow, was trade.Trade) {
	hold := s.node.holds[was.Hash]
	if was.Status != message.TradeWaitingPayment || was.HoldInvoice == "" || hold == nil {
		return
	}
	if next, _, err := trade.Step(was, row.Input); err == nil && next.Status != was.Status && hold.state.Phase == trade.HoldAccepted {
		s.fail("trade %s is cancelled, and its seller has paid", row.Trade)
	}
}

// judgeTimeout checks that the seller's time does not end after the seller has paid the invoice
// that was shown, unless the node could not be asked until the invoice had expired.
func (s *sim) judgeTimeout(row JournalRow) {
	if row.Input.Kind == trade.InHold && row.Input.Hold.Phase == trade.HoldAccepted {
		return
	}
	was := s.journalTrade(row)
	hold := s.node.holds[was.Hash]
	if was.Status != message.TradeWaitingPayment || was.HoldInvoice == "" || was.Doubtful || hold == nil {
		return
	}
	next, _, err := trade.Step(was, row.Input)
	if err != nil || next.Last != trade.OnTimeoutMaker && next.Last != trade.OnTimeoutTaker {
		return
	}
	if s.count.timeouts++; hold.state.Phase == trade.HoldAccepted && row.Input.At < was.TakenAt+was.Terms.HoldSeconds() {
		s.fail("the seller of trade %s has paid, and the time to pay ends", row.Trade)
	}
}
