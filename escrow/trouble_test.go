package escrow

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/nodecard"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// Troubles are the failures of a real node between two steps of a trade.
type Troubles struct {
	FlowNet
	// Revocable is the node, accessed with a macaroon that Revoke revokes.
	Revocable lightning.Node
	Revoke    func(ctx context.Context) error
	// Swap puts another wallet behind the node's address, or restores the first wallet.
	Swap func(ctx context.Context) error
	// Fill fills the node's disk until free is called. Fill is nil if the node has no disk of
	// its own.
	Fill func() (free func())
}

// RunTroubles keeps trades open through each trouble and ends the trades afterwards. Each
// trouble has one log line, a metric and a line of /readyz, and blocks new orders.
func RunTroubles(t *testing.T, n *Troubles) {
	w := newWorldOn(t, n.Mostro)
	owned := ownedBy(t, &n.FlowNet)
	began := func() *flow {
		f := &flow{T: t, w: w, n: &n.FlowNet, seller: w.user(envelope.TransportV2), buyer: w.user(envelope.TransportV2)}
		f.begins()
		f.sell()
		f.take()
		f.addInvoice()
		f.pay()
		f.fiatSent()
		return f
	}
	releases := func(f *flow) {
		f.seller.send(message.Message{RequestID: number(5), ID: &f.id, Action: message.ActionRelease})
	}
	paid := func(f *flow) {
		t.Helper()
		f.paidAtLast()
		f.agrees(w.db, owned)
	}
	metric := func(problem nodecard.Problem) float64 {
		families, err := w.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				if family.GetName() == "mostrodex_escrow_node_problem" && m.GetLabel()[0].GetValue() == string(problem) {
					return m.GetGauge().GetValue()
				}
			}
		}
		return -1
	}
	closed := func(problem nodecard.Problem, line string) {
		t.Helper()
		for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			got := strings.Join(w.engine.Status().Closed, "; ")
			if (line == "" && got == "" || line != "" && strings.Contains(got, line)) && (problem == "" || metric(problem) == 1) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("closed for %q, want %q; metric %v", got, line, metric(problem))
			}
		}
	}
	refused := func() {
		t.Helper()
		u := w.user(envelope.TransportV2)
		u.send(u.sell(flowSats, 50))
		if c, ok := u.wait(message.ActionCantDo).Payload.(message.CantDo); !ok || c.Reason != message.ReasonNotAllowedByStatus {
			t.Errorf("the answer to a new order is %+v", c)
		}
	}
	// said checks that the log names a problem, and that no two lines in a row name the same
	// state of the node. On a busy machine a node that refuses calls may also stop answering
	// for a moment, and then the log names the problem once more.
	said := func(problem nodecard.Problem) {
		t.Helper()
		last, found := "", false
		for _, line := range strings.Split(w.output.String(), "\n") {
			now := ""
			if strings.Contains(line, "the Lightning node can be used again") {
				now = "usable"
			} else if _, rest, ok := strings.Cut(line, "no new orders are taken\" problem="); ok {
				now, _, _ = strings.Cut(rest, " ")
			} else {
				continue
			}
			if now == last {
				t.Errorf("the log names %s twice in a row", now)
			}
			last, found = now, found || now == string(problem)
		}
		if !found {
			t.Errorf("the log does not name %s", problem)
		}
	}

	t.Log("the node is killed")
	f := began()
	n.Kill()
	closed(nodecard.Unavailable, "does not answer")
	refused()
	releases(f)
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed("", "")
	paid(f)
	said(nodecard.Unavailable)

	t.Log("the macaroon is revoked")
	_ = w.stop()
	w.ln = n.Revocable
	w.start()
	f = began()
	if err := n.Revoke(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed(nodecard.Permission, "refuses the macaroon")
	refused()
	releases(f)
	said(nodecard.Permission)
	_ = w.stop()
	w.ln = n.Mostro // with another macaroon
	w.start()
	paid(f)

	t.Log("another wallet answers")
	f = began()
	if err := n.Swap(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed(nodecard.OtherWallet, "put that wallet back")
	refused()
	releases(f)
	f.until("the release is decided", func() bool { return w.trade(f.id).Settling })
	said(nodecard.OtherWallet)
	if err := n.Swap(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed("", "")
	paid(f)

	if n.Fill == nil {
		t.Log("SKIPPED: the full disk, because the node has no disk of its own (it takes Linux and root)")
		return
	}
	t.Log("the node's disk is full")
	f = began()
	another := func() *flow {
		other := &flow{T: t, w: w, n: &n.FlowNet, seller: w.user(envelope.TransportV2), buyer: w.user(envelope.TransportV2)}
		other.sell()
		return other
	}
	other := another()
	free := n.Fill()
	// LND may free some pages again, so that it makes a few more invoices before it refuses.
	for refuses, orders := false, 1; !refuses; {
		other.take()
		other.addInvoice()
		other.until("the hold invoice is made or refused", func() bool {
			refuses = w.engine.Card.State().Problem == nodecard.Refusing
			return refuses || w.trade(other.id).HoldInvoice != ""
		})
		if !refuses {
			if orders++; orders > 100 {
				t.Fatalf("LND has made %d hold invoices on a full disk", orders)
			}
			other = another()
		}
	}
	closed(nodecard.Refusing, "look at its log and its disk")
	refused()
	releases(f)
	said(nodecard.Refusing)
	free()
	// LND does not restore all channels before it is started again. If that restart happens
	// at once, a payout may stay in flight for good: see "When LND's disk is full" in
	// docs/lightning.md. No money is lost in either case.
	failures := uint32(0)
	inFlight := func() bool {
		tr := w.trade(f.id)
		return tr.Status == message.TradeSettledHoldInvoice && tr.Payout.Sent
	}
	// ended waits until the trade has ended, or a payout is in flight for 20 s, or for two
	// minutes: a busy machine needs long for a restart of LND and the next attempt.
	ended := func() bool {
		began, sent := time.Now(), time.Time{}
		for ; time.Since(began) < 2*time.Minute; time.Sleep(20 * time.Millisecond) {
			if w.status(f.id) == message.TradeSuccess {
				return true
			}
			switch {
			case !inFlight():
				sent = time.Time{}
			case sent.IsZero():
				sent = time.Now()
			case time.Since(sent) > 20*time.Second:
				return false
			}
			if now := w.trade(f.id).Payout.Failures; now != failures {
				failures = now
				w.clock.move(61 * time.Second) // time of the next attempt
			}
		}
		return false
	}
	if !ended() {
		if err := n.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !ended() {
			if inFlight() {
				t.Log("LND holds the payout in flight")
				return
			}
			tr := w.trade(f.id)
			t.Errorf("after the disk has room the released trade is %s after %q, handed over: %v", tr.Status, tr.Last, tr.Payout.Sent)
		}
	}
	if tr := w.trade(other.id); tr.Status != message.TradePending && tr.Status != message.TradeWaitingPayment {
		t.Errorf("the order that was taken on the full disk is %s after %q", tr.Status, tr.Last)
	}
}
