package escrow

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/rollback"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
)

// givesReceipts enables receipts in the trade book of a rig. If the rig restarts after a
// crash, it repeats the same call.
func (r *rig) givesReceipts(keys *envelope.Keys, secret *rsa.PrivateKey) {
	r.tb.Helper()
	r.book.KeysetEvent = func(k receipt.Keyset) *nostr.Event { evt := k.Event(); return &evt }
	if err := r.book.Attesting(KeysSealer{Keys: keys}); err != nil {
		r.tb.Fatal(err)
	}
	if secret != nil {
		if err := r.book.receipts.add(receipt.EpochOf(time.Unix(r.node.now, 0)), secret); err != nil {
			r.tb.Fatal(err)
		}
	}
	r.book.receipts.publish(r.node.now)
	r.commit()
}

func newBlindKey(tb testing.TB) *rsa.PrivateKey {
	tb.Helper()
	k, err := receipt.NewBlindKey()
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// keyset returns the keyset that a rig published last.
func (r *rig) keyset() (k receipt.Keyset, evt *nostr.Event) {
	r.tb.Helper()
	for _, id := range r.store.rows {
		if row := r.store.outbox[id]; row.Event != nil && slices.Contains(mostro.KeysetKinds, row.Event.Kind) {
			evt = row.Event
		}
	}
	if evt == nil {
		r.tb.Fatal("no keyset was published")
	}
	k, err := receipt.ParseKeyset(evt)
	if err != nil {
		r.tb.Fatal(err)
	}
	return k, evt
}

// answer sends a request for receipts and returns the answer.
func (r *rig) answer(p trade.Party, id trade.OrderID, q receipt.Request) receipt.Answer {
	r.tb.Helper()
	m := q.Message(id)
	r.must(p, m.Action, &id, m.Payload)
	got := r.last(p, message.ActionSendDM)
	if got.RequestID == nil {
		r.tb.Error("the answer carries no request id")
	}
	a, err := receipt.ParseAnswer(got)
	if err != nil {
		r.tb.Fatal(err)
	}
	return a
}

// rated returns a rating that shows the receipts of an answer, and checks the rating.
func rated(tb testing.TB, node, rater, order, token string, values []string, sets receipt.Keysets) (receipt.Receipt, error) {
	tb.Helper()
	evt := mostro.HostRating{
		Pubkey: rater, D: "mostro:" + order, Platform: mostro.PlatformMostro, Host: node, Rating: mostro.DecimalOf(1), Token: token, Receipt: values,
	}.Event()
	evt.ID = evt.GetID()
	parsed, err := mostro.ParseHostRating(&evt)
	if err != nil {
		tb.Fatal(err)
	}
	return receipt.Check(&evt, parsed, sets)
}

func TestReceipts(t *testing.T) {
	r := newRig(t)
	node, secret := newKeys(t), newBlindKey(t)
	r.givesReceipts(node, secret)
	set, _ := r.keyset()
	r.hold[trade.FxPublish] = true
	id, seller, buyer := r.toActive()
	ask := receipt.Request{}.Message(id)
	r.refused(message.ReasonNotAllowedByStatus, buyer, ask.Action, &id, ask.Payload)
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.must(seller, message.ActionRelease, &id, nil)
	r.status(message.TradeSettledHoldInvoice, id)
	settled := r.node.now
	before := r.trade(id)
	early := r.answer(seller, id, receipt.Request{})
	r.pass(3 * 3600)
	r.resolves(id, true)
	r.status(message.TradeSuccess, id)
	done := r.trade(id)

	// A party that sent no request gets no message about receipts.
	if n := r.got(buyer, message.ActionSendDM) + r.got(seller, message.ActionSendDM); n != 0 {
		t.Errorf("%d messages about receipts without a request", n)
	}
	a := r.answer(buyer, id, receipt.Request{})
	got, err := rated(t, node.Pubkey(), buyer.Key, id.String(), a.Token, a.Receipt, nil)
	want := receipt.Receipt{
		Kind: receipt.R1, Node: node.Pubkey(), Rater: buyer.Key, Order: id.String(), Role: receipt.RoleBuyer,
		BandSats: 100_000, Day: receipt.SettleDay(time.Unix(settled, 0)), Nullifier: got.Nullifier,
	}
	if err != nil || got != want {
		t.Errorf("buyer: %+v, %v; want %+v", got, err, want)
	}
	if got, err = rated(t, node.Pubkey(), buyer.Key, id.String(), a.Token, nil, nil); err != nil || got.Kind != receipt.R1 || got.Role != "" {
		t.Errorf("the token of RoboSats alone: %+v, %v", got, err)
	}
	b := r.answer(seller, id, receipt.Request{})
	if !reflect.DeepEqual(b, early) {
		t.Error("the second answer to the seller differs")
	}
	got, err = rated(t, node.Pubkey(), seller.Key, id.String(), b.Token, b.Receipt, nil)
	if err != nil || got.Role != receipt.RoleSeller || got.PaymentHash != "" {
		t.Errorf("seller: %+v, %v", got, err)
	}
	paid := r.answer(seller, id, receipt.Request{Payment: true})
	named, err := rated(t, node.Pubkey(), seller.Key, id.String(), paid.Token, paid.Receipt, nil)
	if err != nil || named.PaymentHash != hex.EncodeToString(before.Hash[:]) || named.Nullifier != got.Nullifier {
		t.Errorf("the seller's answer with the payment: %+v, %v", named, err)
	}
	r.refused(message.ReasonInvalidParameters, buyer, ask.Action, &id, receipt.Request{Payment: true}.Message(id).Payload)
	if _, err := rated(t, node.Pubkey(), seller.Key, id.String(), a.Token, a.Receipt, nil); !errors.Is(err, receipt.RuleToken) {
		t.Errorf("the buyer's receipt used by the seller: %v", err)
	}

	stranger := r.someone()
	r.refused(message.ReasonNotFound, stranger, ask.Action, &id, ask.Payload)
	unknown := trade.OrderID{1}
	r.refused(message.ReasonNotFound, buyer, ask.Action, &unknown, ask.Payload)
	r.refused(message.ReasonInvalidTextMessage, buyer, ask.Action, &id, message.TextMessage(`{"receipt_request":2}`))
	r.refused(message.ReasonInvalidTextMessage, buyer, ask.Action, &id, message.TextMessage(`{"receipt_request":1,"x":1}`))
	r.refused("dropped", buyer, ask.Action, &id, message.TextMessage(`hello`))
	old := buyer
	old.Transport = envelope.TransportLegacy
	r.refused("dropped", old, ask.Action, &id, ask.Payload)

	// Each side gets one blind receipt, and the receipt never changes.
	fresh := newKeys(t)
	q, err := set.Blind(fresh.Pubkey(), nil)
	if err != nil {
		t.Fatal(err)
	}
	request := receipt.Request{Keyset: set.ID, Blinded: q.Blinded}
	foreign := receipt.Request{Keyset: "00000000000000000000000000000000", Blinded: q.Blinded}.Message(id)
	r.refused(message.ReasonInvalidParameters, buyer, ask.Action, &id, foreign.Payload)
	above := receipt.Request{Keyset: set.ID, Blinded: bytes.Repeat([]byte{0xff}, len(q.Blinded))}.Message(id)
	r.refused(message.ReasonInvalidParameters, buyer, ask.Action, &id, above.Payload)
	first, again := r.answer(buyer, id, request), r.answer(buyer, id, request)
	if !reflect.DeepEqual(first, again) || !reflect.DeepEqual(first.Receipt, a.Receipt) {
		t.Error("the answer to the same request differs")
	}
	values, err := q.Unblind(first.Signed)
	if err != nil {
		t.Fatal(err)
	}
	other, err := set.Blind(fresh.Pubkey(), nil)
	if err != nil {
		t.Fatal(err)
	}
	second := receipt.Request{Keyset: set.ID, Blinded: other.Blinded}
	r.refused(message.ReasonInvalidParameters, buyer, ask.Action, &id, second.Message(id).Payload)
	if _, err := other.Unblind(r.answer(seller, id, second).Signed); err != nil {
		t.Errorf("the seller's receipt: %v", err)
	}
	// The count is published after a delay.
	r.book.receipts.publish(r.node.now)
	r.commit()
	published, evt := r.keyset()
	r.pass(supplyEvery)
	r.book.receipts.publish(r.node.now)
	r.commit()
	if published, evt = r.keyset(); published.ID != set.ID || *published.Issued != 2 {
		t.Errorf("published %+v, want 2 issued", published)
	}
	rows := len(r.store.rows)
	r.book.receipts.publish(r.node.now + 10*supplyEvery)
	if r.commit(); len(r.store.rows) != rows {
		t.Error("an unchanged count was published again")
	}
	sets := func(string, string) *nostr.Event { return evt }
	got, err = rated(t, node.Pubkey(), fresh.Pubkey(), receipt.BlindNullifier(values[2]), "", values, sets)
	if err != nil || got.Kind != receipt.R2 || got.Epoch != set.Epoch {
		t.Errorf("blind: %+v, %v", got, err)
	}
	if !reflect.DeepEqual(r.trade(id), done) {
		t.Error("the receipts changed the trade")
	}
}

// TestReceiptsEpochs settles in one month and sends the request in the next. The key of the
// month of settlement signs.
func TestReceiptsEpochs(t *testing.T) {
	r := newRig(t)
	node := newKeys(t)
	r.givesReceipts(node, newBlindKey(t))
	set, _ := r.keyset()
	r.hold[trade.FxPublish] = true
	id, _, buyer := r.toSettled()
	r.resolves(id, true)
	r.node.now += 32 * 86400
	r.start()
	r.givesReceipts(node, newBlindKey(t))
	next, _ := r.keyset()
	if next.Epoch == set.Epoch || next.ID == set.ID {
		t.Fatalf("epoch %s again", next.Epoch)
	}
	q, err := next.Blind(buyer.Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := receipt.Request{Keyset: next.ID, Blinded: q.Blinded}.Message(id)
	r.refused(message.ReasonInvalidParameters, buyer, m.Action, &id, m.Payload)
	if q, err = set.Blind(buyer.Key, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Unblind(r.answer(buyer, id, receipt.Request{Keyset: set.ID, Blinded: q.Blinded}).Signed); err != nil {
		t.Error(err)
	}
}

// TestReceiptsOfAnOldStore checks that a key whose receipts may be lost signs no blind
// receipt.
func TestReceiptsOfAnOldStore(t *testing.T) {
	r := newRig(t)
	node := newKeys(t)
	r.givesReceipts(node, newBlindKey(t))
	set, _ := r.keyset()
	r.hold[trade.FxPublish] = true
	id, _, buyer := r.toSettled()
	r.resolves(id, true)
	r.start()
	r.givesReceipts(node, nil)
	r.book.receipts.close(r.node.now)
	r.commit()
	q, err := set.Blind(buyer.Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := receipt.Request{Keyset: set.ID, Blinded: q.Blinded}.Message(id)
	r.refused(message.ReasonNotAllowedByStatus, buyer, m.Action, &id, m.Payload)
	r.answer(buyer, id, receipt.Request{}) // the plain receipt is the same if it was lost
	// The keyset stays closed after every later start, and is not published.
	rows := len(r.store.rows)
	r.start()
	r.givesReceipts(node, newBlindKey(t))
	r.refused(message.ReasonNotAllowedByStatus, buyer, m.Action, &id, m.Payload)
	if r.book.receipts.publish(r.node.now + 10*supplyEvery); len(r.book.batch.commit.Outbox) != 0 || len(r.store.rows) != rows {
		t.Error("a closed keyset was published")
	}
	// A key that may be lost is not generated a second time.
	other := newRig(t)
	other.givesReceipts(node, nil)
	other.book.receipts.close(other.node.now)
	other.commit()
	other.start()
	other.givesReceipts(node, newBlindKey(t))
	if k := other.store.keysets[receipt.EpochOf(time.Unix(other.node.now, 0))]; !k.Closed || k.Secret != nil || len(other.store.rows) != 0 {
		t.Errorf("a second key was generated: closed %v, %d rows", k.Closed, len(other.store.rows))
	}
}

// TestReceiptsCrash crashes the process at any commit while the parties send requests and
// repeat them. No side ever gets two blind receipts, every answer stays the same, and the
// check of the store passes.
func TestReceiptsCrash(t *testing.T) {
	db, err := openDB(filepath.Join(t.TempDir(), "escrow"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r := newRig(t)
	r.store.mirror = db
	node, secret := newKeys(t), newBlindKey(t)
	r.givesReceipts(node, secret)
	set, _ := r.keyset()
	r.hold[trade.FxPublish] = true
	type side struct {
		id    trade.OrderID
		party trade.Party
		asked []*receipt.BlindRequest
	}
	var sides []*side
	for range 6 {
		id, seller, buyer := r.toSettled()
		r.resolves(id, true)
		sides = append(sides, &side{id: id, party: seller}, &side{id: id, party: buyer})
	}
	rng := rand.New(rand.NewPCG(3, 4))
	crashes := 0
	for range 300 {
		s := sides[rng.IntN(len(sides))]
		if len(s.asked) < 3 && rng.IntN(2) == 0 {
			q, err := set.Blind(newKeys(t).Pubkey(), nil)
			if err != nil {
				t.Fatal(err)
			}
			s.asked = append(s.asked, q)
		}
		var ask receipt.Request
		if len(s.asked) > 0 && rng.IntN(3) > 0 {
			ask = receipt.Request{Keyset: set.ID, Blinded: s.asked[rng.IntN(len(s.asked))].Blinded}
		}
		m := ask.Message(s.id)
		if _, err := r.book.Receive(r.message(s.party, m.Action, &s.id, m.Payload), r.node.now); err != nil {
			t.Fatal(err)
		}
		r.store.failBefore, r.store.failAfter = rng.IntN(8) == 0, rng.IntN(8) == 0
		err := r.store.Commit(r.book.Take())
		r.store.failBefore, r.store.failAfter = false, false
		if err != nil {
			crashes++
			r.start()
			r.givesReceipts(node, nil)
		}
		r.settle()
	}
	if crashes < 20 {
		t.Errorf("%d crashes are too few for this test", crashes)
	}
	total := int64(0)
	for _, s := range sides {
		signed := map[string]bool{}
		for _, m := range r.mail[s.party.Key] {
			if a, err := receipt.ParseAnswer(m); err == nil && a.Signed != nil {
				signed[string(a.Signed)] = true
			}
		}
		if len(signed) > 1 {
			t.Errorf("one side got %d blind receipts", len(signed))
		}
		total += int64(len(signed))
	}
	k := r.store.keysets[set.Epoch]
	if k.Issued != total || total == 0 {
		t.Errorf("the keyset counts %d receipts, %d were signed", k.Issued, total)
	}
	if err := db.Check(); err != nil {
		t.Error(err)
	}
	// The check detects a wrong count.
	k.Issued++
	head, err := db.Head()
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(&Commit{ReceiptKeys: []ReceiptKey{k}, Head: head}); err != nil {
		t.Fatal(err)
	}
	if db.Check() == nil {
		t.Error("a wrong count passes the check")
	}
}

// keysets returns the keysets that the node has published so far.
func (w *world) keysets() (list []receipt.Keyset) {
	w.tb.Helper()
	_ = w.log.Read(context.Background(), 0, func(e mostro.Entry) error {
		if e.Event.Kind == mostro.KindReceiptKeys {
			k, err := receipt.ParseKeyset(e.Event)
			if err != nil {
				w.tb.Error(err)
			}
			list = append(list, k)
		}
		return nil
	})
	return list
}

// TestReceiptsOverRestart sends requests to a whole engine, stops the engine as a signal
// would, and sends the requests again. The key of the month is generated and published once.
// A store that is older than its rollback guard signs no more.
func TestReceiptsOverRestart(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	w.givesReceipts = true
	w.start()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for head := w.log.Head(); len(w.keysets()) == 0; head = w.log.Head() {
		if err := w.log.Wait(ctx, head); err != nil {
			t.Fatalf("no keyset is published: %v", err)
		}
	}
	set := w.keysets()[0]
	seller, buyer := w.user(envelope.TransportV1), w.user(envelope.TransportV2)
	id := w.sellOrder(seller, buyer, func(string) {})
	ask := func(u *user, q receipt.Request) receipt.Answer {
		t.Helper()
		m := q.Message(id)
		m.RequestID = number(9)
		u.send(m)
		a, err := receipt.ParseAnswer(u.wait(message.ActionSendDM))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	q, err := set.Blind(newKeys(t).Pubkey(), nil)
	if err != nil {
		t.Fatal(err)
	}
	request := receipt.Request{Keyset: set.ID, Blinded: q.Blinded}
	first, plain := ask(buyer, request), ask(seller, receipt.Request{})
	if _, err := q.Unblind(first.Signed); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if again := ask(buyer, request); !reflect.DeepEqual(first, again) {
		t.Error("the answer to the buyer differs after the restart")
	}
	if again := ask(seller, receipt.Request{}); !reflect.DeepEqual(plain, again) {
		t.Error("the answer to the seller differs after the restart")
	}
	for _, k := range w.keysets() {
		if k.Epoch == set.Epoch && k.ID != set.ID {
			t.Error("there is a second key for one month")
		}
	}
	_ = w.stop()
	db, err := OpenDB(filepath.Join(w.dir, "escrow"))
	if err != nil {
		t.Fatal(err)
	}
	head, err := db.Head()
	if err != nil {
		t.Fatal(err)
	}
	if err := (&rollback.Guard{Path: filepath.Join(w.dir, "escrow.witness")}).Store(head.Commits + 100); err != nil {
		t.Fatal(err)
	}
	w.startOn(db, db)
	if q, err = set.Blind(newKeys(t).Pubkey(), nil); err != nil {
		t.Fatal(err)
	}
	m := receipt.Request{Keyset: set.ID, Blinded: q.Blinded}.Message(id)
	m.RequestID = number(10)
	seller.send(m)
	if no, ok := seller.wait(message.ActionCantDo).Payload.(message.CantDo); !ok || no.Reason != message.ReasonNotAllowedByStatus {
		t.Errorf("the answer of an older store is %+v", no)
	}
	w.restart() // the answer stays the same when the rollback guard agrees again
	m.RequestID = number(11)
	seller.send(m)
	if no, ok := seller.wait(message.ActionCantDo).Payload.(message.CantDo); !ok || no.Reason != message.ReasonNotAllowedByStatus {
		t.Errorf("after a restart the answer of an older store is %+v", no)
	}
}

// TestKeysetsMoveToTheirKind opens a store of a program that published keysets with kind
// 38387. The key is published once with the present kind. A crash before the commit only
// delays the publication.
func TestKeysetsMoveToTheirKind(t *testing.T) {
	db, err := openDB(filepath.Join(t.TempDir(), "escrow"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r := newRig(t)
	r.store.mirror = db
	node := newKeys(t)
	r.givesReceipts(node, newBlindKey(t))
	set, _ := r.keyset()

	// A row of such a program has no kind.
	former := r.store.keysets[set.Epoch]
	former.Kind = 0
	head, err := db.Head()
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(&Commit{ReceiptKeys: []ReceiptKey{former}, Head: head}); err != nil {
		t.Fatal(err)
	}
	r.store.keysets[set.Epoch] = former
	published := func() (n int) {
		for _, id := range r.store.rows {
			if evt := r.store.outbox[id].Event; evt != nil && slices.Contains(mostro.KeysetKinds, evt.Kind) {
				n++
			}
		}
		return n
	}
	before := published()

	r.start()
	r.book.KeysetEvent = func(k receipt.Keyset) *nostr.Event { evt := k.Event(); return &evt }
	if err := r.book.Attesting(KeysSealer{Keys: node}); err != nil {
		t.Fatal(err)
	}
	r.book.receipts.publish(r.node.now)
	r.store.failBefore = true
	if err := r.store.Commit(r.book.Take()); err == nil {
		t.Fatal("no crash")
	}
	r.store.failBefore = false
	if n := published() - before; n != 0 {
		t.Fatalf("%d keysets were published by a commit that failed", n)
	}
	r.start()
	r.givesReceipts(node, nil)
	again, evt := r.keyset()
	if n := published() - before; n != 1 || evt.Kind != mostro.KindReceiptKeys || again.ID != set.ID || again.Epoch != set.Epoch {
		t.Fatalf("%d keysets are published, the last of kind %d with key %s; want one of kind %d with %s", n, evt.Kind, again.ID, mostro.KindReceiptKeys, set.ID)
	}
	r.start()
	r.givesReceipts(node, nil)
	r.book.receipts.publish(r.node.now + 10*supplyEvery)
	if r.commit(); published()-before != 1 {
		t.Errorf("%d keysets are published, want one", published()-before)
	}
	if err := db.Check(); err != nil {
		t.Error(err)
	}
}
