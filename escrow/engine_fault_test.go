package escrow

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/rollback"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// brokenStore fails every commit, before or after the write.
type brokenStore struct {
	*DB
	after bool
	armed func() bool
}

func (s *brokenStore) Commit(c *Commit) error {
	if !s.armed() {
		return s.DB.Commit(c)
	}
	if s.after {
		if err := s.DB.Commit(c); err != nil {
			return err
		}
	}
	return errCrash
}

// A failed commit is fatal: the engine decides nothing further, no effect of the commit is
// executed, and a start recovers.
func TestFailedCommitIsFatal(t *testing.T) {
	for _, after := range []bool{false, true} {
		w := newWorld(t)
		_ = w.stop()
		db, err := OpenDB(filepath.Join(w.dir, "escrow"))
		if err != nil {
			t.Fatal(err)
		}
		armed := make(chan struct{})
		store := &brokenStore{DB: db, after: after, armed: func() bool {
			select {
			case <-armed:
				return true
			default:
				return false
			}
		}}
		w.startOn(db, store)
		u := w.user(envelope.TransportV2)
		u.send(u.sell(50_000, 50))
		id := *u.wait(message.ActionNewOrder).ID
		close(armed)
		u.send(message.Message{RequestID: number(9), ID: &id, Action: message.ActionCancel})
		select {
		case err := <-w.done:
			if !errors.Is(err, errCrash) {
				t.Fatalf("stopped with %v", err)
			}
			w.done <- err
		case <-time.After(10 * time.Second):
			t.Fatal("the engine continues after a failed commit")
		}
		before := w.log.Head()
		if last := w.log.entries[before-1]; last.Event.PubKey == w.keys.Pubkey() && strings.Contains(last.Event.String(), "canceled") {
			t.Error("an event was published that was not committed")
		}
		_ = w.stop()
		w.start() // with the store alone
		u.wait(message.ActionCanceled)
		w.until(id, message.TradeCanceled)
	}
}

// A relay that fails, with or without storing the event, causes a delay and no duplicates.
func TestPublisherThatFails(t *testing.T) {
	for _, after := range []bool{false, true} {
		w := newWorld(t)
		u := w.user(envelope.TransportV2)
		w.log.mu.Lock()
		w.log.failBefore, w.log.failAfter = !after, after
		w.log.mu.Unlock()
		u.send(u.sell(50_000, 50))
		deadline := time.Now().Add(5 * time.Second)
		for { // until at least one publish failed
			var failures int
			if err := w.engine.Ask(t.Context(), func(*TradeBook, int64) error { return nil }); err != nil {
				t.Fatal(err)
			}
			w.engine.outbox.mu.Lock()
			for _, q := range w.engine.outbox.lanes {
				failures += q.failures
			}
			w.engine.outbox.mu.Unlock()
			if failures > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("publishing never failed")
			}
		}
		w.log.mu.Lock()
		w.log.failBefore, w.log.failAfter = false, false
		w.log.mu.Unlock()
		id := *u.wait(message.ActionNewOrder).ID
		n := 0
		_ = w.log.Read(t.Context(), 0, func(e mostro.Entry) error {
			if e.Event.Kind == mostro.KindOrder && e.Event.Tags.GetD() == id.String() {
				n++
			}
			return nil
		})
		if n > 1 {
			t.Errorf("the order was published %d times", n)
		}
	}
}

// An older copy of the store is detected, and accepts no new trades until the node was asked
// for every open hash.
func TestOldCopyIsNoticed(t *testing.T) {
	w := newWorld(t)
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	id := w.sellOrder(seller, buyer, func(string) {})
	_ = w.stop()
	head := func() uint64 {
		db, err := OpenDB(filepath.Join(w.dir, "escrow"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := db.Head()
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		return h.Commits
	}()
	witness := rollback.Guard{Path: filepath.Join(w.dir, "escrow.witness")}
	if n, known, err := witness.Load(); n != head || !known || err != nil {
		t.Fatalf("the rollback guard holds %d %v %v after %d commits", n, known, err, head)
	}
	if err := witness.Store(head + 100); err != nil { // the guard is now ahead of the store
		t.Fatal(err)
	}
	w.start()
	// No trade is open, so there is no hash to look up.
	u := w.user(envelope.TransportV2)
	u.send(u.sell(50_000, 50))
	u.wait(message.ActionNewOrder)
	w.until(id, message.TradeSuccess)
	if !strings.Contains(w.output.String(), "older copy") {
		t.Error("the log does not report the older copy")
	}
}

// A log that was started anew is read from its beginning. Messages that were applied before
// are not applied again.
func TestLogThatBeganAnew(t *testing.T) {
	w := newWorld(t)
	u := w.user(envelope.TransportV2)
	u.send(u.sell(50_000, 50))
	id := *u.wait(message.ActionNewOrder).ID
	var first *nostr.Event // read as any reader does: the outbox appends meanwhile
	_ = w.log.Read(t.Context(), 0, func(e mostro.Entry) error {
		if first == nil {
			first = e.Event
		}
		return nil
	})
	for i := 0; !w.heard() || i < 3; i++ { // the cursor is committed together with the effects of the order
	}
	_ = w.stop()
	w.log = newMemLog()
	w.read = make(map[string]int)
	w.log.append(first, mostro.Source{Origin: mostro.OriginClient}, w.clock.Now())
	w.start()
	u.send(message.Message{RequestID: number(9), ID: &id, Action: message.ActionCancel})
	u.wait(message.ActionCanceled)
	if n := u.got(message.ActionNewOrder); n != 0 {
		t.Errorf("the order was made %d more times", n)
	}
}

func (u *user) got(action message.Action) (n int) {
	for _, m := range u.w.seen[u.trade.Pubkey()] {
		if m.Action == action {
			n++
		}
	}
	return n
}

// Ask on a stopped engine returns an error.
func TestAskAfterTheEnd(t *testing.T) {
	w := newWorld(t)
	e := w.engine
	_ = w.stop()
	if err := e.Pause(t.Context(), true); !errors.Is(err, ErrStopped) {
		t.Errorf("%v", err)
	}
}

func TestRedactedTrade(t *testing.T) {
	r := newRig(t)
	id, _, _ := r.toSettled()
	tr := r.trade(id)
	b, err := json.Marshal(tr.Redacted())
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{tr.Preimage.Hex(), tr.HoldInvoice, tr.BuyerInvoice.Text, tr.Payout.Bolt11} {
		if secret == "" || strings.Contains(string(b), secret) {
			t.Errorf("it shows %q", secret)
		}
	}
}
