package escrow

import (
	"context"
	"errors"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// downtime stops the program for up to a day. Blocks come, people pay and
// write, and the node expires invoices by itself. The program starts afterwards
// and finds all of it.
func (s *sim) downtime() {
	if s.rng.IntN(2) == 0 || s.rng.Int64N(60) >= s.hurry {
		return
	}
	s.stopped = true
	left := 600 + s.rng.Int64N(86400)
	if s.rng.IntN(2) == 0 {
		left %= 3600
	}
	for left > 0 && s.err == nil {
		for _, id := range s.unfinished() {
			switch n := s.rng.IntN(40); {
			case n < 20 && s.desk.open[id].Status == mostro.TradeWaitingPayment:
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
	s.stopped, s.node.down = false, false
	s.outage = s.node.now
	s.count.downtimes++
	s.start()
	s.turn()
}

// chainDrift is by how many blocks the chain may be ahead of ten minutes a
// block while a buyer is asked for an invoice.
const chainDrift = 12

// judgeRoom checks, by the chain itself, that a trade begins only with enough of
// its hold's time lock left, and that no hold is given back as too short that is
// not.
func (s *sim) judgeRoom(was Trade, in Input) {
	next, _, err := Step(was, in)
	hold := s.node.holds[was.Hash]
	if err != nil || hold == nil || hold.state.Phase != HoldAccepted {
		return
	}
	drift := int64(0)
	if in.Kind == InMessage {
		drift = chainDrift
	}
	left := int64(hold.state.ExpiryHeight) - int64(s.node.height) - int64(was.Terms.margin()) - int64(was.Terms.leastBlocks())
	switch {
	case next.Status == mostro.TradeActive && was.Status != mostro.TradeActive && left < -drift:
		s.fail("trade %s begins with %d blocks less than a trade needs", was.ID, -left)
	case next.Last == OnHoldTooShort && left > drift:
		s.fail("the hold of trade %s is given back with %d blocks more than a trade needs", was.ID, left)
	}
}

// judgeLook checks that a hold that was looked up within its margin is acted
// upon.
func (s *sim) judgeLook(in Input) {
	if in.Kind != InHold || in.Hold.Phase != HoldAccepted {
		return
	}
	t, hold := s.store.trades[s.owner[in.Hash]], s.node.holds[in.Hash]
	if t.Hash != in.Hash || t.Settling || t.EscrowGone || hold.state.Phase != HoldAccepted || s.node.height+t.Terms.margin() < hold.state.ExpiryHeight {
		return
	}
	if t.Status == mostro.TradeActive || t.Status == mostro.TradeFiatSent {
		s.fail("trade %s is %s, and its hold was looked up %d blocks before its expiry", t.ID, t.Status, hold.state.ExpiryHeight-s.node.height)
	}
}

// clock is the time by the program's clock, which the relay on the same machine
// uses as well.
func (s *sim) clock() int64 { return s.node.now + s.skew }

// simPublisher is the relay as far as the outbox knows it. It fails now and
// then, and refuses some events for good.
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

// judgePublished checks that an event which is refused for good holds up
// nothing, and has a user read a message that is published.
func (s *sim) judgePublished(row OutboxRow, err error) {
	if s.undeliver[row.ID] {
		if err != nil {
			s.fail("a refused event stays in the outbox: %v", err)
		}
		s.count.undelivered++
		s.undelivered[row.Trade] = true
		return
	}
	if err != nil || row.Effect.Kind != FxSend {
		return
	}
	if s.undelivered[row.Trade] {
		s.count.afterUndelivered++
	}
	s.delivered(row)
}

// judgeRefused checks that a refusal in unknown words is believed only once the
// node has repeated it often enough.
func (s *sim) judgeRefused(in Input) {
	if n := s.node.refused[in.Hash]; n > 0 && n <= refusalsBelieved {
		s.fail("%s after the node has refused %d times in unknown words", in.Kind, n)
	}
}

// slowProbe is a look at an address that takes its time: it is asked late, or
// answers late.
type slowProbe struct {
	due    int64 // by the true clock
	asked  bool
	answer notice
}

// performProbe looks at an address that a letter names. Letters of different
// senders do not wait for each other.
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
	if s.clock() > s.probed[row.ID]+probeSeconds {
		s.count.stale++
		s.stale[*row.Letter.Message.RequestID] = true
	}
	if _, err := s.desk.Probed(row.ID, *row.Letter, slow.answer.address, *slow.answer.reachable, s.clock()); err != nil {
		s.fail("probed: %v", err)
	}
	s.turn()
}

// judgeProbe checks that a sender waits once for each trade.
func (s *sim) judgeProbe(row OutboxRow) {
	s.probed[row.ID] = s.clock()
	for _, other := range s.store.outbox {
		if other.Letter != nil && other.ID != row.ID && other.Trade == row.Trade && other.Letter.Sender == row.Letter.Sender {
			s.fail("%s waits twice for trade %s", row.Letter.Sender, row.Trade)
		}
	}
}

// faults returns how often each fault happened that has no trigger of its own.
func (c *simCount) faults() map[string]int {
	return map[string]int{
		"downtime": c.downtimes, "a clock that was set back": c.clockBack, "a letter that waited too long for its address": c.stale,
		"an event that is refused for good": c.undelivered, "a message after one that was refused": c.afterUndelivered,
	}
}

// setClock sets the program's clock: by a little, so that messages are still in
// time, or by up to a day, until it is set right.
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
		if s.desk.open[id] != nil {
			s.hear(id, Input{Kind: InClockBack})
		}
	}
}
