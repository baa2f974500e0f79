package escrow

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// The points at which a mortalNode dies: before a call reaches the node, and after it took
// effect, with its answer lost.
const (
	beforeSettle = "before the settlement"
	afterSettle  = "settled"
	beforePay    = "before the payout"
	afterPay     = "payout under way"
	beforeCancel = "before the cancellation"
	afterCancel  = "cancelled"
)

// mortalNode is the Mostro's node. It dies once, at a point that a test sets.
type mortalNode struct {
	lightning.Node
	kill func()

	mu sync.Mutex
	at string // "": the node does not die
}

func (n *mortalNode) dieAt(point string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at = point
}

// died reports whether the node has died at its point.
func (n *mortalNode) died() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.at == ""
}

func (n *mortalNode) around(before, after string, call func() error) error {
	n.hit(before)
	err := call()
	if n.hit(after) {
		return lightning.ErrUnavailable
	}
	return err
}

func (n *mortalNode) hit(point string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at != point {
		return false
	}
	n.kill()
	n.at = ""
	return true
}

func (n *mortalNode) Settle(ctx context.Context, p trade.Preimage) error {
	return n.around(beforeSettle, afterSettle, func() error { return n.Node.Settle(ctx, p) })
}

func (n *mortalNode) Cancel(ctx context.Context, h trade.Hash) error {
	return n.around(beforeCancel, afterCancel, func() error { return n.Node.Cancel(ctx, h) })
}

func (n *mortalNode) Pay(ctx context.Context, p lightning.Payment) error {
	return n.around(beforePay, afterPay, func() error { return n.Node.Pay(ctx, p) })
}

// disputeFlows returns the flows of disputes in which the node dies, and those that nobody
// decides. The latter come last, because their clock and their chain are far ahead.
func disputeFlows(n *FlowNet, node *mortalNode) (list []flowTest) {
	for _, c := range []struct {
		point   string
		verdict message.Action
		short   bool
	}{
		{"before the take", message.ActionAdminSettle, false},
		{beforeSettle, message.ActionAdminSettle, false},
		{afterSettle, message.ActionAdminSettle, true},
		{beforePay, message.ActionAdminSettle, false},
		{afterPay, message.ActionAdminSettle, false},
		{beforeCancel, message.ActionAdminCancel, true},
		{afterCancel, message.ActionAdminCancel, false},
	} {
		if c.short || n.Long {
			list = append(list, flowTest{"the node is killed in a dispute: " + c.point, func(f *flow) { f.nodeDies(node, c.point, c.verdict) }})
		}
	}
	list = append(list, flowTest{"dispute overdue at the margin", func(f *flow) { f.overdue(false) }})
	if n.Long {
		list = append(list, flowTest{"dispute overdue while the node is down", func(f *flow) { f.overdue(true) }})
	}
	return list
}

// nodeDies has the node die at a point of a dispute, and start again. All ends as the solver
// has decided.
func (f *flow) nodeDies(node *mortalNode, point string, verdict message.Action) {
	f.dispute(func() {})
	f.shown()
	solver := f.solver()
	switch point {
	case beforeSettle, afterSettle, beforePay, afterPay, beforeCancel, afterCancel:
		node.dieAt(point)
	default:
		f.n.Kill()
	}
	f.takes(solver)
	f.decides(solver, verdict)
	f.until("the node is dead", node.died)
	f.until("the verdict is decided", func() bool { return f.w.trade(f.id).Dispute.Verdict != nil })
	if err := f.n.Start(f.Context()); err != nil {
		f.Fatal(err)
	}
	for _, u := range []*user{f.seller, f.buyer, solver} {
		u.wait(verdictOf[verdict])
	}
	switch {
	case verdict == message.ActionAdminCancel:
		f.ends(message.TradeCanceledByAdmin)
		f.unchanged()
	case point != afterPay || f.ended(f.retried()):
		f.paidAtLast()
	default:
		f.unpaid()
	}
	if v := f.w.trade(f.id).Dispute.Verdict; v.By != solver.trade.Pubkey() || v.Action != verdict || v.Overdue {
		f.Errorf("the verdict is %+v", v)
	}
}

// ended waits until a payout has ended. ended returns false if the node keeps the payout in
// flight although no channel holds any part of it. LND does that now and then if it is killed in
// the moment in which it accepts a payment (lnd issue 5152). Nobody can know then that the
// payment will not be made, so the escrow waits.
func (f *flow) ended(done func() bool) bool {
	f.Helper()
	began := time.Now()
	for !done() {
		if time.Since(began) > 20*time.Second {
			f.balances() // returns when no channel holds a payment
			inFlight := 0
			if err := f.n.Mostro.ListPayments(f.Context(), time.Time{}, func(s lightning.PaymentState) error {
				if s.Status == trade.PaymentInFlight {
					inFlight++
				}
				return nil
			}); err != nil {
				f.Fatal(err)
			}
			if inFlight == 0 {
				f.until("the payout has ended", done)
				return true
			}
			f.Logf("the node keeps %d payouts in flight: no channel holds them, and the escrow waits", inFlight)
			return false
		}
		f.n.Pause()
	}
	return true
}

// unpaid checks the balances of a settled trade whose payout the node keeps in flight.
func (f *flow) unpaid() {
	f.Helper()
	f.count([3]int64{(flowSats + flowFee) * 1000, -(flowSats + flowFee) * 1000, 0})
}

// left mines until the hold has so many blocks left above the margin, and moves the clock to
// the time at which the escrow looks at the hold. left returns when the escrow has looked.
func (f *flow) left(blocks uint32) {
	f.Helper()
	t := f.w.trade(f.id)
	var hold lightning.HoldState
	var info lightning.NodeInfo
	f.until("the node answers", func() (ok bool) {
		var err, err2 error
		hold, err = f.n.Mostro.LookupHold(f.Context(), t.Hash)
		info, err2 = f.n.Mostro.Info(f.Context())
		return err == nil && err2 == nil
	})
	f.mine(int(hold.ExpiryHeight) - int(marginBlocks(t.Terms)) - int(blocks) - int(info.Height))
}

// mine adds blocks, and has the escrow look at the hold.
func (f *flow) mine(blocks int) {
	f.Helper()
	if blocks > 0 {
		if err := f.n.Mine(f.Context(), blocks); err != nil {
			f.Fatal(err)
		}
	}
	deadline := f.w.trade(f.id).Deadline
	f.w.clock.move(max(0, time.Duration(deadline-f.w.clock.Now().Unix())) * time.Second)
	f.until("the escrow has looked at the hold", func() bool { return f.w.trade(f.id).Deadline != deadline })
}

// overdue is a dispute that a solver takes and nobody decides. At the margin the rule of its
// terms decides: the hold is cancelled. If down is set, the node is down when the margin comes,
// and has three blocks left when it starts again before it would give the hold back by itself.
func (f *flow) overdue(down bool) {
	f.dispute(func() {})
	f.shown()
	solver := f.solver()
	f.takes(solver)
	dispute := f.w.trade(f.id).Dispute.ID.String()
	everybody := []*user{f.seller, f.buyer, solver}
	told := func(who []*user, text string) {
		f.Helper()
		for i, u := range who {
			if got, ok := u.wait(message.ActionSendDM).Payload.(message.TextMessage); !ok || !strings.Contains(string(got), text) || !strings.Contains(string(got), "returns the sats to the seller") {
				f.Errorf("party %d is told %q, want %q", i, got, text)
			}
		}
	}
	logged := func(text string) (n int) {
		for line := range strings.SplitSeq(f.w.output.String(), "\n") {
			if strings.Contains(line, "level=WARN") && strings.Contains(line, text) && strings.Contains(line, dispute) {
				n++
			}
		}
		return n
	}
	told(everybody[:2], "is not resolved in time")
	for i, blocks := range []uint32{72, 48, 36} {
		f.left(blocks)
		told(everybody, fmt.Sprintf("has some %d blocks left", blocks))
		if got := logged("a dispute is due"); got != i+1 {
			f.Errorf("the operator is told %d times that the dispute is due, want %d", got, i+1)
		}
	}
	f.left(1)
	f.w.quiet()
	if status := f.w.status(f.id); status != message.TradeDispute {
		f.Errorf("a block before the margin the trade is %s", status)
	}
	if down {
		f.n.Kill()
		f.mine(4) // nobody decides by the clock alone
		if status := f.w.status(f.id); status != message.TradeDispute {
			f.Errorf("while the node is down the trade is %s", status)
		}
		if err := f.n.Start(f.Context()); err != nil {
			f.Fatal(err)
		}
		f.mine(0)
	} else {
		f.left(0)
	}
	for _, u := range everybody {
		u.wait(message.ActionAdminCanceled)
	}
	f.ends(message.TradeCanceledByAdmin)
	f.unchanged()
	t := f.w.trade(f.id)
	if v := t.Dispute.Verdict; v == nil || !v.Overdue || v.Action != message.ActionAdminCancel || v.Reason != "overdue" || v.By != "" {
		f.Errorf("the verdict is %+v", v)
	}
	if hold, err := f.n.Mostro.LookupHold(f.Context(), t.Hash); err != nil || hold.Phase != trade.HoldCanceled {
		f.Errorf("the hold is %v, %v", hold.Phase, err)
	}
	if got := logged("the rule decides it"); got != 1 {
		f.Errorf("the operator is told %d times that the rule decides", got)
	}
	f.w.quiet()
	shown := make(map[string]int)
	_ = f.w.log.Read(f.Context(), 0, func(e mostro.Entry) error {
		if d, err := mostro.ParseDispute(e.Event); err == nil && d.D == dispute {
			shown[string(d.State)+" "+d.Overdue]++
		}
		return nil
	})
	if shown["seller-refunded cancel"] != 1 || shown["seller-refunded "] != 0 || shown["initiated "] == 0 {
		f.Errorf("the public events of the dispute are %v", shown)
	}
}
