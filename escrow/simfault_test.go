package escrow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// downtime stops the program for up to a day. Meanwhile blocks are mined, users pay and
// write, and the node expires invoices. The program starts afterwards and finds all these
// changes.
func (s *sim) downtime() {
	if s.rng.IntN(2) == 0 || s.rng.Int64N(60) >= s.hurry {
		return
	}
	s.stopped = true
	left := 600 + s.rng.Int64N(86400)
	switch s.rng.IntN(4) {
	case 0, 1:
		left %= 3600
	case 2: // a hold of this period has too few blocks left at the end of the period
		left = 15*3600 + s.rng.Int64N(6*3600)
	}
	for left > 0 && s.err == nil {
		for _, id := range s.unfinished() {
			switch n := s.rng.IntN(40); {
			case n < 20 && s.book.open[id].Status == message.TradeWaitingPayment:
				s.act(id)
			case n < 2:
				s.act(id)
			}
		}
		for _, h := range s.node.inFlight() {
			s.node.resolve(h, s.rng.IntN(3) > 0)
		}
		step := 300 + s.rng.Int64N(600)
		s.node.now, s.node.height, left = s.node.now+step, s.node.height+1, left-step
		s.node.expire(s.aged)
	}
	s.stopped, s.node.down, s.node.unsynced, s.sick = false, false, false, 0
	s.outage = s.node.now
	s.count.downtimes++
	s.start()
	s.batch()
}

// chainDrift is the number of blocks by which the chain may be ahead of ten minutes per block
// while a buyer is asked for an invoice.
const chainDrift = 12

// judgeRoom checks against the chain that a trade begins only if enough of its hold's time
// lock is left. It also checks that no hold is canceled as too short that is long enough, if
// the clock was right.
func (s *sim) judgeRoom(was trade.Trade, in trade.Input) {
	next, _, err := trade.Step(was, in)
	hold := s.node.holds[was.Hash]
	if err != nil || hold == nil || hold.state.Phase != trade.HoldAccepted {
		return
	}
	if next.HeldAt != 0 && was.HeldAt == 0 && hold.state.AmountSats != next.LockSats() {
		s.fail("trade %s of %d sats begins with a hold of %d", was.ID, next.LockSats(), hold.state.AmountSats)
	}
	drift := int64(0)
	if in.Kind == trade.InMessage {
		drift = chainDrift
	}
	left := int64(hold.state.ExpiryHeight) - int64(s.node.height) - int64(marginBlocks(was.Terms)) - int64(leastBlocks(was.Terms))
	switch {
	case next.Status == message.TradeActive && was.Status != message.TradeActive && left < -drift:
		s.fail("trade %s begins with %d blocks less than a trade needs", was.ID, -left)
	case next.Last == trade.OnHoldTooShort && left > drift && !s.copied(was.ID) && s.node.now-s.skewed > 2*86400:
		s.fail("the hold of trade %s is given back with %d blocks more than a trade needs", was.ID, left)
	}
}

// judgeLook checks that a hold is resolved if its lookup was within its margin.
func (s *sim) judgeLook(in trade.Input) {
	if in.Kind != trade.InHold || in.Hold.Phase != trade.HoldAccepted {
		return
	}
	t, hold := s.store.trades[s.owner[in.Hash]], s.node.holds[in.Hash]
	if t.Hash != in.Hash || t.Frozen || t.Settling || t.EscrowGone || hold.state.Phase != trade.HoldAccepted || s.node.height+marginBlocks(t.Terms) < hold.state.ExpiryHeight {
		return
	}
	if trade.Escrowed(t.Status) && t.Dispute.OpenedAt != s.clock() { // a dispute that this look opened is decided at the next
		s.fail("trade %s is %s, and its hold was looked up %d blocks before its expiry", t.ID, t.Status, hold.state.ExpiryHeight-s.node.height)
	}
}

// clock returns the time of the program's clock, which the relay on the same machine uses as
// well.
func (s *sim) clock() int64 { return s.node.now + s.skew }

// simPublisher is the relay as the outbox sees it. It sometimes fails, and refuses some
// events for good.
type simPublisher struct{ s *sim }

func (p simPublisher) Publish(context.Context, *nostr.Event) error {
	s, id := p.s, p.s.publishing.ID
	if s.undeliver[id] {
		return ErrEventRefused
	}
	if s.calm {
		return nil
	}
	switch s.rng.IntN(60) {
	case 0:
		s.undeliver[id] = true
		return ErrEventRefused
	case 1:
		return errors.New("the relay is closed")
	}
	return nil
}

// judgePublished checks that an event that is refused for good delays no other event. If the
// event was published, its user reads the message.
func (s *sim) judgePublished(row OutboxRow, err error) {
	if s.undeliver[row.ID] {
		if err != nil {
			s.fail("a refused event stays in the outbox: %v", err)
		}
		s.count.undelivered++
		s.undelivered[row.Trade] = true
		return
	}
	if err != nil || row.Effect.Kind != trade.FxSend {
		return
	}
	if s.undelivered[row.Trade] {
		s.count.afterUndelivered++
	}
	s.delivered(row)
}

// judgeRefused checks that a refusal with an unknown text is treated as final only after the
// node has repeated the refusal often enough.
func (s *sim) judgeRefused(in trade.Input) {
	if n := s.node.refused[in.Hash]; n > 0 && n <= effect.RefusalsBelieved {
		s.fail("%s after the node has refused %d times in unknown words", in.Kind, n)
	}
}

// slowProbe is a probe of an address that takes time, because it starts late or is answered
// late.
type slowProbe struct {
	due    int64 // by the true clock
	asked  bool
	answer notice
}

// performProbe probes the address of a message. Messages of different senders do not wait for
// each other.
func (s *sim) performProbe(row OutboxRow) {
	slow := s.slow[row.ID]
	if slow == nil {
		slow = new(slowProbe)
		switch n := s.rng.IntN(10); {
		case s.calm || n > 1:
		case n == 0:
			slow.due = s.node.now + s.rng.Int64N(300)
			slow.answer, _ = s.do(row)
			slow.asked = true
		default:
			slow.due = s.node.now + s.rng.Int64N(300)
		}
		s.slow[row.ID] = slow
	}
	if s.node.now < slow.due && !s.calm {
		return
	}
	s.count.calls++
	if !slow.asked {
		slow.answer, _ = s.do(row)
	}
	delete(s.slow, row.ID)
	delete(s.stale, *row.Inbound.Message.RequestID) // a replay from an older copy may read the message again
	if s.clock() > s.probed[row.ID]+probeSeconds {
		s.count.stale++
		s.stale[*row.Inbound.Message.RequestID] = true
	}
	s.inputs = append(s.inputs, simInput{message: row.Inbound, row: row.ID, address: slow.answer.address})
	rows := len(s.book.batch.commit.Journal)
	if _, err := s.book.Probed(row.ID, *row.Inbound, slow.answer.address, *slow.answer.reachable, s.clock()); err != nil {
		s.fail("probed: %v", err)
	}
	s.judgeDerived(row.Inbound.ReplayID, rows)
	s.batch()
}

// judgeProbe checks that a sender has at most one waiting message per trade.
func (s *sim) judgeProbe(row OutboxRow) {
	s.probed[row.ID] = s.clock()
	for _, other := range s.store.outbox {
		if other.Inbound != nil && other.ID != row.ID && other.Trade == row.Trade && other.Inbound.Sender == row.Inbound.Sender {
			s.fail("%s waits twice for trade %s", row.Inbound.Sender, row.Trade)
		}
	}
}

// faults returns the counts of the faults that have no trigger of their own.
func (c *simCount) faults() map[string]int {
	fee := func(p devfee.Problem) int { return c.feeProblems[p] }
	return map[string]int{
		"a development fee that is paid": c.fees, "a development fee that is parked": c.feesParked, "a fund that does not answer": fee(devfee.ProblemUnreachable),
		"a fund without an invoice": fee(devfee.ProblemService), "a fund's invoice of another amount": fee(devfee.ProblemAmount), "a fund's invoice of another payment": fee(devfee.ProblemUsed),
		"a fund's invoice that cannot be paid": fee(devfee.ProblemInvoice), "a development fee that the node refuses": fee(devfee.ProblemRefused), "a development fee that fails": fee(devfee.ProblemFailed),
		"an input that cannot be written": c.uncommitted, "a batch that is full": c.full, "a store put back from a copy": c.rollbacks, "a message read again": c.twice,
		"a trade that a copy lost": c.lost, "a frozen trade that is paid already": c.abandoned, "downtime": c.downtimes, "a clock that was set back": c.clockBack, "a message that waited too long for its address": c.stale,
		"a payout that waits": c.waits, "a vote": c.rated, "a second vote": c.ratedAgain, "a vote before the end": c.ratedEarly, "a vote that waits for the end of a trade": c.votesWaited, "a verdict of a solver in the inbox": c.inInbox, "an imported reputation": c.imported, "an exported reputation": c.exported, "an exported reputation that is bound again": c.rebound, "a revoked import": c.revoked, "a decision about an amount in suspense": c.resolved, "a refund": c.refunds, "a timeout of a shown invoice": c.timeouts, "a cancel that waits for the node": c.looked, "a cancel after the payment": c.lateCancels, "a message in maintenance": c.maintained, "maintenance that begins by itself": c.automatic, "a failure that does not count": c.spared, "an event that is refused for good": c.undelivered, "a message after one that was refused": c.afterUndelivered,
	}
}

// setClock changes the program's clock, either slightly, so that messages are still in time,
// or by up to a day until the clock is set right.
func (s *sim) setClock() {
	switch s.rng.IntN(8) {
	case 0:
		s.skew = s.rng.Int64N(86400)
	case 1:
		s.skew = -s.rng.Int64N(86400)
	default:
		s.skew = s.rng.Int64N(70) - 60
	}
}

// noticeClock tells the trades that the clock was set back, as a tick does.
func (s *sim) noticeClock() {
	if s.clock() >= s.ticked-clockSlack {
		return
	}
	s.count.clockBack++
	for _, id := range s.order {
		if s.book.open[id] != nil {
			s.applyInput(id, trade.Input{Kind: trade.InClockBack, Grace: s.ticked - s.clock()})
		}
	}
}

// simInput is one input of a batch.
type simInput struct {
	message *InboundMessage
	seq     uint64 // sequence number in the log, if no outbox row holds the message
	row     uint64
	address string // address, if an outbox row holds the message
	trade   trade.OrderID
	kind    trade.InputKind
}

// setAside does the same as the engine if the store cannot hold the one input of a batch: a
// message is skipped, any other input freezes its trade.
func (s *sim) setAside(in simInput) {
	s.count.uncommitted++
	s.read()
	switch {
	case in.message == nil:
		s.mayFreeze[in.trade] = true
		s.dropped[in.row] = true
		s.applyInput(in.trade, trade.Input{Kind: trade.InUncommitted})
	case in.row != 0:
		s.book.Skip(*in.message)
		s.book.Done(in.row)
		s.book.probes.remove(probeOf(*in.message, in.address))
	default:
		s.book.Skip(*in.message)
		s.book.Read(in.seq + 1)
	}
	s.inputs = nil
	s.commit()
}

// resume acts as an operator after a check of the frozen trades.
func (s *sim) resume() {
	if s.reconciling {
		return
	}
	if s.operators {
		s.operators = false
		s.book.SetMaintenance(Maintenance{}, s.clock())
		s.batch()
	}
	frozen := false
	for _, id := range s.order {
		s.resolveSuspense(id)
		if t := s.book.open[id]; t != nil && t.Frozen {
			verb := s.verdict(*t)
			if verb == "" {
				if s.abandoned[id] && s.rng.IntN(4) == 0 {
					s.close(*t, trade.OutcomePaid)
				}
				continue
			}
			frozen = true
			s.applyInput(id, trade.Input{Kind: verb})
			s.truth[id].freed = s.node.now
		}
	}
	if frozen {
		s.batch()
	}
}

// judgeFrozen checks that a frozen trade adds no row that moves money.
func (s *sim) judgeFrozen(row OutboxRow) {
	switch row.Effect.Kind {
	case trade.FxCreateHold, trade.FxSettle, trade.FxMint, trade.FxPay:
		if truth := s.truth[row.Trade]; truth.frozen && s.store.trades[row.Trade].Frozen {
			s.fail("trade %s is frozen and asks for %s", row.Trade, row.Effect.Kind)
		}
	}
}

// judgeSize checks that a batch is bounded, and that its size is not underestimated. The
// sealed form of messages is not counted.
func (s *sim) judgeSize(c *Commit, estimate int) {
	if estimate >= batchBytes {
		s.count.full++
	}
	if estimate < batchBytes/2 && len(c.Journal) < 32 && s.rng.IntN(100) > 0 {
		return
	}
	size := 0
	add := func(v any) {
		b, err := trade.Encode(v)
		if err != nil {
			s.fail("encode %T: %v", v, err)
		}
		size += len(b)
	}
	for i := range c.Trades {
		add(c.Trades[i])
	}
	for i := range c.Journal {
		add(c.Journal[i])
	}
	for i := range c.Outbox {
		add(c.Outbox[i])
	}
	if size > batchBytes+300<<10 || size > estimate+4096*len(c.Seen) {
		s.fail("a batch takes %d bytes and was taken for %d", size, estimate)
	}
}

// judgeRequest checks that the journal keeps no more of a message than the limit.
func (s *sim) judgeRequest(row JournalRow) {
	m := row.Input.Request.Message
	invoice := 0
	switch p := m.Payload.(type) {
	case *message.SmallOrder:
		if p.BuyerInvoice != nil {
			invoice = len(*p.BuyerInvoice)
		}
		if len(p.PaymentMethod) < 100 && s.rng.IntN(50) > 0 {
			return
		}
	case message.PaymentRequest:
		invoice = len(p.Invoice)
		if p.Order == nil && s.rng.IntN(50) > 0 {
			return
		}
	default:
		return
	}
	if b, err := trade.Encode(row.Input.Request); err != nil || len(b)-invoice > trade.JournalLimit(m.Payload) {
		s.fail("the journal keeps %d bytes of a message of %s besides its invoice: %v", len(b)-invoice, row.Trade, err)
	}
}

// filler is the content of fields that no code reads.
var filler = strings.Repeat("<&>", 5000)

// swollen adds 15 KiB of unused fields to a payload, or extends a used field to its
// maximum length.
func (s *sim) swollen(payload message.Payload) message.Payload {
	switch p := payload.(type) {
	case *message.SmallOrder:
		o := *p
		switch s.rng.IntN(3) {
		case 0:
			o.PaymentMethod = strings.Repeat("\x01", longestMethod) // 3 KiB in the journal
		case 1:
			o.PaymentMethod = strings.Repeat("<", longestMethod)
			fallthrough
		default:
			o.BuyerTradePubkey = &filler
		}
		return &o
	case message.PaymentRequest:
		p.Order = &message.SmallOrder{Kind: mostro.SideSell, FiatCode: "USD", PaymentMethod: filler, FiatAmount: 1}
		return p
	}
	return payload
}

// simLongInvoice returns a simInvoice of the maximum length.
func simLongInvoice(h trade.Hash, msat, expires int64, order string) string {
	return fmt.Sprintf("lnsim:%s:%06900d:%d:%s", h, msat, expires, order)
}

// flood has strangers publish orders with long invoices faster than the program reads the
// messages, and cancel most of the orders.
func (s *sim) flood() {
	s.stopped, s.skew = true, 0
	first := len(s.order)
	for range 80 {
		s.nextKey++
		p := trade.Party{Key: simKey(s.nextKey), Identity: simKey(s.nextKey), Transport: envelope.TransportV2}
		var h trade.Hash
		_, _ = simReader{s.rng}.Read(h[:])
		text := simLongInvoice(h, 0, s.node.now+86400, "00000000-0000-4000-8000-000000000000")
		s.send(p, nil, message.ActionNewOrder, nil, &message.SmallOrder{
			Kind: mostro.SideBuy, FiatCode: "USD", FiatAmount: 10, AmountSats: 100_000, PaymentMethod: "SEPA",
			BuyerInvoice: &text, BuyerTradePubkey: &filler,
		})
	}
	s.stopped = false
	s.batch()
	s.count.flooded += len(s.order) - first
	for _, id := range slices.Clone(s.order[first:]) {
		if t := s.book.open[id]; t != nil && t.Status == message.TradePending {
			s.send(t.Maker(), nil, message.ActionCancel, &id, nil)
		}
	}
	s.batch()
}

// judgeNextKeys checks that no order is made or announced with a key of another open trade.
// rows is the length of the journal before the present input.
func (s *sim) judgeNextKeys(rows int) {
	for _, row := range s.book.batch.commit.Journal[rows:] {
		key := ""
		if t := s.book.open[row.Trade]; row.Input.Kind == trade.InSpawn {
			key = row.Input.Child.Maker.Key
		} else if t != nil && row.Input.Kind == trade.InMessage {
			// A key that was announced earlier and is in use by now cannot be announced again
			// by another message, and the rest of the order is not made with it.
			if p, ok := row.Input.Request.Message.Payload.(message.NextTrade); ok && p.Pubkey == t.Next.Pubkey {
				key = p.Pubkey
			}
		}
		if key == "" {
			continue
		}
		for id, t := range s.book.open {
			if id != row.Trade && (t.Buyer.Key == key || t.Seller.Key == key) {
				s.fail("trade %s names a key of trade %s as its next", row.Trade, id)
			}
		}
	}
}

// judgeMade checks that the seller is shown an invoice that can be paid and has the trade's
// amount.
func (s *sim) judgeMade(row OutboxRow) {
	hold := s.node.holds[row.Effect.Hash]
	if hold.state.Phase != trade.HoldOpen || hold.state.AmountSats != row.Effect.AmountSats {
		s.fail("trade %s asks for %d sats, and its invoice is %s, of %d sats", row.Trade, row.Effect.AmountSats, hold.state.Phase, hold.state.AmountSats)
	}
}
