package escrow

import (
	"fmt"
	"sync"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// happen executes one random action.
func (s *sim) happen() {
	if s.reconciling && s.rng.IntN(2) == 0 {
		s.lookUp()
		return
	}
	open := s.unfinished()
	switch n := s.rng.IntN(1000); {
	case s.ports && n < 40:
		s.port()
	case n < 470 && !(s.quarrel && n < 60):
		s.perform()
	case n < 480:
		s.solver()
	case n < 500:
		s.rate()
	case n < 730 && len(open) > 0:
		s.act(open[s.rng.IntN(len(open))])
	case n < 860 && len(open) > 0:
		s.watch(open[s.rng.IntN(len(open))])
	case n < 920:
		if hs := s.node.inFlight(); len(hs) > 0 {
			s.node.resolve(hs[s.rng.IntN(len(hs))], s.rng.IntN(3) > 0)
		}
	case n < 960:
		s.pass(1 + s.rng.Int64N(s.hurry))
	case n < 963:
		s.pass(600 + s.rng.Int64N(1200))
	case n < 965:
		if s.sleepy || s.rng.Int64N(20) < s.hurry {
			s.mine(1 + s.rng.IntN(60))
		}
	case n < 973:
		s.node.down = !s.node.down && s.rng.IntN(3) == 0
	case n < 976:
		s.node.unsynced = !s.node.unsynced && s.rng.IntN(3) == 0
		if s.node.unsynced && s.rng.IntN(3) == 0 {
			s.pass(900)
		}
	case n < 979:
		s.node.lossy = !s.node.lossy
	case n < 980:
		s.node.refusing = !s.node.refusing && s.rng.IntN(3) == 0
	case n < 985:
		s.price *= 0.9 + s.rng.Float64()/5
	case n < 990:
		s.count.crashes++
		s.start()
	case n < 991:
		if s.rng.Int64N(60) < s.hurry {
			s.pass(s.rng.Int64N(86400)) // the clock jumps
		}
	case n < 992:
		s.downtime()
	case n < 995:
		s.setClock()
	case n < 996:
		if s.rng.IntN(4) == 0 {
			s.book.SetMaintenance(Maintenance{On: true, Reason: "the node moves"}, s.clock())
			s.batch()
		}
	case n < 998:
		s.resume()
	case n < 999:
		s.putBack()
	default:
		s.batch()
	}
	if s.skew < -60 || s.skew > 10 {
		s.skewed = s.node.now
		if s.rng.IntN(150) == 0 { // in this period no message is in time
			s.skew = s.rng.Int64N(70) - 60
		}
	}
	if s.node.down || s.node.unsynced {
		s.outage = s.node.now
		if s.sick == 0 {
			s.sick = s.node.now
			s.observe()
		}
	} else {
		if s.sick != 0 {
			s.observe() // the program has seen the node synced before its next trouble
		}
		s.sick = 0
	}
}

// pass advances the time. The chain and the clocks advance independently.
func (s *sim) pass(seconds int64) {
	for seconds > 0 {
		some := min(seconds, 900)
		seconds -= some
		s.node.now += some
		if s.rng.IntN(900) < int(some) {
			s.mine(1)
		}
		s.node.expire(s.aged)
		s.batch()
	}
}

// mine mines blocks, and advances the trade book by the time between the blocks.
func (s *sim) mine(blocks int) {
	for range blocks {
		s.node.height++
		s.node.now += 300 + s.rng.Int64N(600)
		s.node.expire(s.aged)
		s.batch()
		_ = s.store.Outbox(func(r OutboxRow) error {
			if r.Effect.Kind == trade.FxCheckHold && s.store.outbox[r.ID].ID != 0 {
				s.performRow(r)
			}
			return nil
		})
	}
}

// aged checks a hold that the node canceled because the hold was not resolved in time. The
// program must not have been able to resolve that hold.
func (s *sim) aged(h trade.Hash) {
	if s.node.down || s.node.unsynced || s.stopped || s.reconciling {
		return // no process could have resolved the hold
	}
	t := s.store.trades[s.owner[h]]
	if t.Frozen || s.truth[t.ID] != nil && s.node.now-s.truth[t.ID].freed < 7200 {
		return // an operator took too long
	}
	if t.Hash == h && t.Status == message.TradeActive && s.node.now-s.outage > 7200 {
		s.fail("trade %s is active and its hold ran into its time lock", t.ID)
	}
	if t.Hash == h && t.Status == message.TradeDispute && !t.Settling && s.node.now-s.outage > 7200 {
		s.fail("the chain decided the dispute of trade %s", t.ID)
	}
	if t.Hash == h && t.Status == message.TradeFiatSent && !t.Settling && s.node.now-s.outage > 7200 {
		s.fail("trade %s has fiat sent, its hold ran into its time lock, and nobody opened a dispute", t.ID)
	}
}

// user returns a new user: a trade key, with or without an identity.
func (s *sim) user() (trade.Party, *int64) {
	s.nextKey++
	p := trade.Party{Key: simKey(s.nextKey), Transport: envelope.TransportV2}
	p.Identity = p.Key
	if s.rng.IntN(3) == 0 {
		return p, nil
	}
	p.Identity = simKey(1<<40 + s.rng.Uint64N(30))
	s.index[p.Identity]++
	n := s.index[p.Identity]
	if s.rng.IntN(30) == 0 {
		n-- // a client that lost count
	}
	p.Index = n
	return p, &n
}

// send puts a message into the log, sometimes twice, sometimes late.
func (s *sim) send(p trade.Party, index *int64, action message.Action, id *trade.OrderID, payload message.Payload) {
	request := s.rng.Uint64()
	if s.rng.IntN(30) == 0 {
		payload = s.swollen(payload)
	}
	msg := InboundMessage{
		Transport: p.Transport, Sender: p.Key, Identity: p.Identity, Signed: true,
		CreatedAt: s.node.now, Received: s.clock(), ReplayID: fmt.Sprintf("letter %d", len(s.log)),
		Message: trade.Outgoing{Message: message.Message{
			Wrapper: message.WrapperOrder, Version: 2, RequestID: &request, TradeIndex: index, ID: id, Action: action, Payload: payload,
		}},
	}
	if s.rng.IntN(20) == 0 {
		msg.Late = true
		msg.CreatedAt -= s.rng.Int64N(60)
	}
	s.log = append(s.log, msg)
	if s.rng.IntN(20) == 0 {
		s.log = append(s.log, msg)
	}
	if s.rng.IntN(3) > 0 {
		s.batch()
	}
}

func (s *sim) newOrder() {
	p, index := s.user()
	o := &message.SmallOrder{FiatCode: "USD", PaymentMethod: "SEPA", Kind: mostro.SideSell}
	if s.rng.IntN(2) == 0 {
		o.Kind = mostro.SideBuy
	}
	switch s.rng.IntN(4) {
	case 0, 1:
		o.AmountSats, o.FiatAmount = 1000+s.rng.Int64N(900_000), 1+s.rng.Int64N(100)
	case 2:
		o.FiatAmount, o.Premium = 10+s.rng.Int64N(100), s.rng.Int64N(11)-5
	case 3:
		low, high := 5+s.rng.Int64N(20), 30+s.rng.Int64N(100)
		o.MinAmount, o.MaxAmount = &low, &high
	}
	switch s.rng.IntN(30) {
	case 0: // near the largest amount, with a premium that decides
		o.AmountSats, o.MinAmount, o.MaxAmount = 0, nil, nil
		o.FiatAmount, o.Premium = int64(s.price/100)-50+s.rng.Int64N(100), s.rng.Int64N(21)-10
	case 1: // half a range
		most := int64(100)
		o.AmountSats, o.MinAmount, o.MaxAmount = 0, nil, &most
	}
	if s.rng.IntN(20) == 0 {
		o.AmountSats, o.FiatAmount = s.rng.Int64N(2000)-1000, s.rng.Int64N(20)-10
	}
	if o.Kind == mostro.SideBuy && s.rng.IntN(4) == 0 {
		text := fmt.Sprintf("maker%d@home", s.nextKey)
		o.BuyerInvoice = &text
	}
	s.send(p, index, message.ActionNewOrder, nil, o)
}

// invoice returns a payout destination, which is valid in most cases.
func (s *sim) invoice(t trade.Trade) string {
	var h trade.Hash
	_, _ = simReader{s.rng}.Read(h[:])
	order, msat, life := t.ID.String(), t.PayoutSats()*1000, int64(7200)
	switch s.rng.IntN(13) {
	case 12:
		return simFarInvoice(h, max(msat, 0), s.node.now+life, order)
	case 0:
		msat = 0
		if id := s.order[s.rng.IntN(len(s.order))]; s.rng.IntN(2) == 0 && len(s.truth[id].holds) > 0 {
			h = s.truth[id].holds[0] // the hash of an invoice that this node issued
		}
	case 1, 2, 3:
		return order + "@home"
	case 4:
		return order + "@dead"
	case 5:
		msat += 1 + s.rng.Int64N(5000)
	case 6:
		life = 600
	case 7:
		life = 3700 // valid now, but not for long
	case 8:
		return "lnsim:nonsense"
	case 9:
		return simLongInvoice(h, max(msat, 0), s.node.now+life, order)
	}
	if msat < 0 {
		msat = 0
	}
	return simInvoice(h, msat, s.node.now+life, order)
}

// act lets a user act on a trade, in most cases by the action that is due.
func (s *sim) act(id trade.OrderID) {
	t := *s.book.open[id]
	if s.rng.IntN(6) == 0 {
		s.mischief(t)
		return
	}
	buyer, seller := t.Buyer, t.Seller
	if s.sleepy && trade.Escrowed(t.Status) && s.rng.IntN(25) > 0 {
		return
	}
	switch t.Status {
	case message.TradePending:
		switch n := s.rng.IntN(20); {
		case n == 0:
			s.send(t.Maker(), nil, message.ActionCancel, &id, nil)
		case n == 1:
			p, _ := s.user()
			p.Identity = t.Maker().Identity
			s.send(p, nil, message.ActionTradePubkey, &id, nil)
		default:
			s.take(t)
		}
	case message.TradeWaitingBuyerInvoice:
		s.send(buyer, nil, message.ActionAddInvoice, &id, message.PaymentRequest{Invoice: s.invoice(t)})
	case message.TradeWaitingPayment:
		if s.rng.IntN(30) == 0 { // perhaps just after the seller has paid
			s.send([]trade.Party{buyer, seller}[s.rng.IntN(2)], nil, message.ActionCancel, &id, nil)
			return
		}
		if s.truth[id] != nil && s.truth[id].shown[t.Hash] {
			s.node.pay(t.Hash)
		}
	case message.TradeActive:
		if s.rng.IntN(8) == 0 {
			s.send([]trade.Party{buyer, seller}[s.rng.IntN(2)], nil, message.ActionCancel, &id, nil)
			return
		}
		var next message.Payload
		if t.Range() && t.Kind == mostro.SideBuy {
			next = s.nextTrade(t)
		}
		s.send(buyer, nil, message.ActionFiatSent, &id, next)
	case message.TradeFiatSent, message.TradeDispute:
		if s.quarrel && s.rng.IntN(4) > 0 {
			if t.Status == message.TradeFiatSent {
				s.send([]trade.Party{buyer, seller}[s.rng.IntN(2)], nil, message.ActionDispute, &id, nil)
			}
			return
		}
		switch s.rng.IntN(12) {
		case 0:
			s.send([]trade.Party{buyer, seller}[s.rng.IntN(2)], nil, message.ActionCancel, &id, nil)
		case 1:
			s.send([]trade.Party{buyer, seller}[s.rng.IntN(2)], nil, message.ActionDispute, &id, nil)
		case 2, 3, 4:
			s.pass(60)
		default:
			var next message.Payload
			if t.Range() && t.Kind == mostro.SideSell {
				next = s.nextTrade(t)
			}
			s.send(seller, nil, message.ActionRelease, &id, next)
		}
	case message.TradeSettledHoldInvoice:
		if s.rng.IntN(3) == 0 {
			s.send(buyer, nil, message.ActionAddInvoice, &id, message.PaymentRequest{Invoice: s.invoice(t)})
		}
	}
}

func (s *sim) nextTrade(t trade.Trade) message.Payload {
	if s.rng.IntN(5) == 0 {
		return nil
	}
	keys := []int{4, 64}[s.rng.IntN(2)] // few keys, so that some are in use
	return message.NextTrade{Pubkey: curveKeys()[s.rng.IntN(keys)], Index: uint32(t.Maker().Index + 100)}
}

func (s *sim) take(t trade.Trade) {
	id := t.ID
	p, index := s.user()
	action := message.ActionTakeSell
	if t.Kind == mostro.SideBuy {
		action = message.ActionTakeBuy
	}
	var fiat *int64
	if t.Range() {
		n := t.MinFiat + s.rng.Int64N(t.MaxFiat-t.MinFiat+1)
		if s.rng.IntN(10) == 0 {
			n = t.MaxFiat + 1
		}
		fiat = &n
	}
	var payload message.Payload
	switch {
	case action == message.ActionTakeSell && s.rng.IntN(2) == 0:
		text := t.ID.String() + "@home"
		if !t.MarketPrice {
			text = s.invoice(t)
		}
		payload = message.PaymentRequest{Invoice: text, Amount: fiat}
	case fiat != nil:
		payload = message.Amount(*fiat)
	}
	s.send(p, index, action, &id, payload)
}

// mischief executes a random action of a random user.
func (s *sim) mischief(t trade.Trade) {
	id := t.ID
	actions := []message.Action{
		message.ActionTakeSell, message.ActionTakeBuy, message.ActionAddInvoice, message.ActionFiatSent, message.ActionRelease,
		message.ActionCancel, message.ActionDispute, message.ActionTradePubkey, message.ActionPayInvoice, message.ActionReleased,
		message.ActionRestoreSession, message.ActionLastTradeIndex, message.ActionOrders, message.ActionAdminSettle, message.ActionRateUser,
	}
	action := actions[s.rng.IntN(len(actions))]
	who := []trade.Party{t.Buyer, t.Seller}[s.rng.IntN(2)]
	var index *int64
	if who.Key == "" || s.rng.IntN(2) == 0 {
		who, index = s.user()
	}
	var payload message.Payload
	switch action {
	case message.ActionAddInvoice, message.ActionPayInvoice:
		payload = message.PaymentRequest{Invoice: s.invoice(t)}
	case message.ActionRelease, message.ActionFiatSent:
		if s.rng.IntN(2) == 0 {
			payload = message.NextTrade{Pubkey: "nonsense", Index: 1}
		}
	case message.ActionOrders:
		payload = message.IDs{id}
	case message.ActionRateUser:
		payload = message.RatingUser(s.rng.IntN(7))
	}
	s.send(who, index, action, &id, payload)
}

// rest ends all faults and lets all users do the action that is due, until every trade is
// over. Then the sums must be right for each trade.
func (s *sim) rest() {
	s.skew = 0
	s.calm, s.node.down, s.node.lossy, s.node.refusing, s.node.unsynced = true, false, false, false, false
	s.sick = 0
	s.start()
	for s.reconciling && s.err == nil {
		s.lookUp()
	}
	for round := 0; s.err == nil; round++ {
		open := s.unfinished()
		waiting := 0
		for _, row := range s.store.outbox {
			if !s.abandoned[row.Trade] {
				waiting++
			}
		}
		if len(open) == 0 && waiting == 0 && !s.suspended() && !s.feesUnfinished() {
			break
		}
		if round > 2000 {
			for _, id := range open {
				s.fail("trade does not come to its end: %+v", *s.book.open[id])
			}
			for _, t := range s.store.trades {
				if s.undecided(t) {
					settled, paid := s.moneyOf(t.ID)
					s.fail("trade %s has an amount in suspense for ever: %s, settling %v, frozen %v, withheld %v, %d settled, %d paid, %+v, %+v", t.ID, t.Status, t.Settling, t.Frozen, s.withheld[t.ID], settled, paid, t.Suspended, t.Outflows)
				}
			}
			s.fail("%d effects are never done; the fees are %+v", waiting, s.store.fees)
		}
		s.resume()
		s.retryFees()
		for n := len(s.store.outbox); n > 0; n-- {
			s.perform()
		}
		for _, h := range s.node.inFlight() {
			s.node.resolve(h, true)
		}
		for _, id := range open {
			s.watch(id)
			if s.book.open[id] != nil {
				s.finish(*s.book.open[id])
			}
		}
		s.pass(60)
	}
	s.judgeRatings()
	for _, id := range s.order {
		if t, ok := s.store.trades[id]; ok && s.err == nil && !s.abandoned[id] {
			s.judgeFeeEnd(t)
		}
		s.judgeSuspense(id)
		if s.copied(id) {
			s.judgeCopied(id)
		} else {
			s.judgeEnd(s.store.trades[id])
		}
	}
}

// finish executes the action that is due for a trade, in good faith.
func (s *sim) finish(t trade.Trade) {
	id := t.ID
	switch t.Status {
	case message.TradePending:
		s.send(t.Maker(), nil, message.ActionCancel, &id, nil)
	case message.TradeActive:
		s.send(t.Buyer, nil, message.ActionFiatSent, &id, nil)
	case message.TradeFiatSent, message.TradeDispute:
		if t.EscrowGone {
			s.send(t.Buyer, nil, message.ActionCancel, &id, nil)
			s.send(t.Seller, nil, message.ActionCancel, &id, nil)
			return
		}
		s.send(t.Seller, nil, message.ActionRelease, &id, nil)
	case message.TradeSettledHoldInvoice:
		if t.Payout.Hash == (trade.Hash{}) && !t.Payout.Minting {
			s.send(t.Buyer, nil, message.ActionAddInvoice, &id, message.PaymentRequest{Invoice: id.String() + "@home"})
		}
	}
}

// countEnd counts the way in which a trade ended.
func (s *sim) countEnd(t trade.Trade) {
	s.count.ends[t.Status]++
	var again trade.Trade
	for _, in := range s.store.journal[t.ID] {
		next, _, err := trade.Step(again, in)
		if err == nil {
			s.count.triggers[next.Last]++
		}
		again = next
	}
}

// judgeEnd checks the money of one trade that is over.
func (s *sim) judgeEnd(t trade.Trade) {
	if s.err != nil {
		return
	}
	s.countEnd(t)
	var settled, paid int64
	for _, h := range s.truth[t.ID].holds {
		hold := s.node.holds[h]
		switch {
		case hold == nil:
		case hold.state.Phase == trade.HoldSettled:
			settled += hold.state.PaidMsat
		case hold.state.Phase == trade.HoldAccepted:
			s.fail("trade %s is %s and still holds the seller's sats", t.ID, t.Status)
		}
	}
	for _, p := range s.node.pays {
		if p.order == t.ID.String() && p.state.Status == trade.PaymentSucceeded {
			paid += p.state.AmountMsat
		}
	}
	want := [2]int64{0, 0}
	if t.Status == message.TradeSuccess {
		want = [2]int64{t.HeldMsat(), t.PayoutSats() * 1000}
		if t.LockSats()-t.PayoutSats() != 2*t.FeeSats {
			s.fail("trade %s: %d locked, %d paid, %d a side in fees", t.ID, t.LockSats(), t.PayoutSats(), t.FeeSats)
		}
	}
	if settled != want[0] || paid != want[1] {
		s.fail("trade %s ended as %s: took %d msat and paid %d, want %d and %d", t.ID, t.Status, settled, paid, want[0], want[1])
	}
}

// curveKeys returns keys that are points of the curve, as an announced key must be.
var curveKeys = sync.OnceValue(func() []string {
	keys := make([]string, 64)
	for i := range keys {
		keys[i] = hexKeyOf(30_000 + i)
	}
	return keys
})

// simCount counts the occurrences in one world or in many.
type simCount struct {
	fees, feesParked                                                                                      int
	feeProblems                                                                                           map[devfee.Problem]int
	trades, steps, refused, crashes, calls, flooded, downtimes                                            int
	timeouts, looked, lateCancels, maintained, spared, automatic                                          int
	imported, exported, rebound, revoked, inInbox                                                         int
	waits, rated, ratedAgain, ratedEarly, votesWaited, resolved, refunds                                  int
	stale, clockBack, uncommitted, rollbacks, twice, lost, abandoned, full, undelivered, afterUndelivered int
	ends                                                                                                  map[message.TradeStatus]int
	triggers                                                                                              map[trade.Trigger]int
}

func (c *simCount) add(o simCount) {
	c.fees += o.fees
	c.feesParked += o.feesParked
	if c.feeProblems == nil {
		c.feeProblems = make(map[devfee.Problem]int)
	}
	for p, n := range o.feeProblems {
		c.feeProblems[p] += n
	}
	c.trades += o.trades
	c.steps += o.steps
	c.refused += o.refused
	c.crashes += o.crashes
	c.calls += o.calls
	c.downtimes += o.downtimes
	c.stale += o.stale
	c.rollbacks += o.rollbacks
	c.twice += o.twice
	c.lost += o.lost
	c.abandoned += o.abandoned
	c.uncommitted += o.uncommitted
	c.full += o.full
	c.clockBack += o.clockBack
	c.undelivered += o.undelivered
	c.afterUndelivered += o.afterUndelivered
	c.waits += o.waits
	c.rated += o.rated
	c.ratedAgain += o.ratedAgain
	c.ratedEarly += o.ratedEarly
	c.inInbox += o.inInbox
	c.imported, c.exported, c.rebound, c.revoked = c.imported+o.imported, c.exported+o.exported, c.rebound+o.rebound, c.revoked+o.revoked
	c.votesWaited += o.votesWaited
	c.resolved += o.resolved
	c.refunds += o.refunds
	c.looked += o.looked
	c.timeouts += o.timeouts
	c.lateCancels += o.lateCancels
	c.maintained += o.maintained
	c.spared += o.spared
	c.automatic += o.automatic
	if c.ends == nil {
		c.ends, c.triggers = make(map[message.TradeStatus]int), make(map[trade.Trigger]int)
	}
	for s, n := range o.ends {
		c.ends[s] += n
	}
	for s, n := range o.triggers {
		c.triggers[s] += n
	}
}
