package escrow

import (
	"github.com/mostrodex/mostrodex/mostro"
)

// downtime stops the program for up to a day. Blocks come, people pay and
// write, and the node expires invoices by itself. The program starts afterwards
// and finds all of it.
func (s *sim) downtime() {
	if s.rng.Int64N(60) >= s.hurry {
		return
	}
	s.stopped = true
	for left := 600 + s.rng.Int64N(86400); left > 0 && s.err == nil; {
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
