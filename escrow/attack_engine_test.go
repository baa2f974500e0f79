package escrow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// A burst of large messages ends neither the engine nor a later start, and an honest trade
// after the burst succeeds.
func TestBurstOfLargeMessages(t *testing.T) {
	for name, fill := range fillers {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "HTML" {
				t.Skip("short: one filler is enough")
			}
			w := newWorld(t)
			_ = w.stop()
			messages := maxBatch / 2
			if testing.Short() {
				messages /= 4
			}
			for range messages {
				u := w.user(envelope.TransportV2)
				u.identity = nil
				m := u.sell(50_000, 50)
				m.TradeIndex, m.Payload = nil, large(fill)
				u.send(m)
			}
			for range 2 {
				w.start()
				seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
				w.sellOrder(seller, buyer, func(string) {})
				_ = w.stop()
			}
			w.start()
		})
	}
}

// narrowStore fails each commit for which poison returns true.
type narrowStore struct {
	*DB
	poison func(c *Commit) bool
	tried  int
}

func (s *narrowStore) Commit(c *Commit) error {
	s.tried++
	if s.poison(c) {
		return fmt.Errorf("%w: test", ErrUncommittable)
	}
	return s.DB.Commit(c)
}

// If one input among others cannot be committed, its message is skipped, the others are
// committed, and the next start is ordinary.
func TestOffendingMessageIsSkipped(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	var users []*user
	for range 40 {
		u := w.user(envelope.TransportV2)
		users = append(users, u)
		m := u.sell(50_000, 50)
		if len(users) == 17 {
			m.Payload.(*message.SmallOrder).PaymentMethod = "poison"
		}
		u.send(m)
	}
	for range 2 {
		db, err := OpenDB(filepath.Join(w.dir, "escrow"))
		if err != nil {
			t.Fatal(err)
		}
		store := &narrowStore{DB: db, poison: func(c *Commit) bool {
			for _, tr := range c.Trades {
				if tr.PaymentMethod == "poison" {
					return true
				}
			}
			return false
		}}
		w.startOn(db, store)
		for i, u := range users {
			if i != 16 {
				u.wait(message.ActionNewOrder)
			}
		}
		open, err := w.engine.Trades(t.Context())
		if err != nil || len(open) != 39 {
			t.Fatalf("%d trades, %v", len(open), err)
		}
		if store.tried > 60 {
			t.Errorf("%d commits for 40 messages", store.tried)
		}
		users = nil
		_ = w.stop()
	}
	if got := w.output.String(); strings.Count(got, "is skipped") != 1 || strings.Contains(got, "poison") {
		t.Errorf("the log contains: %s", got)
	}
	w.start()
}

// A result that cannot be committed freezes its trade; the result is never dropped.
func TestOffendingResultFreezes(t *testing.T) {
	w := newWorld(t)
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	id := w.toFiatSent(seller, buyer)
	_ = w.stop()
	db, err := OpenDB(filepath.Join(w.dir, "escrow"))
	if err != nil {
		t.Fatal(err)
	}
	w.startOn(db, &narrowStore{DB: db, poison: func(c *Commit) bool {
		for _, row := range c.Journal {
			if row.Input.Kind == trade.InSettled {
				return true
			}
		}
		return false
	}})
	seller.send(message.Message{RequestID: number(5), ID: &id, Action: message.ActionRelease})
	for deadline := time.Now().Add(10 * time.Second); !w.trade(id).Frozen; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the trade is not frozen")
		}
	}
	w.restart() // with a store that accepts the result
	if err := w.engine.PayAfterAll(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.until(id, message.TradeSuccess)
}

// toFiatSent brings a sell order with a Lightning address to fiat-sent.
func (w *world) toFiatSent(seller, buyer *user) trade.OrderID {
	w.tb.Helper()
	seller.send(seller.sell(52_000, 50))
	id := *seller.wait(message.ActionNewOrder).ID
	buyer.send(message.Message{RequestID: number(2), TradeIndex: buyer.tradeIndex(), ID: &id, Action: message.ActionTakeSell, Payload: message.PaymentRequest{Invoice: id.String() + "@home"}})
	h := simDecode(shownHold(seller)).Hash
	w.node.with(func(n *simNode) { n.pay(h) })
	w.until(id, message.TradeActive)
	buyer.send(message.Message{RequestID: number(4), ID: &id, Action: message.ActionFiatSent})
	w.until(id, message.TradeFiatSent)
	return id
}

// farNode answers after a delay, as a node over gRPC does.
type farNode struct {
	*testNode
	d time.Duration
}

func (n farNode) LookupHold(ctx context.Context, h trade.Hash) (lightning.HoldState, error) {
	time.Sleep(n.d)
	return n.testNode.LookupHold(ctx, h)
}

func (n farNode) Settle(ctx context.Context, p trade.Preimage) error {
	time.Sleep(n.d)
	return n.testNode.Settle(ctx, p)
}

func (n farNode) WatchHold(ctx context.Context, h trade.Hash, fn func(lightning.HoldState) error) error {
	time.Sleep(n.d)
	return n.testNode.WatchHold(ctx, h, fn)
}

// An older copy of escrow/ is restored while the log and the node are current. The rollback
// guard detects the copy; if the guard was restored as well, the node does.
func TestRestoredCopy(t *testing.T) {
	latencies := []time.Duration{3 * time.Millisecond, 0, 30 * time.Millisecond}
	if testing.Short() {
		latencies = latencies[:1]
	}
	for _, latency := range latencies {
		for _, witness := range []string{"kept", "lost", "restored"} {
			t.Run(fmt.Sprint(latency, ", witness ", witness), func(t *testing.T) { restoredCopy(t, latency, witness) })
		}
	}
}

func restoredCopy(t *testing.T, latency time.Duration, witness string) {
	w := newWorld(t)
	_ = w.stop()
	w.ln = farNode{w.node, latency}
	w.start()
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	id := w.toFiatSent(seller, buyer)
	_ = w.stop()
	copyOf, witnessOf := filepath.Join(w.dir, "copy"), filepath.Join(w.dir, "escrow.witness")
	if err := os.CopyFS(copyOf, os.DirFS(filepath.Join(w.dir, "escrow"))); err != nil {
		t.Fatal(err)
	}
	remembered, err := os.ReadFile(witnessOf)
	if err != nil {
		t.Fatal(err)
	}
	w.start()
	seller.send(message.Message{RequestID: number(5), ID: &id, Action: message.ActionRelease})
	w.until(id, message.TradeSuccess)
	// Another user's order of the lost period was canceled again, and a further one is taken.
	other, maker, taker := w.user(envelope.TransportV2), w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	other.send(other.sell(50_000, 50))
	o := *other.wait(message.ActionNewOrder).ID
	other.send(message.Message{RequestID: number(9), ID: &o, Action: message.ActionCancel})
	other.wait(message.ActionCanceled)
	lost := w.toFiatSent(maker, taker)
	_ = w.stop()

	if err := os.RemoveAll(filepath.Join(w.dir, "escrow")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copyOf, filepath.Join(w.dir, "escrow")); err != nil {
		t.Fatal(err)
	}
	switch witness {
	case "lost":
		err = os.Remove(witnessOf)
	case "restored": // the whole volume was restored
		err = os.WriteFile(witnessOf, remembered, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.clock.move(time.Hour)
	w.node.with(func(n *simNode) { n.now += 3600 })
	w.start()
	for deadline := time.Now().Add(20 * time.Second); !w.heard(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the log is not replayed")
		}
	}
	w.quiet()
	if !w.engine.Reconcile {
		t.Error("the older copy was not detected")
	}
	tr := w.trade(id)
	w.node.with(func(n *simNode) {
		if n.paidMsat > n.settledMsat || len(n.pays) != 1 {
			t.Errorf("%d payments, %d msat paid, %d msat settled", len(n.pays), n.paidMsat, n.settledMsat)
		}
	})
	if !tr.Frozen {
		t.Errorf("the trade that was paid out is %s and not frozen", tr.Status)
	}
	open, err := w.engine.Trades(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range open {
		if x.Status == message.TradePending {
			t.Errorf("order %s is in the book, but no user made it", x.ID)
		}
	}
	if got := w.trade(o); got.Status != message.TradeCanceled {
		t.Errorf("the canceled order of the lost period is %s", got.Status)
	}
	// The trade of the lost period is rebuilt from its messages on the same hold invoice, and
	// can be completed.
	again := w.trade(lost)
	if again.Status != message.TradeFiatSent {
		t.Fatalf("the trade of the lost period is %s after %q", again.Status, again.Last)
	}
	maker.send(message.Message{RequestID: number(15), ID: &lost, Action: message.ActionRelease})
	w.until(lost, message.TradeSuccess)
}

// An older copy that is started while the Lightning node is down, and stopped again, is still
// known to be an older copy at the next start. The same holds for a copy whose comparison was
// interrupted.
func TestCopyIsNotForgottenByARestart(t *testing.T) {
	for _, down := range []bool{true, false} {
		t.Run(fmt.Sprint("node down ", down), func(t *testing.T) {
			w := newWorld(t)
			_ = w.stop()
			w.ln = farNode{w.node, 30 * time.Millisecond}
			w.start()
			seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
			id := w.toFiatSent(seller, buyer)
			_ = w.stop()
			copyOf := filepath.Join(w.dir, "copy")
			if err := os.CopyFS(copyOf, os.DirFS(filepath.Join(w.dir, "escrow"))); err != nil {
				t.Fatal(err)
			}
			w.start()
			seller.send(message.Message{RequestID: number(5), ID: &id, Action: message.ActionRelease})
			w.until(id, message.TradeSuccess)
			_ = w.stop()
			if err := os.RemoveAll(filepath.Join(w.dir, "escrow")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(copyOf, filepath.Join(w.dir, "escrow")); err != nil {
				t.Fatal(err)
			}
			w.node.with(func(n *simNode) { n.down = down })
			for range 3 {
				w.start()
				if down {
					for deadline := time.Now().Add(10 * time.Second); !strings.Contains(strings.Join(w.engine.Status().Closed, ""), "does not answer"); time.Sleep(time.Millisecond) {
						if time.Now().After(deadline) {
							t.Fatal(w.engine.Status())
						}
					}
				}
				for range 30 { // each question of an operator is committed and counts
					if err := w.engine.Pause(t.Context(), false); err != nil {
						t.Fatal(err)
					}
				}
				_ = w.stop()
			}
			w.node.with(func(n *simNode) { n.down = false })
			w.start()
			for deadline := time.Now().Add(20 * time.Second); !w.heard(); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the log is not replayed")
				}
			}
			w.quiet()
			if tr := w.trade(id); !tr.Frozen {
				t.Errorf("the trade that was paid out is %s and not frozen", tr.Status)
			}
			w.node.with(func(n *simNode) {
				if n.paidMsat > n.settledMsat || len(n.pays) != 1 {
					t.Errorf("%d payments, %d msat paid, %d msat settled", len(n.pays), n.paidMsat, n.settledMsat)
				}
			})
		})
	}
}

// refusingLog refuses own events of one kind for good.
type refusingLog struct {
	*memLog
	kind int
	mu   sync.Mutex
	n    int
}

func (l *refusingLog) Publish(ctx context.Context, evt *nostr.Event) error {
	if evt.Kind == l.kind {
		l.mu.Lock()
		l.n++
		l.mu.Unlock()
		return fmt.Errorf("%w: test", ErrEventRefused)
	}
	return l.memLog.Publish(ctx, evt)
}

// An order event that the log refuses for good delays no message of its trade.
func TestRefusedEventsHoldNothingUp(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	refusing := &refusingLog{memLog: w.log, kind: mostro.KindOrder}
	w.publisher = refusing
	w.start()
	w.sellOrder(w.user(envelope.TransportV2), w.user(envelope.TransportV2), func(string) {})
	if !strings.Contains(w.output.String(), "refused by its own relay") || refusing.n == 0 {
		t.Error("no log line reports the refused event")
	}
	for deadline := time.Now().Add(5 * time.Second); w.engine.outbox.depth()[laneEvent] != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("refused events are still being tried")
		}
	}
}

// While the own relay does not answer, only the newest version of an event is queued.
func TestNewestVersionAlone(t *testing.T) {
	var events, published []*nostr.Event
	o := newOutbox(effect.Runner{}, publisherFunc(func(_ context.Context, evt *nostr.Event) error {
		published = append(published, evt)
		return nil
	}), nil, func(context.Context, notice) error { return nil })
	var rows []OutboxRow
	for i := range 10 {
		evt := &nostr.Event{Kind: mostro.KindOrder, CreatedAt: nostr.Timestamp(i), Tags: nostr.Tags{{"d", fmt.Sprint(i % 2)}}}
		events = append(events, evt)
		rows = append(rows, OutboxRow{ID: uint64(i + 1), Trade: trade.OrderID{1}, Effect: trade.Effect{Kind: trade.FxPublishOrder}, Event: evt})
	}
	o.add(rows)
	for range rows {
		q, err := o.next(t.Context(), laneEvent)
		if err != nil {
			t.Fatal(err)
		}
		o.serve(t.Context(), q)
	}
	if len(published) != 2 || published[0] != events[8] || published[1] != events[9] {
		t.Errorf("published %d of 10 versions of two addresses", len(published))
	}
}

type publisherFunc func(context.Context, *nostr.Event) error

func (f publisherFunc) Publish(ctx context.Context, evt *nostr.Event) error { return f(ctx, evt) }

// A node is down at the start, goes away, is another node, or refuses the macaroon. The
// engine then accepts no new orders, logs one line, and continues afterwards.
func TestNodeTroubles(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	trouble := &troubledNode{testNode: w.node}
	w.ln = trouble
	trouble.set("", lightning.ErrUnavailable)
	w.start()
	closed := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(time.Millisecond) {
			got := strings.Join(w.engine.Status().Closed, "; ")
			if want == "" && got == "" || want != "" && strings.Contains(got, want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("closed for %q, want %q", got, want)
			}
		}
	}
	closed("does not answer")
	if _, err := w.engine.Trades(t.Context()); err != nil {
		t.Error("the operator gets no answer while the node is down:", err)
	}
	trouble.set("", nil)
	closed("")
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	id := w.toFiatSent(seller, buyer)

	trouble.set("", lightning.ErrPermission)
	closed("refuses the macaroon")
	refused := w.user(envelope.TransportV2)
	refused.send(refused.sell(50_000, 50))
	if c, ok := refused.wait(message.ActionCantDo).Payload.(message.CantDo); !ok || c.Reason != message.ReasonNotAllowedByStatus {
		t.Errorf("the answer to a new order is %+v", c)
	}
	trouble.set("another", nil)
	closed("put that wallet back")
	seller.send(message.Message{RequestID: number(5), ID: &id, Action: message.ActionRelease})
	w.eventually("a settlement that is not sent", func() bool { return w.failures(id) > 0 })
	w.node.with(func(n *simNode) {
		if n.settledMsat != 0 {
			t.Error("the engine sent a settle to another wallet")
		}
	})
	trouble.set("", nil)
	closed("")
	w.until(id, message.TradeSuccess)
	for _, want := range []string{"problem=unavailable", "problem=permission", "problem=other_wallet"} {
		if n := strings.Count(w.output.String(), want); n != 1 {
			t.Errorf("%s is logged %d times", want, n)
		}
	}
	// A drained store binds to another wallet.
	trouble.set("another", nil)
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var wallet string
		if err := w.engine.Ask(t.Context(), func(b *TradeBook, _ int64) error { wallet = b.Wallet(); return nil }); err != nil {
			t.Fatal(err)
		}
		if wallet == "another" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the drained store stays bound to its old wallet")
		}
	}
}

// troubledNode returns the pubkey and the error that set was called with from Info.
type troubledNode struct {
	*testNode
	mu     sync.Mutex
	pubkey string
	err    error
}

func (n *troubledNode) set(pubkey string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pubkey, n.err = pubkey, err
}

func (n *troubledNode) Info(ctx context.Context) (lightning.NodeInfo, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return lightning.NodeInfo{}, n.err
	}
	info, err := n.testNode.Info(ctx)
	info.Pubkey = n.pubkey
	if n.pubkey == "" {
		info.Pubkey = "home"
	}
	return info, err
}

// An escrow that the checks of the operator refuse does no work, and its log states the
// reason.
func TestVetRefuses(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	var vetted atomic.Int64
	w.vet = func(context.Context, lightning.NodeInfo) error { vetted.Add(1); return errors.New("on mainnet") }
	w.start()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(strings.Join(w.engine.Status().Closed, ""), "on mainnet"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(w.engine.Status())
		}
	}
	u := w.user(envelope.TransportV2)
	u.send(u.sell(50_000, 50))
	before := vetted.Load()
	w.eventually("two more refusals", func() bool { return vetted.Load() > before+1 })
	if open, err := w.engine.Trades(t.Context()); err != nil || len(open) != 0 {
		t.Error("an order was accepted", err)
	}
}
