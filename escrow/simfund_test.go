package escrow

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// simFund is the Lightning address of the development fund. While the node is fickle, the
// address fails in every way of a service that cannot be trusted.
type simFund struct {
	n      *simNode
	issued []string // every invoice that was returned
	asked  int
	repeat bool // if set, the service returns the last invoice again and again
}

var errSimFund = errors.New("no answer")

func (f *simFund) FundInvoice(_ context.Context, _ string, sats int64, comment string) (fund.Invoice, error) {
	f.asked++
	made := func(text string) (fund.Invoice, error) {
		f.issued = append(f.issued, text)
		return fund.Invoice{Bolt11: text, Hash: simDecode(text).Hash, Verify: "https://fund/" + text[6:14]}, nil
	}
	if f.repeat && len(f.issued) > 0 {
		return made(f.issued[len(f.issued)-1])
	}
	var h trade.Hash
	_, _ = simReader{f.n.rng}.Read(h[:])
	msat, life, order := sats*1000, int64(600), "fee-"+strings.TrimPrefix(strings.Fields(comment)[1], "order=")
	if !f.n.fickle {
		return made(simInvoice(h, msat, f.n.now+life, order))
	}
	switch f.n.rng.IntN(16) {
	case 0, 1:
		return fund.Invoice{}, errSimFund
	case 2:
		return fund.Invoice{}, fund.Error(devfee.ProblemService)
	case 3: // of another amount
		msat += 1000 - f.n.rng.Int64N(2)*2000
	case 4, 5: // the invoice of an earlier request, which may be of another trade, and paid
		if len(f.issued) > 0 {
			return made(f.issued[len(f.issued)-1-f.n.rng.IntN(min(len(f.issued), 5))])
		}
	case 6:
		life = 1 + f.n.rng.Int64N(90)
	case 7:
		return made(simFarInvoice(h, msat, f.n.now+life, order))
	case 8: // the hash of another payment of this node
		if hashes := f.n.inFlight(); len(hashes) > 0 {
			h = hashes[f.n.rng.IntN(len(hashes))]
		}
	}
	return made(simInvoice(h, msat, f.n.now+life, order))
}

// fundOf connects a trade book to a fund.
func fundOf(b *TradeBook) {
	b.fund.active = func() bool { return true }
	b.fund.event = func(t trade.Trade, verify string, at int64) *nostr.Event {
		return (&EventBuilder{Pubkey: simNodeKey}).DevFee(t, "dev@fund", verify, at)
	}
}

// simFeeOrder is the order in simPay of a payment of a trade's development fee.
func simFeeOrder(id trade.OrderID) string { return "fee-" + id.String() }

// feePayments returns the payments of a trade's development fee.
func (n *simNode) feePayments(id trade.OrderID) (succeeded, inFlight []lightning.PaymentState) {
	for _, p := range n.pays {
		switch {
		case p.order != simFeeOrder(id):
		case p.state.Status == trade.PaymentSucceeded:
			succeeded = append(succeeded, p.state)
		case p.state.Status == trade.PaymentInFlight:
			inFlight = append(inFlight, p.state)
		}
	}
	return succeeded, inFlight
}

// feesPaid returns the sum of all payments of development fees, in msat.
func (n *simNode) feesPaid() (msat int64) {
	for _, p := range n.pays {
		if strings.HasPrefix(p.order, "fee-") && p.state.Status == trade.PaymentSucceeded {
			msat += p.state.AmountMsat
		}
	}
	return msat
}

// settledHolds returns the number of holds of a trade that the node has claimed.
func (s *sim) settledHolds(id trade.OrderID) (n int) {
	for _, h := range s.truth[id].holds {
		if hold := s.node.holds[h]; hold != nil && hold.state.Phase == trade.HoldSettled {
			n++
		}
	}
	return n
}

// judgeFeePay checks the payment of a development fee before the node executes it: its hash is
// stored, its trade is settled, and no other payment of the fee is in flight or has succeeded.
func (s *sim) judgeFeePay(p lightning.Payment, d trade.Destination) {
	var owner *devfee.Fee
	for _, f := range s.store.fees {
		if f.Hash == d.Hash && f.Phase == devfee.PhaseClaimed {
			owner = &f
		}
	}
	if owner == nil {
		s.fail("an invoice of the fund is paid that is not claimed: %s", p.Bolt11)
		return
	}
	id := owner.Trade
	t := s.store.trades[id]
	s.node.makers[p.Bolt11] = simFeeOrder(id)
	switch {
	case !trade.Settled(t.Status):
		s.fail("the fee of trade %s is paid, which is %s", id, t.Status)
	case d.AmountMsat != t.DevFeeSats*1000 || p.AmountSats != 0:
		s.fail("the fee of trade %s is paid with %d msat instead of %d sats", id, d.AmountMsat, t.DevFeeSats)
	case d.FinalCLTV > 144 || p.MaxCLTVBlocks != 1008 || p.MaxFeeSats > max(10, t.DevFeeSats/100):
		s.fail("the fee of trade %s is paid with a last hop of %d blocks, limits of %d blocks and %d sats", id, d.FinalCLTV, p.MaxCLTVBlocks, p.MaxFeeSats)
	case s.unhealthyFor() >= 60:
		s.fail("the fee of trade %s is paid after the node was not synced for %d s", id, s.unhealthyFor())
	}
	succeeded, inFlight := s.node.feePayments(id)
	others := slices.DeleteFunc(append(succeeded, inFlight...), func(p lightning.PaymentState) bool { return p.Hash == d.Hash })
	if len(others) > 0 && (!s.copied(id) || len(others) >= s.settledHolds(id)) {
		s.fail("the fee of trade %s is paid once more: %d payments have succeeded or are in flight", id, len(others))
	}
	if old := s.node.pays[d.Hash]; old != nil && old.order != simFeeOrder(id) && old.state.Status != trade.PaymentFailed {
		s.fail("the fee of trade %s is paid under the hash of %s", id, old.order)
	}
}

// judgeFeeEnd checks the development fee of a trade that is over.
func (s *sim) judgeFeeEnd(t trade.Trade) {
	succeeded, inFlight := s.node.feePayments(t.ID)
	f, due := s.store.fees[t.ID]
	switch {
	case len(inFlight) > 0:
		s.fail("a fee of trade %s is still in flight", t.ID)
	case len(succeeded) > 1 && (!s.copied(t.ID) || len(succeeded) > s.settledHolds(t.ID)):
		s.fail("the fee of trade %s is paid %d times", t.ID, len(succeeded))
	case t.DevFeePaid.Hash != (trade.Hash{}):
		if !slices.ContainsFunc(succeeded, func(p lightning.PaymentState) bool {
			return p.Hash == t.DevFeePaid.Hash && p.AmountMsat == t.DevFeeSats*1000 && p.FeeMsat == t.DevFeePaid.FeeMsat
		}) {
			s.fail("trade %s (copied: %v) owes a fee of %d sats that the node has not paid: %+v, %+v", t.ID, s.copied(t.ID), t.DevFeeSats, t.DevFeePaid, succeeded)
		}
		if due {
			s.fail("the fee of trade %s is paid and due", t.ID)
		}
		if n := len(s.feeEvents[t.ID]); !s.copied(t.ID) && n != 1 && !(n == 0 && s.undelivered[t.ID]) {
			s.fail("the fee of trade %s has %d events", t.ID, n)
		}
		s.count.fees++
	case t.OwesDevFee() && !due:
		s.fail("trade %s owes a fee of %d sats that is not kept", t.ID, t.DevFeeSats)
	case due && t.Frozen:
	case due && f.Phase != devfee.PhaseParked:
		s.fail("the fee of trade %s does not come to its end: %+v", t.ID, f)
	case due:
		s.count.feesParked++
		if !s.copied(t.ID) {
			s.fail("the fee of trade %s is parked: %s", t.ID, f.Problem)
		}
	case len(succeeded) > 0 && !s.copied(t.ID):
		s.fail("trade %s is %s and has paid a fee", t.ID, t.Status)
	}
}

// feesUnfinished reports whether a development fee can still be paid.
func (s *sim) feesUnfinished() bool {
	for _, f := range s.store.fees {
		if f.Phase != devfee.PhaseParked && !s.store.trades[f.Trade].Frozen {
			return true
		}
	}
	return false
}

// retryFees acts as an operator who looks at the payments of the node before a parked fee is
// tried again.
func (s *sim) retryFees() {
	for _, id := range s.order {
		f := s.book.fund.fees[id]
		if f.Phase != devfee.PhaseParked || f.DueAt == 0 {
			continue
		}
		if succeeded, inFlight := s.node.feePayments(id); len(succeeded)+len(inFlight) > 0 {
			continue
		}
		if err := s.book.fund.retry(id, s.clock()); err != nil && !errors.Is(err, trade.ErrNothing) {
			s.fail("retry a fee: %v", err)
		}
	}
}

// applyFee applies an input about a development fee, and counts the reasons of its failures.
func (s *sim) applyFee(row OutboxRow, in devfee.Input) {
	in.At = s.clock()
	was := s.book.fund.fees[row.Trade]
	s.inputs = append(s.inputs, simInput{trade: row.Trade, kind: trade.InputKind("fee " + string(in.Kind)), row: row.ID})
	if err := s.book.fund.apply(row.Trade, in); err != nil {
		s.fail("fee: %v", err)
	}
	now := s.book.fund.fees[row.Trade]
	if now.Failures > was.Failures {
		s.count.feeProblems[now.Problem]++
	}
}

// feePublished records that an event about a fee is public. A copy of the store may find the
// event in the log.
func (s *sim) feePublished(evt *nostr.Event) {
	if fee, err := mostro.ParseDevFee(evt); err == nil {
		for _, id := range s.order {
			if h, err := trade.ParseHash(fee.Hash); err == nil && id.String() == fee.OrderID {
				if s.feeEvents[id] == nil {
					s.feeEvents[id] = make(map[string]bool)
				}
				s.feeEvents[id][evt.GetID()] = true
				s.feeLog[id] = publishedFee{h, fee.AmountSats}
			}
		}
	}
}
