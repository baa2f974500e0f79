package exposure

import (
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

const at = 1_800_000_000

// active returns an active trade whose hold has so many blocks left before its margin.
func active(blocks int64) *trade.Trade {
	return &trade.Trade{ID: trade.OrderID{1}, Status: message.TradeActive, AmountSats: 1000, FeeSats: 3,
		Lock: trade.Lock{Hash: trade.Hash{1}, HeldAt: at - 600, SafeUntil: at + blocks*trade.BlockSeconds, PaidMsat: 1_003_000}, Deadline: at + 60}
}

func TestBlocksLeft(t *testing.T) {
	pending := &trade.Trade{Status: message.TradePending, ExpiresAt: at + 60}
	gone := active(5)
	gone.EscrowGone = true
	waiting := active(7)
	waiting.Status = message.TradeWaitingBuyerInvoice
	waiting.TakenAt, waiting.Deadline = at-10, at+10 // the duty of the buyer is no time of the hold
	half := active(3)
	half.SafeUntil--
	past := active(0)
	past.SafeUntil--
	for name, c := range map[string]struct {
		t    *trade.Trade
		want int64
	}{
		"at the margin": {active(0), 0}, "a second beyond": {past, -1}, "two blocks beyond": {active(-2), -2}, "3 blocks less a second": {half, 2},
		"144 blocks": {active(144), 144}, "no hold": {pending, Unknown}, "the hold has ended": {gone, Unknown}, "before the invoice": {waiting, 7},
	} {
		if got := BlocksLeft(c.t, at); got != c.want {
			t.Errorf("%s: %d blocks, want %d", name, got, c.want)
		}
	}
}

func TestSum(t *testing.T) {
	paid := active(10)
	paid.Status = message.TradeSettledHoldInvoice
	paid.Payout.Hash = trade.Hash{9}
	awaiting := active(10)
	awaiting.Status = message.TradeSettledHoldInvoice
	awaiting.Payout.Failures = 99
	frozen := active(200)
	frozen.Frozen, frozen.Deadline = true, at-5000
	late := active(73)
	late.Deadline = at - 40
	disputed := active(144)
	disputed.Status = message.TradeDispute
	disputed.Dispute = trade.Dispute{ID: trade.OrderID{7}, Told: 72}
	refund := active(145)
	refund.Outflows = []trade.Outflow{{Purpose: trade.OutflowRefund, AmountSats: 5}, {PaidAt: at}, {Withdrawn: true}}

	s := New(at)
	for _, one := range []*trade.Trade{active(-1), active(12), paid, awaiting, frozen, late, disputed, refund} {
		s.Add(one)
	}
	if want := [...]int{1, 1, 0, 0, 2, 2}; s.Held != want {
		t.Errorf("holds by class: %v, want %v", s.Held, want)
	}
	if s.HeldSats[0] != 1003 || s.Least != -1 || s.Late != 40 || s.Unpaid != 1 || s.Awaiting != 1 || s.Refunds != 1 {
		t.Errorf("%+v", s)
	}
	if len(s.Trades) != 5 { // two near the margin, one unpaid, one frozen, one in dispute
		t.Errorf("%d trades need a look: %+v", len(s.Trades), s.Trades)
	}
	if New(at).Least != Unknown {
		t.Error("no hold has blocks left")
	}
}
