package escrow

import (
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// loadOldStore returns a stopped world with the store, the node and the users of a golden
// file.
func loadOldStore(t *testing.T, file string) (*world, *oldStore) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var s oldStore
	if err := json.NewDecoder(z).Decode(&s); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	_ = w.stop()
	w.keys = keysOf(t, s.Node).Remembering(10_000)
	w.secrets.addKeys("the node", w.keys)
	w.clock.now = time.Unix(s.Now, 0)
	if err := os.RemoveAll(filepath.Join(w.dir, "escrow")); err != nil {
		t.Fatal(err)
	}
	db, err := OpenDB(filepath.Join(w.dir, "escrow"))
	if err != nil {
		t.Fatal(err)
	}
	batch := db.b.NewWriteBatch()
	for _, kv := range s.Badger {
		if err := batch.Set(kv[0], kv[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := db.Check(); err != nil {
		t.Fatalf("the store of %s does not pass Check: %v", s.Version, err)
	}
	head, err := db.Head()
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.witness(head.Commits); err != nil {
		t.Fatal(err)
	}
	w.node.with(func(n *simNode) {
		n.now, n.height = s.Now, s.Height
		for _, h := range s.Holds {
			n.holds[h.State.Hash] = &simHold{state: h.State, byUs: h.ByUs, expiresAt: h.ExpiresAt}
		}
		for _, p := range s.Pays {
			n.pays[p.State.Hash] = &simPay{state: p.State, order: p.Order}
		}
		n.lockedMsat, n.heldMsat, n.refundedMsat = s.Sums[0], s.Sums[1], s.Sums[2]
		n.settledMsat, n.paidMsat, n.routingMsat = s.Sums[3], s.Sums[4], s.Sums[5]
	})
	return w, &s
}

func keysOf(t *testing.T, secret string) *envelope.Keys {
	t.Helper()
	b, err := hex.DecodeString(secret)
	if err != nil || len(b) != 32 {
		t.Fatal("a key of a golden file is invalid:", err)
	}
	k, err := envelope.KeysFromSecret([32]byte(b))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) oldUser(t *testing.T, o oldUser) *user {
	if o.Trade == "" {
		return nil
	}
	u := &user{w: w, trade: keysOf(t, o.Trade), transport: o.Transport, index: o.Index}
	if o.Identity != "" {
		u.identity = keysOf(t, o.Identity)
	}
	return u
}

// TestOldStoreGoesOn opens stores that were written before the rules of trades had a version.
// The users and the operator of such a store then end every trade.
func TestOldStoreGoesOn(t *testing.T) {
	for _, file := range []string{"rules0.json.gz", "rules0-copy.json.gz"} {
		t.Run(file, func(t *testing.T) {
			w, s := loadOldStore(t, file)
			w.start()
			for _, o := range s.Trades {
				seller, buyer := w.oldUser(t, o.Seller), w.oldUser(t, o.Buyer)
				if err := w.endOld(o, seller, buyer); err != nil {
					t.Errorf("%s (%s): %v", o.Name, o.ID, err)
				}
			}
			for _, o := range s.Trades {
				if tr := w.trade(o.ID); !trade.Terminal(tr.Status) {
					t.Errorf("%s ended as %s after %q", o.Name, tr.Status, tr.Last)
				} else if (o.Status == message.TradeFiatSent || o.Status == message.TradeSettledHoldInvoice) && tr.Status != message.TradeSuccess {
					t.Errorf("%s was %s and ended as %s after %q", o.Name, o.Status, tr.Status, tr.Last)
				}
			}
		})
	}
}

// endOld ends one trade by an action of a party that may end the trade.
func (w *world) endOld(o oldTrade, seller, buyer *user) error {
	if trade.Terminal(o.Status) {
		return nil
	}
	say := func(u *user, a message.Action, p message.Payload) {
		u.send(message.Message{RequestID: number(99), ID: &o.ID, Action: a, Payload: p})
	}
	asked := false
	deadline := time.Now().Add(10 * time.Second)
	var last message.TradeStatus
	for time.Now().Before(deadline) {
		t := w.trade(o.ID)
		if trade.Terminal(t.Status) {
			return nil
		}
		maker := seller
		if t.Kind == mostro.SideBuy {
			maker = buyer
		}
		fresh := t.Status != last
		last = t.Status
		switch {
		case t.Frozen && t.Status == message.TradeFiatSent:
			if err := w.engine.PayAfterAll(w.tb.Context(), o.ID); err != nil {
				return err
			}
		case t.Frozen:
			if err := w.engine.Resume(w.tb.Context(), o.ID); err != nil {
				return err
			}
		case t.Status == message.TradePending || t.Status == message.TradeWaitingBuyerInvoice || t.Status == message.TradeWaitingPayment:
			if fresh {
				say(maker, message.ActionCancel, nil)
			}
		case t.Status == message.TradeActive && fresh:
			say(buyer, message.ActionFiatSent, nil)
		case t.Status == message.TradeFiatSent || t.Status == message.TradeDispute:
			if !t.Settling && fresh {
				say(seller, message.ActionRelease, nil)
			}
		case t.Status == message.TradeSettledHoldInvoice:
			if t.Payout.Failures >= t.Terms.PaymentAttempts && !asked {
				asked = true
				say(buyer, message.ActionAddInvoice, message.PaymentRequest{Invoice: o.ID.String() + "@home"})
			} else if t.Payout.Failures > 0 && !asked {
				w.clock.move(61 * time.Second)
				w.node.with(func(n *simNode) { n.now = w.clock.Now().Unix() })
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	t := w.trade(o.ID)
	return fmt.Errorf("still %s after %q (frozen %v, payout %+v)", t.Status, t.Last, t.Frozen, t.Payout)
}
